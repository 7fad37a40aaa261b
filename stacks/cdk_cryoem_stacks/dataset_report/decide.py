"""From what was read to what is said. Pure."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..operate.words import listed, several
from . import names, nodes
from .idle import idle_of
from .model import Arrival, Given, Group, Idle, Job, Receipt, Report, Sum
from .others import assumptions_of, elsewhere, totals

STATUSES = ("verified", "unverified", "different", "missing", "unknown")
UNTOLD = "not told"
"""The stage of jobs whose name does not tell it."""


def report(given: Given) -> Report:
    """The whole report."""
    jobs = numbered(job_of(item) for item in given.jobs if belongs(item, given.name))
    stages = grouped(jobs, lambda job: job.stage or UNTOLD, title=_title)
    stages.sort(key=lambda group: (names.order(group.name), group.first_at))
    lanes = grouped(jobs, lambda job: job.lane)
    types = nodes.seen(jobs, given.nodes)
    shapes = nodes.as_seen(given.lanes, types)
    found = elsewhere(jobs, shapes)
    idle = idle_of(jobs, given.jobs, given.nodes)
    return Report(
        dataset=given.name,
        system=given.system,
        region=given.region,
        at=given.at,
        arrival=arrival_of(given.item),
        receipt=receipt_of(given.receipt, given.document),
        jobs=jobs,
        total=sum_of(jobs),
        stages=stages,
        lanes=sorted(lanes, key=lambda group: -group.sum.usd),
        users=sorted(grouped(jobs, lambda job: job.user), key=lambda group: -group.sum.usd),
        shapes=shapes,
        idle=idle,
        elsewhere=found,
        elsewhere_totals=totals(found),
        assumptions=assumptions_of(found, shapes),
        unknown=[*given.notes, *unknown(given, jobs, idle), *nodes.mixed(given.lanes, types)],
    )


def belongs(item: Mapping[str, Any], dataset: str) -> bool:
    """Whether a job was of a dataset: the one that it names, else the one whose name its project folder has."""
    return str(item.get("dataset") or item.get("project") or "") == dataset


def job_of(item: Mapping[str, Any]) -> Job:
    """A job by its record."""
    ended, _, job_id = str(item["sk"]).partition("#")
    name, gpus = str(item.get("name", "")), float(item.get("gpus", 0))
    told = names.read(name, gpus=gpus)
    return Job(
        id=job_id,
        name=name,
        identity=told.identity or f"job {job_id}",
        client=told.client,
        type=told.type,
        stage=told.stage,
        user=str(item.get("user", "")),
        lane=str(item.get("lane", "")),
        state=str(item.get("state", "")),
        submitted_at=_time(item.get("submitted_at")),
        started_at=_time(item.get("started_at")),
        ended_at=float(item.get("ended_at") or ended or 0),
        seconds=float(item.get("seconds", 0)),
        gpus=gpus,
        cpus=float(item.get("cpus", 0)),
        nodes=str(item.get("nodes", "")),
        usd=float(item["usd"]) if "usd" in item else None,
    )


def _time(value: object) -> float | None:
    # Slurm's 0 is no time.
    return float(str(value)) or None if value is not None else None


def numbered(jobs: Iterable[Job]) -> list[Job]:
    """By their ends, each with the number of its run."""
    found = sorted(jobs, key=lambda job: (job.ended_at, job.id))
    runs = Counter(job.identity for job in found)
    so_far: Counter[str] = Counter()
    told = []
    for job in found:
        so_far[job.identity] += 1
        told.append(dataclasses.replace(job, run=so_far[job.identity], runs=runs[job.identity]))
    return told


def sum_of(jobs: Sequence[Job]) -> Sum:
    """Jobs taken together."""
    return Sum(
        jobs=len(jobs),
        failed=sum(not job.good for job in jobs),
        repeats=sum(job.run > 1 for job in jobs),
        unpriced=sum(job.usd is None for job in jobs),
        seconds=sum(job.seconds for job in jobs),
        gpu_seconds=sum(job.seconds * job.gpus for job in jobs),
        wait=sum(job.wait for job in jobs),
        longest_wait=max((job.wait for job in jobs), default=0.0),
        usd=_usd(jobs),
        failed_usd=_usd([job for job in jobs if not job.good]),
    )


def _usd(jobs: Sequence[Job]) -> float:
    # Records have millionths; a sum of floats would show its rounding.
    return round(sum(job.usd or 0.0 for job in jobs), 6)


def grouped(
    jobs: Sequence[Job], by: Callable[[Job], str], *, title: Callable[[str], str] = lambda name: name
) -> list[Group]:
    """Jobs by what they have in common, the earliest first."""
    groups: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        groups[by(job)].append(job)
    made = [
        Group(
            name=name,
            title=title(name),
            lanes=sorted({job.lane for job in of_it}),
            sum=sum_of(of_it),
            first_at=min(began(job) for job in of_it),
            last_at=max(job.ended_at for job in of_it),
        )
        for name, of_it in groups.items()
    ]
    return sorted(made, key=lambda group: (group.first_at, group.name))


def began(job: Job) -> float:
    """When it was first heard of."""
    return next(at for at in (job.submitted_at, job.started_at, job.ended_at) if at is not None)


def _title(stage: str) -> str:
    return "the job's name does not tell it" if stage == UNTOLD else names.title(stage)


def arrival_of(item: Mapping[str, Any]) -> Arrival:
    """How it arrived, by its record."""
    operator = ""
    if item.get("operator"):
        operator = f"{item.get('operator_by', 'somebody')} says {item['operator']}"
        operator += f": {item['operator_reason']}" if item.get("operator_reason") else ""
    landed = item.get("state") == "landed"
    return Arrival(
        state=str(item.get("state", "arriving")),
        movies=int(item.get("movies", 0)),
        objects=int(item.get("objects", 0)),
        bytes=int(item.get("size_bytes", 0)),
        first_at=_time(item.get("first_at")),
        last_at=_time(item.get("last_at")),
        landed_at=_time(item.get("landed_at")) if landed else None,
        reason=str(item.get("reason", "")) if landed else "",
        operator=operator,
        processing=str(item.get("processing", "")),
        archive=str(item.get("archive", "")),
    )


def receipt_of(record: Mapping[str, Any] | None, document: Mapping[str, Any] | None) -> Receipt | None:
    """What is proven, by the hook's record and by the receipt it wrote; None before there is either."""
    if record is None and document is None:
        return None
    made, noted = document or {}, record or {}
    state = str(noted.get("state") or ("safe" if made.get("complete") else "open"))
    reasons = made.get("reasons") or [each for each in str(noted.get("reasons", "")).split("; ") if each]
    # The record is written at each look, the receipt when something has changed: the counts are the same.
    return Receipt(
        state=state,
        statement=str(made.get("statement", "")),
        counts={status: int(made.get(status, noted.get(status, 0))) for status in STATUSES},
        files=int(made.get("files", noted.get("files", 0))),
        movies=int(made.get("movies", noted.get("movies", 0))),
        reasons=[str(each) for each in reasons],
        examples=[str(each) for each in made.get("examples", ())],
        left_out=[str(each) for each in made.get("left_out", ())],
        included=[str(each) for each in made.get("included", ())],
        made_at=_time(made.get("made_at")),
        looked_at=_time(noted.get("looked_at") or made.get("looked_at")),
        manifest=str(made.get("manifest", {}).get("key", "")),
    )


def unknown(given: Given, jobs: Sequence[Job], idle: Idle | None) -> list[str]:
    """What is not known, or not in the report."""
    said = ["Jobs that wait or run now: only those that ended are in the records."]
    if given.receipt is None and given.document is None:
        said.append("Whether every file arrived as it is on the share: there is no receipt yet.")
    unpriced = sorted({job.lane for job in jobs if job.usd is None})
    if unpriced:
        number = sum(job.usd is None for job in jobs)
        said.append(
            f"The price of {several(number, 'job')}: {listed(unpriced)} was no lane of this system when they ended."
        )
    untold = [job for job in jobs if not job.stage]
    if untold:
        examples = listed(sorted({job.name for job in untold}), most=3)
        said.append(f"The stage of {several(len(untold), 'job')}, whose names do not tell it: {examples}.")
    if jobs and idle is None:
        said.append("What booting and idle nodes cost beside these jobs: the records have none of them, or not all.")
    if idle is not None and idle.unknown_lanes:
        said.append(
            f"What booting and idle nodes cost on {listed(idle.unknown_lanes)}: the records have not all of them."
        )
    said.append(
        "Prices are list prices as the records have them, without tax and discounts. Storage, transfer, head node and network"
        " are not in them."
    )
    said.append(
        f"Jobs that were started outside the folder {given.name} of the projects, for this dataset, and not named after it."
    )
    return said
