"""EventBridge, SQS and Lambda: how an event reaches a hook, or does not, or twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .clockwork import Process

if TYPE_CHECKING:
    from .site import Site

VISIBILITY_SECONDS = 3600
MOST_RECEIVES = 8
FUNCTION_SECONDS = 600
_CONCURRENCY = 2


class Message:
    """A message in a queue. about: what it tells of, for the judge."""

    __slots__ = ("about", "body", "in_flight", "message_id", "poison", "receipt", "receives", "visible_at")

    def __init__(self, message_id: str, body: str, visible_at: float, *, about: object, poison: bool) -> None:
        self.message_id, self.body, self.visible_at = message_id, body, visible_at
        self.about, self.poison = about, poison
        self.receives, self.receipt, self.in_flight = 0, "", False


class Queue:
    """A queue with its dead letters, and the function behind it."""

    def __init__(self, site: Site, name: str, *, batch: int, window: float) -> None:
        self._site, self.name, self._batch, self._window = site, name, batch, window
        self.messages: dict[Message, None] = {}
        self.dead: dict[Message, None] = {}
        self._busy = 0
        self._polls: set[float] = set()
        self.invocations = 0

    @property
    def url(self) -> str:
        return f"queue/{self.name}"

    @property
    def dead_url(self) -> str:
        return f"dead/{self.name}"

    def put(
        self, body: str, *, after: float = 0.0, about: object = None, poison: bool = False, message_id: str = ""
    ) -> None:
        site = self._site
        at = site.clock.now + after
        message = Message(message_id or site.new_id("m"), body, at, about=about, poison=poison)
        self.messages[message] = None
        self._poll_at(at + self._window + 0.02)

    def _poll_at(self, when: float) -> None:
        # One poll serves all that becomes visible within its second.
        slot = float(int(when) + 1) if self._window else when
        if slot not in self._polls:
            self._polls.add(slot)
            self._site.clock.at(slot, self._poll, slot)

    def _poll(self, slot: float) -> None:
        self._polls.discard(slot)
        site = self._site
        now, dice = site.clock.now, site.dice
        visible = [message for message in self.messages if message.visible_at <= now]
        for message in visible:
            if message.receives >= MOST_RECEIVES:
                del self.messages[message]
                self.dead[message] = None
                site.dice.note("dead_letter")
                site.trace("%s: a message goes to the dead letters", self.name)
        visible = [message for message in visible if message.receives < MOST_RECEIVES]
        while visible and self._busy < _CONCURRENCY:
            if dice.any_per_call:
                dice.random.shuffle(visible)
            batch, visible = visible[: self._batch], visible[self._batch :]
            self._invoke(batch)

    def _invoke(self, batch: list[Message]) -> None:
        site = self._site
        records = []
        for message in batch:
            message.receives += 1
            message.visible_at = site.clock.now + VISIBILITY_SECONDS
            message.receipt = f"{message.message_id}/{message.receives}"
            message.in_flight = True
            records.append(
                {
                    "messageId": message.message_id,
                    "receiptHandle": message.receipt,
                    "body": message.body,
                    "attributes": {"ApproximateReceiveCount": str(message.receives)},
                }
            )
        self._busy += 1
        self.invocations += 1
        receipts = [message.receipt for message in batch]
        process = site.invocation(self.name)

        def body() -> None:
            try:
                answer = site.handler(self.name)({"Records": records}, None)
            except Exception as error:
                # The whole batch is seen again when it is visible again.
                site.trace("the invocation failed: %s", error)
                return
            finally:
                self._busy -= 1
                self._poll_at(site.clock.now + 0.05)
            self._worked_off(batch, receipts, answer)

        def ended() -> None:
            for message in batch:
                message.in_flight = False
                if message in self.messages:
                    self._poll_at(message.visible_at + 0.02)

        def whole() -> None:
            try:
                body()
            finally:
                ended()

        site.clock.start(site.clock.now, process, whole)

    def _worked_off(self, batch: list[Message], receipts: list[str], answer: Mapping[str, Any]) -> None:
        again = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
        for message, receipt in zip(batch, receipts, strict=True):
            if message.message_id in again or message.receipt != receipt:
                continue
            if self._site.dice.chance("redelivered"):
                message.visible_at = self._site.clock.now + self._site.dice.random.uniform(0.1, 600)
                continue
            self.messages.pop(message, None)

    # the API

    def change_visibility(self, receipt: str, seconds: float) -> None:
        for message in self.messages:
            if message.receipt == receipt:
                message.visible_at = self._site.clock.now + seconds
                return

    def receive_dead(self, most: int, seconds: float) -> list[dict[str, Any]]:
        now = self._site.clock.now
        found = []
        for message in self.dead:
            if len(found) < most and message.visible_at <= now:
                message.receives += 1
                message.visible_at = now + seconds
                message.receipt = f"{message.message_id}/dead/{message.receives}"
                found.append(
                    {
                        "MessageId": message.message_id,
                        "ReceiptHandle": message.receipt,
                        "Body": message.body,
                        "Attributes": {"ApproximateReceiveCount": str(message.receives)},
                    }
                )
        return found

    def delete_dead(self, receipt: str) -> None:
        for message in self.dead:
            if message.receipt == receipt:
                del self.dead[message]
                return

    def show_dead(self, receipt: str, seconds: float) -> None:
        for message in self.dead:
            if message.receipt == receipt:
                message.visible_at = self._site.clock.now + seconds

    def show_all(self, *, within: float) -> None:
        """What would be seen again after an hour is seen now: nothing else would happen in that hour."""
        now = self._site.clock.now
        for message in self.messages:
            if not message.in_flight and message.visible_at > now + within:
                message.visible_at = now
                self._poll_at(now + 0.02)


class Bus:
    """EventBridge: who gets which event, and everything that may happen to one on its way."""

    def __init__(self, site: Site, routes: Mapping[tuple[str, str], str]) -> None:
        self._site, self._routes = site, routes
        self.said: list[tuple[float, str, str, dict[str, Any]]] = []
        self.lost: list[object] = []
        self.under_way = 0
        self.listener: Callable[[str, str, dict[str, Any]], None] | None = None

    def accept(self, source: str, kind: str, detail: dict[str, Any], *, about: object = None, **more: Any) -> None:
        """An event that EventBridge has taken."""
        site = self._site
        dice = site.dice
        self.said.append((site.clock.now, source, kind, detail))
        if self.listener is not None:
            self.listener(source, kind, detail)
        route = self._routes.get((source, kind))
        if route is None:
            return
        queue = site.queues[route]
        body = json.dumps({"id": site.new_id("e"), "source": source, "detail-type": kind, "detail": detail, **more})
        message_id = site.new_id("m")
        if dice.chance("lost"):
            self.lost.append(about)
            site.trace("lost: %s %s", kind, about)
            return
        if dice.chance("to_dead_letters"):
            message = Message(message_id, body, site.clock.now, about=about, poison=False)
            queue.dead[message] = None
            site.trace("straight to the dead letters of %s: %s", queue.name, kind)
            return
        self._deliver(queue, body, message_id, about)
        if dice.chance("duplicate"):
            self._deliver(queue, body, message_id, about)
        if dice.chance("duplicate_new_id"):
            again = json.loads(body)
            again["id"] = site.new_id("e")
            self._deliver(queue, json.dumps(again), site.new_id("m"), about)

    def _deliver(self, queue: Queue, body: str, message_id: str, about: object) -> None:
        dice, clock = self._site.dice, self._site.clock
        delay = dice.random.uniform(0.05, 1.0)
        if dice.chance("late"):
            delay = dice.heavy_tail(5.0, 1800.0)
        self.under_way += 1
        clock.at(clock.now + delay, self._arrive, queue, body, message_id, about)

    def _arrive(self, queue: Queue, body: str, message_id: str, about: object) -> None:
        self.under_way -= 1
        queue.put(body, about=about, message_id=message_id)


class Sweeps:
    """EventBridge Scheduler and the sweeper: each five minutes, retried twice, sometimes twice or not at all."""

    def __init__(self, site: Site, *, every: float, on: bool = True) -> None:
        self._site, self._every, self._on = site, every, on
        self.running: dict[Process, None] = {}
        self.ended = 0
        self._paused = False

    @property
    def regular(self) -> bool:
        """Whether they come by themselves."""
        return self._on and not self._paused

    def pause(self) -> None:
        """No more sweeps but those that are asked for."""
        self._paused = True

    def start(self, first: float) -> None:
        if self._on:
            self._site.clock.at(first, self._tick)

    def _tick(self) -> None:
        site = self._site
        if self._paused:
            return
        site.clock.at(site.clock.now + self._every, self._tick)
        if site.dice.chance("sweep_lost"):
            site.trace("a sweep is lost")
            return
        self.once()
        if site.dice.chance("duplicate"):
            site.clock.at(site.clock.now + site.dice.random.uniform(0, 60), self.once)

    def once(self, attempt: int = 1) -> None:
        """One invocation; Lambda tries again after one and two minutes."""
        if not self._on:
            return
        site = self._site
        process = site.invocation("sweeper")

        def body() -> None:
            good = False
            self.running[process] = None
            try:
                site.handler("sweeper")({}, None)
                good = True
            except Exception as error:
                site.trace("the sweep failed: %s", error)
            finally:
                del self.running[process]
                if not good and attempt < 3 and not site.clock.finished:
                    site.clock.at(site.clock.now + 60 * attempt, self.once, attempt + 1)
            self.ended += 1

        site.clock.start(site.clock.now, process, body)
