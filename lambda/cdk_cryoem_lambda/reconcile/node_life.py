"""What is paid for: every instance of the cluster is written down, from its launch until it was last seen, or its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import node_life
from ..hints import log
from ..node_life import Look, Sighting
from ..world import World

# Another sweep wrote it down between reading and writing; the next sweep would join the rest anyway.
_TRIES = 4


def instances(w: World) -> list[dict[str, Any]]:
    """All instances of the cluster that EC2 shows, those that are over too."""
    key, value = w.settings.instance_tag
    pages = w.ec2.get_paginator("describe_instances").paginate(Filters=[{"Name": f"tag:{key}", "Values": [value]}])
    return [dict(each) for page in pages for reservation in page["Reservations"] for each in reservation["Instances"]]


def reconcile(w: World, shown: Sequence[Mapping[str, Any]], *, now: float) -> None:
    """Write down what a look says that began at `now`. Right when called twice, late, or in another order."""
    seen = [Sighting.parse(each) for each in shown]
    known = {item["sk"]: item for item in w.records.since(node_life.KIND, now - node_life.LOOKED_BACK_SECONDS)}
    _, manifest = w.manifest()
    lanes = {lane.name: lane for lane in manifest}
    for each in seen:
        before = known[each.name] if each.name in known else w.records.record(node_life.KIND, each.name)
        _note(w, each.name, before, node_life.look_at(each, now=now), seen=each, lanes=lanes)
    for item in node_life.vanished(known.values(), seen, now=now):
        _note(w, item["sk"], item, Look(until=int(item["until"]), over=1, looked_at=now), seen=None, lanes=lanes)


def _note(
    w: World,
    name: str,
    before: Mapping[str, Any] | None,
    look: Look,
    *,
    seen: Sighting | None,
    lanes: Mapping[str, Any],
) -> None:
    for _ in range(_TRIES):
        after = node_life.joined(before or None, look)
        # A life that was over at the last look is written no more, unless there is more to know of it.
        if before and before["over"] and after.over and after.until == before["until"]:
            return
        if seen is None:
            assert before is not None
            fields: dict[str, Any] = {key: value for key, value in before.items() if key not in ("pk", "sk")}
            fields |= {"until": after.until, "over": after.over, "looked_at": after.looked_at}
        else:
            fields = node_life.fields_of(
                seen, after, before=before or None, head_node=w.settings.head_node, lanes=lanes
            )
        stamp = float(before["looked_at"]) if before else None
        if w.records.note_since(node_life.KIND, name, fields=fields, before=stamp):
            return
        before = w.records.record(node_life.KIND, name)
    log.warning("the life of %s was written down by others; the next sweep looks again", name)
