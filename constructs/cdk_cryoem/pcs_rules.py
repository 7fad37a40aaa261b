"""What AWS Parallel Computing Service accepts, told in the words of whoever typed it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from .lane import Lane
from .problems import Problem, known

SLURM_VERSIONS = ("25.11",)
"""With an idle time of its own for each node group. Not 26.05: it detects GPUs by itself, and would drain nodes of a lane
whose types have different models (PCS user guide, "Configuring custom GRES settings")."""
LEAST_ROOT_VOLUME_GIB = 75
"""The PCS-ready images of AWS have snapshots of that size."""
SIZES: Mapping[str, int] = MappingProxyType({"SMALL": 32, "MEDIUM": 512, "LARGE": 2048})
"""The most nodes of a cluster of each size (PCS API reference, Cluster)."""
MOST_LANES = 10
"""Queues, and node groups, of a cluster; the quota is fixed (PCS user guide, "Service quotas")."""
# PCS API model, QueueName.
_SHORTEST_NAME = 3
# One sweep, so that it acts only where no hook has.
BACKSTOP_SECONDS = 300


def idle_seconds(lane: Lane, longest_hold_minutes: int = 0) -> int:
    """After how long PCS powers an idle node of the lane down by itself, whatever the hooks do.

    longest_hold_minutes: how long the hooks may hold a node of any lane, because waiting has a price.
    """
    return max(lane.hold_minutes, longest_hold_minutes) * 60 + BACKSTOP_SECONDS


def pcs_problems(
    *,
    lanes: Sequence[Lane],
    size: str,
    slurm_version: str,
    ami_id: str,
    mount_source: str | None,
    root_volume_gib: int = 100,
    remote_desktop_from: str | None = None,
) -> Iterator[Problem]:
    """Everything wrong with a PCS cluster's own values, apart from each lane's."""
    if known(slurm_version) and slurm_version not in SLURM_VERSIONS:
        yield Problem(
            property="slurm_version",
            value=slurm_version,
            allowed=", ".join(SLURM_VERSIONS),
            fix="Earlier ones have one idle time for all lanes; what 26.05 does with mixed GPU models is not known",
        )
    for lane in lanes:
        if len(lane.name) < _SHORTEST_NAME:
            yield Problem(
                property=f"lane {lane.name}.name",
                value=lane.name,
                allowed=f"{_SHORTEST_NAME} to 25 characters with PCS",
                fix="PCS refuses shorter names of queues",
            )
    if len(lanes) > MOST_LANES:
        yield Problem(
            property="lanes",
            value=f"{len(lanes)} lanes",
            allowed=f"{MOST_LANES} at most with PCS, spot twins included",
            fix="Put stages that want the same nodes on one lane, or use ParallelCluster",
        )
    if known(ami_id) and not re.fullmatch(r"ami-[0-9a-f]{8,17}", ami_id):
        yield Problem(property="ami_id", value=ami_id, allowed="ami- and 8 or 17 hexadecimals")
    if known(size) and size not in SIZES:
        yield Problem(property="size", value=size, allowed=", ".join(SIZES))
    elif size in SIZES:
        nodes = sum(lane.max_nodes for lane in lanes)
        if nodes > SIZES[size]:
            enough = next((name for name, most in SIZES.items() if nodes <= most), None)
            yield Problem(
                property="size",
                value=size,
                allowed=f"one that takes the lanes' {nodes} nodes (SMALL 32, MEDIUM 512, LARGE 2048)",
                fix=f"Use {enough}; on a cluster that is there it means a new cluster" if enough else "Lower max_nodes",
            )
    if mount_source is None:
        yield Problem(
            property="file_system.mount_source",
            value=None,
            allowed="HOST@tcp:/NAME, as the FSx console shows it",
            fix="Give it to LustreStore.from_lustre_store_attributes: PCS mounts no file system by itself",
        )
    if known(root_volume_gib) and root_volume_gib < LEAST_ROOT_VOLUME_GIB:
        yield Problem(
            property="head_node.root_volume_gib",
            value=root_volume_gib,
            allowed=f"{LEAST_ROOT_VOLUME_GIB} or more with PCS",
            fix="Its images are larger, and EC2 makes no smaller volume of one",
        )
    if remote_desktop_from is not None:
        yield Problem(
            property="head_node.remote_desktop_from",
            value=remote_desktop_from,
            allowed="nothing with PCS, whose images have no DCV",
        )
