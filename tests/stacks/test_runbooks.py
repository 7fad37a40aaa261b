"""Every alarm of every system names a page that is there, and every page belongs to an alarm."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import systems

Templates = dict[str, dict[str, Any]]
ROOT = Path(__file__).parents[2]
RUNBOOKS = ROOT / "docs" / "runbooks"
SECTIONS = ["What it means", "How to look", "What to do", "When it clears"]


@pytest.fixture(scope="module")
def all_systems(templates: Templates, synthesise: Callable[..., Templates]) -> list[Templates]:
    made = [synthesise(each(), folder=ROOT / "twin") for each in (systems.everything, systems.everything_on_pcs)]
    return [templates, *made]


def descriptions(made: Templates) -> Iterator[tuple[str, str]]:
    for template in made.values():
        for name, resource in template["Resources"].items():
            if resource["Type"] == "AWS::CloudWatch::Alarm":
                yield name, resource["Properties"].get("AlarmDescription", "")


def page_of(description: str) -> str:
    found = re.fullmatch(r".+\. What to do: docs/runbooks/([a-z-]+)\.md", description)
    return found[1] if found else ""


def test_every_alarm_names_a_page_that_is_there(all_systems: list[Templates]) -> None:
    for made in all_systems:
        found = dict(descriptions(made))
        assert len(found) > 12
        missing = {name: says for name, says in found.items() if not (RUNBOOKS / f"{page_of(says)}.md").is_file()}
        assert missing == {}
        assert all(len(says) <= 1024 for says in found.values()), "as CloudWatch takes it"


def test_every_page_belongs_to_an_alarm_and_is_in_the_list(all_systems: list[Templates]) -> None:
    pages = {path.stem for path in RUNBOOKS.glob("*.md")} - {"README"}
    assert pages == {page_of(says) for made in all_systems for _, says in descriptions(made)}
    index = (RUNBOOKS / "README.md").read_text()
    assert [page for page in sorted(pages) if f"({page}.md)" not in index] == []


@pytest.mark.parametrize("page", sorted(RUNBOOKS.glob("*-*.md")), ids=lambda page: page.stem)
def test_every_page_says_what_a_person_at_night_asks(page: Path) -> None:
    assert re.findall(r"^## (.+)$", page.read_text(), re.M) == SECTIONS
