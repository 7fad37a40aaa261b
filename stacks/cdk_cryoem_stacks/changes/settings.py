"""From the engine's property back to the one of cryoem.yaml that somebody typed, where there is one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_QUEUE = r"Scheduling\.SlurmQueues\[(?P<lane>[^\]]+)\]"
_RESOURCE = _QUEUE + r"\.ComputeResources\[[^\]]+\]"
_CLUSTER: Final[Mapping[str, str]] = {
    _QUEUE: "lanes {lane}",
    rf"{_RESOURCE}\.M(ax|in)Count": "lanes {lane}.max_nodes",
    rf"{_RESOURCE}\.Instance(s|Type)(\[.*)?": "lanes {lane}.instance_types",
    rf"{_RESOURCE}\.CapacityReservationTarget(\..*)?": "lanes {lane}.capacity_reservation_id",
    rf"{_RESOURCE}\.Efa(\..*)?": "lanes {lane}.nodes_per_job",
    rf"{_QUEUE}\.Networking\.PlacementGroup(\..*)?": "lanes {lane}.nodes_per_job",
    rf"{_QUEUE}\.(CapacityType|AllocationStrategy)": "lanes {lane}.capacity",
    rf"{_QUEUE}\.CustomSlurmSettings": "lanes {lane}.time_limit_hours",
    rf"{_QUEUE}\.ComputeSettings\.LocalStorage\.EphemeralVolume(\..*)?": "lanes {lane}.instance_types",
    r"Scheduling\.SlurmQueues": "order of lanes",
    r"Scheduling\.SlurmSettings\.ScaledownIdletime": "idle_backstop_minutes",
    r"Image\.Os": "head_node.operating_system",
    r"HeadNode\.InstanceType": "head_node.instance_type",
    r"HeadNode\.LocalStorage\.RootVolume\.Size": "head_node.root_volume_gib",
    r"HeadNode\.Dcv(\..*)?": "head_node.remote_desktop_from",
    r"HeadNode\.Networking\.AdditionalSecurityGroups": "web",
    r"SharedStorage\[cryosparc\]\.EbsSettings\.Size": "head_node.cryosparc_volume_gib",
    r"Monitoring\.Logs\.CloudWatch\.RetentionInDays": "log_retention_days",
    r"Iam(\.PermissionsBoundary)?": "permissions_boundary_arn",
    r"Tags\[[^\]]+\](\..*)?": "tags",
    r"Region": "region",
}
_RESOURCES: Final[Mapping[tuple[str, str], str]] = {
    ("AWS::FSx::FileSystem", "StorageCapacity"): "file_system.capacity_gib",
    ("AWS::FSx::FileSystem", "LustreConfiguration.PerUnitStorageThroughput"): "file_system.throughput_mibps_per_tib",
    ("AWS::FSx::FileSystem", "LustreConfiguration.DeploymentType"): "file_system.deployment_type",
    ("AWS::EC2::VPC", "CidrBlock"): "network.cidr",
    ("AWS::EC2::Instance", "InstanceType"): "head_node.instance_type",
    ("AWS::EC2::Instance", "ImageId"): "pcs.ami_id",
    ("AWS::EC2::Instance", "BlockDeviceMappings[0].Ebs.VolumeSize"): "head_node.root_volume_gib",
    ("AWS::EC2::Volume", "Size"): "head_node.cryosparc_volume_gib",
    ("AWS::PCS::Cluster", "Scheduler.Version"): "pcs.slurm_version",
    ("AWS::PCS::Cluster", "SlurmConfiguration.ScaleDownIdleTimeInSeconds"): "idle_backstop_minutes",
    ("AWS::PCS::ComputeNodeGroup", "AmiId"): "pcs.ami_id",
    ("AWS::Budgets::Budget", "Budget.BudgetLimit.Amount"): "budget.monthly_usd",
    ("AWS::Budgets::BudgetsAction", "ApprovalModel"): "budget.at_limit.approval",
    ("AWS::DataSync::Task", "Schedule.ScheduleExpression"): "microscopes schedule",
    ("AWS::DataSync::Task", "TaskMode"): "microscopes task_mode",
    ("AWS::DataSync::Task", "Options.BytesPerSecond"): "microscopes bandwidth_limit_mibps",
}
# The manifest has more of a lane; what is not here is a property of the engine's as well.
_MANIFEST: Final[Mapping[str, str]] = {
    "hold_minutes": "hold_minutes",
    "memory_multiplier": "memory_multiplier",
    "cache_gb": "particle_cache",
}
_NODE_GROUP: Final[Mapping[str, str]] = {
    "ScalingConfiguration.MaxInstanceCount": "max_nodes",
    "ScalingConfiguration.MinInstanceCount": "max_nodes",
    "InstanceConfigs": "instance_types",
    "PurchaseOption": "capacity",
    "SlurmConfiguration.ScaleDownIdleTimeInSeconds": "hold_minutes",
}


def setting_of(path: str) -> str:
    """The setting behind a property of ParallelCluster's configuration; empty if there is no clear one."""
    for pattern, setting in _CLUSTER.items():
        match = re.fullmatch(pattern, path)
        if match:
            return setting.format(**match.groupdict())
    return ""


def setting_of_resource(kind: str, path: str, *, lane: str = "") -> str:
    """The setting behind a property of a CloudFormation resource; empty if there is no clear one."""
    if kind == "AWS::SSM::Parameter":
        match = re.fullmatch(r"Value\.lanes\[([^\]]+)\](?:\.(\w+))?", path)
        if match and match[2] in (None, *_MANIFEST):
            return f"lanes {match[1]}" + (f".{_MANIFEST[match[2]]}" if match[2] else "")
    if kind == "AWS::PCS::ComputeNodeGroup" and lane:
        for prefix, setting in _NODE_GROUP.items():
            if path == prefix or path.startswith((f"{prefix}.", f"{prefix}[")):
                return f"lanes {lane}.{setting}"
    return _RESOURCES.get((kind, path), "")
