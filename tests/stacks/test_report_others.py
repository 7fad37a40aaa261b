"""What the same jobs would have taken on other lanes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from report_account import LANES, given, job, jobs

from cdk_cryoem_stacks.dataset_report.decide import report
from cdk_cryoem_stacks.dataset_report.model import Elsewhere, Lane, Report
from cdk_cryoem_stacks.dataset_report.others import NO_CPU_SPEEDS, NO_GPU, OWN_UNKNOWN
from cdk_cryoem_stacks.plan.calibration import speed


def at(made: Report, stage: str, lane: str) -> Elsewhere:
    (found,) = [each for each in made.elsewhere if (each.stage, each.lane) == (stage, lane)]
    return found


def test_where_it_ran_it_is_what_it_was() -> None:
    found = at(report(given()), "motion", "gpu8")
    assert found.measured
    assert found.usd == (47.707417,) * 3
    assert found.seconds == (95 * 60,) * 3


def test_the_same_gpu_takes_as_long_and_costs_its_part_of_a_node() -> None:
    found = at(report(given()), "abinitio", "gpu4")
    assert found.seconds == (380 * 60,) * 3
    # One GPU of four.
    assert found.usd == pytest.approx((380 / 60 * 5.672 / 4,) * 3)
    assert found.alone_usd == pytest.approx((380 / 60 * 5.672,) * 3)
    assert not found.assumed


def test_another_gpu_takes_as_much_longer_as_it_is_slower_within_what_is_known() -> None:
    found = at(report(given()), "abinitio", "gpu8")
    own, other = speed("A10G"), speed("L40S")
    assert found.seconds is not None
    low, likely, high = found.seconds
    assert likely == pytest.approx(380 * 60 * own.likely / other.likely)
    assert low == pytest.approx(380 * 60 * own.low / other.high)
    assert high == pytest.approx(380 * 60 * own.high / other.low)
    assert low < likely < high
    assert found.assumed
    assert any(line.startswith("L40S: 1 of an A100") and "assumption" in line for line in report(given()).assumptions)


def test_cpus_can_be_what_a_job_keeps_of_a_node() -> None:
    made = report(given(jobs=[job(1, "cryosparc_P1_J1_homo_abinit", "gpu1", 1, 0, 60, 1, 1.624, cpus=24.0)]))
    # Of 48, more than a GPU's quarter.
    assert at(made, "abinitio", "gpu4").usd == pytest.approx((5.672 / 2,) * 3)


def test_what_is_not_known_is_left_out_and_said() -> None:
    made = report(given())
    reasons = {(each.stage, each.lane): each.why_not for each in made.elsewhere}
    assert reasons["import", "gpu1"] == NO_CPU_SPEEDS
    assert reasons["motion", "gpu4"] == "jobs used 8 GPUs, and nodes there have fewer"
    assert reasons["abinitio", "cpu"] == NO_GPU
    assert ("variability", "gpu1") not in reasons, "no price, nothing to compare"
    assert all((each.usd is None) == bool(each.why_not) for each in made.elsewhere)
    odd = [*LANES[:2], Lane(name="new", gpus=1, vcpus=8, usd_per_hour=9.0, gpu_model="x9000"), LANES[2]]
    assert at(report(given(lanes=odd)), "abinitio", "new").why_not == "the speed of X9000 is not known"
    assert any(line.startswith("X9000: no speed is known") for line in report(given(lanes=odd)).assumptions)
    without = [Lane(name="gpu1", gpus=1, vcpus=16, usd_per_hour=1.624), LANES[2]]
    assert at(report(given(lanes=without)), "abinitio", "gpu4").why_not == OWN_UNKNOWN


def test_a_lane_is_compared_with_just_the_stages_that_it_can_run() -> None:
    made = report(given())
    (found,) = [each for each in made.elsewhere_totals if each.lane == "gpu4"]
    assert set(found.stages) == {"pick", "class2d", "abinitio", "hetero", "refine", "refine-mpi"}
    ran = [
        each
        for each in jobs()
        if any(k in each["name"] for k in ("picker", "class_2D", "abinit", "hetero", "nonuni", "Refine3D"))
    ]
    assert found.ran_usd == round(sum(each["usd"] for each in ran), 6)
    assert found.seconds == (sum(each["seconds"] for each in ran),) * 3
    assert not found.measured


def test_nothing_is_assumed_where_nothing_is_compared() -> None:
    made = report(given(lanes=LANES[:1]))
    assert made.assumptions == []
    assert all(each.measured for each in made.elsewhere_totals)
