#!/usr/bin/env python3
"""Print which properties of CloudFormation's resource types cannot change in place, as CSV.

Two sources, which do not agree: the registry schemas that cfn-lint ships (createOnlyProperties), and the database of the
CDK's own CLI. `says` names the source: schema (the registry, so the
other as well or not), cdk (the other alone). `maybe` is what the registry calls conditional. A type that has none
stands there once without a property. The result is committed as stacks/cdk_cryoem_stacks/data/resource_updates.csv:

    .venv/bin/python tools/resource_updates.py > stacks/cdk_cryoem_stacks/data/resource_updates.csv
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cfnlint

_DATABASE = Path(__file__).parents[1] / "node_modules" / "aws-cdk" / "db.json.gz"
_SCHEMAS = Path(str(cfnlint.__file__)).parent / "data" / "schemas"
# Kinds of FSx that are not Lustre.
_NOT_OURS = ("WindowsConfiguration", "OntapConfiguration", "OpenZFSConfiguration")
TYPES = (
    "AWS::Budgets::Budget",
    "AWS::Budgets::BudgetsAction",
    "AWS::CloudFormation::Stack",
    "AWS::CloudFormation::WaitConditionHandle",
    "AWS::CloudWatch::Alarm",
    "AWS::CloudWatch::Dashboard",
    "AWS::DataSync::Agent",
    "AWS::DataSync::LocationNFS",
    "AWS::DataSync::LocationS3",
    "AWS::DataSync::LocationSMB",
    "AWS::DataSync::Task",
    "AWS::DynamoDB::GlobalTable",
    "AWS::DynamoDB::Table",
    "AWS::EC2::EIP",
    "AWS::EC2::FlowLog",
    "AWS::EC2::Instance",
    "AWS::EC2::InternetGateway",
    "AWS::EC2::LaunchTemplate",
    "AWS::EC2::NatGateway",
    "AWS::EC2::PlacementGroup",
    "AWS::EC2::Route",
    "AWS::EC2::RouteTable",
    "AWS::EC2::SecurityGroup",
    "AWS::EC2::SecurityGroupEgress",
    "AWS::EC2::SecurityGroupIngress",
    "AWS::EC2::Subnet",
    "AWS::EC2::SubnetRouteTableAssociation",
    "AWS::EC2::VPC",
    "AWS::EC2::VPCEndpoint",
    "AWS::EC2::VPCGatewayAttachment",
    "AWS::EC2::Volume",
    "AWS::EC2::VolumeAttachment",
    "AWS::ElasticLoadBalancingV2::Listener",
    "AWS::ElasticLoadBalancingV2::LoadBalancer",
    "AWS::ElasticLoadBalancingV2::TargetGroup",
    "AWS::Events::EventBus",
    "AWS::Events::Rule",
    "AWS::FSx::DataRepositoryAssociation",
    "AWS::FSx::FileSystem",
    "AWS::IAM::InstanceProfile",
    "AWS::IAM::ManagedPolicy",
    "AWS::IAM::Policy",
    "AWS::IAM::Role",
    "AWS::KMS::Alias",
    "AWS::KMS::Key",
    "AWS::Lambda::EventInvokeConfig",
    "AWS::Lambda::EventSourceMapping",
    "AWS::Lambda::Function",
    "AWS::Lambda::Permission",
    "AWS::Logs::Delivery",
    "AWS::Logs::DeliveryDestination",
    "AWS::Logs::DeliverySource",
    "AWS::Logs::LogGroup",
    "AWS::Logs::MetricFilter",
    "AWS::Logs::ResourcePolicy",
    "AWS::Logs::SubscriptionFilter",
    "AWS::PCS::Cluster",
    "AWS::PCS::ComputeNodeGroup",
    "AWS::PCS::Queue",
    "AWS::S3::AccessPoint",
    "AWS::S3::Bucket",
    "AWS::S3::BucketPolicy",
    "AWS::SNS::Subscription",
    "AWS::SNS::Topic",
    "AWS::SNS::TopicPolicy",
    "AWS::SQS::Queue",
    "AWS::SQS::QueuePolicy",
    "AWS::SSM::Document",
    "AWS::SSM::Parameter",
    "AWS::Scheduler::Schedule",
    "AWS::SecretsManager::Secret",
)
"""Those of our templates, and of what an engine may need besides."""


def rows() -> Iterator[tuple[str, str, str]]:
    """Type, property and source; nested properties with slashes, a list's items as *."""
    index: dict[str, str] = json.loads((_SCHEMAS / "providers" / "us-east-1.json").read_text())
    in_cdk = _in_cdk()
    for kind in TYPES:
        schema: dict[str, Any] = json.loads((_SCHEMAS / "resources" / f"{index[kind]}.json").read_text())
        found = {_short(path): "cdk" for path in in_cdk.get(kind, ())}
        found |= {_short(path): "maybe" for path in schema.get("conditionalCreateOnlyProperties", ())}
        found |= {_short(path): "schema" for path in schema.get("createOnlyProperties", ())}
        kept = [path for path in sorted(found) if not path.startswith(_NOT_OURS)]
        # What is below a property that stands there itself says nothing more.
        kept = [path for path in kept if not any(path.startswith(f"{other}/") for other in kept)]
        yield from [(kind, path, found[path]) for path in kept] or [(kind, "", "")]


def _short(path: str) -> str:
    return path.removeprefix("/properties/")


def _in_cdk() -> dict[str, list[str]]:
    schema = json.loads(gzip.decompress(_DATABASE.read_bytes()))["schema"]
    types = {entity["$id"]: entity for entity in schema["typeDefinition"]["entities"]}

    def walk(properties: dict[str, Any], above: str, seen: frozenset[str]) -> Iterator[str]:
        for name, value in properties.items():
            if value.get("causesReplacement") == "yes":
                yield above + name
            for reference, step in _references(value["type"]):
                if reference not in seen:
                    yield from walk(types[reference]["properties"], f"{above}{name}{step}/", seen | {reference})

    return {
        entity["cloudFormationType"]: list(walk(entity["properties"], "", frozenset()))
        for entity in schema["resource"]["entities"]
        if entity["cloudFormationType"] in TYPES
    }


def _references(kind: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if kind["type"] == "ref":
        yield kind["reference"]["$ref"], ""
    elif kind["type"] in ("array", "map"):
        yield from ((reference, f"/*{step}") for reference, step in _references(kind["element"]))
    elif kind["type"] == "union":
        for inner in kind["types"]:
            yield from _references(inner)


def main() -> None:
    """Write the table to standard output."""
    cli = json.loads((_DATABASE.parent / "package.json").read_text())["version"]
    print(f"# cfn-lint {version('cfn-lint')}, aws-cdk {cli}; made by tools/resource_updates.py")
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["type", "property", "says"])
    table.writerows(rows())


if __name__ == "__main__":
    main()
