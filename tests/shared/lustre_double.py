"""A file system of the template's associations, synchronised when told to, by the twin's own code and under a role."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError
from deployed import Deployed

from cdk_cryoem_twin.emulator.lustre_sync import Association, export_once, import_once

# The twin waits until a file has not been written to for a moment; nobody writes meanwhile here.
_LATER_SECONDS = 60


class RefusedError(Exception):
    """S3 refused what the file system asked for by itself."""


class LustreDouble:
    """One life of a file system: a folder for each association. s3: a client of the role that FSx makes for it."""

    def __init__(self, root: Path, deployed: Deployed, s3: Any) -> None:
        self.root, self._s3 = root, s3
        self._associations = []
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
            self._associations.append(association)

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
            for association in self._associations:
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

    def release(self, name: str) -> None:
        """Drop a movie's content; the next look at it reads it from S3 again."""
        for association in self._associations:
            if association.folder == self.data:
                association.imported.pop(name, None)
                (self.data / name).unlink(missing_ok=True)

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
