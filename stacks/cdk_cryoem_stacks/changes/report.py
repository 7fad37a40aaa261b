"""The differences for people and for programs."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence

from .effect import Change, Effect
from .templates import MADE_ANEW, StackDiff, State, worst
from .values import show

NEEDS_YOU = 3
"""Exit status when something is left behind, cut off, interrupted, stopped or replaced, or is protected less."""
_WIDTH = 118
_EFFECT_WIDTH = max(len(effect) for effect in Effect) + 2


def exit_status(diffs: list[StackDiff]) -> int:
    """0 when nothing changes or everything is live."""
    effect = worst(diffs)
    return NEEDS_YOU if effect is not None and effect.needs_you else 0


def as_json(diffs: list[StackDiff], notes: Sequence[str]) -> str:
    """One JSON document; values are those of the templates."""
    effect = worst(diffs)
    document = {
        "stacks": [
            {
                "name": diff.name,
                "state": diff.state.name.lower(),
                "changes": [
                    {
                        "path": change.path,
                        "setting": change.setting or None,
                        "old": change.old,
                        "new": change.new,
                        "effect": change.effect.name.lower(),
                        "what_to_do": change.what_to_do or None,
                    }
                    for change in diff.changes
                ],
            }
            for diff in diffs
        ],
        "notes": list(notes),
        "worst": effect.name.lower() if effect else None,
    }
    return json.dumps(document, indent=2)


def as_text(diffs: list[StackDiff], notes: Sequence[str]) -> str:
    """A table for each stack, what to do, and the worst effect in the last line."""
    advice: list[str] = []
    lines: list[str] = []
    for diff in diffs:
        lines.append(f"{diff.name}: {diff.state}")
        lines += [f"  {line}" for line in _table(diff.changes, advice)]
    if advice:
        lines += ["", "What to do, and what is lost and kept:"]
        for number, text in enumerate(advice, start=1):
            lines += _numbered(number, text)
    lines += ["", *notes] if notes else []
    return "\n".join([*lines, "", _last(diffs)])


def _table(changes: Sequence[Change], advice: list[str]) -> Iterator[str]:
    tags = [change for change in changes if _is_tag(change)]
    follow = [change for change in changes if _follows(change)]
    for change in changes:
        if change in tags or change in follow:
            continue
        text = f"{change.effect:<{_EFFECT_WIDTH}}{change.setting or change.path}: {_values(change)}"
        if change.what_to_do:
            if change.what_to_do not in advice:
                advice.append(change.what_to_do)
            text += f"  ({advice.index(change.what_to_do) + 1})"
        yield text
        if change.setting and change.setting != change.path:
            yield f"{'':<{_EFFECT_WIDTH}}{change.path}"
    for kind, its in (("name what is made anew", follow), ("have other tags", tags)):
        if its:
            resources = len({change.path.partition(".")[0] for change in its})
            yield f"{Effect.LIVE:<{_EFFECT_WIDTH}}{resources} {'resources' if resources > 1 else 'resource'}: {kind}"


def _is_tag(change: Change) -> bool:
    """Tags sit on nearly everything: one line for all of them, unless they do more than be there."""
    inside = change.path.partition(".")[2]
    return change.effect is Effect.LIVE and inside.startswith(("Tags", "HostedZoneTags")) and not change.setting


def _follows(change: Change) -> bool:
    """Whether it only points to what takes another's place."""
    return change.effect is Effect.LIVE and not change.setting and MADE_ANEW in json.dumps(change.new)


def _values(change: Change) -> str:
    if change.old is None:
        return f"comes ({show(change.new)})"
    if change.new is None:
        return f"goes ({show(change.old)})"
    return f"{show(change.old)} -> {show(change.new)}"


def _numbered(number: int, text: str) -> Iterator[str]:
    first, *rest = text.splitlines()
    head = f"  ({number}) "
    yield from textwrap.wrap(first, _WIDTH, initial_indent=head, subsequent_indent=" " * len(head))
    yield from (f"{' ' * len(head)}{line}" for line in rest)


def _last(diffs: list[StackDiff]) -> str:
    effect = worst(diffs)
    if effect is not None:
        return f"The worst of it: {effect}"
    states = {diff.state for diff in diffs}
    if states == {State.CREATED}:
        return "Nothing of it is deployed: everything would be created"
    return "Nothing that is deployed changes"
