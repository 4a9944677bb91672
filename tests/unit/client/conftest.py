"""Fixtures of the client's tests."""

from collections.abc import Iterator

import pytest

from tests.fakes.scripted_gateway import ScriptedGateway
from tests.unit.client.driver import Driver


@pytest.fixture
def gateway() -> Iterator[ScriptedGateway]:
    with ScriptedGateway(request_id="request-7") as started:
        yield started


@pytest.fixture(params=[False, True], ids=["sync", "asyncio"])
def drive(request: pytest.FixtureRequest) -> Driver:
    return Driver(asynchronous=request.param)
