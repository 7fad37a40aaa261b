"""`python app.py`: a wrong file ends with exit code 2 and its findings; nothing is written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cdk_cryoem_stacks.__main__ import main
from cdk_cryoem_stacks.which_file import CONFIG_VARIABLE


def run(root: Path, folder: Path, config: str | None) -> subprocess.CompletedProcess[str]:
    shutil.copy(root / "app.py", folder)
    environment = {name: value for name, value in os.environ.items() if name != CONFIG_VARIABLE}
    if config is not None:
        environment[CONFIG_VARIABLE] = config
    return subprocess.run(
        [sys.executable, "app.py"], cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )


def test_a_wrong_file_ends_with_its_findings_and_no_traceback(root: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("name: cryoem\nfile_system:\n  capacity_gib: 1024\nregoin: x\n")
    ran = run(root, tmp_path, "bad.yaml")
    assert ran.returncode == 2
    assert ran.stdout == ""
    first, second = ran.stderr.splitlines()
    assert first.startswith("bad.yaml:3: file_system.capacity_gib: got 1024, allowed: 1200, 2400")
    assert second.startswith("bad.yaml:4: regoin: got 'x', allowed: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["app.py", "bad.yaml"]


def test_a_missing_default_file_is_a_finding_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(CONFIG_VARIABLE, raising=False)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("cryoem.yaml:1: cryoem.yaml: got ")
    assert not list(tmp_path.iterdir())


def test_what_no_single_line_is_to_blame_for_has_no_traceback_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lanes = "".join(f"  - {{name: lane-{number}, instance_types: [m6i.8xlarge]}}\n" for number in range(60))
    (tmp_path / "many.yaml").write_text(f"name: cryoem\nlanes:\n{lanes}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(CONFIG_VARIABLE, "many.yaml")
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "8192 bytes of manifest" in capsys.readouterr().err
    assert not (tmp_path / "cdk.out").exists()
