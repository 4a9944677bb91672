"""Locust's users: one for each method of the data plane, and one that mixes them as applications do."""

from typing import ClassVar

from gevent import GreenletExit  # type: ignore[import-untyped]
from locust import User, task
from locust.env import Environment

from loadtests.alarm import Alarm
from loadtests.arrivals import Arrivals
from loadtests.generator import Generator
from loadtests.method import MIX, Method, draw
from loadtests.options import Loop


class GatewayUser(User):
    """A user that makes calls in a closed or an open loop."""

    abstract = True
    mix: ClassVar[dict[Method, int]] = {}
    generator: ClassVar[Generator | None] = None

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self._arrivals: Arrivals | None = None
        self._alarm = Alarm()
        assert self.generator is not None, "set when the process starts"
        self._generator = self.generator

    def on_start(self) -> None:
        """Begin with calls; in the open loop at a moment of its own, so that users do not march in step."""
        options = self._generator.options
        assert options is not None, "prepared before users start"
        if options.loop is Loop.OPEN:
            first = self._generator.clock.monotonic() + self._generator.random.random() / options.rate
            self._arrivals = Arrivals(options.rate, first)

    @task
    def work(self) -> None:
        """Make one call."""
        if self._arrivals is None:
            self._generator.call(draw(self.mix, self._generator.random), self._generator.clock.monotonic())
            return
        intended = self._arrivals.take()
        try:
            self._alarm.sleep_until(intended)
            self._generator.launch(draw(self.mix, self._generator.random), intended)
        except GreenletExit:
            if intended <= self._generator.clock.monotonic():
                self._launch_last(intended)
            raise
        self._generator.recorder.due(intended)

    def on_stop(self) -> None:
        """Send what is overdue, late as it is: it was due before the load ended."""
        if self._arrivals is not None:
            for _ in range(self._arrivals.overdue(self._generator.clock.monotonic())):
                self._launch_last(self._arrivals.take())
        self._alarm.close()

    def _launch_last(self, intended: float) -> None:
        self._generator.recorder.due(intended)
        if self._generator.has_room():  # else it stays unanswered: the user must not wait for room while it is stopped
            self._generator.launch(draw(self.mix, self._generator.random), intended)


class MixedUser(GatewayUser):
    """Reads 80, writes 15, data keys 5 of a hundred calls."""

    mix = MIX


class EncryptUser(GatewayUser):
    """Encrypts only."""

    mix: ClassVar = {Method.ENCRYPT: 1}


class DecryptUser(GatewayUser):
    """Decrypts only."""

    mix: ClassVar = {Method.DECRYPT: 1}


class ReEncryptUser(GatewayUser):
    """Re-encrypts only. Wants a principal that is reader and writer."""

    mix: ClassVar = {Method.RE_ENCRYPT: 1}


class RewrapUser(GatewayUser):
    """Rewraps only."""

    mix: ClassVar = {Method.REWRAP: 1}


class DataKeyUser(GatewayUser):
    """Generates data keys only."""

    mix: ClassVar = {Method.GENERATE_DATA_KEY: 1}


class WrappedDataKeyUser(GatewayUser):
    """Generates data keys without plaintext only."""

    mix: ClassVar = {Method.GENERATE_DATA_KEY_WITHOUT_PLAINTEXT: 1}


class RandomBytesUser(GatewayUser):
    """Asks for random bytes only."""

    mix: ClassVar = {Method.GENERATE_RANDOM_BYTES: 1}


class ComputeMacUser(GatewayUser):
    """Computes keyed hashes of values only."""

    mix: ClassVar = {Method.COMPUTE_MAC: 1}


class VerifyMacUser(GatewayUser):
    """Compares keyed hashes of values only."""

    mix: ClassVar = {Method.VERIFY_MAC: 1}


class LeaseUser(GatewayUser):
    """Renews the leases of many data keys a call, as local encryption does."""

    mix: ClassVar = {Method.RENEW_DATA_KEY_LEASES: 1}


class EncryptStreamUser(GatewayUser):
    """Encrypts streams only."""

    mix: ClassVar = {Method.ENCRYPT_STREAM: 1}


class DecryptStreamUser(GatewayUser):
    """Decrypts streams only."""

    mix: ClassVar = {Method.DECRYPT_STREAM: 1}


class BatchEncryptUser(GatewayUser):
    """Encrypts many values a call."""

    mix: ClassVar = {Method.BATCH_ENCRYPT: 1}


class BatchDecryptUser(GatewayUser):
    """Decrypts many values a call."""

    mix: ClassVar = {Method.BATCH_DECRYPT: 1}


class BatchReEncryptUser(GatewayUser):
    """Re-encrypts many values a call. Wants a principal that is reader and writer."""

    mix: ClassVar = {Method.BATCH_RE_ENCRYPT: 1}


class BatchRewrapUser(GatewayUser):
    """Rewraps many values a call."""

    mix: ClassVar = {Method.BATCH_REWRAP: 1}


class BatchDataKeyUser(GatewayUser):
    """Generates many data keys a call."""

    mix: ClassVar = {Method.BATCH_GENERATE_DATA_KEY: 1}


class BatchWrappedDataKeyUser(GatewayUser):
    """Generates many data keys without plaintext a call."""

    mix: ClassVar = {Method.BATCH_GENERATE_DATA_KEY_WITHOUT_PLAINTEXT: 1}
