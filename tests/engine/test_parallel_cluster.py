"""The generated configuration, judged by ParallelCluster's own schema, validators and template synthesis.

ParallelCluster pins a jsii that excludes aws-cdk-lib, so it lives in an environment of its own, made once in .tools.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cdk_cryoem import Capacity, ClusterInputs, HeadNode, Lane, cluster_configuration, default_lanes

pytestmark = pytest.mark.engine

_ROOT = Path(__file__).resolve().parents[2]
_REQUIREMENTS = Path(__file__).with_name("requirements-pcluster.txt")
_CHECK = Path(__file__).with_name("pcluster_check.py")
_INPUTS = ClusterInputs(
    region="us-east-1",
    operating_system="ubuntu2204",
    subnet_id="subnet-0a1b2c3d4e5f60718",
    compute_subnet_id="subnet-0a1b2c3d4e5f60718",
    client_security_group_id="sg-0a1b2c3d4e5f60718",
    file_system_id="fs-0a1b2c3d4e5f60718",
    policy_arn="arn:aws:iam::111122223333:policy/parallelcluster-cryoem-head",
    session_manager_policy_arn="arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore",
    trampoline_url="s3://cryoem-assets-111122223333/trampoline.sh",
    setup_parameter="CFN-ClusterSetup-0a1b2c3d",
    node_policy_arn="arn:aws:iam::111122223333:policy/parallelcluster-cryoem-node",
    node_script_url="s3://cryoem-assets-111122223333/prepare-node.sh",
    tags={"cryoem:cluster": "cryoem"},
)


@pytest.fixture(scope="session")
def python() -> Path:
    """The isolated environment's Python; made anew when its requirements change."""
    uv = shutil.which("uv") or str(_ROOT / ".tools" / "uv" / "bin" / "uv")
    assert Path(uv).exists(), "uv is missing; run: make setup"
    tag = hashlib.sha256(_REQUIREMENTS.read_bytes()).hexdigest()[:12]
    folder = _ROOT / ".tools" / f"pcluster-{tag}"
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        env = os.environ | {"UV_PYTHON_DOWNLOADS": "never"}
        subprocess.run([uv, "venv", "--quiet", str(folder)], check=True, env=env)
        target = ["--python", str(folder / "bin" / "python"), "-r", str(_REQUIREMENTS)]
        subprocess.run([uv, "pip", "install", "--quiet", *target], check=True, env=env)
        (folder / "ready").touch()
    return folder / "bin" / "python"


def _judge(python: Path, folder: Path, **configurations: dict[str, object]) -> dict[str, Any]:
    files = []
    for name, configuration in configurations.items():
        files.append(folder / f"{name}.json")
        files[-1].write_text(json.dumps(configuration))
    env = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
    done = subprocess.run(
        [str(python), str(_CHECK), "--json", *map(str, files)], capture_output=True, text=True, check=False, env=env
    )
    assert done.returncode in (0, 1), done.stderr[-3000:]
    verdicts: dict[str, Any] = json.loads(done.stdout)
    return {Path(name).stem: verdict for name, verdict in verdicts.items()}


def _configuration(*lanes: Lane, **inputs: str) -> dict[str, object]:
    return cluster_configuration(lanes=lanes, head_node=HeadNode(), inputs=replace(_INPUTS, **inputs))  # type: ignore[arg-type]


def _errors(verdict: dict[str, Any]) -> list[object]:
    return [*verdict["schema"], *(f for f in verdict["findings"] if f["level"] == "ERROR")]


def test_parallelcluster_accepts_what_we_generate_and_refuses_what_is_wrong(python: Path, tmp_path: Path) -> None:
    spot = Lane(name="gpu1-spot", instance_types=("g5.4xlarge",), gpus=1, capacity=Capacity.SPOT, hold_minutes=20)
    verdicts = _judge(
        python,
        tmp_path,
        default=_configuration(*default_lanes()),
        spot_and_one_lane=_configuration(spot),
        other_system=_configuration(*default_lanes()[:2], operating_system="ubuntu2404"),
        dropped_system=_configuration(*default_lanes()[:2], operating_system="alinux2"),
    )
    for name in ("default", "spot_and_one_lane", "other_system"):
        assert _errors(verdicts[name]) == [], name
        assert verdicts[name]["strings_ok"], f"{name}: refused with every value as text, as CloudFormation sends it"
        assert verdicts[name]["template_resources"] > 0, f"{name}: ParallelCluster made no template of it"
    assert "alinux2" in json.dumps(_errors(verdicts["dropped_system"]))
