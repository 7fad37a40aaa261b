"""How a finding of cdk-nag is spelled and acknowledged; what is acknowledged is in acknowledgements.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aws_cdk import Acknowledgment, Stack, Token, Validations
from constructs import Construct, IConstruct

NIST, HIPAA, PCI, SERVERLESS = "NIST.800.53.R5", "HIPAA.Security", "PCI.DSS.321", "Serverless"


@dataclass(frozen=True, slots=True)
class Everywhere:
    """A rule that is answered once for every resource: its name, the packs that have it, and the answer."""

    rule: str
    packs: Sequence[str]
    reason: str


def accept(scope: IConstruct, finding: str, reason: str) -> None:
    """Acknowledge a finding of AwsSolutions on a construct and what is below it."""
    Validations.of(scope).acknowledge(Acknowledgment(id=f"AwsSolutions::{finding}", reason=reason))


def accept_in(packs: Sequence[str], scope: IConstruct, rule: str, reason: str) -> None:
    """Acknowledge what these packs find by one rule on a construct and what is below it."""
    Validations.of(scope).acknowledge(*(Acknowledgment(id=f"{pack}::{pack}-{rule}", reason=reason) for pack in packs))


def spelled(owner: Construct, value: str, reader: Construct) -> str:
    """How findings spell an attribute of owner's in reader's stack: by its resource, or the name it is imported under."""
    stack = Stack.of(owner)
    if stack == Stack.of(reader):
        logical_id, attribute = stack.resolve(value)["Fn::GetAtt"]
        return f"<{logical_id}.{attribute}>"
    name = stack.resolve(stack.export_value(value))["Fn::ImportValue"]
    assert isinstance(name, str)
    return name


def arn_of(stack: Stack, service: str) -> str:
    """How findings spell the first parts of an ARN of this account and region."""
    account = "<AWS::AccountId>" if Token.is_unresolved(stack.account) else stack.account
    if Token.is_unresolved(stack.region):
        return f"arn:<AWS::Partition>:{service}:<AWS::Region>:{account}"
    partition = stack.resolve(stack.partition)
    return f"arn:{partition if isinstance(partition, str) else 'aws'}:{service}:{stack.region}:{account}"
