from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from cryoem_head import register_lanes, settings, slurm


def lane(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "partition": name,
        "gpus": 1,
        "vcpus": 8,
        "memory_mib": 31_129,
        "max_nodes": 4,
        "cache_gb": 400,
        "memory_multiplier": 2.0,
        "time_limit_minutes": 60,
        "hold_minutes": 0,
        "usd_per_hour": 1.2,
        **changes,
    }


class Cryosparc:
    """A master's cluster targets; it may fail before a change."""

    def __init__(self) -> None:
        self.scripts: dict[str, str] = {"somebody's own": "#!/bin/sh\n"}
        self.calls: list[str] = []
        self.failing = False

    def targets(self) -> dict[str, Any]:
        return {n: SimpleNamespace(name=n, config=SimpleNamespace(script_tpl=s)) for n, s in self.scripts.items()}

    def add(self, files: Mapping[str, str]) -> None:
        self._change(f"add {json.loads(files['cluster_info.json'])['name']}")
        self.scripts[json.loads(files["cluster_info.json"])["name"]] = files["cluster_script.sh"]

    def remove(self, name: str) -> None:
        if name in self.scripts:
            self._change(f"remove {name}")
            del self.scripts[name]

    def _change(self, what: str) -> None:
        if self.failing:
            raise ConnectionError("the master went away")
        self.calls.append(what)


class World:
    """A head node with a master, and the manifest in SSM."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = home
        self.master: Cryosparc | None = Cryosparc()
        self.manifest = ""
        self._capsys, self._monkeypatch = capsys, monkeypatch
        monkeypatch.setattr(boto3, "client", lambda service, region_name: self)
        monkeypatch.setattr(register_lanes, "connect", lambda here: self.master)
        self.jobs, self.partitions = "", "PartitionName=a State=UP\nPartitionName=b State=UP\n"
        monkeypatch.setattr(slurm, "run", lambda *c: self.jobs if c[0] == "squeue" else self.partitions)

    def get_parameter(self, *, Name: str) -> dict[str, Any]:
        assert Name == "/cryo/lanes"
        return {"Parameter": {"Value": self.manifest}}

    def run(self, mode: str, *lanes: dict[str, Any], expected: str = "", **more: Any) -> dict[str, Any]:
        self.manifest = json.dumps({"version": 1, "cluster": "cryo", "lanes": lanes, **more})
        sha256 = expected or hashlib.sha256(self.manifest.encode()).hexdigest()
        self._monkeypatch.setattr(sys, "argv", ["register-lanes", mode, "--manifest-sha256", sha256])
        register_lanes.main()
        document: dict[str, Any] = json.loads(self._capsys.readouterr().out)
        return document

    def converge(self, *lanes: dict[str, Any]) -> dict[str, Any]:
        document = self.run("converge", *lanes)
        assert document["registered"] == document["wanted"]
        assert document["wanted"].keys() == {each["name"] for each in lanes}
        changes: dict[str, Any] = document["changes"]
        return changes

    @property
    def calls(self) -> list[str]:
        assert self.master is not None
        done, self.master.calls = self.master.calls, []
        return done

    @property
    def folders(self) -> list[str]:
        return sorted(path.name for path in (self.home / "lanes").iterdir() if path.is_dir())


@pytest.fixture
def world(home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> World:
    return World(home, capsys, monkeypatch)


def test_recipes_find_the_lane_of_each_stage_as_the_manifest_says(world: World) -> None:
    folder = world.home / "lanes"
    world.run("converge", lane("a"), stages={"class2d": "a", "motion-cpu": "a"})
    assert (folder / "stages.env").read_text() == "export LANE_CLASS2D=a\nexport LANE_MOTION_CPU=a\n"
    world.run("show", lane("a"), lane("b"), stages={"class2d": "b"})
    assert (folder / "stages.env").read_text() == "export LANE_CLASS2D=b\n"
    assert json.loads((folder / "stages.json").read_text())["stages"] == {"class2d": "b"}
    assert world.folders == ["a"]


def test_a_manifest_without_stages_gives_none(world: World) -> None:
    world.run("converge", lane("a"))
    assert (world.home / "lanes" / "stages.env").read_text() == ""


def test_missing_lanes_are_added(world: World) -> None:
    assert world.converge(lane("a"), lane("b")) == {"set": ["a", "b"], "removed": []}
    assert world.calls == ["add a", "add b"]
    assert sorted(path.name for path in (world.home / "lanes" / "a").iterdir()) == [
        "cluster_info.json", "cluster_script.sh", "registered.sha256", "relion.env", "relion_qsub.sh",
    ]  # fmt: skip
    modes = {path.name: path.stat().st_mode & 0o777 for path in (world.home / "lanes" / "a").iterdir()}
    assert (modes["cluster_script.sh"], modes["relion_qsub.sh"], modes["relion.env"]) == (0o755, 0o755, 0o644)


def test_converging_again_changes_nothing(world: World) -> None:
    world.converge(lane("a"))
    before = {path: path.stat().st_mtime_ns for path in (world.home / "lanes" / "a").iterdir()}
    assert world.calls == ["add a"]
    assert world.converge(lane("a")) == {"set": [], "removed": []}
    assert world.calls == []
    assert {path: path.stat().st_mtime_ns for path in (world.home / "lanes" / "a").iterdir()} == before


@pytest.mark.parametrize("change", [{"vcpus": 16}, {"cache_gb": 0}, {"gpus": 4}, {"time_limit_minutes": 5}])
def test_a_lane_that_differs_is_replaced(world: World, change: dict[str, int]) -> None:
    world.converge(lane("a"), lane("b"))
    assert world.calls == ["add a", "add b"]
    assert world.converge(lane("a", **change), lane("b")) == {"set": ["a"], "removed": []}
    assert world.calls == ["add a"]


def test_only_lanes_of_ours_are_removed(world: World) -> None:
    world.converge(lane("a"), lane("b"))
    assert world.calls == ["add a", "add b"]
    assert world.converge(lane("b")) == {"set": [], "removed": ["a"]}
    assert world.calls == ["remove a"]
    assert world.converge() == {"set": [], "removed": ["b"]}
    assert world.master is not None
    assert (list(world.master.scripts), world.folders) == (["somebody's own"], [])


def test_a_lane_that_somebody_removed_in_cryosparc_comes_back(world: World) -> None:
    world.converge(lane("a"))
    assert world.master is not None
    del world.master.scripts["a"]
    assert world.run("show", lane("a"))["registered"] == {}
    assert world.converge(lane("a"))["set"] == ["a"]


def test_a_lane_that_somebody_changed_in_cryosparc_is_set_right(world: World) -> None:
    world.converge(lane("a"))
    assert world.master is not None
    world.master.scripts["a"] += "\n# mine"
    assert world.converge(lane("a"))["set"] == ["a"]


def test_a_lane_that_somebody_removed_in_cryosparc_is_forgotten_with_the_manifest(world: World) -> None:
    world.converge(lane("a"))
    assert world.master is not None
    del world.master.scripts["a"]
    assert world.converge() == {"set": [], "removed": ["a"]}
    assert "remove a" not in world.calls


@pytest.mark.parametrize("change", [{"vcpus": 16}, {"cache_gb": 0}, {"time_limit_minutes": 5}])
def test_a_half_finished_registration_is_repaired(world: World, change: dict[str, int]) -> None:
    """The files were written, cryoSPARC was not told; `cache_gb` does not even show in the script."""
    world.converge(lane("a"))
    assert world.master is not None
    world.master.failing = True
    with pytest.raises(ConnectionError):
        world.converge(lane("a", **change))
    world.master.failing = False
    shown = world.run("show", lane("a", **change))
    assert shown["registered"] != shown["wanted"]
    assert world.converge(lane("a", **change))["set"] == ["a"]


def test_a_first_registration_that_failed_is_repaired(world: World) -> None:
    assert world.master is not None
    world.master.failing = True
    with pytest.raises(ConnectionError):
        world.converge(lane("a"))
    world.master.failing = False
    assert world.run("show", lane("a"))["registered"] == {}
    assert world.converge(lane("a"))["set"] == ["a"]


def test_a_half_finished_removal_is_repaired(world: World) -> None:
    world.converge(lane("a"))
    assert world.master is not None
    world.master.failing = True
    with pytest.raises(ConnectionError):
        world.converge()
    world.master.failing = False
    assert world.converge() == {"set": [], "removed": ["a"]}


def test_a_removal_that_died_after_cryosparc_was_told_is_seen_and_finished(world: World) -> None:
    world.converge(lane("a"), lane("b"))
    assert world.master is not None
    del world.master.scripts["a"]
    shown = world.run("show", lane("b"))
    assert shown["registered"] != shown["wanted"]
    assert world.converge(lane("b")) == {"set": [], "removed": ["a"]}


def test_show_changes_nothing(world: World) -> None:
    shown = world.run("show", lane("a"))
    assert (shown["registered"], list(shown["wanted"]), shown["changes"]) == ({}, ["a"], {})
    assert (world.calls, world.folders) == ([], [])


def test_without_a_master_relion_gets_its_lanes(world: World) -> None:
    world.master = None
    assert world.converge(lane("a")) == {"set": ["a"], "removed": []}
    assert world.converge(lane("b")) == {"set": ["b"], "removed": ["a"]}
    assert world.folders == ["b"]


def test_a_master_that_comes_later_gets_the_lanes(world: World) -> None:
    master, world.master = world.master, None
    world.converge(lane("a"))
    world.master = master
    assert world.converge(lane("a"))["set"] == ["a"]
    assert world.calls == ["add a"]


def test_another_manifest_than_expected_is_a_temporary_failure(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        world.run("converge", lane("a"), expected="0" * 64)
    assert stopped.value.code == 75
    assert f"not {'0' * 64}: look again" in capsys.readouterr().err
    assert (world.calls, world.folders) == ([], [])


def test_a_master_that_does_not_answer_is_a_temporary_failure(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    secrets = SimpleNamespace(get_secret_value=lambda SecretId: {"SecretString": '{"email": "e", "password": "hush"}'})

    def refuse(url: str, *, email: str, password: str) -> None:
        raise OSError(f"{url} refused {email}")

    monkeypatch.setattr(boto3, "client", lambda service, region_name: secrets)
    monkeypatch.setattr(register_lanes, "Cryosparc", refuse)
    text = (home / "etc" / "head-node.env").read_text()
    (home / "etc" / "head-node.env").write_text(text.replace("CRYOSPARC_URL=", "CRYOSPARC_URL=http://master:39000"))
    with pytest.raises(SystemExit) as stopped:
        register_lanes.connect(settings.load(home))
    assert stopped.value.code == 75
    said = capsys.readouterr().err
    assert "http://master:39000 does not answer: http://master:39000 refused e" in said
    assert "hush" not in said


def test_a_head_node_without_a_master_asks_for_no_secret(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(boto3, "client")
    assert register_lanes.connect(settings.load(home)) is None


def test_what_cryosparc_is_given_is_what_its_own_client_accepts(world: World) -> None:
    world.converge(lane("a"))
    given: list[Any] = []
    removed: list[str] = []
    resources = SimpleNamespace(
        add_cluster=given.append,
        find_clusters=lambda: [target for target in given if f"cluster {target.name}" not in removed],
        find_lanes=lambda: [target for target in given if f"lane {target.name}" not in removed],
        remove_cluster=lambda name: removed.append(f"cluster {name}"),
        remove_lane=lambda name: removed.append(f"lane {name}"),
    )
    master = object.__new__(register_lanes.Cryosparc)
    master._api = SimpleNamespace(resources=resources)
    files = {path.name: path.read_text() for path in (world.home / "lanes" / "a").iterdir()}
    master.add(files)
    target = master.targets()["a"]
    assert (target.lane, target.hostname, target.title) == ("a", "a", "a (1 GPU)")
    assert (target.cache_path, target.cache_quota_mb) == ("/scratch/cryosparc-cache", 360_000)
    assert target.config.script_tpl == files["cluster_script.sh"]
    assert "{{ script_path_abs }}" in target.config.qsub_cmd_tpl
    removed.append("cluster a")
    master.remove("a")
    assert removed == ["cluster a", "lane a"], "what an earlier try left is removed too"
    master.remove("a")
    assert removed == ["cluster a", "lane a"]
    removed.clear()
    master.remove("a")
    assert removed == ["cluster a", "lane a"]


def test_a_lane_that_jobs_use_is_kept_until_they_have_gone(world: World) -> None:
    world.converge(lane("a"), lane("b"))
    world.jobs = "a\na,b\n"
    found = world.run("converge", lane("b"))
    assert (found["changes"], found["kept"]) == ({"set": [], "removed": []}, ["a"])
    assert found["registered"] == found["wanted"], "nothing is left to do before the job has gone"
    assert world.folders == ["a", "b"]
    world.jobs = "b\n"
    assert world.run("show", lane("b"))["registered"].keys() == {"a", "b"}
    assert world.converge(lane("b")) == {"set": [], "removed": ["a"]}


def test_a_lane_whose_partition_is_down_is_told(world: World) -> None:
    world.partitions = "PartitionName=a State=INACTIVE\nPartitionName=b State=UP\nPartitionName=mine State=DOWN\n"
    assert world.run("converge", lane("a"), lane("b"))["closed"] == ["a"]
