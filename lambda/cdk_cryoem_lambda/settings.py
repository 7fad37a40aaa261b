"""What a hook is told by its environment."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass

from .holding import Waiting
from .hours import WorkingHours


@dataclass(frozen=True)
class Queues:
    """The queue of a hook (none of the sweeper), and where its messages go that could not be worked off."""

    name: str
    queue: str
    dead: str


@dataclass(frozen=True)
class Settings:
    """The environment of a hook, typed."""

    records_table: str
    event_bus: str
    cluster: str
    head_node: str
    manifest_parameter: str
    landing_bucket: str
    ingest_tasks: tuple[str, ...]
    slurm_status_document: str
    power_down_document: str
    register_lanes_document: str
    start_processing_document: str
    stop_head_node_document: str
    live_sessions_document: str
    pause_live_session_document: str
    quiet_minutes: int
    sentinel: str
    recipe: str
    stop_head_node_after_minutes: int
    waiting: Waiting | None
    awake: WorkingHours | None
    instance_tag: tuple[str, str]
    system: str
    live_idle_minutes: int
    queues: tuple[Queues, ...]

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read the environment. Errors: KeyError naming the variable that is missing."""
        return cls(
            records_table=environment["RECORDS_TABLE"],
            event_bus=environment["EVENT_BUS"],
            cluster=environment["CLUSTER"],
            head_node=environment["HEAD_NODE"],
            manifest_parameter=environment["MANIFEST_PARAMETER"],
            landing_bucket=environment["LANDING_BUCKET"],
            ingest_tasks=tuple(json.loads(environment["INGEST_TASKS"])),
            slurm_status_document=environment["SLURM_STATUS_DOCUMENT"],
            power_down_document=environment["POWER_DOWN_DOCUMENT"],
            register_lanes_document=environment["REGISTER_LANES_DOCUMENT"],
            start_processing_document=environment["START_PROCESSING_DOCUMENT"],
            quiet_minutes=int(environment["QUIET_MINUTES"]),
            sentinel=environment["SENTINEL"],
            recipe=environment["RECIPE"],
            stop_head_node_document=environment["STOP_HEAD_NODE_DOCUMENT"],
            live_sessions_document=environment["LIVE_SESSIONS_DOCUMENT"],
            pause_live_session_document=environment["PAUSE_LIVE_SESSION_DOCUMENT"],
            stop_head_node_after_minutes=int(environment["STOP_HEAD_NODE_AFTER_MINUTES"]),
            waiting=Waiting.parse(json.loads(environment["WAITING"])) if environment["WAITING"] else None,
            awake=WorkingHours.parse(json.loads(environment["AWAKE"])) if environment["AWAKE"] else None,
            instance_tag=_pair(environment["INSTANCE_TAG"]),
            system=environment["SYSTEM"],
            live_idle_minutes=int(environment["LIVE_IDLE_MINUTES"]),
            queues=tuple(Queues(**entry) for entry in json.loads(environment["QUEUES"])),
        )


def _pair(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    return key, value
