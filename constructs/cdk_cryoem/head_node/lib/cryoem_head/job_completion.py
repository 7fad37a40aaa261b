"""job-completion: what Slurm's jobcomp/script plugin runs for every job that ends.

Runs as the user slurm, who has no AWS credentials: it only puts a small file into the spool, which root sends.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, Mapping

from . import settings, slurm


def event(environment: Mapping[str, str], *, cluster: str, projects: Path, tres: str) -> Dict[str, object]:
    """The job event's detail, from the variables that jobcomp/script sets."""
    return {
        "version": 1,
        "cluster": cluster,
        "job_id": environment["JOBID"],
        "name": _text(environment.get("JOBNAME", "")),
        "user": environment.get("USERNAME", environment.get("UID", "")),
        "partition": environment["PARTITION"],
        # Of a run that was put back into the queue Slurm says where the job is now.
        "state": "REQUEUED" if environment["JOBSTATE"] == "PENDING" else environment["JOBSTATE"],
        "exit_code": environment.get("EXITCODE", ""),
        "submit": int(environment.get("SUBMIT", "0")),
        "start": int(environment.get("START", "0")),
        "end": int(environment["END"]),
        "nodes": environment.get("NODES", ""),
        "node_count": int(environment.get("NODECNT", "0") or 0),
        "tres": tres,
        "project": _text(project_of(environment.get("WORK_DIR", ""), projects)),
    }


def _text(value: str) -> str:
    """Names may be any bytes to Slurm; what is no UTF-8 would be refused by every service behind us."""
    return value.encode(errors="surrogateescape").decode(errors="replace")


def project_of(work_dir: str, projects: Path) -> str:
    """The project a job belongs to: the folder below /fsx/projects it was started in; empty elsewhere."""
    try:
        relative = Path(work_dir).resolve().relative_to(projects.resolve())
    except ValueError:
        return ""
    return relative.parts[0] if relative.parts else ""


def tres_of(job_id: str) -> str:
    """What Slurm gave the job (cpu=..,mem=..,gres/gpu=..); empty, and the node priced whole, when it does not say."""
    try:
        shown = slurm.run("scontrol", "--oneliner", "--details", "show", "job", job_id)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"job-completion: no details of job {job_id}: {error}", file=sys.stderr)
        return ""
    found: List[str] = re.findall(r"\s(?:Alloc)?TRES=(\S+)", shown)
    # People choose names of jobs and folders, and the line has both: what is there twice is nobody's word.
    if len(found) != 1 or found[0] == "(null)":
        return ""
    gpus = set(re.findall(r"\sJOB_GRES=\S*?gpu(?::[A-Za-z0-9_.-]+)?:(\d+)", shown))
    if "gres/gpu" in found[0] or not gpus:
        return found[0]
    # Without an accounting database Slurm leaves GPUs out of TRES; the detailed view has them.
    return f"{found[0]},gres/gpu={gpus.pop()}" if len(gpus) == 1 else ""


def main() -> None:
    """Spool the event; a rename makes it appear whole or not at all."""
    here = settings.load()
    detail = event(os.environ, cluster=here.cluster, projects=here.projects, tres=tres_of(os.environ["JOBID"]))
    name = f"{detail['end']}-{detail['job_id']}.json"
    draft = here.spool / f".{name}.{os.getpid()}"
    draft.write_text(json.dumps(detail))
    draft.rename(here.spool / name)


if __name__ == "__main__":
    main()
