"""slurm-status: queues, nodes that are paid for, logins and running recipes, as one JSON document."""

from __future__ import annotations

import json
import subprocess
import time

from . import settings, slurm, start_processing


def main() -> None:
    """Print it."""
    here = settings.load()
    who = subprocess.run(["who"], capture_output=True, text=True, check=False).stdout
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
            for node in slurm.nodes()
            if node.powered_up
        ],
        "logins": len(who.splitlines()),
        "recipes": start_processing.running(here.projects),
    }
    print(json.dumps(document, separators=(",", ":")))


if __name__ == "__main__":
    main()
