"""When a microscope's share is looked at: by DataSync's own schedule, or by EventBridge Scheduler where that is too coarse."""

from __future__ import annotations

import re
from collections.abc import Iterator

from aws_cdk import Duration, Stack, TimeZone
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as cloudwatch_actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_scheduler_targets as targets
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from .problems import Problem, known
from .runbooks import with_runbook
from .working_hours import WorkingHours, working_hours_problems

LEAST_MINUTES = 5
_DAY = 1440
_UNITS = {"minute": 1, "hour": 60, "day": _DAY}


class IngestSchedule(Construct):
    """Starts a DataSync task at times that DataSync itself cannot keep: more often than hourly, or in a time zone.

    task_arn: the task. schedule_expression: rate(N minutes) or cron(...), 5 minutes apart or more. time_zone: of a cron
    expression, of the IANA database; default UTC.

    A start while a run is under way waits or is refused by DataSync, tried twice more, and then kept in
    `dead_letter_queue` for a day. That is no trouble: the next start sees the same files. It is one when hardly any start
    of a whole day was taken, which `alarm` tells.
    Its role may start this one task and send to that queue, nothing else.
    Costs: nothing to speak of (EventBridge Scheduler has 14 million calls a month free; every 5 minutes are 8,640).
    """

    def __init__(
        self, scope: Construct, id: str, *, task_arn: str, schedule_expression: str, time_zone: str | None = None
    ) -> None:
        super().__init__(scope, id)
        self.dead_letter_queue: sqs.Queue = sqs.Queue(
            self,
            "NotStarted",
            enforce_ssl=True,
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            # So that what is in it is of the last day.
            retention_period=Duration.days(1),
        )
        self._starts: int = (
            starts_in_a_day(schedule_expression) if known(schedule_expression) else _DAY // LEAST_MINUTES
        )
        self.role: iam.Role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal(
                "scheduler.amazonaws.com", conditions={"StringEquals": {"aws:SourceAccount": Stack.of(self).account}}
            ),
            description="Starts one microscope's transfer",
        )
        self.schedule: scheduler.Schedule = scheduler.Schedule(
            self,
            "Resource",
            schedule=scheduler.ScheduleExpression.expression(
                schedule_expression, TimeZone.of(time_zone) if time_zone else None
            ),
            target=targets.Universal(
                service="datasync",
                action="startTaskExecution",
                input=scheduler.ScheduleTargetInput.from_object({"TaskArn": task_arn}),
                policy_statements=[
                    iam.PolicyStatement(actions=["datasync:StartTaskExecution"], resources=[task_arn]),
                ],
                role=self.role,
                dead_letter_queue=self.dead_letter_queue,
                retry_attempts=2,
                max_event_age=Duration.minutes(LEAST_MINUTES),
            ),
            description="Look at the microscope's share",
        )

    def alarm(self, topic: sns.ITopic, *, scope: Construct, id: str) -> cloudwatch.Alarm:
        """Tell topic when 97 of 100 starts of the last day were refused, or the only one. Costs: 0.10 USD a month."""
        alarm = self.dead_letter_queue.metric_approximate_number_of_messages_visible(
            period=Duration.minutes(15), statistic="Maximum"
        ).create_alarm(
            scope,
            id,
            alarm_description=with_runbook(
                self,
                "For a day hardly any look at a microscope's share could begin: a transfer has been under way since then, "
                "or none can start",
                "microscope-not-looked-at",
            ),
            threshold=max(1, self._starts * 97 // 100),
            evaluation_periods=1,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        alarm.add_alarm_action(cloudwatch_actions.SnsAction(topic))
        return alarm


def by_datasync(schedule_expression: str, time_zone: str | None) -> bool:
    """Whether DataSync's own schedule will do: in UTC, an hour apart or more, in its own forms."""
    if not known(schedule_expression):
        return True
    gap = least_gap_minutes(schedule_expression)
    in_minutes = re.fullmatch(r"rate\(\d+ minutes?\)", schedule_expression)
    return time_zone in (None, "UTC") and gap is not None and gap >= 60 and not in_minutes


def least_gap_minutes(expression: str) -> int | None:
    """The fewest minutes between two starts, as far as minutes and rates say; None for what is no schedule."""
    rate = re.fullmatch(r"rate\((\d+) (minute|hour|day)(s?)\)", expression)
    if rate:
        number = int(rate[1])
        # EventBridge wants the singular for one, the plural for more.
        return number * _UNITS[rate[2]] if number > 0 and (number == 1) == (not rate[3]) else None
    cron = re.fullmatch(r"cron\((\S+) (\S+) (\S+) (\S+) (\S+) (\S+)\)", expression)
    if cron is None or [cron[3], cron[5]].count("?") != 1:
        return None
    minutes = _numbers(cron[1], last=59)
    if not minutes:
        return None
    return min((after - before) % 60 or 60 for before, after in zip(minutes, [*minutes[1:], minutes[0]], strict=True))


def starts_in_a_day(expression: str) -> int:
    """The most starts that a schedule has on one day; 1 of one that has fewer. Hours that cannot be read count as one."""
    cron = re.fullmatch(r"cron\((\S+) (\S+) .*\)", expression)
    if cron is None:
        return max(1, _DAY // (least_gap_minutes(expression) or LEAST_MINUTES))
    return max(1, len(_numbers(cron[1], last=59))) * max(1, len(_numbers(cron[2], last=23)))


def schedule_problems(schedule_expression: str, time_zone: str | None) -> Iterator[Problem]:
    """What is wrong with a schedule."""
    if known(schedule_expression):
        gap = least_gap_minutes(schedule_expression)
        if gap is None or gap < LEAST_MINUTES:
            yield Problem(
                property="schedule_expression",
                value=schedule_expression,
                allowed=f"rate(N minutes), rate(N hours), rate(N days) or cron(...), {LEAST_MINUTES} minutes apart or more",
                fix="" if gap is None else "Each run lists share and bucket, which takes minutes",
            )
    if known(time_zone):
        yield from working_hours_problems(WorkingHours(time_zone=str(time_zone)))


def _numbers(field: str, *, last: int) -> list[int]:
    """The numbers from 0 to last that a field of a cron expression names, in order; nothing if it names none."""
    found: set[int] = set()
    for part in field.split(","):
        match = re.fullmatch(r"(\*|\d+)(?:-(\d+))?(?:/(\d+))?", part)
        if match is None or (match[1] == "*" and match[2]):
            return []
        first = 0 if match[1] == "*" else int(match[1])
        end = int(match[2]) if match[2] else last if match[1] == "*" or match[3] else first
        step = int(match[3] or 1)
        if not (first <= end <= last and step > 0):
            return []
        found.update(range(first, end + 1, step))
    return sorted(found)
