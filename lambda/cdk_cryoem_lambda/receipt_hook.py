"""A dataset has landed, a transfer ended, or a quarter of an hour went by: write the receipts that are due.

No event is trusted: which receipts are due follows from the records, and what they say from task reports and S3's versions.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from . import receipt_store, receipts, reports, transfers
from .events_out import DatasetNotSafe, DatasetSafe, PlatformEvent
from .hints import Event, log, work_off
from .outbox import Outbox
from .receipt_store import Bucket, Found
from .receipts import Look, Receipt
from .records import Records
from .redrive import redrive

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_KIND, _READ = "receipt", "report-read"
# So many files at once fit in the function's memory.
_TOGETHER = 200_000
_KEPT_BACK_SECONDS = 120.0
_OLD_SECONDS = 7 * 24 * 3600
_LEAST_PAUSE, _LONGEST_PAUSE = 900.0, 24 * 3600.0


@dataclass(frozen=True)
class Keeper:
    """What the function was told, what is written down, and the clients. not_safe_after: seconds after landing."""

    cluster: str
    tasks: tuple[str, ...]
    sentinel: str
    not_safe_after: float
    dead_letters: str
    records: Records
    outbox: Outbox
    bucket: Bucket
    sqs: SQSClient


@functools.cache
def keeper() -> Keeper:
    """The real one, made once for a warm function. Errors: KeyError naming the variable that is missing."""
    environment, dynamodb = os.environ, boto3.client("dynamodb")
    table, cluster = environment["RECORDS_TABLE"], environment["CLUSTER"]
    return Keeper(
        cluster=cluster,
        tasks=tuple(json.loads(environment["INGEST_TASKS"])),
        sentinel=environment["SENTINEL"],
        not_safe_after=float(environment["NOT_SAFE_AFTER_HOURS"]) * 3600,
        dead_letters=environment["DEAD_LETTERS"],
        records=Records(table, cluster=cluster, dynamodb=dynamodb),
        outbox=Outbox(
            table,
            cluster=cluster,
            event_bus=environment["EVENT_BUS"],
            dynamodb=dynamodb,
            events=boto3.client("events"),
        ),
        bucket=Bucket(
            environment["LANDING_BUCKET"],
            reports_prefix=environment["REPORTS_PREFIX"],
            s3=boto3.client("s3", config=Config(max_pool_connections=receipt_store.CONNECTIONS)),
        ),
        sqs=boto3.client("sqs"),
    )


def handler(batch: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """Entry point."""
    left = context.get_remaining_time_in_millis() / 1000 - _KEPT_BACK_SECONDS if context else float("inf")
    until = time.time() + left
    return work_off(batch, parse=parse, act=lambda _: act(until=until))


def parse(event: Event) -> str:
    """Who says that it is time to look."""
    return str(event["source"])


def act(*, until: float = float("inf")) -> None:
    """All receipts that are due. Errors: RuntimeError after all were tried."""
    k, now = keeper(), time.time()
    runs, seen = _by_task(k, "transfer"), _by_task(k, transfers.LOOK)
    mark = _mark(runs)
    known = {str(item["sk"]): item for item in k.records.known(_KIND)}
    failed: list[str] = []
    states = {name: str(item["state"]) for name, item in known.items()}
    left = 0
    try:
        named, read = _not_copied(k, runs, now)
        waiting = [
            item
            for item in k.records.datasets()
            if item["state"] == "landed"
            and due(
                item,
                known.get(str(item["sk"])),
                mark=mark,
                not_safe_after=k.not_safe_after,
                now=now,
                named=str(item["sk"]) in named,
            )
        ]
        left = len(waiting)
        if waiting:
            listed = k.bucket.reports()
            looks = transfers.looks(k.tasks, transfers=runs, seen=seen, reported=listed.executions, now=now)
            for group in _groups(waiting, known):
                if time.time() >= until:
                    log.warning("there was no time for %s receipts: the next look has them", left)
                    break
                failed += _write_group(k, group, known, states, listed, looks, mark, now, until)
                left -= len(group)
        if not left and not failed:
            for task, execution in read.items():
                k.records.note(_READ, task, fields={"execution": execution, "read_at": now})
    finally:
        # The metric is read out of this line (cdk_cryoem.DatasetReceipts).
        unsafe = sum(state == "not-safe" for state in states.values())
        log.info("%s datasets are not safe", unsafe, extra={"datasets_not_safe": unsafe})
        k.outbox.flush()
    if failed:
        raise RuntimeError("; ".join(failed))
    redrive(k.sqs, dead=k.dead_letters, queue="", parse=parse)


def due(
    dataset: Mapping[str, Any],
    known: Mapping[str, Any] | None,
    *,
    mark: str,
    not_safe_after: float,
    now: float,
    named: bool = False,
) -> bool:
    """Whether to look at a dataset that has landed. named: whether a run that failed could not copy something of it.

    What is safe is looked at again when files came since, or could not be copied. What is not, when a share was looked at since or people ought to be
    told; the older it is the less often, at last once a day.
    """
    if (
        known is None
        or not known["digest"]
        or (dataset["last_at"], dataset["objects"])
        != (
            known["dataset_last_at"],
            known["dataset_objects"],
        )
    ):
        return True
    if known["state"] == "safe":
        return named
    if known["waits"] or (known["state"] == "open" and now - float(dataset["landed_at"]) > not_safe_after):
        return True
    pause = min(_LONGEST_PAUSE, max(_LEAST_PAUSE, (now - float(dataset["landed_at"])) / 10))
    return bool(known["transfers"] != mark) and now - float(known["looked_at"]) >= pause


def _by_task(k: Keeper, kind: str) -> dict[str, Mapping[str, Any]]:
    """Records of the microscopes that there are, by their tasks' ids."""
    ours = set(map(reports.task_id, k.tasks))
    found = {reports.task_id(str(item["sk"])): item for item in k.records.known(kind)}
    return {task: item for task, item in found.items() if task in ours}


def _mark(runs: Mapping[str, Mapping[str, Any]]) -> str:
    return json.dumps(sorted((task, float(item["began"])) for task, item in runs.items()))


def _not_copied(k: Keeper, runs: Mapping[str, Mapping[str, Any]], now: float) -> tuple[set[str], dict[str, str]]:
    """Datasets of which the latest runs could not copy something, and the executions whose reports told so.

    Each report is read for that once, and only if its run failed: what went well names nothing.
    """
    known = {str(item["sk"]): str(item["execution"]) for item in k.records.known(_READ)}
    named: set[str] = set()
    read: dict[str, str] = {}
    for task, item in runs.items():
        execution = str(item.get("execution", ""))
        if item.get("well", 0) or not execution or known.get(task) == execution:
            continue
        listed = k.bucket.reports(of=reports.Place(task=task, execution=execution))
        written = listed.executions.get((task, execution))
        if written is None or now - written < transfers.SETTLED_SECONDS:
            continue
        named |= receipts.not_copied(k.bucket.read(listed, since=0.0).entries)
        read[task] = execution
    return named, read


def _groups(
    waiting: Sequence[Mapping[str, Any]], known: Mapping[str, Mapping[str, Any]]
) -> list[list[Mapping[str, Any]]]:
    """Those without a receipt first, of these the newest; then those that were looked at longest ago."""

    def urgent(item: Mapping[str, Any]) -> tuple[bool, float]:
        receipt = known.get(str(item["sk"]))
        return (False, -float(item["landed_at"])) if receipt is None else (True, float(receipt["looked_at"]))

    groups: list[list[Mapping[str, Any]]] = []
    room = 0
    for item in sorted(waiting, key=urgent):
        if not groups or int(item["objects"]) > room:
            groups.append([])
            room = _TOGETHER
        groups[-1].append(item)
        room -= int(item["objects"])
    return groups


def _write_group(
    k: Keeper,
    group: Sequence[Mapping[str, Any]],
    known: Mapping[str, Mapping[str, Any]],
    states: dict[str, str],
    listed: receipt_store.Reports,
    looks: Mapping[str, Look | None],
    mark: str,
    now: float,
    until: float,
) -> list[str]:
    """The receipts of some datasets, from one reading of the reports; what went wrong. states: what they are after it."""
    try:
        versions = {str(item["sk"]): k.bucket.versions(str(item["sk"])) for item in group}
        # Of replaced and deleted ones too: what a report tells of them counts.
        times = [each.at for files in versions.values() for some in files.values() for each in some]
        read = k.bucket.read(listed, since=min([*times, *(float(item["first_at"]) for item in group)]))
        said = receipts.by_dataset(read.entries, versions)
    except Exception as error:
        # The other groups need not wait for it.
        names = ", ".join(str(item["sk"]) for item in group)
        log.exception("no receipt was written of %s", names)
        return [f"{names}: {type(error).__name__}: {error}"]
    failed: list[str] = []
    for item in group:
        name = str(item["sk"])
        try:
            reported = said.pop(name)
            copied_by = {each.task for some in reported.values() for each in some if each.kind == "transferred"}
            found = k.bucket.look(name, versions.pop(name), reported, looks, previous=name in known, until=until)
            made = receipts.receipt(
                name,
                found.files,
                last_at=found.last_at,
                looks=looks,
                copied_by=copied_by,
                sentinel=k.sentinel,
                checksums_left=found.checksums_left,
                # Filled while the entries were read.
                unreadable=tuple(read.unreadable),
            )
            states[name] = _write(k, item, known.get(name), found, made, mark, now)
        except Exception as error:
            # The others need not wait for it.
            log.exception("no receipt was written of dataset %s", name)
            failed.append(f"{name}: {type(error).__name__}: {error}")
    return failed


def _write(
    k: Keeper,
    dataset: Mapping[str, Any],
    known: Mapping[str, Any] | None,
    found: Found,
    made: Receipt,
    mark: str,
    now: float,
) -> str:
    state = verdict(made, dataset, known, not_safe_after=k.not_safe_after, now=now)
    text = "".join(f"{each.line()}\n" for each in found.files)
    digest = hashlib.sha256(
        "\n".join((text, *made.reasons, *made.left_out, *made.included)).encode(errors="surrogatepass")
    ).hexdigest()
    version = str(known["manifest_version"]) if known else ""
    if known is None or known["digest"] != digest:
        version = k.bucket.write(made, text, cluster=k.cluster, made_at=now, landed_at=float(dataset["landed_at"]))
    said = known["said_at"] if known and state == known["state"] else now
    # One that landed long before its first look came when there were no receipts: nobody waits for its.
    old = known is None and now - float(dataset["landed_at"]) > k.not_safe_after + _OLD_SECONDS
    told = _news(made, state, version, now) if (known is None or known["state"] != state) else ()
    if old and state != "safe":
        told = ()
    written = k.records.note_since(
        _KIND,
        made.dataset,
        before=known["looked_at"] if known else None,
        fields={
            "state": state,
            "looked_at": now,
            "said_at": said,
            "last_at": made.last_at,
            "dataset_last_at": dataset["last_at"],
            "dataset_objects": dataset["objects"],
            "files": made.files,
            "movies": made.movies,
            "size_bytes": made.bytes,
            **made.counts,
            "reasons": "; ".join(made.reasons),
            "waits": int(found.checksums_left > 0 or any("report of" in reason for reason in made.reasons)),
            "transfers": mark,
            "digest": digest,
            "manifest_version": version,
        },
        events=told,
    )
    if not written:
        # What the other look put into S3 now lies below what this one did.
        k.records.forget_digest(_KIND, made.dataset)
    log.info(
        "dataset %s: %s, %s%s",
        made.dataset,
        state,
        "; ".join(made.reasons),
        "" if written else " (somebody was faster)",
    )
    return state


def verdict(
    made: Receipt, dataset: Mapping[str, Any], known: Mapping[str, Any] | None, *, not_safe_after: float, now: float
) -> str:
    """safe; not-safe, of which people are told; or open: it is too early to tell.

    Whoever was told that a disk may be purged is told at once that it may not be any more.
    """
    if made.complete:
        return "safe"
    if known is not None and known["state"] != "open":
        return "not-safe"
    return "not-safe" if now - float(dataset["landed_at"]) > not_safe_after else "open"


def _news(made: Receipt, state: str, version: str, now: float) -> Sequence[PlatformEvent]:
    if state == "safe":
        return (
            DatasetSafe(
                dataset=made.dataset,
                files=made.files,
                movies=made.movies,
                bytes=made.bytes,
                manifest=receipts.manifest_key(made.dataset),
                manifest_version=version,
                safe_at=now,
            ),
        )
    if state == "not-safe":
        return (
            DatasetNotSafe(
                dataset=made.dataset,
                files=made.files,
                **made.counts,
                reasons=made.reasons,
                examples=made.examples,
                since=now,
            ),
        )
    return ()
