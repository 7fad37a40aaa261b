"""The head node as Lambda sees it: running or not, and a few commands that each print one JSON document."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ssm import SSMClient

# Of a command invocation (SSM API reference, GetCommandInvocation).
_UNDER_WAY = ("Pending", "InProgress", "Delayed", "Cancelling")

# The first for a moment after a command was sent.
_ASK_AGAIN = ("InvocationDoesNotExist", "ThrottlingException")


class CommandFailed(Exception):
    """The head node did not do what it was asked; the hint will be looked at again."""


class HeadNode:
    """One EC2 instance behind Run Command."""

    def __init__(self, instance_id: str, *, ec2: EC2Client, ssm: SSMClient) -> None:
        self.instance_id = instance_id
        self._ec2 = ec2
        self._ssm = ssm

    def look(self) -> tuple[str, float]:
        """Its state (pending, running, stopping, stopped, gone) and when it was last started."""
        try:
            reservations = self._ec2.describe_instances(InstanceIds=[self.instance_id])["Reservations"]
        except ClientError as error:
            if error.response["Error"]["Code"] == "InvalidInstanceID.NotFound":
                return "gone", 0.0
            raise
        for reservation in reservations:
            for instance in reservation["Instances"]:
                return str(instance["State"]["Name"]), instance["LaunchTime"].timestamp()
        return "gone", 0.0

    @property
    def running(self) -> bool:
        """Whether it can be asked anything."""
        return self.look()[0] == "running"

    def start(self) -> None:
        """Start it."""
        self._ec2.start_instances(InstanceIds=[self.instance_id])

    def run(self, document: str, parameters: Mapping[str, str] | None = None, *, seconds: float = 90) -> dict[str, Any]:
        """Run one of its documents and return what it printed. Errors: CommandFailed with its own words."""
        try:
            sent = self._ssm.send_command(
                DocumentName=document,
                InstanceIds=[self.instance_id],
                # A command that waits for longer would act on what was true long ago.
                TimeoutSeconds=60,
                Parameters={name: [value] for name, value in (parameters or {}).items()},
            )
        except ClientError as error:
            # It is running for EC2, but its agent does not answer yet, or not any more.
            if error.response["Error"]["Code"] == "InvalidInstanceId":
                raise CommandFailed(f"{document}: {self.instance_id} takes no commands now") from error
            raise
        answer = self._answer(sent["Command"]["CommandId"], seconds)
        if answer["Status"] != "Success":
            words = str(answer.get("StandardErrorContent", "")).strip()
            raise CommandFailed(f"{document}: {answer['Status']}: {words[-800:]}")
        try:
            printed: dict[str, Any] = json.loads(answer["StandardOutputContent"])
        except ValueError as error:
            raise CommandFailed(f"{document} printed no JSON: {answer['StandardOutputContent'][:200]!r}") from error
        return printed

    def _answer(self, command: str, seconds: float) -> Mapping[str, Any]:
        """What became of a command. The agent needs a moment; a person who waits for a node counts each second."""
        began, pause = time.monotonic(), 0.1
        answer: Mapping[str, Any] = {"Status": "Pending"}
        while time.monotonic() - began < seconds:
            try:
                answer = self._ssm.get_command_invocation(CommandId=command, InstanceId=self.instance_id)
            except ClientError as error:
                if error.response["Error"]["Code"] not in _ASK_AGAIN:
                    raise
            if answer["Status"] not in _UNDER_WAY:
                return answer
            time.sleep(pause)
            pause = min(2.0, pause * 1.5)
        return {**answer, "Status": f"no end after {seconds:.0f} seconds ({answer['Status']})"}
