"""What the hooks say on the platform's bus: one class for each kind of event, and how they get there.

The contract is docs/events.md and docs/events.schema.json. Times are epoch seconds, money is USD.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal

SOURCE = "cryoem.platform"
VERSION = 1
# An S3 key has 1024 bytes at most, so no dataset's name is cut; ten events of long texts stay below PutEvents' 256 KB.
_LONGEST_TEXT = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class PlatformEvent:
    """An event of the platform; its fields are those of the event's detail.

    identity: fields that are the same in each copy of one event. It is delivered at least once, and said again by a hook
    that does not know whether it was said. daily: the event has no time of its own, or repeats while what it tells of
    lasts, so that copies of one UTC day are one event.
    """

    detail_type: ClassVar[str]
    identity: ClassVar[tuple[str, ...]]
    daily: ClassVar[bool] = False

    def detail(self, *, cluster: str) -> dict[str, object]:
        """The event's detail. A field that is None is left out, a text is cut after 1024 characters."""
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        told = {name: _plain(value) for name, value in given.items() if value is not None}
        return {"version": VERSION, "cluster": cluster, **told}


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetArriving(PlatformEvent):
    """The first objects of a dataset are there."""

    detail_type = "Dataset Arriving"
    identity = ("dataset", "first_at")
    dataset: str
    first_at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetLanded(PlatformEvent):
    """A dataset is complete."""

    detail_type = "Dataset Landed"
    identity = ("dataset", "landed_at")
    dataset: str
    objects: int
    movies: int
    bytes: int
    reason: str
    landed_at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetGone(PlatformEvent):
    """All objects of a dataset vanished while it arrived."""

    detail_type = "Dataset Gone"
    identity = ("dataset", "objects_before")
    daily = True
    dataset: str
    objects_before: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetSafe(PlatformEvent):
    """Every file of a dataset is in the bucket and verified: it may be purged from the microscope's disk."""

    detail_type = "Dataset Safe"
    identity = ("dataset", "safe_at")
    dataset: str
    files: int
    movies: int
    bytes: int
    manifest: str
    manifest_version: str
    safe_at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetNotSafe(PlatformEvent):
    """A dataset has landed long ago, or was safe, and its receipt is not complete. examples: at most five paths."""

    detail_type = "Dataset Not Safe"
    identity = ("dataset", "since")
    dataset: str
    files: int
    verified: int
    unverified: int
    different: int
    missing: int
    unknown: int
    reasons: tuple[str, ...]
    examples: tuple[str, ...]
    since: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TransferFailed(PlatformEvent):
    """A run of a microscope's transfer failed, or could not copy everything; or no run can begin. since: the first time in a row.

    execution: None when no run began.
    """

    detail_type = "Transfer Failed"
    identity = ("task", "since")
    daily = True
    task: str
    reason: str
    since: float
    execution: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessingEnded(PlatformEvent):
    """A recipe ran on a dataset, failed for good, or was refused."""

    detail_type = "Processing Ended"
    identity = ("dataset", "recipe", "state")
    daily = True
    dataset: str
    recipe: str
    state: Literal["finished", "failed", "refused"]
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class JobFinished(PlatformEvent):
    """A job ended and is written down. usd: None when its lane is unknown."""

    detail_type = "Job Finished"
    identity = ("job_id", "ended_at")
    job_id: str
    name: str
    user: str
    project: str
    lane: str
    state: str
    submitted_at: float
    started_at: float
    ended_at: float
    seconds: float
    nodes: str
    gpus: float
    cpus: float
    usd: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class LanesChanged(PlatformEvent):
    """cryoSPARC and RELION were given other lanes.

    manifest: its fingerprint. lanes: all there are now. set, removed: what was done. kept: no longer wanted, still used
    by jobs. closed: partition down.
    """

    detail_type = "Lanes Changed"
    identity = ("manifest", "lanes", "set", "removed", "kept", "closed")
    daily = True
    manifest: str
    lanes: tuple[str, ...]
    set: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class PoweredDown:
    """A node that was told to power down."""

    name: str
    lane: str
    idle_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class NodesPoweredDown(PlatformEvent):
    """Idle nodes were told to power down."""

    detail_type = "Nodes Powered Down"
    identity = ("nodes",)
    nodes: tuple[PoweredDown, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeFailed(PlatformEvent):
    """A node does not come up, or does not answer any more."""

    detail_type = "Node Failed"
    identity = ("node", "since")
    node: str
    lane: str
    since: float
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadNodeStarted(PlatformEvent):
    """The head node was stopped and has been started."""

    detail_type = "Head Node Started"
    identity = ("instance_id", "reason")
    daily = True
    instance_id: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadNodeStopped(PlatformEvent):
    """The head node has been stopped: nobody would miss it."""

    detail_type = "Head Node Stopped"
    identity = ("instance_id", "reason")
    daily = True
    instance_id: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class BackupFailed(PlatformEvent):
    """cryoSPARC's database could not be backed up."""

    detail_type = "Backup Failed"
    identity = ("at",)
    reason: str
    at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class CostLeakFound(PlatformEvent):
    """Something costs money that nothing accounts for. usd_per_hour: None when it is not known."""

    detail_type = "Cost Leak Found"
    identity = ("kind", "id", "since")
    daily = True
    kind: Literal["instance", "live-session", "file-system"]
    id: str
    since: float
    advice: str
    usd_per_hour: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SpendCapReached(PlatformEvent):
    """So much of a cap is spent. project: whose limit it is, where each has its own, else empty. period: a month, or always."""

    detail_type = "Spend Cap Reached"
    identity = ("cap", "project", "period", "percent", "limit_usd")
    cap: str
    project: str
    period: str
    percent: Literal[80, 100]
    limit_usd: float
    spent_usd: float
    hard: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class FileSystemTrouble(PlatformEvent):
    """The file system, one of its associations or the latest release is not well. reason: FSx's own words."""

    detail_type = "File System Trouble"
    identity = ("id", "state", "since")
    kind: Literal["file-system", "association", "task"]
    id: str
    path: str
    state: str
    since: float
    reason: str
    advice: str


KINDS: dict[str, type[PlatformEvent]] = {
    kind.detail_type: kind
    for kind in (
        DatasetArriving,
        DatasetLanded,
        DatasetGone,
        DatasetSafe,
        DatasetNotSafe,
        TransferFailed,
        ProcessingEnded,
        JobFinished,
        LanesChanged,
        NodesPoweredDown,
        NodeFailed,
        HeadNodeStarted,
        HeadNodeStopped,
        BackupFailed,
        CostLeakFound,
        SpendCapReached,
        FileSystemTrouble,
    )
}
"""Each kind of event by its detail type."""


def _plain(value: object) -> object:
    if isinstance(value, str):
        # Half a surrogate pair is no UTF-8, and the call would fail for ever.
        return value[:_LONGEST_TEXT].encode(errors="replace").decode()
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    if isinstance(value, PoweredDown):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return value
