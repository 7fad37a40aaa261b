"""Faults for a twin that runs, so that tests can see it recover. What is killed gets no chance to tidy up."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from . import processes
from .places import Places

_HELD = ".held"


def held_answers(places: Places) -> Path:
    """A file SERVICE.OPERATION here makes the emulator withhold one answer; it is renamed when that call has come."""
    return places.run / "held-answers"


@contextmanager
def hold_answer(places: Places, service: str, operation: str) -> Iterator[Callable[[], bool]]:
    """Let the next call of an operation have its effect, and keep its answer back until this ends.

    Yields a look at whether it has come: then its caller is between effect and record. service: as in endpoints (events,
    ssm, dynamodb). Only for services that name their operation in a header, as these do.
    """
    asked = held_answers(places) / f"{service}.{operation}"
    held = asked.with_name(asked.name + _HELD)
    asked.parent.mkdir(exist_ok=True)
    asked.touch()
    try:
        yield held.exists
    finally:
        asked.unlink(missing_ok=True)
        held.unlink(missing_ok=True)


def withheld(places: Places, service: str, operation: str) -> Path | None:
    """The emulator's side: the file to wait for if this answer is to be held. One call takes the request."""
    asked = held_answers(places) / f"{service}.{operation}"
    held = asked.with_name(asked.name + _HELD)
    try:
        asked.rename(held)
    except FileNotFoundError:
        return None
    return held


@contextmanager
def lost_events(make: Callable[[str], Any], *, buses: tuple[str, ...], prefix: str) -> Iterator[None]:
    """EventBridge delivers nothing by the rules of this prefix. What happens meanwhile is told to nobody, ever."""
    events = make("events")
    found = [
        {"Name": str(rule["Name"]), "EventBusName": bus}
        for bus in buses
        for rule in events.list_rules(EventBusName=bus)["Rules"]
        if rule["Name"].startswith(prefix) and rule["State"] == "ENABLED"
    ]
    for rule in found:
        events.disable_rule(**rule)
    try:
        yield
    finally:
        for rule in found:
            events.enable_rule(**rule)


@contextmanager
def frozen(pid_file: Path) -> Iterator[None]:
    """A program that answers nobody for a while, and then goes on as if nothing had been."""
    process = psutil.Process(int(pid_file.read_text()))
    process.suspend()
    try:
        yield
    finally:
        process.resume()


def kill_functions(places: Places, name: str) -> int:
    """Kill every process that runs a Lambda function of this name; returns how many there were."""
    return _kill(
        [p for p in processes.ours(places) if _environment(p).get("AWS_LAMBDA_FUNCTION_NAME", "").startswith(name)]
    )


def kill_controller(places: Places) -> None:
    """Kill slurmctld, with what runs its scripts; munged stays."""
    _kill_pid_file(places.slurm / "pid" / "slurmctld.pid")


def kill_head_node(places: Places) -> None:
    """Kill all that runs on the head node: slurmctld, munged, the sender of events, the cryoSPARC double."""
    (places.run / "head.ready").unlink(missing_ok=True)
    for pid_file in (places.run / "sender.pid", places.run / "cryosparc.pid"):
        _kill_pid_file(pid_file)
    kill_controller(places)
    _kill_pid_file(places.slurm / "pid" / "munged.pid")
    (places.slurm / "munge.sock").unlink(missing_ok=True)


def kill_slurmd(places: Places, node: str) -> None:
    """Kill a node's slurmd. Its jobs go on, as they do under a slurmd that is restarted."""
    _kill_pid_file(places.slurm / "pid" / f"slurmd-{node}.pid")


def kill_job(places: Places, job: str) -> None:
    """Kill the processes of a job and what watches over them, without a word to Slurm: its node has died."""
    steps = [p for p in processes.ours(places) if " ".join(p.cmdline()).startswith(f"slurmstepd: [{job}.")]
    if not steps:
        raise LookupError(f"nothing of job {job} runs here")
    # Those that watch first: they would tell Slurm how the job ended.
    _kill([*steps, *(child for step in steps for child in step.children(recursive=True))])


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return {}


def _kill_pid_file(pid_file: Path) -> None:
    """Processes that a daemon keeps for itself go with it."""
    if processes.alive(pid_file):
        process = psutil.Process(int(pid_file.read_text()))
        own = [child for child in process.children() if child.name() in (process.name(), "slurmscriptd")]
        _kill([process, *own])
    pid_file.unlink(missing_ok=True)


def _kill(found: list[psutil.Process]) -> int:
    for process in found:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    psutil.wait_procs(found, timeout=10)
    return len(found)
