from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cryoem_head import start_processing

# Says that it runs, waits for a word, and ends with it: both pipes block until the other side is there.
RECIPE = """#!/usr/bin/env bash
set -euo pipefail
echo "$1 $2 $PWD $CRYOEM_HOME"
echo running >"$2/says"
read -r word <"$2/hears"
exit "$word"
"""
Start = Callable[[], dict[str, Any]]


@pytest.fixture
def project(home: Path, tmp_path: Path) -> Path:
    """The project folder, with the recipe's two pipes; the dataset has been imported."""
    folder = tmp_path / "fsx" / "projects" / "spike"
    folder.mkdir(parents=True)
    (tmp_path / "fsx" / "data" / "spike" / "GridSquare_1").mkdir(parents=True)
    (tmp_path / "fsx" / "data" / "spike" / "GridSquare_1" / "a.mrc").touch()
    for name in ("says", "hears"):
        os.mkfifo(folder / name)
    recipe = home / "recipes" / "relion"
    recipe.write_text(RECIPE)
    recipe.chmod(0o755)
    return folder


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[subprocess.Popen[bytes]]]:
    """What was started; start-processing itself never looks back."""
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def remember(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        assert options["start_new_session"]  # it must outlive Run Command
        started.append(popen(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", remember)
    yield started
    for child in started:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait(timeout=10)


@pytest.fixture
def start(
    home: Path, children: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Start:
    monkeypatch.setattr(sys, "argv", ["start-processing", "--dataset", "spike", "--recipe", "relion"])

    def run() -> dict[str, Any]:
        start_processing.main()
        document: dict[str, Any] = json.loads(capsys.readouterr().out)
        return document

    return run


def finish(project: Path, child: subprocess.Popen[bytes], code: int) -> int:
    (project / "hears").write_text(f"{code}\n")
    return child.wait(timeout=10)


def test_started_then_running_then_finished(
    project: Path, start: Start, children: list[subprocess.Popen[bytes]], home: Path, tmp_path: Path
) -> None:
    log = project / ".processing" / "relion.log"
    assert start() == {"state": "started", "reason": "", "log": str(log)}
    assert (project / "says").read_text() == "running\n"
    assert start()["state"] == "running"
    assert len(children) == 1
    assert finish(project, children[0], 0) == 0
    assert start()["state"] == "finished"
    assert len(children) == 1
    data = tmp_path / "fsx" / "data" / "spike"
    assert log.read_text() == f"{data} {project} {project} {home}\n"


def test_a_recipe_that_failed_is_started_again_and_its_log_goes_on(
    project: Path, start: Start, children: list[subprocess.Popen[bytes]]
) -> None:
    start()
    (project / "says").read_text()
    assert finish(project, children[0], 3) == 3
    assert start()["state"] == "started"
    (project / "says").read_text()
    assert finish(project, children[1], 0) == 0
    assert start()["state"] == "finished"
    assert len((project / ".processing" / "relion.log").read_text().splitlines()) == 2


def test_two_that_start_at_the_same_moment_run_it_once(
    project: Path, start: Start, children: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    start()
    (project / "says").read_text()
    monkeypatch.setattr(start_processing, "state_of", lambda lock, done: "waiting")
    start()
    assert children[1].wait(timeout=10) == 1
    assert not (project / ".processing" / "relion.done").exists()
    assert finish(project, children[0], 0) == 0
    assert (project / ".processing" / "relion.done").exists()


def test_another_recipe_has_a_state_of_its_own(
    project: Path, start: Start, children: list[Any], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / ".processing").mkdir()
    (project / ".processing" / "relion.done").touch()
    assert start()["state"] == "finished"
    (home / "recipes" / "second").write_text("#!/bin/sh\n")
    (home / "recipes" / "second").chmod(0o755)
    monkeypatch.setattr(sys, "argv", ["start-processing", "--dataset", "spike", "--recipe", "second"])
    assert start()["state"] == "started"
    assert children[0].wait(timeout=10) == 0


@pytest.mark.parametrize("spoil", [Path.unlink, lambda recipe: recipe.chmod(0o644)], ids=["missing", "no program"])
def test_without_the_recipe_it_is_said_what_to_do(
    project: Path,
    start: Start,
    children: list[Any],
    home: Path,
    spoil: Callable[[Path], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(home / "recipes" / "relion")
    with pytest.raises(SystemExit) as stopped:
        start()
    assert stopped.value.code == 75
    assert "no recipe relion on this head node; put it into the folder" in capsys.readouterr().err
    assert children == []


def test_what_cannot_start_is_not_waited_for_for_ever(
    project: Path, start: Start, children: list[Any], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head node stays on for it."""
    monkeypatch.setattr(start_processing, "_MOST_LATER", 3)
    (home / "recipes" / "relion").unlink()
    for _ in range(3):
        with pytest.raises(SystemExit):
            start()
    found = start()
    assert (found["state"], children) == ("failed", [])
    assert "no recipe relion on this head node" in found["reason"]


def test_data_that_are_not_imported_yet_are_a_temporary_failure(
    project: Path, start: Start, children: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "fsx" / "data" / "spike"
    shutil.rmtree(data)
    with pytest.raises(SystemExit) as stopped:
        start()
    assert stopped.value.code == 75
    assert f"{data} has 0 of 1 files" in capsys.readouterr().err
    assert (children, (project / ".processing" / "relion.attempts").exists()) == ([], False)


def test_a_root_that_was_told_a_user_becomes_that_user(
    project: Path, start: Start, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owned: list[tuple[str, str]] = []
    ran: list[list[str]] = []
    homes: list[str] = []
    text = (home / "etc" / "head-node.env").read_text()
    (home / "etc" / "head-node.env").write_text(text.replace("PROCESSING_USER=", "PROCESSING_USER=ada"))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwnam", lambda user: SimpleNamespace(pw_dir=f"/home/{user}"))
    monkeypatch.setattr(shutil, "chown", lambda path, user: owned.append((path.name, user)))
    monkeypatch.setattr(
        subprocess, "Popen", lambda command, **more: (ran.append(command), homes.append(more["env"]["HOME"]))
    )
    assert start()["state"] == "started"
    assert ran[0][:5] == ["runuser", "-u", "ada", "--", "bash"]
    assert homes == ["/home/ada"]
    assert owned == [("spike", "ada"), (".processing", "ada"), ("relion.lock", "ada")]


def test_a_half_imported_dataset_waits(project: Path, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--objects", "2"])
    with pytest.raises(SystemExit) as stopped:
        start()
    assert stopped.value.code == 75


def test_a_recipe_that_keeps_failing_is_given_up_until_somebody_says_so(
    project: Path, start: Start, children: list[subprocess.Popen[bytes]]
) -> None:
    for number in range(3):
        assert start()["state"] == "started"
        (project / "says").read_text()
        assert finish(project, children[number], 1) == 1
    assert start()["state"] == "failed"
    start_again(start)
    (project / "says").read_text()
    assert finish(project, children[3], 0) == 0
    assert start()["state"] == "finished"


def start_again(start: Start) -> None:
    sys.argv.append("--again")
    assert start()["state"] == "started"
    sys.argv.remove("--again")


def test_what_a_recipe_refuses_is_not_tried_again_until_somebody_says_so(
    project: Path, start: Start, children: list[subprocess.Popen[bytes]]
) -> None:
    assert start()["state"] == "started"
    (project / "says").read_text()
    log = project / ".processing" / "relion.log"
    with log.open("a") as output:
        output.write("relion: relion.json: pixel size is missing\n\n")
    assert finish(project, children[0], 78) == 78
    for _ in range(2):
        assert start() == {"state": "refused", "reason": "relion: relion.json: pixel size is missing", "log": str(log)}
    assert len(children) == 1
    start_again(start)
    (project / "says").read_text()
    assert start()["state"] == "running"
    assert finish(project, children[1], 0) == 0
    assert start() == {"state": "finished", "reason": "", "log": str(log)}


def test_not_now_is_no_failure(project: Path, start: Start, children: list[subprocess.Popen[bytes]]) -> None:
    for number in range(4):
        assert start()["state"] == "started"
        (project / "says").read_text()
        assert finish(project, children[number], 75) == 75
    for number in range(4, 7):
        assert start()["state"] == "started"
        (project / "says").read_text()
        assert finish(project, children[number], 1) == 1
    assert start()["state"] == "failed"


@pytest.mark.parametrize(
    ("attempts", "later", "refused", "state"),
    [
        (0, 0, False, "waiting"), (2, 0, False, "waiting"), (3, 0, False, "failed"), (3, 1, False, "waiting"),
        (287, 287, False, "waiting"), (288, 288, False, "failed"), (1, 0, True, "refused"),
    ],
)  # fmt: skip
def test_what_becomes_of_a_recipe(attempts: int, later: int, refused: bool, state: str) -> None:
    assert start_processing.verdict(attempts=attempts, later=later, refused=refused) == state


def test_a_recipe_that_is_killed_with_everything_around_it_is_started_again(
    project: Path, start: Start, children: list[subprocess.Popen[bytes]]
) -> None:
    start()
    (project / "says").read_text()
    os.killpg(children[0].pid, signal.SIGKILL)
    children[0].wait(timeout=10)
    assert start()["state"] == "started"


def test_the_reason_is_the_last_line_that_says_something(project: Path) -> None:
    log = project / "log"
    assert start_processing.last_line(log) == ""
    log.write_bytes(b"first\n" + b"x" * 20_000 + b"\n  why \xff \n\n")
    assert start_processing.last_line(log) == "why \ufffd"
    log.write_text("y" * 1000)
    assert start_processing.last_line(log) == "y" * 300


def test_the_users_recipe_goes_before_a_shipped_one_of_the_same_name(project: Path, home: Path) -> None:
    shipped = home / "program" / "recipes"
    shipped.mkdir(parents=True)
    for folder, name in ((shipped, "relion"), (shipped, "live"), (home / "recipes", "folder")):
        (folder / name).write_text("#!/bin/sh\n") if name != "folder" else (folder / name).mkdir()
        (folder / name).chmod(0o755)
    here = start_processing.settings.load(home)
    assert start_processing.find(here, "relion") == home / "recipes" / "relion"
    assert start_processing.find(here, "live") == shipped / "live"
    assert start_processing.find(here, "folder") is None


def test_running_counts_the_recipes_that_run(
    project: Path, start: Start, children: list[subprocess.Popen[bytes]]
) -> None:
    assert start_processing.running(project.parent) == 0
    start()
    (project / "says").read_text()
    assert start_processing.running(project.parent) == 1
    assert finish(project, children[0], 0) == 0
    assert start_processing.running(project.parent) == 0
