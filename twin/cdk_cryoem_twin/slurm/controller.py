"""munged and slurmctld, started and stopped; nothing of theirs outside the twin's folder."""

from __future__ import annotations

import getpass
import os
import socket
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path

from ..environment import base_environment
from ..places import Places
from ..waiting import wait_for
from . import conf, power
from .spec import SlurmSpec


def environment(places: Places) -> dict[str, str]:
    """For Slurm's daemons: no AWS credentials, as the user slurm has none."""
    return base_environment(places) | {"SLURM_CONF": str(places.slurm / "slurm.conf")}


def configure(places: Places, spec: SlurmSpec) -> None:
    """Write Slurm's configuration and programs."""
    base = places.slurm
    for name in ("bin", "state", "spool", "pid", "log", "boot", "gpu"):
        (base / name).mkdir(parents=True, exist_ok=True)
    base.chmod(0o755)
    power.write_programs(places, base / "bin")
    (base / "slurm.conf").write_text(
        conf.slurm_conf(
            spec,
            base=base,
            host=socket.gethostname().partition(".")[0],
            user=getpass.getuser(),
            controller_port=places.slurmctld_port,
            node_ports=places.node_ports,
        )
    )
    (base / "gres.conf").write_text(conf.gres_conf(spec, devices=_devices(base / "gpu")))


def _devices(folder: Path) -> list[str]:
    """Eight character devices: copies of /dev/null where we may make them, else the consoles."""
    devices = [folder / f"nvidia{n}" for n in range(8)]
    try:
        for device in devices:
            if not device.exists():
                os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        return [f"/dev/tty{n}" for n in range(8)]
    return [str(device) for device in devices]


def start(places: Places) -> None:
    """Start munged and slurmctld, and wait until the controller answers."""
    base = places.slurm
    key = base / "munge.key"
    if not key.exists():
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(1024))
    env = environment(places)
    if not (base / "munge.sock").exists():
        arguments = {
            "key-file": key,
            "socket": base / "munge.sock",
            "pid-file": base / "pid" / "munged.pid",
            "log-file": base / "log" / "munged.log",
            "seed-file": base / "munge.seed",
        }
        # --force: a checkout below a folder that others cannot enter is as good; nobody else is to use this one.
        _run(["munged", "--force", *(f"--{name}={value}" for name, value in arguments.items())], env)
    _run(["slurmctld"], env)
    wait_for(lambda: _answers(env), "slurmctld to answer", seconds=30, log=base / "log" / "slurmctld.log")


def stop(places: Places) -> None:
    """Stop nodes, slurmctld and munged, and wait until they are gone. Slurm keeps its state."""
    from ..processes import stop_pid_file

    for name in ("slurmctld", "munged", *(p.stem for p in (places.slurm / "pid").glob("slurmd-*.pid"))):
        stop_pid_file(places.slurm / "pid" / f"{name}.pid")
    (places.slurm / "munge.sock").unlink(missing_ok=True)


def _answers(env: Mapping[str, str]) -> bool:
    said = subprocess.run(["scontrol", "ping"], env=env, capture_output=True, text=True, check=False)
    return "is UP" in said.stdout


def _run(command: list[str], env: Mapping[str, str]) -> None:
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, start_new_session=True)
    if done.returncode:
        raise RuntimeError(f"{command[0]} did not start: {done.stderr.strip() or done.stdout.strip()}")
