"""The offline part: a wrong file, templates, the subnet that will be made, and what is said without ParallelCluster."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cdk_cryoem_stacks import parallel_cluster_check
from cdk_cryoem_stacks.config import Config
from cdk_cryoem_stacks.parallel_cluster_check import Judge, Unavailable, environment, prepare
from cdk_cryoem_stacks.preflight import engine, offline, templates
from cdk_cryoem_stacks.preflight.check import Level
from cdk_cryoem_stacks.preflight.templates import Synthesis

Templates = dict[str, dict[str, Any]]
GOOD = {"schema": [], "findings": [], "template_resources": 80, "strings_ok": True}


def silent(line: str) -> None:
    """Nobody is told."""


@pytest.fixture
def without_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without uv and ParallelCluster."""

    def missing(**_: object) -> Judge:
        raise Unavailable("uv is missing", "pip install uv")

    monkeypatch.setattr(engine, "prepare", missing)


# ---- file and templates -------------------------------------------------------------------------------------------


def test_a_wrong_file_has_an_error_for_each_mistake_and_ends_it(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("name: cryoem\nregoin: x\nfile_system: {capacity_gib: 1024}\n")
    found = offline.look(file, silent)
    assert found.config is None
    assert [(check.level, check.subject) for check in found.checks] == [
        (Level.ERROR, f"{file}:2"),
        (Level.ERROR, f"{file}:3"),
    ]
    assert "Did you mean region?" in found.checks[0].reason


def test_a_right_file_without_parallelcluster_is_ok_but_for_a_warning(
    without_engine: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "good.yaml"
    file.write_text("name: bare\n")
    found = offline.look(file, silent)
    assert [(check.name, check.level) for check in found.checks] == [
        ("configuration", Level.OK),
        ("templates", Level.OK),
        ("addresses", Level.OK),
        ("engine", Level.WARNING),
    ]
    assert "5 stacks, " in found.checks[1].reason
    assert found.checks[-1].reason == "its validators were not asked: uv is missing"
    assert found.checks[-1].fix == "pip install uv"
    assert all(check.reason for check in found.checks)
    assert capfd.readouterr() == ("", ""), "the CDK is quiet"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good.yaml"]


def test_what_no_line_is_to_blame_for_is_an_error_of_the_templates(tmp_path: Path) -> None:
    lanes = "".join(f"  - {{name: lane-{number}, instance_types: [m6i.8xlarge]}}\n" for number in range(60))
    file = tmp_path / "many.yaml"
    file.write_text(f"name: cryoem\nlanes:\n{lanes}")
    made = templates.synthesise(file, tmp_path / "out")
    (found,) = templates.decide(made)
    assert (found.name, found.subject, found.level) == ("templates", "synthesis", Level.ERROR)
    assert "8192 bytes of manifest" in found.reason


def test_a_finding_of_the_rules_is_an_error_with_its_construct(tmp_path: Path) -> None:
    # The report as cdk-nag writes it, since no configuration may lead to one.
    construct = {"constructPath": "cryoem-hooks/Hooks/Role", "stackTraces": []}
    violation = {"ruleName": "AwsSolutions-IAM5", "description": "Wildcards.", "violatingConstructs": [construct]}
    report = tmp_path / "validation-report.json"
    report.write_text(json.dumps({"pluginReports": [{"pluginName": "AwsSolutions", "violations": [violation]}]}))
    made = Synthesis(templates={}, violations=tuple(templates._violations(report)), failure="ValidationFailed")
    (found,) = templates.decide(made)
    assert (found.subject, found.level) == ("rules", Level.ERROR)
    assert found.reason == "AwsSolutions-IAM5: Wildcards. (cryoem-hooks/Hooks/Role)"


def test_a_synthesis_that_hangs_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def hang(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("python", 300)

    monkeypatch.setattr(subprocess, "run", hang)
    (found,) = templates.decide(templates.synthesise(tmp_path / "x.yaml", tmp_path))
    assert found.reason == "it took longer than 300 s"


@pytest.mark.parametrize(
    ("cidr", "nodes", "level"),
    [
        ("10.20.0.0/16", 100, Level.OK),
        ("10.20.0.0/24", 27, Level.OK),
        ("10.20.0.0/24", 28, Level.WARNING),
        ("10.20.0.0/24", 56, Level.ERROR),
    ],
)
def test_the_subnet_that_will_be_made_is_large_enough_or_not(
    synthesise: Callable[..., Templates], cidr: str, nodes: int, level: Level
) -> None:
    # A /24 is cut into two public subnets of 64 and two private ones of 64: 59 can be used.
    lanes = [{"name": name, "instance_types": ["m6i.8xlarge"], "max_nodes": nodes} for name in ("one", "two")]
    config = Config.model_validate({"name": "cryoem", "network": {"cidr": cidr}, "lanes": lanes})
    made = {f"cryoem-{name}": template for name, template in synthesise(config).items()}
    (found,) = templates.decide_addresses(config, Synthesis(templates=made))
    assert (found.name, found.subject, found.level) == ("addresses", f"network.cidr {cidr}", level)


def test_nothing_is_said_of_a_subnet_of_ones_own(synthesise: Callable[..., Templates]) -> None:
    own = {"vpc_id": "vpc-0a1b2c3d", "subnet_id": "subnet-0a1b2c3d", "availability_zone": "us-east-1a"}
    config = Config.model_validate({"name": "cryoem", "network": own})
    made = {f"cryoem-{name}": template for name, template in synthesise(config).items()}
    assert list(templates.decide_addresses(config, Synthesis(templates=made))) == []


# ---- ParallelCluster ----------------------------------------------------------------------------------------------


def references(node: Any) -> list[Any]:
    if isinstance(node, list):
        return [found for value in node for found in references(value)]
    if isinstance(node, dict):
        here = [node] if any(key == "Ref" or key.startswith("Fn::") for key in node) else []
        return here + [found for value in node.values() for found in references(value)]
    return []


def test_the_configuration_of_the_template_is_handed_on_with_names_of_the_right_form(templates: Templates) -> None:
    found = engine.configuration_of(templates["cluster"])
    assert found is not None
    assert references(found) == []
    assert "made-up" not in json.dumps({key: value for key, value in found.items() if key != "HeadNode"})
    head = found["HeadNode"]
    assert head["Networking"]["SubnetId"].startswith("subnet-")
    assert head["Networking"]["AdditionalSecurityGroups"][0].startswith("sg-")
    policies = [policy["Policy"] for policy in head["Iam"]["AdditionalIamPolicies"]]
    assert "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore" in policies
    assert head["CustomActions"]["OnNodeStart"]["Script"].startswith("s3://cdk-hnb659fds-assets-111122223333-")
    subnets = {head["Networking"]["SubnetId"], *found["Scheduling"]["SlurmQueues"][0]["Networking"]["SubnetIds"]}
    assert len(subnets) == 1, "one reference is one name"


def test_a_template_of_another_engine_is_not_judged() -> None:
    template = {"Resources": {"Cluster": {"Type": "AWS::PCS::Cluster", "Properties": {}}}}
    assert engine.configuration_of(template) is None
    assert list(engine.look(template, silent)) == []


@pytest.mark.engine
def test_parallelcluster_judges_what_is_in_the_template(templates: Templates) -> None:
    accepted = list(engine.look(templates["cluster"], silent))
    assert [check.level for check in accepted] == [Level.OK]
    cluster = json.loads(json.dumps(templates["cluster"]))
    (resource,) = (r for r in cluster["Resources"].values() if r["Type"] == "Custom::PclusterCluster")
    resource["Properties"]["ClusterConfiguration"]["Image"]["Os"] = "alinux2"
    refused = list(engine.look(cluster, silent))
    assert {check.level for check in refused} == {Level.ERROR}
    assert "Image.Os" in refused[0].reason


def test_what_parallelcluster_finds_becomes_errors_and_warnings_but_not_what_is_meant() -> None:
    findings = [
        {"level": "ERROR", "type": "Wrong", "message": "no"},
        {"level": "ERROR", "type": "Wrong", "message": "no"},
        {"level": "WARNING", "type": "Odd", "message": "hm"},
        {"level": "WARNING", "type": "KeyPairValidator", "message": "no key"},
        {"level": "INFO", "type": "Told", "message": "so"},
    ]
    found = list(engine.decide(GOOD | {"schema": ["Image.Os: no"], "findings": findings}))
    assert [(check.level, check.reason) for check in found] == [
        (Level.ERROR, "Image.Os: no"),
        (Level.ERROR, "Wrong: no"),
        (Level.WARNING, "Odd: hm"),
    ]
    (good,) = engine.decide(GOOD)
    assert good.level is Level.OK
    assert "80 resources" in good.reason


# ---- its environment ----------------------------------------------------------------------------------------------


def program(path: Path, body: str) -> str:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_without_uv_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(environment, "_uv", lambda: None)
    with pytest.raises(Unavailable, match="uv is missing") as caught:
        prepare(cache=tmp_path)
    assert caught.value.fix == "pip install uv"


def test_without_a_package_registry_it_says_what_to_run_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    uv = program(tmp_path / "uv", 'case "$1" in pip) echo "error: no address for pypi.org" >&2; exit 1;; esac')
    monkeypatch.setattr(environment, "_uv", lambda: uv)
    said: list[str] = []
    with pytest.raises(Unavailable, match=r"could not be installed: error: no address for pypi\.org") as caught:
        prepare(cache=tmp_path / "cache", say=said.append)
    assert "pip install" in caught.value.fix
    assert len(said) == 1
    assert not list((tmp_path / "cache").glob("*/ready")), "the next attempt begins anew"


def test_it_is_made_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    uv = program(tmp_path / "uv", f'mkdir -p "$3" 2>/dev/null; echo "$@" >> {tmp_path}/calls')
    monkeypatch.setattr(environment, "_uv", lambda: uv)
    first, second = prepare(cache=tmp_path / "cache"), prepare(cache=tmp_path / "cache")
    assert first == second
    assert len((tmp_path / "calls").read_text().splitlines()) == 2, "venv, and pip install"


def test_a_cache_that_cannot_be_written_is_no_crash(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(environment, "_uv", lambda: "uv")
    with pytest.raises(Unavailable, match="cannot be written"):
        prepare(cache=tmp_path / "file")


def test_a_check_that_breaks_is_no_crash(tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    python = program(folder / "python", 'echo "node not found" >&2; exit 2')
    with pytest.raises(Unavailable, match="did not run: node not found"):
        Judge(python=Path(python)).judge({"cluster": {}})


def test_the_callers_credentials_do_not_reach_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "mine")
    python = program(tmp_path / "python", f'env > {tmp_path}/env; for f in "$@"; do :; done; echo "{{\\"$f\\": {{}}}}"')
    assert Judge(python=Path(python)).judge({"cluster": {}}) == {"cluster": {}}
    assert "AWS_" not in (tmp_path / "env").read_text()


def test_outside_a_checkout_the_environment_is_in_the_users_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert environment._cache() == Path(__file__).parents[2] / ".tools"
    monkeypatch.setattr(environment, "_checkout", lambda: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert environment._cache() == tmp_path / "cdk-cryoem"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert environment._cache() == Path(os.path.expanduser("~")) / ".cache" / "cdk-cryoem"


def test_its_files_are_part_of_the_package() -> None:
    folder = Path(str(parallel_cluster_check.__file__)).parent
    assert (folder / "check.py").is_file()
    assert (folder / "requirements.txt").is_file()
    assert parallel_cluster_check.PARALLEL_CLUSTER_VERSION.startswith("3.")
