"""The lanes of a cryoSPARC master of version 4, by its own command cryosparcm, as the user it belongs to.

Version 4 has no interface for clusters but its command, which reads the files of one from the folder that it is run in.
"""

from __future__ import annotations

import ast
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, Mapping, Set

from .account import Account, CommandFailed
from .installation import Installation
from .master import Master
from .outcome import Mask
from .settings import Settings

_FILES = ("cluster_info.json", "cluster_script.sh")


class CryosparcFour:
    """The master's lanes, as register_lanes.Cryosparc has those of version 5."""

    def __init__(self, here: Settings) -> None:
        self._master = Master(Installation(here, Account(here.user, Mask())))

    def targets(self) -> Dict[str, Any]:
        """Cluster targets by name."""
        printed = self._master.run("cli", "get_scheduler_targets()", quiet=True)
        # It prints Python's own form of a list of dictionaries, perhaps after a warning.
        found = ast.literal_eval(printed[printed.index("[") :].strip())
        return {
            str(target["name"]): SimpleNamespace(
                name=target["name"], config=SimpleNamespace(script_tpl=target.get("script_tpl"))
            )
            for target in found
            if target.get("type") == "cluster"
        }

    def add(self, files: Mapping[str, str]) -> None:
        """Add a cluster target with a lane of the same name, or replace it."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            folder.chmod(0o755)
            for file in _FILES:
                (folder / file).write_text(files[file])
                (folder / file).chmod(0o644)
            self._master.run("cluster", "connect", folder=folder, quiet=True)

    def remove(self, name: str) -> None:
        """Remove a cluster target and its lane, or what is left of the two."""
        if name in self.targets():
            self._master.run("cluster", "remove", name, quiet=True)
        try:
            self._master.run("cli", f"remove_scheduler_lane({name!r})", quiet=True)
        except CommandFailed:
            # Some patches of 4.7 take the lane away together with its only target.
            if name in self._lanes():
                raise

    def _lanes(self) -> Set[str]:
        printed = self._master.run("cli", "get_scheduler_lanes()", quiet=True)
        return {str(lane["name"]) for lane in ast.literal_eval(printed[printed.index("[") :].strip())}
