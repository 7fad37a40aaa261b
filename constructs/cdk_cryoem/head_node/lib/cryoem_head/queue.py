"""Slurm's queue as admission of jobs needs it: who waits, who starts, who runs, and what each asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, List, Mapping, Optional, Tuple

from . import caps, job_completion, slurm

_SEPARATOR = "\x1f"
_FIELDS = ("%A", "%T", "%r", "%P", "%l", "%D", "%b", "%Z")
_LIMIT = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)")
_UNITS = {"K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0 * 1024}


@dataclass(frozen=True)
class Queued:
    """A job that waits or runs. minutes: its time limit, None for none."""

    job_id: str
    state: str
    reason: str
    partitions: Tuple[str, ...]
    minutes: Optional[float]
    nodes: int
    gpus_per_node: Optional[int]
    project: str

    @property
    def waits(self) -> bool:
        """Whether it waits for a node, or for us."""
        return self.state == "PENDING"

    @property
    def held_by_somebody(self) -> bool:
        """Whether it starts only when somebody releases it."""
        return self.reason in ("JobHeldUser", "JobHeldAdmin", "job requeued in held state")


def jobs(projects: Path) -> List[Queued]:
    """All of them. A folder that holds our separator has no project."""
    found = []
    for line in slurm.run("squeue", "--noheader", "--format", _SEPARATOR.join(_FIELDS)).splitlines():
        parts = line.split(_SEPARATOR)
        if len(parts) < len(_FIELDS) or not parts[0].isdigit():
            continue
        folder = parts[7] if len(parts) == len(_FIELDS) else ""
        found.append(
            Queued(
                job_id=parts[0],
                state=parts[1],
                reason=parts[2],
                partitions=tuple(parts[3].split(",")),
                minutes=minutes(parts[4]),
                nodes=int(re.match(r"\d*", parts[5])[0] or 1),  # type: ignore[index]
                gpus_per_node=_gpus(parts[6]),
                project=job_completion.project_of(folder, projects) if folder else "",
            )
        )
    return found


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


def asked(job_id: str) -> Optional[Tuple[int, float]]:
    """CPUs and MiB of memory that a job asked for; None when Slurm does not say it clearly."""
    shown = slurm.run("scontrol", "--oneliner", "show", "job", job_id)
    found = re.findall(r"\s(?:Req)?TRES=(\S+)", shown)
    # People choose names of jobs and folders, and the line has both: what is there twice is nobody's word.
    if len(found) != 1:
        return None
    parts = dict(part.partition("=")[::2] for part in found[0].split(","))
    memory = re.fullmatch(r"([0-9.]+)([KMGT])", parts.get("mem", ""))
    if memory is None or not parts.get("cpu", "").isdigit():
        return None
    return int(parts["cpu"]), float(memory[1]) * _UNITS[memory[2]]


def wish(job: Queued, lanes: Mapping[str, Mapping[str, Any]]) -> caps.Wish:
    """What a job may cost on the dearest lane it may run on; whole nodes where Slurm does not say what it asked for."""
    own = [lanes[name] for name in job.partitions if name in lanes]
    wants = asked(job.job_id)
    prices = []
    for lane in own:
        whole = wants is None or job.gpus_per_node is None
        prices.append(
            caps.most_micro_usd(
                lane,
                minutes=job.minutes,
                nodes=job.nodes,
                cpus=int(lane["vcpus"]) * job.nodes if whole else wants[0],  # type: ignore[index]
                memory_mib=0.0 if whole else wants[1],  # type: ignore[index]
                gpus=0 if whole else (job.gpus_per_node or 0) * job.nodes,
            )
        )
    known = [price for price in prices if price is not None]
    return caps.Wish(
        job_id=job.job_id,
        project=job.project,
        lane=",".join(job.partitions),
        hours=round((job.minutes or 0) / 60, 2),
        # A partition that is no lane has no price, so nobody knows.
        most=max(known) if known and len(known) == len(job.partitions) else None,
    )
