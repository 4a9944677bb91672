"""A load test in Locust's events: every process measures, the workers report, the master concludes."""

import logging
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, cast

import locust.log
import locust.runners
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.event import EventHook, Events
from locust.runners import MasterRunner, WorkerRunner

from kmsgw.clock import SYSTEM_CLOCK
from kmsgw.errors import ConfigurationError, KmsgwError
from loadtests import options, report
from loadtests.conclusion import conclude
from loadtests.generator import Generator
from loadtests.method import Method
from loadtests.recorder import Measurements, Message
from loadtests.results import Conditions, Results, to_json
from loadtests.shape import STAGE_MESSAGE, Course, KmsgwShape
from loadtests.users import BatchReEncryptUser, GatewayUser, MixedUser, ReEncryptUser

if TYPE_CHECKING:
    from locust.rpc import Message as Envelope

_REPORT_KEY: Final = "kmsgw"
_LAST_REPORT: Final = "kmsgw_last_report"
_LOCAL: Final = "local"
_LIVENESS_SECONDS: Final = 60
_log = logging.getLogger("kmsgw.loadtest")


class Campaign:
    """One per process. `attach` puts it into Locust's events."""

    def __init__(self) -> None:
        self._generator = Generator(self._watch)
        self._environment: Environment | None = None
        self._measured = Measurements()
        self._calls = Counter[str]()
        self._started = ""
        self._course: Course | None = None
        self._results: Results | None = None
        self._concluded = 0
        GatewayUser.generator = self._generator

    def attach(self, events: Events) -> None:
        """Listen to Locust's events."""
        # A worker that prepares, or whose cores the gateway keeps busy, is silent for longer than Locust's 3 s, and a
        # run whose last worker "went missing" ends without a figure. Set before there is a runner: each worker is
        # given it as it joins.
        locust.runners.HEARTBEAT_LIVENESS = _LIVENESS_SECONDS
        _listen(events.init_command_line_parser, self._declare)
        _listen(events.init, self._init)
        _listen(events.test_start, self._start)
        _listen(events.test_stopping, self._stopping)
        _listen(events.test_stop, self._stop)
        _listen(events.report_to_master, self._report)
        _listen(events.worker_report, self._receive)
        _listen(events.quitting, self._quit)

    def _declare(self, parser: LocustArgumentParser, **_: object) -> None:
        options.declare(cast("options.Arguments", parser))  # no group: what is in one is not on the page

    def _init(self, environment: Environment, **_: object) -> None:
        self._environment = environment
        given = environment.parsed_options
        assert given is not None, "Locust runs with a command line"
        if not given.user_classes and not given.class_picker:
            environment.user_classes = [MixedUser]
        runner = environment.runner
        assert runner is not None, "Locust makes it before"
        if isinstance(runner, MasterRunner):
            runner.register_message(_LAST_REPORT, self._receive_last)
        else:
            runner.register_message(STAGE_MESSAGE, self._enter)
        self._prepare()

    def _prepare(self) -> None:
        environment = self._environment
        assert environment is not None, "Locust has started"
        try:
            settings = options.read(vars(environment.parsed_options))
            mixes = [each.mix for each in environment.user_classes if issubclass(each, GatewayUser)]
            calls = not isinstance(environment.runner, MasterRunner)
            self._generator.prepare(settings, frozenset().union(*mixes) if calls else frozenset())
            re_encrypts = {ReEncryptUser, BatchReEncryptUser}.intersection(environment.user_classes)
            if re_encrypts and not self._generator.can_re_encrypt():
                raise ConfigurationError(
                    [f"the folder has no profile {settings.re_encrypter!r}"],
                    advice="Name a principal with the roles reader and writer with --kmsgw-re-encrypter.",
                )
        except KmsgwError as error:
            for fault in error.faults if isinstance(error, ConfigurationError) else (error.message,):
                _log.error("%s", fault)
            _log.error("%s", error.advice)
            sys.exit(1)

    def _start(self, **_: object) -> None:
        self._prepare()  # again: the page may have changed the options
        self._generator.recorder.start_over()
        self._measured, self._calls = Measurements(), Counter()
        self._course, self._results = None, None
        self._started = SYSTEM_CLOCK.now().isoformat(timespec="seconds")

    def _enter(self, msg: "Envelope", **_: object) -> None:
        self._generator.recorder.enter(int(cast("Mapping[str, int]", msg.data)["stage"]))

    def _stopping(self, environment: Environment, **_: object) -> None:
        if isinstance(environment.shape_class, KmsgwShape) and not isinstance(environment.runner, WorkerRunner):
            environment.shape_class.end()

    def _stop(self, environment: Environment, **_: object) -> None:
        runner = environment.runner
        if not isinstance(runner, MasterRunner):
            self._generator.drain()
        if isinstance(runner, WorkerRunner):
            # Before the message that it has stopped, so that the master has everything when all have.
            runner.send_message(_LAST_REPORT, {_REPORT_KEY: self._generator.recorder.take().message()})
            return
        if not isinstance(runner, MasterRunner):
            self._add(_LOCAL, self._generator.recorder.take().message())
        self._conclude(environment)

    def _report(self, data: dict[str, object], **_: object) -> None:
        data[_REPORT_KEY] = self._generator.recorder.take().message()

    def _receive(self, client_id: str, data: Mapping[str, object], **_: object) -> None:
        if _REPORT_KEY in data:
            self._add(client_id, cast("Message", data[_REPORT_KEY]))

    def _receive_last(self, msg: "Envelope", **_: object) -> None:
        self._receive(str(msg.node_id), cast("Mapping[str, object]", msg.data))

    def _add(self, process: str, message: Message) -> None:
        self._calls[process] += self._measured.add(message)

    def _conclude(self, environment: Environment) -> None:
        shape = environment.shape_class
        if isinstance(shape, KmsgwShape) and (ended := shape.take()) is not None:
            self._course = ended
        course = self._course
        if course is None or (self._results is not None and self._concluded == self._measured.calls):
            return
        self._concluded = self._measured.calls
        settings = course.settings
        users = tuple(each.__name__ for each in environment.user_classes)
        processes = {process: calls for process, calls in self._calls.items() if calls}
        conditions = Conditions(self._started, settings.loop, settings.shape, users, processes)
        runs = [course.runs[number] for number in sorted(course.runs)]
        results = self._results = conclude(self._measured, runs, conditions, settings.thresholds)
        for path, content in ((settings.figures, to_json(results)), (settings.report, report.page([results]))):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        for verdict in results.verdicts:
            _log.log(logging.INFO if verdict.holds else logging.ERROR, "%s", verdict.text)
        _log.info("report: %s, figures: %s", settings.report, settings.figures)

    def _quit(self, environment: Environment, **_: object) -> None:
        if not isinstance(environment.runner, WorkerRunner):
            self._conclude(environment)  # again where a run was interrupted and workers reported after its end
        if isinstance(environment.runner, WorkerRunner):
            # Calls that fail are judged by the master alone.
            environment.process_exit_code = 2 if locust.log.unhandled_greenlet_exception else 0
        elif self._results is None or not self._results.holds:
            environment.process_exit_code = 1
        elif locust.log.unhandled_greenlet_exception or (environment.runner and environment.runner.exceptions):
            environment.process_exit_code = 2
        else:
            environment.process_exit_code = 0

    def _watch(self, method: Method, seconds: float, size: int, reason: str) -> None:
        environment = self._environment
        assert environment is not None, "Locust has started"
        environment.events.request.fire(  # type: ignore[no-untyped-call]
            request_type="gRPC",
            name=method.value,
            response_time=seconds * 1e3,
            response_length=size,
            exception=RuntimeError(reason) if reason else None,
            context={},
        )


def _listen(hook: EventHook, listener: Callable[..., None]) -> None:
    hook.add_listener(listener)  # type: ignore[no-untyped-call]
