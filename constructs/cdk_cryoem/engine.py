"""What the rest of the system knows about whatever runs Slurm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_events as events

from .lane import Lane
from .lane_manifest import LaneManifest

JOB_EVENT_SOURCE = "cryoem.slurm"
"""EventBridge source of job events."""
JOB_EVENT_DETAIL_TYPE = "Slurm Job State Change"
"""EventBridge detail type of job events."""


@runtime_checkable
class Engine(Protocol):
    """Lanes in; partition names, head node and job-completion events out."""

    @property
    def cluster_name(self) -> str:
        """Name of the cluster; every job event carries it."""

    @property
    def lanes(self) -> Sequence[Lane]:
        """The lanes it was made with."""

    @property
    def partitions(self) -> Mapping[str, str]:
        """Slurm partition of each lane, by lane name."""

    @property
    def head_node_instance_id(self) -> str:
        """The EC2 instance that Run Command reaches."""

    @property
    def generation(self) -> str:
        """Another one whenever a deployment makes another instance the head node."""

    @property
    def instance_tag(self) -> tuple[str, str]:
        """A tag (key, value) that every EC2 instance of the cluster carries, the head node too."""

    @property
    def event_bus(self) -> events.IEventBus:
        """Where job events (source cryoem.slurm) arrive."""

    @property
    def lane_manifest(self) -> LaneManifest:
        """The lanes as the hooks and the head node read them."""

    def metric_failed_nodes(self) -> cloudwatch.IMetric:
        """How many nodes were wanted and did not come up, in five minutes."""

    def metric_lost_job_records(self) -> cloudwatch.IMetric | None:
        """Finished jobs that could not become events; None where none can be lost."""
