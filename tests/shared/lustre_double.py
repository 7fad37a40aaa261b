"""A file system of the template's associations, synchronised when told to, by the twin's own code and under a role."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from deployed import Deployed

from cdk_cryoem_twin.emulator.lustre_sync import (
    Association,
    export_all,
    export_once,
    files_of,
    import_once,
    miss_what_changed,
)

# The twin waits until a file has not been written to for a moment; nobody writes meanwhile here.
_LATER_SECONDS = 60


class RefusedError(Exception):
    """S3 refused what the file system asked for by itself."""


class LustreDouble:
    """One life of a file system: a folder for each association. s3: a client of the role that FSx makes for it."""

    def __init__(self, root: Path, deployed: Deployed, s3: Any) -> None:
        self.root, self._s3 = root, s3
        ((stack, logical, _),) = deployed.of_type("AWS::FSx::FileSystem")
        self.id = deployed.name(stack, logical)
        self.associations: dict[str, Association] = {}
        for _, _, found in deployed.of_type("AWS::FSx::DataRepositoryAssociation"):
            bucket, _, prefix = found["DataRepositoryPath"].removeprefix("s3://").partition("/")
            association = Association(
                folder=root / found["FileSystemPath"].strip("/"),
                bucket=bucket,
                prefix=prefix.rstrip("/") + "/",
                imports=frozenset(found["S3"].get("AutoImportPolicy", {}).get("Events", [])),
                exports=frozenset(found["S3"].get("AutoExportPolicy", {}).get("Events", [])),
                import_what_is_there=str(found.get("BatchImportMetaDataOnCreate")).lower() == "true",
            )
            association.folder.mkdir(parents=True)
            self.associations[found["FileSystemPath"].rstrip("/")] = association
            if association.import_what_is_there and not association.imports:
                import_once(association, s3, whatever=True)

    @property
    def data(self) -> Path:
        """Where movies are."""
        return self.root / "data"

    @property
    def projects(self) -> Path:
        """Where results are."""
        return self.root / "projects"

    def files(self, folder: Path) -> list[Path]:
        """All files below a folder."""
        return sorted(path for path in folder.rglob("*") if path.is_file())

    def synchronise(self) -> None:
        """Both directions of all associations. Errors: RefusedError."""
        try:
            for association in self.associations.values():
                if association.imports:
                    import_once(association, self._s3)
                if "DELETED" in association.exports:
                    self._export_deletions(association)
                if association.exports:
                    export_once(association, self._s3, now=time.time() + _LATER_SECONDS)
        except ClientError as error:
            raise RefusedError(str(error)) from error

    def _export_deletions(self, association: Association) -> None:
        """What no association of ours does. FSx deletes the object of a file that is deleted."""
        for name in [name for name in association.files if not (association.folder / name).exists()]:
            self._s3.delete_object(Bucket=association.bucket, Key=association.prefix + name)
            del association.files[name]

    def switch_export(self, path: str, events: frozenset[str]) -> None:
        """What is exported by itself from now on. What was written while nothing was is for a task."""
        association = self.associations[path]
        if events and not association.exports:
            miss_what_changed(association)
        association.exports = events

    def export(self, path: str, below: str) -> int:
        """An export task; how many files there were."""
        return export_all(self.associations[path], self._s3, below=below)

    def release(self, path: str, below: str, *, idle_seconds: float, now: float) -> list[str]:
        """Drop content that is in S3 as it is and that nobody used for so long; the next look reads it from S3 again."""
        association, released = self.associations[path], []
        for name, file in list(files_of(association)):
            idle = now - max(file.stat().st_atime, file.stat().st_mtime) > idle_seconds
            as_in_s3 = _stamp(file) == association.files.get(name) and name in association.imported
            if name.startswith(f"{below}/") and idle and as_in_s3:
                file.unlink()
                del association.imported[name]
                released.append(name)
        return released

    def hsm_states(self, paths: list[str]) -> dict[str, list[str]]:
        """What `lfs hsm_state` says of files, as the head node's list-files asks it."""
        return {path: list(self._state(Path(path))) for path in paths}

    def _state(self, path: Path) -> Iterator[str]:
        for association in self.associations.values():
            if path.is_relative_to(association.folder):
                known = association.files.get(str(path.relative_to(association.folder)))
                if known is not None:
                    yield from ("exists", "archived")
                    if known != _stamp(path):
                        yield "dirty"

    def empty(self, folder: Path) -> None:
        """rm -rf FOLDER/*."""
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    def delete(self) -> None:
        """The file system goes, with everything on it."""
        shutil.rmtree(self.root)


def _stamp(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_mtime_ns, status.st_size
