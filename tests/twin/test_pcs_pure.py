"""The double of PCS, as far as it is pure: Slurm of the very properties that AWS would get, records of finished jobs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App, Stack
from aws_cdk.assertions import Template
from hypothesis import given, settings
from hypothesis import strategies as st
from pcs_parts import parts

from cdk_cryoem import Capacity, Lane, Pcs, default_lanes
from cdk_cryoem_lambda import pcs_jobs
from cdk_cryoem_twin.cluster import PCS, Cluster
from cdk_cryoem_twin.pcs import programs
from cdk_cryoem_twin.pcs.spec import node_set, slurm_spec
from cdk_cryoem_twin.pcs.state import PcsState
from cdk_cryoem_twin.places import Places
from cdk_cryoem_twin.slurm.conf import gres_conf, slurm_conf
from cdk_cryoem_twin.slurm.spec import SlurmSpec

FOLDER = Path("/base/bin")


def told(*lanes: Lane, size: str = "SMALL") -> PcsState:
    """What CloudFormation would tell PCS of these lanes, with logical ids for PCS's own."""
    stack = Stack(App(analytics_reporting=False), "Test")
    Pcs(stack, "Cluster", **{**parts(stack), "lanes": lanes or default_lanes()}, size=size)
    resources = Template.from_stack(stack).to_json()["Resources"]

    def of_type(kind: str) -> dict[str, Any]:
        return {name: resolved(r["Properties"]) for name, r in resources.items() if r["Type"] == f"AWS::PCS::{kind}"}

    def resolved(value: Any) -> Any:
        if isinstance(value, dict):
            return value["Fn::GetAtt"][0] if "Fn::GetAtt" in value else {k: resolved(v) for k, v in value.items()}
        return [resolved(inner) for inner in value] if isinstance(value, list) else value

    return PcsState(clusters=of_type("Cluster"), node_groups=of_type("ComputeNodeGroup"), queues=of_type("Queue"))


def as_text(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: as_text(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [as_text(inner) for inner in value]
    return str(value).lower() if isinstance(value, bool) else str(value)


@pytest.fixture(scope="module")
def spec() -> SlurmSpec:
    return slurm_spec(told(), programs=FOLDER)


def text(spec: SlurmSpec) -> str:
    return slurm_conf(
        spec, base=Path("/base"), host="h", user="u", controller_port=29999, node_ports=range(30000, 30060)
    )


# --- Slurm of what PCS was told ---------------------------------------------------------------------------------------


def test_partitions_are_the_queues_and_the_first_takes_what_names_none(spec: SlurmSpec) -> None:
    assert [partition.name for partition in spec.partitions] == [lane.partition for lane in default_lanes()]
    assert [partition.is_default for partition in spec.partitions] == [True, False, False, False, False]
    assert {tuple(partition.settings.items()) for partition in spec.partitions} == {
        (("MaxTime", "2880"), ("DefaultTime", "2880"))
    }, "Default is no setting twice"


def test_nodes_are_named_after_their_group_and_sized_as_told(spec: SlurmSpec) -> None:
    found = {each.partition: each for each in spec.node_sets}
    lanes = {lane.name: lane for lane in default_lanes()}
    assert found["gpu4"].names == ("gpu4-1", "gpu4-2", "gpu4-3", "gpu4-4")
    assert {name: len(each.names) for name, each in found.items()} == {n: lane.max_nodes for n, lane in lanes.items()}
    for name, each in found.items():
        lane = lanes[name]
        # PCS switches hyper-threading off.
        assert (each.cpus, each.memory_mib, each.gpus) == (lane.cores, lane.memory_mib, lane.gpus), name
    assert (found["gpu4"].gpu_model, found["cpu"].gpu_model) == ("a10g", "")


def test_memory_is_scheduled_because_the_cluster_says_so() -> None:
    state = told()
    assert slurm_spec(state, programs=FOLDER).by_memory
    (cluster,) = state.clusters.values()
    del cluster["SlurmConfiguration"]
    assert not slurm_spec(state, programs=FOLDER).by_memory


def test_text_as_cloudformation_sends_it_gives_the_same_slurm() -> None:
    state = told(*default_lanes(), Lane(name="held", instance_types=["m6i.8xlarge"], hold_minutes=7))
    as_sent = PcsState(
        clusters=as_text(state.clusters), node_groups=as_text(state.node_groups), queues=as_text(state.queues)
    )
    assert slurm_spec(as_sent, programs=FOLDER) == slurm_spec(state, programs=FOLDER)
    assert text(slurm_spec(as_sent, programs=FOLDER)) == text(slurm_spec(state, programs=FOLDER))


def test_each_lane_has_its_own_idle_time_and_the_cluster_pcss() -> None:
    held = Lane(name="held", instance_types=["m6i.8xlarge"], hold_minutes=30)
    found = slurm_spec(told(Lane(name="cpu", instance_types=["m6i.8xlarge"]), held), programs=FOLDER)
    assert {partition.name: partition.idle_seconds for partition in found.partitions} == {"cpu": 300, "held": 2100}
    assert found.idle_seconds == 600
    assert "PartitionName=held " in text(found)
    assert "SuspendTime=600\n" in text(found)
    assert " SuspendTime=2100 " in text(found)


def test_a_group_and_a_cluster_that_say_no_idle_time_have_pcss(spec: SlurmSpec) -> None:
    state = told()
    for group in state.node_groups.values():
        del group["SlurmConfiguration"]
    found = slurm_spec(state, programs=FOLDER)
    assert {partition.idle_seconds for partition in found.partitions} == {600}
    (cluster,) = state.clusters.values()
    cluster["SlurmConfiguration"]["ScaleDownIdleTimeInSeconds"] = "900"
    assert slurm_spec(state, programs=FOLDER).idle_seconds == 900


def group(*types: str, most: int | str = 2, **slurm: Any) -> dict[str, Any]:
    return {
        "InstanceConfigs": [{"InstanceType": name} for name in types],
        "ScalingConfiguration": {"MinInstanceCount": 0, "MaxInstanceCount": most},
        **({"SlurmConfiguration": slurm} if slurm else {}),
    }


def test_two_groups_of_one_queue_have_names_of_their_own_and_the_shorter_idle_time() -> None:
    state = PcsState(
        clusters={"c": {}},
        node_groups={
            "g1": group("g5.12xlarge", ScaleDownIdleTimeInSeconds=700),
            "g2": group("g5.48xlarge", most=1, ScaleDownIdleTimeInSeconds=400),
        },
        queues={
            "q": {"Name": "gpu", "ComputeNodeGroupConfigurations": [{"ComputeNodeGroupId": g} for g in ("g1", "g2")]}
        },
    )
    found = slurm_spec(state, programs=FOLDER)
    assert [each.names for each in found.node_sets] == [("gpu-1", "gpu-2"), ("gpu-2-1",)]
    assert [each.gpus for each in found.node_sets] == [4, 8]
    (partition,) = found.partitions
    assert (partition.idle_seconds, partition.settings, partition.is_default) == (400, {}, False)
    assert "PartitionName=gpu Nodes=gpu-1,gpu-2,gpu-2-1 State=UP SuspendTime=400\n" in text(found)


def test_a_queue_without_groups_is_a_partition_without_nodes() -> None:
    found = slurm_spec(PcsState(clusters={"c": {}}, queues={"q": {"Name": "empty"}}), programs=FOLDER)
    assert found.node_sets == ()
    assert [(partition.name, partition.idle_seconds) for partition in found.partitions] == [("empty", None)]


def test_types_of_one_group_count_as_the_smallest_and_what_is_told_goes_before() -> None:
    found = node_set("q", 0, group("r6i.8xlarge", "m6i.8xlarge", most="3"))
    assert (found.names, found.cpus, found.memory_mib) == (("q-1", "q-2", "q-3"), 16, 128 * 1024)
    told_so = group("m6i.8xlarge", SlurmCustomSettings=[{"ParameterName": "RealMemory", "ParameterValue": "1000"}])
    assert node_set("q", 0, told_so).memory_mib == 1000


def test_a_second_cluster_is_more_than_the_twin_can_be() -> None:
    with pytest.raises(ValueError, match="too many values"):
        slurm_spec(PcsState(clusters={"a": {}, "b": {}}), programs=FOLDER)


def test_what_runs_beside_the_controller_is_in_slurms_configuration(spec: SlurmSpec) -> None:
    lines = text(spec).splitlines()
    for line in ("JobCompType=jobcomp/script", "JobCompLoc=/base/bin/jobcomp", "PrologSlurmctld=/base/bin/prolog"):
        assert lines.count(line) == 1
    assert text(spec).count("Default=YES") == 1
    assert "SelectTypeParameters=CR_CPU_Memory" in lines
    assert "NodeName=gpu1-1 Name=gpu Type=a10g File=/d0" in gres_conf(spec, devices=["/d0", "/d1"] * 4)


kinds = st.sampled_from(
    [
        {"instance_types": ("m6i.8xlarge", "m7i.8xlarge")},
        {"instance_types": ("g5.4xlarge", "g6e.4xlarge"), "gpus": 1},
        {"instance_types": ("g5.48xlarge",), "gpus": 8, "capacity": Capacity.SPOT},
    ]
)


@settings(max_examples=15, deadline=None, derandomize=True, database=None)
@given(chosen=st.lists(st.tuples(kinds, st.integers(1, 6), st.integers(0, 120)), min_size=1, max_size=4))
def test_whatever_the_lanes_the_double_has_their_nodes(chosen: list[tuple[dict[str, Any], int, int]]) -> None:
    lanes = [
        Lane(name=f"lane{n}", max_nodes=most, hold_minutes=hold, **kind) for n, (kind, most, hold) in enumerate(chosen)
    ]
    found = slurm_spec(told(*lanes), programs=FOLDER)
    assert [each.partition for each in found.node_sets] == [lane.name for lane in lanes]
    assert [len(each.names) for each in found.node_sets] == [lane.max_nodes for lane in lanes]
    names = [name for each in found.node_sets for name in each.names]
    assert len(names) == len(set(names))
    assert [p.idle_seconds for p in found.partitions] == [lane.hold_minutes * 60 + 300 for lane in lanes]


# --- state ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def places(tmp_path: Path) -> Places:
    made = Places(tmp_path)
    made.run.mkdir()
    return made


def test_what_was_told_is_written_down_whole_and_read_again(places: Places) -> None:
    assert PcsState.load(places) == PcsState()
    state = told()
    state.deliveries["PCS_JOBCOMP_LOGS"] = "/aws/vendedlogs/pcs/x"
    state.save(places)
    assert PcsState.load(places) == state
    assert slurm_spec(PcsState.load(places), programs=FOLDER) == slurm_spec(state, programs=FOLDER)
    assert [path.name for path in places.run.iterdir()] == ["pcs.json"], "no draft is left"


def test_two_states_share_nothing() -> None:
    one, other = PcsState(), PcsState()
    one.clusters["c"] = {}
    assert other.clusters == {}


# --- finished jobs ----------------------------------------------------------------------------------------------------

ENVIRONMENT = {
    "JOBID": "42",
    "JOBNAME": 'say "粒子"',
    "USERNAME": "ada",
    "PARTITION": "gpu4",
    "JOBSTATE": "COMPLETED",
    "EXITCODE": "0",
    "SUBMIT": "1799990000",
    "START": "1799990100",
    "END": "1799993700",
    "NODES": "gpu4-1",
    "NODECNT": "1",
}


def test_a_record_becomes_the_event_of_its_job() -> None:
    record = programs.record(ENVIRONMENT, cluster="pcs_1", tres="cpu=12,gres/gpu=1", work_dir="/fsx/projects/spike/J2")
    assert pcs_jobs.detail(json.loads(json.dumps(record)), cluster="cryo") == {
        "version": 1, "cluster": "cryo", "job_id": "42", "name": 'say "粒子"', "user": "ada", "partition": "gpu4",
        "state": "COMPLETED", "exit_code": "0", "submit": 1_799_990_000, "start": 1_799_990_100,
        "end": 1_799_993_700, "nodes": "gpu4-1", "node_count": 1, "tres": "cpu=12,gres/gpu=1", "project": "spike",
    }  # fmt: skip


def test_a_record_has_the_outside_that_aws_documents() -> None:
    record = programs.record(ENVIRONMENT, cluster="pcs_1", tres="", work_dir="")
    assert set(record) == {
        "resource_id", "resource_type", "event_timestamp", "scheduler_type", "scheduler_major_version", "fields",
    }  # fmt: skip
    assert (record["resource_id"], record["scheduler_type"]) == ("pcs_1", "slurm")
    assert isinstance(record["event_timestamp"], int)
    assert record["event_timestamp"] > 1e12, "milliseconds"


@pytest.mark.parametrize("name", ["JOBNAME", "USERNAME", "EXITCODE", "SUBMIT", "START", "NODES", "NODECNT"])
def test_what_slurm_does_not_say_is_no_reason_to_lose_a_job(name: str) -> None:
    environment = {key: value for key, value in ENVIRONMENT.items() if key != name}
    record = programs.record(environment, cluster="pcs_1", tres="", work_dir="")
    assert pcs_jobs.detail(record, cluster="cryo")["job_id"] == "42"


@pytest.mark.parametrize("name", ["JOBID", "PARTITION", "JOBSTATE", "END"])
def test_what_slurm_must_say(name: str) -> None:
    environment = {key: value for key, value in ENVIRONMENT.items() if key != name}
    with pytest.raises(KeyError, match=name):
        programs.record(environment, cluster="pcs_1", tres="", work_dir="")


def cluster(places: Places) -> None:
    Cluster(engine=PCS, name="cryo", instance_id="i-1", role_arn="arn", file_system_id="fs-1", configuration={}).save(
        places
    )


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ("fsx/fs-1/projects/spike/J1", "/fsx/projects/spike/J1"),
        ("fsx/fs-1", "/fsx"),
        ("fsx/fs-12/projects/spike", None),
        ("head/opt/cryoem", None),
    ],
)
def test_a_folder_of_the_twins_file_system_is_below_fsx_on_aws(places: Places, here: str, there: str | None) -> None:
    cluster(places)
    folder = str(places.root / here)
    assert programs._as_on_aws(places, folder) == (there or folder)


@pytest.mark.parametrize("folder", ["", "/fsx/projects/spike", "/home/ada"])
def test_other_folders_are_where_they_are(places: Places, folder: str) -> None:
    for make in (lambda places: None, cluster):
        make(places)
        assert programs._as_on_aws(places, folder) == folder


@pytest.mark.parametrize(
    ("shown", "tres"),
    [
        ("JobName=x AllocTRES=cpu=12,mem=48G,gres/gpu=1 Y=1", "cpu=12,mem=48G,gres/gpu=1"),
        ("JobName=x TRES=cpu=12,mem=48G JOB_GRES=gpu:a10g:4 Nodes=n", "cpu=12,mem=48G,gres/gpu=4"),
        ("JobName=x TRES=(null) JOB_GRES=gpu:1", ""),
        ("", ""),
    ],
)
def test_what_a_job_had(monkeypatch: pytest.MonkeyPatch, shown: str, tres: str) -> None:
    monkeypatch.setattr(programs, "_said", lambda *command: shown)
    assert programs._tres("42") == tres


# --- programs ---------------------------------------------------------------------------------------------------------


def test_programs_carry_what_slurmctld_does_not_give_them(places: Places) -> None:
    programs.write_programs(places, places.slurm / "bin")
    for verb in ("jobcomp", "prolog"):
        program = places.slurm / "bin" / verb
        assert program.stat().st_mode & 0o111 == 0o111
        assert subprocess.run(["sh", "-n", program], check=False).returncode == 0
        written = program.read_text()
        assert f"CRYOEM_TWIN_ROOT='{places.root}' SLURM_CONF='{places.slurm}/slurm.conf'" in written
        assert f"exec '{sys.executable}' -m cdk_cryoem_twin.pcs.programs {verb} " in written
    programs.write_programs(places, places.slurm / "bin")


Waits = Callable[..., tuple[int, int]]


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    """A function from what scontrol shows, time after time, to how often it was asked and how often was slept."""

    def run(*shown: str) -> tuple[int, int]:
        asked: list[tuple[str, ...]] = []
        slept: list[float] = []

        def said(*command: str) -> str:
            asked.append(command)
            return shown[min(len(asked), len(shown)) - 1]

        monkeypatch.setenv("SLURM_JOB_NODELIST", "gpu4-[1-2]")
        monkeypatch.setattr(programs, "_said", said)
        monkeypatch.setattr(programs.time, "sleep", slept.append)
        programs.prolog()
        assert set(asked) == {("scontrol", "--oneliner", "show", "node", "gpu4-[1-2]")}
        return len(asked), len(slept)

    return run


def test_a_job_waits_until_the_last_of_its_nodes_has_booted(waits: Waits) -> None:
    booting = "NodeName=gpu4-1 State=ALLOCATED+CLOUD+POWERING_UP\nNodeName=gpu4-2 State=ALLOCATED+CLOUD\n"
    late = "NodeName=gpu4-1 State=ALLOCATED+CLOUD\nNodeName=gpu4-2 State=ALLOCATED+CLOUD+NOT_RESPONDING\n"
    up = "NodeName=gpu4-1 State=ALLOCATED+CLOUD\nNodeName=gpu4-2 State=MIXED+CLOUD\n"
    assert waits(booting, booting, late, up) == (4, 3)
    assert waits(up) == (1, 0)


def test_a_job_does_not_wait_for_ever(waits: Waits) -> None:
    asked, slept = waits("NodeName=gpu4-1 State=ALLOCATED+CLOUD+POWERING_UP\n")
    assert asked == slept == 240, "a minute; the twin's nodes boot in three seconds"


def test_a_slurm_that_does_not_answer_does_not_hold_a_job(waits: Waits) -> None:
    assert waits("") == (1, 0)
