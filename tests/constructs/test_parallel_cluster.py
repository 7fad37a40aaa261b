"""The custom resource has exactly what ParallelCluster's provider can take, and no secret."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App, CfnStack, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_events as events
from aws_cdk import aws_s3 as s3
from aws_cdk.assertions import Match, Template

from cdk_cryoem import (
    CryoEmError,
    Engine,
    HeadNode,
    ILustreStore,
    Lane,
    LustreStore,
    ParallelCluster,
    ParallelClusterProvider,
    default_lanes,
)
from cdk_cryoem.parallel_cluster import backstop_problems, cluster_problems
from cdk_cryoem.parallel_cluster_provider import version_problems

TOKEN = "arn:aws:lambda:eu-west-1:111122223333:function:provider"
Made = tuple[Stack, ParallelCluster, Template]


def parts(stack: Stack) -> dict[str, Any]:
    vpc = ec2.Vpc.from_vpc_attributes(
        stack, "Vpc", vpc_id="vpc-1", availability_zones=["eu-west-1a"], private_subnet_ids=["subnet-1"]
    )
    store: ILustreStore = LustreStore.from_lustre_store_attributes(
        file_system_id="fs-1",
        client_security_group=ec2.SecurityGroup.from_security_group_id(stack, "Clients", "sg-clients"),
    )
    return {"vpc": vpc, "subnet": vpc.private_subnets[0], "file_system": store, "lanes": default_lanes()}


@pytest.fixture(scope="module")
def made(new_stack: Callable[[str], Stack]) -> Made:
    stack = new_stack("Defaults")
    cluster = ParallelCluster(stack, "Cluster", **parts(stack))
    return stack, cluster, Template.from_stack(stack)


def custom_resource(template: Template) -> dict[str, Any]:
    (resource,) = template.find_resources("Custom::PclusterCluster").values()
    assert isinstance(resource, dict)
    return resource


def test_the_provider_gets_exactly_four_properties(made: Made) -> None:
    # Any other, ServiceTimeout above all, becomes an argument that the provider's function does not know.
    properties = custom_resource(made[2])["Properties"]
    assert set(properties) == {"ServiceToken", "ClusterName", "ClusterConfiguration", "DeletionPolicy"}
    assert properties["DeletionPolicy"] == "Delete"


def test_the_cluster_has_a_name_that_no_stack_has(made: Made) -> None:
    stack, cluster, template = made
    assert custom_resource(template)["Properties"]["ClusterName"] == cluster.cluster_name
    assert cluster.cluster_name != stack.stack_name
    assert not cluster_problems(
        cluster_name=cluster.cluster_name, stack_name="x", operating_system="ubuntu2204", head_node_type="m7i.xlarge"
    )


def test_the_policy_has_the_name_that_the_provider_may_attach(made: Made) -> None:
    stack, cluster, template = made
    (policy,) = template.find_resources("AWS::IAM::ManagedPolicy").values()
    name = policy["Properties"]["ManagedPolicyName"]
    assert name["Fn::Join"][1][0].startswith("parallelcluster-")
    assert name["Fn::Join"][1][1] == {"Ref": "AWS::Region"}, "names of policies are global, clusters are not"
    attached = custom_resource(template)["Properties"]["ClusterConfiguration"]["HeadNode"]["Iam"]
    assert {"Policy": stack.resolve(cluster.head_node_policy.managed_policy_arn)} in attached["AdditionalIamPolicies"]


def test_the_head_node_may_do_four_things_to_named_resources(made: Made) -> None:
    (policy,) = made[2].find_resources("AWS::IAM::ManagedPolicy").values()
    listed = policy["Properties"]["PolicyDocument"]["Statement"]
    assert sorted(statement["Action"] for statement in listed) == [
        "events:PutEvents", "s3:GetObject", "secretsmanager:GetSecretValue", "ssm:GetParameter",
    ]  # fmt: skip
    assert "'*'" not in str([statement["Resource"] for statement in listed])


def test_no_secret_value_is_in_the_template(made: Made) -> None:
    template = made[2]
    template.has_resource_properties(
        "AWS::SecretsManager::Secret",
        {
            "SecretString": Match.absent(),
            "GenerateSecretString": {"GenerateStringKey": "password", "PasswordLength": 40},
        },
    )
    text = str(template.to_json())
    assert "resolve:secretsmanager" not in text
    setup = [p for name, p in template.find_resources("AWS::SSM::Parameter").items() if "Setup" in name]
    assert len(setup) == 1
    assert "cryosparc_secret" in str(setup)


def test_every_lane_is_a_queue_and_a_partition(made: Made) -> None:
    _, cluster, template = made
    scheduling = custom_resource(template)["Properties"]["ClusterConfiguration"]["Scheduling"]
    assert [queue["Name"] for queue in scheduling["SlurmQueues"]] == [lane.name for lane in default_lanes()]
    assert cluster.partitions == {lane.name: lane.name for lane in default_lanes()}
    assert cluster.lanes == default_lanes()


def test_it_is_an_engine(made: Made) -> None:
    stack, cluster, _ = made
    assert isinstance(cluster, Engine)
    assert stack.resolve(cluster.head_node_instance_id)["Fn::GetAtt"][1] == "headNode.instanceId"


def test_the_provider_is_the_published_nested_stack(made: Made) -> None:
    (nested,) = made[2].find_resources("AWS::CloudFormation::Stack").values()
    parts_of_url = "".join(p if isinstance(p, str) else "*" for p in nested["Properties"]["TemplateURL"]["Fn::Join"][1])
    assert parts_of_url == (
        "https://*-aws-parallelcluster.s3.*.*/parallelcluster/3.16.1/templates/custom_resource/cluster.yaml"
    )


def test_everything_set_is_used_and_not_made(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "recipe").write_text("#!/bin/sh\n")
    bus = events.EventBus.from_event_bus_name(stack, "Bus", "own-bus")
    cluster = ParallelCluster(
        stack,
        "Cluster",
        **{**parts(stack), "lanes": [Lane(name="one", instance_types=["m6i.8xlarge"])]},
        cluster_name="mine",
        head_node=HeadNode(instance_type="m7i.2xlarge", root_volume_gib=200, cryosparc_volume_gib=500),
        provider_service_token=TOKEN,
        operating_system="ubuntu2404",
        event_bus=bus,
        recipes=str(tmp_path),
        tags={"team": "em"},
    )
    template = Template.from_stack(stack)
    template.resource_count_is("AWS::CloudFormation::Stack", 0)
    template.resource_count_is("AWS::Events::EventBus", 0)
    properties = custom_resource(template)["Properties"]
    assert (properties["ServiceToken"], properties["ClusterName"]) == (TOKEN, "mine")
    configuration = properties["ClusterConfiguration"]
    assert configuration["Image"] == {"Os": "ubuntu2404"}
    assert configuration["HeadNode"]["InstanceType"] == "m7i.2xlarge"
    assert configuration["Tags"] == [{"Key": "cryoem:cluster", "Value": "mine"}, {"Key": "team", "Value": "em"}]
    assert cluster.recipes is not None
    assert cluster.provider is None
    assert cluster.event_bus is bus
    assert "own-bus" in str(template.find_resources("AWS::IAM::ManagedPolicy"))
    (policy,) = template.find_resources("AWS::IAM::ManagedPolicy").values()
    (reads,) = [s for s in policy["Properties"]["PolicyDocument"]["Statement"] if s["Action"] == "s3:GetObject"]
    assert len(reads["Resource"]) == 3, "scripts, trampoline and recipes"


def test_two_clusters_share_a_stack_and_a_provider(stack: Stack) -> None:
    given = parts(stack)
    provider = ParallelClusterProvider(stack, "Provider")
    clusters = [
        ParallelCluster(stack, name, **given, provider_service_token=provider.service_token) for name in ("A", "B")
    ]
    template = Template.from_stack(stack)
    template.resource_count_is("Custom::PclusterCluster", 2)
    template.resource_count_is("AWS::CloudFormation::Stack", 1)
    assert len({cluster.cluster_name for cluster in clusters}) == 2
    names = [
        str(p["Properties"]["ManagedPolicyName"]) for p in template.find_resources("AWS::IAM::ManagedPolicy").values()
    ]
    assert len(set(names)) == 2


def test_the_cluster_lives_within_its_network_and_its_file_system(stack: Stack) -> None:
    vpc = ec2.Vpc(stack, "Vpc", max_azs=1, restrict_default_security_group=False)
    store = LustreStore(
        stack, "Store", vpc=vpc, subnet=vpc.private_subnets[0],
        landing_bucket=s3.Bucket.from_bucket_name(stack, "L", "movies"),
        results_bucket=s3.Bucket.from_bucket_name(stack, "R", "results"),
    )  # fmt: skip
    ParallelCluster(
        stack, "Cluster", vpc=vpc, subnet=vpc.private_subnets[0], lanes=default_lanes(), file_system=store,
        provider_service_token=TOKEN,
    )  # fmt: skip
    template = Template.from_stack(stack)
    needed = {
        *template.find_resources("AWS::FSx::DataRepositoryAssociation"),
        *template.find_resources("AWS::EC2::SecurityGroupIngress"),
        *(name for name in template.find_resources("AWS::EC2::Route") if "Private" in name),
    }
    assert len(needed) > 6
    assert needed <= set(custom_resource(template)["DependsOn"])


def test_a_name_of_a_stack_is_refused(new_stack: Callable[[str], Stack]) -> None:
    stack = new_stack("cryoem")
    with pytest.raises(CryoEmError, match="a name that no stack has"):
        ParallelCluster(stack, "Cluster", **parts(stack), cluster_name="cryoem")


@pytest.mark.parametrize(
    ("name", "right"),
    [("a", True), ("a" * 40, True), ("a" * 41, False), ("A", False), ("1a", False), ("a_b", False), ("", False)],
)
def test_cluster_names(name: str, right: bool) -> None:
    found = cluster_problems(
        cluster_name=name, stack_name="s", operating_system="ubuntu2204", head_node_type="m7i.xlarge"
    )
    assert [problem.property for problem in found] == ([] if right else ["cluster_name"])


@pytest.mark.parametrize(
    ("system", "head", "wrong"),
    [
        ("ubuntu2404", "m7i.xlarge", []),
        ("alinux2", "m7i.xlarge", ["operating_system"]),
        ("ubuntu2404", "m7i.large", ["head_node.instance_type"]),
        ("ubuntu2404", "z9.unlisted", []),
        ("centos7", "m7i.large", ["operating_system", "head_node.instance_type"]),
    ],
)
def test_systems_and_head_nodes(system: str, head: str, wrong: list[str]) -> None:
    found = cluster_problems(cluster_name="c", stack_name="s", operating_system=system, head_node_type=head)
    assert [problem.property for problem in found] == wrong


def test_no_lanes_and_everything_else_wrong_is_reported_at_once(stack: Stack) -> None:
    with pytest.raises(CryoEmError) as caught:
        ParallelCluster(stack, "C", **{**parts(stack), "lanes": []}, cluster_name="No", operating_system="alinux2")
    assert [problem.property for problem in caught.value.problems] == ["lanes", "cluster_name", "operating_system"]


@pytest.mark.parametrize(("minutes", "wrong"), [(0, 1), (1, 1), (5, 0), (1440, 0), (1441, 1)])
def test_no_lane_holds_longer_than_the_backstop(minutes: int, wrong: int) -> None:
    held = Lane(name="l", instance_types=["m6i.8xlarge"], hold_minutes=5)
    assert len(backstop_problems([held], minutes)) == wrong


@pytest.mark.parametrize(
    ("version", "right"),
    [
        ("3.16.0", True),
        ("3.16.1", True),
        ("4.0.0", True),
        ("3.15.9", False),
        ("3.9.10", False),
        ("3.16", False),
        ("x", False),
    ],
)
def test_provider_versions(version: str, right: bool) -> None:
    assert (not list(version_problems(version))) is right


def test_two_providers_of_two_versions_fit_in_one_stack() -> None:
    stack = Stack(App(analytics_reporting=False), "Test")
    for name, version in (("A", "3.16.0"), ("B", "3.16.1")):
        provider = ParallelClusterProvider(stack, name, version=version)
        assert isinstance(provider.stack, CfnStack)
    text = str(Template.from_stack(stack).to_json())
    assert "/parallelcluster/3.16.0/" in text
    assert "/parallelcluster/3.16.1/" in text
