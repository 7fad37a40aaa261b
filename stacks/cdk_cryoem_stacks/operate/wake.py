"""The head node's sleep: a request that it be awake, its withdrawal, and what is seen until it answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .ask import Failed, ask, find
from .find import Clients, System
from .records import Item, Records
from .words import listed, moment, span

KIND, NAME = "request", "wake"
"""pk and sk of the request's record. Its attributes: until and at in epoch seconds, by."""
GONE = ("gone", "shutting-down", "terminated")


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """That the head node be awake until then. Times in epoch seconds."""

    until: int
    by: str
    at: int

    @classmethod
    def parse(cls, item: Mapping[str, Any]) -> Request:
        """From its record."""
        return cls(until=int(item["until"]), by=str(item.get("by", "")), at=int(item.get("at", 0)))

    def item(self) -> Item:
        """Its record."""
        return {"pk": KIND, "sk": NAME, "until": self.until, "by": self.by, "at": self.at}

    def __str__(self) -> str:
        return f"awake until {moment(self.until)}, asked by {self.by or 'somebody'} at {moment(self.at)}"


def standing(records: Records) -> Request | None:
    """The request that is written down, over or not. Errors: Failed."""
    item = records.item(KIND, NAME)
    return Request.parse(item) if item else None


def write(records: Records, wanted: Request) -> Request:
    """Write a request down, unless one that is as long is there; the one that holds then. Errors: Failed."""
    written = records.put_if(
        wanted.item(),
        condition="attribute_not_exists(pk) OR #until < :until",
        names={"#until": "until"},
        values={":until": wanted.until},
    )
    if written:
        return wanted
    there = standing(records)
    if there is None:
        raise Failed("somebody withdrew another request at this moment: run it again")
    return there


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """The head node at one look. state: EC2's word, or gone. online: Session Manager reaches it since this start."""

    state: str
    online: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What follows from a look: what to say (empty: nothing new), whether the sweeper is told again, whether it is over."""

    say: str = ""
    hint: bool = False
    done: bool = False


def look(clients: Clients, instance: str) -> Seen:
    """The head node now. Errors: Failed."""
    described = find(
        "ec2:DescribeInstances",
        lambda: clients.ec2.describe_instances(InstanceIds=[instance]),
        unless=("InvalidInstanceID.NotFound",),
    )
    reservations = described["Reservations"] if described else []
    instances = [each for reservation in reservations for each in reservation["Instances"]]
    if not instances:
        return Seen(state="gone")
    state = str(instances[0]["State"]["Name"])
    if state != "running":
        return Seen(state=state)
    answer = ask(
        "ssm:DescribeInstanceInformation",
        lambda: clients.ssm.describe_instance_information(Filters=[{"Key": "InstanceIds", "Values": [instance]}]),
    )
    started = instances[0]["LaunchTime"]
    # For minutes after a stop Systems Manager still says Online: only a ping since this start counts.
    online = any(
        each.get("PingStatus") == "Online" and each.get("LastPingDateTime", started) >= started
        for each in answer["InstanceInformationList"]
    )
    return Seen(state=state, online=online)


def step(before: Seen | None, now: Seen) -> Step:
    """What follows from a look that came after another. Errors: Failed when it will never be awake."""
    if now.state in GONE:
        raise Failed("there is no head node any more: it was terminated. A deployment of the cluster makes another")
    if now.state == "running" and now.online:
        return Step(say="it runs, and Session Manager reaches it", done=True)
    if before == now:
        return Step()
    if now.state == "stopping":
        return Step(say="it is stopping just now, which takes about a minute; it can be started after that")
    if now.state == "stopped":
        # The sweeper could not start it while it was stopping, and would look again in five minutes.
        again = before is not None and before.state == "stopping"
        return Step(say="it is stopped; the sweeper starts it", hint=again)
    return Step(say="it boots" if now.state == "pending" else "it runs; its agent has not called yet")


def watch(
    see: Callable[[], Seen],
    *,
    hint: Callable[[], None],
    say: Callable[[str], None],
    seconds: float,
    every: float = 5.0,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Look every few seconds until the head node answers. Errors: Failed when it has not after `seconds`."""
    began, before = clock(), None
    while True:
        now = see()
        follows = step(before, now)
        if follows.say:
            say(follows.say)
        if follows.hint:
            hint()
        if follows.done:
            return
        if clock() - began >= seconds:
            raise Failed(f"after {span(seconds)} {_stuck(now)}")
        before = now
        pause(every)


def _stuck(last: Seen) -> str:
    """What to look at when it did not come up in time."""
    if last.state == "running":
        return (
            "the head node runs, and Session Manager does not reach it: its agent does not, or finds no way out of the"
            " subnet (EC2's console has its system log)"
        )
    return (
        f"the head node is {last.state}. The request stands, and the sweeper looks at it every five minutes: see its log"
        " (docs/operations.md, 'Alarms')"
    )


def connect(found: System) -> str:
    """How people get a shell on it."""
    return f"aws ssm start-session --target {found.head_node} --region {found.target.region}"


def keepers(
    datasets: Sequence[Item], last_job: Item | None, *, stop_after_minutes: int | None, recipe: str, now: float
) -> list[str]:
    """What keeps the head node awake without a request, as far as the records tell."""
    found = []
    if stop_after_minutes == 0:
        found.append("head_node.stop_after_minutes is 0: the hooks never stop it")
    arriving = sorted(str(item["sk"]) for item in datasets if item.get("state") == "arriving")
    if arriving:
        found.append(f"still arriving: {listed(arriving)}; `cryoem land DATASET` says that one is complete")
    waiting = sorted(
        str(item["sk"]) for item in datasets if item.get("state") == "landed" and "processing_at" not in item
    )
    if recipe and waiting:
        found.append(f"waiting for the recipe {recipe}: {listed(waiting)}")
    ended = float(str(last_job["sk"]).partition("#")[0]) if last_job else 0.0
    latest = max([ended, *(float(item.get("last_at", 0)) for item in datasets)])
    quiet = now - latest
    if stop_after_minutes and latest and quiet < stop_after_minutes * 60:
        what = "the last job ended" if latest == ended else "the last movie came"
        found.append(f"{what} {span(quiet)} ago; it stops no sooner than {stop_after_minutes} min after that")
    return found
