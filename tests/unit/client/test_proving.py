"""What an officer's calls carry: session, one-time code, approval."""

from typing import Any

import grpc
import pytest

from kmsgw.client import AsyncClient, Client, InvalidRequest, KmsgwError, Reason, Unavailable
from kmsgw.model.proof import APPROVAL_METADATA, CODE_METADATA, SESSION_METADATA
from kmsgw.v1 import key_service_pb2 as wire
from tests.fakes.scripted_gateway import Foretold, Refusal, ScriptedGateway, unavailable
from tests.unit.client.driver import Driver, Use

ROTATE, GET, LIST = "KeyService/RotateKey", "KeyService/GetKey", "KeyService/ListKeys"
ROTATED = wire.RotateKeyResponse(key=wire.Key(key_id="ehr", primary_version=2))
WANTS_CODE = Refusal(grpc.StatusCode.FAILED_PRECONDITION, "A code is wanted.", "CODE_REQUIRED")
REFUSED = Refusal(grpc.StatusCode.UNAUTHENTICATED, "The code is refused.", "CODE_REFUSED")


def rotating(**proof: Any) -> Use:
    return lambda client: client.proving(**proof).keys.rotate("ehr")


def test_a_client_proves_nothing_unless_told(gateway: ScriptedGateway, drive: Driver) -> None:
    script = gateway.script(ROTATE, ROTATED)

    drive(gateway, lambda client: client.keys.rotate("ehr"))

    assert script.metadata == [{}]


def test_a_view_carries_what_it_was_given(gateway: ScriptedGateway, drive: Driver) -> None:
    script = gateway.script(ROTATE, ROTATED)

    drive(gateway, rotating(session="s-1", code="123456", approval="a-1"))

    assert script.metadata == [{SESSION_METADATA: "s-1", CODE_METADATA: "123456", APPROVAL_METADATA: "a-1"}]


def test_a_view_of_a_view_keeps_what_is_left_out_and_the_client_stays_as_it_was(gateway: ScriptedGateway) -> None:
    script = gateway.script(ROTATE, ROTATED)

    with Client(gateway.address, gateway.credentials()) as client:
        session = client.proving(session="s-1")
        session.proving(approval="a-1").keys.rotate("ehr")
        session.keys.rotate("ehr")
        client.keys.rotate("ehr")

    assert script.metadata == [{SESSION_METADATA: "s-1", APPROVAL_METADATA: "a-1"}, {SESSION_METADATA: "s-1"}, {}]


def test_the_pages_of_a_list_carry_the_session(gateway: ScriptedGateway, drive: Driver) -> None:
    pages = [wire.ListKeysResponse(next_page_token="2"), wire.ListKeysResponse()]
    script = gateway.script(LIST, *pages)

    drive(gateway, lambda client: client.proving(session="s-1").keys.list())

    assert script.metadata == [{SESSION_METADATA: "s-1"}] * 2


def test_a_view_shares_the_connection(gateway: ScriptedGateway) -> None:
    gateway.script(ROTATE, ROTATED)
    client = Client(gateway.address, gateway.credentials())
    client.proving(session="s-1").close()

    with pytest.raises(Unavailable, match="closed"):
        client.keys.rotate("ehr")


def test_a_code_is_never_sent_again_after_a_call_that_may_have_arrived(gateway: ScriptedGateway, drive: Driver) -> None:
    """The gateway consumes it before it fails: the second attempt would be a wrong code, and count as one."""
    script = gateway.script(GET, unavailable(retry_after=0.0))

    with pytest.raises(Unavailable):
        drive(gateway, lambda client: client.proving(code="123456").keys.get("ehr"))
    assert len(script.requests) == 1

    with pytest.raises(Unavailable):
        drive(gateway, lambda client: client.proving(session="s-1").keys.get("ehr"))
    assert len(script.requests) == 5


def test_a_code_is_asked_for_when_the_gateway_wants_one(gateway: ScriptedGateway, drive: Driver) -> None:
    script = gateway.script(ROTATE, WANTS_CODE, REFUSED, ROTATED)
    asked: list[tuple[Reason, str]] = []

    def source(error: KmsgwError) -> str:
        asked.append((error.reason, error.request_id))
        return ["111111", "222222"][len(asked) - 1]

    made = drive(gateway, rotating(session="s-1", code=source))

    assert made.primary_version == 2
    assert asked == [(Reason.CODE_REQUIRED, "request-7"), (Reason.CODE_REFUSED, "request-7")]
    assert [each.get(CODE_METADATA) for each in script.metadata] == [None, "111111", "222222"]


def test_a_source_that_gives_up_ends_the_call(gateway: ScriptedGateway, drive: Driver) -> None:
    script = gateway.script(ROTATE, WANTS_CODE)

    def give_up(error: KmsgwError) -> str:
        raise error

    with pytest.raises(KmsgwError) as caught:
        drive(gateway, rotating(code=give_up))

    assert (caught.value.reason, len(script.requests)) == (Reason.CODE_REQUIRED, 1)


def test_a_call_that_was_refused_for_the_code_in_its_request_is_not_sent_again(
    gateway: ScriptedGateway, drive: Driver
) -> None:
    script = gateway.script("OfficerService/Login", REFUSED)

    with pytest.raises(KmsgwError):
        drive(gateway, lambda client: client.proving(code=lambda _: "222222").login("111111"))

    assert len(script.requests) == 1


def test_a_code_from_a_source_serves_one_call_alone(gateway: ScriptedGateway) -> None:
    script = gateway.script(ROTATE, WANTS_CODE, ROTATED, WANTS_CODE, ROTATED)
    codes = iter(["111111", "222222"])

    with Client(gateway.address, gateway.credentials()) as client:
        view = client.proving(code=lambda _: next(codes))
        view.keys.rotate("ehr")
        view.keys.rotate("ehr")

    assert [each.get(CODE_METADATA) for each in script.metadata] == [None, "111111", None, "222222"]


def test_an_error_names_the_approval_that_is_wanted(gateway: ScriptedGateway, drive: Driver) -> None:
    code = grpc.StatusCode.FAILED_PRECONDITION
    gateway.script(ROTATE, Refusal(code, "It wants approval.", "APPROVAL_REQUIRED", approval="a-17"), REFUSED)

    for expected in ("a-17", ""):
        with pytest.raises(KmsgwError) as caught:
            drive(gateway, rotating())
        assert caught.value.approval_id == expected


@pytest.mark.parametrize(
    ("said", "heard"), [("2", [2]), ("0", []), ("", []), ("two", []), ("-1", []), ("9" * 40, []), (None, [])]
)
def test_a_dry_run_foresees_how_many_officers_the_request_would_want(
    gateway: ScriptedGateway, drive: Driver, said: str | None, heard: list[int]
) -> None:
    gateway.script(ROTATE, ROTATED if said is None else Foretold(ROTATED, said))
    foreseen: list[int] = []

    rotated = drive(
        gateway,
        lambda client: client.proving(foreseen=foreseen.append).proving(session="s-1").keys.rotate("ehr", dry_run=True),
    )

    assert rotated.primary_version == 2
    assert foreseen == heard


@pytest.mark.parametrize("name", ["session", "code", "approval"])
@pytest.mark.parametrize("text", ["line\nend", "\x00secret", "sécret", " secret", "secret" * 100])
def test_what_can_not_be_sent_is_refused_without_being_quoted(gateway: ScriptedGateway, name: str, text: str) -> None:
    proof: dict[str, Any] = {name: text}
    with Client(gateway.address, gateway.credentials()) as client, pytest.raises(InvalidRequest) as caught:
        client.proving(**proof)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_view_shows_no_secret(gateway: ScriptedGateway, kind: type[Client]) -> None:
    view = kind(gateway.address, gateway.credentials()).proving(session="s3cret", code="123456", approval="a-1")

    shown = repr(view) + repr(vars(view)) + repr(view._transport.bearing)

    assert "s3cret" not in shown
    assert "123456" not in shown
    assert "a-1" in shown
