"""What booting and idle nodes of a dataset's lanes cost beside its jobs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import paid
from ..paid import MICRO
from .model import Idle, Job


def idle_of(
    jobs: Sequence[Job], others: Sequence[Mapping[str, Any]], lives: Sequence[Mapping[str, Any]]
) -> Idle | None:
    """Of each lane, what was paid and not used from the first submission to the last end, shared in proportion to use.

    others: records of jobs of any dataset, these too. lives: records of nodes (`paid.KIND`). None when no node of the lanes is
    recorded in that time. A lane of which less was paid than used has nodes that are not recorded, and is left out.
    """
    ran = [job for job in jobs if job.started_at is not None and job.usd is not None]
    if not ran:
        return None
    start = min(job.submitted_at or job.started_at or job.ended_at for job in ran)
    end = max(job.ended_at for job in ran)
    own: dict[str, float] = {}
    for job in ran:
        own[job.lane] = own.get(job.lane, 0.0) + (job.usd or 0.0)
    nodes = [life for life in lives if life.get("lane") in own and life.get("kind") != paid.HEAD_NODE]
    paid_by = paid.paid(nodes, start=start, end=end)
    used_by = paid.used([item for item in others if item.get("lane") in own], start=start, end=end)
    left = paid.idle(paid_by, used_by)
    known = sorted(lane for lane in own if lane in paid_by and left.get(lane, -1) >= 0 and not paid_by[lane].unpriced)
    if not known:
        return None
    all_paid = paid.total({lane: paid_by[lane] for lane in known})
    all_used = paid.total({lane: used_by[lane] for lane in known if lane in used_by})
    shares = {lane: min(1.0, own[lane] * MICRO / used_by[lane].usd_micro) for lane in known if _used(used_by, lane)}
    return Idle(
        paid=all_paid.usd_micro / MICRO,
        used=all_used.usd_micro / MICRO,
        own=round(sum(own[lane] for lane in known), 6),
        usd=round(sum(left[lane] * share for lane, share in shares.items()) / MICRO, 6),
        pbr=paid.pbr(all_paid, all_used),
        lanes=known,
        unknown_lanes=sorted(set(own) - set(known)),
    )


def _used(used_by: Mapping[str, paid.Amount], lane: str) -> bool:
    return lane in used_by and used_by[lane].usd_micro > 0
