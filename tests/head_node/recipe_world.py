"""A head node with lanes, a dataset, and a master of the double that recipes talk to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from doubles.cryosparc_api import EMAIL, PASSWORD, Cryosparc, Line, master

from cryoem_head import lane_files

LANES = {"cpu": (0, 0), "gpu1": (1, 400), "gpu4": (4, 3000), "gpu8": (8, 6000), "live": (4, 3000)}
STAGES = {
    "import": "cpu", "motion": "gpu8", "motion-cpu": "cpu", "ctf": "gpu8", "class2d": "gpu4", "abinitio": "gpu1",
    "live": "live", "pick": "gpu1", "refine-mpi": "gpu4",
}  # fmt: skip


class RecipeWorld:
    """Folders, settings, and what the recipe's client asks for."""

    def __init__(self, home: Path, root: Path, url: str, cryosparc: Cryosparc) -> None:
        self.home, self.cryosparc, self.line = home, cryosparc, Line()
        self.data, self.project = root / "fsx" / "data" / "spike", root / "fsx" / "projects" / "spike"
        for folder in (self.data, self.project):
            folder.mkdir(parents=True)
        self.set(CRYOSPARC_URL=url)
        (home / "lanes" / "stages.json").write_text(lane_files.render_stages(STAGES)["stages.json"])
        self.secrets: list[str] = []

    def set(self, **lines: str) -> None:
        """Settings of the head node."""
        path = self.home / "etc" / "head-node.env"
        kept = [line for line in path.read_text().splitlines() if line.partition("=")[0] not in lines]
        path.write_text("\n".join([*kept, *(f"{name}={value}" for name, value in lines.items())]) + "\n")

    def say(self, recipe: str, parameters: Any, *, folder: Path | None = None) -> None:
        """Parameters of a recipe."""
        ((folder or self.home / "recipes") / f"{recipe}.json").write_text(json.dumps(parameters))

    def get_secret_value(self, *, SecretId: str) -> dict[str, str]:
        self.secrets.append(SecretId)
        return {"SecretString": json.dumps({"email": EMAIL, "password": PASSWORD})}

    def get_parameter(self, *, Name: str) -> dict[str, Any]:
        lanes = [{"name": name, "gpus": gpus, "cache_gb": cache} for name, (gpus, cache) in LANES.items()]
        return {"Parameter": {"Value": json.dumps({"version": 1, "lanes": lanes})}}


def recipe_world(home: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> RecipeWorld:
    """A world with nothing in its master yet."""
    cryosparc, url = master()
    cryosparc.forget()
    world = RecipeWorld(home, root, url, cryosparc)
    monkeypatch.setattr(boto3, "client", lambda service, region_name: world)
    monkeypatch.setattr(
        httpx.Client, "request", lambda client, method, to, **more: world.line.request(client, method, to, **more)
    )
    return world
