"""Where cryoSPARC is on this head node, in which state, and who is at it.

On the retained volume (/cryosparc): cryosparc_master, database, backups, packages (downloads), database.json (the version
that wrote the database last), restore.json and upgrade.json (a restore, an upgrade that has not ended). On the file system,
where every node sees it (FSX/software): cryosparc_worker.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import re
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, Mapping, Tuple

from .account import Account
from .outcome import Later
from .settings import Settings

_STATE = ".cryoem-install.json"
_LOCK = "cryosparc.lock"
LICENSE_VARIABLE = "CRYOSPARC_LICENSE_ID"


@dataclass(frozen=True)
class Package:
    """One of the two packages, where it is installed. It cannot be moved after that: cryoSPARC remembers its place."""

    kind: str
    folder: Path
    account: Account

    @property
    def version(self) -> str:
        """What is unpacked there, without the v; empty for nothing."""
        path = self.folder / "version"
        return path.read_text().strip().lstrip("v") if path.is_file() else ""

    @property
    def patch(self) -> str:
        """The patch that somebody applied; empty for none."""
        path = self.folder / "patch"
        return path.read_text().strip() if path.is_file() else ""

    @property
    def state(self) -> Dict[str, Any]:
        """installing or installed, and what belongs to it. What was installed by hand counts as installed."""
        path = self.folder / _STATE
        if path.is_file():
            found: Dict[str, Any] = json.loads(path.read_text())
            return found
        return {"state": "installed"} if (self.folder / "config.sh").is_file() else {}

    @property
    def installed(self) -> bool:
        """Whether its installer has come to its end."""
        return bool(self.version) and self.state.get("state") == "installed"

    def note(self, state: str, **more: object) -> None:
        """Remember how far it is."""
        self.account.write(self.folder / _STATE, json.dumps({"state": state, **more}) + "\n")

    def note_in(self, draft: Path) -> None:
        """Say of an unpacked draft that it is not installed yet, before it comes to its place."""
        self.account.write(draft / _STATE, json.dumps({"state": "installing"}) + "\n")

    def configuration(self) -> str:
        """Its config.sh."""
        path = self.folder / "config.sh"
        return path.read_text() if path.is_file() else ""

    def configure(self, values: Mapping[str, str]) -> bool:
        """Set variables in config.sh, which only the user may read from then on. Whether that changed anything."""
        path, text = self.folder / "config.sh", self.configuration()
        changed = text
        for name, value in values.items():
            line = f'export {name}="{value}"\n'
            pattern = rf"(?m)^export {name}=.*\n"
            # None of the values has a backslash, which would mean something in what replaces a pattern.
            changed = re.sub(pattern, line, changed) if re.search(pattern, changed) else changed + line
        if changed != text or path.stat().st_mode & 0o077:
            self.account.write(path, changed)
        return changed != text


class Installation:
    """cryoSPARC's places on this head node, and the notes about them."""

    def __init__(self, here: Settings, account: Account) -> None:
        root = here.cryosparc_folder
        worker = Path(here.cryosparc_worker).parent.parent
        self.here, self.account = here, account
        self.master = Package("master", root / "cryosparc_master", account)
        self.worker = Package("worker", worker, account)
        self.database, self.backups, self.packages = root / "database", root / "backups", root / "packages"
        self._stamp, self._restore = root / "database.json", root / "restore.json"
        self.upgrade_note = root / "upgrade.json"
        # cryosparcm may print it, whoever called it.
        for found in re.findall(rf'{LICENSE_VARIABLE}="?([^"\s]{{8,}})', self.master.configuration()):
            account.mask.add(found)

    @property
    def host(self) -> str:
        """What cryoSPARC's nodes call this one; cryosparcm works on the host of this name only."""
        if self.here.cryosparc_host:
            return self.here.cryosparc_host
        return subprocess.run(["hostname", "--fqdn"], check=True, capture_output=True, text=True).stdout.strip()

    @property
    def url(self) -> str:
        """Where the web application is, and from version 5 on everything else."""
        return f"http://{self.host}:{self.here.cryosparc_port}"

    def prepare(self) -> None:
        """The folders, in the user's hands."""
        if not self.here.fsx.is_dir():
            raise Later(f"{self.here.fsx} is not mounted")
        for folder in (self.here.cryosparc_folder, self.worker.folder.parent, self.packages):
            self.account.own(folder)
        for folder in (self.database, self.backups):
            self.account.own(folder, 0o700)

    @property
    def has_database(self) -> bool:
        """Whether there is anything in the database's folder."""
        return self.database.is_dir() and any(self.database.iterdir())

    @property
    def database_version(self) -> str:
        """The version that wrote the database last; empty where that is not known."""
        return str(_read(self._stamp).get("version", ""))

    def stamp_database(self, version: str) -> None:
        """Remember that a version writes, or is about to write, the database."""
        if self.database_version != version:
            self.account.write(self._stamp, json.dumps({"version": version}) + "\n")

    @property
    def patches(self) -> Tuple[str, str]:
        """The patches of master and worker. cryoSPARC patches a cluster's worker by hand only, so they may differ."""
        return self.master.patch, self.worker.patch

    @property
    def restore(self) -> Dict[str, Any]:
        """The restore that has not ended; empty for none."""
        return _read(self._restore)

    def note_restore(self, **note: object) -> None:
        """Remember a restore that begins; nothing starts the master until it has ended."""
        self.account.write(self._restore, json.dumps(note) + "\n")

    def forget_restore(self) -> None:
        """It has ended."""
        self.account.remove(self._restore)

    @property
    def upgrade(self) -> Dict[str, Any]:
        """The upgrade that has begun and not ended, or failed for good; empty for none."""
        return _read(self.upgrade_note)

    def note_upgrade(self, **note: object) -> None:
        """Remember how far it is."""
        self.account.write(self.upgrade_note, json.dumps(note) + "\n")

    def forget_upgrade(self) -> None:
        """It has ended."""
        self.account.remove(self.upgrade_note)


def _read(path: Path) -> Dict[str, Any]:
    found: Dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return found


@contextlib.contextmanager
def locked(home: Path, *, wait_seconds: float = 2) -> Iterator[int]:
    """Nobody else installs, backs up or restores meanwhile. Yields the lock's file descriptor, for commands to hold."""
    end = time.monotonic() + wait_seconds
    with (home / _LOCK).open("w") as lock:
        while not _take(lock.fileno()):
            if time.monotonic() >= end:
                raise Later("another program is at cryoSPARC's installation or database")
            threading.Event().wait(1)
        yield lock.fileno()


def at_work(home: Path) -> bool:
    """Whether cryoSPARC is being installed, backed up or restored."""
    path = home / _LOCK
    if not path.exists():
        return False
    with path.open("w") as lock:
        return not _take(lock.fileno())


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
