from __future__ import annotations

import ast
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Wait = Callable[[], subprocess.CompletedProcess[str]]
SQUEUE = "--noheader --jobs 42 --format %T\n"


def test_every_shell_file_passes_shellcheck(head_node: Path) -> None:
    files = sorted(
        path
        for path in [*head_node.rglob("*"), *(head_node.parent / "node").rglob("*")]
        if path.is_file() and path.suffix != ".pyc" and b"bash" in path.read_bytes().partition(b"\n")[0]
    )
    assert {"bootstrap.sh", "trampoline.sh", "wait-for-nodes", "power-down", "prepare-node.sh"} <= {
        path.name for path in files
    }
    program = shutil.which("shellcheck")
    assert program, "no shellcheck on the PATH: apt-get install shellcheck (the Debian package of that name)"
    done = subprocess.run([program, *files], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == ""
    assert done.returncode == 0


def test_every_module_is_python_3_9(head_node: Path) -> None:
    """ParallelCluster's images have a python3 that old (Amazon Linux 2023, RHEL 9)."""
    modules = sorted((head_node / "lib" / "cryoem_head").glob("*.py"))
    assert len(modules) >= 10
    for path in modules:
        tree = ast.parse(path.read_text(), filename=str(path), feature_version=(3, 9))
        future = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
        assert future or path.name == "__init__.py", f"{path.name}: `X | None` in a signature is an error in 3.9"
        keywords = [node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword)]
        assert not {"strict", "slots", "kw_only"} & set(keywords), f"{path.name}: a keyword of Python 3.10"


@pytest.fixture
def wait(home: Path, head_node: Path, fake: Any) -> Wait:
    """wait-for-nodes in this home, called as slurmctld does, for job 42."""
    (home / "bin").mkdir()
    shutil.copy(head_node / "bin" / "wait-for-nodes", home / "bin")
    fake("squeue", "echo CONFIGURING")
    fake("scontrol", "echo NodeName=n1 State=MIXED+CLOUD ThreadsPerCore=1")

    def call() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [home / "bin" / "wait-for-nodes"],
            env={"SLURM_JOB_ID": "42", "SLURM_JOB_NODELIST": "n[1-2]"},
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip

    return call


def test_a_job_whose_nodes_are_up_does_not_wait(wait: Wait, slurm_bin: Path) -> None:
    assert wait().returncode == 0
    assert (slurm_bin / "squeue.calls").read_text() == SQUEUE
    assert (slurm_bin / "scontrol.calls").read_text() == "--oneliner show node n[1-2]\n"


def test_a_job_waits_until_the_last_of_its_nodes_has_booted(wait: Wait, fake: Any, slurm_bin: Path) -> None:
    states = ["POWERED_DOWN", "NOT_RESPONDING+POWERING_UP", "POWERING_UP", "NOT_RESPONDING"]
    lines = "".join(f"MIXED+CLOUD+{state}\n" for state in states) + "MIXED+CLOUD\n"
    (slurm_bin / "states").write_text(lines)
    fake(
        "scontrol",
        'here=$(dirname "$0"); state=$(head -1 "$here/states"); sed -i 1d "$here/states"\n'
        'echo "NodeName=n1 State=MIXED+CLOUD Threads=1"; echo "NodeName=n2 State=$state Threads=1"',
    )
    assert wait().returncode == 0
    assert (slurm_bin / "states").read_text() == ""
    assert (slurm_bin / "scontrol.calls").read_text().count("\n") == 5


@pytest.mark.parametrize("state", ["RUNNING", "CANCELLED", ""])
def test_a_job_that_is_not_configuring_does_not_wait(wait: Wait, fake: Any, slurm_bin: Path, state: str) -> None:
    fake("squeue", f"echo {state}")
    assert wait().returncode == 0
    assert (slurm_bin / "scontrol.calls").read_text() == ""


@pytest.mark.parametrize("broken", ["squeue", "scontrol"])
def test_a_slurm_that_does_not_answer_does_not_hurt_the_job(wait: Wait, fake: Any, broken: str) -> None:
    fake(broken, "exit 1")
    assert wait().returncode == 0


def test_a_home_without_settings_does_not_hurt_the_job(wait: Wait, home: Path) -> None:
    (home / "etc" / "head-node.env").unlink()
    assert wait().returncode == 0
