"""The custom resource has exactly what ParallelCluster's provider can take, and no secret."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App, CfnOutput, CfnStack, Stack, Token
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk.assertions import Match, Template
from cluster_inputs import BOUNDARY, LICENSE

from cdk_cryoem import (
    CryoEmError,
    Cryosparc,
    Engine,
    HeadNode,
    ILustreStore,
    Lane,
    LustreStore,
    ParallelCluster,
    ParallelClusterProvider,
    Problem,
    default_lanes,
)
from cdk_cryoem.parallel_cluster import LOG_RETENTION_DAYS, backstop_problems, cluster_problems, tag_problems
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


def problems(**changes: Any) -> list[Problem]:
    """What is wrong with a cluster of which some values are others than those that are right."""
    right: dict[str, Any] = {
        "cluster_name": "em", "stack_name": "stack", "operating_system": "ubuntu2204", "head_node": HeadNode(),
    }  # fmt: skip
    return list(cluster_problems(**{**right, **changes}))


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
    assert problems(cluster_name=cluster.cluster_name) == []


def policy(template: Template, who: str) -> dict[str, Any]:
    """The one managed policy of the head or of the node."""
    properties = [found["Properties"] for found in template.find_resources("AWS::IAM::ManagedPolicy").values()]
    (found,) = [each for each in properties if f"-{who}-" in str(each["ManagedPolicyName"])]
    assert isinstance(found, dict)
    return found


def statements(template: Template, who: str) -> dict[str, list[Any]]:
    """What the statements of such a policy are about, by their actions."""
    found: dict[str, list[Any]] = {}
    for statement in policy(template, who)["PolicyDocument"]["Statement"]:
        resources = statement["Resource"]
        found.setdefault(str(statement["Action"]), []).extend(resources if isinstance(resources, list) else [resources])
    return found


@pytest.mark.parametrize("who", ["head", "node"])
def test_each_policy_has_a_name_that_the_provider_may_attach(made: Made, who: str) -> None:
    template = made[2]
    name = policy(template, who)["ManagedPolicyName"]["Fn::Join"][1]
    assert name[0].startswith("parallelcluster-")
    assert name[0].endswith(f"-{who}-")
    assert name[1] == {"Ref": "AWS::Region"}, "names of policies are global, clusters are not"


def test_the_policies_are_attached_where_they_belong(made: Made) -> None:
    stack, cluster, template = made
    found = custom_resource(template)["Properties"]["ClusterConfiguration"]
    head, node = (
        {"Policy": stack.resolve(each.managed_policy_arn)} for each in (cluster.head_node_policy, cluster.node_policy)
    )
    attached = found["HeadNode"]["Iam"]["AdditionalIamPolicies"]
    assert head in attached
    assert node not in attached
    for queue in found["Scheduling"]["SlurmQueues"]:
        attached = queue["Iam"]["AdditionalIamPolicies"]
        assert node in attached
        assert head not in attached


def test_the_head_node_may_do_four_things_to_named_resources(made: Made) -> None:
    found = statements(made[2], "head")
    assert sorted(found) == [
        "['secretsmanager:GetSecretValue', 'secretsmanager:DescribeSecret']",
        "events:PutEvents",
        "s3:GetObject",
        "ssm:GetParameter",
    ]
    assert "*" not in str(list(found.values()))


def test_a_node_may_read_its_script_and_nothing_else(made: Made) -> None:
    stack, cluster, template = made
    script = cluster.node_script.bucket.arn_for_objects(cluster.node_script.s3_object_key)
    assert statements(template, "node") == {"s3:GetObject": [stack.resolve(script)]}


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
        cryosparc=Cryosparc(license=secretsmanager.Secret.from_secret_complete_arn(stack, "License", LICENSE)),
        backup_bucket=s3.Bucket.from_bucket_name(stack, "Results", "results"),
        stages={"import": "one"},
        permissions_boundary=iam.ManagedPolicy.from_managed_policy_arn(stack, "Boundary", BOUNDARY),
        idle_backstop_minutes=30,
        log_retention_days=30,
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
    assert configuration["Iam"] == {"PermissionsBoundary": BOUNDARY}
    assert configuration["Scheduling"]["SlurmSettings"]["ScaledownIdletime"] == 30
    assert configuration["Monitoring"]["Logs"]["CloudWatch"]["RetentionInDays"] == 30
    assert cluster.programs.recipes is not None
    assert cluster.provider is None
    assert cluster.event_bus is bus
    assert cluster.lane_manifest.stage_lanes["import"] == "one"
    found = statements(template, "head")
    assert "own-bus" in str(found["events:PutEvents"])
    assert len(found["s3:GetObject"]) == 3, "scripts, trampoline and recipes"
    assert LICENSE in str(found["['secretsmanager:GetSecretValue', 'secretsmanager:DescribeSecret']"])
    assert "results/backups/" in str(found)


def test_it_makes_no_role_because_parallelcluster_does(stack: Stack) -> None:
    """So the boundary goes into the configuration, where no aspect of the CDK could put it."""
    ParallelCluster(stack, "Cluster", **parts(stack), provider_service_token=TOKEN)
    Template.from_stack(stack).resource_count_is("AWS::IAM::Role", 0)


def test_failed_nodes_are_what_parallelclusters_dashboard_counts(made: Made) -> None:
    stack, cluster, _ = made
    found = cluster.metric_failed_nodes()
    assert isinstance(found, cloudwatch.MathExpression)
    assert found.expression.count("FILL(") == len(found.using_metrics) > 4
    for name, metric in found.using_metrics.items():
        assert f"FILL({name}, 0)" in found.expression
        assert isinstance(metric, cloudwatch.Metric)
        assert (metric.namespace, metric.statistic) == ("ParallelCluster", "Sum")
        assert stack.resolve(metric.dimensions) == {"ClusterName": cluster.cluster_name}
        assert metric.metric_name[0].lower() + metric.metric_name[1:] == name


def test_another_cluster_is_another_generation_and_its_head_node_is_not_held_by_an_export(made: Made) -> None:
    cluster = made[1]
    assert cluster.generation == cluster.cluster_name
    app = App(analytics_reporting=False)
    maker, reader = Stack(app, "Maker"), Stack(app, "Reader")
    other = ParallelCluster(maker, "Cluster", **parts(maker), cluster_name="mine", provider_service_token=TOKEN)
    CfnOutput(reader, "HeadNode", value=other.head_node_instance_id)
    app.synth()
    assert "Fn::ImportValue" not in str(Template.from_stack(reader).to_json())


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
    assert len(set(names)) == len(names) == 4, "head and node of each"


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


@pytest.mark.parametrize("name", ["em", "a1", "a-", "a" * 40])
def test_cluster_names(name: str) -> None:
    assert problems(cluster_name=name) == []


@pytest.mark.parametrize("name", ["", "a", "a" * 41, "Em", "1a", "-a", "a_b", "a.b", "a\n", "äm"])
def test_names_that_parallelclusters_api_refuses(name: str) -> None:
    (problem,) = problems(cluster_name=name)
    assert (problem.property, problem.value) == ("cluster_name", name)
    assert "2 to 40 characters" in problem.allowed


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
    found = problems(operating_system=system, head_node=HeadNode(instance_type=head))
    assert [problem.property for problem in found] == wrong


@pytest.mark.parametrize("prop", ["root_volume_gib", "cryosparc_volume_gib"])
def test_volumes_on_both_sides_of_their_bounds(prop: str) -> None:
    for gib, right in ((49, False), (50, True), (16384, True), (16385, False)):
        found = problems(head_node=HeadNode(**{prop: gib}))
        assert [(problem.property, problem.value) for problem in found] == (
            [] if right else [(f"head_node.{prop}", gib)]
        )
        assert all(problem.allowed == "50 to 16384" for problem in found)


@pytest.mark.parametrize("network", ["10.0.0.0/8", "192.168.1.0/24", "203.0.113.7/32"])
def test_networks_that_may_open_a_desktop(network: str) -> None:
    assert problems(head_node=HeadNode(remote_desktop_from=network)) == []


@pytest.mark.parametrize(
    "network",
    [
        "0.0.0.0/0",
        "0.0.0.0/1",
        "10.0.0.0/7",
        "10.0.0.1/8",
        "::/0",
        "",
        "pl-12345678",
        "203.0.113.7",
        "10.0.0.0/255.0.0.0",
        "10.0.0.0/08",
    ],
)
def test_a_desktop_for_everybody_and_for_what_is_no_network_is_refused(network: str) -> None:
    (problem,) = problems(head_node=HeadNode(remote_desktop_from=network))
    assert (problem.property, problem.value) == ("head_node.remote_desktop_from", network)
    assert "never all of them" in problem.allowed


def test_log_retention_is_a_time_that_cloudwatch_knows() -> None:
    assert [days for days in range(4000) if not problems(log_retention_days=days)] == list(LOG_RETENTION_DAYS)
    (problem,) = problems(log_retention_days=31)
    assert (problem.property, problem.value) == ("log_retention_days", 31)
    assert "30, 60" in problem.allowed


@pytest.mark.parametrize(
    ("tags", "wrong"),
    [
        ({"team": "em", "Cost Center": "4711/a+b=c@d:e._-"}, []),
        ({"": "v"}, ["tags"]),
        ({"k" * 129: "v"}, ["tags"]),
        ({"aws:x": "v"}, ["tags"]),
        ({"AWS:x": "v"}, ["tags"]),
        ({"parallelcluster:x": "v"}, ["tags"]),
        ({"cryoem:x": "v"}, []),
        ({"team": ""}, ["tags.team"]),
        ({"team": "v" * 257}, ["tags.team"]),
        ({"team": "a\nb", "te,am": "a"}, ["tags.team", "tags"]),
        ({f"k{number}": "v" for number in range(38)}, []),
        ({f"k{number}": "v" for number in range(39)}, ["tags"]),
    ],
)
def test_tags(tags: dict[str, str], wrong: list[str]) -> None:
    assert [problem.property for problem in tag_problems(tags)] == wrong


def test_a_systems_own_tags_are_reserved_where_a_system_says_so() -> None:
    (problem,) = tag_problems({"cryoem:system": "other"}, reserved=("cryoem:",))
    assert (problem.property, problem.value) == ("tags", "cryoem:system")
    assert "aws:, parallelcluster:, cryoem:" in problem.allowed


def test_no_lanes_and_everything_else_wrong_is_reported_at_once(stack: Stack) -> None:
    with pytest.raises(CryoEmError) as caught:
        ParallelCluster(
            stack, "C", **{**parts(stack), "lanes": []}, cluster_name="No", operating_system="alinux2",
            head_node=HeadNode(instance_type="m7i.large", root_volume_gib=1, remote_desktop_from="0.0.0.0/0"),
            idle_backstop_minutes=0, log_retention_days=2, tags={"aws:x": "y"},
        )  # fmt: skip
    assert [problem.property for problem in caught.value.problems] == [
        "lanes", "idle_backstop_minutes", "cluster_name", "operating_system", "head_node.instance_type",
        "head_node.root_volume_gib", "head_node.remote_desktop_from", "log_retention_days", "tags",
    ]  # fmt: skip


def test_tokens_are_tolerated(stack: Stack) -> None:
    """What is known only at deployment is never judged."""
    number, text = Token.as_number({"Ref": "Number"}), Token.as_string({"Ref": "Text"})
    head = HeadNode(
        instance_type=text, root_volume_gib=number, cryosparc_volume_gib=number, remote_desktop_from=text
    )  # fmt: skip
    ParallelCluster(
        stack, "C", **parts(stack), cluster_name=text, operating_system=text, head_node=head,
        idle_backstop_minutes=number, log_retention_days=number, tags={text: text}, provider_service_token=text,
    )  # fmt: skip
    configuration = custom_resource(Template.from_stack(stack))["Properties"]["ClusterConfiguration"]
    reference = {"Ref": "Text"}
    assert configuration["Image"] == {"Os": reference}
    assert configuration["HeadNode"]["Dcv"]["AllowedIps"] == reference
    assert configuration["Scheduling"]["SlurmSettings"]["ScaledownIdletime"] == {"Ref": "Number"}
    assert configuration["Monitoring"]["Logs"]["CloudWatch"]["RetentionInDays"] == {"Ref": "Number"}


@pytest.mark.parametrize(("minutes", "wrong"), [(0, 1), (1, 1), (5, 0), (1440, 0), (1441, 1)])
def test_no_lane_holds_longer_than_the_backstop(minutes: int, wrong: int) -> None:
    held = Lane(name="l", instance_types=["m6i.8xlarge"], hold_minutes=5)
    found = backstop_problems([held], minutes)
    assert len(found) == wrong
    assert {problem.property for problem in found} <= {"idle_backstop_minutes", "lane l.hold_minutes"}


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
