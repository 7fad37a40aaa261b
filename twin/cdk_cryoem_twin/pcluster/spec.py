"""Slurm as ParallelCluster makes it of a ClusterConfiguration: same names, sizes and idle times.

Every scalar may be text, the way CloudFormation sends it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cdk_cryoem import instance_shapes

from ..slurm.spec import NodeSet, Partition, SlurmSpec

# ParallelCluster's own: 95 % of what EC2 states.
_SCHEDULABLE_MEMORY = 0.95


def slurm_spec(configuration: Mapping[str, Any], *, root: Path) -> SlurmSpec:
    """The whole cluster. root: what plays / for absolute paths that the configuration names."""
    settings = configuration["Scheduling"]["SlurmSettings"]
    return SlurmSpec(
        node_sets=tuple(node_sets(configuration)),
        partitions=tuple(
            # ParallelCluster makes the first queue the default one.
            Partition(name=queue["Name"], settings=queue.get("CustomSlurmSettings", {}), is_default=number == 0)
            for number, queue in enumerate(configuration["Scheduling"]["SlurmQueues"])
        ),
        idle_seconds=int(settings.get("ScaledownIdletime", 10)) * 60,
        by_memory=str(settings.get("EnableMemoryBasedScheduling", "false")).lower() == "true",
        settings=tuple(_custom(settings.get("CustomSlurmSettings", []), root)),
    )


def node_sets(configuration: Mapping[str, Any]) -> list[NodeSet]:
    """All nodes that the queues may have."""
    found = []
    for queue in configuration["Scheduling"]["SlurmQueues"]:
        for resource in queue["ComputeResources"]:
            shapes = [instance_shapes()[name] for name in _types(resource)]
            always_on = int(resource["MinCount"])
            names = tuple(
                f"{queue['Name']}-{'st' if n < always_on else 'dy'}-{resource['Name']}-{n + 1}"
                for n in range(int(resource["MaxCount"]))
            )
            found.append(
                NodeSet(
                    partition=queue["Name"],
                    names=names,
                    cpus=min(shape.vcpus for shape in shapes),
                    memory_mib=int(min(shape.memory_gib for shape in shapes) * 1024 * _SCHEDULABLE_MEMORY),
                    gpus=shapes[0].gpus,
                    gpu_model=shapes[0].gpu_model.lower(),
                )
            )
    return found


def _types(resource: Mapping[str, Any]) -> list[str]:
    if "InstanceType" in resource:
        return [resource["InstanceType"]]
    return [entry["InstanceType"] for entry in resource["Instances"]]


def _custom(settings: Sequence[Mapping[str, str]], root: Path) -> list[str]:
    """The custom settings; absolute paths lie below the twin's root."""
    return [
        f"{key}={root}{value}" if str(value).startswith("/") else f"{key}={value}"
        for entry in settings
        for key, value in entry.items()
    ]
