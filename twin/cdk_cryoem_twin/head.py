"""The head node: its environment, and what runs on it when it is powered on.

`python -m cdk_cryoem_twin.head start|stop` is what the instance's power state does.
"""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping

from . import processes
from .cluster import PARALLEL_CLUSTER, Cluster
from .environment import Mode, client_environment
from .places import Places, places
from .slurm import controller
from .waiting import wait_for


def root(places: Places) -> str:
    """What plays / for the absolute paths of the head node."""
    return str(places.root / "head")


def head_environment(places: Places, mode: Mode, credentials: Mapping[str, str]) -> dict[str, str]:
    """What a program on the head node finds: the same names as on AWS, other places, the role's credentials."""
    environment = client_environment(places, mode) | {
        "AWS_ACCESS_KEY_ID": credentials["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": credentials["SecretAccessKey"],
        "AWS_SESSION_TOKEN": credentials["SessionToken"],
        "CRYOEM_HOME": str(places.home),
        "CRYOEM_SCRATCH": str(places.scratch),
        "CRYOEM_SLURM_BIN": "",
        "CRYOEM_USER": "",
        "CRYOEM_NODE_POLL_SECONDS": "0.25",
        "CRYOEM_SLURM_CONF": str(places.slurm / "slurm.conf"),
        "SLURM_CONF": str(places.slurm / "slurm.conf"),
        "CRYOEM_PYTHON": sys.executable,
        "CRYOEM_CRYOSPARC_URL": f"http://127.0.0.1:{places.cryosparc_port}",
        "CRYOEM_CRYOSPARC_WORKER": str(places.root / "programs" / "cryosparcw"),
    }
    environment["PATH"] = f"{places.root / 'programs'}:{environment['PATH']}"
    cluster = Cluster.load_if_any(places)
    if cluster is not None:
        environment["CRYOEM_FSX"] = str(places.file_systems / cluster.file_system_id)
    return environment


def start(places: Places, environment: Mapping[str, str]) -> None:
    """Power on: the sender of job events, the cryoSPARC double, and ParallelCluster's Slurm controller."""
    if _has_controller(places) and not processes.alive(places.slurm / "pid" / "slurmctld.pid"):
        controller.start(places)
    if not processes.alive(places.run / "sender.pid"):
        processes.start(
            [str(places.home / "bin" / "send-events"), "--stay"],
            env=environment,
            log=places.logs / "sender.log",
            pid_file=places.run / "sender.pid",
            cwd=places.root,
        )
    if _keeps_caps(places) and not processes.alive(places.run / "admission.pid"):
        processes.start(
            [str(places.home / "bin" / "admit-jobs"), "--stay"],
            env=environment,
            log=places.logs / "admission.log",
            pid_file=places.run / "admission.pid",
            cwd=places.root,
        )
    if not processes.alive(places.run / "cryosparc.pid"):
        processes.start(
            [sys.executable, "-m", "cdk_cryoem_twin.cryosparc.server", str(places.cryosparc_port)],
            env=environment,
            log=places.logs / "cryosparc.log",
            pid_file=places.run / "cryosparc.pid",
            cwd=places.root,
        )
        wait_for(
            lambda: _cryosparc_answers(places), "the cryoSPARC double", seconds=60, log=places.logs / "cryosparc.log"
        )
    (places.run / "head.ready").touch()


def stop(places: Places) -> None:
    """Power off."""
    (places.run / "head.ready").unlink(missing_ok=True)
    for name in ("sender", "admission", "cryosparc"):
        processes.stop_pid_file(places.run / f"{name}.pid")
    if _has_controller(places):
        controller.stop(places)


def _keeps_caps(places: Places) -> bool:
    settings = places.home / "etc" / "head-node.env"
    return settings.exists() and "RECORDS_TABLE=none" not in settings.read_text()


def _has_controller(places: Places) -> bool:
    """Whether Slurm's controller runs on the head node; that of PCS runs in an account of AWS's own."""
    return Cluster.load(places).engine == PARALLEL_CLUSTER


def _cryosparc_answers(places: Places) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{places.cryosparc_port}/api/cmd/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def main() -> None:
    """start or stop."""
    if sys.argv[1] == "start":
        start(places(), dict(os.environ))
    else:
        stop(places())


if __name__ == "__main__":
    main()
