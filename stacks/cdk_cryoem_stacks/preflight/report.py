"""The preflight's result, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from ..config import Config
from .check import Group, Level, count

_STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.ERROR: "bold red"}


def show(console: Console, groups: Sequence[Group], *, skipped: str) -> None:
    """A line for each check, what mends it below, and a last line with the counts."""
    for group in groups:
        if not group.checks:
            continue
        console.print(Text(group.title, style="bold"))
        for check in group.checks:
            line = Text("  ").append(f"{check.level:<8}", style=_STYLES[check.level])
            line.append(f"{check.name}: {check.subject}: {check.reason}")
            # Never wrapped: commands and addresses are copied.
            console.print(line, soft_wrap=True)
            if check.fix:
                console.print(Text(f"          -> {check.fix}"), soft_wrap=True)
    if skipped:
        console.print(Text(skipped, style="yellow"), soft_wrap=True)
    console.print(Text(summary(groups), style="bold"), soft_wrap=True)


def summary(groups: Sequence[Group]) -> str:
    """The counts in words."""
    counts = count(groups)

    def several(number: int, what: str) -> str:
        return f"{number} {what}" + ("" if number == 1 else "s")

    errors, warnings = several(counts[Level.ERROR], "error"), several(counts[Level.WARNING], "warning")
    return f"{errors}, {warnings}, {counts[Level.OK]} ok"


def as_json(groups: Sequence[Group], *, file: str, config: Config | None, skipped: str) -> str:
    """One JSON document."""
    checks = [
        {
            "group": group.title,
            "name": check.name,
            "subject": check.subject,
            "level": str(check.level),
            "reason": check.reason,
            "fix": check.fix,
        }
        for group in groups
        for check in group.checks
    ]
    document = {
        "file": file,
        "name": config.name if config else None,
        "region": config.region if config else None,
        "skipped": skipped or None,
        "counts": {str(level): number for level, number in count(groups).items()},
        "checks": checks,
    }
    return json.dumps(document, indent=2)
