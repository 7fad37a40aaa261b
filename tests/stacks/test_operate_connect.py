"""`cryoem connect`: what Session Manager is asked, what the plugin is told, how it ends, what is said when it cannot."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from operate_account import REGION, SWEEPER, Deployed, at_hand, run
from preflight_account import answer, refuse

from cdk_cryoem_stacks.operate import connect
from cdk_cryoem_stacks.operate.ask import Failed
from cdk_cryoem_stacks.operate.connect import Session

ROOT = Path(__file__).parents[2]
SESSION, TOKEN = "anna-0123456789abcdef0", "AAEAAQ-a-token"
URL = f"wss://ssmmessages.{REGION}.amazonaws.com/v1/data-channel/{SESSION}?role=publish_subscribe"
# Writes down how it was called, then does as it is told by the file beside it.
DOUBLE = """#!{python}
import json, os, pathlib, signal, sys, time
here = pathlib.Path(__file__).parent
if sys.argv[1:] == ["--version"]:
    print((here / "version").read_text())
    sys.exit()
called = {{"argv": sys.argv[1:], "response": os.environ.get("AWS_SSM_START_SESSION_RESPONSE"),
          "interrupts": signal.getsignal(signal.SIGINT) is signal.default_int_handler}}
(here / "called.json.part").write_text(json.dumps(called))
os.replace(here / "called.json.part", here / "called.json")
how = (here / "how").read_text()
if how == "stays":
    time.sleep(60)
if how == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(60)
sys.exit(int(how))
"""


class Plugin:
    """The double of session-manager-plugin."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "session-manager-plugin"
        self.path.write_text(DOUBLE.format(python=sys.executable))
        self.path.chmod(0o755)
        self.version("1.2.814.0")
        self.does("0")

    def version(self, text: str) -> None:
        (self.folder / "version").write_text(text)

    def does(self, how: str) -> None:
        (self.folder / "how").write_text(how)

    @property
    def was_called(self) -> bool:
        return (self.folder / "called.json").exists()

    @property
    def called(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "called.json").read_text())
        return found

    def wait(self) -> None:
        for _ in range(200):
            if self.was_called:
                return
            time.sleep(0.05)
        raise AssertionError("the plugin was not called")


class Sessions:
    """What Session Manager was asked to begin and to end."""

    def __init__(self, system: Deployed) -> None:
        self.begun: list[Mapping[str, Any]] = []
        self.ended: list[str] = []
        answer(system.clients.ssm, "StartSession", self._begin)
        answer(system.clients.ssm, "TerminateSession", self._end)

    def _begin(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        self.begun.append(request)
        return {"SessionId": SESSION, "TokenValue": TOKEN, "StreamUrl": URL}

    def _end(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        self.ended.append(request["SessionId"])
        return {"SessionId": request["SessionId"]}


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """As at a terminal: what a shell runs in the background, as CI may, begins with interrupts ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plugin:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return Plugin(folder)


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Deployed]:
    """A system that is deployed and awake, credentials for it, and its file."""
    with at_hand(monkeypatch, tmp_path) as system:
        system.pings = 4e9
        yield system


@pytest.fixture
def sessions(system: Deployed) -> Sessions:
    return Sessions(system)


def taken(port: int) -> socket.socket:
    holder = socket.socket()
    holder.bind(("127.0.0.1", port))
    holder.listen()
    return holder


# --- the usual way ------------------------------------------------------------------------------------------------------


def test_the_ui_is_a_port_of_this_machine(
    system: Deployed, sessions: Sessions, plugin: Plugin, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("connect", "--port", "45671") == 0
    (asked,) = sessions.begun
    assert asked == {
        "Target": system.head_node,
        "Reason": "cryoem connect ui",
        "DocumentName": "AWS-StartPortForwardingSession",
        "Parameters": {"portNumber": ["61000"], "localPortNumber": ["45671"]},
    }
    assert "http://localhost:45671" in capsys.readouterr().out
    assert sessions.ended == [SESSION]
    assert system.calls == []
    assert system.items() == [], "it was awake: nothing is written"


def test_the_plugin_is_told_as_the_aws_cli_tells_it_and_the_token_is_no_argument(
    system: Deployed, sessions: Sessions, plugin: Plugin
) -> None:
    assert run("connect", "--port", "45672") == 0
    name, region, operation, profile, request, endpoint = plugin.called["argv"]
    assert (name, region, operation, profile) == ("AWS_SSM_START_SESSION_RESPONSE", REGION, "StartSession", "")
    assert endpoint == f"https://ssm.{REGION}.amazonaws.com"
    assert json.loads(request) == sessions.begun[0]
    assert json.loads(plugin.called["response"]) == {"SessionId": SESSION, "TokenValue": TOKEN, "StreamUrl": URL}
    assert TOKEN not in json.dumps(plugin.called["argv"])
    assert "AWS_SSM_START_SESSION_RESPONSE" not in os.environ


def test_a_shell_has_no_document_so_that_the_accounts_preferences_hold(
    system: Deployed, sessions: Sessions, plugin: Plugin, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("connect", "shell") == 0
    assert sessions.begun == [{"Target": system.head_node, "Reason": "cryoem connect shell"}]
    assert "`exit` ends it" in capsys.readouterr().out
    assert plugin.called["interrupts"], "what is ignored here would be ignored there"


def test_the_desktop_says_how_to_get_its_token(
    system: Deployed, sessions: Sessions, plugin: Plugin, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("cryoem.yaml").write_text("name: cryoem\nhead_node: {remote_desktop_from: 10.0.0.0/8}\n")
    assert run("connect", "desktop", "--port", "45673") == 0
    assert sessions.begun[0]["Parameters"] == {"portNumber": ["8443"], "localPortNumber": ["45673"]}
    out = capsys.readouterr().out
    assert "https://localhost:45673?authToken=TOKEN#SESSION" in out
    assert connect.DCV_SCRIPT in out


def test_the_port_is_the_one_that_the_head_nodes_bootstrap_gives_cryosparc() -> None:
    bootstrap = (ROOT / "constructs" / "cdk_cryoem" / "head_node" / "bootstrap.sh").read_text()
    assert re.findall(r"CRYOEM_CRYOSPARC_PORT:-(\d+)", bootstrap) == [str(connect.PORTS["ui"])]
    assert connect.DCV_SCRIPT in (ROOT / "docs" / "operations.md").read_text()


def test_a_dry_run_starts_nothing(
    system: Deployed, sessions: Sessions, plugin: Plugin, capsys: pytest.CaptureFixture[str]
) -> None:
    system.state("stopped", 80)
    assert run("connect", "--dry-run", "--wake", "--port", "45674") == 0
    out = capsys.readouterr().out
    assert '"localPortNumber": ["45674"]' in out
    assert "the head node is stopped" in out
    assert str(plugin.path) in out
    assert (sessions.begun, system.calls, system.items()) == ([], [], [])
    assert not plugin.was_called


# --- asleep -------------------------------------------------------------------------------------------------------------


def test_one_that_sleeps_is_not_woken_unasked(
    system: Deployed, sessions: Sessions, plugin: Plugin, capsys: pytest.CaptureFixture[str]
) -> None:
    system.state("stopped", 80)
    assert run("connect", "--port", "45675") == 1
    assert "the head node is stopped: `--wake` starts it" in capsys.readouterr().err
    assert (sessions.begun, system.calls, system.items()) == ([], [], [])


def test_wake_asks_for_it_and_connects_when_it_answers(
    system: Deployed, sessions: Sessions, plugin: Plugin, capsys: pytest.CaptureFixture[str]
) -> None:
    system.state("stopped", 80)
    system.on_call = lambda: system.state("running", 16)
    assert run("connect", "--wake", "--hours", "3", "--port", "45676") == 0
    item = system.get("request", "wake")
    assert item is not None
    assert item["until"] - item["at"] == 3 * 3600
    assert system.calls == [(SWEEPER, "Event")]
    assert "it runs, and Session Manager reaches it" in capsys.readouterr().out
    assert sessions.ended == [SESSION]


@pytest.mark.parametrize(("said", "woken"), [("", True), ("y", True), ("n", False), ("what", False)])
def test_a_terminal_is_asked(
    system: Deployed,
    sessions: Sessions,
    plugin: Plugin,
    monkeypatch: pytest.MonkeyPatch,
    said: str,
    woken: bool,
) -> None:
    system.state("stopped", 80)
    system.on_call = lambda: system.state("running", 16)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    questions: list[str] = []
    monkeypatch.setattr("builtins.input", lambda text: (questions.append(text), said)[1])
    assert run("connect", "--port", "45677") == (0 if woken else 1)
    assert questions == ["The head node is stopped. Wake it for 2 hours? [Y/n] "]
    assert (system.get("request", "wake") is not None) is woken


def test_one_that_boots_is_waited_for_without_a_request(
    system: Deployed, sessions: Sessions, plugin: Plugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    system.pings = None

    def passes(seconds: float) -> None:
        system.pings = 4e9

    monkeypatch.setattr(
        connect.wake.watch, "__kwdefaults__", {**(connect.wake.watch.__kwdefaults__ or {}), "pause": passes}
    )
    assert run("connect", "--port", "45678") == 0
    assert system.get("request", "wake") is None


def test_one_that_is_gone(system: Deployed, plugin: Plugin, capsys: pytest.CaptureFixture[str]) -> None:
    system.clients.ec2.terminate_instances(InstanceIds=[system.head_node])
    assert run("connect", "--wake", "--port", "45679") == 1
    assert "there is no head node any more" in capsys.readouterr().err


# --- what is missing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("platform", "mend"), [("linux", "sudo dpkg -i"), ("darwin", "brew"), ("win32", "Setup.exe")])
def test_without_the_plugin_it_says_what_installs_it_here(
    system: Deployed,
    sessions: Sessions,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    platform: str,
    mend: str,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "platform", platform)
    assert run("connect", "--port", "45680") == 1
    error = capsys.readouterr().err
    assert "there is no session-manager-plugin on this machine" in error
    assert mend in error
    assert sessions.begun == []


def test_every_way_to_install_it_is_in_the_document() -> None:
    page = (ROOT / "docs" / "access.md").read_text()
    for url in ("ubuntu_64bit/session-manager-plugin.deb", "SessionManagerPluginSetup.exe", "brew install --cask"):
        assert url in page


@pytest.mark.parametrize(
    ("version", "warned"), [("1.2.764.0", False), ("1.2.763.9", True), ("1.3.0.0", False), ("?", False)]
)
def test_an_old_plugin_is_told_and_used(
    system: Deployed,
    sessions: Sessions,
    plugin: Plugin,
    capsys: pytest.CaptureFixture[str],
    version: str,
    warned: bool,
) -> None:
    plugin.version(version)
    assert run("connect", "--port", "45681") == 0
    assert ("AWS supports 1.2.764.0 and later" in capsys.readouterr().err) is warned


def test_a_plugin_that_does_not_run(
    system: Deployed, sessions: Sessions, plugin: Plugin, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin.path.write_bytes(b"\x7fELF of another machine")
    assert run("connect", "--port", "45682") == 1
    assert "does not run" in capsys.readouterr().err
    assert sessions.begun == []


def test_a_port_in_use_is_refused_when_asked_for_and_gone_round_when_not(
    system: Deployed, sessions: Sessions, plugin: Plugin, capsys: pytest.CaptureFixture[str]
) -> None:
    with taken(45683):
        assert run("connect", "--port", "45683") == 1
        assert "port 45683 of this machine is in use: take another with --port" in capsys.readouterr().err
        assert sessions.begun == []
        assert connect.free_port(None, 45683) not in (45683, 0)
    assert connect.free_port(None, 45683) == 45683


@pytest.mark.parametrize("port", ["80", "65536", "x", "-1"])
def test_ports_that_are_none(system: Deployed, port: str) -> None:
    assert run("connect", f"--port={port}") == 2


def test_no_desktop_and_no_cryosparc(
    system: Deployed, sessions: Sessions, plugin: Plugin, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("connect", "desktop") == 1
    assert "head_node.remote_desktop_from is not set" in capsys.readouterr().err
    assert run("connect", "ui", "--port", "45684") == 0
    assert "no section cryosparc" in capsys.readouterr().err
    assert run("connect", "--name", "cryoem", "--region", REGION, "--port", "45684") == 0
    assert "no section" not in capsys.readouterr().err, "no file was read"


def test_what_aws_refuses_is_said(
    system: Deployed, sessions: Sessions, plugin: Plugin, capsys: pytest.CaptureFixture[str]
) -> None:
    refuse(system.clients.ssm, "StartSession", "AccessDeniedException")
    assert run("connect", "--port", "45685") == 1
    assert "these credentials may not ssm:StartSession: allow it" in capsys.readouterr().err
    refuse(system.clients.ssm, "StartSession", "TargetNotConnected")
    assert run("connect", "--port", "45685") == 1
    assert "Session Manager does not reach the head node" in capsys.readouterr().err
    assert not plugin.was_called


def test_a_plugin_that_fails_closes_the_session(
    system: Deployed, sessions: Sessions, plugin: Plugin, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin.does("3")
    assert run("connect", "--port", "45686") == 1
    assert f"ended with 3; the session {SESSION} is closed" in capsys.readouterr().err
    assert sessions.ended == [SESSION]


def test_a_session_that_is_gone_already_is_no_failure(system: Deployed, sessions: Sessions, plugin: Plugin) -> None:
    refuse(system.clients.ssm, "TerminateSession", "DoesNotExistException")
    assert run("connect", "--port", "45687") == 0


# --- the end ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("how", ["stays", "stubborn"])
def test_ctrl_c_ends_the_session_and_leaves_no_process(
    system: Deployed,
    sessions: Sessions,
    plugin: Plugin,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    how: str,
) -> None:
    plugin.does(how)
    waits = subprocess.Popen.wait
    # Not five seconds for one that does not go by itself.
    monkeypatch.setattr(subprocess.Popen, "wait", lambda self, timeout=None: waits(self, timeout and 0.3))
    begun: list[subprocess.Popen[bytes]] = []
    begins = subprocess.Popen.__init__

    def noted(self: subprocess.Popen[bytes], *arguments: Any, **options: Any) -> None:
        begins(self, *arguments, **options)
        begun.append(self)

    monkeypatch.setattr(subprocess.Popen, "__init__", noted)

    def ends() -> None:
        plugin.wait()
        time.sleep(0.2)
        os.kill(os.getpid(), number)

    ending = threading.Thread(target=ends)
    ending.start()
    code = run("connect", "--port", "45688")
    ending.join()
    assert code == 0
    assert sessions.ended == [SESSION]
    assert all(process.poll() is not None for process in begun)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_in_a_shell_is_the_shells(tmp_path: Path) -> None:
    slow = tmp_path / "plugin"
    slow.write_text("#!/bin/sh\ntrap 'echo got it' INT\nsleep 1 & wait\nsleep 0.5\nexit 0\n")
    slow.chmod(0o755)
    session = Session(id=SESSION, response="{}", request="{}", endpoint="e", region=REGION)
    threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    assert connect.run(session, str(slow), keeps_interrupts=True) == 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_one_that_was_terminated_is_never_waited_for() -> None:
    with pytest.raises(Failed, match="no head node any more"):
        connect.asleep(connect.wake.Seen(state="terminated"))
