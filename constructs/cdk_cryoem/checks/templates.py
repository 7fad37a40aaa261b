"""The templates of an app, read as one: which resource a value means, across stacks and nested stacks.

Pure: documents in, resources out. What only a deployment knows is `None` everywhere and is judged nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_REFERENCE = re.compile(r"\$\{([^!}][^}]*)\}")


@dataclass(frozen=True, slots=True, eq=False)
class Resource:
    """One resource: template, the path of the template it is in; the rest as the template has it."""

    template: str
    logical_id: str
    document: Mapping[str, Any] = field(repr=False)

    @property
    def type(self) -> str:
        """Its CloudFormation type."""
        return str(self.document.get("Type", ""))

    def get(self, *path: str) -> Any:
        """The value at this path of its properties, or None where there is none or it cannot be read now."""
        value: Any = self.document.get("Properties")
        for key in path:
            if not isinstance(value, Mapping) or intrinsic(value):
                return None
            value = value.get(key)
        return value

    def undecided(self, *path: str) -> bool:
        """Whether a deployment decides what is at this path: an intrinsic function on the way there or at its end."""
        value: Any = self.document.get("Properties")
        for key in path:
            if isinstance(value, Mapping) and intrinsic(value):
                return True
            value = value.get(key) if isinstance(value, Mapping) else None
        return isinstance(value, Mapping) and intrinsic(value)

    def every(self, *path: str) -> list[Any]:
        """The list at this path; empty where there is none or it cannot be read now."""
        value = self.get(*path)
        return list(value) if isinstance(value, list) else []

    @property
    def is_retained(self) -> bool:
        """Whether it stays when its stack goes, and when it is replaced."""
        deletion = self.document.get("DeletionPolicy")
        return deletion in ("Retain", "RetainExceptOnCreate") and self.document.get("UpdateReplacePolicy") == "Retain"


Part = str | Resource | None
"""Of a text: what is written there, the resource whose name or ARN goes there, or None for what is not known."""


class Templates:
    """Every template of an app, by its path."""

    def __init__(self, documents: Mapping[str, Mapping[str, Any]]) -> None:
        self._documents = documents
        self.resources: tuple[Resource, ...] = tuple(
            Resource(path, logical_id, resource)
            for path, document in documents.items()
            for logical_id, resource in document.get("Resources", {}).items()
        )
        self._by_place = {(resource.template, resource.logical_id): resource for resource in self.resources}
        self._exports = dict(self._exported())
        # A stack's template is called after it.
        self._stacks = {re.split(r"[\\/]", path)[-1].removesuffix(".template.json"): path for path in documents}

    def of(self, *types: str) -> Iterator[Resource]:
        """All resources of these types."""
        return (resource for resource in self.resources if resource.type in types)

    def meant(self, owner: Resource, value: Any) -> Resource | None:
        """The resource whose Ref or attribute a value of owner is, also by an import from another stack."""
        return self._meant(owner.template, value)

    def text(self, owner: Resource, value: Any) -> list[Part]:
        """The parts of a text, with the resources it names."""
        return self._text(owner.template, value)

    def _exported(self) -> Iterator[tuple[str, tuple[str, Any]]]:
        for path, document in self._documents.items():
            for output in document.get("Outputs", {}).values():
                name = output.get("Export", {}).get("Name")
                if isinstance(name, str):
                    yield name, (path, output.get("Value"))

    def _meant(self, template: str, value: Any) -> Resource | None:
        match value:
            case {"Ref": str(name)}:
                return self._by_place.get((template, name))
            case {"Fn::GetAtt": [str(name), *_]}:
                return self._by_place.get((template, name))
            case {"Fn::GetAtt": str(name)}:
                return self._by_place.get((template, name.partition(".")[0]))
            case {"Fn::ImportValue": str(name)} if name in self._exports:
                return self._meant(*self._exports[name])
            case {"Fn::GetStackOutput": {"StackName": str(stack), "OutputName": str(output)}} if stack in self._stacks:
                path = self._stacks[stack]
                return self._meant(path, self._documents[path].get("Outputs", {}).get(output, {}).get("Value"))
        return None

    def _text(self, template: str, value: Any) -> list[Part]:
        match value:
            case str():
                return [value]
            case {"Fn::Join": ["", [*parts]]}:
                return [part for each in parts for part in self._text(template, each)]
            case {"Fn::Sub": str(pattern)}:
                return [part for part in self._substituted(template, pattern) if part != ""]
        return [self._meant(template, value)]

    def _substituted(self, template: str, pattern: str) -> Iterator[Part]:
        at = 0
        for found in _REFERENCE.finditer(pattern):
            yield pattern[at : found.start()]
            yield self._by_place.get((template, found[1].partition(".")[0]))
            at = found.end()
        yield pattern[at:]


def intrinsic(value: Mapping[str, Any]) -> bool:
    """Whether a mapping is one of CloudFormation's functions."""
    return len(value) == 1 and next(iter(value)).startswith(("Ref", "Fn::", "Condition"))


def settled(value: object) -> bool:
    """Whether a value is written in the template itself."""
    return isinstance(value, str | int | float | bool)


def number(value: object) -> float | None:
    """A number, also when a template writes it as text."""
    try:
        return float(value) if isinstance(value, str | int | float) else None
    except ValueError:
        return None


def true(value: object) -> bool:
    """A boolean, also when a template writes it as text."""
    return value is True or value == "true"


def words(value: object) -> Sequence[str]:
    """The texts of a list, or a single one."""
    if isinstance(value, str):
        return [value]
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def mappings(value: object) -> list[Mapping[str, Any]]:
    """The mappings of a list."""
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def at(value: Any, *path: str) -> Any:
    """The value at this path below a mapping, or None."""
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
