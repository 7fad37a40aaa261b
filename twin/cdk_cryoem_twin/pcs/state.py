"""What AWS Parallel Computing Service was told: its clusters' properties, and where their logs go."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from ..places import Places


@dataclass(kw_only=True, slots=True)
class PcsState:
    """Properties as CloudFormation gave them, by id. deliveries: log group of each log type."""

    clusters: dict[str, dict[str, Any]] = field(default_factory=dict)
    node_groups: dict[str, dict[str, Any]] = field(default_factory=dict)
    queues: dict[str, dict[str, Any]] = field(default_factory=dict)
    deliveries: dict[str, str] = field(default_factory=dict)

    def save(self, places: Places) -> None:
        """Write it down, whole or not at all."""
        draft = places.pcs_file.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(self), indent=1))
        draft.rename(places.pcs_file)

    @classmethod
    def load(cls, places: Places) -> PcsState:
        """What was told so far."""
        return cls(**json.loads(places.pcs_file.read_text())) if places.pcs_file.exists() else cls()
