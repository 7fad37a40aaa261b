"""The stacks of one system, together."""

from __future__ import annotations

from dataclasses import dataclass

from .cluster import ClusterStack
from .hooks import HooksStack
from .ingest import IngestStack
from .network import NetworkStack
from .storage import StorageStack


@dataclass(frozen=True, kw_only=True, slots=True)
class Stacks:
    """The stacks of one system, one per lifecycle."""

    network: NetworkStack
    storage: StorageStack
    ingest: IngestStack
    cluster: ClusterStack
    hooks: HooksStack
