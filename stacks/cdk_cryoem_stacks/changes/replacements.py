"""Which properties of a CloudFormation resource cannot change in place, and what goes when one does.

The table is made by tools/resource_updates.py from AWS's own sources.
"""

from __future__ import annotations

import csv
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .effect import Effect
from .values import is_reference, key_text, same

_TABLE = Path(__file__).parents[1] / "data" / "resource_updates.csv"
_STORAGE = (
    "AWS::FSx::FileSystem",
    "AWS::S3::Bucket",
    "AWS::KMS::Key",
    "AWS::DynamoDB::Table",
    "AWS::DynamoDB::GlobalTable",
    "AWS::EC2::Volume",
)
GONE: Mapping[str, Effect] = {
    **dict.fromkeys(_STORAGE, Effect.REPLACES_STORAGE),
    "AWS::PCS::Cluster": Effect.REPLACES_CLUSTER,
    "Custom::PclusterCluster": Effect.REPLACES_CLUSTER,
    "AWS::EC2::Instance": Effect.REPLACES_HEAD_NODE,
    "AWS::PCS::ComputeNodeGroup": Effect.REPLACES_NODES,
    "AWS::PCS::Queue": Effect.REPLACES_NODES,
}
"""What it means when a resource of a type goes; every other type holds nothing."""
# What EC2 does with an instance whose root is a volume (EC2 user guide, CloudFormation's AWS::EC2::Instance).
_INSTANCE: Mapping[str, Effect] = {
    "InstanceType": Effect.INTERRUPTS,
    "UserData": Effect.INTERRUPTS,
    "EbsOptimized": Effect.INTERRUPTS,
    "SecurityGroupIds": Effect.LIVE,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One property of a resource that differs; the path has dots, and keys or numbers of items in brackets."""

    path: str
    old: Any
    new: Any


@functools.cache
def replacements() -> Mapping[str, Mapping[str, str]]:
    """Per type: the properties that cannot change in place, and who says so (schema, cdk, maybe)."""
    lines = [line for line in _TABLE.read_text().splitlines() if not line.startswith("#")]
    table: dict[str, dict[str, str]] = {}
    for row in csv.DictReader(lines):
        its = table.setdefault(row["type"], {})
        if row["property"]:
            its[row["property"]] = row["says"]
    return table


def differences(old: Any, new: Any, path: str = "") -> Iterator[Difference]:
    """The properties that differ, as deep as both sides go."""
    if same(old, new):
        return
    if _is_plain(old) and _is_plain(new):
        for name in dict.fromkeys([*new, *old]):
            yield from differences(old.get(name), new.get(name), f"{path}.{name}" if path else str(name))
    elif isinstance(old, list) and isinstance(new, list) and (keys := _keys(old, new)):
        olds, news = (dict(zip(names, items, strict=True)) for names, items in zip(keys, (old, new), strict=True))
        inner = [
            difference
            for name in dict.fromkeys([*news, *olds])
            for difference in differences(olds.get(name), news.get(name), f"{path}[{name}]")
        ]
        # Nothing in them differs: then it is their order.
        yield from inner or [Difference(path=path, old=list(olds), new=list(news))]
    else:
        yield Difference(path=path, old=old, new=new)


def _is_plain(value: Any) -> bool:
    return isinstance(value, Mapping) and not is_reference(value)


def _keys(*sides: Sequence[Any]) -> list[list[str]]:
    """The names of the items, where all have one of their own."""
    for name in ("Name", "name", "Key"):
        found = [
            [key_text(item[name]) for item in items if isinstance(item, Mapping) and item.get(name)] for items in sides
        ]
        if all(len(set(names)) == len(items) for names, items in zip(found, sides, strict=True)):
            return found
    if len({len(items) for items in sides}) == 1:
        return [[str(number) for number in range(len(items))] for items in sides]
    return []


def effect_in_place(kind: str, difference: Difference) -> tuple[Effect, str]:
    """What a differing property of a type does, and which source says so where it replaces the resource."""
    if kind not in replacements():
        return Effect.LIVE, "unknown"
    steps = re.sub(r"\[[^\]]*\]", ".*", difference.path).split(".")
    for wanted, says in replacements()[kind].items():
        if not _touches(difference, steps, wanted.split("/")):
            continue
        if kind == "AWS::EC2::Instance" and says == "maybe" and wanted in _INSTANCE:
            return _INSTANCE[wanted], ""
        return GONE.get(kind, Effect.REMADE), says
    return Effect.LIVE, ""


def _touches(difference: Difference, steps: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether a difference is at, below, or (with what is there) above a property."""
    if list(steps[: len(wanted)]) == list(wanted):
        return True
    if list(wanted[: len(steps)]) != list(steps):
        return False
    old, new = difference.old, difference.new
    for step in wanted[len(steps) :]:
        if step == "*":
            return True
        old, new = (side.get(step) if isinstance(side, Mapping) else None for side in (old, new))
    return not same(old, new)
