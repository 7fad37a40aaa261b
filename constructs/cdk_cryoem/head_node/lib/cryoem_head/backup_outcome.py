"""How the last backup of cryoSPARC's database went: what the head node tells the hooks, which tell people."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, Dict

_NOTE = "backup.json"


def note(home: Path, *, failed: str = "") -> None:
    """Write down that one was made, or why none was."""
    kept = {} if not failed else {key: value for key, value in last(home).items() if key == "made_at"}
    found = {**kept, "failed_at": time.time(), "reason": failed[-300:]} if failed else {"made_at": time.time()}
    draft = home / f".{_NOTE}.{os.getpid()}"
    draft.write_text(json.dumps(found))
    draft.rename(home / _NOTE)


def last(home: Path) -> Dict[str, Any]:
    """made_at, and failed_at with reason if the last one failed; empty when none was ever tried."""
    try:
        found: Dict[str, Any] = json.loads((home / _NOTE).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found
