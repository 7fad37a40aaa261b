"""What a hook is told by its environment."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass


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
    quiet_minutes: int
    sentinel: str
    recipe: str
    stop_head_node_after_minutes: int

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
            stop_head_node_after_minutes=int(environment["STOP_HEAD_NODE_AFTER_MINUTES"]),
        )
