"""Jobs get the prices of the file that cryoem.yaml names, of the system's region; where they cannot, people are told."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from aws_cdk.assertions import Annotations, Match, Template

from cdk_cryoem import Capacity, InstanceShape, Lane, instance_shapes
from cdk_cryoem_stacks.app import build, make_app
from cdk_cryoem_stacks.config import Config
from cdk_cryoem_stacks.config_file import ConfigError, load
from cdk_cryoem_stacks.prices import load as load_prices
from cdk_cryoem_stacks.prices.lanes import priced_shapes

HEADER = "item,region,usd,unit,date,source\n"
EUROPE = (
    "ec2:g5.4xlarge:on-demand,eu-west-1,1.824,hour,2026-11-20,price list\n"
    "ec2:g5.4xlarge:spot,eu-west-1,0.61,hour,2026-11-20,history\n"
    "ec2:g6e.4xlarge:on-demand,eu-west-1,3.34,hour,2026-11-20,price list\n"
)
LANES = [
    {"name": "one", "instance_types": ["g5.4xlarge", "g6e.4xlarge"], "gpus": 1, "spot_twin": True},
    {"name": "two", "instance_types": ["g6e.4xlarge"], "gpus": 1, "spot_twin": True},
]


def loaded(folder: Path, prices: str | None = EUROPE, **top: Any) -> Config:
    values = {"name": "em", "region": "eu-west-1", "lanes": LANES} | top
    if prices is not None:
        (folder / "mine.csv").write_text(HEADER + prices)
        values["prices"] = "mine.csv"
    path = folder / "cryoem.yaml"
    path.write_text(json.dumps(values))
    return load(path)


def usd(config: Config) -> dict[str, float]:
    return {lane.name: lane.usd_per_hour for lane in config.all_lanes()}


def test_lanes_have_the_files_prices_of_the_systems_region(tmp_path: Path) -> None:
    config = loaded(tmp_path)
    # g6e has no spot price there: what it costs on demand is the most it can cost.
    assert usd(config) == {"one": 1.824, "one-spot": 0.61, "two": 3.34, "two-spot": 3.34}
    (shape,) = {lane.shapes["g5.4xlarge"] for lane in config.all_lanes()}
    assert (shape.price_region, shape.price_date, shape.price_source) == ("eu-west-1", "2026-11-20", "price list")


def test_without_a_file_they_have_those_of_us_east_1(tmp_path: Path) -> None:
    config = loaded(tmp_path, prices=None)
    table = load_prices()
    spot = float(table.ec2("g5.4xlarge", spot=True).usd)
    assert usd(config) == {"one": 1.624, "one-spot": spot, "two": 3.00424, "two-spot": 3.00424}
    assert spot < 1.624


def test_a_path_is_seen_from_the_file_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert usd(loaded(tmp_path))["one"] == 1.824


def test_the_manifest_has_them_too_which_is_what_jobs_are_priced_by(tmp_path: Path) -> None:
    config = loaded(tmp_path)
    app = make_app(outdir=str(tmp_path / "out"))
    stacks = build(app, config, config_folder=tmp_path)
    (found,) = [
        parameter["Properties"]["Value"]
        for parameter in Template.from_stack(stacks.cluster).find_resources("AWS::SSM::Parameter").values()
        if "usd_per_hour" in str(parameter)
    ]
    assert {lane["name"]: lane["usd_per_hour"] for lane in json.loads(found)["lanes"]} == usd(config)
    Annotations.from_stack(stacks.cluster).has_no_warning("*", Match.string_like_regexp("priced as in"))
    Annotations.from_stack(stacks.cluster).has_warning(
        "*", Match.string_like_regexp(r"priced on demand.*two-spot \(g6e\.4xlarge\)")
    )


def test_another_region_without_prices_is_a_warning_that_can_be_acknowledged(tmp_path: Path) -> None:
    app = make_app(outdir=str(tmp_path / "out"))
    stacks = build(app, loaded(tmp_path, prices=None), config_folder=tmp_path)
    (found,) = Annotations.from_stack(stacks.cluster).find_warning(
        "*", Match.string_like_regexp("priced as in us-east-1")
    )
    assert "`cryoem prices refresh --region eu-west-1 --output prices.csv`" in found.entry.data
    assert found.entry.data.endswith("[ack: cdk-cryoem:prices0]")


def test_a_file_with_some_of_the_types_leaves_a_warning_about_the_others(tmp_path: Path) -> None:
    (first, _) = loaded(tmp_path, prices=EUROPE.splitlines()[0] + "\n").price_warnings()
    assert first == (
        "jobs in eu-west-1 are priced as in us-east-1 (g6e.4xlarge):"
        " run `cryoem prices refresh --region eu-west-1 --output mine.csv`"
    )


def test_in_us_east_1_there_is_nothing_to_warn_about(tmp_path: Path) -> None:
    lanes = [{"name": "one", "instance_types": ["g5.4xlarge"], "gpus": 1, "spot_twin": True}]
    config = loaded(tmp_path, prices=None, region="us-east-1", lanes=lanes)
    assert config.price_warnings() == []


def test_what_is_wrong_in_the_file_is_told_with_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, prices=EUROPE + "nat:hour,eu-west-1,-1,hour,2026,x\nnat:hours,eu-west-1,1,hour,2026,x\n")
    assert [(Path(f.file).name, f.line, f.problem.property) for f in caught.value.findings] == [
        ("mine.csv", 5, "usd"),
        ("mine.csv", 6, "item"),
    ]
    assert "Did you mean nat:hour" in str(caught.value)


def test_a_capacity_block_costs_what_it_costs_on_demand() -> None:
    lane = Lane(
        name="block", instance_types=["p5.48xlarge"], gpus=8, capacity=Capacity.CAPACITY_BLOCK,
        capacity_reservation_id="cr-0a1b2c3d4e5f60718", shapes=priced_shapes(load_prices(), "us-east-1"),
    )  # fmt: skip
    assert lane.usd_per_hour == 55.04


def test_a_lane_of_the_library_alone_is_priced_on_demand_unless_its_shape_has_a_spot_price() -> None:
    def spot(**shapes: InstanceShape) -> float:
        given = {"shapes": {**instance_shapes(), **shapes}} if shapes else {}
        return Lane(name="one", instance_types=["g5.4xlarge"], gpus=1, capacity=Capacity.SPOT, **given).usd_per_hour  # type: ignore[arg-type]

    assert spot() == 1.624
    own = dataclasses.replace(instance_shapes()["g5.4xlarge"], spot_usd_per_hour=0.5)
    assert spot(**{"g5.4xlarge": own}) == 0.5


def test_shapes_change_in_their_prices_alone() -> None:
    for name, shape in priced_shapes(load_prices(), "us-east-1").items():
        own = instance_shapes()[name]
        assert shape.usd_per_hour == own.usd_per_hour
        assert (shape.gpus, shape.vcpus, shape.memory_gib, shape.nvme_gb) == (
            own.gpus,
            own.vcpus,
            own.memory_gib,
            own.nvme_gb,
        )
