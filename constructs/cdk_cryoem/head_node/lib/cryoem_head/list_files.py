"""list-files: what is in a folder of the file system, as JSON Lines in the results bucket.

    {"path": "data/em-1/a.mrc", "kind": "file", "size": 6, "mtime": 1700000000.5, "hsm": ["exists", "archived"], "sha256": "..."}

One line for each file, link and folder that cannot be read, in the order of their names; `path` is below the file system's
root, `kind` is file, link, folder or other. `hsm` is what Lustre knows of its copy in S3 (`lfs hsm_state`), null where that
cannot be asked; `sha256` is there when asked for, and reading a released file brings it back from S3. `error` says what could
not be read of it. Prints one document with the numbers of files, bytes and unreadable ones, and where the lines are. Needs
boto3.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import itertools
import json
import os
import re
import stat
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Deque, Dict, Iterable, Iterator, List, Optional, Tuple

import boto3

from . import outcome, settings
from .outcome import Mask, Refused

NAME = "list-files"
PREFIX = "listings/"
"""Where in the results bucket they are put; its lifecycle removes them after a week."""
# Most of a look at a file on Lustre is waiting for its servers.
_WORKERS = 16
_TOGETHER, _TOGETHER_READ = 200, 8
_PROGRESS_SECONDS = 10.0
_KINDS = ((stat.S_ISREG, "file"), (stat.S_ISLNK, "link"), (stat.S_ISDIR, "folder"))
# lustre/include/uapi/linux/lustre/lustre_user.h, enum hsm_states
_HSM = ((0x01, "exists"), (0x02, "dirty"), (0x04, "released"), (0x08, "archived"), (0x40, "lost"))
_HSM_STATE = re.compile(rb": \((0x[0-9a-f]+)\)[^\n]*\n")

Entry = Dict[str, Any]


def folder_below(root: Path, given: str) -> Path:
    """The folder that is meant, percent-encoded and below root. Errors: Refused when it is outside, or no folder."""
    name = urllib.parse.unquote(given, errors="surrogateescape")
    if "\0" in name or name.startswith("/") or ".." in name.split("/"):
        raise Refused(f"{name!r} is no folder below {root}")
    folder = root / name
    # A link in the middle could lead anywhere.
    if not folder.resolve().is_relative_to(root.resolve()):
        raise Refused(f"{name!r} leads out of {root}")
    if not folder.is_dir():
        raise Refused(f"there is no folder {name!r} in {root}")
    return folder


def on_lustre(folder: Path, mounts: str) -> bool:
    """Whether a folder is on a Lustre file system, by the text of /proc/mounts."""
    resolved, found = str(folder.resolve()), ("", "")
    for line in mounts.splitlines():
        _, point, kind, *_ = line.split(" ")
        # Spaces and the like are written as octal numbers there (proc(5), fstab(5)).
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), point)
        if (resolved == point or resolved.startswith(point.rstrip("/") + "/")) and len(point) >= len(found[0]):
            found = (point, kind)
    return found[1] == "lustre"


def walk(folder: str) -> Iterator[Tuple[str, Optional[str]]]:
    """Everything in a folder but its folders, and folders that cannot be read with the reason, by name."""
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        try:
            with os.scandir(here) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            yield here, error.strerror or str(error)
            continue
        folders = []
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            else:
                yield entry.path, None
        waiting.extend(reversed(folders))


def hsm_states(paths: List[str], *, lfs: str = "lfs") -> Dict[str, List[str]]:
    """What Lustre knows of the copies of regular files. One that it does not answer for is missing.

    `lfs hsm_state` prints "PATH: (0x0000000d) released exists archived, archive_id:1" for each (FSx for Lustre user guide,
    "Exporting files using HSM commands"), and ends at the first that it cannot be asked of.
    """
    found: Dict[str, List[str]] = {}
    waiting = deque(paths)
    while waiting:
        asked = subprocess.run([lfs, "hsm_state", *waiting], capture_output=True, check=False)
        answered, rest = 0, asked.stdout
        for path in waiting:
            # By the name and not by lines: a name may have several.
            name = os.fsencode(path)
            state = _HSM_STATE.match(rest, len(name)) if rest.startswith(name) else None
            if state is None:
                break
            flags = int(state[1], 16)
            found[path] = [word for bit, word in _HSM if flags & bit]
            answered, rest = answered + 1, rest[state.end() :]
        for _ in range(min(answered + 1, len(waiting))):
            waiting.popleft()
    return found


def sha256(path: str) -> str:
    """SHA-256 of a file that may be larger than the memory."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def look(
    found: Iterable[Tuple[str, Optional[str]]],
    *,
    root: str,
    checksums: bool,
    states: Optional[Callable[[List[str]], Dict[str, List[str]]]],
) -> List[Entry]:
    """Some files, as they are listed. states: asks Lustre, None where there is none."""
    entries: List[Entry] = []
    regular: Dict[str, Entry] = {}
    for path, problem in found:
        entry: Entry = {"path": os.path.relpath(path, root), "kind": "folder", "size": 0, "mtime": 0.0, "hsm": None}
        entries.append(entry)
        try:
            seen = os.lstat(path)
            entry["kind"] = next((kind for fits, kind in _KINDS if fits(seen.st_mode)), "other")
            entry["size"], entry["mtime"] = seen.st_size, seen.st_mtime
            if entry["kind"] == "file":
                regular[path] = entry
                if checksums:
                    entry["sha256"] = sha256(path)
        except OSError as error:
            problem = error.strerror or str(error)
        if problem:
            entry["error"] = problem
    if states is not None:
        for path, words in states(list(regular)).items():
            regular[path]["hsm"] = words
    return entries


def listed(
    folder: Path,
    *,
    root: Path,
    checksums: bool,
    states: Optional[Callable[[List[str]], Dict[str, List[str]]]],
    workers: int = _WORKERS,
) -> Iterator[Entry]:
    """Every file of a folder, looked at by several threads, in the order of `walk`."""
    together = _TOGETHER_READ if checksums else _TOGETHER
    found = walk(str(folder))
    under_way: Deque[Future[List[Entry]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        while True:
            some = list(itertools.islice(found, together))
            if some:
                work = pool.submit(look, some, root=str(root), checksums=checksums, states=states)
                under_way.append(work)
            # No more than can be worked on: the folder may have millions of files.
            while under_way and (not some or len(under_way) > 4 * workers):
                yield from under_way.popleft().result()
            if not some:
                return


def write(entries: Iterable[Entry], path: Path, *, clock: Callable[[], float] = time.monotonic) -> Dict[str, int]:
    """Write the lines and count them, with a word on standard error every few seconds."""
    counted = {"files": 0, "bytes": 0, "unreadable": 0}
    said = clock()
    with gzip.open(path, "wt", encoding="ascii", compresslevel=6) as lines:
        for entry in entries:
            # ASCII: a name that is no UTF-8 comes out of it as it was.
            lines.write(json.dumps(entry, separators=(",", ":")) + "\n")
            counted["files"] += entry["kind"] != "folder"
            counted["bytes"] += entry["size"] if entry["kind"] == "file" else 0
            counted["unreadable"] += "error" in entry
            if clock() - said >= _PROGRESS_SECONDS:
                said = clock()
                print(f"{NAME}: {counted['files']} files, {counted['bytes']} bytes", file=sys.stderr, flush=True)
    return counted


def work(arguments: argparse.Namespace) -> Dict[str, Any]:
    """List, upload, and say where it is."""
    here = settings.load()
    if here.results_bucket in ("", settings.NONE):
        raise Refused("this head node was told of no results bucket to put a listing into")
    folder = folder_below(here.fsx, arguments.folder)
    lustre = on_lustre(folder, Path("/proc/mounts").read_text(errors="surrogateescape"))
    key = f"{PREFIX}{arguments.key}.jsonl.gz"
    with tempfile.TemporaryDirectory(prefix=f"{NAME}-") as drafts:
        draft = Path(drafts) / "lines.gz"
        entries = listed(
            folder, root=here.fsx, checksums=arguments.checksums == "yes", states=hsm_states if lustre else None
        )
        counted = write(entries, draft)
        s3: Any = boto3.client("s3", region_name=here.region)
        s3.upload_file(str(draft), here.results_bucket, key)
    return {**counted, "bucket": here.results_bucket, "key": key, "lustre": lustre}


def main() -> None:
    """List, and print one document."""
    parser = argparse.ArgumentParser(prog=NAME, description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--folder", required=True, help="below the file system's root, percent-encoded; . for all of it"
    )
    parser.add_argument("--checksums", required=True, choices=("yes", "no"))
    parser.add_argument("--key", required=True, help="name of the listing")
    arguments = parser.parse_args()
    outcome.end(NAME, lambda: work(arguments), Mask())


if __name__ == "__main__":
    main()
