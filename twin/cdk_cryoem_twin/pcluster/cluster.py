"""What the provider made of a ClusterConfiguration."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from ..places import Places


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """The cluster of this twin: its name, head node, the head node's role, and its configuration."""

    name: str
    instance_id: str
    role_arn: str
    configuration: dict[str, Any]

    @property
    def file_system_id(self) -> str:
        """The FSx file system that it mounts at /fsx."""
        for storage in self.configuration["SharedStorage"]:
            if storage["StorageType"] == "FsxLustre":
                return str(storage["FsxLustreSettings"]["FileSystemId"])
        raise ValueError("the configuration names no FSx file system")

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
