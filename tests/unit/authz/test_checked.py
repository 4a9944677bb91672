"""Policies that one process checked and another takes over."""

from pathlib import Path

import pytest

from kmsgw.authz import load_policies
from kmsgw.authz.checked import pack_policies, unpack_policies
from kmsgw.authz.current import CurrentPolicies
from kmsgw.errors import ConfigurationError

SHIPPED = Path(__file__).parents[3] / "policies"


def copied(folder: Path) -> Path:
    for path in SHIPPED.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_what_is_taken_over_is_what_was_checked() -> None:
    loaded = load_policies(SHIPPED)

    found = unpack_policies(pack_policies(loaded), SHIPPED)

    assert found is not None
    assert found.policies == loaded.policies
    assert found.digest == loaded.digest
    assert {action: (each.on_key, each.data, each.labels) for action, each in found.exposures.items()} == {
        action: (each.on_key, each.data, each.labels) for action, each in loaded.exposures.items()
    }


def test_what_was_checked_is_taken_over_whatever_the_folder_holds_by_then(tmp_path: Path) -> None:
    checked = CurrentPolicies(copied(tmp_path))
    packed = checked.pack()
    in_force = CurrentPolicies(tmp_path, packed)
    (tmp_path / "more.cedar").write_text("permit (")

    assert in_force.reload(packed)
    assert in_force.digest == checked.digest
    assert CurrentPolicies(tmp_path, packed).policies() == checked.policies()


@pytest.mark.parametrize("place", [0, 40, -1])
def test_what_is_no_whole_packing_is_checked_anew(tmp_path: Path, place: int) -> None:
    packed = bytearray(pack_policies(load_policies(SHIPPED)))
    packed[place] ^= 1

    assert unpack_policies(bytes(packed), SHIPPED) is None
    assert unpack_policies(bytes(packed[:-1]), SHIPPED) is None
    with pytest.raises(ConfigurationError):
        CurrentPolicies(tmp_path, bytes(packed))


def test_what_was_checked_is_not_checked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = CurrentPolicies(SHIPPED).pack()
    monkeypatch.setattr("kmsgw.authz.current.load_policies", None)

    current = CurrentPolicies(SHIPPED, packed)

    assert current.reload(packed)
    assert current.pack() == packed
