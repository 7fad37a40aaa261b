"""Where the steps of a dataset may run: on the lanes as they are, on other lanes of the file, or on any type of one size. Pure.

A plan as the file has it puts each stage on its own lane. On the lanes of a file, a stage may move to any lane that its steps fit
on. With any type, every size of node (GPUs) that a step uses gets one type of just that size: one lane each, with another type
in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from cdk_cryoem import Capacity, InstanceShape, Lane, instance_shapes

from ..prices import PriceTable
from .nodes import Node, Overheads, Placed, fits, place_all
from .search import Option, Plan, frontier
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
        parts.append(_options(some, nodes, overheads, box=box, sure=sure, what="lane of the file"))
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
    """The best plans with one type for each size of node. lanes: the lane of each size. types: those that may be taken.

    Errors: NoWay, NoPrice.
    """
    shapes = [shape for name, shape in instance_shapes().items() if types is None or name in set(types)]
    parts = []
    for gpus in sorted({work.step.gpus for work in works}):
        some = [work for work in works if work.step.gpus == gpus]
        nodes = [prices.node(lanes[gpus], shape, spot=spot) for shape in shapes if shape.gpus == gpus]
        parts.append(_options(some, nodes, overheads, box=box, sure=sure, what=f"instance type of {_several(gpus)}"))
    return frontier(parts)


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
    works: Sequence[Work], nodes: Sequence[Node], overheads: Overheads, *, box: int, sure: bool, what: str
) -> Sequence[Option[Chosen]]:
    options = []
    for node in nodes:
        if all(fits(work.step, node.shape, box=box) for work in works):
            placed = tuple(place_all(works, node, overheads))
            time, price = hours(placed), usd(placed)
            options.append(
                Option(hours=time.high if sure else time.likely, usd=price.high if sure else price.likely, what=placed)
            )
    if not options:
        titles = ", ".join(work.step.title for work in works)
        raise NoWay(
            f"{titles}: no {what} has the GPUs, their memory, the vCPUs and the memory for particles of {box} pixels"
        )
    return options


def _several(gpus: int) -> str:
    return f"{gpus} GPU" if gpus == 1 else f"{gpus} GPUs"
