"""What idle GPU nodes cost and how long people wait for nodes: the shipped decisions beside other ways, on seeded traces.

PBR is paid GPU-seconds / used GPU-seconds: 1.0 if nobody ever paid for boot, idle time or shutdown. Laws: docs/waiting.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from idle_bench import picture
from idle_bench.cluster import Cluster, Policy
from idle_bench.policies import Clairvoyant, Hooks, IdleTime, Immediate, lanes, price
from idle_bench.trace import TRACES, Laws, draw

PICTURE = Path(__file__).parents[1] / "docs" / "img" / "waiting.svg"
SEEDS = range(1, 21)
# Boot in the middle and shutdown: to hold a node for longer costs more than to start it again.
BREAK_EVEN_SECONDS = 370.0
PRICE = 5.5
GOALS = (("default", 1.18, None), ("waiting priced", 1.20, 215.0))
POLICIES: dict[str, Callable[[], Policy]] = {
    "engine, 10 minutes": lambda: IdleTime(600),
    "engine, 5 minutes": lambda: IdleTime(300),
    "break-even": lambda: IdleTime(BREAK_EVEN_SECONDS),
    "immediate": Immediate,
    "default": Hooks,
    "waiting priced": lambda: Hooks(waiting=price(PRICE)),
    "clairvoyant": Clairvoyant,
}


@dataclasses.dataclass(frozen=True)
class Row:
    """Means over the seeds, and the standard error of the first."""

    pbr: float
    error: float
    wait: float

    def __str__(self) -> str:
        return f"{self.pbr:.3f} ±{self.error:.3f} {self.wait:>4.0f} s"


def measure(
    laws: Laws, policy: Callable[[], Policy], *, scientists: int, seeds: Iterable[int], by_dependency: bool = False
) -> Row:
    """One policy on the same traces as all others."""
    runs = [
        Cluster(
            draw(laws, scientists=scientists, seed=seed), policy(), seed=seed, by_dependency=by_dependency
        ).run()
        for seed in seeds
    ]  # fmt: skip
    pbr = [run.pbr for run in runs]
    error = statistics.stdev(pbr) / len(pbr) ** 0.5 if len(pbr) > 1 else 0.0
    return Row(statistics.mean(pbr), error, statistics.mean(run.mean_wait for run in runs))


def tables(cases: Sequence[tuple[str, Laws, int]], seeds: Iterable[int]) -> dict[str, dict[str, Row]]:
    """Every policy on every case, printed as it comes."""
    print(f"{'PBR, mean wait':>20}", *(f"{name:>20}" for name, _, _ in cases), sep="  ")
    found: dict[str, dict[str, Row]] = {}
    for name, policy in POLICIES.items():
        found[name] = {
            case: measure(laws, policy, scientists=scientists, seeds=seeds) for case, laws, scientists in cases
        }
        print(f"{name:>20}", *(f"{row!s:>20}" for row in found[name].values()), sep="  ", flush=True)
    return found


def assumptions(seeds: Iterable[int]) -> None:
    """The light trace with four people, when other laws hold."""
    light = TRACES["B"]
    cases = {
        "as above": (light, False),
        "chained jobs come up to 4 s late": (dataclasses.replace(light, chain_delay=4.0), False),
        "chained jobs come up to 30 s late": (dataclasses.replace(light, chain_delay=30.0), False),
        "chained jobs wait in Slurm's queue": (light, True),
        "no job is chained": (dataclasses.replace(light, chained=0.0), False),
        "thinking 3 minutes": (dataclasses.replace(light, think_median=180.0), False),
        "thinking 20 minutes": (dataclasses.replace(light, think_median=1200.0), False),
        "boot 120 s": (dataclasses.replace(light, boot_median=120.0), False),
        "boot 600 s": (dataclasses.replace(light, boot_median=600.0), False),
        "less spread (1.5)": (dataclasses.replace(light, spread=1.5), False),
    }
    chosen = {name: POLICIES[name] for name in ("engine, 10 minutes", "default", "waiting priced")} | {
        "hold_minutes: 1": lambda: Hooks(lanes=lanes(hold_minutes=1))
    }
    print(f"{'trace B, 4 people':>36}", *(f"{name:>20}" for name in chosen), sep="  ")
    for name, (laws, waits) in cases.items():
        rows = [
            measure(laws, policy, scientists=4, seeds=seeds, by_dependency=waits) for policy in chosen.values()
        ]  # fmt: skip
        print(f"{name:>36}", *(f"{row!s:>20}" for row in rows), sep="  ", flush=True)


def draw_frontier(found: dict[str, dict[str, Row]], seeds: Iterable[int]) -> None:
    """PBR against the mean wait, on the light trace with four people."""

    def point(label: str, policy: Callable[[], Policy]) -> picture.Point:
        row = measure(TRACES["B"], policy, scientists=4, seeds=seeds)
        return label, row.pbr, row.wait

    def known(name: str) -> picture.Point:
        return name, found[name]["B, 4 people"].pbr, found[name]["B, 4 people"].wait

    curves = {
        "an engine's idle time": [
            *(point(f"{n} min", functools.partial(IdleTime, n * 60.0)) for n in (1, 2, 5, 10, 15, 20)),
        ],
        "the hooks, waiting priced": [
            known("default"),
            point("", lambda: Hooks(waiting=price(5.0))),
            (f"{PRICE:.2f} USD/h", *known("waiting priced")[1:]),
            *(point("", functools.partial(Hooks, waiting=price(w))) for w in (6.5, 17.5)),
            point("40 USD/h", lambda: Hooks(waiting=price(40.0))),
        ],
        "clairvoyant": [known("clairvoyant")],
        "immediate": [known("immediate")],
    }
    PICTURE.write_text(picture.frontier(curves, title="What idle nodes cost, and how long people wait"))


def main() -> None:
    """Print the tables and draw the picture; nothing fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two seeds of short datasets, no picture")
    if parser.parse_args().quick:
        short = dataclasses.replace(TRACES["B"], jobs_least=20, jobs_most=30)
        tables([("short B, 2 people", short, 2)], range(1, 3))
        return
    found = tables([(f"{name}, 4 people", TRACES[name], 4) for name in TRACES], SEEDS)
    print()
    tables([(f"B, {count} people", TRACES["B"], count) for count in (1, 16)], SEEDS)
    print()
    for name, pbr, wait in GOALS:
        row = found[name]["B, 4 people"]
        met = row.pbr <= pbr and (wait is None or row.wait <= wait)
        wanted = f"PBR {pbr}" + (f" with {wait:.0f} s" if wait else "")
        print(f"{name} on trace B, 4 people: {row}; the goal was {wanted}: {'met' if met else 'not met'}")
    print()
    assumptions(SEEDS)
    draw_frontier(found, SEEDS)


if __name__ == "__main__":
    main()
