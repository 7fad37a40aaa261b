"""Files of the head node in memory: as much of pathlib.Path, open and flock as the programs use."""

from __future__ import annotations

import fcntl
import fnmatch
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from types import SimpleNamespace


class Disk:
    """Folders with what is in them: text, or another folder. now: the time that files get."""

    def __init__(self, now: Callable[[], float] = lambda: 0.0) -> None:
        self.now = now
        self.touched: dict[str, float] = {}
        self.folders: dict[str, dict[str, str | None]] = {"/": {}}
        self.locks: dict[str, RamFile] = {}


class RamFile:
    """An open file. Closing it gives its lock back."""

    def __init__(self, path: RamPath, mode: str) -> None:
        self._path, self._mode = path, mode
        self.closed = False

    def fileno(self) -> RamFile:
        return self

    def write(self, text: object) -> None:
        if isinstance(text, str):
            self._path.write_text(self._path.read_text() + text)

    def read(self) -> str | bytes:
        text = self._path.read_text()
        return text.encode() if "b" in self._mode else text

    def seek(self, place: int) -> None:
        """The files here are short: they are always read whole."""

    def close(self) -> None:
        self.closed = True
        locks = self._path.disk.locks
        if locks.get(self._path.text) is self:
            del locks[self._path.text]

    def lock(self) -> None:
        """Errors: BlockingIOError when somebody else has it."""
        holder = self._path.disk.locks.setdefault(self._path.text, self)
        if holder is not self:
            raise BlockingIOError(11, "Resource temporarily unavailable")

    def unlock(self) -> None:
        self._path.disk.locks.pop(self._path.text, None)

    def __enter__(self) -> RamFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class RamPath:
    """A path on the disk."""

    __slots__ = ("_parent", "disk", "name", "text")

    def __init__(self, disk: Disk, text: str) -> None:
        self.disk, self.text = disk, text
        self._parent, _, self.name = text.rpartition("/")

    def __truediv__(self, name: object) -> RamPath:
        return RamPath(self.disk, f"{self.text}/{name}")

    def __str__(self) -> str:
        return self.text

    __fspath__ = __str__

    def __repr__(self) -> str:
        return f"RamPath({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RamPath) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __lt__(self, other: RamPath) -> bool:
        return self.text < other.text

    @property
    def parent(self) -> RamPath:
        return RamPath(self.disk, self._parent)

    @property
    def parts(self) -> tuple[str, ...]:
        return PurePosixPath(self.text).parts

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.name).suffix

    @property
    def stem(self) -> str:
        return PurePosixPath(self.name).stem

    def with_suffix(self, suffix: str) -> RamPath:
        return self.with_name(self.stem + suffix)

    def with_name(self, name: str) -> RamPath:
        return RamPath(self.disk, f"{self._parent}/{name}")

    def resolve(self) -> RamPath:
        return self

    def _entries(self) -> dict[str, str | None]:
        """What is in the folder that this is in."""
        try:
            return self.disk.folders[self._parent]
        except KeyError:
            raise FileNotFoundError(2, "No such file or directory", self.text) from None

    def exists(self) -> bool:
        return self.text in self.disk.folders or self.is_file()

    def is_dir(self) -> bool:
        return self.text in self.disk.folders

    def is_file(self) -> bool:
        return self.disk.folders.get(self._parent, {}).get(self.name) is not None

    def stat(self) -> SimpleNamespace:
        if not self.exists():
            raise FileNotFoundError(2, "No such file or directory", self.text)
        size, at = len(self._entries().get(self.name) or ""), self.disk.touched.get(self.text, 0.0)
        return SimpleNamespace(st_mode=0o100644, st_uid=0, st_size=size, st_mtime=at)

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        if self.text in self.disk.folders:
            if not exist_ok:
                raise FileExistsError(17, "File exists", self.text)
            return
        if parents and self._parent and self._parent not in self.disk.folders:
            self.parent.mkdir(parents=True, exist_ok=True)
        self.disk.folders.setdefault(self._parent or "/", {})[self.name] = None
        self.disk.folders[self.text] = {}

    def touch(self, mode: int = 0o666, exist_ok: bool = True) -> None:
        self._entries().setdefault(self.name, "")
        self.disk.touched[self.text] = self.disk.now()

    def read_text(self, encoding: str = "") -> str:
        found = self.disk.folders.get(self._parent, {}).get(self.name)
        if found is None:
            raise FileNotFoundError(2, "No such file or directory", self.text)
        return found

    def write_text(self, text: str, encoding: str = "") -> int:
        self._entries()[self.name] = text
        return len(text)

    def chmod(self, mode: int) -> None:
        self.stat()

    def unlink(self, missing_ok: bool = False) -> None:
        if self._entries().pop(self.name, None) is None and not missing_ok:
            raise FileNotFoundError(2, "No such file or directory", self.text)

    def rename(self, target: RamPath) -> RamPath:
        text = self.read_text()
        self.unlink()
        target.write_text(text)
        return target

    replace = rename

    def open(self, mode: str = "r", **_: object) -> RamFile:
        if "w" in mode:
            self.write_text("")
        elif "a" in mode:
            self.touch()
        else:
            self.read_text()
        return RamFile(self, mode)

    def iterdir(self) -> Iterator[RamPath]:
        for name in list(self.disk.folders[self.text]):
            yield self / name

    def glob(self, pattern: str) -> Iterator[RamPath]:
        first, _, rest = pattern.partition("/")
        for name in list(self.disk.folders.get(self.text, ())):
            # As pathlib: a star also stands for what begins with a dot.
            if fnmatch.fnmatchcase(name, first):
                if rest:
                    yield from (self / name).glob(rest)
                else:
                    yield self / name


def remove_tree(path: RamPath) -> None:
    """shutil.rmtree"""
    folder = path.disk.folders.pop(path.text)
    for name, text in folder.items():
        if text is None:
            remove_tree(path / name)
    path.disk.folders.get(path.parent.text, {}).pop(path.name, None)


def open_(path: RamPath, mode: str = "r", **_: object) -> RamFile:
    """open"""
    return path.open(mode)


def flock(handle: RamFile, operation: int) -> None:
    """flock that does not wait. Errors: BlockingIOError."""
    if operation & fcntl.LOCK_UN:
        handle.unlock()
    else:
        handle.lock()
