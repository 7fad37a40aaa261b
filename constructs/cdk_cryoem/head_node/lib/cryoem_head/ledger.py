"""Who may run, who has run and is not counted yet, and whom admission holds: a small file each.

PrologSlurmctld, which is not root, looks for `gate` and `admitted/JOB`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, Set, Tuple

from .caps import Reserve

Note = Mapping[str, Any]


class Ledger:
    """The files below HOME/caps."""

    def __init__(self, home: Path) -> None:
        self._root = home / "caps"
        self._admitted, self._ended, self._held = (self._root / name for name in ("admitted", "ended", "held"))
        for folder in (self._root, self._admitted, self._ended, self._held):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o755)

    def close_gate(self) -> None:
        """From here on nobody starts who was not admitted."""
        (self._root / "gate").touch()

    def gate_is_closed(self) -> bool:
        """Whether there are caps to keep, as far as is known."""
        return (self._root / "gate").exists()

    def open_gate(self) -> None:
        """There is no cap to keep any more."""
        (self._root / "gate").unlink(missing_ok=True)

    def admitted(self) -> Dict[str, Note]:
        """By job: project, most, submitted (of the run that is meant), at, ran (whether it was seen to run)."""
        return {path.name: json.loads(path.read_text()) for path in self._admitted.iterdir() if path.name.isdigit()}

    def admit(self, job_id: str, *, project: str, most: int, submitted: str, at: float, ran: bool = False) -> None:
        """Let it start; on the disk before anybody may see it."""
        noted = {"project": project, "most": most, "submitted": submitted, "at": at, "ran": ran}
        self._write(self._admitted, job_id, noted)

    def withdraw(self, job_id: str) -> None:
        """It has not started, and is to be asked again."""
        (self._admitted / job_id).unlink(missing_ok=True)

    def end(self, job_id: str, noted: Note, *, now: float) -> None:
        """This run is over. What it may have cost stays reserved until it is counted."""
        self._write(self._ended, f"{job_id}.{int(noted['at'])}", {**noted, "job_id": job_id, "gone_at": now})
        self.withdraw(job_id)

    def ended(self) -> Dict[str, Note]:
        """Runs that are over and not counted, by a name of each: as when admitted, with job_id and gone_at."""
        return {path.name: json.loads(path.read_text()) for path in self._ended.iterdir() if path.name[0] != "."}

    def settle(self, name: str) -> None:
        """What this run cost is counted."""
        (self._ended / name).unlink(missing_ok=True)

    def reserves(self) -> List[Reserve]:
        """What all that may cost."""
        running = [(job_id, noted) for job_id, noted in self.admitted().items()]
        # A run that is over is not the job that asks, even if it has its number.
        over = [(f"ended {name}", noted) for name, noted in self.ended().items()]
        both: Iterable[Tuple[str, Note]] = [*running, *over]
        return [Reserve(job_id=name, project=str(it["project"]), most=int(it["most"])) for name, it in both]

    def held(self) -> Set[str]:
        """Jobs that we hold."""
        return {path.name for path in self._held.iterdir() if path.name.isdigit()}

    def why(self, job_id: str) -> Tuple[str, str, float]:
        """Why we hold a job, its own comment before, and when that was said; empty when we do not."""
        path = self._held / job_id
        if not path.exists():
            return "", "", 0.0
        noted = json.loads(path.read_text())
        return str(noted["why"]), str(noted["comment"]), float(noted["at"])

    def hold(self, job_id: str, why: str, *, comment: str, now: float) -> None:
        """We hold it."""
        self._write(self._held, job_id, {"why": why, "comment": comment, "at": now})

    def release(self, job_id: str) -> None:
        """We do not hold it any more."""
        (self._held / job_id).unlink(missing_ok=True)

    @staticmethod
    def _write(folder: Path, name: str, content: Note) -> None:
        draft = folder / f".{name}"
        with draft.open("w") as file:
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        draft.chmod(0o644)
        draft.rename(folder / name)
