"""Who may reach a cluster, in the templates that ParallelCluster's own code makes of what we generate."""

from __future__ import annotations

import copy
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import systems
from cluster_inputs import INPUTS
from strategies import configuration_of

from cdk_cryoem import HeadNode, cluster_configuration, default_lanes
from cdk_cryoem_stacks import parallel_cluster_check
from cdk_cryoem_stacks.parallel_cluster_check import Judge

pytestmark = pytest.mark.engine

SCRIPT = Path(__file__).with_name("pcluster_open_ports.py")
CHECK = Path(str(parallel_cluster_check.__file__)).with_name("check.py")
EVERYBODY = ("0.0.0.0/0", "::/0")
Found = dict[str, dict[str, list[Any]]]


@pytest.fixture(scope="module")
def open_ports(judge: Judge) -> Callable[[dict[str, Any]], Found]:
    def asked(configurations: dict[str, Any]) -> Found:
        ran = subprocess.run(
            [str(judge.python), str(SCRIPT), str(CHECK)],
            input=json.dumps(configurations), capture_output=True, text=True, timeout=600, check=False,
            env={key: value for key, value in os.environ.items() if not key.startswith("AWS_")},
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr[-3000:]
        found: Found = json.loads(ran.stdout)
        return found

    return asked


def test_nobody_reaches_a_cluster_but_itself_and_whom_the_file_names(
    open_ports: Callable[[dict[str, Any]], Found],
) -> None:
    usual: dict[str, Any] = cluster_configuration(lanes=default_lanes(), head_node=HeadNode(), inputs=INPUTS)
    without = copy.deepcopy(usual)
    del without["HeadNode"]["Ssh"]
    found = open_ports({"usual": usual, "everything": configuration_of(systems.everything()), "without": without})
    for name in ("usual", "everything"):
        sources = [source for _, _, source in found[name]["ingress"]]
        assert not set(sources) & set(EVERYBODY), name
        assert found[name]["public"] == [], name
    assert {source for _, _, source in found["usual"]["ingress"]} == {"group", "127.0.0.1/32"}
    desktop = [port for _, port, source in found["everything"]["ingress"] if source == "10.0.0.0/8"]
    assert desktop == [8443]
    ssh = [(port, source) for _, port, source in found["without"]["ingress"] if source in EVERYBODY]
    assert ssh == [(22, "0.0.0.0/0")], "what ParallelCluster does when it is told nothing"
