"""What the hooks cost for a dataset, from counted calls of the shipped handlers; `make bench` prints all of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

import receipts as bench

from cdk_cryoem_lambda import receipt_hook
from cdk_cryoem_lambda.world import world


@pytest.fixture(autouse=True)
def nothing_stays(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The bench puts fakes in place of boto3 and of time; other tests get them back."""
    environment, client = dict(os.environ), boto3.client
    modules = [module for name, module in sys.modules.items() if name.startswith("cdk_cryoem_lambda")]
    clocks = [(module, module.time) for module in modules if hasattr(module, "time")]
    yield
    boto3.client = client
    for module, clock in clocks:
        module.time = clock  # type: ignore[attr-defined]
    os.environ.clear()
    os.environ.update(environment)
    world.cache_clear()
    receipt_hook.keeper.cache_clear()


@pytest.mark.parametrize("minutes", [15, 60])
def test_ten_thousand_movies_cost_less_than_five_cents(minutes: int) -> None:
    bill = bench.acquisition(10_000, minutes=minutes)
    assert bill.used["s3 get, head"] >= 10_000, "each file's checksum was asked for"
    assert bill.used["sqs"] > 10_000, "each movie was an event"
    assert 0.01 < bill.usd() < 0.05


def test_every_price_is_used() -> None:
    bill = bench.acquisition(60, minutes=15)
    assert set(bill.used) == set(bench.PRICES)
