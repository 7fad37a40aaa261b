"""DataSync brings movies in: it never deletes, always verifies, always reports."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from aws_cdk import Aws, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk.assertions import Match, Template

from cdk_cryoem import CryoEmError, MicroscopeIngest, NfsShare, Problem, SmbShare
from cdk_cryoem.microscope_ingest import ingest_problems

AGENT = "arn:aws:datasync:us-east-1:111122223333:agent/agent-0123456789abcdef0"
ACTIVATION_KEY = "ABCDE-12345-FGHIJ-67890-KLMNO"
NFS = NfsShare(host="10.0.0.5", path="/krios")
Made = tuple[Stack, MicroscopeIngest, Template]


def problems(
    *,
    host: str = "h",
    path: str = "/p",
    agent_arn: str | None = AGENT,
    activation_key: str | None = None,
    schedule: str = "rate(1 hour)",
    limit: int | None = None,
) -> list[Problem]:
    return list(
        ingest_problems(
            host=host,
            path=path,
            agent_arn=agent_arn,
            activation_key=activation_key,
            schedule_expression=schedule,
            bandwidth_limit_mibps=limit,
        )
    )


@pytest.fixture(scope="module")
def nfs(new_stack: Callable[[str], Stack]) -> Made:
    stack = new_stack("Nfs")
    bucket = s3.Bucket.from_bucket_name(stack, "Landing", "movies")
    ingest = MicroscopeIngest(stack, "Krios", share=NFS, landing_bucket=bucket, agent_arn=AGENT)
    return stack, ingest, Template.from_stack(stack)


@pytest.fixture(scope="module")
def smb(new_stack: Callable[[str], Stack]) -> Made:
    """Everything set."""
    stack = new_stack("Smb")
    arn = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:krios-AbCdEf"
    ingest = MicroscopeIngest(
        stack,
        "Krios",
        share=SmbShare(
            host="epu.lab",
            path="/movies",
            user="reader",
            domain="LAB",
            password=secretsmanager.Secret.from_secret_complete_arn(stack, "Password", arn),
        ),
        landing_bucket=s3.Bucket.from_bucket_name(stack, "Landing", "movies"),
        activation_key=ACTIVATION_KEY,
        schedule_expression="cron(0 3 * * ? *)",
        bandwidth_limit_mibps=100,
        include_patterns=["/a*", "/b*"],
        exclude_patterns=["*.tmp"],
        key=kms.Key.from_key_arn(stack, "Key", "arn:aws:kms:eu-west-1:111122223333:key/own"),
    )
    return stack, ingest, Template.from_stack(stack)


def test_the_task_never_deletes_and_verifies_what_it_copied(nfs: Made) -> None:
    nfs[2].has_resource_properties(
        "AWS::DataSync::Task",
        {
            "Options": {
                "PreserveDeletedFiles": "PRESERVE",
                "VerifyMode": "ONLY_FILES_TRANSFERRED",
                "TransferMode": "CHANGED",
                "LogLevel": "TRANSFER",
                "BytesPerSecond": Match.absent(),
            },
            "Schedule": {"ScheduleExpression": "rate(1 hour)"},
            "Includes": Match.absent(),
            "Excludes": Match.absent(),
        },
    )


def test_every_run_leaves_a_report_of_successes_and_errors(nfs: Made) -> None:
    nfs[2].has_resource_properties(
        "AWS::DataSync::Task",
        {
            "TaskReportConfig": {
                "OutputType": "STANDARD",
                "ReportLevel": "SUCCESSES_AND_ERRORS",
                "Destination": {"S3": {"Subdirectory": "datasync-reports"}},
            }
        },
    )


def test_movies_go_from_the_share_to_the_datasets_prefix(nfs: Made) -> None:
    template = nfs[2]
    template.has_resource_properties(
        "AWS::DataSync::LocationNFS",
        {"ServerHostname": "10.0.0.5", "Subdirectory": "/krios", "OnPremConfig": {"AgentArns": [AGENT]}},
    )
    template.has_resource_properties("AWS::DataSync::LocationS3", {"Subdirectory": "/datasets/"})
    template.resource_count_is("AWS::DataSync::Agent", 0)


def test_datasync_writes_below_two_prefixes_and_deletes_nothing(nfs: Made) -> None:
    (policy,) = nfs[2].find_resources("AWS::IAM::Policy").values()
    listed = policy["Properties"]["PolicyDocument"]["Statement"]
    actions = {action for statement in listed for action in statement["Action"]}
    assert not [action for action in actions if "Delete" in action or "*" in action]
    (objects,) = [statement for statement in listed if "s3:PutObject" in statement["Action"]]
    assert [resource["Fn::Join"][1][-1] for resource in objects["Resource"]] == [
        ":s3:::movies/datasets/*", ":s3:::movies/datasync-reports/*",
    ]  # fmt: skip


def test_the_destination_waits_for_the_rights_to_it(nfs: Made) -> None:
    (location,) = nfs[2].find_resources("AWS::DataSync::LocationS3").values()
    assert set(nfs[2].find_resources("AWS::IAM::Policy")) <= set(location["DependsOn"])


def test_the_log_is_kept_and_datasync_may_write_it(nfs: Made) -> None:
    nfs[2].has_resource("AWS::Logs::LogGroup", {"DeletionPolicy": "Retain", "Properties": {"RetentionInDays": 365}})
    nfs[2].resource_count_is("AWS::Logs::ResourcePolicy", 1)


def test_everything_set_reaches_the_task(smb: Made) -> None:
    smb[2].has_resource_properties(
        "AWS::DataSync::Task",
        {
            "Options": {"BytesPerSecond": 100 * 1024 * 1024},
            "Schedule": {"ScheduleExpression": "cron(0 3 * * ? *)"},
            "Includes": [{"FilterType": "SIMPLE_PATTERN", "Value": "/a*|/b*"}],
            "Excludes": [{"FilterType": "SIMPLE_PATTERN", "Value": "*.tmp"}],
        },
    )


def test_a_fresh_agent_is_activated_by_its_key(smb: Made) -> None:
    stack, ingest, template = smb
    template.has_resource_properties("AWS::DataSync::Agent", {"ActivationKey": ACTIVATION_KEY})
    assert ingest.agent is not None
    template.has_resource_properties(
        "AWS::DataSync::LocationSMB", {"AgentArns": [stack.resolve(ingest.agent.attr_agent_arn)]}
    )


def test_the_password_is_read_by_datasync_and_not_in_the_template(smb: Made) -> None:
    _, _, template = smb
    secret = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:krios-AbCdEf"
    template.has_resource_properties(
        "AWS::DataSync::LocationSMB",
        {
            "User": "reader",
            "Domain": "LAB",
            "Password": Match.absent(),
            "CustomSecretConfig": {"SecretArn": secret, "SecretAccessRoleArn": Match.any_value()},
        },
    )
    assert "resolve:secretsmanager" not in str(template.to_json())


def test_the_share_waits_for_the_right_to_read_its_password(smb: Made) -> None:
    template = smb[2]
    (location,) = template.find_resources("AWS::DataSync::LocationSMB").values()
    readers = [name for name in template.find_resources("AWS::IAM::Policy") if "PasswordRole" in name]
    assert len(readers) == 1
    assert set(readers) <= set(location.get("DependsOn", []))


def test_the_key_may_be_used_for_writing(smb: Made) -> None:
    smb[2].has_resource_properties(
        "AWS::IAM::Policy",
        {
            "PolicyDocument": {
                "Statement": Match.array_with(
                    [
                        {
                            "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
                            "Effect": "Allow",
                            "Resource": "arn:aws:kms:eu-west-1:111122223333:key/own",
                        }
                    ]
                )
            }
        },
    )


def test_two_microscopes_fit_in_one_stack(stack: Stack) -> None:
    bucket = s3.Bucket(stack, "Landing")
    for name in ("A", "B"):
        MicroscopeIngest(stack, name, share=NFS, landing_bucket=bucket, agent_arn=AGENT)
    template = Template.from_stack(stack)
    template.resource_count_is("AWS::DataSync::Task", 2)
    template.all_resources_properties("AWS::DataSync::Task", {"Name": Match.absent()})


def test_a_starter_may_start_this_one_task(stack: Stack) -> None:
    bucket = s3.Bucket.from_bucket_name(stack, "Landing", "movies")
    ingest = MicroscopeIngest(stack, "Krios", share=NFS, landing_bucket=bucket, agent_arn=AGENT)
    ingest.grant_start(iam.Role(stack, "Starter", assumed_by=iam.AccountRootPrincipal()))
    policies = Template.from_stack(stack).find_resources("AWS::IAM::Policy")
    (policy,) = [policy for name, policy in policies.items() if name.startswith("Starter")]
    (statement,) = policy["Properties"]["PolicyDocument"]["Statement"]
    assert statement["Action"] == ["datasync:StartTaskExecution", "datasync:DescribeTaskExecution"]
    task = stack.resolve(ingest.task_arn)
    assert statement["Resource"] == [task, {"Fn::Join": ["", [task, "/execution/*"]]}]


@pytest.mark.parametrize("host", ["10.0.0.5", "epu-pc.lab.example.org", "fd00::5"])
def test_hosts(host: str) -> None:
    assert not problems(host=host)


@pytest.mark.parametrize("host", ["", "//epu", "epu/share", "epu pc", "\\\\epu", "epu;ls"])
def test_what_is_no_host(host: str) -> None:
    assert [problem.property for problem in problems(host=host)] == ["host"]


@pytest.mark.parametrize(("path", "right"), [("/", True), ("/a b/c", True), ("a", False), ("\\a", False), ("", False),
                                             ("/a\nb", False)])  # fmt: skip
def test_paths(path: str, right: bool) -> None:
    assert [problem.property for problem in problems(path=path)] == ([] if right else ["path"])


@pytest.mark.parametrize(("agent", "key"), [(None, None), (AGENT, ACTIVATION_KEY)], ids=["none", "both"])
def test_exactly_one_agent(agent: str | None, key: str | None) -> None:
    (problem,) = problems(agent_arn=agent, activation_key=key)
    assert problem.allowed == "either agent_arn or activation_key"


@pytest.mark.parametrize(
    ("arn", "right"),
    [(AGENT, True), (AGENT.replace("arn:aws:", "arn:aws-cn:"), True), (AGENT + "0", False), (AGENT[:-1], False),
     (AGENT.replace("agent/", "task/"), False), ("agent-0123456789abcdef0", False)],
)  # fmt: skip
def test_agent_arns(arn: str, right: bool) -> None:
    assert [problem.property for problem in problems(agent_arn=arn)] == ([] if right else ["agent_arn"])


@pytest.mark.parametrize(
    ("key", "right"), [(ACTIVATION_KEY, True), (ACTIVATION_KEY.lower(), False), ("ABCDE-12345", False), ("", False)]
)
def test_activation_keys(key: str, right: bool) -> None:
    found = problems(agent_arn=None, activation_key=key)
    assert [problem.property for problem in found] == ([] if right else ["activation_key"])


@pytest.mark.parametrize("schedule", ["rate(1 hour)", "rate(12 hours)", "rate(1 day)", "cron(0 * * * ? *)"])
def test_schedules(schedule: str) -> None:
    assert not problems(schedule=schedule)


@pytest.mark.parametrize("schedule", ["rate(0 hours)", "rate(30 minutes)", "rate(90 minutes)", "hourly", "cron()", ""])
def test_schedules_that_datasync_refuses(schedule: str) -> None:
    assert [problem.property for problem in problems(schedule=schedule)] == ["schedule_expression"]


@pytest.mark.parametrize(("limit", "right"), [(None, True), (1, True), (0, False), (-1, False)])
def test_bandwidth_limits(limit: int | None, right: bool) -> None:
    assert [problem.property for problem in problems(limit=limit)] == ([] if right else ["bandwidth_limit_mibps"])


def test_values_known_only_at_deployment_are_let_through() -> None:
    assert not problems(host=Aws.STACK_NAME, path=Aws.STACK_NAME, agent_arn=Aws.STACK_ID, schedule=Aws.STACK_NAME)


def test_everything_wrong_is_reported_at_once(stack: Stack) -> None:
    with pytest.raises(CryoEmError, match=r"^MicroscopeIngest 'Krios': ") as caught:
        MicroscopeIngest(
            stack, "Krios", share=NfsShare(host="", path="x"), landing_bucket=s3.Bucket(stack, "B"),
            schedule_expression="now", bandwidth_limit_mibps=0,
        )  # fmt: skip
    assert [problem.property for problem in caught.value.problems] == [
        "host", "path", "agent_arn", "schedule_expression", "bandwidth_limit_mibps",
    ]  # fmt: skip
