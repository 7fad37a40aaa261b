"""The generated ClusterConfiguration, as plain data."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from cluster_inputs import BOUNDARY, INPUTS, REGION, RESERVATION

from cdk_cryoem import Capacity, HeadNode, Lane, cluster_configuration, default_lanes


def configuration(*lanes: Lane, head_node: HeadNode | None = None, **inputs: Any) -> dict[str, Any]:
    return cluster_configuration(
        lanes=lanes or default_lanes(),
        head_node=head_node or HeadNode(),
        inputs=dataclasses.replace(INPUTS, **inputs),
    )


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


def block(**changes: Any) -> Lane:
    values: dict[str, Any] = {
        "name": "block", "instance_types": ["p5.48xlarge"], "gpus": 8, "max_nodes": 3,
        "capacity": Capacity.CAPACITY_BLOCK, "capacity_reservation_id": RESERVATION,
    }  # fmt: skip
    return Lane(**{**values, **changes})


def test_a_reservation_is_for_one_type_and_has_no_strategy() -> None:
    """ParallelCluster refuses one beside a list of types."""
    found = queue(Lane(name="a", instance_types=["g5.4xlarge"], gpus=1, capacity_reservation_id=RESERVATION))
    (resource,) = found["ComputeResources"]
    assert resource["InstanceType"] == "g5.4xlarge"
    assert resource["CapacityReservationTarget"] == {"CapacityReservationId": RESERVATION}
    assert "Instances" not in resource
    assert (found["CapacityType"], resource["MinCount"]) == ("ONDEMAND", 0)
    assert "AllocationStrategy" not in found
    assert "PlacementGroup" not in found["Networking"]


def test_a_capacity_blocks_nodes_are_there_as_long_as_it_is() -> None:
    found = queue(block())
    (resource,) = found["ComputeResources"]
    assert found["CapacityType"] == "CAPACITY_BLOCK"
    assert (resource["MinCount"], resource["MaxCount"]) == (3, 3)
    assert "AllocationStrategy" not in found


def test_lanes_without_a_reservation_name_none() -> None:
    for found in configuration()["Scheduling"]["SlurmQueues"]:
        (resource,) = found["ComputeResources"]
        assert not {"CapacityReservationTarget", "InstanceType", "Efa"} & set(resource)
        assert "PlacementGroup" not in found["Networking"]


def test_spread_jobs_get_nodes_that_are_close_together_and_an_adapter_where_there_is_one() -> None:
    with_adapter = queue(Lane(name="a", instance_types=["g5.48xlarge", "g6e.48xlarge"], gpus=8, nodes_per_job=2))
    without = queue(Lane(name="a", instance_types=["m6i.8xlarge"], nodes_per_job=2))
    assert with_adapter["ComputeResources"][0]["Efa"] == {"Enabled": True}
    assert "Efa" not in without["ComputeResources"][0]
    for found in (with_adapter, without):
        assert found["Networking"]["PlacementGroup"] == {"Enabled": True}


def test_a_capacity_block_is_close_together_by_itself() -> None:
    found = queue(block(nodes_per_job=2))
    assert found["ComputeResources"][0]["Efa"] == {"Enabled": True}
    assert "PlacementGroup" not in found["Networking"]


def test_a_reservations_nodes_are_where_it_is() -> None:
    """In a placement group of another name EC2 finds none of a reservation, and ParallelCluster wants to be told."""
    lane = Lane(
        name="a", instance_types=["g5.48xlarge"], gpus=8, nodes_per_job=2, capacity_reservation_id=RESERVATION
    )  # fmt: skip
    assert queue(lane)["Networking"]["PlacementGroup"] == {"Enabled": False}
    without_adapter = dataclasses.replace(lane, instance_types=["m6i.8xlarge"], gpus=0)
    assert "PlacementGroup" not in queue(without_adapter)["Networking"]


@pytest.mark.parametrize(
    ("lane", "arguments"),
    [
        (Lane(name="a", instance_types=["g5.12xlarge"], gpus=4), ["4", "/scratch"]),
        (Lane(name="a", instance_types=["g5.12xlarge"], gpus=4, particle_cache=False), ["4", "/scratch"]),
        (Lane(name="a", instance_types=["m6i.8xlarge"]), ["0", "none"]),
        (Lane(name="a", instance_types=["m6id.8xlarge"]), ["0", "/scratch"]),
    ],
)
def test_every_node_is_prepared_before_it_takes_jobs(lane: Lane, arguments: list[str]) -> None:
    actions = queue(lane)["CustomActions"]
    assert actions == {"OnNodeConfigured": {"Script": INPUTS.node_script_url, "Args": arguments}}


def test_every_node_may_read_its_script_and_can_be_reached() -> None:
    for found in configuration()["Scheduling"]["SlurmQueues"]:
        assert [entry["Policy"] for entry in found["Iam"]["AdditionalIamPolicies"]] == [
            INPUTS.node_policy_arn,
            INPUTS.session_manager_policy_arn,
        ]


def test_gpus_are_counted_by_our_script_and_not_before_every_job() -> None:
    for found in configuration()["Scheduling"]["SlurmQueues"]:
        assert found["HealthChecks"] == {"Gpu": {"Enabled": False}}


def test_lanes_change_without_a_stopped_fleet() -> None:
    assert configuration()["Scheduling"]["SlurmSettings"]["QueueUpdateStrategy"] == "DRAIN"


def test_logs_are_kept_for_so_long_and_outlive_the_cluster() -> None:
    for days in (180, 3653):
        monitoring = configuration(log_retention_days=days)["Monitoring"]
        assert monitoring["Logs"] == {
            "CloudWatch": {"Enabled": True, "RetentionInDays": days, "DeletionPolicy": "Retain"}
        }  # fmt: skip


def test_the_dashboard_is_on_because_the_metrics_of_failed_nodes_come_with_it() -> None:
    assert configuration()["Monitoring"]["Dashboards"] == {"CloudWatch": {"Enabled": True}}


def test_nobody_opens_a_desktop_unless_a_network_is_named() -> None:
    assert "Dcv" not in configuration()["HeadNode"]
    opened = configuration(head_node=HeadNode(remote_desktop_from="10.1.0.0/16"))["HeadNode"]
    assert opened["Dcv"] == {"Enabled": True, "AllowedIps": "10.1.0.0/16"}


def test_a_boundary_is_on_every_role_or_is_not_mentioned() -> None:
    assert "Iam" not in configuration()
    assert configuration(permissions_boundary_arn=BOUNDARY)["Iam"] == {"PermissionsBoundary": BOUNDARY}


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
    assert lustre["FsxLustreSettings"] == {"FileSystemId": INPUTS.file_system_id}
    assert lustre["MountDir"] == "/fsx"
    assert (database["EbsSettings"]["Size"], database["EbsSettings"]["DeletionPolicy"]) == (333, "Retain")


def test_the_head_node_is_private_and_as_large_as_asked() -> None:
    head = configuration(head_node=HeadNode(instance_type="m7i.2xlarge", root_volume_gib=77))["HeadNode"]
    assert head["InstanceType"] == "m7i.2xlarge"
    assert head["LocalStorage"]["RootVolume"]["Size"] == 77
    assert head["Networking"] == {
        "SubnetId": INPUTS.subnet_id,
        "AdditionalSecurityGroups": [INPUTS.client_security_group_id],
    }
    assert head["Ssh"] == {"AllowedIps": "127.0.0.1/32"}, "no key, and nobody: without a value the port is open to all"


def test_the_head_node_alone_gets_more_security_groups() -> None:
    found = configuration(head_node_security_group_ids=["sg-1", "sg-2"])
    groups = found["HeadNode"]["Networking"]["AdditionalSecurityGroups"]
    assert groups == [INPUTS.client_security_group_id, "sg-1", "sg-2"]
    assert str(found).count("sg-1") == 1


def test_the_head_node_installs_before_slurm_starts_and_configures_after() -> None:
    actions = configuration()["HeadNode"]["CustomActions"]
    assert actions == {
        "OnNodeStart": {"Script": INPUTS.trampoline_url, "Args": ["install", INPUTS.setup_parameter]},
        "OnNodeConfigured": {"Script": INPUTS.trampoline_url, "Args": ["configure", INPUTS.setup_parameter]},
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
    longer = cluster_configuration(lanes=[held], head_node=HeadNode(), inputs=INPUTS, idle_backstop_minutes=60)
    assert longer["Scheduling"]["SlurmSettings"]["ScaledownIdletime"] == 60  # type: ignore[index]


def test_a_configuration_without_lanes_is_still_data() -> None:
    found = cluster_configuration(lanes=[], head_node=HeadNode(), inputs=INPUTS)
    assert found["Scheduling"]["SlurmQueues"] == []  # type: ignore[index]


def test_metadata_is_version_two_and_guarded() -> None:
    found = configuration()
    assert found["Imds"] == {"ImdsSupport": "v2.0"}
    assert found["HeadNode"]["Imds"] == {"Secured": True}


def test_region_system_and_tags_are_handed_on() -> None:
    found = configuration()
    assert (found["Region"], found["Image"]) == (REGION, {"Os": "ubuntu2204"})
    assert found["Tags"] == [{"Key": "cryoem:cluster", "Value": "cryoem"}]
