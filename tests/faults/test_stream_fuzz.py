"""Generated conversations with the methods that stream: whatever comes, a documented answer, and never a crash.

Short in CI; KMSGW_FUZZ_INPUTS sends more, KMSGW_FUZZ_SEED repeats a run.
"""

import os
import random
import secrets
from collections import Counter

import grpc
import pytest
from google.protobuf.message import Message

from kmsgw.v1 import crypto_service_pb2 as wire
from tests.support.calls import Caller, pairs
from tests.support.gateway import Gateway

INPUTS = int(os.environ.get("KMSGW_FUZZ_INPUTS", "60"))
SEED = int(os.environ.get("KMSGW_FUZZ_SEED", str(secrets.randbits(32))))
DOCUMENTED = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.FAILED_PRECONDITION,
}
PLAINTEXT = bytes(300_000)


def encrypting() -> list[bytes]:
    start = wire.EncryptStreamStart(key="ehr", encryption_context=pairs(patient="P-1"))
    return serialised(
        wire.EncryptStreamRequest(start=start),
        wire.EncryptStreamRequest(chunk=PLAINTEXT[:200_000]),
        wire.EncryptStreamRequest(chunk=PLAINTEXT[200_000:]),
        wire.EncryptStreamRequest(end=wire.EncryptStreamEnd(plaintext_bytes=len(PLAINTEXT))),
    )


def decrypting(stream: bytes) -> list[bytes]:
    start = wire.DecryptStreamStart(head=stream[:512], encryption_context=pairs(patient="P-1"))
    start.declaration.purpose = "care"
    chunks = [wire.DecryptStreamRequest(chunk=stream[at : at + 150_000]) for at in range(512, len(stream), 150_000)]
    return serialised(wire.DecryptStreamRequest(start=start), *chunks)


def serialised(*messages: Message) -> list[bytes]:
    return [each.SerializeToString() for each in messages]


def changed(messages: list[bytes], chance: random.Random) -> list[bytes]:
    """Return a conversation with messages dropped, doubled, swapped, cut or flipped; now and then as it was."""
    made = list(messages)
    for _ in range(chance.randrange(3)):
        at, other = chance.randrange(len(made)), chance.randrange(len(made))
        match chance.randrange(5):
            case 0 if len(made) > 1:
                del made[at]
            case 1:
                made.insert(other, made[at])
            case 2:
                made[at], made[other] = made[other], made[at]
            case 3:
                made[at] = made[at][: chance.randrange(len(made[at]) + 1)]
            case _ if made[at]:
                flipped = bytearray(made[at])
                flipped[chance.randrange(min(len(flipped), 600))] ^= 1 << chance.randrange(8)
                made[at] = bytes(flipped)
    return made


@pytest.mark.parametrize("method", ["EncryptStream", "DecryptStream"])
def test_generated_conversations_get_documented_answers(method: str, gateway: Gateway) -> None:
    chance = random.Random(f"{SEED}/{method}")
    principal = "ehr-writer" if method == "EncryptStream" else "ehr-reader"
    stream = b"".join(gateway.client("ehr-writer").encrypt_stream("ehr", [PLAINTEXT], {"patient": "P-1"}))
    honest = encrypting() if method == "EncryptStream" else decrypting(stream)
    before = gateway.workers()
    seen: Counter[grpc.StatusCode] = Counter()
    with Caller(gateway, principal) as caller:
        for _ in range(INPUTS):
            messages = changed(honest, chance)
            answered, answer = caller.converse(method, messages)
            seen[answer.code] += 1
            parts = [wire.DecryptStreamResponse.FromString(each) for each in answered]
            finished = bool(parts) and parts[-1].WhichOneof("part") == "finished"
            assert finished == answer.ok, f"KMSGW_FUZZ_SEED={SEED}"
            if method == "DecryptStream":
                released = b"".join(each.chunk for each in parts)
                assert PLAINTEXT.startswith(released), f"KMSGW_FUZZ_SEED={SEED}"
                assert not answer.ok or released == PLAINTEXT, f"KMSGW_FUZZ_SEED={SEED}"
    assert set(seen) <= DOCUMENTED, f"{seen} with KMSGW_FUZZ_SEED={SEED}"
    assert seen[grpc.StatusCode.OK]
    assert gateway.workers() == before, "a worker died"
