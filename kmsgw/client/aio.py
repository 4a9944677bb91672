"""The client for asyncio: the same verbs, to await."""

import asyncio
import copy
from collections.abc import AsyncIterator, Callable, Coroutine
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar, cast

import grpc

from kmsgw.client.audit_results import AuditEntry
from kmsgw.client.calls import approvals, audit, batches, crypto, imports, keys, officers, policy, sealing, system
from kmsgw.client.calls import streams as streaming
from kmsgw.client.calls.audit import WatchFeed
from kmsgw.client.calls.call import Answer, Call, Page
from kmsgw.client.calls.presentation import presented_as
from kmsgw.client.calls.streams import StreamCall
from kmsgw.client.channel import channel_credentials, channel_options
from kmsgw.client.credentials import Credentials
from kmsgw.client.failures import Failure, Metadata, find_officers_wanted, find_request_id, read_failure
from kmsgw.client.feeds import Feed, aiterate
from kmsgw.client.files import tasks
from kmsgw.client.files.tasks import FileTask
from kmsgw.client.proving import NOTHING_BORNE, ApprovalSource, Bearing, CodeSource, Foreseen
from kmsgw.client.retry import RetryPolicy
from kmsgw.client.stream_talk_aio import AsyncGatewayStream, AsyncStreamRpc, perform
from kmsgw.client.transport import Attempts, Settings, client_closed, explain_stream, next_token
from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.errors import KmsgwError
from kmsgw.model.context import AccessDeclaration

P = ParamSpec("P")
T = TypeVar("T")


class _AsyncConnection:
    """One channel, within one event loop, which a client and its views share."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._channel: grpc.aio.Channel | None = None
        self._closed = False

    async def attempt(
        self, method: str, request: bytes, seconds: float, metadata: tuple[tuple[str, str], ...]
    ) -> Answer | Failure:
        """Send a call once."""
        # The failure is returned and not raised: an error that is raised while gRPC's is handled would keep that one
        # alive as its __context__, with all that it holds.
        try:
            send = self._open_channel().unary_unary(method, None, None)
            rpc = send(request, timeout=seconds, metadata=metadata or None)
            payload = await rpc
        except grpc.aio.AioRpcError as error:
            trailing = cast("Metadata", error.trailing_metadata() or ())
            return read_failure(error.code(), error.details() or "", error.initial_metadata() or (), trailing)
        except grpc.aio.UsageError:  # closed meanwhile
            raise client_closed() from None
        except asyncio.CancelledError:
            # Closing the channel looks like a cancellation; only a cancelled task counts its cancellations.
            task = asyncio.current_task()
            if self._closed and task is not None and not task.cancelling():
                raise client_closed() from None
            raise
        trailing = await rpc.trailing_metadata()
        request_id = find_request_id(trailing, await rpc.initial_metadata())
        return Answer(payload, request_id, find_officers_wanted(trailing))

    def begin_stream(
        self, call: StreamCall, messages: AsyncIterator[bytes], metadata: tuple[tuple[str, str], ...]
    ) -> AsyncStreamRpc:
        """Begin a call that streams."""
        begin = self._open_channel().stream_stream(call.method, None, None)
        return begin(messages, timeout=call.timeout, metadata=metadata or None)

    def begin_feed(self, feed: Feed[T], metadata: tuple[tuple[str, str], ...]) -> object:
        """Begin a call that the gateway answers with a stream."""
        begin = self._open_channel().unary_stream(feed.method, None, None)
        return begin(feed.request(), metadata=metadata or None)

    def _open_channel(self) -> grpc.aio.Channel:
        """Return the channel. It belongs to the loop that it is made in, so the first call makes it."""
        if self._closed:
            raise client_closed()
        if self._channel is None:
            settings = self.settings
            self._channel = grpc.aio.secure_channel(
                settings.address,
                channel_credentials(settings.credentials),
                options=channel_options(settings.target_name),
            )
        return self._channel

    async def close(self) -> None:
        """End the calls in flight and release the connection."""
        self._closed = True
        if self._channel is not None:
            await self._channel.close(None)


class _AsyncTransport:
    """Makes calls over a connection, each with what it is to prove."""

    def __init__(self, connection: _AsyncConnection, bearing: Bearing = NOTHING_BORNE) -> None:
        self.connection = connection
        self.bearing = bearing

    async def run(self, call: Call[T]) -> T:
        """Make a call, with its repetitions, and return its result. A code that is wanted is asked for."""
        bearing = self.bearing
        while True:
            outcome = await self._outcome(call, bearing)
            if isinstance(outcome, Answer):
                bearing.foresee(outcome.officers_wanted)
                # Cryptography over megabytes would hold up every other task of the loop.
                return await asyncio.to_thread(call.result, outcome) if call.heavy else call.result(outcome)
            remedy = bearing.remedy_for(outcome)
            if remedy is None:
                raise outcome
            # It waits for a person, who must not hold up the loop either.
            bearing = await asyncio.to_thread(remedy)

    def converse(self, call: StreamCall) -> AsyncGatewayStream:
        """Return what is answered to a call that streams; it begins with the first step of the iteration."""
        connection, metadata = self.connection, self.bearing.metadata
        return AsyncGatewayStream(
            call,
            lambda each, messages: connection.begin_stream(each, messages, metadata),
            lambda failure: explain_stream(connection.settings, call.timeout, failure),
        )

    def follow(self, feed: Feed[T]) -> AsyncIterator[T]:
        """Return what a feed holds; it begins with the first step of the iteration."""
        connection, metadata = self.connection, self.bearing.metadata
        return aiterate(
            feed,
            lambda each: connection.begin_feed(each, metadata),
            lambda failure: explain_stream(connection.settings, None, failure),
        )

    async def _outcome(self, call: Call[T], bearing: Bearing) -> Answer | KmsgwError:
        settings = self.connection.settings
        repeatable = call.repeatable and bearing.repeatable
        attempts = Attempts(settings, repeatable=repeatable, timeout=call.timeout)
        while True:
            outcome = await self.connection.attempt(call.method, call.request, attempts.begin(), bearing.metadata)
            if isinstance(outcome, Answer):
                return outcome
            wait = attempts.after(outcome)
            if isinstance(wait, KmsgwError):
                return wait
            await asyncio.sleep(wait)


class _AsyncCaller:
    """What has verbs: the client, and its groups of verbs."""

    def __init__(self, transport: _AsyncTransport, declaration: AccessDeclaration) -> None:
        self._transport = transport
        self._declaration = declaration


def _awaitable(
    verb: Callable[P, Call[T]],
) -> Callable[Concatenate[_AsyncCaller, P], Coroutine[None, None, T]]:
    """Make a coroutine method of a verb."""

    @presented_as(verb)
    async def method(self: _AsyncCaller, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._transport.run(verb(*args, **kwargs))

    return method


def _declaring(
    verb: Callable[Concatenate[AccessDeclaration, P], Call[T]],
) -> Callable[Concatenate[_AsyncCaller, P], Coroutine[None, None, T]]:
    """Make a coroutine method of a verb that declares why it is called."""

    @presented_as(verb, supplied=1)
    async def method(self: _AsyncCaller, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._transport.run(verb(self._declaration, *args, **kwargs))

    return method


def _streaming(
    verb: Callable[Concatenate[AccessDeclaration, P], StreamCall],
) -> Callable[Concatenate[_AsyncCaller, P], AsyncGatewayStream]:
    """Make a method of a verb that streams."""

    @presented_as(verb, supplied=1)
    def method(self: _AsyncCaller, /, *args: P.args, **kwargs: P.kwargs) -> AsyncGatewayStream:
        return self._transport.converse(verb(self._declaration, *args, **kwargs))

    return method


def _performing(
    verb: Callable[Concatenate[AccessDeclaration, P], FileTask[T]],
) -> Callable[Concatenate[_AsyncCaller, P], Coroutine[None, None, T]]:
    """Make a coroutine method of work on files, which is done in a thread."""

    @presented_as(verb, supplied=1)
    async def method(self: _AsyncCaller, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await perform(verb(self._declaration, *args, **kwargs), self._transport)

    return method


def _listing(
    verb: Callable[Concatenate[str, P], Call[Page[T]]],
) -> Callable[Concatenate[_AsyncCaller, P], AsyncIterator[T]]:
    """Make a method that iterates over the pages of a verb. Each page is fetched when its turn comes."""

    @presented_as(verb, supplied=1)
    async def method(self: _AsyncCaller, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        token: str | None = ""
        while token is not None:
            page = await self._transport.run(verb(token, *args, **kwargs))
            for item in page.items:
                yield item
            token = next_token(token, page)

    return method


class AsyncKeys(_AsyncCaller):
    """The lifecycle of keys: `AsyncClient.keys`."""

    create = _awaitable(keys.create_key)
    get = _awaitable(keys.get_key)
    list = _listing(keys.list_keys)
    update = _awaitable(keys.update_key)
    rotate = _awaitable(keys.rotate_key)
    versions = _listing(keys.list_key_versions)
    usage = _awaitable(keys.get_key_usage)
    enable_version = _awaitable(keys.enable_key_version)
    disable_version = _awaitable(keys.disable_key_version)
    schedule_destruction = _awaitable(keys.schedule_key_destruction)
    cancel_destruction = _awaitable(keys.cancel_key_destruction)
    set_minimum_decrypt_version = _awaitable(keys.set_minimum_decrypt_version)
    import_parameters = _awaitable(imports.import_parameters)
    import_key = _awaitable(imports.import_key)
    create_alias = _awaitable(keys.create_alias)
    delete_alias = _awaitable(keys.delete_alias)


class AsyncApprovals(_AsyncCaller):
    """The consent of officers to what others ask for: `AsyncClient.approvals`."""

    list = _listing(approvals.list_approvals)
    get = _awaitable(approvals.get_approval)
    approve = _awaitable(approvals.approve)
    reject = _awaitable(approvals.reject)


class AsyncOfficers(_AsyncCaller):
    """The second factor of officers: `AsyncClient.officers`."""

    enrol = _awaitable(officers.enrol)
    confirm = _awaitable(officers.confirm)
    reset = _awaitable(officers.reset)
    list = _listing(officers.list_officers)


class AsyncPolicy(_AsyncCaller):
    """What the policies say, and why: `AsyncClient.policy`."""

    explain_request = _awaitable(policy.explain_request)
    explain = _awaitable(policy.explain)
    list = _listing(policy.list_policies)


def _watching(verb: Callable[P, WatchFeed]) -> Callable[Concatenate[_AsyncCaller, P], AsyncIterator[AuditEntry]]:
    """Make a method that iterates over a feed."""

    @presented_as(verb)
    def method(self: _AsyncCaller, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[AuditEntry]:
        return self._transport.follow(verb(*args, **kwargs))

    return method


class AsyncAudit(_AsyncCaller):
    """The audit log, for auditors: `AsyncClient.audit`."""

    logs = _awaitable(audit.list_logs)
    checkpoint = _awaitable(audit.checkpoint)
    entries = _listing(audit.list_entries)
    watch = _watching(audit.watch)
    prove_entry = _awaitable(audit.prove_entry)
    prove_growth = _awaitable(audit.prove_growth)


class AsyncClient(_AsyncCaller):
    """A connection to the gateway for the tasks of one event loop; make one and keep it, or use ``async with``.

    The arguments are those of `Client`, and so are the verbs: each is to await, but for the lists, which are for
    ``async for``. Cancelling a task cancels its call. Nothing is sent before the first call.

    Raises `ConfigurationError` and `InvalidRequest` where an argument can't be.
    """

    def __init__(
        self,
        address: str,
        credentials: Credentials,
        *,
        timeout: float = 10.0,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - frozen
        purpose: str = "",
        end_user: str = "",
        target_name: str = "",
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        declaration = AccessDeclaration(purpose, end_user)
        connection = _AsyncConnection(Settings(address, credentials, timeout, retry, target_name, clock))
        self._equip(_AsyncTransport(connection), declaration)

    def _equip(self, transport: _AsyncTransport, declaration: AccessDeclaration) -> None:
        super().__init__(transport, declaration)
        self.keys = AsyncKeys(transport, declaration)
        self.policy = AsyncPolicy(transport, declaration)
        self.approvals = AsyncApprovals(transport, declaration)
        self.officers = AsyncOfficers(transport, declaration)
        self.audit = AsyncAudit(transport, declaration)

    def proving(
        self,
        *,
        session: str = "",
        code: str | CodeSource = "",
        approval: str | ApprovalSource = "",
        foreseen: Foreseen | None = None,
    ) -> Self:
        """Return a view of this client whose calls prove what is given: as `Client.proving`, and not to await.

        A function that returns codes or approvals is called in a thread.
        """
        view = copy.copy(self)
        bearing = self._transport.bearing.extended(session, code, approval, foreseen)
        view._equip(_AsyncTransport(self._transport.connection, bearing), self._declaration)  # noqa: SLF001 - of the same class
        return view

    encrypt = _declaring(crypto.encrypt)
    decrypt = _declaring(crypto.decrypt)
    re_encrypt = _declaring(crypto.re_encrypt)
    rewrap = _declaring(sealing.rewrap)
    generate_data_key = _declaring(crypto.generate_data_key)
    generate_data_key_without_plaintext = _declaring(crypto.generate_data_key_without_plaintext)
    random_bytes = _awaitable(crypto.random_bytes)
    compute_mac = _declaring(crypto.compute_mac)
    verify_mac = _declaring(crypto.verify_mac)
    batch_encrypt = _declaring(batches.batch_encrypt)
    batch_decrypt = _declaring(batches.batch_decrypt)
    batch_re_encrypt = _declaring(batches.batch_re_encrypt)
    batch_rewrap = _declaring(batches.batch_rewrap)
    batch_generate_data_key = _declaring(batches.batch_generate_data_key)
    batch_generate_data_key_without_plaintext = _declaring(batches.batch_generate_data_key_without_plaintext)
    seal = _declaring(sealing.seal)
    open = _declaring(sealing.open_sealed)
    encrypt_file = _performing(tasks.encrypt_file)
    decrypt_file = _performing(tasks.decrypt_file)
    rewrap_file = _performing(tasks.rewrap_file)
    encrypt_stream = _streaming(streaming.encrypt_stream)
    decrypt_stream = _streaming(streaming.decrypt_stream)
    login = _awaitable(officers.login)
    logout = _awaitable(officers.logout)
    who_am_i = _awaitable(officers.who_am_i)
    status = _awaitable(system.status)
    health = _awaitable(system.health)

    async def close(self) -> None:
        """End the calls in flight and release the connection. Later calls raise `Unavailable`."""
        await self._transport.connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
