"""Receipts: what the hook may, what it is told, when it looks."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from aws_cdk import Duration, Stack
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from aws_cdk.assertions import Match, Template

from cdk_cryoem import CryoEmError, DatasetReceipts

Made = tuple[Stack, DatasetReceipts, Template]
TOPIC = "arn:aws:sns:eu-west-1:111122223333:alarms"
TABLE = "arn:aws:dynamodb:eu-west-1:111122223333:table/records"
TASKS = [f"arn:aws:datasync:eu-west-1:111122223333:task/task-{n:017x}" for n in range(2)]
KEYS = {name: f"arn:aws:kms:eu-west-1:111122223333:key/{name}" for name in ("bucket", "table")}


class SomeEngine:
    """As much of an engine as is needed."""

    cluster_name = "cryoem"

    def __init__(self, event_bus: events.IEventBus) -> None:
        self.event_bus = event_bus


def parts(stack: Stack) -> dict[str, Any]:
    return {
        "engine": SomeEngine(events.EventBus.from_event_bus_name(stack, "Bus", "jobs")),
        "landing_bucket": s3.Bucket.from_bucket_name(stack, "Landing", "movies"),
        "records": dynamodb.Table.from_table_arn(stack, "Records", TABLE),
        "alarm_topic": sns.Topic.from_topic_arn(stack, "Topic", TOPIC),
    }


@pytest.fixture(scope="module")
def made(new_stack: Callable[[str], Stack]) -> Made:
    stack = new_stack("Defaults")
    receipts = DatasetReceipts(stack, "Receipts", **parts(stack))
    return stack, receipts, Template.from_stack(stack)


@pytest.fixture(scope="module")
def everything(new_stack: Callable[[str], Stack]) -> Made:
    stack = new_stack("Everything")
    keys = {name: kms.Key.from_key_arn(stack, f"Key-{name}", arn) for name, arn in KEYS.items()}
    given = parts(stack) | {
        "landing_bucket": s3.Bucket.from_bucket_attributes(
            stack, "Own", bucket_name="movies", encryption_key=keys["bucket"]
        ),
        "records": dynamodb.Table.from_table_attributes(
            stack, "OwnTable", table_arn=TABLE, encryption_key=keys["table"]
        ),
    }
    receipts = DatasetReceipts(
        stack,
        "Receipts",
        **given,
        ingest_task_arns=TASKS,
        sentinel="DONE",
        not_safe_after=Duration.days(3),
        look_every=Duration.hours(1),
    )
    receipts.grant_read(iam.Role(stack, "Reader", assumed_by=iam.AccountRootPrincipal()), given["landing_bucket"])
    return stack, receipts, Template.from_stack(stack)


def variables(template: Template) -> dict[str, Any]:
    (function,) = template.find_resources("AWS::Lambda::Function").values()
    found: dict[str, Any] = function["Properties"]["Environment"]["Variables"]
    return found


def statements(template: Template, role: str = "Receipts") -> list[dict[str, Any]]:
    policies = template.find_resources("AWS::IAM::Policy")
    return [
        statement
        for name, policy in policies.items()
        if name.startswith(role)
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
    ]


def of(found: list[dict[str, Any]], action: str) -> list[dict[str, Any]]:
    return [
        each for each in found if action in ([each["Action"]] if isinstance(each["Action"], str) else each["Action"])
    ]


def ends(statement: dict[str, Any]) -> list[str]:
    given = statement["Resource"]
    return [
        each if isinstance(each, str) else each["Fn::Join"][1][-1]
        for each in (given if isinstance(given, list) else [given])
    ]


def test_the_function_has_the_memory_and_the_time_it_needs(made: Made) -> None:
    made[2].has_resource_properties(
        "AWS::Lambda::Function",
        {"Handler": "cdk_cryoem_lambda.receipt_hook.handler", "MemorySize": 2048, "Timeout": 900},
    )


def test_it_is_told_what_it_reads(made: Made, everything: Made) -> None:
    found = variables(made[2])
    assert sorted(found) == sorted([
        "CLUSTER", "DEAD_LETTERS", "EVENT_BUS", "INGEST_TASKS", "LANDING_BUCKET", "NOT_SAFE_AFTER_HOURS", "QUEUE_URL",
        "RECORDS_TABLE", "REPORTS_PREFIX", "SENTINEL",
    ])  # fmt: skip
    assert (found["SENTINEL"], found["NOT_SAFE_AFTER_HOURS"], found["INGEST_TASKS"]) == ("", "24", "[]")
    assert (found["LANDING_BUCKET"], found["REPORTS_PREFIX"]) == ("movies", "datasync-reports/")
    more = variables(everything[2])
    assert (more["SENTINEL"], more["NOT_SAFE_AFTER_HOURS"]) == ("DONE", "72")
    assert json.loads(more["INGEST_TASKS"]) == [arn.rpartition("/")[2] for arn in TASKS]


def test_it_looks_every_quarter_of_an_hour_and_when_something_landed_or_was_copied(
    made: Made, everything: Made
) -> None:
    made[2].resource_count_is("AWS::Events::Rule", 2)
    made[2].has_resource_properties("AWS::Events::Rule", {"ScheduleExpression": "rate(15 minutes)"})
    landed = {"source": ["cryoem.platform"], "detail-type": ["Dataset Landed"], "detail": {"cluster": ["cryoem"]}}
    made[2].has_resource_properties("AWS::Events::Rule", {"EventBusName": "jobs", "EventPattern": landed})
    assert made[1].transfer_rules == []
    everything[2].resource_count_is("AWS::Events::Rule", 3)
    everything[2].has_resource_properties("AWS::Events::Rule", {"ScheduleExpression": "rate(1 hour)"})
    everything[2].has_resource_properties(
        "AWS::Events::Rule",
        {
            "EventPattern": {
                "source": ["aws.datasync"],
                "detail": {"State": ["SUCCESS", "ERROR", "UNAVAILABLE"]},
                "resources": [{"prefix": arn} for arn in TASKS],
            }
        },
    )


def test_every_rule_has_a_dead_letter_queue(everything: Made) -> None:
    everything[2].all_resources_properties(
        "AWS::Events::Rule", {"Targets": [Match.object_like({"DeadLetterConfig": Match.any_value()})]}
    )


def test_it_may_write_receipts_and_manifests_alone_and_delete_nothing(everything: Made) -> None:
    found = statements(everything[2])
    (writing,) = of(found, "s3:PutObject")
    assert writing["Action"] == "s3:PutObject"
    assert [end.rpartition(":::")[2] for end in ends(writing)] == [
        "movies/datasets/*.receipt.json", "movies/datasets/*.manifest.jsonl.gz",
    ]  # fmt: skip
    text = json.dumps([each["Action"] for each in found])
    assert "s3:Delete" not in text
    assert ":*" not in text


def test_of_movies_it_may_ask_for_checksums_by_version(made: Made) -> None:
    found = statements(made[2])
    (versions,) = of(found, "s3:GetObjectVersion")
    assert ends(versions)[0].endswith("movies/datasets/*")
    (reading,) = of(found, "s3:GetObject")
    assert [end.rpartition(":::")[2] for end in ends(reading)] == [
        "movies/datasync-reports/*", "movies/datasets/*.receipt.json", "movies/datasets/*.manifest.jsonl.gz",
    ]  # fmt: skip
    (listing,), (listing_versions,) = of(found, "s3:ListBucket"), of(found, "s3:ListBucketVersions")
    assert listing["Condition"] == {"StringLike": {"s3:prefix": ["datasync-reports/*"]}}
    assert listing_versions["Condition"] == {"StringLike": {"s3:prefix": ["datasets/*"]}}


def test_it_writes_no_record_but_its_own_and_the_outbox(made: Made) -> None:
    (writing,) = of(statements(made[2]), "dynamodb:PutItem")
    assert writing["Condition"] == {
        "ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["receipt", "report-read", "outbox"]}
    }
    assert writing["Action"] == ["dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"]


def test_keys_of_ones_own_may_be_used(made: Made, everything: Made) -> None:
    assert "kms:" not in json.dumps(statements(made[2]))
    found = of(statements(everything[2]), "kms:GenerateDataKey")
    assert [each["Resource"] for each in found] == [KEYS["bucket"]]
    assert KEYS["table"] in json.dumps(statements(everything[2]))


def test_readers_read_receipts_and_nothing_of_the_movies(everything: Made) -> None:
    found = statements(everything[2], "Reader")
    (reading,) = of(found, "s3:GetObject")
    assert all(end.endswith((".receipt.json", ".manifest.jsonl.gz")) for end in ends(reading))
    assert of(found, "kms:Decrypt")[0]["Resource"] == KEYS["bucket"]


@pytest.mark.parametrize("patience", [Duration.minutes(59), Duration.minutes(90), Duration.hours(30 * 24 + 1)])
def test_when_people_are_told_has_its_borders(stack: Stack, patience: Duration) -> None:
    with pytest.raises(CryoEmError, match=r"not_safe_after: got '.* hours', allowed: whole hours, 1 hour to 30 days"):
        DatasetReceipts(stack, "Receipts", **parts(stack), not_safe_after=patience)


@pytest.mark.parametrize("patience", [Duration.hours(1), Duration.days(30)])
def test_the_borders_themselves_are_allowed(stack: Stack, patience: Duration) -> None:
    DatasetReceipts(stack, "Receipts", **parts(stack), not_safe_after=patience)


def test_two_fit_in_one_stack_and_what_is_not_safe_can_be_counted(stack: Stack) -> None:
    given = parts(stack)
    made = [DatasetReceipts(stack, name, **given) for name in ("A", "B")]
    Template.from_stack(stack).resource_count_is("AWS::Lambda::Function", 2)
    metric = made[0].metric_not_safe()
    assert (metric.namespace, metric.metric_name) == ("CryoEm/cryoem", "DatasetsNotSafe")
