"""Templates as a deployment would leave them: every intrinsic function resolved, to names and ARNs that stay the same."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
Template = Mapping[str, Any]

# How a resource of a type is named in its ARN, where that is not SERVICE:REGION:ACCOUNT:kind/NAME.
_ARNS = {
    "AWS::S3::Bucket": "arn:aws:s3:::{name}",
    "AWS::IAM::Role": "arn:aws:iam::{account}:role{path}{name}",
    "AWS::IAM::ManagedPolicy": "arn:aws:iam::{account}:policy{path}{name}",
    "AWS::IAM::InstanceProfile": "arn:aws:iam::{account}:instance-profile{path}{name}",
    "AWS::Lambda::Function": "arn:aws:lambda:{region}:{account}:function:{name}",
    "AWS::SQS::Queue": "arn:aws:sqs:{region}:{account}:{name}",
    "AWS::SNS::Topic": "arn:aws:sns:{region}:{account}:{name}",
    "AWS::Logs::LogGroup": "arn:aws:logs:{region}:{account}:log-group:{name}:*",
    "AWS::SecretsManager::Secret": "arn:aws:secretsmanager:{region}:{account}:secret:{name}-AbCdEf",
    "AWS::StepFunctions::StateMachine": "arn:aws:states:{region}:{account}:stateMachine:{name}",
    "AWS::Events::EventBus": "arn:aws:events:{region}:{account}:event-bus/{name}",
    "AWS::DynamoDB::GlobalTable": "arn:aws:dynamodb:{region}:{account}:table/{name}",
    "AWS::FSx::FileSystem": "arn:aws:fsx:{region}:{account}:file-system/{name}",
    "AWS::CloudWatch::Alarm": "arn:aws:cloudwatch:{region}:{account}:alarm:{name}",
}
# Of these, Ref is the ARN.
_REF_IS_ARN = {
    *("AWS::IAM::ManagedPolicy", "AWS::SNS::Topic", "AWS::SecretsManager::Secret", "AWS::StepFunctions::StateMachine"),
    *("AWS::DataSync::Agent", "AWS::DataSync::LocationNFS", "AWS::DataSync::LocationSMB", "AWS::DataSync::LocationS3"),
    "AWS::DataSync::Task",
}
_NAMES = ("BucketName", "RoleName", "ManagedPolicyName", "FunctionName", "TableName", "QueueName", "TopicName", "Name")
_NO_VALUE = object()
_VARIABLE = re.compile(r"\$\{([^}]*)\}")


@dataclass
class Deployed:
    """Stacks that import each other. physical: names that were given already, by (stack, logical id)."""

    templates: Mapping[str, Template]
    account: str = "111122223333"
    region: str = "us-east-1"
    physical: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def of_type(self, *types: str) -> list[tuple[str, str, Json]]:
        """(stack, logical id, resolved properties) of every resource of these types."""
        return [
            (stack, logical, self.properties(stack, logical))
            for stack, template in self.templates.items()
            for logical, resource in template["Resources"].items()
            if resource["Type"] in types
        ]

    def properties(self, stack: str, logical: str) -> Json:
        """A resource's properties, resolved."""
        found: Json = self.value(self._resource(stack, logical).get("Properties", {}), stack)
        return found

    def name(self, stack: str, logical: str) -> str:
        """A resource's physical name."""
        given = self.physical.get((stack, logical))
        if given is not None:
            return given
        properties = self._resource(stack, logical).get("Properties", {})
        for prop in _NAMES:
            named = properties.get(prop)
            if named is not None:
                return str(self.value(named, stack))
        made = f"{stack}-{logical}"
        return made.lower() if self._resource(stack, logical)["Type"] == "AWS::S3::Bucket" else made

    def arn(self, stack: str, logical: str) -> str:
        """A resource's ARN."""
        resource = self._resource(stack, logical)
        if self.name(stack, logical).startswith("arn:"):
            return self.name(stack, logical)
        _, service, kind = (resource["Type"].split("::") + ["", ""])[:3]
        pattern = _ARNS.get(
            resource["Type"], f"arn:aws:{service.lower()}:{{region}}:{{account}}:{kind.lower()}/{{name}}"
        )
        path = self.value(resource.get("Properties", {}).get("Path", "/"), stack)
        return pattern.format(account=self.account, region=self.region, path=path, name=self.name(stack, logical))

    def value(self, value: Any, stack: str) -> Any:
        """A value of a template, resolved. Errors: ValueError for a function that is not known here."""
        if isinstance(value, list):
            return [v for v in (self.value(each, stack) for each in value) if v is not _NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((function, argument),) = value.items()
            if function == "Ref":
                return self._ref(argument, stack)
            if function.startswith("Fn::"):
                return self._function(function.removeprefix("Fn::"), argument, stack)
        resolved = ((key, self.value(inner, stack)) for key, inner in value.items())
        return {key: inner for key, inner in resolved if inner is not _NO_VALUE}

    def _resource(self, stack: str, logical: str) -> Json:
        found: Json = self.templates[stack]["Resources"][logical]
        return found

    def _ref(self, name: str, stack: str) -> Any:
        pseudo = {
            "AWS::AccountId": self.account,
            "AWS::Region": self.region,
            "AWS::Partition": "aws",
            "AWS::URLSuffix": "amazonaws.com",
            "AWS::StackName": stack,
            "AWS::StackId": f"arn:aws:cloudformation:{self.region}:{self.account}:stack/{stack}/1",
            "AWS::NoValue": _NO_VALUE,
        }
        if name in pseudo:
            return pseudo[name]
        if name in self.templates[stack].get("Parameters", {}):
            return self.templates[stack]["Parameters"][name].get("Default", f"parameter-{name}")
        ref_is_arn = self._resource(stack, name)["Type"] in _REF_IS_ARN
        return self.arn(stack, name) if ref_is_arn else self.name(stack, name)

    def _attribute(self, argument: Any, stack: str) -> str:
        logical, attribute = argument.split(".", 1) if isinstance(argument, str) else argument
        # TaskArn, BusArn, TopicArn and their like, but not a stream's or a version's.
        if attribute == "Arn" or attribute in ("TaskArn", "LocationArn", "AgentArn", "TopicArn", "ResourceARN"):
            return self.arn(stack, logical)
        return f"{self.name(stack, logical)}.{attribute}"

    def _function(self, function: str, argument: Any, stack: str) -> Any:
        if function == "GetAtt":
            return self._attribute(argument, stack)
        if function == "Sub":
            return self._sub(argument, stack)
        if function == "GetStackOutput":
            return self._output(argument["StackName"], argument["OutputName"])
        if function == "If":
            condition, then, otherwise = argument
            return self.value(then if self._condition(condition, stack) else otherwise, stack)
        resolved = self.value(argument, stack)
        simple: dict[str, Callable[[Any], Any]] = {
            "Join": lambda a: a[0].join(str(part) for part in a[1]),
            "Split": lambda a: a[1].split(a[0]),
            "Select": lambda a: a[1][int(a[0])],
            "ImportValue": self._import,
            "GetAZs": lambda a: [f"{self.region}{letter}" for letter in "abc"],
            "Base64": lambda a: base64.b64encode(a.encode()).decode(),
        }
        if function not in simple:
            raise ValueError(f"Fn::{function} is not known here")
        return simple[function](resolved)

    def _sub(self, argument: Any, stack: str) -> str:
        text, given = (argument, {}) if isinstance(argument, str) else argument

        def put_in(match: re.Match[str]) -> str:
            name = match[1]
            if name.startswith("!"):
                return f"${{{name[1:]}}}"
            if name in given:
                return str(self.value(given[name], stack))
            return str(self._attribute(name, stack) if "." in name else self._ref(name, stack))

        return _VARIABLE.sub(put_in, text)

    def _import(self, export: str) -> Any:
        for stack, template in self.templates.items():
            for output in template.get("Outputs", {}).values():
                if self.value(output.get("Export", {}).get("Name"), stack) == export:
                    return self.value(output["Value"], stack)
        raise ValueError(f"no stack exports {export}")

    def _output(self, stack: str, output: str) -> Any:
        return self.value(self.templates[stack]["Outputs"][output]["Value"], stack)

    def _condition(self, name: str, stack: str) -> bool:
        return self._holds(self.templates[stack]["Conditions"][name], stack)

    def _holds(self, condition: Json, stack: str) -> bool:
        ((function, argument),) = condition.items()
        if function == "Fn::Equals":
            left, right = self.value(argument, stack)
            return bool(left == right)
        if function == "Condition":
            return self._condition(argument, stack)
        parts: Sequence[bool] = [self._holds(part, stack) for part in argument]
        if function in ("Fn::And", "Fn::Or", "Fn::Not"):
            return {"Fn::And": all(parts), "Fn::Or": any(parts), "Fn::Not": not parts[0]}[function]
        raise ValueError(f"{function} is not known here")
