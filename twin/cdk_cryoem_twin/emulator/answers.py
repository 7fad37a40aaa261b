"""Answers that are held back for a while: who asked is then between the effect of a call and its own record of it."""

from __future__ import annotations

import asyncio

from .. import faults
from ..places import places
from .extension import after_each_call


async def _held(service: str, operation: str) -> None:
    held = faults.withheld(places(), service, operation) if operation else None
    while held is not None and held.exists():
        await asyncio.sleep(0.02)


def register() -> None:
    """Have every call looked at. Last of all, so that it includes the services that the twin adds."""
    after_each_call(_held)
