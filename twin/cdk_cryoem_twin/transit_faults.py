"""What can go wrong with a file between a microscope's share and the bucket, to be asked for before a transfer runs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args
from urllib.parse import quote, unquote

from .places import Places

Fault = Literal["flip", "truncate", "grow", "unreadable", "vanish"]
"""A bit flips on the way; the end is lost on the way; the microscope goes on writing while the file is copied; the share does
not let it be read; it goes after it was listed."""


def _asked(places: Places) -> Path:
    return places.run / "in-transit"


def spoil(places: Places, path: str, fault: Fault) -> None:
    """Let this happen to a file when it is copied next. path: below the share's folder, without a slash before it."""
    if fault not in get_args(Fault):
        raise ValueError(f"{fault}: one of {', '.join(get_args(Fault))}")
    folder = _asked(places)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / quote(path, safe="")).write_text(fault)


def take_all(places: Places) -> dict[str, str]:
    """The emulator's side: what was asked for, by path. Each is done once."""
    folder = _asked(places)
    found = {}
    for file in sorted(folder.iterdir()) if folder.is_dir() else []:
        found[unquote(file.name)] = file.read_text()
        file.unlink()
    return found
