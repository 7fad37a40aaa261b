"""The ribosome study: cost per speedup over cluster sizes, by Amdahl's law and by one with a price for talking.

By Amdahl's law n CPUs are S(n) = 1 / (1 - P + P / n) times as fast as one. A cluster costs n x price x T(1) / S(n), so the
speedup per cost is S(n)^2 / n, times what does not hang on n. That is greatest at n = P / (1 - P), where half of the CPUs' time is
lost: a published best size is a published P.
"""

from __future__ import annotations

import csv
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SIZES = (16, 32, 64, 128, 256, 480)
"""Clusters of the study: 16 to 480 CPUs; that they doubled between is read from the sizes that its text names."""
Law = Callable[[float], float]
_DATA = Path(__file__).parents[1] / "data" / "ribosome.csv"


@functools.cache
def published() -> Mapping[str, float]:
    """What the study says in numbers."""
    lines = [line for line in _DATA.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return {row["name"]: float(row["value"]) for row in csv.DictReader(lines)}


def amdahl(parallel: float) -> Law:
    """Speedup of n CPUs when so much of the work (0 to 1) can be shared."""
    return lambda n: 1 / (1 - parallel + parallel / n)


def talking(serial: float, talk: float) -> Law:
    """Speedup when CPUs also talk to each other: every pair costs `talk` (Gunther's universal scalability law)."""
    return lambda n: n / (1 + serial * (n - 1) + talk * n * (n - 1))


def per_cost(law: Law, n: float) -> float:
    """Speedup per cost of n CPUs, that of one CPU being 1."""
    return law(n) ** 2 / n


def parallel_of(best: float) -> float:
    """The P by whose law a cluster of so many CPUs has the greatest speedup per cost."""
    return best / (best + 1)


def parallel_range(best: int, sizes: Sequence[int] = SIZES) -> tuple[float, float]:
    """Between which P a size is the best of the sizes that were tried.

    n and m CPUs are equally good where S(n)^2 / n = S(m)^2 / m, that is at (1 - P) / P = (1/n) (sqrt(m/n) - 1) / (m/n - sqrt(m/n)).
    """
    place = sizes.index(best)
    low = _indifferent(sizes[place - 1], best) if place else 0.0
    high = _indifferent(best, sizes[place + 1]) if place + 1 < len(sizes) else 1.0
    return low, high


def _indifferent(n: int, m: int) -> float:
    # 1 / (sqrt(n m)) is the ratio of serial to parallel work at which both are equally good.
    ratio = 1 / math.sqrt(n * m)
    return 1 / (1 + ratio)


def usd(law: Law, n: float, *, spot: bool = True) -> float:
    """What the whole structure would have cost on n CPUs; scaled so that 128 CPUs take the published hours. Boot not counted."""
    known = published()
    hours = known["run_hours"] * law(known["run_cpus"]) / law(n)
    return hours * n / known["cpus"] * known["spot_usd" if spot else "on_demand_usd"]


def hours(law: Law, n: float) -> float:
    """How long the whole structure would have taken on n CPUs."""
    known = published()
    return known["run_hours"] * law(known["run_cpus"]) / law(n)


@dataclass(frozen=True, kw_only=True, slots=True)
class Residual:
    """One published statement beside what a law says of it."""

    statement: str
    published: str
    amdahl: str
    talking: str
    amdahl_holds: bool
    talking_holds: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """Both laws of one kind of job: P of Amdahl's, and the range it may have; serial part and talk of the other."""

    best: int
    parallel: float
    low: float
    high: float
    serial: float
    talk: float

    @property
    def amdahl(self) -> Law:
        """Amdahl's law with this P."""
        return amdahl(self.parallel)

    @property
    def talking(self) -> Law:
        """The other law."""
        return talking(self.serial, self.talk)


@functools.cache
def fit(best: int) -> Fit:
    """The laws of a kind of job of which this cluster was best.

    Amdahl's: from the best size. The other: the one that is most efficient at 64 CPUs of all those, on a grid, by which this
    size is best and 256 is fastest.
    """
    low, high = parallel_range(best)
    known = published()
    fastest, near = int(known["fastest"]), known["near_perfect"]
    found = [
        (law(near) / near, serial, talk)
        for serial in (step * 0.0005 for step in range(41))
        for talk in (step * 1e-6 for step in range(1, 61))
        for law in [talking(serial, talk)]
        if max(SIZES, key=lambda n: per_cost(law, n)) == best and max(SIZES, key=law) == fastest
    ]
    _, serial, talk = max(found)
    return Fit(best=best, parallel=parallel_of(best), low=low, high=high, serial=serial, talk=talk)


def residuals(kind: str, found: Fit) -> Sequence[Residual]:
    """The published statements on a kind of job beside both laws."""
    known = published()
    near = int(known["near_perfect"])
    laws = (found.amdahl, found.talking)
    best = [max(SIZES, key=lambda n, law=law: per_cost(law, n)) for law in laws]  # type: ignore[misc]
    quick = [max(SIZES, key=law) for law in laws]
    part = [law(near) / near for law in laws]
    return [
        Residual(
            statement=f"{kind}: best speedup per cost",
            published=f"{found.best} CPUs",
            amdahl=f"{best[0]} CPUs (fitted)",
            talking=f"{best[1]} CPUs (fitted)",
            amdahl_holds=best[0] == found.best,
            talking_holds=best[1] == found.best,
        ),
        Residual(
            statement=f"{kind}: fastest",
            published=f"{known['fastest']:.0f} CPUs",
            amdahl=f"{quick[0]} CPUs",
            talking=f"{quick[1]} CPUs (fitted)",
            amdahl_holds=quick[0] == known["fastest"],
            talking_holds=quick[1] == known["fastest"],
        ),
        Residual(
            statement=f"{kind}: speedup of {near} CPUs",
            published="near perfect",
            amdahl=f"{laws[0](near):.0f}, {part[0]:.0%} of perfect",
            talking=f"{laws[1](near):.0f}, {part[1]:.0%} of perfect",
            amdahl_holds=part[0] >= _NEAR,
            talking_holds=part[1] >= _NEAR,
        ),
    ]


_NEAR = 0.9
"""What counts here as near perfect; the study gives no number."""


def run_usd(*, spot: bool = True) -> float:
    """What the published run cost: its CPU-hours at the price of an instance."""
    known = published()
    return known["run_cpu_hours"] / known["cpus"] * known["spot_usd" if spot else "on_demand_usd"]
