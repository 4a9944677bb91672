"""One gateway in front of all three real key providers at once: embedded, SoftHSM, OpenBao."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kmsgw.client import Client
from tests.support.gateway import Gateway, make_folder
from tests.support.openbao import AppRole, OpenBao
from tests.support.principals import add_principal
from tests.support.softhsm import SoftHsm

PROVIDERS = ("software", "hsm", "openbao")
"""Names of the providers in the configuration; a key of each provider has its name."""

CLERK = "clerk"
"""A service that has every role of a service: writer, reader, data-key user and rewrapper."""

_ROLES = ("writer", "reader", "data-key-user", "rewrapper")


@dataclass(frozen=True)
class ThreeProviders:
    """A running gateway with a key in each of `PROVIDERS`, named like it."""

    gateway: Gateway

    def officer(self) -> Client:
        return self.gateway.client("key-officer")

    def clerk(self) -> Client:
        return self.gateway.client(CLERK, purpose="care")


def configure_hsm(gateway: Gateway, token: SoftHsm) -> Path:
    """Add the token as provider `hsm`. Returns the file with the PIN, which is in the gateway's folder."""
    pin = gateway.folder / "hsm.pin"
    pin.touch(mode=0o600)
    pin.write_text(token.pin + "\n")
    gateway.append(
        f'[providers.hsm]\nkind = "pkcs11"\nmodule = "{token.module}"\ntoken_label = "{token.label}"\n'
        'pin_file = "hsm.pin"\n'
    )
    gateway.environment = {**gateway.environment, **token.env()}
    return pin


def configure_openbao(gateway: Gateway, server: OpenBao) -> None:
    """Add the server as provider `openbao`, with one AppRole for data keys and another to make keys."""

    def login(files: AppRole) -> str:
        named = f'role_id_file = "{files.role_id_file}", secret_id_file = "{files.secret_id_file}"'
        return f'{{ method = "approle", {named} }}'

    gateway.append(
        f'[providers.openbao]\nkind = "vault"\naddress = "{server.address}"\nca = "{server.ca}"\n'
        f"login = {login(server.data_approle)}\ncontrol_login = {login(server.control_approle)}\n"
        # The server is shared, and so is its transit: another gateway's keys have other names.
        f'key_prefix = "kmsgw-{secrets.token_hex(4)}-"\n'
    )


@contextmanager
def three_providers(folder: Path, token: SoftHsm, server: OpenBao, *, workers: int = 2) -> Iterator[ThreeProviders]:
    """Run such a gateway in a folder for a block."""
    gateway = make_folder(folder, workers=workers)
    configure_hsm(gateway, token)
    configure_openbao(gateway, server)
    add_principal(gateway, CLERK, *_ROLES)
    gateway.start()
    try:
        running = ThreeProviders(gateway)
        officer = running.officer()
        for name in PROVIDERS:
            officer.keys.create(name, provider=name)
        yield running
    finally:
        status = gateway.stop()
    assert status == 0
