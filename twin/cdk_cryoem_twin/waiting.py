"""Waiting on a condition, with a limit and words for when it is not met."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class GaveUp(Exception):
    """A condition was not met in time. Says what was waited for, and where to look."""


def wait_for(look: Callable[[], T], what: str, *, seconds: float, log: Path | None = None, every: float = 0.2) -> T:
    """Look until something true is seen, and return it. Errors: GaveUp."""
    end = time.monotonic() + seconds
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > end:
            where = f"; look into {log}" if log else ""
            raise GaveUp(f"waited {seconds:.0f} s for {what} in vain{where}")
        time.sleep(every)
