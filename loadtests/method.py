"""The methods of the data plane that are put under load, and the mix of them that resembles applications."""

import random
from enum import StrEnum


class Method(StrEnum):
    """A method of CryptoService, by its name in the contract. A call of a batch has many values, a stream many chunks.

    BatchGenerateDataKey is two: with its ``without_plaintext`` it does other work, for other callers.
    """

    ENCRYPT = "Encrypt"
    DECRYPT = "Decrypt"
    RE_ENCRYPT = "ReEncrypt"
    REWRAP = "Rewrap"
    GENERATE_DATA_KEY = "GenerateDataKey"
    GENERATE_DATA_KEY_WITHOUT_PLAINTEXT = "GenerateDataKeyWithoutPlaintext"
    GENERATE_RANDOM_BYTES = "GenerateRandomBytes"
    COMPUTE_MAC = "ComputeMac"
    VERIFY_MAC = "VerifyMac"
    RENEW_DATA_KEY_LEASES = "RenewDataKeyLeases"
    ENCRYPT_STREAM = "EncryptStream"
    DECRYPT_STREAM = "DecryptStream"
    BATCH_ENCRYPT = "BatchEncrypt"
    BATCH_DECRYPT = "BatchDecrypt"
    BATCH_RE_ENCRYPT = "BatchReEncrypt"
    BATCH_REWRAP = "BatchRewrap"
    BATCH_GENERATE_DATA_KEY = "BatchGenerateDataKey"
    BATCH_GENERATE_DATA_KEY_WITHOUT_PLAINTEXT = "BatchGenerateDataKeyWithoutPlaintext"


MIX: dict[Method, int] = {
    Method.DECRYPT: 80,
    Method.ENCRYPT: 15,
    Method.GENERATE_DATA_KEY: 3,
    Method.GENERATE_DATA_KEY_WITHOUT_PLAINTEXT: 2,
}
"""Per cent of calls: reads 80, writes 15, data keys 5."""


def draw(mix: dict[Method, int], source: random.Random) -> Method:
    """Return a method, each as likely as its weight in the mix."""
    return source.choices(list(mix), weights=list(mix.values()))[0]
