"""The telephone of the demonstration's officer: an authenticator app that shows each code once."""

import time

import pyotp

STEP_SECONDS = 30


class Authenticator:
    """Shows one-time codes of a secret (TOTP, RFC 6238)."""

    def __init__(self, secret: str) -> None:
        self._totp = pyotp.TOTP(secret)
        self._shown = 0

    def wait(self) -> float:
        """Return the seconds until there is a code that was not shown: the gateway takes that of the step ahead too."""
        return max(0.0, self._shown * STEP_SECONDS - time.time())

    def code(self) -> str:
        """Wait for a code that was not shown yet, and return it."""
        time.sleep(self.wait())
        # A code works once: the oldest that the gateway still takes leaves the others for the next calls.
        self._shown = max(int(time.time()) // STEP_SECONDS - 1, self._shown + 1)
        return self._totp.at(self._shown * STEP_SECONDS)
