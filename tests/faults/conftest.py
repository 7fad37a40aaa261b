"""The fault model and the head node's programs on the path."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), str(_HERE.parents[1] / "constructs" / "cdk_cryoem" / "head_node" / "lib")]

from faultmodel.schedule import model  # noqa: E402


@pytest.fixture
def modelled() -> Iterator[None]:
    """The shipped code with the model around it."""
    with model():
        yield
