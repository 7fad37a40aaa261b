"""Cost leaks: found, told of once, forgotten when they are over. Live sessions that hold GPUs for nobody are paused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .. import leaks
from ..events_out import CostLeakFound
from ..head_node import CommandFailed
from ..hints import log
from ..nodes import Status
from ..world import World

_SYSTEM_TAG = "cryoem:system"
_GONE = ("gone", "terminated", "shutting-down")
_ASLEEP = ("stopped", *_GONE)


def reconcile(w: World, status: Status | None, *, instances: Iterable[Mapping[str, Any]] | None, now: float) -> None:
    """Look for instances, file systems and Live sessions that nothing accounts for. status: None if Slurm was not asked,
    or did not answer. instances: of the cluster, as EC2 shows them; None if it did not. What is not known is not judged.

    Errors: CommandFailed after all were tried, if a session could not be paused.
    """
    state = w.head_node.look()[0]
    sessions = _idle_sessions(w, status) if status is not None else [] if state in _ASLEEP else None
    found = {
        "instance": None
        if instances is None
        else leaks.forgotten_instances(
            _paid_for(instances),
            head_node=w.settings.head_node,
            addresses=_addresses(status),
            asleep=state in _ASLEEP,
            now=now,
        ),
        "file-system": leaks.forgotten_file_systems(
            _file_systems(w), system=w.settings.system, cluster_is_gone=state in _GONE
        ),
        "live-session": None if sessions is None else [leaks.idle_session(session) for session in sessions],
    }
    for leak in (each for some in found.values() for each in some or ()):
        told = CostLeakFound(kind=leak.kind, id=leak.id, since=leak.since, advice=leak.advice)
        fields = {"kind": leak.kind, "id": leak.id, "since": leak.since, "advice": leak.advice}
        if w.records.note_once("leak", leak.name, fields=fields, events=[told]):
            log.warning("cost leak: %s %s: %s", leak.kind, leak.id, leak.advice)
    for name in leaks.over(w.records.known("leak"), found):
        w.records.forget("leak", name)
    _pause(w, sessions or ())


def _addresses(status: Status | None) -> tuple[str, ...] | None:
    """Where Slurm's nodes are; None unless it said that of all: there may be too many, or its programs too old."""
    return status.addresses if status is not None and len(status.addresses) >= status.powered_up else None


def _idle_sessions(w: World, status: Status) -> list[Mapping[str, Any]] | None:
    """Live sessions that hold GPUs and get no exposures; None while cryoSPARC does not answer.

    None is idle while a dataset arrives: a change of grids takes an hour, and nobody would start the session again.
    """
    if not status.powered_up or any(item["state"] == "arriving" for item in w.records.datasets()):
        return []
    try:
        printed = w.head_node.run(w.settings.live_sessions_document, {"IdleMinutes": str(w.settings.live_idle_minutes)})
    except CommandFailed as error:
        log.warning("Live sessions were not looked at: %s", error)
        return None
    found: list[Mapping[str, Any]] = printed["sessions"]
    return found


def _pause(w: World, sessions: Iterable[Mapping[str, Any]]) -> None:
    """Nothing of a session is lost by that: whoever starts it again goes on where it was."""
    refused: list[str] = []
    for session in sessions:
        fenced = {"Session": str(session["id"]), "Seen": str(int(session["since"]))}
        try:
            log.info("Live session: %s", w.head_node.run(w.settings.pause_live_session_document, fenced))
        except CommandFailed as error:
            # The others need not wait for it.
            refused.append(f"{session['id']}: {error}")
    if refused:
        raise CommandFailed("; ".join(refused))


def _paid_for(instances: Iterable[Mapping[str, Any]]) -> list[leaks.Instance]:
    return [
        leaks.Instance(
            instance_id=each["InstanceId"],
            private_ip=each.get("PrivateIpAddress", ""),
            private_dns=each.get("PrivateDnsName", ""),
            launched_at=each["LaunchTime"].timestamp(),
        )
        for each in instances
        if each["State"]["Name"] in ("pending", "running")
    ]


def _file_systems(w: World) -> list[leaks.FileSystem]:
    if not w.settings.system:
        return []
    pages = w.fsx.get_paginator("describe_file_systems").paginate()
    return [
        leaks.FileSystem(
            file_system_id=each["FileSystemId"],
            system=next((tag["Value"] for tag in each.get("Tags", []) if tag["Key"] == _SYSTEM_TAG), ""),
            created_at=each["CreationTime"].timestamp(),
        )
        for page in pages
        for each in page["FileSystems"]
    ]
