"""The command line against a real gateway."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kmsgw.cli.armor import BEGIN
from tests.cli.command_line import Transcript, kmsgw, process
from tests.support.gateway import Gateway, eventually, make_folder

CONTEXT = ("--context", "patient=P-1001", "--context", "kind=note")
PLAINTEXT = b'{"patient": "P-1001", "note": "\xc3\xa9"}\n'

AsWhom = Callable[..., Transcript]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Return a gateway of one worker: with several, a change is seen by the others only some 200 ms later."""
    made = make_folder(tmp_path_factory.mktemp("cli") / "kms", workers=1).start()
    made.client("key-officer").keys.create("ehr")
    yield made
    assert made.stop() == 0


@pytest.fixture
def run(gateway: Gateway) -> AsWhom:
    """Return a function that runs `kmsgw` as a principal: ``run("ehr-writer", "encrypt", …)``."""
    env = {"KMSGW_CONFIG": str(gateway.folder / "config.toml")}

    def run_as(principal: str, *arguments: str, stdin: bytes = b"") -> Transcript:
        return kmsgw("--profile", principal, *arguments, stdin=stdin, env=env)

    return run_as


@pytest.fixture
def key(run: AsWhom, request: pytest.FixtureRequest) -> str:
    """Return a new key, named after the test."""
    name: str = request.node.name.partition("[")[0].removeprefix("test_").replace("_", "-")[:36].rstrip("-")
    made = run("key-officer", "key", "create", name, "--label", "owner=tests", "-o", "json")
    assert made.code == 0, made.stderr
    return name


def _encrypted(run: AsWhom, key: str, plaintext: bytes = PLAINTEXT, principal: str = "ehr-writer") -> bytes:
    made = run(principal, "encrypt", "--key", key, *CONTEXT, stdin=plaintext)
    assert (made.code, made.stderr) == (0, "")
    return made.stdout


def _decrypt(run: AsWhom, envelope: bytes, *options: str) -> Transcript:
    return run("ehr-reader", "decrypt", "--purpose", "care", *(options or CONTEXT), stdin=envelope)


def test_what_a_writer_encrypts_a_reader_decrypts(run: AsWhom, key: str) -> None:
    assert _decrypt(run, _encrypted(run, key)) == Transcript(0, PLAINTEXT, "")


def test_files_are_written_whole_and_plaintext_is_private(run: AsWhom, key: str, tmp_path: Path) -> None:
    source, sealed, opened = tmp_path / "in", tmp_path / "sealed", tmp_path / "out"
    source.write_bytes(PLAINTEXT)

    made = run("ehr-writer", "encrypt", "--key", key, "-i", str(source), "-O", str(sealed), *CONTEXT)
    read = run("ehr-reader", "decrypt", "--purpose", "care", "-i", str(sealed), "-O", str(opened), *CONTEXT)

    assert made == Transcript(0, b"", f"Encrypted under {key}, version 1: {sealed}\n")
    assert read == Transcript(0, b"", f"Decrypted with {key}, version 1: {opened}\n")
    assert opened.read_bytes() == PLAINTEXT
    assert opened.stat().st_mode & 0o777 == 0o600
    assert sorted(tmp_path.iterdir()) == [source, opened, sealed]


def test_an_armoured_envelope_is_text_and_stays_so(run: AsWhom, key: str) -> None:
    made = run("ehr-writer", "encrypt", "--key", key, "--armor", *CONTEXT, stdin=PLAINTEXT)
    run("key-officer", "key", "rotate", key)
    again = run("rewrap-job", "rewrap", "file", "-", *CONTEXT, stdin=made.stdout)

    assert made.text.isascii()
    assert again.stdout.startswith(BEGIN)
    assert again.stdout != made.stdout
    assert _decrypt(run, again.stdout).stdout == PLAINTEXT


@pytest.mark.parametrize("size", [0, 65_536, 65_537, 1_000_000])
def test_data_of_any_size_comes_back(run: AsWhom, gateway: Gateway, size: int) -> None:
    plaintext = os.urandom(size)
    principal = "ehr-datakeys" if size > 65_536 else "ehr-writer"

    assert _decrypt(run, _encrypted(run, "ehr", plaintext, principal)).stdout == plaintext


def test_rotation_keeps_old_envelopes_readable_and_rewrap_renews_them(run: AsWhom, key: str, tmp_path: Path) -> None:
    file = tmp_path / "note.kms"
    file.write_bytes(_encrypted(run, key))
    file.chmod(0o640)
    before = file.read_bytes()

    rotated = run("key-officer", "key", "rotate", key, "--reason", "a test", "-o", "json")
    old = _decrypt(run, before)
    first = run("rewrap-job", "rewrap", "file", str(file), "--in-place", *CONTEXT)
    renewed = file.read_bytes()
    second = run("rewrap-job", "rewrap", "file", str(file), "--in-place", *CONTEXT)

    assert json.loads(rotated.text)["primary_version"] == 2
    assert old.stdout == PLAINTEXT
    assert first == Transcript(0, b"", f"Rewrapped from version 1 to 2 of {key}: note.kms\n")
    assert second == Transcript(0, b"", f"Already under {key}, version 2: note.kms\n")
    assert renewed == file.read_bytes() != before
    assert file.stat().st_mode & 0o777 == 0o640
    assert _decrypt(run, renewed).stdout == PLAINTEXT
    versions = json.loads(run("key-officer", "key", "versions", key, "-o", "json").text)
    assert [(each["version"], each["reason"]) for each in versions] == [(2, "a test"), (1, "created")]


def test_another_context_and_a_flipped_byte_do_not_verify(run: AsWhom, key: str) -> None:
    envelope = _encrypted(run, key)
    flipped = envelope[:-1] + bytes([envelope[-1] ^ 1])

    for refused in (_decrypt(run, envelope, "--context", "patient=P-1002"), _decrypt(run, flipped)):
        assert refused.code == 5
        assert refused.stdout == b""
        what, advice = refused.stderr.splitlines()
        assert what.startswith("Error: The envelope does not open. (DECRYPTION_FAILED, request ")
        assert advice == "Next: Give the same encryption context as when it was made, and the envelope unchanged."


def test_an_envelope_of_another_key_than_expected_is_refused(run: AsWhom, key: str) -> None:
    envelope = _encrypted(run, key)

    assert _decrypt(run, envelope, *CONTEXT, "--expect-key", key).stdout == PLAINTEXT
    assert _decrypt(run, envelope, *CONTEXT, "--expect-key", "ehr").code != 0


def test_a_refused_role_gets_code_3_and_can_be_told_why(run: AsWhom, gateway: Gateway, key: str) -> None:
    refused = run("ehr-writer", "decrypt", *CONTEXT, stdin=_encrypted(run, key))
    request_id = refused.stderr.partition("request ")[2].partition(")")[0]

    assert refused == Transcript(
        3,
        b"",
        "Error: The key does not exist, or policy does not allow this. "
        f"(ACCESS_DENIED, request {request_id})\n"
        f"Next: Ask an auditor for `kmsgw policy explain {request_id}`.\n",
    )
    told: list[Transcript] = []

    def explained() -> bool:
        told.append(run("auditor", "policy", "explain", request_id, "-o", "json"))
        return told[-1].code == 0

    assert eventually(explained)
    explanation = json.loads(told[-1].text)
    assert (explanation["effect"], explanation["action"], explanation["key_id"]) == ("deny", "decrypt", key)
    assert (explanation["principal_id"], explanation["reason"]) == ("ehr-writer", "ACCESS_DENIED")


def test_a_hypothetical_request_is_explained(run: AsWhom, gateway: Gateway) -> None:
    asked = ["policy", "explain", "--action", "decrypt", "--key", "ehr", "--principal", "ehr-reader", "-o", "json"]

    allowed = json.loads(run("auditor", *asked, "--purpose", "care").text)
    denied = json.loads(run("auditor", *asked).text)

    assert allowed["effect"] == "allow"
    assert allowed["policies"]
    assert denied["effect"] == "deny"


def test_policies_in_force_are_listed(run: AsWhom, gateway: Gateway) -> None:
    listed = json.loads(run("auditor", "policy", "list", "-o", "json").text)

    assert {each["effect"] for each in listed} == {"allow", "deny"}
    assert all(each["policy_id"] in each["source"] for each in listed)


def test_a_key_is_shown_listed_and_updated(run: AsWhom, key: str) -> None:
    changed = run("key-officer", "key", "update", key, "--description", "d", "--label", "a=b", "-o", "json")

    shown = json.loads(run("key-officer", "key", "show", key, "-o", "json").text)
    assert json.loads(changed.text) == shown
    assert (shown["key_id"], shown["description"], shown["state"]) == (key, "d", "enabled")
    assert shown["labels"]["a"] == "b"
    assert key in run("key-officer", "key", "list").text
    # A policy may protect by a label, so that taking one away wants another officer.
    assert run("key-officer", "key", "update", key, "--remove-label", "a").code == 4


def test_an_alias_leads_to_its_key_until_it_is_deleted(run: AsWhom, key: str) -> None:
    made = run("key-officer", "key", "alias", "create", f"of-{key}", key, "-o", "json")
    envelope = _encrypted(run, f"alias/of-{key}")
    gone = run("key-officer", "key", "alias", "delete", f"of-{key}", stdin=f"{key}\n".encode())

    assert json.loads(made.text)["aliases"] == [f"alias/of-{key}"]
    assert gone.code == 0
    assert gone.stderr == (f"Key {key}: callers that use alias/of-{key} will be refused.\nType {key} to go on: ")
    assert _decrypt(run, envelope).stdout == PLAINTEXT
    assert eventually(lambda: run("ehr-writer", "encrypt", "--key", f"alias/of-{key}", stdin=b"x").code == 3)


def test_a_key_is_disabled_only_when_its_id_is_typed(run: AsWhom, key: str) -> None:
    dry = run("key-officer", "key", "disable", key, "--dry-run", "-o", "json")
    wrong = run("key-officer", "key", "disable", key, stdin=b"another\n")
    silent = run("key-officer", "key", "disable", key)
    assert json.loads(run("key-officer", "key", "show", key, "-o", "json").text)["state"] == "enabled"
    right = run("key-officer", "key", "disable", key, "-o", "json", stdin=f"{key}\n".encode())

    assert (json.loads(dry.text)["state"], dry.stderr) == ("disabled", "Dry run: nothing was changed.\n")
    asked = f"Key {key} of tenant hospital: all encryption and decryption will be refused.\nType {key} to go on: "
    assert wrong == Transcript(
        1, b"", f"{asked}Error: That is not the name; nothing was changed.\nNext: Type {key} exactly.\n"
    )
    assert silent == Transcript(
        1, b"", f"{asked}\nError: This must be confirmed, and nobody answered.\nNext: Give --yes and --reason.\n"
    )
    assert (right.code, json.loads(right.text)["state"]) == (0, "disabled")
    assert eventually(lambda: run("ehr-writer", "encrypt", "--key", key, stdin=b"x").code == 2)
    assert "KEY_DISABLED" in run("ehr-writer", "encrypt", "--key", key, stdin=b"x").stderr
    assert run("key-officer", "key", "enable", key).code == 0


def test_a_version_is_disabled_with_yes_and_a_reason(run: AsWhom, key: str) -> None:
    envelope = _encrypted(run, key)
    newest = run("key-officer", "key", "disable-version", key, "1", "--yes", "--reason", "a test")
    run("key-officer", "key", "rotate", key)
    done = run("key-officer", "key", "disable-version", key, "1", "--yes", "--reason", "a test", "-o", "json")

    assert newest.code == 2
    assert "KEY_VERSION_IS_PRIMARY" in newest.stderr
    assert (done.code, json.loads(done.text)["state"]) == (0, "disabled")
    assert "Reason: a test" in done.stderr
    assert eventually(lambda: "KEY_VERSION_DISABLED" in _decrypt(run, envelope).stderr)
    assert run("key-officer", "key", "enable-version", key, "1").code == 0
    assert eventually(lambda: _decrypt(run, envelope).stdout == PLAINTEXT)


def test_a_dry_run_creates_nothing(run: AsWhom, gateway: Gateway) -> None:
    dry = run("key-officer", "key", "create", "never-made", "--dry-run", "-o", "json")

    assert (dry.code, json.loads(dry.text)["key_id"]) == (0, "never-made")
    assert run("key-officer", "key", "show", "never-made").code == 3


def test_a_key_that_exists_is_a_remote_fault(run: AsWhom, gateway: Gateway) -> None:
    again = run("key-officer", "key", "create", "ehr")

    assert again.code == 2
    assert "(KEY_EXISTS, request " in again.stderr


def test_status_says_that_it_is_for_development(run: AsWhom, gateway: Gateway) -> None:
    shown = run("ehr-writer", "status", "-o", "json")

    status = json.loads(shown.text)
    assert shown.code == 0
    assert (status["serving"], status["audit_serving"], status["environment"]) == (True, True, "development")
    assert (status["principal_id"], status["roles"]) == ("ehr-writer", ["writer"])
    assert status["providers"][0]["development_only"] is True
    assert shown.stderr == (
        "Development only: its certificates are of a development CA; provider software is for development. "
        "Do not protect real patients' data with it.\n"
    )
    assert run("ehr-writer", "--quiet", "status").stderr == ""


def test_a_dry_run_says_who_must_consent_to_the_request(run: AsWhom, key: str) -> None:
    assert run("key-officer", "key", "update", key, "--deletion-protection").code == 0

    tried = run("key-officer", "key", "update", key, "--no-deletion-protection", "--dry-run")

    assert (tried.code, tried.stderr) == (
        0,
        "It wants the consent of 1 other officer.\nDry run: nothing was changed.\n",
    )


def test_doctor_finds_a_sound_profile_sound(run: AsWhom, gateway: Gateway) -> None:
    found = run("ehr-writer", "doctor", "-o", "json")

    findings = json.loads(found.text)
    assert (found.code, found.stderr) == (0, "")
    assert {each["result"] for each in findings} == {"ok", "warn"}
    assert [each["check"] for each in findings][:3] == ["profile", "files", "key file"]
    assert {"TLS", "server", "health", "identity", "provider"} <= {each["check"] for each in findings}


def test_doctor_finds_a_readable_key_file(gateway: Gateway, tmp_path: Path) -> None:
    clients = gateway.folder / "clients"
    exposed = tmp_path / "exposed.key"
    exposed.write_bytes((clients / "ehr-writer.key").read_bytes())
    exposed.chmod(0o644)

    found = kmsgw(
        "doctor", "--config", str(gateway.folder / "config.toml"), "--profile", "ehr-writer", "--key-file",
        str(exposed), "-o", "json",
    )  # fmt: skip

    assert found.code == 2
    assert {"check": "key file", "result": "fail", "finding": f"{exposed} has mode 0644: others can read it",
            "advice": f"Type `chmod 600 {exposed}`."} in json.loads(found.text)  # fmt: skip
    assert (
        found.stderr
        == f"Error: 1 of {len(json.loads(found.text))} checks failed: key file.\nNext: Type `chmod 600 {exposed}`.\n"
    )


def test_the_audit_log_of_the_gateway_verifies_and_holds_no_plaintext(run: AsWhom, gateway: Gateway, key: str) -> None:
    secret = b"canary-of-the-command-line"
    made = run("ehr-writer", "encrypt", "--key", key, "--context", "patient=canary-in-context", stdin=secret)
    assert made.code == 0
    folder = str(gateway.folder / "audit")

    assert eventually(lambda: kmsgw("audit", "search", folder, "--key", key, "--method", "Encrypt").stdout != b"")
    everything = kmsgw("audit", "search", folder, "-o", "json").stdout
    assert b"canary" not in everything
    assert kmsgw("audit", "verify", folder).code == 0


def test_the_real_process_encrypts_through_a_pipe(gateway: Gateway) -> None:
    config = ["--config", str(gateway.folder / "config.toml")]
    with process([*config, "--profile", "ehr-writer", "encrypt", "--key", "ehr"]) as running:
        envelope, complaint = running.communicate(PLAINTEXT, timeout=120)
    with process([*config, "--profile", "ehr-reader", "decrypt", "--purpose", "care"]) as running:
        plaintext, more = running.communicate(envelope, timeout=120)

    assert (complaint, more, plaintext) == (b"", b"", PLAINTEXT)


def test_where_the_data_goes_to_a_file_a_record_says_what_was_done(run: AsWhom, key: str, tmp_path: Path) -> None:
    context = ("--context", "patient=P-1")
    sealed, moved, opened = (str(tmp_path / name) for name in ("sealed", "moved", "opened"))
    record = {"key_id": key, "key_version": 1}

    made = run("ehr-writer", "encrypt", "--key", key, "-O", sealed, "-o", "json", *context, stdin=PLAINTEXT)
    assert json.loads(made.text) == {**record, "file": sealed}
    made = run("rewrap-job", "rewrap", "file", sealed, "-O", moved, "-o", "json", *context)
    assert json.loads(made.text) == {**record, "source_key_version": 1, "file": moved}
    made = run("rewrap-job", "rewrap", "file", moved, "--in-place", "-o", "json", *context)
    assert json.loads(made.text) == {**record, "source_key_version": 1, "file": moved}
    made = run("ehr-reader", "decrypt", "-i", moved, "-O", opened, "-o", "yaml", "--purpose", "care", *context)
    assert made.text == f'key_id: "{key}"\nkey_version: 1\nfile: "{opened}"\n'
    assert Path(opened).read_bytes() == PLAINTEXT

    assert run("ehr-reader", "decrypt", "-i", moved, "-o", "json", "--purpose", "care", *context).stdout == PLAINTEXT
    assert run("ehr-reader", "decrypt", "-i", moved, "-O", opened, "--purpose", "care", *context).stdout == b""
