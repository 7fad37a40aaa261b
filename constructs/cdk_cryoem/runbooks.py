"""Where an alarm says what to do: one page each, below docs/runbooks."""

from __future__ import annotations

from constructs import Construct

RUNBOOKS_CONTEXT = "cryoem:runbooks"
"""Context key (`cdk deploy -c cryoem:runbooks=https://wiki.example.org/cryoem`): the address below which a facility shows
these pages. Without it alarms name the file in this project."""
_IN_THE_PROJECT = "docs/runbooks"


def with_runbook(scope: Construct, says: str, page: str) -> str:
    """The description of an alarm: what is wrong in a sentence, and where it is written what to do."""
    base = scope.node.try_get_context(RUNBOOKS_CONTEXT)
    return f"{says}. What to do: {str(base).rstrip('/') if base else _IN_THE_PROJECT}/{page}.md"
