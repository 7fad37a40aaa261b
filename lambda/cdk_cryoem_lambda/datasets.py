"""Decisions about datasets: pure functions of what was seen."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

DATASETS_PREFIX = "datasets/"
_MOVIE = re.compile(r"\.(mrc|mrcs|tif|tiff|eer)$", re.IGNORECASE)
_KEY = re.compile(rf"{DATASETS_PREFIX}([^/]+)/.+", re.DOTALL)

State = Literal["arriving", "landed", "gone"]
_PAGE = 1000  # ListObjectsV2 returns at most so many
_ARRIVING_SECONDS_PER_PAGE, _LANDED_SECONDS_PER_PAGE = 60, 36
_LATE_OBJECTS_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Seen:
    """What S3 holds of a dataset. Times in epoch seconds."""

    objects: int
    movies: int
    bytes: int
    first_at: float
    last_at: float
    sentinel: bool


@dataclass(frozen=True)
class Emptied:
    """A microscope's latest transfer. began: since when it has looked, None unless it ended well and found nothing new.
    includes: patterns that it was held to, scope: those that all runs of its task are; none for the whole share.
    """

    began: float | None
    includes: tuple[str, ...] = ()
    scope: tuple[str, ...] = ()

    def of(self, dataset: str) -> float | None:
        """`began`, if it was to look at a dataset."""
        return self.began if covers(self.includes, dataset) else None


@dataclass(frozen=True)
class Verdict:
    """What a dataset is now, and why; `landed_before` when that was known."""

    state: State
    reason: str
    landed_before: bool = False


def dataset_of(key: str) -> str | None:
    """The dataset an object belongs to, or None for an object that belongs to none."""
    match = _KEY.fullmatch(key)
    return match[1] if match else None


def is_movie(name: str) -> bool:
    """Whether a file is a movie, by its name."""
    return bool(_MOVIE.search(name))


def covers(includes: Sequence[str], dataset: str) -> bool:
    """Whether a run that is held to these patterns looks at a dataset; without any at all. They have a * at their end alone."""
    folder = f"/{dataset}/"
    bases = [pattern.removesuffix("*") for pattern in includes]
    return not bases or any(folder.startswith(base) or base.startswith(folder) for base in bases)


def look(objects: Iterable[tuple[str, int, float]], *, sentinel: str) -> Seen | None:
    """Sum up a listing of (key, bytes, time). None when there is nothing.

    A key with a slash at its end is a folder (DataSync and S3's console make such), and no file that the file system will have.
    """
    count = movies = size = 0
    first, last, has_sentinel = float("inf"), float("-inf"), False
    for key, length, at in objects:
        name = key.rpartition("/")[2]
        if not name:
            continue
        has_sentinel = has_sentinel or (bool(sentinel) and name == sentinel)
        count += 1
        size += length
        movies += is_movie(name)
        first, last = min(first, at), max(last, at)
    if not count:
        return None
    return Seen(objects=count, movies=movies, bytes=size, first_at=first, last_at=last, sentinel=has_sentinel)


def judge(
    seen: Seen,
    *,
    known_state: State | None,
    now: float,
    quiet_minutes: int,
    empty_transfers: Sequence[float | None],
    operator: str | None = None,
) -> Verdict:
    """Whether a dataset has landed.

    empty_transfers: for each microscope, when its latest transfer began if that found nothing new, else None. A dataset
    is complete when every microscope has looked again after its last object came, and had nothing more. What has
    landed stays landed. operator: what a person said it is (landed, arriving), which goes before everything else.
    """
    if known_state == "landed":
        return Verdict(state="landed", reason="landed before", landed_before=True)
    if operator == "landed":
        return Verdict(state="landed", reason="an operator said so")
    if operator == "arriving":
        return Verdict(state="arriving", reason="an operator holds it open")
    if seen.sentinel:
        return Verdict(state="landed", reason="sentinel")
    if empty_transfers and all(began is not None and began > seen.last_at for began in empty_transfers):
        return Verdict(state="landed", reason="nothing left to transfer")
    if now - seen.last_at >= quiet_minutes * 60:
        return Verdict(state="landed", reason=f"quiet for {quiet_minutes} minutes")
    return Verdict(state="arriving", reason="still arriving")


def look_again_on_hint(known: Mapping[str, Any], *, now: float, sentinel: bool) -> bool:
    """Whether a hint is worth a listing. Of a large dataset that arrives, it is not at each of its objects: the sweep
    looks anyway. At most one call a minute, of which each lists a thousand objects, so that a day in which more than a
    thousand arrive costs at most 0.01 USD (S3's LIST at 0.005 USD per 1,000, us-east-1, November 2026).
    """
    if sentinel or known.get("state") != "arriving":
        return True
    return now - float(known["looked_at"]) >= (_pages(known) - 1) * _ARRIVING_SECONDS_PER_PAGE


def look_again_on_sweep(known: Mapping[str, Any], *, now: float) -> bool:
    """Whether a sweep looks at a dataset: until it has landed each time, for a day after that now and then.

    An object that came late and whose event was lost is counted then; later, only events count.
    """
    if known.get("state") != "landed":
        return True
    landed_for, looked = now - float(known["landed_at"]), now - float(known["looked_at"])
    return landed_for < _LATE_OBJECTS_SECONDS and looked >= (_pages(known) - 1) * _LANDED_SECONDS_PER_PAGE


def waits_for_recipe(known: Mapping[str, Any]) -> bool:
    """Whether a dataset has landed and its recipe has not ended."""
    return known["state"] == "landed" and "processing_at" not in known


def _pages(known: Mapping[str, Any]) -> int:
    return int(known["objects"]) // _PAGE + 1
