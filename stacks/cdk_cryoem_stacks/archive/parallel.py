"""The same for thousands of objects: many at once, with progress, all tried, and what failed told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

from ..operate.ask import Failed
from ..operate.find import S3_CONNECTIONS
from ..operate.words import listed, several

_T = TypeVar("_T")
_R = TypeVar("_R")
_SHOWN = 3


def each(
    things: Sequence[_T],
    act: Callable[[_T], _R],
    *,
    name: Callable[[_T], str],
    progress: Callable[[int, int], None],
    most_at_once: int = S3_CONNECTIONS,
) -> list[_R]:
    """What `act` made of each thing, in no order. progress: called with how many are done, and of how many.

    The first is tried alone: what is wrong with the credentials is said once. Of the others none is kept from its turn by
    one that fails. Errors: Failed, with examples, after all were tried; doing it again does what is missing.
    """
    if not things:
        return []
    made = [act(things[0])]
    failed: list[str] = []
    progress(1, len(things))
    pool = ThreadPoolExecutor(max_workers=most_at_once)
    try:
        asked = {pool.submit(act, thing): thing for thing in things[1:]}
        for done, future in enumerate(as_completed(asked), start=2):
            try:
                made.append(future.result())
            except Failed as problem:
                failed.append(f"{name(asked[future])!r} ({problem})")
            progress(done, len(things))
    finally:
        # Who interrupts need not wait for thousands that have not begun.
        pool.shutdown(cancel_futures=True)
    if failed:
        raise Failed(
            f"{several(len(failed), 'file')} of {len(things)} failed: {listed(failed, most=_SHOWN)}. Run it again: it goes"
            " on where it ended"
        )
    return made
