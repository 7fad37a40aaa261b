"""Backups of cryoSPARC's database: made on the retained volume, copied to the results bucket, a few kept here.

    NAME/database.archive   what `cryosparcm backup` writes
    NAME/config/...         config.sh of master and worker without the licence id, version 5's instance configuration
    NAME/lanes/...          the lanes' files
    NAME/manifest.json      what all that is; written last, here and in the bucket

Needs boto3. The head node may not delete anything in the bucket; how long backups stay there is the bucket's business.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

import boto3

from .installation import LICENSE_VARIABLE, Installation, Package
from .master import Master
from .outcome import Refused
from .settings import NONE, Settings

KEPT = 3
"""How many stay on the volume."""
ARCHIVE, _MANIFEST = "database.archive", "manifest.json"
# Beneath that MongoDB stops, so that a backup must not get there (CRYOSPARC_DB_MIN_SPACE_GB is 5).
_LEAST_FREE = 8 * 2**30


@dataclass(frozen=True)
class Backup:
    """One backup, and where it is."""

    manifest: Dict[str, Any]
    here: bool
    in_bucket: bool

    @property
    def name(self) -> str:
        """Its name, which begins with its time."""
        return str(self.manifest["name"])

    @property
    def version(self) -> str:
        """The version of cryoSPARC that wrote it."""
        return str(self.manifest["version"])

    def document(self) -> Dict[str, Any]:
        """For people."""
        shown = {key: self.manifest[key] for key in ("name", "version", "created", "database_bytes")}
        return {**shown, "on_volume": self.here, "in_bucket": self.in_bucket}


def make(installation: Installation, master: Master, license_id: str) -> Backup:
    """Make one. It is there as a whole or not at all."""
    _need_space(installation)
    account, version = installation.account, installation.master.version
    now, name = _name(installation, version)
    draft = installation.backups / f".draft-{name}"
    account.remove(*installation.backups.glob(".draft-*"))
    account.run("mkdir", "-m", "700", str(draft), str(draft / "config"), str(draft / "lanes"))
    master.back_up(draft, ARCHIVE)
    archive = draft / ARCHIVE
    if not archive.is_file() or archive.stat().st_size == 0:
        raise RuntimeError("cryosparcm backup ended well and left no archive behind")
    left_out = _keep_configuration(installation, draft, license_id)
    _keep_lanes(installation, draft)
    manifest = {
        "name": name,
        "version": version,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", now),
        "cluster": installation.here.cluster,
        "host": installation.host,
        "database_bytes": archive.stat().st_size,
        "database_sha256": digest(archive),
        "files": sorted(str(path.relative_to(draft)) for path in draft.rglob("*") if path.is_file()),
        "left_out": left_out,
    }
    account.write(draft / _MANIFEST, json.dumps(manifest, indent=2) + "\n")
    account.move(draft, installation.backups / name)
    return Backup(manifest, here=True, in_bucket=False)


def _name(installation: Installation, version: str) -> Tuple[time.struct_time, str]:
    """The time, and a name that begins with it and that no other backup has."""
    while True:
        now = time.gmtime()
        name = f"{time.strftime('%Y%m%dT%H%M%SZ', now)}-v{version}"
        if not (installation.backups / name).exists():
            return now, name
        threading.Event().wait(0.1)


def _need_space(installation: Installation) -> None:
    last = max((backup.manifest["database_bytes"] for backup in on_volume(installation)), default=0)
    stored = sum(path.stat().st_size for path in installation.database.rglob("*") if path.is_file())
    needed = (int(last * 1.2) if last else stored) + _LEAST_FREE
    free = shutil.disk_usage(installation.backups).free
    if free < needed:
        raise RuntimeError(
            f"no room for a backup: {installation.backups} has {free >> 30} GiB free, {needed >> 30} GiB are needed"
        )


def _keep_configuration(installation: Installation, draft: Path, license_id: str) -> List[str]:
    account, left_out = installation.account, []
    for package in (installation.master, installation.worker):
        account.write(draft / "config" / f"{package.kind}-config.sh", without_license(package, license_id))
    exports = sorted((installation.master.folder / "run").glob("cryosparc_instance_config_*.tar"))
    for export in exports[-1:]:
        # What cryoSPARC puts in there is its business; whether the licence id is in there is ours.
        if license_id.encode() in export.read_bytes():
            left_out.append(f"{export.name}: it holds the licence id")
        else:
            account.run("cp", str(export), str(draft / "config"))
    return left_out


def without_license(package: Package, license_id: str) -> str:
    """The package's config.sh with nothing for the licence id, wherever it stands."""
    lines = package.configuration().replace(license_id, "").splitlines()
    return "".join(f'export {LICENSE_VARIABLE}=""\n' if LICENSE_VARIABLE in line else f"{line}\n" for line in lines)


def _keep_lanes(installation: Installation, draft: Path) -> None:
    lanes = installation.here.lanes
    for path in sorted(lanes.glob("*/*")) if lanes.is_dir() else ():
        if path.is_file() and not path.name.startswith("."):
            installation.account.write(draft / "lanes" / f"{path.parent.name}-{path.name}", path.read_text())


def digest(path: Path) -> str:
    """SHA-256 of a file that may be larger than the memory."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            found.update(block)
    return found.hexdigest()


def on_volume(installation: Installation) -> List[Backup]:
    """Those on the volume, the oldest first."""
    paths = sorted(installation.backups.glob(f"[0-9]*/{_MANIFEST}")) if installation.backups.is_dir() else []
    return [Backup(json.loads(path.read_text()), here=True, in_bucket=False) for path in paths]


def prune(installation: Installation) -> List[str]:
    """Remove all but the newest few from the volume. Returns the names of what went."""
    gone = [backup.name for backup in on_volume(installation)[:-KEPT]]
    installation.account.remove(*(installation.backups / name for name in gone))
    return gone


class Bucket:
    """This cluster's backups in the results bucket."""

    def __init__(self, here: Settings) -> None:
        self._bucket, self._prefix = here.results_bucket, f"backups/cryosparc/{here.cluster}/"
        self._s3: Any = boto3.client("s3", region_name=here.region)

    def url(self, name: str) -> str:
        """Where a backup is, for people."""
        return f"s3://{self._bucket}/{self._prefix}{name}/"

    def names(self) -> List[str]:
        """Those that are there as a whole."""
        return sorted(key.split("/")[-2] for key in self._keys(self._prefix) if key.endswith(f"/{_MANIFEST}"))

    def manifest(self, name: str) -> Dict[str, Any]:
        """What a backup is."""
        body = self._s3.get_object(Bucket=self._bucket, Key=f"{self._prefix}{name}/{_MANIFEST}")["Body"].read()
        found: Dict[str, Any] = json.loads(body)
        return found

    def put(self, folder: Path) -> None:
        """Copy a backup, its manifest last."""
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        for path in sorted(paths, key=lambda path: path.name == _MANIFEST):
            key = f"{self._prefix}{folder.name}/{path.relative_to(folder)}"
            self._s3.upload_file(str(path), self._bucket, key)

    def get(self, name: str, folder: Path) -> None:
        """Fetch a backup into a folder."""
        prefix = f"{self._prefix}{name}/"
        for key in self._keys(prefix):
            path = folder / key[len(prefix) :]
            path.parent.mkdir(parents=True, exist_ok=True)
            self._s3.download_file(self._bucket, key, str(path))

    def _keys(self, prefix: str) -> Iterator[str]:
        for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
            for found in page.get("Contents", []):
                yield str(found["Key"])


def bucket_of(here: Settings) -> Optional[Bucket]:
    """The results bucket, or None for a head node that was told of none."""
    return None if here.results_bucket in ("", NONE) else Bucket(here)


def copy_missing(installation: Installation, bucket: Bucket) -> List[str]:
    """Copy what is on the volume and not in the bucket, also of nights when that failed. Returns the names."""
    there = set(bucket.names())
    missing = [backup.name for backup in on_volume(installation) if backup.name not in there]
    for name in missing:
        bucket.put(installation.backups / name)
    return missing


def all_of(installation: Installation, bucket: Optional[Bucket]) -> List[Backup]:
    """Those on the volume and those in the bucket, the oldest first."""
    here = {backup.name: backup.manifest for backup in on_volume(installation)}
    there = set(bucket.names()) if bucket else set()
    found = []
    for name in sorted({*here, *there}):
        manifest = here[name] if name in here or bucket is None else bucket.manifest(name)
        found.append(Backup(manifest, here=name in here, in_bucket=name in there))
    return found


def fetch(installation: Installation, bucket: Optional[Bucket], name: str) -> Path:
    """The backup's folder on the volume, from the bucket if need be, with an archive that is what it was."""
    folder = installation.backups / name
    if not folder.is_dir():
        if bucket is None:
            raise Refused(f"there is no backup {name} on {installation.backups}")
        draft = installation.backups / f".draft-{name}"
        installation.account.remove(*installation.backups.glob(".draft-*"))
        bucket.get(name, draft)
        for path in (draft, *draft.rglob("*")):
            shutil.chown(path, installation.account.uid, installation.account.gid)
        installation.account.move(draft, folder)
    manifest = json.loads((folder / _MANIFEST).read_text())
    if digest(folder / ARCHIVE) != manifest["database_sha256"]:
        raise Refused(f"{folder / ARCHIVE} is not what was backed up: its SHA-256 differs from its manifest's")
    return folder
