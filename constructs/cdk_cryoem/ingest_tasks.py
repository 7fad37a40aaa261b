"""The microscopes' DataSync tasks, as the hooks are told of them: in rules, environments and policies, which have their limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aws_cdk import Fn, Token
from aws_cdk import aws_events as events

from .problems import Problem

MOST_TASKS = 40
"""So many ids fit beside the rest into the 4 KB of a function's environment, and their ARNs into the 10,240 characters of a
role's policies (Lambda developer guide, "Lambda quotas"; IAM user guide, "IAM and AWS STS quotas")."""
_TOGETHER = 20
# An event pattern has 2,048 characters at most (EventBridge user guide, "Amazon EventBridge quotas"), a task's ARN some 80.


def task_problems(task_arns: Sequence[str]) -> list[Problem]:
    """Whether there are too many."""
    if len(task_arns) <= MOST_TASKS:
        return []
    return [
        Problem(
            property="ingest_task_arns",
            value=len(task_arns),
            allowed=f"{MOST_TASKS} at most",
            fix="More do not fit into the environment of a hook; let two systems share the microscopes",
        )
    ]


def task_ids(task_arns: Sequence[str]) -> list[str]:
    """The last part of each ARN, also of one that only the deployment knows."""
    return [
        Fn.select(1, Fn.split("/", arn)) if Token.is_unresolved(arn) else arn.rpartition("/")[2] for arn in task_arns
    ]


def transfers_that_ended(task_arns: Sequence[str]) -> Mapping[str, events.EventPattern]:
    """Executions of these tasks that are over, well or not, and tasks that cannot start any: patterns for as many rules as it
    takes, by the rules' ids.

    When its agent is offline, a task may be unavailable instead of starting runs that fail (DataSync user guide, "Monitoring
    events by using Amazon EventBridge"; such events are sent on a best-effort basis).
    """
    groups = [task_arns[start : start + _TOGETHER] for start in range(0, len(task_arns), _TOGETHER)]
    return {
        f"TransferFinished{number or ''}": events.EventPattern(
            source=["aws.datasync"],
            detail_type=["DataSync Task Execution State Change", "DataSync Task State Change"],
            # The first two are states of an execution alone, the third one of a task.
            detail={"State": ["SUCCESS", "ERROR", "UNAVAILABLE"]},
            resources=events.Match.any_of(*(events.Match.prefix(arn) for arn in group)),
        )
        for number, group in enumerate(groups)
    }
