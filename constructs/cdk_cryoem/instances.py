"""Shapes and list prices of the EC2 instance types a lane may name.

The table is `data/instances.csv`; its head says where every number comes from. A type that is not
in it can still be used: pass an `InstanceShape` of your own to `Lane(shapes=...)`.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_TABLE = Path(__file__).parent / "data" / "instances.csv"


@dataclass(frozen=True, kw_only=True, slots=True)
class InstanceShape:
    """What one instance type has. Memory in GiB, local NVMe in GB, price in USD per hour on demand.

    threads_per_core: 2 on all of the table's types. efa: whether it can have an Elastic Fabric Adapter. capacity_block: whether EC2 sells Capacity Blocks of it.
    price_region: where it is the price. price_date: when it was looked up: a year, a month or a day. price_source: in what.
    spot_usd_per_hour: price on spot capacity. The table has none, and without one a spot lane is priced on demand.
    """

    instance_type: str
    gpus: int
    gpu_model: str
    gpu_memory_gib: int
    vcpus: int
    memory_gib: int
    nvme_gb: int
    usd_per_hour: float
    efa: bool = False
    capacity_block: bool = False
    threads_per_core: int = 2
    price_region: str = "us-east-1"
    price_date: str = ""
    price_source: str = ""
    spot_usd_per_hour: float | None = None


@functools.cache
def instance_shapes() -> Mapping[str, InstanceShape]:
    """All known shapes by instance type."""
    lines = [line for line in _TABLE.read_text().splitlines() if not line.startswith("#")]
    return {
        row["instance_type"]: InstanceShape(
            instance_type=row["instance_type"],
            gpus=int(row["gpus"]),
            gpu_model=row["gpu_model"],
            gpu_memory_gib=int(row["gpu_memory_gib"]),
            vcpus=int(row["vcpus"]),
            memory_gib=int(row["memory_gib"]),
            nvme_gb=int(row["nvme_gb"]),
            usd_per_hour=float(row["usd_per_hour"]),
            efa=row["efa"] == "yes",
            capacity_block=row["capacity_block"] == "yes",
            price_date=row["price_date"],
            price_source=row["price_source"],
        )
        for row in csv.DictReader(lines)
    }
