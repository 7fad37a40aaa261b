"""Values of templates: what is equal, what is a reference, and how to show it in a line."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

_SHOWN = 60
# Of an asset; its first digits tell it from another.
_HASH = re.compile(r"\b[0-9a-f]{64}\b")


def canonical(value: object) -> object:
    """The value as CloudFormation hands it to a custom resource: text, and nothing where nothing is given."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else str(value)
    if isinstance(value, Mapping):
        return {str(key): canonical(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [canonical(inner) for inner in value]
    return value


def same(old: object, new: object) -> bool:
    """Whether two values are equal but for their types: 4 and "4" are."""
    return canonical(old) == canonical(new)


def is_reference(value: object) -> bool:
    """Whether CloudFormation puts something else here: {"Ref": ...}, {"Fn::...": ...}."""
    if not isinstance(value, Mapping) or len(value) != 1:
        return False
    (name,) = value
    return name == "Ref" or str(name).startswith("Fn::")


def key_text(value: object) -> str:
    """A list item's key as ParallelCluster writes it into a path; for a reference, what it refers to."""
    return show(value) if isinstance(value, Mapping) else str(canonical(value))


def show(value: object, limit: int = _SHOWN) -> str:
    """The value in a few words."""
    text = _HASH.sub(lambda match: f"{match[0][:8]}...", _text(value))
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, Mapping) and is_reference(value):
        ((name, argument),) = value.items()
        if name in ("Ref", "Fn::ImportValue") and isinstance(argument, str):
            return argument
        if name == "Fn::GetAtt" and isinstance(argument, list):
            return ".".join(map(str, argument))
        if name == "Fn::Join" and isinstance(argument, list) and len(argument) == 2 and isinstance(argument[1], list):
            return str(argument[0]).join(map(_text, argument[1]))
        if name == "Fn::Sub":
            return str(argument[0] if isinstance(argument, list) else argument)
    if isinstance(value, Mapping):
        # What names an item of a list stands for all of it.
        for name in ("Name", "InstanceType", "Policy", "Key"):
            if name in value:
                return _text(value[name])
    if isinstance(value, list) and all(isinstance(inner, str | int) for inner in value):
        return ", ".join(str(canonical(inner)) for inner in value)
    found = canonical(value)
    return found if isinstance(found, str) else json.dumps(found)
