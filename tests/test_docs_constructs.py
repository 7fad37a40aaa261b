"""The examples of docs/constructs.md are one app, in order: they run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest


def test_the_page_of_constructs_is_one_app(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = Path(__file__).parents[1]
    blocks = re.findall(r"```python\n(.*?)```", (root / "docs" / "constructs.md").read_text(), re.S)
    monkeypatch.chdir(root)
    monkeypatch.setenv("CDK_OUTDIR", str(tmp_path))
    names: dict[str, object] = {}
    exec(compile("\n".join(blocks), "docs/constructs.md", "exec"), names)
    assert {"zone", "cluster", "hooks", "care", "records", "platform"} <= set(names)
