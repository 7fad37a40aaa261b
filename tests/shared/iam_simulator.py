"""Who may do what, judged from templates: identity policies, boundaries, bucket and key policies, conditions.

The evaluation itself (matching, conditions, deny before allow, boundaries, what a key policy must allow) is
ministack's, the emulator whose strict mode enforces the same policies in the twin. What it would guess at is refused
here before: a condition operator that it does not know, NotPrincipal, a statement without an action.

The answer is what could happen, not what would: a condition on a key of which a request says nothing here (a prefix, a tag)
lets an Allow through and takes a Deny away. So "denied" holds for every request, whatever else it carries.
What cannot be shown: an organization's service control policies; requests through an access point; and the account's root
user, who may always replace a bucket's policy (Amazon S3 user guide, "Bucket policies").
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any

from deployed import Deployed, Json, Template
from ministack.core import iam_evaluator as engine
from moto.iam.aws_managed_policies import aws_managed_policies_data

ADMINISTRATOR: Json = {"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
_AWS_MANAGED = "arn:aws:iam::aws:policy/"
# Requests here go to the bucket itself; through an access point its own policy must allow, too.
_OF_ACCESS_POINTS = ("s3:dataaccesspointaccount", "s3:dataaccesspointarn", "s3:accesspointnetworkorigin")


class NotUnderstood(ValueError):
    """Something in a policy of which it is not known here what it means."""


@dataclass(frozen=True, kw_only=True)
class Principal:
    """Who asks. arn: of the role, as aws:PrincipalArn has it; service: the name of an AWS service, which has no policies.

    boundary: None for no permissions boundary, or for one that is not known: then nothing is taken away.
    """

    name: str
    arn: str = ""
    policies: Sequence[Json] = ()
    boundary: Json | None = None
    service: str | None = None


@dataclass(frozen=True)
class Request:
    """What is asked. Keys of conditions are in lower case; every request here comes over TLS."""

    action: str
    resource: str
    keys: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Simulated:
    """The roles of a system and what they ask for."""

    deployed: Deployed

    @classmethod
    def of(cls, templates: Mapping[str, Template], **deployed: Any) -> Simulated:
        """From the templates of all stacks, by stack name."""
        return cls(Deployed(templates, **deployed))

    @cached_property
    def roles(self) -> dict[str, Principal]:
        """Every role that the templates make, by STACK/LOGICAL-ID."""
        if self.deployed.of_type("AWS::IAM::User", "AWS::IAM::Group"):
            raise NotUnderstood("users and groups")
        return {
            f"{stack}/{logical}": Principal(
                name=f"{stack}/{logical}",
                arn=self.deployed.arn(stack, logical),
                policies=list(self._policies_of(self.deployed.name(stack, logical), role)),
                boundary=self._document(role["PermissionsBoundary"]) if "PermissionsBoundary" in role else None,
            )
            for stack, logical, role in self.deployed.of_type("AWS::IAM::Role")
        }

    def outsider(self, name: str, *policies: Json, path: str = "/") -> Principal:
        """Somebody of this account who is in no template."""
        return Principal(name=name, arn=f"arn:aws:iam::{self.deployed.account}:role{path}{name}", policies=policies)

    def service(self, name: str) -> Principal:
        """An AWS service that acts by itself; what it may is what resource policies say."""
        return Principal(name=name, service=name)

    def bucket(self, logical: str) -> str:
        """ARN of the one bucket whose logical id begins so."""
        found = [
            self.deployed.arn(stack, name)
            for stack, name, _ in self.deployed.of_type("AWS::S3::Bucket")
            if name.startswith(logical)
        ]
        (arn,) = found
        return arn

    @cached_property
    def resource_policies(self) -> dict[str, Json]:
        """Policies of buckets and keys, by the ARN of what they are of."""
        found = {
            self.deployed.arn(stack, logical): key["KeyPolicy"]
            for stack, logical, key in self.deployed.of_type("AWS::KMS::Key")
        }
        for _, _, policy in self.deployed.of_type("AWS::S3::BucketPolicy"):
            arn = f"arn:aws:s3:::{policy['Bucket']}"
            if arn in found:
                raise NotUnderstood(f"{arn} has two policies")
            found[arn] = policy["PolicyDocument"]
        return found

    def without(self, sid: str) -> Simulated:
        """The same system without a statement of its bucket and key policies. Errors: KeyError when none has it."""
        left = {
            arn: {**policy, "Statement": [s for s in policy["Statement"] if s.get("Sid") != sid]}
            for arn, policy in self.resource_policies.items()
        }
        if left == self.resource_policies:
            raise KeyError(sid)
        weaker = replace(self)
        weaker.__dict__["resource_policies"] = left
        return weaker

    def allows(self, principal: Principal, request: Request) -> bool:
        """Whether some request of this kind would be let through."""
        known: dict[str, str | None] = {
            "aws:securetransport": "true",
            "aws:principalarn": principal.arn,
            "aws:principalaccount": self.deployed.account,
            "aws:resourceaccount": self.deployed.account,
            "s3:resourceaccount": self.deployed.account,
            "kms:calleraccount": self.deployed.account,
            **dict.fromkeys(_OF_ACCESS_POINTS),
            **{key.lower(): value for key, value in request.keys.items()},
        }
        context = engine.EvalContext(
            principal_arn=principal.arn,
            principal_type="AssumedRole",
            principal_account=self.deployed.account,
            action=request.action,
            resource_arn=request.resource,
            region=self.deployed.region,
            secure_transport=True,
            service_context=known,
        )
        own = self._resource_policy(request.resource)
        document = possible(own, known) if own is not None else None
        if principal.service is not None:
            verdict = engine.evaluate_resource_policy(document, context, service=principal.service)
            return bool(verdict.decision == "Allow")
        limits = []
        if principal.boundary is not None:
            limits.append([engine.parse_policy_document(possible(principal.boundary, known))])
        policies = [engine.parse_policy_document(possible(policy, known)) for policy in principal.policies]
        verdict = engine.evaluate(context, policies, *limits)
        if own is not None:
            verdict = engine.combine_resource_policy(
                verdict,
                context,
                document,
                self.deployed.account,
                required=request.resource.split(":")[2] in engine._POLICY_REQUIRED,
                limits=tuple(limits),
            )
        return bool(verdict.decision == "Allow")

    def _resource_policy(self, resource: str) -> Json | None:
        service = resource.split(":")[2] if resource.startswith("arn:") else ""
        if service == "s3":
            return self.resource_policies.get(resource.partition("/")[0])
        return self.resource_policies.get(resource)

    def _policies_of(self, name: str, role: Json) -> Iterator[Json]:
        for inline in role.get("Policies", []):
            yield inline["PolicyDocument"]
        for arn in role.get("ManagedPolicyArns", []):
            document = self._document(arn)
            if document is None:
                raise NotUnderstood(f"what {arn} says")
            yield document
        attached = ("AWS::IAM::Policy", "AWS::IAM::RolePolicy", "AWS::IAM::ManagedPolicy")
        for _, _, policy in self.deployed.of_type(*attached):
            if name in [*policy.get("Roles", []), policy.get("RoleName")]:
                yield policy["PolicyDocument"]

    def _document(self, arn: str) -> Json | None:
        """Of a managed policy: AWS's, or one of these templates; None for one that is somebody else's."""
        if arn.startswith(_AWS_MANAGED):
            return aws_managed(arn.removeprefix(_AWS_MANAGED).rpartition("/")[2])
        for stack, logical, policy in self.deployed.of_type("AWS::IAM::ManagedPolicy"):
            if self.deployed.arn(stack, logical) == arn:
                document: Json = policy["PolicyDocument"]
                return document
        return None


@cache
def _aws_managed_policies() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(aws_managed_policies_data)
    return found


def aws_managed(name: str) -> Json:
    """The document of a policy of AWS's own, as moto ships it. Errors: KeyError for a name that AWS does not have."""
    document: Json = _aws_managed_policies()[name]["Document"]
    return document


def possible(policy: Json, known: Mapping[str, str | None]) -> Json:
    """The policy for a request of which only `known` is known; None for what it does not have. Errors: NotUnderstood."""
    statements = policy["Statement"]
    kept = (_possible(s, known) for s in ([statements] if isinstance(statements, dict) else statements))
    return {**policy, "Statement": [statement for statement in kept if statement is not None]}


def _possible(statement: Json, known: Mapping[str, str | None]) -> Json | None:
    if "NotPrincipal" in statement:
        raise NotUnderstood("NotPrincipal")
    if statement.get("Effect") not in ("Allow", "Deny") or not {"Action", "NotAction"} & set(statement):
        raise NotUnderstood(f"a statement without effect or action: {statement}")
    conditions: Json = {}
    for operator, keys in statement.get("Condition", {}).items():
        _understood(operator)
        for key, values in keys.items():
            if key.lower() in known:
                conditions.setdefault(operator, {})[key] = values
            elif statement["Effect"] == "Deny":
                return None
    return {**statement, "Condition": conditions}


def _understood(operator: str) -> None:
    name = operator.lower().removesuffix("ifexists").removeprefix("forallvalues:").removeprefix("foranyvalue:")
    if name != "null" and name not in engine._CONDITION_OPS:
        raise NotUnderstood(f"the condition operator {operator}")


def allowed(
    simulated: Simulated, principals: Iterable[Principal], requests: Iterable[Request]
) -> list[tuple[str, str, str]]:
    """(principal, action, resource) of everything that is let through."""
    asked = list(requests)
    return [
        (principal.name, request.action, request.resource)
        for principal in principals
        for request in asked
        if simulated.allows(principal, request)
    ]
