"""`kmsgw key import` against a real gateway, and the files that it reads and writes."""

import json
import os
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kmsgw.cli.failure import CommandError, ExitCode
from kmsgw.cli.material_file import PreparedImport, read_material
from kmsgw.client import key_check_value
from tests.cli.command_line import Transcript, kmsgw
from tests.support.canaries import files_below, find_secrets, forms
from tests.support.gateway import Gateway, make_folder

REASON = ("--reason", "Key of the old system")
Run = Callable[..., Transcript]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Return a gateway where imports want nobody else's consent."""
    made = make_folder(tmp_path_factory.mktemp("import") / "kms", workers=1)
    made.append("[approvals]\nimport_key = 0\n")
    made.start()
    yield made
    assert made.stop() == 0


@pytest.fixture
def run(gateway: Gateway) -> Run:
    """Return a function that runs `kmsgw key import` as the key officer."""
    env = {"KMSGW_CONFIG": str(gateway.folder / "config.toml"), "KMSGW_PROFILE": "key-officer"}

    def importing(*arguments: str, stdin: bytes = b"") -> Transcript:
        return kmsgw("key", "import", *arguments, stdin=stdin, env=env)

    return importing


@pytest.fixture
def material(tmp_path: Path) -> Path:
    """Return a file with fresh material, mode 0600."""
    return written(tmp_path / "ehr.key", os.urandom(32))


def written(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.touch(mode=0o600)
    path.write_bytes(content)
    path.chmod(mode)
    return path


class TestImport:
    def test_the_check_value_is_shown_and_the_name_asked_before_anything_is_sent(
        self, run: Run, material: Path, gateway: Gateway
    ) -> None:
        expected = key_check_value(material.read_bytes())
        refused = run("asked", "--material-file", str(material), *REASON, stdin=b"another\n")
        assert refused.code == ExitCode.LOCAL
        assert refused.stderr == (
            f"Key check value of the material: {expected}\n"
            "It becomes what key asked encrypts under from then on.\n"
            "Type asked to go on: "
            "Error: That is not the name; nothing was changed.\n"
            "Next: Type asked exactly.\n"
        )
        made = run("asked", "--material-file", str(material), *REASON, "-o", "json", stdin=b"asked\n")
        assert made.code == ExitCode.DONE, made.stderr
        record = json.loads(made.stdout)
        assert {
            name: record[name] for name in ("key_id", "version", "origin", "check_value", "provider", "reason")
        } == {
            "key_id": "asked",
            "version": 1,
            "origin": "imported",
            "check_value": expected,
            "provider": "software",
            "reason": "Key of the old system",
        }

    def test_material_from_a_pipe_becomes_the_next_version(self, run: Run, material: Path) -> None:
        assert run("piped", "--material-file", str(material), "--yes", *REASON).code == ExitCode.DONE
        second = os.urandom(32)
        made = run("piped", "--material-file", "-", "--yes", *REASON, "-o", "json", stdin=second.hex().encode() + b"\n")
        assert made.code == ExitCode.DONE, made.stderr
        record = json.loads(made.stdout)
        assert (record["version"], record["check_value"]) == (2, key_check_value(second))

    def test_a_dry_run_asks_nothing_and_changes_nothing(self, run: Run, material: Path, gateway: Gateway) -> None:
        made = run("rehearsed", "--material-file", str(material), "--dry-run", *REASON, "-o", "json")
        assert made.code == ExitCode.DONE
        assert json.loads(made.stdout)["check_value"] is None
        assert "Dry run: nothing was changed" in made.stderr
        assert "rehearsed" not in {key.key_id for key in gateway.client("key-officer").keys.list()}

    def test_a_prepared_import_is_sent_later_without_the_material(
        self, run: Run, material: Path, tmp_path: Path
    ) -> None:
        prepared = tmp_path / "later.import"
        known = material.read_bytes()
        left = run("later", "--material-file", str(material), "--prepared", str(prepared), *REASON, stdin=b"no\n")
        assert left.code == ExitCode.LOCAL
        assert prepared.stat().st_mode & 0o777 == 0o600
        assert find_secrets({"prepared": prepared.read_bytes()}, forms(known)) == []
        material.unlink()
        made = run("later", "--prepared", str(prepared), "--yes", *REASON, "-o", "json")
        assert made.code == ExitCode.DONE, made.stderr
        assert json.loads(made.stdout)["check_value"] == key_check_value(known)
        again = run("later", "--prepared", str(prepared), "--yes", *REASON)
        assert again.code == ExitCode.REMOTE
        assert "IMPORT_REFUSED" in again.stderr

    def test_neither_output_nor_folder_shows_the_material(self, run: Run, material: Path, gateway: Gateway) -> None:
        known = material.read_bytes()
        made = run("silent", "--material-file", str(material), "--yes", *REASON)
        assert made.code == ExitCode.DONE
        places = {**dict(files_below(gateway.folder)), "out": made.stdout, "err": made.stderr.encode()}
        assert find_secrets(places, forms(known)) == []


class TestConsent:
    @pytest.fixture
    def strict(self, tmp_path: Path) -> Iterator[Gateway]:
        """Return a gateway where an import wants another officer, as it is by default."""
        made = make_folder(tmp_path / "kms", workers=1).start()
        yield made
        assert made.stop() == 0

    def test_an_import_that_others_must_consent_to_is_kept_and_sent_unchanged(
        self, strict: Gateway, material: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.chdir(tmp_path)
        env = {"KMSGW_CONFIG": str(strict.folder / "config.toml"), "KMSGW_PROFILE": "key-officer"}
        asked = kmsgw("key", "import", "vault", "--material-file", str(material), "--yes", *REASON, env=env)
        assert asked.code == ExitCode.AWAITING_APPROVAL
        (prepared,) = tmp_path.glob("*.import")
        assert f"The wrapped request is kept in {prepared.name}; it holds no secret." in asked.stderr
        (again,) = re.findall(r"run `kmsgw (.*)`", asked.stderr)
        assert f"--prepared {prepared.name} --approval " in again
        assert "--material-file" not in again
        approval = again.rpartition(" ")[2]

        early = kmsgw(*shlex.split(again), env=env)
        assert early.code == ExitCode.AWAITING_APPROVAL
        anew = kmsgw(
            *("key", "import", "vault", "--material-file", str(material), "--yes", *REASON, "--approval", approval),
            env=env,
        )
        assert anew.code == ExitCode.LOCAL
        assert "one exact request" in anew.stderr

        approvals = strict.client("approver").approvals
        shown = approvals.get(approval)
        approvals.approve(approval, shown.request_hash)
        known = material.read_bytes()
        material.write_bytes(os.urandom(32))
        with_material = ("--material-file", str(material))
        other = kmsgw(*shlex.split(again), *with_material, env=env)
        assert other.code == ExitCode.LOCAL
        assert "holds material with the key check value" in other.stderr
        material.write_bytes(known)
        made = kmsgw(*shlex.split(again), "-o", "json", env=env)
        assert made.code == ExitCode.DONE, made.stderr
        assert json.loads(made.stdout)["check_value"] == key_check_value(known)


class TestRefusals:
    def test_what_is_missing_or_contradicts_is_told(self, run: Run, material: Path, tmp_path: Path) -> None:
        there = written(tmp_path / "there.import", b"{}")
        file = ("--material-file", str(material))
        for arguments, told in (
            (("ehr", *file), "A reason is missing."),
            (("ehr", *REASON), "No material is given."),
            (("ehr", *REASON, "--prepared", str(tmp_path / "none")), "No material is given."),
            (("ehr", *file, *REASON, "--approval", "some"), "one exact request"),
            (("ehr", "--material-file", "-", *REASON), "nothing can be asked there"),
            (("ehr", *file, *REASON, "--no-input"), "must be confirmed"),
            (("ehr", "--prepared", str(there), *REASON, "--yes"), "is no prepared import"),
        ):
            refused = run(*arguments)
            assert refused.code == ExitCode.LOCAL
            assert told in refused.stderr
            assert "\nNext: " in refused.stderr

    def test_an_import_prepared_for_another_key_is_not_sent(self, run: Run, tmp_path: Path) -> None:
        prepared = tmp_path / "lab.import"
        PreparedImport("lab", "", b"token", b"wrapped", "ABCDEF", True).write(str(prepared))
        refused = run("ehr", "--prepared", str(prepared), "--yes", *REASON)
        assert refused.code == ExitCode.LOCAL
        assert "prepared for another key" in refused.stderr


class TestMaterialFile:
    @pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n"])
    def test_bytes_and_digits_are_the_same_key(self, tmp_path: Path, ending: bytes) -> None:
        known = os.urandom(32)
        for name, content in (
            ("raw", known),
            ("hex", known.hex().encode() + ending),
            ("HEX", known.hex().upper().encode()),
        ):
            with read_material(str(written(tmp_path / name, content))) as found:
                assert bytes(found) == known
            assert found == bytes(32), "the buffer is overwritten"

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            bytes(31),
            bytes(33),
            bytes(64),
            b"0" * 63,
            b"0" * 65,
            b"g" * 64,
            b"0" * 64 + b"\n\n\n",
            b"0" * 64 + b"\n\n\nmore",
            b"0x" + b"0" * 64,
            b"a1" * 16,
            b"0" * 66,
        ],
    )
    def test_anything_else_is_refused_without_being_shown(self, tmp_path: Path, content: bytes) -> None:
        path = written(tmp_path / "bad", content)
        with pytest.raises(CommandError) as caught, read_material(str(path)):
            pass
        assert caught.value.advice
        assert not content or content.decode("latin-1") not in str(caught.value.args) + caught.value.advice

    def test_a_file_that_others_may_read_is_refused(self, tmp_path: Path) -> None:
        for mode in (0o640, 0o604, 0o660):
            path = written(tmp_path / f"{mode}", os.urandom(32), mode)
            with pytest.raises(CommandError, match="lets others read") as caught, read_material(str(path)):
                pass
            assert "chmod 600" in caught.value.advice
        for missing in (tmp_path / "none", tmp_path):
            with pytest.raises(CommandError), read_material(str(missing)):
                pass

    def test_a_prepared_import_comes_back_and_is_never_overwritten(self, tmp_path: Path) -> None:
        prepared = PreparedImport("ehr", "hsm", b"token", b"wrapped", "ABCDEF", False)
        path = tmp_path / "ehr.import"
        prepared.write(str(path))
        assert PreparedImport.read(str(path)) == prepared
        with pytest.raises(CommandError, match="is there already"):
            prepared.write(str(path))
        for content in ("[]", "{}", "no", '{"kmsgw_import": 2}', path.read_text().replace('"hsm"', "1")):
            path.write_text(content)
            with pytest.raises(CommandError, match="no prepared import"):
                PreparedImport.read(str(path))
