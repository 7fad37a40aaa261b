"""From one version of cryoSPARC to a newer one, or back to where it was.

Backup first, then copies of database and master beside them; then the worker, then cryoSPARC's own `cryosparcm update` with
packages that were downloaded before. Between version 4 and 5 nothing else may touch the database, and what an update
that broke off leaves behind nobody but cryoSPARC knows: so each attempt begins with the copies.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Callable, Tuple

from . import packages, versions
from .account import CommandFailed
from .backups import Backup
from .installation import Installation
from .master import Master, jobs
from .outcome import Later, Refused

_MOST_ATTEMPTS = 3
_LEAST_FREE = 8 * 2**30


def refuse_downgrade(installation: Installation, wanted: str) -> None:
    """Neither programs nor database can become older."""
    for what, has in (("installed", installation.master.version), ("in the database", installation.database_version)):
        if has and versions.parse(wanted) < versions.parse(has):
            raise Refused(
                f"cryoSPARC {wanted} is wanted and {has} is {what}: it cannot become older."
                " docs/cryosparc.md says how to go back to a backup"
            )


def upgrade(
    installation: Installation, master: Master, wanted: str, license_id: str, back_up: Callable[[], Backup]
) -> None:
    """Do it, or go on with it where it broke off. Later, while jobs of cryoSPARC's run or wait."""
    for package in (installation.master, installation.worker):
        packages.fetch(installation, package.kind, wanted, license_id)
    if installation.upgrade.get("state") != "begun":
        _begin(installation, master, wanted, back_up)
    note = installation.upgrade
    attempts = int(note["attempts"]) + 1
    if attempts > _MOST_ATTEMPTS:
        go_back(installation, master)
        installation.note_upgrade(**{**note, "state": "failed"})
        raise Refused(
            f"cryosparcm update to {wanted} failed {_MOST_ATTEMPTS} times; its log says why. {note['from']} is back as it was."
            f" To try once more, remove {installation.upgrade_note}"
        )
    if attempts > 1:
        go_back(installation, master)
    installation.note_upgrade(**{**note, "attempts": attempts})
    installation.stamp_database(wanted)
    if installation.worker.version != wanted or not installation.worker.installed:
        packages.install(installation, installation.worker, wanted, license_id)
    for package in (installation.master, installation.worker):
        archive = packages.fetch(installation, package.kind, wanted, license_id)
        place = installation.master.folder / f"cryosparc_{package.kind}.tar.gz"
        installation.account.run("ln", "-f", str(archive), str(place))
    master.update(wanted)
    if installation.master.version != wanted:
        raise RuntimeError(f"cryosparcm update ended well and left {installation.master.version or 'nothing'} behind")
    installation.master.note("installed", version=wanted)
    installation.forget_upgrade()
    copies = installation.master.folder.parent.glob("cryosparc_master.before-*")
    installation.account.remove(*copies, *_archives(installation))


def _begin(installation: Installation, master: Master, wanted: str, back_up: Callable[[], Backup]) -> None:
    _need_space(installation)
    count = jobs()
    if count:
        raise Later(f"cryoSPARC {wanted} waits for {count} cryoSPARC jobs that run or wait in Slurm")
    has, account = installation.master.version, installation.account
    # Nothing comes into the database any more, so that the backup is the last word, and the copy one of a closed database.
    master.stop()
    try:
        backup = back_up()
        # To back up, cryoSPARC started the database again.
        master.stop()
        for place, copy in _copies(installation, wanted):
            account.remove(*place.parent.glob(f"{place.name}.before-*"))
            _copy(installation, place, copy)
    except BaseException:
        master.start()
        raise
    installation.note_upgrade(state="begun", to=wanted, backup=backup.name, attempts=0, **{"from": has})


def go_back(installation: Installation, master: Master) -> None:
    """Put database and master back as they were before an upgrade that has not come to its end."""
    note = installation.upgrade
    try:
        master.stop()
    except (CommandFailed, OSError):
        # Half an update may have left no cryosparcm that works. An update stops the master before it does anything.
        if master.answers():
            raise
    for place, copy in _copies(installation, str(note["to"])):
        # A copy of the copy: this may break off, too.
        broken = place.with_name(f"{place.name}.broken")
        _copy(installation, copy, place.with_name(f"{place.name}.again"))
        installation.account.remove(broken)
        if place.exists():
            installation.account.move(place, broken)
        installation.account.move(place.with_name(f"{place.name}.again"), place)
        installation.account.remove(broken)
    installation.stamp_database(str(note["from"]))


def _copies(installation: Installation, wanted: str) -> Tuple[Tuple[Path, Path], ...]:
    places = (installation.database, installation.master.folder)
    return tuple((place, place.with_name(f"{place.name}.before-{wanted}")) for place in places)


def _copy(installation: Installation, source: Path, target: Path) -> None:
    draft = target.with_name(f"{target.name}.draft")
    installation.account.remove(draft, target)
    installation.account.run("cp", "-a", "--reflink=auto", str(source), str(draft))
    installation.account.move(draft, target)


def _archives(installation: Installation) -> Tuple[Path, ...]:
    folders = (installation.packages, installation.master.folder)
    return tuple(path for folder in folders for path in folder.glob("cryosparc_*.tar.gz"))


def _need_space(installation: Installation) -> None:
    # Twice: an attempt that begins anew has a third one for a moment.
    stored = 2 * sum(_size(place) for place, _ in _copies(installation, ""))
    free = shutil.disk_usage(installation.database).free
    if free < stored + _LEAST_FREE:
        raise RuntimeError(
            f"no room for an upgrade, which keeps copies of database and master: {free >> 30} GiB are free,"
            f" {(stored + _LEAST_FREE) >> 30} GiB are needed"
        )


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
