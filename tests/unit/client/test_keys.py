"""The verbs of KeyService, through both flavours."""

from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from kmsgw.client import InternalError, InvalidRequest, KeyInfo, KeyState, KeyVersionInfo, Origin, RotationPolicy
from kmsgw.v1 import key_service_pb2 as wire
from tests.fakes.scripted_gateway import ScriptedGateway
from tests.unit.client.driver import Driver, Use

CREATED = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
UPDATED = datetime(2026, 4, 2, tzinfo=UTC)


def stamp(moment: datetime) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(moment)
    return made


KEY = wire.Key(
    key_id="ehr",
    tenant="clinic",
    provider="hsm",
    state=wire.KEY_STATE_ENABLED,
    primary_version=2,
    description="Records",
    labels={"team": "ward"},
    aliases=["alias/records"],
    create_time=stamp(CREATED),
    update_time=stamp(UPDATED),
    etag="17",
)
KEY_INFO = KeyInfo(
    "ehr", "clinic", "hsm", KeyState.ENABLED, 2, CREATED, UPDATED, "Records", {"team": "ward"}, ("alias/records",), "17"
)
VERSION = wire.KeyVersion(
    key_id="ehr", version=1, state=wire.KEY_STATE_DISABLED, create_time=stamp(CREATED), reason="first"
)
ROTATION = RotationPolicy(timedelta(days=90), 5, 6, 7)
ROTATION_SENT = wire.RotationPolicy(period=Duration(seconds=90 * 86_400), max_messages=5, max_bytes=6, max_wraps=7)
VERSION_INFO = KeyVersionInfo("ehr", 1, KeyState.DISABLED, CREATED, "first")


@pytest.mark.parametrize(
    ("method", "use", "request_sent", "response"),
    [
        (
            "CreateKey",
            lambda client: client.keys.create(
                "ehr", tenant="clinic", provider="hsm", description="Records", labels={"team": "ward"}, dry_run=True
            ),
            wire.CreateKeyRequest(
                key_id="ehr",
                tenant="clinic",
                provider="hsm",
                description="Records",
                labels={"team": "ward"},
                dry_run=True,
            ),
            wire.CreateKeyResponse(key=KEY),
        ),
        ("CreateKey", lambda client: client.keys.create(), wire.CreateKeyRequest(), wire.CreateKeyResponse(key=KEY)),
        (
            "GetKey",
            lambda client: client.keys.get("alias/records"),
            wire.GetKeyRequest(key="alias/records"),
            wire.GetKeyResponse(key=KEY),
        ),
        (
            "RotateKey",
            lambda client: client.keys.rotate("ehr", reason="yearly"),
            wire.RotateKeyRequest(key="ehr", reason="yearly"),
            wire.RotateKeyResponse(key=KEY, key_version=VERSION),
        ),
        (
            "CreateAlias",
            lambda client: client.keys.create_alias("alias/records", "ehr"),
            wire.CreateAliasRequest(alias="alias/records", key="ehr"),
            wire.CreateAliasResponse(key=KEY),
        ),
        (
            "DeleteAlias",
            lambda client: client.keys.delete_alias("alias/records", dry_run=True),
            wire.DeleteAliasRequest(alias="alias/records", dry_run=True),
            wire.DeleteAliasResponse(key=KEY),
        ),
        (
            "CreateKey",
            lambda client: client.keys.create("ehr", rotation=ROTATION, deletion_protection=True),
            wire.CreateKeyRequest(key_id="ehr", rotation=ROTATION_SENT, deletion_protection=True),
            wire.CreateKeyResponse(key=KEY),
        ),
        (
            "SetMinimumDecryptVersion",
            lambda client: client.keys.set_minimum_decrypt_version("ehr", 2, force=True, reason="rewrapped"),
            wire.SetMinimumDecryptVersionRequest(key="ehr", version=2, force=True, reason="rewrapped"),
            wire.SetMinimumDecryptVersionResponse(key=KEY),
        ),
    ],
)
def test_a_verb_sends_its_request_and_answers_the_key(
    gateway: ScriptedGateway, drive: Driver, method: str, use: Use, request_sent: Message, response: Message
) -> None:
    script = gateway.script(f"KeyService/{method}", response)

    assert drive(gateway, use) == KEY_INFO
    assert type(request_sent).FromString(script.requests[0]) == request_sent


@pytest.mark.parametrize(
    ("options", "values", "paths"),
    [
        ({"description": ""}, wire.Key(), ["description"]),
        ({"labels": {}}, wire.Key(), ["labels"]),
        ({"state": KeyState.DISABLED}, wire.Key(state=wire.KEY_STATE_DISABLED), ["state"]),
        ({"deletion_protection": False}, wire.Key(), ["deletion_protection"]),
        ({"rotation": RotationPolicy()}, wire.Key(rotation=wire.RotationPolicy()), ["rotation"]),
        ({"minimum_encrypt_version": 0}, wire.Key(), ["minimum_encrypt_version"]),
        (
            {"deletion_protection": True, "minimum_encrypt_version": 2},
            wire.Key(deletion_protection=True, minimum_encrypt_version=2),
            ["deletion_protection", "minimum_encrypt_version"],
        ),
        (
            {"description": "New", "labels": {"a": "b"}, "state": KeyState.ENABLED},
            wire.Key(description="New", labels={"a": "b"}, state=wire.KEY_STATE_ENABLED),
            ["description", "labels", "state"],
        ),
    ],
)
def test_update_names_exactly_what_is_given(
    gateway: ScriptedGateway, drive: Driver, options: dict[str, object], values: wire.Key, paths: list[str]
) -> None:
    script = gateway.script("KeyService/UpdateKey", wire.UpdateKeyResponse(key=KEY))

    assert drive(gateway, lambda client: client.keys.update("ehr", etag="17", **options)) == KEY_INFO

    sent = wire.UpdateKeyRequest.FromString(script.requests[0])
    assert (sent.new_values, list(sent.update_mask.paths), sent.etag) == (values, paths, "17")


def test_a_version_is_enabled_and_disabled_by_number(gateway: ScriptedGateway, drive: Driver) -> None:
    enabling = gateway.script("KeyService/EnableKeyVersion", wire.EnableKeyVersionResponse(key_version=VERSION))
    disabling = gateway.script("KeyService/DisableKeyVersion", wire.DisableKeyVersionResponse(key_version=VERSION))

    assert drive(gateway, lambda client: client.keys.enable_version("ehr", 1)) == VERSION_INFO
    assert drive(gateway, lambda client: client.keys.disable_version("ehr", 1)) == VERSION_INFO

    assert wire.EnableKeyVersionRequest.FromString(enabling.requests[0]).version == 1
    assert wire.DisableKeyVersionRequest.FromString(disabling.requests[0]).key == "ehr"


def test_destruction_is_scheduled_and_cancelled_of_a_key_or_a_version(gateway: ScriptedGateway, drive: Driver) -> None:
    pending = wire.Key(key_id="ehr", state=wire.KEY_STATE_PENDING_DESTRUCTION, destroy_time=stamp(UPDATED))
    gone = wire.KeyVersion(key_id="ehr", version=1, state=wire.KEY_STATE_DESTROYED, destroy_time=stamp(UPDATED))
    scheduling = gateway.script("KeyService/ScheduleKeyDestruction", wire.ScheduleKeyDestructionResponse(key=pending))
    cancelling = gateway.script(
        "KeyService/CancelKeyDestruction", wire.CancelKeyDestructionResponse(key=KEY, key_version=gone)
    )

    scheduled = drive(gateway, lambda client: client.keys.schedule_destruction("ehr", reason="end", etag="17"))
    cancelled = drive(gateway, lambda client: client.keys.cancel_destruction("ehr", version=1, reason="needed"))

    assert (scheduled.key.state, scheduled.key.destroy_time) == (KeyState.PENDING_DESTRUCTION, UPDATED)
    assert scheduled.version is None
    assert (cancelled.version.state, cancelled.version.destroy_time) == (KeyState.DESTROYED, UPDATED)
    assert wire.ScheduleKeyDestructionRequest.FromString(scheduling.requests[0]) == wire.ScheduleKeyDestructionRequest(
        key="ehr", days=30, etag="17", reason="end"
    )
    assert wire.CancelKeyDestructionRequest.FromString(cancelling.requests[0]) == wire.CancelKeyDestructionRequest(
        key="ehr", version=1, reason="needed"
    )


def test_a_key_shows_its_protection_and_when_it_is_rotated(gateway: ScriptedGateway, drive: Driver) -> None:
    message = wire.Key(
        key_id="ehr",
        minimum_decrypt_version=2,
        minimum_encrypt_version=1,
        deletion_protection=True,
        rotation=ROTATION_SENT,
        next_rotation_time=stamp(UPDATED),
    )
    gateway.script("KeyService/GetKey", wire.GetKeyResponse(key=message))

    found = drive(gateway, lambda client: client.keys.get("ehr"))

    assert (found.minimum_decrypt_version, found.minimum_encrypt_version) == (2, 1)
    assert (found.deletion_protection, found.rotation, found.next_rotation) == (True, ROTATION, UPDATED)


def test_an_imported_version_says_so(gateway: ScriptedGateway, drive: Driver) -> None:
    imported = wire.KeyVersion(key_id="ehr", version=1, origin=wire.KEY_VERSION_ORIGIN_IMPORTED)
    gateway.script("KeyService/ListKeyVersions", wire.ListKeyVersionsResponse(key_versions=[imported]))

    assert [each.origin for each in drive(gateway, lambda client: client.keys.versions("ehr"))] == [Origin.IMPORTED]


def test_a_list_goes_on_to_the_last_page(gateway: ScriptedGateway, drive: Driver) -> None:
    script = gateway.script(
        "KeyService/ListKeys",
        wire.ListKeysResponse(keys=[wire.Key(key_id="a"), wire.Key(key_id="b")], next_page_token="two"),
        wire.ListKeysResponse(next_page_token="three"),
        wire.ListKeysResponse(keys=[wire.Key(key_id="c")]),
    )

    found = drive(gateway, lambda client: client.keys.list(page_size=2))

    assert [key.key_id for key in found] == ["a", "b", "c"]
    requests = [wire.ListKeysRequest.FromString(request) for request in script.requests]
    assert [(request.page_size, request.page_token) for request in requests] == [(2, ""), (2, "two"), (2, "three")]


def test_versions_are_listed_by_key(gateway: ScriptedGateway, drive: Driver) -> None:
    script = gateway.script("KeyService/ListKeyVersions", wire.ListKeyVersionsResponse(key_versions=[VERSION]))

    assert drive(gateway, lambda client: client.keys.versions("ehr")) == [VERSION_INFO]
    assert wire.ListKeyVersionsRequest.FromString(script.requests[0]).key == "ehr"


def test_a_list_that_turns_in_circles_is_left(gateway: ScriptedGateway, drive: Driver) -> None:
    gateway.script("KeyService/ListKeys", wire.ListKeysResponse(next_page_token="again"))

    with pytest.raises(InternalError, match="same page"):
        drive(gateway, lambda client: client.keys.list())


def test_a_state_of_a_newer_gateway_is_not_taken_for_enabled(gateway: ScriptedGateway, drive: Driver) -> None:
    gateway.script("KeyService/GetKey", wire.GetKeyResponse(key=wire.Key(key_id="ehr", state=7)))  # type: ignore[arg-type]

    assert drive(gateway, lambda client: client.keys.get("ehr")).state is KeyState.DISABLED


def test_a_time_out_of_range_is_internal(gateway: ScriptedGateway, drive: Driver) -> None:
    broken = wire.Key(key_id="ehr", create_time=Timestamp(seconds=1 << 60))
    gateway.script("KeyService/GetKey", wire.GetKeyResponse(key=broken))

    with pytest.raises(InternalError, match="can't be read"):
        drive(gateway, lambda client: client.keys.get("ehr"))


@pytest.mark.parametrize(
    "use",
    [
        lambda client: client.keys.create("Not A Name"),
        lambda client: client.keys.create("ehr", labels={"": "empty"}),
        lambda client: client.keys.create("ehr", description="line\nbreak"),
        lambda client: client.keys.update("ehr"),
        lambda client: client.keys.rotate("ehr", reason="x" * 257),
        lambda client: client.keys.disable_version("ehr", 0),
        lambda client: client.keys.enable_version("ehr", 1 << 32),
        lambda client: client.keys.create_alias("records", "ehr"),
        lambda client: client.keys.delete_alias("alias/"),
        lambda client: client.keys.create("ehr", rotation=RotationPolicy(timedelta(minutes=59))),
        lambda client: client.keys.update("ehr", rotation=RotationPolicy(max_wraps=1 << 31)),
        lambda client: client.keys.update("ehr", state=KeyState.DESTROYED),
        lambda client: client.keys.update("ehr", minimum_encrypt_version=-1),
        lambda client: client.keys.schedule_destruction("ehr", days=6, reason="end"),
        lambda client: client.keys.schedule_destruction("ehr", days=31, reason="end"),
        lambda client: client.keys.set_minimum_decrypt_version("ehr", 0, reason="end"),
    ],
)
def test_what_can_not_be_right_is_refused_before_it_is_sent(gateway: ScriptedGateway, drive: Driver, use: Use) -> None:
    with pytest.raises(InvalidRequest):
        drive(gateway, use)
