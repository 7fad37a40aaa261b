"""What was paid for and what was used, by lane, between two moments: from the hooks' records of nodes and of jobs.

PBR is paid GPU-seconds divided by used GPU-seconds: 1.0 is perfect. What lies between is boot, shutdown, idle time, and GPUs of a
node that its jobs left free. A job that still runs is paid for and not yet used, so a PBR of today is too high.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

KIND = "node-life"
"""Kind of the records of nodes: from their launch until their end, or until the sweeper last saw them."""
JOB_KIND = "job"
HEAD_NODE = "head-node"
MICRO = 1_000_000
"""Millionths in a dollar: money is added up in these."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Amount:
    """Node-seconds, GPU-seconds and millionths of a dollar. unpriced: nodes or jobs of which the price is not known."""

    seconds: int = 0
    gpu_seconds: int = 0
    usd_micro: int = 0
    unpriced: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(
            seconds=self.seconds + other.seconds,
            gpu_seconds=self.gpu_seconds + other.gpu_seconds,
            usd_micro=self.usd_micro + other.usd_micro,
            unpriced=self.unpriced + other.unpriced,
        )


def paid(lives: Iterable[Mapping[str, Any]], *, start: float, end: float) -> dict[str, Amount]:
    """By lane, what its nodes were paid for; instances of no lane are under "". Without the head node.

    lives: records of KIND. At the list price of the lane on demand, that of its first type, as jobs are priced.
    """
    return _by_lane(
        (str(life["lane"]), _of_life(life, start=start, end=end)) for life in lives if life.get("kind") != HEAD_NODE
    )


def head_node_seconds(lives: Iterable[Mapping[str, Any]], *, start: float, end: float) -> int:
    """How long the head node was on. Its price is not in the records."""
    return sum(_overlap(each["from"], each["until"], start, end) for each in lives if each.get("kind") == HEAD_NODE)


def used(jobs: Iterable[Mapping[str, Any]], *, start: float, end: float) -> dict[str, Amount]:
    """By lane, what finished jobs used. jobs: records of JOB_KIND; of one that ran across a border, the part between.

    Seconds are those of jobs, whatever part of a node they had.
    """
    return _by_lane((str(job["lane"]), _of_job(job, start=start, end=end)) for job in jobs)


def idle(paid: Mapping[str, Amount], used: Mapping[str, Amount]) -> dict[str, int]:
    """By lane, millionths of a dollar that were paid for boot, idle time, shutdown and what jobs left free.

    Below 0 where nodes are missing in the records, such as those from before they were written down.
    """
    lanes = sorted({*paid, *used})
    nothing = Amount()
    return {lane: paid.get(lane, nothing).usd_micro - used.get(lane, nothing).usd_micro for lane in lanes}


def total(amounts: Mapping[str, Amount]) -> Amount:
    """Of all lanes."""
    return sum(amounts.values(), Amount())


def pbr(paid: Amount, used: Amount) -> float | None:
    """Paid GPU-seconds / used GPU-seconds; None when none were used."""
    return paid.gpu_seconds / used.gpu_seconds if used.gpu_seconds else None


def _by_lane(found: Iterable[tuple[str, Amount]]) -> dict[str, Amount]:
    lanes: dict[str, Amount] = {}
    for lane, amount in found:
        if amount != Amount():
            lanes[lane] = lanes.get(lane, Amount()) + amount
    return lanes


def _of_life(life: Mapping[str, Any], *, start: float, end: float) -> Amount:
    seconds = _overlap(life["from"], life["until"], start, end)
    price = life.get("usd_per_hour")
    # By its shortest decimal: 1.006 USD an hour is what the price list says, its binary neighbour is not.
    usd = 0 if price is None else round(Fraction(seconds, 3600) * Fraction(repr(price)) * MICRO)
    return Amount(
        seconds=seconds,
        gpu_seconds=seconds * int(life.get("gpus", 0)),
        usd_micro=usd,
        unpriced=int(price is None and seconds > 0),
    )


def _of_job(job: Mapping[str, Any], *, start: float, end: float) -> Amount:
    began, ended = job["started_at"], job["ended_at"]
    whole = max(0, ended - began) if began else 0
    seconds = _overlap(began, ended, start, end) if whole else 0
    if not seconds:
        return Amount()
    usd = job.get("usd")
    part = Fraction(0) if usd is None else Fraction(repr(usd)) * MICRO * Fraction(seconds, whole)
    return Amount(
        seconds=seconds,
        gpu_seconds=round(seconds * float(job.get("gpus", 0))),
        usd_micro=round(part),
        unpriced=int(usd is None),
    )


def _overlap(began: float, ended: float, start: float, end: float) -> int:
    return max(0, int(min(ended, end)) - int(max(began, start)))
