"""Slurm as PCS makes it of its queues and node groups. Every scalar may be text, the way CloudFormation sends it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cdk_cryoem import instance_shapes

from ..slurm.spec import NodeSet, Partition, SlurmSpec
from .state import PcsState


def slurm_spec(state: PcsState, *, programs: Path) -> SlurmSpec:
    """The whole cluster. programs: where those are that AWS runs beside its controller."""
    (cluster,) = state.clusters.values()
    slurm = cluster.get("SlurmConfiguration", {})
    custom = _settings(slurm)
    queues = list(state.queues.values())
    groups = {queue["Name"]: _groups(state, queue) for queue in queues}
    return SlurmSpec(
        node_sets=tuple(
            node_set(queue, number, group) for queue, found in groups.items() for number, group in enumerate(found)
        ),
        partitions=tuple(
            Partition(
                name=queue["Name"],
                settings={k: v for k, v in _settings(queue.get("SlurmConfiguration", {})).items() if k != "Default"},
                is_default=_settings(queue.get("SlurmConfiguration", {})).get("Default") == "YES",
                idle_seconds=min((_idle(group) for group in groups[queue["Name"]]), default=None),
            )
            for queue in queues
        ),
        idle_seconds=int(slurm.get("ScaleDownIdleTimeInSeconds", 600)),
        by_memory="Memory" in custom.get("SelectTypeParameters", ""),
        settings=(
            "JobCompType=jobcomp/script",
            f"JobCompLoc={programs}/jobcomp",
            f"PrologSlurmctld={programs}/prolog",
        ),
    )


def node_set(queue: str, number: int, group: Mapping[str, Any]) -> NodeSet:
    """The nodes of one node group; PCS calls them after the group, which here has its queue's name."""
    shapes = [instance_shapes()[config["InstanceType"]] for config in group["InstanceConfigs"]]
    custom = _settings(group.get("SlurmConfiguration", {}))
    most = int(group["ScalingConfiguration"]["MaxInstanceCount"])
    name = queue if number == 0 else f"{queue}-{number + 1}"
    return NodeSet(
        partition=queue,
        names=tuple(f"{name}-{n + 1}" for n in range(most)),
        # PCS switches hyper-threading off.
        cpus=min(shape.vcpus // shape.threads_per_core for shape in shapes),
        memory_mib=int(custom.get("RealMemory", min(shape.memory_gib for shape in shapes) * 1024)),
        gpus=shapes[0].gpus,
        gpu_model=shapes[0].gpu_model.lower(),
    )


def _groups(state: PcsState, queue: Mapping[str, Any]) -> list[dict[str, Any]]:
    named = [entry["ComputeNodeGroupId"] for entry in queue.get("ComputeNodeGroupConfigurations", [])]
    return [state.node_groups[name] for name in named]


def _idle(group: Mapping[str, Any]) -> int:
    return int(group.get("SlurmConfiguration", {}).get("ScaleDownIdleTimeInSeconds", 600))


def _settings(slurm: Mapping[str, Any]) -> dict[str, str]:
    return {entry["ParameterName"]: str(entry["ParameterValue"]) for entry in slurm.get("SlurmCustomSettings", [])}
