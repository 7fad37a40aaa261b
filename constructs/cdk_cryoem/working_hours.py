"""Hours of the week in which people work, in their own time zone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from zoneinfo import ZoneInfo, available_timezones

from .problems import Problem, known

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_TIME = r"([01]\d|2[0-3]):[0-5]\d|24:00"


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkingHours:
    """Days of the week, and the time of day from `start` until before `end`, in a time zone of the IANA database.

    Errors: CryoEmError of whatever takes it, with all problems.
    """

    days: tuple[str, ...] = DAYS[:5]
    start: str = "09:00"
    end: str = "19:00"
    time_zone: str = "UTC"

    def document(self) -> dict[str, object]:
        """As the hooks read it."""
        return {"days": list(self.days), "from": self.start, "to": self.end, "time_zone": self.time_zone}

    def text(self) -> str:
        """The document as JSON, for an environment variable."""
        return json.dumps(self.document(), separators=(",", ":"))


def working_hours_problems(hours: WorkingHours) -> Iterator[Problem]:
    """What is wrong with them, in the names of the properties."""
    wrong = [day for day in hours.days if day not in DAYS]
    if wrong or not hours.days:
        yield Problem(property="days", value=list(hours.days), allowed=f"one or more of {', '.join(DAYS)}")
    times = {"start": hours.start, "end": hours.end}
    bad = {name: time for name, time in times.items() if known(time) and not re.fullmatch(_TIME, time)}
    for name, time in bad.items():
        yield Problem(property=name, value=time, allowed="a time of day like 09:00, in quotes")
    if not bad and hours.start >= hours.end:
        yield Problem(
            property="end",
            value=hours.end,
            allowed=f"a time after start ({hours.start})",
            fix="Hours that pass midnight cannot be said; 24:00 is the end of a day",
        )
    if known(hours.time_zone) and not _is_zone(hours.time_zone):
        yield Problem(
            property="time_zone",
            value=hours.time_zone,
            allowed="a time zone of the IANA database, such as Europe/Vienna or UTC",
        )


def _is_zone(name: str) -> bool:
    if not available_timezones():
        # A machine without the database cannot tell.
        return bool(re.fullmatch(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*", name))
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        return False
    return True
