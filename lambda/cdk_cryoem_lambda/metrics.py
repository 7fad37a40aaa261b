"""Metrics for the dashboard, as lines in the log (CloudWatch's embedded metric format): no call, no permission.

Each metric of each lane costs 0.30 USD a month, in proportion to the hours in which it has a value (CloudWatch price list,
us-east-1): a lane without nodes sends none. docs/dashboard.md has the list.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .jobs import Lane
from .meter import MICRO
from .nodes import Status

_DAY_SECONDS = 24 * 3600
# As SystemAlarms says it.
STARVED_SECONDS = 30 * 60
_UNITS = {
    "PaidNodes": "Count",
    "UsedGpus": "Count",
    "SpendThisMonth": "None",
    "LongestWait": "Seconds",
    "StarvedLanes": "Count",
    "DatasetsArriving": "Count",
    "DatasetsLanded": "Count",
}


def line(values: Mapping[str, float], *, cluster: str, now: float, lane: str = "") -> str:
    """One line of the embedded metric format. lane: its dimension; without it, of the whole cluster."""
    metrics = [{"Name": name, "Unit": _UNITS[name]} for name in values]
    about = {
        "Timestamp": int(now * 1000),
        "CloudWatchMetrics": [
            {"Namespace": f"CryoEm/{cluster}", "Dimensions": [["Lane"] if lane else []], "Metrics": metrics}
        ],
    }
    return json.dumps({"_aws": about, **({"Lane": lane} if lane else {}), **values}, separators=(",", ":"))


def of_lanes(paid: Mapping[str, int], status: Status | None, lanes: Iterable[Lane]) -> dict[str, dict[str, float]]:
    """By lane: nodes that are paid for, GPUs that jobs have. Nothing of a lane without nodes.

    status: None when Slurm was not asked; GPUs in use are not known then.
    """
    used = {} if status is None else status.gpus
    found: dict[str, dict[str, float]] = {}
    for lane in lanes:
        if paid.get(lane.name, 0) or used.get(lane.name, 0):
            found[lane.name] = {"PaidNodes": paid.get(lane.name, 0)}
            if lane.gpus and status is not None:
                found[lane.name]["UsedGpus"] = used.get(lane.name, 0)
    return found


def of_cluster(
    *,
    status: Status | None,
    paid: Mapping[str, int] | None,
    datasets: Iterable[Mapping[str, Any]],
    spend: Mapping[str, Any],
    now: float,
) -> dict[str, float]:
    """Of all lanes together. paid: nodes by lane, None when EC2 did not say. spend: the month's total, empty when no job has
    ended in it.
    """
    known = list(datasets)
    values: dict[str, float] = {
        "DatasetsArriving": sum(item.get("state") == "arriving" for item in known),
        "DatasetsLanded": sum(now - float(item.get("landed_at", 0)) <= _DAY_SECONDS for item in known),
    }
    if "usd_micro" in spend:
        values["SpendThisMonth"] = int(spend["usd_micro"]) / MICRO
    if status is not None:
        waits = {lane: status.now - since for lane, since in status.waiting_since.items()}
        values["LongestWait"] = max([0.0, *waits.values()])
        if paid is not None:
            starved = [lane for lane, wait in waits.items() if wait >= STARVED_SECONDS and not paid.get(lane, 0)]
            values["StarvedLanes"] = len(starved)
    return values


def write(lines: Sequence[str]) -> None:
    """Into the function's log, as they are: what `logging` writes there gets fields around it."""
    for each in lines:
        print(each, flush=True)
