"""The hooks' world in memory, and the head node's programs on the path for the contract between the two."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import boto3
import pytest

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), str(_HERE.parents[1] / "constructs" / "cdk_cryoem" / "head_node" / "lib")]

from fakes import LANES, Aws  # noqa: E402

from cdk_cryoem_lambda import converge, records  # noqa: E402


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
        "QUIET_MINUTES": "60",
        "SENTINEL": "DONE",
        "RECIPE": "",
        "STOP_HEAD_NODE_AFTER_MINUTES": "0",
        "QUEUE_URL": "queue",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "client", fake.client)
    monkeypatch.setattr(converge, "time", fake.clock)
    monkeypatch.setattr(records, "time", fake.clock)
    converge.world.cache_clear()
    return fake
