"""The model can see: without each of the things that make the hooks right, some schedule goes wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from faultmodel.mutants import MUTANTS, Mutant

_ROOT = Path(__file__).resolve().parents[2]
_FAULTS = Path(__file__).resolve().parent
_ENOUGH = 1500


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_its_text_is_in_the_source(mutant: Mutant, tmp_path: Path) -> None:
    mutant.make(_ROOT, tmp_path)
    assert (tmp_path / mutant.path).read_text() != (_ROOT / mutant.path).read_text()


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_it_is_killed(mutant: Mutant, tmp_path: Path) -> None:
    mutant.make(_ROOT, tmp_path)
    played = subprocess.run(
        [sys.executable, str(_FAULTS), "--source", str(tmp_path), "--schedules", str(_ENOUGH), "--until-bad"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert played.returncode == 1, f"{mutant.name} survived {_ENOUGH} schedules"
    assert played.stderr == "", "it fails by a violation, not by an error of its own"
    assert ": " in played.stdout
