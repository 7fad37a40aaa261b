#!/usr/bin/env python3
"""Print ParallelCluster's update policy of every property, from its own schema, as CSV.

Run it in ParallelCluster's isolated environment (requirements-pcluster.txt); the result is committed as
stacks/cdk_cryoem_stacks/data/parallel_cluster_update_policies.csv, and a test compares the two:

    .tools/pcluster-*/bin/python tests/engine/pcluster_update_policies.py > stacks/.../parallel_cluster_update_policies.csv

A path ends in [] for a list whose items have a key (`key` names it); its policy is that of an item that comes or goes.
`by_hand` says volume where ParallelCluster refuses a change of size or type that EC2 does without it.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from typing import Any

from pcluster.config.update_policy import UpdatePolicy
from pcluster.schemas.cluster_schema import ClusterSchema
from pcluster.utils import get_installed_version


def rows(schema: Any, above: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Yield path, key, policy and remedy of everything in a section, in the order of the schema."""
    for field in schema.declared_fields.values():
        policy = field.metadata.get("update_policy", UpdatePolicy.UNSUPPORTED)
        many = bool(getattr(field, "many", False)) and hasattr(field, "nested")
        path = above + field.data_key + ("[]" if many else "")
        volume = policy.action_needed == UpdatePolicy.ACTIONS_NEEDED["ebs_volume_update"]
        # Two policies carry names of their own; the attribute of the class is what everything else calls them.
        yield path, field.metadata["update_key"] if many else "", policy.name, "volume" if volume else ""
        if hasattr(field, "nested"):
            yield from rows(field.schema, f"{path}.")


def main() -> None:
    """Write the table to standard output."""
    print(f"# ParallelCluster {get_installed_version()}; made by tests/engine/pcluster_update_policies.py")
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["path", "key", "policy", "by_hand"])
    table.writerows(sorted(rows(ClusterSchema(cluster_name="table"))))


if __name__ == "__main__":
    main()
