"""The synchronous client."""

import copy
from collections.abc import Callable, Iterator
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
from kmsgw.client.failures import Failure, find_officers_wanted, find_request_id, read_failure
from kmsgw.client.feeds import Feed, iterate
from kmsgw.client.files import tasks
from kmsgw.client.files.tasks import FileTask
from kmsgw.client.proving import NOTHING_BORNE, ApprovalSource, Bearing, CodeSource, Foreseen
from kmsgw.client.retry import RetryPolicy
from kmsgw.client.stream_talk import GatewayStream, StreamRpc
from kmsgw.client.transport import Attempts, Settings, client_closed, explain_stream, next_token
from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.errors import KmsgwError
from kmsgw.model.context import AccessDeclaration

P = ParamSpec("P")
T = TypeVar("T")


class _Connection:
    """One channel, which a client and its views share. Safe for threads."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._channel = grpc.secure_channel(
            settings.address, channel_credentials(settings.credentials), options=channel_options(settings.target_name)
        )
        self._methods: dict[str, grpc.UnaryUnaryMultiCallable[bytes, bytes]] = {}
        self._closed = False

    def attempt(
        self, method: str, request: bytes, timeout: float, metadata: tuple[tuple[str, str], ...]
    ) -> Answer | Failure:
        """Send a call once. `timeout` is in seconds."""
        # The failure is returned and not raised: an error that is raised while gRPC's is handled would keep that one
        # alive as its __context__, with all that it holds.
        if self._closed:
            raise client_closed()
        send = self._methods.get(method)
        if send is None:
            send = self._methods[method] = self._channel.unary_unary(method, None, None)
        try:
            payload, rpc = send.with_call(request, timeout=timeout, metadata=metadata or None)
        except grpc.RpcError as error:
            failed = cast("grpc.Call", error)
            return read_failure(
                failed.code(), failed.details() or "", failed.initial_metadata() or (), failed.trailing_metadata() or ()
            )
        except ValueError:
            if self._closed:  # by another thread, meanwhile
                raise client_closed() from None
            raise
        trailing = rpc.trailing_metadata() or ()
        request_id = find_request_id(trailing, rpc.initial_metadata() or ())
        return Answer(payload, request_id, find_officers_wanted(trailing))

    def begin_stream(
        self, call: StreamCall, messages: Iterator[bytes], metadata: tuple[tuple[str, str], ...]
    ) -> StreamRpc:
        """Begin a call that streams."""
        if self._closed:
            raise client_closed()
        begin = self._channel.stream_stream(call.method, None, None)
        return cast("StreamRpc", begin(messages, timeout=call.timeout, metadata=metadata or None))

    def begin_feed(self, feed: Feed[T], metadata: tuple[tuple[str, str], ...]) -> Iterator[bytes]:
        """Begin a call that the gateway answers with a stream."""
        if self._closed:
            raise client_closed()
        begin = self._channel.unary_stream(feed.method, None, None)
        return cast("Iterator[bytes]", begin(feed.request(), metadata=metadata or None))

    def close(self) -> None:
        """End the calls in flight and release the connection."""
        self._closed = True
        self._channel.close()


class _Transport:
    """Makes calls over a connection, each with what it is to prove. Safe for threads."""

    def __init__(self, connection: _Connection, bearing: Bearing = NOTHING_BORNE) -> None:
        self.connection = connection
        self.bearing = bearing

    def run(self, call: Call[T]) -> T:
        """Make a call, with its repetitions, and return its result. A code that is wanted is asked for."""
        bearing = self.bearing
        while True:
            outcome = self._outcome(call, bearing)
            if isinstance(outcome, Answer):
                bearing.foresee(outcome.officers_wanted)
                return call.result(outcome)
            remedy = bearing.remedy_for(outcome)
            if remedy is None:
                raise outcome
            bearing = remedy()

    def converse(self, call: StreamCall) -> GatewayStream:
        """Return what is answered to a call that streams; it begins with the first step of the iteration."""
        connection, metadata = self.connection, self.bearing.metadata
        return GatewayStream(
            call,
            lambda each, messages: connection.begin_stream(each, messages, metadata),
            lambda failure: explain_stream(connection.settings, call.timeout, failure),
        )

    def follow(self, feed: Feed[T]) -> Iterator[T]:
        """Return what a feed holds; it begins with the first step of the iteration."""
        connection, metadata = self.connection, self.bearing.metadata
        return iterate(
            feed,
            lambda each: connection.begin_feed(each, metadata),
            lambda failure: explain_stream(connection.settings, None, failure),
        )

    def _outcome(self, call: Call[T], bearing: Bearing) -> Answer | KmsgwError:
        settings = self.connection.settings
        repeatable = call.repeatable and bearing.repeatable
        attempts = Attempts(settings, repeatable=repeatable, timeout=call.timeout)
        while True:
            outcome = self.connection.attempt(call.method, call.request, attempts.begin(), bearing.metadata)
            if isinstance(outcome, Answer):
                return outcome
            wait = attempts.after(outcome)
            if isinstance(wait, KmsgwError):
                return wait
            settings.clock.sleep(wait)


class _Caller:
    """What has verbs: the client, and its groups of verbs."""

    def __init__(self, transport: _Transport, declaration: AccessDeclaration) -> None:
        self._transport = transport
        self._declaration = declaration


def _blocking(verb: Callable[P, Call[T]]) -> Callable[Concatenate[_Caller, P], T]:
    """Make a method of a verb."""

    @presented_as(verb)
    def method(self: _Caller, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._transport.run(verb(*args, **kwargs))

    return method


def _declaring(verb: Callable[Concatenate[AccessDeclaration, P], Call[T]]) -> Callable[Concatenate[_Caller, P], T]:
    """Make a method of a verb that declares why it is called."""

    @presented_as(verb, supplied=1)
    def method(self: _Caller, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._transport.run(verb(self._declaration, *args, **kwargs))

    return method


def _streaming(
    verb: Callable[Concatenate[AccessDeclaration, P], StreamCall],
) -> Callable[Concatenate[_Caller, P], GatewayStream]:
    """Make a method of a verb that streams."""

    @presented_as(verb, supplied=1)
    def method(self: _Caller, /, *args: P.args, **kwargs: P.kwargs) -> GatewayStream:
        return self._transport.converse(verb(self._declaration, *args, **kwargs))

    return method


def _performing(
    verb: Callable[Concatenate[AccessDeclaration, P], FileTask[T]],
) -> Callable[Concatenate[_Caller, P], T]:
    """Make a method of work on files."""

    @presented_as(verb, supplied=1)
    def method(self: _Caller, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return verb(self._declaration, *args, **kwargs).perform(self._transport)

    return method


def _listing(verb: Callable[Concatenate[str, P], Call[Page[T]]]) -> Callable[Concatenate[_Caller, P], Iterator[T]]:
    """Make a method that iterates over the pages of a verb. Each page is fetched when its turn comes."""

    @presented_as(verb, supplied=1)
    def method(self: _Caller, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        token: str | None = ""
        while token is not None:
            page = self._transport.run(verb(token, *args, **kwargs))
            yield from page.items
            token = next_token(token, page)

    return method


class Keys(_Caller):
    """The lifecycle of keys: `Client.keys`."""

    create = _blocking(keys.create_key)
    get = _blocking(keys.get_key)
    list = _listing(keys.list_keys)
    update = _blocking(keys.update_key)
    rotate = _blocking(keys.rotate_key)
    versions = _listing(keys.list_key_versions)
    usage = _blocking(keys.get_key_usage)
    enable_version = _blocking(keys.enable_key_version)
    disable_version = _blocking(keys.disable_key_version)
    schedule_destruction = _blocking(keys.schedule_key_destruction)
    cancel_destruction = _blocking(keys.cancel_key_destruction)
    set_minimum_decrypt_version = _blocking(keys.set_minimum_decrypt_version)
    import_parameters = _blocking(imports.import_parameters)
    import_key = _blocking(imports.import_key)
    create_alias = _blocking(keys.create_alias)
    delete_alias = _blocking(keys.delete_alias)


class Approvals(_Caller):
    """The consent of officers to what others ask for: `Client.approvals`."""

    list = _listing(approvals.list_approvals)
    get = _blocking(approvals.get_approval)
    approve = _blocking(approvals.approve)
    reject = _blocking(approvals.reject)


class Officers(_Caller):
    """The second factor of officers: `Client.officers`."""

    enrol = _blocking(officers.enrol)
    confirm = _blocking(officers.confirm)
    reset = _blocking(officers.reset)
    list = _listing(officers.list_officers)


class Policy(_Caller):
    """What the policies say, and why: `Client.policy`."""

    explain_request = _blocking(policy.explain_request)
    explain = _blocking(policy.explain)
    list = _listing(policy.list_policies)


def _watching(verb: Callable[P, WatchFeed]) -> Callable[Concatenate[_Caller, P], Iterator[AuditEntry]]:
    """Make a method that iterates over a feed."""

    @presented_as(verb)
    def method(self: _Caller, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[AuditEntry]:
        return self._transport.follow(verb(*args, **kwargs))

    return method


class Audit(_Caller):
    """The audit log, for auditors: `Client.audit`."""

    logs = _blocking(audit.list_logs)
    checkpoint = _blocking(audit.checkpoint)
    entries = _listing(audit.list_entries)
    watch = _watching(audit.watch)
    prove_entry = _blocking(audit.prove_entry)
    prove_growth = _blocking(audit.prove_growth)


class Client(_Caller):
    """A connection to the gateway. Safe for threads; make one and keep it, or use it as a context manager.

    `address` is ``HOST:PORT``. `timeout` is in seconds, over all attempts of a call. `purpose` and `end_user` are
    declared with every call that does not declare its own. `target_name` is the name in the gateway's certificate,
    where it is not the host of the address. Nothing is sent before the first call.

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
        connection = _Connection(Settings(address, credentials, timeout, retry, target_name, clock))
        self._equip(_Transport(connection), declaration)

    def _equip(self, transport: _Transport, declaration: AccessDeclaration) -> None:
        super().__init__(transport, declaration)
        self.keys = Keys(transport, declaration)
        self.policy = Policy(transport, declaration)
        self.approvals = Approvals(transport, declaration)
        self.officers = Officers(transport, declaration)
        self.audit = Audit(transport, declaration)

    def proving(
        self,
        *,
        session: str = "",
        code: str | CodeSource = "",
        approval: str | ApprovalSource = "",
        foreseen: Foreseen | None = None,
    ) -> Self:
        """Return a view of this client whose calls prove what is given: for officers.

        `session` is that of a login. `code` is a one-time code for the next sensitive call, or a function that returns
        one, which is called when the gateway wants a code or has refused one. `approval` is the id of an approval,
        or a function that waits for one and returns its id: the very same request is then sent again with it.
        `foreseen` is called with the number of other officers that the request of a dry run would want, if any.
        What is left out stays as it is here. The connection is shared: closing either closes both.

        A call that carries a code is repeated only where it was never sent, since a code works once. Raises
        `InvalidRequest` where something can't be sent.
        """
        view = copy.copy(self)
        bearing = self._transport.bearing.extended(session, code, approval, foreseen)
        view._equip(_Transport(self._transport.connection, bearing), self._declaration)  # noqa: SLF001 - of the same class
        return view

    encrypt = _declaring(crypto.encrypt)
    decrypt = _declaring(crypto.decrypt)
    re_encrypt = _declaring(crypto.re_encrypt)
    rewrap = _declaring(sealing.rewrap)
    generate_data_key = _declaring(crypto.generate_data_key)
    generate_data_key_without_plaintext = _declaring(crypto.generate_data_key_without_plaintext)
    random_bytes = _blocking(crypto.random_bytes)
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
    login = _blocking(officers.login)
    logout = _blocking(officers.logout)
    who_am_i = _blocking(officers.who_am_i)
    status = _blocking(system.status)
    health = _blocking(system.health)

    def close(self) -> None:
        """End the calls in flight and release the connection. Later calls raise `Unavailable`."""
        self._transport.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
