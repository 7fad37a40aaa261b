"""Cost leaks: found, told of once, forgotten when they are over. Live sessions that hold GPUs for nobody are paused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import leaks
from ..events_out import CostLeakFound
from ..head_node import CommandFailed
from ..hints import log
from ..nodes import Status
from ..world import World

_SYSTEM_TAG = "cryoem:system"
_GONE = ("gone", "terminated", "shutting-down")


def reconcile(w: World, status: Status | None, *, now: float) -> None:
    """Look for instances, file systems and Live sessions that nothing accounts for."""
    found = [
        *leaks.forgotten_instances(
            _instances(w),
            head_node=w.settings.head_node,
            addresses=None if status is None else status.addresses,
            now=now,
        ),
        *leaks.forgotten_file_systems(
            _file_systems(w), ours=w.settings.file_system, cluster_is_gone=w.head_node.look()[0] in _GONE
        ),
    ]
    sessions = [] if status is None else _idle_sessions(w)
    found += [leaks.idle_session(session) for session in sessions]
    for leak in found:
        told = CostLeakFound(kind=leak.kind, id=leak.id, since=leak.since, advice=leak.advice)
        fields = {"kind": leak.kind, "id": leak.id, "since": leak.since, "advice": leak.advice}
        if w.records.note_once("leak", leak.name, fields=fields, events=[told]):
            log.warning("cost leak: %s %s: %s", leak.kind, leak.id, leak.advice)
    for name in leaks.over(w.records.known("leak"), found):
        w.records.forget("leak", name)
    for session in sessions:
        _pause(w, session)


def _idle_sessions(w: World) -> list[Mapping[str, Any]]:
    """Live sessions that hold GPUs and get no exposures; none while cryoSPARC does not answer."""
    try:
        printed = w.head_node.run(w.settings.live_sessions_document, {"IdleMinutes": str(w.settings.live_idle_minutes)})
    except CommandFailed as error:
        log.warning("Live sessions were not looked at: %s", error)
        return []
    found: list[Mapping[str, Any]] = printed["sessions"]
    return found


def _pause(w: World, session: Mapping[str, Any]) -> None:
    """Nothing of a session is lost by that: whoever starts it again goes on where it was."""
    fenced = {"Session": str(session["id"]), "Seen": str(int(session["since"]))}
    log.info("Live session: %s", w.head_node.run(w.settings.pause_live_session_document, fenced))


def _instances(w: World) -> list[leaks.Instance]:
    key, value = w.settings.instance_tag
    pages = w.ec2.get_paginator("describe_instances").paginate(
        Filters=[
            {"Name": f"tag:{key}", "Values": [value]},
            {"Name": "instance-state-name", "Values": ["pending", "running"]},
        ]
    )
    return [
        leaks.Instance(
            instance_id=each["InstanceId"],
            private_ip=each.get("PrivateIpAddress", ""),
            private_dns=each.get("PrivateDnsName", ""),
            launched_at=each["LaunchTime"].timestamp(),
        )
        for page in pages
        for reservation in page["Reservations"]
        for each in reservation["Instances"]
    ]


def _file_systems(w: World) -> list[leaks.FileSystem]:
    if not w.settings.file_system:
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
