"""What Slurm is to be, whichever engine asked for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeSet:
    """Nodes of one size in one partition."""

    partition: str
    names: tuple[str, ...]
    cpus: int
    memory_mib: int
    gpus: int
    gpu_model: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Partition:
    """A partition. settings: as in slurm.conf. idle_seconds: its nodes' own idle time; None: the cluster's."""

    name: str
    settings: Mapping[str, str]
    is_default: bool
    idle_seconds: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SlurmSpec:
    """A whole cluster. settings: NAME=VALUE of slurm.conf, later ones go before earlier ones."""

    node_sets: tuple[NodeSet, ...]
    partitions: tuple[Partition, ...]
    idle_seconds: int
    by_memory: bool
    settings: tuple[str, ...]
