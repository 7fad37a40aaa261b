"""Where the steps of a dataset may run: on the lanes as they are, on other lanes of the file, or on any type of one size. Pure.

A plan as the file has it puts each stage on its own lane. On the lanes of a file, a stage may move to any lane that its steps fit
on. With any type, every size of node (GPUs) that steps use is one lane with one type in it, and steps that go movie by movie may
run on a smaller size than the published one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from cdk_cryoem import Capacity, InstanceShape, Lane, instance_shapes

from ..prices import PriceTable
from .nodes import Node, Overheads, Placed, fits, place, place_all
from .search import Option, Plan, best, frontier
from .work import Range, Work

LIVE = "live"
"""The lane of a running microscope: no plan puts another stage on it."""
Chosen: TypeAlias = tuple[Placed, ...]


class NoWay(Exception):
    """No node can do a step, and why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prices:
    """The prices of a plan: the table, and the region it is for."""

    table: PriceTable
    region: str

    def node(self, lane: str, shape: InstanceShape, *, spot: bool) -> Node:
        """A node with its price. Errors: NoPrice."""
        found = self.table.ec2(shape.instance_type, self.region, spot=spot)
        return Node(
            lane=lane, shape=shape, usd_per_hour=float(found.usd), price=f"{found.item}, {found.said}", spot=spot
        )


def as_they_are(
    works: Sequence[Work], lanes: Sequence[Lane], stage_lanes: Mapping[str, str], prices: Prices, overheads: Overheads
) -> Chosen:
    """Each step on the lane of its stage. Errors: NoWay for a lane without GPUs, NoPrice."""
    by_name = {lane.name: lane for lane in lanes}
    placed: list[Placed] = []
    for work in works:
        lane = by_name[stage_lanes[work.step.stage]]
        if not lane.gpus:
            raise NoWay(
                f"{work.step.title} needs {_several(work.step.gpus)}, and its lane {lane.name!r} has none."
                " Add a lane with GPUs"
            )
        placed += place_all([work], lane_node(lane, prices), overheads)
    return tuple(placed)


def lane_node(lane: Lane, prices: Prices) -> Node:
    """The node of a lane that one expects to get first."""
    return prices.node(lane.name, lane.shapes[lane.instance_types[0]], spot=lane.capacity is Capacity.SPOT)


def on_lanes(
    works: Sequence[Work],
    lanes: Sequence[Lane],
    stage_lanes: Mapping[str, str],
    prices: Prices,
    overheads: Overheads,
    *,
    box: int,
    spot: bool = False,
    sure: bool = False,
) -> Sequence[Plan[Chosen]]:
    """The best plans that lanes of the file allow. Spot lanes only if they are wanted. Errors: NoWay, NoPrice.

    sure: hours and prices are compared as they are at most, not as is likely.
    """
    parts = []
    for stage, some in _by_stage(works).items():
        nodes = [
            lane_node(lane, prices)
            for lane in lanes
            if lane.gpus
            and (
                lane.name == stage_lanes[stage] or (lane.name != LIVE and lane.capacity is not Capacity.CAPACITY_BLOCK)
            )
            and (spot or lane.capacity is not Capacity.SPOT)
        ]
        options = _options(some, nodes, overheads, box=box, sure=sure)
        if not options:
            raise _no_way(some, "lane of the file", box)
        parts.append(options)
    return frontier(parts)


def on_any_type(
    works: Sequence[Work],
    lanes: Mapping[int, str],
    prices: Prices,
    overheads: Overheads,
    *,
    box: int,
    spot: bool = False,
    sure: bool = False,
    types: Iterable[str] | None = None,
) -> Sequence[Plan[Chosen]]:
    """The best plans with one type for each size of node (GPUs) that steps use, and each stage on a size that it can use.

    Exact: every choice of types is tried. lanes: the lane of each size. types: those that may be taken. Errors: NoWay, NoPrice.
    """
    shapes = [shape for name, shape in instance_shapes().items() if types is None or name in set(types)]
    by_size = [
        _worth_trying(
            [prices.node(lanes[gpus], shape, spot=spot) for shape in shapes if shape.gpus == gpus],
            [work for work in works if work.step.gpus >= gpus],
            overheads,
            box=box,
            sure=sure,
        )
        for gpus in sorted({work.step.gpus for work in works})
    ]
    # What a stage takes on a node is the same whichever types the other sizes have.
    ways = [
        {
            node: _options(some, [node], overheads, box=box, sure=sure)
            for size in by_size
            for node in size
            if node.shape.gpus <= some[0].step.gpus
        }
        for some in _by_stage(works).values()
    ]
    found: list[Plan[Chosen]] = []
    for nodes in itertools.product(*(size for size in by_size if size)):
        found += frontier([[option for node in nodes for option in way.get(node, ())] for way in ways])
    if not found:
        raise _no_way(works, "instance type", box)
    return best(found)


def _worth_trying(
    nodes: Sequence[Node], works: Sequence[Work], overheads: Overheads, *, box: int, sure: bool
) -> Sequence[Node]:
    """Nodes without those that another one beats, or equals, in hours and price of every step: no best plan needs them."""
    kept: list[tuple[Node, list[tuple[float, float]]]] = []
    for node in sorted(nodes, key=lambda node: node.usd_per_hour):
        mine = [_figures(work, node, overheads, box=box, sure=sure) for work in works]
        if all(math.isinf(hours) for hours, _ in mine):
            continue
        if not any(
            all(h <= hours and u <= usd for (h, u), (hours, usd) in zip(theirs, mine, strict=True))
            for _, theirs in kept
        ):
            kept.append((node, mine))
    return [node for node, _ in kept]


def _figures(work: Work, node: Node, overheads: Overheads, *, box: int, sure: bool) -> tuple[float, float]:
    if not fits(work.step, node.shape, box=box):
        return math.inf, math.inf
    placed = place(work, node, overheads)
    return (placed.hours.high, placed.usd.high) if sure else (placed.hours.likely, placed.usd.likely)


def in_order(chosen: Iterable[Chosen], works: Sequence[Work]) -> Chosen:
    """The steps of a plan in the order in which they run."""
    by_step = {placed.work.step.name: placed for part in chosen for placed in part}
    return tuple(by_step[work.step.name] for work in works)


def hours(chosen: Iterable[Placed]) -> Range:
    """How long the steps take one after the other."""
    return Range.sum(placed.hours for placed in chosen)


def usd(chosen: Iterable[Placed]) -> Range:
    """What the nodes of the steps cost."""
    return Range.sum(placed.usd for placed in chosen)


def misfits(chosen: Iterable[Placed], *, box: int) -> list[str]:
    """Steps whose node is too small for them, as a page says it."""
    return [
        f"{placed.work.step.title} may not fit {placed.node.shape.instance_type} of lane {placed.node.lane!r}:"
        " too few vCPUs, too little memory, or particles too large for its GPUs"
        for placed in chosen
        if not fits(placed.work.step, placed.node.shape, box=box) and placed.node.shape.gpus >= placed.work.step.gpus
    ]


def _by_stage(works: Sequence[Work]) -> Mapping[str, list[Work]]:
    found: dict[str, list[Work]] = {}
    for work in works:
        found.setdefault(work.step.stage, []).append(work)
    return found


def _options(
    works: Sequence[Work], nodes: Sequence[Node], overheads: Overheads, *, box: int, sure: bool
) -> Sequence[Option[Chosen]]:
    options = []
    for node in nodes:
        if all(fits(work.step, node.shape, box=box) for work in works):
            placed = tuple(place_all(works, node, overheads))
            time, price = hours(placed), usd(placed)
            options.append(
                Option(hours=time.high if sure else time.likely, usd=price.high if sure else price.likely, what=placed)
            )
    return options


def _no_way(works: Iterable[Work], what: str, box: int) -> NoWay:
    titles = ", ".join(work.step.title for work in works)
    return NoWay(
        f"{titles}: no {what} has the GPUs, their memory, the vCPUs and the memory for particles of {box} pixels"
    )


def _several(gpus: int) -> str:
    return f"{gpus} GPU" if gpus == 1 else f"{gpus} GPUs"
