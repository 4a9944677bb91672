"""Keys as values: what may follow what."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from kmsgw.errors import FailedPrecondition, InvalidRequest, Reason
from kmsgw.model.key import MAX_VERSIONS, Key, KeyVersion, check_labels, check_text
from kmsgw.model.names import check_alias, check_key_name, is_name
from kmsgw.model.request_id import new_request_id

NOW = datetime(2026, 11, 21, tzinfo=UTC)
LATER = datetime(2026, 11, 22, tzinfo=UTC)


def a_key(versions: int = 2) -> Key:
    made = tuple(KeyVersion(number, b"material", NOW) for number in range(1, versions + 1))
    return Key("ehr", "hospital", "software", made, NOW, NOW)


def test_the_newest_version_encrypts() -> None:
    assert a_key(3).primary.version == 3


def test_rotation_adds_the_next_number_and_keeps_the_others() -> None:
    rotated = a_key().with_new_version(b"new", LATER, "yearly")
    assert [each.version for each in rotated.versions] == [1, 2, 3]
    assert (rotated.primary.material, rotated.primary.reason, rotated.updated) == (b"new", "yearly", LATER)


def test_versions_are_bounded() -> None:
    full = replace(a_key(1), versions=(KeyVersion(1, b"", NOW),) * MAX_VERSIONS)
    with pytest.raises(FailedPrecondition) as refusal:
        full.with_new_version(b"", NOW, "")
    assert refusal.value.reason is Reason.LIMIT_REACHED


def test_material_does_not_show() -> None:
    assert "material" not in repr(a_key())


@pytest.mark.parametrize("name", ["a", "ehr", "ehr-2026", "k" * 40])
def test_names(name: str) -> None:
    assert is_name(name)
    assert check_key_name(name) == name
    assert check_key_name(f"alias/{name}") == f"alias/{name}"


@pytest.mark.parametrize(
    "name", ["", "A", "1a", "a_b", "a--b", "-a", "a-", "k" * 41, "é", "a\n", "alias/", "alias/alias/a"]
)
def test_what_is_no_name(name: str) -> None:
    assert not is_name(name)
    with pytest.raises(InvalidRequest):
        check_key_name(name)
    with pytest.raises(InvalidRequest):
        check_alias(f"alias/{name}" if not name.startswith("alias/") else name)


def test_labels_and_texts_have_limits() -> None:
    with pytest.raises(InvalidRequest):
        check_labels({f"l{number}": "" for number in range(17)})
    with pytest.raises(InvalidRequest):
        check_labels({"": "x"})
    with pytest.raises(InvalidRequest):
        check_labels({"a": "x" * 64})
    with pytest.raises(InvalidRequest):
        check_text("line\nline", "reason")
    with pytest.raises(InvalidRequest):
        check_text("x" * 257, "reason")


def test_request_ids_are_uuids_of_version_7_in_order_of_time() -> None:
    early, late = new_request_id(NOW), new_request_id(LATER)
    assert early < late
    assert early[14] == late[14] == "7"
    assert early[19] in "89ab"
    assert new_request_id(NOW) != early


def test_request_ids_differ_though_their_random_bits_are_made_many_at_once() -> None:
    made = [new_request_id(NOW) for _ in range(1000)]
    assert len(set(made)) == len(made)
    assert {(each.version, each.variant) for each in map(uuid.UUID, made)} == {(7, uuid.RFC_4122)}
    assert {str(uuid.UUID(each)) for each in made} == set(made)
