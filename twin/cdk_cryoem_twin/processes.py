"""The twin's processes: found by their pid files, and in the end by the folder they were started for."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from .places import ROOT_VARIABLE, Places


def start(command: Sequence[str], *, env: Mapping[str, str], log: Path, pid_file: Path, cwd: Path) -> int:
    """Start a daemon of ours in a session of its own."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        process = subprocess.Popen(
            list(command),
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            cwd=cwd,
        )
    pid_file.parent.mkdir(parents=True, exist_ok=True)
    pid_file.write_text(str(process.pid))
    return process.pid


def alive(pid_file: Path) -> bool:
    """Whether the process of a pid file runs."""
    try:
        process = psutil.Process(int(pid_file.read_text()))
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        return False


def stop_pid_file(pid_file: Path) -> None:
    """Stop the process of a pid file and wait until it is gone."""
    if alive(pid_file):
        _stop([psutil.Process(int(pid_file.read_text()))])
    pid_file.unlink(missing_ok=True)


def ours(places: Places) -> list[psutil.Process]:
    """Every process that was started for this twin, whatever started it, except this one and its parents."""
    mine = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid not in mine and process.environ().get(ROOT_VARIABLE) == str(places.root):
                found.append(process)
        except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


def stop_all(places: Places) -> int:
    """Stop every process of this twin; returns how many there were."""
    found = ours(places)
    _stop(found)
    return len(found)


def stop_matching(places: Places, word: str) -> None:
    """Stop this twin's processes whose program or first argument has this name."""
    _stop([p for p in ours(places) if any(Path(part).name == word for part in p.cmdline()[:2])])


def _stop(processes: list[psutil.Process]) -> None:
    for process in processes:
        try:
            process.terminate()
        except psutil.NoSuchProcess:
            continue
    _, stubborn = psutil.wait_procs(processes, timeout=5)
    for process in stubborn:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(stubborn, timeout=5)
