"""DataSync from a microscope's share into the landing bucket: never deletes, always verifies, always reports."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aws_cdk import RemovalPolicy
from aws_cdk import aws_datasync as datasync
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from .landing_zone import DATASETS_PREFIX
from .problems import Problem, known, require

REPORTS_PREFIX = "datasync-reports/"
_AGENT_ARN = re.compile(r"arn:aws[a-z-]*:datasync:[a-z0-9-]+:\d{12}:agent/agent-[0-9a-f]{17}")
_ACTIVATION_KEY = re.compile(r"[A-Z0-9]{5}(-[A-Z0-9]{5}){4}")
_SUBDIRECTORY = re.compile(r"/[^\x00-\x1f]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class NfsShare:
    """A microscope's share over NFS. host: name or address; path: what it exports."""

    host: str
    path: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SmbShare:
    """A microscope's share over SMB. host, path: the share; user, domain: who reads it; password: a secret's ARN.

    The secret holds the password as plain text; DataSync reads it itself, it is never in the template.
    """

    host: str
    path: str
    user: str
    password: secretsmanager.ISecret
    domain: str | None = None


class MicroscopeIngest(Construct):
    """One microscope's way into the landing bucket: DataSync agent, locations, task, schedule, log group and report.

    share: NfsShare or SmbShare; every folder directly below its path is a dataset.
    landing_bucket: where movies go, to `datasets/<dataset>/...`.
    agent_arn: an agent activated before; or activation_key: a fresh one (valid 30 minutes after the agent shows it).
    schedule_expression: cron(...) or rate(...) of one hour or more. Default rate(1 hour).
    bandwidth_limit_mibps: most that it takes of the line. Default no limit.
    include_patterns, exclude_patterns: DataSync's own patterns, for example /*.tmp. Default: all.
    key: the landing bucket's key, so that DataSync may write.

    A file that disappears from the share stays in the bucket (PreserveDeletedFiles), what was copied is read back and
    compared by checksum (ONLY_FILES_TRANSFERRED), and each run leaves a report under `datasync-reports/`.
    Costs: 0.0125 USD per GB copied (Basic mode). IAM to deploy: datasync:*, iam:CreateRole, logs:*.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        share: NfsShare | SmbShare,
        landing_bucket: s3.IBucket,
        agent_arn: str | None = None,
        activation_key: str | None = None,
        schedule_expression: str = "rate(1 hour)",
        bandwidth_limit_mibps: int | None = None,
        include_patterns: Sequence[str] = (),
        exclude_patterns: Sequence[str] = (),
        key: kms.IKey | None = None,
    ) -> None:
        super().__init__(scope, id)
        require(
            f"MicroscopeIngest {id!r}",
            ingest_problems(
                host=share.host,
                path=share.path,
                agent_arn=agent_arn,
                activation_key=activation_key,
                schedule_expression=schedule_expression,
                bandwidth_limit_mibps=bandwidth_limit_mibps,
            ),
        )
        self.agent: datasync.CfnAgent | None = None
        if agent_arn is None:
            self.agent = datasync.CfnAgent(self, "Agent", activation_key=activation_key)
            agent_arn = self.agent.attr_agent_arn

        self.source_location: datasync.CfnLocationNFS | datasync.CfnLocationSMB = (
            self._nfs(share, agent_arn) if isinstance(share, NfsShare) else self._smb(share, agent_arn)
        )
        self.bucket_access_role: iam.Role = iam.Role(
            self,
            "BucketAccessRole",
            assumed_by=iam.ServicePrincipal("datasync.amazonaws.com"),
            description="DataSync writes movies and its reports to the landing bucket",
        )
        self._grant_bucket_access(landing_bucket, key)
        self.destination_location: datasync.CfnLocationS3 = datasync.CfnLocationS3(
            self,
            "Destination",
            s3_bucket_arn=landing_bucket.bucket_arn,
            subdirectory=f"/{DATASETS_PREFIX}",
            s3_config={"bucketAccessRoleArn": self.bucket_access_role.role_arn},
        )
        self.destination_location.node.add_dependency(self.bucket_access_role)
        self.log_group: logs.LogGroup = logs.LogGroup(
            self, "Log", retention=logs.RetentionDays.ONE_YEAR, removal_policy=RemovalPolicy.RETAIN
        )
        self.log_group.grant_write(iam.ServicePrincipal("datasync.amazonaws.com"))
        self.task: datasync.CfnTask = datasync.CfnTask(
            self,
            "Resource",
            source_location_arn=self.source_location.attr_location_arn,
            destination_location_arn=self.destination_location.attr_location_arn,
            cloud_watch_log_group_arn=self.log_group.log_group_arn,
            schedule=datasync.CfnTask.TaskScheduleProperty(schedule_expression=schedule_expression),
            includes=self._filter(include_patterns),
            excludes=self._filter(exclude_patterns),
            options=datasync.CfnTask.OptionsProperty(
                verify_mode="ONLY_FILES_TRANSFERRED",
                preserve_deleted_files="PRESERVE",
                overwrite_mode="ALWAYS",
                transfer_mode="CHANGED",
                log_level="TRANSFER",
                bytes_per_second=bandwidth_limit_mibps * 1024 * 1024 if bandwidth_limit_mibps is not None else None,
                # A share of a microscope PC has no POSIX owners worth keeping.
                uid="NONE",
                gid="NONE",
                posix_permissions="NONE",
            ),
            task_report_config=datasync.CfnTask.TaskReportConfigProperty(
                destination=datasync.CfnTask.DestinationProperty(
                    s3=datasync.CfnTask.S3Property(
                        s3_bucket_arn=landing_bucket.bucket_arn,
                        subdirectory=REPORTS_PREFIX.rstrip("/"),
                        bucket_access_role_arn=self.bucket_access_role.role_arn,
                    )
                ),
                output_type="STANDARD",
                report_level="SUCCESSES_AND_ERRORS",
            ),
        )

    @property
    def task_arn(self) -> str:
        """The DataSync task."""
        return self.task.attr_task_arn

    def grant_start(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let grantee start a run now and look at its result."""
        return iam.Grant.add_to_principal(
            grantee=grantee,
            actions=["datasync:StartTaskExecution", "datasync:DescribeTaskExecution"],
            resource_arns=[self.task_arn, f"{self.task_arn}/execution/*"],
        )

    def _nfs(self, share: NfsShare, agent_arn: str) -> datasync.CfnLocationNFS:
        return datasync.CfnLocationNFS(
            self,
            "Source",
            server_hostname=share.host,
            subdirectory=share.path,
            on_prem_config={"agentArns": [agent_arn]},
        )

    def _smb(self, share: SmbShare, agent_arn: str) -> datasync.CfnLocationSMB:
        read_secret = iam.Role(
            self,
            "PasswordRole",
            assumed_by=iam.ServicePrincipal("datasync.amazonaws.com"),
            description="DataSync reads the password of the microscope's share",
        )
        share.password.grant_read(read_secret)
        location = datasync.CfnLocationSMB(
            self,
            "Source",
            server_hostname=share.host,
            subdirectory=share.path,
            user=share.user,
            domain=share.domain,
            agent_arns=[agent_arn],
            custom_secret_config={
                "secretArn": share.password.secret_arn,
                "secretAccessRoleArn": read_secret.role_arn,
            },
        )
        location.node.add_dependency(read_secret)
        return location

    def _grant_bucket_access(self, bucket: s3.IBucket, key: kms.IKey | None) -> None:
        # The action list of the DataSync user guide, without DeleteObject, which PRESERVE never needs.
        for actions, resources in (
            (["s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads"], [bucket.bucket_arn]),
            (
                ["s3:AbortMultipartUpload", "s3:GetObject", "s3:GetObjectTagging", "s3:GetObjectVersion"]
                + ["s3:ListMultipartUploadParts", "s3:PutObject", "s3:PutObjectTagging"],
                [bucket.arn_for_objects(f"{prefix}*") for prefix in (DATASETS_PREFIX, REPORTS_PREFIX)],
            ),
        ):
            self.bucket_access_role.add_to_policy(iam.PolicyStatement(actions=actions, resources=resources))
        if key is not None:
            key.grant(self.bucket_access_role, "kms:Decrypt", "kms:GenerateDataKey")

    @staticmethod
    def _filter(patterns: Sequence[str]) -> list[datasync.CfnTask.FilterRuleProperty] | None:
        if not patterns:
            return None
        return [datasync.CfnTask.FilterRuleProperty(filter_type="SIMPLE_PATTERN", value="|".join(patterns))]


def ingest_problems(
    *,
    host: str,
    path: str,
    agent_arn: str | None,
    activation_key: str | None,
    schedule_expression: str,
    bandwidth_limit_mibps: int | None,
) -> Iterator[Problem]:
    """Everything wrong with what a microscope's ingest is to be made of."""
    if known(host) and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.:-]*", host):
        yield Problem(property="host", value=host, allowed="a host name or address, without slashes")
    if known(path) and not _SUBDIRECTORY.fullmatch(path):
        yield Problem(property="path", value=path, allowed="an absolute path with forward slashes, such as /krios")
    if (agent_arn is None) == (activation_key is None):
        yield Problem(
            property="agent_arn",
            value=agent_arn,
            allowed="either agent_arn or activation_key",
            fix="Give exactly one of the two",
        )
    if known(agent_arn) and not _AGENT_ARN.fullmatch(str(agent_arn)):
        yield Problem(
            property="agent_arn", value=agent_arn, allowed="arn:aws:datasync:REGION:ACCOUNT:agent/agent-<17 hex digits>"
        )
    if known(activation_key) and not _ACTIVATION_KEY.fullmatch(str(activation_key)):
        yield Problem(
            property="activation_key",
            value=activation_key,
            allowed="five groups of five characters, as the agent shows it",
        )
    if known(schedule_expression):
        yield from _schedule_problems(schedule_expression)
    if known(bandwidth_limit_mibps) and int(bandwidth_limit_mibps or 0) < 1:
        yield Problem(property="bandwidth_limit_mibps", value=bandwidth_limit_mibps, allowed="1 or more, or nothing")


def _schedule_problems(expression: str) -> Iterator[Problem]:
    rate = re.fullmatch(r"rate\((\d+) (minutes?|hours?|days?)\)", expression)
    too_often = rate is not None and (rate[2].startswith("minute") or int(rate[1]) < 1)
    if too_often or not (rate or re.fullmatch(r"cron\(.+\)", expression)):
        yield Problem(
            property="schedule_expression",
            value=expression,
            allowed="cron(...) or rate(N hours), one hour or more",
            fix="DataSync runs scheduled tasks at most once an hour",
        )
