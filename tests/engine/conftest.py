"""ParallelCluster's own code, in the environment that it needs for itself."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from cdk_cryoem_stacks import parallel_cluster_check
from cdk_cryoem_stacks.parallel_cluster_check import Judge, prepare

_MANY = Path(__file__).with_name("pcluster_many.py")
_CHECK = Path(str(parallel_cluster_check.__file__)).with_name("check.py")
JudgeMany = Callable[..., dict[str, dict[str, Any]]]


@pytest.fixture(scope="session")
def judge() -> Judge:
    """ParallelCluster, made ready once; `judge.judge({name: configuration})` takes many in one process."""
    return prepare()


@pytest.fixture(scope="session")
def judge_many(judge: Judge) -> JudgeMany:
    """A function from configurations by name to verdicts: of hundreds, and templates only of those that are named."""

    def many(configurations: Mapping[str, object], *, templates: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
        ran = subprocess.run(
            [str(judge.python), str(_MANY), str(_CHECK)],
            input=json.dumps({"configurations": configurations, "templates": list(templates)}), capture_output=True, text=True, timeout=600, check=False,
            env={key: value for key, value in os.environ.items() if not key.startswith("AWS_")},
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr[-3000:]
        verdicts: dict[str, dict[str, Any]] = json.loads(ran.stdout)
        return verdicts

    return many
