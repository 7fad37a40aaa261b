"""cryoSPARC's master, by its own command cryosparcm, which is called otherwise in version 4 than in version 5."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Tuple

from . import slurm, versions
from .account import CommandFailed
from .installation import Installation

_START_SECONDS = 900
# Of cryoSPARC's jobs on Slurm: the name that lane_files gives them.
_JOB_NAME = "cryosparc_"


class Master:
    """Starts and stops it, and what cryosparcm does to its database and its version."""

    def __init__(self, installation: Installation) -> None:
        self._installation, self._account = installation, installation.account

    def run(self, *arguments: str, text: str = "", folder: Path | None = None, quiet: bool = False) -> str:
        """What cryosparcm printed. Any of its commands may start the database's daemon."""
        program = str(self._installation.master.folder / "bin" / "cryosparcm")
        return self._account.run(program, *arguments, text=text, folder=folder, daemon=True, quiet=quiet)

    def answers(self) -> bool:
        """Whether the web application answers, which comes last when the master starts."""
        # Never through a proxy: it is this host.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(self._installation.url, timeout=20):
                return True
        except urllib.error.HTTPError as error:
            return error.code < 500
        except OSError:
            return False

    def start(self, *, seconds: float = _START_SECONDS) -> None:
        """Start it, unless it runs, and wait until it answers."""
        if self.answers():
            return
        try:
            self.run("start")
        except CommandFailed:
            # A part of it runs, or the socket of one that was killed is left.
            self.run("restart")
        end = time.monotonic() + seconds
        while not self.answers():
            if time.monotonic() >= end:
                raise TimeoutError(f"cryoSPARC's master was started, and {self._installation.url} does not answer")
            threading.Event().wait(0.25)

    def stop(self) -> None:
        """Stop it, or what runs of it."""
        self.run("stop")

    def start_database(self) -> None:
        """Start the database alone."""
        self.run("start", "database")

    def back_up(self, folder: Path, name: str) -> None:
        """Write the whole database into one file, while it goes on working."""
        self.run(*self._database_command("backup"), f"--dir={folder}", f"--file={name}")

    def bring_back(self, archive: Path) -> None:
        """Read such a file into the database."""
        # Should it ask: whoever called us has said yes.
        self.run(*self._database_command("restore"), f"--file={archive}", text="y\n")

    def update(self, version: str) -> None:
        """Make it another version, from packages that lie in its folder. Never detaches projects: a question is an error."""
        told = self.run("update", "--help", quiet=True)
        local = "--skip-download" if "--skip-download" in told else "--install"
        again = ["--override"] if "--override" in told and self._installation.master.version == version else []
        self.run("update", local, *again, f"--version=v{version}")

    def _database_command(self, verb: str) -> Tuple[str, ...]:
        """Version 5 has put the database's commands together; which of them also kept their old names is not known."""
        if versions.is_five(self._installation.master.version):
            try:
                self.run("database", verb, "--help", quiet=True)
            except CommandFailed:
                return (verb,)
            return ("database", verb)
        return (verb,)


def jobs() -> int:
    """How many jobs of cryoSPARC's Slurm has, waiting ones too."""
    names = slurm.run("squeue", "--noheader", "--format", "%j").splitlines()
    return sum(name.strip().startswith(_JOB_NAME) for name in names)
