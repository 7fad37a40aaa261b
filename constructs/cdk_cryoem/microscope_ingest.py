"""DataSync from a microscope's share into the landing bucket: never deletes, always verifies, always reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aws_cdk import Fn, RemovalPolicy
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_datasync as datasync
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_sns as sns
from constructs import Construct

from .ingest_pace import BandwidthWindow, IngestPace
from .ingest_patterns import Software, excluded, filter_value
from .ingest_rules import TaskMode, ingest_problems
from .ingest_schedule import IngestSchedule, by_datasync
from .landing_zone import DATASETS_PREFIX
from .problems import require

REPORTS_PREFIX = "datasync-reports/"


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
    agent_arn: an agent activated before, agent_arns: several of them (8 at most; all must be online for a run); or
        activation_key: a fresh one (valid 30 minutes after the agent shows it).
    task_mode: basic, or enhanced, which wants Enhanced mode agents and is for many millions of files. Another mode
        replaces the task.
    schedule_expression: cron(...) or rate(...), 5 minutes apart or more. Default rate(1 hour). time_zone: of a cron
        expression; default UTC. What DataSync cannot keep itself, EventBridge Scheduler starts (`schedule`).
    bandwidth_limit_mibps: most that it takes of the line. Default no limit. bandwidth_windows: hours with another limit
        (`pace`).
    software: epu, tomo5 or serialem, whose pictures for people are then left where they are. Default: they are copied.
    include_patterns: folders, with a * at the end only. Default: all. exclude_patterns: besides names under which
        programs write what is not complete, which are never copied. None may hit a movie, its metadata or a gain
        reference. sentinel: a name that no pattern may hit either.
    key: the landing bucket's key, so that DataSync may write.

    No property changes this: a file that disappears from the share stays in the bucket (PreserveDeletedFiles PRESERVE),
    what was copied is read back and compared by checksum (VerifyMode ONLY_FILES_TRANSFERRED), and each run leaves a report
    of every file it copied, with the object's version, under `datasync-reports/`.
    Costs: 0.0125 USD per GB copied in basic mode, 0.015 USD and 0.55 USD a run in enhanced mode (DataSync pricing,
    us-east-1, 2026; docs/ingest.md), and S3's requests. IAM to deploy: datasync:*, iam:CreateRole, logs:*; with schedule or
    pace scheduler:*, sqs:*, lambda:*; in enhanced mode iam:CreateServiceLinkedRole.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        share: NfsShare | SmbShare,
        landing_bucket: s3.IBucket,
        agent_arn: str | None = None,
        agent_arns: Sequence[str] = (),
        activation_key: str | None = None,
        task_mode: TaskMode = "basic",
        schedule_expression: str = "rate(1 hour)",
        time_zone: str | None = None,
        bandwidth_limit_mibps: int | None = None,
        bandwidth_windows: Sequence[BandwidthWindow] = (),
        software: Software | None = None,
        include_patterns: Sequence[str] = (),
        exclude_patterns: Sequence[str] = (),
        sentinel: str | None = None,
        key: kms.IKey | None = None,
    ) -> None:
        super().__init__(scope, id)
        require(
            f"MicroscopeIngest {id!r}",
            ingest_problems(
                host=share.host,
                path=share.path,
                agent_arn=agent_arn,
                agent_arns=agent_arns,
                activation_key=activation_key,
                task_mode=task_mode,
                schedule_expression=schedule_expression,
                time_zone=time_zone,
                bandwidth_limit_mibps=bandwidth_limit_mibps,
                bandwidth_windows=bandwidth_windows,
                software=software,
                include_patterns=include_patterns,
                exclude_patterns=exclude_patterns,
                sentinel=sentinel,
            ),
        )
        self.agent: datasync.CfnAgent | None = None
        agents = list(agent_arns) if agent_arn is None else [agent_arn]
        if not agents:
            self.agent = datasync.CfnAgent(self, "Agent", activation_key=activation_key)
            agents = [self.agent.attr_agent_arn]

        self.source_location: datasync.CfnLocationNFS | datasync.CfnLocationSMB = (
            self._nfs(share, agents) if isinstance(share, NfsShare) else self._smb(share, agents)
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
        scheduled_here = by_datasync(schedule_expression, time_zone)
        self.task: datasync.CfnTask = datasync.CfnTask(
            self,
            "Resource",
            source_location_arn=self.source_location.attr_location_arn,
            destination_location_arn=self.destination_location.attr_location_arn,
            cloud_watch_log_group_arn=self.log_group.log_group_arn,
            # Basic is what a task is when nothing is said; to say it would replace tasks that are there.
            task_mode="ENHANCED" if task_mode == "enhanced" else None,
            schedule=datasync.CfnTask.TaskScheduleProperty(schedule_expression=schedule_expression)
            if scheduled_here
            else None,
            includes=self._filter(include_patterns),
            excludes=self._filter(excluded(software, exclude_patterns)),
            options=datasync.CfnTask.OptionsProperty(
                verify_mode="ONLY_FILES_TRANSFERRED",
                preserve_deleted_files="PRESERVE",
                overwrite_mode="ALWAYS",
                transfer_mode="CHANGED",
                log_level="TRANSFER",
                # Two microscopes may share an agent, and a start may come while a run is under way: both wait their turn.
                task_queueing="ENABLED",
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
                object_version_ids="INCLUDE",
                # Else each run would list every file that is there already.
                overrides=datasync.CfnTask.OverridesProperty(
                    skipped=datasync.CfnTask.SkippedProperty(report_level="ERRORS_ONLY")
                ),
            ),
        )
        self.schedule: IngestSchedule | None = None
        if not scheduled_here:
            self.schedule = IngestSchedule(
                self,
                "Schedule",
                task_arn=self.task_arn,
                schedule_expression=schedule_expression,
                time_zone=time_zone,
            )
        self.pace: IngestPace | None = None
        if bandwidth_windows:
            self.pace = IngestPace(
                self, "Pace", task_arn=self.task_arn, windows=bandwidth_windows, otherwise_mibps=bandwidth_limit_mibps
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

    def alarm_through(self, topic: sns.ITopic, *, scope: Construct | None = None) -> Sequence[cloudwatch.Alarm]:
        """Tell topic when no run can start, and when the bandwidth cannot be set.

        Makes an alarm for each of `schedule` and `pace` that there is. scope: where, if the topic is of a stack that is
        deployed after this one; default here. Costs: 0.10 USD a month each.
        """
        place, name = (self, "") if scope is None else (scope, self.node.id)
        parts: dict[str, IngestSchedule | IngestPace | None] = {"NotStarted": self.schedule, "Pace": self.pace}
        return [
            part.alarm(topic, scope=place, id=f"{name}{kind}Alarm") for kind, part in parts.items() if part is not None
        ]

    def metric_files_transferred(self) -> cloudwatch.Metric:
        """Files that were copied, as DataSync counts them."""
        return self._metric("FilesTransferred")

    def metric_bytes_transferred(self) -> cloudwatch.Metric:
        """Bytes that went over the network before compression."""
        return self._metric("BytesTransferred")

    def _metric(self, name: str) -> cloudwatch.Metric:
        task_id = Fn.select(1, Fn.split("/", self.task_arn))
        return cloudwatch.Metric(
            namespace="AWS/DataSync", metric_name=name, dimensions_map={"TaskId": task_id}, statistic="Sum"
        )

    def _nfs(self, share: NfsShare, agents: Sequence[str]) -> datasync.CfnLocationNFS:
        return datasync.CfnLocationNFS(
            self,
            "Source",
            server_hostname=share.host,
            subdirectory=share.path,
            on_prem_config={"agentArns": list(agents)},
        )

    def _smb(self, share: SmbShare, agents: Sequence[str]) -> datasync.CfnLocationSMB:
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
            agent_arns=list(agents),
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
        return [datasync.CfnTask.FilterRuleProperty(filter_type="SIMPLE_PATTERN", value=filter_value(patterns))]
