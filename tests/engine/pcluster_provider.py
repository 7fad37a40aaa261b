#!/usr/bin/env python3
"""Put requests of CloudFormation to the custom resource's provider, offline, up to the stack that ParallelCluster would make.

    pcluster_provider.py CHECK [TEMPLATE] < scenarios.json > answers.json

ParallelCluster's package has the library that the provider calls (pcluster.lib), and the helper that answers CloudFormation
(crhelper), but not the function between them: that is in a template which AWS publishes for every region and version. So what
is driven here is `Provider` below, which hands on to the library what the template is documented to hand on, and nothing
else of it. With TEMPLATE, a copy of that template (cluster.yaml), its own function is driven instead.

AWS is moto's, except CloudFormation, which moto has only with packages that this environment lacks: `Stacks` below.

A scenario is a list of steps:
    {"request": {"RequestType": ..., "ResourceProperties": ..., "PhysicalResourceId": ...}}   as CloudFormation sends it
    {"stack": STATUS}         the cluster's stack comes into this state; once complete there is a head node
    {"poll": true}            the provider looks again, as it does every two minutes
Each step's answer: what CloudFormation was told, if anything, and what stacks there are.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import io
import json
import logging
import os
import re
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import pcluster_many

ACCOUNT = "123456789012"
OWN_STACK = "cryoem-cluster"  # the stack that the custom resource is in
BUCKET = "provider-bucket"
Json = dict[str, Any]


class Stacks:
    """CloudFormation, as far as it is asked: stacks that come into a state when somebody says so."""

    def __init__(self, region: str, tags: list[Json]) -> None:
        self.region = region
        self.stacks: dict[str, Json] = {}
        self.create(StackName=OWN_STACK, Tags=tags)

    def create(self, **wanted: Any) -> Json:
        """A new stack."""
        name = wanted["StackName"]
        arn = f"arn:aws:cloudformation:{self.region}:{ACCOUNT}:stack/{name}/0a1b2c3d-1111-2222-3333-444455556666"
        self.stacks[name] = {
            "StackName": name, "StackId": arn, "StackStatus": "CREATE_IN_PROGRESS", "Tags": wanted["Tags"],
            "CreationTime": "2026-11-21T12:00:00Z", "Parameters": _parameters(wanted.get("TemplateURL")),
        }  # fmt: skip
        return {"StackId": arn}

    def answer(self, operation: str, wanted: Json) -> Json | None:
        """The answer to a call, or None for a stack that is not there."""
        name = wanted.get("StackName", "")
        name = name.split("/")[1] if name.startswith("arn:") else name
        if operation == "CreateStack":
            return self.create(**wanted)
        if operation == "DescribeStacks" and not name:
            return {"Stacks": list(self.stacks.values())}
        if name not in self.stacks:
            return None
        if operation == "DescribeStacks":
            return {"Stacks": [self.stacks[name]]}
        if operation == "UpdateStack":
            changed = {"StackStatus": "UPDATE_IN_PROGRESS", "Parameters": _parameters(wanted["TemplateURL"])}
            self.stacks[name] |= changed | {"Tags": wanted["Tags"]}
            return {"StackId": self.stacks[name]["StackId"]}
        if operation == "DeleteStack":
            self.stacks[name]["StackStatus"] = "DELETE_IN_PROGRESS"
            return {}
        if operation in ("DescribeStackEvents", "DescribeStackResources"):
            return {"StackEvents": [], "StackResources": []}
        raise NotImplementedError(f"{operation} of {name}")

    def install(self) -> None:
        """Answer every client's calls from here on."""
        from botocore import handlers

        def keep(params: Json, context: Json, **_: Any) -> None:
            context["asked"] = params

        def answer(model: Any, context: Json, **_: Any) -> Any:
            found = self.answer(model.name, context["asked"])
            if found is not None:
                return types.SimpleNamespace(status_code=200), {**_dates(found), "ResponseMetadata": {}}
            message = f"Stack with id {context['asked'].get('StackName')} does not exist"
            error = {"Code": "ValidationError", "Message": message}
            return types.SimpleNamespace(status_code=400), {"Error": error, "ResponseMetadata": {}}

        handlers.BUILTIN_HANDLERS += [
            ("before-parameter-build.cloudformation", keep),
            ("before-call.cloudformation", answer),
        ]


def _parameters(url: str | None) -> list[Json]:
    """Parameters of a template in S3, which ParallelCluster gives defaults and reads again."""
    import boto3
    import yaml

    if url is None:
        return []
    bucket, key = re.findall(r"https://([^.]+)\.s3[^/]*/(.*)", url)[0]
    body = boto3.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    found = yaml.safe_load(body).get("Parameters", {})
    return [{"ParameterKey": name, "ParameterValue": str(of.get("Default", ""))} for name, of in found.items()]


def _dates(answer: Json) -> Json:
    from datetime import datetime

    found = copy.deepcopy(answer)
    for stack in found.get("Stacks", []):
        stack["CreationTime"] = datetime.fromisoformat(stack["CreationTime"])
    return found


# ---- the function --------------------------------------------------------------------------------------------------


class Provider:
    """What the published function does with a request, in as many words as it takes to test what we send."""

    def __init__(self) -> None:
        from crhelper import CfnResource

        self.helper = CfnResource()
        self.configuration: Json = {}
        for kind in ("create", "update", "delete"):
            getattr(self.helper, kind)(getattr(self, kind))
            getattr(self.helper, f"poll_{kind}")(self.poll)

    def __call__(self, event: Json, context: Any) -> None:
        """Handle a request or look again. What is asked again later must be small, so the configuration is kept aside."""
        self.configuration = event["ResourceProperties"].pop("ClusterConfiguration", None)
        self.helper(event, context)

    def _arguments(self, event: Json) -> Json:
        """Every property but two becomes an argument, whatever it is called; tags of the stack go before ours."""
        import boto3
        from pcluster.utils import to_snake_case

        properties = event["ResourceProperties"]
        found = {
            to_snake_case(name): value
            for name, value in properties.items()
            if name not in ("ServiceToken", "DeletionPolicy")
        }
        ours = self.configuration.get("Tags", [])
        stack = boto3.client("cloudformation").describe_stacks(StackName=event["StackId"])["Stacks"][0]
        theirs = [tag for tag in stack.get("Tags", []) if tag["Key"] not in {our["Key"] for our in ours}]
        mark = {"Key": "parallelcluster:custom_resource", "Value": "cluster"}
        configuration = {**self.configuration, "Tags": [*theirs, *ours, mark]}
        return {**found, "cluster_configuration": configuration, "wait": False}

    def _call(self, function: Callable[..., Json], **arguments: Any) -> Json:
        from pcluster.api.encoder import JSONEncoder
        from pcluster.api.errors import exception_message
        from pcluster.cli.exceptions import APIOperationException, ParameterException

        try:
            return function(**arguments)
        except (APIOperationException, ParameterException, TypeError) as error:
            raise ValueError(str(error)) from error
        except Exception as error:
            text = JSONEncoder().encode(exception_message(error).to_dict())
            if "No changes found" in text:
                return {}
            raise ValueError(text) from error

    def _tell(self, cluster: Json, messages: object = None) -> None:
        def flat(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
            for key, value in node.items() if isinstance(node, dict) else enumerate(node):
                if isinstance(value, dict | list):
                    yield from flat(value, f"{path}{key}.")
                else:
                    yield f"{path}{key}", value

        told = {
            key: value for key, value in cluster.items() if key not in ("clusterConfiguration", "scheduler", "tags")
        }
        self.helper.Data.update(dict(flat(told)))
        if messages is not None:
            text = json.dumps(messages)
            self.helper.Data["validationMessages"] = text if len(text) <= 2048 else f"TRUNCATED:{text[:2048]}"

    def create(self, event: Json, context: object) -> str:
        """Make a cluster."""
        import pcluster.lib

        made = self._call(pcluster.lib.create_cluster, **self._arguments(event))
        self._tell(made["cluster"], made.get("validationMessages", []))
        return str(event["ResourceProperties"]["ClusterName"])

    def update(self, event: Json, context: object) -> str:
        """Change it, unless it has another name now."""
        import pcluster.lib

        name = str(event["ResourceProperties"]["ClusterName"])
        if event["PhysicalResourceId"] != name:
            raise ValueError("Cannot update the ClusterName in the properties.")
        changed = self._call(pcluster.lib.update_cluster, **self._arguments(event))
        if changed:
            self._tell(changed["cluster"], changed.get("validationMessages", []))
        return name

    def delete(self, event: Json, context: object) -> str | None:
        """Delete it; one that is not there is deleted."""
        import pcluster.lib
        from pcluster.api.errors import NotFoundException
        from pcluster.cli.exceptions import ParameterException

        with contextlib.suppress(ParameterException, NotFoundException):
            self._tell(pcluster.lib.delete_cluster(cluster_name=event["ResourceProperties"]["ClusterName"])["cluster"])
        return None

    def poll(self, event: Json, context: object) -> str | None:
        """Look whether it is done."""
        import pcluster.lib
        from pcluster.api.errors import NotFoundException
        from pcluster.cli.exceptions import ParameterException

        name = str(event["ResourceProperties"]["ClusterName"])
        try:
            cluster = pcluster.lib.describe_cluster(cluster_name=name)
        except (ParameterException, NotFoundException):
            if event["RequestType"] == "Delete":
                return name
            raise ValueError(f"{name} failed {event['RequestType'].upper()}") from None
        if cluster["clusterStatus"] in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            self._tell(cluster)
            return name
        if cluster["clusterStatus"].endswith("_FAILED"):
            raise ValueError(f"{name}: {','.join(found['failureCode'] for found in cluster.get('failures', []))}")
        return None


def published(template: str) -> tuple[Callable[[Json, Any], None], Any]:
    """The function in a copy of the published template, and its helper."""
    text = Path(template).read_text()
    (source,) = re.findall(r"(?s)PclusterCfnFunction:\n.*?ZipFile: !Sub \|\n(.*?)\n      Handler:", text)
    lines = [line[10:] for line in source.splitlines()]
    sys.modules["cfnresponse"] = types.ModuleType("cfnresponse")  # Lambda's; used when S3 fails
    space: Json = {"__name__": "index"}
    exec("\n".join(lines).replace("${PclusterCustomResourceBucket}", BUCKET), space)
    return space["handler"], space["helper"]


# ---- scenarios -----------------------------------------------------------------------------------------------------


class Context:
    """Lambda's, as the helper asks it."""

    function_name = "pcluster-cfn"
    invoked_function_arn = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:pcluster-cfn"
    aws_request_id = "request"

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        """As much as there ever is."""
        return 60_000


def run(check: Any, template: str | None, region: str, steps: list[Json]) -> list[Json]:
    """The answers to a scenario, in an account of its own."""
    import boto3
    from botocore import handlers

    os.environ["AWS_DEFAULT_REGION"] = os.environ["AWS_REGION"] = region
    builtin = list(handlers.BUILTIN_HANDLERS)
    answers: list[Json] = []
    with check.mock_aws(config={"iam": {"load_aws_managed_policies": True}}):
        check.AWSApi.reset()
        check.Cache.clear_all()
        pcluster_many.made_buckets.clear()
        configurations = [
            step["request"]["ResourceProperties"].get("ClusterConfiguration")
            for step in steps
            if "request" in step and step["request"]["ResourceProperties"].get("ClusterConfiguration")
        ]
        world = check.World(region, pcluster_many.merged(configurations))
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket=BUCKET)
        stacks = Stacks(region, [{"Key": "cryoem:system", "Value": "em"}, {"Key": "from-the-stack", "Value": "yes"}])
        stacks.install()
        boto3.DEFAULT_SESSION = None
        if template:
            handler, helper = published(template)
        else:
            handler = Provider()
            helper = handler.helper
        sent: list[Json] = []
        helper._send.__func__.__defaults__ = (None, "", lambda url, body: sent.append(body))
        # EventBridge, which calls again every two minutes: the scenario says when.
        helper._setup_polling = lambda: helper._event.update(CrHelperData=helper.Data, CrHelperPoll=True)
        helper._remove_polling = lambda: helper.Data.pop("PhysicalResourceId", None)
        helper._wait_for_cwlogs = lambda: None
        event: Json = {}
        for step in steps:
            sent.clear()
            if "request" in step:
                event = check.rebuild(
                    step["request"], lambda _, value: world.made.get(value, value) if isinstance(value, str) else value
                )
                event |= {
                    "ResponseURL": "https://example.org", "StackId": stacks.stacks[OWN_STACK]["StackId"],
                    "RequestId": "1", "LogicalResourceId": "Cluster", "ResourceType": "Custom::PclusterCluster",
                }  # fmt: skip
                handler(event, Context())
            elif "poll" in step:
                event = helper._event
                handler(event, Context())
            else:
                _settle(stacks, step["stack"], world, region)
            answers.append(
                {
                    "sent": json.loads(json.dumps(sent[-1], default=str)) if sent else None,
                    "bytes": len(json.dumps(sent[-1], default=str)) if sent else 0,
                    "waits": bool(helper._event.get("CrHelperPoll")) and not sent,
                    "stacks": {
                        name: {
                            "status": stack["StackStatus"],
                            "tags": {tag["Key"]: tag["Value"] for tag in stack.get("Tags", [])},
                        }
                        for name, stack in stacks.stacks.items()
                        if name != OWN_STACK
                    },
                    "event_bytes": len(json.dumps(helper._event, default=str)),
                }
            )
    handlers.BUILTIN_HANDLERS[:] = builtin
    return answers


def _settle(stacks: Stacks, status: str, world: Any, region: str) -> None:
    """The cluster's stack comes into a state; a complete one has a head node, a deleted one is gone."""
    names = [name for name in stacks.stacks if name != OWN_STACK]
    for name in names:
        if status == "DELETE_COMPLETE":
            del stacks.stacks[name]
            continue
        stacks.stacks[name]["StackStatus"] = status
        if status == "CREATE_COMPLETE":
            tags = {"parallelcluster:cluster-name": name, "parallelcluster:node-type": "HeadNode"}
            world.ec2.run_instances(
                ImageId=world.ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"],
                InstanceType="m7i.xlarge", MinCount=1, MaxCount=1, SubnetId=world.subnets[0],
                TagSpecifications=[
                    {"ResourceType": "instance", "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}
                ],
            )  # fmt: skip


def main() -> None:
    """Answer for every scenario on standard input."""
    check = pcluster_many.load_check(str(Path(sys.argv[1]).resolve()))
    template = sys.argv[2] if len(sys.argv) > 2 else None
    code = (
        Path(str(__import__("pcluster").__file__)).parent / "resources" / "custom_resources" / "custom_resources_code"
    )
    sys.path.insert(0, str(code))
    logging.disable(logging.CRITICAL)
    asyncio.set_event_loop(asyncio.new_event_loop())
    check.patch()
    pcluster_many.keep_what_is_made_anew()
    # moto answers 403, and not 404, to a HEAD of an object that is not there.
    check.S3Bucket.check_bucket_is_bootstrapped = lambda self: True
    given = json.load(sys.stdin)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        answers = {name: run(check, template, given["region"], steps) for name, steps in given["scenarios"].items()}
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
