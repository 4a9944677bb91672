"""The verbs of imports, through both flavours."""

from datetime import UTC, datetime

import pytest

from kmsgw.client import (
    ImportedKey,
    ImportParameters,
    InternalError,
    InvalidRequest,
    KeyInfo,
    KeyState,
    KeyVersionInfo,
    Origin,
)
from kmsgw.v1 import key_service_pb2 as wire
from tests.fakes.scripted_gateway import ScriptedGateway
from tests.unit.client.driver import Driver, Use
from tests.unit.client.test_keys import stamp

MADE = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
PARAMETERS = wire.CreateImportParametersResponse(
    public_key=b"key",
    token=b"token",
    expire_time=stamp(MADE),
    algorithm="RSA_OAEP_SHA256_AES_KWP",
    computes_check_value=True,
)


def test_parameters_are_asked_for_a_key_and_a_provider(gateway: ScriptedGateway, drive: Driver) -> None:
    script = gateway.script("KeyService/CreateImportParameters", PARAMETERS)

    found = drive(gateway, lambda client: client.keys.import_parameters("ehr", provider="hsm"))

    assert found == ImportParameters(b"key", b"token", MADE, True)
    assert "token'" not in repr(found)
    sent = wire.CreateImportParametersRequest.FromString(script.requests[0])
    assert sent == wire.CreateImportParametersRequest(key="ehr", provider="hsm")


def test_a_wrap_that_the_sdk_does_not_know_is_not_guessed(gateway: ScriptedGateway, drive: Driver) -> None:
    other = wire.CreateImportParametersResponse(public_key=b"key", token=b"token", algorithm="RSA_OAEP_SHA512")
    gateway.script("KeyService/CreateImportParameters", other)

    with pytest.raises(InternalError, match="does not know"):
        drive(gateway, lambda client: client.keys.import_parameters("ehr"))


def test_an_import_sends_all_that_it_is_given_and_answers_key_and_version(
    gateway: ScriptedGateway, drive: Driver
) -> None:
    key = wire.Key(
        key_id="ehr",
        tenant="clinic",
        provider="hsm",
        state=wire.KEY_STATE_ENABLED,
        primary_version=1,
        create_time=stamp(MADE),
        update_time=stamp(MADE),
    )
    version = wire.KeyVersion(
        key_id="ehr",
        version=1,
        state=wire.KEY_STATE_ENABLED,
        create_time=stamp(MADE),
        reason="old system",
        origin=wire.KEY_VERSION_ORIGIN_IMPORTED,
    )
    response = wire.ImportKeyResponse(key=key, key_version=version, check_value="DC95C0")
    script = gateway.script("KeyService/ImportKey", response)

    found = drive(
        gateway,
        lambda client: client.keys.import_key(
            "ehr",
            token=b"token",
            wrapped_material=b"wrapped",
            reason="old system",
            check_value="DC95C0",
            tenant="clinic",
            provider="hsm",
            description="Records",
            labels={"team": "ward"},
        ),
    )

    assert found == ImportedKey(
        KeyInfo("ehr", "clinic", "hsm", KeyState.ENABLED, 1, MADE, MADE),
        KeyVersionInfo("ehr", 1, KeyState.ENABLED, MADE, "old system", origin=Origin.IMPORTED),
        "DC95C0",
    )
    assert wire.ImportKeyRequest.FromString(script.requests[0]) == wire.ImportKeyRequest(
        key="ehr",
        token=b"token",
        wrapped_material=b"wrapped",
        reason="old system",
        check_value="DC95C0",
        tenant="clinic",
        provider="hsm",
        description="Records",
        labels={"team": "ward"},
    )


@pytest.mark.parametrize(
    "use",
    [
        lambda client: client.keys.import_parameters("Not A Name"),
        lambda client: client.keys.import_key("ehr", token=b"t", wrapped_material=b"w", reason=" "),
        lambda client: client.keys.import_key("ehr", token="text", wrapped_material=b"w", reason="why"),
        lambda client: client.keys.import_key("ehr", token=b"t", wrapped_material=bytes(20_000), reason="why"),
        lambda client: client.keys.import_key("ehr", token=b"t", wrapped_material=b"w", reason="a\nb"),
    ],
)
def test_what_can_not_be_right_is_refused_before_it_is_sent(gateway: ScriptedGateway, drive: Driver, use: Use) -> None:
    with pytest.raises(InvalidRequest):
        drive(gateway, use)
