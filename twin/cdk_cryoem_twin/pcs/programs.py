"""What AWS runs beside its Slurm controller: the delivery of finished jobs, and the wait for nodes that boot.

Called by slurmctld, which gives its programs no environment and a blocked signal mask that they would hand on.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from ..cluster import Cluster
from ..environment import Mode, client_environment
from ..places import Places, places
from .state import PcsState


def record(environment: Mapping[str, str], *, cluster: str, tres: str, work_dir: str) -> dict[str, object]:
    """A finished job as PCS_JOBCOMP_LOGS tells it. AWS's guide does not say how the fields are spelt: these are Slurm's."""
    return {
        "resource_id": cluster,
        "resource_type": "PCS_CLUSTER",
        "event_timestamp": int(time.time() * 1000),
        "scheduler_type": "slurm",
        "scheduler_major_version": "25.11",
        "fields": {
            "job_id": int(environment["JOBID"]),
            "job_name": environment.get("JOBNAME", ""),
            "user_name": environment.get("USERNAME", ""),
            "partition": environment["PARTITION"],
            "job_state": environment["JOBSTATE"],
            "exit_code": environment.get("EXITCODE", ""),
            "submit_time": int(environment.get("SUBMIT", "0")),
            "start_time": int(environment.get("START", "0")),
            "end_time": int(environment["END"]),
            "node_list": environment.get("NODES", ""),
            "node_cnt": int(environment.get("NODECNT", "0") or 0),
            "tres": tres,
            "work_dir": work_dir,
        },
    }


def jobcomp(places: Places) -> None:
    """Deliver a finished job to the log group that the cluster's delivery names."""
    os.environ.update(client_environment(places, Mode.load(places)))
    import boto3

    state = PcsState.load(places)
    group = state.deliveries.get("PCS_JOBCOMP_LOGS")
    if group is None:
        return
    (cluster,) = state.clusters
    told = record(
        os.environ,
        cluster=cluster,
        tres=_tres(os.environ["JOBID"]),
        work_dir=_as_on_aws(places, os.environ.get("WORK_DIR", "")),
    )
    logs = boto3.client("logs")
    stream = f"AWSLogs/PCS/{cluster}/jobcomp_25.11.log"
    try:
        logs.create_log_stream(logGroupName=group, logStreamName=stream)
    except logs.exceptions.ResourceAlreadyExistsException:
        print(f"{stream} is there", file=sys.stderr)
    logs.put_log_events(
        logGroupName=group,
        logStreamName=stream,
        logEvents=[{"timestamp": int(time.time() * 1000), "message": json.dumps(told)}],
    )


def prolog() -> None:
    """Return once the job's nodes have booted; without it a batch job would wait for slurmctld's 30-second timer."""
    for _ in range(240):
        nodes = _said("scontrol", "--oneliner", "show", "node", os.environ["SLURM_JOB_NODELIST"])
        if not re.search(r"State=[A-Z+_]*(POWERING_UP|POWERED_DOWN|NOT_RESPONDING)", nodes):
            return
        time.sleep(0.25)


def write_programs(places: Places, folder: Path) -> None:
    """The programs that slurm.conf names; they carry what slurmctld does not give them."""
    folder.mkdir(parents=True, exist_ok=True)
    for verb in ("jobcomp", "prolog"):
        program = folder / verb
        program.write_text(
            "#!/bin/sh\n"
            f"export CRYOEM_TWIN_ROOT='{places.root}' SLURM_CONF='{places.slurm}/slurm.conf'\n"
            "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
            f"exec '{sys.executable}' -m {__spec__.name} {verb} >>'{places.logs}/pcs-{verb}.log' 2>&1\n"
        )
        program.chmod(0o755)


def _as_on_aws(places: Places, folder: str) -> str:
    """Where the folder would be on AWS: the file system is at /fsx there."""
    cluster = Cluster.load_if_any(places)
    if cluster is None:
        return folder
    here = places.file_systems / cluster.file_system_id
    return str("/fsx" / Path(folder).relative_to(here)) if Path(folder).is_relative_to(here) else folder


def _tres(job_id: str) -> str:
    shown = _said("scontrol", "--oneliner", "--details", "show", "job", job_id)
    given = re.findall(r"\s(?:Alloc)?TRES=(\S+)", shown)
    gpus = re.findall(r"\sJOB_GRES=\S*?gpu(?::[A-Za-z0-9_.-]+)?:(\d+)", shown)
    tres = given[-1] if given and given[-1] != "(null)" else ""
    # Debian's Slurm has no accounting here and leaves GPUs out of TRES; PCS's has.
    return f"{tres},gres/gpu={gpus[-1]}" if tres and gpus and "gres/gpu" not in tres else tres


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout


def main() -> None:
    """jobcomp or prolog."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    if sys.argv[1] == "jobcomp":
        jobcomp(places())
    else:
        prolog()


if __name__ == "__main__":
    main()
