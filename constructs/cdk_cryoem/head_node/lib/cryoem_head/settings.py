"""What the head node was told at bootstrap: KEY=VALUE lines in etc/head-node.env below its home."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Dict

NONE = "none"
"""What the setup says where there is nothing."""


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
    user: str
    results_bucket: str
    cryosparc_version: str
    cryosparc_installed: str
    cryosparc_license_secret: str
    cryosparc_folder: Path
    cryosparc_server: str
    cryosparc_host: str
    cryosparc_port: int
    records_table: str = NONE

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
        # A head node that was set up before there were these has no lines for them.
        user=values.get("PROCESSING_USER", ""),
        results_bucket=values.get("RESULTS_BUCKET", NONE),
        cryosparc_version=values.get("CRYOSPARC_VERSION", NONE),
        cryosparc_installed=values.get("CRYOSPARC_INSTALLED", ""),
        cryosparc_license_secret=values.get("CRYOSPARC_LICENSE_SECRET", NONE),
        cryosparc_folder=Path(values.get("CRYOSPARC_FOLDER", "/cryosparc")),
        cryosparc_server=values.get("CRYOSPARC_SERVER", "https://get.cryosparc.com"),
        cryosparc_host=values.get("CRYOSPARC_HOST", ""),
        cryosparc_port=int(values.get("CRYOSPARC_PORT", "61000")),
        records_table=values.get("RECORDS_TABLE", NONE),
    )


def remember(home: Path, **lines: str) -> None:
    """Set lines of the file, at once or not at all. bootstrap.sh keeps those of cryoSPARC when it writes the file anew."""
    path = home / "etc" / "head-node.env"
    kept = [line for line in path.read_text().splitlines() if line.partition("=")[0] not in lines]
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text("".join(f"{line}\n" for line in [*kept, *(f"{name}={lines[name]}" for name in lines)]))
    draft.chmod(path.stat().st_mode & 0o777)
    draft.rename(path)
