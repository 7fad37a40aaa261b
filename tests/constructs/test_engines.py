"""One suite for both engines: whatever the rest of the system asks of an engine, it gets from either."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_events as events
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk.assertions import Template
from pcs_parts import parts

from cdk_cryoem import (
    CryoEmError,
    Cryosparc,
    Engine,
    HeadNode,
    Lane,
    LaneHooks,
    ParallelCluster,
    Pcs,
    default_lanes,
)

HEAD_NODE = Path(__file__).resolve().parents[2] / "constructs" / "cdk_cryoem" / "head_node"
TOKEN = "arn:aws:lambda:eu-west-1:111122223333:function:provider"
LICENSE = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:license-AbCdEf"
TASK = "arn:aws:datasync:eu-west-1:111122223333:task/task-0123456789abcdef0"
ENGINES = ("parallelcluster", "pcs")


@dataclass(frozen=True)
class Built:
    """An engine with hooks and an alarm, and their template."""

    stack: Stack
    engine: ParallelCluster | Pcs
    template: Template

    @property
    def resources(self) -> dict[str, Any]:
        found: dict[str, Any] = self.template.to_json()["Resources"]
        return found

    def parameter(self, beginning: str) -> str:
        """Text of an SSM parameter, with a mark where a value is known only at deployment."""
        ((value),) = [
            resource["Properties"]["Value"]
            for name, resource in self.resources.items()
            if resource["Type"] == "AWS::SSM::Parameter" and name.startswith(beginning)
        ]
        joined = value if isinstance(value, str) else "".join(
            part if isinstance(part, str) else "<later>" for part in value["Fn::Join"][1]
        )  # fmt: skip
        assert isinstance(joined, str)
        return joined


def engine_of(which: str, stack: Stack, **more: Any) -> ParallelCluster | Pcs:
    given = {**parts(stack), "cluster_name": "cryo", **more}
    if which == "pcs":
        return Pcs(stack, "Engine", **given)
    given.pop("ami_id")
    return ParallelCluster(stack, "Engine", **given, provider_service_token=TOKEN)


@pytest.fixture(scope="module")
def built(new_stack: Callable[[str], Stack], tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Built]:
    """Both engines with the same of everything, each in a stack of the same name."""
    recipes = tmp_path_factory.mktemp("recipes")
    (recipes / "spa").write_text("#!/bin/sh\n")

    def build(which: str) -> Built:
        stack = new_stack("Engines")
        engine = engine_of(
            which,
            stack,
            recipes=str(recipes),
            cryosparc=Cryosparc(
                license=secretsmanager.Secret.from_secret_complete_arn(stack, "License", LICENSE), license_tokens=100
            ),
            backup_bucket=s3.Bucket.from_bucket_name(stack, "Results", "results"),
            stages={"class2d": "gpu8"},
            tags={"team": "em"},
        )
        LaneHooks(
            stack,
            "Hooks",
            engine=engine,
            landing_bucket=s3.Bucket.from_bucket_name(stack, "Landing", "movies"),
            ingest_task_arns=[TASK],
            recipe="spa",
            stop_head_node_after_minutes=60,
        )
        cloudwatch.Alarm(stack, "Alarm", metric=engine.metric_failed_nodes(), threshold=1, evaluation_periods=1)
        return Built(stack, engine, Template.from_stack(stack))

    return {which: build(which) for which in ENGINES}


@pytest.fixture(params=ENGINES)
def one(request: pytest.FixtureRequest, built: Mapping[str, Built]) -> Built:
    return built[request.param]


def test_it_is_an_engine(one: Built) -> None:
    assert isinstance(one.engine, Engine)


def test_it_has_every_member_of_the_protocol_with_the_type_it_says(one: Built) -> None:
    engine: Engine = one.engine
    assert engine.cluster_name == "cryo"
    assert tuple(engine.lanes) == default_lanes()
    assert dict(engine.partitions) == {lane.name: lane.partition for lane in default_lanes()}
    assert isinstance(engine.event_bus, events.EventBus)
    assert isinstance(engine.head_node_instance_id, str)


@pytest.mark.parametrize("which", ENGINES)
def test_its_generation_is_the_same_as_long_as_its_head_node_is(which: str, new_stack: Callable[[str], Stack]) -> None:
    def generation(**changes: Any) -> str:
        return engine_of(which, new_stack("Generation"), **changes).generation

    usual = generation()
    assert usual
    for same in (
        {"head_node": HeadNode(instance_type="m7i.2xlarge", cryosparc_volume_gib=300)},
        {"lanes": [Lane(name="one", instance_types=["m6i.8xlarge"])]},
        {"tags": {"team": "em"}},
    ):
        assert generation(**same) == usual, same
    # ParallelCluster changes the image and the root volume of no cluster that is there.
    another = {"ami_id": "ami-00000000"} if which == "pcs" else {"cluster_name": "another"}
    assert generation(**another) != usual
    if which == "pcs":
        assert generation(head_node=HeadNode(root_volume_gib=200)) != usual
        stack = new_stack("Elsewhere")
        elsewhere = ec2.Subnet.from_subnet_attributes(stack, "S", subnet_id="subnet-2", availability_zone="eu-west-1b")
        assert engine_of(which, stack, subnet=elsewhere).generation != usual


def test_lanes_and_partitions_are_in_the_order_they_were_given(one: Built) -> None:
    assert list(one.engine.partitions) == [lane.name for lane in one.engine.lanes]


def test_the_head_nodes_id_refers_to_a_resource_of_the_template(one: Built) -> None:
    found = one.stack.resolve(one.engine.head_node_instance_id)
    (resource,) = references(found)
    assert one.resources[resource]["Type"] in {"AWS::EC2::Instance", "Custom::PclusterCluster"}


def test_the_event_bus_is_the_engines_own(one: Built) -> None:
    (bus,) = one.template.find_resources("AWS::Events::EventBus")
    assert bus.startswith("EngineEventBus")
    assert one.stack.resolve(one.engine.event_bus.event_bus_name) == {"Ref": bus}


def test_the_alarm_on_failed_nodes_counts_over_five_minutes(one: Built) -> None:
    (name,) = [
        name for name in one.template.find_resources("AWS::CloudWatch::Alarm") if re.match("Alarm[0-9A-F]{8}$", name)
    ]
    metrics = one.resources[name]["Properties"]["Metrics"]
    periods = {query["MetricStat"]["Period"] for query in metrics if "MetricStat" in query}
    sums = {query["MetricStat"]["Stat"] for query in metrics if "MetricStat" in query}
    assert (periods, sums) == ({300}, {"Sum"})


def test_jobs_that_are_lost_can_be_watched_where_some_can_be(built: Mapping[str, Built]) -> None:
    metrics = {which: built[which].engine.metric_lost_job_records() for which in ENGINES}
    assert metrics["parallelcluster"] is None
    assert metrics["pcs"] is not None


def test_the_manifest_is_the_same_but_for_what_slurm_counts_as_cpus(built: Mapping[str, Built]) -> None:
    first, second = (built[which].parameter("EngineLaneManifest") for which in ENGINES)
    manifest, other = json.loads(first), json.loads(second)
    for lane, cores in zip(manifest["lanes"], other["lanes"], strict=True):
        # PCS switches hyper-threading off, so Slurm counts cores there.
        assert cores.pop("vcpus") * 2 == lane.pop("vcpus")
    assert manifest == other
    assert manifest["cluster"] == "cryo"
    assert [lane["name"] for lane in manifest["lanes"]] == [lane.name for lane in default_lanes()]
    assert manifest["stages"]["class2d"] == "gpu8"


def test_the_setup_has_all_that_the_head_node_reads(one: Built) -> None:
    shell = "".join((HEAD_NODE / name).read_text() for name in ("bootstrap.sh", "trampoline.sh"))
    # `setting NAME` must be there; `setting NAME DEFAULT` may be.
    needed = set(re.findall(r"\(setting (\w+)\)", shell)) | set(re.findall(r'\["(\w+)"\]\)', shell))
    optional = set(re.findall(r"\(setting (\w+) [^)]+\)", shell))
    assert {"scripts", "cluster", "event_bus"} <= needed
    setup = json.loads(one.parameter("EngineProgramsSetup"))
    assert needed <= set(setup)
    assert set(setup) - needed - optional <= {"data_volume", "lustre"}, "those of join-pcs.sh"
    assert all(isinstance(value, str) and value for value in setup.values())


def test_what_both_setups_say_is_the_same(built: Mapping[str, Built]) -> None:
    first, second = (json.loads(built[which].parameter("EngineProgramsSetup")) for which in ENGINES)
    both = set(first) & set(second)
    assert {name: first[name] for name in both} == {name: second[name] for name in both}
    assert set(first) <= set(second)
    assert set(second) - set(first) == {"slurm_bin", "user", "pcs_cluster", "data_volume", "lustre"}


def test_join_pcs_reads_only_what_the_pcs_setup_says(built: Mapping[str, Built]) -> None:
    read = set(re.findall(r"setting (\w+)\)", (HEAD_NODE / "join-pcs.sh").read_text()))
    assert {"data_volume", "slurm_bin", "pcs_cluster", "lustre"} <= read
    assert read <= set(json.loads(built["pcs"].parameter("EngineProgramsSetup")))


def references(value: Any) -> Iterator[str]:
    """Logical ids that a value refers to."""
    if isinstance(value, dict):
        if isinstance(value.get("Ref"), str):
            yield value["Ref"]
        if isinstance(value.get("Fn::GetAtt"), list):
            yield value["Fn::GetAtt"][0]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def without_references(value: Any) -> Any:
    """The value with one mark for whatever of the engine it refers to, and one for its generation."""
    if isinstance(value, dict):
        here = {key: inner for key, inner in value.items() if key in ("Ref", "Fn::GetAtt")}
        if any(found.startswith("Engine") for found in references(here)):
            return "<engine>"
        return {
            key: f"<{key}>" if key in ("ENGINE_GENERATION", "INSTANCE_TAG") else without_references(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [without_references(inner) for inner in value]
    return value


def test_the_hooks_on_both_are_the_same_resources_apart_from_references(built: Mapping[str, Built]) -> None:
    first, second = (
        {
            name: without_references(resource)
            for name, resource in built[which].resources.items()
            if name.startswith("Hooks")
        }
        for which in ENGINES
    )
    assert len(first) > 30
    lost = [name for name in second if name not in first]
    assert [name[:-8] for name in lost] == ["HooksLostJobRecordsAlarm"], "with ParallelCluster none can be lost"
    assert set(first) <= set(second)
    metrics = {name for name in first if "FailedNodesAlarm" in name}
    assert len(metrics) == 1
    for name in set(first) - metrics:
        assert first[name] == second[name], name
    for name in metrics:
        alarms = [{**each[name]["Properties"], "Metrics": None} for each in (first, second)]
        assert alarms[0] == alarms[1], "what is counted differs, what is done does not"


def test_every_hook_is_told_the_same_names(one: Built) -> None:
    found = [
        resource["Properties"]["Environment"]["Variables"]
        for name, resource in one.resources.items()
        if resource["Type"] == "AWS::Lambda::Function" and name.startswith("Hooks")
    ]
    assert len(found) == 4
    for told in found:
        assert told["CLUSTER"] == "cryo"
        assert set(references(told["HEAD_NODE"])) == set(
            references(one.stack.resolve(one.engine.head_node_instance_id))
        )
        assert told["EVENT_BUS"] == one.stack.resolve(one.engine.event_bus.event_bus_name)
        assert told["MANIFEST_PARAMETER"] == one.stack.resolve(one.engine.lane_manifest.parameter_name)


def statements_of_the_head_node(built: Built) -> list[tuple[tuple[str, ...], str]]:
    """Actions and resources of whatever policy the head node has."""
    (found,) = [
        resource["Properties"]["PolicyDocument"]["Statement"]
        for name, resource in built.resources.items()
        if re.match("EngineHeadNode(Policy|RoleDefaultPolicy)", name)
    ]
    return [
        (tuple(s["Action"]) if isinstance(s["Action"], list) else (s["Action"],), json.dumps(s["Resource"]))
        for s in found
    ]


def test_the_head_node_may_do_the_same_and_on_pcs_three_things_more(built: Mapping[str, Built]) -> None:
    first, second = (statements_of_the_head_node(built[which]) for which in ENGINES)
    assert len(first) >= 7
    assert [statement for statement in first if statement not in second] == []
    more = sorted({action for actions, _ in second if (actions, _) not in first for action in actions})
    assert more == ["ec2:AttachVolume", "pcs:GetCluster", "secretsmanager:GetSecretValue"]


def test_session_manager_is_the_way_to_the_head_node(one: Built) -> None:
    assert "AmazonSSMManagedInstanceCore" in json.dumps(one.resources)
    assert "KeyName" not in json.dumps(one.resources)


def test_nodes_get_the_same_script(built: Mapping[str, Built]) -> None:
    first, second = (built[which].engine.node_script.s3_object_key for which in ENGINES)
    assert built["pcs"].stack.resolve(second) == built["parallelcluster"].stack.resolve(first)


def test_the_database_is_on_a_volume_of_the_same_size_that_stays(built: Mapping[str, Built]) -> None:
    (volume,) = built["pcs"].template.find_resources("AWS::EC2::Volume").values()
    (cluster,) = built["parallelcluster"].template.find_resources("Custom::PclusterCluster").values()
    (shared,) = [s for s in cluster["Properties"]["ClusterConfiguration"]["SharedStorage"] if s["Name"] == "cryosparc"]
    assert volume["Properties"]["Size"] == shared["EbsSettings"]["Size"] == HeadNode().cryosparc_volume_gib
    assert volume["DeletionPolicy"] == shared["EbsSettings"]["DeletionPolicy"] == "Retain"
    assert volume["Properties"]["Encrypted"] is shared["EbsSettings"]["Encrypted"] is True


@pytest.mark.parametrize("which", ENGINES)
@pytest.mark.parametrize(
    ("changes", "prop"),
    [
        ({"lanes": []}, "lanes"),
        ({"lanes": [Lane(name="one", instance_types=["m6i.8xlarge"])] * 2}, "lanes"),
        ({"cluster_name": "No"}, "cluster_name"),
        ({"head_node": HeadNode(instance_type="m7i.large")}, "head_node.instance_type"),
    ],
    ids=["no lanes", "two of one name", "name", "small head node"],
)
def test_both_refuse_the_same_in_the_same_words(
    which: str, changes: dict[str, Any], prop: str, new_stack: Callable[[str], Stack]
) -> None:
    with pytest.raises(CryoEmError) as caught:
        engine_of(which, new_stack("Wrong"), **changes)
    assert [problem.property for problem in caught.value.problems] == [prop]


@pytest.mark.parametrize("which", ENGINES)
def test_a_stage_on_a_lane_that_is_none_is_refused(which: str, new_stack: Callable[[str], Stack]) -> None:
    with pytest.raises(CryoEmError, match=r"stages\.class2d: got 'gpu99'"):
        engine_of(which, new_stack("Wrong"), stages={"class2d": "gpu99"})


def test_two_engines_of_different_kinds_live_in_one_stack(new_stack: Callable[[str], Stack]) -> None:
    stack = new_stack("Both")
    given = parts(stack)
    pcs = Pcs(stack, "New", **given)
    given.pop("ami_id")
    old = ParallelCluster(stack, "Old", **given, provider_service_token=TOKEN)
    for name, engine in (("NewHooks", pcs), ("OldHooks", old)):
        LaneHooks(stack, name, engine=engine, landing_bucket=s3.Bucket.from_bucket_name(stack, f"{name}L", "movies"))
    template = Template.from_stack(stack)
    template.resource_count_is("AWS::PCS::Cluster", 1)
    template.resource_count_is("Custom::PclusterCluster", 1)
    assert pcs.cluster_name != old.cluster_name
