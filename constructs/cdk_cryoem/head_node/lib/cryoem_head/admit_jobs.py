"""admit-jobs: a job starts only when every hard cap of the manifest has room for it; others are held, with the reason.

Runs as root beside Slurm, and looks every two seconds. Whom it lets start it notes in `caps/admitted`; on ParallelCluster
PrologSlurmctld lets nobody else start (`caps/gate`). Nothing that runs is touched. Needs boto3: it reads what was spent.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from datetime import datetime, timezone
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Set, Tuple

import boto3

from . import caps, forgotten_jobs, queue, settings, slurm
from .caps import Cap, Reserve, Wish
from .ledger import Ledger

_LOOK_SECONDS = 2.0
_MANIFEST_SECONDS = 60.0
_SAY_AGAIN_SECONDS = 60.0
# Whoever is held waits for somebody's job to end, or for a month: nobody misses half a minute.
_HELD_SECONDS = 30.0
# A run of which nothing was heard for so long after it was over will not be heard of.
_LOST_SECONDS = 2 * 86_400.0
# Slurm's whole seconds, and a clock of AWS's.
_CLOCK_SECONDS = 2.0
# One call that fails is no reason to hold everybody.
_FAILURES = 3
Lanes = Mapping[str, Mapping[str, Any]]


class Meter:
    """What was spent, which runs are counted, and which caps somebody has raised."""

    def __init__(self, table: str, *, dynamodb: Any) -> None:
        self._table, self._db = table, dynamodb

    def totals(self, month: str) -> Dict[str, int]:
        """Millionths of a dollar by the totals' names, of this month and of always."""
        items = [item for period in (month, caps.ALWAYS) for item in self._query("spend", starts=f"{period}#")]
        return {item["sk"]["S"]: int(item["usd_micro"]["N"]) for item in items}

    def raised(self, *, now: float) -> Dict[str, int]:
        """Limits by scope, of those that still hold."""
        found = self._query("cap")
        return {i["sk"]["S"]: int(i["usd_micro"]["N"]) for i in found if float(i["until"]["N"]) > now}

    def counted(self, *, since: float) -> Set[Tuple[str, int]]:
        """Number and end of all runs since then that are counted."""
        ends = [item["sk"]["S"].partition("#") for item in self._query("job", since=f"{int(since):012d}")]
        return {(job_id, int(end)) for end, _, job_id in ends}

    def _query(self, kind: str, *, since: str = "", starts: str = "") -> Iterator[Mapping[str, Any]]:
        values: Dict[str, Any] = {":pk": {"S": kind}}
        condition = "pk = :pk"
        if since:
            condition, values[":since"] = f"{condition} AND sk >= :since", {"S": since}
        if starts:
            condition, values[":starts"] = f"{condition} AND begins_with(sk, :starts)", {"S": starts}
        pages = self._db.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression=condition,
            ExpressionAttributeValues=values,
            ConsistentRead=True,
        )
        for page in pages:
            yield from page["Items"]


class Admission:
    """Looks, and what it remembers between two of them. gated: whether PrologSlurmctld asks us, so that a job with nodes on
    the way cannot have begun.
    """

    def __init__(self, ledger: Ledger, meter: Meter, *, gated: Callable[[], bool]) -> None:
        self._ledger, self._meter, self._gated = ledger, meter, gated
        self._wishes: Dict[str, Tuple[object, Wish]] = {}
        self._asked_at = 0.0

    def look(self, found: List[queue.Queued], *, rules: List[Cap], lanes: Lanes, now: float) -> None:
        """Admit, hold and release once. Errors: whatever the meter raises; one job's trouble with Slurm is printed."""
        ledger = self._ledger
        settled = self._settle(found, now=now)
        hard = [cap for cap in rules if cap.hard]
        if not hard:
            ledger.open_gate()
            self.release_all(found)
            return
        ledger.close_gate()
        for gone in ledger.held() - {job.job_id for job in found}:
            ledger.release(gone)
        self._wishes = {job.job_id: self._wishes[job.job_id] for job in found if job.job_id in self._wishes}
        self._ask_again(found, lanes, now=now)
        admitted, held = ledger.admitted(), ledger.held()
        undecided = [job for job in found if job.job_id not in admitted and _decidable(job, held)]
        news = settled or any(job.job_id not in held or not job.held for job in undecided)
        if not undecided or (not news and now - self._asked_at < _HELD_SECONDS):
            return
        self._asked_at = now
        month = datetime.fromtimestamp(now, timezone.utc).strftime("%Y-%m")
        # Reserves before totals: what is counted in between is counted twice for a moment, and never not at all.
        reserves, raised, totals = ledger.reserves(), self._meter.raised(now=now), self._meter.totals(month)

        def decide(job: queue.Queued) -> None:
            wish = self._wish(job, lanes)
            why = ""
            if not job.runs:
                why = caps.refusal(wish, hard, totals=totals, reserves=reserves, raised=raised, month=month)
            if why:
                self.hold(job, why, now=now)
                return
            most = wish.most or 0
            ledger.admit(job.job_id, project=job.project, most=most, submitted=job.submitted, at=now)
            reserves.append(Reserve(job_id=job.job_id, project=job.project, most=most))
            if job.job_id in held:
                self.release(job.job_id)

        # First those with nodes on the way: of an array, what one of its tasks needs was reserved for the array.
        for job in sorted(undecided, key=lambda each: (each.waits, int(each.job_id))):
            _alone(job, decide)

    def hold(self, job: queue.Queued, why: str, *, now: float) -> None:
        """Keep it from starting, whoever released it, and say why."""
        if job.starts:
            # Where nobody asks us before it begins, it may run by now.
            if not self._gated() or _shown(job.job_id, "%T") != "CONFIGURING":
                return
            slurm.run("scontrol", "requeuehold", job.job_id)
        elif not job.held:
            slurm.run("scontrol", "hold", job.job_id)
        before, comment, said_at = self._ledger.why(job.job_id)
        if before == why or (before and now - said_at < _SAY_AGAIN_SECONDS):
            return
        comment = comment if before else _shown(job.job_id, "%k")
        self._ledger.hold(job.job_id, why, comment="" if comment == "(null)" else comment, now=now)
        slurm.run("scontrol", "update", f"jobid={job.job_id}", f"comment={why}", f"admincomment={why}")
        print(f"admit-jobs: job {job.job_id} is held: {why}", file=sys.stderr)

    def release(self, job_id: str) -> None:
        """Give it back to Slurm, with its own comment."""
        _, comment, _ = self._ledger.why(job_id)
        slurm.run("scontrol", "release", job_id)
        slurm.run("scontrol", "update", f"jobid={job_id}", f"comment={comment}", "admincomment=")
        self._ledger.release(job_id)
        print(f"admit-jobs: job {job_id} may start", file=sys.stderr)

    def release_all(self, found: List[queue.Queued]) -> None:
        """There is no cap any more."""
        held = self._ledger.held()
        for job in found:
            if job.job_id in held:
                _alone(job, lambda each: self.release(each.job_id))

    def hold_everybody(self, found: List[queue.Queued], why: str, *, now: float) -> None:
        """Without it nodes would boot for jobs that are not let start. The first look that goes well releases them."""
        admitted, held = self._ledger.admitted(), self._ledger.held()
        for job in found:
            if job.job_id not in admitted and not job.runs and _decidable(job, held):
                _alone(job, lambda each: self.hold(each, why[:500], now=now))

    def _ask_again(self, found: List[queue.Queued], lanes: Lanes, *, now: float) -> None:
        """Of whom was let start: another run, or another wish, is another job."""
        ledger, admitted = self._ledger, self._ledger.admitted()

        def again(job: queue.Queued) -> None:
            noted = admitted[job.job_id]
            # Of two runs within one second the time of submission is the same.
            if noted["submitted"] != job.submitted or (noted["ran"] and not job.runs):
                ledger.end(job.job_id, noted, now=now)
                return
            if job.waits and job.held:
                # Somebody else holds it: what it may cost is not wanted now.
                ledger.withdraw(job.job_id)
                return
            wish = self._wish(job, lanes)
            more = wish.most is None or wish.most > noted["most"] or wish.project != noted["project"]
            if more and job.waits:
                ledger.withdraw(job.job_id)
                return
            most = int(noted["most"])
            if wish.most is not None and (job.waits or (more and job.runs)):
                # Tasks of an array that have started have numbers and reserves of their own.
                most = wish.most
            if (most, job.runs) != (noted["most"], noted["ran"]):
                project = str(noted["project"])
                ledger.admit(
                    job.job_id, project=project, most=most, submitted=job.submitted, at=noted["at"], ran=job.runs
                )

        for job in found:
            if job.job_id in admitted and (job.waits or job.starts or job.runs):
                _alone(job, again)

    def _settle(self, found: List[queue.Queued], *, now: float) -> bool:
        """Give up the reserves of runs that are counted; whether there were some."""
        ledger, there = self._ledger, {job.job_id for job in found}
        for job_id, noted in ledger.admitted().items():
            if job_id not in there:
                ledger.end(job_id, noted, now=now)
        over = ledger.ended()
        if not over:
            return False
        counted = self._meter.counted(since=min(float(noted["at"]) for noted in over.values()))
        settled = False
        for name, noted in over.items():
            first, last = int(noted["at"]), noted["gone_at"] + _CLOCK_SECONDS
            lost = now - noted["gone_at"] > _LOST_SECONDS
            if lost:
                print(
                    f"admit-jobs: nothing was heard of job {noted['job_id']} for two days; what it cost is not known",
                    file=sys.stderr,
                )
            if lost or any(job_id == noted["job_id"] and first <= end <= last for job_id, end in counted):
                ledger.settle(name)
                settled = True
        return settled

    def _wish(self, job: queue.Queued, lanes: Lanes) -> Wish:
        """What it may cost; Slurm is asked again when squeue shows another job, and when it gets its nodes."""
        key = (job.asked, job.minutes, job.partitions, job.submitted, job.project, job.tasks, job.waits, id(lanes))
        known = self._wishes.get(job.job_id)
        if known is None or known[0] != key:
            known = (key, queue.wish(job, lanes))
            self._wishes[job.job_id] = known
        return known[1]


def _decidable(job: queue.Queued, held: Set[str]) -> bool:
    """Not who is held by somebody else, and not who waits for another job: what it may cost is reserved when it can start."""
    if not job.waits:
        return job.starts or job.runs
    if job.job_id in held:
        return job.reason != "JobHeldUser"
    return not job.held and not slurm.waits_for_something_else(job.reason)


def _alone(job: queue.Queued, act: Callable[[queue.Queued], None]) -> None:
    """Somebody may have cancelled it a moment ago; the others need not wait for that."""
    try:
        act(job)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", "") or error
        print(f"admit-jobs: job {job.job_id}: {said}", file=sys.stderr)


def _shown(job_id: str, field: str) -> str:
    return slurm.run("squeue", "--noheader", "--jobs", job_id, "--format", field).strip()


class _Manifest:
    """Caps and lanes; asked for every minute."""

    def __init__(self, name: str, *, ssm: Any) -> None:
        self._name, self._ssm, self._at = name, ssm, -_MANIFEST_SECONDS
        self._text: Optional[str] = None
        self._parsed: Tuple[List[Cap], Dict[str, Mapping[str, Any]]] = ([], {})

    def read(self, *, clock: float) -> Tuple[List[Cap], Dict[str, Mapping[str, Any]]]:
        if clock - self._at >= _MANIFEST_SECONDS:
            text = str(self._ssm.get_parameter(Name=self._name)["Parameter"]["Value"])
            if text != self._text:
                self._parsed, self._text = caps.parse_all(json.loads(text)), text
            self._at = clock
        return self._parsed


def main() -> None:
    """Look once; or stay, as its unit does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stay", action="store_true", help="look every two seconds, for ever")
    parser.add_argument("--release-all", action="store_true", help="release all that are held, and open the gate")
    given = parser.parse_args()
    here = settings.load()
    ledger = Ledger(here.home)
    meter = Meter(here.records_table, dynamodb=boto3.client("dynamodb", region_name=here.region))
    admission = Admission(ledger, meter, gated=lambda: forgotten_jobs.ours(here.home))
    if given.release_all:
        ledger.open_gate()
        admission.release_all(queue.jobs(here.projects))
        return
    if here.records_table == settings.NONE:
        print("admit-jobs: there are no caps to keep", file=sys.stderr)
        return
    manifest = _Manifest(here.manifest_parameter, ssm=boto3.client("ssm", region_name=here.region))
    # The gate is as the last look left it, before a reboot too: a system without caps needs nobody to let jobs start.
    clock, seconds, failures = threading.Event(), _LOOK_SECONDS, 0
    while True:
        try:
            rules, lanes = manifest.read(clock=time.monotonic())
            admission.look(queue.jobs(here.projects), rules=rules, lanes=lanes, now=time.time())
            seconds = _LOOK_SECONDS if any(cap.hard for cap in rules) else _MANIFEST_SECONDS
            failures = 0
        except Exception as error:
            if not given.stay:
                raise
            failures += 1
            print(f"admit-jobs: nobody was let start: {error}", file=sys.stderr)
            if failures >= _FAILURES and ledger.gate_is_closed():
                try_to_hold(here, admission, f"caps cannot be kept now: {type(error).__name__}: {error}")
        if not given.stay:
            return
        clock.wait(seconds)


def try_to_hold(here: settings.Settings, admission: Admission, why: str) -> None:
    """Hold everybody, if Slurm answers."""
    try:
        admission.hold_everybody(queue.jobs(here.projects), why, now=time.time())
    except (OSError, subprocess.SubprocessError) as error:
        print(f"admit-jobs: and Slurm does not answer: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
