"""start-processing: run a recipe on a dataset that has landed, unless it runs already or has finished.

A recipe that ended without success is started again, three times in all; then its state is failed until somebody removes
PROJECT_DIR/.processing/RECIPE.attempts. The recipe is called as RECIPE DATASET_DIR PROJECT_DIR, by the cluster's ordinary user, and must be able to go on where
it stopped. Its output is PROJECT_DIR/.processing/RECIPE.log.
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
from typing import Dict, List

from . import settings

_TEMPORARY_FAILURE = 75
_MOST_ATTEMPTS = 3
# With some patience: slurm-status takes the lock for a moment, to see whether somebody has it.
_RUN = 'flock --timeout 2 "$1" "$2" "$3" "$4" && touch "$5"'


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


def main() -> None:
    """Start it, and print in which state it was found or left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--recipe", required=True)
    parser.add_argument(
        "--objects", type=int, default=1, help="how many files the file system must have of the dataset"
    )
    arguments = parser.parse_args()
    here = settings.load()
    recipe = here.home / "recipes" / arguments.recipe
    data = here.fsx / "data" / arguments.dataset
    project = here.projects / arguments.dataset
    if not os.access(recipe, os.X_OK):
        sys.exit(f"no recipe {arguments.recipe} on this head node; put it into the folder processing.recipes names")
    notes = project / ".processing"
    lock, done = notes / f"{arguments.recipe}.lock", notes / f"{arguments.recipe}.done"
    state = state_of(lock, done)
    if state == "waiting":
        there = sum(len(files) for _, _, files in os.walk(data))
        if there < arguments.objects:
            print(
                f"{data} has {there} of {arguments.objects} files: the file system imports them in a while",
                file=sys.stderr,
            )
            sys.exit(_TEMPORARY_FAILURE)
        notes.mkdir(parents=True, exist_ok=True)
        lock.touch()
    attempts = notes / f"{arguments.recipe}.attempts"
    tried = int(attempts.read_text()) if attempts.exists() else 0
    if state == "waiting" and tried >= _MOST_ATTEMPTS:
        state = "failed"
    if state == "waiting":
        attempts.write_text(str(tried + 1))
        user = os.environ.get("PROCESSING_USER", "")
        become: List[str] = []
        if user and os.geteuid() == 0:
            for path in (project, notes, lock):
                shutil.chown(path, user)
            become = ["runuser", "-u", user, "--"]
        with (notes / f"{arguments.recipe}.log").open("ab") as log:
            subprocess.Popen(
                [*become, "bash", "-c", _RUN, "run", str(lock), str(recipe), str(data), str(project), str(done)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=project,
                start_new_session=True,
                env={**os.environ, "CRYOEM_HOME": str(here.home), **home_of(user)},
            )
        state = "started"
    print(json.dumps({"state": state, "log": str(notes / f"{arguments.recipe}.log")}))


if __name__ == "__main__":
    main()
