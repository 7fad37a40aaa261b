"""What lanes cost, by the table of prices: the shapes that they take their prices from, and what is to be said of them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

from cdk_cryoem import Capacity, InstanceShape, Lane, Problem, instance_shapes

from .faults import Fault
from .table import HOME_REGION, PriceTable, spot_item


@functools.lru_cache(maxsize=32)
def priced_shapes(table: PriceTable, region: str) -> Mapping[str, InstanceShape]:
    """All shapes with the prices of a region. Where the table has none of it, those of us-east-1: `price_region` says which."""
    return {name: _priced(shape, table, region) for name, shape in instance_shapes().items()}


def _priced(shape: InstanceShape, table: PriceTable, region: str) -> InstanceShape:
    on_demand = table.ec2(shape.instance_type, region)
    spot = table.ec2(shape.instance_type, region, spot=True)
    return dataclasses.replace(
        shape,
        usd_per_hour=float(on_demand.usd),
        price_region=on_demand.region,
        price_date=on_demand.date,
        price_source=on_demand.source,
        spot_usd_per_hour=float(spot.usd) if spot.item == spot_item(shape.instance_type) else None,
    )


def lane_price_warnings(lanes: Sequence[Lane], region: str, *, file: str | None) -> list[str]:
    """What is to be said of the lanes' prices in a region. file: what the configuration names, None for nothing."""
    first = {lane.instance_types[0]: lane.shapes[lane.instance_types[0]] for lane in lanes}
    elsewhere = sorted(name for name, shape in first.items() if shape.price_region != region)
    said = []
    if elsewhere:
        output = file or "prices.csv"
        named = "" if file else f", and say prices: {output} in the file"
        said.append(
            f"jobs in {region} are priced as in {HOME_REGION} ({', '.join(elsewhere)}):"
            f" run `cryoem prices refresh --region {region} --output {output}`{named}"
        )
    unknown = [lane for lane in lanes if _without_spot_price(lane)]
    if unknown:
        listed = ", ".join(f"{lane.name} ({lane.instance_types[0]})" for lane in unknown)
        said.append(
            f"jobs on spot lanes are priced on demand where no spot price is known: {listed};"
            " `cryoem prices refresh` asks for it"
        )
    return said


def problem_of(fault: Fault) -> Problem:
    """What is wrong in a file of prices, as what is wrong with the configuration that names it."""
    return Problem(property=fault.property, value=fault.value, allowed=fault.allowed, fix=fault.fix)


def _without_spot_price(lane: Lane) -> bool:
    return lane.capacity is Capacity.SPOT and lane.shapes[lane.instance_types[0]].spot_usd_per_hour is None
