"""What a deletion of the storage stack may take with it: what both keys name, and nothing else.

The first key is in the file (`deletion.allowed`), where everybody who reviews a change sees it. The second is on the command
line (`-c cryoem:delete=NAME`), in the hand of who deploys; it names the system, so that a command that is repeated for
another one does nothing there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cdk_cryoem import Problem

from .config_storage import DELETABLE
from .flags import DELETE_CONTEXT


def deletion_problems(*, system: str, allowed: Sequence[str], given: str | None) -> Iterator[Problem]:
    """What is wrong with the second key: it is another system's, or the first is missing."""
    if given is None:
        return
    if given != system:
        yield Problem(
            property=f"-c {DELETE_CONTEXT}",
            value=given,
            allowed=system,
            fix="It has to name the system that loses its data",
        )
    elif not allowed:
        yield Problem(
            property="deletion.allowed",
            value=[],
            allowed=f"some of {', '.join(DELETABLE)}",
            fix=f"-c {DELETE_CONTEXT} is the second key; the first is missing",
        )


def deletable(*, system: str, allowed: Sequence[str], given: str | None) -> frozenset[str]:
    """What the stack may delete: what is allowed when both keys are there."""
    return frozenset(allowed) if given == system else frozenset()


def deletion_warning(*, system: str, allowed: Sequence[str], given: str | None = None) -> str | None:
    """What to say about the keys that are there."""
    named = ", ".join(allowed)
    if not allowed:
        return None
    if given == system:
        return f"both keys are there: once this is deployed, deleting {system}-storage deletes {named}"
    return (
        f"deletion.allowed names {named}, and nothing can be deleted: the second key is missing "
        f"(-c {DELETE_CONTEXT}={system} at a deployment)"
    )
