"""`kmsgw doctor`: what stands between this machine and the gateway, checked from the near end to the far one."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kmsgw.cli.command import verb
from kmsgw.cli.failure import CommandError, ExitCode, printable
from kmsgw.cli.finding import Finding, Result
from kmsgw.cli.invocation import Invocation, pass_invocation
from kmsgw.cli.output import Format, Output
from kmsgw.cli.status import development_marks
from kmsgw.errors import KmsgwError

if TYPE_CHECKING:
    from kmsgw.client import Client


@verb(examples=["kmsgw doctor", "kmsgw --profile ehr-writer doctor -o json"])
@pass_invocation
def doctor(invocation: Invocation) -> None:
    """Check profile, files, certificates, connection and gateway, and say what to do about each fault.

    The exit code is 2 where a check fails. Nothing is changed.
    """
    output = invocation.output
    findings: list[Finding] = []
    for finding in _examine(invocation):
        findings.append(finding)
        if output.form is Format.TABLE:
            _tell(output, finding)
    if output.form is not Format.TABLE:
        output.records(
            [{"check": f.check, "result": f.result.value, "finding": f.text, "advice": f.advice} for f in findings], ()
        )
    failed = [each for each in findings if each.result is Result.FAIL]
    if failed:
        raise CommandError(
            f"{len(failed)} of {len(findings)} checks failed: {', '.join(dict.fromkeys(f.check for f in failed))}.",
            failed[0].advice or "See the findings above.",
            ExitCode.REMOTE,
        )


def _tell(output: Output, finding: Finding) -> None:
    output.line(f"{output.styled(finding.result.value)}{'':{6 - len(finding.result)}}{finding.check:<13}{finding.text}")
    if finding.advice:
        output.line(f"{'':19}{finding.advice}")


def _examine(invocation: Invocation) -> Iterator[Finding]:
    """Yield the findings. What can't be checked once a check before it failed is left out."""
    try:
        profile = invocation.profile
    except CommandError as error:
        yield Finding("profile", Result.FAIL, printable(error.message), printable(error.advice))
        return
    yield Finding("profile", Result.OK, printable(f"{profile.name or 'by options'}, gateway {profile.address}"))
    # cryptography takes 0.1 s to import, which no other command's help should wait for.
    from kmsgw.cli.examination import examine_connection, examine_files  # noqa: PLC0415

    files = list(examine_files(profile))
    yield from files
    usable = not any(each.result is Result.FAIL and each.check == "files" for each in files)
    connection = list(examine_connection(profile, handshake=usable))
    yield from connection
    # With a key that others can read nothing is called, here as elsewhere.
    private = not any(each.result is Result.FAIL and each.check == "key file" for each in files)
    if usable and private and not any(each.result is Result.FAIL for each in connection):
        yield from _examine_gateway(invocation)


def _examine_gateway(invocation: Invocation) -> Iterator[Finding]:
    try:
        with invocation.connect() as client:
            yield _health(client)
            yield from _status(client)
    except KmsgwError as error:
        yield Finding("call", Result.FAIL, printable(error.message), printable(error.advice))


def _health(client: "Client") -> Finding:
    state = client.health()
    if state == "SERVING":
        return Finding("health", Result.OK, "SERVING")
    return Finding(
        "health",
        Result.FAIL,
        str(state),
        "Ask the gateway's operator; its log names the provider or the audit log that can't serve.",
    )


def _status(client: "Client") -> Iterator[Finding]:
    found = client.status()
    yield Finding("identity", Result.OK, printable(f"{found.principal_id}, roles {', '.join(found.roles) or 'none'}"))
    for provider in found.providers:
        if provider.serving:
            yield Finding("provider", Result.OK, printable(f"{provider.name} ({provider.kind})"))
        else:
            yield Finding(
                "provider", Result.FAIL, printable(f"{provider.name}: {provider.fault}"), "Ask the gateway's operator."
            )
    if not found.audit_serving:
        yield Finding("audit", Result.FAIL, "the audit log can't be written", "Ask the gateway's operator.")
    for mark in development_marks(found):
        yield Finding("development", Result.WARN, printable(mark), "Do not protect real patients' data with it.")
