"""The system that a configuration file names, found by the outputs of its hooks' stack."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config as BotoConfig
from botocore.exceptions import BotoCoreError

from ..prices import PriceTable
from ..prices import load as load_prices
from ..which_file import cdk
from .ask import Failed, ask, find

if TYPE_CHECKING:
    from mypy_boto3_ce import CostExplorerClient
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudformation.type_defs import StackTypeDef
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_fsx import FSxClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_ssm import SSMClient
    from mypy_boto3_sts import STSClient

_BOTO = BotoConfig(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "max_attempts": 4})
S3_CONNECTIONS = 32
"""How many requests to S3 may be under way at once."""
RECORDS_TABLE, SWEEPER, HEAD_NODE = "RecordsTable", "Sweeper", "HeadNode"
LANDING_BUCKET, RESULTS_BUCKET, FILE_SYSTEM = "LandingBucket", "ResultsBucket", "FileSystemId"


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """Which system is meant.

    account: that of the file, None when it names none. stop_after_minutes: when the hooks stop an idle head node, 0 for
    never, None when no file was read. recipe: what starts on landed datasets, empty for nothing or when no file was read.
    has_cryosparc, has_desktop: whether the file says so, None when no file was read. file: where it is. leaves_out: by
    microscope, the patterns of what is not copied from its share; None when no file was read. prices: the package's, or those of
    the file that the configuration names.
    """

    name: str
    region: str
    account: str | None = None
    stop_after_minutes: int | None = None
    recipe: str = ""
    has_cryosparc: bool | None = None
    has_desktop: bool | None = None
    file: Path | None = None
    leaves_out: Mapping[str, tuple[str, ...]] | None = None
    prices: PriceTable = field(default_factory=load_prices, repr=False, compare=False)

    @property
    def stack(self) -> str:
        """The stack of its hooks."""
        return f"{self.name}-hooks"

    @property
    def storage_stack(self) -> str:
        """The stack of its buckets and its file system."""
        return f"{self.name}-storage"

    @property
    def cdk(self) -> str:
        """How tools/cdk is called for it."""
        return cdk(self.file)


@dataclass(frozen=True, kw_only=True, slots=True)
class System:
    """A system that is deployed: its table of records, its sweeper, the instance id of its head node.

    outputs: all outputs of the stack of its hooks, by their keys.
    """

    target: Target
    account: str
    table: str
    sweeper: str
    head_node: str
    outputs: Mapping[str, str] = field(default_factory=dict)

    def output(self, name: str) -> str:
        """An output of the stack of its hooks. Errors: Failed when an earlier version of cdk-cryoem was deployed."""
        if not self.outputs.get(name):
            raise Failed(
                f"the stack {self.target.stack} has no output {name}: an earlier version of cdk-cryoem made it."
                f" {self.target.cdk} deploy {self.target.stack}"
            )
        return self.outputs[name]


@dataclass(frozen=True, kw_only=True, slots=True)
class Storage:
    """Where a system keeps movies and results: names of its buckets, id of its file system."""

    landing_bucket: str
    results_bucket: str
    file_system: str


class Clients:
    """AWS, in one region. Each client is made when it is first needed: botocore reads megabytes for it."""

    def __init__(self, session: boto3.Session, region: str) -> None:
        self._session = session
        self._region = region

    @functools.cached_property
    def sts(self) -> STSClient:
        """Who asks."""
        return self._session.client("sts", region_name=self._region, config=_BOTO)

    @functools.cached_property
    def cloudformation(self) -> CloudFormationClient:
        """The stacks' outputs."""
        return self._session.client("cloudformation", region_name=self._region, config=_BOTO)

    @functools.cached_property
    def dynamodb(self) -> DynamoDBClient:
        """The records."""
        return self._session.client("dynamodb", region_name=self._region, config=_BOTO)

    @functools.cached_property
    def ec2(self) -> EC2Client:
        """Head node and nodes."""
        return self._session.client("ec2", region_name=self._region, config=_BOTO)

    @functools.cached_property
    def functions(self) -> LambdaClient:
        """The sweeper."""
        return self._session.client("lambda", region_name=self._region, config=_BOTO)

    @functools.cached_property
    def ssm(self) -> SSMClient:
        """Whether the head node's agent answers."""
        return self._session.client("ssm", region_name=self._region, config=_BOTO)

    @functools.cached_property
    def s3(self) -> S3Client:
        """The buckets."""
        config = _BOTO.merge(BotoConfig(max_pool_connections=S3_CONNECTIONS))
        return self._session.client("s3", region_name=self._region, config=config)

    @functools.cached_property
    def cost_explorer(self) -> CostExplorerClient:
        """What was billed; it has one endpoint for all regions of a partition."""
        return self._session.client("ce", region_name=self._region, config=_BOTO)

    @functools.cached_property
    def fsx(self) -> FSxClient:
        """The file system."""
        return self._session.client("fsx", region_name=self._region, config=_BOTO)


def session() -> boto3.Session:
    """A session with credentials. Errors: Failed when there are none."""
    try:
        found = boto3.Session()
        if found.get_credentials() is not None:
            return found
    except BotoCoreError as problem:
        raise Failed(f"{problem}. `aws configure list` shows where credentials come from") from problem
    raise Failed("no credentials: give some with AWS_PROFILE, `aws sso login` or AWS_ACCESS_KEY_ID")


def who(clients: Clients) -> str:
    """Whose credentials these are, as the records keep it: user/anna, assumed-role/Operators/anna. Errors: Failed."""
    arn = ask("sts:GetCallerIdentity", clients.sts.get_caller_identity)["Arn"]
    return arn.split(":", 5)[-1]


def system(clients: Clients, target: Target) -> System:
    """The system as it is deployed. Errors: Failed when it is not, or not with this version, or in another account."""
    answer = find(
        "cloudformation:DescribeStacks",
        lambda: clients.cloudformation.describe_stacks(StackName=target.stack),
        unless=("ValidationError",),
    )
    if answer is None:
        account = ask("sts:GetCallerIdentity", clients.sts.get_caller_identity)["Account"]
        meant = f"; the file is for account {target.account}" if target.account not in (None, account) else ""
        raise Failed(
            f"there is no stack {target.stack} in {target.region} of account {account}{meant}. Take the configuration"
            " file it was deployed from and credentials of its account (AWS_PROFILE), or deploy it:"
            f" {target.cdk} deploy --all"
        )
    return described(target, answer["Stacks"][0])


def described(target: Target, stack: StackTypeDef) -> System:
    """The system that a stack's description tells of. Errors: Failed."""
    account = stack["StackId"].split(":")[4]
    if target.account not in (None, account):
        raise Failed(
            f"the credentials are of account {account}, the file is for {target.account}: take others (AWS_PROFILE)"
        )
    outputs = {output.get("OutputKey", ""): output.get("OutputValue", "") for output in stack.get("Outputs", [])}
    missing = [name for name in (RECORDS_TABLE, SWEEPER, HEAD_NODE) if not outputs.get(name)]
    if missing:
        raise Failed(
            f"the stack {target.stack} in {target.region} of account {account} is {stack['StackStatus']} and has no"
            f" output {', '.join(missing)}. An earlier version of cdk-cryoem made it, or its first deployment is not"
            f" over: {target.cdk} deploy {target.stack}"
        )
    return System(
        target=target,
        account=account,
        table=outputs[RECORDS_TABLE],
        sweeper=outputs[SWEEPER],
        head_node=outputs[HEAD_NODE],
        outputs=outputs,
    )


def storage(clients: Clients, target: Target) -> Storage:
    """Buckets and file system of a system, by the outputs of its storage stack. Errors: Failed."""
    answer = find(
        "cloudformation:DescribeStacks",
        lambda: clients.cloudformation.describe_stacks(StackName=target.storage_stack),
        unless=("ValidationError",),
    )
    stacks = answer["Stacks"] if answer else []
    outputs = {
        output.get("OutputKey", ""): output.get("OutputValue", "")
        for stack in stacks
        for output in stack.get("Outputs", [])
    }
    missing = [name for name in (LANDING_BUCKET, RESULTS_BUCKET, FILE_SYSTEM) if not outputs.get(name)]
    if missing:
        raise Failed(
            f"there is no stack {target.storage_stack} in {target.region} with the output {', '.join(missing)}:"
            f" {target.cdk} deploy {target.storage_stack}"
        )
    return Storage(
        landing_bucket=outputs[LANDING_BUCKET],
        results_bucket=outputs[RESULTS_BUCKET],
        file_system=outputs[FILE_SYSTEM],
    )


def hint(clients: Clients, found: System) -> None:
    """Ask the sweeper to look now, not within five minutes. It is not waited for. Errors: Failed."""
    ask(
        "lambda:InvokeFunction",
        lambda: clients.functions.invoke(FunctionName=found.sweeper, InvocationType="Event", Payload=b"{}"),
    )
