"""Metrics are lines of the log, few of them, and none of a lane without nodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fakes import Aws

from cdk_cryoem_lambda import metrics
from cdk_cryoem_lambda.jobs import Lane
from cdk_cryoem_lambda.nodes import Status
from cdk_cryoem_lambda.reconcile import metrics as sweep
from cdk_cryoem_lambda.reconcile import node_life
from cdk_cryoem_lambda.world import world

NOW = 1_800_000_000.0
LANES = [
    Lane(name=name, gpus=gpus, vcpus=48, memory_mib=1, hold_minutes=0, usd_per_hour=4.0)
    for name, gpus in (("cpu", 0), ("gpu1", 1), ("gpu4", 4))
]
DOCS = Path(__file__).parents[2] / "docs"


def status(**more: Any) -> Status:
    return Status.parse({"now": NOW, "nodes": [], "powered_up": 0, "logins": 0, "recipes": 0, **more})


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_line_is_of_the_embedded_metric_format() -> None:
    assert json.loads(metrics.line({"PaidNodes": 2, "UsedGpus": 3}, cluster="cryo", now=NOW, lane="gpu4")) == {
        "_aws": {
            "Timestamp": 1_800_000_000_000,
            "CloudWatchMetrics": [
                {
                    "Namespace": "CryoEm/cryo",
                    "Dimensions": [["Lane"]],
                    "Metrics": [{"Name": "PaidNodes", "Unit": "Count"}, {"Name": "UsedGpus", "Unit": "Count"}],
                }
            ],
        },
        "Lane": "gpu4",
        "PaidNodes": 2,
        "UsedGpus": 3,
    }
    whole = json.loads(metrics.line({"LongestWait": 7}, cluster="cryo", now=NOW))
    assert whole["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [[]]
    assert "Lane" not in whole


def test_lanes_without_nodes_cost_nothing_and_lanes_without_gpus_use_none() -> None:
    slurm = status(gpus={"gpu4": 3})
    assert metrics.of_lanes({"cpu": 1, "gpu4": 2}, slurm, LANES) == {
        "cpu": {"PaidNodes": 1},
        "gpu4": {"PaidNodes": 2, "UsedGpus": 3},
    }
    assert metrics.of_lanes({"gpu1": 1}, slurm, LANES)["gpu1"] == {"PaidNodes": 1, "UsedGpus": 0}
    assert metrics.of_lanes({"gpu1": 1}, None, LANES) == {"gpu1": {"PaidNodes": 1}}, "Slurm was not asked"
    assert metrics.of_lanes({"": 1}, None, LANES) == {}, "of no lane"


def test_the_cluster_says_who_waits_what_arrives_and_what_was_spent() -> None:
    datasets = [
        {"state": "arriving"},
        {"state": "landed", "landed_at": NOW - 24 * 3600},
        {"state": "landed", "landed_at": NOW - 24 * 3600 - 1},
    ]
    waits = status(waiting_since={"gpu4": NOW - 30, "gpu1": NOW - 700})
    assert metrics.of_cluster(
        status=waits, paid={"gpu1": 1}, datasets=datasets, spend={"usd_micro": 12_345_678}, now=NOW
    ) == {
        "DatasetsArriving": 1,
        "DatasetsLanded": 1,
        "SpendThisMonth": 12.345678,
        "LongestWait": 700,
        "StarvedLanes": 0,
    }
    calm = metrics.of_cluster(status=status(), paid={}, datasets=[], spend={}, now=NOW)
    assert (calm["LongestWait"], calm["StarvedLanes"]) == (0, 0)
    asleep = metrics.of_cluster(status=None, paid={}, datasets=[], spend={}, now=NOW)
    assert set(asleep) == {"DatasetsArriving", "DatasetsLanded"}


@pytest.mark.parametrize(
    ("waits", "paid", "starved"),
    [
        (metrics.STARVED_SECONDS, {}, 1),
        (metrics.STARVED_SECONDS - 1, {}, 0),
        (metrics.STARVED_SECONDS, {"gpu4": 1}, 0),
        (metrics.STARVED_SECONDS, None, None),
    ],
)
def test_a_lane_starves_when_its_jobs_wait_and_it_has_no_node(
    waits: int, paid: dict[str, int] | None, starved: int | None
) -> None:
    slurm = status(waiting_since={"gpu4": NOW - waits})
    found = metrics.of_cluster(status=slurm, paid=paid, datasets=[], spend={}, now=NOW)
    assert found.get("StarvedLanes") == starved


def test_a_sweep_writes_a_line_for_the_cluster_and_each_lane_with_nodes(
    aws: Aws, capsys: pytest.CaptureFixture[str]
) -> None:
    aws.ec2.add("i-1", lane="gpu4")
    aws.ec2.add("i-2", lane="cpu", state="terminated")
    aws.dynamodb.items["spend", "2027-01#month"] = {
        "pk": {"S": "spend"}, "sk": {"S": "2027-01#month"}, "usd_micro": {"N": "5000000"},
    }  # fmt: skip
    sweep.tell(world(), status(gpus={"gpu4": 1}), node_life.instances(world()), now=NOW)
    whole, gpu4 = lines(capsys)
    assert (whole["SpendThisMonth"], whole["DatasetsArriving"]) == (5.0, 0)
    assert (gpu4["Lane"], gpu4["PaidNodes"], gpu4["UsedGpus"]) == ("gpu4", 1, 1)


def test_when_ec2_did_not_answer_lanes_say_nothing(aws: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    sweep.tell(world(), None, None, now=NOW)
    (whole,) = lines(capsys)
    assert "Lane" not in whole


def test_every_metric_is_on_the_dashboards_page() -> None:
    page = (DOCS / "dashboard.md").read_text()
    assert [name for name in metrics._UNITS if f"| `{name}` |" not in page] == []
