"""What an error about a key says to type next: commands with the key's name, to the letter."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.cli.officer_desk import Desk
from tests.fakes.scripted_gateway import Refusal, ScriptedGateway

STATE, DENIED = grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.PERMISSION_DENIED
DESTROY, ROTATE, GET = "KeyService/ScheduleKeyDestruction", "KeyService/RotateKey", "KeyService/GetKey"
IN_USE = "Look at `kmsgw key usage`, rewrap what is left; or force it, if nothing there is needed any more."
ENABLE = "Ask an officer to enable it."
RESTORE = "Ask an officer to cancel that while there is time: `kmsgw key restore`."


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with ScriptedGateway() as gateway:
        yield Desk.of(tmp_path, gateway)


def following(desk: Desk, *arguments: str) -> str:
    """Return what the command says to do next."""
    return desk.kmsgw(*arguments).stderr.splitlines()[-1]


def test_a_key_in_use_is_looked_at_or_destroyed_with_force_by_the_same_command(desk: Desk) -> None:
    desk.gateway.script(DESTROY, Refusal(STATE, "Version 1 was used lately.", "KEY_VERSION_IN_USE", advice=IN_USE))
    command = ("key", "destroy", "ehr", "--reason", "System retired", "--yes", "--wait")

    assert following(desk, *command) == (
        "Next: Look at `kmsgw key usage ehr` and rewrap what is left; or, if nothing there is needed any more, "
        "run `kmsgw key destroy ehr --reason 'System retired' --yes --force`."
    )
    assert "run `kmsgw --profile key-officer key destroy ehr --reason x --yes --force`." in following(
        desk, "--profile", "key-officer", "key", "destroy", "ehr", "--reason", "x", "--yes"
    )


@pytest.mark.parametrize(
    ("reason", "message", "advice", "expected"),
    [
        ("KEY_DISABLED", "The key is disabled.", ENABLE, "Ask an officer to enable it: `kmsgw key enable ehr`."),
        (
            "KEY_VERSION_DISABLED",
            "Version 2 of the key is disabled.",
            ENABLE,
            "Ask an officer to enable it: `kmsgw key enable-version ehr 2`.",
        ),
        ("KEY_VERSION_DISABLED", "It is disabled.", ENABLE, ENABLE),
        (
            "KEY_PENDING_DESTRUCTION",
            "The key is pending destruction.",
            RESTORE,
            "Ask an officer to cancel that while there is time: `kmsgw key restore ehr --reason TEXT`.",
        ),
        (
            "KEY_PENDING_DESTRUCTION",
            "Version 2 of the key is pending destruction.",
            RESTORE,
            "Ask an officer to cancel that while there is time: `kmsgw key restore ehr --version 2 --reason TEXT`.",
        ),
        (
            "KEY_PROTECTED",
            "The key is protected from deletion.",
            "Take the protection away first: `kmsgw key update KEY --no-deletion-protection`.",
            "Take the protection away first: `kmsgw key update ehr --no-deletion-protection`.",
        ),
        (
            "KEY_STATE_UNSUITABLE",
            "The key is not pending destruction.",
            "Look at its state with `kmsgw key show`.",
            "Look at its state with `kmsgw key show ehr`.",
        ),
    ],
)
def test_advice_about_a_key_names_it(desk: Desk, reason: str, message: str, advice: str, expected: str) -> None:
    desk.gateway.script(ROTATE, Refusal(STATE, message, reason, advice=advice))

    assert following(desk, "key", "rotate", "ehr") == f"Next: {expected}"


def test_an_officer_that_has_logged_in_is_told_the_command_with_its_profile(desk: Desk) -> None:
    desk.log_in()
    desk.gateway.script(ROTATE, Refusal(STATE, "The key is disabled.", "KEY_DISABLED", advice=ENABLE))

    told = following(desk, "--profile", "key-officer", "key", "rotate", "ehr")

    assert told == "Next: Ask an officer to enable it: `kmsgw --profile key-officer key enable ehr`."


def test_a_name_that_leads_to_no_key_is_looked_for_in_the_list_by_officers_alone(desk: Desk) -> None:
    advice = "Ask an auditor for `kmsgw policy explain REQUEST_ID`."
    desk.gateway.script(GET, Refusal(DENIED, "The key does not exist, or …", "ACCESS_DENIED", advice=advice))

    assert following(desk, "key", "show", "her").endswith("`, or ask an officer for the key's name.")
    desk.log_in()
    assert following(desk, "key", "show", "her").endswith("`, or look at `kmsgw key list`.")
