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
    BatchWrappedDataKeyUser,
    ComputeMacUser,
    DataKeyUser,
    DecryptStreamUser,
    DecryptUser,
    EncryptStreamUser,
    EncryptUser,
    LeaseUser,
    MixedUser,
    RandomBytesUser,
    ReEncryptUser,
    RewrapUser,
    VerifyMacUser,
    WrappedDataKeyUser,
)

__all__ = [
    "BatchDataKeyUser",
    "BatchDecryptUser",
    "BatchEncryptUser",
    "BatchReEncryptUser",
    "BatchRewrapUser",
    "BatchWrappedDataKeyUser",
    "ComputeMacUser",
    "DataKeyUser",
    "DecryptStreamUser",
    "DecryptUser",
    "EncryptStreamUser",
    "EncryptUser",
    "KmsgwShape",
    "LeaseUser",
    "MixedUser",
    "RandomBytesUser",
    "ReEncryptUser",
    "RewrapUser",
    "VerifyMacUser",
    "WrappedDataKeyUser",
]

Campaign().attach(events)
