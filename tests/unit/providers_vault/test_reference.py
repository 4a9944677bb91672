"""References to material in transit: exact, and bound to key and version."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmsgw.errors import FailedPrecondition, Reason
from kmsgw.providers.base import REFERENCE_LIMIT, MaterialRef
from kmsgw.providers.vault.reference import WRAPPED_BYTES, TransitVersion

VERSIONS = st.integers(1, 2**32 - 1)
KEY_IDS = st.from_regex(r"[a-z][a-z0-9]{0,19}(-[a-z0-9]{1,19})?", fullmatch=True)
PREFIXES = st.sampled_from(["", "kmsgw-", "a.b_C-"])


@given(PREFIXES, KEY_IDS, VERSIONS, VERSIONS)
def test_a_reference_leads_back_to_what_it_was_made_of(
    prefix: str, key_id: str, kmsgw_version: int, transit_version: int
) -> None:
    transit = TransitVersion(prefix, key_id, transit_version)
    reference = transit.reference(kmsgw_version)
    assert len(reference) <= REFERENCE_LIMIT
    assert TransitVersion.of(MaterialRef(key_id, kmsgw_version, reference)) == transit


def test_the_bytes_of_a_reference_are_as_documented() -> None:
    reference = TransitVersion("kmsgw-", "ehr", 5).reference(3)
    assert reference == bytes.fromhex("01 00000003 00000005") + b"kmsgw-\0ehr"


@given(st.binary(max_size=64))
def test_any_other_bytes_are_missing_material(raw: bytes) -> None:
    with pytest.raises(FailedPrecondition) as caught:
        TransitVersion.of(MaterialRef("ehr", 3, raw))
    assert caught.value.reason is Reason.MATERIAL_MISSING


@pytest.mark.parametrize(
    "reference",
    [
        TransitVersion("kmsgw-", "ehr", 5).reference(4),
        TransitVersion("kmsgw-", "other", 5).reference(3),
        TransitVersion("kmsgw-x", "ehr", 0).reference(3),
        b"\2" + TransitVersion("kmsgw-", "ehr", 5).reference(3)[1:],
        TransitVersion("kmsgw-", "ehr", 5).reference(3) + b"\0",
        TransitVersion("kmsgw-e", "hr", 5).reference(3),
        TransitVersion("../sys/seal/", "ehr", 5).reference(3),
        TransitVersion("a..", "ehr", 5).reference(3),
    ],
    ids=["version", "key", "transit-version", "format", "tail", "moved-border", "path", "dots"],
)
def test_references_of_others_and_paths_are_refused(reference: bytes) -> None:
    with pytest.raises(FailedPrecondition):
        TransitVersion.of(MaterialRef("ehr", 3, reference))


def test_wraps_lose_and_regain_what_transit_puts_before_them() -> None:
    transit, wrapped = TransitVersion("kmsgw-", "ehr", 12), bytes(range(WRAPPED_BYTES))
    assert transit.dress(wrapped).startswith("vault:v12:")
    assert transit.strip(transit.dress(wrapped)) == wrapped


@pytest.mark.parametrize(
    "ciphertext",
    [
        "",
        "vault:v12:",
        "vault:v12:!!!!",
        "vault:v1:" + base64.b64encode(bytes(WRAPPED_BYTES)).decode(),
        "vault:v12:" + base64.b64encode(bytes(WRAPPED_BYTES + 1)).decode(),
        "bao:v12:" + base64.b64encode(bytes(WRAPPED_BYTES)).decode(),
        base64.b64encode(bytes(WRAPPED_BYTES)).decode(),
    ],
)
def test_a_ciphertext_of_another_version_or_form_is_not_taken(ciphertext: str) -> None:
    assert TransitVersion("kmsgw-", "ehr", 12).strip(ciphertext) is None
