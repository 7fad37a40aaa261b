"""The hooks' world in memory, and the head node's programs on the path for the contract between the two."""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
import time
from pathlib import Path

import boto3
import pytest

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), str(_HERE.parents[1] / "constructs" / "cdk_cryoem" / "head_node" / "lib")]

from fakes import LANES, Aws  # noqa: E402

import cdk_cryoem_lambda  # noqa: E402
from cdk_cryoem_lambda.world import world  # noqa: E402

_MODULES = [
    importlib.import_module(found.name)
    for found in pkgutil.walk_packages(cdk_cryoem_lambda.__path__, "cdk_cryoem_lambda.")
]


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Aws:
    """The hooks, their environment and AWS, without lanes on the head node and without datasets."""
    fake = Aws()
    fake.ssm.parameters["/cryo/lanes"] = json.dumps({"version": 1, "cluster": "cryo", "lanes": LANES})
    environment = {
        "RECORDS_TABLE": "records",
        "EVENT_BUS": "bus",
        "CLUSTER": "cryo",
        "HEAD_NODE": "i-head",
        "MANIFEST_PARAMETER": "/cryo/lanes",
        "LANDING_BUCKET": "landing",
        "INGEST_TASKS": "[]",
        "SLURM_STATUS_DOCUMENT": "slurm-status",
        "POWER_DOWN_DOCUMENT": "power-down",
        "REGISTER_LANES_DOCUMENT": "register-lanes",
        "START_PROCESSING_DOCUMENT": "start-processing",
        "STOP_HEAD_NODE_DOCUMENT": "stop-head-node",
        "LIVE_SESSIONS_DOCUMENT": "live-sessions",
        "PAUSE_LIVE_SESSION_DOCUMENT": "pause-live-session",
        "QUIET_MINUTES": "60",
        "SENTINEL": "DONE",
        "RECIPE": "",
        "STOP_HEAD_NODE_AFTER_MINUTES": "0",
        "WAITING": "",
        "AWAKE": "",
        "INSTANCE_TAG": "parallelcluster:cluster-name=cryo",
        "SYSTEM": "",
        "LIVE_IDLE_MINUTES": "60",
        "QUEUES": "[]",
        "QUEUE_URL": "queue",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "client", fake.client)
    for module in _MODULES:
        if getattr(module, "time", None) is time:
            monkeypatch.setattr(module, "time", fake.clock)
    world.cache_clear()
    return fake
