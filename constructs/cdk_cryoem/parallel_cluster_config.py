"""The ClusterConfiguration that ParallelCluster gets, made from the lanes.

Pure: values in, a dictionary out. Only what ParallelCluster 3.16's own schema and validators accept; what they are known
to miss (an idle time of 0, a bootstrap above CloudFormation's hour) is never generated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .lane import Capacity, Lane

COMPUTE_RESOURCE = "nodes"
"""Every queue has one compute resource of this name, so nodes are called LANE-dy-nodes-1 and so on."""
HOME = "/opt/cryoem"
"""Where the head node's own scripts live."""
FSX_MOUNT = "/fsx"
SCRATCH_MOUNT = "/scratch"
CRYOSPARC_MOUNT = "/cryosparc"
# CloudFormation ends a custom resource after an hour; ParallelCluster needs some of it for itself.
_HEAD_NODE_BOOTSTRAP_SECONDS = 1800
_NODE_ROOT_VOLUME_GIB = 60
_CAPACITY_TYPES = {
    Capacity.ON_DEMAND: "ONDEMAND",
    Capacity.SPOT: "SPOT",
    Capacity.CAPACITY_BLOCK: "CAPACITY_BLOCK",
}
# People come by Session Manager. ParallelCluster cannot leave the rule of port 22 away, and without a value opens it to all.
_SSH_FROM = "127.0.0.1/32"
_ALLOCATION_STRATEGIES = {Capacity.ON_DEMAND: "prioritized", Capacity.SPOT: "price-capacity-optimized"}


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadNode:
    """The small, always-private instance with the Slurm controller, the cryoSPARC master and RELION.

    instance_type: default m7i.xlarge, cryoSPARC's minimum of 4 vCPUs and 16 GB (0.20 USD an hour).
    root_volume_gib: default 100. cryosparc_volume_gib: the retained volume for cryoSPARC's database, default 200.
    remote_desktop_from: addresses (CIDR) that may open a DCV desktop on it, for RELION's windows. Default: nobody. The head
        node has no public address, so they reach it through a VPN or the like. ParallelCluster only.
    """

    instance_type: str = "m7i.xlarge"
    root_volume_gib: int = 100
    cryosparc_volume_gib: int = 200
    remote_desktop_from: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterInputs:
    """What the configuration needs to know from outside the lanes; every string may be a CDK token."""

    region: str
    operating_system: str
    subnet_id: str
    compute_subnet_id: str
    client_security_group_id: str
    file_system_id: str
    policy_arn: str
    session_manager_policy_arn: str
    node_policy_arn: str
    trampoline_url: str
    setup_parameter: str
    node_script_url: str
    tags: Mapping[str, str]
    log_retention_days: int = 180
    permissions_boundary_arn: str | None = None
    head_node_security_group_ids: Sequence[str] = ()


def cluster_configuration(
    *, lanes: Sequence[Lane], head_node: HeadNode, inputs: ClusterInputs, idle_backstop_minutes: int = 10
) -> dict[str, object]:
    """The whole ClusterConfiguration."""
    configuration: dict[str, object] = {
        "Region": inputs.region,
        "Image": {"Os": inputs.operating_system},
        "Imds": {"ImdsSupport": "v2.0"},
        "HeadNode": _head_node(head_node, inputs),
        "Scheduling": {
            "Scheduler": "slurm",
            "SlurmSettings": {
                # A backstop behind the hooks. The queue-aware hook and its sweeper act long before.
                "ScaledownIdletime": idle_backstop_minutes,
                # What runs on a lane that changes ends first; without it such a change needs a stopped fleet.
                "QueueUpdateStrategy": "DRAIN",
                "EnableMemoryBasedScheduling": True,
                "CustomSlurmSettings": [
                    {"JobCompType": "jobcomp/script"},
                    {"JobCompLoc": f"{HOME}/bin/job-completion"},
                    # Without it a batch job on a node that has just booted waits for slurmctld's 30-second timer.
                    {"PrologSlurmctld": f"{HOME}/bin/wait-for-nodes"},
                ],
            },
            "SlurmQueues": [_queue(lane, inputs) for lane in lanes],
        },
        "SharedStorage": [
            {
                "MountDir": FSX_MOUNT,
                "Name": "fsx",
                "StorageType": "FsxLustre",
                "FsxLustreSettings": {"FileSystemId": inputs.file_system_id},
            },
            {
                "MountDir": CRYOSPARC_MOUNT,
                "Name": "cryosparc",
                "StorageType": "Ebs",
                "EbsSettings": {
                    "VolumeType": "gp3",
                    "Size": head_node.cryosparc_volume_gib,
                    "Encrypted": True,
                    "DeletionPolicy": "Retain",
                },
            },
        ],
        "Monitoring": {
            "Logs": {
                "CloudWatch": {
                    "Enabled": True,
                    "RetentionInDays": inputs.log_retention_days,
                    "DeletionPolicy": "Retain",
                }
            },
            # With the dashboard come the metrics of nodes that fail to boot, which alarms watch.
            "Dashboards": {"CloudWatch": {"Enabled": True}},
        },
        "DevSettings": {"Timeouts": {"HeadNodeBootstrapTimeout": _HEAD_NODE_BOOTSTRAP_SECONDS}},
        "Tags": [{"Key": key, "Value": value} for key, value in inputs.tags.items()],
    }
    if inputs.permissions_boundary_arn is not None:
        configuration["Iam"] = {"PermissionsBoundary": inputs.permissions_boundary_arn}
    return configuration


def _head_node(head_node: HeadNode, inputs: ClusterInputs) -> dict[str, object]:
    def script(phase: str) -> dict[str, object]:
        return {"Script": inputs.trampoline_url, "Args": [phase, inputs.setup_parameter]}

    desktop = head_node.remote_desktop_from
    return {
        **({"Dcv": {"Enabled": True, "AllowedIps": desktop}} if desktop else {}),
        "InstanceType": head_node.instance_type,
        "Networking": {
            "SubnetId": inputs.subnet_id,
            "AdditionalSecurityGroups": [inputs.client_security_group_id, *inputs.head_node_security_group_ids],
        },
        "Ssh": {"AllowedIps": _SSH_FROM},
        "Imds": {"Secured": True},
        "LocalStorage": {"RootVolume": {"Size": head_node.root_volume_gib, "VolumeType": "gp3", "Encrypted": True}},
        "Iam": {
            "AdditionalIamPolicies": [{"Policy": inputs.policy_arn}, {"Policy": inputs.session_manager_policy_arn}]
        },
        # The first runs before slurmctld starts, which wants its job-completion script to exist by then.
        "CustomActions": {"OnNodeStart": script("install"), "OnNodeConfigured": script("configure")},
    }


def _queue(lane: Lane, inputs: ClusterInputs) -> dict[str, object]:
    minutes = round(lane.time_limit_hours * 60)
    networking: dict[str, object] = {
        "SubnetIds": [inputs.compute_subnet_id],
        "AdditionalSecurityGroups": [inputs.client_security_group_id],
    }
    if lane.capacity_reservation_id is None and lane.has_spread_jobs:
        networking["PlacementGroup"] = {"Enabled": True}
    elif lane.capacity is Capacity.ON_DEMAND and lane.has_efa:
        # A reservation has its place already, and EC2 finds none of it in another group. With EFA that must be said.
        networking["PlacementGroup"] = {"Enabled": False}
    queue: dict[str, object] = {
        "Name": lane.partition,
        "CapacityType": _CAPACITY_TYPES[lane.capacity],
        "CustomSlurmSettings": {"MaxTime": str(minutes), "DefaultTime": str(minutes)},
        "Networking": networking,
        "ComputeResources": [_compute_resource(lane)],
        "ComputeSettings": {"LocalStorage": _local_storage(lane)},
        # Before each job it would cost minutes of GPU time (dcgmi -r 2); prepare-node.sh looks once, when a node boots.
        "HealthChecks": {"Gpu": {"Enabled": False}},
        "CustomActions": {
            "OnNodeConfigured": {
                "Script": inputs.node_script_url,
                "Args": [str(lane.gpus), SCRATCH_MOUNT if lane.nvme_gb else "none"],
            }
        },
        "Iam": {
            "AdditionalIamPolicies": [{"Policy": inputs.node_policy_arn}, {"Policy": inputs.session_manager_policy_arn}]
        },
    }
    strategy = _ALLOCATION_STRATEGIES.get(lane.capacity)
    if strategy and not lane.capacity_reservation_id:
        queue["AllocationStrategy"] = strategy
    return queue


def _compute_resource(lane: Lane) -> dict[str, object]:
    resource: dict[str, object] = {
        "Name": COMPUTE_RESOURCE,
        # A Capacity Block is paid for as a whole, so its nodes are there as long as it is.
        "MinCount": lane.max_nodes if lane.capacity is Capacity.CAPACITY_BLOCK else 0,
        "MaxCount": lane.max_nodes,
    }
    if lane.capacity_reservation_id:
        # ParallelCluster takes no reservation for a list of instance types.
        resource["InstanceType"] = lane.instance_types[0]
        resource["CapacityReservationTarget"] = {"CapacityReservationId": lane.capacity_reservation_id}
    else:
        resource["Instances"] = [{"InstanceType": instance_type} for instance_type in lane.instance_types]
    if lane.has_efa:
        resource["Efa"] = {"Enabled": True}
    return resource


def _local_storage(lane: Lane) -> dict[str, object]:
    storage: dict[str, object] = {"RootVolume": {"Size": _NODE_ROOT_VOLUME_GIB, "Encrypted": True, "VolumeType": "gp3"}}
    # ParallelCluster says nothing when a type has no local disk; the mount would just be missing.
    return storage | {"EphemeralVolume": {"MountDir": SCRATCH_MOUNT}} if lane.nvme_gb else storage
