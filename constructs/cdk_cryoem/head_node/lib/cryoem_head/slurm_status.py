"""slurm-status: queues, nodes that nobody uses, how many are paid for, and who is at work here, as one JSON document."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any, Dict, Mapping

from . import backup_outcome, installation, settings, slurm, spool, start_processing

# What a command prints is cut after so many characters (SSM API reference, GetCommandInvocation).
_LONGEST = 24_000
_REMOTE_DESKTOP = 8443
_LOCAL = ("127.", "::1", "::ffff:127.")
# The others come next time.
_MOST_NODES = 100


def logins() -> int:
    """Who is there: on a terminal, or by Session Manager, which does not tell `who`."""
    terminals = subprocess.run(["who"], capture_output=True, text=True, check=False).stdout.splitlines()
    sessions = subprocess.run(
        ["pgrep", "--full", "ssm-session-worker"], capture_output=True, text=True, check=False
    ).stdout.splitlines()
    return len(terminals) + len(sessions)


def visitors(*ports: int) -> int:
    """Connections from other machines to these ports: people in cryoSPARC's pages, or on a remote desktop.

    Its own nodes come that way too, and are gone when the head node may stop.
    """
    try:
        shown = subprocess.run(
            ["ss", "-Htn", "state", "established"], capture_output=True, text=True, check=False
        ).stdout.splitlines()
    except FileNotFoundError:
        return 0
    found = 0
    for line in shown:
        here, there = line.split()[2:4]
        host, _, port = here.rpartition(":")
        guest = there.rpartition(":")[0]
        found += port.isdigit() and int(port) in ports and guest != host and not guest.strip("[]").startswith(_LOCAL)
    return found


def seen_at(home: Path, *, somebody: bool) -> float:
    """When somebody was last seen at work here, epoch seconds; 0 for never."""
    note = home / "somebody.seen"
    if somebody:
        draft = home / f".somebody.seen.{os.getpid()}"
        draft.write_text(str(time.time()))
        draft.rename(note)
    return float(note.read_text()) if note.exists() else 0.0


def look(here: settings.Settings) -> Dict[str, Any]:
    """The document."""
    nodes = [node for node in slurm.nodes() if node.powered_up]
    unused = [node for node in nodes if node.state in slurm.UNUSED]
    people = logins() + visitors(here.cryosparc_port, _REMOTE_DESKTOP)
    recipes = start_processing.running(here.projects)
    gpus, waits = slurm.gpus_and_waits()
    return {
        "now": time.time(),
        "pending": slurm.jobs_by_partition("PENDING"),
        "blocked": slurm.jobs_by_partition("PENDING", blocked=True),
        "running": slurm.jobs_by_partition("RUNNING,CONFIGURING,COMPLETING,SUSPENDED"),
        "gpus": gpus,
        "waiting_since": waits,
        "closed": slurm.closed_partitions(),
        "nodes": [
            {
                "name": node.name,
                "lane": node.partitions[0] if node.partitions else "",
                "state": node.state,
                "epoch": node.epoch,
                "idle_since": node.since,
            }
            for node in unused[:_MOST_NODES]
        ],
        "powered_up": len(nodes),
        "addresses": [node.address for node in nodes],
        "logins": people,
        # Neither may the head node be stopped under an update of cryoSPARC's database, or a backup.
        "recipes": recipes + installation.at_work(here.home),
        "seen_at": seen_at(here.home, somebody=bool(people or recipes)),
        "spool": len(spool.waiting(here.spool)),
        "backup": backup_outcome.last(here.home),
    }


def printed(document: Mapping[str, Any]) -> str:
    """As JSON, with as many addresses as fit: fewer than there are nodes tell the hooks that these are not all."""
    addresses = list(document["addresses"])
    text = json.dumps(document, separators=(",", ":"))
    while len(text) > _LONGEST and addresses:
        del addresses[-max(1, len(addresses) // 10) :]
        text = json.dumps({**document, "addresses": addresses}, separators=(",", ":"))
    return text


def main() -> None:
    """Print it."""
    print(printed(look(settings.load())))


if __name__ == "__main__":
    main()
