#!/usr/bin/env python3
"""Ask ParallelCluster's own ConfigPatch what it says of updates.

Reads a JSON list of [old, new, login nodes run] from standard input. Writes, for each, the changes it finds while the
compute fleet runs and while everything is stopped: path, key, whether a list's item comes or goes, and the check's result; or
{"error": ...} where ParallelCluster itself fails. Run it in ParallelCluster's isolated environment. Nothing is asked of AWS.
"""

from __future__ import annotations

import copy
import functools
import json
import os
import sys
from typing import Any

from pcluster.config import config_patch
from pcluster.schemas.cluster_schema import ClusterSchema

# A patch makes the schema anew, which takes longer than everything else it does.
config_patch.ClusterSchema = functools.cache(ClusterSchema)


class Cluster:
    """As much of pcluster.models.cluster.Cluster as a patch asks for."""

    name = stack_name = "check"

    def __init__(self, *, running: bool, login: bool) -> None:
        self.running = running
        self.login = login

    def has_running_capacity(self, updated_value: bool = False) -> bool:
        """Whether the compute fleet runs."""
        return self.running

    def has_running_login_nodes(self, updated_value: bool = False, pool_name: str | None = None) -> bool:
        """Whether login nodes run."""
        return self.login


def verdict(old: dict[str, Any], new: dict[str, Any], *, running: bool, login: bool) -> Any:
    """What ParallelCluster says of one update."""
    os.environ["AWS_DEFAULT_REGION"] = str(new.get("Region") or "us-east-1")
    try:
        patch = config_patch.ConfigPatch(Cluster(running=running, login=login), copy.deepcopy(old), copy.deepcopy(new))
        allowed, _ = patch.check()
        return {
            "allowed": allowed,
            "changes": [
                {
                    "path": change.path,
                    "key": change.key,
                    "item": change.is_list,
                    "check": str(change.update_policy.check(change, patch)[0].value),
                    "policy": change.update_policy.name,
                }
                for change in patch.changes
            ],
        }
    except Exception as error:  # a refusal of a kind: the update does not happen
        return {"error": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Answer for every update."""
    answers = [
        {
            "running": verdict(old, new, running=True, login=login),
            "stopped": verdict(old, new, running=False, login=False),
        }
        for old, new, login in json.load(sys.stdin)
    ]
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
