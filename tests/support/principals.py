"""Principals besides those of `kmsgw init`: a certificate of the gateway's own CA, and a rule for it."""

from kmsgw.cli.development import DevelopmentCa, spiffe_id
from tests.support.gateway import Gateway


def issue_certificate(gateway: Gateway, name: str) -> None:
    """Issue a client certificate that the gateway's TLS accepts; nobody knows its name yet."""
    tls, clients = gateway.folder / "tls", gateway.folder / "clients"
    ca = DevelopmentCa.load((tls / "ca.pem").read_bytes(), (tls / "ca.key").read_bytes())
    issued = ca.issue_client(name, spiffe=spiffe_id(name))
    (clients / f"{name}.pem").write_bytes(issued.certificate)
    key = clients / f"{name}.key"
    key.touch(mode=0o600)
    key.write_bytes(issued.private_key)


def add_principal(gateway: Gateway, name: str, *roles: str, kind: str = "service", tenant: str = "hospital") -> None:
    """Let a new principal call the gateway, which must not have started yet, with these roles."""
    issue_certificate(gateway, name)
    named = ", ".join(f'"{role}"' for role in roles)
    gateway.append(
        f'[[principals]]\nid = "{name}"\nkind = "{kind}"\ntenant = "{tenant}"\nroles = [{named}]\n'
        f'match = {{ spiffe = "{spiffe_id(name)}" }}\n'
    )
