"""A throwaway SoftHSM2 token: real PKCS#11 without hardware.

SoftHSM reads SOFTHSM2_CONF when its library is initialised, so the variable is set for the whole run, before that.
Each run has a PIN of its own, so that a search for it in logs and output can't hit by chance.
"""

import ctypes
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

CONFIGURATION_VARIABLE = "SOFTHSM2_CONF"
_FOLDERS = ("/usr/lib/softhsm", "/usr/lib/*/softhsm", "/usr/lib64/pkcs11", "/usr/local/lib/softhsm")


@dataclass(frozen=True)
class SoftHsm:
    """A token and how to reach it, also from another process."""

    folder: Path
    module: Path
    label: str
    pin: str = field(repr=False)
    so_pin: str = field(repr=False)

    @property
    def configuration(self) -> Path:
        """SoftHSM's own configuration file."""
        return self.folder / "softhsm2.conf"

    @property
    def tokens(self) -> Path:
        """The folder that holds the tokens; move it away and the tokens are gone."""
        return self.folder / "tokens"

    def env(self) -> dict[str, str]:
        """Return what a process needs in its environment."""
        return {CONFIGURATION_VARIABLE: str(self.configuration)}

    def add_token(self, label: str) -> None:
        """Initialise one more token with the same PINs. A library that is initialised already may not see it."""
        command = ["softhsm2-util", "--init-token", "--free", "--label", label]
        command += ["--pin", self.pin, "--so-pin", self.so_pin]
        subprocess.run(command, env=os.environ | self.env(), check=True, capture_output=True, timeout=120)

    def native(self) -> ctypes.CDLL:
        """Return the library as this process has loaded it, to break its state on purpose."""
        return ctypes.CDLL(str(self.module))


def find_module() -> Path:
    """Return SoftHSM's library. Fails, and does not skip, where it is missing."""
    for folder in _FOLDERS:
        for found in sorted(Path("/").glob(f"{folder[1:]}/libsofthsm2.so")):
            return found
    pytest.fail("SoftHSM2 is not installed: run `make services`.")


def make_token(folder: Path, label: str = "kmsgw-test", mechanisms: str = "ALL") -> SoftHsm:
    """Make a configuration and a token in a folder of their own. `mechanisms` is SoftHSM's slots.mechanisms."""
    if shutil.which("softhsm2-util") is None:
        pytest.fail("softhsm2-util is not installed: run `make services`.")
    pin, so_pin = (f"{secrets.randbelow(10**12):012}" for _ in range(2))
    made = SoftHsm(folder, find_module(), label, pin, so_pin)
    made.tokens.mkdir(parents=True)
    settings = {
        "directories.tokendir": made.tokens,
        "objectstore.backend": "file",
        "log.level": "ERROR",
        "slots.removable": "false",
        "slots.mechanisms": mechanisms,
    }
    made.configuration.write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
    made.add_token(label)
    return made


@pytest.fixture(scope="session")
def softhsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftHsm]:
    """A token for the whole run; SOFTHSM2_CONF names its configuration."""
    made = make_token(tmp_path_factory.mktemp("softhsm"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CONFIGURATION_VARIABLE, str(made.configuration))
        yield made
