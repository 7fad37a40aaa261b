"""Rules of the events: what cannot be delivered is kept, and somebody is told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .rule import Finding, Rule
from .templates import Resource, Templates, at, intrinsic, mappings

_QUEUE = "AWS::SQS::Queue"
# Where other services say which queue keeps what they could not deliver.
_DEAD_LETTER_PATHS = {
    _QUEUE: (("RedrivePolicy", "deadLetterTargetArn"),),
    "AWS::Lambda::Function": (("DeadLetterConfig", "TargetArn"),),
    "AWS::Lambda::EventInvokeConfig": (("DestinationConfig", "OnFailure", "Destination"),),
    "AWS::Lambda::EventSourceMapping": (("DestinationConfig", "OnFailure", "Destination"),),
    "AWS::SNS::Subscription": (("RedrivePolicy", "deadLetterTargetArn"),),
    "AWS::Scheduler::Schedule": (("Target", "DeadLetterConfig", "Arn"),),
    "AWS::Pipes::Pipe": (
        ("SourceParameters", "DynamoDBStreamParameters", "DeadLetterConfig", "Arn"),
        ("SourceParameters", "KinesisStreamParameters", "DeadLetterConfig", "Arn"),
    ),
    "AWS::Events::EventBus": (("DeadLetterConfig", "Arn"),),
}


def dead_letter_queues(templates: Templates) -> list[Resource]:
    """Queues of the app that keep what others could not deliver."""
    found = [
        templates.meant(owner, owner.get(*path))
        for kind, paths in _DEAD_LETTER_PATHS.items()
        for owner in templates.of(kind)
        for path in paths
    ]
    found += [
        templates.meant(rule, target["DeadLetterConfig"].get("Arn"))
        for rule in templates.of("AWS::Events::Rule")
        for target in _targets(rule)
        if isinstance(target.get("DeadLetterConfig"), Mapping)
    ]
    return list(dict.fromkeys(queue for queue in found if queue is not None and queue.type == _QUEUE))


def _targets(rule: Resource) -> list[Mapping[str, Any]]:
    return [target for target in mappings(rule.every("Targets")) if not intrinsic(target)]


def _targets_that_lose(templates: Templates) -> Iterator[Finding]:
    for rule in templates.of("AWS::Events::Rule"):
        for number, target in enumerate(_targets(rule)):
            if not target.get("DeadLetterConfig"):
                yield Finding(rule, f"Properties.Targets.{number}.DeadLetterConfig")
    for schedule in templates.of("AWS::Scheduler::Schedule"):
        path = ("Target", "DeadLetterConfig")
        if not schedule.get(*path) and not schedule.undecided(*path):
            yield Finding(schedule, "Properties.Target.DeadLetterConfig")


def _queues_that_lose(templates: Templates) -> Iterator[Finding]:
    dead = dead_letter_queues(templates)
    for queue in templates.of(_QUEUE):
        if queue not in dead and not queue.get("RedrivePolicy") and not queue.get("RedriveAllowPolicy"):
            yield Finding(queue, "Properties.RedrivePolicy")


def _unwatched(templates: Templates) -> Iterator[Finding]:
    watched = [queue for alarm in templates.of("AWS::CloudWatch::Alarm") for queue in _watched(templates, alarm)]
    # An alarm on a queue that is not known could be on any of them.
    if None not in watched:
        yield from (Finding(queue) for queue in dead_letter_queues(templates) if queue not in watched)


def _watched(templates: Templates, alarm: Resource) -> Iterator[Resource | None]:
    """The queues of the app whose messages make this alarm tell somebody; None for one that is not known."""
    if not alarm.get("AlarmActions") or alarm.get("ActionsEnabled") in (False, "false"):
        return
    metrics = [at(alarm.document, "Properties")]
    metrics += [at(query, "MetricStat", "Metric") for query in mappings(alarm.every("Metrics"))]
    for metric in metrics:
        if (at(metric, "Namespace"), at(metric, "MetricName")) == ("AWS/SQS", "ApproximateNumberOfMessagesVisible"):
            for dimension in mappings(at(metric, "Dimensions")):
                if dimension.get("Name") == "QueueName":
                    yield from _called(templates, alarm, dimension.get("Value"))


def _called(templates: Templates, alarm: Resource, name: object) -> Iterator[Resource | None]:
    if isinstance(name, str):
        yield from (queue for queue in templates.of(_QUEUE) if queue.get("QueueName") == name)
    else:
        yield templates.meant(alarm, name)


DELIVERY_RULES = (
    Rule(
        name="EventTargetDeadLetters",
        info="An event that its target does not take is dropped.",
        explanation="EventBridge tries for a day, then forgets. Give every target of a rule, and every schedule, a "
        "dead-letter queue.",
        find=_targets_that_lose,
    ),
    Rule(
        name="QueueDeadLetters",
        info="A message that nobody can work off goes round until it expires.",
        explanation="Give the queue a RedrivePolicy with a dead-letter queue.",
        find=_queues_that_lose,
    ),
    Rule(
        name="DeadLettersAlarm",
        info="Nobody is told of what lies in the dead-letter queue.",
        explanation="Make an alarm with an action on ApproximateNumberOfMessagesVisible of the queue.",
        find=_unwatched,
    ),
)
