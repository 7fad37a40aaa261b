"""Rules of what costs most: GPU nodes of AWS PCS and ParallelCluster, their limits, their place and their budget."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .file_systems import lustre
from .rule import Finding, Rule
from .templates import Resource, Templates, at, intrinsic, mappings, number, settled

_GROUP, _QUEUE, _CLUSTER = "AWS::PCS::ComputeNodeGroup", "AWS::PCS::Queue", "AWS::PCS::Cluster"
_PARALLEL_CLUSTER = "Custom::PclusterCluster"
# EC2's families with GPUs begin so: g4dn, g5, g6e, gr6, p4d, p5en (EC2 user guide, accelerated computing).
_GPU = re.compile(r"(?:p|g|gr)\d[a-z0-9-]*\.")
_IDLE = "ScaleDownIdleTimeInSeconds"
_UNLIMITED = ("INFINITE", "UNLIMITED", "-1")


@dataclass(frozen=True, slots=True, eq=False)
class Nodes:
    """Nodes of one shape.

    owner: the resource that makes them. subnets: where, by value. file_systems: what they are known to mount, by value.
    has_gpus: whether they are known to have GPUs.
    """

    owner: Resource
    where: str
    subnets: list[Any]
    file_systems: list[Any]
    has_gpus: bool


def has_gpus(instance_types: list[Any]) -> bool:
    """Whether any of these instance types is known to have GPUs."""
    return any(isinstance(each, str) and _GPU.match(each) is not None for each in instance_types)


def all_nodes(templates: Templates) -> Iterator[Nodes]:
    """What the app's engines may start."""
    for group in templates.of(_GROUP):
        types = [each.get("InstanceType") for each in mappings(group.every("InstanceConfigs"))]
        yield Nodes(group, "Properties", group.every("SubnetIds"), [], has_gpus(types))
    for cluster in templates.of(_PARALLEL_CLUSTER):
        mounted = [
            at(storage, "FsxLustreSettings", "FileSystemId")
            for storage in mappings(cluster.every("ClusterConfiguration", "SharedStorage"))
            if storage.get("StorageType") == "FsxLustre"
        ]
        for place, queue in _slurm_queues(cluster):
            subnets = at(queue, "Networking", "SubnetIds")
            yield Nodes(
                cluster,
                place,
                subnets if isinstance(subnets, list) else [],
                [each for each in mounted if each is not None],
                has_gpus(_types(queue)),
            )


def _slurm_queues(cluster: Resource) -> Iterator[tuple[str, Mapping[str, Any]]]:
    path = ("ClusterConfiguration", "Scheduling", "SlurmQueues")
    for index, queue in enumerate(cluster.every(*path)):
        if isinstance(queue, Mapping) and not intrinsic(queue):
            yield f"Properties.{'.'.join(path)}.{index}", queue


def _types(queue: Mapping[str, Any]) -> list[Any]:
    found: list[Any] = []
    for resource in mappings(queue.get("ComputeResources")):
        found.append(resource.get("InstanceType"))
        found += [each.get("InstanceType") for each in mappings(resource.get("Instances"))]
    return found


def _never_idle(templates: Templates) -> Iterator[Finding]:
    for group in templates.of(_GROUP):
        # A Capacity Block is paid for as a whole: nothing is saved by ending its nodes.
        if group.get("PurchaseOption") == "CAPACITY_BLOCK" or group.undecided("SlurmConfiguration", _IDLE):
            continue
        idle = group.get("SlurmConfiguration", _IDLE)
        if idle is None:
            cluster = templates.meant(group, group.get("ClusterId"))
            if cluster is None or cluster.undecided("SlurmConfiguration", _IDLE):
                continue
            idle = cluster.get("SlurmConfiguration", _IDLE)
        if (number(idle) or 0) < 1:
            yield Finding(group, f"Properties.SlurmConfiguration.{_IDLE}")
    for cluster in templates.of(_PARALLEL_CLUSTER):
        idle = cluster.get("ClusterConfiguration", "Scheduling", "SlurmSettings", "ScaledownIdletime")
        if settled(idle) and (number(idle) or 0) < 1:
            yield Finding(cluster, "Properties.ClusterConfiguration.Scheduling.SlurmSettings.ScaledownIdletime")


def _unbounded(templates: Templates) -> Iterator[Finding]:
    for group in templates.of(_GROUP):
        path = ("ScalingConfiguration", "MaxInstanceCount")
        if group.get(*path) is None and not group.undecided(*path):
            yield Finding(group, "Properties.ScalingConfiguration.MaxInstanceCount")
    for cluster in templates.of(_PARALLEL_CLUSTER):
        for place, queue in _slurm_queues(cluster):
            for index, resource in enumerate(mappings(queue.get("ComputeResources"))):
                if not intrinsic(resource) and resource.get("MaxCount") is None:
                    yield Finding(cluster, f"{place}.ComputeResources.{index}.MaxCount")


def _without_time_limit(templates: Templates) -> Iterator[Finding]:
    for queue in templates.of(_QUEUE):
        groups = [
            templates.meant(queue, each.get("ComputeNodeGroupId"))
            for each in mappings(queue.every("ComputeNodeGroupConfigurations"))
        ]
        types = [
            each.get("InstanceType")
            for group in groups
            if group is not None
            for each in mappings(group.every("InstanceConfigs"))
        ]
        path = ("SlurmConfiguration", "SlurmCustomSettings")
        settings = {each.get("ParameterName"): each.get("ParameterValue") for each in mappings(queue.every(*path))}
        if has_gpus(types) and not queue.undecided(*path) and not _limited(settings.get("MaxTime")):
            yield Finding(queue, "Properties.SlurmConfiguration.SlurmCustomSettings")
    for cluster in templates.of(_PARALLEL_CLUSTER):
        for place, lane in _slurm_queues(cluster):
            custom = lane.get("CustomSlurmSettings")
            undecided = isinstance(custom, Mapping) and intrinsic(custom)
            if has_gpus(_types(lane)) and not undecided and not _limited(at(custom, "MaxTime")):
                yield Finding(cluster, f"{place}.CustomSlurmSettings.MaxTime")


def _limited(time: Any) -> bool:
    """A value that only the deployment knows counts as a limit."""
    return time is not None and str(time).upper() not in _UNLIMITED


def _without_budget(templates: Templates) -> Iterator[Finding]:
    owners = list(
        dict.fromkeys(_cluster_of(templates, nodes.owner) for nodes in all_nodes(templates) if nodes.has_gpus)
    )
    if not owners or any(True for _ in templates.of("AWS::Budgets::BudgetsAction")):
        return
    told = (
        budget.get("NotificationsWithSubscribers") or budget.undecided("NotificationsWithSubscribers")
        for budget in templates.of("AWS::Budgets::Budget")
    )
    if not any(told):
        for owner in owners:
            yield Finding(owner)


def _cluster_of(templates: Templates, owner: Resource) -> Resource:
    """Told once a cluster, where the cluster is one of the app's."""
    return (templates.meant(owner, owner.get("ClusterId")) or owner) if owner.type == _GROUP else owner


def _far_from_files(templates: Templates) -> Iterator[Finding]:
    all_file_systems = list(lustre(templates))
    for nodes in all_nodes(templates):
        if not nodes.has_gpus:
            continue
        mounted = [templates.meant(nodes.owner, each) for each in nodes.file_systems]
        if None in mounted:
            continue
        candidates = [each for each in mounted if each is not None] or ([] if mounted else all_file_systems)
        near = [_same_place(templates, each, nodes) for each in candidates]
        if near and all(answer is False for answer in near):
            yield Finding(nodes.owner, nodes.where)


def _same_place(templates: Templates, file_system: Resource, nodes: Nodes) -> bool | None:
    """Whether a file system and nodes are in one zone; None where that is not known."""
    places = [_place(templates, file_system, each) for each in file_system.every("SubnetIds")]
    others = [_place(templates, nodes.owner, each) for each in nodes.subnets]
    if not places or not others:
        return None
    answers = [_same(places[0], other) for other in others]
    if all(answer is True for answer in answers):
        return True
    return False if False in answers else None


def _place(templates: Templates, owner: Resource, subnet: Any) -> tuple[object, str | None]:
    """A subnet, and its zone as far as the templates say it."""
    made = templates.meant(owner, subnet)
    if made is None:
        return (subnet if settled(subnet) else None), None
    zone = made.get("AvailabilityZone")
    # Each stack counts the zones by itself, and those of one account and region are counted alike.
    return made, None if zone is None else json.dumps(zone, sort_keys=True)


def _same(one: tuple[object, str | None], other: tuple[object, str | None]) -> bool | None:
    if one[0] is not None and one[0] == other[0]:
        return True
    if one[1] is None or other[1] is None:
        return None
    if one[1] == other[1]:
        return True
    # Two zones that a parameter or an import gives may be one.
    return False if _kind(one[1]) == _kind(other[1]) != "" else None


def _kind(zone: str) -> str:
    """What a zone is said by: its name, or its number in the account; empty for what is not known."""
    match json.loads(zone):
        case str():
            return "name"
        case {"Fn::Select": [int() | str(), {"Fn::GetAZs": _}]}:
            return "number"
    return ""


NODE_RULES = (
    Rule(
        name="NodesIdleTime",
        info="Idle nodes are never ended.",
        explanation=f"Set {_IDLE} of the PCS node group or its cluster, ScaledownIdletime of ParallelCluster, to more "
        "than 0: a forgotten node with eight GPUs costs over a thousand USD a week.",
        find=_never_idle,
    ),
    Rule(
        name="NodesMaxCount",
        info="Nobody has said how many nodes there may be.",
        explanation="Set MaxInstanceCount of the PCS node group, MaxCount of ParallelCluster's compute resource.",
        find=_unbounded,
    ),
    Rule(
        name="GpuQueueTimeLimit",
        info="A job on GPUs may run for ever.",
        explanation="Set MaxTime in the queue's Slurm settings: a job that hangs keeps its node from being ended.",
        find=_without_time_limit,
    ),
    Rule(
        name="GpuBudget",
        info="GPU nodes, and no budget that tells anybody.",
        explanation="Make an AWS::Budgets::Budget with subscribers, or a BudgetsAction. If the account has one that is made "
        "elsewhere, acknowledge this with its name.",
        level="warning",
        find=_without_budget,
    ),
    Rule(
        name="FileSystemBesideGpus",
        info="GPU nodes read from a file system in another availability zone.",
        explanation="Traffic between zones is slow and billed in both directions. Take the file system's subnet for the "
        "nodes, or one in its zone.",
        level="warning",
        find=_far_from_files,
    ),
)
