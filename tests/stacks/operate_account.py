"""A deployed system in moto: the hooks' stack, their table, a head node. The sweeper and Session Manager are stubs."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from moto import mock_aws, settings
from moto.core import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends
from preflight_account import answer

from cdk_cryoem_stacks.cli import main
from cdk_cryoem_stacks.operate import find
from cdk_cryoem_stacks.operate.find import Clients
from cdk_cryoem_stacks.operate.records import plain, typed

REGION, TABLE, SWEEPER = "us-east-1", "cryoem-hooks-Records", "cryoem-hooks-Sweeper"
ACCOUNT = DEFAULT_ACCOUNT_ID
Item = dict[str, Any]


class Deployed:
    """The system. `calls`: names of the functions that were invoked, and how. `pings`: when the agent called, if it did."""

    def __init__(self) -> None:
        self.clients = _clients()
        self.calls: list[tuple[str, str]] = []
        self.on_call: Callable[[], None] = lambda: None
        self.refuse_call = False
        self.pings: float | None = None
        ec2 = self.clients.ec2
        self.vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        self.subnet = ec2.create_subnet(VpcId=self.vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
        # Not asked for: moto describes a thousand of them.
        self.image = ec2_backends[ACCOUNT][REGION].register_image(name="head node").id
        self.head_node = self.instance("m7i.xlarge")
        self.clients.dynamodb.create_table(
            TableName=TABLE,
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[
                {"AttributeName": "pk", "AttributeType": "S"},
                {"AttributeName": "sk", "AttributeType": "S"},
            ],
            BillingMode="PAY_PER_REQUEST",
        )
        self.stack("cryoem-hooks", RecordsTable=TABLE, Sweeper=SWEEPER, HeadNode=self.head_node)
        self.stubs()

    def become(self, key: str, secret: str) -> None:
        """Ask with other credentials from now on."""
        self.clients = Clients(boto3.Session(key, secret), REGION)
        self.stubs()

    def stubs(self) -> None:
        """What stands before moto: it runs no function, and knows no agents."""
        self.clients.functions.meta.events.register_first("before-call.lambda.Invoke", self.invoked, unique_id="invoke")
        answer(self.clients.ssm, "DescribeInstanceInformation", self._agents)

    def instance(self, kind: str, **tags: str) -> str:
        """An instance that runs."""
        made = self.clients.ec2.run_instances(
            ImageId=self.image,
            InstanceType=kind,  # type: ignore[arg-type]
            MinCount=1,
            MaxCount=1,
            SubnetId=self.subnet,
            TagSpecifications=[
                {
                    "ResourceType": "instance",
                    "Tags": [{"Key": "cryoem:system", "Value": "cryoem"}]
                    + [{"Key": key, "Value": value} for key, value in tags.items()],
                }
            ],
        )
        return made["Instances"][0]["InstanceId"]

    def state(self, name: str, code: int) -> None:
        """Let the head node be in a state, which moto would pass in no time."""
        state = ec2_backends[ACCOUNT][REGION].get_instance(self.head_node)._state
        state.name, state.code = name, code

    def stack(self, name: str, **outputs: str) -> None:
        """A stack with outputs, which makes nothing of interest."""
        template = {
            "Resources": {"Queue": {"Type": "AWS::SQS::Queue"}},
            "Outputs": {key: {"Value": value} for key, value in outputs.items()},
        }
        self.clients.cloudformation.create_stack(StackName=name, TemplateBody=json.dumps(template))

    def put(self, pk: str, sk: str, **attributes: Any) -> None:
        """A record as the hooks write it."""
        lists = {name: value for name, value in attributes.items() if isinstance(value, list)}
        item = typed({"pk": pk, "sk": sk, **{k: v for k, v in attributes.items() if k not in lists}})
        item |= {name: {"L": [{"S": each} for each in value]} for name, value in lists.items()}
        self.clients.dynamodb.put_item(TableName=TABLE, Item=item)

    def get(self, pk: str, sk: str) -> Item | None:
        """A record, or None."""
        found = self.clients.dynamodb.get_item(TableName=TABLE, Key=typed({"pk": pk, "sk": sk}), ConsistentRead=True)
        return plain(found["Item"]) if "Item" in found else None

    def items(self) -> list[Item]:
        """Every record."""
        return [plain(item) for item in self.clients.dynamodb.scan(TableName=TABLE)["Items"]]

    def invoked(self, params: Mapping[str, Any], **_: Any) -> tuple[AWSResponse, Mapping[str, Any]]:
        if self.refuse_call:
            error = {"Error": {"Code": "AccessDeniedException", "Message": "no"}, "ResponseMetadata": {}}
            return AWSResponse(params["url"], 403, {}, None), error  # type: ignore[arg-type]
        function = params["url_path"].split("/functions/")[1].partition("/")[0]
        self.calls.append((function, params["headers"]["X-Amz-Invocation-Type"]))
        self.on_call()
        return AWSResponse(params["url"], 202, {}, None), {"StatusCode": 202, "ResponseMetadata": {}}  # type: ignore[arg-type]

    def _agents(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        assert request["Filters"] == [{"Key": "InstanceIds", "Values": [self.head_node]}]
        if self.pings is None:
            return {"InstanceInformationList": []}
        called = {
            "InstanceId": self.head_node,
            "PingStatus": "Online",
            "LastPingDateTime": datetime.fromtimestamp(self.pings, UTC),
        }
        return {"InstanceInformationList": [called]}


@functools.cache
def _clients() -> Clients:
    """Made once: botocore reads megabytes for them. moto takes them over whenever it is on."""
    return Clients(boto3.Session("testing", "testing"), REGION)


@contextmanager
def deployed() -> Iterator[Deployed]:
    """The system, while moto stands for AWS."""
    with mock_aws():
        system = Deployed()
        yield system
    system.clients.functions.meta.events.unregister("before-call.lambda.Invoke", unique_id="invoke")


@contextmanager
def at_hand(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[Deployed]:
    """The system, credentials for it in the environment, and its file in the folder, where the commands run."""
    with deployed() as system:
        for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        monkeypatch.setattr(find, "Clients", lambda session, region: system.clients)
        (folder / "cryoem.yaml").write_text("name: cryoem\nhead_node: {stop_after_minutes: 30}\n")
        monkeypatch.chdir(folder)
        yield system


@contextmanager
def permitted(system: Deployed, allowed: set[str]) -> Iterator[None]:
    """Work as a user who may do these things and nothing else."""
    iam = boto3.client("iam", region_name=REGION, aws_access_key_id="testing", aws_secret_access_key="testing")
    iam.create_user(UserName="somebody")
    key = iam.create_access_key(UserName="somebody")["AccessKey"]
    statement = {"Effect": "Allow", "Action": sorted(allowed), "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName="somebody", PolicyName="allowed", PolicyDocument=policy)
    before, mine = settings.INITIAL_NO_AUTH_ACTION_COUNT, system.clients
    system.become(key["AccessKeyId"], key["SecretAccessKey"])
    settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
    try:
        yield
    finally:
        settings.INITIAL_NO_AUTH_ACTION_COUNT = before
        system.clients = mine
        iam.delete_user_policy(UserName="somebody", PolicyName="allowed")
        iam.delete_access_key(UserName="somebody", AccessKeyId=key["AccessKeyId"])
        iam.delete_user(UserName="somebody")


def run(*arguments: str) -> int:
    """The exit code of the command."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert isinstance(ended.value.code, int)
    return ended.value.code
