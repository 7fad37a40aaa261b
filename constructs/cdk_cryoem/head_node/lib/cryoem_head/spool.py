"""The spool: job events that wait to be sent, one file each."""

from __future__ import annotations

from pathlib import Path
from typing import List


def waiting(spool: Path) -> List[Path]:
    """Events in the spool, the oldest first."""
    return sorted(path for path in spool.glob("*.json") if not path.name.startswith("."))
