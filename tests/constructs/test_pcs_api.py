"""Everything that is given to PCS, held to the API's own model as botocore ships it: names, lengths, patterns, values."""

from __future__ import annotations

import re
from typing import Any

import botocore.session
import pytest
from aws_cdk import App, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk.assertions import Template

from cdk_cryoem import Capacity, CryoEmError, Lane, LustreStore, Pcs, default_lanes

_MODEL = botocore.session.get_session().get_service_model("pcs")
# What CloudFormation calls otherwise than the API.
_RENAMED = {
    "CreateCluster": {"Name": "clusterName", "Id": "id"},
    "CreateComputeNodeGroup": {"Name": "computeNodeGroupName", "ClusterId": "clusterIdentifier", "TemplateId": "id"},
    "CreateQueue": {"Name": "queueName", "ClusterId": "clusterIdentifier"},
}
_WITHIN_LISTS = {"Name": "name"}
LANES = (
    *default_lanes(),
    Lane(name="g" * 25, instance_types=["g6.xlarge"], gpus=1, capacity=Capacity.SPOT),
    Lane(name="mpi", instance_types=["c6i.32xlarge"], nodes_per_job=2),
    Lane(
        name="block",
        instance_types=["p5.48xlarge"],
        gpus=8,
        max_nodes=1,
        capacity=Capacity.CAPACITY_BLOCK,
        capacity_reservation_id="cr-0a1b2c3d4e5f60718",
        time_limit_hours=0.1,
    ),
)


def template(*lanes: Lane) -> Template:
    stack = Stack(App(), "S")
    vpc = ec2.Vpc(stack, "Vpc", max_azs=1)
    Pcs(
        stack,
        "Pcs",
        vpc=vpc,
        subnet=vpc.private_subnets[0],
        lanes=lanes,
        file_system=LustreStore.from_lustre_store_attributes(
            file_system_id="fs-0a1b2c3d4e5f60718",
            client_security_group=ec2.SecurityGroup(stack, "Clients", vpc=vpc),
            mount_source="fs-0a1b2c3d4e5f60718.fsx.us-east-1.amazonaws.com@tcp:/abcdefgh",
        ),
        ami_id="ami-0a1b2c3d4e5f60718",
        tags={"project": "x"},
    )
    return Template.from_stack(stack)


def violations(value: Any, shape: Any, where: str, names: dict[str, str]) -> list[str]:
    """Where a value is not what the API takes. What is known only at deployment is passed over."""
    if isinstance(value, dict) and any(key == "Ref" or key.startswith("Fn::") for key in value):
        return []
    if shape.type_name == "structure":
        given = {names.get(key, key[0].lower() + key[1:]): each for key, each in value.items()}
        missing = [f"{where}: no {name}" for name in shape.required_members if name not in given]
        unknown = [f"{where}.{name}: unknown" for name in given if name not in shape.members]
        inner = [
            line
            for name, each in given.items()
            if name in shape.members
            for line in violations(each, shape.members[name], f"{where}.{name}", names)
        ]
        return [*(line for line in missing if "clientToken" not in line), *unknown, *inner]
    if shape.type_name == "list":
        size = [f"{where}: {len(value)} of them"] if not fits(len(value), shape.metadata) else []
        return size + [
            line
            for number, each in enumerate(value)
            for line in violations(each, shape.member, f"{where}[{number}]", names | _WITHIN_LISTS)
        ]
    if shape.type_name == "string":
        text, metadata = str(value), shape.metadata
        if not fits(len(text), metadata):
            return [f"{where}: {text!r} has {len(text)} characters, allowed {metadata}"]
        if "pattern" in metadata and not re.fullmatch(metadata["pattern"], text):
            return [f"{where}: {text!r} is not {metadata['pattern']}"]
        if metadata.get("enum") and text not in metadata["enum"]:
            return [f"{where}: {text!r} is none of {metadata['enum']}"]
    if shape.type_name in ("integer", "long") and not fits(int(value), shape.metadata):
        return [f"{where}: {value}, allowed {shape.metadata}"]
    return []


def fits(number: int, metadata: dict[str, Any]) -> bool:
    return bool(metadata.get("min", number) <= number <= metadata.get("max", number))


@pytest.mark.parametrize("operation", _RENAMED)
def test_what_is_created_is_what_the_api_takes(operation: str) -> None:
    resources = template(*LANES).find_resources(f"AWS::PCS::{operation.removeprefix('Create')}")
    assert resources
    names = _RENAMED[operation]
    for name, resource in resources.items():
        # CloudFormation makes up the names that are not given.
        found = violations(resource["Properties"], _MODEL.operation_model(operation).input_shape, name, names)
        assert [line for line in found if not line.endswith(("no clusterName", "no computeNodeGroupName"))] == []


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"ClusterId": "pcs_a", "Name": "q1"}, "q.queueName: 'q1' has 2 characters"),
        ({"ClusterId": "pcs_a", "Name": "a_queue"}, "q.queueName: 'a_queue' is not"),
        ({"Name": "queue"}, "q: no clusterIdentifier"),
        ({"ClusterId": "pcs_a", "Name": "queue", "Idle": 3}, "q.idle: unknown"),
    ],
)
def test_the_check_finds_what_is_wrong(value: dict[str, Any], said: str) -> None:
    shape = _MODEL.operation_model("CreateQueue").input_shape
    assert any(line.startswith(said) for line in violations(value, shape, "q", _RENAMED["CreateQueue"]))


def test_a_lane_whose_name_is_too_short_for_a_queue_is_refused() -> None:
    with pytest.raises(CryoEmError, match=r"lane q1\.name: got 'q1', allowed: 3 to 25 characters with PCS"):
        template(Lane(name="q1", instance_types=["g6.xlarge"], gpus=1))
