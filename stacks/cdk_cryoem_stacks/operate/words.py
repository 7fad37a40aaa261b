"""Times, sizes, numbers and commands as people read them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import datetime, tzinfo


def moment(at: float, *, zone: tzinfo | None = None) -> str:
    """A time in epoch seconds, to the minute. zone: default this machine's."""
    return datetime.fromtimestamp(at).astimezone(zone).strftime("%Y-%m-%d %H:%M %Z")


def span(seconds: float) -> str:
    """How long: 40 s, 12 min, 3 h 07 min, 2 d 4 h."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes = whole // 60
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def size(count: float) -> str:
    """Bytes in decimal units, as disks are sold: 1.9 TB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def several(number: int, one: str, many: str = "") -> str:
    """A number and its noun: 1 job, 2 jobs."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def listed(names: Sequence[str], *, most: int = 5) -> str:
    """Names joined by commas; how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def cryoem(command: str, dataset: str, *options: str) -> str:
    """A command about a dataset, to be typed as it is."""
    # What begins with a dash would be taken for an option.
    words = (
        ["cryoem", command, *options, "--", dataset]
        if dataset.startswith("-")
        else ["cryoem", command, dataset, *options]
    )
    return shlex.join(words)
