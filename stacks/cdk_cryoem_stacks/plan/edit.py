"""What a plan changes in `cryoem.yaml`: lanes and stages, with the comments and everything else kept."""

from __future__ import annotations

import difflib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from cdk_cryoem import InstanceShape, Lane, instance_shapes
from cdk_cryoem.stages import stage_lanes

from ..config import Config
from .choose import Chosen, Prices
from .nodes import fits

_INDENTS = ((2, 4, 2), (2, 2, 0), (4, 6, 4), (4, 4, 0))
"""Mapping, sequence, offset: how people indent YAML. The one that changes least is taken."""
_DEAREST = 2.0
"""How many times as dear a second type of a lane may be, for want of capacity, before one type alone is better."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What is to change: types of lanes (new ones with their GPUs), and the lanes of stages."""

    types: Mapping[str, Sequence[str]]
    new: Mapping[str, int]
    stages: Mapping[str, str]

    def __bool__(self) -> bool:
        return bool(self.types or self.stages)

    def __str__(self) -> str:
        return "; ".join(self.sentences())

    def single(self) -> list[str]:
        """Lanes with one type alone, which a lack of capacity closes."""
        return [name for name, types in self.types.items() if len(types) == 1]

    def sentences(self) -> Iterator[str]:
        """Each change as a page says it."""
        for name, types in self.types.items():
            what = f"new lane {name!r} of {self.new[name]} GPUs" if name in self.new else f"lane {name!r}"
            yield f"{what}: instance_types: [{', '.join(types)}]"
        for stage, lane in self.stages.items():
            yield f"stages: {{{stage}: {lane}}}"


def change(chosen: Chosen, config: Config, prices: Prices, *, box: int) -> Change:
    """What the file would have to say for a plan to be what it describes."""
    lanes = {lane.name: lane for lane in config.all_lanes()}
    types: dict[str, Sequence[str]] = {}
    new: dict[str, int] = {}
    for placed in chosen:
        name, shape = placed.node.lane, placed.node.shape
        lane = lanes.get(name)
        if lane is None:
            new[name] = shape.gpus
        if name not in types and (lane is None or lane.instance_types[0] != shape.instance_type):
            steps = [each for each in chosen if each.node.lane == name]
            types[name] = _types(shape, lane, steps, prices, box)
    after = [lane for lane in lanes.values() if lane.name not in types]
    after += [
        Lane(name=name, instance_types=types[name], gpus=instance_shapes()[types[name][0]].gpus) for name in types
    ]
    by_stage = {placed.work.step.stage: placed.node.lane for placed in chosen}
    order = [*lanes, *new]
    found = stage_lanes(sorted(after, key=lambda lane: order.index(lane.name)), config.stages)
    return Change(
        types=types, new=new, stages={stage: lane for stage, lane in by_stage.items() if found[stage] != lane}
    )


def _types(
    shape: InstanceShape, lane: Lane | None, steps: Chosen | Sequence[Any], prices: Prices, box: int
) -> Sequence[str]:
    """The type first; of the lane's others those of the same size. If none is, the cheapest other one that does, for want of capacity."""

    def like(other: InstanceShape) -> bool:
        return other != shape and (other.gpus, other.vcpus) == (shape.gpus, shape.vcpus)

    shapes = instance_shapes()
    kept = [name for name in (lane.instance_types if lane else ()) if like(shapes[name])]
    if kept or (lane is not None and lane.capacity_reservation_id):
        return [shape.instance_type, *kept]
    others = [each for each in shapes.values() if like(each) and all(fits(s.work.step, each, box=box) for s in steps)]
    by_price = sorted(
        (float(prices.table.ec2(name, prices.region).usd), name) for name in (o.instance_type for o in others)
    )
    dearest = _DEAREST * float(prices.table.ec2(shape.instance_type, prices.region).usd)
    return [shape.instance_type, *(name for usd, name in by_price[:1] if usd <= dearest)]


def edited(text: str, wanted: Change, config: Config) -> str:
    """The text of a configuration file with a change in it."""

    def candidates() -> Iterator[str]:
        for indent in _INDENTS:
            yaml = _yaml(indent)
            document = yaml.load(text)
            _apply(document, wanted, config)
            out = io.StringIO()
            yaml.dump(document, out)
            yield out.getvalue()

    before = text.splitlines()
    return min(candidates(), key=lambda after: sum(1 for _ in _changed(before, after.splitlines())))


def _changed(before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    return (line for line in difflib.ndiff(before, after) if line[:1] in "+-")


def _yaml(indent: tuple[int, int, int]) -> YAML:
    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = 4096
    mapping, sequence, offset = indent
    yaml.indent(mapping=mapping, sequence=sequence, offset=offset)
    return yaml


def _apply(document: CommentedMap, wanted: Change, config: Config) -> None:
    if wanted.types and "lanes" not in document:
        document["lanes"] = CommentedSeq(
            [
                _row(
                    {
                        "name": lane.name,
                        "instance_types": list(lane.instance_types),
                        "gpus": lane.gpus,
                        "max_nodes": lane.max_nodes,
                    }
                )
                for lane in config.lanes
            ]
        )
    for name, types in wanted.types.items():
        row = next((lane for lane in document["lanes"] if lane["name"] == name), None)
        if row is None:
            document["lanes"].append(_row({"name": name, "instance_types": list(types), "gpus": wanted.new[name]}))
            continue
        listed = row["instance_types"]
        listed[:] = list(types)
    if wanted.stages:
        stages = document.setdefault("stages", CommentedMap())
        stages.update(wanted.stages)


def _row(values: Mapping[str, Any]) -> CommentedMap:
    row = CommentedMap()
    for key, value in values.items():
        row[key] = value
        if isinstance(value, list):
            row[key] = CommentedSeq(value)
            row[key].fa.set_flow_style()
    row.fa.set_flow_style()
    return row


def difference(before: str, after: str, file: str) -> str:
    """The two texts beside each other, as a patch."""
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), fromfile=file, tofile=f"{file} (planned)", lineterm="", n=1
    )
    return "\n".join(lines)


def write(path: Path, text: str) -> None:
    """Put a text in place of a file in one step, if it is a right configuration. Errors: ConfigError, OSError."""
    from ..config_file import load

    beside = path.with_name(f".{path.name}.planned")
    beside.write_text(text, encoding="utf-8")
    try:
        load(beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
