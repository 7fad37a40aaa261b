"""start-processing: run a recipe on a dataset that has landed, unless it runs already, has finished or was refused.

A recipe is looked for in the user's own folder, then among those that are shipped with these programs. It is called as
RECIPE DATASET_DIR PROJECT_DIR, by the cluster's ordinary user, and must be able to go on where it stopped. Its output is
PROJECT_DIR/.processing/RECIPE.log. How it ends says what comes next:

0   finished, for good
75  not now, and nothing is wrong (cryoSPARC starts, say): asked again, up to 288 times, which is a day of sweeps
78  refused: as it is asked for it cannot be done, and trying again changes nothing. The log's last line says why
else, or if it died with the head node: started again, three times in all; then it has failed

The document has `state` (finished, running, started, failed or refused), `reason` (for the last two the log's last line, else
empty) and `log`. What failed or was refused stays so until somebody calls this with --again, when the cause is mended.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, NoReturn, Optional

from . import settings
from .outcome import REFUSED, TEMPORARY_FAILURE

_MOST_ATTEMPTS = 3
_MOST_LATER = 288
_LONGEST_REASON = 300
# The lock is held until the last of the recipe's processes has ended, and until it is written down how it ended: between
# the two nobody may find it waiting. With some patience, because slurm-status takes the lock for a moment.
_RUN = f"""
notes=$1 recipe=$2 data=$3 project=$4
exec 9>>"$notes.lock"
flock --timeout 2 9 || exit 1
status=0
"$recipe" "$data" "$project" || status=$?
case $status in
0) touch "$notes.done" ;;
{TEMPORARY_FAILURE}) echo >>"$notes.later" ;;
{REFUSED}) touch "$notes.refused" ;;
esac
exit "$status"
"""


def find(here: settings.Settings, name: str) -> Optional[Path]:
    """The recipe's program: the user's own, else the shipped one."""
    for folder in (here.home / "recipes", here.home / "program" / "recipes"):
        path = folder / name
        if path.is_file() and os.access(path, os.X_OK):
            return path
    return None


def size(path: Path) -> int:
    """How long a file is, and so how often a line without anything was written to it."""
    return path.stat().st_size if path.exists() else 0


def verdict(*, attempts: int, later: int, refused: bool, unready: int = 0) -> str:
    """What becomes of a recipe that neither runs nor has finished: waiting (start it), failed or refused."""
    if refused:
        return "refused"
    too_often = attempts - later >= _MOST_ATTEMPTS or later >= _MOST_LATER or unready >= _MOST_LATER
    return "failed" if too_often else "waiting"


def last_line(log: Path) -> str:
    """The last line of a log that says something; empty without one."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 16_384))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "")[:_LONGEST_REASON]


def state_of(lock: Path, done: Path) -> str:
    """finished, running or waiting."""
    if done.exists():
        return "finished"
    if not lock.exists():
        return "waiting"
    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return "running"
    return "waiting"


def home_of(user: str) -> Dict[str, str]:
    """The environment of a user whom root becomes; runuser would leave them root's home."""
    return {"HOME": pwd.getpwnam(user).pw_dir, "USER": user} if user and os.geteuid() == 0 else {}


def running(projects: Path) -> int:
    """How many recipes run on this head node."""
    locks = projects.glob("*/.processing/*.lock")
    return sum(state_of(lock, lock.with_suffix(".done")) == "running" for lock in locks)


def put_off(notes: Path, why: str) -> NoReturn:
    """It cannot start yet, and whoever asks again may find that it can; but not for ever: the head node waits for it."""
    with Path(f"{notes}.unready").open("a") as unready:
        unready.write("\n")
    with Path(f"{notes}.log").open("a") as log:
        log.write(f"start-processing: {why}\n")
    print(why, file=sys.stderr)
    sys.exit(TEMPORARY_FAILURE)


def main() -> None:
    """Start it, and print in which state it was found or left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--recipe", required=True)
    parser.add_argument(
        "--objects", type=int, default=1, help="how many files the file system must have of the dataset"
    )
    parser.add_argument("--again", action="store_true", help="start it although it failed or was refused before")
    arguments = parser.parse_args()
    here = settings.load()
    name = arguments.recipe
    recipe = find(here, name)
    data = here.fsx / "data" / arguments.dataset
    project = here.projects / arguments.dataset
    notes = project / ".processing"
    lock, done, log = (notes / f"{name}.{what}" for what in ("lock", "done", "log"))
    attempts, later, refused, unready = (
        notes / f"{name}.{what}" for what in ("attempts", "later", "refused", "unready")
    )
    state = state_of(lock, done)
    if state == "waiting":
        if arguments.again:
            for path in (attempts, later, refused, unready):
                path.unlink(missing_ok=True)
        tried = int(attempts.read_text()) if attempts.exists() else 0
        state = verdict(attempts=tried, later=size(later), refused=refused.exists(), unready=size(unready))
    if state == "waiting":
        notes.mkdir(parents=True, exist_ok=True)
        if recipe is None:
            put_off(
                notes / name, f"no recipe {name} on this head node; put it into the folder processing.recipes names"
            )
        there = sum(len(files) for _, _, files in os.walk(data))
        if there < arguments.objects:
            put_off(
                notes / name,
                f"{data} has {there} of {arguments.objects} files: the file system imports them in a while",
            )
        lock.touch()
        attempts.write_text(str(tried + 1))
        user = os.environ.get("PROCESSING_USER", "")
        become: List[str] = []
        if user and os.geteuid() == 0:
            for path in (project, notes, lock):
                shutil.chown(path, user)
            become = ["runuser", "-u", user, "--"]
        with log.open("ab") as output:
            subprocess.Popen(
                [*become, "bash", "-c", _RUN, "run", str(notes / name), str(recipe), str(data), str(project)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=project,
                start_new_session=True,
                env={**os.environ, "CRYOEM_HOME": str(here.home), **home_of(user)},
            )
        state = "started"
    reason = last_line(log) if state in ("failed", "refused") else ""
    print(json.dumps({"state": state, "reason": reason, "log": str(log)}))


if __name__ == "__main__":
    main()
