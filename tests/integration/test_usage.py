"""Usage over two nodes on one PostgreSQL: counted once, shown to officers, and in the way of destruction."""

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kmsgw.client import Client, FailedPrecondition, Reason
from kmsgw.model.key import RotationPolicy
from kmsgw.storage import Database
from tests.support.gateway import Gateway, eventually, make_folder
from tests.support.postgres import PostgresServer
from tests.support.principals import add_principal
from tests.support.usage import logged, stored

CLERK = "clerk"


@dataclass(frozen=True)
class Nodes:
    """Two gateways of one worker each."""

    one: Gateway
    two: Gateway
    database: Database

    def clerks(self) -> tuple[Client, Client]:
        return self.one.client(CLERK, purpose="care"), self.two.client(CLERK, purpose="care")

    def officer(self) -> Client:
        return self.one.client("key-officer")

    def audits(self) -> tuple[Path, Path]:
        return self.one.folder / "audit", self.two.folder / "audit"


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer) -> Iterator[Nodes]:
    folder = tmp_path_factory.mktemp("usage")
    database = postgres_server.create_database()
    one = make_folder(folder / "one", workers=1)
    add_principal(one, CLERK, "writer", "reader", "data-key-user", "rewrapper")
    one.append("[approvals]\ndestroy = 0\nlower_protection = 0\n")
    one.edit(
        ('url = "sqlite:///state.db"', f'url = "{database.url}"\npassword_file = "{database.password_file}"'),
        ('root_key_file = "root.key"', f'root_key_file = "{folder / "root.key"}"'),
    )
    shutil.copytree(one.folder, folder / "two")
    two = Gateway(folder / "two")
    two.edit(('node = "node1"', 'node = "node2"'))
    running = Nodes(one.start(), two.start(), Database.of(database.url, database.password))
    yield running
    assert [one.stop(), two.stop()] == [0, 0]
    assert stored(running.database) == logged(*running.audits()), "to the last call, over both nodes"
    postgres_server.drop_database(database)


def test_items_of_batches_count_like_single_calls(nodes: Nodes) -> None:
    officer = nodes.officer()
    officer.keys.create("batched")
    (clerk, _) = nodes.clerks()
    envelopes = [each.envelope for each in clerk.batch_encrypt("batched", [b"12345"] * 20).results()]
    clerk.batch_generate_data_key("batched", 3)
    assert len(clerk.batch_decrypt([*envelopes[:4], b"junk"]).errors) == 1
    officer.keys.rotate("batched")
    assert eventually(lambda: clerk.rewrap(envelopes[0]).changed)
    clerk.batch_rewrap(envelopes[:10])
    clerk.batch_re_encrypt(envelopes[:5], "batched", destination_context={"patient": "P-1"})
    assert eventually(lambda: officer.keys.usage("batched").of(1).rewraps_away == 16, 10)
    old, new = officer.keys.usage("batched").of(1), officer.keys.usage("batched").of(2)
    assert (old.envelopes, old.data_keys, old.decrypts, old.sealed_bytes, old.wraps) == (20, 3, 4, 100, 4)
    assert (new.rewraps_here, new.envelopes, new.sealed_bytes, new.wraps) == (11, 5, 25, 3)


def test_usage_is_the_sum_over_all_nodes(nodes: Nodes) -> None:
    officer = nodes.officer()
    officer.keys.create("summed")
    envelopes, wrapped = [], []
    for clerk in nodes.clerks():
        envelopes += [clerk.encrypt("summed", b"systolic").envelope for _ in range(5)]
        wrapped += [clerk.generate_data_key("summed").wrapped for _ in range(2)]
        clerk.decrypt(envelopes[-1])
    assert eventually(lambda: officer.keys.usage("summed").of(1).messages == 14, 10)
    officer.keys.rotate("summed")
    for clerk, envelope in zip(nodes.clerks(), envelopes, strict=False):
        assert eventually(lambda clerk=clerk, envelope=envelope: clerk.rewrap(envelope).key_version == 2)  # type: ignore[misc]
    assert eventually(lambda: officer.keys.usage("summed").of(2).rewraps_here == 2, 10)
    usage = officer.keys.usage("summed")
    old, new = usage.of(1), usage.of(2)
    assert (old.envelopes, old.data_keys, old.decrypts, old.rewraps_away) == (10, 4, 2, 2)
    assert (old.sealed_bytes, old.remaining, new.remaining) == (80, 12, 2)
    assert (old.wraps, new.wraps) == (2 + 4, 2), "each node has a data key of its own"
    assert [each.version for each in usage.versions] == [2, 1]
    assert {each.tenant for each in usage.usage} == {"hospital"}


def test_a_budget_that_two_nodes_use_up_together_rotates_once(nodes: Nodes) -> None:
    officer = nodes.officer()
    officer.keys.create("shared", rotation=RotationPolicy(max_messages=12))
    for clerk in nodes.clerks():
        for _ in range(7):
            clerk.encrypt("shared", b"x")
    assert eventually(lambda: officer.keys.get("shared").primary_version == 2, 15)
    time.sleep(2.5)
    assert [each.reason for each in officer.keys.versions("shared")] == ["budget: messages", "created"]


def test_a_version_in_use_is_neither_destroyed_nor_shut_out_unless_forced(nodes: Nodes) -> None:
    officer, (clerk, _) = nodes.officer(), nodes.clerks()
    officer.keys.create("guarded")
    clerk.encrypt("guarded", b"x")
    officer.keys.rotate("guarded")
    assert eventually(lambda: officer.keys.usage("guarded").of(1).envelopes == 1, 10)
    for refused in (
        lambda: officer.keys.schedule_destruction("guarded", version=1, reason="old"),
        lambda: officer.keys.schedule_destruction("guarded", reason="old"),
        lambda: officer.keys.set_minimum_decrypt_version("guarded", 2, reason="old"),
    ):
        with pytest.raises(FailedPrecondition) as refusal:
            refused()
        assert refusal.value.reason is Reason.KEY_VERSION_IN_USE
        assert refusal.value.message.startswith("Version 1 is in use: 1 envelope or data key may be under it")
    made = officer.keys.schedule_destruction("guarded", version=1, reason="old", force=True, dry_run=True)
    assert made.version is not None
    with pytest.raises(FailedPrecondition) as refusal:
        officer.keys.schedule_destruction("guarded", version=1, reason="old", force=True)
    assert refusal.value.reason is Reason.APPROVAL_REQUIRED, "force wants another officer, whatever is configured"


def test_the_command_line_shows_usage_as_a_table_with_bars_and_as_json(nodes: Nodes) -> None:
    officer, (clerk, _) = nodes.officer(), nodes.clerks()
    officer.keys.create("shown")
    for _ in range(3):
        clerk.encrypt("shown", b"x")
    assert eventually(lambda: officer.keys.usage("shown").of(1).envelopes == 3, 10)
    done = nodes.one.run("key", "usage", "shown", profile="key-officer")
    assert done.returncode == 0, done.stderr
    head, row = done.stdout.decode().splitlines()
    assert head.split()[:5] == ["VERSION", "STATE", "MAY", "REMAIN", "SHARE"]
    assert row.split()[:3] == ["1", "enabled", "3"]
    assert row.split()[3] in {"█" * 12, "#" * 12}
    by_tenant = nodes.one.run("key", "usage", "shown", "--by-tenant", profile="key-officer")
    assert by_tenant.stdout.decode().splitlines()[1].split()[:4] == ["1", "hospital", "enabled", "3"]
    (record,) = json.loads(nodes.one.run("key", "usage", "shown", "-o", "json", profile="key-officer").stdout)
    assert (record["may_remain"], record["wraps"], record["tenants"][0]["tenant"]) == (3, 1, "hospital")
