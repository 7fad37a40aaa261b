"""The tables that plans are made of: how long each step took where it was published, and how fast GPUs are beside each other.

Every number and where it comes from is in `data/*.csv`, assumptions are marked as such there.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_DATA = Path(__file__).parent / "data"
Law = Literal["gb", "movies", "particles", "voxels"]
_LAWS: Mapping[str, Law] = {"gb": "gb", "movies": "movies", "particles": "particles", "voxels": "voxels"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """How fast one GPU is, an A100 with 40 GB being 1: most likely, and at least and at most.

    assumption: whether nobody we know of has measured it. source: where it comes from.
    """

    low: float
    likely: float
    high: float
    assumption: bool
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """What of a dataset decides how long it takes. gb: 10^9 bytes of movies; particles: picked; box: their edge in pixels."""

    name: str
    movies: int
    gb: float
    particles: int
    box: int
    title: str = ""
    source: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One step of processing.

    stage: the library's stage, from which its lane follows. gpus: how many it uses. law: what its minutes grow with.
    vcpus, memory_gib: what it needs of a node for each GPU. minutes: on p4d.24xlarge, by published dataset; 0 where it was
    not needed.
    """

    name: str
    title: str
    stage: str
    gpus: int
    law: Law
    vcpus: int
    memory_gib: int
    minutes: Mapping[str, int]


@functools.cache
def speeds() -> Mapping[str, Speed]:
    """The speed of every GPU model known, by the names of the library's table of instance types."""
    return {
        row["gpu_model"]: Speed(
            low=float(row["low"]),
            likely=float(row["likely"]),
            high=float(row["high"]),
            assumption=row["assumption"] == "yes",
            source=row["source"],
        )
        for row in _rows("speeds.csv")
    }


def speed(gpu_model: str) -> Speed:
    """The speed of one GPU of a model; upper and lower case do not matter. Errors: LookupError naming the models known."""
    for name, known in speeds().items():
        if name.casefold() == gpu_model.casefold():
            return known
    raise LookupError(f"gpu_model: got {gpu_model!r}, allowed: {', '.join(speeds())}")


@functools.cache
def datasets() -> Mapping[str, Dataset]:
    """The published datasets by name."""
    return {
        row["name"]: Dataset(
            name=row["name"],
            title=row["title"],
            movies=int(row["movies"]),
            gb=float(row["gb"]),
            particles=int(row["particles"]),
            box=int(row["box"]),
            source=row["source"],
        )
        for row in _rows("datasets.csv")
    }


@functools.cache
def steps() -> Sequence[Step]:
    """The steps of processing, in their order."""
    return tuple(
        Step(
            name=row["step"],
            title=row["title"],
            stage=row["stage"],
            gpus=int(row["gpus"]),
            law=_LAWS[row["law"]],
            vcpus=int(row["vcpus"]),
            memory_gib=int(row["memory_gib"]),
            minutes={name: int(row[name]) for name in datasets()},
        )
        for row in _rows("steps.csv")
    )


def _rows(file: str) -> Iterator[dict[str, str]]:
    lines = (_DATA / file).read_text(encoding="utf-8").splitlines()
    yield from csv.DictReader(line for line in lines if not line.startswith("#"))
