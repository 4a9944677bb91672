"""`make run`: a gateway for trying things, in build/run, until Ctrl-C."""

import signal
import subprocess
import sys

from stage import ROOT, new_gateway_folder, start_gateway

from kmsgw.taken_signals import SERVING, hold_signals, take_signal

FOLDER = ROOT / "build" / "run"
_LOOK_SECONDS = 1.0


def main() -> None:
    """Start the gateway, print what to try, and wait."""
    # A signal that came in the middle of the start would end this program, and leave the gateway with the port.
    hold_signals()
    if not (FOLDER / "kmsgwd.toml").exists():
        new_gateway_folder(FOLDER, "127.0.0.1:8443", second_factor=False)
    daemon, address = start_gateway(FOLDER)
    kmsgw = ".venv/bin/kmsgw --config build/run/config.toml --profile"
    print(f"""kmsgw serves on {address}. Its log is build/run/kmsgwd.log. In another terminal, try:

  {kmsgw} key-officer key create ehr
  {kmsgw} ehr-writer encrypt --key ehr --context patient=P-1001 -i README.md -O /tmp/readme.kms
  {kmsgw} ehr-reader decrypt --context patient=P-1001 --purpose care -i /tmp/readme.kms
  {kmsgw} billing decrypt --context patient=P-1001 -i /tmp/readme.kms
  {kmsgw} auditor policy explain REQUEST_ID
  {kmsgw} key-officer key rotate ehr --reason 'trying it out'
  {kmsgw} auditor status
  .venv/bin/kmsgw audit tail build/run/audit
  .venv/bin/kmsgw audit verify build/run/audit

Its officers need no one-time codes, for trying things alone; the README shows them with codes.
Ctrl-C stops it. `rm -r build/run` forgets its keys, and with them
everything that was encrypted under them.""", flush=True)  # fmt: skip
    sys.exit(_wait_for(daemon))


def _wait_for(daemon: subprocess.Popen[str]) -> int:
    """Wait for the end of the gateway and return its exit status. It gets the terminal's Ctrl-C as well, and drains."""
    while (status := daemon.poll()) is None:
        # A kill, or the end of the terminal; the gateway must not go on without this program and keep the port.
        if take_signal(SERVING, _LOOK_SECONDS) in {signal.SIGTERM, signal.SIGHUP}:
            daemon.terminate()
    return status


if __name__ == "__main__":
    main()
