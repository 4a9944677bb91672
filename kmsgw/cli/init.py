"""`kmsgw init`: a folder from which a gateway for development starts as it is."""

import importlib.resources
import ipaddress
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

import click

from kmsgw.cli.command import verb
from kmsgw.cli.development import LOCAL_HOSTS, VALIDITY, DevelopmentCa, IssuedCertificate, spiffe_id
from kmsgw.cli.failure import CommandError
from kmsgw.cli.invocation import Invocation, pass_invocation
from kmsgw.cli.output import Record
from kmsgw.model.names import is_name


@dataclass(frozen=True, slots=True)
class ExamplePrincipal:
    """A principal that every development folder has."""

    name: str
    kind: str
    tenant: str
    role: str


EXAMPLE_PRINCIPALS = (
    ExamplePrincipal("ehr-writer", "service", "hospital", "writer"),
    ExamplePrincipal("ehr-reader", "service", "hospital", "reader"),
    ExamplePrincipal("ehr-datakeys", "service", "hospital", "data-key-user"),
    ExamplePrincipal("rewrap-job", "service", "hospital", "rewrapper"),
    ExamplePrincipal("ehr-search", "service", "hospital", "blind-index-user"),
    ExamplePrincipal("prometheus", "service", "hospital", "metrics-reader"),
    ExamplePrincipal("key-officer", "officer", "hospital", "key-officer"),
    ExamplePrincipal("approver", "officer", "hospital", "approver"),
    ExamplePrincipal("approver-2", "officer", "hospital", "approver"),
    ExamplePrincipal("auditor", "officer", "hospital", "auditor"),
    ExamplePrincipal("administrator", "officer", "hospital", "administrator"),
    ExamplePrincipal("billing", "service", "billing", "writer"),
)
"""Who may call a gateway for development: one for each role, a second approver for what two must consent to, and one
of another tenant."""

_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?(?:\.[A-Za-z0-9_-]+)*\Z")
_LISTEN = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):(?P<port>[0-9]{1,5})\Z")
_EVERY_ADDRESS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, never bound

_CONFIGURATION = Template("""\
# kmsgwd.toml, made by `kmsgw init` for development. Every field is described in docs/operations.md.
# Relative paths are relative to this file. Secrets are never in it: it names files or descriptors.

environment = "development"     # "production" refuses what was made for development
node = "$node"                  # unique among the nodes on one database
default_provider = "software"   # of keys that name none

[server]
listen = "$listen"
$workers

[tls]
# Read again when they change; connections stay open.
certificate = "tls/server.pem"
private_key = "tls/server.key"
client_ca = "tls/ca.pem"
crl = "tls/crl.pem"

[state]
url = "sqlite:///state.db"      # or postgresql://USER@HOST:PORT/NAME for several nodes

[audit]
folder = "audit"                # a transparency log for each worker
keys = "audit-keys"             # their signing keys
origin = "kmsgw.local/log"

[policy]
folder = "policies"             # Cedar; check changes with `kmsgw policy validate` and `kmsgw policy test`

# For Prometheus, over mutual TLS, with clients/prometheus.pem (docs/operations/metrics.md).
# [metrics]
# listen = "127.0.0.1:9443"

# Officers log in with a one-time code, and give a fresh one with each sensitive call.
# [officers]
# second_factor = "required"    # "off" is refused in production
# invitation = false            # true in production: `kmsgwd --invite OFFICER` makes one

# What wants the consent of how many other officers; 0 is nobody's.
# [approvals]
# destroy = 1
# cancel_destruction = 1
# lower_protection = 1
# import_key = 1
# change_officers = 2

# Where key material lives. The name is yours; keys name their provider.
[providers.software]
kind = "software"
root_key_file = "root.key"      # made on the first start, mode 0600

# [providers.hsm]
# kind = "pkcs11"
# module = "/usr/lib/softhsm/libsofthsm2.so"
# token_label = "kmsgw"
# pin_file = "hsm.pin"

# [providers.openbao]
# kind = "vault"
# address = "https://127.0.0.1:8200"
# ca = "openbao/ca.pem"
# login = { method = "approle", role_id_file = "openbao/role-id", secret_id_file = "openbao/secret-id" }

# Who may call. `match` is one of
#   spiffe = "spiffe://TRUST-DOMAIN/PATH", dns = "NAME", subject = { CN = "NAME", OU = "UNIT" }
# each with an optional issuer = { CN = "NAME" }.
$principals""")

_PRINCIPAL = Template("""
[[principals]]
id = "$name"
kind = "$kind"
tenant = "$tenant"
roles = ["$role"]
match = { spiffe = "$spiffe" }
""")

_PROFILE = Template("""
[profiles.$name]
address = "$address"
ca = "tls/ca.pem"
certificate = "clients/$name.pem"
key = "clients/$name.key"
""")


def shipped_policies() -> Traversable:
    """Return the folder of the policies that the product ships: of the installed package, or of the checkout."""
    try:
        return importlib.resources.files("kmsgw.policies")
    except ModuleNotFoundError:
        return Path(__file__).resolve().parents[2] / "policies"


@verb(
    examples=[
        "kmsgw init ./development",
        "kmsgwd --config ./development/kmsgwd.toml",
        "kmsgw init ./development --listen 0.0.0.0:8443 --host kms.example.org",
    ]
)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--listen", default="127.0.0.1:8443", show_default=True, help="Host and port of the gateway.")
@click.option("--host", "hosts", multiple=True, metavar="NAME", help="Further name or address of the server.")
@click.option("--node", default="node1", show_default=True, help="Name of the node.")
@click.option("--workers", type=click.IntRange(1, 64), help="Worker processes.  [default: one a core]")
@pass_invocation
def init(
    invocation: Invocation, folder: Path, listen: str, hosts: tuple[str, ...], node: str, workers: int | None
) -> None:
    """Make FOLDER with a development CA, certificates, configuration and policies.

    FOLDER must not exist or be empty. All of it is for development: a gateway in production refuses it.
    """
    host, port = _endpoint(listen)
    for each in hosts:
        if not _is_host(each):
            raise click.BadParameter(f"{each!r} is neither a host name nor an address.", param_hint="--host")
    if not is_name(node):
        raise click.BadParameter("use 1 to 40 of a-z, 0-9 and single inner hyphens.", param_hint="--node")
    reached = "localhost" if host in _EVERY_ADDRESS else host
    address = f"[{reached}]:{port}" if ":" in reached else f"{reached}:{port}"
    names = tuple(dict.fromkeys((*LOCAL_HOSTS, reached, *hosts)))
    with _new_folder(folder) as draft:
        _write_certificates(draft, names)
        _copy(shipped_policies(), draft / "policies")
        _write(draft / "kmsgwd.toml", _configuration(listen, node, workers).encode())
        _write(draft / "config.toml", _profiles(address).encode())
    record: Record = {
        "folder": str(folder),
        "address": address,
        "gateway_configuration": str(folder / "kmsgwd.toml"),
        "profiles": str(folder / "config.toml"),
        "environment": "development",
    }
    invocation.done(record, _next_steps(folder))


def _endpoint(listen: str) -> tuple[str, int]:
    match = _LISTEN.match(listen)
    host = match["host"].strip("[]") if match else ""
    if match is None or not _is_host(host) or not 0 < int(match["port"]) <= 65535:
        raise click.BadParameter("use HOST:PORT with a port from 1, for example 127.0.0.1:8443.", param_hint="--listen")
    return host, int(match["port"])


def _is_host(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return _HOST.match(text) is not None
    return True


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """Give a draft beside `folder` and rename it at the end, so that there is all of it or nothing."""
    target = folder.absolute()
    if os.path.lexists(target) and (target.is_symlink() or not target.is_dir() or any(target.iterdir())):
        raise CommandError(f"{folder} exists and is not an empty folder.", "Name another folder, or remove this one.")
    if not target.parent.is_dir():
        raise CommandError(f"{target.parent} is not a folder.", f"Make it with `mkdir -p {target.parent}`.")
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))  # mode 0700
    try:
        yield draft
        draft.rename(target)  # fails, and never overwrites, where something was put there meanwhile
    except BaseException:
        shutil.rmtree(draft)
        raise


def _write_certificates(folder: Path, hosts: Iterable[str]) -> None:
    ca = DevelopmentCa.create()
    tls, clients = folder / "tls", folder / "clients"
    tls.mkdir(mode=0o700)
    clients.mkdir(mode=0o700)
    _write(tls / "ca.pem", ca.certificate)
    _write(tls / "ca.key", ca.private_key, secret=True)
    _write(tls / "crl.pem", ca.crl())
    _write_pair(tls / "server", ca.issue_server(tuple(hosts)))
    for principal in EXAMPLE_PRINCIPALS:
        spiffe = spiffe_id(principal.name)
        _write_pair(clients / principal.name, ca.issue_client(principal.name, spiffe=spiffe))


def _write_pair(stem: Path, issued: IssuedCertificate) -> None:
    _write(stem.with_suffix(".pem"), issued.certificate)
    _write(stem.with_suffix(".key"), issued.private_key, secret=True)


def _write(path: Path, content: bytes, *, secret: bool = False) -> None:
    # the mode is given on creation: a key that is made first and closed after is open for a moment (threat 15)
    mode = stat.S_IRUSR | stat.S_IWUSR if secret else 0o644
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
        file.write(content)


def _copy(source: Traversable, target: Path) -> None:
    target.mkdir()
    try:
        children = sorted(source.iterdir(), key=lambda child: child.name)
    except OSError as error:
        raise CommandError(f"The shipped policies are missing: {error.strerror}.", "Install kmsgw again.") from None
    for child in children:
        if child.is_dir():
            if child.name != "__pycache__":
                _copy(child, target / child.name)
        elif not child.name.endswith((".py", ".pyc")):
            _write(target / child.name, child.read_bytes())


def _configuration(listen: str, node: str, workers: int | None) -> str:
    principals = "".join(
        _PRINCIPAL.substitute(
            name=each.name, kind=each.kind, tenant=each.tenant, role=each.role, spiffe=spiffe_id(each.name)
        )
        for each in EXAMPLE_PRINCIPALS
    )
    line = f"workers = {workers}" if workers is not None else "# workers = 2                 # default: one a core"
    return _CONFIGURATION.substitute(listen=listen, node=node, workers=line, principals=principals)


def _profiles(address: str) -> str:
    head = (
        "# Profiles of `kmsgw`, one for each principal of kmsgwd.toml. Use them with\n"
        "#   kmsgw --config config.toml --profile NAME COMMAND\n\n"
        f'default_profile = "{EXAMPLE_PRINCIPALS[0].name}"\n'
    )
    return head + "".join(_PROFILE.substitute(name=each.name, address=address) for each in EXAMPLE_PRINCIPALS)


def _next_steps(folder: Path) -> str:
    kmsgw = f"kmsgw --config {folder}/config.toml --profile"
    return (
        f"Made {folder}: FOR DEVELOPMENT ONLY, valid {VALIDITY.days} days.\n"
        "Next:\n"
        f"  kmsgwd --config {folder}/kmsgwd.toml\n"
        f"  {kmsgw} key-officer officer enrol\n"
        f"  {kmsgw} key-officer officer confirm\n"
        f"  {kmsgw} key-officer login\n"
        f"  {kmsgw} key-officer key create ehr\n"
        f"  {kmsgw} ehr-writer encrypt --key ehr -i FILE -O FILE.kms --context patient=P-1001"
    )
