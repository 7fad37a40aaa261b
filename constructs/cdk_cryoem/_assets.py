"""Where the files are that constructs upload: in a checkout beside the roots, in a wheel inside the package."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent
NOT_SHIPPED = ["**/__pycache__", "**/*.pyc", "**/py.typed"]
"""Left out of every asset, so that a byte-compiled installation gives the same asset hash as a checkout."""


def lambda_root() -> Path:
    """The one asset root of all hook handlers."""
    packaged = _HERE / "_lambda"
    return packaged if packaged.is_dir() else _HERE.parents[1] / "lambda"


def head_node_root() -> Path:
    """The scripts that the head node gets."""
    return _HERE / "head_node"


def prepare_node_script() -> Path:
    """What a compute node runs before it takes jobs."""
    return _HERE / "node" / "prepare-node.sh"
