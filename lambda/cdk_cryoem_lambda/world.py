"""Everything a hook can see and touch."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import boto3

from .caps import Cap
from .head_node import HeadNode
from .jobs import Lane
from .outbox import Outbox
from .records import Records
from .settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_datasync import DataSyncClient
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_fsx import FSxClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_ssm import SSMClient


@dataclass(frozen=True)
class World:
    """What a hook was told, what is written down, and the clients."""

    settings: Settings
    records: Records
    outbox: Outbox
    head_node: HeadNode
    ec2: EC2Client
    s3: S3Client
    ssm: SSMClient
    sqs: SQSClient
    fsx: FSxClient
    datasync: DataSyncClient

    def manifest(self) -> tuple[str, list[Lane]]:
        """Fingerprint and lanes of the lane manifest."""
        text = self._manifest_text()
        return hashlib.sha256(text.encode()).hexdigest(), [Lane.parse(lane) for lane in json.loads(text)["lanes"]]

    def caps(self) -> list[Cap]:
        """Caps of the lane manifest."""
        return [Cap.parse(entry) for entry in json.loads(self._manifest_text()).get("caps", ())]

    def _manifest_text(self) -> str:
        return self.ssm.get_parameter(Name=self.settings.manifest_parameter)["Parameter"]["Value"]


@functools.cache
def world() -> World:
    """The real one, made once for a warm function."""
    settings = Settings.from_environment()
    dynamodb, ec2, ssm = boto3.client("dynamodb"), boto3.client("ec2"), boto3.client("ssm")
    return World(
        settings=settings,
        records=Records(settings.records_table, cluster=settings.cluster, dynamodb=dynamodb),
        outbox=Outbox(
            settings.records_table,
            cluster=settings.cluster,
            event_bus=settings.event_bus,
            dynamodb=dynamodb,
            events=boto3.client("events"),
        ),
        head_node=HeadNode(settings.head_node, ec2=ec2, ssm=ssm),
        ec2=ec2,
        s3=boto3.client("s3"),
        ssm=ssm,
        sqs=boto3.client("sqs"),
        fsx=boto3.client("fsx"),
        datasync=boto3.client("datasync"),
    )
