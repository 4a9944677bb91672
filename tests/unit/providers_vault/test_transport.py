"""What OpenBao's answers and requests' exceptions become, and that nothing of theirs travels on."""

from pathlib import Path

import hvac
import pytest
import requests
from hvac import exceptions

from kmsgw.errors import KmsgwError, ProviderUnavailable, Reason
from kmsgw.providers.vault.transport import Cause, Endpoint, RefusedError, send

CANARY = "canary-4711"


@pytest.fixture
def client(tmp_path: Path) -> hvac.Client:
    return Endpoint("https://127.0.0.1:1", tmp_path / "ca.pem", "", 1.0).open(None)


def outcome(client: hvac.Client, raised: Exception) -> KmsgwError | RefusedError:
    """Return what becomes of an exception inside a request."""

    def request(_: hvac.Client) -> object:
        raise raised

    with pytest.raises((KmsgwError, RefusedError)) as caught:
        send(client, request)
    assert isinstance(caught.value, KmsgwError | RefusedError)
    return caught.value


def refusal(client: hvac.Client, kind: type[exceptions.VaultError], *texts: str) -> Cause:
    found = outcome(client, kind(errors=list(texts)))
    assert isinstance(found, RefusedError)
    return found.cause


@pytest.mark.parametrize(
    "raised",
    [
        exceptions.InvalidRequest(CANARY, errors=[CANARY], text=CANARY, json={"a": CANARY}),
        exceptions.Forbidden(CANARY, errors=[CANARY]),
        exceptions.VaultDown(CANARY),
        exceptions.UnexpectedError(CANARY),
        requests.exceptions.SSLError(CANARY),
        requests.exceptions.ReadTimeout(CANARY),
        requests.exceptions.ConnectionError(CANARY),
        requests.exceptions.ChunkedEncodingError(CANARY),
        OSError(CANARY),
    ],
    ids=lambda raised: type(raised).__name__,
)
def test_nothing_of_a_librarys_exception_travels_on(client: hvac.Client, raised: Exception) -> None:
    error = outcome(client, raised)
    assert error.__cause__ is None
    assert error.__context__ is None
    assert CANARY not in f"{error} {error!r} {vars(error)}"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("cipher: message authentication failed", Cause.NOT_AUTHENTIC),
        ("invalid ciphertext: unable to decrypt", Cause.NOT_AUTHENTIC),
        ("invalid ciphertext length", Cause.NOT_AUTHENTIC),
        ("encryption key not found", Cause.NO_KEY),
        ("ciphertext or signature version is disallowed by policy (too old)", Cause.NO_VERSION),
        ("invalid ciphertext: version is too new", Cause.NO_VERSION),
        ("requested version for encryption is higher than the latest key version", Cause.NO_VERSION),
        ("something that no version says yet", Cause.OTHER),
    ],
)
def test_causes_of_bad_requests_are_told_apart(client: hvac.Client, text: str, cause: Cause) -> None:
    assert refusal(client, exceptions.InvalidRequest, text) is cause


def test_a_missing_key_and_a_missing_mount_are_told_apart(client: hvac.Client) -> None:
    assert refusal(client, exceptions.InvalidPath) is Cause.NOT_FOUND
    assert refusal(client, exceptions.InvalidPath, "no handler for route") is Cause.OTHER


@pytest.mark.parametrize("kind", [exceptions.VaultDown, exceptions.InternalServerError, exceptions.BadGateway])
def test_an_openbao_that_is_down_is_worth_another_try(client: hvac.Client, kind: type[exceptions.VaultError]) -> None:
    error = outcome(client, kind(errors=["x"]))
    assert isinstance(error, ProviderUnavailable)
    assert error.reason is Reason.PROVIDER_UNAVAILABLE
    assert error.retry_after is not None


@pytest.mark.parametrize(
    ("status", "token", "reason"),
    [
        (200, "", Reason.PROVIDER_MISCONFIGURED),
        (302, "", Reason.PROVIDER_MISCONFIGURED),
        (307, "", Reason.PROVIDER_UNAVAILABLE),
        (200, "s.token", Reason.PROVIDER_UNAVAILABLE),
        (307, "s.token", Reason.PROVIDER_UNAVAILABLE),
    ],
)
def test_what_is_not_json_or_leads_elsewhere_is_no_answer(
    client: hvac.Client, status: int, token: str, reason: Reason
) -> None:
    answer = requests.Response()
    answer.status_code = status
    client.token = token
    with pytest.raises(ProviderUnavailable) as caught:
        send(client, lambda _: answer)
    assert caught.value.reason is reason


def test_an_empty_answer_is_an_answer(client: hvac.Client) -> None:
    answer = requests.Response()
    answer.status_code = 204
    assert send(client, lambda _: answer) == {}


def test_a_client_verifies_follows_nothing_and_trusts_no_environment(client: hvac.Client, tmp_path: Path) -> None:
    assert client.session.verify == str(tmp_path / "ca.pem")
    assert client.session.trust_env is False
    assert client.allow_redirects is False
    assert not client.token
