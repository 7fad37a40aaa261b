"""What the documents name is there: every test of docs/verified.md, every file a page links to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[1]
_PAGES = sorted([*_ROOT.glob("*.md"), *(_ROOT / "docs").rglob("*.md"), *(_ROOT / "adr").glob("*.md")])


def test_every_test_that_verified_names_exists() -> None:
    text = (_ROOT / "docs" / "verified.md").read_text()
    named = re.findall(r"`([a-z_/]*test_[a-z_0-9]+\.py)((?:::test_\w+)?)`", text)
    assert len(named) > 50
    missing = []
    for file, function in named:
        found = [path for path in (_ROOT / "tests").rglob(Path(file).name) if str(path).endswith(file)]
        if not found or not any(f"def {function.removeprefix('::')}" in path.read_text() for path in found):
            missing.append(file + function)
    assert missing == []


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.name)
def test_every_file_a_page_links_to_exists(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []
