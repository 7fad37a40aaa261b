"""What ParallelCluster would do with a changed configuration, per property. tests/engine asks ParallelCluster itself."""

from __future__ import annotations

import copy
import csv
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdk_cryoem import ParallelCluster
from cdk_cryoem_stacks.changes import Change, Effect, changes
from cdk_cryoem_stacks.changes.policies import parallel_cluster_table
from cdk_cryoem_stacks.changes.rules import POLICIES
from cdk_cryoem_stacks.changes.values import key_text

Configuration = dict[str, Any]
Step = str | int
LIVE, DRAINS, STOPS, REFUSED = Effect.LIVE, Effect.DRAINS, Effect.STOPS_FLEET, Effect.REPLACES_CLUSTER


def configuration(strategy: str | None = "DRAIN", **sections: Any) -> Configuration:
    scheduling = {
        "SlurmSettings": {"ScaledownIdletime": 10, **({"QueueUpdateStrategy": strategy} if strategy else {})},
        "SlurmQueues": [queue()],
    }
    return {"Region": "us-east-1", "Scheduling": scheduling} | sections


def queue(**properties: Any) -> dict[str, Any]:
    return {
        "Name": "gpu8",
        "ComputeResources": [{"Name": "nodes", "Instances": [{"InstanceType": "a"}], "MinCount": 0, "MaxCount": 2}],
    } | properties


def resource(**properties: Any) -> dict[str, Any]:
    return queue(ComputeResources=[queue()["ComputeResources"][0] | properties])


def with_queues(*queues: dict[str, Any], strategy: str | None = "DRAIN") -> Configuration:
    made = configuration(strategy)
    made["Scheduling"]["SlurmQueues"] = list(queues)
    return made


def storage(kind: str = "FsxLustre", name: str = "s", mount: str = "/s", **properties: Any) -> dict[str, Any]:
    return {"Name": name, "MountDir": mount, "StorageType": kind, f"{kind}Settings": properties}


ELSEWHERE = {"FileSystemId": "fs-1"}
LOGIN = {"Pools": [{"Name": "p", "Count": 1, "InstanceType": "a"}]}
NONE = {"Pools": [{"Name": "p", "Count": 0, "InstanceType": "a"}]}
MANAGED = {"Networking": {"SubnetIds": ["a"], "PlacementGroup": {"Enabled": True}}}
GROUP = "Scheduling.SlurmQueues[gpu8].Networking.PlacementGroup"
SUBNETS = "Scheduling.SlurmQueues[gpu8].Networking.SubnetIds"


def in_subnets(*subnets: str, strategy: str | None = "DRAIN", **sections: Any) -> Configuration:
    return with_queues(queue(Networking={"SubnetIds": list(subnets)}), strategy=strategy) | sections


def chef(text: str) -> Configuration:
    return configuration(DevSettings={"Cookbook": {"ExtraChefAttributes": text}})


# For each policy: old, new, path, effect.
CASES: dict[str, list[tuple[Configuration, Configuration, str, Effect]]] = {
    "SUPPORTED": [
        (
            configuration(HeadNode={"Ssh": {"AllowedIps": "10.0.0.0/8"}}),
            configuration(HeadNode={"Ssh": {"AllowedIps": "10.0.0.0/9"}}),
            "HeadNode.Ssh.AllowedIps",
            LIVE,
        )
    ],
    "IGNORED": [
        # Its new value counts in the same update, but by itself it is no update.
        (
            configuration("DRAIN"),
            configuration("TERMINATE"),
            "Scheduling.SlurmSettings.QueueUpdateStrategy",
            Effect.NOTHING,
        ),
    ],
    "UNSUPPORTED": [
        (
            configuration(HeadNode={"InstanceType": "m7i.xlarge"}),
            configuration(HeadNode={"InstanceType": "m7i.2xlarge"}),
            "HeadNode.InstanceType",
            REFUSED,
        ),
    ],
    "SUPPORTED_UNLESS_ADC": [
        (
            configuration(Tags=[{"Key": "a", "Value": "1"}]),
            configuration(Tags=[{"Key": "a", "Value": "2"}]),
            "Tags[a].Value",
            LIVE,
        ),
        (
            configuration(Tags=[{"Key": "a", "Value": "1"}]) | {"Region": "us-iso-east-1"},
            configuration(Tags=[{"Key": "a", "Value": "2"}]) | {"Region": "us-iso-east-1"},
            "Tags[a].Value",
            REFUSED,
        ),
    ],
    "EXTRA_CHEF_ATTRIBUTES": [
        (
            chef('{"cluster": {"slurm": {"reconfigure_timeout": 1}}}'),
            chef('{"cluster": {"slurm": {"reconfigure_timeout": 2}}}'),
            "DevSettings.Cookbook.ExtraChefAttributes",
            LIVE,
        ),
        (
            chef('{"cluster": {"slurm": {"reconfigure_timeout": 1}}}'),
            chef('{"cluster": {"other": 2}}'),
            "DevSettings.Cookbook.ExtraChefAttributes",
            REFUSED,
        ),
    ],
    "COMPUTE_FLEET_STOP": [
        (
            configuration(),
            configuration()
            | {"Scheduling": configuration()["Scheduling"] | {"SlurmSettings": {"ScaledownIdletime": 20}}},
            "Scheduling.SlurmSettings.ScaledownIdletime",
            STOPS,
        ),
    ],
    "COMPUTE_FLEET_STOP_ON_REMOVE": [
        (
            with_queues(resource(Instances=[{"InstanceType": "a"}])),
            with_queues(resource(Instances=[{"InstanceType": "a"}, {"InstanceType": "b"}])),
            "Scheduling.SlurmQueues[gpu8].ComputeResources[nodes].Instances[b]",
            LIVE,
        ),
        (
            with_queues(resource(Instances=[{"InstanceType": "a"}, {"InstanceType": "b"}])),
            with_queues(resource(Instances=[{"InstanceType": "a"}])),
            "Scheduling.SlurmQueues[gpu8].ComputeResources[nodes].Instances[b]",
            STOPS,
        ),
    ],
    "QUEUE_UPDATE_STRATEGY": [
        (
            with_queues(queue(CapacityType="ONDEMAND")),
            with_queues(queue(CapacityType="SPOT")),
            "Scheduling.SlurmQueues[gpu8].CapacityType",
            DRAINS,
        ),
        (
            with_queues(queue(CapacityType="ONDEMAND"), strategy=None),
            with_queues(queue(CapacityType="SPOT"), strategy=None),
            "Scheduling.SlurmQueues[gpu8].CapacityType",
            STOPS,
        ),
        # Not below a queue, where the strategy does not count.
        (
            configuration(DevSettings={"EfaInterfaceType": "efa"}),
            configuration(DevSettings={"EfaInterfaceType": "efa-only"}),
            "DevSettings.EfaInterfaceType",
            STOPS,
        ),
    ],
    "RESIZE_UPDATE_STRATEGY_ON_REMOVE": [
        (
            with_queues(resource(MaxCount=2)),
            with_queues(resource(MaxCount=3)),
            "Scheduling.SlurmQueues[gpu8].ComputeResources[nodes].MaxCount",
            LIVE,
        ),
        (
            with_queues(resource(MaxCount=2)),
            with_queues(resource(MaxCount=1)),
            "Scheduling.SlurmQueues[gpu8].ComputeResources[nodes].MaxCount",
            STOPS,
        ),
        (
            with_queues(resource(MaxCount=2), strategy="TERMINATE"),
            with_queues(resource(MaxCount=1), strategy="TERMINATE"),
            "Scheduling.SlurmQueues[gpu8].ComputeResources[nodes].MaxCount",
            DRAINS,
        ),
        # ParallelCluster's default of 10.
        (
            with_queues(resource(MaxCount=None)),
            with_queues(resource(MaxCount=10)),
            "Scheduling.SlurmQueues[gpu8].ComputeResources[nodes].MaxCount",
            LIVE,
        ),
        (
            with_queues(resource(MinCount=0)),
            with_queues(resource(MinCount=1)),
            "Scheduling.SlurmQueues[gpu8].ComputeResources[nodes].MinCount",
            STOPS,
        ),
        (
            with_queues(resource(MinCount=0, MaxCount=2)),
            with_queues(resource(MinCount=1, MaxCount=3)),
            "Scheduling.SlurmQueues[gpu8].ComputeResources[nodes].MinCount",
            LIVE,
        ),
        (with_queues(queue()), with_queues(queue(), queue(Name="new")), "Scheduling.SlurmQueues[new]", LIVE),
        (with_queues(queue(), queue(Name="old")), with_queues(queue()), "Scheduling.SlurmQueues[old]", STOPS),
    ],
    "MANAGED_PLACEMENT_GROUP": [
        (
            with_queues(queue(Networking={"SubnetIds": ["a"]})),
            with_queues(queue(**MANAGED)),
            GROUP,
            DRAINS,
        ),
        (with_queues(queue(**MANAGED)), with_queues(queue(Networking={"SubnetIds": ["a"]})), GROUP, STOPS),
    ],
    "MANAGED_FSX": [
        (in_subnets("a"), in_subnets("b"), SUBNETS, DRAINS),
        (in_subnets("a", strategy=None), in_subnets("a", "b", strategy=None), SUBNETS, LIVE),
        (in_subnets("a", "b", strategy=None), in_subnets("a", strategy=None), SUBNETS, STOPS),
        (
            in_subnets("a", SharedStorage=[storage(StorageCapacity=1200)]),
            in_subnets("a", "b", SharedStorage=[storage(StorageCapacity=1200)]),
            SUBNETS,
            REFUSED,
        ),
    ],
    "SHARED_STORAGE_UPDATE_POLICY": [
        (configuration(), configuration(SharedStorage=[storage(**ELSEWHERE)]), "SharedStorage[s]", LIVE),
        (configuration(SharedStorage=[storage(**ELSEWHERE)]), configuration(), "SharedStorage[s]", LIVE),
        (configuration(), configuration(SharedStorage=[storage("Ebs", Size=10)]), "SharedStorage[s]", DRAINS),
        (configuration(None), configuration(None, SharedStorage=[storage("Ebs", Size=10)]), "SharedStorage[s]", STOPS),
        (
            configuration(LoginNodes=LOGIN),
            configuration(LoginNodes=LOGIN, SharedStorage=[storage("Ebs", Size=10)]),
            "SharedStorage[s]",
            STOPS,
        ),
        (
            configuration(),
            configuration(SharedStorage=[storage(mount="/home", **ELSEWHERE)]),
            "SharedStorage[s]",
            REFUSED,
        ),
        (
            configuration(SharedStorage=[storage(**ELSEWHERE)]),
            configuration(SharedStorage=[storage(mount="/other", **ELSEWHERE)]),
            "SharedStorage[s].MountDir",
            STOPS,
        ),
    ],
    "COMPUTE_AND_LOGIN_NODES_STOP": [
        (
            configuration(DirectoryService={"DomainName": "a"}),
            configuration(DirectoryService={"DomainName": "b"}),
            "DirectoryService.DomainName",
            STOPS,
        )
    ],
    "LOGIN_NODES_STOP": [
        (configuration(), configuration(LoginNodes=LOGIN), "LoginNodes", LIVE),
        (configuration(LoginNodes=LOGIN), configuration(), "LoginNodes", STOPS),
    ],
    "LOGIN_NODES_POOLS_UPDATE_POLICY": [
        (
            configuration(LoginNodes=LOGIN),
            configuration(LoginNodes={"Pools": [*LOGIN["Pools"], {"Name": "q", "Count": 1}]}),
            "LoginNodes.Pools[q]",
            LIVE,
        ),
        (
            configuration(LoginNodes={"Pools": [*LOGIN["Pools"], {"Name": "q", "Count": 1}]}),
            configuration(LoginNodes=LOGIN),
            "LoginNodes.Pools[q]",
            STOPS,
        ),
    ],
    "LOGIN_NODES_POOL_STOP": [
        (
            configuration(LoginNodes=LOGIN),
            configuration(LoginNodes={"Pools": [LOGIN["Pools"][0] | {"InstanceType": "b"}]}),
            "LoginNodes.Pools[p].InstanceType",
            STOPS,
        ),
        (
            configuration(LoginNodes=NONE),
            configuration(LoginNodes={"Pools": [NONE["Pools"][0] | {"InstanceType": "b"}]}),
            "LoginNodes.Pools[p].InstanceType",
            LIVE,
        ),
    ],
    "READ_ONLY_RESOURCE_BUCKET": [
        (configuration(CustomS3Bucket="a"), configuration(CustomS3Bucket="b"), "CustomS3Bucket", REFUSED)
    ],
}


def test_every_policy_of_the_table_has_a_rule_and_a_case() -> None:
    table = {entry.policy for entry in parallel_cluster_table().entries.values()}
    assert table == POLICIES == set(CASES)


def test_the_table_is_that_of_the_version_that_is_deployed() -> None:
    assert ParallelCluster.__init__.__kwdefaults__["version"] == parallel_cluster_table().version


@pytest.mark.parametrize(
    ("policy", "old", "new", "path", "effect"),
    [(policy, *case) for policy, cases in CASES.items() for case in cases],
)
def test_a_policy(policy: str, old: Configuration, new: Configuration, path: str, effect: Effect) -> None:
    assert {change.path: change.effect for change in changes(old, new)}[path] == effect
    entries = parallel_cluster_table().entries
    place = re.sub(r"\[[^]]*\]", "[]", path)
    assert (entries.get(place) or entries[f"{place}[]"]).policy == policy


def test_a_property_that_parallelcluster_does_not_know_is_refused() -> None:
    (change,) = changes(configuration(), configuration(Nonsense="1"))
    assert (change.path, change.effect) == ("Nonsense", REFUSED)


def test_a_count_that_is_a_reference_is_not_taken_for_growth() -> None:
    (change,) = changes(with_queues(resource(MaxCount=2)), with_queues(resource(MaxCount={"Ref": "Parameter"})))
    assert change.effect is STOPS


# ---- what to do ----------------------------------------------------------------------------------------------------


def test_a_stopped_fleet_comes_with_the_commands_to_type() -> None:
    old, new = with_queues(resource(MaxCount=2)), with_queues(resource(MaxCount=1))
    (change,) = changes(old, new, cluster="krios", region="eu-central-1")
    assert "pcluster update-compute-fleet --status STOP_REQUESTED -n krios -r eu-central-1\n" in change.what_to_do
    assert "pcluster update-compute-fleet --status START_REQUESTED -n krios -r eu-central-1" in change.what_to_do
    assert (change.setting, change.old, change.new) == ("lanes gpu8.max_nodes", 2, 1)


def test_what_is_refused_says_what_survives_and_a_volume_that_ec2_can_grow() -> None:
    sizes = [configuration(SharedStorage=[storage("Ebs", "cryosparc", Size=size)]) for size in (200, 300)]
    (volume,) = changes(*sizes, cluster="krios")
    assert (volume.effect, volume.setting) == (REFUSED, "head_node.cryosparc_volume_gib")
    assert "aws ec2 modify-volume" in volume.what_to_do
    (system,) = changes(configuration(Image={"Os": "ubuntu2204"}), configuration(Image={"Os": "ubuntu2404"}))
    assert "modify-volume" not in system.what_to_do
    for kept in ("file system", "buckets", "cryoSPARC's volume"):
        assert kept in system.what_to_do


def test_another_order_is_no_change_by_itself_and_comes_with_the_next() -> None:
    def lanes(*types: str, most: int = 2) -> Configuration:
        return with_queues(resource(Instances=[{"InstanceType": name} for name in types], MaxCount=most))

    (turned,) = changes(lanes("a", "b"), lanes("b", "a"))
    assert (turned.effect, turned.setting) == (Effect.NOTHING, "lanes gpu8.instance_types")
    assert (turned.old, turned.new) == (["a", "b"], ["b", "a"])
    assert "updates nothing" in turned.what_to_do
    assert {change.effect for change in changes(lanes("a", "b"), lanes("b", "a", most=3))} == {LIVE}


def test_references_are_compared_as_they_stand() -> None:
    def policy(argument: object) -> Configuration:
        return configuration(HeadNode={"Iam": {"AdditionalIamPolicies": [{"Policy": argument}]}})

    joined = {"Fn::Join": ["", ["arn:", {"Ref": "AWS::Partition"}, ":iam::aws:policy/P"]]}
    assert changes(policy(joined), policy(copy.deepcopy(joined))) == []
    found = changes(policy(joined), policy({"Ref": "Own"}))
    assert {change.path for change in found} == {
        "HeadNode.Iam.AdditionalIamPolicies[arn:AWS::Partition:iam::aws:policy/P]",
        "HeadNode.Iam.AdditionalIamPolicies[Own]",
    }
    assert {change.effect for change in found} == {LIVE}


# ---- every leaf of what we deploy ----------------------------------------------------------------------------------

KEYS = ("Name", "Key", "Policy", "InstanceType")


@pytest.fixture(scope="module")
def deployed(templates: dict[str, dict[str, Any]]) -> Configuration:
    resources = templates["cluster"]["Resources"].values()
    (cluster,) = (resource for resource in resources if resource["Type"] == "Custom::PclusterCluster")
    found: Configuration = cluster["Properties"]["ClusterConfiguration"]
    return found


def leaves(node: Any, path: tuple[Step, ...] = ()) -> Iterator[tuple[Step, ...]]:
    if isinstance(node, dict) and not (len(node) == 1 and next(iter(node)).startswith(("Ref", "Fn::"))):
        for key, value in node.items():
            yield from leaves(value, (*path, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from leaves(value, (*path, index))
    else:
        yield path


def at(node: Any, path: tuple[Step, ...]) -> Any:
    for step in path:
        node = node[step]
    return node


def spelled(root: Configuration, path: tuple[Step, ...]) -> tuple[str, str]:
    """The path as ParallelCluster has it, down to the property that its schema knows; and its place in the table."""
    entries = parallel_cluster_table().entries
    place, text = "", ""
    for index, step in enumerate(path):
        if isinstance(step, int):
            if f"{place}[]" not in entries:
                return text, place
            item = at(root, path[: index + 1])
            text += f"[{key_text(item[entries[f'{place}[]'].key])}]"
            place += "[]"
        elif place and f"{place}.{step}" not in entries and f"{place}.{step}[]" not in entries:
            return text, place
        else:
            text, place = (f"{text}.{step}", f"{place}.{step}") if place else (step, step)
    return text, place


def other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return {"Ref": "Other"} if isinstance(value, dict) else f"{value}-other"


def test_every_leaf_that_changes_is_one_change_of_that_path(deployed: Configuration) -> None:
    paths = list(leaves(deployed))
    checked = 0
    for path in paths:
        if path[-1] in KEYS and isinstance(path[-2], int):
            continue  # the key of an item: another item comes, this one goes
        new = copy.deepcopy(deployed)
        at(new, path[:-1])[path[-1]] = other(at(deployed, path))
        found = changes(deployed, new)
        assert [change.path for change in found] == [spelled(deployed, path)[0]], path
        assert [change.effect for change in changes(as_text(deployed), as_text(new))] == [found[0].effect]
        checked += 1
    assert checked > 100


def test_nothing_that_we_deploy_is_unknown_to_the_table(deployed: Configuration) -> None:
    entries = parallel_cluster_table().entries
    for path in leaves(deployed):
        place = spelled(deployed, path)[1]
        assert place in entries or f"{place}[]" in entries, place


# ---- laws ----------------------------------------------------------------------------------------------------------


def as_text(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: as_text(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [as_text(inner) for inner in value]
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if value is None else str(value)


scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3)
names = st.sampled_from(["Scheduling", "SlurmQueues", "Name", "MaxCount", "Tags", "Key", "Iam", "HeadNode", "X"])
trees = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4), max_leaves=12
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(names, trees, max_size=4))
def test_the_same_is_no_change_also_as_text(tree: dict[str, Any]) -> None:
    assert changes(tree, copy.deepcopy(tree)) == []
    assert changes(tree, as_text(tree)) == []


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_counts_only_ever_grow_live(before: list[int], after: list[int]) -> None:
    def lanes(counts: list[int]) -> Configuration:
        return with_queues(*(resource(MaxCount=n) | {"Name": f"lane{i}"} for i, n in enumerate(counts)))

    found: list[Change] = changes(lanes(before), lanes(after))
    shrinks = len(after) < len(before) or any(new < old for old, new in zip(before, after, strict=False))
    assert any(change.effect is STOPS for change in found) == shrinks
    assert all(change.effect in (LIVE, STOPS) for change in found)


def test_the_functions_import_neither_the_cdk_nor_boto3(root: Path) -> None:
    code = "import sys, cdk_cryoem_stacks.changes as c; c.changes({}, {'Region': 'x'}); print(*sorted(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert not {"aws_cdk", "jsii", "boto3", "pydantic"} & set(ran.stdout.split())


def test_the_committed_table_has_no_path_twice(root: Path) -> None:
    lines = (root / "stacks/cdk_cryoem_stacks/data/parallel_cluster_update_policies.csv").read_text().splitlines()
    paths = [row["path"] for row in csv.DictReader(lines[1:])]
    assert len(paths) == len(set(paths)) > 300
