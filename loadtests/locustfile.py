"""What Locust loads: `locust -f loadtests/locustfile.py --kmsgw-folder FOLDER`, from the project's folder."""

from locust import events

from loadtests.campaign import Campaign
from loadtests.shape import KmsgwShape
from loadtests.users import (
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
