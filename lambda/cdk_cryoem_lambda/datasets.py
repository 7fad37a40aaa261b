"""Decisions about datasets: pure functions of what was seen."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

DATASETS_PREFIX = "datasets/"
_MOVIE = re.compile(r"\.(mrc|mrcs|tif|tiff|eer)$", re.IGNORECASE)
_KEY = re.compile(rf"{DATASETS_PREFIX}([^/]+)/.+", re.DOTALL)

State = Literal["arriving", "landed"]


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
class Verdict:
    """What a dataset is now, and why; `grown` says that it has more than was written down."""

    state: State
    reason: str
    grown: bool


def dataset_of(key: str) -> str | None:
    """The dataset an object belongs to, or None for an object that belongs to none."""
    match = _KEY.fullmatch(key)
    return match[1] if match else None


def look(objects: Iterable[tuple[str, int, float]], *, sentinel: str) -> Seen | None:
    """Sum up a listing of (key, bytes, time). None when there is nothing."""
    count = movies = size = 0
    first, last, has_sentinel = float("inf"), float("-inf"), False
    for key, length, at in objects:
        name = key.rpartition("/")[2]
        has_sentinel = has_sentinel or (bool(sentinel) and name == sentinel)
        count += 1
        size += length
        movies += bool(_MOVIE.search(name))
        first, last = min(first, at), max(last, at)
    if not count:
        return None
    return Seen(objects=count, movies=movies, bytes=size, first_at=first, last_at=last, sentinel=has_sentinel)


def judge(
    seen: Seen,
    *,
    known_objects: int,
    known_state: State | None,
    now: float,
    quiet_minutes: int,
    empty_transfers: Sequence[float | None],
) -> Verdict:
    """Whether a dataset has landed.

    empty_transfers: for each microscope, when its latest transfer began if that found nothing new, else None. A dataset
    is complete when every microscope has looked again after its last object came, and had nothing more. What has
    landed stays landed.
    """
    grown = seen.objects > known_objects
    if known_state == "landed":
        return Verdict(state="landed", reason="landed before", grown=grown)
    if seen.sentinel:
        return Verdict(state="landed", reason="sentinel", grown=grown)
    if empty_transfers and all(began is not None and began > seen.last_at for began in empty_transfers):
        return Verdict(state="landed", reason="nothing left to transfer", grown=grown)
    if now - seen.last_at >= quiet_minutes * 60:
        return Verdict(state="landed", reason=f"quiet for {quiet_minutes} minutes", grown=grown)
    return Verdict(state="arriving", reason="still arriving", grown=grown)
