"""How many minutes each step of a dataset takes on p4d.24xlarge: as published, or scaled from what is published. Pure.

A dataset that is not published is scaled from every published one by the step's law: motion correction grows with the gigabytes
of movies, the other steps before classification with the movies, classification and ab-initio reconstruction with the
particles (their images are made small first), refinement with the particles times the square of their box. The least, the
median and the greatest of what comes out are the range. These laws are assumptions.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from .calibration import Dataset, Law, Step, datasets, steps

UNIT = "A100-40GB"
"""The GPU model that published minutes are of."""
LAWS: Mapping[Law, str] = {
    "gb": "the gigabytes of movies",
    "movies": "the movies",
    "particles": "the particles",
    "voxels": "the particles x the square of their box",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Range:
    """What is most likely, and the least and the most that it may be."""

    low: float
    likely: float
    high: float

    @classmethod
    def of(cls, value: float) -> Self:
        """A number that is known."""
        return cls(low=value, likely=value, high=value)

    @classmethod
    def sum(cls, parts: Iterable[Range]) -> Self:
        """All low, all likely or all high at once."""
        every = list(parts)
        return cls(
            low=sum(part.low for part in every),
            likely=sum(part.likely for part in every),
            high=sum(part.high for part in every),
        )

    def __add__(self, other: Range) -> Range:
        return Range(low=self.low + other.low, likely=self.likely + other.likely, high=self.high + other.high)

    def __mul__(self, factor: float) -> Range:
        return Range(low=self.low * factor, likely=self.likely * factor, high=self.high * factor)

    @property
    def exact(self) -> bool:
        """Whether there is no doubt in it."""
        return self.low == self.high


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """A step of one dataset: its minutes on as many GPUs of a model as it uses; whether they are scaled from other datasets."""

    step: Step
    minutes: Range
    scaled: bool
    gpu_model: str = UNIT


def published(dataset: Dataset) -> Dataset | None:
    """The published dataset that it is, by its name and sizes; None if it is not one."""
    known = datasets().get(dataset.name)
    return known if known == dataset else None


def work(dataset: Dataset) -> Sequence[Work]:
    """The steps that a dataset needs: of a published one those that it took, of others all of them."""
    if published(dataset) is not None:
        return [
            Work(step=step, minutes=Range.of(step.minutes[dataset.name]), scaled=False)
            for step in steps()
            if step.minutes[dataset.name]
        ]
    return [Work(step=step, minutes=_scaled(step, dataset), scaled=True) for step in steps()]


def _scaled(step: Step, dataset: Dataset) -> Range:
    size = quantity(step.law, dataset)
    found = [minutes * size / quantity(step.law, datasets()[name]) for name, minutes in step.minutes.items() if minutes]
    return Range(low=min(found), likely=statistics.median(found), high=max(found))


def quantity(law: Law, dataset: Dataset) -> float:
    """What the minutes of a step grow with."""
    if law == "gb":
        return dataset.gb
    if law == "movies":
        return dataset.movies
    return dataset.particles * (dataset.box**2 if law == "voxels" else 1)
