"""A PCS cluster: what its parts are told, what its roles may do, what it leaves to CloudFormation to name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import CfnParameter, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_events as events
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk.assertions import Match, Template
from pcs_parts import AMI, MOUNT, one, parts, properties, settings, statements

from cdk_cryoem import CryoEmError, Cryosparc, HeadNode, Lane, LustreStore, Pcs, default_lanes
from cdk_cryoem.pcs_rules import SLURM_VERSIONS

Made = tuple[Stack, Pcs, Template]
CPU = ("m6i.8xlarge",)
SSM = {"Fn::Join": ["", ["arn:", {"Ref": "AWS::Partition"}, ":iam::aws:policy/AmazonSSMManagedInstanceCore"]]}


@pytest.fixture(scope="module")
def made(new_stack: Callable[[str], Stack]) -> Made:
    """Everything that has a default has it."""
    stack = new_stack("Defaults")
    cluster = Pcs(stack, "Cluster", **parts(stack))
    return stack, cluster, Template.from_stack(stack)


@pytest.fixture(scope="module")
def full(new_stack: Callable[[str], Stack], tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Everything set."""
    stack = new_stack("Everything")
    recipes = tmp_path_factory.mktemp("recipes")
    (recipes / "recipe").write_text("#!/bin/sh\n")
    cluster = Pcs(
        stack,
        "Cluster",
        **parts(stack),
        cluster_name="mine",
        head_node=HeadNode(instance_type="m7i.2xlarge", root_volume_gib=200, cryosparc_volume_gib=500),
        slurm_version=SLURM_VERSIONS[-1],
        size="MEDIUM",
        event_bus=events.EventBus.from_event_bus_name(stack, "Bus", "own-bus"),
        recipes=str(recipes),
        cryosparc=Cryosparc(
            license=secretsmanager.Secret.from_secret_complete_arn(
                stack, "License", "arn:aws:secretsmanager:eu-west-1:111122223333:secret:license-AbCdEf"
            ),
            version="5.1.0",
            license_tokens=64,
        ),
        backup_bucket=s3.Bucket.from_bucket_name(stack, "Results", "results"),
        stages={"class2d": "gpu8"},
        log_retention=logs.RetentionDays.ONE_MONTH,
        tags={"team": "em"},
    )
    return stack, cluster, Template.from_stack(stack)


def setup_of(template: Template) -> dict[str, Any]:
    """The setup parameter, with a mark where a value is known only at deployment."""
    value = one(template, "AWS::SSM::Parameter", "ClusterProgramsSetup")["Value"]["Fn::Join"][1]
    found: dict[str, Any] = json.loads("".join(part if isinstance(part, str) else "<later>" for part in value))
    return found


def test_the_cluster_of_defaults(made: Made) -> None:
    stack, cluster, template = made
    found = one(template, "AWS::PCS::Cluster")
    group = stack.resolve(cluster.security_group.security_group_id)
    assert found == {
        "Size": "SMALL",
        "Scheduler": {"Type": "SLURM", "Version": "25.11"},
        "Networking": {"SubnetIds": ["subnet-1"], "SecurityGroupIds": [group]},
        "SlurmConfiguration": {
            "SlurmCustomSettings": [{"ParameterName": "SelectTypeParameters", "ParameterValue": "CR_CPU_Memory"}]
        },
        "Tags": {"cryoem:cluster": cluster.cluster_name},
    }


def test_its_own_name_is_made_from_its_path_and_pcs_makes_the_resources_names(made: Made) -> None:
    _, cluster, template = made
    assert cluster.cluster_name.startswith("defaults-cluster-")
    assert len(cluster.cluster_name) <= 40
    assert "Name" not in one(template, "AWS::PCS::Cluster")
    assert all("Name" not in group for group in properties(template, "AWS::PCS::ComputeNodeGroup").values())


def test_the_cluster_with_everything_set(full: Made) -> None:
    _, cluster, template = full
    found = one(template, "AWS::PCS::Cluster")
    assert (found["Size"], found["Scheduler"]["Version"]) == ("MEDIUM", SLURM_VERSIONS[-1])
    assert found["Tags"] == {"cryoem:cluster": "mine", "team": "em"}
    assert settings(found) == {"SelectTypeParameters": "CR_CPU_Memory"}
    assert cluster.cluster_name == "mine"
    template.resource_count_is("AWS::Events::EventBus", 0)
    assert "own-bus" in json.dumps(statements(template, "ClusterHeadNodeRole"))
    kept = [found["RetentionInDays"] for found in properties(template, "AWS::Logs::LogGroup").values()]
    assert kept == [30, 30, 30, 30]
    assert one(template, "AWS::EC2::Volume")["Size"] == 500
    head = one(template, "AWS::EC2::Instance")
    assert (head["InstanceType"], head["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"]) == ("m7i.2xlarge", 200)
    manifest = json.loads(one(template, "AWS::SSM::Parameter", "ClusterLaneManifest")["Value"])
    assert (manifest["cluster"], manifest["stages"]["class2d"]) == ("mine", "gpu8")


def test_the_setup_of_defaults_names_what_the_head_node_joins(made: Made) -> None:
    assert {**setup_of(made[2]), "scripts": "<later>"} == {
        "scripts": "<later>",
        "recipes": "none",
        "cluster": made[1].cluster_name,
        "event_bus": "<later>",
        "manifest_parameter": "<later>",
        "cryosparc_secret": "<later>",
        "cryosparc_version": "none",
        "cryosparc_license_secret": "none",
        "results_bucket": "none",
        "slurm_bin": "/opt/aws/pcs/scheduler/slurm-25.11/bin",
        "user": "ubuntu",
        "pcs_cluster": "<later>",
        "data_volume": "<later>",
        "lustre": MOUNT,
    }


def test_the_setup_with_everything_set(full: Made) -> None:
    found = setup_of(full[2])
    assert found["recipes"] != "none"
    assert {name: found[name] for name in ("slurm_bin", "cryosparc_version", "results_bucket", "event_bus")} == {
        "slurm_bin": f"/opt/aws/pcs/scheduler/slurm-{SLURM_VERSIONS[-1]}/bin",
        "cryosparc_version": "5.1.0",
        "results_bucket": "results",
        "event_bus": "own-bus",
    }


def test_every_lane_is_a_node_group_and_a_queue_in_their_order(made: Made) -> None:
    _, cluster, template = made
    names = [lane.name for lane in default_lanes()]
    assert list(cluster.lane_resources) == names
    assert list(cluster.partitions.items()) == [(name, name) for name in names]
    assert cluster.lanes == default_lanes()
    for kind in ("AWS::PCS::ComputeNodeGroup", "AWS::PCS::Queue", "AWS::EC2::LaunchTemplate"):
        template.resource_count_is(kind, len(names))


def test_within_the_cluster_everything_is_open_and_from_outside_nothing(made: Made) -> None:
    stack, cluster, template = made
    group = stack.resolve(cluster.security_group.security_group_id)
    (rule,) = properties(template, "AWS::EC2::SecurityGroupIngress").values()
    assert (rule["GroupId"], rule["SourceSecurityGroupId"], rule["IpProtocol"]) == (group, group, "-1")
    found = one(template, "AWS::EC2::SecurityGroup")
    assert "SecurityGroupIngress" not in found
    assert [rule["CidrIp"] for rule in found["SecurityGroupEgress"]] == ["0.0.0.0/0"]
    template.resource_count_is("AWS::EC2::SecurityGroupEgress", 0)


def test_adapters_may_send_to_each_other(stack: Stack) -> None:
    # The rule to 0.0.0.0/0 is none for them (AWS PCS user guide, "Create a security group to support EFA communications").
    spread = Lane(name="gpu8", instance_types=["g6e.48xlarge"], gpus=8, nodes_per_job=2)
    assert spread.has_efa
    cluster = Pcs(stack, "Cluster", **{**parts(stack), "lanes": [Lane(name="cpu", instance_types=CPU), spread]})
    group = stack.resolve(cluster.security_group.security_group_id)
    (rule,) = properties(Template.from_stack(stack), "AWS::EC2::SecurityGroupEgress").values()
    assert (rule["GroupId"], rule["DestinationSecurityGroupId"], rule["IpProtocol"]) == (group, group, "-1")


def test_a_nodes_role_registers_it_and_reads_its_script(made: Made) -> None:
    stack, cluster, template = made
    role = one(template, "AWS::IAM::Role", "ClusterNodeRole")
    assert (role["Path"], role["ManagedPolicyArns"]) == ("/aws-pcs/", [SSM])
    script = stack.resolve(cluster.node_script.bucket.arn_for_objects(cluster.node_script.s3_object_key))
    assert statements(template, "ClusterNodeRole") == [
        {"Action": "pcs:RegisterComputeNodeGroupInstance", "Effect": "Allow", "Resource": "*"},
        {"Action": "s3:GetObject", "Effect": "Allow", "Resource": script},
    ]


def test_pcs_takes_the_instance_profile_because_of_its_path(made: Made) -> None:
    stack, cluster, template = made
    assert one(template, "AWS::IAM::InstanceProfile", "ClusterInstanceProfile") == {
        "Path": "/aws-pcs/",
        "Roles": [stack.resolve(cluster.node_role.role_name)],
    }
    wanted = stack.resolve(cluster.instance_profile.instance_profile_arn)
    groups = properties(template, "AWS::PCS::ComputeNodeGroup").values()
    assert [group["IamInstanceProfileArn"] for group in groups] == [wanted] * len(groups)


def actions(found: list[dict[str, Any]]) -> list[str]:
    flat = [[one] if isinstance(one, str) else one for one in (statement["Action"] for statement in found)]
    return [action for each in flat for action in each]


def test_the_head_node_may_do_exactly_this_to_named_resources(made: Made) -> None:
    stack, cluster, template = made
    found = statements(template, "ClusterHeadNodeRole")
    assert one(template, "AWS::IAM::Role", "ClusterHeadNodeRole")["ManagedPolicyArns"] == [SSM]
    assert actions(found) == [
        "events:PutEvents",
        "ssm:GetParameter",
        "s3:GetObject",
        "secretsmanager:GetSecretValue",
        "secretsmanager:DescribeSecret",
        "pcs:GetCluster",
        "secretsmanager:GetSecretValue",
        "ec2:AttachVolume",
        "ec2:AttachVolume",
    ]
    assert {statement["Effect"] for statement in found} == {"Allow"}
    by_first = {actions([statement])[0]: statement["Resource"] for statement in found}
    assert by_first["events:PutEvents"] == stack.resolve(cluster.event_bus.event_bus_arn)
    assert by_first["pcs:GetCluster"] == stack.resolve(cluster.cluster.attr_arn)
    assert len(by_first["ssm:GetParameter"]) == 2, "the manifest and the setup"
    assert len(by_first["s3:GetObject"]) == 2, "the scripts and the trampoline"
    assert "*" not in [resource for statement in found for resource in as_list(statement["Resource"])]


def as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_of_pcss_secrets_the_head_node_reads_its_own_clusters(made: Made) -> None:
    stack, cluster, template = made
    (secret,) = [
        statement["Resource"]
        for statement in statements(template, "ClusterHeadNodeRole")
        if "slurm-secret" in str(statement["Resource"])
    ]
    assert secret["Fn::Join"][1][-3:] == [":secret:pcs!slurm-secret-", stack.resolve(cluster.cluster.attr_id), "-*"]


def test_the_volume_may_be_attached_to_an_instance_of_this_cluster_alone(made: Made) -> None:
    stack, cluster, template = made
    volume, instance = [s for s in statements(template, "ClusterHeadNodeRole") if s["Action"] == "ec2:AttachVolume"]
    assert "Condition" not in volume
    assert volume["Resource"]["Fn::Join"][1][-2:] == [":volume/", stack.resolve(cluster.data_volume.volume_id)]
    assert instance["Resource"]["Fn::Join"][1][-1] == ":instance/*"
    assert instance["Condition"] == {"StringEquals": {"aws:ResourceTag/cryoem:cluster": cluster.cluster_name}}
    head = one(template, "AWS::EC2::Instance")
    assert {"Key": "cryoem:cluster", "Value": cluster.cluster_name} in head["Tags"], "what the condition looks at"


def test_cryosparc_and_backups_add_their_secret_and_their_folder_and_no_deletion(full: Made) -> None:
    found = statements(full[2], "ClusterHeadNodeRole")
    text = json.dumps(found)
    assert "secret:license-AbCdEf" in text
    writing = [s for s in found if "s3:PutObject" in as_list(s["Action"])]
    assert len(writing) == 2, "lists of files and backups"
    assert [
        json.dumps(each["Resource"]).count(f"results/{prefix}/*")
        for each, prefix in zip(writing, ("listings", "backups"), strict=True)
    ] == [1, 1]
    assert not [action for action in actions(found) if "Delete" in action or action.endswith(":*")]
    reads = [s for s in found if s["Action"] == "s3:GetObject"]
    assert len(reads[0]["Resource"]) == 3, "scripts, trampoline and recipes"


def test_nothing_may_do_everything_and_one_action_knows_no_resources(full: Made) -> None:
    found = [
        statement
        for policy in properties(full[2], "AWS::IAM::Policy").values()
        for statement in policy["PolicyDocument"]["Statement"]
    ]
    assert [s["Action"] for s in found if "*" in as_list(s["Resource"])] == ["pcs:RegisterComputeNodeGroupInstance"]


def test_no_secret_value_is_in_the_template(full: Made) -> None:
    template = full[2]
    template.has_resource_properties(
        "AWS::SecretsManager::Secret",
        {"SecretString": Match.absent(), "GenerateSecretString": {"PasswordLength": 40}},
    )
    text = json.dumps(template.to_json())
    assert "resolve:secretsmanager" not in text
    assert "AuthKey" not in text


def test_no_partition_and_no_region_is_written_down(made: Made) -> None:
    # The file system's address is given in this test, and comes from FSx otherwise.
    text = json.dumps(made[2].to_json()).replace(MOUNT, "")
    for word in ("arn:aws:", "arn:aws-", "us-east-1", "amazonaws.com/"):
        assert word not in text, word


def test_only_what_must_have_a_physical_name_has_one(full: Made) -> None:
    names = {
        (resource["Type"], prop)
        for resource in full[2].to_json()["Resources"].values()
        for prop in resource.get("Properties", {})
        if prop.endswith("Name") and isinstance(resource["Properties"][prop], str)
    }
    references = {("AWS::Logs::Delivery", "DeliverySourceName"), ("AWS::IAM::Policy", "PolicyName"),
                  ("AWS::CloudWatch::Alarm", "MetricName")}  # fmt: skip
    assert names - references == {
        ("AWS::PCS::Queue", "Name"),  # the partition
        ("AWS::Logs::DeliverySource", "Name"),  # required, and no name is generated
        ("AWS::Logs::DeliveryDestination", "Name"),
    }
    groups = [found.get("LogGroupName") for found in properties(full[2], "AWS::Logs::LogGroup").values()]
    assert sum(name is not None for name in groups) == 3, "vended logs want /aws/vendedlogs before them"


def test_what_holds_data_is_retained_and_the_rest_goes(made: Made) -> None:
    retained = {
        resource["Type"] for resource in made[2].to_json()["Resources"].values()
        if resource.get("DeletionPolicy") == "Retain"
    }  # fmt: skip
    assert retained == {"AWS::EC2::Volume", "AWS::Logs::LogGroup"}


def test_two_clusters_share_a_stack(stack: Stack) -> None:
    given = parts(stack)
    first, second = (Pcs(stack, name, **given) for name in ("A", "B"))
    template = Template.from_stack(stack)
    template.resource_count_is("AWS::PCS::Cluster", 2)
    template.resource_count_is("AWS::PCS::Queue", 10)
    assert first.cluster_name != second.cluster_name
    for kind, count in (("AWS::Logs::DeliverySource", 6), ("AWS::Logs::DeliveryDestination", 6)):
        names = [found["Name"] for found in properties(template, kind).values()]
        assert len(names) == len(set(names)) == count
        assert max(map(len, names)) <= 60, "CloudWatch Logs takes no longer ones"
    named = [json.dumps(found["LogGroupName"]) for found in properties(template, "AWS::Logs::LogGroup").values()
             if "LogGroupName" in found]  # fmt: skip
    assert len(named) == len(set(named)) == 6
    queues = properties(template, "AWS::PCS::Queue").values()
    assert len({json.dumps(queue["ClusterId"]) for queue in queues}) == 2


def test_names_stay_short_in_a_deep_tree_with_long_names(new_stack: Callable[[str], Stack]) -> None:
    stack = new_stack("A" * 100)
    Pcs(stack, "B" * 100, **parts(stack))
    template = Template.from_stack(stack)
    for kind in ("AWS::Logs::DeliverySource", "AWS::Logs::DeliveryDestination"):
        assert max(len(found["Name"]) for found in properties(template, kind).values()) <= 60


def test_what_is_known_only_at_deployment_is_passed_on(stack: Stack) -> None:
    names = ("Ami", "Version", "Size", "Name", "Mount")
    later = {name: CfnParameter(stack, name).value_as_string for name in names}
    given = parts(stack)
    given["file_system"] = LustreStore.from_lustre_store_attributes(
        file_system_id="fs-1",
        client_security_group=given["file_system"].client_security_group,
        mount_source=later["Mount"],
    )
    Pcs(
        stack, "Cluster", **{**given, "ami_id": later["Ami"]}, slurm_version=later["Version"], size=later["Size"],
        cluster_name=later["Name"],
    )  # fmt: skip
    template = Template.from_stack(stack)
    found = one(template, "AWS::PCS::Cluster")
    assert (found["Size"], found["Scheduler"]["Version"]) == ({"Ref": "Size"}, {"Ref": "Version"})
    assert found["Tags"] == {"cryoem:cluster": {"Ref": "Name"}}
    assert one(template, "AWS::EC2::Instance")["ImageId"] == {"Ref": "Ami"}
    text = json.dumps(one(template, "AWS::SSM::Parameter", "ClusterProgramsSetup"))
    for name in ("Version", "Name", "Mount"):
        assert f'{{"Ref": "{name}"}}' in text
    for group in properties(template, "AWS::PCS::ComputeNodeGroup").values():
        (script,) = group["NodeLifecycleActions"]["Stages"]["NodeBootstrapped"]
        assert script["Arguments"][-1] == {"Ref": "Mount"}


def test_the_cluster_lives_within_its_network_and_its_file_system(stack: Stack) -> None:
    vpc = ec2.Vpc(stack, "Vpc", max_azs=1, restrict_default_security_group=False)
    store = LustreStore(
        stack, "Store", vpc=vpc, subnet=vpc.private_subnets[0],
        landing_bucket=s3.Bucket.from_bucket_name(stack, "L", "movies"),
        results_bucket=s3.Bucket.from_bucket_name(stack, "R", "results"),
    )  # fmt: skip
    Pcs(stack, "Cluster", vpc=vpc, subnet=vpc.private_subnets[0], lanes=default_lanes(), file_system=store, ami_id=AMI)
    template = Template.from_stack(stack)
    needed = {
        *template.find_resources("AWS::FSx::DataRepositoryAssociation"),
        *(name for name in template.find_resources("AWS::EC2::SecurityGroupIngress") if "Store" in name),
        *(name for name in template.find_resources("AWS::EC2::Route") if "Private" in name),
    }
    assert len(needed) > 6
    for kind in ("AWS::PCS::Cluster", "AWS::PCS::ComputeNodeGroup", "AWS::EC2::Instance"):
        for name, resource in template.find_resources(kind).items():
            assert needed <= set(resource["DependsOn"]), name
    (subnet,) = [name for name in template.find_resources("AWS::EC2::Subnet") if "Private" in name]
    zone = one(template, "AWS::EC2::Volume")["AvailabilityZone"]
    assert zone == {"Fn::GetAtt": [subnet, "AvailabilityZone"]}, "where it is, not where a list of zones says"


def test_a_file_system_whose_address_nobody_gave_is_refused(stack: Stack) -> None:
    given = parts(stack)
    given["file_system"] = LustreStore.from_lustre_store_attributes(
        file_system_id="fs-1", client_security_group=given["file_system"].client_security_group
    )
    with pytest.raises(CryoEmError, match=r"file_system\.mount_source: got None, allowed: HOST@tcp:/NAME"):
        Pcs(stack, "Cluster", **given)


def test_everything_wrong_is_reported_at_once(stack: Stack) -> None:
    with pytest.raises(CryoEmError) as caught:
        Pcs(
            stack,
            "C",
            **{**parts(stack), "lanes": [], "ami_id": "ubuntu"},
            cluster_name="No",
            size="TINY",
            slurm_version="24.11",
            head_node=HeadNode(instance_type="m7i.large", remote_desktop_from="10.0.0.0/8"),
        )
    assert [problem.property for problem in caught.value.problems] == [
        "lanes", "cluster_name", "head_node.instance_type", "slurm_version", "ami_id", "size",
        "head_node.remote_desktop_from",
    ]  # fmt: skip
    assert str(caught.value).startswith("Pcs 'C': lanes: got []")


@pytest.mark.parametrize("name", ["A", "1a", "a_b", "a" * 41])
def test_cluster_names_are_those_of_parallelcluster(name: str, stack: Stack) -> None:
    with pytest.raises(CryoEmError, match="cluster_name"):
        Pcs(stack, "Cluster", **parts(stack), cluster_name=name)


def test_tags_reach_what_costs_money(full: Made) -> None:
    template = full[2]
    wanted = {"cryoem:cluster": "mine", "team": "em"}
    for kind in ("AWS::PCS::Cluster", "AWS::PCS::ComputeNodeGroup", "AWS::PCS::Queue"):
        assert all(found["Tags"] == wanted for found in properties(template, kind).values()), kind
    head = {tag["Key"]: tag["Value"] for tag in one(template, "AWS::EC2::Instance")["Tags"]}
    assert head == {**wanted, "Name": "mine head node"}
    for found in properties(template, "AWS::EC2::LaunchTemplate").values():
        tagged = {
            each["ResourceType"]: {tag["Key"]: tag["Value"] for tag in each["Tags"]}
            for each in found["LaunchTemplateData"]["TagSpecifications"] + found["TagSpecifications"]
        }
        lane = tagged["instance"].pop("cryoem:lane")
        assert lane in full[1].partitions, "the hooks price its nodes by it"
        assert tagged == {"instance": wanted, "volume": wanted, "launch-template": wanted}


def test_recipes_of_a_folder_that_is_not_there_are_refused(stack: Stack, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="nowhere"):
        Pcs(stack, "Cluster", **parts(stack), recipes=str(tmp_path / "nowhere"))
