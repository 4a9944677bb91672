"""How wrapped material is handed to a token: what SoftHSM can not show."""

import ctypes
import struct
from collections.abc import Collection
from typing import Any, cast

import pkcs11
import pytest
from pkcs11 import MGF, Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass

from kmsgw.providers.pkcs11.mechanism import AesGcm, AesKeyWrapPad
from kmsgw.providers.pkcs11.unwrapping import RSA_AES_KEY_WRAP, OneStep, Target, TwoSteps, find_way

TARGET = Target(AesGcm(), b"i" * 16, "kmsgw/ehr/1", store=True)
WRAPPED = bytes(384) + b"k" * 40
ALL = frozenset(map(int, (RSA_AES_KEY_WRAP, Mechanism.RSA_PKCS_OAEP, Mechanism.RSA_PKCS_KEY_PAIR_GEN)))


class RecordingKey:
    """A key of a token that unwraps anything into another of its kind."""

    def __init__(self) -> None:
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self.parameters: list[bytes] = []
        self.made: list[RecordingKey] = []
        self.destroyed = False

    def unwrap_key(self, *positional: Any, **named: Any) -> "RecordingKey":
        self.calls.append((positional, named))
        if isinstance(named["mechanism_param"], bytes):
            bits, pointer = struct.unpack("@LP", named["mechanism_param"])
            assert bits == 256
            # Read now, as the library does: nothing need be there afterwards.
            self.parameters.append(ctypes.string_at(pointer, struct.calcsize("@LLLPL")))
        self.made.append(RecordingKey())
        return self.made[-1]

    def destroy(self) -> None:
        self.destroyed = True


def test_one_step_hands_over_all_of_it_with_the_parameters_of_the_standard() -> None:
    private = RecordingKey()
    OneStep().unwrap(cast("Any", private), WRAPPED, TARGET)
    ((object_class, key_type, wrapped), named) = private.calls[0]
    assert (object_class, key_type, wrapped) == (ObjectClass.SECRET_KEY, KeyType.AES, WRAPPED)
    assert int(named["mechanism"]) == 0x1054
    # CK_RSA_PKCS_OAEP_PARAMS: CKM_SHA256, CKG_MGF1_SHA256, CKZ_DATA_SPECIFIED, no label.
    assert struct.unpack("@LLLPL", private.parameters[0]) == (0x250, 2, 1, 0, 0)
    assert (named["id"], named["label"], named["store"]) == (b"i" * 16, "kmsgw/ehr/1", True)
    assert named["capabilities"] == MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT
    assert named["template"] == {Attribute.PRIVATE: True, Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}


def test_two_steps_leave_no_transport_key_behind() -> None:
    private = RecordingKey()
    TwoSteps(Mechanism.AES_KEY_WRAP_PAD).unwrap(cast("Any", private), WRAPPED, TARGET)
    ((_, _, first), outer) = private.calls[0]
    transport = private.made[0]
    ((_, _, second), inner) = transport.calls[0]
    assert (first, second) == (WRAPPED[:384], WRAPPED[384:])
    assert outer["mechanism_param"] == (Mechanism.SHA256, MGF.SHA256, None)
    assert outer["store"] is False
    assert outer["capabilities"] == MechanismFlag.UNWRAP
    assert outer["template"][Attribute.EXTRACTABLE] is False
    assert inner["mechanism"] is Mechanism.AES_KEY_WRAP_PAD
    assert transport.destroyed
    assert not transport.made[0].destroyed


@pytest.mark.parametrize(
    ("listed", "key_wrap", "named"),
    [
        (ALL - {int(Mechanism.RSA_PKCS_KEY_PAIR_GEN)}, True, ["RSA_PKCS_KEY_PAIR_GEN is not offered"]),
        (
            frozenset({int(Mechanism.RSA_PKCS_KEY_PAIR_GEN)}),
            True,
            ["RSA_AES_KEY_WRAP is not offered", "RSA_PKCS_OAEP is not offered"],
        ),
        (ALL - {int(RSA_AES_KEY_WRAP)}, False, ["RSA_AES_KEY_WRAP is not offered", "AES_KEY_WRAP_PAD does not work"]),
    ],
)
def test_what_is_missing_is_named_without_a_key_pair_being_made(
    listed: Collection[int], key_wrap: bool, named: list[str]
) -> None:
    session = cast("pkcs11.Session", None)  # nothing may be asked of it
    wrap = AesKeyWrapPad(Mechanism.AES_KEY_WRAP_PAD) if key_wrap else None
    found = find_way(session, listed, wrap, AesGcm())
    assert found.way is None
    assert found.fault == ", ".join(named)
