"""A report reads each log once, and counts nothing that is not in the signed tree."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta

from kmsgw.reading.report import CosignatureState, Report, ReportedLog, make_report
from kmsgw.reading.report_page import page
from kmsgw.tlog.checkpoint import Checkpoint
from kmsgw.tlog.note import SigningKey
from kmsgw.tlog.schemes import SignatureKind
from kmsgw.tlog.tiles import bundle_path, cosigned_path, tile_path
from tests.unit.tlog.memory_log import MemoryLog

START = datetime(2026, 1, 31, 8, tzinfo=UTC)
SIZE = 40 * 256 + 5


def entry(number: int) -> bytes:
    time = f"{START + timedelta(seconds=number):%Y-%m-%dT%H:%M:%S}.000000Z"
    return json.dumps({"time": time, "method": "/kmsgw.v1.CryptoService/Encrypt", "outcome": "ok"}).encode()


def a_log(name: str = "worker-0", size: int = SIZE) -> MemoryLog:
    key = SigningKey.of_seed(f"kmsgw.example/log/{name}", name.encode().ljust(32))
    return MemoryLog(key, [entry(number) for number in range(size)])


def report(*logs: MemoryLog, since: datetime | None = None, until: datetime | None = None) -> Report:
    reported = [ReportedLog(log.key.name, log.fetch, log.key.verifier, key_given=True) for log in logs]
    return make_report(reported, since, until, START + timedelta(days=1))


def test_each_bundle_is_read_once_but_for_a_look_at_both_ends() -> None:
    log, read = a_log(), Counter[str]()

    def fetch(path: str) -> bytes:
        read[path] += 1
        return log.fetch(path)

    made = make_report([ReportedLog("log", fetch, log.key.verifier, key_given=True)], None, None, START)

    assert (made.sound, made.figures.entries, made.logs[0].read) == (True, SIZE, SIZE)
    assert {read[bundle_path(index)] for index in range(1, 20)} == {1}
    assert {read[tile_path(0, index)] for index in range(20)} <= {1, 2}


def test_of_a_period_its_entries_are_counted_and_the_whole_log_is_verified() -> None:
    log = a_log()
    begin = START + timedelta(seconds=3000)
    made = report(log, since=begin, until=begin + timedelta(seconds=1000))
    assert (made.sound, made.figures.entries, made.logs[0].size) == (True, 1000, SIZE)

    log.files[bundle_path(0)] = log.files[bundle_path(0)].replace(b'"ok"', b'"no"', 1)
    assert not report(log, since=begin, until=begin + timedelta(seconds=1000)).sound


def test_of_a_damaged_log_what_can_be_read_up_to_there_is_counted_once() -> None:
    broken, whole = a_log("worker-0"), a_log("worker-1", 300)
    broken.files[bundle_path(30)] = broken.files[bundle_path(30)].replace(b'"ok"', b'"no"', 1)

    made = report(whole, broken)

    assert [(log.read, bool(log.fault)) for log in made.logs] == [(300, False), (30 * 256, True)]
    assert sum(map(sum, made.figures.outcomes.rows().values())) == 300 + 30 * 256


def test_what_the_signed_root_does_not_bear_out_is_not_counted() -> None:
    broken, whole = a_log("worker-0"), a_log("worker-1", 300)
    broken.files["checkpoint"] = Checkpoint(broken.key.name, SIZE, bytes(32)).sign(broken.key)

    made = report(broken, whole, since=START, until=START + timedelta(hours=1))

    assert [(log.read, bool(log.fault)) for log in made.logs] == [(0, True), (300, False)]
    assert made.figures.entries == 300


def test_each_key_of_a_witness_is_checked_and_the_log_is_no_cosigner_of_itself() -> None:
    log = a_log(size=3)
    kinds = (SignatureKind.COSIGNATURE_ED25519, SignatureKind.ML_DSA_44)
    keys = [SigningKey.of_seed("witness.example/w1", bytes([n]) * 32, kind) for n, kind in enumerate(kinds)]
    stranger = SigningKey.of_seed("witness.example/w2", bytes([9]) * 32, kinds[0])
    own = SigningKey.of_seed(log.key.name, bytes(32), kinds[1])
    signed = log.files["checkpoint"]
    body = signed.rpartition(b"\n\n")[0] + b"\n"
    log.files["checkpoint"] = signed + b"".join(key.signature_line(body, 1) for key in (own, *keys, stranger))
    reported = [ReportedLog("worker-0", log.fetch, log.key.verifier, key_given=True)]

    made = make_report(reported, None, None, START, witnesses=[key.verifier for key in keys])

    assert [(each.name, each.state) for each in made.logs[0].cosignatures] == [
        ("witness.example/w1", CosignatureState.VERIFIED),
        ("witness.example/w1", CosignatureState.VERIFIED),
        ("witness.example/w2", CosignatureState.NOT_CHECKED),
    ]
    assert made.sound
    assert "witness.example/w2 (not checked: no key was given)" in page(made)
    assert "witness.example/w1 (verified, 3 entries, 1970-01-01 00:00:01 UTC)" in page(made)

    log.files["checkpoint"] = signed + keys[0].signature_line(body + b"other\n", 1)
    wrong = make_report(reported, None, None, START, witnesses=[keys[0].verifier])
    assert [each.state for each in wrong.logs[0].cosignatures] == [CosignatureState.WRONG]
    assert (wrong.sound, wrong.logs[0].fault) == (False, "checkpoint: the signature of witness.example/w1 is wrong.")
    assert "witness.example/w1 (WRONG)" in page(wrong)


def test_the_newest_cosignature_is_found_in_the_files_beside_the_checkpoint() -> None:
    log = a_log(size=3)
    keys = [
        SigningKey.of_seed(f"witness.example/w{n}", bytes([n]) * 32, SignatureKind.COSIGNATURE_ED25519) for n in (1, 2)
    ]
    paths = [cosigned_path(key.verifier.key_id) for key in keys]
    body = log.files["checkpoint"].rpartition(b"\n\n")[0] + b"\n"
    for key, path in zip(keys, paths, strict=True):
        log.files[path] = log.files["checkpoint"] + key.signature_line(body, 60)
    log.extend([entry(3)])
    reported = [ReportedLog("worker-0", log.fetch, log.key.verifier, key_given=True, cosigned=paths)]
    given = [keys[0].verifier]

    made = make_report(reported, None, None, START, witnesses=given)

    assert [(each.name, each.state, each.size) for each in made.logs[0].cosignatures] == [
        ("witness.example/w1", CosignatureState.VERIFIED, 3),
        ("witness.example/w2", CosignatureState.NOT_CHECKED, 0),
    ]
    assert made.sound

    log.files[paths[0]] = log.files[paths[0]].replace(b"\n3\n", b"\n9\n")
    wrong = make_report(reported, None, None, START, witnesses=given)
    assert (wrong.sound, "the signature of witness.example/w1 is wrong" in wrong.logs[0].fault) == (False, True)


def test_a_log_that_was_cut_behind_what_was_cosigned_is_not_sound() -> None:
    longer, log = a_log(size=4), a_log(size=3)
    key = SigningKey.of_seed("witness.example/w1", bytes(32), SignatureKind.COSIGNATURE_ED25519)
    body = longer.files["checkpoint"].rpartition(b"\n\n")[0] + b"\n"
    log.files[cosigned_path(key.verifier.key_id)] = longer.files["checkpoint"] + key.signature_line(body, 60)
    reported = [ReportedLog("worker-0", log.fetch, log.key.verifier, key_given=True)]

    made = make_report(reported, None, None, START, witnesses=[key.verifier])

    assert "4 entries were cosigned, and the log has 3: it was cut" in made.logs[0].fault
