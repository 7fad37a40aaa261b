"""stop-head-node: power this machine off, unless somebody would miss it: jobs, nodes, people, events that were not sent.

Whoever decided it saw another moment, so everything is looked at again here, just before. If cryoSPARC's database has
not been backed up since it was last used, a backup begins instead; who asks again after it finds the machine ready.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from pathlib import Path
from typing import Any, Dict, Mapping

from . import settings, slurm_status

_RETRY_BACKUP_SECONDS = 3600
_BACKUP = "cryoem-backup.service"


def needed_by(status: Mapping[str, Any]) -> str:
    """Who would miss the head node; empty for nobody."""
    reasons = {
        "jobs wait": any(status["pending"].values()) or any(status["blocked"].values()),
        "jobs run": any(status["running"].values()),
        "nodes are on": status["powered_up"],
        "somebody is logged in": status["logins"],
        "a recipe, an installation or a backup runs": status["recipes"],
        "job events have not been sent": status["spool"],
    }
    return ", ".join(reason for reason, holds in reasons.items() if holds)


def backup_is_due(backup: Mapping[str, Any], *, used_until: float) -> bool:
    """Whether the database may have what no backup has."""
    return float(backup.get("made_at", 0)) < used_until


def decide(status: Mapping[str, Any], *, has_database: bool, used_until: float) -> Dict[str, str]:
    """stop, back-up, or stay with the reason."""
    needed = needed_by(status)
    if needed:
        return {"verdict": "stay", "reason": needed}
    backup = status["backup"]
    if not has_database or not backup_is_due(backup, used_until=used_until):
        return {"verdict": "stop", "reason": ""}
    if float(backup.get("failed_at", 0)) > status["now"] - _RETRY_BACKUP_SECONDS:
        return {"verdict": "stay", "reason": f"the backup failed: {backup.get('reason', '')}"}
    return {"verdict": "back-up", "reason": "cryoSPARC's database is backed up first"}


def booted_at() -> float:
    """When this machine was switched on."""
    return time.time() - float(Path("/proc/uptime").read_text().split()[0])


def power_off() -> None:
    """EC2 finds the instance stopped, as if it had been asked for it."""
    subprocess.run(["systemctl", "poweroff", "--no-block"], check=True)


def main() -> None:
    """Do it, and print the decision."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--used-until", type=float, required=True, help="when it was last used, epoch seconds")
    parser.add_argument("--decided-at", type=float, required=True, help="when the caller decided it, epoch seconds")
    arguments = parser.parse_args()
    here = settings.load()
    # The agent resumes what it was at when the machine went off: then the next boot would end at once.
    if booted_at() > arguments.decided_at:
        print(json.dumps({"verdict": "stay", "reason": "it was started again since"}))
        return
    found = decide(
        slurm_status.look(here),
        has_database=here.cryosparc_version != settings.NONE and bool(here.cryosparc_installed),
        used_until=arguments.used_until,
    )
    if found["verdict"] == "back-up":
        subprocess.run(["systemctl", "start", "--no-block", _BACKUP], check=True)
    print(json.dumps(found), flush=True)
    if found["verdict"] == "stop":
        power_off()


if __name__ == "__main__":
    main()
