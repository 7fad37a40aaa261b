"""The generated ClusterConfiguration, as plain data."""

from __future__ import annotations

from typing import Any

import pytest

from cdk_cryoem import Capacity, ClusterInputs, HeadNode, Lane, cluster_configuration, default_lanes

INPUTS = ClusterInputs(
    region="eu-west-1",
    operating_system="ubuntu2204",
    subnet_id="subnet-head",
    compute_subnet_id="subnet-compute",
    client_security_group_id="sg-clients",
    file_system_id="fs-1",
    policy_arn="arn:policy",
    session_manager_policy_arn="arn:ssm",
    trampoline_url="s3://assets/trampoline.sh",
    setup_parameter="setup",
    node_policy_arn="arn:aws:iam::111122223333:policy/parallelcluster-cryoem-node",
    node_script_url="s3://cryoem-assets-111122223333/prepare-node.sh",
    tags={"cryoem:cluster": "cryoem"},
)


def configuration(*lanes: Lane, head_node: HeadNode | None = None) -> dict[str, Any]:
    return cluster_configuration(lanes=lanes or default_lanes(), head_node=head_node or HeadNode(), inputs=INPUTS)


def queue(lane: Lane) -> dict[str, Any]:
    (only,) = configuration(lane)["Scheduling"]["SlurmQueues"]
    assert isinstance(only, dict)
    return only


def settings(found: dict[str, Any]) -> dict[str, str]:
    merged: dict[str, str] = {}
    for entry in found["Scheduling"]["SlurmSettings"]["CustomSlurmSettings"]:
        merged |= entry
    return merged


def test_every_lane_is_a_queue_in_its_order() -> None:
    queues = configuration()["Scheduling"]["SlurmQueues"]
    assert [found["Name"] for found in queues] == [lane.name for lane in default_lanes()]


def test_no_node_exists_without_a_job() -> None:
    for lane, found in zip(default_lanes(), configuration()["Scheduling"]["SlurmQueues"], strict=True):
        (resource,) = found["ComputeResources"]
        assert (resource["MinCount"], resource["MaxCount"]) == (0, lane.max_nodes)
        assert [entry["InstanceType"] for entry in resource["Instances"]] == list(lane.instance_types)


@pytest.mark.parametrize(
    ("capacity", "kind", "strategy"),
    [(Capacity.ON_DEMAND, "ONDEMAND", "prioritized"), (Capacity.SPOT, "SPOT", "price-capacity-optimized")],
)
def test_capacity(capacity: Capacity, kind: str, strategy: str) -> None:
    found = queue(Lane(name="a", instance_types=["g5.4xlarge"], gpus=1, capacity=capacity))
    assert (found["CapacityType"], found["AllocationStrategy"]) == (kind, strategy)


def test_a_job_is_stopped_at_the_lanes_time_limit() -> None:
    found = queue(Lane(name="a", instance_types=["m6i.8xlarge"], time_limit_hours=1.5))
    assert found["CustomSlurmSettings"] == {"MaxTime": "90", "DefaultTime": "90"}


def test_nvme_is_mounted_where_every_type_has_it() -> None:
    with_nvme = queue(Lane(name="a", instance_types=["g5.4xlarge"], gpus=1))
    without = queue(Lane(name="a", instance_types=["m6i.8xlarge", "m6id.8xlarge"]))
    assert with_nvme["ComputeSettings"]["LocalStorage"]["EphemeralVolume"] == {"MountDir": "/scratch"}
    assert "EphemeralVolume" not in without["ComputeSettings"]["LocalStorage"]


def test_all_volumes_are_encrypted() -> None:
    found = configuration()
    volumes = [q["ComputeSettings"]["LocalStorage"]["RootVolume"] for q in found["Scheduling"]["SlurmQueues"]]
    volumes.append(found["HeadNode"]["LocalStorage"]["RootVolume"])
    volumes += [s["EbsSettings"] for s in found["SharedStorage"] if s["StorageType"] == "Ebs"]
    assert len(volumes) == len(default_lanes()) + 2
    assert all(volume["Encrypted"] is True for volume in volumes)


def test_the_file_system_is_mounted_and_not_made_and_the_database_is_retained() -> None:
    lustre, database = configuration(head_node=HeadNode(cryosparc_volume_gib=333))["SharedStorage"]
    assert lustre["FsxLustreSettings"] == {"FileSystemId": "fs-1"}
    assert lustre["MountDir"] == "/fsx"
    assert (database["EbsSettings"]["Size"], database["EbsSettings"]["DeletionPolicy"]) == (333, "Retain")


def test_the_head_node_is_private_and_as_large_as_asked() -> None:
    head = configuration(head_node=HeadNode(instance_type="m7i.2xlarge", root_volume_gib=77))["HeadNode"]
    assert head["InstanceType"] == "m7i.2xlarge"
    assert head["LocalStorage"]["RootVolume"]["Size"] == 77
    assert head["Networking"] == {"SubnetId": "subnet-head", "AdditionalSecurityGroups": ["sg-clients"]}
    assert "Ssh" not in head


def test_the_head_node_installs_before_slurm_starts_and_configures_after() -> None:
    actions = configuration()["HeadNode"]["CustomActions"]
    assert actions == {
        "OnNodeStart": {"Script": "s3://assets/trampoline.sh", "Args": ["install", "setup"]},
        "OnNodeConfigured": {"Script": "s3://assets/trampoline.sh", "Args": ["configure", "setup"]},
    }


def test_the_bootstrap_ends_long_before_cloudformation_gives_up() -> None:
    assert configuration()["DevSettings"]["Timeouts"]["HeadNodeBootstrapTimeout"] <= 1800


def test_job_completion_goes_through_our_script_and_memory_is_scheduled() -> None:
    found = configuration()
    assert settings(found) == {
        "JobCompType": "jobcomp/script",
        "JobCompLoc": "/opt/cryoem/bin/job-completion",
        "PrologSlurmctld": "/opt/cryoem/bin/wait-for-nodes",
    }
    assert found["Scheduling"]["SlurmSettings"]["EnableMemoryBasedScheduling"] is True


def test_the_idle_backstop_is_the_clusters_own_and_never_follows_a_lane() -> None:
    """To change it the fleet must be stopped, so a lane's hold time must not move it."""
    held = Lane(name="l", instance_types=["m6i.8xlarge"], hold_minutes=9)
    assert configuration(held)["Scheduling"]["SlurmSettings"]["ScaledownIdletime"] == 10


def test_a_configuration_without_lanes_is_still_data() -> None:
    found = cluster_configuration(lanes=[], head_node=HeadNode(), inputs=INPUTS)
    assert found["Scheduling"]["SlurmQueues"] == []  # type: ignore[index]


def test_metadata_is_version_two_and_guarded() -> None:
    found = configuration()
    assert found["Imds"] == {"ImdsSupport": "v2.0"}
    assert found["HeadNode"]["Imds"] == {"Secured": True}


def test_region_system_and_tags_are_handed_on() -> None:
    found = configuration()
    assert (found["Region"], found["Image"]) == ("eu-west-1", {"Os": "ubuntu2204"})
    assert found["Tags"] == [{"Key": "cryoem:cluster", "Value": "cryoem"}]
