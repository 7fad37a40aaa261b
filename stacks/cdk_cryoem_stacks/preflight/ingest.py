"""DataSync agents: whether the microscopes can be reached."""

from __future__ import annotations

from collections.abc import Iterator

from .arns import is_elsewhere
from .ask import Clients, checked, find
from .check import Check, error, ok, warning
from .places import Site

NAME = "DataSync agent"


def look(clients: Clients, site: Site) -> Iterator[Check]:
    """The agent of every microscope."""
    for number, microscope in enumerate(site.config.microscopes):
        arn = microscope.agent_arn
        if arn is None:
            subject = f"microscopes[{number}].activation_key"
            reason = "the deployment makes the agent; its key is good for 30 minutes after the agent shows it"
            yield warning(NAME, subject, reason, "Activate it by hand and name its agent_arn, or deploy at once")
        elif not is_elsewhere(arn, region=site.region, account=site.account):  # that was said offline

            def agent(arn: str = arn, subject: str = f"microscopes[{number}].agent_arn") -> Iterator[Check]:
                answer = find(
                    "datasync:DescribeAgent",
                    lambda: clients.datasync.describe_agent(AgentArn=arn),
                    missing=("InvalidRequestException",),
                )
                yield decide(subject, arn, answer.get("Status") if answer else None)

            yield from checked(NAME, f"microscopes[{number}].agent_arn", agent)


def decide(subject: str, arn: str, status: str | None) -> Check:
    """The agent's status; None when there is no such agent."""
    agent = arn.rsplit("/", 1)[-1]
    if status is None:
        region = arn.split(":")[3]
        return error(NAME, subject, f"there is no agent {agent}", f"aws datasync list-agents --region {region}")
    if status != "ONLINE":
        reason = f"{agent} is {status}: nothing can be copied from this microscope"
        return error(NAME, subject, reason, "Start the agent's machine, and let it reach AWS by port 443")
    return ok(NAME, subject, f"{agent} is online")
