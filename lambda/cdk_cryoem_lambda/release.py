"""Decisions about released data: which datasets' content may leave the file system. Their movies stay in S3."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .file_system import RUNNING, Described

HOUR, DAY = 3600.0, 24 * 3600.0
# The slowest tier of Deep Archive takes 48 hours (S3 user guide, "Archive retrieval options").
_RESTORE_DAYS = 2
_PUT_OFF_DAYS = 2
_MOST_PATHS = 100  # CreateDataRepositoryTask takes no more (FSx API reference)
_PARTS = 4
_MOST_A_DAY = 8
_FORBIDDEN = set("\x00\x85\u2028\u2029\r\n")  # in its paths
LOOKED = "looked"
"""Name of the record of the last look; the other records of the kind are named after their task."""


@dataclass(frozen=True)
class Plan:
    """Which datasets are released now; with none, why not."""

    datasets: tuple[str, ...] = ()
    put_off: str = ""

    def paths(self) -> list[str]:
        """As the task takes them: relative to where the file system is mounted."""
        return [f"data/{name}" for name in self.datasets]

    def token(self, *, now: float) -> str:
        """The same for the same paths on one UTC day: two calls at one moment, or after a crash, make one task."""
        paths = hashlib.sha256(json.dumps(self.paths()).encode(errors="surrogatepass")).hexdigest()
        return f"cryoem-release-{int(now // DAY)}-{paths[:16]}"


@dataclass(frozen=True)
class Failed:
    """The last release of a dataset, which failed. together: how many datasets it was of. at: when it began."""

    together: int
    at: float


def not_now(
    tasks: Iterable[Described],
    *,
    nodes_on: bool,
    looked_at: float,
    now: float,
    records: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Why no release may begin at this moment, whatever the datasets; empty when one may.

    looked_at: when the last release began or found nothing to do. Jobs read movies, so a release waits until no node is
    on; but not for more than two days, since a busy file system is the one that needs the space. Lustre itself refuses
    to release a file that is open, and one that is read later comes back from S3: this margin saves time, not data.
    records: of the releases before. After one that failed the next comes within the hour, eight a day at most, until it is known
    for which datasets it fails.
    """
    running = next((task for task in tasks if task["Lifecycle"] in RUNNING), None)
    if running is not None:
        return f"{running['Type']} {running['TaskId']} runs, and there is one task at a time"
    waited = now - looked_at
    searching = any(each.together > 1 for each in failed(records).values())
    begun = sum(float(record.get("began_at", 0)) > now - DAY for record in records)
    if waited < (HOUR if searching and begun < _MOST_A_DAY else DAY):
        return "there is one release a day"
    if nodes_on and waited < (1 + _PUT_OFF_DAYS) * DAY:
        return "nodes are on, which may read movies"
    return ""


def plan(
    datasets: Iterable[Mapping[str, Any]],
    *,
    jobs: Iterable[Mapping[str, Any]],
    released: Mapping[str, float],
    recipe: str,
    after_days: int,
    now: float,
    failed: Mapping[str, Failed] | None = None,
) -> Plan:
    """Datasets that nobody used for `after_days`, those that were left alone longest first.

    FSx fails a task as a whole when one of its paths is gone (CreateDataRepositoryTask, FSx API reference), such as the folder
    that somebody removed of a dataset that is in S3. So what failed together is tried again in quarters, down to the one
    dataset; that one is put off for `after_days`, or for as long as there are others. failed: what failed, by dataset.

    A dataset counts as used when an object came, when it landed, when its recipe ended, when somebody archived or restored
    it, and when a job of the project with its name ended. One that comes back from the archive is left alone. FSx then takes
    only those of its files that nobody touched for so many days. released: when a dataset was released last; after that
    nothing can be old enough again for another `after_days`.
    """
    ended: dict[str, float] = {}
    for job in jobs:
        project = str(job.get("project", ""))
        ended[project] = max(ended.get(project, 0.0), float(str(job["sk"]).partition("#")[0]))
    due = []
    for item in datasets:
        name = str(item["sk"])
        waits = (recipe and "processing_at" not in item) or _comes_back(item, now)
        if item.get("state") != "landed" or waits or _FORBIDDEN & set(name):
            continue
        times = (item.get(field, 0) for field in ("last_at", "landed_at", "processing_at", "archive_at"))
        used = max(ended.get(name, 0.0), *map(float, times))
        if now - max(used, released.get(name, 0.0)) >= after_days * DAY:
            due.append((used, name))
    if not due:
        return Plan(put_off=f"no dataset was left alone for {after_days} days")
    return Plan(datasets=_chosen([name for _, name in sorted(due)], failed or {}, after_days=after_days, now=now))


def _chosen(due: Sequence[str], failed: Mapping[str, Failed], *, after_days: int, now: float) -> tuple[str, ...]:
    suspects = sorted(
        (name for name in due if name in failed and failed[name].together > 1), key=lambda n: failed[n].together
    )
    if suspects:
        return tuple(suspects[: math.ceil(failed[suspects[0]].together / _PARTS)])
    alone = sorted((name for name in due if name in failed), key=lambda name: failed[name].at)
    others = [name for name in due if name not in failed]
    if alone and (not others or now - failed[alone[0]].at >= after_days * DAY):
        return (alone[0],)
    return tuple(others[:_MOST_PATHS])


def _comes_back(item: Mapping[str, Any], now: float) -> bool:
    """Whether a dataset comes back from the archive, or is there for the days that somebody asked for."""
    days = float(item.get("archive_days", 0)) + _RESTORE_DAYS
    return item.get("archive") == "restoring" and now - float(item.get("archive_at", now)) < days * DAY


def released_at(records: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """When each dataset was released last, by a task that did not fail."""
    latest: dict[str, float] = {}
    for record in records:
        if record["sk"] == LOOKED or record.get("state") in ("FAILED", "CANCELED"):
            continue
        for name in json.loads(record["datasets"]):
            latest[name] = max(latest.get(name, 0.0), float(record["began_at"]))
    return latest


def failed(records: Iterable[Mapping[str, Any]]) -> dict[str, Failed]:
    """Datasets whose last release failed and released nothing: one that failed for some files had its paths right. One that somebody
    cancelled says nothing.
    """
    found: dict[str, Failed] = {}
    tried = [record for record in records if record["sk"] != LOOKED and record.get("state") != "CANCELED"]
    for record in sorted(tried, key=lambda record: float(record["began_at"])):
        names = json.loads(record["datasets"])
        for name in names:
            found.pop(name, None)
            if record.get("state") == "FAILED" and not int(record.get("files", 0)):
                found[name] = Failed(together=len(names), at=float(record["began_at"]))
    return found


def ended(
    records: Iterable[Mapping[str, Any]], tasks: Sequence[Described]
) -> list[tuple[Mapping[str, Any], Described]]:
    """Records of releases that were under way and have ended, each with its task."""
    by_id = {str(task["TaskId"]): task for task in tasks if task["Lifecycle"] not in RUNNING}
    return [
        (record, by_id[record["sk"]])
        for record in records
        if record["sk"] in by_id and record.get("state") != by_id[record["sk"]]["Lifecycle"]
    ]
