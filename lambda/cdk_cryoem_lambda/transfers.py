"""Runs of DataSync: what one has seen of a share, what went wrong, and what is written down of it.

A run that failed is no look at the share, and takes nothing back from the look before it: what it could not copy is named in
its report (docs/receipts.md).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .datasets import Emptied
from .events_out import TransferFailed
from .receipts import Look
from .records import Records
from .reports import task_id

LOOK, FAILED = "look", "transfer-failed"
_OVER = ("SUCCESS", "ERROR")
# Files that are counted there were listed, and are in the report; these may not be.
_UNSEEN = {"FilesFailed": ("Prepare",), "FoldersFailed": ("List", "Prepare", "Transfer", "Verify")}
# A report has several files, and nobody says when the last is written.
SETTLED_SECONDS = 120.0
_TRIES = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One execution of a task.

    began: since when it has looked. failed: how many files and folders it could not list, copy or verify, 1 at least of a run
    that ended as ERROR. whole: whether it listed all that the task is to see, and what failed is in its report. well: whole, and
    nothing failed. reason: what went wrong, empty for nothing. includes, excludes: patterns that it was held to. scope: the
    include patterns of its task.
    """

    task: str
    execution: str
    began: float
    files: int
    failed: int
    whole: bool
    well: bool
    reason: str
    includes: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    scope: tuple[str, ...] = ()

    @classmethod
    def of(cls, arn: str, execution: Mapping[str, Any], task: Mapping[str, Any]) -> Run:
        """From what DescribeTaskExecution and DescribeTask answer.

        Patterns that leave out more than the task's own make it a run of a part, as a list of files does.
        """
        failed = failures(execution)
        ended = execution["Status"] == "SUCCESS"
        deployed, excludes = _patterns(task, "Excludes"), _patterns(execution, "Excludes")
        scope = _patterns(task, "Includes")
        part = bool(execution.get("ManifestConfig")) or not set(excludes) <= set(deployed)
        unseen = any(int(execution.get(kind, {}).get(step, 0)) for kind, steps in _UNSEEN.items() for step in steps)
        return cls(
            task=arn.partition("/execution/")[0],
            execution=arn.rpartition("/")[2],
            # One that waited for its turn has looked at the share only since then.
            began=execution.get("LaunchTime", execution["StartTime"]).timestamp(),
            files=int(execution.get("FilesTransferred", 0)),
            failed=failed if ended or execution["Status"] not in _OVER else max(1, failed),
            whole=ended and not part and not unseen,
            well=ended and not part and not failed,
            reason=_reason(execution, failed),
            # A run that says nothing of its own has those of its task.
            includes=_patterns(execution, "Includes") or scope,
            scope=scope,
            excludes=tuple(sorted({*deployed, *excludes})),
        )

    @classmethod
    def that_cannot_begin(cls, arn: str, task: Mapping[str, Any], *, now: float) -> Run | None:
        """Of a task that cannot be used, which may start no run that could fail; None of one that can."""
        if task["Status"] != "UNAVAILABLE":
            return None
        said = ": ".join(str(task[name]) for name in ("ErrorCode", "ErrorDetail") if task.get(name))
        reason = f"the task is unavailable: {said or 'its agent may be offline'}"
        return cls(task=arn, execution="", began=now, files=0, failed=1, whole=False, well=False, reason=reason)


def failures(execution: Mapping[str, Any]) -> int:
    """Files and folders that an execution could not list, copy or verify.

    They are counted in Enhanced mode alone; in Basic mode an execution with a failure ends as ERROR.
    """
    counts = [*execution.get("FilesFailed", {}).values(), *execution.get("FoldersFailed", {}).values()]
    return sum(map(int, counts))


def _reason(execution: Mapping[str, Any], failed: int) -> str:
    if execution["Status"] == "ERROR":
        result = execution.get("Result", {})
        said = ": ".join(str(result[name]) for name in ("ErrorCode", "ErrorDetail") if result.get(name))
        return said or "DataSync does not say why"
    return f"{failed} files or folders could not be listed, copied or verified" if failed else ""


def _patterns(described: Mapping[str, Any], name: str) -> tuple[str, ...]:
    return tuple(each for rule in described.get(name) or () for each in str(rule["Value"]).split("|") if each)


def note(records: Records, run: Run) -> None:
    """Write down a run that is over: the latest, the latest look, and what is to be said of one that failed."""
    records.note_transfer(
        run.task,
        began=run.began,
        files=run.files,
        failed=run.failed,
        well=run.well,
        includes="|".join(run.includes),
        scope="|".join(run.scope),
        execution=run.execution,
    )
    if run.whole:
        _note_look(records, run)
    if run.reason:
        note_failed(records, run)
    elif run.well:
        _note_mended(records, run)


def _note_look(records: Records, run: Run) -> None:
    fields: dict[str, str | float] = {
        "looked_at": run.began,
        "execution": run.execution,
        "includes": "|".join(run.includes),
        "scope": "|".join(run.scope),
        "excludes": "|".join(run.excludes),
    }
    for _ in range(_TRIES):
        known = _known(records, LOOK, run.task)
        if known is not None and float(known["looked_at"]) >= run.began:
            return
        if records.note_since(LOOK, run.task, fields=fields, before=None if known is None else known["looked_at"]):
            return
    raise RuntimeError(f"the look of {run.task} was not written down: others were faster {_TRIES} times")


def note_failed(records: Records, run: Run) -> None:
    """Write down that a run failed. It is said at once, and once a day while it lasts, however often it comes and goes on that day."""
    look, known, now = _known(records, LOOK, run.task), _known(records, FAILED, run.task), time.time()
    if known is not None and float(known["looked_at"]) >= run.began:
        return
    if look is not None and float(look["looked_at"]) > run.began:
        # Told of late: the share has been seen since.
        return
    since = float(known["since"]) if known is not None and not known["over"] else run.began
    told = known is not None and _day(float(known["said_at"])) == _day(now)
    event = TransferFailed(task=run.task, execution=run.execution or None, reason=run.reason, since=since)
    records.note_since(
        FAILED,
        run.task,
        fields={
            "looked_at": run.began,
            "since": since,
            "said_at": float(known["said_at"]) if known is not None and told else now,
            "execution": run.execution,
            "reason": run.reason,
            "over": 0,
        },
        before=None if known is None else known["looked_at"],
        events=() if told else [event],
    )


def _note_mended(records: Records, run: Run) -> None:
    known = _known(records, FAILED, run.task)
    if known is None or float(known["looked_at"]) >= run.began:
        return
    if _day(float(known["said_at"])) != _day(time.time()):
        records.forget(FAILED, run.task)
        return
    # Kept until the day is over: who was told of it today is told of the next one tomorrow.
    kept = {name: value for name, value in known.items() if name not in ("pk", "sk")}
    records.note_since(FAILED, run.task, fields={**kept, "over": 1}, before=known["looked_at"])


def _known(records: Records, kind: str, task: str) -> Mapping[str, Any] | None:
    return next((item for item in records.known(kind) if item["sk"] == task), None)


def _day(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"


def emptied(transfers: Iterable[Mapping[str, Any]], tasks: Sequence[str]) -> list[Emptied]:
    """For each microscope, what its latest transfer says of what is left. tasks: ARNs or ids."""
    latest = {task_id(str(item["sk"])): item for item in transfers}

    def of(item: Mapping[str, Any] | None) -> Emptied:
        if item is None:
            return Emptied(began=None)
        # A record of an earlier version does not say how it ended.
        empty = not int(item["files"]) and item.get("well", 0)
        return Emptied(
            began=float(item["began"]) if empty else None,
            includes=_split(item, "includes"),
            scope=_split(item, "scope"),
        )

    return [of(latest.get(task_id(task))) for task in tasks]


def looks(
    tasks: Sequence[str],
    *,
    transfers: Mapping[str, Mapping[str, Any]],
    seen: Mapping[str, Mapping[str, Any]],
    reported: Mapping[tuple[str, str], float],
    now: float,
) -> dict[str, Look | None]:
    """For each microscope, by its task's id, the latest look at its share.

    transfers, seen: by task id, the records of the latest run and of the latest look. reported: when the last file of an
    execution's report was written.
    """
    found: dict[str, Look | None] = {}
    for task in map(task_id, tasks):
        run, look = transfers.get(task), seen.get(task)
        if run is not None and run.get("well", 0) and (look is None or float(run["began"]) > float(look["looked_at"])):
            # As an earlier version wrote it down.
            look = {**run, "looked_at": run["began"]}
        if look is None:
            failed = float(run["began"]) if run is not None and run.get("failed", 1) else None
            found[task] = None if failed is None else Look(began=0.0, well=False, failed_at=failed)
            continue
        written = reported.get((task, str(look.get("execution", ""))))
        later = run is not None and float(run["began"]) > float(look["looked_at"]) and run.get("failed", 1)
        found[task] = Look(
            began=float(look["looked_at"]),
            reported=written is not None and now - written >= SETTLED_SECONDS,
            includes=_split(look, "includes"),
            scope=_split(look, "scope"),
            excludes=_split(look, "excludes"),
            failed_at=float(run["began"]) if run is not None and later else None,
        )
    return found


def _split(item: Mapping[str, Any], name: str) -> tuple[str, ...]:
    return tuple(filter(None, str(item.get(name, "")).split("|")))
