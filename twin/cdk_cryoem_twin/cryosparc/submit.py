"""`cryosparc-job`: a job through a cryoSPARC lane, by the real cryosparc-tools client: create, enqueue, wait."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..waiting import wait_for
from .client import connect

_ENDED = ("completed", "failed", "killed")


def main() -> None:
    """Submit, and exit with 0 when the job completed."""
    parser = argparse.ArgumentParser(prog="cryosparc-job", description=__doc__)
    parser.add_argument("--project-dir", required=True, type=Path)
    parser.add_argument("--type", required=True, help="the job's type, as cryoSPARC would name it")
    parser.add_argument("--lane", required=True)
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument(
        "--custom-var", action="append", default=[], metavar="NAME=VALUE", help="a custom variable of the lane's script"
    )
    parser.add_argument("--wait", action="store_true")
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    api = connect().api
    project = api.projects.create(title=arguments.project_dir.name, parent_dir=str(arguments.project_dir))
    workspace = api.workspaces.create(project.uid, title="Recipe")
    job = api.jobs.create(
        project.uid,
        workspace.uid,
        {"compute_num_gpus": arguments.gpus, "command": arguments.command},
        type=arguments.type,
        title=arguments.type,
    )
    if arguments.custom_var:
        given = dict(entry.split("=", 1) for entry in arguments.custom_var)
        api.jobs.set_cluster_custom_vars(project.uid, job.uid, given)
    api.jobs.enqueue(project.uid, job.uid, lane=arguments.lane)
    print(f"{project.uid} {job.uid} on lane {arguments.lane}")
    if not arguments.wait:
        return

    def ended() -> str:
        status = str(api.jobs.get_status(project.uid, job.uid))
        return status if status in _ENDED else ""

    folder = Path(project.project_dir) / job.job_dir
    status = wait_for(ended, f"{job.uid} to end", seconds=1800, log=folder / "job.log")
    print(f"{job.uid} {status}")
    if status != "completed":
        log = folder / "job.log"
        sys.exit(f"{job.uid} {status}; the end of {log}:\n{log.read_text()[-2000:] if log.exists() else 'no log'}")


if __name__ == "__main__":
    main()
