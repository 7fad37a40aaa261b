"""The cluster's ordinary user, to whom cryoSPARC belongs. Root starts what that user runs, and never runs it itself."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path
from typing import Deque, Dict, List, Mapping, Optional, Sequence

from .outcome import Mask, Refused

# The rest of our own environment is not cryoSPARC's business, and some names of it mean something else there.
_PASSED_ON = ("https_proxy", "http_proxy", "no_proxy", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE")
_WRITE = 'umask 077; cat >"$1.draft" && mv -f "$1.draft" "$1"'


class CommandFailed(Exception):
    """A command of cryoSPARC's, or around it, ended with another status than 0."""

    def __init__(self, command: str, status: int, last_lines: Sequence[str]) -> None:
        super().__init__(f"{command} ended with status {status}: {' / '.join(last_lines) or 'it said nothing'}")
        self.status = status


class Account:
    """Runs commands as the user. Their output goes to the log line by line, without secrets.

    hold: file descriptors that commands inherit: a lock is held until the last of them has ended, even if we have not.
    """

    def __init__(self, name: str, mask: Mask, *, hold: Sequence[int] = ()) -> None:
        self.mask, self._hold = mask, tuple(hold)
        entry = pwd.getpwnam(name) if name else pwd.getpwuid(os.geteuid())
        if entry.pw_uid == 0:
            raise Refused("cryoSPARC never runs as root: the setup names no ordinary user of the cluster")
        if os.geteuid() not in (0, entry.pw_uid):
            raise Refused(f"only root and {name} can do this")
        self.name, self.uid, self.gid, self._home = entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir
        self._become = ["runuser", "-u", self.name, "--"] if os.geteuid() == 0 else []

    def environment(self, more: Optional[Mapping[str, str]] = None) -> Dict[str, str]:
        """What a command finds, as after a login."""
        plain = {"HOME": self._home, "USER": self.name, "LOGNAME": self.name, "LANG": "C.UTF-8"}
        passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        return {**plain, "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", **passed_on, **(more or {})}

    def run(
        self,
        *command: str,
        text: str = "",
        folder: Optional[Path] = None,
        environment: Optional[Mapping[str, str]] = None,
        daemon: bool = False,
        quiet: bool = False,
    ) -> str:
        """What a command printed. text: its standard input. daemon: it leaves one behind, which must not hold our lock."""
        process = subprocess.Popen(
            [*self._become, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder or "/",
            env=self.environment(environment),
            pass_fds=() if daemon else self._hold,
            encoding="utf-8",
            errors="replace",
        )
        lines: List[str] = []
        last: Deque[str] = deque(maxlen=3)

        def read() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                shown = self.mask(line.rstrip())
                if shown:
                    last.append(shown)
                    if not quiet:
                        print(f"  {shown}", file=sys.stderr, flush=True)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        assert process.stdin is not None
        try:
            process.stdin.write(text)
            process.stdin.close()
        except BrokenPipeError:
            pass  # it did not want to know
        status = process.wait()
        # A daemon that kept our pipe would keep us for ever.
        reader.join(timeout=2 if daemon else None)
        if status != 0:
            raise CommandFailed(self.mask(" ".join(command[:3])), status, tuple(last))
        return "".join(lines)

    def write(self, path: Path, text: str) -> None:
        """Write a file of the user's that nobody else can read, at once or not at all."""
        self.run("bash", "-c", _WRITE, "write", str(path), text=text)

    def own(self, folder: Path, mode: int = 0o755) -> None:
        """Make the folder, if it is not there, and give it to the user."""
        folder.mkdir(parents=True, exist_ok=True)
        if folder.stat().st_uid != self.uid:
            shutil.chown(folder, self.uid, self.gid)
            folder.chmod(mode)

    def move(self, source: Path, target: Path) -> None:
        """Rename on the same disk."""
        self.run("mv", "-T", str(source), str(target))

    def remove(self, *paths: Path) -> None:
        """Remove files and whole folders, if they are there."""
        if paths:
            self.run("rm", "-rf", "--", *map(str, paths))
