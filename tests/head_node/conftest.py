"""The head node's programs on the path, a home for them, and commands that stand for Slurm's and AWS's."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_HERE = Path(__file__).resolve().parent
HEAD_NODE = _HERE.parents[1] / "constructs" / "cdk_cryoem" / "head_node"
sys.path[:0] = [str(_HERE), str(HEAD_NODE / "lib")]

from shipped import Shipment  # noqa: E402

SETTINGS = """CLUSTER=cryo
EVENT_BUS=bus
AWS_REGION=eu-central-1
MANIFEST_PARAMETER=/cryo/lanes
CRYOSPARC_SECRET=arn:secret
CRYOSPARC_URL=
CRYOSPARC_WORKER=/cryosparc/bin/cryosparcw
FSX={fsx}
SCRATCH=/scratch
NODE_POLL_SECONDS=0.01
SLURM_BIN={slurm_bin}
PROCESSING_USER=
"""
Fake = Callable[[str, str], Path]


@pytest.fixture(autouse=True)
def own_environment() -> Iterator[None]:
    """The programs put settings into os.environ; that must not reach another test."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def head_node() -> Path:
    """The folder that is shipped to the head node."""
    return HEAD_NODE


@pytest.fixture
def slurm_bin(tmp_path: Path) -> Path:
    """Where Slurm's commands are; empty."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    return folder


@pytest.fixture
def home(tmp_path: Path, slurm_bin: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CRYOEM_HOME with settings, as bootstrap leaves it."""
    folder = tmp_path / "home"
    for name in ("etc", "lanes", "spool", "recipes"):
        (folder / name).mkdir(parents=True)
    settings = SETTINGS.format(fsx=tmp_path / "fsx", slurm_bin=slurm_bin)
    (folder / "etc" / "head-node.env").write_text(settings)
    monkeypatch.setenv("CRYOEM_HOME", str(folder))
    return folder


@pytest.fixture
def fake(slurm_bin: Path) -> Fake:
    """Make a command of Slurm's out of a few lines of bash; each call is noted in NAME.calls beside it."""

    def make(name: str, body: str) -> Path:
        program = slurm_bin / name
        program.write_text(f'#!/usr/bin/env bash\necho "$*" >>"$0.calls"\n{body}\n')
        program.chmod(0o755)
        (slurm_bin / f"{name}.calls").touch()
        return slurm_bin / f"{name}.calls"

    return make


@pytest.fixture
def shipment(tmp_path: Path) -> Shipment:
    """A head node that nothing has been installed on yet."""
    return Shipment(tmp_path, HEAD_NODE)
