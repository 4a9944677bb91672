"""Where root keys come from, and what is refused."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from kmsgw.errors import ConfigurationError, Reason
from kmsgw.providers.root_key import load_root_key_from_file, root_key_from_bytes, root_key_from_passphrase

PASSPHRASE = b"correct horse battery staple"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "root.key"


def refused(path: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_root_key_from_file(path)
    assert caught.value.reason is Reason.PROVIDER_MISCONFIGURED
    assert caught.value.advice
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestFile:
    def test_the_first_start_makes_a_key_that_only_its_owner_can_read(self, path: Path) -> None:
        before = os.umask(0)
        try:
            key = load_root_key_from_file(path)
        finally:
            os.umask(before)
        assert len(key) == 32
        assert path.read_bytes() == key
        assert path.stat().st_mode & 0o777 == 0o600
        assert sorted(each.name for each in path.parent.iterdir()) == ["root.key", "root.key.check"]

    def test_later_starts_get_the_same_key(self, path: Path) -> None:
        assert load_root_key_from_file(path) == load_root_key_from_file(path)

    def test_two_first_starts_make_two_keys(self, tmp_path: Path) -> None:
        assert load_root_key_from_file(tmp_path / "one") != load_root_key_from_file(tmp_path / "two")

    def test_a_key_put_there_by_hand_is_taken(self, path: Path) -> None:
        path.write_bytes(b"k" * 32)
        path.chmod(0o600)
        assert load_root_key_from_file(path) == b"k" * 32

    def test_the_check_value_does_not_hold_the_key(self, path: Path) -> None:
        key = load_root_key_from_file(path)
        check = path.with_name("root.key.check").read_text()
        assert len(check) == 33
        assert key.hex()[:16] not in check

    def test_workers_that_race_on_first_start_end_up_with_one_key(self, path: Path) -> None:
        script = "import sys, pathlib; from kmsgw.providers.root_key import load_root_key_from_file as load\n"
        script += "sys.stdin.read(1); print(load(pathlib.Path(sys.argv[1])).hex())"
        workers = [
            subprocess.Popen(
                [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(4)
        ]
        answers = [worker.communicate("go", timeout=60)[0] for worker in workers]
        assert [worker.returncode for worker in workers] == [0, 0, 0, 0]
        assert len(set(answers)) == 1
        assert sorted(each.name for each in path.parent.iterdir()) == ["root.key", "root.key.check"]

    def test_threads_that_race_end_up_with_one_key(self, path: Path) -> None:
        keys: list[bytes] = []
        start = threading.Barrier(8)

        def load() -> None:
            start.wait()
            keys.append(bytes(load_root_key_from_file(path)))

        threads = [threading.Thread(target=load) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(keys) == 8
        assert len(set(keys)) == 1

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o666])
    def test_a_key_that_others_can_read_or_change_is_refused(self, path: Path, mode: int) -> None:
        load_root_key_from_file(path)
        path.chmod(mode)
        assert f"mode {mode:04o}" in refused(path)

    @pytest.mark.parametrize("length", [0, 31, 33, 64, 10_000])
    def test_a_key_of_another_length_is_refused(self, path: Path, length: int) -> None:
        path.write_bytes(bytes(length))
        path.chmod(0o600)
        assert "exactly 32 bytes" in refused(path)

    def test_a_link_is_refused(self, path: Path, tmp_path: Path) -> None:
        elsewhere = tmp_path / "elsewhere"
        load_root_key_from_file(elsewhere)
        path.symlink_to(elsewhere)
        assert "symbolic link" in refused(path)

    def test_a_dangling_link_is_refused_and_not_followed(self, path: Path, tmp_path: Path) -> None:
        path.symlink_to(tmp_path / "nothing")
        assert "symbolic link" in refused(path)
        assert not (tmp_path / "nothing").exists()

    def test_a_folder_or_a_pipe_is_refused_and_does_not_hang(self, tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir(mode=0o700)
        os.mkfifo(tmp_path / "pipe", 0o600)
        assert "not a plain file" in refused(tmp_path / "folder")
        assert "not a plain file" in refused(tmp_path / "pipe")

    def test_a_missing_folder_is_named(self, tmp_path: Path) -> None:
        assert "can't be made: No such file or directory" in refused(tmp_path / "none" / "root.key")

    def test_a_folder_where_all_can_replace_the_key_is_refused(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o777)
        assert "every user can replace files" in refused(tmp_path / "root.key")
        assert list(tmp_path.iterdir()) == []

    def test_a_lost_key_is_not_made_anew(self, path: Path) -> None:
        load_root_key_from_file(path)
        path.unlink()
        assert "is gone" in refused(path)
        assert not path.exists()

    def test_a_replaced_key_is_noticed(self, path: Path) -> None:
        load_root_key_from_file(path)
        path.write_bytes(os.urandom(32))
        assert "not the root key" in refused(path)

    def test_a_full_disk_leaves_nothing_half_made(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(_descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        assert "No space left on device" in refused(path)
        assert list(path.parent.iterdir()) == []

    def test_no_message_shows_the_key(self, path: Path) -> None:
        key = load_root_key_from_file(path)
        path.chmod(0o644)
        text = refused(path)
        assert key.hex() not in text
        assert repr(bytes(key)) not in text


class TestBytes:
    def test_32_bytes_are_taken_and_can_be_overwritten(self) -> None:
        key = root_key_from_bytes(b"k" * 32, "descriptor 3")
        assert isinstance(key, bytearray)
        assert key == b"k" * 32

    @pytest.mark.parametrize("length", [0, 31, 33, 64])
    def test_other_lengths_are_refused(self, length: int) -> None:
        with pytest.raises(ConfigurationError, match=f"descriptor 3: .* {length} were given"):
            root_key_from_bytes(b"s" * length, "descriptor 3")


class TestPassphrase:
    @pytest.fixture
    def salt_file(self, tmp_path: Path) -> Path:
        return tmp_path / "passphrase.salt"

    def test_the_same_passphrase_gives_the_same_key(self, salt_file: Path) -> None:
        first = root_key_from_passphrase(PASSPHRASE, salt_file)
        assert len(first) == 32
        assert root_key_from_passphrase(PASSPHRASE + b"\n", salt_file) == first
        assert root_key_from_passphrase(bytearray(PASSPHRASE + b"\r\n"), salt_file) == first
        assert salt_file.stat().st_mode & 0o777 == 0o600

    def test_it_is_argon2id_of_rfc_9106s_second_option(self, salt_file: Path) -> None:
        key = root_key_from_passphrase(PASSPHRASE, salt_file)
        header, salt, _ = salt_file.read_text().splitlines()
        assert header == "kmsgw-salt/v1 argon2id t=3 m=65536 p=4"
        expected = Argon2id(
            salt=bytes.fromhex(salt.removeprefix("salt ")), length=32, iterations=3, lanes=4, memory_cost=65536
        )
        assert key == expected.derive(PASSPHRASE)

    def test_another_salt_gives_another_key(self, tmp_path: Path) -> None:
        first = root_key_from_passphrase(PASSPHRASE, tmp_path / "one")
        assert root_key_from_passphrase(PASSPHRASE, tmp_path / "two") != first

    def test_a_wrong_passphrase_is_noticed_at_start(self, salt_file: Path) -> None:
        root_key_from_passphrase(PASSPHRASE, salt_file)
        with pytest.raises(ConfigurationError, match="not the one") as caught:
            root_key_from_passphrase(PASSPHRASE + b"!", salt_file)
        assert PASSPHRASE.decode() not in str(caught.value)

    @pytest.mark.parametrize("passphrase", [b"", b"\n", b"fifteen bytes !", b"fifteen bytes !\n"])
    def test_a_short_passphrase_is_refused_and_leaves_no_salt(self, salt_file: Path, passphrase: bytes) -> None:
        with pytest.raises(ConfigurationError, match="fewer than 16 bytes"):
            root_key_from_passphrase(passphrase, salt_file)
        assert not salt_file.exists()

    @pytest.mark.parametrize("content", [b"", b"salt", b"\xff" * 100, b"kmsgw-salt/v1 argon2id t=1 m=8 p=1\n"])
    def test_a_damaged_salt_file_is_refused(self, salt_file: Path, content: bytes) -> None:
        salt_file.write_bytes(content)
        salt_file.chmod(0o600)
        with pytest.raises(ConfigurationError, match="not a salt file"):
            root_key_from_passphrase(PASSPHRASE, salt_file)

    def test_cheaper_parameters_in_the_salt_file_are_refused(self, salt_file: Path) -> None:
        root_key_from_passphrase(PASSPHRASE, salt_file)
        salt_file.write_text(salt_file.read_text().replace("m=65536", "m=8"))
        with pytest.raises(ConfigurationError, match="not a salt file"):
            root_key_from_passphrase(PASSPHRASE, salt_file)

    def test_workers_that_race_on_first_start_end_up_with_one_key(self, salt_file: Path) -> None:
        keys: list[bytes] = []
        start = threading.Barrier(3)

        def stretch() -> None:
            start.wait()
            keys.append(bytes(root_key_from_passphrase(PASSPHRASE, salt_file)))

        threads = [threading.Thread(target=stretch) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(keys) == 3
        assert len(set(keys)) == 1
