"""Officers in tests: a device that shows codes, and officers that have enrolled with one."""

import time
from base64 import b32decode
from dataclasses import dataclass, field

from kmsgw.authn.totp import STEP_SECONDS, code_at
from kmsgw.client import Client

_ON_ITS_WAY = 10
"""Seconds that a code may take from the device to the gateway."""


@dataclass
class Device:
    """What an officer has in its pocket. Each code is shown once: a test need not wait for the next step."""

    secret: str = field(repr=False)
    shown: int = 0

    @property
    def raw(self) -> bytes:
        """The secret as bytes."""
        return b32decode(self.secret + "=" * (-len(self.secret) % 8))

    def code(self) -> str:
        """Return the next code that was not shown yet, waiting until the gateway's window has come to it."""
        now, gone = divmod(time.time(), STEP_SECONDS)
        # From one step ago to one step ahead: three codes in a row are good at once, as the window is one either way.
        # That of the step before is good for as long as this step lasts, which may be too short for a slow machine.
        earliest = int(now) - (gone < STEP_SECONDS - _ON_ITS_WAY)
        step = max(earliest, self.shown + 1)
        while step > int(time.time()) // STEP_SECONDS + 1:
            time.sleep(0.2)
        self.shown = step
        return code_at(self.raw, step)


def enrolled(client: Client, invitation: str = "") -> tuple[Device, tuple[str, ...]]:
    """Enrol the officer of a client; return its device and its recovery codes."""
    device = Device(client.officers.enrol(invitation).secret)
    codes = client.officers.confirm(device.code(), device.code()).codes
    return device, codes
