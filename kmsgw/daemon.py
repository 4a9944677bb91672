"""`kmsgwd`: checks the configuration, starts the workers, and keeps them running.

It holds no key and answers no call. Workers are never forked from a process that has loaded grpc or a PKCS#11 library:
the first begin as copies of `kmsgwd`, which imports once what all need (`preloaded`). One that dies is started again,
as a program of its own, and the others go on.

Exit status: 0 stopped as asked, 1 could not start or could not stop cleanly, 2 wrong command line.
"""

import argparse
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from kmsgw import __version__
from kmsgw.audit.held_folder import HeldFolder
from kmsgw.config import Settings, load_settings
from kmsgw.errors import ConfigurationError, KmsgwError
from kmsgw.launch import HeldSettings, read_secrets
from kmsgw.preloaded import preloaded_check
from kmsgw.processes import forbid_dumps
from kmsgw.refusal import FoundFaults
from kmsgw.reload import Reload, check_start, checked
from kmsgw.reservation import reserve
from kmsgw.supervisor import Supervisor
from kmsgw.taken_signals import Stopped, hold_signals
from kmsgw.telemetry import start_logging
from kmsgw.telemetry.supervision import SupervisedMetrics

DEFAULT_CONFIG = Path("kmsgwd.toml")
_STOPPED = "kmsgwd: stopped before it served\n"


def _metrics(settings: Settings, reservation: socket.socket) -> SupervisedMetrics:
    assert settings.metrics.listen is not None
    host = settings.metrics.listen.rpartition(":")[0]
    return SupervisedMetrics(reservation, host, settings.server.workers)


def _invite(settings: Settings, officer_id: str) -> int:
    """Print an invitation and return the exit status. Standard output has nothing else, so that it can be piped."""
    # Imported here: a daemon that serves loads no database driver and no grpc.
    from kmsgw.bootstrap.examination import invite  # noqa: PLC0415

    try:
        invitation = invite(settings, officer_id)
    except ConfigurationError:
        raise
    except KmsgwError as error:
        raise ConfigurationError([error.message], advice=error.advice) from None
    sys.stdout.write(invitation + "\n")
    sys.stderr.write(
        f"kmsgwd: give it to {officer_id}, who runs `kmsgw officer enrol` within 24 hours; it works once\n"
    )
    return 0


def _accept_older_state(settings: Settings) -> int:
    """Take a database that was put back for the one to use, and return the exit status."""
    from kmsgw import bootstrap  # noqa: PLC0415

    try:
        accepted = bootstrap.accept_older_state(settings)
    except ConfigurationError:
        raise
    except KmsgwError as error:
        raise ConfigurationError([error.message], advice=error.advice) from None
    sys.stdout.write(f"kmsgwd: recorded in {len(accepted)} audit logs; the next start takes the database as it is\n")
    return 0


def _check(settings: Settings) -> int:
    """Try the configuration beside a gateway that may be serving, and return the exit status."""
    secrets = read_secrets(settings)
    hold_signals()
    check_start(settings, secrets)
    sys.stdout.write("kmsgwd: the configuration is right\n")
    return 0


def _serve(config: Path, settings: Settings) -> int:
    """Start the gateway, keep it until a signal says otherwise, and return the exit status."""
    secrets = read_secrets(settings)
    hold_signals()
    faults = FoundFaults()
    reservations: list[socket.socket] = []
    folder = HeldFolder(settings.audit.folder, f"{settings.audit.origin}/{settings.node}")
    faults.attempt("audit.folder", folder.hold)
    faults.attempt("server.listen", lambda: reservations.append(reserve(settings.server.listen, "server.listen")))
    if (metrics_listen := settings.metrics.listen) is not None:
        faults.attempt("metrics.listen", lambda: reservations.append(reserve(metrics_listen, "metrics.listen")))
    if faults:
        # Tried all the same, to tell every fault at once. Nothing is made while the port or the folder is another's: it
        # may be this very gateway, running.
        faults.attempt("start", lambda: check_start(settings, secrets))
        faults.require_none()
    metrics = _metrics(settings, reservations[1]) if len(reservations) > 1 else None
    supervisor = Supervisor(HeldSettings(settings), config, secrets, reservations[0], metrics)
    # Begun before the workers: it takes a second with many policies, and the imports that they need take as long.
    trial = Reload.of(settings, secrets, "--prepare", copy=preloaded_check())
    try:
        supervisor.prepare()
    except BaseException:
        trial.close()
        raise
    try:
        policies = checked(trial)
        folder.hold()  # the first start has made it only now
    except ConfigurationError:
        supervisor.abandon()
        raise
    except Stopped:
        supervisor.abandon()
        sys.stderr.write(_STOPPED)
        return 0
    return supervisor.run(policies)


def _refuse(error: ConfigurationError) -> None:
    for fault in error.faults:
        sys.stderr.write(f"kmsgwd: {fault}\n")
    if error.advice:
        sys.stderr.write(f"kmsgwd: {error.advice}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `kmsgwd` and return its exit status."""
    parser = argparse.ArgumentParser(prog="kmsgwd", description="The kmsgw key-management gateway.")
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, help="configuration file (default: %(default)s)")
    parser.add_argument("--check", action="store_true", help="check the configuration and all that it names, then end")
    parser.add_argument("--invite", metavar="OFFICER", help="print an invitation for an officer to enrol, then end")
    parser.add_argument(
        "--accept-older-state", action="store_true", help="take a database that was put back on purpose, then end"
    )
    parser.add_argument("--version", action="version", version=f"kmsgwd {__version__}")
    options = parser.parse_args(arguments)
    start_logging("kmsgwd")
    forbid_dumps()
    config = options.config.absolute()
    try:
        settings = load_settings(config)
        if options.invite is not None:
            return _invite(settings, options.invite)
        if options.accept_older_state:
            return _accept_older_state(settings)
        return _check(settings) if options.check else _serve(config, settings)
    except ConfigurationError as error:
        _refuse(error)
    except (Stopped, KeyboardInterrupt):
        sys.stderr.write(_STOPPED)
    return 1


if __name__ == "__main__":
    sys.exit(main())
