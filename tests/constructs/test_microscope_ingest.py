"""DataSync brings movies in: it never deletes, always verifies, always reports."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from aws_cdk import Aws, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_sns as sns
from aws_cdk.assertions import Match, Template

from cdk_cryoem import (
    BandwidthWindow,
    CryoEmError,
    MicroscopeIngest,
    NfsShare,
    Problem,
    SmbShare,
    WorkingHours,
)
from cdk_cryoem.ingest_patterns import NEVER_COPIED
from cdk_cryoem.ingest_rules import ingest_problems
from cdk_cryoem_lambda.ingest_pace import Pace

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
        exclude_patterns=["*.tmp", "*.bak"],
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
            "Excludes": [{"FilterType": "SIMPLE_PATTERN", "Value": "|".join(NEVER_COPIED)}],
        },
    )


def test_every_run_leaves_a_report_of_successes_and_errors(nfs: Made) -> None:
    nfs[2].has_resource_properties(
        "AWS::DataSync::Task",
        {
            "TaskReportConfig": {
                "OutputType": "STANDARD",
                "ReportLevel": "SUCCESSES_AND_ERRORS",
                "ObjectVersionIds": "INCLUDE",
                "Overrides": {"Skipped": {"ReportLevel": "ERRORS_ONLY"}},
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
            "Excludes": [{"FilterType": "SIMPLE_PATTERN", "Value": "|".join([*NEVER_COPIED, "*.bak"])}],
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
    assert problem.allowed == "either agent_arn or activation_key, or agent_arns for several"


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


@pytest.mark.parametrize(("limit", "right"), [(None, True), (1, True), (0, False), (-1, False)])
def test_bandwidth_limits(limit: int | None, right: bool) -> None:
    assert [problem.property for problem in problems(limit=limit)] == ([] if right else ["bandwidth_limit_mibps"])


def test_no_property_switches_verification_retention_or_reports_off() -> None:
    said = set(inspect.signature(MicroscopeIngest.__init__).parameters)
    assert not [
        name for name in said if any(word in name for word in ("verif", "preserve", "delet", "report", "overwrite"))
    ]


def test_a_basic_task_says_no_mode_so_that_those_that_are_there_stay(nfs: Made) -> None:
    nfs[2].has_resource_properties("AWS::DataSync::Task", {"TaskMode": Match.absent()})
    nfs[2].resource_count_is("AWS::Scheduler::Schedule", 0)
    nfs[2].resource_count_is("AWS::Lambda::Function", 0)


@pytest.fixture(scope="module")
def often(new_stack: Callable[[str], Stack]) -> Made:
    """Twice in one stack, with everything that a task alone cannot do."""
    stack = new_stack("Often")
    bucket = s3.Bucket.from_bucket_name(stack, "Landing", "movies")
    for name in ("Krios", "Talos"):
        ingest = MicroscopeIngest(
            stack,
            name,
            share=NFS,
            landing_bucket=bucket,
            agent_arns=[AGENT, AGENT.replace("def0", "def1")],
            task_mode="enhanced",
            schedule_expression="rate(15 minutes)",
            time_zone="Europe/Vienna",
            bandwidth_limit_mibps=200,
            bandwidth_windows=[BandwidthWindow(hours=WorkingHours(time_zone="Europe/Vienna"), limit_mibps=20)],
            software="epu",
        )
    return stack, ingest, Template.from_stack(stack)


def test_all_agents_of_a_microscope_are_told_to_its_location(often: Made) -> None:
    agents = [AGENT, AGENT.replace("def0", "def1")]
    often[2].has_resource_properties("AWS::DataSync::LocationNFS", {"OnPremConfig": {"AgentArns": agents}})
    often[2].has_resource_properties("AWS::DataSync::Task", {"TaskMode": "ENHANCED"})


def test_more_often_than_hourly_the_scheduler_starts_the_task_and_may_nothing_else(often: Made) -> None:
    stack, ingest, template = often
    task = stack.resolve(ingest.task_arn)
    assert ingest.schedule is not None
    template.all_resources_properties("AWS::DataSync::Task", {"Schedule": Match.absent()})
    template.has_resource_properties(
        "AWS::Scheduler::Schedule",
        {
            "ScheduleExpression": "rate(15 minutes)",
            "ScheduleExpressionTimezone": "Europe/Vienna",
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "Target": {
                "Arn": {"Fn::Join": ["", Match.array_with([":scheduler:::aws-sdk:datasync:startTaskExecution"])]},
                "Input": {"Fn::Join": ["", ['{"TaskArn":"', task, '"}']]},
                "DeadLetterConfig": {"Arn": stack.resolve(ingest.schedule.dead_letter_queue.queue_arn)},
                "RetryPolicy": {"MaximumEventAgeInSeconds": 300, "MaximumRetryAttempts": 2},
                "RoleArn": stack.resolve(ingest.schedule.role.role_arn),
            },
        },
    )
    assert granted(template, "TalosScheduleRole") == {
        "datasync:StartTaskExecution": [task],
        "sqs:SendMessage": [stack.resolve(ingest.schedule.dead_letter_queue.queue_arn)],
    }


def test_an_overlapping_start_raises_no_alarm(often: Made) -> None:
    often[2].resource_count_is("AWS::CloudWatch::Alarm", 0)
    often[2].all_resources_properties(
        "AWS::DataSync::Task", {"Options": Match.object_like({"TaskQueueing": "ENABLED"})}
    )


def test_somebody_is_told_when_no_start_of_a_day_was_taken_and_when_the_bandwidth_cannot_be_set(stack: Stack) -> None:
    bucket, topic = s3.Bucket.from_bucket_name(stack, "Landing", "movies"), sns.Topic(stack, "Topic")
    ingest = MicroscopeIngest(
        stack,
        "Krios",
        share=NFS,
        landing_bucket=bucket,
        agent_arn=AGENT,
        schedule_expression="rate(15 minutes)",
        bandwidth_windows=[BandwidthWindow(hours=WorkingHours())],
    )
    elsewhere = Stack(stack, "Elsewhere")
    assert len(ingest.alarm_through(topic)) == 2
    ingest.alarm_through(topic, scope=elsewhere)
    plain = MicroscopeIngest(stack, "Plain", share=NFS, landing_bucket=bucket, agent_arn=AGENT)
    assert not plain.alarm_through(topic)
    template = Template.from_stack(stack)
    assert ingest.schedule is not None
    assert ingest.pace is not None
    for queue, least in ((ingest.schedule.dead_letter_queue, 93), (ingest.pace.dead_letter_queue, 1)):
        template.has_resource_properties(
            "AWS::CloudWatch::Alarm",
            {
                "MetricName": "ApproximateNumberOfMessagesVisible",
                "Dimensions": [{"Name": "QueueName", "Value": stack.resolve(queue.queue_name)}],
                "Threshold": least,
                "TreatMissingData": "notBreaching",
                "AlarmActions": [stack.resolve(topic.topic_arn)],
            },
        )
    # 93 of the 96 starts of a day, of which the queue keeps no other.
    template.has_resource_properties("AWS::SQS::Queue", {"MessageRetentionPeriod": 86400})
    assert set(Template.from_stack(elsewhere).find_resources("AWS::CloudWatch::Alarm")) != set()


def test_windows_of_bandwidth_reach_the_function_which_may_update_this_task_alone(often: Made) -> None:
    stack, ingest, template = often
    task = stack.resolve(ingest.task_arn)
    assert ingest.pace is not None
    (environment,) = [
        function["Properties"]["Environment"]["Variables"]
        for function in template.find_resources("AWS::Lambda::Function").values()
        if function["Properties"]["Environment"]["Variables"]["TASK"] == task
    ]
    pace = Pace.from_environment({**environment, "TASK": "task", "DEAD_LETTERS": "dead"})
    assert environment["DEAD_LETTERS"] == stack.resolve(ingest.pace.dead_letter_queue.queue_url)
    assert (pace.otherwise, [window.limit for window in pace.windows]) == (200 * 1024**2, [20 * 1024**2])
    executions = {"Fn::Join": ["", [task, "/execution/*"]]}
    rights = granted(template, "TalosPaceRole")
    assert {action: resources for action, resources in rights.items() if action.startswith("datasync:")} == {
        "datasync:DescribeTask": [task],
        "datasync:ListTaskExecutions": [task],
        "datasync:UpdateTask": [task],
        "datasync:DescribeTaskExecution": [executions],
        "datasync:UpdateTaskExecution": [executions],
    }
    assert set(rights) - {f"datasync:{action}" for action in rights} <= {
        *(action for action in rights if action.startswith("datasync:")),
        "logs:CreateLogStream",
        "logs:PutLogEvents",
        "sqs:SendMessage",
        "sqs:ReceiveMessage",
        "sqs:DeleteMessage",
        "sqs:ChangeMessageVisibility",
        "sqs:GetQueueAttributes",
        "sqs:GetQueueUrl",
    }
    dead = stack.resolve(ingest.pace.dead_letter_queue.queue_arn)
    assert rights["sqs:ReceiveMessage"] == rights["sqs:DeleteMessage"] == [dead]
    template.has_resource_properties("AWS::Scheduler::Schedule", {"ScheduleExpression": "rate(10 minutes)"})


def test_previews_of_the_software_stay_on_the_share(often: Made) -> None:
    (excludes, _) = [task["Properties"]["Excludes"] for task in often[2].find_resources("AWS::DataSync::Task").values()]
    assert excludes[0]["Value"].split("|") == [*NEVER_COPIED, "*/FoilHole_*.jpg", "*/GridSquare_*.jpg"]


def test_metrics_are_of_this_task(often: Made) -> None:
    stack, ingest, _ = often
    for metric, name in (
        (ingest.metric_files_transferred(), "FilesTransferred"),
        (ingest.metric_bytes_transferred(), "BytesTransferred"),
    ):
        assert (metric.namespace, metric.metric_name, metric.statistic) == ("AWS/DataSync", name, "Sum")
        task = {"Fn::Select": [1, {"Fn::Split": ["/", stack.resolve(ingest.task_arn)]}]}
        assert stack.resolve(metric.dimensions) == {"TaskId": task}
    assert ingest.pace is not None
    assert ingest.pace.metric_errors().metric_name == "Errors"


@pytest.mark.parametrize(("count", "right"), [(1, True), (8, True), (9, False)])
def test_how_many_agents(count: int, right: bool) -> None:
    agents = [f"{AGENT[:-1]}{number}" for number in range(count)]
    found = list(
        ingest_problems(
            host="h", path="/p", agent_arn=None, agent_arns=agents, activation_key=None,
            schedule_expression="rate(1 hour)", bandwidth_limit_mibps=None,
        )
    )  # fmt: skip
    assert [problem.allowed for problem in found] == ([] if right else ["1 to 8"])


@pytest.mark.parametrize(("agents", "said"), [([AGENT, AGENT], "each agent once"), (["agent-1"], "arn:aws:datasync:")])
def test_wrong_agents_among_several(agents: list[str], said: str) -> None:
    (problem,) = ingest_problems(
        host="h", path="/p", agent_arn=None, agent_arns=agents, activation_key=None, schedule_expression="rate(1 hour)",
        bandwidth_limit_mibps=None,
    )  # fmt: skip
    assert (problem.property, problem.allowed.startswith(said)) == ("agent_arns", True)


def test_an_unknown_task_mode() -> None:
    (problem,) = ingest_problems(
        host="h", path="/p", agent_arn=AGENT, activation_key=None, schedule_expression="rate(1 hour)",
        bandwidth_limit_mibps=None, task_mode="fast",
    )  # fmt: skip
    assert str(problem) == "task_mode: got 'fast', allowed: basic, enhanced"


def granted(template: Template, role: str) -> dict[str, list[Any]]:
    """Resources of each action that a role's own policies allow."""
    found: dict[str, list[Any]] = {}
    for policy in template.find_resources("AWS::IAM::Policy").values():
        if not any(role in each["Ref"] for each in policy["Properties"]["Roles"]):
            continue
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]:
            actions, resources = statement["Action"], statement["Resource"]
            for action in [actions] if isinstance(actions, str) else actions:
                found.setdefault(action, []).extend(resources if isinstance(resources, list) else [resources])
    return found


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
