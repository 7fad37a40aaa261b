"""What the head node was told at bootstrap: KEY=VALUE lines in etc/head-node.env below its home."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Dict


@dataclass(frozen=True)
class Settings:
    """Names and places. `home` is /opt/cryoem on a real head node."""

    home: Path
    cluster: str
    event_bus: str
    region: str
    manifest_parameter: str
    cryosparc_secret: str
    cryosparc_url: str
    cryosparc_worker: str
    fsx: Path
    scratch: Path
    slurm_bin: str

    @property
    def spool(self) -> Path:
        """Job events that wait to be sent."""
        return self.home / "spool"

    @property
    def lanes(self) -> Path:
        """The lanes' rendered files, one folder a lane."""
        return self.home / "lanes"

    @property
    def projects(self) -> Path:
        """Where results are written; below it, one folder a project."""
        return self.fsx / "projects"


def load(home: Path | None = None) -> Settings:
    """Read the settings and put the others of the file (SLURM_CONF, say) into the environment of what we start."""
    home = home or Path(os.environ["CRYOEM_HOME"])
    values: Dict[str, str] = {}
    for line in (home / "etc" / "head-node.env").read_text().splitlines():
        name, separator, value = line.partition("=")
        if separator and not name.startswith("#"):
            values[name.strip()] = value.strip()
    os.environ.update(values)
    if values["SLURM_BIN"]:
        os.environ["PATH"] = values["SLURM_BIN"] + os.pathsep + os.environ.get("PATH", "/usr/bin:/bin")
    return Settings(
        home=home,
        cluster=values["CLUSTER"],
        event_bus=values["EVENT_BUS"],
        region=values["AWS_REGION"],
        manifest_parameter=values["MANIFEST_PARAMETER"],
        cryosparc_secret=values["CRYOSPARC_SECRET"],
        cryosparc_url=values["CRYOSPARC_URL"],
        cryosparc_worker=values["CRYOSPARC_WORKER"],
        fsx=Path(values["FSX"]),
        scratch=Path(values["SCRATCH"]),
        slurm_bin=values["SLURM_BIN"],
    )
