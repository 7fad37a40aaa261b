"""A lane on PCS: what its nodes are launched from, how many there are, and the queue before them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import Stack
from aws_cdk.assertions import Template
from cluster_inputs import RESERVATION
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from pcs_parts import AMI, MOUNT, one, parts, properties, settings

from cdk_cryoem import Capacity, Lane, Pcs, default_lanes
from cdk_cryoem.parallel_cluster_config import SCRATCH_MOUNT

PREPARE_NODE = Path(__file__).resolve().parents[2] / "constructs" / "cdk_cryoem" / "node" / "prepare-node.sh"
CPU = ("m6i.8xlarge", "m7i.8xlarge")
BLOCK = {"instance_types": ["p5.48xlarge"], "gpus": 8, "capacity": Capacity.CAPACITY_BLOCK}
Build = Callable[..., "Built"]


class Built:
    """One lane's resources."""

    def __init__(self, template: Template, name: str) -> None:
        self.template = template
        beginning = f"ClusterLane{name}"
        self.node_group = one(template, "AWS::PCS::ComputeNodeGroup", beginning)
        self.queue = one(template, "AWS::PCS::Queue", beginning)
        self.launch: dict[str, Any] = one(template, "AWS::EC2::LaunchTemplate", beginning)["LaunchTemplateData"]

    @property
    def script(self) -> dict[str, Any]:
        (found,) = self.node_group["NodeLifecycleActions"]["Stages"]["NodeBootstrapped"]
        assert isinstance(found, dict)
        return found


@pytest.fixture
def build(new_stack: Callable[[str], Stack]) -> Build:
    """A function from a lane's values to its resources; another lane goes before it."""

    def make(**values: Any) -> Built:
        lane = Lane(**{"name": "lane", "instance_types": CPU, **values})
        stack = new_stack("Test")
        Pcs(stack, "Cluster", **{**parts(stack), "lanes": [Lane(name="first", instance_types=CPU), lane]})
        return Built(Template.from_stack(stack), lane.name)

    return make


@pytest.fixture(scope="module")
def template(new_stack: Callable[[str], Stack]) -> Template:
    """The default lanes."""
    stack = new_stack("Defaults")
    Pcs(stack, "Cluster", **parts(stack))
    return Template.from_stack(stack)


def test_a_node_is_private_takes_only_signed_metadata_requests_and_has_an_encrypted_root(template: Template) -> None:
    found = properties(template, "AWS::EC2::LaunchTemplate").values()
    assert len(found) == len(default_lanes())
    for made in found:
        data = made["LaunchTemplateData"]
        assert data["MetadataOptions"] == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}
        assert data["BlockDeviceMappings"] == [
            {
                "DeviceName": "/dev/sda1",
                "Ebs": {"DeleteOnTermination": True, "Encrypted": True, "VolumeSize": 100, "VolumeType": "gp3"},
            }
        ]
        # What the node group says itself. PCS refuses a template that says them too.
        for name in ("ImageId", "InstanceType", "IamInstanceProfile", "UserData", "KeyName"):
            assert name not in data
        assert "AssociatePublicIpAddress" not in json.dumps(data)


def test_a_node_has_the_groups_of_the_cluster_and_of_the_file_system(template: Template) -> None:
    (cluster,) = one(template, "AWS::PCS::Cluster")["Networking"]["SecurityGroupIds"]
    for made in properties(template, "AWS::EC2::LaunchTemplate").values():
        assert made["LaunchTemplateData"]["SecurityGroupIds"] == [cluster, "sg-clients"]
        assert "NetworkInterfaces" not in made["LaunchTemplateData"]


def test_a_node_group_of_the_default_gpu_lane(template: Template) -> None:
    found = dict(one(template, "AWS::PCS::ComputeNodeGroup", "ClusterLanegpu4"))
    lane = next(lane for lane in default_lanes() if lane.name == "gpu4")
    assert found["AmiId"] == AMI
    assert found["SubnetIds"] == ["subnet-1"]
    assert found["InstanceConfigs"] == [{"InstanceType": name} for name in lane.instance_types]
    assert found["ScalingConfiguration"] == {"MinInstanceCount": 0, "MaxInstanceCount": 4}
    assert found["PurchaseOption"] == "ONDEMAND"
    assert "SpotOptions" not in found
    assert found["SlurmConfiguration"]["ScaleDownIdleTimeInSeconds"] == 300
    assert settings(found) == {"RealMemory": str(lane.memory_mib)}
    assert "Name" not in found, "with another instance type PCS makes a new group, and two cannot have one name"


def test_the_node_group_takes_the_launch_templates_newest_version(template: Template) -> None:
    for name, found in properties(template, "AWS::PCS::ComputeNodeGroup").items():
        launch = found["CustomLaunchTemplate"]
        assert launch["TemplateId"]["Ref"].startswith(name.partition("NodeGroup")[0])
        assert launch["Version"] == {"Fn::GetAtt": [launch["TemplateId"]["Ref"], "LatestVersionNumber"]}


def test_the_queue_is_the_partition_and_the_first_one_takes_what_names_none(template: Template) -> None:
    queues = properties(template, "AWS::PCS::Queue")
    assert [queue["Name"] for queue in queues.values()] == [lane.partition for lane in default_lanes()]
    assert [settings(queue).get("Default") for queue in queues.values()] == ["YES", None, None, None, None]
    for name, queue in queues.items():
        (group,) = queue["ComputeNodeGroupConfigurations"]
        node_group, attribute = group["ComputeNodeGroupId"]["Fn::GetAtt"]
        assert (node_group.partition("NodeGroup")[0], attribute) == (name[:-8], "Id"), (
            "the id ends with eight signs of a hash"
        )


@pytest.mark.parametrize(("hours", "minutes"), [(48, "2880"), (0.1, "6"), (1.51, "91"), (720, "43200")])
def test_a_job_that_says_nothing_gets_the_whole_time_and_none_gets_more(
    build: Build, hours: float, minutes: str
) -> None:
    assert settings(build(time_limit_hours=hours).queue) == {"MaxTime": minutes, "DefaultTime": minutes}


def test_a_lane_that_holds_nodes_is_shut_down_by_pcs_later_than_by_the_hooks(build: Build) -> None:
    assert build(hold_minutes=30).node_group["SlurmConfiguration"]["ScaleDownIdleTimeInSeconds"] == 30 * 60 + 300


def test_a_spot_lane(build: Build) -> None:
    made = build(capacity=Capacity.SPOT)
    assert made.node_group["PurchaseOption"] == "SPOT"
    assert made.node_group["SpotOptions"] == {"AllocationStrategy": "price-capacity-optimized"}
    assert made.node_group["ScalingConfiguration"]["MinInstanceCount"] == 0
    assert "InstanceMarketOptions" not in made.launch, "PCS asks for spot itself"


def test_a_reservation_is_in_the_launch_template(build: Build) -> None:
    made = build(instance_types=["m6i.8xlarge"], capacity_reservation_id=RESERVATION)
    assert made.node_group["PurchaseOption"] == "ONDEMAND"
    assert made.launch["CapacityReservationSpecification"] == {
        "CapacityReservationTarget": {"CapacityReservationId": RESERVATION}
    }
    assert "InstanceMarketOptions" not in made.launch


def test_a_capacity_block_is_there_as_a_whole(build: Build) -> None:
    made = build(**BLOCK, capacity_reservation_id=RESERVATION, max_nodes=2)
    assert made.node_group["PurchaseOption"] == "CAPACITY_BLOCK"
    assert made.node_group["ScalingConfiguration"] == {"MinInstanceCount": 2, "MaxInstanceCount": 2}
    assert made.launch["InstanceMarketOptions"] == {"MarketType": "capacity-block"}
    target = made.launch["CapacityReservationSpecification"]["CapacityReservationTarget"]
    assert target == {"CapacityReservationId": RESERVATION}


def test_jobs_over_several_nodes_get_nodes_close_together(build: Build) -> None:
    made = build(nodes_per_job=2)
    group = one(made.template, "AWS::EC2::PlacementGroup")
    assert group["Strategy"] == "cluster"
    (name,) = properties(made.template, "AWS::EC2::PlacementGroup")
    assert made.launch["Placement"] == {"GroupName": {"Ref": name}}


def test_other_lanes_have_no_placement_group(template: Template) -> None:
    template.resource_count_is("AWS::EC2::PlacementGroup", 0)
    assert "Placement" not in json.dumps(properties(template, "AWS::EC2::LaunchTemplate"))


RESERVED: Mapping[str, dict[str, Any]] = {
    "a reservation": {"instance_types": ["m6i.8xlarge"], "capacity_reservation_id": RESERVATION},
    "a block": {**BLOCK, "capacity_reservation_id": RESERVATION},
}


@pytest.mark.parametrize("what", RESERVED)
def test_a_reservations_nodes_are_where_it_is_and_not_asked_into_another_group(build: Build, what: str) -> None:
    made = build(**RESERVED[what], nodes_per_job=2)
    made.template.resource_count_is("AWS::EC2::PlacementGroup", 0)
    assert "Placement" not in made.launch


def test_an_adapter_takes_the_security_groups(build: Build) -> None:
    made = build(instance_types=["g6e.48xlarge"], gpus=8, nodes_per_job=2)
    (interface,) = made.launch["NetworkInterfaces"]
    assert {**interface, "Groups": len(interface["Groups"])} == {
        "DeviceIndex": 0, "NetworkCardIndex": 0, "InterfaceType": "efa", "Groups": 2,
    }  # fmt: skip
    assert interface["Groups"][1] == "sg-clients"
    assert "SecurityGroupIds" not in made.launch, "EC2 takes them in one place only"
    first = one(made.template, "AWS::EC2::LaunchTemplate", "ClusterLanefirst")["LaunchTemplateData"]
    assert "NetworkInterfaces" not in first
    assert len(first["SecurityGroupIds"]) == 2


def test_a_lane_of_one_node_a_job_has_no_adapter_although_its_type_could(build: Build) -> None:
    made = build(instance_types=["g6e.48xlarge"], gpus=8)
    assert "NetworkInterfaces" not in made.launch
    made.template.resource_count_is("AWS::EC2::SecurityGroupEgress", 0)


def test_the_node_script_is_the_file_and_its_checksum_is_the_files(build: Build) -> None:
    script = build().script
    sha256 = hashlib.sha256(PREPARE_NODE.read_bytes()).hexdigest()
    assert script["ScriptSource"]["Checksum"] == sha256
    assert script["ScriptSource"]["ScriptLocation"]["Fn::Sub"].startswith("s3://cdk-")
    assert script["ScriptSource"]["ScriptLocation"]["Fn::Sub"].endswith(".sh")
    assert {name: script[name] for name in ("Name", "OnError", "ExecutionPolicy")} == {
        "Name": "prepare-node", "OnError": "TERMINATE", "ExecutionPolicy": "EVERY_BOOT",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("values", "gpus", "scratch"),
    [
        ({}, "0", "none"),
        ({"instance_types": ["g5.12xlarge"], "gpus": 4}, "4", SCRATCH_MOUNT),
        # The script makes the scratch whether or not cryoSPARC uses it as its cache.
        ({"instance_types": ["g5.12xlarge"], "gpus": 4, "particle_cache": False}, "4", SCRATCH_MOUNT),
    ],
)
def test_the_node_script_is_told_gpus_scratch_and_file_system(
    build: Build, values: dict[str, Any], gpus: str, scratch: str
) -> None:
    assert build(**values).script["Arguments"] == [gpus, scratch, MOUNT]


def test_the_node_script_takes_what_it_is_told() -> None:
    assert "#   prepare-node.sh GPUS SCRATCH [LUSTRE]" in PREPARE_NODE.read_text()


kinds = st.sampled_from(
    [
        {"instance_types": CPU},
        {"instance_types": ("g5.4xlarge", "g6e.4xlarge"), "gpus": 1},
        {"instance_types": ("g6e.48xlarge",), "gpus": 8},
        {**BLOCK, "capacity_reservation_id": RESERVATION},
        {"instance_types": ("m6i.8xlarge",), "capacity_reservation_id": RESERVATION},
        {"instance_types": CPU, "capacity": Capacity.SPOT},
    ]
)


@examples(max_examples=25, deadline=None, derandomize=True, database=None)
@given(kind=kinds, most=st.integers(1, 31), hold=st.integers(0, 1440), spread=st.booleans())
def test_whatever_the_lane_its_parts_agree(
    new_stack: Callable[[str], Stack], kind: dict[str, Any], most: int, hold: int, spread: bool
) -> None:
    lane = Lane(name="lane", max_nodes=most, hold_minutes=hold, nodes_per_job=min(2, most) if spread else 1, **kind)
    stack = new_stack("Test")
    Pcs(stack, "Cluster", **{**parts(stack), "lanes": [lane]})
    made = Built(Template.from_stack(stack), "lane")
    scaling = made.node_group["ScalingConfiguration"]
    always_on = lane.capacity is Capacity.CAPACITY_BLOCK
    assert scaling == {"MinInstanceCount": most if always_on else 0, "MaxInstanceCount": most}
    assert ("Placement" in made.launch) is (lane.has_spread_jobs and not lane.capacity_reservation_id)
    assert ("CapacityReservationSpecification" in made.launch) is (lane.capacity_reservation_id is not None)
    assert ("NetworkInterfaces" in made.launch) is lane.has_efa is ("SecurityGroupIds" not in made.launch)
    assert made.queue["Name"] == "lane"
    assert int(settings(made.node_group)["RealMemory"]) == lane.manifest()["memory_mib"]
