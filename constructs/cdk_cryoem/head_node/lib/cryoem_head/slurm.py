"""What Slurm says, parsed from its plain text, which is alike in versions whose JSON is not."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from datetime import datetime
from typing import Dict, List, Optional, Set, Tuple

_FIELD = re.compile(r"(\w+(?:/\w+)?)=(\S*)")
_DOWN = ("DOWN", "FAIL", "NOT_RESPONDING")
# What people and engines note besides (Comment, InstanceId) stands behind it.
_REASON = re.compile(r" Reason=(.*?)(?: \[[^\s\]@]+@(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\]|$)")
# Slurm's own words for a node that died, and for one that never came up. It does nothing more about either: whatever was
# started for them runs on. A node that a person or the engine took down has other reasons, and is theirs.
_LOST = ("Not responding", "ResumeTimeout reached")
# Reasons for which a pending job waits until a person does something (squeue man page, JOB REASON CODES).
_NEVER = (
    "JobHeldUser",
    "JobHeldAdmin",
    "JobHoldMaxRequeue",
    "launch failed requeued held",
    "job requeued in held state",
    "DependencyNeverSatisfied",
    "PartitionTimeLimit",
    "PartitionNodeLimit",
    "BadConstraints",
    "PartitionDown",
    "PartitionInactive",
)
# Reasons that say nothing of when it may start: hours may go by, or none.
_BLOCKED = ("Dependency", "Licenses", "BeginTime", "Assoc", "QOS", "Reservation")
UNUSED = ("idle", "booting", "down")
"""States of a node that is paid for and that nobody uses."""
_BUSY = ("ALLOCATED", "MIXED", "COMPLETING")
_GPUS = re.compile(r"gpu(?::[A-Za-z][\w.-]*)?[:=](\d+)")


@dataclass(frozen=True)
class Node:
    """A node as scontrol shows it. Times in epoch seconds."""

    name: str
    partitions: List[str]
    flags: List[str]
    boot_time: str
    last_busy: str
    address: str = ""
    reason: str = ""
    noted_at: str = ""

    @property
    def lost(self) -> bool:
        """Whether Slurm has given it up, without telling anybody to switch it off."""
        return "DOWN" in self.flags and self.reason.startswith(_LOST) and not self._leaving

    @property
    def powered_up(self) -> bool:
        """Whether somebody pays for it, or may: Slurm calls a node that never came up POWERED_DOWN at once."""
        return "POWERED_DOWN" not in self.flags or self.lost

    @property
    def _leaving(self) -> bool:
        return "POWER_DOWN" in self.flags or "POWERING_DOWN" in self.flags

    @property
    def state(self) -> str:
        """busy, idle, booting (without a job), down (given up by Slurm), or changing (going down, in trouble)."""
        if any(flag in _BUSY for flag in self.flags):
            return "busy"
        if self.lost:
            return "down"
        if self._leaving or "POWERED_DOWN" in self.flags:
            return "changing"
        if "POWERING_UP" in self.flags:
            return "booting"
        if any(flag in _DOWN for flag in self.flags):
            return "changing"
        return "idle" if "IDLE" in self.flags else "changing"

    @property
    def epoch(self) -> str:
        """Changes with every boot and every job: whoever decided on one epoch knows nothing of another."""
        return f"{self.boot_time}_{self.last_busy}"

    @property
    def idle_since(self) -> Optional[float]:
        """When its last job ended, or when it booted."""
        times = [t for t in (_time(self.last_busy), _time(self.boot_time)) if t is not None]
        return max(times) if times else None

    @property
    def since(self) -> Optional[float]:
        """Since when it is of use to nobody: when Slurm noted the reason of its trouble, or since it is idle."""
        return _time(self.noted_at) or self.idle_since


def _time(text: str) -> Optional[float]:
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S").timestamp()
    except ValueError:
        # Slurm writes None or Unknown for what has not happened.
        return None


def run(*command: str) -> str:
    """Output of a Slurm command. Errors: CalledProcessError with what it said."""
    # Names of jobs and folders may be any bytes.
    return subprocess.run(command, check=True, capture_output=True, text=True, errors="replace", timeout=60).stdout


def parse_nodes(text: str) -> List[Node]:
    """From `scontrol --oneliner show nodes`."""
    nodes = []
    for line in text.splitlines():
        fields: Dict[str, str] = dict(_FIELD.findall(line))
        if "NodeName" in fields:
            reason = _REASON.search(line)
            nodes.append(
                Node(
                    name=fields["NodeName"],
                    partitions=[p for p in fields.get("Partitions", "").split(",") if p],
                    # Older versions of Slurm mark a node that does not respond by a star.
                    flags=fields.get("State", "").replace("*", "+NOT_RESPONDING").split("+"),
                    boot_time=fields.get("BootTime", "None"),
                    last_busy=fields.get("LastBusyTime", "None"),
                    address=fields.get("NodeAddr", ""),
                    reason=reason[1] if reason else "",
                    noted_at=(reason[2] or "") if reason else "",
                )
            )
    return nodes


def nodes(*names: str) -> List[Node]:
    """All nodes, or the named ones."""
    return parse_nodes(run("scontrol", "--oneliner", "show", "nodes", *([",".join(names)] if names else [])))


def jobs_by_partition(state: str, *, blocked: bool = False) -> Dict[str, int]:
    """How many jobs of a state each partition has, but for those that cannot start as they are.

    blocked: those instead that wait for something other than a node: another job, a licence, a time, a limit.
    """
    found: Dict[str, int] = {}
    for line in run("squeue", "--noheader", "--states", state, "--format", "%P|%r").splitlines():
        partitions, _, reason = line.strip().partition("|")
        if reason in _NEVER or reason.startswith(_BLOCKED) is not blocked:
            continue
        # A pending job may name several partitions; it could start in each.
        for partition in partitions.split(","):
            found[partition] = found.get(partition, 0) + 1
    return found


def gpus_and_waits() -> Tuple[Dict[str, int], Dict[str, float]]:
    """How many GPUs the running jobs of each partition have, and since when the oldest that waits for a node does."""
    gpus: Dict[str, int] = {}
    waits: Dict[str, float] = {}
    states = "RUNNING,COMPLETING,SUSPENDED,PENDING"
    for line in run("squeue", "--noheader", "--states", states, "--format", "%T|%D|%V|%b|%P|%r").splitlines():
        state, nodes, submitted, gres, partition, reason = (line.strip().split("|", 5) + [""] * 6)[:6]
        if state != "PENDING":
            # Of each node: gpu:2, gres:gpu:2 or gres/gpu:a10g:2, as the version writes it.
            found = _GPUS.search(gres)
            if found and nodes.isdigit():
                gpus[partition] = gpus.get(partition, 0) + int(found[1]) * int(nodes)
        elif reason not in _NEVER and not reason.startswith(_BLOCKED):
            since = _time(submitted)
            if since is not None:
                waits.update({name: min(since, waits.get(name, since)) for name in partition.split(",")})
    return gpus, waits


def waits_for_something_else(reason: str) -> bool:
    """Whether a pending job waits for something other than a node: another job, a licence, a time, a person."""
    return reason in _NEVER or reason.startswith(_BLOCKED)


def partitions_of_jobs() -> Set[str]:
    """Partitions that a job runs in or waits for, also one that can never start."""
    lines = run("squeue", "--noheader", "--format", "%P").splitlines()
    return {partition for line in lines for partition in line.strip().split(",") if partition}


def closed_partitions() -> List[str]:
    """Partitions in which no job starts: somebody, or the engine after failures, took them down."""
    found = []
    for line in run("scontrol", "--oneliner", "show", "partitions").splitlines():
        fields: Dict[str, str] = dict(_FIELD.findall(line))
        if fields.get("State", "UP") != "UP":
            found.append(fields["PartitionName"])
    return found
