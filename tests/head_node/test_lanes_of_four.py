from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from test_register_lanes import World, lane

from cryoem_head import lanes_of_four, register_lanes, settings

# cryosparcm of version 4, as far as lanes go: targets in a file beside it, in Python's own form.
CRYOSPARCM = """#!/usr/bin/env python3
import json, os, sys
here = os.path.dirname(os.path.abspath(__file__))
path = os.path.join(here, "targets")
targets = eval(open(path).read())
command = sys.argv[1:]
open(os.path.join(here, "calls"), "a").write(" ".join(command) + "\\n")
if os.path.exists(os.path.join(here, "away")):
    sys.exit("command_core does not run")
if command == ["cli", "get_scheduler_targets()"]:
    print("a warning")
    print(targets)
elif command == ["cluster", "connect"]:
    info = json.load(open("cluster_info.json"))
    target = {**info, "type": "cluster", "lane": info["name"], "script_tpl": open("cluster_script.sh").read()}
    targets = [t for t in targets if t["name"] != info["name"]] + [target]
elif command[:2] == ["cluster", "remove"]:
    targets = [t for t in targets if t["name"] != command[2]]
elif command == ["cli", "get_scheduler_lanes()"]:
    print([{"name": t["name"]} for t in targets])
elif command[0] == "cli" and command[1].startswith("remove_scheduler_lane('"):
    if os.path.exists(os.path.join(here, "lane went with its target")):
        sys.exit("no such lane")
else:
    sys.exit(f"unknown command {command}")
open(path, "w").write(repr(targets))
"""
OTHERS = [
    {"name": "somebody's own", "type": "cluster", "script_tpl": "#!/bin/sh\n"},
    {"name": "workstation", "type": "node", "hostname": "w"},
]


class Four:
    """A head node whose settings say that version 4 is installed."""

    def __init__(self, home: Path, tmp_path: Path) -> None:
        self.bin = tmp_path / "cryosparc" / "cryosparc_master" / "bin"
        self.bin.mkdir(parents=True)
        program = self.bin / "cryosparcm"
        program.write_text(CRYOSPARCM)
        program.chmod(0o755)
        self.targets = OTHERS
        with (home / "etc" / "head-node.env").open("a") as told:
            told.write(
                f"CRYOSPARC_URL=http://head:61000\nCRYOSPARC_INSTALLED=4.7.1\nCRYOSPARC_FOLDER={self.bin.parents[1]}\n"
            )

    @property
    def targets(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = eval((self.bin / "targets").read_text())
        return found

    @targets.setter
    def targets(self, targets: list[dict[str, Any]]) -> None:
        (self.bin / "targets").write_text(repr(targets))

    @property
    def calls(self) -> list[str]:
        path = self.bin / "calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def four(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Four:
    # The test's user plays the ordinary one, whoever that is.
    monkeypatch.setattr(lanes_of_four, "Account", _WhoeverWeAre)
    return Four(home, tmp_path)


class _WhoeverWeAre(lanes_of_four.Account):
    def __init__(self, name: str, mask: Any) -> None:
        self.mask, self._hold, self._become = mask, (), []
        self.name, self.uid, self.gid, self._home = "test", os.geteuid(), os.getegid(), "/"


@pytest.fixture
def world(four: Four, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> World:
    connect = register_lanes.connect
    world = World(home, capsys, monkeypatch)
    monkeypatch.setattr(register_lanes, "connect", connect)
    return world


def test_the_installed_version_says_which_interface_there_is(four: Four, home: Path) -> None:
    assert isinstance(register_lanes.connect(settings.load(home)), lanes_of_four.CryosparcFour)


def test_lanes_come_are_replaced_and_go_and_those_of_others_stay(world: World, four: Four) -> None:
    assert world.converge(lane("a"), lane("b")) == {"set": ["a", "b"], "removed": []}
    assert [target["name"] for target in four.targets] == ["somebody's own", "workstation", "a", "b"]
    target = four.targets[2]
    assert target["script_tpl"] == (world.home / "lanes" / "a" / "cluster_script.sh").read_text()
    assert target["worker_bin_path"] == "/cryosparc/bin/cryosparcw"
    assert {"name", "worker_bin_path", "send_cmd_tpl", "qsub_cmd_tpl", "qstat_cmd_tpl", "qdel_cmd_tpl",
            "qinfo_cmd_tpl"} <= target.keys()  # fmt: skip

    assert world.converge(lane("a"), lane("b")) == {"set": [], "removed": []}
    assert world.converge(lane("a", vcpus=16)) == {"set": ["a"], "removed": ["b"]}
    assert [target["name"] for target in four.targets] == ["somebody's own", "workstation", "a"]
    assert four.calls.count("cluster connect") == 3
    assert "cluster remove b" in four.calls
    assert "cli remove_scheduler_lane('b')" in four.calls


def test_a_lane_that_went_with_its_target_is_gone(world: World, four: Four) -> None:
    world.converge(lane("a"))
    (four.bin / "lane went with its target").touch()
    assert world.converge() == {"set": [], "removed": ["a"]}


def test_a_lane_that_somebody_changed_is_set_right(world: World, four: Four) -> None:
    world.converge(lane("a"))
    four.targets = [{**target, "script_tpl": "mine"} if target["name"] == "a" else target for target in four.targets]
    assert world.run("show", lane("a"))["registered"] == {}
    assert world.converge(lane("a"))["set"] == ["a"]


def test_a_master_that_does_not_answer_is_a_temporary_failure(
    four: Four, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (four.bin / "away").touch()
    with pytest.raises(SystemExit) as stopped:
        register_lanes.connect(settings.load(home))
    assert stopped.value.code == 75
    assert "cryoSPARC 4.7.1 does not answer" in capsys.readouterr().err


def test_its_files_are_what_the_user_can_read_and_are_gone_afterwards(world: World, four: Four, tmp_path: Path) -> None:
    program = four.bin / "cryosparcm"
    look = 'import json, os; json.dump([os.getcwd(), os.stat(".").st_mode & 0o777, os.stat("cluster_script.sh").st_mode & 0o777], open(here + "/looked", "w"))'
    program.write_text(CRYOSPARCM.replace("    info = json.load", f"    {look}\n    info = json.load"))
    world.converge(lane("a"))
    folder, mode, script = json.loads((four.bin / "looked").read_text())
    assert (mode, script) == (0o755, 0o644)
    assert not Path(folder).exists()
