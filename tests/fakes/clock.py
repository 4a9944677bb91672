"""A clock that stands still until a test moves it."""

from datetime import UTC, datetime, timedelta


class SetClock:
    """Begins at the present, in whole seconds, as certificates have them."""

    def __init__(self) -> None:
        self.time = datetime.now(UTC).replace(microsecond=0)
        self.seconds = 0.0

    def now(self) -> datetime:
        """Return the time that was set."""
        return self.time

    def monotonic(self) -> float:
        """Return the seconds moved so far; they go back where the clock does."""
        return self.seconds

    def sleep(self, seconds: float) -> None:
        """Move on at once."""
        self.move(timedelta(seconds=seconds))

    def move(self, by: timedelta) -> None:
        """Move the clock, back as well."""
        self.time += by
        self.seconds += by.total_seconds()
