"""As much of RELION's STAR files as schemes need: their tables, and the options of a job."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Dict, List, Mapping

_OPTIONS, _NAME, _VALUE = "joboptions_values", "_rlnJobOptionVariable", "_rlnJobOptionValue"
Table = List[Dict[str, str]]


def tables(text: str) -> Dict[str, Table]:
    """Rows by table, without data_ before its name. A table without a loop has one row."""
    found: Dict[str, Table] = {}
    rows: Table = []
    columns: List[str] = []
    loop = False
    for line in text.splitlines():
        words = shlex.split(line, comments=line.lstrip().startswith("#"))
        if not words:
            continue
        if words[0].startswith("data_"):
            rows = found.setdefault(words[0][len("data_") :], [])
            columns, loop = [], False
        elif words[0] == "loop_":
            loop = True
        elif words[0].startswith("_") and loop:
            columns.append(words[0])
        elif words[0].startswith("_"):
            if not rows:
                rows.append({})
            rows[0][words[0]] = words[1] if len(words) > 1 else ""
        elif len(words) >= len(columns):
            rows.append(dict(zip(columns, words)))
    return found


def options(text: str) -> Dict[str, str]:
    """The options of a job.star."""
    return {row[_NAME]: row[_VALUE] for row in tables(text).get(_OPTIONS, [])}


def set_options(text: str, values: Mapping[str, str]) -> str:
    """A job.star with these options, and everything else as it was."""
    lines: List[str] = []
    left = dict(values)
    inside = False
    last = 0
    for line in text.splitlines():
        words = shlex.split(line, comments=line.lstrip().startswith("#"))
        if words and words[0].startswith("data_"):
            inside = words[0] == f"data_{_OPTIONS}"
        elif inside and words and not words[0].startswith("_") and words[0] != "loop_":
            if words[0] in left:
                line = f"{words[0]} {_quoted(left.pop(words[0]))}"
            last = len(lines) + 1
        lines.append(line)
    lines[last:last] = [f"{name} {_quoted(value)}" for name, value in left.items()]
    return "\n".join(lines) + "\n"


def _quoted(value: str) -> str:
    return value if value and not any(letter.isspace() for letter in value) else f'"{value}"'


def read(path: Path) -> Dict[str, Table]:
    """The tables of a file."""
    return tables(path.read_text(encoding="utf-8"))
