"""Who acts in the world: microscopes, users, operators; and what happens just while a hook makes a call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .messages import Message

if TYPE_CHECKING:
    import random

    from .site import Site
    from .slurm_model import Job

_MINUTE = 60.0
_POISON = (
    "no JSON at all",
    '{"source": "nobody"}',
    '{"source": "cryoem.slurm", "detail-type": "Slurm Job State Change", "detail": {"version": 1}}',
    "[1, 2, 3]",
)


def lane(name: str, *, hold_minutes: int, usd: float, minutes: int = 2880) -> dict[str, Any]:
    """A lane as in the manifest."""
    return {
        "name": name,
        "partition": name,
        "gpus": 0 if name == "cpu" else 4,
        "vcpus": 48,
        "memory_mib": 160 * 1024 // 2 * 2,
        "max_nodes": 4,
        "nodes_per_job": 1,
        "cache_gb": 3800,
        "memory_multiplier": 2.0,
        "time_limit_minutes": minutes,
        "hold_minutes": hold_minutes,
        "always_on": False,
        "usd_per_hour": usd,
    }


class Actors:
    """Everybody. until: when they have done all they do."""

    def __init__(self, site: Site, *, until: float) -> None:
        self._site, self._until = site, until
        self._random: random.Random = site.dice.random
        self._lanes = {
            name: lane(name, hold_minutes=hold, usd=1.5 + number)
            for number, (name, hold) in enumerate(site.plan.hold_minutes.items())
        }
        self._writing: set[str] = set()
        self._number = 0
        site.mover, site.aim = self.move, self.aim

    def begin(self) -> None:
        """Put everything that they do into the calendar."""
        site, random = self._site, self._random
        began, length = site.clock.now, self._until - site.clock.now
        wanted = dict(self._lanes)
        if len(wanted) > 2 and random.random() < 0.5:
            wanted.pop(random.choice(sorted(wanted)))
        site.set_manifest(wanted, told=False)

        lull = random.random() < 0.35

        def some(count: int, action: Any, *, last: float = 0.9) -> None:
            for _ in range(count):
                part = random.random() * last
                # Long enough for the head node to be stopped, and wanted again.
                site.clock.at(began + length * (part * 0.3 if lull and part < 0.7 else part), action)

        for number in range(random.randint(1, 3)):
            name = f"d{number}"
            begins = began + random.random() * length * (0.1 if lull else 0.5)
            site.clock.at(begins, self._acquire, name, random.randint(2, 14), random.choice((1.0, 8.0, 30.0)))
            self._writing.add(name)
        for number in range(site.plan.microscopes):
            site.clock.at(began + random.uniform(0, 300), self._transfer, f"arn:task-{number}", 0)
        some(random.randint(2, 7), self.users_submit)
        some(random.randint(0, 3), self.manifest_changes)
        some(random.randint(0, 2), self.user_logs_in)
        some(random.randint(0, 1), self._partition_closes, last=0.7)
        some(random.randint(0, 1), self._node_dies, last=0.7)
        some(random.randint(0, 1), self._says_of_a_dataset)
        some(random.randint(0, 1), self._wakes)
        some(random.randint(0, 2) if site.dice.any_per_call else 0, self._poison)

    def stop(self) -> None:
        """They do nothing any more."""
        self._site.mover = lambda: None
        self._site.aim = lambda document, given: None

    # microscopes

    def _acquire(self, name: str, objects: int, gap: float) -> None:
        site, random = self._site, self._random
        at = site.clock.now
        for number in range(objects):
            at += random.expovariate(1 / gap)
            site.clock.at(
                min(at, self._until), self._write, name, f"GridSquare/m{number}.{random.choice(('mrc', 'eer', 'xml'))}"
            )
        if random.random() < 0.04:
            site.clock.at(min(at + 5, self._until), self._remove, name)
        elif site.plan.sentinel and random.random() < 0.7:
            site.clock.at(min(at + random.uniform(0, 60), self._until), self._write, name, site.plan.sentinel)
            if random.random() < 0.15:
                site.clock.at(min(at + random.uniform(60, 900), self._until), self._write, name, "late.mrc")

    def _write(self, name: str, file: str) -> None:
        self._site.put_object(name, file, self._random.randint(1, 10**9))

    def _remove(self, name: str) -> None:
        if self._site.bucket.get(name):
            self._site.remove_objects(name)

    def _transfer(self, task: str, known: int) -> None:
        """A run of the task: it finds what is new since the last."""
        site, random = self._site, self._random
        began, there = site.clock.now, sum(map(len, site.bucket.values()))

        def ends() -> None:
            site.transferred(task, began=began, files=max(0, there - known))
            if site.clock.now < self._until - 300:
                site.clock.at(site.clock.now + random.uniform(200, 500), self._transfer, task, there)

        site.clock.at(site.clock.now + random.uniform(5, 60), ends)

    # users

    def users_submit(self) -> None:
        """A few jobs of somebody."""
        site, random = self._site, self._random
        if not site.head_node.on:
            # Nobody can submit to a head node that is off; they wake it and try again.
            if site.head_node.state == "stopped":
                site.head_node.start()
            if site.clock.now + 120 < self._until:
                site.clock.at(site.clock.now + 120, self.users_submit)
            return
        name = random.choice(sorted(site.plan.lanes))
        before: Job | None = None
        for _ in range(random.randint(1, 3)):
            seconds = random.choice((random.uniform(1, 20), random.uniform(20, 600)))
            fate = random.random()
            job = site.slurm.submit(
                name, seconds, slots=random.choice((1, 2, 2)), held=fate < 0.05, after=before if fate > 0.9 else None
            )
            before = job
            if fate < 0.15:
                then = site.slurm.release if fate < 0.03 else site.slurm.cancel
                site.clock.at(site.clock.now + random.uniform(1, 400), then, job)

    def user_logs_in(self) -> None:
        site, random = self._site, self._random
        if site.head_node.agent:
            self._number += 1
            # On a terminal, or in cryoSPARC's pages.
            name = f"{random.choice(('user', 'web'))}{self._number}"
            site.head_node.logins[name] = site.clock.now
            site.trace("%s logs in", name)
            site.clock.at(site.clock.now + random.uniform(20, 900), site.head_node.logins.pop, name, None)

    # operators

    def manifest_changes(self) -> None:
        """A lane is added, removed or changed."""
        site, random = self._site, self._random
        wanted = {name: dict(found) for name, found in site.manifest.items()}
        name = random.choice(sorted(self._lanes))
        if name not in wanted:
            wanted[name] = dict(self._lanes[name])
        elif len(wanted) > 1 and random.random() < 0.5:
            del wanted[name]
        else:
            wanted[name]["time_limit_minutes"] = random.randint(60, 5000)
            if random.random() < 0.3:
                wanted[name]["hold_minutes"] = random.choice((0, 5, 10))
        site.set_manifest(wanted)

    def _partition_closes(self) -> None:
        site, random = self._site, self._random
        if random.random() < 0.3:
            name = random.choice(sorted(site.plan.lanes))
            site.slurm.closed.add(name)
            site.trace("partition %s is closed", name)
            site.clock.at(site.clock.now + random.uniform(30, 400), self._partition_opens, name)

    def _partition_opens(self, name: str) -> None:
        self._site.slurm.closed.discard(name)
        self._site.slurm.soon()

    def _node_dies(self) -> None:
        up = [node for node in self._site.slurm.nodes if node.power == "up"]
        if up and self._random.random() < 0.3:
            self._site.slurm.dies(self._random.choice(up))

    def _says_of_a_dataset(self) -> None:
        """`cryoem land`, `cryoem reopen`: only of a dataset that is known and has not landed."""
        site, random = self._site, self._random
        known = [name for name, item in site.table.items("dataset") if item["state"] == "arriving"]
        if known:
            name, word = random.choice(known), random.choice(("landed", "arriving"))
            site.trace("an operator says of %s: %s", name, word)
            change = {
                "Key": {"pk": {"S": "dataset"}, "sk": {"S": name}},
                "UpdateExpression": "SET #operator = :word, operator_at = :at",
                "ExpressionAttributeNames": {"#operator": "operator"},
                "ExpressionAttributeValues": {":word": {"S": word}, ":at": {"N": repr(site.clock.now)}},
            }
            site.table.write("Update", change, operation="UpdateItem")
            site.sweeps.once()

    def _wakes(self) -> None:
        """`cryoem wake`: a request among the records, and a sweep."""
        site, now = self._site, self._site.clock.now
        site.trace("an operator wants the head node")
        item = {"pk": {"S": "request"}, "sk": {"S": "wake"}, "at": {"N": repr(now)}}
        item["until"] = {"N": repr(now + self._random.uniform(300, 3600))}
        site.table.write("Put", {"Item": item}, operation="PutItem")
        site.sweeps.once()

    def _poison(self) -> None:
        site, random = self._site, self._random
        queue = random.choice(list(site.queues.values()))
        text = random.choice(_POISON)
        site.dice.note("poison")
        if random.random() < 0.3:
            queue.dead[Message(site.new_id("m"), text, site.clock.now, about=None, poison=True)] = None
        else:
            queue.put(text, poison=True)

    # just while a hook or a program makes a call

    def move(self) -> None:
        """The world goes on at the worst moment."""
        site, random = self._site, self._random
        if site.clock.now >= self._until:
            return
        drawn = random.random()
        idle = [node for node in site.slurm.nodes if node.idle]
        if drawn < 0.5 and idle and site.head_node.on:
            node = random.choice(idle)
            seconds = random.choice((0.3, 2.0, 60.0))
            site.trace("just then:")
            site.slurm.submit(node.lane, seconds, slots=random.choice((1, 2)))
            site.slurm.schedule()
        elif drawn < 0.7:
            names = [name for name, found in site.bucket.items() if found]
            if names:
                site.trace("just then:")
                self._write(random.choice(sorted(names)), f"m{random.randint(0, 20)}.mrc")
        elif drawn < 0.8:
            site.trace("just then:")
            self.manifest_changes()
        elif drawn < 0.87:
            self.user_logs_in()
        elif drawn < 0.94:
            jobs = site.slurm.active()
            if jobs:
                site.slurm.cancel(random.choice(jobs))
        elif site.head_node.on:
            site.slurm.submit(random.choice(sorted(site.plan.lanes)), random.uniform(1, 300))

    def aim(self, document: str, given: Mapping[str, str]) -> None:
        """Somebody does what makes a command wrong that is on its way."""
        site, random = self._site, self._random
        if site.clock.now >= self._until or not site.head_node.on:
            return
        site.trace("just then:")
        if document == "power-down":
            node = site.slurm.by_name[random.choice(given["Nodes"].split(",")).partition("=")[0]]
            site.slurm.submit(node.lane, random.choice((0.1, 1.0, 30.0)), slots=random.choice((1, 2)))
            site.slurm.schedule()
        elif document == "register-lanes":
            gone = sorted(set(self._lanes) - set(site.manifest))
            if gone and random.random() < 0.4:
                site.slurm.submit(random.choice(gone), random.uniform(1, 300))
            else:
                self.manifest_changes()
        elif document == "stop-head-node":
            if random.random() < 0.5:
                self.user_logs_in()
            else:
                site.slurm.submit(random.choice(sorted(site.plan.lanes)), random.uniform(1, 300))
        elif document == "start-processing":
            self._write(given["Dataset"], f"m{random.randint(0, 20)}.mrc")
