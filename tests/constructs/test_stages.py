"""Every stage has a lane that exists, whatever the lanes are; what was probably not meant is said."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdk_cryoem import Capacity, Lane, default_lanes
from cdk_cryoem.problems import Problem
from cdk_cryoem.stages import lane_warnings, stage_lanes, stage_problems, stages

ROOT = Path(__file__).resolve().parents[2]
TYPES = {0: "m6i.8xlarge", 1: "g5.4xlarge", 4: "g5.12xlarge", 8: "g5.48xlarge"}
LANES = st.lists(
    st.builds(
        lambda name, gpus, capacity, max_nodes: Lane(
            name=name, instance_types=[TYPES[gpus]], gpus=gpus, capacity=capacity, max_nodes=max_nodes
        ),
        st.sampled_from(["cpu", "gpu1", "gpu4", "gpu8", "live", "big", "small", "gpu1-spot"]),
        st.sampled_from(sorted(TYPES)),
        st.sampled_from([Capacity.ON_DEMAND, Capacity.SPOT]),
        st.integers(1, 9),
    ),
    max_size=5,
    unique_by=lambda lane: lane.name,
)
OVERRIDES = st.dictionaries(
    st.sampled_from([*stages(), "nonsense"]), st.sampled_from(["cpu", "gpu1", "gpu8", "big", "nowhere"]), max_size=4
)


def lane(name: str, gpus: int, **changes: object) -> Lane:
    return Lane(name=name, instance_types=[TYPES[gpus]], gpus=gpus, **changes)  # type: ignore[arg-type]


def problems(overrides: dict[str, str]) -> list[Problem]:
    return list(stage_problems(overrides, default_lanes()))


def test_the_table_is_whole() -> None:
    defaults = {lane.name: lane for lane in default_lanes()}
    for name, stage in stages().items():
        assert name == stage.name
        assert re.fullmatch(r"[a-z][a-z0-9-]*", name)
        assert stage.description
        assert stage.source, f"{name} does not say where it comes from"
        assert stage.cryosparc_job_types or stage.relion_job_types, name
        assert stage.lane in defaults, f"{name} names no default lane"
        assert defaults[stage.lane].gpus == stage.gpus, f"{name} cannot use its lane, or not all of it"
        assert 1 <= stage.memory <= 4
        assert all(re.fullmatch(r"(relion\.)?[a-z0-9.]+", each) for each in stage.relion_job_types)


@pytest.mark.parametrize("client", ["cryosparc_job_types", "relion_job_types"])
def test_every_job_type_is_in_one_stage(client: str) -> None:
    listed = [each for stage in stages().values() for each in getattr(stage, client)]
    assert sorted(listed) == sorted(set(listed))


def test_what_the_white_paper_measured_is_as_it_says() -> None:
    """Table 1: GPUs of each stage on its 8-GPU nodes."""
    table = {
        "patch_motion_correction_multi": 8, "patch_ctf_estimation_multi": 8, "blob_picker_gpu": 1,
        "extract_micrographs_multi": 8, "class_2D_new": 4, "hetero_refine": 1, "homo_abinit": 1,
        "nonuniform_refine_new": 1,
    }  # fmt: skip
    found = {each: stage.gpus for stage in stages().values() for each in stage.cryosparc_job_types if each in table}
    assert found == table


def test_with_the_default_lanes_every_stage_is_on_its_default_lane_and_every_lane_is_used() -> None:
    chosen = stage_lanes(default_lanes(), {})
    assert chosen == {stage.name: stage.lane for stage in stages().values()}
    assert lane_warnings(default_lanes(), chosen, None) == []


def test_an_override_comes_first_and_moves_nothing_else() -> None:
    chosen = stage_lanes(default_lanes(), {"motion": "gpu4", "pick": "live"})
    assert (chosen["motion"], chosen["pick"]) == ("gpu4", "live")
    assert {k: v for k, v in chosen.items() if k not in ("motion", "pick")} == {
        stage.name: stage.lane for stage in stages().values() if stage.name not in ("motion", "pick")
    }


@pytest.mark.parametrize(
    ("lanes", "stage", "expected"),
    [
        ([lane("big", 8), lane("mid", 4), lane("small", 1)], "class2d", "mid"),
        ([lane("big", 8), lane("mid", 4), lane("small", 1)], "refine", "small"),
        ([lane("mid", 4), lane("small", 1)], "motion", "mid"),
        ([lane("big", 8), lane("plain", 0)], "import", "plain"),
        ([lane("big", 8), lane("small", 1)], "import", "small"),
        ([lane("cpu", 8)], "import", "cpu"),
        ([lane("gpu8", 0), lane("small", 1)], "motion", "small"),
        ([lane("plain", 0)], "motion", "plain"),
        ([lane("live", 1), lane("small", 1)], "refine", "small"),
        ([lane("cheap", 1, capacity=Capacity.SPOT), lane("small", 1)], "refine", "small"),
    ],
    ids=lambda value: "-".join(f"{x.name}{x.gpus}" for x in value) if isinstance(value, list) else None,
)
def test_without_the_default_lane_the_smallest_one_that_is_enough(lanes: list[Lane], stage: str, expected: str) -> None:
    assert stage_lanes(lanes, {})[stage] == expected


@given(LANES, OVERRIDES)
def test_every_stage_has_a_lane_that_exists(lanes: list[Lane], overrides: dict[str, str]) -> None:
    chosen = stage_lanes(lanes, overrides)
    by_name = {lane.name: lane for lane in lanes}
    assert list(chosen) == (list(stages()) if lanes else [])
    for name, stage in stages().items():
        if not lanes:
            continue
        picked = by_name[chosen[name]]
        if overrides.get(name) in by_name:
            assert picked.name == overrides[name]
        elif stage.lane in by_name and (by_name[stage.lane].gpus or not stage.gpus):
            assert picked.name == stage.lane
        else:
            enough = [lane.gpus for lane in lanes if lane.gpus >= stage.gpus]
            assert picked.gpus == (min(enough) if enough else max(lane.gpus for lane in lanes))


@given(LANES, OVERRIDES)
def test_no_problem_means_that_every_override_counts(lanes: list[Lane], overrides: dict[str, str]) -> None:
    if not list(stage_problems(overrides, lanes)):
        assert {name: stage_lanes(lanes, overrides)[name] for name in overrides} == overrides


def test_good_overrides_have_no_problems() -> None:
    assert problems({}) == []
    assert problems({"motion": "gpu1", "import": "gpu8", "live": "gpu4"}) == []


def test_an_unknown_stage_and_an_unknown_lane_are_named_with_what_there_is() -> None:
    (stage,) = problems({"motoin": "gpu8"})
    assert (stage.property, stage.value) == ("stages.motoin", "gpu8")
    assert "motion, motion-cpu" in stage.allowed
    (there,) = problems({"motion": "gpu2"})
    assert (there.property, there.value, there.allowed) == (
        "stages.motion", "gpu2", "one of the lanes cpu, gpu1, gpu4, gpu8, live",
    )  # fmt: skip
    assert [p.property for p in problems({"nope": "nowhere"})] == ["stages.nope", "stages.nope"]


def test_a_stage_that_needs_gpus_is_not_put_on_a_lane_without() -> None:
    (problem,) = problems({"motion": "cpu"})
    assert str(problem) == (
        "stages.motion: got 'cpu', allowed: a lane with GPUs, which the jobs of this stage ask for."
        " Its jobs that need no GPU are the stage motion-cpu"
    )
    (problem,) = problems({"flex": "cpu"})
    assert problem.fix == ""


def test_a_lane_that_no_stage_uses_is_named() -> None:
    lanes = [*default_lanes(), lane("spare", 1)]
    (warning,) = lane_warnings(lanes, stage_lanes(lanes, {}), None)
    assert warning.startswith("lanes: no stage uses lane 'spare'")
    assert "(stages: {STAGE: spare})" in warning
    assert lane_warnings(lanes, stage_lanes(lanes, {"pick": "spare"}), None) == []


def test_a_spot_twin_is_used_if_its_lane_is() -> None:
    gpu1 = default_lanes()[1]
    lanes = [*default_lanes(), gpu1.spot_twin()]
    assert lane_warnings(lanes, stage_lanes(lanes, {}), None) == []
    other = [*default_lanes(), lane("spare-spot", 1, capacity=Capacity.SPOT)]
    assert len(lane_warnings(other, stage_lanes(other, {}), None)) == 1


@pytest.mark.parametrize(("tokens", "warned"), [(43, 1), (44, 0), (45, 0), (None, 0), (1, 1)])
def test_more_gpus_than_tokens_are_said(tokens: int | None, warned: int) -> None:
    warnings = lane_warnings(default_lanes(), stage_lanes(default_lanes(), {}), tokens)
    assert len(warnings) == warned
    for warning in warnings:
        assert "is 44 (gpu1 8 x 1, gpu4 4 x 4, gpu8 2 x 8, live 1 x 4)" in warning
        assert f"cryosparc.license_tokens is {tokens}." in warning
        assert "Lower max_nodes" in warning


def test_the_document_shows_the_table() -> None:
    text = (ROOT / "docs" / "lanes.md").read_text()
    for stage in stages().values():
        clients = (stage.cryosparc_job_types, stage.relion_job_types)
        types = " | ".join(", ".join(f"`{each}`" for each in listed) or "-" for listed in clients)
        assert f"| `{stage.name}` | {stage.description} | {stage.gpus} | `{stage.lane}` | {types} |\n" in text


def test_the_golden_files_of_the_head_node_are_those_of_the_default_lanes() -> None:
    golden = json.loads((ROOT / "tests" / "head_node" / "golden" / "lanes.json").read_text())
    for lane, known in zip(default_lanes(), golden[:-1], strict=True):
        assert {key: lane.manifest()[key] for key in known} == known
