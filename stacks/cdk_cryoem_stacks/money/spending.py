"""What was spent in a month: by lane, project and user, what nodes were paid for besides, and whether the totals are right."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .. import paid
from ..operate.records import Item
from ..paid import MICRO

KIND = "spend"
ALWAYS = "always"
GROUPS = ("lane", "project", "user")


@dataclass(frozen=True, kw_only=True, slots=True)
class Total:
    """Jobs that ended in the period. Money in millionths of a dollar. unpriced: jobs whose partition is no lane."""

    jobs: int = 0
    usd_micro: int = 0
    unpriced: int = 0
    seconds: int = 0
    gpu_seconds: int = 0

    @classmethod
    def parse(cls, item: Item) -> Total:
        """From a record of the meter."""
        return cls(**{field.name: int(item.get(field.name, 0)) for field in dataclasses.fields(cls)})

    @property
    def usd(self) -> float:
        """In dollars, exact to the millionth."""
        return self.usd_micro / MICRO


@dataclass(frozen=True, kw_only=True, slots=True)
class Nodes:
    """What nodes were paid for, jobs or not. idle_usd: boot, idle time, shutdown, and what jobs left free. pbr: paid
    GPU-seconds / used ones, None when none were used. unpriced: nodes of no lane.
    """

    paid_usd: float
    idle_usd: float
    idle_by_lane: Mapping[str, float]
    pbr: float | None
    unpriced: int
    head_node_hours: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Spending:
    """One month of a system. nodes: None when no node was written down."""

    month: str
    total: Total
    by: Mapping[str, Mapping[str, Total]]
    datasets: Sequence[str]
    nodes: Nodes | None

    def document(self) -> dict[str, Any]:
        """All of it as JSON's own values; money in dollars."""
        return {
            "month": self.month,
            "total": _dollars(self.total),
            **{kind: {name: _dollars(total) for name, total in names.items()} for kind, names in self.by.items()},
            "datasets": list(self.datasets),
            "nodes": None if self.nodes is None else dataclasses.asdict(self.nodes),
        }


def _dollars(total: Total) -> dict[str, Any]:
    return {**{k: v for k, v in dataclasses.asdict(total).items() if k != "usd_micro"}, "usd": total.usd}


def bounds(month: str) -> tuple[float, float]:
    """First and last moment of a month, UTC. Errors: ValueError for what is none."""
    first = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
    following = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    return first.timestamp(), following.timestamp()


def month_of(at: float) -> str:
    """The calendar month of a moment, UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m")


def spending(
    totals: Iterable[Item],
    *,
    month: str,
    lives: Sequence[Item],
    jobs: Sequence[Item],
    datasets: Iterable[str],
    now: float,
) -> Spending:
    """Put together. totals: records of KIND; lives and jobs: records that reach into the month; month may be `always`."""
    found: dict[str, dict[str, Total]] = {kind: {} for kind in GROUPS}
    whole = Total()
    for item in totals:
        period, kind, name = [*str(item["sk"]).split("#", 2), "", ""][:3]
        if period != month:
            continue
        if kind == "month":
            whole = Total.parse(item)
        elif kind in found:
            found[kind][name] = Total.parse(item)
    if month == ALWAYS:
        whole = _sum(found["project"].values())
    by = {
        kind: dict(sorted(names.items(), key=lambda each: (-each[1].usd_micro, each[0])))
        for kind, names in found.items()
    }
    known = set(datasets)
    return Spending(
        month=month,
        total=whole,
        by={kind: names for kind, names in by.items() if names},
        datasets=[name for name in by["project"] if name in known],
        nodes=_nodes(lives, jobs, month=month, now=now) if lives and month != ALWAYS else None,
    )


def _sum(totals: Iterable[Total]) -> Total:
    added: Counter[str] = Counter()
    for total in totals:
        added.update(dataclasses.asdict(total))
    return Total(**added)


def _nodes(lives: Sequence[Item], jobs: Sequence[Item], *, month: str, now: float) -> Nodes:
    start, end = bounds(month)
    end = min(end, now)
    bought, used = paid.paid(lives, start=start, end=end), paid.used(jobs, start=start, end=end)
    idle = paid.idle(bought, used)
    return Nodes(
        paid_usd=paid.total(bought).usd_micro / MICRO,
        idle_usd=sum(idle.values()) / MICRO,
        idle_by_lane={lane: micro / MICRO for lane, micro in idle.items()},
        pbr=paid.pbr(paid.total(bought), paid.total(used)),
        unpriced=paid.total(bought).unpriced,
        head_node_hours=round(paid.head_node_seconds(lives, start=start, end=end) / 3600, 2),
    )


def differences(totals: Iterable[Item], jobs: Iterable[Item], *, month: str) -> list[str]:
    """Where the totals of a month are not the sums of its jobs: nothing, unless somebody wrote into the table by hand."""
    sums: dict[str, Counter[str]] = {}
    for job in jobs:
        if month_of(float(str(job["sk"]).partition("#")[0])) != month:
            continue
        gpu = round(int(job["seconds"]) * float(job["gpus"]))
        micro = round(float(job.get("usd", 0)) * MICRO)
        of_it = {"jobs": 1, "usd_micro": micro, "unpriced": int("usd" not in job)}
        for name in ("month", f"lane#{job['lane']}", f"user#{job['user']}", f"project#{job['project']}"):
            sums.setdefault(name, Counter()).update(**of_it, seconds=int(job["seconds"]), gpu_seconds=gpu)
    written = {
        str(item["sk"]).partition("#")[2]: Counter(dataclasses.asdict(Total.parse(item)))
        for item in totals
        if str(item["sk"]).startswith(f"{month}#")
    }
    return [
        f"{name}: {_words(written.get(name, Counter()))} are written down, its jobs sum up to {_words(sums.get(name, Counter()))}"
        for name in sorted({*sums, *written})
        if +sums.get(name, Counter()) != +written.get(name, Counter())
    ]


def _words(amounts: Counter[str]) -> str:
    return f"{amounts['jobs']} jobs and {amounts['usd_micro'] / MICRO:.6f} USD"
