"""Both directions of one data repository association, over S3's public API."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

log = logging.getLogger("twin.fsx")
_DRAFT = ".twin-draft-"
# FSx exports a file that was closed; here one that was not written to for a moment.
_SETTLED_SECONDS = 1.0
_POLL_SECONDS = 0.5


@dataclass(kw_only=True)
class Association:
    """What is kept alike, and what has been seen of it."""

    folder: Path
    bucket: str
    prefix: str
    imports: frozenset[str]
    exports: frozenset[str]
    import_what_is_there: bool
    imported: dict[str, str] = field(default_factory=dict)
    """ETag of each object that is on the file system, by its name below the prefix."""
    files: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Modification time and size of each file when it was last equal to its object."""


def synchronise(association: Association, s3: Any, gone: threading.Event) -> None:
    """Keep both sides alike until the association is gone."""
    if not association.import_what_is_there:
        association.imported.update(_objects(association, s3))
    while not gone.wait(_POLL_SECONDS):
        try:
            if association.imports:
                import_once(association, s3)
            if association.exports:
                export_once(association, s3, now=time.time())
        except (BotoCoreError, ClientError, OSError) as error:
            # Teardown takes the bucket away under us; whatever else it is, the next round tries again.
            log.warning("%s: %s", association.folder, error)


def import_once(association: Association, s3: Any) -> None:
    """NEW and CHANGED objects appear as files."""
    for name, etag in _objects(association, s3).items():
        known = association.imported.get(name)
        if known == etag or ("NEW" if known is None else "CHANGED") not in association.imports:
            continue
        target = association.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(_DRAFT + target.name)
        with draft.open("wb") as out:
            for chunk in s3.get_object(Bucket=association.bucket, Key=association.prefix + name)["Body"].iter_chunks(
                1 << 20
            ):
                out.write(chunk)
        draft.rename(target)
        association.imported[name] = etag
        association.files[name] = _stamp(target)


def export_once(association: Association, s3: Any, *, now: float) -> None:
    """NEW and CHANGED files become objects. A deletion never leaves the file system."""
    for path in sorted(association.folder.rglob("*")):
        if not path.is_file() or path.name.startswith(_DRAFT):
            continue
        name = str(path.relative_to(association.folder))
        stamp, known = _stamp(path), association.files.get(name)
        if stamp == known or now - stamp[0] / 1e9 < _SETTLED_SECONDS:
            continue
        if ("NEW" if known is None else "CHANGED") in association.exports:
            with path.open("rb") as content:
                s3.put_object(Bucket=association.bucket, Key=association.prefix + name, Body=content.read())
            association.files[name] = stamp


def _objects(association: Association, s3: Any) -> dict[str, str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=association.bucket, Prefix=association.prefix)
    return {
        found["Key"].removeprefix(association.prefix): found["ETag"].strip('"')
        for page in pages
        for found in page.get("Contents", [])
        if not found["Key"].endswith("/")
    }


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size
