"""The head node as Lambda sees it: running or not, and a few commands that each print one JSON document."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError, WaiterError

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ssm import SSMClient


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

    def wake(self) -> bool:
        """Start it if it is stopped; True when it was. Errors: CommandFailed while it stops, which takes a minute."""
        state, _ = self.look()
        if state == "stopping":
            raise CommandFailed(f"{self.instance_id} is stopping; it can be started once it has stopped")
        if state != "stopped":
            return False
        self._ec2.start_instances(InstanceIds=[self.instance_id])
        return True

    def sleep(self) -> None:
        """Stop it."""
        self._ec2.stop_instances(InstanceIds=[self.instance_id])

    def run(self, document: str, parameters: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Run one of its documents and return what it printed. Errors: CommandFailed with its own words."""
        sent = self._ssm.send_command(
            DocumentName=document,
            InstanceIds=[self.instance_id],
            # A command that waits for longer would act on what was true long ago.
            TimeoutSeconds=60,
            Parameters={name: [value] for name, value in (parameters or {}).items()},
        )
        command = sent["Command"]["CommandId"]
        try:
            self._ssm.get_waiter("command_executed").wait(
                CommandId=command, InstanceId=self.instance_id, WaiterConfig={"Delay": 1, "MaxAttempts": 90}
            )
        except WaiterError as error:
            last = error.last_response
            words = str(last.get("StandardErrorContent", "")).strip() or str(error)
            raise CommandFailed(f"{document}: {last.get('Status', 'no answer')}: {words[-800:]}") from error
        answer = self._ssm.get_command_invocation(CommandId=command, InstanceId=self.instance_id)
        try:
            printed: dict[str, Any] = json.loads(answer["StandardOutputContent"])
        except ValueError as error:
            raise CommandFailed(f"{document} printed no JSON: {answer['StandardOutputContent'][:200]!r}") from error
        return printed
