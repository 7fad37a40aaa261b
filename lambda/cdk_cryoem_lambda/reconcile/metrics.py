"""What a sweep has seen, as metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import meter, metrics, node_life
from ..node_life import Sighting
from ..nodes import Status
from ..world import World


def tell(w: World, status: Status | None, shown: Sequence[Mapping[str, Any]] | None, *, now: float) -> None:
    """Write them. shown: the cluster's instances, None when EC2 did not say; lanes have no metrics then."""
    cluster = w.settings.cluster
    paid: dict[str, int] | None = None
    if shown is not None:
        paid = node_life.paid_nodes(map(Sighting.parse, shown), head_node=w.settings.head_node)
    values = metrics.of_cluster(
        status=status,
        paid=paid,
        datasets=w.records.datasets(),
        spend=w.records.spend(f"{meter.month_of(now)}#month"),
        now=now,
    )
    lines = [metrics.line(values, cluster=cluster, now=now)]
    if paid is not None:
        by_lane = metrics.of_lanes(paid, status, w.manifest()[1])
        lines += [metrics.line(found, cluster=cluster, now=now, lane=lane) for lane, found in by_lane.items()]
    metrics.write(lines)
