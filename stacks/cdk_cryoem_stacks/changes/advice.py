"""What is lost, what is kept and what to do, in words, where CloudFormation changes a resource."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from .effect import Effect
from .replacements import Difference
from .values import show

LOSSES: Mapping[Effect, str] = {
    Effect.REPLACES_NODES: (
        "Nodes of the lane go at once, and jobs on them end: deploy when nothing runs or waits there (squeue)"
    ),
    Effect.REPLACES_HEAD_NODE: (
        "Another head node takes its place, and sets itself up again. Kept are file system, buckets, records table and"
        " cryoSPARC's volume, which the new one attaches; lost is what lies on the old one's root volume"
    ),
    Effect.REPLACES_CLUSTER: (
        "Another cluster takes its place: jobs that run and wait are lost. Kept are file system, buckets, records table"
        " and cryoSPARC's volume. Deploy when the queue is empty (squeue)"
    ),
}
_DOUBT = (
    ". AWS's sources differ here: by the registry's schema it changes in place, by the CDK's database it does not."
    " `tools/cdk diff`, which makes a change set, has CloudFormation's own word"
)
_FOR_NEW_NODES = {
    ("AWS::EC2::LaunchTemplate", "LaunchTemplateData"),
    ("AWS::PCS::ComputeNodeGroup", "AmiId"),
    ("AWS::PCS::ComputeNodeGroup", "CustomLaunchTemplate"),
    ("AWS::PCS::ComputeNodeGroup", "NodeLifecycleActions"),
    ("AWS::PCS::ComputeNodeGroup", "PurchaseOption"),
}
_VERSION = re.compile(r"/parallelcluster/(\d+\.\d+\.\d+)/")


def gone(effect: Effect, deletion_policy: str) -> str:
    """What a resource that is no longer in the template leaves behind."""
    if effect is not Effect.REPLACES_STORAGE:
        return LOSSES.get(effect, "")
    if deletion_policy == "Delete":
        return "CloudFormation deletes it with everything in it: copy what you need first"
    return (
        "It stays, with its data and its cost, but is no part of the system any more"
        f" (DeletionPolicy {deletion_policy}): what comes instead is empty"
    )


def in_place(kind: str, difference: Difference, effect: Effect, says: str, replace_policy: str) -> tuple[Effect, str]:
    """The effect of one property after all, where its value matters, and what to do."""
    if kind == "AWS::CloudFormation::Stack" and difference.path == "TemplateURL":
        return _provider(difference)
    if kind == "AWS::FSx::FileSystem" and difference.path == "StorageCapacity":
        if _shrinks(difference):
            return Effect.REPLACES_STORAGE, (
                "FSx file systems only grow: the deployment fails. A smaller one is a new one, which you fill yourself"
            )
        return effect, "FSx grows it in place, at most once in six hours; for some minutes it may not answer"
    if kind == "AWS::EC2::Volume" and difference.path == "Size":
        if _shrinks(difference):
            return Effect.REPLACES_STORAGE, "Volumes only grow: the deployment fails. A smaller one you fill yourself"
        return effect, "EC2 grows the volume in place; grow the file system on it yourself (resize2fs or xfs_growfs)"
    if effect is Effect.REPLACES_STORAGE:
        kept = (
            "This one is deleted with everything in it"
            if replace_policy == "Delete"
            else f"This one stays, with its data and its cost (UpdateReplacePolicy {replace_policy})"
        )
        text = f"CloudFormation makes a new, empty one. {kept}. Undo the change, unless you mean that"
        return effect, text + (_DOUBT if says == "cdk" else "")
    if effect is Effect.INTERRUPTS:
        return effect, "The head node is stopped and started: sessions and programs on it end, jobs on nodes go on"
    if says == "unknown":
        return effect, f"Whether a changed {kind} is replaced is not known here: see `tools/cdk diff`"
    if kind == "AWS::PCS::ComputeNodeGroup" and difference.path.startswith("Scaling") and _shrinks(difference):
        return (
            Effect.REPLACES_NODES,
            "PCS terminates nodes above the new limit, and their jobs go back to the queue: deploy when the lane is idle",
        )
    if kind == "AWS::PCS::Cluster" and difference.path == "Scheduler.Version":
        return effect, "PCS only goes up; head node and nodes need images with that Slurm"
    if effect is Effect.LIVE and (kind, difference.path.partition(".")[0]) in _FOR_NEW_NODES:
        return (
            Effect.DRAINS,
            "Nodes that PCS launches from then on have it; those that run are replaced when their jobs end",
        )
    return effect, LOSSES.get(effect, "")


def imported(importers: Sequence[str]) -> str:
    """What to say of a resource that is made anew while other stacks import from it."""
    names = " and ".join(importers)
    return (
        f". As it stands the deployment fails: CloudFormation changes no exported value that another stack imports."
        f" Destroy {names} first (tools/cdk destroy {' '.join(importers)}), and deploy again afterwards"
    )


def _shrinks(difference: Difference) -> bool:
    try:
        return int(difference.new) < int(difference.old)
    except (TypeError, ValueError):
        return False


def _provider(difference: Difference) -> tuple[Effect, str]:
    old, new = (_VERSION.search(show(side, limit=1000)) for side in (difference.old, difference.new))
    if old is None or new is None or old[1] == new[1]:
        return Effect.LIVE, ""
    return Effect.REPLACES_CLUSTER, (
        f"ParallelCluster {new[1]} does not update a cluster of {old[1]}: destroy the stacks of hooks and cluster and"
        " deploy again, or deploy a system with another name. Kept are file system, buckets, records table and"
        " cryoSPARC's volume, which is not attached again by itself"
    )
