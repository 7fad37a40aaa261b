"""admit-jobs: a job starts only when every hard cap of the manifest has room for it; others are held, with the reason.

Runs as root beside Slurm, and looks every two seconds. Whom it lets start it notes in `caps/admitted`; on ParallelCluster
PrologSlurmctld lets nobody else start (`caps/gate`). Nothing that runs is touched. Needs boto3: it reads what was spent.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Set, Tuple

import boto3

from . import caps, queue, settings, slurm
from .caps import Cap, Reserve

_LOOK_SECONDS = 2.0
_MANIFEST_SECONDS = 60.0
_SAY_AGAIN_SECONDS = 60.0
# A job of which nothing was heard for so long will not be heard of.
_LOST_SECONDS = 2 * 86_400.0
_STARTING = ("CONFIGURING",)


class Ledger:
    """Who may run, and who is held by us: a small file each, so that PrologSlurmctld, which is not root, can look."""

    def __init__(self, home: Path) -> None:
        self._root = home / "caps"
        self._admitted, self._held = self._root / "admitted", self._root / "held"
        for folder in (self._root, self._admitted, self._held):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o755)

    def close_gate(self) -> None:
        """From here on nobody starts who was not admitted."""
        (self._root / "gate").touch()

    def gate_is_closed(self) -> bool:
        """Whether there are caps to keep, as far as is known."""
        return (self._root / "gate").exists()

    def open_gate(self) -> None:
        """There is no cap to keep any more."""
        (self._root / "gate").unlink(missing_ok=True)

    def admitted(self) -> Dict[str, Mapping[str, Any]]:
        """By job, with project, most and at."""
        return {path.name: json.loads(path.read_text()) for path in self._admitted.iterdir() if path.name.isdigit()}

    def admit(self, reserve: Reserve, *, now: float) -> None:
        """Let it start; on the disk before anybody may see it."""
        draft = self._admitted / f".{reserve.job_id}"
        with draft.open("w") as file:
            json.dump({"project": reserve.project, "most": reserve.most, "at": now}, file)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(self._admitted / reserve.job_id)

    def settle(self, job_id: str) -> None:
        """It has ended, and what it cost is counted."""
        (self._admitted / job_id).unlink(missing_ok=True)

    def held(self) -> Set[str]:
        """Jobs that we hold."""
        return {path.name for path in self._held.iterdir()}

    def hold(self, job_id: str, why: str, *, now: float) -> bool:
        """Note why; True when that ought to be said, because it is new, or another, and was not said just now."""
        path = self._held / job_id
        if path.exists() and (path.read_text() == why or now - path.stat().st_mtime < _SAY_AGAIN_SECONDS):
            return False
        path.write_text(why)
        os.utime(path, (now, now))
        return True

    def release(self, job_id: str) -> None:
        """We do not hold it any more."""
        (self._held / job_id).unlink(missing_ok=True)


class Meter:
    """What was spent, which jobs are counted, and which caps somebody has raised."""

    def __init__(self, table: str, *, dynamodb: Any) -> None:
        self._table, self._db = table, dynamodb

    def totals(self) -> Dict[str, int]:
        """Millionths of a dollar by the totals' names."""
        return {item["sk"]["S"]: int(item["usd_micro"]["N"]) for item in self._query("spend")}

    def raised(self, *, now: float) -> Dict[str, int]:
        """Limits by scope, of those that still hold."""
        found = self._query("cap")
        return {i["sk"]["S"]: int(i["usd_micro"]["N"]) for i in found if float(i["until"]["N"]) > now}

    def counted(self, job_id: str, *, since: float) -> bool:
        """Whether a run of a job that ended since then is counted."""
        return any(item["sk"]["S"].partition("#")[2] == job_id for item in self._query("job", since=since))

    def _query(self, kind: str, *, since: Optional[float] = None) -> Iterator[Mapping[str, Any]]:
        values: Dict[str, Any] = {":pk": {"S": kind}}
        condition = "pk = :pk"
        if since is not None:
            condition += " AND sk >= :since"
            values[":since"] = {"S": f"{int(since):012d}"}
        pages = self._db.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression=condition,
            ExpressionAttributeValues=values,
            ConsistentRead=True,
        )
        for page in pages:
            yield from page["Items"]


def look(
    found: List[queue.Queued],
    ledger: Ledger,
    meter: Meter,
    *,
    rules: List[Cap],
    lanes: Mapping[str, Mapping[str, Any]],
    now: float,
) -> None:
    """Admit, hold and release once."""
    hard = [cap for cap in rules if cap.hard]
    admitted = ledger.admitted()
    _settle({job.job_id for job in found}, admitted, ledger, meter, now=now)
    if not hard:
        ledger.open_gate()
        for job in found:
            if job.job_id in ledger.held():
                _release(job.job_id, ledger)
        return
    ledger.close_gate()
    held = ledger.held()
    for gone in held - {job.job_id for job in found}:
        ledger.release(gone)
    undecided = [job for job in found if job.job_id not in admitted and _decidable(job, held)]
    if not undecided:
        return
    # Jobs before totals: what is counted in between is counted twice for a moment, and never not at all.
    reserves = [Reserve(job_id=job, project=it["project"], most=it["most"]) for job, it in ledger.admitted().items()]
    raised, totals = meter.raised(now=now), meter.totals()
    month = datetime.fromtimestamp(now, UTC).strftime("%Y-%m")
    for job in sorted(undecided, key=lambda each: int(each.job_id)):
        wish = queue.wish(job, lanes)
        runs = not job.waits and job.state not in _STARTING
        why = "" if runs else caps.refusal(wish, hard, totals=totals, reserves=reserves, raised=raised, month=month)
        if why:
            _hold(job, why, ledger, now=now)
            continue
        reserve = Reserve(job_id=job.job_id, project=job.project, most=wish.most or 0)
        ledger.admit(reserve, now=now)
        reserves.append(reserve)
        if job.job_id in held:
            _release(job.job_id, ledger)


def _decidable(job: queue.Queued, held: Set[str]) -> bool:
    """Not who is held by somebody else, and not who waits for another job: what it may cost is reserved when it can start."""
    if not job.waits:
        return True
    if job.job_id in held:
        return True
    return not job.held_by_somebody and not slurm.waits_for_something_else(job.reason)


def _settle(
    there: Set[str], admitted: Mapping[str, Mapping[str, Any]], ledger: Ledger, meter: Meter, *, now: float
) -> None:
    for job_id, noted in admitted.items():
        if job_id in there:
            continue
        if meter.counted(job_id, since=noted["at"]):
            ledger.settle(job_id)
        elif now - noted["at"] > _LOST_SECONDS:
            print(
                f"admit-jobs: nothing was heard of job {job_id} for two days; what it cost is not known",
                file=sys.stderr,
            )
            ledger.settle(job_id)


def _hold(job: queue.Queued, why: str, ledger: Ledger, *, now: float) -> None:
    if not ledger.hold(job.job_id, why, now=now):
        return
    if job.waits:
        slurm.run("scontrol", "hold", job.job_id)
    else:
        # It has nodes and no script of its own has run yet.
        slurm.run("scontrol", "requeuehold", job.job_id)
    slurm.run("scontrol", "update", f"jobid={job.job_id}", f"comment={why}", f"admincomment={why}")
    print(f"admit-jobs: job {job.job_id} is held: {why}", file=sys.stderr)


def _hold_everybody(here: settings.Settings, ledger: Ledger, why: str) -> None:
    """Without it nodes would boot for jobs that are not let start. They are released by the first look that goes well."""
    if not ledger.gate_is_closed():
        return
    try:
        admitted, held, now = ledger.admitted(), ledger.held(), time.time()
        for job in queue.jobs(here.projects):
            if job.job_id not in admitted and _decidable(job, held) and (job.waits or job.state in _STARTING):
                _hold(job, why[:500], ledger, now=now)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"admit-jobs: and Slurm does not answer: {error}", file=sys.stderr)


def _release(job_id: str, ledger: Ledger) -> None:
    slurm.run("scontrol", "release", job_id)
    slurm.run("scontrol", "update", f"jobid={job_id}", "comment=", "admincomment=")
    ledger.release(job_id)
    print(f"admit-jobs: job {job_id} may start", file=sys.stderr)


class _Manifest:
    """Caps and lanes; asked for every minute."""

    def __init__(self, name: str, *, ssm: Any) -> None:
        self._name, self._ssm, self._at = name, ssm, -_MANIFEST_SECONDS
        self._parsed: Tuple[List[Cap], Dict[str, Mapping[str, Any]]] = ([], {})

    def read(self, *, clock: float) -> Tuple[List[Cap], Dict[str, Mapping[str, Any]]]:
        if clock - self._at >= _MANIFEST_SECONDS:
            text = self._ssm.get_parameter(Name=self._name)["Parameter"]["Value"]
            self._parsed, self._at = caps.parse_all(json.loads(text)), clock
        return self._parsed


def main() -> None:
    """Look once; or stay, as its unit does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stay", action="store_true", help="look every two seconds, for ever")
    stay = parser.parse_args().stay
    here = settings.load()
    if here.records_table == settings.NONE:
        print("admit-jobs: there are no caps to keep", file=sys.stderr)
        return
    meter = Meter(here.records_table, dynamodb=boto3.client("dynamodb", region_name=here.region))
    manifest = _Manifest(here.manifest_parameter, ssm=boto3.client("ssm", region_name=here.region))
    ledger = Ledger(here.home)
    # The gate is as the last look left it, before a reboot too: a system without caps needs nobody to let jobs start.
    clock, seconds = threading.Event(), _LOOK_SECONDS
    while True:
        try:
            rules, lanes = manifest.read(clock=time.monotonic())
            look(queue.jobs(here.projects), ledger, meter, rules=rules, lanes=lanes, now=time.time())
            seconds = _LOOK_SECONDS if any(cap.hard for cap in rules) else _MANIFEST_SECONDS
        except Exception as error:
            if not stay:
                raise
            print(f"admit-jobs: nobody was let start: {error}", file=sys.stderr)
            _hold_everybody(here, ledger, f"caps cannot be kept now: {type(error).__name__}: {error}")
        if not stay:
            return
        clock.wait(seconds)


if __name__ == "__main__":
    main()
