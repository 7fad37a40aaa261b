"""`cryoem plan --measured`: what a project's jobs took, in place of what was published."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from operate_account import Deployed, at_hand, run

from cdk_cryoem import default_lanes, instance_shapes
from cdk_cryoem_stacks import prices
from cdk_cryoem_stacks.plan import datasets, speed
from cdk_cryoem_stacks.plan.choose import Prices
from cdk_cryoem_stacks.plan.measured import measured
from cdk_cryoem_stacks.plan.nodes import NO_OVERHEADS, place
from cdk_cryoem_stacks.plan.work import Range, Work, work

LANES = default_lanes()
PRICES = Prices(table=prices.load(), region="us-east-1")


def job(kind: str, minutes: float, lane: str = "gpu1", gpus: float = 1.0, **more: Any) -> dict[str, Any]:
    name = f"cryosparc_P12_J7_{kind}"
    return {
        "name": name,
        "project": "P12",
        "lane": lane,
        "gpus": gpus,
        "seconds": minutes * 60,
        "state": "COMPLETED",
    } | more


def took(*items: dict[str, Any]) -> tuple[dict[str, Work], int]:
    found = measured(work(datasets()["cgrp"]), items, project="P12", lanes=LANES)
    return {each.step.name: each for each in found.works}, found.passed_over


def hours_on(each: Work, instance_type: str) -> Range:
    node = PRICES.node("lane", instance_shapes()[instance_type], spot=False)
    return place(each, node, NO_OVERHEADS).hours


def test_the_jobs_of_a_stage_count_together_and_other_stages_stay_as_published() -> None:
    works, passed_over = took(job("hetero_refine", 100.0), job("hetero_refine", 20.0))
    assert works["hetero"].minutes == Range.of(pytest.approx(120.0))
    assert works["hetero"].gpu_model == "A10G"
    assert works["refine"] == next(each for each in work(datasets()["cgrp"]) if each.step.name == "refine")
    assert passed_over == 0


def test_on_the_gpus_that_they_ran_on_jobs_take_what_they_took_and_on_others_there_is_a_range() -> None:
    each = took(job("nonuniform_refine_new", 120.0))[0]["refine"]
    assert hours_on(each, "g5.4xlarge") == Range.of(pytest.approx(2.0))
    there, a10g = hours_on(each, "g4dn.4xlarge"), speed("A10G")
    assert there.likely == pytest.approx(2.0 * 0.80 / 0.58)
    assert there.low == pytest.approx(2.0 * a10g.low / speed("T4").high)
    assert there.high == pytest.approx(2.0 * a10g.high / speed("T4").low)


def test_jobs_on_fewer_gpus_than_published_are_counted_as_on_all_of_them() -> None:
    works, _ = took(job("patch_motion_correction_multi", 80.0, "gpu4", 4.0))
    assert works["motion"].minutes.likely == pytest.approx(40.0)
    assert hours_on(works["motion"], "g5.12xlarge").likely == pytest.approx(80 / 60)


def test_jobs_on_two_models_are_counted_on_the_one_that_did_most() -> None:
    lanes = (*LANES[:1], type(LANES[1])(name="fast", instance_types=("g6e.4xlarge",), gpus=1), *LANES[1:])
    items = [job("homo_abinit", 100.0), job("homo_abinit", 10.0, "fast")]
    found = measured(work(datasets()["cgrp"]), items, project="P12", lanes=lanes)
    abinitio = next(each for each in found.works if each.step.name == "abinitio")
    assert abinitio.gpu_model == "A10G"
    assert abinitio.minutes.likely == pytest.approx(100 + 10 / 0.80)


def test_steps_of_one_stage_share_its_jobs() -> None:
    works, _ = took(job("extract_micrographs_multi", 28.0, "gpu8", 8.0))
    assert works["extract"].minutes.likely == pytest.approx(15.0)
    assert works["reextract"].minutes.likely == pytest.approx(13.0)


@pytest.mark.parametrize(
    "item",
    [
        job("hetero_refine", 50.0, project="P13"),
        job("hetero_refine", 50.0, state="FAILED"),
        job("hetero_refine", 0.0),
        job("hetero_refine", 50.0, gpus=0.0),
    ],
)
def test_jobs_of_others_and_those_that_did_not_complete_do_not_count(item: dict[str, Any]) -> None:
    works, passed_over = took(item)
    assert works["hetero"].minutes == Range.of(734)
    assert passed_over == 0


@pytest.mark.parametrize(
    "item",
    [
        job("var_3D", 50.0),
        job("hetero_refine", 50.0, lane="gone"),
        job("hetero_refine", 50.0, lane="cpu"),
        job("hetero_refine", 50.0, name="mine"),
    ],
)
def test_jobs_that_nobody_can_place_are_passed_over_and_counted(item: dict[str, Any]) -> None:
    works, passed_over = took(item)
    assert works["hetero"].minutes == Range.of(734)
    assert passed_over == 1


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Deployed]:
    with at_hand(monkeypatch, tmp_path) as system:
        yield system


def test_the_records_of_a_system_make_the_plan(system: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    system.put("job", "000000000001#1", **job("nonuniform_refine_new", 300.0))
    system.put("job", "000000000002#2", **job("var_3D", 5.0))
    assert run("plan", "spike", "--measured", "P12", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    refine = found["as_is"]["steps"][-1]
    assert (refine["step"], refine["hours"]["likely"]) == ("refine", pytest.approx(5 + 5 / 60, abs=0.001))
    assert refine["hours"]["low"] == refine["hours"]["high"]
    assert "jobs of project 'P12' took them, tries included" in found["assumptions"][0]
    assert found["assumptions"][0].endswith("refine (1)")
    assert any("1 completed job of project 'P12' passed over" in remark for remark in found["remarks"])


def test_a_project_without_jobs_is_said(system: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("plan", "spike", "--measured", "P99") == 1
    assert "--measured: project 'P99' has no completed job of a step that is planned for" in capsys.readouterr().err


def test_a_system_that_cannot_be_asked_is_said(system: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    system.clients.cloudformation.delete_stack(StackName="cryoem-hooks")
    assert run("plan", "spike", "--measured", "P12") == 1
    out = capsys.readouterr()
    assert (out.out, out.err != "") == ("", True)
