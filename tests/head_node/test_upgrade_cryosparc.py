from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryosparc_world import World, worlds
from shipped import Shipment

OLD, NEW = "4.7.1", "5.0.7"


pytestmark = pytest.mark.slow


@pytest.fixture
def world(shipment: Shipment, slurm_bin: Path, fake: Any) -> Iterator[World]:
    """Version 4 with a project, and the wish for version 5."""
    fake("squeue", ":")
    for world in worlds(shipment, slurm_bin, OLD):
        world.install()
        world.process("P1")
        world.want(NEW)
        yield world


def is_upgraded(world: World) -> bool:
    """Master, worker, database and settings are new, nothing of the old is in the way, and the project is there."""
    assert world.documents["version"] == NEW
    assert world.documents["projects"] == ["P1"]
    assert (world.master / "version").read_text() == (world.worker / "version").read_text() == f"v{NEW}\n"
    assert world.settings["CRYOSPARC_INSTALLED"] == NEW
    assert json.loads((world.volume / "database.json").read_text()) == {"version": NEW}
    left = sorted(path.name for path in world.volume.iterdir())
    return left == [
        "backups", "cryosparc_master", "database", f"database.before-{NEW}", "database.json", "packages"
    ]  # fmt: skip


def test_first_a_backup_then_the_update_by_cryosparcs_own_command(world: World) -> None:
    done = world.install()["done"]
    (backup,) = (path.name for path in (world.volume / "backups").iterdir())
    assert done == [f"backed up the database as {backup}", f"updated to {NEW}", "started the master",
                    "wrote the address into head-node.env"]  # fmt: skip
    assert backup.endswith(f"-v{OLD}")
    assert is_upgraded(world)
    assert any(key.endswith(f"/{backup}/manifest.json") for key in world.outside.objects)
    calls = [call for call in world.calls if "stage" not in call and "serve" not in call]
    at = calls.index(f"{OLD} backup --dir={world.volume}/backups/.draft-{backup} --file=database.archive")
    assert calls[at - 1 :] == [
        f"{OLD} stop", calls[at], f"{OLD} stop", f"{NEW} deps", f"{OLD} update --help",
        f"{OLD} update --skip-download --version=v{NEW}", f"{NEW} start",
    ]  # fmt: skip
    assert json.loads((world.volume / f"database.before-{NEW}" / "documents.json").read_text())["version"] == OLD


def test_within_version_5_the_update_is_called_as_version_5_calls_it(world: World) -> None:
    world.install()
    world.want("5.0.8")
    assert "updated to 5.0.8" in world.install()["done"]
    assert f"{NEW} update --install --version=v5.0.8" in world.calls
    assert f"{NEW} database backup --help" in world.calls
    assert not (world.volume / f"database.before-{NEW}").exists(), "one copy is enough"


def test_it_waits_for_jobs(world: World, fake: Any) -> None:
    fake("squeue", "echo cryosparc_P1_J7; echo relion_refine; echo cryosparc_P1_J8")
    status, _, err = world.run()
    assert (status, "cryoSPARC 5.0.7 waits for 2 cryoSPARC jobs that run or wait in Slurm" in err) == (75, True), err
    assert (world.master / "run" / "master.pid").exists()
    assert f"{OLD} stop" not in world.calls
    fake("squeue", ":")
    world.install()
    assert is_upgraded(world)


def test_without_a_backup_there_is_no_upgrade(world: World) -> None:
    world.fail("backup fails")
    status, _, err = world.run()
    assert (status, "mongodump: no space left on device" in err) == (1, True), err
    assert world.documents["version"] == OLD
    world.mend("backup fails")
    world.outside.s3_away = True
    assert world.run()[0] == 1, "a copy that cannot be made is no backup either"
    world.outside.s3_away = False
    assert world.install()["version"] == NEW


@pytest.mark.parametrize(
    ("stage", "reboot"),
    [
        ("backup", False), ("install worker: config.sh", False), ("update: programs", False), ("update: programs", True),
        ("update: database", True),
    ],
)  # fmt: skip
def test_killed_at_any_step_it_is_finished_by_the_next_run(world: World, stage: str, reboot: bool) -> None:
    world.kill_at(stage)
    if reboot:
        world.reboot()
    assert world.install()["version"] == NEW
    assert is_upgraded(world)


def test_killed_while_the_copies_were_put_back_it_is_finished_by_the_next_run(world: World) -> None:
    world.kill_at("update: programs")
    for name in ("database", "cryosparc_master"):
        (world.volume / name).rename(world.volume / f"{name}.broken")
    world.install()
    assert is_upgraded(world)


def test_an_update_that_fails_is_tried_three_times_and_then_everything_is_as_it_was(world: World) -> None:
    world.fail("update fails")
    for _ in range(3):
        status, _, err = world.run()
        assert (status, "validation of the database failed" in err) == (1, True), err
    status, _, err = world.run()
    assert (status, f"cryosparcm update to {NEW} failed 3 times" in err) == (78, True), err
    assert f"{OLD} is back as it was. To try once more, remove {world.volume}/upgrade.json" in err
    document = world.install()
    assert (document["version"], document["failed"]["to"]) == (OLD, NEW)
    assert (world.documents["version"], world.documents["projects"]) == (OLD, ["P1"])
    assert (world.worker / "version").read_text() == f"v{OLD}\n"
    assert world.install()["done"] == []

    world.mend("update fails")
    (world.volume / "upgrade.json").unlink()
    world.install()
    assert is_upgraded(world)


def test_a_wish_that_was_taken_back_in_the_middle_leaves_everything_as_it_was(world: World) -> None:
    world.kill_at("update: programs")
    world.want(OLD)
    assert world.install()["version"] == OLD
    assert (world.documents["version"], world.documents["projects"]) == (OLD, ["P1"])


def test_a_database_without_its_master_is_opened_by_the_version_that_wrote_it(world: World) -> None:
    """Otherwise version 5 would be let loose on a database of version 4, which the double notices."""
    world.reboot()
    shutil.rmtree(world.master)
    assert world.install()["done"][0] == f"installed the master {OLD}"
    assert is_upgraded(world)
