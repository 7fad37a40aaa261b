"""restore-database: list backups of cryoSPARC's database, or bring one back.

Without arguments it lists those on the volume and in the results bucket. With --from NAME it says what it would do, with
--yes it does it. A database that is there is put aside, never removed, and only with --replace; if anything fails, it comes
back. May be killed at any point and run again. Projects' folders are not touched: what changed in them since the backup
the old database does not know (docs/cryosparc.md). Needs boto3.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

from . import backups, settings
from .account import Account
from .backups import Backup, Bucket
from .installation import Installation, locked
from .master import Master, jobs
from .outcome import Later, Mask, Refused, end, say

PROGRAM = "restore-database"


class Restoring:
    """One backup on its way back."""

    def __init__(self, installation: Installation, bucket: Optional[Bucket], mask: Mask) -> None:
        self._installation, self._bucket, self._mask = installation, bucket, mask
        self._master = Master(installation)

    def plan(self, name: str, *, replace: bool) -> List[str]:
        """What would be done, in order. Refused, if it cannot be."""
        installation = self._installation
        backup = self._find(name)
        if not installation.master.installed:
            raise Later(f"no cryoSPARC is installed in {installation.master.folder}")
        if backup.version != installation.master.version:
            raise Refused(
                f"{name} is of cryoSPARC {backup.version}, and {installation.master.version} is installed: a database goes back"
                " into the version that wrote it. docs/cryosparc.md says how to install that one first"
            )
        if installation.has_database and not replace:
            raise Refused(
                f"{installation.database} holds a database: with --replace it is put aside (and never removed), and the backup"
                " takes its place"
            )
        count = jobs()
        if count:
            raise Later(
                f"{count} cryoSPARC jobs run or wait in Slurm: they would write into a database that knows nothing of them"
            )
        steps = [] if backup.here else [f"fetch {name} from {self._bucket.url(name) if self._bucket else 'the bucket'}"]
        steps += ["stop cryoSPARC"]
        if installation.has_database:
            steps += [f"put {installation.database} aside as {installation.database}.before-restore-TIME"]
        return [
            *steps,
            f"restore {backup.manifest['database_bytes']} bytes of {backup.manifest['created']}",
            "start cryoSPARC",
        ]

    def restore(self, name: str) -> Dict[str, Any]:
        """Do it."""
        installation = self._installation
        archive = backups.fetch(installation, self._bucket, name) / backups.ARCHIVE
        aside = Path(f"{installation.database}.before-restore-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
        version = installation.database_version
        note = {"backup": name, "aside": str(aside), "had": installation.has_database, "version": version}
        installation.note_restore(**note)
        self._master.stop()
        try:
            if installation.has_database:
                installation.account.move(installation.database, aside)
            installation.account.own(installation.database, 0o700)
            installation.stamp_database(installation.master.version)
            self._master.start_database()
            self._master.bring_back(archive)
            self._master.stop()
            self._master.start()
        except BaseException:
            say(PROGRAM, "it failed; the database comes back as it was", self._mask)
            self.undo()
            self._master.start()
            raise
        installation.forget_restore()
        return {"restored": name, "put_aside": str(aside) if aside.exists() else None, "url": installation.url}

    def undo(self) -> None:
        """Put the database back that was put aside by a restore that did not end."""
        installation, note = self._installation, self._installation.restore
        aside, failed = Path(note["aside"]), Path(f"{installation.database}.failed-restore")
        self._master.stop()
        # A database that was there and is not aside is still in its place.
        if aside.is_dir() or not note["had"]:
            installation.account.remove(failed)
            if installation.database.exists():
                installation.account.move(installation.database, failed)
            if aside.is_dir():
                installation.account.move(aside, installation.database)
            # Half of what the backup has as a whole.
            installation.account.remove(failed)
        installation.account.own(installation.database, 0o700)
        if note["version"]:
            installation.stamp_database(str(note["version"]))
        installation.forget_restore()

    def _find(self, name: str) -> Backup:
        found = backups.all_of(self._installation, self._bucket)
        for backup in found:
            if backup.name == name:
                return backup
        raise Refused(f"there is no backup {name}; there are {', '.join(b.name for b in found) or 'none'}")


def main() -> None:
    """List, plan or restore, and print it."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__)
    parser.add_argument("--from", dest="name", help="the backup; without it they are listed")
    parser.add_argument("--replace", action="store_true", help="also if there is a database; it is put aside")
    parser.add_argument("--yes", action="store_true", help="do it, instead of saying what would be done")
    arguments = parser.parse_args()
    mask = Mask()

    def work() -> Dict[str, Any]:
        here = settings.load(Path(os.environ["CRYOEM_HOME"]))
        bucket = backups.bucket_of(here)
        with locked(here.home) as lock:
            installation = Installation(here, Account(here.user, mask, hold=(lock,)))
            if arguments.name is None:
                return {"backups": [backup.document() for backup in backups.all_of(installation, bucket)]}
            restoring = Restoring(installation, bucket, mask)
            if installation.restore and arguments.yes:
                say(PROGRAM, "a restore before this one did not end; first the database comes back as it was", mask)
                restoring.undo()
            steps = restoring.plan(arguments.name, replace=arguments.replace)
            if not arguments.yes:
                return {"would": steps, "to_do_it": "the same with --yes"}
            return restoring.restore(arguments.name)

    end(PROGRAM, work, mask)


if __name__ == "__main__":
    main()
