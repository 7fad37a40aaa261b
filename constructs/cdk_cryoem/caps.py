"""Caps: what a month, a project or a dataset may cost, and whether that is told or kept."""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .lane import Lane
from .problems import Problem, known

_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
_PATTERN_MAX = 100
_MOST = 20
_MICRO = 1_000_000


class Period(enum.StrEnum):
    """Which jobs a cap counts, by when they ended."""

    MONTH = "month"
    """Jobs that ended in the calendar month, UTC."""
    ALWAYS = "always"
    """All jobs there ever were: a grant, or a dataset."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cap:
    """What some jobs may cost together.

    name: lower-case letters, digits and dashes; people read it in the queue. usd: the limit, above 0.
    projects: folders below /fsx/projects it counts, with * for any letters; that of a dataset has the dataset's name.
        Default: every job, also of no project.
    each: every project that matches has this limit for itself. Default: they share it.
    period: month (default) or always.
    hard: kept (default): a job starts only if what was spent, what running jobs may cost until their time limits, and
        what it may cost itself stay within the limit; others are held in the queue with the reason. Nothing that runs is
        stopped. Else people are told at 80 and at 100 %, and nothing is held.

    Costs nothing. Prices: those of the lanes, at list price; docs/caps.md.
    """

    name: str
    usd: float
    projects: Sequence[str] = ()
    each: bool = False
    period: Period = Period.MONTH
    hard: bool = True

    def manifest(self) -> dict[str, object]:
        """As hooks and head node read it."""
        return {
            "name": self.name,
            "usd_micro": round(self.usd * _MICRO),
            "projects": list(self.projects),
            "each": self.each,
            "period": str(self.period),
            "hard": self.hard,
        }


def caps_problems(caps: Sequence[Cap]) -> Iterator[Problem]:
    """What is wrong with caps, as items of a list called caps."""
    if len(caps) > _MOST:
        yield Problem(property="caps", value=f"{len(caps)} caps", allowed=f"{_MOST} at most")
    for index, cap in enumerate(caps):
        for problem in _problems(cap, [other.name for other in caps[:index]]):
            yield problem.under(f"caps[{index}]")


def _problems(cap: Cap, others: Sequence[str]) -> Iterator[Problem]:
    if not _NAME.fullmatch(cap.name):
        yield Problem(
            property="name", value=cap.name, allowed="a lower-case letter, then letters, digits or dashes, 40 at most"
        )
    if cap.name in others:
        yield Problem(property="name", value=cap.name, allowed="every cap has a name of its own")
    if known(cap.usd) and not 0 < cap.usd < math.inf:
        yield Problem(property="usd", value=cap.usd, allowed="above 0")
    for pattern in cap.projects:
        if not 0 < len(pattern) <= _PATTERN_MAX or re.search(r"[\[\]?/\x00-\x1f#]", pattern):
            yield Problem(
                property="projects",
                value=pattern,
                allowed=f"a folder's name, * for any letters, no / ? # [ or ], {_PATTERN_MAX} characters at most",
            )
    if cap.each and not cap.projects:
        yield Problem(
            property="each",
            value=True,
            allowed="with projects",
            fix="projects: ['*'] gives every project its own limit",
        )


def caps_warnings(caps: Sequence[Cap], lanes: Sequence[Lane]) -> Iterator[str]:
    """Hard caps under which a lane can never start a job that fills a node and has the lane's own time limit."""
    for cap in caps:
        for lane in lanes:
            most = lane.usd_per_hour * lane.time_limit_hours
            if cap.hard and most > cap.usd:
                yield (
                    f"cap {cap.name}: a job on a whole node of lane {lane.name} may cost {most:.2f} USD"
                    f" ({lane.time_limit_hours:g} h), above the cap's {cap.usd:.2f} USD: it starts only with a shorter"
                    " time limit. Lower the lane's time_limit_hours"
                )


def records_problems(caps: Sequence[Cap], *, given: bool) -> Iterator[Problem]:
    """Whether those who keep caps are told where spending is written down."""
    if caps and not given:
        yield Problem(
            property="records",
            value=None,
            allowed="the table of records, where there are caps",
            fix="Make a RecordsTable and give its table to LaneHooks too",
        )
