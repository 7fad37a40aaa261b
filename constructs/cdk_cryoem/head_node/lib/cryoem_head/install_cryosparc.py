"""install-cryosparc: cryoSPARC of the version that the setup names, installed, running, and known to the hooks.

Once, or with --stay for ever: then it looks every minute, starts a master that went away, and installs what is missing,
such as the worker on a new file system. May be killed at any point and run again: every step looks whether it is done.
Exit status 78: somebody has to change something; 75: not now, for example while jobs run. Needs boto3 and, for version 5,
cryosparc-tools.
"""

from __future__ import annotations

import argparse
import os
import re
import threading
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

from . import backup_database, backups, credentials, hooks_user, packages, settings, upgrade, versions
from .account import Account
from .installation import LICENSE_VARIABLE, Installation, locked
from .master import Master
from .outcome import Later, Mask, Refused, end, say

PROGRAM = "install-cryosparc"
_SECONDS = 60
# So often in a row it must not answer: a web application that is busy may miss one.
_MISSED = 3
_AWAY = "the master does not answer"


class Converging:
    """One pass: from whatever is there to a cryoSPARC that runs."""

    def __init__(self, here: settings.Settings, mask: Mask, lock: int) -> None:
        self._here, self._mask = here, mask
        self._installation = Installation(here, Account(here.user, mask, hold=(lock,)))
        self._master = Master(self._installation)
        self._license: Optional[str] = None
        self.done: List[str] = []

    @property
    def _license_id(self) -> str:
        if self._license is None:
            self._license = credentials.license_id(self._here, self._mask)
        return self._license

    def run(self) -> Dict[str, Any]:
        """Do what is missing. Returns what was done, and what there is."""
        installation, package = self._installation, self._installation.master
        wanted = versions.supported(self._here.cryosparc_version)
        if installation.restore:
            raise Later(
                f"a restore of {installation.restore.get('backup')} has not ended: run restore-database again"
                " (docs/cryosparc.md); until then the master is not started"
            )
        if _begun(installation) and installation.upgrade["to"] != wanted:
            upgrade.go_back(installation, self._master)
            installation.forget_upgrade()
        if not _begun(installation):
            upgrade.refuse_downgrade(installation, wanted)
            installation.prepare()
            if not package.installed:
                self._install_master(wanted)
            self._settle()
        if _begun(installation) or (package.version != wanted and not _given_up(installation, wanted)):
            self._upgrade(wanted)
            self._settle()
        return {
            "state": "running",
            "version": package.version,
            "url": installation.url,
            "done": self.done,
            "patches": dict(zip(("master", "worker"), installation.patches)),
            **({"failed": installation.upgrade} if _given_up(installation, wanted) else {}),
        }

    def _install_master(self, wanted: str) -> None:
        installation = self._installation
        if installation.has_database and not installation.database_version:
            raise Refused(
                f"{installation.database} holds a database of an unknown version: write it into"
                f' {installation.database}.json, as {{"version": "4.7.1"}}'
            )
        # A database may only be opened by the version that wrote it; the newer one comes after that by an upgrade.
        version = installation.database_version if installation.has_database else wanted
        packages.check_license(installation, self._license_id)
        packages.install(installation, installation.master, version, self._license_id)
        self._note(f"installed the master {version}")

    def _settle(self) -> None:
        """Worker, configuration, database, master and user, for the master's version."""
        installation, version = self._installation, self._installation.master.version
        worker = installation.worker
        if worker.version != version or not worker.installed:
            packages.install(installation, worker, version, self._license_id)
            self._note(f"installed the worker {version}")
        worker.configure({LICENSE_VARIABLE: self._license_id})
        values = {LICENSE_VARIABLE: self._license_id, **packages.master_values(installation)}
        self._refuse_another_place(values)
        if installation.master.configure(values) and self._master.answers():
            # It reads its configuration when it starts.
            self._master.stop()
            self._note("stopped the master for its new configuration")
        installation.stamp_database(version)
        if not self._master.answers():
            self._master.start()
            self._note("started the master")
        login = credentials.hooks_login(self._here, self._mask)
        if hooks_user.ensure(installation.url, version, self._license_id, login):
            self._note(f"made the user {login.email}")
        told = {"CRYOSPARC_URL": installation.url, "CRYOSPARC_INSTALLED": version}
        if (self._here.cryosparc_url, self._here.cryosparc_installed) != tuple(told.values()):
            # From now on register-lanes, which each sweep runs, gives it the lanes.
            settings.remember(self._here.home, **told)
            self._note("wrote the address into head-node.env")

    def _refuse_another_place(self, values: Mapping[str, str]) -> None:
        """What was installed by hand may have its database elsewhere: with ours it would begin as an empty one."""
        package = self._installation.master
        for name, how in (
            ("CRYOSPARC_DB_PATH", "stop cryoSPARC, move the folder, and correct the line"),
            ("CRYOSPARC_BASE_PORT", "run cryosparcm changeport, because the database knows its port"),
        ):
            found = re.search(rf'(?m)^export {name}="?([^"\n]*)', package.configuration())
            if found and found[1] != values[name]:
                raise Refused(
                    f"{package.folder}/config.sh has {name}={found[1]}, and {values[name]} is expected: {how}"
                )

    def _upgrade(self, wanted: str) -> None:
        def back_up() -> backups.Backup:
            made = backup_database.back_up(self._installation, self._mask)
            self._note(f"backed up the database as {made['name']}")
            return backups.Backup(made, here=True, in_bucket=bool(made["in_bucket"]))

        upgrade.upgrade(self._installation, self._master, wanted, self._license_id, back_up)
        self._note(f"updated to {wanted}")

    def _note(self, text: str) -> None:
        self.done.append(text)
        say(PROGRAM, text, self._mask)


def once(home: Path, mask: Mask) -> Dict[str, Any]:
    """One pass, if the setup wants a cryoSPARC."""
    here = settings.load(home)
    if here.cryosparc_version == settings.NONE:
        return {"state": settings.NONE}
    with locked(home) as lock:
        return Converging(here, mask, lock).run()


def amiss(home: Path, mask: Mask) -> str:
    """What a pass would have to do, seen without asking anybody but the master; empty for nothing."""
    here = settings.load(home)
    installation = Installation(here, Account(here.user, mask))
    master, worker = installation.master, installation.worker
    if here.cryosparc_version == settings.NONE:
        return "the setup wants none any longer"
    wanted = versions.supported(here.cryosparc_version)
    if not master.installed or _begun(installation):
        return "something was not finished"
    if master.version != wanted and not _given_up(installation, wanted):
        return f"the setup wants {wanted}"
    if not worker.installed or worker.version != master.version:
        return "the worker is missing"
    if not here.cryosparc_url or here.cryosparc_installed != master.version:
        return "the settings do not know it"
    return "" if Master(installation).answers() else _AWAY


def stay(home: Path, mask: Mask) -> Dict[str, Any]:
    """Pass after pass, until the setup wants no cryoSPARC any longer. New programs take over in the same process."""
    clock, programs, missed, why = threading.Event(), _programs(home), 0, "begin"
    while True:
        missed = missed + 1 if why == _AWAY else 0
        if why and (why != _AWAY or missed >= _MISSED):
            try:
                document = once(home, mask)
                if document["state"] == settings.NONE:
                    return document
            except Later as error:
                say(PROGRAM, str(error), mask)
        clock.wait(_SECONDS)
        if _programs(home) != programs:
            os.execv(str(home / "bin" / PROGRAM), [PROGRAM, "--stay"])  # noqa: S606 - ourselves
        why = amiss(home, mask)


def _begun(installation: Installation) -> bool:
    return installation.upgrade.get("state") == "begun"


def _given_up(installation: Installation, wanted: str) -> bool:
    note = installation.upgrade
    return note.get("state") == "failed" and note.get("to") == wanted


def _programs(home: Path) -> int:
    """Another number when other programs are installed."""
    return (home / "bin" / PROGRAM).stat().st_ino


def stop(home: Path, mask: Mask) -> Dict[str, Any]:
    """Stop the master, if there is one."""
    here = settings.load(home)
    installation = Installation(here, Account(here.user, mask))
    if installation.master.installed:
        Master(installation).stop()
    return {"state": "stopped"}


def main() -> None:
    """Install and start, and print what was done."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--stay", action="store_true", help="look again every minute, for ever")
    what.add_argument("--stop", action="store_true", help="stop the master")
    arguments = parser.parse_args()
    work = stay if arguments.stay else stop if arguments.stop else once
    home, mask = Path(os.environ["CRYOEM_HOME"]), Mask()
    end(PROGRAM, lambda: work(home, mask), mask)


if __name__ == "__main__":
    main()
