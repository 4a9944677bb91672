"""The faults that refuse a start, collected as they are found so that all are told at once."""

from collections.abc import Callable
from dataclasses import dataclass, field

from kmsgw.errors import ConfigurationError, KmsgwError


@dataclass(slots=True)
class FoundFaults:
    """Faults, each with what to do about it where it does not say so itself."""

    found: list[tuple[str, str]] = field(default_factory=list)

    def attempt(self, place: str, work: Callable[[], object]) -> bool:
        """Do something, note what it raises, and tell whether all is well. `place` is the field that it is about."""
        try:
            work()
        except ConfigurationError as error:
            self.found += [(fault, error.advice) for fault in error.faults]
        except KmsgwError as error:
            self.found.append((f"{place}: {error.message}", error.advice))
        else:
            return True
        return False

    def __bool__(self) -> bool:
        return bool(self.found)

    def require_none(self) -> None:
        """Raise `ConfigurationError` with all of them, each with its own advice where there are several."""
        advices = {advice for _, advice in self.found}
        if len(advices) == 1:
            raise ConfigurationError([fault for fault, _ in self.found], advice=advices.pop())
        if self.found:
            raise ConfigurationError(
                [f"{fault.removesuffix('.')}. {advice}" if advice else fault for fault, advice in self.found]
            )
