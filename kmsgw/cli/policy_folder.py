"""`kmsgw policy validate` and `test`: offline, with the same code that the gateway decides with."""

from pathlib import Path

import click

from kmsgw.authz.cases import run_cases
from kmsgw.authz.load import load_policies
from kmsgw.cli.command import verb
from kmsgw.cli.failure import CommandError
from kmsgw.cli.invocation import Invocation, pass_invocation
from kmsgw.cli.output import Record


@verb(examples=["kmsgw policy validate policies", "kmsgw policy validate /etc/kmsgw/policies -o json"])
@click.argument("folder", metavar="FOLDER", type=click.Path(path_type=Path))
@pass_invocation
def validate(invocation: Invocation, folder: Path) -> None:
    """Check schema and policies in FOLDER as the gateway does when it loads them; every fault is named at once."""
    bundle = load_policies(folder)
    invocation.output.record(
        {
            "folder": str(folder),
            "result": "ok",
            "policies": len(bundle.policies),
            "roles": sorted(bundle.roles),
            "digest": bundle.digest,
        }
    )


@verb(
    examples=["kmsgw policy test policies", "kmsgw policy test policies --failed", "kmsgw policy test policies -o json"]
)
@click.argument("folder", metavar="FOLDER", type=click.Path(path_type=Path))
@click.option("--failed", "only_failed", is_flag=True, help="Show only the cases that failed.")
@pass_invocation
def test(invocation: Invocation, folder: Path, only_failed: bool) -> None:
    """Run the cases in FOLDER/cases against the policies in FOLDER. The exit code is 1 where one fails."""
    results = run_cases(load_policies(folder), folder)
    failed = sum(not each.passed for each in results)
    records: list[Record] = [
        {
            "result": "passed" if each.passed else "failed",
            "file": each.file,
            "name": each.name,
            "expected": each.expected,
            "actual": each.actual,
        }
        for each in results
        if not (only_failed and each.passed)
    ]
    nothing = "No case failed." if only_failed and results else "No case."
    invocation.records(records, ("result", "file", "name", "expected", "actual"), nothing)
    if failed:
        raise CommandError(
            f"{failed} of {len(results)} policy cases failed.", "Correct the policies, or the cases that are wrong."
        )
    invocation.note(f"{len(results)} policy cases passed.")
