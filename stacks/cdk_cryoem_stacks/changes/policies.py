"""ParallelCluster's update policies: which property has which.

The table is made from ParallelCluster's own schema (tests/engine/pcluster_update_policies.py).
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .values import canonical

_TABLE = Path(__file__).parents[1] / "data" / "parallel_cluster_update_policies.csv"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One property of the schema: its policy, the key of a list's items, whether it is a volume's size or type."""

    policy: str
    key: str = ""
    by_hand: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """All properties of one version of ParallelCluster, by path."""

    version: str
    entries: Mapping[str, Entry]
    sections: Set[str]
    """The paths that hold properties of their own."""


@functools.cache
def parallel_cluster_table() -> Table:
    """The committed table."""
    head, *lines = _TABLE.read_text().splitlines()
    entries = {
        row["path"]: Entry(policy=row["policy"], key=row["key"], by_hand=row["by_hand"])
        for row in csv.DictReader(lines)
    }
    return Table(
        version=head.removeprefix("# ParallelCluster ").partition(";")[0],
        entries=entries,
        sections={path.rpartition(".")[0] for path in entries} - {""},
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A difference before it is judged.

    sections: the path above. item: whether a list's item comes or goes, and name its key. order: whether a list has only
    another order.
    """

    sections: tuple[str, ...]
    key: str
    old: Any
    new: Any
    policy: str
    item: bool = False
    name: str = ""
    order: bool = False
    by_hand: str = ""

    @property
    def in_queues(self) -> bool:
        """Whether it is below a queue, where QueueUpdateStrategy counts."""
        return any(section.startswith("SlurmQueues[") for section in self.sections)

    @property
    def comes(self) -> bool:
        """Whether it is a list's new item."""
        return self.item and self.old is None


@dataclass(frozen=True, kw_only=True, slots=True)
class Update:
    """Both configurations, and every difference between them."""

    old: Mapping[str, Any]
    new: Mapping[str, Any]
    found: Sequence[Found]

    @property
    def strategy(self) -> str:
        """The new configuration's QueueUpdateStrategy."""
        settings = (self.new.get("Scheduling") or {}).get("SlurmSettings") or {}
        return str(settings.get("QueueUpdateStrategy") or "COMPUTE_FLEET_STOP")

    @property
    def drains(self) -> bool:
        """Whether a queue may change while the fleet runs."""
        return self.strategy != "COMPUTE_FLEET_STOP"

    @property
    def has_login_nodes(self) -> bool:
        """Whether login nodes run: as many as the old configuration asks for."""
        pools = (self.old.get("LoginNodes") or {}).get("Pools") or []
        return any(canonical(pool.get("Count")) != "0" for pool in pools)
