"""A process's session with the gateway: the principals of a folder, and what is needed to make each call."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Final, TypeVar

from kmsgw.cli.failure import CommandError
from kmsgw.cli.profile import Flags, Profile, resolve_profile
from kmsgw.client import Batch, Client, Credentials, Decrypted
from kmsgw.client.calls import batches, crypto, data_key_leases, sealing, streams
from kmsgw.client.calls.call import Call, context_pairs, declaration_message
from kmsgw.errors import AccessDenied, AlreadyExists, ConfigurationError, Reason, Unauthenticated
from kmsgw.model.context import AccessDeclaration
from kmsgw.v1 import crypto_service_pb2 as wire
from loadtests.connection import WRONG_ANSWER, CallFailed, Connections
from loadtests.method import Method
from loadtests.options import Options
from loadtests.payload import Payloads

T = TypeVar("T")

OFFICER: Final = "key-officer"
_WRITER: Final = "ehr-writer"
_READER: Final = "ehr-reader"
_DATA_KEYS: Final = "ehr-datakeys"
_REWRAPPER: Final = "rewrap-job"
_SEARCH: Final = "ehr-search"
_CARE: Final = AccessDeclaration("care", "")
_RANDOM_BYTES: Final = 32
_BATCH_BYTES: Final = 3 * 1024 * 1024
_INDEX: Final = "load-test"
_STREAM_BYTES_KEPT: Final = 8 * 1024 * 1024
_WANTS_A_PERSON: Final = frozenset({Reason.SESSION_REQUIRED, Reason.OFFICER_NOT_ENROLLED})


@dataclass(frozen=True, slots=True)
class _Sample:
    """An envelope with what is in it."""

    envelope: bytes
    plaintext: bytes
    context: Mapping[str, str]


class Session:
    """Makes calls of every method. Raises `ConfigurationError` where the folder can't be used."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._payloads = Payloads(options.sizes, options.contexts)
        self._connections: dict[str, Connections] = {}
        self._samples: list[_Sample] = []
        self._streams: list[_Sample] = []
        self._macs: list[tuple[bytes, bytes]] = []
        self._leases: list[wire.DataKeyLease] = []
        self._prepare: Mapping[Method, Callable[[], Callable[[], int]]] = {
            Method.ENCRYPT: self._encrypt,
            Method.DECRYPT: self._decrypt,
            Method.RE_ENCRYPT: self._re_encrypt,
            Method.REWRAP: self._rewrap,
            Method.GENERATE_DATA_KEY: self._generate_data_key,
            Method.GENERATE_DATA_KEY_WITHOUT_PLAINTEXT: self._generate_wrapped_data_key,
            Method.GENERATE_RANDOM_BYTES: self._generate_random_bytes,
            Method.COMPUTE_MAC: self._compute_mac,
            Method.VERIFY_MAC: self._verify_mac,
            Method.RENEW_DATA_KEY_LEASES: self._renew_data_key_leases,
            Method.ENCRYPT_STREAM: self._encrypt_stream,
            Method.DECRYPT_STREAM: self._decrypt_stream,
            Method.BATCH_ENCRYPT: self._batch_encrypt,
            Method.BATCH_DECRYPT: self._batch_decrypt,
            Method.BATCH_RE_ENCRYPT: self._batch_re_encrypt,
            Method.BATCH_REWRAP: self._batch_rewrap,
            Method.BATCH_GENERATE_DATA_KEY: self._batch_generate_data_key,
            Method.BATCH_GENERATE_DATA_KEY_WITHOUT_PLAINTEXT: self._batch_generate_wrapped_data_key,
        }

    def make_key(self) -> None:
        """Make the key where there is none and an officer of the folder may without a second factor.

        Whether it is there, `make_samples` finds out. Raises `KmsgwError`.
        """
        profile = self._profile(OFFICER)
        if not profile.key.exists():
            return
        with Client(self._address(profile), _credentials(profile), timeout=self._options.timeout) as officer:
            try:
                officer.keys.create(self._options.key)
            except (AlreadyExists, AccessDenied):
                return  # that an officer may not make keys says nothing yet of whether the key is there
            except Unauthenticated as error:
                if error.reason not in _WANTS_A_PERSON:
                    raise

    def make_samples(self, count: int, methods: Collection[Method]) -> None:
        """Encrypt what is to be decrypted later, and make what else `methods` need.

        Raises `CallFailed` or `KmsgwError`.
        """
        for _ in range(count):
            plaintext, context = self._payloads.plaintext(), self._payloads.context()
            call = crypto.encrypt(_CARE, self._options.key, plaintext, context)
            made = self._of(_WRITER).send(call, self._options.timeout)
            self._samples.append(_Sample(made.envelope, plaintext, context))
        if Method.VERIFY_MAC in methods:
            self._macs = [self._new_mac() for _ in range(count)]
        if Method.DECRYPT_STREAM in methods:
            kept = max(1, min(count, _STREAM_BYTES_KEPT // self._options.stream_bytes))
            self._streams = [self._new_stream() for _ in range(kept)]
        if Method.RENEW_DATA_KEY_LEASES in methods:
            self._leases = self._new_leases()

    def can_re_encrypt(self) -> bool:
        """Tell whether the folder has a principal for ReEncrypt."""
        try:
            return self._profile(self._options.re_encrypter).key.exists()
        except ConfigurationError:
            return False

    def prepare(self, method: Method) -> Callable[[], int]:
        """Return a call of a method, to be made: it returns the bytes answered and raises `CallFailed`."""
        return self._prepare[method]()

    def _encrypt(self) -> Callable[[], int]:
        plaintext = self._payloads.plaintext()
        call = crypto.encrypt(_CARE, self._options.key, plaintext, self._payloads.context())
        return self._made(_WRITER, call, lambda made: _sized(made.envelope, over=len(plaintext)))

    def _decrypt(self) -> Callable[[], int]:
        sample = self._sample()
        call = crypto.decrypt(_CARE, sample.envelope, sample.context)
        return self._made(_READER, call, lambda made: _equal(made.plaintext, sample.plaintext))

    def _re_encrypt(self) -> Callable[[], int]:
        sample = self._sample()
        key, context = self._options.key, self._payloads.context()
        call = crypto.re_encrypt(_CARE, sample.envelope, key, sample.context, context)
        return self._made(self._options.re_encrypter, call, lambda made: _sized(made.envelope))

    def _rewrap(self) -> Callable[[], int]:
        sample = self._sample()
        call = sealing.rewrap(_CARE, sample.envelope, sample.context)
        return self._made(_REWRAPPER, call, lambda made: _sized(made.envelope))

    def _generate_data_key(self) -> Callable[[], int]:
        call = crypto.generate_data_key(_CARE, self._options.key, self._payloads.context())
        return self._made(_DATA_KEYS, call, lambda made: _sized(made.plaintext) + _sized(made.wrapped))

    def _generate_wrapped_data_key(self) -> Callable[[], int]:
        call = crypto.generate_data_key_without_plaintext(_CARE, self._options.key, self._payloads.context())
        return self._made(_WRITER, call, lambda made: _sized(made.wrapped))

    def _generate_random_bytes(self) -> Callable[[], int]:
        call = crypto.random_bytes(_RANDOM_BYTES)
        return self._made(_WRITER, call, lambda made: _sized(made, over=_RANDOM_BYTES - 1))

    def _compute_mac(self) -> Callable[[], int]:
        call = crypto.compute_mac(_CARE, self._options.key, _INDEX, self._value())
        return self._made(_SEARCH, call, lambda made: _sized(made.mac))

    def _verify_mac(self) -> Callable[[], int]:
        value, mac = self._payloads.source.choice(self._macs)
        return self._made(_SEARCH, crypto.verify_mac(_CARE, self._options.key, _INDEX, value, mac), _true)

    def _renew_data_key_leases(self) -> Callable[[], int]:
        call = data_key_leases.renew_data_key_leases(self._leases, timeout=self._options.timeout)
        # Superseded is an answer too: the key was rotated meanwhile.
        return self._made(
            _DATA_KEYS, call, lambda made: sum(_true(each.seconds > 0 or each.superseded) for each in made)
        )

    def _encrypt_stream(self) -> Callable[[], int]:
        size, context = self._options.stream_bytes, self._payloads.context()
        plaintext = BytesIO(self._payloads.long(size))
        call = streams.encrypt_stream(_CARE, self._options.key, plaintext, context)
        return self._streamed(_WRITER, call, lambda made: _sized(made, over=size))

    def _decrypt_stream(self) -> Callable[[], int]:
        sample = self._payloads.source.choice(self._streams)
        call = streams.decrypt_stream(_CARE, BytesIO(sample.envelope), sample.context)
        return self._streamed(_READER, call, lambda made: _equal(made, sample.plaintext))

    def _batch_encrypt(self) -> Callable[[], int]:
        values = _bounded((self._payloads.plaintext() for _ in range(self._options.batch)), len)
        call = batches.batch_encrypt(_CARE, self._options.key, values, self._payloads.context())
        return self._made(_WRITER, call, lambda made: sum(_sized(each.envelope) for each in _all(made, len(values))))

    def _batch_decrypt(self) -> Callable[[], int]:
        samples = self._batch_of_samples()
        contexts = [each.context for each in samples]
        call = batches.batch_decrypt(_CARE, [each.envelope for each in samples], contexts=contexts)

        def check(made: Batch[Decrypted]) -> int:
            opened = _all(made, len(samples))
            return sum(_equal(each.plaintext, was.plaintext) for each, was in zip(opened, samples, strict=True))

        return self._made(_READER, call, check)

    def _batch_re_encrypt(self) -> Callable[[], int]:
        samples = self._batch_of_samples()
        call = batches.batch_re_encrypt(
            _CARE,
            [each.envelope for each in samples],
            self._options.key,
            source_contexts=[each.context for each in samples],
            destination_contexts=[self._payloads.context() for _ in samples],
        )
        return self._made(
            self._options.re_encrypter,
            call,
            lambda made: sum(_sized(each.envelope) for each in _all(made, len(samples))),
        )

    def _batch_rewrap(self) -> Callable[[], int]:
        samples = self._batch_of_samples()
        contexts = [each.context for each in samples]
        call = batches.batch_rewrap(_CARE, [each.envelope for each in samples], contexts=contexts)
        return self._made(
            _REWRAPPER, call, lambda made: sum(_sized(each.envelope) for each in _all(made, len(samples)))
        )

    def _batch_generate_data_key(self) -> Callable[[], int]:
        count = self._options.batch
        call = batches.batch_generate_data_key(_CARE, self._options.key, count, self._payloads.context())
        return self._made(
            _DATA_KEYS,
            call,
            lambda made: sum(_sized(each.plaintext) + _sized(each.wrapped) for each in _all(made, count)),
        )

    def _batch_generate_wrapped_data_key(self) -> Callable[[], int]:
        count, context = self._options.batch, self._payloads.context()
        call = batches.batch_generate_data_key_without_plaintext(_CARE, self._options.key, count, context)
        return self._made(_WRITER, call, lambda made: sum(_sized(each.wrapped) for each in _all(made, count)))

    def close(self) -> None:
        """Release the connections."""
        for each in self._connections.values():
            each.close()
        self._connections.clear()

    def _made(self, principal: str, call: Call[T], check: Callable[[T], int]) -> Callable[[], int]:
        connections = self._of(principal)
        return lambda: check(connections.send(call, self._options.timeout))

    def _streamed(self, principal: str, call: streams.StreamCall, check: Callable[[bytes], int]) -> Callable[[], int]:
        connections = self._of(principal)
        return lambda: check(connections.stream(call, self._options.timeout))

    def _value(self) -> bytes:
        return self._payloads.plaintext()[: crypto.MAX_VALUE_BYTES]

    def _new_mac(self) -> tuple[bytes, bytes]:
        value = self._value()
        call = crypto.compute_mac(_CARE, self._options.key, _INDEX, value)
        return value, self._of(_SEARCH).send(call, self._options.timeout).mac

    def _new_stream(self) -> _Sample:
        plaintext, context = self._payloads.long(self._options.stream_bytes), self._payloads.context()
        call = streams.encrypt_stream(_CARE, self._options.key, BytesIO(plaintext), context)
        return _Sample(self._of(_WRITER).stream(call, self._options.timeout), plaintext, context)

    def _new_leases(self) -> list[wire.DataKeyLease]:
        """Return leases as of data keys that were handed out: policy is asked for each, the data keys are not."""
        call = crypto.generate_data_key(_CARE, self._options.key, self._payloads.context())
        made = self._of(_DATA_KEYS).send(call, self._options.timeout)
        return [
            wire.DataKeyLease(
                use=wire.DATA_KEY_USE_SEAL,
                key_id=made.key_id,
                key_version=made.key_version,
                encryption_context=context_pairs(self._payloads.context()),
                declaration=declaration_message(_CARE, None, None),
            )
            for _ in range(min(self._options.batch, data_key_leases.MAX_LEASES))
        ]

    def _sample(self) -> _Sample:
        return self._payloads.source.choice(self._samples)

    def _batch_of_samples(self) -> list[_Sample]:
        return _bounded((self._sample() for _ in range(self._options.batch)), lambda each: len(each.envelope))

    def _of(self, principal: str) -> Connections:
        made = self._connections.get(principal)
        if made is None:
            profile = self._profile(principal)
            made = self._connections[principal] = Connections(
                self._address(profile), _credentials(profile), self._options.connections
            )
        return made

    def _address(self, profile: Profile) -> str:
        return self._options.address or profile.address

    def _profile(self, principal: str) -> Profile:
        try:
            return resolve_profile(Flags(config=str(self._options.folder / "config.toml"), profile=principal), {})
        except CommandError as error:
            raise ConfigurationError([str(error)], advice="Make the folder with `kmsgw init`.") from None


def _credentials(profile: Profile) -> Credentials:
    return Credentials.from_files(profile.ca, profile.certificate, profile.key)


def _sized(answer: bytes, *, over: int = 0) -> int:
    if len(answer) <= over:
        raise CallFailed(WRONG_ANSWER)
    return len(answer)


def _equal(answer: bytes, expected: bytes) -> int:
    if answer != expected:
        raise CallFailed(WRONG_ANSWER)
    return len(answer)


def _true(answer: bool) -> int:
    """Return that nothing of a length was answered."""
    if not answer:
        raise CallFailed(WRONG_ANSWER)
    return 0


def _all(made: Batch[T], size: int) -> list[T]:
    """Return all items of a batch; one that failed fails the call with its reason."""
    if len(made) != size:
        raise CallFailed(WRONG_ANSWER)
    for error in made.errors.values():
        raise CallFailed(error.reason)
    return made.results()


def _bounded(items: Iterable[T], size: Callable[[T], int]) -> list[T]:
    """Return the items, at least one, of which a request has room for."""
    taken: list[T] = []
    total = 0
    for each in items:
        total += size(each)
        if taken and total > _BATCH_BYTES:
            break
        taken.append(each)
    return taken
