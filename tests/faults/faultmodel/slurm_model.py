"""Slurm as the head node's programs see it: nodes with power states, jobs, and the text its commands print.

Semantics of power-down as measured on Slurm 22.05.8: power_down_asap lets a running job finish, takes no new one, and
powers an idle node off at once. Times that Slurm prints have whole seconds. There is no idle time of Slurm's own here:
whatever is powered down, a hook or the engine's replacement of broken nodes did it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .site import Site

SLOTS = 2
_HELD, _DEPENDENCY = "JobHeldUser", "Dependency"


class Job:
    """A job; half a node or a whole one."""

    def __init__(self, number: int, lane: str, seconds: float, *, slots: int, at: float) -> None:
        self.number, self.lane, self.seconds, self.slots = number, lane, seconds, slots
        self.submitted, self.started, self.ended, self.gone = at, 0.0, 0.0, 0.0
        self.began_at = self.pending_since = at  # began_at: on its node, booting or not
        self.state = "PENDING"
        self.held = self.shut = False
        self.after: Job | None = None
        self.node: Node | None = None
        self.run = 0

    @property
    def active(self) -> bool:
        return self.state in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING")

    @property
    def startable(self) -> bool:
        return not self.held and (self.after is None or not self.after.active)

    @property
    def waits_since(self) -> float:
        """Since when it could start if there were a node."""
        return max(self.pending_since, self.after.gone if self.after is not None else 0.0)

    @property
    def reason(self) -> str:
        if self.state != "PENDING":
            return "None"
        if self.held:
            return _HELD
        return _DEPENDENCY if not self.startable else "PartitionInactive" if self.shut else "Resources"


class Node:
    """A node. power: off, booting, up, down, leaving. since: when it came into that state, or became free."""

    def __init__(self, name: str, lane: str, number: int) -> None:
        self.name, self.lane, self.number = name, lane, number
        self.power = "off"
        self.asap = False
        self.jobs: dict[Job, None] = {}
        self.boot: float | None = None
        self.busy: float | None = None
        self.since = 0.0
        self.generation = 0
        self.noted_at: float | None = None
        self.trouble = ""
        self.on_since = 0.0
        self._shown: tuple[tuple[object, ...], str] = ((), "")

    @property
    def free(self) -> int:
        return SLOTS - sum(job.slots for job in self.jobs)

    @property
    def paid(self) -> bool:
        return self.power != "off"

    @property
    def idle(self) -> bool:
        """Up, without a job, and not told to go."""
        return self.power == "up" and not self.jobs and not self.asap

    @property
    def useless(self) -> bool:
        """Paid for without a job, and not on its way off."""
        return self.power in ("up", "booting", "down") and not self.jobs and not self.asap

    def _state(self) -> str:
        running = [job for job in self.jobs if job.state != "COMPLETING"]
        base = "IDLE" if not running else "ALLOCATED" if self.free == 0 else "MIXED"
        flags = [base, "CLOUD"]
        if self.power == "down":
            flags[0] = "DOWN"
            # Slurm calls a node that never came up POWERED_DOWN at once, and does nothing more about it.
            flags.append("POWERED_DOWN" if self.trouble.startswith("Resume") else "NOT_RESPONDING")
        if len(running) < len(self.jobs):
            flags.append("COMPLETING")
        if self.power == "booting":
            flags += ["NOT_RESPONDING", "POWERING_UP"]
        if self.power == "off":
            flags.append("POWERED_DOWN")
        if self.power == "leaving":
            flags.append("POWERING_DOWN")
        elif self.asap and self.power != "off":
            flags += ["DRAIN", "POWER_DOWN"]
        return "+".join(flags)

    def line(self) -> str:
        """Its line of `scontrol --oneliner show nodes`."""
        key = (self._state(), self.boot, self.busy, self.noted_at)
        if self._shown[0] != key:
            reason = f" Reason={self.trouble} [slurm@{_when(self.noted_at)}]" if self.noted_at else ""
            text = (
                f"NodeName={self.name} Arch=x86_64 CPUTot=48 Gres=gpu:a10g:4 NodeAddr={self.address}"
                f" NodeHostName={self.name} RealMemory=186777 State={key[0]} Partitions={self.lane}"
                f" BootTime={_when(self.boot)} SlurmdStartTime={_when(self.boot)} LastBusyTime={_when(self.busy)}"
                f" CfgTRES=cpu=48,mem=186777M,billing=48,gres/gpu=4{reason}"
            )
            self._shown = (key, text)
        return self._shown[1]

    @property
    def address(self) -> str:
        return f"10.0.1.{self.number}" if self.paid else self.name


def _when(at: float | None) -> str:
    # In the zone of the machine, as Slurm prints it and the programs read it.
    return "None" if at is None else datetime.fromtimestamp(int(at)).strftime("%Y-%m-%dT%H:%M:%S")


class Slurm:
    """The controller."""

    def __init__(self, site: Site, lanes: dict[str, int], *, on_end: Callable[[Job], None]) -> None:
        self._site, self._on_end = site, on_end
        self.nodes: list[Node] = []
        for lane, count in lanes.items():
            self.nodes += [Node(f"{lane}-dy-n-{n + 1}", lane, len(self.nodes) + n + 1) for n in range(count)]
        self.by_name = {node.name: node for node in self.nodes}
        self.jobs: list[Job] = []
        self.closed: set[str] = set()
        # When each instance ended, by its id and its launch.
        self.lives: dict[tuple[str, int], float] = {}
        self._number = 0
        self._awaited = False

    # what people do

    def submit(
        self, lane: str, seconds: float, *, slots: int = SLOTS, held: bool = False, after: Job | None = None
    ) -> Job:
        self._number += 1
        job = Job(self._number, lane, seconds, slots=slots, at=self._site.clock.now)
        job.held, job.after = held, after
        self.jobs.append(job)
        self._site.trace("job %s submitted to %s for %.1f s%s", job.number, lane, seconds, " held" * held)
        self.soon()
        return job

    def cancel(self, job: Job) -> None:
        # Nobody can ask a controller whose machine is off.
        if self._site.head_node.on and job.state in ("PENDING", "CONFIGURING", "RUNNING"):
            self._site.trace("job %s cancelled (%s)", job.number, job.state)
            self._finish(job, "CANCELLED")

    def release(self, job: Job) -> None:
        job.held, job.pending_since = False, self._site.clock.now
        self.soon()

    def active(self) -> list[Job]:
        return [job for job in self.jobs if job.active]

    # what the controller does

    def soon(self) -> None:
        """The scheduler runs in a moment, if the head node is on."""
        if not self._awaited:
            self._awaited = True
            self._site.clock.at(self._site.clock.now + self._site.dice.random.uniform(0.05, 0.8), self._awaited_run)

    def _awaited_run(self) -> None:
        self._awaited = False
        self.schedule()

    def schedule(self) -> None:
        """Start what can start."""
        if not self._site.head_node.on:
            return
        for job in self.jobs:
            if job.state != "PENDING" or not job.startable or job.lane in self.closed:
                continue
            mine = [node for node in self.nodes if node.lane == job.lane and not node.asap and node.free >= job.slots]
            node = next((node for node in mine if node.power == "up"), None)
            node = node or next((node for node in mine if node.power == "booting"), None)
            node = node or next((node for node in mine if node.power == "off"), None)
            if node is None:
                continue
            job.node, job.began_at = node, self._site.clock.now
            node.jobs[job] = None
            if node.power == "up":
                self._begin(job)
            else:
                job.state = "CONFIGURING"
                if node.power == "off":
                    self._boot(node)

    def _boot(self, node: Node) -> None:
        dice, clock = self._site.dice, self._site.clock
        node.power, node.since, node.boot, node.noted_at = "booting", clock.now, None, None
        node.on_since = clock.now
        node.generation += 1
        if dice.chance("boot_fails"):
            clock.at(clock.now + dice.random.uniform(90, 300), self._boot_failed, node, node.generation)
        else:
            clock.at(clock.now + dice.random.uniform(40, 240), self._booted, node, node.generation)
        self._site.trace("node %s boots", node.name)

    def _booted(self, node: Node, generation: int) -> None:
        if node.generation != generation or node.power != "booting":
            return
        now = self._site.clock.now
        node.power, node.since, node.boot, node.busy = "up", now, now - 20, now
        self._site.trace("node %s is up", node.name)
        for job in list(node.jobs):
            if job.state == "CONFIGURING":
                self._begin(job)
        self._leave_if_told(node)
        self.soon()

    def _boot_failed(self, node: Node, generation: int) -> None:
        if node.generation == generation and node.power == "booting":
            self._lost(node, "ResumeTimeout reached")

    def dies(self, node: Node) -> None:
        """A node that is up does not answer any more; its jobs go back into the queue."""
        if node.power == "up" and not node.asap:
            self._lost(node, "Not responding")

    def _lost(self, node: Node, trouble: str) -> None:
        now, dice = self._site.clock.now, self._site.dice
        self._site.trace("node %s: %s", node.name, trouble)
        node.power, node.since, node.noted_at, node.trouble = "down", now, now, trouble
        for job in list(node.jobs):
            del node.jobs[job]
            # One that has ended, and whose node is not free yet, has ended all the same.
            if job.state != "COMPLETING":
                job.state, job.node, job.pending_since, job.run = "PENDING", None, now, job.run + 1
        self.soon()
        if node.asap or not dice.chance("not_replaced"):
            self._site.clock.at(now + dice.random.uniform(30, 120), self._replaced, node, node.generation)

    def _replaced(self, node: Node, generation: int) -> None:
        """The engine replaces a node that is down (ParallelCluster's clustermgtd)."""
        if node.generation == generation and node.power == "down":
            self._leave(node)

    def _begin(self, job: Job) -> None:
        clock = self._site.clock
        job.state, job.started = "RUNNING", clock.now
        job.run += 1
        self._site.trace("job %s runs on %s", job.number, job.node.name if job.node else "")
        clock.at(clock.now + job.seconds, self._ends, job, job.run)

    def _ends(self, job: Job, run: int) -> None:
        if job.state == "RUNNING" and job.run == run:
            if not self._site.head_node.on:
                self._site.clock.at(self._site.clock.now + 60, self._ends, job, run)
                return
            self._finish(job, "COMPLETED")

    def _finish(self, job: Job, state: str) -> None:
        clock, node = self._site.clock, job.node
        job.ended, job.run = clock.now, job.run + 1
        ran = job.state == "RUNNING"
        # squeue shows it as completing until its node is free again.
        job.state = "COMPLETING" if ran else state
        job.gone = clock.now
        if node is not None:
            if ran:
                clock.at(clock.now + self._site.dice.random.uniform(0.05, 1.5), self._freed, job, node, state)
            else:
                self._freed(job, node, state)
        self._on_end(job)
        self._site.trace("job %s has ended: %s", job.number, state)
        self.soon()

    def _freed(self, job: Job, node: Node, state: str) -> None:
        job.state, job.gone = state, self._site.clock.now
        if job in node.jobs:
            del node.jobs[job]
            node.busy = node.since = self._site.clock.now
        self._leave_if_told(node)
        self.soon()

    def _leave_if_told(self, node: Node) -> None:
        if node.asap and not node.jobs and node.power in ("up", "down"):
            self._leave(node)

    def _leave(self, node: Node) -> None:
        clock = self._site.clock
        node.power, node.since = "leaving", clock.now
        self._site.trace("node %s powers down", node.name)
        clock.at(clock.now + self._site.dice.random.uniform(20, 90), self._left, node)

    def _left(self, node: Node) -> None:
        node.power, node.asap, node.boot, node.noted_at = "off", False, None, None
        node.since = self._site.clock.now
        self.lives[f"i-{node.name}", int(node.on_since)] = node.since
        self._site.trace("node %s is off", node.name)
        self.soon()

    # what its commands do

    def command(self, words: tuple[str, ...]) -> str:
        """Output of scontrol or squeue. Errors: CalledProcessError, as the real ones exit with 1."""
        if words[0] == "squeue":
            return self._squeue(words)
        assert words[0] == "scontrol", words
        if words[-1] == "config":
            # No completion script is killed here; tests/meter has those.
            return "JobCompLoc = (null)\n"
        if "nodes" in words:
            wanted = set(words[words.index("nodes") + 1].split(",")) if words[-1] != "nodes" else None
            return "".join(f"{n.line()}\n" for n in self.nodes if wanted is None or n.name in wanted)
        if "partitions" in words:
            lanes = dict.fromkeys(node.lane for node in self.nodes)
            return "".join(
                f"PartitionName={lane} AllowGroups=ALL State={'INACTIVE' if lane in self.closed else 'UP'}\n"
                for lane in lanes
            )
        if "job" in words:
            return self._show_job(words[-1])
        assert words[1] == "update", words
        return self._update(dict(word.partition("=")[::2] for word in words[2:]))

    def _squeue(self, words: tuple[str, ...]) -> str:
        assert "--noheader" in words
        states = words[words.index("--states") + 1].split(",") if "--states" in words else None
        form = words[words.index("--format") + 1]
        lines = []
        for job in self.jobs:
            job.shut = job.lane in self.closed
            if not job.active or (states is not None and job.state not in states):
                continue
            shown = {"%P": job.lane, "%r": job.reason, "%j": f"cryosparc_P1_J{job.number}", "%T": job.state}
            shown |= {"%i": str(job.number), "%A": str(job.number), "%u": "ada", "%D": "1"}
            gpus = 0 if job.lane == "cpu" else 2 * job.slots
            shown |= {"%V": _when(job.submitted), "%b": f"gres:gpu:{gpus}" if gpus else "N/A"}
            line = form
            for name, value in shown.items():
                line = line.replace(name, value)
            lines.append(f"{line}\n")
        return "".join(lines)

    def _show_job(self, number: str) -> str:
        job = self.jobs[int(number) - 1]
        gpus = 0 if job.lane == "cpu" else 2 * job.slots
        gres = f" JOB_GRES=gpu:{gpus}" if gpus else ""
        return f"JobId={number} TRES=cpu={24 * job.slots},mem={40 * job.slots}G,node=1,billing=1{gres}\n"

    def _update(self, given: dict[str, str]) -> str:
        site, node = self._site, self.by_name[given["nodename"]]
        verb = given["state"].lower()
        site.judge.told_to_power_down(node, verb)
        if verb != "power_down_asap":
            raise subprocess.CalledProcessError(1, "scontrol", stderr=f"slurm_update error: {verb}")
        site.trace("scontrol: power down %s (%s, %s jobs)", node.name, node.power, len(node.jobs))
        if node.power in ("leaving", "off"):
            return ""
        node.asap = True
        self._leave_if_told(node)
        return ""


def iso(at: float) -> str:
    """A moment as AWS's events write it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
