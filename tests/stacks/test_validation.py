"""aws-cdk-lib's own template validation, switched off elsewhere for its time, has nothing to say.

Both systems are synthesised by `python app.py` as a newcomer does it: no AWS credentials, no way to the internet.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

EVERYTHING_SET = """\
name: every
region: eu-west-1
account: "111122223333"
network: {vpc_id: vpc-12345678, subnet_id: subnet-12345678, availability_zone: eu-west-1a}
microscopes:
  - name: krios
    smb:
      host: epu.lab
      path: /movies
      user: reader
      domain: LAB
      password_secret_arn: arn:aws:secretsmanager:eu-west-1:111122223333:secret:krios-AbCdEf
    activation_key: ABCDE-12345-FGHIJ-67890-KLMNO
    schedule: cron(0 3 * * ? *)
    bandwidth_limit_mibps: 100
  - name: talos
    nfs: {host: 10.0.0.5, path: /talos}
    agent_arn: arn:aws:datasync:eu-west-1:111122223333:agent/agent-0123456789abcdef0
landing: {quiet_minutes: 5, sentinel: done.txt, noncurrent_days: 7}
file_system: {capacity_gib: 1200, throughput_mibps_per_tib: null, deployment_type: SCRATCH_2}
head_node: {instance_type: m7i.2xlarge, operating_system: ubuntu2404, stop_after_minutes: 60}
lanes:
  - {name: one, instance_types: [g5.4xlarge], gpus: 1, capacity: spot, particle_cache: false, hold_minutes: 5}
processing: {recipes: recipes, on_landed: spa}
budget: {monthly_usd: 0.5, emails: [a@example.org, b@example.org]}
"""


# The system, then a stack that is wrong: the check is on and can fail.
SYSTEM_AND_WRONG_STACK = """\
from aws_cdk import Stack
from cdk_cryoem_stacks.__main__ import main
from cdk_cryoem_stacks.app import make_app
main()
print("the system is valid", flush=True)
app = make_app(outdir="wrong")
Stack(app, "Empty")
app.synth()
"""


def run(program: list[str], cwd: Path, outdir: Path, config: Path | None = None) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "JSII_NODE") if name in os.environ}
    nowhere = {
        "http_proxy": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    return subprocess.run(
        [sys.executable, *program],
        cwd=cwd,
        env={**kept, **nowhere, "CDK_OUTDIR": str(outdir), **({"CRYOEM_CONFIG": str(config)} if config else {})},
        capture_output=True,
        text=True,
        timeout=120,
    )


def templates(outdir: Path) -> dict[str, dict[str, Any]]:
    return {
        path.name.split(".")[0].split("-")[-1]: json.loads(path.read_text()) for path in outdir.glob("*.template.json")
    }


@dataclass(frozen=True)
class Ran:
    """What a program said, and the templates it wrote by the last word of their stacks."""

    code: int
    said: str
    templates: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def systems(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ran]:
    """Several programs at once, as each of them takes seconds."""
    folder = tmp_path_factory.mktemp("validated")
    (folder / "every.yaml").write_text(EVERYTHING_SET)
    (folder / "recipes").mkdir()
    (folder / "recipes" / "spa").write_text("#!/bin/sh\n")
    programs: dict[str, tuple[list[str], Path, Path | None]] = {
        "default": (["app.py"], root, None),
        "every": (["-c", SYSTEM_AND_WRONG_STACK], folder, folder / "every.yaml"),
    }

    def start(name: str) -> Ran:
        program, cwd, config = programs[name]
        ran = run(program, cwd, folder / name, config)
        return Ran(ran.returncode, ran.stdout + ran.stderr, templates(folder / name))

    with ThreadPoolExecutor(max_workers=2) as pool:
        return dict(zip(programs, pool.map(start, programs), strict=True))


def test_the_default_system_is_valid(systems: dict[str, Ran]) -> None:
    ran = systems["default"]
    assert (ran.code, ran.said) == (0, "")
    assert sorted(ran.templates) == ["cluster", "hooks", "ingest", "network", "storage"]


def test_a_system_with_everything_set_is_valid_and_an_empty_stack_is_not(systems: dict[str, Ran]) -> None:
    ran = systems["every"]
    assert ran.said.startswith("the system is valid\n"), ran.said
    assert sorted(ran.templates) == ["cluster", "hooks", "ingest", "network", "storage"]
    assert ran.code == 1
    assert "Resources section must exist and be non-empty" in ran.said


def test_everything_set_reaches_the_templates(systems: dict[str, Ran]) -> None:
    made = systems["every"].templates
    assert list(made["network"]["Resources"]) == ["Nothing"], "your network is used and not made"
    (file_system,) = [r for r in made["storage"]["Resources"].values() if r["Type"] == "AWS::FSx::FileSystem"]
    assert file_system["Properties"]["SubnetIds"] == ["subnet-12345678"]
    assert file_system["Properties"]["LustreConfiguration"]["DeploymentType"] == "SCRATCH_2"
    (function, *_) = [r for r in made["hooks"]["Resources"].values() if r["Type"] == "AWS::Lambda::Function"]
    told = function["Properties"]["Environment"]["Variables"]
    assert {name: told[name] for name in ("QUIET_MINUTES", "SENTINEL", "RECIPE", "STOP_HEAD_NODE_AFTER_MINUTES")} == {
        "QUIET_MINUTES": "5", "SENTINEL": "done.txt", "RECIPE": "spa", "STOP_HEAD_NODE_AFTER_MINUTES": "60",
    }  # fmt: skip


def test_it_is_switched_off_in_this_process() -> None:
    assert os.environ["CDK_VALIDATION"] == "false", "see tests/conftest.py"
