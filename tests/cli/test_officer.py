"""Officers at the command line: enrolment, sessions, codes. What they see, to the letter."""

import json
import os
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
import segno

from kmsgw.cli.qr_code import QUIET_ZONE
from kmsgw.v1 import key_service_pb2, system_service_pb2
from kmsgw.v1 import officer_service_pb2 as wire
from tests.cli.command_line import Transcript
from tests.cli.officer_desk import EXPIRES, Desk, stamp
from tests.fakes.scripted_gateway import Refusal, ScriptedGateway
from tests.support.terminal import plain

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
URI = f"otpauth://totp/kmsgw:key-officer?secret={SECRET}&issuer=kmsgw"
ENROLMENT = wire.EnrollOfficerResponse(secret=SECRET, uri=URI)
RECOVERY = [f"abcd-{number:04}" for number in range(10)]
ROTATED = key_service_pb2.RotateKeyResponse(
    key=key_service_pb2.Key(
        key_id="ehr", state=key_service_pb2.KEY_STATE_ENABLED, primary_version=2, create_time=stamp(EXPIRES)
    )
)
DENIED = grpc.StatusCode.PERMISSION_DENIED
WANTS_CODE = Refusal(DENIED, "This wants a fresh one-time code in the same call.", "CODE_REQUIRED", advice="Give one.")
REFUSED = Refusal(DENIED, "The code is not accepted.", "CODE_REFUSED", advice="Wait for the next code.")
NO_SESSION = Refusal(grpc.StatusCode.UNAUTHENTICATED, "The call carries no session.", "SESSION_REQUIRED")
ROTATE = "KeyService/RotateKey"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with ScriptedGateway() as gateway:
        yield Desk.of(tmp_path, gateway)


class TestEnrolment:
    def test_piped_it_is_text_and_the_next_command(self, desk: Desk) -> None:
        desk.gateway.script("OfficerService/EnrollOfficer", ENROLMENT)

        assert desk.kmsgw("--profile", "key-officer", "officer", "enrol") == Transcript(
            0,
            f"secret  {SECRET}\nuri     {URI}\n".encode(),
            "Scan it with an authenticator app, or type the secret in: time-based, SHA-1, 6 digits, 30 seconds.\n"
            "Next: kmsgw --profile key-officer officer confirm\n",
        )

    def test_programs_get_the_fields_of_the_contract(self, desk: Desk) -> None:
        desk.gateway.script("OfficerService/EnrollOfficer", ENROLMENT)

        shown = desk.kmsgw("officer", "enrol", "-o", "json")

        assert (json.loads(shown.text), shown.stderr) == ({"secret": SECRET, "uri": URI}, "")

    @pytest.mark.parametrize("colour", [True, False])
    def test_at_a_terminal_there_is_a_qr_code_of_the_uri(self, desk: Desk, colour: bool) -> None:
        desk.gateway.script("OfficerService/EnrollOfficer", ENROLMENT)

        with desk.terminal("officer", "enrol", env={} if colour else {"NO_COLOR": "1"}) as terminal:
            assert terminal.wait() == 0

        assert ("\x1b[" in terminal.screen) is colour
        lines = plain(terminal.screen).splitlines()
        drawn = [line for line in lines if set(line) <= set("█▀▄ ") and line]
        halves = {"█": (0, 0), "▀": (0, 1), "▄": (1, 0), " ": (1, 1)}
        modules = [[halves[glyph][half] for glyph in line] for line in drawn for half in (0, 1)]
        wanted = [list(row) for row in segno.make(URI, micro=False, error="l").matrix_iter(border=QUIET_ZONE)]
        assert modules[: len(wanted)] == wanted
        assert "secret  JBSW Y3DP EHPK 3PXP JBSW Y3DP EHPK 3PXP" in lines
        assert f"uri     {URI}" in lines

    def test_a_terminal_too_narrow_for_the_qr_code_gets_the_text(self, desk: Desk) -> None:
        desk.gateway.script("OfficerService/EnrollOfficer", ENROLMENT)

        with desk.terminal("officer", "enrol", columns=40) as terminal:
            assert terminal.wait() == 0

        assert "█" not in terminal.screen
        assert terminal.screen.startswith("The terminal is too narrow for the QR code, or lacks its characters.\n")

    def test_the_qr_code_can_be_left_out(self, desk: Desk) -> None:
        desk.gateway.script("OfficerService/EnrollOfficer", ENROLMENT)

        with desk.terminal("officer", "enrol", "--no-qr") as terminal:
            assert terminal.wait() == 0

        assert terminal.screen.startswith("secret  JBSW")

    def test_an_invitation_is_read_from_a_file_or_asked_for_without_echo(self, desk: Desk) -> None:
        wanted = Refusal(DENIED, "Enrolling wants an invitation that is in force.", "INVITATION_REFUSED")
        script = desk.gateway.script("OfficerService/EnrollOfficer", ENROLMENT, wanted, ENROLMENT)
        (desk.folder / "invitation").write_text("inv-1\n")

        assert desk.kmsgw("officer", "enrol", "--invitation-file", str(desk.folder / "invitation")).code == 0
        with desk.terminal("officer", "enrol", "--no-qr") as terminal:
            terminal.expect("Invitation: ")
            terminal.enter("inv-2")
            assert terminal.wait() == 0

        sent = [wire.EnrollOfficerRequest.FromString(each).invitation for each in script.requests]
        assert sent == ["inv-1", "", "inv-2"]
        assert "inv-2" not in terminal.screen

    def test_without_a_terminal_a_missing_invitation_is_the_gateways_refusal(self, desk: Desk) -> None:
        advice = "Let the operator run `kmsgwd --invite key-officer` and give you what it prints."
        desk.gateway.script(
            "OfficerService/EnrollOfficer",
            Refusal(DENIED, "Enrolling wants an invitation that is in force.", "INVITATION_REFUSED", advice=advice),
        )

        assert desk.kmsgw("officer", "enrol") == Transcript(
            3, b"", f"Error: Enrolling wants an invitation that is in force. (INVITATION_REFUSED)\nNext: {advice}\n"
        )

    def test_confirming_takes_two_codes_and_shows_the_recovery_codes(self, desk: Desk) -> None:
        script = desk.gateway.script(
            "OfficerService/ConfirmOfficer", wire.ConfirmOfficerResponse(recovery_codes=RECOVERY)
        )

        shown = desk.kmsgw("officer", "confirm", "--code-file", desk.codes("111111", "222222"))

        assert shown == Transcript(
            0,
            "".join(f"{code}\n" for code in RECOVERY).encode(),
            "These recovery codes are not shown again. Keep them apart from the device, where nobody else looks:\n"
            "each is good for one login without it.\n"
            "Next: kmsgw login\n",
        )
        sent = wire.ConfirmOfficerRequest.FromString(script.requests[0])
        assert (sent.first_code, sent.second_code) == ("111111", "222222")

    def test_typed_codes_are_hidden_and_what_can_not_be_right_is_not_sent(self, desk: Desk) -> None:
        script = desk.gateway.script(
            "OfficerService/ConfirmOfficer", wire.ConfirmOfficerResponse(recovery_codes=RECOVERY)
        )

        with desk.terminal("officer", "confirm") as terminal:
            for prompt, typed in (
                ("One-time code of key-officer: ", "11111"),
                ("has six digits.\nOne-time code of key-officer: ", "111 111"),
                ("The code after it: ", "111111"),
                ("That is the same code: wait until the device shows the next.\nThe code after it: ", "222222"),
            ):
                terminal.expect(prompt)
                terminal.enter(typed)
            assert terminal.wait() == 0

        assert len(script.requests) == 1
        assert not any(code in terminal.screen for code in ("11111", "111 111", "222222"))


class TestSession:
    def test_it_is_kept_for_the_next_commands_where_nobody_else_can_read_it(self, desk: Desk) -> None:
        script = desk.gateway.script(ROTATE, ROTATED)
        desk.log_in("s3ssion")

        assert desk.kmsgw("key", "rotate", "ehr").code == 0

        assert script.metadata == [{"kmsgw-session": "s3ssion"}]
        (file,) = desk.sessions.iterdir()
        assert file.name.startswith("key-officer-")
        assert file.stat().st_mode & 0o777 == 0o600
        assert desk.sessions.stat().st_mode & 0o777 == 0o700

    def test_logging_in_says_until_when_and_never_the_session(self, desk: Desk) -> None:
        answer = wire.LoginResponse(session="s3ssion", expire_time=stamp(EXPIRES), idle_seconds=900, recovery_codes=2)
        script = desk.gateway.script("OfficerService/Login", answer)

        shown = desk.kmsgw("login", "--code-file", desk.codes("123456"))
        programs = desk.kmsgw("login", "--quiet", "-o", "json", "--code-file", desk.codes("123456"))

        assert shown == Transcript(
            0,
            b"",
            "Logged in as key-officer until 2999-01-31T08:00:00Z; 15 minutes without a call end it.\n"
            "Recovery codes left: 2. Whoever has none and no device must be reset.\n",
        )
        assert json.loads(programs.text) == {
            "expire_time": "2999-01-31T08:00:00Z",
            "idle_seconds": 900,
            "recovery_codes": 2,
        }
        assert [wire.LoginRequest.FromString(each).code for each in script.requests] == ["123456"] * 2

    def test_a_typed_code_that_was_refused_can_be_typed_again_twice(self, desk: Desk) -> None:
        script = desk.gateway.script("OfficerService/Login", REFUSED)

        with desk.terminal("login") as terminal:
            for code in ("111111", "222222", "333333"):
                terminal.expect("One-time code of key-officer: ")
                terminal.enter(code)
            assert terminal.wait() == 3

        assert terminal.screen == (
            "One-time code of key-officer: \nThe code is not accepted. Wait for the next code.\n"
            "One-time code of key-officer: \nThe code is not accepted. Wait for the next code.\n"
            "One-time code of key-officer: \n"
            "Error: The code is not accepted. (CODE_REFUSED)\nNext: Wait for the next code.\n"
        )
        assert len(script.requests) == 3

    def test_a_code_from_a_file_is_sent_once(self, desk: Desk) -> None:
        script = desk.gateway.script("OfficerService/Login", REFUSED)

        assert desk.kmsgw("login", "--code-file", desk.codes("111111", "222222")).code == 3
        assert len(script.requests) == 1

    def test_a_recovery_code_can_be_typed_instead(self, desk: Desk) -> None:
        answer = wire.LoginResponse(session="s", expire_time=stamp(EXPIRES), idle_seconds=900, recovery_codes=9)
        script = desk.gateway.script("OfficerService/Login", answer)

        with desk.terminal("login") as terminal:
            terminal.expect("One-time code of key-officer: ")
            terminal.enter("K7m2-abcd-0001-efgh")
            assert terminal.wait() == 0

        assert wire.LoginRequest.FromString(script.requests[0]).code == "K7m2-abcd-0001-efgh"

    def test_what_can_be_no_code_is_not_sent(self, desk: Desk) -> None:
        script = desk.gateway.script("OfficerService/Login", REFUSED)
        fault = "A one-time code has six digits, and a recovery code 16 letters and digits."

        with desk.terminal("login") as terminal:
            for code in ("abc", "1234567", "k7m2-abcd-0001"):
                terminal.expect("One-time code of key-officer: ")
                terminal.enter(code)
                terminal.expect(fault)
            terminal.expect("One-time code of key-officer: ")
            terminal.enter("111111")
            terminal.expect("One-time code of key-officer: ")
            assert len(script.requests) == 1
        for codes in ("abc", "１２３４５６", "k7m2-abcd-0001-efg"):
            assert desk.kmsgw("login", "--code-file", desk.codes(codes)) == Transcript(
                1, b"", f"Error: {fault}\nNext: Give a code with --code-file FILE or --code-fd N.\n"
            )
        assert len(script.requests) == 1

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
    def test_a_file_that_others_can_read_is_refused(self, desk: Desk, mode: int) -> None:
        script = desk.gateway.script(ROTATE, ROTATED)
        desk.log_in()
        (file,) = desk.sessions.iterdir()
        file.chmod(mode)

        assert desk.kmsgw("key", "rotate", "ehr") == Transcript(
            1,
            b"",
            f"Error: {file}: mode {mode:04o} lets others read the session.\n"
            f"Next: Run `rm {file}` and `kmsgw login`: whoever read it has your session.\n",
        )
        assert script.requests == []

    def test_a_folder_that_others_can_enter_is_refused(self, desk: Desk) -> None:
        desk.log_in()
        desk.sessions.chmod(0o755)

        for command in (["key", "list"], ["login", "--code-file", desk.codes("123456")]):
            assert desk.kmsgw(*command) == Transcript(
                1,
                b"",
                f"Error: {desk.sessions}: mode 0755 lets others in.\n"
                f"Next: Run `chmod 700 {desk.sessions}`, then `kmsgw login` anew.\n",
            )

    def test_a_link_in_its_place_is_not_followed(self, desk: Desk) -> None:
        desk.log_in()
        (file,) = desk.sessions.iterdir()
        elsewhere = desk.folder / "elsewhere"
        file.rename(elsewhere)
        file.symlink_to(elsewhere)

        assert desk.kmsgw("key", "list").code == 1

    @pytest.mark.parametrize("content", ["", "{}", "[1]", '{"session": 1, "expire_time": "2999-01-31T08:00:00+00:00"}'])
    def test_a_file_that_is_none_is_told_without_its_content(self, desk: Desk, content: str) -> None:
        desk.log_in()
        (file,) = desk.sessions.iterdir()
        file.write_text(content)

        assert desk.kmsgw("key", "list").stderr == (
            f"Error: {file} is not a session of kmsgw.\nNext: Run `rm {file}` and `kmsgw login`.\n"
        )

    def test_it_goes_to_no_other_gateway_and_with_no_other_certificate(self, desk: Desk, tmp_path: Path) -> None:
        script = desk.gateway.script(ROTATE, ROTATED)
        desk.log_in()
        by_address = desk.kmsgw("key", "rotate", "ehr", "--address", f"127.0.0.1:{desk.gateway.port}")
        issued = desk.gateway.ca.issue_client("key-officer")
        (desk.folder / "me.pem").write_bytes(issued.certificate)
        (desk.folder / "me.key").write_bytes(issued.private_key)
        by_certificate = desk.kmsgw("key", "rotate", "ehr")

        assert (by_address.code, by_certificate.code) == (0, 0)
        assert script.metadata == [{}, {}]

    def test_one_that_has_ended_is_not_sent(self, desk: Desk) -> None:
        script = desk.gateway.script(ROTATE, ROTATED)
        desk.log_in(expires=datetime.now(UTC) - timedelta(seconds=1))

        desk.kmsgw("key", "rotate", "ehr")

        assert script.metadata == [{}]

    def test_where_one_is_wanted_the_next_command_is_said_as_it_has_to_be_typed(self, desk: Desk) -> None:
        desk.gateway.script(ROTATE, NO_SESSION)

        assert desk.kmsgw("--profile", "key-officer", "key", "rotate", "ehr") == Transcript(
            3,
            b"",
            "Error: The call carries no session. (SESSION_REQUIRED)\n"
            "Next: Log in with `kmsgw --profile key-officer login`, then repeat the command.\n",
        )

    def test_logging_out_ends_it_here_and_there(self, desk: Desk) -> None:
        script = desk.gateway.script("OfficerService/Logout", wire.LogoutResponse())
        desk.log_in("s3ssion")

        assert desk.kmsgw("logout") == Transcript(0, b"", "Logged out.\n")
        assert desk.kmsgw("logout") == Transcript(0, b"", "You are not logged in.\n")
        assert desk.kmsgw("logout", "-o", "yaml") == Transcript(0, b"logged_out: false\n", "You are not logged in.\n")
        assert script.metadata == [{"kmsgw-session": "s3ssion"}]
        assert list(desk.sessions.iterdir()) == []

    def test_logging_out_forgets_it_where_the_gateway_is_away_or_had_ended_it(self, desk: Desk) -> None:
        desk.gateway.script("OfficerService/Logout", Refusal(grpc.StatusCode.UNAVAILABLE, "Away."), NO_SESSION)

        desk.log_in()
        assert desk.kmsgw("logout", "--timeout", "1").code == 2
        assert list(desk.sessions.iterdir()) == []
        desk.log_in()
        assert desk.kmsgw("logout") == Transcript(0, b"", "Logged out.\n")


class TestCode:
    def test_it_is_asked_for_when_the_gateway_wants_one_and_never_shown(self, desk: Desk) -> None:
        script = desk.gateway.script(ROTATE, WANTS_CODE, REFUSED, ROTATED)

        with desk.terminal("key", "rotate", "ehr") as terminal:
            terminal.expect("One-time code of key-officer: ")
            terminal.enter("111111")
            terminal.expect("The code is not accepted. Wait for the next code.\nOne-time code of key-officer: ")
            terminal.enter("222222")
            assert terminal.wait() == 0

        assert [each.get("kmsgw-one-time-code") for each in script.metadata] == [None, "111111", "222222"]
        assert "222222" not in terminal.screen

    def test_a_command_that_needs_none_asks_for_none(self, desk: Desk) -> None:
        desk.gateway.script(ROTATE, ROTATED)

        with desk.terminal("key", "rotate", "ehr") as terminal:
            assert terminal.wait() == 0

        assert "One-time code" not in terminal.screen

    def test_ctrl_c_at_the_prompt_ends_the_command_and_gives_the_echo_back(self, desk: Desk) -> None:
        script = desk.gateway.script(ROTATE, WANTS_CODE)

        with desk.terminal("key", "rotate", "ehr") as terminal:
            terminal.expect("One-time code of key-officer: ")
            terminal.press(b"\x03")
            assert terminal.wait() == 130

        assert len(script.requests) == 1

    def test_scripts_give_it_in_a_file_that_a_flag_or_a_variable_names(self, desk: Desk) -> None:
        script = desk.gateway.script(ROTATE, WANTS_CODE, ROTATED, WANTS_CODE, ROTATED)

        flag = desk.kmsgw("key", "rotate", "ehr", "--no-input", "--code-file", desk.codes("111111"))
        variable = desk.kmsgw("key", "rotate", "ehr", env={"KMSGW_CODE_FILE": desk.codes("222222")})

        assert (flag.code, variable.code) == (0, 0)
        assert [each.get("kmsgw-one-time-code") for each in script.metadata] == [None, "111111", None, "222222"]

    def test_of_a_descriptor_each_command_takes_its_line_alone(self, desk: Desk) -> None:
        script = desk.gateway.script(ROTATE, WANTS_CODE, ROTATED, WANTS_CODE, ROTATED)
        descriptor = os.open(desk.codes("111111", "222222"), os.O_RDONLY)
        try:
            for _ in range(2):
                assert desk.kmsgw("key", "rotate", "ehr", "--code-fd", str(descriptor)).code == 0
            used_up = desk.kmsgw("login", "--code-fd", str(descriptor))
        finally:
            os.close(descriptor)

        assert [each.get("kmsgw-one-time-code") for each in script.metadata] == [None, "111111", None, "222222"]
        assert used_up == Transcript(
            1, b"", f"Error: descriptor {descriptor} has no further code.\nNext: Put one code on each line.\n"
        )

    @pytest.mark.parametrize("arguments", [["--no-input"], []])
    def test_without_anybody_to_ask_the_error_says_how_to_give_it(self, desk: Desk, arguments: list[str]) -> None:
        desk.gateway.script(ROTATE, WANTS_CODE)

        assert desk.kmsgw("key", "rotate", "ehr", *arguments) == Transcript(
            3,
            b"",
            "Error: This wants a fresh one-time code in the same call. (CODE_REQUIRED)\n"
            "Next: Give a code with --code-file FILE or --code-fd N.\n",
        )

    def test_a_file_that_is_not_there_is_said_before_anything_is_sent(self, desk: Desk) -> None:
        script = desk.gateway.script(ROTATE, WANTS_CODE)

        shown = desk.kmsgw("key", "rotate", "ehr", "--code-file", "/nonexistent/code")

        assert shown == Transcript(
            1,
            b"",
            "Error: /nonexistent/code: No such file or directory.\n"
            "Next: Give a code with --code-file FILE or --code-fd N.\n",
        )
        assert script.requests == []


class TestLooking:
    def test_whoami_shows_the_officer_and_what_to_type_next(self, desk: Desk) -> None:
        identity = wire.WhoAmIResponse(
            principal_id="key-officer",
            kind="officer",
            tenant="hospital",
            roles=["key-officer"],
            certificate_expire_time=stamp(EXPIRES),
            officer_state=wire.OFFICER_STATE_NOT_ENROLLED,
            second_factor_required=True,
        )
        active = wire.WhoAmIResponse()
        active.CopyFrom(identity)
        active.officer_state = wire.OFFICER_STATE_ACTIVE
        desk.gateway.script("OfficerService/WhoAmI", identity, active)

        assert desk.kmsgw("whoami") == Transcript(
            0,
            b"principal id             key-officer\n"
            b"kind                     officer\n"
            b"tenant                   hospital\n"
            b"roles                    key-officer\n"
            b"certificate expire time  2999-01-31T08:00:00Z\n"
            b"officer state            not-enrolled\n"
            b"second factor required   yes\n",
            "You are not logged in. Next: kmsgw officer enrol\n",
        )
        assert desk.kmsgw("whoami").stderr == "You are not logged in. Next: kmsgw login\n"

    def test_the_officers_are_a_table(self, desk: Desk) -> None:
        officers = [
            wire.Officer(officer_id="auditor", state=wire.OFFICER_STATE_NOT_ENROLLED, roles=["auditor"]),
            wire.Officer(
                officer_id="key-officer",
                state=wire.OFFICER_STATE_ACTIVE,
                roles=["approver", "key-officer"],
                confirm_time=stamp(EXPIRES),
                recovery_codes=10,
            ),
        ]
        desk.gateway.script("OfficerService/ListOfficers", wire.ListOfficersResponse(officers=officers))

        assert desk.kmsgw("officer", "list").text == (
            "OFFICER ID   STATE         ROLES                  CONFIRM TIME          LOCK END TIME  RECOVERY CODES\n"
            "auditor      not-enrolled  auditor                -                     -              0\n"
            "key-officer  active        approver, key-officer  2999-01-31T08:00:00Z  -              10\n"
        )
        assert json.loads(desk.kmsgw("officer", "list", "-o", "json").text)[0] == {
            "officer_id": "auditor",
            "state": "not-enrolled",
            "roles": ["auditor"],
            "confirm_time": None,
            "lock_end_time": None,
            "enrol_time": None,
            "recovery_codes": 0,
        }


def test_a_reset_wants_a_reason_and_the_officers_name(desk: Desk) -> None:
    answer = wire.ResetOfficerResponse(
        officer=wire.Officer(officer_id="auditor", state=wire.OFFICER_STATE_RESET, enrol_time=stamp(EXPIRES))
    )
    script = desk.gateway.script("OfficerService/ResetOfficer", answer)

    assert desk.kmsgw("officer", "reset", "auditor", "--no-input").code == 1
    with desk.terminal("officer", "reset", "auditor", "--reason", "Telephone lost") as terminal:
        terminal.expect("Type auditor to go on: ")
        terminal.enter("auditor")
        assert terminal.wait() == 0

    sent = [wire.ResetOfficerRequest.FromString(each) for each in script.requests]
    assert [(each.officer_id, each.dry_run, each.reason) for each in sent] == [
        ("auditor", True, "Telephone lost"),
        ("auditor", False, "Telephone lost"),
    ]


def test_a_reset_of_who_has_no_second_factor_names_no_profile_for_that_officer(desk: Desk) -> None:
    advice = "There is nothing to reset: the officer runs `kmsgw officer enrol`."
    nothing = Refusal(
        grpc.StatusCode.FAILED_PRECONDITION, "It has no second factor.", "OFFICER_NOT_ENROLLED", advice=advice
    )
    desk.gateway.script("OfficerService/ResetOfficer", nothing)

    told = desk.kmsgw("--profile", "key-officer", "officer", "reset", "approver", "--reason", "lost", "--dry-run")

    assert told.stderr.endswith(f"Next: {advice}\n")


def test_an_expired_certificate_is_a_denial_and_says_what_to_do(desk: Desk) -> None:
    expired = desk.gateway.ca.issue_client("key-officer", not_after=datetime(2026, 1, 31, 8, 0, tzinfo=UTC))
    (desk.folder / "old.pem").write_bytes(expired.certificate)
    (desk.folder / "old.key").touch(mode=0o600)
    (desk.folder / "old.key").write_bytes(expired.private_key)
    files = ("--certificate", str(desk.folder / "old.pem"), "--key-file", str(desk.folder / "old.key"))

    told = desk.kmsgw("--profile", "key-officer", *files, "status")

    assert (told.code, told.stdout) == (3, b"")
    assert told.stderr == (
        f"Error: Your certificate expired on 2026-01-31 at 08:00 UTC: the gateway at {desk.gateway.address} takes no "
        "call with it. (CERTIFICATE_EXPIRED)\n"
        f"Next: Ask for a new certificate; `kmsgw --profile key-officer {shlex.join(files)} doctor` shows the one that "
        "you have.\n"
    )


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
def test_a_private_key_that_others_can_reach_is_refused_before_it_is_used(desk: Desk, mode: int) -> None:
    script = desk.gateway.script("SystemService/GetStatus", system_service_pb2.GetStatusResponse())
    key = desk.folder / "me.key"
    key.chmod(mode)

    told = desk.kmsgw("status")

    assert (told.code, told.stdout) == (1, b"")
    assert told.stderr == (f"Error: {key} has mode {mode:04o}: others can read it.\nNext: Type `chmod 600 {key}`.\n")
    assert not script.requests
    key.chmod(0o600)
    assert desk.kmsgw("status").stderr.startswith("Error: This worker does not serve.")
    assert len(script.requests) == 1
