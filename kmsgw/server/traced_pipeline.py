"""A pipeline whose calls leave traces. The plain one knows nothing of it, so that without traces they cost nothing."""

from collections.abc import Callable
from typing import Any, Final

from kmsgw.errors import KmsgwError
from kmsgw.operations.waiting import WouldWait
from kmsgw.server.passage import Call, Reply
from kmsgw.server.pipeline import Pipeline
from kmsgw.telemetry.meters import OTHER_METHOD
from kmsgw.telemetry.tracing import CallSpan, Tracing

STAGE_SPANS: Final = {
    "_authenticate": "authenticate",
    "_attend": "session",
    "_authorize": "authorize",
    "_confirm": "code and approval",
    "_intend": "audit intent",
    "_operate": "operate",
}
"""Stages that have a span of their own, and its name."""


class TracedPipeline(Pipeline):
    """See `Pipeline`, whose arguments it takes."""

    def __init__(self, *arguments: Any, tracing: Tracing, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._repeated = None  # each stage has its span
        self._tracing = tracing
        self._passing: dict[int, CallSpan] = {}
        self._replied: dict[int, CallSpan] = {}
        self._stages = tuple(self._spanned(stage) for stage in self._stages)

    def finish(self, reply: Reply) -> Reply:
        """Wait until the record is durable, in a span of its own, and end the call's span."""
        span = self._replied.pop(id(reply), None)
        if span is None:
            return super().finish(reply)
        with span.stage("audit"):
            finished = super().finish(reply)
        error = finished.error
        span.end(
            finished.request_id,
            error.status.value if error is not None else "OK",
            error.reason.value if error is not None else "",
        )
        return finished

    def _passage(self, call: Call) -> Any:
        passage = super()._passage(call)
        method = call.method if call.method in self._table else OTHER_METHOD
        self._passing[id(passage)] = self._tracing.call(method, call.proof().traceparent)
        return passage

    def _walk(self, passage: Any) -> KmsgwError | None:
        try:
            with self._passing[id(passage)].current():
                return super()._walk(passage)
        except WouldWait:
            # Never ended, it is never sent: the call is begun anew by a patient thread, and traced there.
            del self._passing[id(passage)]
            raise

    def _recorded(self, passage: Any, error: KmsgwError | None) -> Reply:
        reply = super()._recorded(passage, error)
        span = self._passing.pop(id(passage), None)
        if span is not None:
            self._replied[id(reply)] = span
        return reply

    def _spanned(self, stage: Callable[[Any], None]) -> Callable[[Any], None]:
        name = STAGE_SPANS.get(stage.__name__)
        if name is None:
            return stage

        def spanned(passage: Any) -> None:
            with self._passing[id(passage)].stage(name):
                stage(passage)

        return spanned
