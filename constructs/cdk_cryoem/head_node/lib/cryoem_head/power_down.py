"""power-down: power nodes down now, each only if it is still what the caller saw.

The caller saw an idle node in some epoch. If the node has had a job since, or has one, or a job waits for its lane,
the decision is stale and nothing happens. POWER_DOWN_ASAP never kills: even then the job would finish first.
A node that boots for nobody, or that is paid for and down, is treated like an idle one.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import re
import subprocess
import sys
from typing import Dict, Tuple

from . import settings, slurm

_REFUSED = r"invalid user|permission denied|access denied|not permitted"


def stale(node: slurm.Node, epoch: str, pending: Dict[str, int]) -> str:
    """Why the decision does not hold any longer; empty when it does."""
    if node.state not in slurm.UNUSED:
        return node.state
    if node.epoch != epoch:
        return "another epoch"
    # No job starts on a node that is down; the one that waits may wait for just this node.
    if node.state != "down" and any(pending.get(partition, 0) for partition in node.partitions):
        return "a job waits"
    return ""


def power_down(node: str) -> str:
    """Do it; why Slurm does not let us, empty when it does. Errors: CalledProcessError for everything else.

    Where the controller is not ours (PCS), Slurm may refuse every time. Its own idle time shuts the node down then, and
    nobody ought to be woken for it.
    """
    try:
        slurm.run("scontrol", "update", f"nodename={node}", "state=power_down_asap", "reason=idle")
    except subprocess.CalledProcessError as error:
        if re.search(_REFUSED, error.stderr or "", re.IGNORECASE):
            print(f"power-down: {node} is left to Slurm's idle time: {error.stderr.strip()}", file=sys.stderr)
            return "Slurm refuses"
        raise
    return ""


def parse(text: str) -> Dict[str, str]:
    """node=epoch,node=epoch"""
    pairs: Tuple[Tuple[str, str, str], ...] = tuple(part.partition("=") for part in text.split(","))
    return {name: epoch for name, _, epoch in pairs}


def main() -> None:
    """Do it, and print what was done and what was left alone and why."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", required=True, help="node=epoch, separated by commas; epochs from slurm-status")
    wanted = parse(parser.parse_args().nodes)
    here = settings.load()
    with open(here.home / "power-down.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        pending = slurm.jobs_by_partition("PENDING")
        down, left = [], {}
        for node in slurm.nodes():
            if node.name not in wanted:
                continue
            reason = stale(node, wanted[node.name], pending)
            if reason:
                left[node.name] = reason
                continue
            refused = power_down(node.name)
            if refused:
                left[node.name] = refused
            else:
                down.append(node.name)
    print(json.dumps({"powered_down": down, "left_alone": left}))


if __name__ == "__main__":
    main()
