"""`cryosparcw run`: what a job of the double does on its node. It runs the job's own command and reports.

A real worker knows CryoSPARC's job types; here the command is a parameter of the job.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from .client import connect


def main() -> None:
    """Run one job."""
    parser = argparse.ArgumentParser(prog="cryosparcw", description=__doc__)
    parser.add_argument("verb", choices=["run"])
    parser.add_argument("--project", required=True)
    parser.add_argument("--job", required=True)
    arguments = parser.parse_args()
    cryosparc = connect()
    job = cryosparc.api.jobs.find_one(arguments.project, arguments.job)
    cryosparc.api.jobs.mark_running(arguments.project, arguments.job)
    done = subprocess.run(job.spec.params.model_dump()["command"], check=False)
    if done.returncode:
        cryosparc.api.jobs.mark_failed(arguments.project, arguments.job, error=f"exit code {done.returncode}")
        sys.exit(done.returncode)
    cryosparc.api.jobs.mark_completed(arguments.project, arguments.job)


if __name__ == "__main__":
    main()
