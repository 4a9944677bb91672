"""The end of a key in a whole gateway: its time comes, and the gateway destroys it by itself."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmsgw.client import Client, FailedPrecondition, KeyState, Reason
from tests.cli.command_line import kmsgw
from tests.support.gateway import Gateway, eventually, make_folder
from tests.support.moved_clock import MovedClock

DAY = 86_400


@pytest.fixture
def clock(tmp_path: Path) -> MovedClock:
    return MovedClock(tmp_path / "clock")


@pytest.fixture
def gateway(tmp_path: Path, clock: MovedClock) -> Iterator[Gateway]:
    """A gateway of two workers whose time can be moved on, where one officer may destroy alone."""
    made = make_folder(tmp_path / "kms")
    made.append("[approvals]\ndestroy = 0\ncancel_destruction = 0\n")
    made.environment = clock.environment
    made.start()
    yield made
    assert made.stop() == 0


def test_a_key_whose_time_has_come_is_destroyed_and_the_log_says_so(gateway: Gateway, clock: MovedClock) -> None:
    officer, writer = gateway.client("key-officer"), gateway.client("ehr-writer")
    for name in ("retired", "saved"):
        officer.keys.create(name)
    for name in ("retired", "saved"):
        officer.keys.schedule_destruction(name, days=7, reason="System retired")
    clock.forward(6 * DAY)
    officer.keys.cancel_destruction("saved", reason="Still needed")
    assert officer.keys.get("retired").state is KeyState.PENDING_DESTRUCTION

    clock.forward(2 * DAY)

    # A clock that was set while the gateway ran is not believed for what can't be undone.
    assert eventually(lambda: "the clock was set" in gateway.log.read_text(), 10.0)
    assert officer.keys.get("retired").state is KeyState.PENDING_DESTRUCTION
    assert gateway.stop() == 0
    gateway.start()
    officer, writer = gateway.client("key-officer"), gateway.client("ehr-writer")
    assert eventually(lambda: officer.keys.get("retired").state is KeyState.DESTROYED, 20.0)
    assert officer.keys.get("saved").state is KeyState.DISABLED
    # The other worker may have seen it pending a moment ago; refused it is in either state.
    assert eventually(lambda: _refusal(writer) is Reason.KEY_DESTROYED, 1.0)
    assert [each.state for each in officer.keys.versions("retired")] == [KeyState.DESTROYED]
    found = _entries(gateway)
    assert [(each["phase"], each["outcome"], each["key_id"], each["principal"]) for each in found] == [
        ("intent", "ok", "retired", None),
        ("outcome", "ok", "retired", None),
    ]


def _refusal(writer: Client) -> Reason:
    with pytest.raises(FailedPrecondition) as refused:
        writer.encrypt("retired", b"a note")
    return refused.value.reason


def _entries(gateway: Gateway) -> list[dict[str, object]]:
    """Return what the logs say of destructions by the gateway, once both entries are in the signed tree."""
    found: list[dict[str, object]] = []

    def complete() -> bool:
        shown = kmsgw("audit", "search", str(gateway.folder / "audit"), "--method", "DestroyKey", "-o", "json")
        found[:] = [json.loads(line)["entry"] for line in shown.text.splitlines() if line.startswith("{")]
        return len(found) >= 2

    assert eventually(complete)
    return found
