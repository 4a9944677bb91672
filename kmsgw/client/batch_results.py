"""What a batch answers: a result for each item, or why there is none."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

from kmsgw.errors import KmsgwError

T = TypeVar("T")


class Batch(Generic[T]):
    """The items of a batch, in the order in which they were given. Made of columns: a result is made when asked for.

    ``errors`` has the error of each item that failed, by its place; ``references`` are those of the request, or empty;
    ``request_id`` finds the audit entries of all items.
    """

    __slots__ = ("_make", "_size", "errors", "references", "request_id")

    def __init__(
        self,
        size: int,
        make: Callable[[int], T],
        errors: Mapping[int, KmsgwError],
        references: Sequence[str],
        request_id: str,
    ) -> None:
        self._size = size
        self._make = make
        self.errors = errors
        self.references = tuple(references)
        self.request_id = request_id

    def __repr__(self) -> str:
        return f"Batch({self._size} items, {len(self.errors)} failed, request {self.request_id or '-'})"

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, place: int) -> T:
        """Return an item's result. Raises its error where it failed, and `IndexError` where there is no such item."""
        if not -self._size <= place < self._size:
            raise IndexError(place)
        place %= self._size
        if place in self.errors:
            raise self.errors[place]
        return self._make(place)

    def outcomes(self) -> Iterator[T | KmsgwError]:
        """Yield for each item its result, or its error."""
        for place in range(self._size):
            yield self.errors[place] if place in self.errors else self._make(place)

    def results(self) -> list[T]:
        """Return the results of all items. Raises the first error where any failed."""
        if self.errors:
            raise self.errors[min(self.errors)]
        return [self._make(place) for place in range(self._size)]
