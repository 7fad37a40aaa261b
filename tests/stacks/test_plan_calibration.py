"""The tables that plans are made of say what was published, and cover every GPU that a lane may have."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from cdk_cryoem import instance_shapes
from cdk_cryoem.stages import stages
from cdk_cryoem_stacks.plan import datasets, speed, speeds, steps

_ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("name", "printed"), [("cgrp", (36, 2)), ("glp1r", (38, 0)), ("spike", (5, 41))])
def test_the_steps_of_each_dataset_add_up_to_the_total_printed_in_the_white_paper(
    name: str, printed: tuple[int, int]
) -> None:
    assert divmod(sum(step.minutes[name] for step in steps()), 60) == printed


def test_minutes_and_gpus_are_those_of_the_table_that_the_simulation_uses() -> None:
    lines = (_ROOT / "bench" / "data" / "table1.csv").read_text().splitlines()
    there = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    assert [
        (step.gpus, *(step.minutes[name] for name in ("cgrp", "glp1r", "spike"))) for step in steps()
    ] == [(int(r["gpus"]), int(r["cgrp_min"]), int(r["glp1r_min"]), int(r["spike_min"])) for r in there]  # fmt: skip


def test_every_step_is_of_a_stage_that_uses_as_many_gpus() -> None:
    assert [stages()[step.stage].gpus for step in steps()] == [step.gpus for step in steps()]


def test_every_gpu_of_the_table_of_types_has_a_speed() -> None:
    models = {shape.gpu_model for shape in instance_shapes().values() if shape.gpus}
    assert models <= set(speeds())


@pytest.mark.parametrize("model", speeds())
def test_a_speed_is_within_its_range_and_says_its_source(model: str) -> None:
    found = speeds()[model]
    assert 0 < found.low <= found.likely <= found.high
    assert found.source
    assert found.assumption == found.source.startswith("assumption")


@pytest.mark.parametrize(
    ("model", "likely"), [("V100", 2.79 / 3.4), ("T4", 2.79 / 4.8), ("a10g", 0.80), ("l40s", 1.0), ("A100-40GB", 1.0)]
)
def test_published_speeds(model: str, likely: float) -> None:
    assert speed(model).likely == pytest.approx(likely, abs=0.005)


def test_an_l40s_might_be_half_as_fast_and_nobody_measured_it() -> None:
    assert (speed("L40S").low, speed("L40S").assumption) == (0.5, True)


def test_an_unknown_model_is_named_with_those_that_are_known() -> None:
    with pytest.raises(LookupError, match=r"got 'K80', allowed: A100-40GB, V100, T4"):
        speed("K80")


def test_the_published_datasets_are_of_the_sizes_that_the_white_paper_says() -> None:
    found = [(each.name, each.movies, each.gb, each.particles) for each in datasets().values()]
    assert found == [
        ("cgrp", 5600, 1600, 6_300_000),
        ("glp1r", 5700, 1900, 4_800_000),
        ("spike", 2500, 160, 440_000),
    ]
