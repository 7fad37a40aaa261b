"""Everything together in one stack."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from aws_cdk import Size, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_s3 as s3
from aws_cdk.assertions import Template

from cdk_cryoem import (
    CryoEmError,
    CryoEmPlatform,
    LandingZone,
    Lane,
    LustreStore,
    Microscope,
    NfsShare,
    ParallelCluster,
)

TOKEN = "arn:aws:lambda:eu-west-1:111122223333:function:provider"
KRIOS = Microscope(share=NfsShare(host="10.0.0.5", path="/krios"), activation_key="ABCDE-12345-FGHIJ-67890-KLMNO")


def network(stack: Stack) -> ec2.IVpc:
    return ec2.Vpc.from_vpc_attributes(
        stack, "Vpc", vpc_id="vpc-1", availability_zones=["a", "b"], private_subnet_ids=["subnet-a", "subnet-b"]
    )


@pytest.fixture(scope="module")
def twice(new_stack: Callable[[str], Stack]) -> tuple[Stack, CryoEmPlatform, Template]:
    """Two platforms with nothing said, in one stack."""
    stack = new_stack("Defaults")
    vpc = network(stack)
    first = CryoEmPlatform(stack, "First", vpc=vpc)
    CryoEmPlatform(stack, "Second", vpc=vpc)
    return stack, first, Template.from_stack(stack)


def test_two_platforms_fit_in_one_stack(twice: tuple[Stack, CryoEmPlatform, Template]) -> None:
    template = twice[2]
    for kind, count in (
        ("AWS::S3::Bucket", 6), ("AWS::FSx::FileSystem", 2), ("Custom::PclusterCluster", 2), ("AWS::Lambda::Function", 10),
        ("AWS::DataSync::Task", 0),
    ):  # fmt: skip
        template.resource_count_is(kind, count)


def test_by_default_it_uses_the_first_private_subnet_and_five_lanes(
    twice: tuple[Stack, CryoEmPlatform, Template],
) -> None:
    _, first, template = twice
    template.all_resources_properties("AWS::FSx::FileSystem", {"SubnetIds": ["subnet-a"], "StorageCapacity": 2400})
    assert [lane.name for lane in first.engine.lanes] == ["cpu", "gpu1", "gpu4", "gpu8", "live"]


def test_everything_set(stack: Stack) -> None:
    vpc = network(stack)
    platform = CryoEmPlatform(
        stack,
        "Platform",
        vpc=vpc,
        subnet=vpc.private_subnets[1],
        lanes=[Lane(name="one", instance_types=["m6i.8xlarge"])],
        microscopes={"krios": KRIOS, "talos": KRIOS},
        file_system_capacity=Size.gibibytes(4800),
        provider_service_token=TOKEN,
    )
    template = Template.from_stack(stack)
    template.resource_count_is("AWS::DataSync::Task", 2)
    template.resource_count_is("AWS::CloudFormation::Stack", 0)
    template.has_resource_properties("AWS::FSx::FileSystem", {"SubnetIds": ["subnet-b"], "StorageCapacity": 4800})
    template.has_resource_properties("Custom::PclusterCluster", {"ServiceToken": TOKEN})
    assert sorted(platform.microscopes) == ["krios", "talos"]
    tasks = str(template.find_resources("AWS::Events::Rule"))
    for ingest in platform.microscopes.values():
        assert str(stack.resolve(ingest.task_arn)) in tasks


def test_parts_made_elsewhere_are_used_and_not_made(stack: Stack) -> None:
    vpc = network(stack)
    bucket = s3.Bucket.from_bucket_name
    zone = LandingZone(
        stack, "Zone", landing_bucket=bucket(stack, "L", "own-movies"), results_bucket=bucket(stack, "R", "own-results"),
        access_logs_bucket=bucket(stack, "A", "own-logs"),
    )  # fmt: skip
    store = LustreStore.from_lustre_store_attributes(
        file_system_id="fs-own", client_security_group=ec2.SecurityGroup.from_security_group_id(stack, "G", "sg-own")
    )
    engine = ParallelCluster(
        stack, "Engine", vpc=vpc, subnet=vpc.private_subnets[0], file_system=store, provider_service_token=TOKEN,
        lanes=[Lane(name="one", instance_types=["m6i.8xlarge"])],
    )  # fmt: skip
    platform = CryoEmPlatform(stack, "Platform", vpc=vpc, landing_zone=zone, file_system=store, engine=engine)
    template = Template.from_stack(stack)
    for kind in ("AWS::S3::Bucket", "AWS::FSx::FileSystem", "AWS::EC2::SecurityGroup", "AWS::EC2::VPC"):
        template.resource_count_is(kind, 0)
    template.resource_count_is("Custom::PclusterCluster", 1)
    assert (platform.landing_zone, platform.file_system, platform.engine) == (zone, store, engine)
    template.has_resource_properties(
        "AWS::Events::Rule", {"EventPattern": {"source": ["aws.s3"], "detail": {"bucket": {"name": ["own-movies"]}}}}
    )


def test_an_engine_has_its_own_lanes(stack: Stack) -> None:
    vpc = network(stack)
    store = LustreStore.from_lustre_store_attributes(
        file_system_id="fs-own", client_security_group=ec2.SecurityGroup.from_security_group_id(stack, "G", "sg-own")
    )
    lanes = [Lane(name="one", instance_types=["m6i.8xlarge"])]
    engine = ParallelCluster(stack, "Engine", vpc=vpc, subnet=vpc.private_subnets[0], file_system=store, lanes=lanes)
    with pytest.raises(CryoEmError, match="nothing beside engine"):
        CryoEmPlatform(stack, "Platform", vpc=vpc, engine=engine, lanes=lanes)


def test_no_lanes_are_not_the_default_lanes(stack: Stack) -> None:
    with pytest.raises(CryoEmError, match="at least one lane"):
        CryoEmPlatform(stack, "Platform", vpc=network(stack), lanes=[])
