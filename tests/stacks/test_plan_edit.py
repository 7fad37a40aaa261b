"""What a plan writes into a file is what it planned, whatever the file had."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from random_systems import random_systems
from ruamel.yaml import YAML

from cdk_cryoem.stages import stage_lanes
from cdk_cryoem_stacks import prices
from cdk_cryoem_stacks.config import Config
from cdk_cryoem_stacks.config_file import ConfigError, load
from cdk_cryoem_stacks.plan import datasets
from cdk_cryoem_stacks.plan.choose import NoWay, Prices, as_they_are, usd
from cdk_cryoem_stacks.plan.edit import Change, change, difference, edited, write
from cdk_cryoem_stacks.plan.planning import Answer, Request, plan
from cdk_cryoem_stacks.plan.work import work

PRICES = Prices(table=prices.load(), region="us-east-1")
SYSTEMS = random_systems("systems", many=14)


def planned(config: Config, *, any_type: bool) -> Answer | None:
    try:
        return plan(Request(dataset=datasets()["cgrp"], config=config, prices=PRICES, any_type=any_type))
    except NoWay:
        return None


def written(text: str, config: Config, answer: Answer, path: Path) -> Config:
    """The configuration after the plan was written into the file."""
    wanted = change(answer.chosen, config, PRICES, box=answer.request.dataset.box)
    path.write_text(text)
    write(path, edited(text, wanted, config))
    return load(path)


def as_yaml(config: Config) -> str:
    out = io.StringIO()
    YAML().dump(config.model_dump(mode="json", exclude_unset=True), out)
    return out.getvalue()


@pytest.mark.parametrize("any_type", [False, True], ids=["lanes", "any"])
def test_after_writing_the_file_is_what_was_planned(tmp_path: Path, any_type: bool) -> None:
    tried = 0
    for number, config in enumerate(SYSTEMS):
        config = config.model_copy(update={"processing": None})  # its recipes are no files here
        answer = planned(config, any_type=any_type)
        if answer is None:
            continue
        tried += 1
        after = written(as_yaml(config), config, answer, tmp_path / f"{number}.yaml")
        lanes = after.all_lanes()
        theirs = stage_lanes(lanes, after.stages)
        assert {stage: theirs[stage] for stage in answer.lanes} == answer.lanes
        works = work(answer.request.dataset)
        assert usd(as_they_are(works, lanes, theirs, PRICES, answer.request.overheads)).likely == pytest.approx(
            answer.node_usd.likely
        )
        assert {lane.name for lane in config.lanes} <= {lane.name for lane in after.lanes}
        kept = {"lanes", "stages"}
        assert after.model_dump(exclude=kept) == config.model_dump(exclude=kept)
    assert tried >= (3 if not any_type else 10)


def test_a_second_plan_has_nothing_to_change(tmp_path: Path) -> None:
    for number, config in enumerate(SYSTEMS[:4]):
        config = config.model_copy(update={"processing": None})
        answer = planned(config, any_type=True)
        assert answer is not None
        after = written(as_yaml(config), config, answer, tmp_path / f"{number}.yaml")
        again = planned(after, any_type=True)
        assert again is not None
        assert not change(again.chosen, after, PRICES, box=256)


@pytest.mark.parametrize(
    "text",
    [
        "name: a # first\nlanes: # all\n  - name: gpu8 # big\n    # types\n    instance_types: [p4d.24xlarge] # dear\n    gpus: 8\n",
        "name: a\nlanes:\n- {name: gpu8, instance_types: [p4d.24xlarge], gpus: 8} # one\n",
        "lanes:\n    - name: gpu8\n      instance_types:\n          - p4d.24xlarge # dear\n      gpus: 8\nname: 'a'\n",
    ],
)
def test_comments_quotes_and_indents_stay(text: str) -> None:
    wanted = Change(types={"gpu8": ["g5.48xlarge", "g6.48xlarge"]}, new={}, stages={"motion": "gpu8"})
    after = edited(text, wanted, Config(name="cryoem"))
    kept = [line for line in text.splitlines() if "p4d" not in line]
    assert [line for line in after.splitlines() if line in kept] == kept
    assert YAML(typ="safe").load(after)["lanes"][0]["instance_types"] == ["g5.48xlarge", "g6.48xlarge"]
    assert YAML(typ="safe").load(after)["stages"] == {"motion": "gpu8"}
    assert "p4d" not in after.replace("# dear", "")


def test_the_difference_is_a_patch_of_what_changed() -> None:
    text = difference("a: 1\nb: 2\nc: 3\nd: 4\n", "a: 1\nb: 9\nc: 3\nd: 4\n", "x.yaml")
    assert text.splitlines() == [
        "--- x.yaml",
        "+++ x.yaml (planned)",
        "@@ -1,3 +1,3 @@",
        " a: 1",
        "-b: 2",
        "+b: 9",
        " c: 3",
    ]


def test_a_file_that_would_be_wrong_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "cryoem.yaml"
    path.write_text("name: cryoem\n")
    with pytest.raises(ConfigError):
        write(path, "name: cryoem\nlanes: []\n")
    assert path.read_text() == "name: cryoem\n"
    assert list(tmp_path.iterdir()) == [path]
