"""Both directions of one data repository association, over S3's public API."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

log = logging.getLogger("twin.fsx")
_DRAFT = ".twin-draft-"
# FSx exports a file that was closed; here one that was not written to for a moment.
_SETTLED_SECONDS = 1.0
_POLL_SECONDS = 0.5
# Type and mode of a symbolic link, as the metadata of its object has them.
_LINK = "0120777"
# What makes FSx call an association misconfigured; anything else passes by itself.
_LOST = ("AccessDenied", "AllAccessDisabled", "KMS.DisabledException", "NoSuchBucket", "403", "404")


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
    missed: dict[str, tuple[int, int]] = field(default_factory=dict)
    """The same of files that changed while nothing was exported: only a task exports them."""


def synchronise(
    association: Association, s3: Any, gone: threading.Event, report: Callable[[str], None] = lambda trouble: None
) -> None:
    """Keep both sides alike until the association is gone. report: told after each round what keeps FSx out of the bucket."""
    began = False
    while not gone.wait(_POLL_SECONDS):
        try:
            if not began:
                _begin(association, s3)
                began = True
            if association.imports:
                import_once(association, s3)
            if association.exports:
                export_once(association, s3, now=time.time())
        except (BotoCoreError, ClientError, OSError) as error:
            # Teardown takes the bucket away under us; whatever else it is, the next round tries again.
            log.warning("%s: %s", association.folder, error)
            code = error.response["Error"]["Code"] if isinstance(error, ClientError) else ""
            report(
                f"Amazon FSx is unable to access the S3 bucket {association.bucket}: {code}" if code in _LOST else ""
            )
        else:
            report("")


def _begin(association: Association, s3: Any) -> None:
    if not association.import_what_is_there:
        association.imported.update(_objects(association, s3))
    elif not association.imports:
        import_once(association, s3, whatever=True)


def import_once(association: Association, s3: Any, *, below: str = "", whatever: bool = False) -> int:
    """NEW and CHANGED objects appear as files; how many did. below: of this prefix alone. whatever: that the rules say."""
    count = 0
    for name, etag in _objects(association, s3).items():
        known = association.imported.get(name)
        event = "NEW" if known is None else "CHANGED"
        if known == etag or not name.startswith(below) or not (whatever or event in association.imports):
            continue
        _fetch(association, s3, name)
        association.imported[name] = etag
        count += 1
    return count


def export_once(association: Association, s3: Any, *, now: float) -> None:
    """NEW and CHANGED files become objects. A deletion never leaves the file system."""
    for name, path in files_of(association):
        stamp, known = _stamp(path), association.files.get(name)
        if stamp in (known, association.missed.get(name)) or now - stamp[0] / 1e9 < _SETTLED_SECONDS:
            continue
        if ("NEW" if known is None else "CHANGED") in association.exports:
            _export(association, s3, name, path)


def export_all(association: Association, s3: Any, *, below: str = "") -> int:
    """What a task does: every file that differs from its object is exported, whatever the rules; how many were."""
    count = 0
    for name, path in files_of(association):
        if name.startswith(below) and _stamp(path) != association.files.get(name):
            _export(association, s3, name, path)
            count += 1
    return count


def release(association: Association, s3: Any, *, below: str, idle_seconds: float, now: float) -> int:
    """Content of files that are as their objects and that nobody read or wrote for so long is taken from S3 again.

    FSx gives the space free and reads from S3 when somebody opens the file. Here it is read at once: that the content is
    in S3 is proven, free space is not.
    """
    count = 0
    for name, path in files_of(association):
        status = path.lstat()
        if path.is_symlink() or not name.startswith(below) or _stamp(path) != association.files.get(name):
            continue
        if now - max(status.st_atime, status.st_mtime) > idle_seconds:
            _fetch(association, s3, name)
            count += 1
    return count


def miss_what_changed(association: Association) -> None:
    """The export begins again: what was written since it ended is known, and not exported by itself (FSx is told of
    changes, it does not look for them).
    """
    for name, path in files_of(association):
        stamp = _stamp(path)
        if stamp != association.files.get(name):
            association.missed[name] = stamp


def files_of(association: Association) -> Iterator[tuple[str, Path]]:
    """Every file and link below its folder, with its name as S3 has it."""
    for path in sorted(association.folder.rglob("*")):
        if (path.is_symlink() or path.is_file()) and not path.name.startswith(_DRAFT):
            yield str(path.relative_to(association.folder)), path


def _export(association: Association, s3: Any, name: str, path: Path) -> None:
    """A link is exported as a link, its target as content."""
    stamp, link = _stamp(path), path.is_symlink()
    s3.put_object(
        Bucket=association.bucket,
        Key=association.prefix + name,
        Body=os.fsencode(os.readlink(path)) if link else path.read_bytes(),
        Metadata={"file-mtime": f"{stamp[0]}ns", **({"file-permissions": _LINK} if link else {})},
    )
    association.files[name] = stamp
    association.missed.pop(name, None)


def _fetch(association: Association, s3: Any, name: str) -> None:
    """The object's content and, as FSx does, the time of its file, or its own."""
    target = association.folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(_DRAFT + target.name)
    found = s3.get_object(Bucket=association.bucket, Key=association.prefix + name)
    draft.unlink(missing_ok=True)
    if found.get("Metadata", {}).get("file-permissions") == _LINK:
        os.symlink(os.fsdecode(b"".join(found["Body"].iter_chunks(1 << 20))), draft)
    else:
        with draft.open("wb") as out:
            for chunk in found["Body"].iter_chunks(1 << 20):
                out.write(chunk)
    told = found.get("Metadata", {}).get("file-mtime", "")
    if told.endswith("ns"):
        modified = int(told.removesuffix("ns"))
    else:
        modified = int(found["LastModified"].timestamp() * 1e9) if "LastModified" in found else time.time_ns()
    os.utime(draft, ns=(time.time_ns(), modified), follow_symlinks=False)
    draft.rename(target)
    association.files[name] = _stamp(target)


def _objects(association: Association, s3: Any) -> dict[str, str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=association.bucket, Prefix=association.prefix)
    return {
        found["Key"].removeprefix(association.prefix): found["ETag"].strip('"')
        for page in pages
        for found in page.get("Contents", [])
        if not found["Key"].endswith("/")
    }


def _stamp(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_mtime_ns, status.st_size
