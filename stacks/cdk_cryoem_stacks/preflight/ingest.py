"""DataSync agents: whether the microscopes can be reached."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from .arns import is_elsewhere
from .ask import Clients, checked, find
from .check import Check, error, ok, warning
from .places import Site

NAME = "DataSync agent"


def look(clients: Clients, site: Site) -> Iterator[Check]:
    """The agent of every microscope."""
    for number, microscope in enumerate(site.config.microscopes):
        place = f"microscopes[{number}]"
        if microscope.activation_key is not None:
            subject = f"{place}.activation_key"
            yield from checked(NAME, subject, _made(clients, site, subject, microscope.name))
        agents = {f"{place}.agent_arn": microscope.agent_arn} if microscope.agent_arn is not None else {}
        agents |= {f"{place}.agent_arns[{index}]": arn for index, arn in enumerate(microscope.agent_arns)}
        for subject, arn in agents.items():
            if not is_elsewhere(arn, region=site.region, account=site.account):  # that was said offline
                yield from checked(NAME, subject, _asked(clients, subject, arn))


def _made(clients: Clients, site: Site, subject: str, microscope: str) -> Callable[[], Iterator[Check]]:
    """The agent that the deployment makes of an activation key."""

    def agent() -> Iterator[Check]:
        stack = f"{site.config.name}-ingest"
        answer = find(
            "cloudformation:DescribeStackResources",
            lambda: clients.cloudformation.describe_stack_resources(StackName=stack),
            missing=("ValidationError",),
        )
        there = {
            each["LogicalResourceId"]: each.get("PhysicalResourceId", "")
            for each in (answer["StackResources"] if answer else [])
            if each["ResourceType"] == "AWS::DataSync::Agent"
        }
        arn = next((arn for name, arn in there.items() if arn and is_agent_of(name, microscope)), None)
        if arn is None:
            reason = "the deployment makes the agent; its key is good for 30 minutes after the agent shows it"
            fix = "Activate it with `cryoem agent HOST --create` and name its agent_arn, or deploy at once"
            yield warning(NAME, subject, reason, fix)
            return
        found = next(iter(_asked(clients, subject, arn)()))
        # To name the agent's ARN instead would make CloudFormation delete it, and activated it gives no other key.
        kept = f"{found.reason}; it was made of this key, which stays in the file as it is"
        yield Check(name=found.name, subject=found.subject, level=found.level, reason=kept, fix=found.fix)

    return agent


def is_agent_of(logical_id: str, microscope: str) -> bool:
    """Whether a resource of NAME-ingest is the agent of a microscope, by how the CDK makes logical ids of names."""
    plain = re.sub(r"[^A-Za-z0-9]", "", f"Microscope{microscope}Agent")
    return re.fullmatch(rf"{plain}[0-9A-F]{{8}}", logical_id) is not None


def _asked(clients: Clients, subject: str, arn: str) -> Callable[[], Iterator[Check]]:
    def agent() -> Iterator[Check]:
        answer = find(
            "datasync:DescribeAgent",
            lambda: clients.datasync.describe_agent(AgentArn=arn),
            missing=("InvalidRequestException",),
        )
        yield decide(subject, arn, answer.get("Status") if answer else None)

    return agent


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
