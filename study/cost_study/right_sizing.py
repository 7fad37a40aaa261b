"""The white paper's three datasets on p4d throughout, on AWS guidance's shape, on the default lanes, and as the planner has it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from cdk_cryoem import default_lanes, instance_shapes
from cdk_cryoem.stages import stage_lanes
from cdk_cryoem_stacks import prices
from cdk_cryoem_stacks.plan import Dataset, datasets
from cdk_cryoem_stacks.plan.choose import Chosen, Prices, as_they_are, hours, in_order, on_any_type, on_lanes, usd
from cdk_cryoem_stacks.plan.nodes import NO_OVERHEADS, Node, Overheads, place_all
from cdk_cryoem_stacks.plan.search import Plan, cheapest
from cdk_cryoem_stacks.plan.work import Range, work

P4D, P4D_THEN_USD = "p4d.24xlarge", 32.77
"""Its price when the white paper was written; it fell in June 2025."""
SPOT_OF_G = Decimal("0.47")
"""Spot price of the G family beside on demand: the mean of a week of February 2024 in us-east-1c (KEK)."""
GUIDANCE = {1: "g6.4xlarge", 4: "g6.48xlarge", 8: "g6.48xlarge"}
"""AWS's guidance for cryo-EM (2025): one type for one GPU, one for more."""
SIZES = {1: "gpu1", 4: "gpu4", 8: "gpu8"}
BOX = 256
"""A size of particles that every type of the table can refine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """One way to compute a dataset: hours, price on demand, likely price on spot (None where it has none), its node types."""

    name: str
    hours: Range
    usd: Range
    spot_usd: float | None
    types: Sequence[str]


@functools.cache
def table() -> Prices:
    """The package's prices; its spot prices replaced by one law, because they are observations of different years."""
    packaged = prices.load()
    spot = [
        dataclasses.replace(
            price, item=f"ec2:{shape.instance_type}:spot", usd=price.usd * SPOT_OF_G, source="0.47 of on demand"
        )
        for shape in instance_shapes().values()
        if shape.gpus and shape.instance_type.startswith("g")
        for price in [packaged.ec2(shape.instance_type)]
    ]
    return Prices(table=packaged.over(spot), region=prices.HOME_REGION)


@functools.cache
def ways(dataset: Dataset) -> Mapping[str, Way]:
    """Every way of one dataset, by name."""
    known = table()
    found = [
        _throughout("p4d throughout, price then", dataset, known, usd_per_hour=P4D_THEN_USD),
        _throughout("p4d throughout, today", dataset, known),
        _shape("AWS guidance's shape", dataset, known, GUIDANCE),
        _default_lanes(dataset, known),
        _planned("planner, default lanes", dataset, known, any_type=False),
        _planned("planner, any type", dataset, known, any_type=True),
        _planned(
            "planner, as fast as p4d",
            dataset,
            known,
            any_type=True,
            within=_throughout("", dataset, known).hours.likely,
        ),
    ]
    return {way.name: way for way in found}


def _throughout(name: str, dataset: Dataset, known: Prices, *, usd_per_hour: float | None = None) -> Way:
    """One node that is there from the first step to the last, and no longer: neither boot nor idle time is counted."""
    node = known.node("all", instance_shapes()[P4D], spot=False)
    if usd_per_hour is not None:
        node = dataclasses.replace(node, usd_per_hour=usd_per_hour)
    placed = place_all(work(dataset), node, NO_OVERHEADS)
    spot = known.node("all", instance_shapes()[P4D], spot=True) if usd_per_hour is None else None
    return Way(
        name=name,
        hours=hours(placed),
        usd=usd(placed),
        spot_usd=usd(place_all(work(dataset), spot, NO_OVERHEADS)).likely if spot else None,
        types=[P4D],
    )


def _shape(name: str, dataset: Dataset, known: Prices, types: Mapping[int, str]) -> Way:
    def on(spot: bool) -> Chosen:
        nodes = {gpus: known.node(SIZES[gpus], instance_shapes()[each], spot=spot) for gpus, each in types.items()}
        return tuple(
            placed for each in work(dataset) for placed in place_all([each], nodes[each.step.gpus], Overheads())
        )

    return _way(name, on(False), on(True))


def _default_lanes(dataset: Dataset, known: Prices) -> Way:
    lanes = default_lanes()
    chosen = as_they_are(work(dataset), lanes, stage_lanes(lanes, {}), known, Overheads())
    return _way("default lanes", chosen, _on_spot(chosen, known))


def _planned(name: str, dataset: Dataset, known: Prices, *, any_type: bool, within: float | None = None) -> Way:
    works = work(dataset)
    found = cheapest(plans(dataset, known, any_type=any_type, spot=False), hours=within)
    if found is None:
        raise ValueError(f"{name}: no plan of {dataset.name} takes {within} h or less")
    chosen = in_order(found.choices, works)
    if not any_type:
        return _way(name, chosen, _on_spot(chosen, known))
    on_spot = cheapest(plans(dataset, known, any_type=True, spot=True), hours=within)
    return _way(name, chosen, in_order(on_spot.choices, works) if on_spot else None)


def plans(dataset: Dataset, known: Prices, *, any_type: bool, spot: bool, sure: bool = False) -> Sequence[Plan[Chosen]]:
    """The frontier of a dataset."""
    if any_type:
        return on_any_type(work(dataset), SIZES, known, Overheads(), box=BOX, spot=spot, sure=sure)
    lanes = default_lanes()
    return on_lanes(work(dataset), lanes, stage_lanes(lanes, {}), known, Overheads(), box=BOX, sure=sure)


def _on_spot(chosen: Chosen, known: Prices) -> Chosen:
    def again(node: Node) -> Node:
        return known.node(node.lane, node.shape, spot=True)

    return tuple(placed for each in chosen for placed in place_all([each.work], again(each.node), Overheads()))


def _way(name: str, chosen: Chosen, on_spot: Chosen | None) -> Way:
    return Way(
        name=name,
        hours=hours(chosen),
        usd=usd(chosen),
        spot_usd=usd(on_spot).likely if on_spot else None,
        types=list(dict.fromkeys(placed.node.shape.instance_type for placed in chosen)),
    )


def l40s_at_half(dataset: Dataset) -> tuple[Way, Way]:
    """p4d for 8 GPUs, g6e for 4 and 1, as assumed; and with an L40S half as fast as an A100, the least that is thought possible."""
    way = _shape("", dataset, table(), {1: "g6e.4xlarge", 4: "g6e.12xlarge", 8: P4D})
    slow = dataclasses.replace(way, hours=Range.of(way.hours.high), usd=Range.of(way.usd.high))
    return way, slow


def sure_plan(dataset: Dataset) -> Way:
    """What the planner takes when every GPU is as slow as is thought possible."""
    found = cheapest(plans(dataset, table(), any_type=True, spot=False, sure=True))
    assert found is not None
    return _way("planner, any type, --sure", in_order(found.choices, work(dataset)), None)


def shares(dataset: Dataset) -> tuple[Mapping[int, float], float]:
    """Which part of the time on p4d needs how many GPUs; which part of the GPUs paid for is used."""
    works = work(dataset)
    total = sum(each.minutes.likely for each in works)
    by_size = {gpus: sum(each.minutes.likely for each in works if each.step.gpus == gpus) / total for gpus in (8, 4, 1)}
    return by_size, sum(part * gpus / 8 for gpus, part in by_size.items())


def every() -> Mapping[str, Mapping[str, Way]]:
    """Every way of every published dataset."""
    return {name: ways(dataset) for name, dataset in datasets().items()}
