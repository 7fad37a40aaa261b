"""Caps: how much of each is spent, and a higher limit for a time, with a reason."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..operate.records import Item, Records
from ..paid import MICRO
from .spending import ALWAYS

KIND = "cap"
_MONTH = "month"


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """One limit. scope: the cap's name, and #PROJECT where each has its own. raised: the record of who raised it."""

    scope: str
    hard: bool
    period: str
    limit_usd: float
    spent_usd: float
    raised: Mapping[str, Any] | None = None

    @property
    def left_usd(self) -> float:
        """What is not spent; running jobs are not asked."""
        return max(0.0, self.limit_usd - self.spent_usd)


def limits(
    caps: Iterable[Mapping[str, Any]], totals: Iterable[Item], raised: Iterable[Item], *, month: str, now: float
) -> Iterator[Limit]:
    """Of each cap of the manifest, as hooks and head node count."""
    spent = {str(item["sk"]): int(item.get("usd_micro", 0)) for item in totals}
    standing = {str(item["sk"]): item for item in raised if float(item["until"]) > now}
    for cap in caps:
        period = month if cap["period"] == _MONTH else ALWAYS
        head = f"{period}#project#"
        of_it = {
            name.removeprefix(head): micro
            for name, micro in spent.items()
            if name.startswith(head) and counts(cap, name.removeprefix(head))
        }
        shares = sorted(of_it.items()) if cap["each"] else [("", sum(of_it.values()))]
        for project, micro in shares:
            scope = f"{cap['name']}#{project}" if cap["each"] else str(cap["name"])
            by = standing.get(scope)
            limit = max(int(cap["usd_micro"]), int(by["usd_micro"]) if by else 0)
            yield Limit(
                scope=scope,
                hard=bool(cap["hard"]),
                period=period,
                limit_usd=limit / MICRO,
                spent_usd=micro / MICRO,
                raised=by,
            )


def counts(cap: Mapping[str, Any], project: str) -> bool:
    """Whether jobs of a project count in a cap."""
    return not cap["projects"] or any(fnmatch.fnmatchcase(project, pattern) for pattern in cap["projects"])


def wrong_scope(caps: Iterable[Mapping[str, Any]], name: str, project: str | None) -> str:
    """Why a cap cannot be raised by these words; empty when it can."""
    by_name = {str(cap["name"]): cap for cap in caps}
    if name not in by_name:
        names = ", ".join(sorted(by_name)) or "none: section caps of the configuration file"
        return f"there is no cap {name!r}; caps are {names}"
    cap = by_name[name]
    if cap["each"] and project is None:
        return f"cap {name} has a limit for each project: say which with --project"
    if not cap["each"] and project is not None:
        return f"cap {name} has one limit for all its projects: leave out --project"
    if project is not None and not counts(cap, project):
        return f"cap {name} does not count project {project!r}; it counts {', '.join(cap['projects'])}"
    return ""


def raise_limit(
    records: Records, scope: str, *, usd: float, until: int, by: str, reason: str, now: int
) -> dict[str, Any]:
    """Write a higher limit down; a limit that is lower than the cap's own changes nothing. Errors: Failed."""
    item = {
        "pk": KIND,
        "sk": scope,
        "usd_micro": round(usd * MICRO),
        "until": until,
        "at": now,
        "by": by,
        "reason": reason,
    }
    # Written whatever was there: the last word counts.
    records.put_if(
        item,
        condition="attribute_not_exists(#pk) OR #at <= :now",
        names={"#pk": "pk", "#at": "at"},
        values={":now": now},
    )
    return item
