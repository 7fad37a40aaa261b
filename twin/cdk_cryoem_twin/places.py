"""Where the twin keeps everything: one folder, and a block of ports that belongs to it."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from pathlib import Path

ROOT_VARIABLE = "CRYOEM_TWIN_ROOT"
_PORTS_PER_TWIN = 64
_FIRST_PORT = 20000
# Linux: the path of a Unix socket ends at 107 characters; munge's is the longest we make.
_LONGEST_SOCKET = 107


@dataclass(frozen=True, slots=True)
class Places:
    """The twin's folder and ports. Two checkouts have different folders and, but for a rare clash, different ports."""

    root: Path

    @property
    def checkout(self) -> Path:
        """The checkout that this twin belongs to."""
        return Path(__file__).resolve().parents[2]

    @property
    def first_port(self) -> int:
        """The first of this twin's ports."""
        return _FIRST_PORT + zlib.crc32(str(self.root).encode()) % 190 * _PORTS_PER_TWIN

    @property
    def emulator_port(self) -> int:
        """The AWS emulator."""
        return self.first_port

    @property
    def slurmctld_port(self) -> int:
        """Slurm's controller."""
        return self.first_port + 1

    @property
    def cryosparc_port(self) -> int:
        """The cryoSPARC double."""
        return self.first_port + 2

    @property
    def node_ports(self) -> range:
        """One for each Slurm node."""
        return range(self.first_port + 4, self.first_port + _PORTS_PER_TWIN)

    @property
    def run(self) -> Path:
        """State of running things."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        """Logs of everything."""
        return self.root / "log"

    @property
    def share(self) -> Path:
        """The microscopes' shares: HOST/PATH below it."""
        return self.root / "share"

    @property
    def file_systems(self) -> Path:
        """One folder for each FSx file system."""
        return self.root / "fsx"

    @property
    def home(self) -> Path:
        """The head node's /opt/cryoem."""
        return self.root / "head" / "opt" / "cryoem"

    @property
    def scratch(self) -> Path:
        """The nodes' local disk."""
        return self.root / "head" / "scratch"

    @property
    def slurm(self) -> Path:
        """Slurm's configuration, state, logs and programs."""
        return self.root / "slurm"

    @property
    def cluster_file(self) -> Path:
        """The cluster that an engine made, and its head node."""
        return self.run / "cluster.json"

    @property
    def pcs_file(self) -> Path:
        """What AWS Parallel Computing Service was told."""
        return self.run / "pcs.json"

    @property
    def settings_file(self) -> Path:
        """How this twin was started."""
        return self.run / "twin.json"

    def problem(self) -> str:
        """Why no twin can live here; empty when one can."""
        socket = str(self.slurm / "munge.sock")
        if len(socket) > _LONGEST_SOCKET:
            return (
                f"{socket} has {len(socket)} characters, a Unix socket may have {_LONGEST_SOCKET}: use a shorter path"
            )
        return ""


def places() -> Places:
    """This checkout's twin, or the one that CRYOEM_TWIN_ROOT names."""
    named = os.environ.get(ROOT_VARIABLE)
    return Places(Path(named).resolve() if named else Path(__file__).resolve().parents[2] / ".twin")
