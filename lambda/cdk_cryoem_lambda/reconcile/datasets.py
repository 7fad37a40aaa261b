"""Datasets: count what S3 holds, decide which have landed, write both down with what is to be said."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence

from botocore.exceptions import ClientError

from .. import datasets, transfers
from ..events_out import DatasetArriving, DatasetGone, DatasetLanded, PlatformEvent
from ..hints import log
from ..world import World


def reconcile(w: World, names: Iterable[str]) -> None:
    """Look at these datasets, whatever made somebody name them. Errors: RuntimeError after all were tried."""
    tasks = w.settings.ingest_tasks
    emptied = transfers.emptied(w.records.known("transfer"), tasks) if tasks else []
    failed: list[str] = []
    for name in sorted(set(names)):
        try:
            _look_at(w, name, emptied)
        except ClientError as error:
            # The others need not wait for it.
            log.exception("dataset %s was not looked at", name)
            failed.append(f"{name}: {error}")
    if failed:
        raise RuntimeError("; ".join(failed))


def _look_at(w: World, name: str, emptied: Sequence[datasets.Emptied]) -> None:
    now = time.time()
    seen = datasets.look(_objects(w, name), sentinel=w.settings.sentinel)
    known = w.records.dataset(name)
    if seen is None:
        if known.get("state") == "arriving":
            gone = DatasetGone(dataset=name, objects_before=int(known["objects"]))
            w.records.note_gone(name, now=now, events=[gone])
            log.warning("dataset %s: all of its %s objects are gone", name, known["objects"])
        return
    verdict = datasets.judge(
        seen,
        known_state=known.get("state"),
        now=now,
        quiet_minutes=w.settings.quiet_minutes,
        # A task that never is to look at it has nothing to do with it.
        empty_transfers=[each.of(name) for each in emptied if datasets.covers(each.scope, name)],
        operator=known.get("operator"),
    )
    news = list(_news(name, seen, verdict, known.get("state"), now))
    written = w.records.note_dataset(name, seen, verdict, now=now, events=news)
    log.info("dataset %s: %s objects, %s%s", name, seen.objects, verdict.reason, "" if written else " (outdated)")


def of_hints(w: World, hinted: Iterable[tuple[str, str]]) -> list[str]:
    """Datasets worth a look, of those to which an object (dataset, file name) was added."""
    files: dict[str, set[str]] = {}
    for dataset, file in hinted:
        files.setdefault(dataset, set()).add(file)
    sentinel, now = w.settings.sentinel, time.time()
    return [
        name
        for name, added in files.items()
        if datasets.look_again_on_hint(w.records.dataset(name), now=now, sentinel=bool(sentinel) and sentinel in added)
    ]


def arriving(w: World) -> list[str]:
    """Datasets that are known and have not landed yet."""
    return [item["sk"] for item in w.records.datasets() if item["state"] == "arriving"]


def of_sweep(w: World) -> list[str]:
    """Datasets that S3 has or had: those of which every event was lost, those whose objects are gone."""
    pages = w.s3.get_paginator("list_objects_v2").paginate(
        Bucket=w.settings.landing_bucket, Prefix=datasets.DATASETS_PREFIX, Delimiter="/"
    )
    prefixes = [prefix["Prefix"] for page in pages for prefix in page.get("CommonPrefixes", [])]
    in_bucket = {prefix.removeprefix(datasets.DATASETS_PREFIX).removesuffix("/") for prefix in prefixes} - {""}
    known, now = {str(item["sk"]): item for item in w.records.datasets()}, time.time()
    vanished = {name for name, item in known.items() if item["state"] == "arriving"} - in_bucket
    return sorted(vanished | {name for name in in_bucket if datasets.look_again_on_sweep(known.get(name, {}), now=now)})


def _news(
    name: str, seen: datasets.Seen, verdict: datasets.Verdict, known_state: str | None, now: float
) -> Iterator[PlatformEvent]:
    if known_state in (None, "gone"):
        yield DatasetArriving(dataset=name, first_at=seen.first_at)
    if verdict.state == "landed" and not verdict.landed_before:
        yield DatasetLanded(
            dataset=name,
            objects=seen.objects,
            movies=seen.movies,
            bytes=seen.bytes,
            reason=verdict.reason,
            landed_at=now,
        )


def _objects(w: World, dataset: str) -> Iterator[tuple[str, int, float]]:
    pages = w.s3.get_paginator("list_objects_v2").paginate(
        Bucket=w.settings.landing_bucket, Prefix=f"{datasets.DATASETS_PREFIX}{dataset}/"
    )
    for page in pages:
        for found in page.get("Contents", []):
            yield found["Key"], found["Size"], found["LastModified"].timestamp()
