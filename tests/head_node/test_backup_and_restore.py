from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryosparc_world import LICENSE, World, worlds
from shipped import Shipment

from cryoem_head import backups

pytestmark = pytest.mark.slow

PREFIX = "backups/cryosparc/cryo/"


@pytest.fixture
def version() -> str:
    return "4.7.1"


both = pytest.mark.parametrize("version", ["5.0.6", "4.7.1"])


@pytest.fixture
def world(shipment: Shipment, slurm_bin: Path, fake: Any, version: str) -> Iterator[World]:
    """A cryoSPARC that runs, with one project and one lane."""
    fake("squeue", ":")
    for world in worlds(shipment, slurm_bin, version):
        world.install()
        world.process("P1")
        lane = shipment.home / "lanes" / "gpu1"
        lane.mkdir(parents=True)
        (lane / "cluster_info.json").write_text("{}")
        yield world


def back_up(world: World) -> dict[str, Any]:
    status, document, said = world.run("backup-database")
    assert status == 0, said
    return document


def restore(world: World, name: str, *more: str) -> dict[str, Any]:
    status, document, said = world.run("restore-database", "--from", name, *more)
    assert status == 0, said
    return document


@both
def test_a_backup_is_made_while_cryosparc_runs_and_copied(world: World, version: str) -> None:
    document = back_up(world)
    name = document["name"]
    assert name.endswith(f"-v{version}")
    assert (document["on_volume"], document["in_bucket"], document["copied"]) == (True, True, [name])
    assert document["url"] == f"s3://results/{PREFIX}{name}/"
    assert (world.master / "run" / "master.pid").exists()
    files = {key.removeprefix(f"{PREFIX}{name}/") for key in world.outside.objects}
    assert files == {
        "database.archive", "manifest.json", "config/master-config.sh", "config/worker-config.sh",
        "lanes/gpu1-cluster_info.json",
        *(["config/cryosparc_instance_config_2026_01_01_00h00.tar"] if version == "5.0.6" else []),
    }  # fmt: skip
    assert sorted(files - {"manifest.json"}) == manifest(world, name)["files"]
    assert b'"projects": ["P1"]' in world.outside.objects[f"{PREFIX}{name}/database.archive"]
    assert (world.volume / "backups").stat().st_mode & 0o077 == 0


def manifest(world: World, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(world.outside.objects[f"{PREFIX}{name}/manifest.json"])
    return found


@pytest.mark.parametrize("version", ["5.0.6"])
def test_what_leaves_the_head_node_has_no_licence_id(world: World) -> None:
    run = world.master / "run"
    secret = world.base / "license"
    secret.write_text(LICENSE)
    with tarfile.open(run / "cryosparc_instance_config_2026_01_02_00h00.tar", "w") as archive:
        archive.add(secret)
    secret.unlink()
    document = back_up(world)
    assert document["left_out"] == ["cryosparc_instance_config_2026_01_02_00h00.tar: it holds the licence id"]
    configuration = world.outside.objects[f"{PREFIX}{document['name']}/config/master-config.sh"].decode()
    assert 'export CRYOSPARC_LICENSE_ID=""\n' in configuration
    assert f'export CRYOSPARC_BASE_PORT="{world.port}"\n' in configuration
    assert not [key for key, body in world.outside.objects.items() if LICENSE.encode() in body]
    (run / "cryosparc_instance_config_2026_01_02_00h00.tar").unlink()


def test_a_few_are_kept_on_the_volume_and_all_in_the_bucket(world: World) -> None:
    world.outside.s3_away = True
    status, document, said = world.run("backup-database")
    assert (status, document) == (1, {}), said
    made = [path.name for path in (world.volume / "backups").iterdir()]
    assert len(made) == 1, "without the bucket the backup stays here"
    world.outside.s3_away = False
    for _ in range(3):
        document = back_up(world)
        made.append(document["name"])
        assert document["copied"] == (made if len(made) == 2 else made[-1:]), "the next night copies what is missing"
    assert document["removed"] == made[:1]
    assert sorted(path.name for path in (world.volume / "backups").iterdir()) == made[1:]
    listed = world.run("restore-database")[1]["backups"]
    assert [(each["name"], each["on_volume"], each["in_bucket"]) for each in listed] == [
        (made[0], False, True), *((name, True, True) for name in made[1:]),
    ]  # fmt: skip


def test_a_backup_that_fails_or_is_killed_leaves_nothing_that_looks_like_one(world: World) -> None:
    world.fail("backup fails")
    status, document, said = world.run("backup-database")
    assert (status, document, "no space left on device" in said) == (1, {}, True)
    world.mend("backup fails")
    world.kill_at("backup", "backup-database")
    assert world.run("restore-database")[1] == {"backups": []}
    assert world.outside.objects == {}
    back_up(world)
    assert len(list((world.volume / "backups").iterdir())) == 1


def test_without_room_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full volume would stop the database."""
    database = tmp_path / "database"
    database.mkdir()
    (database / "collection.wt").write_bytes(b"1" * 1000)
    installation: Any = SimpleNamespace(database=database, backups=tmp_path)
    usage = SimpleNamespace(free=8 * 2**30 + 999)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(RuntimeError, match="no room for a backup"):
        backups._need_space(installation)
    usage.free += 1
    backups._need_space(installation)
    (tmp_path / "20260101T000000Z-v5.0.6").mkdir()
    (tmp_path / "20260101T000000Z-v5.0.6" / "manifest.json").write_text('{"name": "n", "database_bytes": 10000}')
    usage.free = 8 * 2**30 + 11_999
    with pytest.raises(RuntimeError, match="no room for a backup"):
        backups._need_space(installation)
    usage.free += 1
    backups._need_space(installation)


def test_without_a_cryosparc_there_is_nothing_to_back_up(world: World) -> None:
    world.run("install-cryosparc", "--stop")
    world.master.rename(world.volume / "away")
    assert back_up(world)["name"] is None
    world.want("none")
    assert back_up(world) == {"name": None, "reason": "the setup names no version of cryoSPARC"}
    assert world.outside.objects == {}


def test_no_restore_without_saying_so_or_of_what_does_not_fit(world: World, fake: Any) -> None:
    def refused(status: int, why: str, *more: str) -> None:
        found, _, said = world.run("restore-database", "--from", *more, "--yes")
        assert (found, why in said) == (status, True), said

    name = back_up(world)["name"]
    world.process("P2")
    refused(78, "holds a database: with --replace it is put aside (and never removed)", name)
    refused(78, f"there is no backup 20200101T000000Z-v4.7.1; there are {name}", "20200101T000000Z-v4.7.1")
    plan = restore(world, name, "--replace")
    assert plan["would"][:2] == [
        "stop cryoSPARC", f"put {world.volume}/database aside as {world.volume}/database.before-restore-TIME"
    ]  # fmt: skip
    fake("squeue", "echo cryosparc_P1_J7")
    refused(75, "1 cryoSPARC jobs run or wait in Slurm", name, "--replace")
    fake("squeue", ":")
    with (world.volume / "backups" / name / "database.archive").open("a") as archive:
        archive.write(" ")
    refused(78, "is not what was backed up: its SHA-256 differs", name, "--replace")
    assert world.documents["projects"] == ["P1", "P2"]
    assert (world.master / "run" / "master.pid").exists()
    (world.master / "version").write_text("v4.7.2\n")
    refused(78, f"{name} is of cryoSPARC 4.7.1, and 4.7.2 is installed", name, "--replace")
    (world.master / "version").write_text("v4.7.1\n")


@both
def test_round_trip_with_the_database_put_aside(world: World) -> None:
    name = back_up(world)["name"]
    world.process("P2")
    document = restore(world, name, "--replace", "--yes")
    assert document["restored"] == name
    assert world.documents["projects"] == ["P1"]
    aside = Path(document["put_aside"])
    assert json.loads((aside / "documents.json").read_text())["projects"] == ["P1", "P2"]
    assert world.install()["done"] == [], "it runs, and the hooks' user is known"


def test_round_trip_after_the_volume_was_lost(world: World) -> None:
    """A new head node with an empty volume: cryoSPARC is installed anew, the backup comes from the bucket."""
    name = back_up(world)["name"]
    world.run("install-cryosparc", "--stop")
    for path in list(world.volume.iterdir()):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    world.install()
    assert world.documents["projects"] == []
    plan = restore(world, name, "--replace")["would"]
    assert plan[0] == f"fetch {name} from s3://results/{PREFIX}{name}/"
    restore(world, name, "--replace", "--yes")
    assert world.documents["projects"] == ["P1"]


def test_a_restore_that_fails_leaves_the_database_as_it_was(world: World) -> None:
    name = back_up(world)["name"]
    world.process("P2")
    world.fail("restore fails")
    status, _, said = world.run("restore-database", "--from", name, "--replace", "--yes")
    assert (status, "mongorestore: broken archive" in said) == (1, True)
    assert "it failed; the database comes back as it was" in said
    assert world.documents["projects"] == ["P1", "P2"]
    assert world.install()["done"] == [], "it runs"
    assert not [path for path in world.volume.iterdir() if "restore" in path.name]


@pytest.mark.parametrize("stage", ["restore", "start"])
def test_a_restore_that_was_killed_begins_again_from_the_database_as_it_was(world: World, stage: str) -> None:
    name = back_up(world)["name"]
    world.process("P2")
    world.kill_at(stage, "restore-database", "--from", name, "--replace", "--yes")
    world.reboot()
    status, _, said = world.run()
    assert (status, f"a restore of {name} has not ended: run restore-database again" in said) == (75, True)
    assert not (world.master / "run" / "master.pid").exists(), "a half restored database must not be worked on"
    document = restore(world, name, "--replace", "--yes")
    assert world.documents["projects"] == ["P1"]
    assert json.loads((Path(document["put_aside"]) / "documents.json").read_text())["projects"] == ["P1", "P2"]
    assert world.install()["done"] == []


def test_a_killed_restore_into_an_empty_database_begins_again(world: World) -> None:
    name = back_up(world)["name"]
    world.run("install-cryosparc", "--stop")
    shutil.rmtree(world.volume / "database")
    world.kill_at("restore", "restore-database", "--from", name, "--yes")
    assert restore(world, name, "--yes")["put_aside"] is None
    assert world.documents["projects"] == ["P1"]
