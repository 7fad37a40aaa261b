"""What changes when one set of stacks takes the place of another: everything, with what follows from it."""

from __future__ import annotations

import dataclasses
import enum
import json
import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any

from . import advice
from .effect import Change, Effect
from .replacements import GONE
from .resources import Found, Template, resource_changes

MADE_ANEW = " (made anew)"


class State(enum.StrEnum):
    """What becomes of a stack."""

    CREATED = "would be created"
    CHANGED = "changes"
    SAME = "no change"
    LEFT = "not part of the system any more: a deployment leaves it as it is"


@dataclass(frozen=True, kw_only=True, slots=True)
class StackDiff:
    """One stack: what becomes of it, and its changes, worst first."""

    name: str
    state: State
    changes: tuple[Change, ...] = ()


def stack_changes(old: Mapping[str, Template], new: Mapping[str, Template]) -> list[StackDiff]:
    """Every stack of both sides, in the order of the new ones."""
    replaced: Set[tuple[str, str]] = frozenset()
    while True:
        marked = _marked(new, replaced)
        found = {name: resource_changes(old[name], marked[name], stack=name) for name in new if name in old}
        # What refers to something made anew changes too, and may be made anew itself.
        now = {(name, resource) for name, its in found.items() for resource in its.replaced} | replaced
        if now == replaced:
            break
        replaced = now
    diffs = []
    for name in new:
        if name not in old:
            diffs.append(StackDiff(name=name, state=State.CREATED))
            continue
        changes = tuple(sorted(_imported(name, found[name], old), key=lambda change: -change.effect.rank))
        diffs.append(StackDiff(name=name, state=State.CHANGED if changes else State.SAME, changes=changes))
    return [*diffs, *(StackDiff(name=name, state=State.LEFT) for name in old if name not in new)]


def _imported(stack: str, found: Found, old: Mapping[str, Template]) -> Iterator[Change]:
    """The changes, those that replace what other stacks import with a word about it."""
    for change in found.changes:
        resource = change.path.partition(".")[0]
        replaces = resource in found.replaced and change.effect in GONE.values()
        importers = _importers(stack, resource, old) if replaces else []
        if importers:
            yield dataclasses.replace(change, what_to_do=change.what_to_do + advice.imported(importers))
        else:
            yield change


def _importers(stack: str, resource: str, templates: Mapping[str, Template]) -> list[str]:
    """The stacks that import from a resource, those that import most from others first."""
    outputs = (templates[stack].get("Outputs") or {}).values()
    quoted = json.dumps(resource)
    exports = [
        json.dumps(output["Export"]["Name"])
        for output in outputs
        if "Export" in output and quoted in json.dumps(output["Value"])
    ]
    texts = {name: json.dumps(template.get("Resources") or {}) for name, template in templates.items() if name != stack}
    return [name for name, text in reversed(texts.items()) if any(export in text for export in exports)]


def worst(diffs: list[StackDiff]) -> Effect | None:
    """The worst effect of all; None if nothing changes."""
    effects = [change.effect for diff in diffs for change in diff.changes]
    return max(effects, key=lambda effect: effect.rank, default=None)


def _marked(templates: Mapping[str, Template], replaced: Set[tuple[str, str]]) -> dict[str, Template]:
    """The templates, with references to what is made anew made to differ from those to what was there."""
    made = {}
    exports: set[str] = set()
    for name, template in templates.items():
        own = {resource for stack, resource in replaced if stack == name}
        made[name] = _mark(template, own, frozenset())
        for output in (made[name].get("Outputs") or {}).values():
            if "Export" in output and MADE_ANEW in json.dumps(output["Value"]):
                exports.add(output["Export"]["Name"])
    if not exports:
        return made
    # An export of an export is not ours to follow: each of our stacks exports what it makes itself.
    return {name: _mark(template, frozenset(), exports) for name, template in made.items()}


def _mark(node: Any, resources: Set[str], exports: Set[str]) -> Any:
    if isinstance(node, list):
        return [_mark(inner, resources, exports) for inner in node]
    if not isinstance(node, Mapping):
        return node
    if len(node) == 1:
        ((name, argument),) = node.items()
        if name == "Ref" and argument in resources:
            return {name: f"{argument}{MADE_ANEW}"}
        if name == "Fn::GetAtt" and isinstance(argument, list) and argument[0] in resources:
            return {name: [f"{argument[0]}{MADE_ANEW}", *argument[1:]]}
        if name == "Fn::ImportValue" and argument in exports:
            return {name: f"{argument}{MADE_ANEW}"}
        if name == "Fn::Sub" and isinstance(argument, str):
            return {name: re.sub(r"\$\{([A-Za-z0-9]+)", lambda match: _in_text(match, resources), argument)}
    return {key: _mark(inner, resources, exports) for key, inner in node.items()}


def _in_text(match: re.Match[str], resources: Set[str]) -> str:
    return match[0] + MADE_ANEW if match[1] in resources else match[0]
