"""The drill of docs/data-protection.md, as it stands there: what differs is told. `aws` is a double that reads a folder."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

AWS = """#!/bin/sh
[ "$1 $2 $4" = "s3 cp -" ] || { echo "unexpected: $*" >&2; exit 2; }
exec cat "$BUCKETS/${3#s3://}"
"""
NAMES = ["a.mrc", "Images-Disc1/b c.mrc", "zeile\numbruch.tif", " first.mrc", "back\\slash.mrc"]


def script(root: Path) -> str:
    page = (root / "docs" / "data-protection.md").read_text()
    (drill,) = [block for block in re.findall(r"```sh\n(.*?)```", page, re.S) if "shuf -z" in block]
    return drill


def put(folder: Path, *, sha256: bool = True) -> Path:
    """The second bucket, with dataset 2026-03-17-krios and the manifest that came along."""
    datasets = folder / "SECOND_BUCKET" / "datasets"
    lines = []
    for name in NAMES:
        path = datasets / "2026-03-17-krios" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * 3)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        lines.append(json.dumps({"path": name, "sha256": digest if sha256 else None}))
    text = "".join(f"{line}\n" for line in lines)
    (datasets / "2026-03-17-krios.manifest.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    return datasets / "2026-03-17-krios"


def drill(root: Path, folder: Path) -> str:
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    (programs / "aws").write_text(AWS)
    (programs / "aws").chmod(0o755)
    env = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "BUCKETS": str(folder)}
    ran = subprocess.run(["bash", "-c", script(root)], env=env, capture_output=True, text=True, check=False, timeout=60)
    assert ran.stderr == ""
    return ran.stdout


def test_what_is_as_the_manifest_says_is_the_same(root: Path, tmp_path: Path) -> None:
    put(tmp_path)
    assert sorted(drill(root, tmp_path).split("same ")[1:]) == sorted(f"{name}\n" for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_flipped_byte_is_told_by_name(root: Path, tmp_path: Path, name: str) -> None:
    path = put(tmp_path) / name
    path.write_bytes(b"x" + path.read_bytes()[1:])
    told = drill(root, tmp_path)
    assert told.count("same ") == len(NAMES) - 1
    assert f"DIFFERENT {name}\n" in told


def test_a_manifest_without_checksums_says_nothing_rather_than_the_same(root: Path, tmp_path: Path) -> None:
    put(tmp_path, sha256=False)
    assert drill(root, tmp_path) == ""
