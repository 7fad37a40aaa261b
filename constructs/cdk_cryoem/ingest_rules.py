"""What may be said of a microscope's way into the landing bucket."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Literal

from .ingest_pace import BandwidthWindow, bandwidth_problems
from .ingest_patterns import pattern_problems
from .ingest_schedule import schedule_problems
from .problems import Problem, known

TaskMode = Literal["basic", "enhanced"]
TASK_MODES: tuple[TaskMode, ...] = ("basic", "enhanced")
MOST_AGENTS = 8
"""Of one location (DataSync API reference, OnPremConfig and CreateLocationSmb)."""
_AGENT_ARN = re.compile(r"arn:aws[a-z-]*:datasync:[a-z0-9-]+:\d{12}:agent/agent-[0-9a-f]{17}")
_ACTIVATION_KEY = re.compile(r"[A-Z0-9]{5}(-[A-Z0-9]{5}){4}")
_SUBDIRECTORY = re.compile(r"/[^\x00-\x1f]*")


def ingest_problems(
    *,
    host: str,
    path: str,
    agent_arn: str | None,
    activation_key: str | None,
    schedule_expression: str,
    bandwidth_limit_mibps: int | None,
    agent_arns: Sequence[str] = (),
    task_mode: str = "basic",
    time_zone: str | None = None,
    software: str | None = None,
    include_patterns: Sequence[str] = (),
    exclude_patterns: Sequence[str] = (),
    sentinel: str | None = None,
    bandwidth_windows: Sequence[BandwidthWindow] = (),
) -> Iterator[Problem]:
    """Everything wrong with what a microscope's ingest is to be made of."""
    if known(host) and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.:-]*", host):
        yield Problem(property="host", value=host, allowed="a host name or address, without slashes")
    if known(path) and not _SUBDIRECTORY.fullmatch(path):
        yield Problem(property="path", value=path, allowed="an absolute path with forward slashes, such as /krios")
    yield from _agent_problems(agent_arn, agent_arns, activation_key)
    if known(task_mode) and task_mode not in TASK_MODES:
        yield Problem(property="task_mode", value=task_mode, allowed=", ".join(TASK_MODES))
    yield from schedule_problems(schedule_expression, time_zone)
    yield from pattern_problems(
        software=software,
        include_patterns=include_patterns,
        exclude_patterns=exclude_patterns,
        sentinel=sentinel,
    )
    yield from bandwidth_problems(bandwidth_windows, bandwidth_limit_mibps)


def _agent_problems(agent_arn: str | None, agent_arns: Sequence[str], activation_key: str | None) -> Iterator[Problem]:
    if [agent_arn is not None, bool(agent_arns), activation_key is not None].count(True) != 1:
        yield Problem(
            property="agent_arn",
            value=agent_arn,
            allowed="either agent_arn or activation_key, or agent_arns for several",
            fix="Give exactly one of the three",
        )
    if len(agent_arns) > MOST_AGENTS:
        yield Problem(property="agent_arns", value=f"{len(agent_arns)} agents", allowed=f"1 to {MOST_AGENTS}")
    if len(set(agent_arns)) < len(agent_arns):
        yield Problem(property="agent_arns", value=list(agent_arns), allowed="each agent once")
    for name, arn in (("agent_arn", agent_arn), *(("agent_arns", arn) for arn in agent_arns)):
        if known(arn) and not _AGENT_ARN.fullmatch(str(arn)):
            yield Problem(
                property=name, value=arn, allowed="arn:aws:datasync:REGION:ACCOUNT:agent/agent-<17 hex digits>"
            )
    if known(activation_key) and not _ACTIVATION_KEY.fullmatch(str(activation_key)):
        yield Problem(
            property="activation_key",
            value=activation_key,
            allowed="five groups of five characters, as the agent shows it",
        )
