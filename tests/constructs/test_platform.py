"""Everything together in one stack."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import Size, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk.assertions import Template

from cdk_cryoem import (
    Cap,
    CryoEmError,
    CryoEmPlatform,
    Cryosparc,
    HeadNode,
    LandingZone,
    Lane,
    LustreStore,
    Microscope,
    NfsShare,
    ParallelCluster,
    RecordsTable,
    Waiting,
    WorkingHours,
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
        ("AWS::S3::Bucket", 6), ("AWS::FSx::FileSystem", 2), ("Custom::PclusterCluster", 2), ("AWS::Lambda::Function", 12),
        ("AWS::DataSync::Task", 0),
    ):  # fmt: skip
        template.resource_count_is(kind, count)


def test_by_default_it_uses_the_first_private_subnet_and_five_lanes(
    twice: tuple[Stack, CryoEmPlatform, Template],
) -> None:
    _, first, template = twice
    template.all_resources_properties("AWS::FSx::FileSystem", {"SubnetIds": ["subnet-a"], "StorageCapacity": 2400})
    assert [lane.name for lane in first.engine.lanes] == ["cpu", "gpu1", "gpu4", "gpu8", "live"]


def test_by_default_the_file_system_is_looked_after_and_nobody_is_written_to(
    twice: tuple[Stack, CryoEmPlatform, Template],
) -> None:
    _, first, template = twice
    assert first.file_system_care is not None
    assert (first.budget, first.notifications) == (None, None)
    free = {"MetricName": "FreeDataStorageCapacity"}
    template.resource_properties_count_is("AWS::CloudWatch::Alarm", free, 4)  # two for each file system
    for kind in ("AWS::Budgets::Budget", "AWS::SNS::Subscription"):
        template.resource_count_is(kind, 0)
    template.resource_count_is("AWS::DynamoDB::Table", 2)


def test_everything_of_the_stacks_can_be_said(new_stack: Callable[[str], Stack], tmp_path: Path) -> None:
    """Twice in one app, so that no name is taken twice either."""
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "live").write_text("#!/bin/sh\n")
    stack = new_stack("Everything")
    vpc = network(stack)

    def platform(name: str) -> CryoEmPlatform:
        return CryoEmPlatform(
            stack,
            name,
            vpc=vpc,
            lanes=[Lane(name="gpu1", instance_types=["g5.4xlarge"], gpus=1)],
            microscopes={"krios": KRIOS},
            provider_service_token=TOKEN,
            head_node=HeadNode(instance_type="m7i.2xlarge"),
            cryosparc=Cryosparc(license=secretsmanager.Secret(stack, f"License{name}")),
            recipes=str(tmp_path / "recipes"),
            stages={"refine": "gpu1"},
            caps=[Cap(name="grant", usd=1000.0)],
            quiet_minutes=60,
            sentinel="DONE",
            recipe="live",
            stop_head_node_after_minutes=45,
            waiting=Waiting(usd_per_hour=5.5),
            awake=WorkingHours(days=["mon"], start="08:00", end="18:00", time_zone="Europe/Berlin"),
            release_after_days=30,
            budget_usd=5000,
            budget_emails=["money@example.org"],
            notification_emails=["people@example.org"],
            notification_job_minutes=5,
        )

    made = [platform("First"), platform("Second")]
    template = Template.from_stack(stack)
    for kind, count in (("AWS::Budgets::Budget", 2), ("AWS::DynamoDB::Table", 2), ("Custom::PclusterCluster", 2)):
        template.resource_count_is(kind, count)
    for hook, variable, value in (
        ("dataset_hook", "QUIET_MINUTES", "60"),
        ("sweeper", "STOP_HEAD_NODE_AFTER_MINUTES", "45"),
        ("dataset_hook", "SENTINEL", "DONE"),
        ("file_system_care", "RELEASE_AFTER_DAYS", "30"),
        ("file_system_care", "RECIPE", "live"),
    ):
        found = variables(template, hook)
        assert [each.get(variable) for each in found] == [value, value], (hook, variable)
    waits = [each["WAITING"] for each in variables(template, "sweeper")]
    assert all("5.5" in str(wait) for wait in waits)
    for address, count in (("money@example.org", 2), ("people@example.org", 2)):
        template.resource_properties_count_is("AWS::SNS::Subscription", {"Endpoint": address}, count)
    for each in made:
        assert each.budget is not None
        assert each.notifications is not None
        assert each.file_system_care is not None
        assert each.records is each.hooks.records
    manifests = [
        p["Properties"]["Value"]
        for name, p in template.find_resources("AWS::SSM::Parameter").items()
        if "LaneManifest" in name
    ]
    assert len(manifests) == 2
    assert all('"grant"' in str(value) for value in manifests)


def variables(template: Template, hook: str) -> list[dict[str, object]]:
    """The environment of each function with this hook's handler."""
    return [
        each["Properties"]["Environment"]["Variables"]
        for each in template.find_resources("AWS::Lambda::Function").values()
        if str(each["Properties"]["Handler"]) == f"cdk_cryoem_lambda.{hook}.handler"
    ]


def test_a_table_of_records_made_elsewhere_is_used(stack: Stack) -> None:
    table = RecordsTable(stack, "Elsewhere").table
    platform = CryoEmPlatform(stack, "Platform", vpc=network(stack), records=table)
    assert platform.hooks.records is table
    Template.from_stack(stack).resource_count_is("AWS::DynamoDB::Table", 1)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"recipe": "live"}, "recipe: got 'live', allowed: nothing without recipes"),
        ({"budget_emails": ["a@example.org"]}, "allowed: nothing without budget_usd"),
        ({"budget_usd": 0, "budget_emails": ["a@example.org"]}, "limit_usd"),
        ({"quiet_minutes": 0}, "quiet_minutes"),
        ({"release_after_days": 0}, "release_after_days"),
        ({"notification_emails": ["nobody"]}, "emails"),
    ],
)
def test_what_it_does_not_take(stack: Stack, given: dict[str, Any], says: str) -> None:
    with pytest.raises(CryoEmError, match=re.escape(says)):
        CryoEmPlatform(stack, "Platform", vpc=network(stack), **given)


def test_a_file_system_that_is_imported_is_not_looked_after(stack: Stack) -> None:
    store = LustreStore.from_lustre_store_attributes(
        file_system_id="fs-own", client_security_group=ec2.SecurityGroup.from_security_group_id(stack, "G", "sg-own")
    )
    made = CryoEmPlatform(stack, "Platform", vpc=network(stack), file_system=store)
    assert made.file_system_care is None
    with pytest.raises(CryoEmError, match="a file_system that is a LustreStore"):
        CryoEmPlatform(stack, "Other", vpc=network2(stack), file_system=store, release_after_days=30)


def network2(stack: Stack) -> ec2.IVpc:
    return ec2.Vpc.from_vpc_attributes(
        stack, "Vpc2", vpc_id="vpc-2", availability_zones=["a", "b"], private_subnet_ids=["subnet-c", "subnet-d"]
    )


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
    with pytest.raises(CryoEmError, match=r"head_node: .*recipes: .*caps: "):
        CryoEmPlatform(
            stack, "Other", vpc=vpc, engine=engine, head_node=HeadNode(), recipes="x", caps=[Cap(name="a", usd=1.0)]
        )


def test_no_lanes_are_not_the_default_lanes(stack: Stack) -> None:
    with pytest.raises(CryoEmError, match="at least one lane"):
        CryoEmPlatform(stack, "Platform", vpc=network(stack), lanes=[])
