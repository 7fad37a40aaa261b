"""The picture of the dashboard is that of the dashboard."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    found = importlib.util.spec_from_file_location("dashboard_picture", ROOT / "tools" / "dashboard_picture.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_the_committed_picture_is_drawn_of_the_document_as_it_is(tool: ModuleType) -> None:
    drawn: Callable[[object], str] = tool.picture
    found = tool.document()
    text = drawn(found)
    assert (ROOT / "docs" / "img" / "dashboard.svg").read_text() == text, (
        "make it again: see tools/dashboard_picture.py"
    )
    titles = {"".join(each.itertext()) for each in ElementTree.fromstring(text).iter() if each.get("class") == "t"}
    assert titles == {widget["properties"].get("title", "") for widget in found["widgets"]}
