"""slurm-status: queues, idle nodes, how many are paid for, logins and running recipes, as one JSON document."""

from __future__ import annotations

import json
import subprocess
import time

from . import installation, settings, slurm, start_processing

# What a command prints is cut after 24,000 characters (SSM API reference, GetCommandInvocation). The others come next time.
_MOST_NODES = 100


def logins() -> int:
    """Who is there: on a terminal, or by Session Manager, which does not tell `who`."""
    terminals = subprocess.run(["who"], capture_output=True, text=True, check=False).stdout.splitlines()
    sessions = subprocess.run(
        ["pgrep", "--full", "ssm-session-worker"], capture_output=True, text=True, check=False
    ).stdout.splitlines()
    return len(terminals) + len(sessions)


def main() -> None:
    """Print it."""
    here = settings.load()
    nodes = [node for node in slurm.nodes() if node.powered_up]
    document = {
        "now": time.time(),
        "pending": slurm.jobs_by_partition("PENDING"),
        "running": slurm.jobs_by_partition("RUNNING,CONFIGURING,COMPLETING,SUSPENDED"),
        "nodes": [
            {
                "name": node.name,
                "lane": node.partitions[0] if node.partitions else "",
                "state": node.state,
                "epoch": node.epoch,
                "idle_since": node.idle_since,
            }
            for node in [node for node in nodes if node.state == "idle"][:_MOST_NODES]
        ],
        "powered_up": len(nodes),
        "logins": logins(),
        # Neither may the head node be stopped under an update of cryoSPARC's database, or a backup.
        "recipes": start_processing.running(here.projects) + installation.at_work(here.home),
    }
    print(json.dumps(document, separators=(",", ":")))


if __name__ == "__main__":
    main()
