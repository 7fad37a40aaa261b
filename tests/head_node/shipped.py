"""What a head node gets, and the `aws` it gets it with."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

# Knows `ssm get-parameter` and `s3 cp`: a file beside it per object, none for an object that cannot be had.
_AWS = """#!/usr/bin/env bash
set -euo pipefail
here=$(dirname "$0")
echo "$*" >>"$here/aws.calls"
case "$1 $2" in
"ssm get-parameter") cat "$here/parameter.json" ;;
"s3 cp") cp "$here/${*: -2:1}" "${*: -1}" || { echo "fatal error: 404" >&2; exit 1; } ;;
*) exit 64 ;;
esac
"""
_SECRET = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:cryosparc-AbCdEf"


class Shipment:
    """S3 and SSM as `aws` on the PATH sees them, and the home that is set up from them."""

    def __init__(self, folder: Path, content: Path) -> None:
        self.home = folder / "home of cryoem"
        self.cloud = folder / "cloud"
        self.content = folder / "content"
        self.cloud.mkdir()
        self.fsx = folder / "fsx"
        self.fsx.mkdir()
        (self.cloud / "aws").write_text(_AWS)
        (self.cloud / "aws").chmod(0o755)
        (self.cloud / "python3").symlink_to(Path(sys.executable).resolve())
        shutil.copytree(content, self.content, ignore=shutil.ignore_patterns("__pycache__"))
        self.values = {
            "scripts": "scripts.zip",
            "recipes": "none",
            "cluster": "cryo",
            "event_bus": "cryo-bus",
            "manifest_parameter": "/cryo/lanes",
            "cryosparc_secret": _SECRET,
        }

    def recipes(self, **texts: str) -> None:
        """Put recipes of these names into S3."""
        self.values["recipes"] = "recipes.zip"
        with zipfile.ZipFile(self.cloud / "recipes.zip", "w") as archive:
            for name, text in texts.items():
                archive.writestr(name, text)

    def pack(self) -> None:
        """Put the content into S3 and the settings into SSM."""
        with zipfile.ZipFile(self.cloud / "scripts.zip", "w") as archive:
            for path in self.content.rglob("*"):
                archive.write(path, path.relative_to(self.content))
        (self.cloud / "parameter.json").write_text(json.dumps(self.values))

    def run(self, script: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a script as ParallelCluster would, but with a Python and a home of ours."""
        environment = {
            "PATH": f"{self.cloud}:/usr/bin:/bin",
            "CRYOEM_HOME": str(self.home),
            "CRYOEM_PYTHON": sys.executable,
            "CRYOEM_FSX": str(self.fsx),
            "AWS_REGION": "eu-central-1",
            "SETUP_PARAMETER": "/cryo/setup",
            **more,
        }
        return subprocess.run(
            ["bash", str(script), *arguments], env=environment, capture_output=True, text=True, timeout=20, check=False
        )

    def bootstrap(self, phase: str = "install", **more: str) -> subprocess.CompletedProcess[str]:
        """Run bootstrap.sh of the content."""
        setup = self.cloud / "setup.json"
        setup.write_text(json.dumps(self.values))
        return self.run(self.content / "bootstrap.sh", phase, str(setup), **more)

    def files(self) -> dict[str, tuple[int, bytes]]:
        """Mode and content of every file of the home."""
        found = {path: path.lstat() for path in sorted(self.home.rglob("*"))}
        return {
            str(path.relative_to(self.home)): (
                stat.st_mode,
                b"" if path.is_dir() else os.readlink(path).encode() if path.is_symlink() else path.read_bytes(),
            )
            for path, stat in found.items()
            if "__pycache__" not in path.parts
        }

    @property
    def calls(self) -> list[str]:
        """What `aws` was asked."""
        path = self.cloud / "aws.calls"
        return path.read_text().splitlines() if path.exists() else []
