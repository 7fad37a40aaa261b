"""What would be lost with the file system: files that are not, or not as they are, in S3. Pure: nobody is asked anything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from .listing import ListedFile

DATA, PROJECTS = "data/", "projects/"
DATASETS_PREFIX, PROJECTS_PREFIX = "datasets/", "projects/"
MADE_AGAIN = ("software/cryosparc_worker/",)
"""What the head node installs on every new file system."""
# Clocks of the file system and of S3.
_CLOCKS_SECONDS = 2.0
_LONGEST_KEY = 1024  # bytes of an S3 key


class Stored(NamedTuple):
    """An object: its size in bytes, and when it was written in epoch seconds."""

    size: int
    at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """A file that would be lost, or of which that cannot be excluded."""

    path: str
    size: int
    why: str


def losses(
    files: Iterable[ListedFile], *, landing: Mapping[str, Stored], results: Mapping[str, Stored]
) -> Iterator[Loss]:
    """Every file that S3 has not as it is.

    landing, results: the objects of both buckets below `datasets/` and `projects/`, by their keys. A pipe or a socket
    has no content, and is no loss.
    """
    for file in files:
        if file.path.startswith(MADE_AGAIN) or file.kind == "other":
            continue
        why = _why(file, landing, results)
        if why:
            yield Loss(path=file.path, size=file.size, why=why)


def _why(file: ListedFile, landing: Mapping[str, Stored], results: Mapping[str, Stored]) -> str:
    if file.error or file.kind == "folder":
        return f"it could not be read ({file.error or 'unknown'}), so nobody knows"
    for folder, prefix, objects, bucket in (
        (DATA, DATASETS_PREFIX, landing, "landing"),
        (PROJECTS, PROJECTS_PREFIX, results, "results"),
    ):
        if file.path.startswith(folder):
            key = prefix + file.path.removeprefix(folder)
            unfit = _unfit(key)
            return unfit or _differs(file, objects.get(key), bucket)
    return "it is outside of /data and /projects, from where nothing is ever exported"


def _unfit(key: str) -> str:
    try:
        length = len(key.encode())
    except UnicodeEncodeError:
        return "its name is no UTF-8, which FSx does not export"
    return "its name is too long for a key of S3" if length > _LONGEST_KEY else ""


def _differs(file: ListedFile, stored: Stored | None, bucket: str) -> str:
    if stored is None:
        return f"it is not in the {bucket} bucket"
    if file.kind == "link":
        # An object for it is all that can be compared: S3 keeps the link's target in its metadata.
        return ""
    if stored.size != file.size:
        return f"it has {file.size} bytes, its object in the {bucket} bucket {stored.size}"
    if file.hsm is not None:
        if "dirty" in file.hsm:
            return "it was changed since it was exported or imported (hsm_state: dirty)"
        if "archived" not in file.hsm:
            return "Lustre does not know that it is in S3 (hsm_state: not archived)"
        if "lost" in file.hsm:
            return "Lustre says that its copy in S3 is lost (hsm_state: lost)"
    # A movie's time is that of the microscope; only what is exported has to be older than its object.
    if bucket == "results" and file.mtime > stored.at + _CLOCKS_SECONDS:
        return "it was changed after its object in the results bucket was written"
    return ""
