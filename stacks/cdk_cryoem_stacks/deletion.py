"""What a deletion of the storage stack may take with it: what both keys name, and nothing else.

The first key is in the file (`deletion.allowed`), where everybody who reviews a change sees it. The second is on the command
line (`-c cryoem:delete=NAME`), in the hand of who deploys; it names the system, so that a command that is repeated for
another one does nothing there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cdk_cryoem import Problem

from .config_storage import DELETABLE
from .flags import DELETE_CONTEXT


@dataclass(frozen=True, kw_only=True, slots=True)
class Keys:
    """The two keys of a system. allowed: the first; given: the second, None when there is none."""

    system: str
    allowed: Sequence[str]
    given: str | None = None

    @property
    def deletable(self) -> frozenset[str]:
        """What the stack may delete: what is allowed when both keys are there."""
        return frozenset(self.allowed) if self.given == self.system else frozenset()

    def problems(self) -> Iterator[Problem]:
        """What is wrong with the second key: it is another system's, or the first is missing."""
        if self.given is None:
            return
        if self.given != self.system:
            yield Problem(
                property=f"-c {DELETE_CONTEXT}",
                value=self.given,
                allowed=self.system,
                fix="It has to name the system that loses its data",
            )
        elif not self.allowed:
            yield Problem(
                property="deletion.allowed",
                value=[],
                allowed=f"some of {', '.join(DELETABLE)}",
                fix=f"-c {DELETE_CONTEXT} is the second key; the first is missing",
            )

    def warning(self) -> str | None:
        """What to say about the keys that are there."""
        if not self.allowed:
            return None
        named = ", ".join(self.allowed)
        if self.deletable:
            return f"both keys are there: once this is deployed, deleting {self.system}-storage deletes {named}"
        return (
            f"deletion.allowed names {named}, and nothing can be deleted: the second key is missing "
            f"(-c {DELETE_CONTEXT}={self.system} at a deployment)"
        )
