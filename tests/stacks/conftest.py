"""The default system, synthesised once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App
from aws_cdk.cx_api import CloudAssembly

from cdk_cryoem_stacks.app import build, make_app
from cdk_cryoem_stacks.config import Config
from cdk_cryoem_stacks.config_file import load
from cdk_cryoem_stacks.system import Stacks

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder."""
    return ROOT


@pytest.fixture(scope="session")
def default_config() -> Config:
    return load(ROOT / "cryoem.yaml")


@pytest.fixture(scope="session")
def assembly(default_config: Config, tmp_path_factory: pytest.TempPathFactory) -> CloudAssembly:
    """The cloud assembly of the committed cryoem.yaml, in a folder of its own."""
    app = make_app(outdir=str(tmp_path_factory.mktemp("default")))
    build(app, default_config, config_folder=ROOT)
    return app.synth()


@pytest.fixture(scope="session")
def templates(assembly: CloudAssembly) -> dict[str, dict[str, Any]]:
    """Templates by stack, without the system's name: network, storage, ingest, cluster, hooks."""
    return {stack.stack_name.removeprefix("cryoem-"): stack.template for stack in assembly.stacks}


@pytest.fixture(scope="session")
def synthesise(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, dict[str, Any]]]:
    """A function from a configuration to its templates by stack."""

    def templates_of(config: Config, *, app: App | None = None, folder: Path = ROOT) -> dict[str, dict[str, Any]]:
        app = app or make_app(outdir=str(tmp_path_factory.mktemp("system")))
        stacks: Stacks = build(app, config, config_folder=folder)
        assert stacks.network.stack_name == f"{config.name}-network"
        return {stack.stack_name.removeprefix(f"{config.name}-"): stack.template for stack in app.synth().stacks}

    return templates_of
