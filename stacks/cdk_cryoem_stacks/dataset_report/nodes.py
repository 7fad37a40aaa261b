"""Which instance types the nodes of lanes really had: EC2 gives the first of a lane's types that it has. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ..operate.words import listed
from ..paid import HEAD_NODE
from .model import Job, Lane


def seen(jobs: Sequence[Job], lives: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """By lane, the types of the nodes that were on while jobs of it ran, by name."""
    found: dict[str, set[str]] = {}
    for lane in {job.lane for job in jobs if job.started_at is not None}:
        ran = [job for job in jobs if job.lane == lane and job.started_at is not None]
        start, end = min(job.started_at or 0.0 for job in ran), max(job.ended_at for job in ran)
        found[lane] = {
            str(life["instance_type"])
            for life in lives
            if life.get("lane") == lane
            and life.get("kind") != HEAD_NODE
            and life.get("instance_type")
            and float(life.get("from", 0)) < end
            and float(life.get("until", 0)) > start
        }
    return {lane: sorted(types) for lane, types in found.items() if types}


def as_seen(lanes: Sequence[Lane], types: Mapping[str, Sequence[str]]) -> list[Lane]:
    """The lanes, each with the type that all its nodes had where that is one; prices stay those of the lane's first type."""
    return [_as_seen(lane, types.get(lane.name, ())) for lane in lanes]


def _as_seen(lane: Lane, types: Sequence[str]) -> Lane:
    # Brings the CDK with it, which takes seconds.
    from cdk_cryoem.instances import instance_shapes

    shape = instance_shapes().get(types[0]) if len(types) == 1 else None
    if shape is None or shape.instance_type == lane.instance_type:
        return lane
    price = f"as {lane.instance_type}, {lane.price_of}".removesuffix(", ") if lane.instance_type else lane.price_of
    return dataclasses.replace(
        lane, instance_type=shape.instance_type, gpu_model=shape.gpu_model.lower(), price_of=price
    )


def mixed(lanes: Sequence[Lane], types: Mapping[str, Sequence[str]]) -> list[str]:
    """What is not known of lanes whose nodes had several types, in sentences."""
    configured = {lane.name: lane.instance_type for lane in lanes}
    return [
        f"Which job of {lane} had which node: they were {listed(names)}"
        + (f". All are compared as {configured[lane]}." if configured.get(lane) else ".")
        for lane, names in types.items()
        if len(names) > 1
    ]
