"""What plays EC2 for the nodes: a slurmd starts after a boot delay, and goes when the autoscaler says.

Called by slurmctld, which gives its programs no environment and a blocked signal mask that they would hand on.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from ..places import Places, places

BOOT_SECONDS = 3.0
"""How long a node takes to boot. On AWS it is minutes; the twin shows the order of things, not their length."""


def note(places: Places, node: str, event: str) -> None:
    """One line in the bill: launch, ready, or off."""
    line = json.dumps({"at": time.time(), "node": node, "event": event})
    with (places.slurm / "power.jsonl").open("a") as bill:
        bill.write(line + "\n")


def _names(places: Places, expression: str) -> list[str]:
    return subprocess.run(
        ["scontrol", "show", "hostnames", expression], check=True, capture_output=True, text=True
    ).stdout.split()


def resume(places: Places, expression: str) -> None:
    """ResumeProgram: EC2 launches the nodes."""
    for node in _names(places, expression):
        note(places, node, "launch")
        with (places.slurm / "log" / "boot.log").open("ab") as log:
            subprocess.Popen(
                [sys.executable, "-m", __spec__.name, "boot", node],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def boot(places: Places, node: str) -> None:
    """What a node does until Slurm can use it. A file boot/fail-NODE makes it never come up."""
    time.sleep(BOOT_SECONDS)
    if (places.slurm / "boot" / f"fail-{node}").exists():
        return
    (places.slurm / "spool" / node).mkdir(parents=True, exist_ok=True)
    note(places, node, "ready")
    # -b: without it slurmctld takes the machine's old boot time for a node that did not reboot.
    os.execvp("slurmd", ["slurmd", "-b", "-N", node])


def suspend(places: Places, expression: str) -> None:
    """SuspendProgram: EC2 terminates the nodes."""
    for node in _names(places, expression):
        pid_file = places.slurm / "pid" / f"slurmd-{node}.pid"
        if pid_file.exists():
            try:
                os.kill(int(pid_file.read_text()), signal.SIGTERM)
            except ProcessLookupError:
                print(f"{node} was gone already", file=sys.stderr)
        note(places, node, "off")


def write_programs(places: Places, folder: Path) -> None:
    """The programs that slurm.conf names; they carry what slurmctld does not give them."""
    for verb in ("resume", "suspend"):
        program = folder / verb
        program.write_text(
            "#!/bin/sh\n"
            f"export CRYOEM_TWIN_ROOT='{places.root}' SLURM_CONF='{places.slurm}/slurm.conf'\n"
            "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
            f"exec '{sys.executable}' -m {__spec__.name} {verb} \"$1\"\n"
        )
        program.chmod(0o755)


def main() -> None:
    """resume, suspend or boot, and the nodes."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    {"resume": resume, "suspend": suspend, "boot": boot}[sys.argv[1]](places(), sys.argv[2])


if __name__ == "__main__":
    main()
