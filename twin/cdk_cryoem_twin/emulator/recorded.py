"""CloudFormation types that are only recorded: checked against AWS's own schema, given identifiers and attributes.

The schemas are those that cfn-lint ships, so an unknown or missing property is refused as AWS would.
"""

from __future__ import annotations

import os
from typing import Any

from cfnlint.schema import PROVIDER_SCHEMA_MANAGER

from .extension import Json, account, region, register_type

# How AWS names the resource in its ARN, where that is not the type's own name.
_IN_ARNS = {"LocationNFS": ("location", "loc"), "LocationSMB": ("location", "loc"), "LocationS3": ("location", "loc")}

recorded: dict[str, Json] = {}
"""Properties of what was recorded, by physical id."""


class Recorded:
    """One type, by its schema."""

    def __init__(self, type_name: str) -> None:
        self.type_name = type_name
        self._schema: Json = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", type_name).schema
        self.replacing = [_leaf(pointer) for pointer in self._schema.get("createOnlyProperties", [])]

    def create(self, logical_id: str, props: Json, stack: str) -> tuple[str, Json]:
        """Check, invent what AWS would answer, record."""
        self._check(props)
        attributes = {
            _leaf(pointer).replace("/", "."): self._invent(_leaf(pointer), self._property(pointer))
            for pointer in self._schema.get("readOnlyProperties", [])
        }
        key = _leaf(self._schema["primaryIdentifier"][0])
        physical_id = str(props.get(key) or attributes.get(key) or f"{stack}-{logical_id}-{os.urandom(4).hex()}")
        recorded[physical_id] = {"Type": self.type_name, "Properties": props, "Attributes": attributes}
        return physical_id, attributes

    def update(self, physical_id: str, before: Json, after: Json, stack: str) -> tuple[str, Json]:
        """Check and record the new properties."""
        self._check(after)
        recorded[physical_id]["Properties"] = after
        return physical_id, recorded[physical_id]["Attributes"]

    def delete(self, physical_id: str, props: Json) -> None:
        """Forget it."""
        recorded.pop(physical_id, None)

    def _check(self, props: Json) -> None:
        unknown = sorted(set(props) - set(self._schema["properties"]))
        missing = sorted(set(self._schema.get("required", [])) - set(props))
        if unknown or missing:
            raise ValueError(f"{self.type_name}: unknown properties {unknown}, missing properties {missing}")

    def _property(self, pointer: str) -> Json:
        node: Any = self._schema
        for part in pointer.strip("/").split("/"):
            node = node.get(part, {}) if isinstance(node, dict) else {}
            if "$ref" in node:
                node = self._schema["definitions"][node["$ref"].rsplit("/", 1)[-1]]
        return dict(node)

    def _invent(self, name: str, schema: Json) -> object:
        service, kind = self.type_name.split("::")[1:]
        folder, prefix = _IN_ARNS.get(kind, (kind.lower(), kind.lower()))
        tail = f"{prefix}-{os.urandom(9).hex()[:17]}"
        if name.lower().endswith("arn"):
            return f"arn:aws:{service.lower()}:{region()}:{account()}:{folder}/{tail}"
        if schema.get("enum"):
            return next((v for v in schema["enum"] if str(v).upper() in ("ACTIVE", "AVAILABLE")), schema["enum"][0])
        empty: dict[str, object] = {"array": [], "object": {}, "integer": 0, "boolean": False}
        return empty.get(str(schema.get("type")), tail)


def _leaf(pointer: str) -> str:
    return pointer.removeprefix("/properties/")


def register(*type_names: str) -> None:
    """Record these types."""
    for name in type_names:
        register_type(name, Recorded(name))
