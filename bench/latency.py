"""From the end of a job to the command that powers its node down: on a twin of its own, by Slurm's own clock.

Both moments are lines of slurmctld's log, which has milliseconds (LogTimeFormat's default): `_job_complete: JobId=1 done`
and `powering down node NAME`, which slurmctld writes when it is told to, whatever becomes of the node afterwards.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cdk_cryoem_twin import lifecycle
from cdk_cryoem_twin.environment import Mode
from cdk_cryoem_twin.observer import Observer
from cdk_cryoem_twin.places import Places
from cdk_cryoem_twin.slurm import controller
from cdk_cryoem_twin.waiting import GaveUp, wait_for

_CHECKOUT = Path(__file__).resolve().parents[1]
_GOAL_P50, _GOAL_P99 = 2.0, 5.0
# Jobs of a wave by lane: fewer than a lane has nodes, so that no job waits for the node of another and keeps it.
_WAVE = {"cpu": 3, "gpu1": 4, "gpu4": 2, "gpu8": 1}
_LONGEST_JOB_SECONDS = 20.0
_GOLDEN = 0.6180339887
_LINE = re.compile(r"^\[([\d:.T-]+)\] (.*)$")
_STARTED = re.compile(r"(?:Allocate JobId=(\d+) NodeList=(\S+)|Started JobId=(\d+) in \S+ on (\S+))")
_ENDED = re.compile(r"_job_complete: JobId=(\d+) done")
_TOLD = re.compile(r"powering down node (\S+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A job's end, and when its node was told to power down. Epoch seconds; None: it was not told."""

    job_id: str
    node: str
    ended: float
    told: float | None


def jobs(log: Iterable[str]) -> list[Job]:
    """What slurmctld's log says, in the order of the jobs' ends. A node's next job ends the wait for the command."""
    at_work: dict[str, str] = {}
    last: dict[str, Job] = {}
    found: list[Job] = []
    for line in log:
        match = _LINE.match(line)
        if match is None:
            continue
        at, text = datetime.fromisoformat(match[1]).timestamp(), match[2]
        if started := _STARTED.search(text):
            node = started[2] or started[4]
            at_work[started[1] or started[3]] = node
            if node in last:
                found.append(last.pop(node))
        elif (ended := _ENDED.match(text)) and ended[1] in at_work:
            node = at_work.pop(ended[1])
            last[node] = Job(job_id=ended[1], node=node, ended=at, told=None)
        elif (told := _TOLD.match(text)) and told[1] in last:
            job = last.pop(told[1])
            found.append(Job(job_id=job.job_id, node=job.node, ended=job.ended, told=at))
    return sorted([*found, *last.values()], key=lambda job: job.ended)


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of the values do not exceed."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def lanes(number: int) -> Iterator[list[str]]:
    """The lanes of each wave's jobs, until there are so many jobs."""
    wave = [lane for lane, count in _WAVE.items() for _ in range(count)]
    for begin in range(0, number, len(wave)):
        yield wave[: number - begin]


def seconds() -> Iterator[float]:
    """How long each job sleeps: evenly spread, in no order, the same in every run."""
    for number in itertools.count():
        yield 1 + number * _GOLDEN % 1 * (_LONGEST_JOB_SECONDS - 1)


def run(observer: Observer, folder: Path, environment: Mapping[str, str], *, number: int) -> None:
    """Short jobs, each alone on a node, until the last node is off."""
    folder.mkdir(parents=True, exist_ok=True)
    lengths = seconds()
    for wave in lanes(number):
        before = len(observer.nodes())
        for lane, length in zip(wave, lengths, strict=False):
            command = f"sleep {length:.2f}"
            subprocess.run(
                ["sbatch", "--parsable", "--exclusive", "--partition", lane, "--wrap", command],
                env=environment, cwd=folder, check=True, capture_output=True,
            )  # fmt: skip

        def off(wanted: int = before + len(wave)) -> bool:
            lives = observer.nodes()
            return len(lives) >= wanted and all(life.off for life in lives) and not observer.powered_up()

        try:
            wait_for(off, "the nodes of a wave to be off", seconds=180)
        except GaveUp as error:
            print(f"{error}: {', '.join(observer.powered_up())}", file=sys.stderr)


def report(found: Sequence[Job]) -> str:
    """The table, for people."""
    late = sorted(job.told - job.ended for job in found if job.told is not None)
    untold = [job for job in found if job.told is None]
    p50, p99 = percentile(late, 50), percentile(late, 99)
    return "\n".join(
        [
            f"{len(found)} jobs; seconds from a job's end to the command that powers its node down:",
            f"{'p50':>8} {'p99':>8} {'max':>8}   goal: p50 < {_GOAL_P50:g}, p99 < {_GOAL_P99:g}",
            f"{p50:>8.2f} {p99:>8.2f} {late[-1]:>8.2f}   {'met' if p50 < _GOAL_P50 and p99 < _GOAL_P99 else 'missed'}",
            f"nodes never told: {len(untold)} {' '.join(f'{job.node} (job {job.job_id})' for job in untold)}".rstrip(),
        ]
    )


def main() -> None:
    """A twin comes up, runs the jobs, and goes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100, help="how many; default %(default)s")
    parser.add_argument("--strict", action="store_true", help="with IAM enforced and TLS")
    asked = parser.parse_args()
    places, mode = Places(_CHECKOUT / ".twin-bench"), Mode(strict=asked.strict)
    began = time.monotonic()
    with lifecycle.alone(places):
        try:
            lifecycle.down(places)
            lifecycle.up(places, mode, lambda text: None, config=_CHECKOUT / "twin" / "cryoem.yaml")
            outputs = lifecycle.outputs(places)
            observer = Observer(places, lifecycle.clients(places, mode), outputs)
            folder = places.file_systems / outputs["FileSystemId"] / "projects" / "bench"
            environment, log = controller.environment(places), places.slurm / "log" / "slurmctld.log"
            run(observer, folder, environment, number=sum(_WAVE.values()))
            cold = jobs(log.read_text().splitlines())
            run(observer, folder, environment, number=asked.jobs)
            print(report(jobs(log.read_text().splitlines())[len(cold) :]))
            slowest = max((job.told - job.ended for job in cold if job.told is not None), default=math.nan)
            print(f"before them {len(cold)} jobs while the hook's processes started, the slowest: {slowest:.2f}")
            print(f"load of the machine at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
            print(f"{time.monotonic() - began:.0f} s in all, with the twin's start")
        finally:
            lifecycle.down(places)


if __name__ == "__main__":
    main()
