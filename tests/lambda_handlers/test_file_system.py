"""What is wrong with the file system, from what FSx says; which datasets' content may leave it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdk_cryoem_lambda import file_system, release
from cdk_cryoem_lambda.file_system import Expected, Trouble

NOW, DAY = 1_800_000_000.0, 86_400.0
EXPECTED = (
    Expected(path="/data", imports=frozenset({"NEW", "CHANGED"}), exports=frozenset()),
    Expected(path="/projects", imports=frozenset(), exports=frozenset({"NEW", "CHANGED"})),
)
pure = settings(max_examples=150, deadline=None, derandomize=True, database=None)
Item = dict[str, Any]


def association(path: str, *, state: str = "AVAILABLE", imports: Any = (), exports: Any = (), says: str = "") -> Item:
    found: Item = {
        "AssociationId": f"dra-{path.strip('/')}",
        "FileSystemPath": path,
        "Lifecycle": state,
        "S3": {"AutoImportPolicy": {"Events": list(imports)}, "AutoExportPolicy": {"Events": list(exports)}},
    }
    return found | ({"FailureDetails": {"Message": says}} if says else {})


DATA = association("/data", imports=("CHANGED", "NEW"))
PROJECTS = association("/projects/", exports=("NEW", "CHANGED"))


def task(kind: str = "RELEASE_DATA_FROM_FILESYSTEM", state: str = "SUCCEEDED", *, at: float = NOW, **more: Any) -> Item:
    return {"TaskId": f"task-{int(at)}", "Type": kind, "Lifecycle": state, "CreationTime": at, **more}


def found(*associations: Item, state: str = "AVAILABLE", tasks: Any = (), **more: Any) -> list[Trouble]:
    return file_system.troubles(
        file_system_id="fs-1",
        file_system={"Lifecycle": state, **more},
        associations=associations or (DATA, PROJECTS),
        tasks=tasks,
        expected=EXPECTED,
    )


def test_what_is_well_is_no_trouble_whatever_the_order_of_events_and_a_slash_at_the_end() -> None:
    assert found() == []


@pytest.mark.parametrize("state", ["AVAILABLE", "CREATING", "UPDATING"])
def test_a_file_system_that_is_made_or_grows_is_well(state: str) -> None:
    assert found(state=state) == []


@pytest.mark.parametrize("state", ["MISCONFIGURED", "MISCONFIGURED_UNAVAILABLE", "FAILED", "DELETING"])
def test_a_file_system_that_is_not_well_is_told_with_fsxs_words(state: str) -> None:
    (trouble,) = found(state=state, FailureDetails={"Message": "the key is disabled"})
    assert (trouble.kind, trouble.id, trouble.path, trouble.state) == ("file-system", "fs-1", "/", state)
    assert trouble.reason == "the key is disabled"
    assert trouble.name == f"fs-1#{state}"


def test_one_that_is_gone_is_one_trouble_and_nothing_else_is_judged() -> None:
    (trouble,) = file_system.troubles(
        file_system_id="fs-1", file_system=None, associations=[], tasks=[], expected=EXPECTED
    )
    assert (trouble.state, trouble.kind) == ("GONE", "file-system")
    assert "restore" in trouble.advice


def test_a_misconfigured_association_says_what_it_stops() -> None:
    bad = association("/projects", state="MISCONFIGURED", says="Amazon FSx is unable to access the S3 bucket")
    (trouble,) = found(DATA, bad)
    assert (trouble.id, trouble.path, trouble.state) == ("dra-projects", "/projects", "MISCONFIGURED")
    assert trouble.reason == "Amazon FSx is unable to access the S3 bucket"
    assert "what is written below /projects is on the file system alone" in trouble.advice
    (trouble,) = found(association("/data", state="FAILED"), PROJECTS)
    assert "new movies do not appear below /data" in trouble.advice
    assert trouble.reason == "FSx does not say why"


def test_a_deleted_association_is_told() -> None:
    (trouble,) = found(PROJECTS)
    assert (trouble.id, trouble.state) == ("fs-1/data", "GONE")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (association("/projects"), "it exports nothing, and should CHANGED, NEW"),
        (
            association("/projects", exports=("NEW", "CHANGED", "DELETED")),
            "it exports CHANGED, DELETED, NEW, and should CHANGED, NEW",
        ),
        (
            association("/projects", imports=("NEW",), exports=("NEW", "CHANGED")),
            "it imports NEW, and should nothing",
        ),
    ],
)
def test_an_association_that_does_other_than_was_deployed_is_told(changed: Item, says: str) -> None:
    (trouble,) = found(DATA, changed)
    assert (trouble.state, trouble.reason) == ("CHANGED", says)


def test_an_association_with_the_export_off_is_well_while_an_export_task_runs() -> None:
    running = task("EXPORT_TO_REPOSITORY", "EXECUTING")
    assert found(DATA, association("/projects"), tasks=[running]) == []
    assert len(found(DATA, association("/projects"), tasks=[{**running, "Lifecycle": "SUCCEEDED"}])) == 1
    # Movies are not exported by any task.
    assert len(found(association("/data"), PROJECTS, tasks=[running])) == 1


@pytest.mark.parametrize("state", ["CREATING", "UPDATING"])
def test_an_association_that_is_just_being_changed_is_not_judged(state: str) -> None:
    assert found(DATA, association("/projects", state=state)) == []


def test_a_failed_release_is_told_until_one_succeeds() -> None:
    failed = task(state="FAILED", at=NOW - DAY, Paths=["data/a"], FailureDetails={"Message": "12 files"})
    (trouble,) = found(tasks=[failed])
    assert (trouble.kind, trouble.path, trouble.reason) == ("task", "data/a", "12 files")
    assert "nothing is lost" in trouble.advice
    assert found(tasks=[task(at=NOW), failed]) == []
    assert found(tasks=[failed, task(state="EXECUTING", at=NOW)]) != []
    assert found(tasks=[task("EXPORT_TO_REPOSITORY", "FAILED")]) == []


def test_what_is_over_is_forgotten_and_another_state_is_another_trouble() -> None:
    (trouble,) = found(association("/data", state="FAILED"), PROJECTS)
    known = [{"sk": "dra-data#MISCONFIGURED"}, {"sk": "dra-data#FAILED"}]
    assert file_system.over(known, [trouble]) == ["dra-data#MISCONFIGURED"]
    assert file_system.over(known, []) == ["dra-data#FAILED", "dra-data#MISCONFIGURED"]


# --- release ------------------------------------------------------------------------------------------------------------


def dataset(name: str, *, days: float = 30, **changes: Any) -> Item:
    at = NOW - days * DAY
    return {"sk": name, "state": "landed", "last_at": at, "landed_at": at, "processing_at": at, **changes}


def job(project: str, *, days: float) -> Item:
    return {"sk": f"{int(NOW - days * DAY):012d}#7", "project": project}


def planned(*datasets: Item, jobs: Any = (), released: Mapping[str, float] | None = None, days: int = 14) -> list[str]:
    plan = release.plan(datasets, jobs=jobs, released=released or {}, recipe="spa", after_days=days, now=NOW)
    assert bool(plan.put_off) is not bool(plan.datasets)
    return list(plan.datasets)


def test_a_dataset_is_released_at_the_very_end_of_its_days() -> None:
    assert planned(dataset("d", days=14)) == ["d"]
    assert planned(dataset("d", days=13.999)) == []


@pytest.mark.parametrize("state", ["arriving", "gone", None])
def test_only_what_has_landed_is_released(state: str | None) -> None:
    assert planned(dataset("d", state=state)) == []


def test_a_recipe_that_has_not_ended_keeps_its_dataset() -> None:
    waiting = dataset("d")
    del waiting["processing_at"]
    assert planned(waiting) == []
    plan = release.plan([waiting], jobs=[], released={}, recipe="", after_days=14, now=NOW)
    assert plan.paths() == ["data/d"], "without a recipe nothing is waited for"


def test_what_comes_back_from_the_archive_is_left_alone() -> None:
    assert planned(dataset("d", archive="restoring", archive_at=NOW - 20 * DAY, archive_days=30)) == []
    assert planned(dataset("d", archive="restoring", archive_at=NOW - 20 * DAY, archive_days=18.5)) == []
    assert planned(dataset("d", archive="restoring", archive_at=NOW - 20 * DAY, archive_days=17)) == ["d"]
    assert planned(dataset("d", archive="finished", archive_at=NOW - 20 * DAY)) == ["d"]


@pytest.mark.parametrize("field", ["last_at", "landed_at", "processing_at", "archive_at"])
def test_whatever_happened_last_counts(field: str) -> None:
    assert planned(dataset("d", **{field: NOW - DAY})) == []


def test_a_job_of_the_project_of_that_name_is_a_use() -> None:
    assert planned(dataset("d"), jobs=[job("d", days=20), job("d", days=3), job("d", days=25)]) == []
    assert planned(dataset("d"), jobs=[job("other", days=1), job("d", days=15)]) == ["d"]


def test_what_was_released_is_not_released_again_before_it_can_be_old_again() -> None:
    assert planned(dataset("d"), released={"d": NOW - 13 * DAY}) == []
    assert planned(dataset("d"), released={"d": NOW - 14 * DAY}) == ["d"]


def test_a_name_that_no_path_may_have_is_left_alone() -> None:
    assert planned(dataset("two\nlines"), dataset("粒子 1")) == ["粒子 1"]


def test_the_longest_unused_go_first_a_hundred_at_most() -> None:
    many = [dataset(f"d{n:03}", days=20 + n) for n in range(130)]
    chosen = planned(*many)
    assert chosen == [f"d{n:03}" for n in range(129, 29, -1)]


@pytest.mark.parametrize("state", ["PENDING", "EXECUTING", "CANCELING"])
@pytest.mark.parametrize("kind", ["EXPORT_TO_REPOSITORY", "RELEASE_DATA_FROM_FILESYSTEM"])
def test_there_is_one_task_at_a_time(kind: str, state: str) -> None:
    why_not = release.not_now([task(kind, state)], nodes_on=False, looked_at=0, now=NOW)
    assert f"{kind} task-{int(NOW)} runs" in why_not
    assert release.not_now([task(kind, "SUCCEEDED")], nodes_on=False, looked_at=0, now=NOW) == ""


@pytest.mark.parametrize(
    ("days", "nodes_on", "begins"),
    [(0.999, False, False), (1, False, True), (1, True, False), (2.999, True, False), (3, True, True)],
)
def test_nodes_that_are_on_put_it_off_for_two_days_and_no_more(days: float, nodes_on: bool, begins: bool) -> None:
    why_not = release.not_now([], nodes_on=nodes_on, looked_at=NOW - days * DAY, now=NOW)
    assert (why_not == "") is begins


def test_records_say_what_was_released_when_but_not_by_a_task_that_failed() -> None:
    def record(name: str, at: float, state: str, *datasets: str) -> Item:
        return {"sk": name, "began_at": at, "state": state, "datasets": json.dumps(datasets)}

    records = [
        {"sk": release.LOOKED, "looked_at": NOW},
        record("t1", 10, "SUCCEEDED", "a", "b"),
        record("t2", 20, "EXECUTING", "a"),
        record("t3", 30, "FAILED", "b"),
        record("t4", 40, "CANCELED", "b"),
    ]
    assert release.released_at(records) == {"a": 20.0, "b": 10.0}
    tasks = [{"TaskId": "t2", "Lifecycle": "SUCCEEDED"}, {"TaskId": "t1", "Lifecycle": "SUCCEEDED"}]
    assert [record["sk"] for record, _ in release.ended(records, tasks)] == ["t2"]
    assert release.ended(records, [{"TaskId": "t2", "Lifecycle": "EXECUTING"}]) == []


def tried(name: str, hours_ago: float, state: str, *datasets: str) -> Item:
    return {"sk": name, "began_at": NOW - hours_ago * 3600, "state": state, "datasets": json.dumps(datasets)}


def test_what_failed_is_what_no_later_task_released() -> None:
    records = [
        {"sk": release.LOOKED, "looked_at": NOW},
        tried("t3", 1, "FAILED", "c"),
        tried("t1", 9, "FAILED", "a", "b", "c", "d"),
        tried("t2", 5, "SUCCEEDED", "a"),
        tried("t4", 0.5, "CANCELED", "d"),
        # Of these some files were open.
        {**tried("t5", 3, "FAILED", "e", "f"), "files": 7},
    ]
    assert release.failed(records) == {
        "b": release.Failed(together=4, at=NOW - 9 * 3600),
        "c": release.Failed(together=1, at=NOW - 3600),
        "d": release.Failed(together=4, at=NOW - 9 * 3600),
    }


@pytest.mark.parametrize(
    ("failed", "chosen"),
    [
        ({}, ["d", "c", "b", "a"]),
        ({"a": (4, 1)}, ["a"]),
        ({"a": (100, 1), "b": (100, 1), "c": (25, 1)}, ["c", "b", "a"]),
        ({"a": (4, 1), "b": (4, 1)}, ["b"]),
        # Alone: after the others, or when its days are over.
        ({"a": (1, 1)}, ["d", "c", "b"]),
        ({"a": (1, 14)}, ["a"]),
        ({name: (1, days) for name, days in zip("abcd", (1, 3, 2, 1), strict=True)}, ["b"]),
    ],
)  # fmt: skip
def test_what_failed_is_tried_again_in_parts(failed: dict[str, tuple[int, float]], chosen: list[str]) -> None:
    known = {name: release.Failed(together=size, at=NOW - days * DAY) for name, (size, days) in failed.items()}
    given = [dataset(name, days=20 + n) for n, name in enumerate("abcd")]
    plan = release.plan(given, jobs=[], released={}, recipe="spa", after_days=14, now=NOW, failed=known)
    assert list(plan.datasets) == chosen


@pytest.mark.parametrize(
    ("together", "tasks", "hours", "begins"),
    [(2, 1, 1, True), (2, 1, 0.9, False), (1, 1, 23.9, False), (1, 1, 24, True), (2, 8, 1, False), (2, 8, 24, True)],
)
def test_while_it_is_searched_for_the_next_task_comes_within_the_hour(
    together: int, tasks: int, hours: float, begins: bool
) -> None:
    names = [f"d{n}" for n in range(together)]
    records = [tried(f"t{n}", hours * 0.9, "FAILED", *names) for n in range(tasks)]
    why_not = release.not_now([], nodes_on=False, looked_at=NOW - hours * 3600, now=NOW, records=records)
    assert (why_not == "") is begins


def test_the_token_of_a_task_is_of_its_day_and_its_paths() -> None:
    plan = release.Plan(datasets=("a", "粒子 1"))
    token = plan.token(now=NOW)
    assert token == plan.token(now=NOW // DAY * DAY)
    assert len({token, plan.token(now=NOW + DAY), release.Plan(datasets=("a",)).token(now=NOW)}) == 3
    assert re.fullmatch(r"[A-Za-z0-9_.-]{1,63}", token)


times = st.floats(0, 60).map(lambda days: NOW - days * DAY)
states = st.sampled_from(["arriving", "landed", "gone"])
datasets = st.lists(
    st.fixed_dictionaries(
        {"sk": st.sampled_from("abcdef"), "state": states, "last_at": times},
        optional={"landed_at": times, "processing_at": times},
    ),
    unique_by=lambda item: item["sk"],
)


@pure
@given(
    datasets,
    st.lists(st.tuples(st.sampled_from("abcdefg"), times)),
    st.dictionaries(st.sampled_from("abcdef"), times),
    st.sampled_from(["", "spa"]),
    st.integers(1, 60),
)
def test_nothing_that_arrives_waits_or_was_used_is_ever_released(
    known: list[Item], ended: list[tuple[str, float]], released: dict[str, float], recipe: str, days: int
) -> None:
    jobs = [{"sk": f"{int(at):012d}#1", "project": name} for name, at in ended]
    plan = release.plan(known, jobs=jobs, released=released, recipe=recipe, after_days=days, now=NOW)
    by_name = {item["sk"]: item for item in known}
    for name in plan.datasets:
        item = by_name[name]
        assert item["state"] == "landed"
        assert not recipe or "processing_at" in item
        youngest = max([item["last_at"], item.get("landed_at", 0), item.get("processing_at", 0), released.get(name, 0)])
        assert NOW - youngest >= days * DAY
        assert all(NOW - int(at) >= days * DAY for project, at in ended if project == name)
    assert len(set(plan.datasets)) == len(plan.datasets) <= 100
