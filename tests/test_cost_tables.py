"""The tables of what the engines cost say what data/instances.csv says, and add up."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cdk_cryoem import HeadNode, default_lanes, instance_shapes
from cdk_cryoem_stacks import prices
from cdk_cryoem_stacks.config import Config

_DOCS = Path(__file__).resolve().parents[1] / "docs"
_ENGINES = ("parallelcluster", "pcs")
_HOURS = 730


def _lane_table() -> str:
    """The rows of every page that prices the default lanes."""
    shapes = instance_shapes()
    rows = []
    for lane in default_lanes():
        first, *others = lane.instance_types
        more = ", ".join(f"{name} {shapes[name].usd_per_hour:.2f}" for name in others)
        full = lane.max_nodes * lane.usd_per_hour
        rows.append(f"| `{lane.name}` | {first} | {lane.usd_per_hour:.2f} | {lane.max_nodes} | {full:.2f} | {more} |")
    return "\n".join(rows)


def _idle(engine: str) -> dict[str, float]:
    """What costs something in a month without a job, as the engine's page says it."""
    section = (_DOCS / f"{engine}.md").read_text().partition("## Cost when idle")[2].partition("\n## ")[0]
    return {
        what.strip("* "): float(usd.strip("* "))
        for what, usd in re.findall(r"^\| (.+?) \| ([\d.*]+) \|", section, re.M)
    }


@pytest.mark.parametrize("engine", _ENGINES)
def test_the_default_lanes_are_priced_by_the_table_of_types(engine: str) -> None:
    page = (_DOCS / f"{engine}.md").read_text()
    assert _lane_table() in page, f"docs/{engine}.md ought to have:\n{_lane_table()}"


@pytest.mark.parametrize("engine", _ENGINES)
def test_what_costs_something_when_idle_adds_up(engine: str) -> None:
    rows = _idle(engine)
    total = rows.pop("sum")
    assert len(rows) >= 10
    assert round(sum(rows.values()), 2) == total


@pytest.mark.parametrize("engine", _ENGINES)
def test_the_head_node_costs_its_type_and_the_sum_without_it_is_right(engine: str) -> None:
    node = HeadNode()
    rows = _idle(engine)
    running = round(_HOURS * instance_shapes()[node.instance_type].usd_per_hour, 2)
    assert rows[f"Head node, {node.instance_type}"] == running
    assert rows["Volumes of the head node"] == round((node.root_volume_gib + node.cryosparc_volume_gib) * 0.08, 2)
    assert f"{rows['sum'] - running:.2f} with the head node stopped" in (_DOCS / f"{engine}.md").read_text()


@pytest.mark.parametrize("page", ["../README.md", "engines.md", "deploying.md"])
def test_other_pages_say_the_same_sums(page: str) -> None:
    text = (_DOCS / page).read_text()
    node = HeadNode()
    running = _HOURS * instance_shapes()[node.instance_type].usd_per_hour
    for engine in _ENGINES:
        total = _idle(engine)["sum"]
        assert f"{total:.0f}" in text, f"{page} ought to say {total:.0f} for {engine}"
        assert f"{total - running:.0f}" in text, f"{page} ought to say {total - running:.0f} for {engine}"


@pytest.mark.parametrize("engine", _ENGINES)
def test_what_is_in_the_table_of_prices_costs_when_idle_what_the_table_says(engine: str) -> None:
    rows, store, table = _idle(engine), Config(name="em").file_system, prices.load()

    def usd(item: str, number: float) -> float:
        return round(float(table.usd(item).usd) * number, 2)

    per_gb = f"fsx:persistent2-{store.throughput_mibps_per_tib}:gb-month"
    assert rows["FSx for Lustre"] == usd(per_gb, store.capacity_gib)
    assert rows["NAT gateway"] == usd("nat:hour", _HOURS)
    assert rows["Public IPv4 address of the NAT gateway"] == usd("ipv4:hour", _HOURS)
    assert rows["KMS key, secret"] == usd("kms:key-month", 1) + usd("secret:month", 1)
    assert rows.get("Controller, SMALL", usd("pcs:small:hour", _HOURS)) == usd("pcs:small:hour", _HOURS)


def test_other_pages_price_endpoints_and_transfers_as_the_table_does() -> None:
    table = prices.load()
    endpoint = float(table.usd("endpoint:hour").usd) * _HOURS
    network, ingest = (_DOCS / "network.md").read_text(), (_DOCS / "ingest.md").read_text()
    assert set(re.findall(r"(?m)^\| `\w+` \| .* \| (?:yes|-) \| ([\d.]+) \|$", network)) == {f"{endpoint:.2f}"}
    basic, enhanced, run = (
        table.usd(f"datasync:{item}").usd for item in ("basic:gb", "enhanced:gb", "enhanced:execution")
    )
    assert f"| {basic} USD per GB | {enhanced} USD per GB and {run} USD per run |" in ingest
