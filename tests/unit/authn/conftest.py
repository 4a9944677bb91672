"""What the tests of identity share: one CA, and a clock that they set."""

import pytest

from kmsgw.cli.development import DevelopmentCa
from tests.fakes.clock import SetClock


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture(scope="session")
def ca() -> DevelopmentCa:
    return DevelopmentCa.create()
