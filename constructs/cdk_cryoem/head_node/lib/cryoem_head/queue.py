"""Slurm's queue as admission of jobs needs it: who waits, who starts, who runs, and what each may take at most."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

from . import caps, job_completion, slurm

_FIELDS = ("%A", "%T", "%r", "%P", "%l", "%D", "%C", "%m", "%b", "%V", "%Z")
_LIMIT = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)")
_UNITS = {"K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0 * 1024}
_HELD = ("JobHeldUser", "JobHeldAdmin", "job requeued in held state")
_RUNS = ("RUNNING", "SUSPENDED", "STOPPED", "SIGNALING", "RESIZING", "STAGE_OUT")


@dataclass(frozen=True)
class Queued:
    """A job that waits or runs. minutes: its time limit, None for none. tasks: of an array, how many wait under its number.
    asked: what squeue shows of nodes, CPUs, memory and GPUs; another text means another job. submitted: another with each run.
    """

    job_id: str
    state: str
    reason: str
    partitions: Tuple[str, ...]
    minutes: Optional[float]
    asked: str
    gpus_per_node: Optional[int]
    submitted: str
    project: str
    tasks: int = 1

    @property
    def waits(self) -> bool:
        """Whether it waits for a node, or for us."""
        return self.state == "PENDING"

    @property
    def starts(self) -> bool:
        """Whether it has nodes that boot, and no script of its own has run."""
        return self.state == "CONFIGURING"

    @property
    def runs(self) -> bool:
        """Whether it runs. Other states pass: a job that goes back into the queue is completing for a moment."""
        return self.state in _RUNS

    @property
    def held(self) -> bool:
        """Whether it starts only when somebody releases it."""
        return self.reason in _HELD


def jobs(projects: Path) -> List[Queued]:
    """All of them."""
    # People choose names of folders; nobody knows a separator that was not there a moment ago.
    separator = secrets.token_hex(8)
    shown = slurm.run("squeue", "--noheader", "--array", "--format", separator + separator.join(_FIELDS) + separator)
    parts = shown.split(separator)
    found: Dict[str, Queued] = {}
    for start in range(1, len(parts) - len(_FIELDS) + 1, len(_FIELDS) + 1):
        job_id, state, reason, partitions, limit, nodes, cpus, memory, gpus, submitted, folder = parts[
            start : start + len(_FIELDS)
        ]
        if not job_id.isdigit():
            continue
        job = Queued(
            job_id=job_id,
            state=state,
            reason=reason,
            partitions=tuple(partitions.split(",")),
            minutes=minutes(limit),
            asked=f"{nodes} {cpus} {memory} {gpus}",
            gpus_per_node=_gpus(gpus),
            submitted=submitted,
            project=job_completion.project_of(folder, projects),
        )
        # The tasks of an array that wait have its number, each.
        before = found.get(job_id)
        found[job_id] = job if before is None else replace(before, tasks=before.tasks + 1)
    return list(found.values())


def minutes(text: str) -> Optional[float]:
    """Slurm's days-hours:minutes:seconds as minutes; None for UNLIMITED and what is no time."""
    found = _LIMIT.fullmatch(text.strip())
    if found is None:
        return None
    days, hours, mins, seconds = (int(part or 0) for part in found.groups())
    return days * 1440 + hours * 60 + mins + seconds / 60


def _gpus(text: str) -> Optional[int]:
    """Of gres/gpu:2, gres:gpu:a10g:2, gpu:1; 0 for N/A; None for what is not understood."""
    if text.strip() in ("N/A", "", "(null)"):
        return 0
    found = re.fullmatch(r"(?:gres[:/])?gpu(?::[A-Za-z][A-Za-z0-9_.-]*)?(?::(\d+))?", text.strip())
    return None if found is None else int(found[1] or 1)


@dataclass(frozen=True)
class Needs:
    """What a job may take at most. cpus, memory_mib: of all its nodes; None: whole nodes."""

    nodes: int
    cpus: Optional[int] = None
    memory_mib: float = 0.0


def needs(job_id: str) -> Needs:
    """From `scontrol show job`: whole nodes where it shares none, asks for GPUs in another way, or Slurm does not say it clearly."""
    shown = slurm.run("scontrol", "--oneliner", "show", "job", job_id)
    ends = [int(n) for pair in re.findall(r"\sNumNodes=(\d+)(?:-(\d+))?", shown) for n in pair if n]
    nodes = max(ends, default=1)
    # People choose names of jobs and folders, and the line has both: what is there twice is nobody's word.
    asked = re.findall(r"\s(?:Req)?TRES=(\S+)", shown)
    shared = re.findall(r"\sOverSubscribe=(\S+)", shown)
    if len(asked) != 1 or shared not in (["OK"], ["YES"]) or re.search(r"\sTresPer(?:Job|Task|Socket)=", shown):
        return Needs(nodes=nodes)
    parts = dict(part.partition("=")[::2] for part in asked[0].split(","))
    memory = re.fullmatch(r"([0-9.]+)([KMGT])", parts.get("mem", ""))
    if memory is None or not parts.get("cpu", "").isdigit():
        return Needs(nodes=nodes)
    return Needs(nodes=nodes, cpus=int(parts["cpu"]), memory_mib=float(memory[1]) * _UNITS[memory[2]])


def wish(job: Queued, lanes: Mapping[str, Mapping[str, Any]]) -> caps.Wish:
    """What a job, with all tasks that wait, may cost on the dearest lane it may run on."""
    own = [lanes[name] for name in job.partitions if name in lanes]
    wants = needs(job.job_id)
    prices = []
    for lane in own:
        whole = wants.cpus is None or job.gpus_per_node is None
        prices.append(
            caps.most_micro_usd(
                lane,
                minutes=job.minutes,
                nodes=wants.nodes,
                cpus=int(lane["vcpus"]) * wants.nodes if whole else int(wants.cpus or 0),
                memory_mib=0.0 if whole else wants.memory_mib,
                gpus=0 if whole else (job.gpus_per_node or 0) * wants.nodes,
            )
        )
    known = [price for price in prices if price is not None]
    return caps.Wish(
        job_id=job.job_id,
        project=job.project,
        lane=",".join(job.partitions),
        hours=round((job.minutes or 0) / 60, 2),
        # A partition that is no lane has no price, so nobody knows.
        most=max(known) * job.tasks if known and len(known) == len(job.partitions) else None,
    )
