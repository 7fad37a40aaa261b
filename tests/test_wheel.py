"""The wheel: what a user gets from `pip install cdk-cryoem`, with nothing but its core dependencies."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App, Stack
from aws_cdk import aws_sns as sns

from cdk_cryoem import HookFunction

ROOT = Path(__file__).parents[1]
OWN_VPC = ROOT / "examples" / "own-vpc" / "app.py"
HOOK = """
import sys
from aws_cdk import App, Stack, aws_sns as sns
from cdk_cryoem import HookFunction
app = App(outdir=sys.argv[1])
stack = Stack(app, "Hook")
topic = sns.Topic.from_topic_arn(stack, "Topic", "arn:aws:sns:eu-west-1:111122223333:alarms")
HookFunction(stack, "Hook", handler="node_hook", environment={}, alarm_topic=topic)
app.synth()
"""


@dataclass(frozen=True)
class Installed:
    """A wheel, and the Python of a clean environment that it is installed in."""

    wheel: Path
    python: Path
    cwd: Path

    def run(self, *arguments: str) -> str:
        """What the environment's Python prints, far from the checkout."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        ran = subprocess.run(
            [str(self.python), *arguments],
            cwd=self.cwd,
            env={**kept, "CDK_OUTDIR": str(self.cwd / "out")},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout


def uv() -> str:
    """The uv command: $UV, or the one on PATH."""
    found = os.environ.get("UV") or shutil.which("uv")
    assert found, "this test builds and installs the wheel with uv: put uv on PATH or name it in the variable UV"
    return found


def call(*arguments: str) -> None:
    ran = subprocess.run([uv(), *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("wheel")
    call("build", "--wheel", "--quiet", "--out-dir", str(folder / "dist"), str(ROOT))
    (wheel,) = (folder / "dist").glob("*.whl")
    call("venv", "--quiet", str(folder / "venv"))
    python = folder / "venv" / "bin" / "python"
    call("pip", "install", "--quiet", "--python", str(python), "--link-mode", "hardlink", str(wheel))
    (folder / "elsewhere").mkdir()
    return Installed(wheel=wheel, python=python, cwd=folder / "elsewhere")


def asset_hashes(outdir: Path, stack: str) -> set[str]:
    assets: dict[str, Any] = json.loads((outdir / f"{stack}.assets.json").read_text())["files"]
    return {name for name, asset in assets.items() if asset["source"]["packaging"] == "zip"}


def test_the_wheel_holds_the_packages_their_data_the_handlers_and_nothing_else(installed: Installed) -> None:
    names = zipfile.ZipFile(installed.wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"cdk_cryoem", "cdk_cryoem_stacks"}
    for needed in (
        "cdk_cryoem/py.typed",
        "cdk_cryoem/data/instances.csv",
        "cdk_cryoem/head_node/bootstrap.sh",
        "cdk_cryoem/head_node/trampoline.sh",
        "cdk_cryoem/head_node/bin/power-down",
        "cdk_cryoem/head_node/lib/cryoem_head/stages.csv",
        "cdk_cryoem/node/prepare-node.sh",
        "cdk_cryoem/_lambda/cdk_cryoem_lambda/node_hook.py",
        "cdk_cryoem_stacks/prices/prices.csv",
        "cdk_cryoem_stacks/py.typed",
        "cdk_cryoem_stacks/parallel_cluster_check/check.py",
        "cdk_cryoem_stacks/parallel_cluster_check/requirements.txt",
    ):
        assert needed in names
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc") or "test" in name]


def test_every_handler_and_script_of_the_checkout_is_in_the_wheel(installed: Installed) -> None:
    names = set(zipfile.ZipFile(installed.wheel).namelist())
    for root, prefix in (
        ("lambda", "cdk_cryoem/_lambda"),
        ("constructs/cdk_cryoem", "cdk_cryoem"),
        ("stacks/cdk_cryoem_stacks", "cdk_cryoem_stacks"),
    ):
        files = [path for path in (ROOT / root).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        assert files
        assert {f"{prefix}/{path.relative_to(ROOT / root)}" for path in files} <= names


def test_it_is_imported_with_only_the_core_dependencies(installed: Installed) -> None:
    where = installed.run("-c", "import cdk_cryoem; print(cdk_cryoem.__file__)").strip()
    assert Path(where).is_relative_to(installed.python.parents[1])
    unwanted = ("pydantic", "cdk_nag", "ruamel", "rich", "boto3")
    found = installed.run("-c", f"import importlib.util as u; print([n for n in {unwanted} if u.find_spec(n)])")
    assert found.strip() == "[]"


def test_a_foreign_app_synthesises_with_it(installed: Installed) -> None:
    installed.run(str(OWN_VPC))
    template = json.loads((installed.cwd / "out" / "own-vpc.template.json").read_text())
    kinds = [resource["Type"] for resource in template["Resources"].values()]
    assert kinds.count("AWS::FSx::FileSystem") == 1
    assert kinds.count("AWS::S3::Bucket") == 3


def test_the_packaged_handlers_have_the_hash_of_the_checkouts(installed: Installed, tmp_path: Path) -> None:
    outdir = installed.cwd / "hook"
    (package,) = installed.python.parents[1].glob("lib/python*/site-packages/cdk_cryoem")
    installed.run("-m", "compileall", "-q", str(package))
    assert list((package / "_lambda").rglob("*.pyc")), "as after an installation by pip"
    installed.run("-c", HOOK, str(outdir))
    app = App(outdir=str(tmp_path), analytics_reporting=False)
    stack = Stack(app, "Hook")
    topic = sns.Topic.from_topic_arn(stack, "Topic", "arn:aws:sns:eu-west-1:111122223333:alarms")
    HookFunction(stack, "Hook", handler="node_hook", environment={}, alarm_topic=topic)
    app.synth()
    assert len(asset_hashes(outdir, "Hook")) == 1
    assert asset_hashes(outdir, "Hook") == asset_hashes(tmp_path, "Hook")
