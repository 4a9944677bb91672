"""Files are followed, and half a change does no harm."""

from datetime import timedelta
from pathlib import Path

import pytest

from kmsgw.authn.certificate import ClientCertificate
from kmsgw.authn.files import INTERVAL, RevocationFiles, WatchedFiles
from kmsgw.cli.development import DevelopmentCa
from kmsgw.errors import ConfigurationError, Unauthenticated
from tests.fakes.clock import SetClock

_TICK = timedelta(seconds=INTERVAL)


@pytest.fixture
def files(tmp_path: Path, ca: DevelopmentCa, clock: SetClock) -> RevocationFiles:
    (tmp_path / "ca.pem").write_bytes(ca.certificate)
    (tmp_path / "crl.pem").write_bytes(ca.crl())
    return RevocationFiles(tmp_path / "crl.pem", tmp_path / "ca.pem", clock)


def test_a_change_is_told_once(tmp_path: Path, clock: SetClock) -> None:
    path = tmp_path / "a"
    path.write_text("1")
    watch = WatchedFiles([path], clock)
    assert watch.changed(now=True)

    clock.move(_TICK)
    assert not watch.changed()
    path.write_text("22")
    clock.move(_TICK)
    assert watch.changed()
    clock.move(_TICK)
    assert not watch.changed()


def test_the_disk_is_looked_at_once_an_interval(tmp_path: Path, clock: SetClock) -> None:
    path = tmp_path / "a"
    path.write_text("1")
    watch = WatchedFiles([path], clock)
    watch.changed()

    path.write_text("22")

    assert not watch.changed()
    assert watch.changed(now=True)


@pytest.mark.parametrize("how", ["rename", "chmod", "remove", "link"])
def test_every_way_to_change_a_file_is_seen(tmp_path: Path, clock: SetClock, how: str) -> None:
    path = tmp_path / "a"
    (tmp_path / "one").write_text("1")
    (tmp_path / "two").write_text("2")
    path.symlink_to("one")
    watch = WatchedFiles([path], clock)
    watch.changed()

    if how == "rename":
        (tmp_path / "new").write_text("1")
        (tmp_path / "new").rename(tmp_path / "one")
    elif how == "chmod":
        (tmp_path / "one").chmod(0o600)
    elif how == "remove":
        (tmp_path / "one").unlink()
    else:
        path.unlink()
        path.symlink_to("two")

    assert watch.changed(now=True)


def test_a_new_crl_is_read_after_the_interval(
    tmp_path: Path, files: RevocationFiles, ca: DevelopmentCa, clock: SetClock
) -> None:
    issued = ca.issue_client("ehr")
    certificate = ClientCertificate.parse(issued.certificate)
    files.current.check(certificate, clock.now())
    (tmp_path / "crl.pem").write_bytes(ca.crl([issued.serial]))

    assert files.refresh() is None
    clock.move(_TICK)
    new = files.refresh()

    assert new is files.current
    with pytest.raises(Unauthenticated):
        files.current.check(certificate, clock.now())


def test_a_broken_crl_leaves_the_old_one_in_force_and_is_tried_again(
    tmp_path: Path, files: RevocationFiles, ca: DevelopmentCa, clock: SetClock
) -> None:
    old = files.current
    (tmp_path / "crl.pem").write_bytes(DevelopmentCa.create().crl())
    clock.move(_TICK)

    assert files.refresh() is None
    assert files.current is old
    assert "tls.crl" in files.faults[0]

    (tmp_path / "crl.pem").write_bytes(ca.crl())
    clock.move(_TICK)
    assert files.refresh() is not None
    assert files.faults == ()


@pytest.mark.parametrize(
    ("number", "days", "taken"),
    [(5, 0, True), (6, 0, True), (6, 1, True), (5, 1, True), (4, 1, False), (5, -1, False), (6, -1, False)],
)
def test_a_crl_that_is_older_by_number_or_time_is_refused(
    tmp_path: Path, files: RevocationFiles, ca: DevelopmentCa, clock: SetClock, number: int, days: int, taken: bool
) -> None:
    def publish(crl: bytes) -> None:
        (tmp_path / "crl.pem").write_bytes(crl)
        clock.move(_TICK)
        files.refresh()

    issued = ca.issue_client("ehr")
    begin = clock.now() + timedelta(days=2)
    clock.move(timedelta(days=10))
    publish(ca.crl([issued.serial], number=5, last_update=begin))
    in_force = files.current
    publish(ca.crl(number=number, last_update=begin + timedelta(days=days)))

    assert (files.current is not in_force) is taken
    assert bool(files.faults) is not taken
    if not taken:
        assert "older" in files.faults[0]
        publish(ca.crl(number=7, last_update=begin + timedelta(days=2)))
        assert files.faults == ()


@pytest.mark.parametrize(("minutes", "taken"), [(4, True), (6, False), (60 * 20, False)])
def test_a_crl_that_is_dated_ahead_is_refused_and_keeps_out_none_that_follows(
    tmp_path: Path, files: RevocationFiles, ca: DevelopmentCa, clock: SetClock, minutes: int, taken: bool
) -> None:
    in_force = files.current
    (tmp_path / "crl.pem").write_bytes(ca.crl(number=5, last_update=clock.now() + timedelta(minutes=minutes)))
    clock.move(_TICK)

    files.refresh()

    assert (files.current is not in_force) is taken
    assert taken or "dated ahead" in files.faults[0]
    clock.move(timedelta(minutes=5))
    (tmp_path / "crl.pem").write_bytes(ca.crl(number=6, last_update=clock.now()))
    files.refresh()
    assert files.faults == ()


def test_an_older_crl_is_refused_also_behind_one_of_another_ca(
    tmp_path: Path, files: RevocationFiles, ca: DevelopmentCa, clock: SetClock
) -> None:
    other = DevelopmentCa.create()
    (tmp_path / "ca.pem").write_bytes(ca.certificate + other.certificate)
    for crl, number in ((ca.crl(number=5), 0), (other.crl(), 0), (ca.crl(number=4), 1)):
        (tmp_path / "crl.pem").write_bytes(crl)
        clock.move(_TICK)
        files.refresh()
        assert len(files.faults) == number


def test_missing_files_are_named(tmp_path: Path, clock: SetClock) -> None:
    with pytest.raises(ConfigurationError, match=r"tls\.crl: .*No such file"):
        RevocationFiles(tmp_path / "crl.pem", tmp_path / "ca.pem", clock)
