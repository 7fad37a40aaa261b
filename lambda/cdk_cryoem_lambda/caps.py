"""Decisions about caps: how much of each is spent, and what people are to be told. Hard ones are kept by the head node."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .meter import ALWAYS

_MONTH = "month"


@dataclass(frozen=True)
class Cap:
    """One cap of the manifest. projects: patterns of folders, none for every job. Money in millionths of a dollar."""

    name: str
    limit: int
    projects: tuple[str, ...]
    each: bool
    period: str
    hard: bool

    @classmethod
    def parse(cls, entry: Mapping[str, Any]) -> Cap:
        """From one entry of the manifest."""
        return cls(
            name=str(entry["name"]),
            limit=int(entry["usd_micro"]),
            projects=tuple(map(str, entry["projects"])),
            each=bool(entry["each"]),
            period=str(entry["period"]),
            hard=bool(entry["hard"]),
        )


@dataclass(frozen=True)
class Spent:
    """What was spent of one limit. project: whose limit it is, where each has its own; else empty."""

    cap: Cap
    project: str
    period: str
    micro_usd: int
    limit: int

    @property
    def scope(self) -> str:
        """The cap's name, and the project's where each has its own limit: what a raised limit is written down under."""
        return f"{self.cap.name}#{self.project}" if self.cap.each else self.cap.name

    @property
    def level(self) -> Literal[0, 80, 100]:
        """People are told when so much of it is spent, in percent."""
        if self.micro_usd >= self.limit:
            return 100
        return 80 if self.micro_usd * 100 >= self.limit * 80 else 0


def spent(caps: Iterable[Cap], totals: Mapping[str, int], *, raised: Mapping[str, int], month: str) -> Iterator[Spent]:
    """Each limit and what was spent of it. totals: by the meter's names. raised: limits by scope that somebody has raised."""
    for cap in caps:
        period = month if cap.period == _MONTH else ALWAYS
        head = f"{period}#project#"
        by_project = {
            name.removeprefix(head): micro
            for name, micro in totals.items()
            if name.startswith(head) and _counts(cap, name.removeprefix(head))
        }
        shared = sum(by_project.values())
        for project, micro in sorted(by_project.items()) if cap.each else [("", shared)]:
            scope = f"{cap.name}#{project}" if cap.each else cap.name
            limit = max(cap.limit, raised.get(scope, 0))
            yield Spent(cap=cap, project=project, period=period, micro_usd=micro, limit=limit)


def _counts(cap: Cap, project: str) -> bool:
    return not cap.projects or any(fnmatch.fnmatchcase(project, pattern) for pattern in cap.projects)
