"""A strict twin for each engine, for the tests that need it: IAM enforced, TLS, the demo run through once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cdk_cryoem_twin import lifecycle
from cdk_cryoem_twin.demo import Demo
from cdk_cryoem_twin.environment import Mode
from cdk_cryoem_twin.observer import Observer
from cdk_cryoem_twin.places import ROOT_VARIABLE, Places
from cdk_cryoem_twin.summary import Summary

_CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Twin:
    """The running twin."""

    places: Places
    outputs: dict[str, str]
    make: Callable[[str], Any]
    observer: Observer
    summary: Summary
    report: Path


@contextmanager
def run_through(folder: str, config: str, report: Path) -> Iterator[Twin]:
    """A strict twin in a folder of the checkout, with the demo run through; taken down at the end."""
    places, mode = Places(_CHECKOUT / folder), Mode(strict=True)
    with pytest.MonkeyPatch.context() as patch, lifecycle.alone(places):
        patch.setenv(ROOT_VARIABLE, str(places.root))
        try:
            demo = Demo(
                places,
                mode,
                config=_CHECKOUT / "twin" / config,
                output=report,
                movies=16,
                console=Console(force_terminal=False),
            )
            summary = demo.run()
            make = lifecycle.clients(places, mode)
            outputs = lifecycle.outputs(places)
            yield Twin(places, outputs, make, Observer(places, make, outputs), summary, report)
        finally:
            lifecycle.down(places)


@pytest.fixture(scope="session")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twin]:
    with run_through(".twin-test", "cryoem.yaml", tmp_path_factory.mktemp("report")) as made:
        yield made


@pytest.fixture(scope="module")
def pcs_twin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twin]:
    """The same with the other engine, for one module only: two twins at once would be slow."""
    with run_through(".twin-test-pcs", "cryoem-pcs.yaml", tmp_path_factory.mktemp("pcs-report")) as made:
        yield made
