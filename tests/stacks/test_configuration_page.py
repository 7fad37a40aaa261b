"""docs/configuration.md has a row for every property of the configuration file, with its default."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from cdk_cryoem import default_lanes
from cdk_cryoem_stacks.config import Config

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "configuration.md").read_text()
# Defaults that are said in words.
WORDS = {
    "account": "that of the credentials", "availability_zone": "the first zone", "bandwidth_limit_mibps": "no limit",
    "remote_desktop_from": "nobody", "license_tokens": "not known",
    "hours": "Monday to Friday, nine to seven, UTC",
}  # fmt: skip


def sections() -> dict[str, str]:
    found = re.findall(r"(?ms)^## (.*?)\n(.*?)(?=^## |\Z)", PAGE)
    return {title.replace("Top level", ""): text for title, text in found}


def rows(section: str) -> dict[str, str]:
    """Default of each property, as the page says."""
    table = sections()[section].partition("| property |")[2]
    return dict(re.findall(r"(?m)^\| `([a-z_]+)` \| .*? \| (.*?) \| .*? \|$", table))


def inside(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for each in getattr(annotation, "__args__", ()) if (found := inside(each))), None)


# A microscope's share is told in the rows of nfs and smb.
MODELS: dict[str, type[BaseModel]] = {
    "": Config,
    **{name: model for name, field in Config.model_fields.items() if (model := inside(field.annotation)) is not None},
}
PROPERTIES = [
    (section, name)
    for section, model in MODELS.items()
    for name, field in model.model_fields.items()
    if section or inside(field.annotation) is None
]


def test_every_section_is_on_the_page() -> None:
    assert set(sections()) - {"Errors"} == set(MODELS)


@pytest.mark.parametrize("section", MODELS)
def test_a_section_has_a_row_for_each_of_its_properties_and_no_other(section: str) -> None:
    assert set(rows(section)) == {name for part, name in PROPERTIES if part == section}


@pytest.mark.parametrize(("section", "name"), PROPERTIES)
def test_a_row_says_the_default(section: str, name: str) -> None:
    field = MODELS[section].model_fields[name]
    said = rows(section)[name]
    if field.is_required():
        assert said == "required"
    elif name in WORDS:
        assert said == WORDS[name]
    elif field.default_factory is not None or field.default is None:
        assert said == "none"
    else:
        plain = said.partition(":")[0] if isinstance(field.default, int) else said
        text = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
        assert plain.strip('`"').removesuffix(".0") == text.removesuffix(".0")


def test_the_default_lanes_are_on_the_page_with_their_prices() -> None:
    found = re.findall(r"(?m)^\| `(\w+)` \| ([^|]+) \| (\d+) \| (\d+) \| ([\d.]+) \|$", sections()["lanes"])
    assert found == [
        (lane.name, ", ".join(lane.instance_types), str(lane.gpus), str(lane.max_nodes), str(lane.usd_per_hour))
        for lane in default_lanes()
    ]
