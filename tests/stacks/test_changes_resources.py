"""What CloudFormation would do with changed resources, and what follows from it in other stacks."""

from __future__ import annotations

import copy
import csv
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aws_cdk.cx_api import CloudAssembly

from cdk_cryoem_stacks.changes import Change, Effect
from cdk_cryoem_stacks.changes.replacements import replacements
from cdk_cryoem_stacks.changes.templates import StackDiff, State, stack_changes, worst
from cdk_cryoem_stacks.config import Config

Templates = dict[str, dict[str, Any]]
AMI = "ami-0a1b2c3d4e5f60718"


@pytest.fixture(scope="module")
def system(assembly: CloudAssembly) -> Templates:
    """The default system by whole stack names, which exports carry."""
    return {stack.stack_name: stack.template for stack in assembly.stacks}


@pytest.fixture(scope="module")
def pcs(synthesise: Callable[..., Templates]) -> Templates:
    short = synthesise(Config.model_validate({"name": "pcs", "engine": "pcs", "pcs": {"ami_id": AMI}}))
    return {f"pcs-{name}": template for name, template in short.items()}


def of_type(templates: Templates, kind: str) -> list[tuple[str, str]]:
    """Stack and logical id of each resource of a type."""
    return [
        (stack, name)
        for stack, template in templates.items()
        for name, resource in template["Resources"].items()
        if resource["Type"] == kind
    ]


def with_property(templates: Templates, kind: str, path: str, value: object, *, which: int = 0) -> Templates:
    made = copy.deepcopy(templates)
    stack, name = of_type(made, kind)[which]
    node = made[stack]["Resources"][name]["Properties"]
    *above, last = path.split(".")
    for step in above:
        node = node[int(step)] if isinstance(node, list) else node[step]
    node[int(last) if isinstance(node, list) else last] = value
    return made


def without(templates: Templates, kind: str, *, which: int = 0) -> Templates:
    made = copy.deepcopy(templates)
    stack, name = of_type(made, kind)[which]
    del made[stack]["Resources"][name]
    return made


def by_kind(diffs: list[StackDiff], templates: Templates) -> dict[tuple[str, str], Change]:
    """The worst change of each resource, by type and property."""
    kinds = {
        name: resource["Type"] for template in templates.values() for name, resource in template["Resources"].items()
    }
    return {
        (kinds.get(change.path.partition(".")[0], ""), change.path.partition(".")[2]): change
        for diff in diffs
        for change in diff.changes
    }


def test_the_same_templates_differ_in_nothing(system: Templates, pcs: Templates) -> None:
    for templates in (system, pcs):
        diffs = stack_changes(templates, copy.deepcopy(templates))
        assert {diff.state for diff in diffs} == {State.SAME}
        assert worst(diffs) is None


def test_every_type_of_our_templates_is_in_the_table(system: Templates, pcs: Templates) -> None:
    types = {r["Type"] for t in (*system.values(), *pcs.values()) for r in t["Resources"].values()}
    assert types - set(replacements()) == {"Custom::PclusterCluster"}


def test_the_committed_table_is_what_awss_own_sources_say(root: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "tools/resource_updates.py"], capture_output=True, text=True, check=False, cwd=root
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    committed = (root / "stacks/cdk_cryoem_stacks/data/resource_updates.csv").read_text().splitlines()[1:]
    assert ran.stdout.splitlines()[1:] == committed, "make it again: see the script's head"
    rows = list(csv.DictReader(committed))
    assert {row["says"] for row in rows} == {"", "schema", "cdk", "maybe"}
    # The facts that this program was written for.
    said = {(row["type"], row["property"]): row["says"] for row in rows}
    assert said["AWS::PCS::ComputeNodeGroup", "InstanceConfigs"] == "schema"
    assert said["AWS::FSx::FileSystem", "SubnetIds"] == "schema"
    assert said["AWS::FSx::FileSystem", "LustreConfiguration/DeploymentType"] == "cdk"


# ---- what holds data -----------------------------------------------------------------------------------------------


def test_a_file_system_in_another_subnet_is_the_loudest_and_takes_the_rest_with_it(system: Templates) -> None:
    new = with_property(system, "AWS::FSx::FileSystem", "SubnetIds", ["subnet-other"])
    diffs = stack_changes(system, new)
    assert worst(diffs) is Effect.REPLACES_STORAGE
    storage = next(diff for diff in diffs if diff.name == "cryoem-storage")
    first = storage.changes[0]
    assert first.effect is Effect.REPLACES_STORAGE
    assert "a new, empty one" in first.what_to_do
    assert "This one stays, with its data and its cost" in first.what_to_do
    assert "Destroy cryoem-hooks and cryoem-cluster first" in first.what_to_do, "its export is imported"
    found = by_kind(diffs, system)
    assert found["AWS::FSx::DataRepositoryAssociation", "FileSystemId"].effect is Effect.REMADE
    cluster = {change.path: change for diff in diffs for change in diff.changes if diff.name == "cryoem-cluster"}
    mounted = cluster["SharedStorage[fsx].FsxLustreSettings.FileSystemId"]
    assert mounted.effect is Effect.REPLACES_CLUSTER


def test_a_file_system_that_cloudformation_may_delete_says_so(system: Templates) -> None:
    new = with_property(system, "AWS::FSx::FileSystem", "SubnetIds", ["subnet-other"])
    ((stack, name),) = of_type(new, "AWS::FSx::FileSystem")
    del new[stack]["Resources"][name]["UpdateReplacePolicy"]
    found = by_kind(stack_changes(system, new), system)
    assert "deleted with everything in it" in found["AWS::FSx::FileSystem", "SubnetIds[0]"].what_to_do
    assert found["AWS::FSx::FileSystem", "UpdateReplacePolicy"].new == "Delete"


@pytest.mark.parametrize(
    ("value", "effect", "words"),
    [
        (4800, Effect.LIVE, "in place"),
        ("2400", None, ""),
        (1200, Effect.REPLACES_STORAGE, "only grow"),
    ],
)
def test_capacity_only_grows(system: Templates, value: object, effect: Effect | None, words: str) -> None:
    diffs = stack_changes(system, with_property(system, "AWS::FSx::FileSystem", "StorageCapacity", value))
    assert worst(diffs) is effect
    if effect:
        change = by_kind(diffs, system)["AWS::FSx::FileSystem", "StorageCapacity"]
        assert words in change.what_to_do
        assert change.setting == "file_system.capacity_gib"


def test_where_awss_sources_differ_the_louder_one_counts_and_the_doubt_is_said(system: Templates) -> None:
    throughput = "LustreConfiguration.PerUnitStorageThroughput"
    new = with_property(system, "AWS::FSx::FileSystem", throughput, 500)
    change = by_kind(stack_changes(system, new), system)["AWS::FSx::FileSystem", throughput]
    assert change.effect is Effect.REPLACES_STORAGE
    assert change.setting == "file_system.throughput_mibps_per_tib"
    assert "AWS's sources differ here" in change.what_to_do


def test_another_address_range_reaches_the_file_system(system: Templates) -> None:
    diffs = stack_changes(system, with_property(system, "AWS::EC2::VPC", "CidrBlock", "10.99.0.0/16"))
    found = by_kind(diffs, system)
    assert found["AWS::EC2::VPC", "CidrBlock"].setting == "network.cidr"
    assert found["AWS::EC2::Subnet", "VpcId"].effect is Effect.REMADE
    assert found["AWS::FSx::FileSystem", "SubnetIds[0]"].effect is Effect.REPLACES_STORAGE
    assert worst(diffs) is Effect.REPLACES_STORAGE


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("AWS::S3::Bucket", "BucketName", "another"),
        ("AWS::DynamoDB::Table", "TableName", "another"),
        ("AWS::DynamoDB::Table", "KeySchema", [{"AttributeName": "other", "KeyType": "HASH"}]),
    ],
)
def test_buckets_and_tables_are_storage_too(system: Templates, kind: str, path: str, value: object) -> None:
    assert worst(stack_changes(system, with_property(system, kind, path, value))) is Effect.REPLACES_STORAGE


def test_what_goes_is_kept_or_lost_as_its_policy_says(system: Templates) -> None:
    ((stack, name),) = of_type(system, "AWS::KMS::Key")
    key = next(change for d in stack_changes(system, without(system, "AWS::KMS::Key")) for change in d.changes)
    assert (key.path, key.effect) == (name, Effect.LEAVES_BEHIND)
    assert "nothing takes its place" in key.what_to_do
    renamed = copy.deepcopy(system)
    resources = renamed[stack]["Resources"]
    resources["Other"] = resources.pop(name)
    key = next(change for d in stack_changes(system, renamed) for change in d.changes if change.path == name)
    assert key.effect is Effect.REPLACES_STORAGE
    assert "what comes instead is empty" in key.what_to_do
    old = copy.deepcopy(system)
    del old[stack]["Resources"][name]["DeletionPolicy"]
    key = next(change for d in stack_changes(old, without(old, "AWS::KMS::Key")) for change in d.changes)
    assert "deletes it with everything in it" in key.what_to_do


@pytest.mark.parametrize(
    ("old", "new", "effect"),
    [
        (90, 1, Effect.ENDS_PROTECTION),
        ("90", 89, Effect.ENDS_PROTECTION),
        (90, 91, Effect.LIVE),
        (None, 90, Effect.LIVE),
    ],
)
def test_versions_that_are_kept_shorter_are_said_to_go(
    system: Templates, old: object, new: object, effect: Effect
) -> None:
    days = "LifecycleConfiguration.Rules.0.NoncurrentVersionExpiration"
    which = next(
        n for n, (_, name) in enumerate(of_type(system, "AWS::S3::Bucket")) if name.startswith("LandingZoneLanding")
    )
    before = with_property(system, "AWS::S3::Bucket", days, old and {"NoncurrentDays": old}, which=which)
    after = with_property(system, "AWS::S3::Bucket", days, {"NoncurrentDays": new}, which=which)
    (change,) = [change for diff in stack_changes(before, after) for change in diff.changes]
    if old is None:
        # Nothing went by itself until now.
        assert (change.effect, "kept for good until now" in change.what_to_do) == (Effect.ENDS_PROTECTION, True)
        return
    assert change.effect is effect
    assert (f"older than {new} days (before: {old} days)" in change.what_to_do) is effect.needs_you
    assert (change.setting == "landing.noncurrent_days") is effect.needs_you


def test_a_rule_that_comes_beside_others_does_not_shorten_them(system: Templates) -> None:
    which = next(
        n for n, (_, name) in enumerate(of_type(system, "AWS::S3::Bucket")) if name.startswith("LandingZoneLanding")
    )
    stack, name = of_type(system, "AWS::S3::Bucket")[which]
    rules = system[stack]["Resources"][name]["Properties"]["LifecycleConfiguration"]["Rules"]
    more = [*rules, {"Id": "archive", "Status": "Enabled", "Transitions": [{"StorageClass": "DEEP_ARCHIVE"}]}]
    new = with_property(system, "AWS::S3::Bucket", "LifecycleConfiguration.Rules", more, which=which)
    assert worst(stack_changes(system, new)) is Effect.LIVE
    listings = [*rules, {"Prefix": "listings/", "NoncurrentVersionExpiration": {"NoncurrentDays": 1}}]
    new = with_property(system, "AWS::S3::Bucket", "LifecycleConfiguration.Rules", listings, which=which)
    assert worst(stack_changes(system, new)) is Effect.LIVE
    shorter = [*rules, {"Status": "Enabled", "NoncurrentVersionExpiration": {"NoncurrentDays": 2}}]
    new = with_property(system, "AWS::S3::Bucket", "LifecycleConfiguration.Rules", shorter, which=which)
    assert worst(stack_changes(system, new)) is Effect.ENDS_PROTECTION


def test_a_second_copy_that_ends_is_said_and_one_of_another_class_is_live() -> None:
    def bucket(replication: object) -> Templates:
        properties = {"ReplicationConfiguration": replication} if replication else {}
        return {"n-storage": {"Resources": {"B": {"Type": "AWS::S3::Bucket", "Properties": properties}}}}

    def rule(**destination: object) -> dict[str, Any]:
        return {"Role": "r", "Rules": [{"Status": "Enabled", "Destination": destination}]}

    there = bucket(rule(Bucket="arn:a", StorageClass="GLACIER_IR"))
    (ends,) = stack_changes(there, bucket(None))[0].changes
    assert (ends.effect, ends.setting) == (Effect.ENDS_PROTECTION, "landing.replicate_to")
    assert "no movie is copied" in ends.what_to_do
    (moved,) = stack_changes(there, bucket(rule(Bucket="arn:b", StorageClass="GLACIER_IR")))[0].changes
    assert moved.effect is Effect.ENDS_PROTECTION
    assert "those of before are not" in moved.what_to_do
    assert worst(stack_changes(there, bucket(rule(Bucket="arn:a", StorageClass="DEEP_ARCHIVE")))) is Effect.LIVE
    assert worst(stack_changes(bucket(None), there)) is Effect.LIVE


@pytest.mark.parametrize(("protected", "effect"), [("true", Effect.LEAVES_BEHIND), ("false", Effect.LIVE)])
def test_a_load_balancer_that_goes_is_left_behind_while_it_is_protected(protected: str, effect: Effect) -> None:
    balancer = {
        "Type": "AWS::ElasticLoadBalancingV2::LoadBalancer",
        "Properties": {"LoadBalancerAttributes": [{"Key": "deletion_protection.enabled", "Value": protected}]},
    }
    logs = {"Type": "AWS::S3::Bucket", "DeletionPolicy": "Retain"}
    topic = {"Type": "AWS::SNS::Topic"}
    old = {"n-cluster": {"Resources": {"WebLoadBalancer1": balancer, "Logs": logs, "Topic": topic}}}
    found = {
        change.path: change for change in stack_changes(old, {"n-cluster": {"Resources": {"Topic": topic}}})[0].changes
    }
    assert found["WebLoadBalancer1"].effect is effect
    assert found["Logs"].effect is Effect.LEAVES_BEHIND, "no other takes its place"
    if effect.needs_you:
        text = found["WebLoadBalancer1"].what_to_do
        assert "modify-load-balancer-attributes" in text
        assert "--stack-name n-cluster" in text
        assert "--logical-resource-id WebLoadBalancer1 " in text
        # Its replacement is deleted by the same deployment, or is not.
        public = copy.deepcopy(old)
        public["n-cluster"]["Resources"]["WebLoadBalancer1"]["Properties"]["Scheme"] = "internet-facing"
        (change,) = stack_changes(old, public)[0].changes
        assert (change.effect, change.what_to_do) == (Effect.LEAVES_BEHIND, text)


@pytest.mark.parametrize("after", [{"ActivationKey": "NEW"}, None])
def test_an_agent_that_was_made_of_a_key_goes_with_it(after: dict[str, str] | None) -> None:
    """To put agent_arn into the key's place looks harmless, and ends the microscope's transfers."""

    def agent(properties: dict[str, str] | None) -> Templates:
        made = {"A": {"Type": "AWS::DataSync::Agent", "Properties": properties}} if properties else {}
        return {"n-ingest": {"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}, **made}}}

    (change,) = stack_changes(agent({"ActivationKey": "OLD"}), agent(after))[0].changes
    assert (change.effect, change.setting) == (Effect.CUTS_OFF, "microscopes activation_key")
    assert "Leave the key in the file" in change.what_to_do


def test_a_network_that_loses_its_way_out_is_cut_off(system: Templates) -> None:
    diffs = stack_changes(system, without(system, "AWS::EC2::NatGateway"))
    (change,) = [change for diff in diffs for change in diff.changes]
    assert (change.effect, change.setting) == (Effect.CUTS_OFF, "network.nat")
    assert "no package index" in change.what_to_do


def test_what_holds_nothing_is_made_anew_and_needs_nobody(system: Templates) -> None:
    new = with_property(system, "AWS::IAM::ManagedPolicy", "Description", "another")
    diffs = stack_changes(system, new)
    assert by_kind(diffs, system)["AWS::IAM::ManagedPolicy", "Description"].effect is Effect.REMADE
    assert worst(diffs) is Effect.REMADE
    assert not Effect.REMADE.needs_you


# ---- ParallelCluster -----------------------------------------------------------------------------------------------


def test_the_cluster_itself_is_judged_by_parallelclusters_policies(system: Templates) -> None:
    idle = "ClusterConfiguration.Scheduling.SlurmSettings.ScaledownIdletime"
    diffs = stack_changes(system, with_property(system, "Custom::PclusterCluster", idle, "20"))
    (change,) = [change for diff in diffs for change in diff.changes]
    assert (change.effect, change.setting) == (Effect.STOPS_FLEET, "idle_backstop_minutes")
    assert "-n cryoem -r us-east-1" in change.what_to_do


@pytest.mark.parametrize("path", ["ClusterName", "ServiceToken"])
def test_the_cluster_has_its_name_and_provider_for_life(system: Templates, path: str) -> None:
    (change,) = [
        change
        for diff in stack_changes(system, with_property(system, "Custom::PclusterCluster", path, "another"))
        for change in diff.changes
    ]
    assert change.effect is Effect.REPLACES_CLUSTER
    assert path in change.what_to_do


def test_another_version_of_parallelcluster_is_another_cluster(system: Templates) -> None:
    ((stack, name),) = of_type(system, "AWS::CloudFormation::Stack")
    url = system[stack]["Resources"][name]["Properties"]["TemplateURL"]
    text = "".join(part for part in url["Fn::Join"][1] if isinstance(part, str))
    assert "/parallelcluster/3.16.1/" in text
    newer = {"Fn::Join": ["", [p.replace("3.16.1", "3.17.0") if isinstance(p, str) else p for p in url["Fn::Join"][1]]]}
    new = with_property(system, "AWS::CloudFormation::Stack", "TemplateURL", newer)
    (change,) = [change for diff in stack_changes(system, new) for change in diff.changes]
    assert change.effect is Effect.REPLACES_CLUSTER
    assert "3.17.0 does not update a cluster of 3.16.1" in change.what_to_do
    other = {"Fn::Join": ["", ["https://mirror", *url["Fn::Join"][1][1:]]]}
    new = with_property(system, "AWS::CloudFormation::Stack", "TemplateURL", other)
    assert worst(stack_changes(system, new)) is Effect.LIVE


def test_a_setup_parameter_of_another_name_would_replace_the_cluster(system: Templates) -> None:
    """Its name is in the head node's scripts' arguments: what follows from a replacement is found."""
    ((stack, name),) = [(stack, name) for stack, name in of_type(system, "AWS::SSM::Parameter") if "Setup" in name]
    which = of_type(system, "AWS::SSM::Parameter").index((stack, name))
    new = with_property(system, "AWS::SSM::Parameter", "Name", "/another", which=which)
    found = {change.path: change for diff in stack_changes(system, new) for change in diff.changes}
    assert found[f"{name}.Name"].effect is Effect.REMADE
    assert found["HeadNode.CustomActions.OnNodeStart.Args"].effect is Effect.REPLACES_CLUSTER


def test_what_a_lane_holds_is_read_from_the_manifest(system: Templates) -> None:
    new = copy.deepcopy(system)
    ((stack, name),) = [(s, n) for s, n in of_type(new, "AWS::SSM::Parameter") if "LaneManifest" in n]
    manifest = new[stack]["Resources"][name]["Properties"]
    manifest["Value"] = manifest["Value"].replace('"hold_minutes":0', '"hold_minutes":5', 1)
    (change,) = [change for diff in stack_changes(system, new) for change in diff.changes]
    assert change.effect is Effect.LIVE
    assert change.setting.startswith("lanes ")
    assert change.setting.endswith(".hold_minutes")
    assert (change.old, change.new) == (0, 5)


# ---- AWS Parallel Computing Service --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "path", "value", "effect", "setting"),
    [
        ("AWS::PCS::ComputeNodeGroup", "ScalingConfiguration.MaxInstanceCount", 9, Effect.LIVE, "max_nodes"),
        (
            "AWS::PCS::ComputeNodeGroup",
            "InstanceConfigs.0.InstanceType",
            "m7i.16xlarge",
            Effect.REPLACES_NODES,
            "instance_types",
        ),
        ("AWS::PCS::ComputeNodeGroup", "AmiId", "ami-other", Effect.DRAINS, "pcs.ami_id"),
        ("AWS::PCS::Queue", "Name", "other", Effect.REPLACES_NODES, ""),
        ("AWS::PCS::Cluster", "Size", "LARGE", Effect.REPLACES_CLUSTER, ""),
        ("AWS::PCS::Cluster", "Scheduler.Version", "26.05", Effect.LIVE, "pcs.slurm_version"),
        ("AWS::EC2::Instance", "InstanceType", "m7i.4xlarge", Effect.INTERRUPTS, "head_node.instance_type"),
        ("AWS::EC2::Instance", "UserData", "other", Effect.INTERRUPTS, ""),
        ("AWS::EC2::Instance", "SecurityGroupIds", ["sg-other"], Effect.LIVE, ""),
        ("AWS::EC2::Instance", "ImageId", "ami-other", Effect.REPLACES_HEAD_NODE, "pcs.ami_id"),
        (
            "AWS::EC2::Instance",
            "BlockDeviceMappings.0.Ebs.VolumeSize",
            999,
            Effect.REPLACES_HEAD_NODE,
            "head_node.root_volume_gib",
        ),
        ("AWS::EC2::Volume", "Size", 999, Effect.LIVE, "head_node.cryosparc_volume_gib"),
        ("AWS::EC2::Volume", "Size", 1, Effect.REPLACES_STORAGE, "head_node.cryosparc_volume_gib"),
    ],
)
def test_pcs(pcs: Templates, kind: str, path: str, value: object, effect: Effect, setting: str) -> None:
    diffs = stack_changes(pcs, with_property(pcs, kind, path, value))
    assert worst(diffs) is effect
    change = next(c for d in diffs for c in d.changes if c.effect is effect)
    assert change.setting.endswith(setting)
    if setting in ("max_nodes", "instance_types"):
        assert change.setting == f"lanes cpu.{setting}"
    if effect.needs_you:
        assert change.what_to_do


def test_another_pcs_cluster_takes_its_queues_and_nodes_with_it(pcs: Templates) -> None:
    found = by_kind(stack_changes(pcs, with_property(pcs, "AWS::PCS::Cluster", "Size", "LARGE")), pcs)
    assert found["AWS::PCS::ComputeNodeGroup", "ClusterId"].effect is Effect.REPLACES_NODES
    assert found["AWS::PCS::Queue", "ClusterId"].effect is Effect.REPLACES_NODES


def test_a_head_node_can_be_replaced_although_the_hooks_name_it(pcs: Templates) -> None:
    diffs = stack_changes(pcs, with_property(pcs, "AWS::EC2::Instance", "ImageId", "ami-other"))
    (change,) = [c for d in diffs for c in d.changes if c.effect is Effect.REPLACES_HEAD_NODE]
    assert "the deployment fails" not in change.what_to_do


def test_a_lane_of_pcs_that_goes_ends_its_jobs(pcs: Templates) -> None:
    diffs = stack_changes(pcs, without(pcs, "AWS::PCS::Queue"))
    (change,) = [c for d in diffs for c in d.changes]
    assert (change.effect, change.setting) == (Effect.REPLACES_NODES, "lanes cpu")


def test_between_the_engines_lies_another_cluster(system: Templates, pcs: Templates) -> None:
    old = {"pcs-cluster": system["cryoem-cluster"]}
    assert worst(stack_changes(old, {"pcs-cluster": pcs["pcs-cluster"]})) is Effect.REPLACES_CLUSTER


# ---- stacks --------------------------------------------------------------------------------------------------------


def test_stacks_come_and_are_left(system: Templates) -> None:
    some = {name: template for name, template in system.items() if name != "cryoem-hooks"}
    assert {d.name: d.state for d in stack_changes(some, system)}["cryoem-hooks"] is State.CREATED
    diffs = {d.name: d.state for d in stack_changes(system, some)}
    assert diffs["cryoem-hooks"] is State.LEFT
    assert {diff.state for diff in stack_changes({}, system)} == {State.CREATED}


def test_a_type_that_is_unknown_here_is_said_to_be() -> None:
    def template(value: str) -> Templates:
        return {"s": {"Resources": {"Thing": {"Type": "AWS::New::Thing", "Properties": {"Size": value}}}}}

    (change,) = stack_changes(template("a"), template("b"))[0].changes
    assert change.effect is Effect.LIVE
    assert "AWS::New::Thing is replaced is not known here" in change.what_to_do
