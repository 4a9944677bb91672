"""What the tests of identity share: one CA, and a clock that they set."""

from datetime import UTC, datetime, timedelta

import pytest

from kmsgw.cli.development import DevelopmentCa


class SetClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.time = datetime.now(UTC).replace(microsecond=0)
        self.seconds = 0.0

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.move(timedelta(seconds=seconds))

    def move(self, by: timedelta) -> None:
        self.time += by
        self.seconds += by.total_seconds()


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture(scope="session")
def ca() -> DevelopmentCa:
    return DevelopmentCa.create()
