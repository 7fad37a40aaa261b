"""The cluster of this twin: its name, its head node, and what the engine was told."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from .places import Places

PARALLEL_CLUSTER = "parallelcluster"
PCS = "pcs"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """engine: which one made it. file_system_id: what is mounted at /fsx. configuration: ParallelCluster's."""

    engine: str
    name: str
    instance_id: str
    role_arn: str
    file_system_id: str
    configuration: dict[str, Any]

    def save(self, places: Places) -> None:
        """Write it down, whole or not at all."""
        draft = places.cluster_file.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(self), indent=1))
        draft.rename(places.cluster_file)

    @classmethod
    def load(cls, places: Places) -> Cluster:
        """The cluster that was made. Errors: FileNotFoundError when none was."""
        return cls(**json.loads(places.cluster_file.read_text()))

    @classmethod
    def load_if_any(cls, places: Places) -> Cluster | None:
        """The cluster that was made, or None."""
        return cls.load(places) if places.cluster_file.exists() else None
