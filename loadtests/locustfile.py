"""What Locust loads: `locust -f loadtests/locustfile.py --kmsgw-folder FOLDER`, from the project's folder."""

from locust import events

from loadtests.campaign import Campaign
from loadtests.shape import KmsgwShape
from loadtests.users import (
    BatchDataKeyUser,
    BatchDecryptUser,
    BatchEncryptUser,
    BatchReEncryptUser,
    BatchRewrapUser,
    DataKeyUser,
    DecryptUser,
    EncryptUser,
    MixedUser,
    RandomBytesUser,
    ReEncryptUser,
    RewrapUser,
    WrappedDataKeyUser,
)

__all__ = [
    "BatchDataKeyUser",
    "BatchDecryptUser",
    "BatchEncryptUser",
    "BatchReEncryptUser",
    "BatchRewrapUser",
    "DataKeyUser",
    "DecryptUser",
    "EncryptUser",
    "KmsgwShape",
    "MixedUser",
    "RandomBytesUser",
    "ReEncryptUser",
    "RewrapUser",
    "WrappedDataKeyUser",
]

Campaign().attach(events)
