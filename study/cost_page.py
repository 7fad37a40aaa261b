"""Writes docs/cost.md and its pictures: `make study`. With --check it only says whether they are as they would be written."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from cost_study import page

DOCS = Path(__file__).resolve().parents[1] / "docs"


def files() -> Mapping[str, str]:
    """What is written, by path below docs/."""
    return {"cost.md": page.page(), **{f"img/{name}": text for name, text in page.pictures().items()}}


def main() -> int:
    """0: written, or with --check nothing differs; 1: something differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    changed = []
    for name, text in files().items():
        path = DOCS / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            changed.append(name)
            if not check:
                path.write_text(text, encoding="utf-8")
        print(f"docs/{name}: {'differs' if name in changed else 'the same'}")
    return 1 if check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
