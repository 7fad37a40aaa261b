"""What holds for all resources that the library makes, whatever construct they are of."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aws_cdk import App, CfnResource, Environment, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk.assertions import Template

from cdk_cryoem import (
    CryoEmDashboard,
    CryoEmPlatform,
    Cryosparc,
    DenyLaunches,
    LandingZone,
    LustreStore,
    Microscope,
    MonthlyBudget,
    NfsShare,
    Notifications,
    ParallelCluster,
    Pcs,
    SmbShare,
    SystemAlarms,
    default_lanes,
)

BOUNDARY = "arn:aws:iam::111122223333:policy/boundary"
ACTIVATION_KEY = "ABCDE-12345-FGHIJ-67890-KLMNO"

# Every action that is allowed on "*", and why.
ALLOWED_ON_EVERYTHING = {
    "ec2:DescribeInstances": "knows no resources (service authorization reference, Amazon EC2)",
    "fsx:DescribeDataRepositoryAssociations": "a filter on the file system, not a resource, chooses them",
    "fsx:DescribeDataRepositoryTasks": "a filter on the file system, not a resource, chooses them",
    "fsx:DescribeFileSystems": "looks for those that nobody uses any longer, whose names nobody knows",
    "pcs:RegisterComputeNodeGroupInstance": "knows no resources (AWS PCS user guide, IAM instance profiles)",
    "ssm:GetCommandInvocation": "knows no resources (service authorization reference, AWS Systems Manager)",
}


def everything(stack: Stack) -> None:
    vpc = ec2.Vpc.from_vpc_attributes(
        stack, "Vpc", vpc_id="vpc-1", availability_zones=["a"], private_subnet_ids=["subnet-a"]
    )
    password = secretsmanager.Secret(stack, "Password")
    shares: dict[str, NfsShare | SmbShare] = {
        "nfs": NfsShare(host="10.0.0.5", path="/krios"),
        "smb": SmbShare(host="epu", path="/movies", user="reader", password=password),
    }
    zone = LandingZone(stack, "Zone")
    store = LustreStore(
        stack, "Store", vpc=vpc, subnet=vpc.private_subnets[0], landing_bucket=zone.landing_bucket,
        results_bucket=zone.results_bucket, key=zone.key,
    )  # fmt: skip
    cluster = ParallelCluster(
        stack, "Cluster", vpc=vpc, subnet=vpc.private_subnets[0], lanes=default_lanes(), file_system=store,
        cryosparc=Cryosparc(license=secretsmanager.Secret(stack, "License")), backup_bucket=zone.results_bucket,
    )  # fmt: skip
    Pcs(
        stack, "Pcs", vpc=vpc, subnet=vpc.private_subnets[0], lanes=[*default_lanes(), default_lanes()[1].spot_twin()],
        file_system=store, ami_id="ami-0a1b2c3d4e5f60718", size="MEDIUM",
    )  # fmt: skip
    platform = CryoEmPlatform(
        stack,
        "Platform",
        vpc=vpc,
        landing_zone=zone,
        file_system=store,
        engine=cluster,
        microscopes={name: Microscope(share=share, activation_key=ACTIVATION_KEY) for name, share in shares.items()},
        release_after_days=1,
    )
    Notifications(
        stack, "Notifications", event_bus=cluster.event_bus, records=platform.hooks.records,
        alarm_topic=platform.hooks.alarm_topic, emails=["a@example.org"],
    )  # fmt: skip
    launcher = iam.Role(stack, "Launcher", assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"))
    MonthlyBudget(stack, "Budget", limit_usd=1, emails=["a@example.org"], at_limit=DenyLaunches(roles=[launcher]))
    dashboard = CryoEmDashboard(
        stack, "Dashboard", engine=cluster, hooks={"sweeper": platform.hooks.sweeper}, file_system=store,
        microscopes=platform.microscopes, alarms=[platform.hooks.failed_nodes_alarm],
    )  # fmt: skip
    SystemAlarms(
        stack, "Alarms", metrics=dashboard.metrics, sweeper=platform.hooks.sweeper.function,
        alarm_topic=platform.hooks.alarm_topic,
    )  # fmt: skip


@pytest.fixture(scope="module")
def template(new_stack: Callable[[str], Stack]) -> dict[str, Any]:
    """All constructs in a stack whose partition, account and region are known only at deployment."""
    stack = new_stack("Everything")
    everything(stack)
    return dict(Template.from_stack(stack).to_json())


def resources(template: dict[str, Any], kind: str) -> dict[str, Any]:
    return {name: found for name, found in template["Resources"].items() if found["Type"] == kind}


def identity_statements(template: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for resource in template["Resources"].values():
        properties = resource.get("Properties", {})
        if resource["Type"] in ("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"):
            yield from properties["PolicyDocument"]["Statement"]
        if resource["Type"] == "AWS::IAM::Role":
            for policy in properties.get("Policies", []):
                yield from policy["PolicyDocument"]["Statement"]


def as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_a_permissions_boundary_reaches_every_role() -> None:
    stack = Stack(App(analytics_reporting=False), "Bounded")
    everything(stack)
    iam.PermissionsBoundary.of(stack).apply(iam.ManagedPolicy.from_managed_policy_arn(stack, "Boundary", BOUNDARY))
    roles = resources(dict(Template.from_stack(stack).to_json()), "AWS::IAM::Role")
    assert len(roles) > 6
    assert {role["Properties"].get("PermissionsBoundary") for role in roles.values()} == {BOUNDARY}


def test_no_partition_is_written_down(template: dict[str, Any]) -> None:
    text = json.dumps(template)
    assert "arn:aws:" not in text
    assert "arn:aws-" not in text
    assert "amazonaws.com/" not in text, "an address without its partition's suffix"


def test_china_and_govcloud_get_their_own_partition() -> None:
    for region, partition in (("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")):
        app = App(analytics_reporting=False, context={"@aws-cdk/core:enablePartitionLiterals": True})
        stack = Stack(app, "Elsewhere", env=Environment(account="111122223333", region=region))
        everything(stack)
        text = json.dumps(Template.from_stack(stack).to_json())
        assert f"arn:{partition}:" in text
        assert "arn:aws:" not in text


def test_nothing_is_allowed_on_everything_but_what_knows_no_resources(template: dict[str, Any]) -> None:
    found = {
        action
        for statement in identity_statements(template)
        if statement["Effect"] == "Allow" and "*" in as_list(statement["Resource"])
        for action in as_list(statement["Action"])
    }
    assert found == set(ALLOWED_ON_EVERYTHING)


def test_no_action_is_a_wildcard(template: dict[str, Any]) -> None:
    found = {
        action
        for statement in identity_statements(template)
        for action in as_list(statement["Action"])
        if "*" in action
    }
    assert found == set()


def test_every_queue_refuses_plain_http(template: dict[str, Any]) -> None:
    guarded = {
        queue["Ref"]
        for policy in resources(template, "AWS::SQS::QueuePolicy").values()
        for queue in policy["Properties"]["Queues"]
        if {"Bool": {"aws:SecureTransport": "false"}}
        in [s.get("Condition") for s in policy["Properties"]["PolicyDocument"]["Statement"] if s["Effect"] == "Deny"]
    }
    assert guarded == set(resources(template, "AWS::SQS::Queue"))
    assert len(guarded) == 13


def test_nothing_has_a_physical_name_but_the_two_that_must(template: dict[str, Any]) -> None:
    names = {
        (resource["Type"], prop)
        for resource in template["Resources"].values()
        for prop, value in resource.get("Properties", {}).items()
        if prop in ("BucketName", "RoleName", "QueueName", "TableName", "TopicName", "FunctionName", "GroupName",
                    "LogGroupName", "AlarmName", "SecretName", "ManagedPolicyName", "DBName")
        and not (isinstance(value, dict) and set(value) <= {"Ref", "Fn::GetAtt"})  # a reference to something else's
    }  # fmt: skip
    assert names == {
        # The provider may attach only policies whose names begin with parallelcluster.
        ("AWS::IAM::ManagedPolicy", "ManagedPolicyName"),
        # A group that begins so needs no room in the account's one small resource policy of CloudWatch Logs.
        ("AWS::Logs::LogGroup", "LogGroupName"),
    }


def test_what_holds_data_is_retained(template: dict[str, Any]) -> None:
    kinds = ("AWS::S3::Bucket", "AWS::KMS::Key", "AWS::FSx::FileSystem", "AWS::FSx::DataRepositoryAssociation",
             "AWS::DynamoDB::Table")  # fmt: skip
    for kind in kinds:
        found = resources(template, kind)
        assert found, kind
        for resource in found.values():
            assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("Retain", "Retain"), kind


def test_no_construct_makes_a_custom_resource_function_of_the_cdks(template: dict[str, Any]) -> None:
    handlers = {f["Properties"]["Handler"] for f in resources(template, "AWS::Lambda::Function").values()}
    assert {handler.split(".")[0] for handler in handlers} == {"cdk_cryoem_lambda"}


def test_any_aspect_reaches_every_resource_because_none_is_hidden(new_stack: Callable[[str], Stack]) -> None:
    stack = new_stack("Visible")
    everything(stack)
    made = [node for node in stack.node.find_all() if isinstance(node, CfnResource)]
    assert len(made) >= len(Template.from_stack(stack).to_json()["Resources"])
