"""What stands for the rest of the machine around the head node's programs: time, locks, files, Slurm, boto3, other processes."""

from __future__ import annotations

import fcntl
import functools
import importlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from .ram_files import Disk, RamFile, RamPath, flock, open_, remove_tree

if TYPE_CHECKING:
    from .site import Site

_PROGRAMS = (
    *("backup_outcome", "installation", "job_completion", "lane_files", "power_down", "register_lanes", "send_events"),
    *("settings", "slurm", "slurm_status", "spool", "start_processing", "stop_head_node"),
)
RECIPE = "relion"


class _Stage:
    """The site that plays now, and where the programs' files are."""

    def __init__(self) -> None:
        self.site: Site | None = None
        self.home = RamPath(Disk(), "/opt/cryoem")
        self.modules: dict[str, ModuleType] = {}

    def now(self) -> Site:
        assert self.site is not None, "no schedule is being played"
        return self.site


stage = _Stage()


def _attributes() -> dict[str, Any]:
    process = stage.now().clock.current
    assert process is not None
    return process.attributes


def print_(*words: object, file: object = None, sep: str = " ", end: str = "\n", flush: bool = False) -> None:
    """print, into what the process has printed."""
    _attributes()["out" if file is None else "err"].append(sep.join(map(str, words)) + end)


class Time:
    """The module time."""

    def time(self) -> float:
        return stage.now().clock.now

    monotonic = perf_counter = time

    def sleep(self, seconds: float) -> None:
        stage.now().sleep(seconds)


class _Event:
    def wait(self, timeout: float = 0.0) -> bool:
        stage.now().clock.advance(timeout)
        return False


class _Parser:
    """argparse, as far as the programs use it, without its setup time."""

    def __init__(self, **_: Any) -> None:
        self._known: dict[str, dict[str, Any]] = {}

    def add_argument(self, name: str, **how: Any) -> None:
        self._known[name] = how

    def parse_args(self) -> SimpleNamespace:
        words: list[str] = list(_attributes()["argv"])
        found: dict[str, Any] = {}
        places = [name for name in self._known if not name.startswith("-")]
        for name, how in self._known.items():
            if name.startswith("-"):
                found[name.lstrip("-").replace("-", "_")] = how.get("default", False if "action" in how else None)
        while words:
            word = words.pop(0)
            name = word if word.startswith("--") else places.pop(0)
            how = self._known[name]
            given: Any = True if how.get("action") == "store_true" else words.pop(0) if word.startswith("--") else word
            if "choices" in how and given not in how["choices"]:
                raise SystemExit(2)
            found[name.lstrip("-").replace("-", "_")] = how["type"](given) if "type" in how else given
        if places or any(
            how.get("required") and found[n.lstrip("-").replace("-", "_")] is None for n, how in self._known.items()
        ):
            raise SystemExit(2)
        return SimpleNamespace(**found)


class _Fcntl:
    """Locks of files. Who must wait lets time pass."""

    LOCK_EX, LOCK_SH, LOCK_NB, LOCK_UN = fcntl.LOCK_EX, fcntl.LOCK_SH, fcntl.LOCK_NB, fcntl.LOCK_UN

    def flock(self, handle: RamFile, operation: int) -> None:
        while True:
            try:
                flock(handle, operation)
            except BlockingIOError:
                if operation & fcntl.LOCK_NB:
                    raise
                stage.now().clock.advance(0.25)
            else:
                return


class _Subprocess:
    """Programs that the programs start."""

    CalledProcessError, SubprocessError, DEVNULL = (
        subprocess.CalledProcessError,
        subprocess.SubprocessError,
        subprocess.DEVNULL,
    )
    TimeoutExpired, PIPE, STDOUT = subprocess.TimeoutExpired, subprocess.PIPE, subprocess.STDOUT

    def run(self, command: list[str], **_: Any) -> SimpleNamespace:
        site = stage.now()
        text = ""
        people = site.head_node.logins
        if command[0] == "who":
            text = "".join(f"{name} pts/0\n" for name in people if not name.startswith("web"))
        elif command[0] == "ss":
            text = "".join(
                f"0 0 10.0.0.9:61000 10.0.5.5:{4000 + n}\n" for n, p in enumerate(people) if p.startswith("web")
            )
        elif command[:2] == ["systemctl", "poweroff"]:
            site.head_node.power_off()
        elif command[:2] == ["systemctl", "start"]:
            site.backup.begin()
        else:
            assert command[0] in ("pgrep", "ss", "systemctl"), command
        return SimpleNamespace(stdout=text, stderr="", returncode=0)

    def Popen(self, command: list[str], **how: Any) -> None:  # noqa: N802 the name of the class it stands for
        stage.now().recipes.popen(command, **how)


class _Os:
    """os, with an environment of the process, and the file system's data folder out of the model."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    @property
    def environ(self) -> Mapping[str, str]:
        return _attributes().get("environ") or {"CRYOEM_HOME": str(stage.home)}

    def access(self, path: RamPath, _: int) -> bool:
        return path.exists()

    def umask(self, _: int) -> int:
        return 0

    def walk(self, path: RamPath) -> Iterator[tuple[str, list[str], list[str]]]:
        # What the file system has imported of a dataset.
        yield str(path), [], stage.now().imported(path.name)


class _Boto3:
    def client(self, service: str, **_: Any) -> Any:
        return stage.now().clients[service]


def _remove_lane(path: RamPath) -> None:
    stage.now().judge.lane_removed(path.name)
    remove_tree(path)


def _slurm_run(*command: str) -> str:
    return stage.now().slurm_command(command)


def _settings() -> SimpleNamespace:
    """settings.load, without reading the same file each time."""
    return stage.now().here


def set_stage(replace: Callable[[object, str, object], None]) -> None:
    """Import the programs and put the model around them. replace: a setattr that somebody undoes."""
    for name in _PROGRAMS:
        try:
            stage.modules[name] = importlib.import_module(f"cryoem_head.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"cryoem_head.{name}":
                raise
    stand_ins = {
        "time": Time(),
        "argparse": SimpleNamespace(ArgumentParser=_Parser),
        "fcntl": _Fcntl(),
        "subprocess": _Subprocess(),
        "threading": SimpleNamespace(Event=_Event),
        "boto3": _Boto3(),
        "os": _Os(),
        "shutil": SimpleNamespace(rmtree=_remove_lane),
    }
    for module in stage.modules.values():
        for name, stand_in in stand_ins.items():
            if isinstance(getattr(module, name, None), ModuleType):
                replace(module, name, stand_in)
        replace(module, "print", print_)
        replace(module, "open", open_)
    replace(stage.modules["slurm"], "run", _slurm_run)
    replace(stage.modules["start_processing"], "Path", lambda text: RamPath(stage.home.disk, str(text)))
    replace(stage.modules["settings"], "load", _settings)
    replace(stage.modules["register_lanes"], "json", Json())
    replace(stage.modules["register_lanes"], "connect", lambda here: stage.now().master.connect(here))
    replace(stage.modules["lane_files"], "render", _remembering(stage.modules["lane_files"].render))
    replace(stage.modules["lane_files"], "render_stages", _remembering(stage.modules["lane_files"].render_stages))
    replace(stage.modules["lane_files"], "digest", _digesting(stage.modules["lane_files"].digest))
    if "stop_head_node" in stage.modules:
        replace(stage.modules["stop_head_node"], "booted_at", lambda: stage.now().head_node.launched + 15)


def _remembering(render: Callable[..., dict[str, str]]) -> Callable[..., dict[str, str]]:
    """The same pure function, which renders the same lane once."""

    @functools.cache
    def once(document: tuple[tuple[str, Any], ...], how: tuple[tuple[str, str], ...]) -> dict[str, str]:
        return render(dict(document), **dict(how))

    return lambda document, **how: once(tuple(document.items()), tuple(how.items()))


class Json:
    """json that reads a long text once: hooks and programs read the same manifest again and again, and never change it."""

    JSONDecodeError = json.JSONDecodeError
    dumps, dump = staticmethod(json.dumps), staticmethod(json.dump)

    @staticmethod
    @functools.lru_cache(maxsize=64)
    def loads(text: str) -> Any:
        return json.loads(text)


def _digesting(digest: Callable[[Mapping[str, str]], str]) -> Callable[[Mapping[str, str]], str]:
    """The same pure function, which digests the same files once."""

    @functools.cache
    def once(files: tuple[tuple[str, str], ...]) -> str:
        return digest(dict(files))

    return lambda files: once(tuple(files.items()))


def clear_home() -> None:
    """An empty head node."""
    home = stage.home = RamPath(Disk(lambda: stage.now().clock.now), "/opt/cryoem")
    for name in ("lanes", "spool", "recipes", "fsx/projects"):
        (home / name).mkdir(parents=True)
    (home / "recipes" / RECIPE).write_text("")
