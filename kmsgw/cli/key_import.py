"""`kmsgw key import`: material that was made elsewhere."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kmsgw.cli.approval_wait import AWAITING, awaiting
from kmsgw.cli.command import verb
from kmsgw.cli.consent import Consent, destructive
from kmsgw.cli.declared import parse_pairs
from kmsgw.cli.failure import CommandError, ExitCode
from kmsgw.cli.files import PIPE
from kmsgw.cli.invocation import Invocation, pass_invocation
from kmsgw.cli.records import version_record
from kmsgw.errors import KmsgwError
from kmsgw.model.names import ALIAS_PREFIX

if TYPE_CHECKING:
    from kmsgw.cli.material_file import PreparedImport
    from kmsgw.client import Client, ImportedKey


@verb(
    name="import",
    examples=[
        'kmsgw key import ehr --material-file ehr.key --reason "Key of the old system"',
        'kmsgw key import ehr --material-file ehr.key --prepared ehr.import --reason "Key of the old system"',
        'kmsgw key import lab --material-file - --yes --reason "Escrow ceremony" < lab.key',
    ],
)
@click.argument("key", metavar="KEY")
@click.option("--material-file", metavar="FILE", help="32 bytes or 64 hex digits, mode 0600; - is standard input.")
@click.option(
    "--prepared",
    metavar="FILE",
    help="Keep the wrapped request here; where the file is there, send that again.",
)
@click.option("--provider", default="", metavar="PROVIDER", help="For a new key; default the gateway's.")
@click.option("--tenant", default="", metavar="NAME", help="For a new key; default yours.")
@click.option("--description", default="", metavar="TEXT", help="For a new key; free text, no secret.")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="For a new key; repeat it.")
@destructive
@awaiting
@pass_invocation
def import_key(
    invocation: Invocation,
    key: str,
    material_file: str | None,
    prepared: str | None,
    provider: str,
    tenant: str,
    description: str,
    labels: tuple[str, ...],
    consent: Consent,
) -> None:
    """Import a key's material: as a new key, or as the next version of one that is there.

    The material is wrapped here, under a key of the provider, and never sent otherwise. Its key check value is shown
    first: compare it with that of whoever made the material. It wants --reason.

    Where others must consent, the wrapped request is kept in a file, so that it can be sent unchanged.
    """
    _check(invocation, material_file, prepared, consent)
    pairs = dict(parse_pairs(labels, "--label"))
    with invocation.connect() as client:
        ready = _ready(client, key, provider, material_file, prepared)
        name = client.keys.get(key).key_id if key.startswith(ALIAS_PREFIX) else key
        invocation.note(f"Key check value of the material: {ready.check_value}")
        if not consent.dry_run:
            consent.obtain(invocation, f"It becomes what key {name} encrypts under from then on.", name)
        try:
            made = client.keys.import_key(
                key,
                token=ready.token,
                wrapped_material=ready.wrapped_material,
                check_value=ready.check_value if ready.computes_check_value else "",
                provider=provider,
                tenant=tenant,
                description=description,
                labels=pairs,
                reason=consent.reason,
                dry_run=consent.dry_run,
            )
        except KmsgwError as error:
            if error.reason in AWAITING:
                if prepared is None:
                    _keep(invocation, ready, f"{name}-{error.approval_id}")
                invocation.arguments = _without_material(invocation.arguments)
            raise
    _show(invocation, made, ready, dry_run=consent.dry_run)


def _check(invocation: Invocation, material_file: str | None, prepared: str | None, consent: Consent) -> None:
    if not consent.reason.strip():
        raise CommandError("A reason is missing.", "Say why with --reason TEXT; it is recorded.")
    waits = prepared is not None and Path(prepared).exists()
    if material_file is None and not waits:
        raise CommandError("No material is given.", "Name its file with --material-file, or - for standard input.")
    if invocation.flags.approval and not waits:
        raise CommandError(
            "An approval is for one exact request, and material is wrapped anew in each run.",
            "Name the file of the request that was approved with --prepared.",
        )
    if material_file == PIPE and not consent.yes and not consent.dry_run:
        raise CommandError("Standard input holds the material, so nothing can be asked there.", "Give --yes.")
    consent.check(invocation)


def _ready(
    client: "Client", key: str, provider: str, material_file: str | None, prepared: str | None
) -> "PreparedImport":
    """Return the request to send: one that waits in a file, or a new one."""
    from kmsgw.cli.material_file import PreparedImport, read_material  # noqa: PLC0415 - with its cryptography, for this
    from kmsgw.client import key_check_value, wrap_material  # noqa: PLC0415

    if prepared is not None and Path(prepared).exists():
        found = PreparedImport.read(prepared)
        if (found.key, found.provider) != (key, provider):
            raise CommandError(
                f"{prepared} was prepared for another key or provider.", f"Repeat the command for {found.key}."
            )
        if material_file is not None:
            with read_material(material_file) as material:
                _require_same(key_check_value(material), found.check_value, prepared)
        return found
    assert material_file is not None
    with read_material(material_file) as material:
        parameters = client.keys.import_parameters(key, provider=provider)
        ready = PreparedImport(
            key,
            provider,
            parameters.token,
            wrap_material(material, parameters.public_key),
            key_check_value(material),
            parameters.computes_check_value,
        )
    if prepared is not None:
        ready.write(prepared)
    return ready


def _require_same(check_value: str, prepared_value: str, prepared: str) -> None:
    if check_value != prepared_value:
        raise CommandError(
            f"{prepared} holds material with the key check value {prepared_value}, and this has {check_value}.",
            "Leave --material-file out to send what is prepared, or name another file with --prepared.",
        )


def _keep(invocation: Invocation, ready: "PreparedImport", name: str) -> None:
    """Keep a request that waits for consent, and let the command to come back with name its file."""
    # The gateway chose this name: it must not lead out of the folder.
    path = "".join(each if each.isascii() and each.isalnum() else "-" for each in name)[:120] + ".import"
    ready.write(path)
    invocation.arguments = (*invocation.arguments, "--prepared", path)
    invocation.note(f"The wrapped request is kept in {path}; it holds no secret.")


def _without_material(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return the arguments of a run that does not want the material any more: it is in the prepared request."""
    kept: list[str] = []
    given = iter(arguments)
    for argument in given:
        if argument == "--material-file":
            next(given, None)
        elif not argument.startswith("--material-file="):
            kept.append(argument)
    return tuple(kept)


def _show(invocation: Invocation, made: "ImportedKey", ready: "PreparedImport", *, dry_run: bool) -> None:
    record = {
        **version_record(made.version),
        "provider": made.key.provider,
        "check_value": made.check_value or None,
    }
    invocation.output.record(record)
    if dry_run:
        invocation.note("Dry run: nothing was changed, and the material not unwrapped.")
    elif not made.check_value:
        invocation.note("The provider computes no check value: compare what it decrypts.")
    elif made.check_value != ready.check_value:
        raise CommandError(
            f"The provider says {made.check_value}, and the material has {ready.check_value}.",
            f"Disable the key: `{invocation.to_type(f'key disable {made.key.key_id}')}`.",
            ExitCode.UNVERIFIED,
        )
