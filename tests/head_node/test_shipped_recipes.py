from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import cryosparc.tools  # the client knows its models only after this
import pytest
from cryosparc.models.session import LiveComputeResources
from cryosparc.models.session_params import LivePreprocessingParams
from shipped import Shipment

from cryoem_head import live_recipe, scheme_recipe, workflow_recipe

assert cryosparc.tools
_PROGRAMS = Path(__file__).resolve().parents[2] / "constructs" / "cdk_cryoem" / "head_node_programs.py"
# Read, not imported: the head node is tested without the CDK.
(SHIPPED_RECIPES,) = (
    tuple(re.findall(r'"([^"]+)"', line)) for line in _PROGRAMS.read_text().splitlines() if line.startswith("SHIPPED_RECIPES =")
)  # fmt: skip


@pytest.fixture
def installed(shipment: Shipment) -> Shipment:
    """A head node without cryoSPARC, where a dataset has been imported, and whose user has no recipes."""
    assert shipment.bootstrap(CRYOEM_SLURM_BIN="").returncode == 0
    (shipment.fsx / "data" / "spike").mkdir(parents=True)
    (shipment.fsx / "data" / "spike" / "m1.tiff").touch()
    (shipment.fsx / "projects" / "spike").mkdir(parents=True)
    return shipment


def call(shipment: Shipment, program: str, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [shipment.home / "bin" / program, *arguments], env={"PATH": "/usr/bin:/bin"}, cwd="/", capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_the_library_knows_the_recipes_that_are_shipped(head_node: Path) -> None:
    assert sorted(path.name for path in (head_node / "recipes").iterdir()) == sorted(SHIPPED_RECIPES)


@pytest.mark.parametrize("recipe", SHIPPED_RECIPES)
def test_a_shipped_recipe_starts_and_says_why_it_refuses(installed: Shipment, recipe: str) -> None:
    arguments = ("start-processing", "--dataset", "spike", "--recipe", recipe)
    assert call(installed, *arguments)["state"] == "started"
    ended = installed.fsx / "projects" / "spike" / ".processing" / f"{recipe}.refused"
    end = time.monotonic() + 60
    while not ended.exists():
        assert time.monotonic() < end
        threading.Event().wait(0.05)
    answer = call(installed, *arguments)
    assert (answer["state"], answer["reason"].partition(":")[0]) == ("refused", recipe)
    assert f"no parameters: put {recipe}.json into the folder processing.recipes names, or into" in answer["reason"]


def test_a_head_node_without_cryosparc_has_no_live_sessions(installed: Shipment) -> None:
    assert call(installed, "live-sessions", "show") == {"sessions": []}


def test_the_pages_examples_are_accepted() -> None:
    page = (Path(__file__).parents[2] / "docs" / "processing.md").read_text()
    found = re.findall(r"(?s)### ([a-z-]+)\.json\n\n```json\n(.*?)```", page)
    assert [name for name, _ in found] == list(SHIPPED_RECIPES)
    live, workflow, scheme = (json.loads(text) for _, text in found)
    wanted = live_recipe.parse(
        live,
        session_names=tuple(LivePreprocessingParams.model_fields),
        compute_names=tuple(LiveComputeResources.model_fields),
    )
    assert wanted.auto_pause_minutes == 5
    assert [step.title for step in workflow_recipe.parse(workflow).steps] == ["Import", "Motion", "CTF"]
    assert scheme_recipe.parse(scheme).scheme == "prep"
