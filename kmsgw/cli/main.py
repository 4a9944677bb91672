"""The command `kmsgw`: the root, and the one place where errors become exit codes."""

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click
from click.exceptions import NoArgsIsHelpError

from kmsgw import __version__
from kmsgw.cli.command import Group
from kmsgw.cli.failure import CommandError, ExitCode, describe
from kmsgw.cli.interruption import remember_interruption, was_interrupted
from kmsgw.cli.invocation import Invocation
from kmsgw.errors import KmsgwError

COMMANDS = {
    "init": ("kmsgw.cli.init:init", "Make a development CA, certificates, configuration and policies."),
    "doctor": ("kmsgw.cli.doctor:doctor", "Check profile, files, certificates, connection and gateway."),
    "status": ("kmsgw.cli.status:status", "Show what the gateway runs, and how it is."),
    "login": ("kmsgw.cli.login:login", "Open an officer's session with a one-time code."),
    "logout": ("kmsgw.cli.logout:logout", "End the session."),
    "whoami": ("kmsgw.cli.whoami:whoami", "Show who the gateway takes you for."),
    "officer": ("kmsgw.cli.officer:officer", "Enrol officers, list them, reset one."),
    "key": ("kmsgw.cli.key:key", "Create, rotate, disable and list keys."),
    "approval": ("kmsgw.cli.approval:approval", "See and decide what wants the consent of officers."),
    "encrypt": ("kmsgw.cli.encrypt:encrypt", "Encrypt a file or standard input."),
    "decrypt": ("kmsgw.cli.decrypt:decrypt", "Decrypt a file or standard input."),
    "rewrap": ("kmsgw.cli.rewrap:rewrap", "Put envelopes under the newest key version."),
    "policy": ("kmsgw.cli.policy:policy", "Explain decisions; list, validate and test policies."),
    "audit": ("kmsgw.cli.audit:audit", "Read, search and verify audit logs, offline."),
    "witness": ("kmsgw.cli.witness:witness", "Cosign the checkpoints of logs, as a service."),
    "man": ("kmsgw.cli.man:man", "Print or write manual pages."),
    "completion": ("kmsgw.cli.completion:completion", "Print the completion script for a shell."),
    "version": ("kmsgw.cli.version:version", "Print the version."),
}
"""Name of each command to where it lives and its line of help; nothing is imported until it is called."""


@click.group(
    cls=Group,
    lazy=COMMANDS,
    examples=[
        "kmsgw init ./development",
        "kmsgw --config ./development/config.toml --profile ehr-writer status",
        "kmsgw encrypt --key ehr -i scan.dcm -O scan.kms --context patient=P-1001",
        "kmsgw decrypt -i scan.kms -O scan.dcm --context patient=P-1001",
    ],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.version_option(__version__, prog_name="kmsgw", message="%(prog)s %(version)s")
def cli() -> None:
    """Protect data with keys that never leave their HSM, Vault or store.

    Data goes to standard output, all else to standard error. Shared options may stand before or after the command.
    Flags win over KMSGW_* variables, and these over the profile in the configuration file.

    Exit codes: 0 done, 1 usage or local fault, 2 remote fault, 3 denied, 4 awaiting approval, 5 verification failed.
    """


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (default: the process's) and return its exit code; errors are told on standard error."""
    invocation = Invocation()
    invocation.arguments = tuple(sys.argv[1:] if arguments is None else arguments)
    try:
        result = cli.main(arguments, prog_name="kmsgw", standalone_mode=False, obj=invocation)
        sys.stdout.flush()
    except NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return ExitCode.LOCAL
    except BrokenPipeError:
        _forget_stdout()
        return ExitCode.LOCAL
    except (KmsgwError, CommandError, click.ClickException, OSError) as error:
        text, code = describe(error)
        click.echo(text, err=True)
        return code
    except (KeyboardInterrupt, click.Abort):
        return ExitCode.INTERRUPTED
    except Exception:
        # A library that Ctrl-C broke in on can make another error of it.
        if not was_interrupted():
            raise
        return ExitCode.INTERRUPTED
    # click returns the code of Context.exit here; the commands themselves return nothing.
    return result if isinstance(result, int) else ExitCode.DONE


def _forget_stdout() -> None:
    # The reader went away. The interpreter's last flush would complain on standard error, so give it nowhere to fail.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> NoReturn:
    """Run the process's command line and exit with its code."""
    # gRPC's C core would write lines of its own above the two of an error. It reads this when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    remember_interruption()
    sys.exit(run())


if __name__ == "__main__":
    main()
