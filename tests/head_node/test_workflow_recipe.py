from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from doubles.cryosparc_api import Killed
from recipe_world import RecipeWorld, recipe_world

from cryoem_head import workflow_recipe
from cryoem_head.outcome import Mask, Refused

LOGIN = 4  # the requests of every login
CHAIN: dict[str, Any] = {
    "jobs": [
        {"title": "Import", "type": "import_movies", "params": {"blob_paths": "{dataset}/**/*.tiff", "psize_A": 0.83}},
        {"title": "Motion", "type": "patch_motion_correction_multi", "inputs": {"movies": ["Import", "imported_movies"]}},
        {
            "title": "Curate",
            "type": "curate_exposures_v2",
            "inputs": {"exposures": ["Motion", "micrographs"]},
        },
        {"title": "2D", "type": "class_2D_new", "inputs": {"particles": ["Curate", "exposures_accepted"]}},
    ]
}  # fmt: skip
SAVED: dict[str, Any] = {
    "workflow_id": "W-7",
    "body": {"projectUid": "{project_uid}", "workspaceUid": "{workspace_uid}"},
    "params": {"import_movies": {"blob_paths": "{dataset}/*.eer"}},
}


@pytest.fixture
def world(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RecipeWorld:
    found = recipe_world(home, tmp_path, monkeypatch)
    found.cryosparc.workflow = [("import_movies", "Import"), ("class_2D_new", "2D")]
    found.say("cryosparc-workflow", CHAIN)
    return found


def run(world: RecipeWorld) -> dict[str, Any]:
    return workflow_recipe.work(world.data, world.project, Mask())


def lanes(world: RecipeWorld) -> dict[str, str | None]:
    return {job.title: job.queued_to_lane for job in world.cryosparc.jobs if job.status == "queued"}


def test_each_job_is_queued_on_the_lane_of_its_stage(world: RecipeWorld) -> None:
    assert run(world) == {"project": "P1", "workspace": "W1", "queued": ["J1", "J2", "J4"], "for_people": ["J3"]}
    assert lanes(world) == {"Import": "cpu", "Motion": "gpu8", "2D": "gpu4"}
    imported, motion, curate, _ = world.cryosparc.jobs
    assert imported.spec.params.blob_paths == f"{world.data}/**/*.tiff"
    (connection,) = motion.spec.inputs.root["movies"].connections
    assert (connection.job_uid, connection.output) == ("J1", "imported_movies")
    assert curate.status == "building"


def test_called_again_it_changes_nothing_even_when_a_job_has_failed(world: RecipeWorld) -> None:
    run(world)
    world.cryosparc.jobs[1].status = "failed"
    before = list(world.cryosparc.calls)
    assert run(world)["queued"] == []
    assert world.cryosparc.calls == before


@pytest.mark.parametrize("parameters", [CHAIN, SAVED], ids=["chain", "saved"])
def test_killed_at_any_step_it_goes_on_to_exactly_one_chain(world: RecipeWorld, parameters: dict[str, Any]) -> None:
    world.say("cryosparc-workflow", parameters)
    run(world)
    whole, expected, jobs = world.line.requests, lanes(world), len(world.cryosparc.jobs)
    inputs = [job.spec.inputs.model_dump() for job in world.cryosparc.jobs]
    workflow = world.cryosparc.workflow
    for number in range(LOGIN, whole + 1):
        world.cryosparc.forget()
        world.cryosparc.workflow = workflow
        world.line.requests, world.line.die_after = 0, number
        with pytest.raises(Killed):
            run(world)
        world.line.die_after = 0
        run(world)
        assert lanes(world) == expected, number
        assert [job.spec.inputs.model_dump() for job in world.cryosparc.jobs] == inputs, number
        counts = (len(world.cryosparc.projects), len(world.cryosparc.workspaces), len(world.cryosparc.jobs))
        assert counts == (1, 1, jobs), number


@pytest.mark.parametrize("parameters", [CHAIN, SAVED], ids=["chain", "saved"])
def test_a_line_that_breaks_at_any_step_queues_one_chain(
    world: RecipeWorld, parameters: dict[str, Any], recwarn: pytest.WarningsRecorder
) -> None:
    """A job may be made twice then, and the second one is never queued."""
    world.say("cryosparc-workflow", parameters)
    run(world)
    whole, expected, workflow = world.line.requests, sorted(lanes(world)), world.cryosparc.workflow
    for number in range(LOGIN, whole + 1):
        world.cryosparc.forget()
        world.cryosparc.workflow = workflow
        world.line.requests, world.line.break_after = 0, number
        run(world)
        queued = [job.title for job in world.cryosparc.jobs if job.status == "queued"]
        assert sorted(queued) == expected, number


def test_a_saved_workflow_is_applied_once_with_its_parameters_set(world: RecipeWorld) -> None:
    world.say("cryosparc-workflow", SAVED)
    assert run(world)["queued"] == ["J1", "J2"]
    assert world.cryosparc.bodies == [{"projectUid": "P1", "workspaceUid": "W1"}]
    assert world.cryosparc.jobs[0].spec.params.blob_paths == f"{world.data}/*.eer"
    assert lanes(world) == {"Import": "cpu", "2D": "gpu4"}
    run(world)
    assert len(world.cryosparc.bodies) == 1


def test_a_workflow_that_made_nothing_is_refused(world: RecipeWorld) -> None:
    world.cryosparc.workflow = []
    world.say("cryosparc-workflow", SAVED)
    with pytest.raises(Refused, match=r"applied the workflow W-7, and P1 W1 has no job of it"):
        run(world)


def test_a_type_without_a_lane_is_refused_before_anything_is_made(world: RecipeWorld) -> None:
    world.say("cryosparc-workflow", {"jobs": [{"title": "New", "type": "brand_new"}]})
    with pytest.raises(Refused, match="no stage has the job type brand_new: name its lane"):
        run(world)
    assert world.cryosparc.calls == []


def test_a_saved_workflow_with_a_type_without_a_lane_queues_nothing(world: RecipeWorld) -> None:
    world.cryosparc.workflow.append(("brand_new", "New"))
    world.say("cryosparc-workflow", SAVED)
    with pytest.raises(Refused, match="no stage has the job type brand_new"):
        run(world)
    assert lanes(world) == {}


def test_lanes_can_be_chosen_and_null_is_the_master(world: RecipeWorld) -> None:
    world.say("cryosparc-workflow", {**CHAIN, "lanes": {"class_2D_new": "gpu1", "import_movies": None}})
    run(world)
    assert lanes(world) == {"Import": None, "Motion": "gpu8", "2D": "gpu1"}


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({}, "either jobs or workflow_id must be there"),
        ({**CHAIN, **SAVED}, "either jobs or workflow_id must be there"),
        ({"jobs": []}, "jobs is empty"),
        ({"jobs": ["x"]}, "jobs is not a list of objects"),
        ({"jobs": [{"title": "A", "type": "a"}, {"title": "A", "type": "b"}]}, r"jobs\[2\].title is 'A', as that of"),
        ({"jobs": [{"title": "A"}]}, r"jobs\[1\].type is missing"),
        (
            {"jobs": [{"title": "A", "type": "a", "inputs": {"m": ["B", "o"]}}]},
            r"jobs\[1\].inputs.m is \['B', 'o'\], not",
        ),
        ({**SAVED, "lanes": {"a": 1}}, "lanes.a is 1, not the name of a lane or null"),
        ({**SAVED, "lane": {}}, "lane is not known"),
    ],
)
def test_what_is_wrong_is_named(parameters: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused, match=said):
        workflow_recipe.parse(parameters)


def test_other_braces_stay() -> None:
    assert workflow_recipe.fill({"a": ["{dataset}/*.{tif,tiff}", 1]}, {"dataset": "/d"}) == {
        "a": ["/d/*.{tif,tiff}", 1]
    }
