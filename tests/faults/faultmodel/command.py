"""make faults: many schedules on all processors, a line of progress now and then, one table at the end."""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[3]
_CHUNK = 50


@dataclass
class Tally:
    """The sums of many schedules. first: of each kind of violation, the first seeds with what happened."""

    schedules: int = 0
    good: int = 0
    overtaken: int = 0
    api_calls: int = 0
    invocations: int = 0
    events: int = 0
    violations: Counter[str] = field(default_factory=Counter)
    injected: Counter[str] = field(default_factory=Counter)
    first: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    slowest: list[float] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Add the sums of others."""
        for name in ("schedules", "good", "overtaken", "api_calls", "invocations", "events"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.violations += other.violations
        self.injected += other.injected
        self.slowest += other.slowest
        for kind, found in other.first.items():
            self.first[kind] = sorted(self.first.get(kind, []) + found)[:3]


def use_source(root: Path) -> None:
    """Take the hooks and the head node's programs from this checkout, or a changed copy of it."""
    sys.path[:0] = [str(root / "lambda"), str(root / "constructs" / "cdk_cryoem" / "head_node" / "lib")]


def tally(first: int, count: int) -> Tally:
    """Play schedules; only within `model`."""
    from .schedule import play

    found = Tally()
    for seed in range(first, first + count):
        result = play(seed)
        if seed % 20 == 0:
            gc.collect()
        found.schedules += 1
        found.good += not result.violations
        found.overtaken += result.overtaken
        found.api_calls += result.api_calls
        found.invocations += result.invocations
        found.events += result.events
        found.injected += result.injected
        found.slowest.append(round(result.slowest, 1))
        for kind in {kind for kind, _ in result.violations}:
            found.violations[kind] += 1
            text = next(text for each, text in result.violations if each == kind)
            found.first.setdefault(kind, []).append((seed, text))
    found.first = {kind: seeds[:3] for kind, seeds in found.first.items()}
    return found


_for_good = ExitStack()


def _worker(root: Path) -> None:
    use_source(root)
    from .schedule import model

    # A site is full of cycles that all end with it; to look for them all the time costs a tenth.
    gc.disable()
    _for_good.enter_context(model())


def _part(part: tuple[int, int]) -> Tally:
    return tally(*part)


def run(seed: int, schedules: int, processes: int, *, root: Path = _ROOT) -> Iterator[Tally]:
    """Sums of parts of the schedules, as they are ready."""
    parts = [(first, min(_CHUNK, seed + schedules - first)) for first in range(seed, seed + schedules, _CHUNK)]
    with ProcessPoolExecutor(processes, initializer=_worker, initargs=(root,)) as pool:
        yield from pool.map(_part, parts)


def table(found: Tally, *, seconds: float) -> str:
    """For people."""
    slow = sorted(found.slowest) or [0.0]
    share = 100.0 * found.good / max(1, found.schedules)
    lines = [
        f"schedules              {found.schedules:>10,}",
        f"good                   {found.good:>10,}   {share:.3f} %",
        f"jobs that overtook     {found.overtaken:>10,}   began between the last look and power_down_asap, and ran to their end",
        "",
        "violation                              schedules   first seeds",
    ]
    for kind, count in found.violations.most_common():
        seeds = ", ".join(f"{seed} ({text[:60]})" for seed, text in found.first[kind])
        lines.append(f"  {kind:<36} {count:>9,}   {seeds}")
    if not found.violations:
        lines.append(f"  {'none':<36} {0:>9,}")
    lines += ["", "fault                                    injected"]
    lines += [f"  {kind:<36} {count:>10,}" for kind, count in sorted(found.injected.items())]
    at = {name: slow[min(len(slow) - 1, int(len(slow) * share))] for name, share in (("p50", 0.5), ("p99", 0.99))}
    lines += [
        "",
        f"converged after the last fault, s: p50 {at['p50']:.0f}, p99 {at['p99']:.0f}, max {slow[-1]:.0f}",
        f"events {found.events:,}, invocations {found.invocations:,}, calls {found.api_calls:,}:"
        f" {found.api_calls / max(1, found.events):.1f} calls an event, {found.api_calls / max(1, found.invocations):.1f} an invocation",
        f"{seconds:.0f} s, {1000 * seconds / max(1, found.schedules):.1f} ms a schedule",
    ]
    return "\n".join(lines)


def first_bad(seed: int, schedules: int, *, root: Path) -> Tally:
    """Play until a schedule is bad; what was played until then."""
    _worker(root)
    found = Tally()
    for each in range(seed, seed + schedules):
        found.add(tally(each, 1))
        if found.violations:
            break
    return found


def _replay(seed: int, root: Path) -> bool:
    use_source(root)
    from .schedule import model, play

    with model():
        result = play(seed, tracing=True)
    print("\n".join(result.lines))
    for kind, text in result.violations:
        print(f"VIOLATION {kind}: {text}")
    return not result.violations


def main() -> None:
    """Play the schedules. Exit status 1 when one was not good."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        # Sets of names must come in the same order each time, for one seed to be one schedule.
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"})
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schedules", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0, help="the first one; each schedule is one seed")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--trace", action="store_true", help="print what happens in the schedule of --seed")
    parser.add_argument("--source", type=Path, default=_ROOT, help="the checkout whose code is judged")
    parser.add_argument("--until-bad", action="store_true", help="stop at the first bad one; in one process")
    given = parser.parse_args()
    if given.trace:
        sys.exit(0 if _replay(given.seed, given.source) else 1)
    if given.until_bad:
        found = first_bad(given.seed, given.schedules, root=given.source)
        for kind, seeds in found.first.items():
            print(f"{seeds[0][0]}: {kind}: {seeds[0][1]}")
        sys.exit(1 if found.violations else 0)
    began, told, found = time.monotonic(), 0.0, Tally()
    for part in run(given.seed, given.schedules, given.processes, root=given.source):
        found.add(part)
        now = time.monotonic() - began
        if now - told > 10:
            told = now
            left = now / found.schedules * (given.schedules - found.schedules)
            print(
                f"{found.schedules:,} schedules, {found.schedules - found.good} bad, {left:.0f} s left", file=sys.stderr
            )
    print(table(found, seconds=time.monotonic() - began))
    sys.exit(0 if found.good == found.schedules else 1)
