"""docs/cost.md is what `make study` writes, and what it says of the published studies is right."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[2] / "study"))

import cost_page
from cost_study import page, ribosome, right_sizing

from cdk_cryoem_stacks.plan import datasets

FILES = cost_page.files()


@pytest.mark.parametrize("name", FILES)
def test_every_number_and_picture_of_the_page_is_as_make_study_writes_it(name: str) -> None:
    committed = (cost_page.DOCS / name).read_text(encoding="utf-8")
    assert committed == FILES[name], f"docs/{name} is out of date: make study"


def test_the_page_shows_every_picture() -> None:
    text = FILES["cost.md"]
    assert all(f"({name})" in text for name in FILES if name != "cost.md")


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".svg")])
def test_a_picture_is_svg_with_every_point_within_it(name: str) -> None:
    root = ElementTree.fromstring(FILES[name])
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    circles = [element for element in root.iter() if element.tag.endswith("circle")]
    assert len(circles) > 10
    assert all(0 < float(c.attrib["cx"]) < width and 0 < float(c.attrib["cy"]) < height for c in circles)


def test_check_says_what_differs_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "img").mkdir()
    monkeypatch.setattr(cost_page, "DOCS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["cost_page.py", "--check"])
    assert cost_page.main() == 1
    assert "docs/cost.md: differs" in capsys.readouterr().out
    assert list((tmp_path / "img").iterdir()) == []
    monkeypatch.setattr(sys, "argv", ["cost_page.py"])
    assert cost_page.main() == 0
    assert {name: (tmp_path / name).read_text() for name in FILES} == FILES
    monkeypatch.setattr(sys, "argv", ["cost_page.py", "--check"])
    assert cost_page.main() == 0


@pytest.mark.parametrize("name", page.GOALS)
def test_the_planner_is_within_the_goal_and_no_other_plan_of_the_page_is_cheaper(name: str) -> None:
    ways = right_sizing.ways(datasets()[name])
    best = ways["planner, any type"]
    assert best.usd.likely <= page.GOALS[name]
    assert all(best.usd.likely <= way.usd.likely + 1e-9 for way in ways.values())
    quick = ways["planner, as fast as p4d"]
    assert quick.hours.likely <= ways["p4d throughout, today"].hours.likely


@pytest.mark.parametrize(
    ("name", "then", "today", "spot", "guidance"),
    [("cgrp", 1181, 791, 587, 299), ("glp1r", 1245, 834, 619, 306), ("spike", 186, 125, 93, 73)],
)
def test_the_ways_of_others_cost_what_they_were_computed_to_cost_before(
    name: str, then: int, today: int, spot: int, guidance: int
) -> None:
    ways = right_sizing.ways(datasets()[name])
    p4d = ways["p4d throughout, today"]
    assert round(ways["p4d throughout, price then"].usd.likely) == then
    assert (round(p4d.usd.likely), round(p4d.spot_usd or 0)) == (today, spot)
    assert round(ways["AWS guidance's shape"].usd.likely) == guidance


@pytest.mark.parametrize(
    ("name", "eight", "four", "one", "used"),
    [("cgrp", 8, 14, 79, 24), ("glp1r", 9, 11, 80, 25), ("spike", 6, 26, 68, 28)],
)
def test_most_of_the_time_on_eight_gpus_needs_one(name: str, eight: int, four: int, one: int, used: int) -> None:
    by_size, part = right_sizing.shares(datasets()[name])
    assert (round(100 * by_size[8]), round(100 * by_size[4]), round(100 * by_size[1])) == (eight, four, one)
    assert round(100 * part) == used


@pytest.mark.parametrize(("name", "times"), [("cgrp", 2.2), ("glp1r", 2.2), ("spike", 1.5)])
def test_right_sized_lanes_are_cheaper_even_if_an_l40s_is_half_as_fast_as_assumed(name: str, times: float) -> None:
    _, slow = right_sizing.l40s_at_half(datasets()[name])
    p4d = right_sizing.ways(datasets()[name])["p4d throughout, today"]
    assert round(p4d.usd.likely / slow.usd.likely, 1) == times


def test_the_ribosome_cost_what_is_printed() -> None:
    known = ribosome.published()
    assert ribosome.run_usd() == pytest.approx(known["run_usd"], abs=0.02)
    assert known["run_cpu_hours"] / known["run_cpus"] == pytest.approx(known["run_hours"], abs=0.05)
    assert ribosome.usd(ribosome.amdahl(0.99), 128) == pytest.approx(8 * 0.35 * 10.3)


@given(st.floats(0.5, 0.9999), st.integers(1, 2000))
def test_by_amdahls_law_nothing_beats_the_best_size_in_speedup_per_cost(parallel: float, n: int) -> None:
    law = ribosome.amdahl(parallel)
    best = parallel / (1 - parallel)
    assert ribosome.per_cost(law, n) <= ribosome.per_cost(law, best) * (1 + 1e-9)
    assert ribosome.parallel_of(best) == pytest.approx(parallel)


@given(st.sampled_from(ribosome.SIZES[1:-1]), st.floats(0, 1))
def test_within_the_range_of_p_the_size_is_best_and_outside_it_is_not(best: int, part: float) -> None:
    low, high = ribosome.parallel_range(best)

    def found(parallel: float) -> int:
        law = ribosome.amdahl(parallel)
        return max(ribosome.SIZES, key=lambda n: ribosome.per_cost(law, n))

    assert found(low + (high - low) * (0.001 + 0.998 * part)) == best
    assert found(low - (1 - low) * 0.001) < best
    assert found(high + (1 - high) * 0.001) > best


def test_amdahls_law_is_the_other_one_without_talking() -> None:
    for n in ribosome.SIZES:
        assert ribosome.talking(0.01, 0.0)(n) == pytest.approx(ribosome.amdahl(0.99)(n))


@pytest.mark.parametrize("kind", ["classification", "refinement"])
def test_the_fits_say_the_best_size_that_is_published(kind: str) -> None:
    best = int(ribosome.published()[f"{kind}_best"])
    found = ribosome.fit(best)
    assert found.low < found.parallel < found.high
    for law in (found.amdahl, found.talking):
        assert max(ribosome.SIZES, key=lambda n, law=law: ribosome.per_cost(law, n)) == best
    assert max(ribosome.SIZES, key=found.talking) == 256
    assert found.amdahl(best) / best == pytest.approx(0.5, abs=0.01)
    assert math.isclose(found.amdahl(1), 1)
    assert math.isclose(found.talking(1), 1)
