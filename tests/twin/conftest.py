"""One strict twin for all tests of this folder that need it: IAM enforced, TLS, the demo run through once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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


@pytest.fixture(scope="session")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twin]:
    places, mode = Places(_CHECKOUT / ".twin-test"), Mode(strict=True)
    report = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch, lifecycle.alone(places):
        patch.setenv(ROOT_VARIABLE, str(places.root))
        try:
            demo = Demo(
                places,
                mode,
                config=_CHECKOUT / "twin" / "cryoem.yaml",
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
