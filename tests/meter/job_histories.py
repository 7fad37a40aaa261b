"""Random histories of jobs, from Slurm's end of a job to the totals, through the shipped code and whatever can befall a
message: lost before it was written, sent twice, late, out of order, refused, and functions that die after they wrote.

What the totals ought to be is worked out apart, from the jobs alone.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError
from fake_dynamodb import DynamoDB

from cdk_cryoem_lambda import jobs
from cdk_cryoem_lambda.reconcile import jobs as job_records
from cdk_cryoem_lambda.records import Records
from cryoem_head import forgotten_jobs, job_completion, send_events

PROJECTS = Path("/fsx/projects")
REMEMBERED = 300  # MinJobAge: how long Slurm shows a job that has ended
LANES = [
    jobs.Lane(name="cpu", gpus=0, vcpus=32, memory_mib=124_518, hold_minutes=0, usd_per_hour=1.536),
    jobs.Lane(name="gpu1", gpus=1, vcpus=16, memory_mib=62_259, hold_minutes=0, usd_per_hour=1.624),
    jobs.Lane(name="gpu4", gpus=4, vcpus=48, memory_mib=186_777, hold_minutes=0, usd_per_hour=5.672),
    jobs.Lane(name="gpu8", gpus=8, vcpus=192, memory_mib=747_110, hold_minutes=0, usd_per_hour=16.288),
]


@dataclass(frozen=True)
class Ended:
    """A job as Slurm had it. memory_gib, cpus, gpus: of the whole job."""

    number: int
    lane: str
    user: str
    project: str
    submit: int
    start: int
    end: int
    nodes: int
    cpus: int
    memory_gib: int
    gpus: int

    @property
    def tres(self) -> str:
        """In Slurm's words."""
        gpus = f",gres/gpu={self.gpus}" if self.gpus else ""
        return f"cpu={self.cpus},mem={self.memory_gib}G,node={self.nodes}{gpus}"

    @property
    def environment(self) -> dict[str, str]:
        """What jobcomp/script is given."""
        return {
            "JOBID": str(self.number),
            "JOBNAME": "J7",
            "USERNAME": self.user,
            "PARTITION": self.lane,
            "JOBSTATE": "COMPLETED",
            "SUBMIT": str(self.submit),
            "START": str(self.start),
            "END": str(self.end),
            "NODES": "n-[1-2]",
            "NODECNT": str(self.nodes),
            "WORK_DIR": f"{PROJECTS}/{self.project}/J7" if self.project else "/home/ada",
        }

    @property
    def shown(self) -> dict[str, str]:
        """What squeue shows."""
        fields = (self.number, self.user, self.lane, "COMPLETED", self.submit, self.start or "N/A", self.end)
        more = ("n-[1-2]", self.nodes, self.environment["WORK_DIR"], "J7")
        return dict(zip(forgotten_jobs._FIELDS, map(str, (*fields, *more)), strict=True))


def draw(chance: random.Random) -> list[Ended]:
    """Some jobs around a month's end; a few share numbers with others (a job that Slurm ran again after its node died)."""
    began = int(datetime(2026, 11, 30, 20, tzinfo=UTC).timestamp()) + chance.randrange(10_000)
    found = []
    for number in range(chance.randint(1, 5)):
        lane = chance.choice(
            [*LANES, *LANES, jobs.Lane(name="gone", gpus=1, vcpus=1, memory_mib=1, hold_minutes=0, usd_per_hour=9.0)]
        )
        start = began + chance.randrange(8_000)
        nodes = chance.choice([1, 1, 1, 2, 3])
        job = Ended(
            number=100 + number,
            lane=lane.name,
            user=chance.choice(["ada", "ben"]),
            project=chance.choice(["spike", "2026-11-krios#1", ""]),
            submit=start - chance.randrange(500),
            start=chance.choice([start, start, start, 0]),
            end=start + chance.choice([0, 1, 59, chance.randrange(1, 9_000)]),
            nodes=nodes,
            cpus=chance.randint(1, lane.vcpus) * nodes,
            memory_gib=chance.randint(1, max(1, lane.memory_mib // 1024)) * nodes,
            gpus=chance.randint(0, lane.gpus) * nodes,
        )
        found.append(job)
        if chance.random() < 0.2:
            again = job.end + chance.randrange(130, 500)
            found.append(Ended(**{**job.__dict__, "start": again, "end": again + chance.randrange(1, 4_000)}))
    return found


def expected(ended: list[Ended]) -> dict[str, Counter[str]]:
    """The totals, from price times hours times the largest share."""
    prices = {lane.name: lane for lane in LANES}
    totals: dict[str, Counter[str]] = {}
    for job in ended:
        seconds = job.end - job.start if job.start else 0
        micro, unpriced = 0, 1
        if job.lane in prices:
            lane, unpriced = prices[job.lane], 0
            # Of each share what it has and what there is, so that nothing is divided before the end.
            shares = [(job.cpus, lane.vcpus * job.nodes), (job.memory_gib * 1024, lane.memory_mib * job.nodes)]
            shares += [(job.gpus, lane.gpus * job.nodes)] if lane.gpus else []
            had, of = max(shares, key=lambda share: Decimal(share[0]) / share[1])
            micro_an_hour = int(Decimal(str(lane.usd_per_hour)) * 1_000_000)
            whole, rest = divmod(seconds * job.nodes * micro_an_hour * min(had, of), 3600 * of)
            twice = 2 * rest - 3600 * of
            micro = whole + (twice > 0 or (twice == 0 and whole % 2 == 1))
        month = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=job.end)).strftime("%Y-%m")
        for name in (
            f"{month}#month",
            f"{month}#lane#{job.lane}",
            f"{month}#user#{job.user}",
            f"{month}#project#{job.project}",
            f"always#project#{job.project}",
        ):
            total = totals.setdefault(name, Counter())
            total.update(jobs=1, usd_micro=micro, unpriced=unpriced, seconds=seconds, gpu_seconds=seconds * job.gpus)
    return totals


class Bus:
    """EventBridge, and the queue behind it."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.queue: list[str] = []
        self.faults: Counter[str] = Counter()

    def put_events(self, *, Entries: Any) -> dict[str, Any]:
        """Takes some, refuses some, and sometimes nobody hears its answer."""
        answers: list[dict[str, str]] = []
        for entry in Entries:
            if self._chance.random() < 0.15:
                self.faults["refused"] += 1
                answers.append({"ErrorCode": "ThrottlingException", "ErrorMessage": "later"})
                continue
            copies = self._chance.choice([1, 1, 1, 2, 3])
            self.faults["duplicate"] += copies - 1
            self.queue += [entry["Detail"]] * copies
            answers.append({"EventId": "e"})
        if self._chance.random() < 0.1:
            self.faults["answer lost"] += 1
            raise OSError("no answer")
        return {"Entries": answers}


class Table(DynamoDB):
    """DynamoDB whose caller may die before or after it has written, and which may find another at the same total."""

    def __init__(self, chance: random.Random, faults: Counter[str]) -> None:
        super().__init__()
        self._chance, self._faults = chance, faults

    def transact_write_items(self, *, TransactItems: Any) -> None:
        """As DynamoDB, with faults."""
        fate = self._chance.random()
        if fate < 0.1:
            self._faults["died before"] += 1
            raise OSError("died before it wrote")
        if fate < 0.2:
            self._faults["conflict"] += 1
            reasons: Any = [{"Code": "TransactionConflict"}]
            raise ClientError(
                {"Error": {"Code": "TransactionCanceledException"}, "CancellationReasons": reasons},
                "TransactWriteItems",
            )
        super().transact_write_items(TransactItems=TransactItems)
        if fate < 0.35:
            self._faults["died after"] += 1
            raise OSError("died after it wrote")


def play(seed: int) -> tuple[dict[str, Counter[str]], dict[str, Counter[str]], Counter[str]]:
    """One history: the totals that are written down, those that ought to be, and the faults there were."""
    chance = random.Random(seed)
    ended = draw(chance)
    bus = Bus(chance)
    table = Table(chance, bus.faults)
    records: Any = SimpleNamespace(records=Records("t", cluster="cryo", dynamodb=table))  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory(dir=_MEMORY) as folder:
        here: Any = SimpleNamespace(spool=Path(folder), cluster="cryo", projects=PROJECTS)
        _on_the_head_node(here, ended, chance, bus)
        while list(here.spool.glob("*.json")):
            _send(here, bus)
    waiting = bus.queue
    chance.shuffle(waiting)
    while waiting:
        size = chance.randint(1, 10)
        batch, waiting = waiting[:size], waiting[size:]
        try:
            job_records.note(records, [jobs.parse(json.loads(text)) for text in batch], LANES)
        except (OSError, ClientError):
            # All of them come again, later.
            waiting += batch
    found = {
        name: Counter({key: int(value["N"]) for key, value in item.items() if "N" in value})
        for (kind, name), item in table.items.items()
        if kind == "spend"
    }
    return found, expected(ended), bus.faults


def _on_the_head_node(here: Any, ended: list[Ended], chance: random.Random, bus: Bus) -> None:
    """Completion scripts, some of which are killed, and a look every minute while Slurm still knows the jobs.

    Of a job that was run again Slurm knows the last run alone, so what befalls the script of an earlier one is not made good.
    """
    last = {job.number: job for job in ended}
    for job in ended:
        if job is last[job.number] and chance.random() < 0.2:
            bus.faults["completion lost"] += 1
            continue
        name = f"{job.end}-{job.number}.json"
        told = job_completion.event(job.environment, cluster="cryo", projects=PROJECTS, tres=job.tres)
        (here.spool / name).write_text(json.dumps(told))
    for now in sorted({job.end + chance.randrange(61, REMEMBERED) for job in ended}):
        remembered = [job for job in last.values() if now - REMEMBERED < job.end <= now]
        tres = {str(job.number): job.tres for job in remembered}

        def shown(remembered: list[Ended] = remembered) -> Iterator[dict[str, str]]:
            return iter([job.shown for job in remembered])

        # Slurm's commands are all that is not the shipped code here.
        forgotten_jobs.ended, job_completion.tres_of = shown, tres.__getitem__  # type: ignore[assignment]
        forgotten_jobs.spool(here, now=now)
        if chance.random() < 0.5:
            _send(here, bus)


def _send(here: Any, bus: Bus) -> None:
    try:
        send_events.send(here.spool, event_bus="bus", events=bus)
    except OSError:
        bus.faults["sent again"] += 1


_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
