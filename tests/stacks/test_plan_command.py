"""`cryoem plan` from its options to its page, its picture, its changes of the file, and its exit codes."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from cdk_cryoem_stacks.cli import main
from cdk_cryoem_stacks.config_file import load
from cdk_cryoem_stacks.plan import datasets, steps

ROOT = Path(__file__).parents[2]
PRICES_HEAD = "item,region,usd,unit,date,source\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A copy of the example."""
    return Path(shutil.copy(ROOT / "cryoem.yaml", tmp_path / "cryoem.yaml"))


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["plan", *map(str, arguments)])
    out = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, out.out, out.err


def document(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> dict[str, Any]:
    code, out, err = run(capsys, *arguments, "--json")
    assert (code, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    return found


def test_the_page_says_steps_totals_frontier_changes_assumptions_and_dates_of_prices(
    capsys: pytest.CaptureFixture[str], file: Path
) -> None:
    code, out, err = run(capsys, "cgrp", "--config", file, "--grant", "50000")
    assert (code, err) == (0, "")
    for step in steps():
        assert out.count(step.title) == 2  # as it is, and as it could be
    for text in (
        "As cryoem.yaml has it",
        "Cheapest, with the lanes of the file",
        "transfer: DataSync, basic",
        "storage: movies in S3",
        "storage: FSx for Lustre",
        "head node: m7i.xlarge",
        "network: NAT gateway",
        "A month with 4 datasets",
        "  of which compute ",
        "  a dataset and its share",
        "A year for 50,000 USD pays for",
        "datasets with 90% confidence",
        "Nobody is both faster and cheaper",
        "+  motion: gpu4",
        "an assumption",
        "A10G: 0.8 x the speed of an A100 (40 GB), 0.7 to 0.9",
        "billed for 15 minutes",
        "Not counted: ",
        "g5.48xlarge: 16.288 an hour (ec2:g5.48xlarge:on-demand, us-east-1, 2026-11)",
        "FSx for Lustre: us-east-1, 2026-11",
    ):
        assert text in out
    assert file.read_text() == (ROOT / "cryoem.yaml").read_text()


def test_amounts_add_up(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    found = document(capsys, "glp1r", "--config", file, "--per-month", "2", "--grant", "30000", "--any")
    for plan in (found["as_is"], found["chosen"]):
        assert sum(step["usd"]["likely"] for step in plan["steps"]) == pytest.approx(plan["usd"]["likely"], abs=0.01)
        assert sum(step["hours"]["high"] for step in plan["steps"]) == pytest.approx(plan["hours"]["high"], abs=0.01)
    lines = sum(line["usd"]["likely"] for line in found["dataset_costs"])
    each = found["dataset_usd"]["likely"]
    assert each == pytest.approx(found["chosen"]["usd"]["likely"] + lines, abs=0.01)
    fixed = sum(line["usd"]["likely"] for line in found["month_costs"])
    assert found["month_usd"]["likely"] == pytest.approx(fixed + 2 * each, abs=0.01)
    by_kind = found["month_usd_by_kind"]
    assert list(by_kind) == ["compute", "transfer", "storage", "head node", "network"]
    assert sum(value["likely"] for value in by_kind.values()) == pytest.approx(found["month_usd"]["likely"], abs=0.01)
    assert by_kind["compute"]["likely"] == pytest.approx(2 * found["chosen"]["usd"]["likely"], abs=0.01)
    paid = found["datasets_a_year"]
    assert paid["likely"] == int((30000 - 12 * fixed) / each)
    assert 0 < paid["least"] <= paid["confident"] <= paid["likely"]
    assert all("us-east-1, 20" in price for price in found["prices"])


def test_a_deadline_finds_the_cheapest_plan_that_keeps_it(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    found = document(capsys, "cgrp", "--config", file, "--any", "--deadline", "40h")
    within = [plan["usd"] for plan in found["frontier"] if plan["hours"] <= 40]
    assert found["chosen"]["usd"]["likely"] == pytest.approx(min(within), abs=0.01)
    assert found["chosen"]["hours"]["likely"] <= 40
    assert any("--sure plans for that" in remark for remark in found["remarks"])


def test_a_sure_deadline_holds_at_the_slowest(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    found = document(capsys, "cgrp", "--config", file, "--any", "--deadline", "2d", "--sure")
    assert found["chosen"]["hours"]["high"] <= 48
    assert not any("--sure" in remark for remark in found["remarks"])


def test_a_budget_finds_the_fastest_plan_that_keeps_it(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    found = document(capsys, "cgrp", "--config", file, "--any", "--budget", "200")
    within = [plan["hours"] for plan in found["frontier"] if plan["usd"] <= 200]
    assert found["chosen"]["hours"]["likely"] == pytest.approx(min(within), abs=0.001)
    assert found["chosen"]["usd"]["likely"] <= 200


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--deadline", "1h"], r"--deadline: no plan takes 1 h or less. The fastest takes \d+\.\d h and costs"),
        (["--budget", "1"], r"--budget: no plan costs 1 USD or less. The cheapest costs \d+\.\d\d USD and takes"),
        (
            ["--deadline", "60h", "--budget", "100"],
            "no plan takes 60 h or less and costs 100 USD or less. The cheapest in",
        ),
        (["--box", "1500"], "no lane of the file has the GPUs, their memory"),
    ],
)
def test_what_cannot_be_had_is_said_with_the_least_that_can(
    capsys: pytest.CaptureFixture[str], file: Path, options: list[str], message: str
) -> None:
    code, out, err = run(capsys, "cgrp", "--config", file, *options)
    assert (code, out) == (1, "")
    assert err.startswith("cryoem plan: ")
    assert re.search(message, err)
    assert "--any looks at all instance types" in err or "--box" in options


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cgrp", "--movies", "0"], "--movies: got 0, allowed: 1 to 10,000,000 movies"),
        (["cgrp", "--movies", "1.5"], "--movies: got 1.5, allowed"),
        (["cgrp", "--movies", "many"], "--movies: got many, allowed"),
        (["cgrp", "--size-tb", "nan"], "--size-tb: got nan, allowed"),
        (["cgrp", "--particles", "-3"], "--particles: got -3, allowed: 1 to 10,000,000,000 particles"),
        (["cgrp", "--box", "8"], "--box: got 8, allowed: 16 to 4,096 pixels"),
        (["cgrp", "--deadline", "0h"], "--deadline: got 0h, allowed: a time like 24h, 90m or 2d, up to a year"),
        (["cgrp", "--deadline", "soon"], "--deadline: got soon"),
        (["cgrp", "--budget", "0"], "--budget: got 0, allowed: 0.01 to"),
        (["cgrp", "--grant", "x"], "--grant: got x"),
        (["cgrp", "--per-month", "-1"], "--per-month: got -1"),
        (["cgpr"], "DATASET: got 'cgpr', allowed: cgrp, glp1r, spike, or any name with its sizes; missing: --movies"),
        (["mine", "--movies", "100"], "missing: --size-tb, --particles, --box"),
        ([], "name a dataset: cgrp, glp1r, spike"),
    ],
)
def test_wrong_input_is_named_with_what_is_allowed(
    capsys: pytest.CaptureFixture[str], file: Path, arguments: list[str], message: str
) -> None:
    code, out, err = run(capsys, *arguments, "--config", file)
    assert (code, out) == (2, "")
    assert message in err


def test_an_unknown_instance_type_is_said_with_its_line(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    file.write_text(file.read_text().replace("g5.48xlarge", "g5.47xlarge"))
    code, _, err = run(capsys, "cgrp", "--config", file)
    assert code == 2
    assert "cryoem.yaml:26: lanes[3].instance_types: got 'g5.47xlarge'" in err


def test_a_file_that_is_not_there_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = run(capsys, "cgrp", "--config", tmp_path / "none.yaml")
    assert code == 2
    assert "none.yaml" in err


@pytest.mark.parametrize("usd", ["-1", "0", "1,624", "free"])
def test_wrong_prices_are_said_with_their_line(
    capsys: pytest.CaptureFixture[str], file: Path, tmp_path: Path, usd: str
) -> None:
    prices = tmp_path / "prices.csv"
    prices.write_text(f"{PRICES_HEAD}ec2:g5.4xlarge:on-demand,us-east-1,{usd},hour,2026-11-21,ours\n")
    code, out, err = run(capsys, "cgrp", "--config", file, "--prices", prices)
    assert (code, out) == (2, "")
    assert "prices.csv:2: " in err


def test_prices_of_your_own_are_used_and_said(capsys: pytest.CaptureFixture[str], file: Path, tmp_path: Path) -> None:
    prices = tmp_path / "prices.csv"
    prices.write_text(f"{PRICES_HEAD}ec2:g5.4xlarge:on-demand,us-east-1,1.00,hour,2026-11-21,ours\n")
    found = document(capsys, "cgrp", "--config", file, "--prices", prices)
    refine = found["as_is"]["steps"][-1]
    assert refine["usd_per_hour"] == 1.0
    assert "g5.4xlarge: 1 an hour (ec2:g5.4xlarge:on-demand, us-east-1, 2026-11-21)" in found["prices"]


def test_a_region_without_prices_of_its_own_is_told_whose_they_are(
    capsys: pytest.CaptureFixture[str], file: Path
) -> None:
    file.write_text(file.read_text().replace("us-east-1", "eu-central-1"))
    found = document(capsys, "cgrp", "--config", file)
    assert found["region"] == "eu-central-1"
    assert any(remark.startswith("Not every price is known for eu-central-1") for remark in found["remarks"])
    assert all("us-east-1, 20" in price for price in found["prices"])


def test_sizes_of_your_own_are_scaled_and_said_to_be(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    sizes = ("--movies", "8000", "--size-tb", "2.5", "--particles", "2000000", "--box", "320")
    found = document(capsys, "ours", *sizes, "--config", file)
    assert found["dataset"] == {"name": "ours", "movies": 8000, "gb": 2500, "particles": 2_000_000, "box": 320}
    assert len(found["chosen"]["steps"]) == len(steps())
    assert any("scaled from the published datasets" in text for text in found["assumptions"])
    assert found["chosen"]["usd"]["low"] < found["chosen"]["usd"]["likely"] < found["chosen"]["usd"]["high"]


def test_a_published_dataset_with_another_size_is_another_dataset(
    capsys: pytest.CaptureFixture[str], file: Path
) -> None:
    found = document(capsys, "spike", "--movies", "5000", "--config", file)
    assert found["dataset"]["name"] == "spike, other sizes"
    assert found["dataset"]["particles"] == datasets()["spike"].particles
    assert len(found["chosen"]["steps"]) == len(steps())


def test_the_picture_has_the_frontier_the_file_and_the_plan(
    capsys: pytest.CaptureFixture[str], file: Path, tmp_path: Path
) -> None:
    picture = tmp_path / "plans.svg"
    found = document(capsys, "cgrp", "--config", file, "--any", "--picture", picture)
    root = ElementTree.fromstring(picture.read_text())
    texts = {element.text for element in root.iter() if element.tag.endswith("text")}
    assert {"the best plans", "as the file has it", "this plan", "hours"} <= texts
    circles = [element for element in root.iter() if element.tag.endswith("circle")]
    assert len(circles) == len(found["frontier"]) + 2 + 3  # and the legend


def test_a_picture_that_cannot_be_written_is_said(
    capsys: pytest.CaptureFixture[str], file: Path, tmp_path: Path
) -> None:
    code, _, err = run(capsys, "cgrp", "--config", file, "--picture", tmp_path / "no" / "plans.svg")
    assert code == 1
    assert "plans.svg: No such file or directory" in err


def test_write_changes_stages_and_keeps_the_rest(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    before = file.read_text()
    code, out, err = run(capsys, "cgrp", "--config", file, "--write")
    assert (code, "is changed" in err) == (0, True)
    assert file.read_text() == before + "stages:\n  motion: gpu4\n  ctf: gpu4\n  extract: gpu1\n"
    assert list(file.parent.iterdir()) == [file]
    again = document(capsys, "cgrp", "--config", file)
    assert again["as_is"] == again["chosen"]
    assert again["changes"] == {"lanes": {}, "stages": {}, "patch": ""}
    code, out, err = run(capsys, "cgrp", "--config", file, "--write")
    assert (code, err) == (0, "")
    assert "Nothing is to be changed in cryoem.yaml" in out


def test_write_changes_types_of_lanes_and_keeps_comments(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    before = file.read_text()
    planned = document(capsys, "cgrp", "--config", file, "--any", "--deadline", "36h")
    assert run(capsys, "cgrp", "--config", file, "--any", "--deadline", "36h", "--write")[0] == 0
    after = file.read_text()
    changed = [(a, b) for a, b in zip(before.splitlines(), after.splitlines(), strict=True) if a != b]
    assert len(changed) == len(planned["changes"]["lanes"])
    assert all(line.lstrip().startswith("- {name: gpu") for pair in changed for line in pair)
    by_lane = {step["lane"]: step["instance_type"] for step in planned["chosen"]["steps"]}
    lanes = {lane.name: lane for lane in load(file).all_lanes()}
    assert {name: lanes[name].instance_types[0] for name in by_lane} == by_lane
    assert document(capsys, "cgrp", "--config", file)["as_is"]["usd"] == planned["chosen"]["usd"]


def test_write_makes_the_lanes_that_are_missing(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    file.write_text("name: small # ours\nlanes:\n- name: all\n  instance_types: [p4d.24xlarge]\n  gpus: 8\n")
    planned = document(capsys, "cgrp", "--config", file, "--any")
    assert {step["lane"] for step in planned["chosen"]["steps"]} == {"gpu1", "gpu4"}
    assert run(capsys, "cgrp", "--config", file, "--any", "--write")[0] == 0
    assert file.read_text().startswith("name: small # ours\nlanes:\n- name: all\n")
    assert {lane.name for lane in load(file).all_lanes()} == {"all", "gpu1", "gpu4"}
    assert document(capsys, "cgrp", "--config", file)["as_is"]["usd"] == planned["chosen"]["usd"]


def test_write_writes_the_default_lanes_where_the_file_has_none(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    file.write_text("name: short\n")
    planned = document(capsys, "spike", "--config", file, "--any")
    assert run(capsys, "spike", "--config", file, "--any", "--write")[0] == 0
    assert [lane.name for lane in load(file).all_lanes()] == ["cpu", "gpu1", "gpu4", "gpu8", "live"]
    assert document(capsys, "spike", "--config", file)["as_is"]["usd"] == planned["chosen"]["usd"]


def test_a_plan_without_write_writes_nothing_even_for_spot(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    before = file.read_text()
    code, out, _ = run(capsys, "cgrp", "--config", file, "--any", "--spot")
    assert code == 0
    assert "capacity: spot" in out
    assert "no node is taken back" in out
    assert file.read_text() == before


def test_what_is_paid_in_advance_is_said_and_other_lanes_are_made_beside_it(
    capsys: pytest.CaptureFixture[str], file: Path
) -> None:
    block = "{name: block, instance_types: [p4d.24xlarge], gpus: 8, max_nodes: 1, capacity: capacity-block, capacity_reservation_id: cr-0123456789abcdef0}"
    file.write_text(f"name: small\nlanes:\n  - {block}\n  - {{name: gpu1, instance_types: [g5.4xlarge], gpus: 1}}\n")
    found = document(capsys, "cgrp", "--config", file, "--any", "--deadline", "40h")
    assert any("'block' is a Capacity Block, paid in advance" in remark for remark in found["remarks"])
    assert "block" not in {step["lane"] for step in found["chosen"]["steps"]}
    assert run(capsys, "cgrp", "--config", file, "--any", "--deadline", "40h", "--write")[0] == 0
    assert f"  - {block}\n" in file.read_text()
    assert document(capsys, "cgrp", "--config", file)["as_is"]["usd"] == found["chosen"]["usd"]


def test_a_price_that_nobody_knows_is_said_not_to_be_counted(capsys: pytest.CaptureFixture[str], file: Path) -> None:
    file.write_text("name: large\nengine: pcs\npcs: {ami_id: ami-0123456789abcdef0, size: LARGE}\n")
    found = document(capsys, "cgrp", "--config", file)
    (engine,) = (line for line in found["month_costs"] if line["kind"] == "engine")
    assert (engine["usd"]["high"], engine["how"]) == (0.0, "no price known: NOT COUNTED")
