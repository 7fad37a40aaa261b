"""A dataset on its way to the archive or back: looked at, marked, asked for. Each can be done again and goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ..operate.ask import Failed
from ..operate.find import Clients, System, storage
from ..operate.land import KIND, unknown
from ..operate.records import Item, Records
from . import notes, parallel
from .bucket import Answer, Movies
from .contents import Contents, Held, Rule, sum_up
from .cost import Tier
from .decide import FINISHED, State, state_of

_R = TypeVar("_R")
RECEIPT = "receipt"
"""Kind of the records that say how much of a dataset is proven to have arrived; sk is the dataset."""
Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many are done, and of how many."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """A dataset at one look: its record, its receipt's, its objects and their sum, the rule that would move it."""

    item: Mapping[str, Any]
    receipt: Mapping[str, Any] | None
    movies: Movies
    objects: Sequence[Held]
    rule: Rule | None
    contents: Contents
    at: float

    @property
    def name(self) -> str:
        """The dataset."""
        return self.movies.dataset

    @property
    def state(self) -> State:
        """What it is."""
        return state_of(self.item, self.contents)


def look(clients: Clients, found: System, name: str, *, progress: Progress) -> Seen:
    """One dataset as it is now. Errors: Failed when nobody knows it."""
    records = Records(clients, found.table)
    item = records.item(KIND, name)
    if item is None:
        raise Failed(unknown(name, (str(each["sk"]) for each in records.items(KIND))))
    bucket = storage(clients, found.target).landing_bucket
    return _seen(Movies(s3=clients.s3, bucket=bucket, dataset=name), item, records.item(RECEIPT, name), progress)


def _seen(movies: Movies, item: Item, receipt: Item | None, progress: Progress) -> Seen:
    objects, rule, now = movies.objects(), movies.rule(), time.time()
    archived = [each for each in objects if each.archived]
    silent = not any(each.restoring or each.restored_until is not None for each in archived)
    # Either the copies are over, or this S3's listing does not speak of them.
    if item.get("archive") == "restoring" and silent and archived:
        told = _each("asking for the state of", archived, movies.head, progress)
        objects = [*told, *(each for each in objects if not each.archived)]
    return Seen(
        item=item,
        receipt=receipt,
        movies=movies,
        objects=sorted(objects, key=lambda each: each.key),
        rule=rule,
        contents=sum_up(objects, rule, now=now),
        at=now,
    )


def look_at_all(clients: Clients, found: System, *, progress: Progress) -> list[tuple[Item, Seen | None]]:
    """Every dataset's record, and for those that somebody archived or restored what the bucket has of them."""
    records = Records(clients, found.table)
    items = [item for item in records.items(KIND) if item.get("state") != "gone"]
    if not any("archive" in item for item in items):
        return [(item, None) for item in items]
    bucket = storage(clients, found.target).landing_bucket
    return [
        (
            item,
            _seen(Movies(s3=clients.s3, bucket=bucket, dataset=str(item["sk"])), item, None, progress)
            if "archive" in item
            else None,
        )
        for item in items
    ]


def finish(records: Records, seen: Seen, *, by: str, progress: Progress) -> int:
    """Mark every object that is not in the archive, so that the bucket's rule moves it; how many were not. Errors: Failed."""
    at = time.time()
    notes.begin(records, seen.item, "finished", by=by, at=at)
    changed = _mark(seen, FINISHED, progress)
    notes.end(records, seen.name, at=at)
    return changed


def undo(records: Records, seen: Seen, *, by: str, progress: Progress) -> int:
    """Take the marks away, so that nothing more is moved; how many there were. Errors: Failed."""
    at = time.time()
    notes.begin(records, seen.item, "active", by=by, at=at)
    changed = _mark(seen, None, progress)
    notes.end(records, seen.name, at=at)
    return changed


def restore(records: Records, seen: Seen, *, tier: Tier, days: int, by: str, progress: Progress) -> dict[Answer, int]:
    """Ask for a readable copy of every archived object, and take all marks away; what S3 answered. Errors: Failed."""
    at = time.time()
    notes.begin(records, seen.item, "restoring", by=by, at=at, tier=tier, days=days)
    archived = [each for each in seen.objects if each.archived]
    answers: dict[Answer, int] = {}
    for answer in _each(
        "asking for", archived, lambda each: seen.movies.restore(each.key, days=days, tier=tier), progress
    ):
        answers[answer] = answers.get(answer, 0) + 1
    _mark(seen, None, progress)
    notes.end(records, seen.name, at=at)
    return answers


def _mark(seen: Seen, value: str | None, progress: Progress) -> int:
    what = "marking" if value else "unmarking"
    # In the archive a mark means nothing any more.
    here = [each for each in seen.objects if not each.archived]
    return sum(_each(what, here, lambda each: seen.movies.mark(each.key, value), progress))


def _each(what: str, objects: Sequence[Held], act: Callable[[Held], _R], progress: Progress) -> list[_R]:
    return parallel.each(objects, act, name=lambda each: each.key, progress=lambda done, of: progress(what, done, of))
