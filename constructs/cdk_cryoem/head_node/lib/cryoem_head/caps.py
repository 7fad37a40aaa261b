"""Decisions about caps: what a job may cost at most, what it counts in, and whether it may start.

A job may start if what was spent, what jobs that may run can still cost, and what it can cost itself are within every hard
cap it counts in. What a job can cost at most is its lane's price until its time limit: so a cap is never exceeded, whoever
is late in saying what was spent. Money is whole millionths of a dollar.
"""

from __future__ import annotations

import fnmatch
import math
from dataclasses import dataclass
from typing import Any, Dict, Iterable, List, Mapping, Optional, Tuple

ALWAYS, MONTH = "always", "month"


@dataclass(frozen=True)
class Cap:
    """One cap of the manifest. projects: patterns of folders, none for every job."""

    name: str
    limit: int
    projects: Tuple[str, ...]
    each: bool
    period: str
    hard: bool

    @classmethod
    def parse(cls, entry: Mapping[str, Any]) -> Cap:
        """From the manifest. Errors: KeyError for an entry that is none."""
        return cls(
            name=str(entry["name"]),
            limit=int(entry["usd_micro"]),
            projects=tuple(map(str, entry["projects"])),
            each=bool(entry["each"]),
            period=str(entry["period"]),
            hard=bool(entry["hard"]),
        )

    def counts(self, project: str) -> bool:
        """Whether jobs of a project count in it."""
        return not self.projects or any(fnmatch.fnmatchcase(project, pattern) for pattern in self.projects)

    def scope(self, project: str) -> str:
        """What shares its limit with a project: its name, and the project's where each has its own."""
        return f"{self.name}#{project}" if self.each else self.name


@dataclass(frozen=True)
class Wish:
    """A job that wants to start. most: what it can cost until its time limit; None when it has none."""

    job_id: str
    project: str
    lane: str
    hours: float
    most: Optional[int]


@dataclass(frozen=True)
class Reserve:
    """A job that may run, or has run and is not counted yet, and what it can cost at most."""

    job_id: str
    project: str
    most: int


def most_micro_usd(
    lane: Mapping[str, Any], *, minutes: Optional[float], nodes: int, cpus: int, memory_mib: float, gpus: int
) -> Optional[int]:
    """What a job can cost until its time limit, rounded up; None without a limit.

    nodes, cpus, memory_mib, gpus: of the whole job. The share of its nodes is the meter's: the largest of the three; one
    above 1 means that Slurm will give it more nodes.
    """
    if minutes is None:
        return None
    nodes = max(1, nodes)
    shares = [
        wanted / (float(has) * nodes)
        for wanted, has in ((gpus, lane["gpus"]), (cpus, lane["vcpus"]), (memory_mib, lane["memory_mib"]))
        if has
    ]
    share = max(shares) or 1.0
    if share > 1:
        nodes, share = math.ceil(nodes * share), 1.0
    # Slurm looks at time limits now and then, and gives a job KillWait and two minutes to go.
    hours = (minutes + _KILL_MINUTES) / 60
    return math.ceil(hours * nodes * float(lane["usd_per_hour"]) * share * 1_000_000)


_KILL_MINUTES = 3.0


def spent_micro_usd(cap: Cap, project: str, totals: Mapping[str, int], *, month: str) -> int:
    """What was spent of a cap's limit. totals: by the meter's names, `2026-11#month` or `always#project#NAME`."""
    period = month if cap.period == MONTH else ALWAYS
    if not cap.projects and cap.period == MONTH:
        return totals.get(f"{month}#month", 0)
    head = f"{period}#project#"
    found = ((name[len(head) :], spent) for name, spent in totals.items() if name.startswith(head))
    if cap.each:
        return sum(spent for name, spent in found if name == project)
    return sum(spent for name, spent in found if cap.counts(name))


def refusal(
    wish: Wish,
    caps: Iterable[Cap],
    *,
    totals: Mapping[str, int],
    reserves: Iterable[Reserve],
    raised: Mapping[str, int],
    month: str,
) -> str:
    """Why a job may not start now, for people; empty when it may.

    raised: limits by scope that somebody has raised. reserves: all other jobs that may run or are not counted yet.
    """
    held = [each for each in reserves if each.job_id != wish.job_id]
    for cap in caps:
        if not cap.hard or not cap.counts(wish.project):
            continue
        scope = cap.scope(wish.project)
        limit = max(cap.limit, raised.get(scope, 0))
        whose = f"{cap.name} of {wish.project}" if cap.each else cap.name
        if wish.most is None:
            return f"cap {whose}: it has no time limit, so nobody knows what it may cost; submit it with --time"
        spent = spent_micro_usd(cap, wish.project, totals, month=month)
        running = sum(each.most for each in held if cap.counts(each.project) and cap.scope(each.project) == scope)
        if spent + running + wish.most > limit:
            return (
                f"cap {whose}: {usd(spent)} of {usd(limit)} USD spent, jobs that run may cost {usd(running)};"
                f" this one may cost {usd(wish.most)} ({wish.hours:g} h on {wish.lane})"
                + ("" if wish.most <= limit - spent else ", more than is left")
            )
    return ""


def usd(micro: int) -> str:
    """Dollars and cents, rounded up: nobody is told that something is there which is not."""
    cents = -(-micro // 10_000)
    return f"{cents // 100:,}.{cents % 100:02d}"


def parse_all(manifest: Mapping[str, Any]) -> Tuple[List[Cap], Dict[str, Mapping[str, Any]]]:
    """Caps and lanes (by partition) of a manifest; one of an earlier version has no caps."""
    lanes = {str(lane["partition"]): lane for lane in manifest["lanes"]}
    return [Cap.parse(entry) for entry in manifest.get("caps", ())], lanes
