"""What a PCS cluster needs around it, in the form of ids that AWS gives, and ways to look at what it makes."""

from __future__ import annotations

from typing import Any

from aws_cdk import Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk.assertions import Template

from cdk_cryoem import ILustreStore, LustreStore, default_lanes

AMI = "ami-0a1b2c3d4e5f60718"
MOUNT = "fs-0a1b2c3d4e5f60718.fsx.eu-west-1.amazonaws.com@tcp:/abcdefgh"


def parts(stack: Stack) -> dict[str, Any]:
    """What has no default: network, lanes, file system, image."""
    vpc = ec2.Vpc.from_vpc_attributes(
        stack, "Vpc", vpc_id="vpc-1", availability_zones=["eu-west-1a"], private_subnet_ids=["subnet-1"]
    )
    store: ILustreStore = LustreStore.from_lustre_store_attributes(
        file_system_id="fs-1",
        client_security_group=ec2.SecurityGroup.from_security_group_id(stack, "Clients", "sg-clients"),
        mount_source=MOUNT,
    )
    return {
        "vpc": vpc,
        "subnet": vpc.private_subnets[0],
        "file_system": store,
        "lanes": default_lanes(),
        "ami_id": AMI,
    }


def properties(template: Template, kind: str) -> dict[str, dict[str, Any]]:
    """Properties of all resources of a type, by logical id."""
    return {name: found["Properties"] for name, found in template.find_resources(kind).items()}


def one(template: Template, kind: str, beginning: str = "") -> dict[str, Any]:
    """Properties of the one resource of a type whose logical id begins so."""
    (found,) = [made for name, made in properties(template, kind).items() if name.startswith(beginning)]
    return found


def statements(template: Template, role: str) -> list[dict[str, Any]]:
    """Statements of the default policy of the role whose logical id begins so."""
    return list(one(template, "AWS::IAM::Policy", role)["PolicyDocument"]["Statement"])


def settings(found: dict[str, Any]) -> dict[str, str]:
    """Slurm's custom settings of a cluster, a node group or a queue."""
    return {
        entry["ParameterName"]: entry["ParameterValue"] for entry in found["SlurmConfiguration"]["SlurmCustomSettings"]
    }
