"""One finding of the preflight: what was looked at, how it stands, why, and what mends it."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class Level(enum.StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    """It may be wrong, or could not be looked at."""
    ERROR = "error"
    """The deployment fails, or a part of the system can never work."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One check.

    name: what was looked at, the same for all checks of a kind.
    subject: of what: the property as it is typed in the configuration file, or AWS's name of the thing.
    reason: why it stands so, with the value and what is there. fix: the command, page or change that mends it.
    """

    name: str
    subject: str
    level: Level
    reason: str
    fix: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Checks that are shown together."""

    title: str
    checks: Sequence[Check]


def ok(name: str, subject: str, reason: str) -> Check:
    """It is as it should be."""
    return Check(name=name, subject=subject, level=Level.OK, reason=reason)


def warning(name: str, subject: str, reason: str, fix: str) -> Check:
    """It may be wrong."""
    return Check(name=name, subject=subject, level=Level.WARNING, reason=reason, fix=fix)


def error(name: str, subject: str, reason: str, fix: str) -> Check:
    """It is wrong."""
    return Check(name=name, subject=subject, level=Level.ERROR, reason=reason, fix=fix)


def count(groups: Iterable[Group]) -> dict[Level, int]:
    """How many checks ended how."""
    counts = dict.fromkeys(Level, 0)
    for group in groups:
        for check in group.checks:
            counts[check.level] += 1
    return counts
