"""Hours of the week in which people work, in their own time zone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True)
class WorkingHours:
    """Days of the week, and minutes of the day from `start` until before `end`."""

    days: frozenset[str]
    start: int
    end: int
    zone: tzinfo

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> WorkingHours:
        """From {"days": ["mon"], "from": "09:00", "to": "19:00", "time_zone": "Europe/Vienna"}."""
        return cls(
            days=frozenset(map(str, document["days"])),
            start=_minutes(str(document["from"])),
            end=_minutes(str(document["to"])),
            zone=_zone(str(document["time_zone"])),
        )

    def contain(self, now: float) -> bool:
        """Whether a moment (epoch seconds) is within them."""
        local = datetime.fromtimestamp(now, self.zone)
        return DAYS[local.weekday()] in self.days and self.start <= local.hour * 60 + local.minute < self.end


def _minutes(text: str) -> int:
    hours, _, minutes = text.partition(":")
    return int(hours) * 60 + int(minutes)


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        # The default needs no database.
        return UTC
    try:
        return ZoneInfo(name)
    except ZoneInfoNotFoundError:
        # Lambda's image may have no database of time zones; botocore always comes with dateutil, which has its own.
        from dateutil.zoneinfo import get_zonefile_instance  # type: ignore[import-untyped]

        found: tzinfo | None = get_zonefile_instance().get(name)
        if found is None:
            raise
        return found
