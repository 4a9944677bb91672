"""Officers at a real gateway with two workers: enrolled, logged in, and present at what they change."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from kmsgw.client import AccessDenied, KmsgwError, OfficerState, PrincipalKind, Reason, Unauthenticated
from tests.support.gateway import Gateway, make_folder
from tests.support.officers import enrolled

OFFICERS = "[officers]\ninvitation = true\n[approvals]\ncreate_key = 0\n"


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    gateway = make_folder(tmp_path_factory.mktemp("officers") / "kms", second_factor=True)
    gateway.append(OFFICERS)
    yield gateway.start()
    assert gateway.stop() == 0


def invite(gateway: Gateway, officer: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kmsgw.daemon", "--config", str(gateway.config), "--invite", officer]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def reason_of(error: pytest.ExceptionInfo[KmsgwError]) -> Reason:
    return error.value.reason


def everything_written(gateway: Gateway) -> str:
    """Return all that the gateway has written of its calls: the audit logs, and its own log."""
    files = [path for path in (gateway.folder / "audit").rglob("*") if path.is_file()]
    return "".join(path.read_bytes().decode("latin-1") for path in [*files, gateway.log])


def test_an_officer_enrols_by_invitation_logs_in_and_changes_a_key_with_a_code(strict: Gateway) -> None:
    officer = strict.client("key-officer")
    with pytest.raises(Unauthenticated) as stranger:
        list(officer.keys.list())
    assert reason_of(stranger) is Reason.OFFICER_NOT_ENROLLED
    with pytest.raises(AccessDenied) as uninvited:
        officer.officers.enrol()
    assert reason_of(uninvited) is Reason.INVITATION_REFUSED

    printed = invite(strict, "key-officer")
    assert printed.returncode == 0
    invitation = printed.stdout.strip()
    device, recovery = enrolled(officer, invitation)
    assert len(set(recovery)) == 10
    with pytest.raises(KmsgwError) as twice:
        officer.officers.enrol(invitation)
    assert reason_of(twice) is Reason.OFFICER_ENROLLED
    assert invite(strict, "key-officer").returncode == 1

    session = officer.login(recovery[0].upper())
    assert session.recovery_codes == 9
    present = officer.proving(session=session.session)
    assert present.who_am_i().session_expires == session.expires
    assert list(present.keys.list()) == []
    with pytest.raises(AccessDenied) as codeless:
        present.keys.create("ehr")
    assert reason_of(codeless) is Reason.CODE_REQUIRED
    present.keys.create("ehr", dry_run=True)

    # Of two calls with one code, on whichever workers, one is served.
    code, answers = device.code(), []
    for key_id in ("ehr", "images"):
        with strict.client("key-officer") as connection:
            try:
                answers.append(connection.proving(session=session.session, code=code).keys.create(key_id).key_id)
            except AccessDenied as refused:
                answers.append(refused.reason)
    assert answers == ["ehr", Reason.CODE_REFUSED]
    assert present.keys.get("ehr").primary_version == 1

    present.logout()
    with pytest.raises(Unauthenticated) as gone:
        list(present.keys.list())
    assert reason_of(gone) is Reason.SESSION_REQUIRED
    written = everything_written(strict)
    assert "CODE_REFUSED" in written
    for secret in (invitation, device.secret, session.session, code, *recovery):
        assert secret not in written


def test_an_administrator_sees_how_far_each_officer_is(strict: Gateway) -> None:
    client = strict.client("administrator")
    _, recovery = enrolled(client, invite(strict, "administrator").stdout.strip())
    with pytest.raises(AccessDenied):
        client.login("0" * 16)
    session = client.login(recovery[0])
    officers = {each.officer_id: each for each in client.proving(session=session.session).officers.list()}
    assert officers["administrator"].state is OfficerState.ACTIVE
    assert officers["administrator"].recovery_codes == 9
    assert officers["auditor"].state is OfficerState.NOT_ENROLLED
    identity = strict.client("ehr-writer").who_am_i()
    assert (identity.kind, identity.officer_state) == (PrincipalKind.SERVICE, None)


def test_only_officers_of_the_configuration_are_invited(strict: Gateway) -> None:
    for name in ("ehr-writer", "nobody"):
        refused = invite(strict, name)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "no officer is named" in refused.stderr
