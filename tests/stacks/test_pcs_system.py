"""The default system on AWS Parallel Computing Service: its templates to be read when they change, and what may be said wrong."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import systems
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.json import JSONSnapshotExtension

from cdk_cryoem.parallel_cluster import LOG_RETENTION_DAYS
from cdk_cryoem.pcs_rules import SLURM_VERSIONS
from cdk_cryoem_stacks.cluster import _RETENTION
from cdk_cryoem_stacks.config import Config
from cdk_cryoem_stacks.config_file import ConfigError, Finding, load

Templates = dict[str, dict[str, Any]]
AMI = "ami-0a1b2c3d4e5f60718"
PCS = {"engine": "pcs", "pcs": {"ami_id": AMI}}
STATEFUL = (
    "AWS::PCS::Cluster",
    "AWS::PCS::Queue",
    "AWS::PCS::ComputeNodeGroup",
    "AWS::EC2::Instance",
    "AWS::EC2::Volume",
    "AWS::SecretsManager::Secret",
    "AWS::SSM::Parameter",
    "AWS::Events::EventBus",
    "AWS::Logs::LogGroup",
)
_ASSET_HASH = re.compile(r"[0-9a-f]{64}")


@pytest.fixture(scope="module")
def templates(default_config: Config, synthesise: Callable[..., Templates]) -> Templates:
    """The default system with the other engine, and nothing else different."""
    return synthesise(Config.model_validate({**default_config.model_dump(), **PCS}))


@pytest.fixture(scope="module")
def everything(synthesise: Callable[..., Templates], root: Path) -> Templates:
    return synthesise(systems.everything_on_pcs(), folder=root / "twin")


def normalised(value: Any) -> Any:
    """The template without what changes with every edit of a script or comes with the bootstrap."""
    if isinstance(value, dict):
        left_out = {"BootstrapVersion", "CheckBootstrapVersion"}
        found = {key: normalised(inner) for key, inner in value.items() if key not in left_out}
        if isinstance(found.get("Resource"), list):
            # The CDK sorts what a policy is about, and so by the hashes that are in it.
            found["Resource"].sort(key=json.dumps)
        return found
    if isinstance(value, list):
        return [normalised(inner) for inner in value]
    return _ASSET_HASH.sub("<hash>", value) if isinstance(value, str) else value


def of_type(template: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    return {name: r["Properties"] for name, r in template["Resources"].items() if r["Type"] == kind}


# --- templates --------------------------------------------------------------------------------------------------------


def test_the_cluster_stack(templates: Templates, snapshot: SnapshotAssertion) -> None:
    assert normalised(templates["cluster"]) == snapshot(extension_class=JSONSnapshotExtension)


def test_logical_ids_of_what_holds_state(templates: Templates, snapshot: SnapshotAssertion) -> None:
    """A changed id here is a replacement there: it needs a new major version."""
    rows = [
        f"{resource['Type']:30} {name:50} {resource.get('DeletionPolicy', '-')}"
        for name, resource in sorted(templates["cluster"]["Resources"].items())
        if resource["Type"] in STATEFUL
    ]
    assert "\n".join(rows) == snapshot


def test_the_other_stacks_are_those_of_parallelcluster_but_for_references(
    templates: Templates, default_config: Config, synthesise: Callable[..., Templates]
) -> None:
    usual = synthesise(default_config)
    # Exports too: one that goes while the cluster still imports it would make a change of engine fail.
    for stack in ("network", "storage", "ingest"):
        assert templates[stack] == usual[stack], stack
    here, there = (
        {(name, resource["Type"]) for name, resource in made["hooks"]["Resources"].items()}
        for made in (templates, usual)
    )
    assert there <= here
    assert [name[:-8] for name, _ in here - there] == ["HooksLostJobRecordsAlarm"]
    assert list(templates["cluster"]["Outputs"])[:3] == list(usual["cluster"]["Outputs"])[:3]


def test_what_the_cluster_stack_exports_it_exports_with_either_engine(
    templates: Templates, default_config: Config, synthesise: Callable[..., Templates]
) -> None:
    """The hooks are deployed after it: until then they import what they imported from the engine before."""

    def exported(made: Templates) -> set[str]:
        return {output["Export"]["Name"] for output in made["cluster"]["Outputs"].values() if "Export" in output}

    assert exported(templates) == exported(synthesise(default_config))
    assert exported(templates)


def references(value: Any, kind: str) -> Iterator[Any]:
    if isinstance(value, dict):
        if kind in value:
            yield value[kind]
        for inner in value.values():
            yield from references(inner, kind)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner, kind)


def test_the_hooks_read_the_head_nodes_id_without_forbidding_another(templates: Templates) -> None:
    """An instance that is imported could not be replaced."""
    read = {read["OutputName"] for read in references(templates["hooks"], "Fn::GetStackOutput")}
    (instance,) = of_type(templates["cluster"], "AWS::EC2::Instance")
    (queue,) = of_type(templates["cluster"], "AWS::SQS::Queue")
    values = [templates["cluster"]["Outputs"][name]["Value"] for name in sorted(read)]
    assert values == [{"Fn::GetAtt": [queue, "QueueName"]}, {"Ref": instance}]
    exported = [o for o in templates["cluster"]["Outputs"].values() if "Export" in o]
    assert instance not in json.dumps(exported)


def test_the_file_systems_address_comes_from_the_storage_stack(templates: Templates) -> None:
    ids = json.dumps(of_type(templates["cluster"], "AWS::PCS::ComputeNodeGroup"))
    assert "cryoem-storage:ExportsOutputFnGetAtt" in ids
    (setup,) = [v for k, v in of_type(templates["cluster"], "AWS::SSM::Parameter").items() if "Setup" in k]
    assert "@tcp:/" in json.dumps(setup)


# --- what the file says reaches the cluster ---------------------------------------------------------------------------


def test_what_the_file_says_reaches_the_cluster(everything: Templates) -> None:
    cluster = everything["cluster"]
    (found,) = of_type(cluster, "AWS::PCS::Cluster").values()
    assert (found["Size"], found["Scheduler"]["Version"]) == ("SMALL", "25.11")
    wanted = {
        "cryoem:cluster": "everypcs",
        "cryoem:system": "everypcs",
        "Cost Center": "EM-4711",
        "owner": "em@example.org",
    }
    assert found["Tags"] == wanted
    (head,) = of_type(cluster, "AWS::EC2::Instance").values()
    assert (head["ImageId"], head["InstanceType"]) == (AMI, "m7i.2xlarge")
    assert head["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"] == 120
    (volume,) = of_type(cluster, "AWS::EC2::Volume").values()
    assert volume["Size"] == 500
    assert "PrivateSubnet1" in volume["AvailabilityZone"]["Fn::ImportValue"]
    assert [queue["Name"] for queue in of_type(cluster, "AWS::PCS::Queue").values()] == [
        "cpu", "cpu-spot", "gpu1", "gpu1-spot", "spread", "reserved",
    ]  # fmt: skip
    options = [group["PurchaseOption"] for group in of_type(cluster, "AWS::PCS::ComputeNodeGroup").values()]
    assert options == ["ONDEMAND", "SPOT", "ONDEMAND", "SPOT", "ONDEMAND", "ONDEMAND"]
    assert {found["RetentionInDays"] for found in of_type(cluster, "AWS::Logs::LogGroup").values()} == {365}


def test_every_role_has_the_boundary(everything: Templates) -> None:
    roles = {name: role for made in everything.values() for name, role in of_type(made, "AWS::IAM::Role").items()}
    assert len([name for name in roles if name.startswith("Cluster")]) == 3, "nodes, head node, the function"
    assert {role.get("PermissionsBoundary") for role in roles.values()} == {systems.BOUNDARY}


def test_the_size_and_the_version_of_the_file_are_the_clusters(
    default_config: Config, synthesise: Callable[..., Templates]
) -> None:
    pcs = {"ami_id": AMI, "slurm_version": SLURM_VERSIONS[-1], "size": "MEDIUM"}
    made = synthesise(Config.model_validate({**default_config.model_dump(), "engine": "pcs", "pcs": pcs}))
    (found,) = of_type(made["cluster"], "AWS::PCS::Cluster").values()
    assert (found["Size"], found["Scheduler"]["Version"]) == ("MEDIUM", SLURM_VERSIONS[-1])


def test_every_retention_that_the_file_may_say_is_one_that_pcs_logs_can_have() -> None:
    assert sorted(_RETENTION) == sorted(LOG_RETENTION_DAYS)


def test_a_pcs_section_alone_leaves_the_engine_as_it_is(
    default_config: Config, synthesise: Callable[..., Templates]
) -> None:
    prepared = Config.model_validate({**default_config.model_dump(), "pcs": {"ami_id": AMI}})
    assert synthesise(prepared)["cluster"] == synthesise(default_config)["cluster"]


def test_two_systems_fit_in_one_account_without_a_name_in_common(
    default_config: Config, synthesise: Callable[..., Templates], templates: Templates
) -> None:
    other = synthesise(Config.model_validate({**default_config.model_dump(), **PCS, "name": "second"}))

    def names(made: Templates) -> set[str]:
        return {
            json.dumps(properties[prop])
            for kind, prop in (
                ("AWS::Logs::LogGroup", "LogGroupName"),
                ("AWS::Logs::DeliverySource", "Name"),
                ("AWS::Logs::DeliveryDestination", "Name"),
                ("AWS::Events::EventBus", "Name"),
            )
            for properties in of_type(made["cluster"], kind).values()
            if prop in properties
        }

    assert len(names(other)) == len(names(templates)) == 10
    assert not names(other) & names(templates)


# --- aws-cdk-lib's own validation -------------------------------------------------------------------------------------

TWO_SYSTEMS = """\
import sys
from pathlib import Path
from aws_cdk import Stack
from aws_cdk import aws_pcs as pcs
from cdk_cryoem_stacks.app import build, make_app
from cdk_cryoem_stacks.config_file import load
for name in ("default", "everything"):
    app = make_app(outdir=name)
    build(app, load(Path(name + ".yaml")), config_folder=Path("."))
    app.synth()
    print(name, "is valid", flush=True)
app = make_app(outdir="wrong")
stack = Stack(app, "Wrong")
pcs.CfnCluster(
    stack, "C", size="HUGE", networking=pcs.CfnCluster.NetworkingProperty(),
    scheduler=pcs.CfnCluster.SchedulerProperty(type="SLURM", version="25.11"),
)
app.synth()
"""


def test_aws_cdk_libs_own_validation_has_nothing_to_say(tmp_path: Path, root: Path) -> None:
    """It is switched off elsewhere for its time; here for both systems, and for a stack that is wrong."""
    usual = (root / "cryoem.yaml").read_text()
    (tmp_path / "default.yaml").write_text(f"{usual}engine: pcs\npcs: {{ami_id: {AMI}}}\n")
    everything = systems.everything_on_pcs().model_dump(exclude_none=True, exclude_defaults=True)
    (tmp_path / "everything.yaml").write_text(json.dumps(everything))
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "spa-quickstart").write_text("#!/bin/sh\n")
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "JSII_NODE") if name in os.environ}
    ran = subprocess.run(
        [sys.executable, "-c", TWO_SYSTEMS], cwd=tmp_path, env=kept, capture_output=True, text=True, timeout=120
    )
    valid, _, rest = (ran.stdout + ran.stderr).partition("everything is valid\n")
    assert valid == "default is valid\n", ran.stdout + ran.stderr
    assert "'HUGE'" in rest, "it is on"


# --- what may be said wrong -------------------------------------------------------------------------------------------


def findings(folder: Path, text: str) -> tuple[Finding, ...]:
    path = folder / "cryoem.yaml"
    path.write_text(dedent(text))
    with pytest.raises(ConfigError) as caught:
        load(path)
    return caught.value.findings


RIGHT = f"name: cryoem\nengine: pcs\npcs:\n  ami_id: {AMI}\n"
WRONG: dict[str, tuple[str, int, str, object, str]] = {
    "no section": ("name: cryoem\nengine: pcs\n", 1, "pcs", None, "a section with ami_id"),
    "no image": ("name: cryoem\nengine: pcs\npcs: {size: SMALL}\n", 3, "pcs.ami_id", "nothing", "it has no default"),
    "no image id": (RIGHT.replace(AMI, "ubuntu"), 4, "pcs.ami_id", "ubuntu", "ami-"),
    "another engine": ("name: cryoem\nengine: PCS\n", 2, "engine", "PCS", "'parallelcluster' or 'pcs'"),
    "another Slurm": (f"{RIGHT}  slurm_version: '24.11'\n", 5, "pcs.slurm_version", "24.11", "'25.11'"),
    "a number for Slurm": (f"{RIGHT}  slurm_version: 25.11\n", 5, "pcs.slurm_version", 25.11, "'25.11'"),
    "another size": (f"{RIGHT}  size: small\n", 5, "pcs.size", "small", "'SMALL', 'MEDIUM' or 'LARGE'"),
    "unknown key": (f"{RIGHT}  image: x\n", 5, "pcs.image", "x", "Remove it"),
    "too many nodes": (
        f"{RIGHT}lanes:\n  - {{name: cpu, instance_types: [m6i.8xlarge], max_nodes: 33}}\n",
        3, "pcs.size", "SMALL", "one that takes the lanes' 33 nodes",
    ),
    "a desktop": (
        f"{RIGHT}head_node:\n  remote_desktop_from: 10.0.0.0/8\n",
        6, "head_node.remote_desktop_from", "10.0.0.0/8", "nothing with PCS",
    ),
    "a short name of a lane": (
        f"{RIGHT}lanes:\n  - {{name: cpu, instance_types: [m6i.8xlarge]}}\n  - {{name: g1, instance_types: [m6i.8xlarge]}}\n",
        7, "lanes[1].name", "g1", "PCS refuses shorter names of queues",
    ),
    "too many lanes": (
        f"{RIGHT}lanes:\n" + "".join(
            f"  - {{name: lane{n}, instance_types: [m6i.8xlarge], max_nodes: 1, spot_twin: {str(n == 0).lower()}}}\n"
            for n in range(10)
        ),
        5, "lanes", "11 lanes", "10 at most with PCS",
    ),
    "a small root": (
        f"{RIGHT}head_node: {{root_volume_gib: 60}}\n", 5, "head_node.root_volume_gib", 60, "75 or more with PCS",
    ),
    "small head node": (
        f"{RIGHT}head_node: {{instance_type: m7i.large}}\n", 5, "head_node.instance_type", "m7i.large", "16 GiB or more",
    ),
}  # fmt: skip


def test_the_right_one_is_right(tmp_path: Path) -> None:
    (tmp_path / "cryoem.yaml").write_text(RIGHT)
    found = load(tmp_path / "cryoem.yaml")
    assert found.pcs is not None
    assert (found.engine, found.pcs.slurm_version, found.pcs.size) == ("pcs", "25.11", "SMALL")


@pytest.mark.parametrize("wrong", WRONG)
def test_one_mistake_is_one_finding_with_its_line(wrong: str, tmp_path: Path) -> None:
    text, line, prop, value, allowed = WRONG[wrong]
    (finding,) = findings(tmp_path, text)
    assert (finding.line, finding.problem.property, finding.problem.value) == (line, prop, value)
    assert allowed in f"{finding.problem.allowed}. {finding.problem.fix}"


def test_spot_twins_count_as_nodes(tmp_path: Path) -> None:
    lane = "lanes:\n  - {name: cpu, instance_types: [m6i.8xlarge], max_nodes: MOST, spot_twin: true}\n"
    (finding,) = findings(tmp_path, RIGHT + lane.replace("MOST", "17"))
    assert "34 nodes" in finding.problem.allowed
    (tmp_path / "cryoem.yaml").write_text(RIGHT + lane.replace("MOST", "16"))
    assert load(tmp_path / "cryoem.yaml").all_lanes()[1].name == "cpu-spot"


def test_a_lane_on_pcs_may_hold_a_node_for_longer_than_parallelclusters_one_idle_time(tmp_path: Path) -> None:
    held = "lanes:\n  - {name: cpu, instance_types: [m6i.8xlarge], hold_minutes: 30}\n"
    (tmp_path / "cryoem.yaml").write_text(RIGHT + held)
    (lane,) = load(tmp_path / "cryoem.yaml").all_lanes()
    assert lane.hold_minutes == 30
    (finding,) = findings(tmp_path, f"name: cryoem\n{held}")
    assert finding.problem.property == "lanes[0].hold_minutes"
