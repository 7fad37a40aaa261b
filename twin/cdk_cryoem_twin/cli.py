"""`cryoem twin up|down|status|demo|logs`."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from . import lifecycle, processes
from .environment import Mode
from .places import Places, places
from .waiting import GaveUp

_PARTS = ("emulator", "sender", "cryosparc")


def main(arguments: Sequence[str]) -> int:
    """Run a subcommand. 0: done, 1: failed, 2: cannot start."""
    parser = argparse.ArgumentParser(prog="cryoem twin", description="The whole system on this machine.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    here = places()

    def command(name: str, help: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=help, description=help)

    up = command("up", "start the emulator and deploy the stacks to it (about a minute)")
    demo = command("demo", "from a microscope's share to a finished job and a node shut down (about two minutes)")
    for each in (up, demo):
        each.add_argument("--strict", action="store_true", help="enforce IAM and speak TLS, as the tests do")
        each.add_argument(
            "--config", type=Path, default=here.checkout / "twin" / "cryoem.yaml", help="default: twin/cryoem.yaml"
        )
    demo.add_argument("--output", type=Path, default=Path("build/demo"), help="for the report; default: build/demo")
    demo.add_argument(
        "--movies", type=_movies, default=16, help="how many movies the microscope takes, 8 to 64; default: 16"
    )
    demo.add_argument("--keep", action="store_true", help="leave the twin up, to look around")
    up.set_defaults(run=_up)
    demo.set_defaults(run=_demo)
    command("down", "stop every process of the twin and remove its folder").set_defaults(run=_down)
    command("status", "what runs").set_defaults(run=_status)
    logs = command("logs", "list the logs, or show one")
    logs.add_argument("name", nargs="?", help="a name of the list")
    logs.add_argument("-f", "--follow", action="store_true", help="go on as it grows")
    logs.set_defaults(run=_logs)
    parsed = parser.parse_args(list(arguments))
    # As on Ctrl-C: what was begun is taken down.
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, _interrupt)
    try:
        if parsed.run in (_status, _logs):
            return int(parsed.run(here, parsed))
        with lifecycle.alone(here):
            return int(parsed.run(here, parsed))
    except lifecycle.CannotStart as error:
        print(f"cryoem twin: {error}", file=sys.stderr)
        return 2
    except GaveUp as error:
        print(f"cryoem twin: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ncryoem twin: interrupted", file=sys.stderr)
        return 130


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _movies(text: str) -> int:
    """At least eight: with fewer particles the map cannot agree with the truth."""
    number = int(text)
    if not 8 <= number <= 64:
        raise argparse.ArgumentTypeError(f"got {number}, allowed: 8 to 64")
    return number


def _up(here: Places, parsed: argparse.Namespace) -> int:
    began = time.monotonic()
    lifecycle.up(
        here,
        Mode(strict=parsed.strict),
        lambda text: print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True),
        config=parsed.config.resolve(),
    )
    print(f"{time.monotonic() - began:6.1f} s  up; 'cryoem twin status' says what runs")
    return 0


def _down(here: Places, parsed: argparse.Namespace) -> int:
    lifecycle.down(here, print)
    return 0


def _demo(here: Places, parsed: argparse.Namespace) -> int:
    from .demo import Demo, StageFailed

    if lifecycle.is_up(here):
        print("a twin is up; the demo begins from nothing and replaces it", flush=True)
    demo = Demo(
        here,
        Mode(strict=parsed.strict),
        config=parsed.config.resolve(),
        output=parsed.output,
        movies=parsed.movies,
        console=Console(width=None if sys.stdout.isatty() else 120),
    )
    try:
        demo.run()
    except StageFailed as error:
        print(f"\ncryoem twin demo: {error}", file=sys.stderr)
        return 1
    finally:
        if not parsed.keep:
            lifecycle.down(here)
    return 0


def _status(here: Places, parsed: argparse.Namespace) -> int:
    if not lifecycle.is_up(here):
        print(f"no twin is up in {here.root}")
        return 1
    mode = Mode.load(here)
    print(f"twin in {here.root}, {'strict' if mode.strict else 'plain'}, ports from {here.first_port}")
    for part in _PARTS:
        print(f"  {part:10} {'runs' if processes.alive(here.run / f'{part}.pid') else 'is off'}")
    print(f"  {'slurmctld':10} {'runs' if processes.alive(here.slurm / 'pid' / 'slurmctld.pid') else 'is off'}")
    nodes = [p.stem.removeprefix("slurmd-") for p in (here.slurm / "pid").glob("slurmd-*.pid") if processes.alive(p)]
    print(f"  nodes      {', '.join(sorted(nodes)) or 'none'}")
    for name, value in lifecycle.outputs(here).items():
        if not name.startswith("ExportsOutput"):
            print(f"  {name} = {value}")
    return 0


def _logs(here: Places, parsed: argparse.Namespace) -> int:
    files = sorted([*here.logs.glob("*.log"), *(here.slurm / "log").glob("*.log")])
    if parsed.name is None:
        for path in files:
            print(f"{path.stem:24} {path.stat().st_size:>9} bytes  {path}")
        return 0
    found = [path for path in files if path.stem == parsed.name]
    if not found:
        print(f"no log {parsed.name!r}; there are: {', '.join(path.stem for path in files) or 'none'}", file=sys.stderr)
        return 2
    return subprocess.run(
        ["tail", "-n", "60", *(["-f"] if parsed.follow else []), str(found[0])], check=False
    ).returncode
