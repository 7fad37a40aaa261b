"""`cryoem report`: its options, its order, its exit codes."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
import unicodedata
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from ..operate.command import with_system
from ..operate.options import add_system
from ..which_file import config_file

if TYPE_CHECKING:
    from ..operate.find import Clients, System
    from .model import Lane

_LONGEST_NAME = 120


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command with its options."""
    text = "one page of a dataset: what arrived, what ran where, what it cost and would have cost elsewhere"
    parser = commands.add_parser(
        "report", help=text, description=text, epilog="Exit status: 0 done; 1 failed; 2 the input is wrong."
    )
    parser.add_argument("dataset", help="its name: the folder's name on the microscope's share")
    add_system(parser)
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: DATASET-report.html in this folder")
    parser.add_argument("--force", action="store_true", help="overwrite a file that is there")
    parser.add_argument("--open", action="store_true", help="show it in this machine's browser")
    parser.add_argument("--json", action="store_true", help="print the same as one JSON document; writes no page")
    parser.set_defaults(run=_run)


def file_name(dataset: str) -> str:
    """A name for its page that every file system takes, and no shell or terminal takes for something else."""
    plain = unicodedata.normalize("NFC", dataset.encode(errors="replace").decode())
    safe = re.sub(r"[^\w.+=@-]+", "_", plain).lstrip(".-") or "dataset"
    # File systems count bytes.
    return safe.encode()[:_LONGEST_NAME].decode(errors="ignore") + "-report.html"


def _run(parsed: argparse.Namespace) -> int:
    target: Path = parsed.output or Path(file_name(parsed.dataset))
    if parsed.json and (parsed.output or parsed.open or parsed.force):
        print("cryoem report: --json writes no page: leave out --output, --open and --force", file=sys.stderr)
        return 2
    if not parsed.json:
        wrong = _cannot_write(target, force=parsed.force)
        if wrong:
            print(f"cryoem report: {wrong}", file=sys.stderr)
            return 2

    def act(clients: Clients, found: System) -> None:
        from ..operate.ask import Failed
        from . import data, decide, page

        given = data.read(clients, found, parsed.dataset, lanes=_lanes(parsed), at=time.time())
        made = decide.report(given)
        if parsed.json:
            # As ASCII: a name may hold half a surrogate pair.
            print(json.dumps(made.document(), indent=2))
            return
        try:
            write(target, page.html_of(made), force=parsed.force)
        except OSError as problem:
            raise Failed(f"{target} cannot be written: {problem.strerror}") from problem
        print(target)
        if parsed.open and not webbrowser.open(target.resolve().as_uri()):
            raise Failed(f"no browser was found on this machine; the page is {target}")

    return with_system(parsed, act)


def _cannot_write(target: Path, *, force: bool) -> str:
    if target.is_dir():
        return f"--output is the folder {target}; name a file"
    if not target.parent.is_dir():
        return f"there is no folder {target.parent}"
    if target.exists() and not force:
        return f"{target} is there; --force overwrites it, --output names another"
    return ""


def _lanes(parsed: argparse.Namespace) -> list[Lane] | None:
    """The file's lanes, None without a file. It was loaded before, and is right."""
    if parsed.name:
        return None
    from ..config_file import load
    from .data import config_lanes

    return config_lanes(load(config_file(parsed.config)))


def write(target: Path, text: str, *, force: bool = False) -> None:
    """Write a page whole or not at all. force: over a file that is there. Errors: OSError."""
    if not force:
        # Of two at once one fails.
        target.open("x").close()
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=target.parent, suffix=".tmp", delete=False) as draft:
        draft.write(text)
    # Temporary files are nobody else's to read; a report is as any file.
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(draft.name, 0o666 & ~mask)
    os.replace(draft.name, target)
