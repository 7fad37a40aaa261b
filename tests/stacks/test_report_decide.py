"""What a report says of a dataset: its jobs, stages, waits, prices, idle nodes, and what is not known."""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as examples
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from report_account import DATASET, LANES, RECEIPT, T0, given, job, jobs, nodes

from cdk_cryoem.stages import stages
from cdk_cryoem_stacks.dataset_report import figures, names
from cdk_cryoem_stacks.dataset_report.decide import UNTOLD, belongs, receipt_of, report
from cdk_cryoem_stacks.dataset_report.model import Group, Lane, Report
from cdk_cryoem_stacks.dataset_report.timescale import BREAK, scale

NAME = DATASET["sk"]


def stage(made: Report, name: str) -> Group:
    (found,) = [group for group in made.stages if group.name == name]
    return found


@pytest.mark.parametrize(
    ("name", "gpus", "stage", "identity"),
    [
        ("cryosparc_P1_J2_class_2D_new", 4, "class2d", "cryosparc_P1_J2"),
        ("cryosparc_P1_J2_nonuniform_refine_new", 1, "refine", "cryosparc_P1_J2"),
        ("cryosparc_P1_J2", 1, "", "cryosparc_P1_J2"),
        ("cryosparc_P1_J2_of_next_year", 1, "", "cryosparc_P1_J2"),
        ("Class2D/job012/", 1, "class2d", "Class2D/job012"),
        ("MotionCorr/job002/", 0, "motion-cpu", "MotionCorr/job002"),
        ("MotionCorr/job002/", 4, "motion", "MotionCorr/job002"),
        ("MotionCorr/motion", 0, "motion-cpu", "MotionCorr/motion"),
        ("External/job099/", 1, "", "External/job099"),
        ("Class2D", 1, "", "Class2D"),
        ("class2d.sh", 1, "", "class2d.sh"),
        ("", 0, "", ""),
        ("cryosparc_P1_J2_<script>", 1, "", "cryosparc_P1_J2_<script>"),
    ],
)
def test_a_name_tells_the_stage_and_which_job_it_is(name: str, gpus: int, stage: str, identity: str) -> None:
    found = names.read(name, gpus=gpus)
    assert (found.stage, found.identity) == (stage, identity)


def test_every_type_and_folder_belongs_to_a_stage_of_the_table() -> None:
    for each in stages().values():
        for kind in each.cryosparc_job_types:
            assert names.read(f"cryosparc_P1_J2_{kind}", gpus=each.gpus).stage == each.name
    assert {name for both in names.FOLDERS.values() for name in both} <= set(stages())
    # The folder that RELION gives a type is its label without case: relion.class2d, Class2D.
    labels = {label for each in stages().values() for label in each.relion_job_types}
    for folder, (on_gpus, on_cpus) in names.FOLDERS.items():
        meant = [label for label in labels if f"{label}.".removeprefix("relion.").startswith(f"{folder.lower()}.")]
        owners = {each.name for each in stages().values() if set(meant) & set(each.relion_job_types)}
        assert not meant or {on_gpus, on_cpus} <= owners, folder


def test_a_job_is_of_the_dataset_that_it_names_else_of_that_of_its_project() -> None:
    assert belongs({"project": "a"}, "a")
    assert belongs({"project": "P7", "dataset": "a"}, "a")
    assert not belongs({"project": "a", "dataset": "b"}, "a")
    assert belongs({"project": "a", "dataset": ""}, "a")
    assert not belongs({"project": ""}, "a")
    assert not belongs({}, "a")


def test_stages_come_in_the_order_of_processing_each_with_its_sums() -> None:
    made = report(given())
    order = [group.name for group in made.stages]
    assert order == [
        "import", "motion", "ctf", "pick", "extract", "class2d", "abinitio", "hetero", "refine", "refine-mpi",
        "variability", "local-resolution", "postprocess", UNTOLD,
    ]  # fmt: skip
    assert stage(made, "motion").sum.usd == 47.707417
    twice = stage(made, "class2d")
    assert (twice.sum.jobs, twice.sum.failed, twice.sum.repeats, twice.lanes) == (2, 1, 1, ["gpu4"])
    assert twice.sum.failed_usd == 5.766533
    assert twice.sum.gpu_seconds == (61 + 280) * 60 * 4
    assert stage(made, "refine").sum.wait == 600
    assert made.lanes[0].name == "gpu8"
    assert {group.name for group in made.users} == {"cryosparcuser", "anna"}


def test_sums_are_those_of_the_records() -> None:
    made = report(given())
    records = jobs()
    assert made.total.usd == round(sum(each.get("usd", 0) for each in records), 6)
    assert made.total.seconds == sum(each["seconds"] for each in records)
    assert made.total.jobs == len(records)
    for groups in (made.stages, made.lanes, made.users):
        assert round(sum(group.sum.usd for group in groups), 6) == made.total.usd
        assert sum(group.sum.jobs for group in groups) == made.total.jobs


def test_a_job_that_never_ran_only_waited() -> None:
    (found,) = [each for each in report(given()).jobs if each.state == "CANCELLED"]
    assert (found.started_at, found.wait, found.seconds, found.good) == (None, 5400.0, 0.0, False)


def test_each_run_of_a_job_is_numbered_by_its_end() -> None:
    runs = [(each.id, each.run, each.runs) for each in report(given()).jobs if each.runs > 1]
    assert runs == [("16", 1, 2), ("17", 2, 2)]
    other = [*jobs(), job(40, "cryosparc_P3_J6_class_2D_new", "gpu4", 1.0, 1, 1, 4, 0.1, project="other")]
    assert [(e.id, e.run) for e in report(given(jobs=other)).jobs if e.runs > 1] == [("16", 1), ("17", 2)]


def test_idle_nodes_are_paid_beside_the_jobs_and_said_apart() -> None:
    made = report(given())
    idle = made.idle
    assert idle is not None
    assert idle.lanes == ["cpu", "gpu1", "gpu4", "gpu8"]
    assert idle.unknown_lanes == []
    first, last = (
        min(each["submitted_at"] for each in jobs()),
        max(each["ended_at"] for each in jobs() if each["seconds"]),
    )
    within = [(max(n["from"], first), min(n["until"], last), n["usd_per_hour"]) for n in nodes() if n["lane"] != "live"]
    assert idle.paid == pytest.approx(sum((until - since) / 3600 * usd for since, until, usd in within), abs=1e-4)
    assert idle.used == pytest.approx(made.total.usd, abs=1e-5)
    assert idle.usd == pytest.approx(idle.paid - idle.used, abs=1e-4)
    assert idle.pbr is not None
    assert idle.pbr > 1


def test_idle_time_is_shared_among_all_who_used_the_nodes() -> None:
    mine = job(1, "cryosparc_P3_J1_homo_abinit", "gpu1", 1.0, 0, 60, 1, 1.0)
    others = job(2, "x", "gpu1", 2.0, 0, 60, 1, 3.0, project="another")
    late = job(3, "cryosparc_P3_J2_homo_abinit", "gpu1", 3.0, 0, 0, 1, 0.0)
    life = {
        "kind": "node",
        "lane": "gpu1",
        "gpus": 1,
        "from": int(T0 + 3600),
        "until": int(T0 + 3 * 3600),
        "usd_per_hour": 4.0,
    }
    idle = report(given(jobs=[mine, others, late], nodes=[life])).idle
    assert idle is not None
    assert (idle.paid, idle.used, idle.own) == (8.0, 4.0, 1.0)
    assert idle.usd == 1.0


def test_without_all_nodes_in_the_records_nothing_is_said_of_idling() -> None:
    made = report(given(nodes=[]))
    assert made.idle is None
    assert any(line.startswith("What booting and idle nodes cost") for line in made.unknown)
    # Less than what the jobs used: some are missing.
    half = [node for node in nodes() if node["lane"] != "gpu8"]
    idle = report(given(nodes=half)).idle
    assert idle is not None
    assert idle.unknown_lanes == ["gpu8"]
    assert any("on gpu8" in line for line in report(given(nodes=half)).unknown)


def test_what_is_not_known_is_said() -> None:
    said = "\n".join(report(given(document=None, notes=["The lanes: no."])).unknown)
    assert said.startswith("The lanes: no.")
    for text in (
        "there is no receipt yet",
        "The price of 1 job: old-lane was no lane of this system",
        "The stage of 1 job, whose names do not tell it: my own script.",
        "Storage, transfer, head node and network are not in them",
    ):
        assert text in said
    clean = "\n".join(report(given(jobs=jobs()[:3])).unknown)
    assert "The price of" not in clean
    assert "The stage of" not in clean
    assert "no receipt" not in clean


def test_the_receipt_is_that_of_the_bucket_and_its_state_that_of_the_records() -> None:
    record = {"state": "not-safe", "looked_at": 5.0, "files": 3, "verified": 2, "missing": 1, "reasons": "a; b"}
    only = receipt_of(record, None)
    assert only is not None
    assert (only.state, only.files, only.counts["missing"], only.reasons) == ("not-safe", 3, 1, ["a", "b"])
    both = receipt_of({"state": "safe", "looked_at": 9.0}, RECEIPT)
    assert both is not None
    assert (both.state, both.files, both.counts["verified"]) == ("safe", 5712, 5712)
    assert both.manifest.endswith(".manifest.jsonl.gz")
    alone = receipt_of(None, {**RECEIPT, "complete": False, "reasons": ["2 files missing"], "left_out": ["*.tmp"]})
    assert alone is not None
    assert (alone.state, alone.reasons, alone.left_out) == ("open", ["2 files missing"], ["*.tmp"])
    assert receipt_of(None, None) is None


def test_a_dataset_that_still_arrives_has_a_report_too() -> None:
    item = {"sk": "new", "state": "arriving", "objects": 3, "movies": 2, "size_bytes": 9, "first_at": T0, "last_at": T0}
    made = report(given(name="new", item=item, document=None, jobs=[], nodes=[], lanes=()))
    assert (made.arrival.state, made.arrival.landed_at, made.arrival.seconds) == ("arriving", None, 0.0)
    assert (made.total.jobs, made.total.usd, made.stages, made.elsewhere) == (0, 0.0, [], [])
    assert report(given(name="x", item={"sk": "x"}, document=None, jobs=[], nodes=[])).arrival.first_at is None


def test_the_document_is_json_and_has_everything() -> None:
    text = json.dumps(report(given()).document())
    found: dict[str, Any] = json.loads(text)
    assert found["version"] == 1
    assert len(found["jobs"]) == len(jobs())
    assert found["total"]["usd"] == 158.9607
    assert {lane["name"] for lane in found["shapes"]} == {lane.name for lane in LANES}


SPANS = st.lists(
    st.tuples(st.floats(0, 1e9), st.floats(0, 1e6)).map(lambda two: (two[0], two[0] + two[1])), min_size=1, max_size=30
)


@examples(spans=SPANS, width=st.sampled_from([330.0, 960.0]))
def test_later_is_never_further_left_and_everything_is_on_the_line(
    spans: list[tuple[float, float]], width: float
) -> None:
    line = scale(spans, left=1.0, right=width)
    moments = sorted(at for span in spans for at in span)
    places = [line.x(at) for at in moments]
    assert places == sorted(places)
    assert places[0] >= 1.0
    assert places[-1] <= width + 1e-6
    assert line.parts[-1].right == pytest.approx(width)
    ticks = line.ticks(apart=74.0)
    assert all(after.x - before.x >= 60 for before, after in pairwise(ticks))


def test_a_long_gap_is_cut_out_and_a_short_one_is_not() -> None:
    day = 86400.0
    line = scale([(0, day), (9 * day, 10 * day)], left=0, right=960)
    assert [seconds for _, seconds in line.gaps()] == [8 * day]
    assert line.x(day) == pytest.approx((960 - BREAK) / 2)
    assert line.x(5 * day) == line.parts[1].left
    assert not list(scale([(0, day), (day + 1700, 2 * day)], left=0, right=960).gaps())


CHANGES = st.lists(st.tuples(st.floats(0, 50), st.integers(1, 4)), max_size=40)


@examples(found=CHANGES)
def test_an_area_shows_the_most_of_each_unit_and_what_holds_after_it(found: list[tuple[float, int]]) -> None:
    # Each waits for a while and runs for a while.
    changes = sorted(c for x, n in found for c in ((x, 0, 1), (x + n, 1, -1), (x + 3 * n, -1, 0)))
    steps = figures._steps(changes)
    assert [x for x, _, _ in steps] == sorted(x for x, _, _ in steps)
    for at, _ in found:
        for probe in (at + 1.5, at + 7.25):
            shown = max([whole for x, _, whole in steps if x <= probe][-1:], default=0)
            true = sum(x <= probe < x + 3 * n for x, n in found)
            assert shown >= true
    assert not steps or steps[-1][1:] == (0, 0)
    assert max((whole for _, _, whole in steps), default=0) <= len(found)


def life(kind: str, lane: str, since: float, until: float) -> dict[str, Any]:
    return {"instance_type": kind, "kind": "node", "lane": lane, "from": T0 + since * 3600, "until": T0 + until * 3600}


def test_a_lane_is_compared_as_what_its_nodes_were() -> None:
    one = job(1, "cryosparc_P3_J1_homo_abinit", "gpu1", 1.0, 0, 60, 1, 1.624)
    lives = [life("g6e.4xlarge", "gpu1", 1, 2), life("g5.4xlarge", "gpu1", 5, 6), life("p5.48xlarge", "gpu8", 1, 2)]
    made = report(given(jobs=[one], nodes=lives))
    (gpu1,) = [lane for lane in made.shapes if lane.name == "gpu1"]
    assert (gpu1.instance_type, gpu1.gpu_model, gpu1.usd_per_hour) == ("g6e.4xlarge", "l40s", 1.624)
    assert gpu1.price_of == "as g5.4xlarge, us-east-1, 2026-11"
    (gpu4,) = [each for each in made.elsewhere if each.lane == "gpu4"]
    assert gpu4.seconds is not None
    assert gpu4.seconds[1] == pytest.approx(3600 * 1.0 / 0.8)
    assert not any("Which job" in line for line in made.unknown)


def test_nodes_of_several_types_are_told_and_not_guessed_at() -> None:
    one = job(1, "cryosparc_P3_J1_homo_abinit", "gpu1", 1.0, 0, 60, 1, 1.624)
    both = [life("g6e.4xlarge", "gpu1", 1, 2), life("g5.4xlarge", "gpu1", 1, 2)]
    made = report(given(jobs=[one], nodes=both))
    assert [lane for lane in made.shapes if lane.name == "gpu1"] == [LANES[1]]
    assert (
        "Which job of gpu1 had which node: they were g5.4xlarge, g6e.4xlarge. All are compared as g5.4xlarge."
        in made.unknown
    )


def test_what_the_manifest_does_not_tell_of_a_lane_its_nodes_do() -> None:
    one = job(1, "cryosparc_P3_J1_homo_abinit", "gpu1", 1.0, 0, 60, 1, 0.7)
    bare = [Lane(name="gpu1", gpus=1, vcpus=16, usd_per_hour=0.7), LANES[2]]
    made = report(given(jobs=[one], nodes=[life("g6.4xlarge", "gpu1", 1, 2)], lanes=bare))
    assert (made.shapes[0].instance_type, made.shapes[0].gpu_model, made.shapes[0].price_of) == ("g6.4xlarge", "l4", "")
