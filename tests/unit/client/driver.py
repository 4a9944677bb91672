"""Runs one piece of a test through both flavours of the client, so that neither can do what the other does not."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeVar

from kmsgw.client import AsyncClient, Client, Credentials, RetryPolicy
from tests.fakes.scripted_gateway import ScriptedGateway

T = TypeVar("T")

Use = Callable[[Any], Any]
"""What to do with a client. `Any`, because the answers of the flavours differ in type by design."""

SWIFT = RetryPolicy(initial_backoff=0.001, max_backoff=0.002)
"""The default number of attempts, without the waiting."""


class Driver:
    """Makes a client for a gateway, hands it to `use`, and returns the result; a list where that is an iterator."""

    def __init__(self, *, asynchronous: bool) -> None:
        self._asynchronous = asynchronous

    def __call__(
        self, gateway: ScriptedGateway | str, use: Use, *, credentials: Credentials | None = None, **options: Any
    ) -> Any:
        if isinstance(gateway, ScriptedGateway):
            credentials = credentials or gateway.credentials()
            gateway = gateway.address
        assert credentials is not None
        options = {"retry": SWIFT, **options}
        if self._asynchronous:
            return asyncio.run(_use_async(AsyncClient(gateway, credentials, **options), use))
        with Client(gateway, credentials, **options) as client:
            result = use(client)
            return list(result) if isinstance(result, Iterator) else result


async def _use_async(client: AsyncClient, use: Callable[[AsyncClient], Awaitable[T] | AsyncIterator[T]]) -> object:
    async with client:
        result = use(client)
        if isinstance(result, AsyncIterator):
            return [item async for item in result]
        assert inspect.isawaitable(result)
        return await result
