from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from doubles.cryosparc_api import Killed
from recipe_world import RecipeWorld, recipe_world

from cryoem_head import live_recipe, recipe_parameters
from cryoem_head.outcome import Later, Mask, Refused

PARAMETERS: dict[str, Any] = {
    "movies": "*_fractions.tiff",
    "gain_reference": "gain/*.mrc",
    "session": {"psize_A": 0.83, "accel_kv": 300, "cs_mm": 2.7, "total_dose_e_per_A2": 50, "blob_diameter_min": 100},
    "users": ["ada@example.org"],
}
# The first of a run's requests are those of every login; the last of them is here.
LOGIN = 4


@pytest.fixture
def world(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RecipeWorld:
    found = recipe_world(home, tmp_path, monkeypatch)
    (found.data / "gain").mkdir()
    (found.data / "gain" / "k3.mrc").touch()
    found.say("cryosparc-live", PARAMETERS)
    return found


def run(world: RecipeWorld) -> dict[str, Any]:
    return live_recipe.work(world.data, world.project, Mask())


def test_a_session_on_the_lanes_of_its_stages_that_pauses_itself(world: RecipeWorld) -> None:
    assert run(world) == {"project": "P1", "session": "S1", "status": "running"}
    (session,) = world.cryosparc.sessions
    assert (session.title, world.cryosparc.projects[0].project_dir) == ("spike", f"{world.project}/CS-1")
    resources = session.compute_resources
    assert (resources.phase_one_lane, resources.phase_one_gpus, resources.phase_two_lane) == ("live", 4, "live")
    assert (resources.auxiliary_lane, resources.auxiliary_gpus, resources.auxiliary_ssd) == ("gpu1", 1, True)
    assert (session.auto_pause, session.auto_pause_after_idle_minutes) == ("graceful", 5)
    assert session.phase_one_wait_for_exposures
    (group,) = session.exposure_groups
    assert group.final
    assert (group.file_engine_enable, group.file_engine_recursive) == (True, True)
    assert (group.file_engine_watch_path_abs, group.file_engine_filter) == (str(world.data), "*_fractions.tiff")
    assert group.gainref_path == str(world.data / "gain" / "k3.mrc")
    assert (session.params.psize_A, session.params.blob_diameter_min, session.params.cs_mm) == (0.83, 100, 2.7)
    assert world.cryosparc.shared == [("P1", "ada@example.org")]


def test_it_pauses_itself_before_it_ever_runs(world: RecipeWorld) -> None:
    run(world)
    calls = world.cryosparc.calls
    assert calls.index("sessions.configure_auto_pause") < calls.index("sessions.start") == len(calls) - 1


def test_called_again_it_changes_nothing(world: RecipeWorld) -> None:
    run(world)
    before = list(world.cryosparc.calls)
    assert run(world)["status"] == "running"
    assert world.cryosparc.calls == before


@pytest.mark.parametrize("status", ["paused", "completed"])
def test_a_session_that_has_run_is_left_as_somebody_left_it(world: RecipeWorld, status: str) -> None:
    run(world)
    world.cryosparc.sessions[0].status = status
    assert run(world)["status"] == status
    assert world.cryosparc.did("sessions.start") == ["sessions.start"]


def test_killed_at_any_step_it_goes_on_to_exactly_one_session(world: RecipeWorld) -> None:
    run(world)
    whole = world.line.requests
    assert whole > 15
    expected = world.cryosparc.sessions[0].model_dump(exclude={"created_at", "running_at", "id", "updated_at"})
    for number in range(LOGIN, whole + 1):
        world.cryosparc.forget()
        world.line.requests, world.line.die_after = 0, number
        with pytest.raises(Killed):
            run(world)
        world.line.die_after = 0
        assert run(world)["status"] == "running", number
        (session,) = world.cryosparc.sessions
        found = session.model_dump(exclude={"created_at", "running_at", "id", "updated_at"})
        assert found == expected, number
        assert (len(world.cryosparc.projects), len(session.running_at)) == (1, 1), number


def test_a_line_that_breaks_at_any_step_leaves_one_session_that_runs(
    world: RecipeWorld, recwarn: pytest.WarningsRecorder
) -> None:
    """The client sends a request again whose answer it did not get, and the master may refuse what is done already."""
    run(world)
    whole = world.line.requests
    for number in range(LOGIN, whole + 1):
        world.cryosparc.forget()
        world.line.requests, world.line.break_after = 0, number
        assert run(world)["status"] == "running", number
        (session,) = world.cryosparc.sessions
        assert (session.uid, session.auto_pause) == ("W1", "graceful"), number
        assert session.exposure_groups[0].final, number
        assert len(session.running_at) == 1, number
    assert len(recwarn) > 0


def test_everything_that_is_missing_is_named_at_once(world: RecipeWorld) -> None:
    world.say("cryosparc-live", {"movis": "*", "session": {"psize_A": 0, "accel_kv": "300", "pixel": 1}})
    with pytest.raises(Refused) as refused:
        run(world)
    said = str(refused.value)
    for part in (
        "cryosparc-live.json: movis is not known", "movies is missing", "gain_reference is missing", "session.pixel is not known",
        "session.psize_A is 0, not a number above 0 (pixel size, A)", "session.accel_kv is '300'", "session.cs_mm is missing",
        "session.total_dose_e_per_A2 is missing",
    ):  # fmt: skip
        assert part in said
    assert "\n" not in said
    assert world.cryosparc.calls == []


def test_without_parameters_it_is_said_where_they_go(world: RecipeWorld) -> None:
    (world.home / "recipes" / "cryosparc-live.json").unlink()
    with pytest.raises(Refused, match=r"put cryosparc-live\.json into the folder processing\.recipes names, or into"):
        run(world)


def test_a_dataset_changes_single_values_and_its_project_goes_before(world: RecipeWorld) -> None:
    world.say("cryosparc-live", {"session": {"psize_A": 0.5, "accel_kv": 200}}, folder=world.data)
    world.say("cryosparc-live", {"session": {"psize_A": 0.6}, "auto_pause_minutes": 20}, folder=world.project)
    run(world)
    session = world.cryosparc.sessions[0]
    assert (session.params.psize_A, session.params.accel_kv, session.params.cs_mm) == (0.6, 200, 2.7)
    assert session.auto_pause_after_idle_minutes == 20


def test_what_is_no_json_is_refused(world: RecipeWorld) -> None:
    (world.data / "cryosparc-live.json").write_text("{")
    with pytest.raises(Refused, match="is no JSON"):
        run(world)


@pytest.mark.parametrize("files", [[], ["a.mrc", "b.mrc"]])
def test_a_gain_reference_is_exactly_one_file(world: RecipeWorld, files: list[str]) -> None:
    (world.data / "gain" / "k3.mrc").unlink()
    for name in files:
        (world.data / "gain" / name).touch()
    with pytest.raises(Refused, match=f"{len(files)} files are .*, not one"):
        run(world)
    assert world.cryosparc.calls == []


def test_movies_that_are_corrected_need_no_gain_reference(world: RecipeWorld) -> None:
    world.say("cryosparc-live", {**PARAMETERS, "gain_reference": None})
    run(world)
    assert world.cryosparc.sessions[0].exposure_groups[0].gainref_path is None


@pytest.mark.parametrize(
    ("compute", "said"),
    [
        ({"phase_one_lane": "gpu9"}, "is gpu9, and the lanes are"),
        ({"phase_one_lane": "cpu"}, "whose nodes have no GPUs"),
    ],
)
def test_a_lane_that_cannot_do_it_is_refused(world: RecipeWorld, compute: dict[str, str], said: str) -> None:
    world.say("cryosparc-live", {**PARAMETERS, "compute": compute})
    with pytest.raises(Refused, match=said):
        run(world)


def test_lanes_and_gpus_can_be_chosen(world: RecipeWorld) -> None:
    world.say("cryosparc-live", {**PARAMETERS, "compute": {"phase_one_lane": "gpu8", "auxiliary_gpus": 2}})
    run(world)
    resources = world.cryosparc.sessions[0].compute_resources
    assert (resources.phase_one_lane, resources.phase_one_gpus, resources.auxiliary_gpus) == ("gpu8", 8, 2)


def test_a_session_that_cryosparc_finds_incomplete_is_refused_and_not_started(
    world: RecipeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = world.cryosparc.add_session

    def incomplete(project_uid: str, title: str) -> Any:
        made = add(project_uid, title)
        made.errors = [{"type": "missing", "loc": ["params", "blob_diameter_max"], "input": 0, "input_type": "float"}]
        world.cryosparc.sessions[-1] = type(made).model_validate(made.model_dump(by_alias=True, warnings=False))
        return world.cryosparc.sessions[-1]

    monkeypatch.setattr(world.cryosparc, "add_session", incomplete)
    with pytest.raises(Refused, match=r"does not start P1 S1: params\.blob_diameter_max: missing"):
        run(world)
    assert world.cryosparc.did("sessions.start") == []


def test_a_project_that_somebody_archived_is_refused(world: RecipeWorld) -> None:
    world.cryosparc.add_project("spike", str(world.project)).archived = True
    with pytest.raises(Refused, match=r"the project P1 in .* is archived or detached"):
        run(world)


def test_without_cryosparc_it_is_refused_and_while_it_is_installed_it_waits(world: RecipeWorld) -> None:
    world.set(CRYOSPARC_URL="")
    with pytest.raises(Refused, match="this head node has no cryoSPARC"):
        run(world)
    world.set(CRYOSPARC_VERSION="5.0.6")
    with pytest.raises(Later, match="not installed yet"):
        run(world)
    world.set(CRYOSPARC_URL="http://127.0.0.1:1", CRYOSPARC_INSTALLED="4.7.1")
    with pytest.raises(Refused, match=r"needs cryoSPARC 5, and here is 4\.7\.1"):
        run(world)
    assert world.secrets == []


def test_a_master_that_does_not_answer_is_asked_later(world: RecipeWorld, recwarn: pytest.WarningsRecorder) -> None:
    world.set(CRYOSPARC_URL="http://127.0.0.1:1")
    with pytest.raises(Later, match="does not answer") as later:
        run(world)
    assert "\n" not in str(later.value)


def test_before_the_lanes_are_registered_it_waits(world: RecipeWorld) -> None:
    (world.home / "lanes" / "stages.json").unlink()
    with pytest.raises(Later, match="the lanes are not registered yet"):
        run(world)


def test_values_are_merged_one_by_one() -> None:
    assert recipe_parameters.merge({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 4}, "d": None}) == {
        "a": {"b": 4, "c": 2}, "d": None,
    }  # fmt: skip


def test_as_a_program_it_says_in_one_line_why_it_was_refused(
    world: RecipeWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["cryosparc-live", str(world.data), str(world.project)])
    live_recipe.main()
    assert json.loads(capsys.readouterr().out)["status"] == "running"
    world.say("cryosparc-live", {})
    with pytest.raises(SystemExit) as stopped:
        live_recipe.main()
    assert stopped.value.code == 78
    assert capsys.readouterr().err.startswith("cryosparc-live: cryosparc-live.json: movies is missing")
