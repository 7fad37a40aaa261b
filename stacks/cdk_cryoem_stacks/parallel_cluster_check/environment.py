"""The isolated environment that check.py runs in: made once, with uv, then used by tests and `cryoem preflight`.

ParallelCluster pins a jsii that excludes aws-cdk-lib 2, so it cannot live in the environment of this package.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

_HERE = Path(__file__).resolve().parent
_CHECK = _HERE / "check.py"
_REQUIREMENTS = _HERE / "requirements.txt"
_INSTALL_SECONDS = 900
_CHECK_SECONDS = 900

Verdict = dict[str, Any]
"""What check.py says of one configuration: `schema`, `findings`, `template_resources`, `strings_ok`."""


class Unavailable(Exception):
    """ParallelCluster's code could not be had or run. `fix` says what makes it possible."""

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(reason)
        self.fix = fix


def _pins() -> list[str]:
    lines = (line.split("#")[0].strip() for line in _REQUIREMENTS.read_text().splitlines())
    return [line for line in lines if line]


def _version() -> str:
    (version,) = (pin.split("==")[1] for pin in _pins() if pin.startswith("aws-parallelcluster=="))
    return version


PARALLEL_CLUSTER_VERSION = _version()
"""The version whose schema and validators judge."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judge:
    """ParallelCluster, ready to judge."""

    python: Path

    def judge(self, configurations: Mapping[str, Mapping[str, object]]) -> dict[str, Verdict]:
        """The verdict on each configuration, all in one process: starting it takes longer than one more of them."""
        with TemporaryDirectory(prefix="cryoem-check-") as folder:
            files = {name: Path(folder) / f"{number}.json" for number, name in enumerate(configurations)}
            for name, file in files.items():
                file.write_text(json.dumps(configurations[name]))
            # Its AWS is a mock in its process; nothing of the caller's may reach it.
            env = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
            command = [str(self.python), str(_CHECK), "--json", *map(str, files.values())]
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, check=False, env=env, timeout=_CHECK_SECONDS
                )
            except subprocess.TimeoutExpired as error:
                raise Unavailable(
                    f"ParallelCluster's check took longer than {_CHECK_SECONDS} s", "Try again"
                ) from error
            if done.returncode not in (0, 1) or not done.stdout.startswith("{"):
                last = (done.stderr.strip().splitlines() or ["no message"])[-1]
                raise Unavailable(
                    f"ParallelCluster's check did not run: {last}", f"Remove {self.python.parents[1]} and try again"
                )
            verdicts: dict[str, Verdict] = json.loads(done.stdout)
            return {name: verdicts[str(file)] for name, file in files.items()}


def prepare(*, cache: Path | None = None, say: Callable[[str], None] = lambda line: None) -> Judge:
    """Make the environment, unless it is there. Errors: Unavailable, without uv or without a package registry."""
    cache = cache or _cache()
    tag = hashlib.sha256("\n".join(_pins()).encode()).hexdigest()[:12]
    folder = cache / f"pcluster-{tag}"
    ready, judge = folder / "ready", Judge(python=folder / "bin" / "python")
    if ready.exists():
        return judge
    uv = _uv()
    if uv is None:
        raise Unavailable("uv is missing, which installs ParallelCluster apart from this package", "pip install uv")
    with _alone(cache):
        if not ready.exists():  # somebody else may have made it meanwhile
            say(f"installing ParallelCluster {PARALLEL_CLUSTER_VERSION} into {folder}, once; about a minute")
            shutil.rmtree(folder, ignore_errors=True)
            _run(uv, "venv", "--quiet", str(folder))
            _run(uv, "pip", "install", "--quiet", "--python", str(judge.python), "-r", str(_REQUIREMENTS))
            ready.touch()
    return judge


def _run(uv: str, *arguments: str) -> None:
    env = os.environ | {"UV_PYTHON_DOWNLOADS": "never"}
    try:
        done = subprocess.run(
            [uv, *arguments], capture_output=True, text=True, check=False, env=env, timeout=_INSTALL_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"ParallelCluster could not be installed: {error}", _again(uv, arguments)) from error
    if done.returncode:
        said = re.sub(r"[^!-~]+", " ", done.stderr).strip()[-300:] or f"exit status {done.returncode}"
        raise Unavailable(f"ParallelCluster could not be installed: {said}", _again(uv, arguments))


def _again(uv: str, arguments: tuple[str, ...]) -> str:
    return f"With a network, or a package index in UV_INDEX_URL, run it again: {' '.join([uv, *arguments])}"


@contextmanager
def _alone(cache: Path) -> Iterator[None]:
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / "pcluster.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise Unavailable(f"{cache} cannot be written: {error}", "Name another folder in XDG_CACHE_HOME") from error


def _checkout() -> Path | None:
    """The checkout that this file is part of; None in an installed package."""
    root = _HERE.parents[2]
    return root if (root / "tools" / "setup.sh").exists() and (root / "uv.lock").exists() else None


def _cache() -> Path:
    root = _checkout()
    if root is not None:
        return root / ".tools"
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "cdk-cryoem"


def _uv() -> str | None:
    found, root = shutil.which("uv"), _checkout()
    if found is None and root is not None and (root / ".tools" / "uv" / "bin" / "uv").exists():
        found = str(root / ".tools" / "uv" / "bin" / "uv")
    return found
