"""Ways to the head node that open nothing: a port or a shell through Session Manager, without the AWS CLI."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Literal

from . import wake
from .ask import Failed, find
from .find import Clients, System

Way = Literal["ui", "shell", "desktop"]
WAYS: tuple[Way, ...] = ("ui", "shell", "desktop")
PORTS: Mapping[str, int] = {"ui": 61000, "desktop": 8443}
"""Where cryoSPARC's pages and DCV listen on the head node."""
DCV_SCRIPT = "sudo -u ubuntu /opt/parallelcluster/scripts/pcluster_dcv_connect.sh /home/ubuntu"
_PLUGIN = "session-manager-plugin"
# The token comes to the plugin by a variable, so that `ps` shows it to nobody (aws/aws-cli, pull request 8340).
_RESPONSE = "AWS_SSM_START_SESSION_RESPONSE"
_OLDEST = (1, 2, 764, 0)
_DOWNLOADS = "https://s3.amazonaws.com/session-manager-downloads/plugin/latest"
_INSTALL: Mapping[str, str] = {
    "linux": f"curl -o /tmp/smp.deb {_DOWNLOADS}/ubuntu_64bit/session-manager-plugin.deb && sudo dpkg -i /tmp/smp.deb"
    " (Debian, Ubuntu; ubuntu_arm64 on ARM)",
    "darwin": "brew install --cask session-manager-plugin",
    "win32": f"run {_DOWNLOADS}/windows/SessionManagerPluginSetup.exe",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """A session that Session Manager has begun: its id, and what the plugin is told of it."""

    id: str
    response: str
    request: str
    endpoint: str
    region: str

    def arguments(self, plugin: str) -> list[str]:
        """The plugin's command line; the fourth argument would be a profile."""
        return [plugin, _RESPONSE, self.region, "StartSession", "", self.request, self.endpoint]


def plugin() -> str:
    """Where Session Manager's plugin is. Errors: Failed, with what installs it here."""
    found = shutil.which(_PLUGIN)
    if found is None:
        mend = _INSTALL.get(sys.platform, _INSTALL["linux"])
        raise Failed(f"there is no {_PLUGIN} on this machine. Install it: {mend}; docs/access.md has the other systems")
    return found


def plugin_warning(path: str) -> str:
    """What to say of a plugin that AWS is about to refuse; empty if it is new enough or says no version."""
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.SubprocessError) as problem:
        raise Failed(f"{path} does not run: {problem}") from problem
    version = re.fullmatch(r"\s*(\d+)\.(\d+)\.(\d+)\.(\d+)\s*", said)
    if version is None or tuple(map(int, version.groups())) >= _OLDEST:
        return ""
    return f"{_PLUGIN} is {said.strip()}; AWS supports {'.'.join(map(str, _OLDEST))} and later: install a newer one"


def request(found: System, way: Way, local_port: int | None) -> dict[str, object]:
    """What StartSession is asked for. Without a document it is a shell, with the account's session preferences."""
    wanted: dict[str, object] = {"Target": found.head_node, "Reason": f"cryoem connect {way}"}
    if way != "shell":
        wanted["DocumentName"] = "AWS-StartPortForwardingSession"
        wanted["Parameters"] = {"portNumber": [str(PORTS[way])], "localPortNumber": [str(local_port)]}
    return wanted


def begin(clients: Clients, found: System, wanted: Mapping[str, object]) -> Session:
    """Begin the session. Errors: Failed."""
    answer = find(
        "ssm:StartSession",
        lambda: clients.ssm.start_session(**wanted),  # type: ignore[arg-type]
        unless=("TargetNotConnected",),
    )
    if answer is None:
        raise Failed(
            "Session Manager does not reach the head node: its agent does not answer, or finds no way out of the subnet."
            " Try again in a minute; EC2's console has its system log"
        )
    told = {name: answer[name] for name in ("SessionId", "TokenValue", "StreamUrl")}
    return Session(
        id=answer["SessionId"],
        response=json.dumps(told),
        request=json.dumps(wanted),
        endpoint=clients.ssm.meta.endpoint_url,
        region=found.target.region,
    )


def end(clients: Clients, session: Session) -> None:
    """End the session, also one that has ended by itself. Errors: Failed."""
    find(
        "ssm:TerminateSession",
        lambda: clients.ssm.terminate_session(SessionId=session.id),
        unless=("DoesNotExistException",),
    )


def free_port(wanted: int | None, usual: int) -> int:
    """The port of this machine to listen on: the one asked for, the usual one, else any. Errors: Failed."""
    if wanted is not None:
        if not _is_free(wanted):
            raise Failed(f"port {wanted} of this machine is in use: take another with --port")
        return wanted
    if _is_free(usual):
        return usual
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        port: int = any_port.getsockname()[1]
        return port


def _is_free(port: int) -> bool:
    with socket.socket() as tried:
        # What a session left behind a moment ago is no hindrance to the plugin.
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def welcome(way: Way, port: int | None) -> list[str]:
    """What people are told before the session opens."""
    if way == "shell":
        return ["a shell on the head node; `exit` ends it"]
    lines = [
        f"http://localhost:{port} is cryoSPARC as soon as the plugin waits for connections. Ctrl-C ends the session"
    ]
    if way == "desktop":
        lines = [
            "in another terminal, `cryoem connect shell`, and there:",
            f"  {DCV_SCRIPT}",
            f"within 30 seconds: https://localhost:{port}?authToken=TOKEN#SESSION. Ctrl-C here ends the session",
        ]
    return lines


def run(session: Session, path: str, *, keeps_interrupts: bool) -> int:
    """Run the plugin to its end; its exit code, and 0 when somebody ended it.

    keeps_interrupts: Ctrl-C is the shell's on the head node, and ends nothing here.
    """
    process = subprocess.Popen(session.arguments(path), env={**os.environ, _RESPONSE: session.response})
    try:
        with _signals(keeps_interrupts=keeps_interrupts):
            return process.wait()
    except KeyboardInterrupt:
        _stop(process)
        return 0
    finally:
        if process.poll() is None:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Let the plugin end; Ctrl-C on a terminal has reached it, too."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def _signals(*, keeps_interrupts: bool) -> Iterator[None]:
    """While the plugin runs: an order to end is as good as Ctrl-C, and a shell's Ctrl-C is not ours.

    Handlers, and nothing ignored: a program that is started inherits what is ignored.
    """

    def ended(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    def not_ours(number: int, frame: FrameType | None) -> None:
        return None

    handlers: dict[signal.Signals, Callable[[int, FrameType | None], None]] = {signal.SIGTERM: ended}
    if keeps_interrupts:
        handlers |= {
            getattr(signal, name): not_ours for name in ("SIGINT", "SIGQUIT", "SIGTSTP") if hasattr(signal, name)
        }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def asleep(seen: wake.Seen) -> bool:
    """Whether it takes a request to reach it. Errors: Failed when there is none any more."""
    if seen.state in wake.GONE:
        raise Failed("there is no head node any more: it was terminated. A deployment of the cluster makes another")
    return seen.state in ("stopped", "stopping")


def needs(way: Way, found: System) -> Sequence[str]:
    """What to say of a way that leads nowhere, as far as the file tells. Errors: Failed when it surely does."""
    target = found.target
    if way == "desktop" and target.has_desktop is False:
        raise Failed(
            "there is no desktop on the head node: head_node.remote_desktop_from is not set (docs/operations.md, 'Remote"
            " desktop')"
        )
    if way == "ui" and target.has_cryosparc is False:
        return ["the file has no section cryosparc: nothing answers unless somebody installed it by hand"]
    return []


def reach(
    see: Callable[[], wake.Seen],
    *,
    wants_it_awake: Callable[[str], bool],
    request_it: Callable[[], None],
    hint: Callable[[], None],
    say: Callable[[str], None],
    seconds: float,
) -> None:
    """Return when Session Manager reaches the head node, waking it if that is wanted. Errors: Failed."""
    seen = see()
    if seen.state == "running" and seen.online:
        return
    if asleep(seen):
        if not wants_it_awake(seen.state):
            raise Failed(f"the head node is {seen.state}: `--wake` starts it, and keeps it awake for some hours")
        request_it()
    wake.watch(see, hint=hint, say=say, seconds=seconds)
