"""A key provider behind places and a circuit, so that one that hangs costs the others nothing.

Whatever the provider can do besides (`kmsgw.providers.base`), its guarded form can too. A probe takes no place, since
it runs in a thread of its own; what it finds moves the circuit, so that no caller has to be the first to try.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from kmsgw.clock import SYSTEM_CLOCK, Clock
from kmsgw.errors import ProviderUnavailable
from kmsgw.providers.base import (
    DestroysKeys,
    DestroysMaterial,
    Imported,
    ImportOffer,
    ImportParameters,
    ImportsMaterial,
    KeyProvider,
    MaterialRef,
    ProviderDescription,
)
from kmsgw.providers.circuit import LATE_SECONDS, Circuit
from kmsgw.providers.places import Places
from kmsgw.telemetry.meters import ProviderMeter

AnswerT = TypeVar("AnswerT")


class GuardedProvider:
    """A provider whose calls wait for a place and ask a circuit. Made by `guard`."""

    def __init__(
        self, inner: KeyProvider, places: Places, caller: Callable[[], str], clock: Clock, meter: ProviderMeter
    ) -> None:
        self._meter = meter
        self._name = inner.describe().name
        self._inner = inner
        self._places = places
        self._caller = caller
        self._clock = clock
        self._circuit = Circuit()

    def __repr__(self) -> str:
        return f"GuardedProvider({self._inner!r})"

    def describe(self) -> ProviderDescription:
        """Say what the provider is. Never fails, never waits."""
        return self._inner.describe()

    def create(self, key_id: str, version: int) -> bytes:
        """Make material, as the provider does."""
        return self._asked("create", lambda: self._inner.create(key_id, version))

    def wrap(self, material: MaterialRef, data_key: bytes, aad: bytes) -> bytes:
        """Wrap a data key, as the provider does. Raises `Overloaded` where there is no place."""
        return self._asked("wrap", lambda: self._inner.wrap(material, data_key, aad))

    def unwrap(self, material: MaterialRef, wrapped: bytes, aad: bytes) -> bytes:
        """Unwrap a data key, as the provider does. Raises `Overloaded` where there is no place."""
        return self._asked("unwrap", lambda: self._inner.unwrap(material, wrapped, aad))

    def probe(self) -> None:
        """Probe the provider, whatever the circuit says."""
        self._observed("probe", self._inner.probe)

    def close(self) -> None:
        """Release the back end."""
        self._inner.close()

    def _asked(self, verb: str, work: Callable[[], AnswerT]) -> AnswerT:
        wait = self._circuit.ask(self._clock.monotonic())
        if wait:
            raise ProviderUnavailable("The key provider did not answer in time, and is left alone.", retry_after=wait)
        with self._places.place(self._caller()):
            return self._observed(verb, work)

    def _observed(self, verb: str, work: Callable[[], AnswerT]) -> AnswerT:
        """Do something, measure it, and tell the circuit how it went."""
        began = self._clock.monotonic()
        try:
            with self._meter.calling(self._name, verb):
                answer = work()
        except ProviderUnavailable:
            now = self._clock.monotonic()
            if now - began >= LATE_SECONDS:
                self._circuit.failed_late(now)
            else:
                self._circuit.answered()
            raise
        except Exception:
            self._circuit.answered()
            raise
        self._circuit.answered()
        return answer


class _Destroying(GuardedProvider):
    def destroy(self, material: MaterialRef) -> None:
        """Destroy material, as the provider does."""
        inner = self._inner
        assert isinstance(inner, DestroysMaterial)
        self._asked("destroy", lambda: inner.destroy(material))


class _EndingKeys(GuardedProvider):
    @property
    def destroys_versions(self) -> bool:
        """Whether one version can be destroyed by itself."""
        assert isinstance(self._inner, DestroysKeys)
        return self._inner.destroys_versions

    def destroy_key(self, materials: Sequence[MaterialRef]) -> None:
        """Destroy a key's material, as the provider does."""
        inner = self._inner
        assert isinstance(inner, DestroysKeys)
        self._asked("destroy_key", lambda: inner.destroy_key(materials))


class _Importing(GuardedProvider):
    def import_parameters(self, key_id: str, version: int) -> ImportParameters:
        """Make or name a wrapping key, as the provider does."""
        inner = self._importer()
        return self._asked("import_parameters", lambda: inner.import_parameters(key_id, version))

    def check_import(self, key_id: str, version: int, offer: ImportOffer) -> None:
        """Check an offer, as the provider does."""
        inner = self._importer()
        self._asked("check_import", lambda: inner.check_import(key_id, version, offer))

    def import_material(self, key_id: str, version: int, offer: ImportOffer) -> Imported:
        """Take material in, as the provider does."""
        inner = self._importer()
        return self._asked("import_material", lambda: inner.import_material(key_id, version, offer))

    def _importer(self) -> ImportsMaterial:
        assert isinstance(self._inner, ImportsMaterial)
        return self._inner


_CAPABILITIES: tuple[tuple[type, type[GuardedProvider]], ...] = (
    (DestroysMaterial, _Destroying),
    (DestroysKeys, _EndingKeys),
    (ImportsMaterial, _Importing),
)


def guard(
    provider: KeyProvider,
    places: Places,
    caller: Callable[[], str] = str,
    clock: Clock = SYSTEM_CLOCK,
    meter: ProviderMeter | None = None,
) -> GuardedProvider:
    """Return a provider behind these places and a circuit of its own. `caller` says whom the thread works for.

    `meter` counts the calls that reach the provider.
    """
    bases = tuple(form for able, form in _CAPABILITIES if isinstance(provider, able)) or (GuardedProvider,)
    form = type(GuardedProvider.__name__, bases, {"__doc__": GuardedProvider.__doc__})
    made = form(provider, places, caller, clock, meter or ProviderMeter())
    assert isinstance(made, GuardedProvider)
    return made
