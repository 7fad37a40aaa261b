"""Jobs that Slurm knows to have ended, and of which no completion script told: slurmctld was killed while it ran.

Slurm remembers a job for MinJobAge after its end, five minutes if nobody says otherwise; send-events looks every minute.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Dict, Iterator, List

from . import job_completion, settings, slurm

SENT = "sent"
"""Folder in the spool with the events that were sent in the last day."""
# What has ended this long ago has had its completion script.
_GRACE_SECONDS = 60.0
_FIELDS = ("%A", "%u", "%P", "%T", "%V", "%S", "%e", "%N", "%D", "%Z", "%j")
_ENDED = (
    *("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "DEADLINE"),
    "OUT_OF_MEMORY",
)


def ours(home: Path) -> bool:
    """Whether Slurm tells our completion script of jobs. Elsewhere (PCS) their events come another way."""
    found = re.search(r"^JobCompLoc\s*=\s*(\S+)", slurm.run("scontrol", "show", "config"), re.MULTILINE)
    return found is not None and found[1] == str(home / "bin" / "job-completion")


def ended() -> Iterator[Dict[str, str]]:
    """Jobs that have ended, with their fields by squeue's letters."""
    # People choose names; nobody knows a separator that was not there a moment ago.
    separator = secrets.token_hex(8)
    shown = subprocess.run(
        [
            "squeue",
            "--noheader",
            "--states",
            ",".join(_ENDED),
            "--format",
            separator + separator.join(_FIELDS) + separator,
        ],
        check=True,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=60,
        env={**os.environ, "SLURM_TIME_FORMAT": "%s"},
    ).stdout
    parts = shown.split(separator)
    for start in range(1, len(parts) - len(_FIELDS) + 1, len(_FIELDS) + 1):
        job = dict(zip(_FIELDS, parts[start : start + len(_FIELDS)]))
        if job["%A"].isdigit():
            yield job


def event(job: Dict[str, str], *, cluster: str, projects: Path, tres: str) -> Dict[str, object]:
    """The job event's detail, as the completion script would have written it but for the exit code."""
    return job_completion.event(
        {
            "JOBID": job["%A"],
            "JOBNAME": job["%j"],
            "USERNAME": job["%u"],
            "PARTITION": job["%P"],
            "JOBSTATE": job["%T"],
            "SUBMIT": _seconds(job["%V"]),
            "START": _seconds(job["%S"]),
            "END": _seconds(job["%e"]),
            "NODES": job["%N"],
            "NODECNT": job["%D"] if job["%D"].isdigit() else "0",
            "WORK_DIR": job["%Z"],
        },
        cluster=cluster,
        projects=projects,
        tres=tres,
    )


def _seconds(text: str) -> str:
    return text if text.isdigit() else "0"


def spool(here: settings.Settings, *, now: float) -> List[str]:
    """Write down the jobs of which nobody told; returns the names of their files.

    A job that is told of twice has the same end and number both times, and is priced once.
    """
    written = []
    for job in ended():
        end = int(_seconds(job["%e"]))
        name = f"{end}-{job['%A']}.json"
        told = (here.spool / name).exists() or (here.spool / SENT / name).exists()
        if told or not 0 < end <= now - _GRACE_SECONDS:
            continue
        detail = event(job, cluster=here.cluster, projects=here.projects, tres=job_completion.tres_of(job["%A"]))
        draft = here.spool / f".{name}.{os.getpid()}"
        draft.write_text(json.dumps(detail))
        draft.rename(here.spool / name)
        print(f"send-events: nobody told of job {job['%A']}, which ended at {end}", file=sys.stderr)
        written.append(name)
    return written
