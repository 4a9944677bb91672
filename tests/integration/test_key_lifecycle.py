"""The control plane: what each change does, what it refuses, and that nobody's calls fail meanwhile."""

import itertools
import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from kmsgw.client import (
    AccessDenied,
    AlreadyExists,
    Client,
    Conflict,
    FailedPrecondition,
    InvalidRequest,
    KeyState,
    KmsgwError,
    Reason,
)
from kmsgw.client.key_results import KeyInfo
from kmsgw.model.names import is_name
from kmsgw.v1 import key_service_pb2
from tests.support.calls import Caller
from tests.support.gateway import Gateway, eventually, make_folder
from tests.support.principals import add_principal

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway of one worker, so that a change is seen by the very next call, with a second tenant."""
    made = make_folder(tmp_path_factory.mktemp("lifecycle") / "kms", workers=1)
    add_principal(made, "clinic-officer", "key-officer", kind="officer", tenant="clinic")
    made.start()
    yield made
    assert made.stop() == 0


@pytest.fixture(scope="module")
def officer(running: Gateway) -> Client:
    return running.client("key-officer")


@pytest.fixture(scope="module")
def raw(running: Gateway) -> Iterator[Caller]:
    with Caller(running, "key-officer") as caller:
        yield caller


@pytest.fixture
def key(officer: Client) -> KeyInfo:
    """A key of the test's own."""
    return officer.keys.create(f"own-{next(_NUMBERS)}")


def refusal(call: Callable[[], object]) -> tuple[type[KmsgwError], Reason]:
    with pytest.raises(KmsgwError) as caught:
        call()
    assert caught.value.advice
    assert caught.value.request_id
    return type(caught.value), caught.value.reason


class TestCreate:
    def test_what_is_left_out_is_chosen(self, officer: Client) -> None:
        made = officer.keys.create()
        assert is_name(made.key_id)
        assert made.key_id.startswith("key-")
        assert (made.tenant, made.provider, made.state, made.primary_version) == (
            "hospital",
            "software",
            KeyState.ENABLED,
            1,
        )
        assert (made.description, dict(made.labels), made.aliases) == ("", {}, ())
        assert made.created == made.updated
        assert officer.keys.get(made.key_id) == made

    def test_generated_ids_differ(self, officer: Client) -> None:
        assert len({officer.keys.create().key_id for _ in range(10)}) == 10

    def test_description_and_labels_are_kept(self, officer: Client) -> None:
        made = officer.keys.create("labelled", description="records of ward 7 – «naïve»", labels={"ward": "7", "b": ""})
        assert made.description == "records of ward 7 – «naïve»"
        assert dict(made.labels) == {"ward": "7", "b": ""}

    def test_an_id_is_taken_once(self, officer: Client, key: KeyInfo) -> None:
        assert refusal(lambda: officer.keys.create(key.key_id)) == (AlreadyExists, Reason.KEY_EXISTS)
        assert refusal(lambda: officer.keys.create(key.key_id, dry_run=True)) == (AlreadyExists, Reason.KEY_EXISTS)
        assert officer.keys.get(key.key_id) == key

    def test_a_key_belongs_to_its_makers_tenant(self, running: Gateway, officer: Client) -> None:
        theirs = running.client("clinic-officer").keys.create("of-the-clinic")
        assert theirs.tenant == "clinic"
        with pytest.raises(AccessDenied):
            officer.keys.get("of-the-clinic")

    def test_no_key_is_made_in_another_tenant(self, officer: Client) -> None:
        with pytest.raises(AccessDenied):
            officer.keys.create("intruder", tenant="clinic")
        assert officer.keys.create("at-home", tenant="hospital").tenant == "hospital"

    def test_a_dry_run_makes_nothing(self, officer: Client) -> None:
        shown = officer.keys.create("imagined", description="not yet", dry_run=True)
        assert (shown.key_id, shown.description) == ("imagined", "not yet")
        with pytest.raises(AccessDenied):
            officer.keys.get("imagined")
        assert officer.keys.create("imagined").key_id == "imagined"


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("description", "x" * 257),
        ("description", "two\nlines"),
        ("labels", {f"l{number}": "" for number in range(17)}),
        ("labels", {"x" * 64: "v"}),
        ("labels", {"ward": "x" * 64}),
        ("labels", {"": "v"}),
        ("labels", {"ward": "a\tb"}),
        ("key_id", "Upper"),
        ("key_id", "double--hyphen"),
        ("key_id", "x" * 41),
        ("key_id", "1st"),
        ("tenant", "Hospital"),
        ("provider", "soft ware"),
    ],
)
def test_the_gateway_itself_holds_the_limits(raw: Caller, field: str, bad: object) -> None:
    """The SDK checks them too; here the gateway is asked directly."""
    answer = raw.call("CreateKey", key_service_pb2.CreateKeyRequest(**{field: bad}))  # type: ignore[arg-type]
    assert answer.error == ("INVALID_ARGUMENT", "FIELD_INVALID")


def test_the_limits_themselves_are_allowed(officer: Client) -> None:
    labels = {f"{number:02}" + "l" * 61: "v" * 63 for number in range(16)}
    made = officer.keys.create("k" * 40, description="d" * 256, labels=labels)
    assert dict(made.labels) == labels


class TestUpdate:
    def test_only_what_is_named_changes(self, officer: Client, key: KeyInfo) -> None:
        officer.keys.update(key.key_id, description="first", labels={"a": "1"})
        changed = officer.keys.update(key.key_id, description="second")
        assert (changed.description, dict(changed.labels), changed.state) == ("second", {"a": "1"}, KeyState.ENABLED)
        assert changed.created == key.created
        assert changed.updated > key.updated

    def test_a_stale_etag_is_refused_and_changes_nothing(self, officer: Client, key: KeyInfo) -> None:
        changed = officer.keys.update(key.key_id, description="mine", etag=key.etag)
        assert changed.etag != key.etag
        late = refusal(lambda: officer.keys.update(key.key_id, description="late", etag=key.etag))
        assert late == (Conflict, Reason.KEY_CHANGED)
        assert officer.keys.get(key.key_id) == changed

    def test_of_writers_with_one_etag_one_wins(self, officer: Client, key: KeyInfo) -> None:
        outcomes: list[str] = []

        def write(number: int) -> None:
            try:
                officer.keys.update(key.key_id, description=f"writer {number}", etag=key.etag)
            except Conflict:
                outcomes.append("conflict")
            else:
                outcomes.append("won")

        threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["conflict"] * 7 + ["won"]

    def test_nothing_to_change_is_refused(self, raw: Caller, key: KeyInfo) -> None:
        answer = raw.call("UpdateKey", key_service_pb2.UpdateKeyRequest(key=key.key_id))
        assert answer.error == ("INVALID_ARGUMENT", "FIELD_INVALID")

    @pytest.mark.parametrize("path", ["key_id", "tenant", "provider", "primary_version", "aliases", "nonsense"])
    def test_what_is_immutable_can_not_be_named(self, raw: Caller, key: KeyInfo, path: str) -> None:
        request = key_service_pb2.UpdateKeyRequest(
            key=key.key_id, new_values=key_service_pb2.Key(key_id="other"), update_mask={"paths": [path]}
        )
        assert raw.call("UpdateKey", request).error == ("INVALID_ARGUMENT", "FIELD_INVALID")

    def test_a_dry_run_changes_nothing(self, officer: Client, key: KeyInfo) -> None:
        shown = officer.keys.update(key.key_id, description="imagined", state=KeyState.DISABLED, dry_run=True)
        assert (shown.description, shown.state) == ("imagined", KeyState.DISABLED)
        assert officer.keys.get(key.key_id) == key


class TestVersions:
    def test_a_rotation_makes_the_next_version(self, officer: Client, key: KeyInfo) -> None:
        assert officer.keys.rotate(key.key_id, reason="yearly").primary_version == 2
        newest, first = officer.keys.versions(key.key_id)
        assert (newest.version, newest.reason, newest.state) == (2, "yearly", KeyState.ENABLED)
        assert (first.version, first.state) == (1, KeyState.ENABLED)
        assert newest.created > first.created

    def test_a_dry_run_rotates_nothing(self, officer: Client, key: KeyInfo) -> None:
        assert officer.keys.rotate(key.key_id, dry_run=True).primary_version == 2
        assert officer.keys.get(key.key_id) == key

    def test_versions_come_newest_first_page_by_page(self, officer: Client, raw: Caller, key: KeyInfo) -> None:
        for _ in range(11):
            officer.keys.rotate(key.key_id)
        assert [each.version for each in officer.keys.versions(key.key_id, page_size=5)] == list(range(12, 0, -1))
        sizes, token = [], ""
        while True:
            request = key_service_pb2.ListKeyVersionsRequest(key=key.key_id, page_size=5, page_token=token)
            page = key_service_pb2.ListKeyVersionsResponse.FromString(raw.call("ListKeyVersions", request).body)
            sizes.append(len(page.key_versions))
            token = page.next_page_token
            if not token:
                break
        assert sizes == [5, 5, 2]

    def test_the_version_that_encrypts_can_not_be_disabled(self, officer: Client, key: KeyInfo) -> None:
        for dry_run in (True, False):
            primary = refusal(partial(officer.keys.disable_version, key.key_id, 1, dry_run=dry_run))
            assert primary == (FailedPrecondition, Reason.KEY_VERSION_IS_PRIMARY)
        officer.keys.rotate(key.key_id)
        assert officer.keys.disable_version(key.key_id, 1, dry_run=True).state is KeyState.DISABLED
        assert [each.state for each in officer.keys.versions(key.key_id)] == [KeyState.ENABLED] * 2
        assert officer.keys.disable_version(key.key_id, 1).state is KeyState.DISABLED
        assert officer.keys.disable_version(key.key_id, 1).state is KeyState.DISABLED, "twice is no error"
        assert officer.keys.enable_version(key.key_id, 1).state is KeyState.ENABLED

    def test_there_is_no_version_that_was_never_made(self, officer: Client, key: KeyInfo) -> None:
        for change in (officer.keys.enable_version, officer.keys.disable_version):
            unknown = refusal(partial(change, key.key_id, 2))
            assert unknown == (FailedPrecondition, Reason.KEY_VERSION_UNKNOWN)

    def test_a_disabled_key_is_not_rotated(self, officer: Client, key: KeyInfo) -> None:
        officer.keys.update(key.key_id, state=KeyState.DISABLED)
        assert refusal(lambda: officer.keys.rotate(key.key_id)) == (FailedPrecondition, Reason.KEY_DISABLED)
        officer.keys.update(key.key_id, state=KeyState.ENABLED)
        assert officer.keys.rotate(key.key_id).primary_version == 2


class TestAliases:
    def test_a_key_is_found_by_each_of_its_names(self, officer: Client, key: KeyInfo) -> None:
        names = sorted(f"alias/{key.key_id}-{letter}" for letter in "cab")
        for name in names:
            officer.keys.create_alias(name, key.key_id)
        assert officer.keys.get(names[1]).aliases == tuple(names)
        assert officer.keys.rotate(names[2]).key_id == key.key_id
        assert officer.keys.delete_alias(names[0]).aliases == tuple(names[1:])
        with pytest.raises(AccessDenied):
            officer.keys.get(names[0])

    def test_naming_twice_is_no_error_but_a_taken_name_is_refused(self, officer: Client, key: KeyInfo) -> None:
        other = officer.keys.create()
        name = f"alias/{key.key_id}-taken"
        officer.keys.create_alias(name, key.key_id)
        assert officer.keys.create_alias(name, key.key_id).aliases == (name,)
        taken = refusal(lambda: officer.keys.create_alias(name, other.key_id))
        assert taken == (AlreadyExists, Reason.ALIAS_EXISTS)
        assert officer.keys.get(name).key_id == key.key_id

    def test_an_alias_of_an_alias_is_refused(self, officer: Client, key: KeyInfo) -> None:
        officer.keys.create_alias(f"alias/{key.key_id}-one", key.key_id)
        chained = refusal(lambda: officer.keys.create_alias("alias/two", f"alias/{key.key_id}-one"))
        assert chained == (InvalidRequest, Reason.FIELD_INVALID)

    def test_an_alias_is_no_key_id_and_shadows_none(self, officer: Client, key: KeyInfo) -> None:
        other = officer.keys.create()
        officer.keys.create_alias(f"alias/{key.key_id}", other.key_id)
        assert officer.keys.get(key.key_id).key_id == key.key_id
        assert officer.keys.get(f"alias/{key.key_id}").key_id == other.key_id

    def test_a_key_has_at_most_sixteen(self, officer: Client, key: KeyInfo) -> None:
        for number in range(16):
            officer.keys.create_alias(f"alias/{key.key_id}-{number}", key.key_id)
        full = refusal(lambda: officer.keys.create_alias(f"alias/{key.key_id}-16", key.key_id))
        assert full == (FailedPrecondition, Reason.LIMIT_REACHED)

    def test_dry_runs_name_and_unname_nothing(self, officer: Client, key: KeyInfo) -> None:
        name = f"alias/{key.key_id}-dry"
        assert officer.keys.create_alias(name, key.key_id, dry_run=True).aliases == (name,)
        assert officer.keys.get(key.key_id).aliases == ()
        officer.keys.create_alias(name, key.key_id)
        assert officer.keys.delete_alias(name, dry_run=True).aliases == ()
        assert officer.keys.get(name).aliases == (name,)


class TestLists:
    def test_pages_walk_through_250_keys_once_each_by_id(self, running: Gateway) -> None:
        """In the other tenant, so that no other test's keys come between."""
        officer = running.client("clinic-officer")
        before = {key.key_id for key in officer.keys.list()}
        with Caller(running, "clinic-officer") as caller:
            requests = [key_service_pb2.CreateKeyRequest(key_id=f"page-{number:03}") for number in range(250)]
            for start in range(0, len(requests), 25):  # the database takes one writer at a time
                assert all(answer.ok for answer in caller.calls("CreateKey", requests[start : start + 25]))
            found, sizes, token = [], [], ""
            while True:
                request = key_service_pb2.ListKeysRequest(page_size=60, page_token=token)
                page = key_service_pb2.ListKeysResponse.FromString(caller.call("ListKeys", request).body)
                found += [key.key_id for key in page.keys]
                sizes.append(len(page.keys))
                token = page.next_page_token
                if not token:
                    break
        assert sorted(before | {f"page-{number:03}" for number in range(250)}) == found
        assert all(size == 60 for size in sizes[:-1])
        assert [key.key_id for key in officer.keys.list(page_size=1000)] == found

    @pytest.mark.parametrize(
        "request_",
        [
            key_service_pb2.ListKeysRequest(page_size=-1),
            key_service_pb2.ListKeysRequest(page_size=1001),
            key_service_pb2.ListKeysRequest(page_token="Not A Token"),
        ],
        ids=str,
    )
    def test_bad_pages_are_refused(self, raw: Caller, request_: key_service_pb2.ListKeysRequest) -> None:
        assert raw.call("ListKeys", request_).error == ("INVALID_ARGUMENT", "FIELD_INVALID")


def test_no_call_fails_while_the_key_is_rotated_twenty_times(gateway: Gateway) -> None:
    """On two workers: what one encrypts under the newest version, the other opens at once."""
    officer = gateway.client("key-officer")
    key = officer.keys.create().key_id
    faults: list[BaseException] = []
    versions: set[int] = set()
    done = threading.Event()
    calls: list[int] = []

    def work() -> None:
        writer, reader = gateway.client("ehr-writer"), gateway.client("ehr-reader", purpose="care")
        while not done.is_set():
            try:
                sealed = writer.encrypt(key, b"systolic 120")
                opened = reader.decrypt(sealed.envelope, expected_key=key)
                assert opened.plaintext == b"systolic 120"
                assert opened.key_version == sealed.key_version
            except BaseException as fault:  # noqa: BLE001  whatever it is, the test fails with it
                faults.append(fault)
                return
            versions.add(sealed.key_version)
            calls.append(sealed.key_version)

    # SDK calls of one client share a connection; the threads of eight pairs of clients reach both workers.
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        officer.keys.rotate(key)
    all_under_way = eventually(lambda: bool(faults) or (max(versions, default=0) == 21 and len(calls) >= 200), 30)
    done.set()
    for thread in threads:
        thread.join()
    assert faults == []
    assert all_under_way, (versions, len(calls))
