"""The emulator by itself, strict, with the landing zone and the ingest of a system in it, deployed from their templates.

What other stacks need is not deployed: their roles are made from their resolved policies, under the names that the resolved
templates give them, and so is the record table. So every policy that is enforced here is one of the synthesised ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config as BotoConfig
from deployed import Deployed, Json, Template
from iam_simulator import Principal, Simulated

from cdk_cryoem_twin import lifecycle
from cdk_cryoem_twin.environment import ACCOUNT, REGION, Mode, certificate, endpoint
from cdk_cryoem_twin.places import ROOT_VARIABLE, Places
from cdk_cryoem_twin.waiting import wait_for

_STRICT = Mode(strict=True)
# What is deployed of the stacks, with what it refers to.
_DEPLOYED = ("AWS::S3::", "AWS::KMS::", "AWS::IAM::", "AWS::DataSync::", "AWS::Logs::LogGroup")
Make = Callable[[str], Any]


@dataclass(frozen=True)
class Emulator:
    """It runs. make: clients as the account's root, whom nothing stops."""

    places: Places
    make: Make

    def as_role(self, arn: str) -> Make:
        """Clients of a role, under its own policies alone."""
        given = self.make("sts").assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
        session = boto3.Session(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"], REGION)

        def make(service: str) -> Any:
            return session.client(  # type: ignore[call-overload]
                service,
                endpoint_url=endpoint(self.places, _STRICT),
                verify=str(certificate(self.places)),
                config=BotoConfig(proxies={}, retries={"max_attempts": 1}, s3={"addressing_style": "path"}),
            )

        return make


@contextmanager
def emulator(root: Path, patch: Any) -> Iterator[Emulator]:
    """A strict emulator in a folder of its own; gone at the end."""
    places = Places(root)
    patch.setenv(ROOT_VARIABLE, str(places.root))
    with lifecycle.alone(places):
        lifecycle.down(places)
        try:
            # Without what `up` adds: Slurm, the CDK and all five stacks.
            lifecycle._prepare(places, _STRICT)
            lifecycle._start_emulator(places, _STRICT)
            make = lifecycle.clients(places, _STRICT)
            make("ssm").put_parameter(Name="/cdk-bootstrap/hnb659fds/version", Value="30", Type="String")
            yield Emulator(places, make)
        finally:
            lifecycle.down(places)


@dataclass
class System:
    """A system of which storage and ingest are deployed. stacks: the templates by the stacks' real names.

    protected: those of parts whose stacks have termination protection, which the CDK's CLI switches on.
    """

    emulator: Emulator
    stacks: Mapping[str, Template]
    parts: Sequence[str] = ("storage", "ingest")
    protected: Collection[str] = ()

    def deploy(self) -> None:
        """Create the stacks, and the roles of those that are not deployed."""
        for stack in self._parts():
            protected = stack.rpartition("-")[2] in self.protected
            self._cloudformation("create_stack", stack, EnableTerminationProtection=protected)
        for name, role in self.simulated.roles.items():
            if name.partition("/")[0] not in self._parts():
                self.make_role(role)
        self._make_table()
        for stack, logical, _ in self.deployed.of_type("AWS::Events::EventBus"):
            self.emulator.make("events").create_event_bus(Name=self.deployed.name(stack, logical))

    def update(self, stacks: Mapping[str, Template]) -> None:
        """Deploy other templates over them."""
        for stack in self._parts():
            if self._part(stacks[stack]) != self._part(self.stacks[stack]):
                self._cloudformation("update_stack", stack, stacks[stack])
        self.stacks = stacks
        # Of what there was before; who may what stays as it was made.
        self.__dict__.pop("deployed", None)

    def delete(self) -> None:
        """Lift the protection, and delete the stacks. How that ends, with what may not go, does not matter."""
        cloudformation = self.emulator.make("cloudformation")
        for stack in reversed(self._parts()):
            cloudformation.update_termination_protection(StackName=stack, EnableTerminationProtection=False)
            found = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]["StackId"]
            cloudformation.delete_stack(StackName=stack)

            def ended(found: str = found) -> bool:
                status = cloudformation.describe_stacks(StackName=found)["Stacks"][0]["StackStatus"]
                return str(status) in ("DELETE_COMPLETE", "DELETE_FAILED")

            wait_for(ended, f"the deletion of {stack}", seconds=60)

    @cached_property
    def deployed(self) -> Deployed:
        """All templates, resolved with the names that the emulator gave."""
        describe = self.emulator.make("cloudformation").describe_stack_resources
        physical = {
            (stack, found["LogicalResourceId"]): found["PhysicalResourceId"]
            for stack in self._parts()
            for found in describe(StackName=stack)["StackResources"]
        }
        return Deployed(self.stacks, account=ACCOUNT, region=REGION, physical=physical)

    @cached_property
    def simulated(self) -> Simulated:
        """Its roles and what they may."""
        return Simulated(self.deployed)

    @cached_property
    def landing_bucket(self) -> str:
        """Name of the bucket the movies are in."""
        return self.simulated.bucket("LandingZoneLanding").rpartition(":")[2]

    @cached_property
    def tasks(self) -> list[str]:
        """ARNs of the DataSync tasks."""
        return [self.deployed.arn(stack, name) for stack, name, _ in self.deployed.of_type("AWS::DataSync::Task")]

    def environment(self, function: str) -> tuple[dict[str, str], str]:
        """A hook's environment and the ARN of its role. function: the beginning of its logical id."""
        for _, logical, properties in self.deployed.of_type("AWS::Lambda::Function"):
            if logical.startswith(function):
                return properties["Environment"]["Variables"], str(properties["Role"]).removesuffix(".Arn")
        raise KeyError(function)

    def make_role(self, role: Principal) -> None:
        """A role with the policies of a simulated one, which the tests may assume."""
        iam = self.emulator.make("iam")
        path, _, name = role.arn.partition(":role")[2].rpartition("/")
        trust = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}
        iam.create_role(RoleName=name, Path=f"{path}/", AssumeRolePolicyDocument=_document([trust]))
        for number, policy in enumerate(role.policies):
            document = {"Version": "2012-10-17", **policy}
            iam.put_role_policy(RoleName=name, PolicyName=f"p{number}", PolicyDocument=json.dumps(document))

    def _parts(self) -> list[str]:
        return [stack for part in self.parts for stack in self.stacks if stack.endswith(f"-{part}")]

    def _cloudformation(self, verb: str, stack: str, template: Template | None = None, **more: Any) -> None:
        cloudformation = self.emulator.make("cloudformation")
        body = json.dumps(self._part(template or self.stacks[stack]))
        getattr(cloudformation, verb)(StackName=stack, TemplateBody=body, Capabilities=["CAPABILITY_NAMED_IAM"], **more)

        def status() -> str:
            found = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
            if found["StackStatus"].endswith(("FAILED", "ROLLBACK_COMPLETE")):
                raise RuntimeError(f"{stack}: {found['StackStatus']} {found.get('StackStatusReason')}")
            return "" if found["StackStatus"].endswith("IN_PROGRESS") else str(found["StackStatus"])

        wait_for(status, f"{verb} of {stack}", seconds=60)

    @staticmethod
    def _part(template: Template) -> Json:
        """The resources of the types that are deployed, without those that refer to others; outputs likewise."""
        kept = {name: r for name, r in template["Resources"].items() if r["Type"].startswith(_DEPLOYED)}
        given = set(template.get("Parameters", {}))
        while gone := [name for name, r in kept.items() if not _references(r) <= {*kept, *given}]:
            for name in gone:
                del kept[name]
        outputs = {k: v for k, v in template.get("Outputs", {}).items() if _references(v) <= {*kept, *given}}
        return {"Resources": kept, "Outputs": outputs, "Parameters": template.get("Parameters", {})}

    def _make_table(self) -> None:
        dynamodb = self.emulator.make("dynamodb")
        for stack, logical, table in self.deployed.of_type("AWS::DynamoDB::Table"):
            dynamodb.create_table(
                TableName=self.deployed.name(stack, logical),
                KeySchema=table["KeySchema"],
                AttributeDefinitions=table["AttributeDefinitions"],
                BillingMode="PAY_PER_REQUEST",
            )


def _document(statements: Sequence[Json]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def _references(value: Any) -> set[str]:
    """Logical ids that a part of a template names."""
    if isinstance(value, list):
        return {name for each in value for name in _references(each)}
    if not isinstance(value, dict):
        return set()
    found = {name for each in value.values() for name in _references(each)}
    if isinstance(value.get("Ref"), str) and not value["Ref"].startswith("AWS::"):
        found.add(value["Ref"])
    if isinstance(value.get("Fn::GetAtt"), list):
        found.add(value["Fn::GetAtt"][0])
    depends = value.get("DependsOn", [])
    return found | ({depends} if isinstance(depends, str) else {d for d in depends if isinstance(d, str)})
