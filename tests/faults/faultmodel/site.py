"""One small site in memory: bucket, bus, queues, head node, Slurm, and the calls between them."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ReadTimeoutError

from . import aws, machine_room
from .chance import Dice
from .clockwork import Clockwork, Crash, Killed, Process
from .hooks_code import HOOKS, hooks
from .judge import Judge
from .messages import FUNCTION_SECONDS, Bus, Queue, Sweeps
from .slurm_model import Slurm
from .stand_ins import stage
from .table import Table, failed

SWEEP_SECONDS = 300.0
_ROUTES = {
    ("aws.s3", "Object Created"): "dataset_hook",
    ("aws.datasync", "DataSync Task Execution State Change"): "dataset_hook",
    ("aws.ec2", "EC2 Instance State-change Notification"): "lane_hook",
    ("aws.ssm", "Parameter Store Change"): "lane_hook",
    ("cryoem.platform", "Dataset Landed"): "lane_hook",
    ("cryoem.slurm", "Slurm Job State Change"): "node_hook",
}
_SECONDS_OF_A_CALL = 0.02


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a site is set up. hold_minutes of each lane it may have; nodes of each."""

    lanes: Mapping[str, int]
    hold_minutes: Mapping[str, int]
    cryosparc: bool = True
    recipe: bool = False
    sentinel: str = "DONE"
    quiet_minutes: int = 10
    microscopes: int = 0
    stop_head_node_after_minutes: int = 0
    head_node_on: bool = True
    keys_a_page: int = 1000


class Site:
    """Everything, and the ways between."""

    def __init__(
        self, plan: Plan, dice: Dice, *, now: float, inline: bool = True, sweeping: bool = True, redriving: bool = True
    ) -> None:
        self.plan, self.dice = plan, dice
        self.clock = Clockwork(now, inline=inline)
        self.tracing = False
        self.lines: list[str] = []
        self.api_calls: Counter[str] = Counter()
        self.redriving = redriving
        self._ids = 0
        self.judge = Judge(self)
        self.table = Table(self.clock)
        self.bucket: dict[str, dict[str, tuple[int, datetime]]] = {}
        self._imports: dict[str, dict[str, float]] = {}
        self.keys_a_page = plan.keys_a_page
        self.parameters: dict[str, str] = {}
        self.manifests: list[tuple[float, dict[str, dict[str, Any]]]] = []
        self.fingerprints: dict[str, set[str]] = {}
        self.executions: dict[str, dict[str, Any]] = {}
        self.commands: dict[str, aws.Command] = {}
        self.next_crash: dict[str, tuple[int, bool]] = {}
        self.outages: list[tuple[str, float, float]] = []
        self.mover: Callable[[], None] = lambda: None
        self.aim: Callable[[str, Mapping[str, str]], None] = lambda document, given: None
        self.bus = Bus(self, _ROUTES)
        self.bus.listener = self.judge.event_said
        self.queues = {
            name: Queue(
                self, name, batch=100 if name == "dataset_hook" else 10, window=20 if name == "dataset_hook" else 0
            )
            for name in HOOKS
        }
        self.sweeps = Sweeps(self, every=SWEEP_SECONDS, on=sweeping)
        self.head_node = machine_room.HeadNode(self, on=plan.head_node_on)
        self.programs = machine_room.Programs(self)
        self.recipes = machine_room.Recipes(self)
        self.backup = machine_room.Backup(self)
        self.master = machine_room.Master(self)
        self.slurm = Slurm(self, dict(plan.lanes), on_end=self.programs.job_ended)
        self.here = _here(plan)
        self.clients = {
            "dynamodb": aws.DynamoDB(self),
            "s3": aws.S3(self),
            "ec2": aws.EC2(self),
            "ssm": aws.SSM(self),
            "events": aws.Events(self),
            "sqs": aws.SQS(self),
            "datasync": aws.DataSync(self),
            "fsx": aws.FSx(self),
        }
        self.worlds: dict[str, Any] = {}
        self.environments: dict[str, dict[str, str]] = {}

    def new_id(self, kind: str) -> str:
        self._ids += 1
        return f"{kind}{self._ids}"

    def trace(self, text: str, *values: object) -> None:
        """A line for people."""
        if self.tracing:
            who = self.clock.current
            self.lines.append(
                f"{self.clock.now - self.judge.began:9.2f}  {who.name if who else '':<22} {text % values}"
            )

    # calls

    def call(self, operation: str, effect: Callable[[], Any], *, latency: float = _SECONDS_OF_A_CALL) -> Any:
        """A call of AWS, Slurm or cryoSPARC by the process that runs, with all that may happen before and after it."""
        clock = self.clock
        process = clock.current
        if process is None:
            return effect()
        process.calls += 1
        self.api_calls[operation] += 1
        mine = process.calls == process.crash_at
        if mine and not process.crash_after:
            self._crash(process, operation, "before")
        if process.calls == process.freezes_at:
            self.trace("stands still before %s", operation)
            clock.advance(self.dice.random.uniform(1, 30))
        clock.advance(latency)
        fate = self.dice.of_call() if self.dice.any_per_call else ""
        if fate == "world_moves":
            clock.current = None
            self.mover()
            clock.current = process
        elif fate == "throttled":
            self.trace("throttled: %s", operation)
            raise _refusal(operation)
        if self.outages and self._is_out(operation):
            raise _refusal(operation)
        clock.current = process
        try:
            result = effect()
        except (AssertionError, AttributeError, IndexError, KeyError, NameError, TypeError) as error:
            # The model's own mistake, which the code under test would take for a failure of AWS.
            clock.fail(error)
            raise Killed from error
        if mine and process.crash_after:
            self._crash(process, operation, "after")
        if fate == "ambiguous":
            self.trace("done, and seen as a timeout: %s", operation)
            raise _timeout(operation)
        return result

    def _crash(self, process: Process, operation: str, when: str) -> None:
        self.dice.note(f"crash_{when}_effect")
        self.trace("dies %s %s", when, operation)
        raise Crash

    def _is_out(self, operation: str) -> bool:
        now = self.clock.now
        return any(operation.startswith(service) and begin <= now < end for service, begin, end in self.outages)

    def slurm_command(self, command: tuple[str, ...]) -> str:
        """What scontrol or squeue prints, with the time it takes."""
        process = self.clock.current
        assert process is not None
        if process.attributes.get("quick"):
            return self.slurm.command(command)

        def effect() -> str:
            if self.dice.chance("slurm_error"):
                raise _refusal("slurm")
            if "show" in command and "nodes" in command:
                process.attributes["saw_nodes_at"] = self.clock.now
            elif "squeue" in command:
                process.attributes.setdefault("saw_queue_at", self.clock.now)
            return self.slurm.command(command)

        text: str = self.call(f"slurm.{command[0]}", effect)
        return text

    def sleep(self, seconds: float) -> None:
        """time.sleep. Whoever waits for a command sleeps on while there can be nothing new, and is woken by its end."""
        process = self.clock.current
        command = process.attributes.pop("polled", None) if process is not None else None
        if command is not None:
            if command.swift and command.process is not None and not command.process.done:
                self.clock.join(command.process, timeout=90)
                seconds = min(seconds, 0.2)
            else:
                seconds = max(seconds, min(20.0, command.nothing_before - self.clock.now))
        self.clock.advance(seconds)

    def stall(self, kind: str) -> None:
        """Perhaps the process stands still for a while, and others overtake it."""
        if self.dice.any_per_call and self.dice.chance(kind):
            self.trace("stands still before it writes")
            self.clock.advance(self.dice.random.uniform(1, 40))

    # processes

    def invocation(self, function: str) -> Process:
        """A Lambda invocation that is about to begin."""
        process = Process(
            "lambda", f"{function}#{self.new_id('')}", deadline=self.clock.now + FUNCTION_SECONDS, function=function
        )
        self._draw(process, "crash", 8)
        if function in self.next_crash:
            process.crash_at, process.crash_after = self.next_crash.pop(function)
        if self.dice.chance("frozen"):
            process.freezes_at = 1 + int(self.dice.random.expovariate(1 / 8))
        return process

    def program_process(self, document: str) -> Process:
        """A program of the head node that is about to begin."""
        process = Process("host", document, deadline=self.clock.now + 700)
        self._draw(process, "program_dies", 4)
        return process

    def _draw(self, process: Process, kind: str, mean_calls: float) -> None:
        if self.dice.chance(kind):
            process.crash_at = 1 + int(self.dice.random.expovariate(1 / mean_calls))
            process.crash_after = self.dice.random.random() < 0.5

    def handler(self, function: str) -> Callable[[Mapping[str, Any], object], dict[str, Any]]:
        self.trace("begins")
        found: Callable[[Mapping[str, Any], object], dict[str, Any]] = hooks.handlers[function]
        return found

    # what changes in it

    def set_manifest(self, lanes: Mapping[str, Mapping[str, Any]], *, told: bool = True) -> None:
        """Another lane manifest."""
        self.manifests.append((self.clock.now, {name: dict(lane) for name, lane in lanes.items()}))
        text = json.dumps({"version": 1, "cluster": "cryo", "lanes": list(lanes.values())})
        self.parameters["/cryo/lanes"] = text
        self.fingerprints[hashlib.sha256(text.encode()).hexdigest()] = set(lanes)
        self.trace("manifest: %s", ", ".join(f"{n} {lane['time_limit_minutes']}" for n, lane in lanes.items()))
        if told:
            detail = {"name": "/cryo/lanes", "operation": "Update"}
            self.bus.accept("aws.ssm", "Parameter Store Change", detail)

    @property
    def manifest(self) -> dict[str, dict[str, Any]]:
        return self.manifests[-1][1]

    def put_object(self, dataset: str, name: str, size: int) -> None:
        """An object is written, or written again."""
        now = self.clock.now
        key = f"datasets/{dataset}/{name}"
        self.bucket.setdefault(dataset, {})[key] = (size, datetime.fromtimestamp(int(now), UTC))
        self.judge.bucket_changed(dataset)
        # The file system imports it a while later.
        at = now + self.dice.random.uniform(1, 40)
        self._imports.setdefault(dataset, {}).setdefault(name, at)
        self.trace("object %s/%s, %s bytes", dataset, name, size)
        detail = {"bucket": {"name": "landing"}, "object": {"key": key, "size": size}}
        self.bus.accept("aws.s3", "Object Created", detail, about=("object", dataset))

    def remove_objects(self, dataset: str) -> None:
        """Somebody with the right to do so removes a dataset."""
        self.trace("the objects of %s are removed", dataset)
        self.bucket[dataset] = {}
        self._imports[dataset] = {}
        self.judge.bucket_changed(dataset)

    def imported(self, dataset: str) -> list[str]:
        return [name for name, at in self._imports.get(dataset, {}).items() if at <= self.clock.now]

    def transferred(self, task: str, *, began: float, files: int) -> None:
        """A DataSync execution has ended."""
        arn = f"{task}/execution/exec-{self.new_id('')}"
        self.executions[arn] = {
            "Status": "SUCCESS",
            "StartTime": datetime.fromtimestamp(began, UTC),
            "FilesTransferred": files,
        }
        self.trace("transfer: %s files", files)
        self.bus.accept(
            "aws.datasync", "DataSync Task Execution State Change", {"State": "SUCCESS"}, resources=[arn, task]
        )

    def instances(self) -> list[dict[str, Any]]:
        """EC2 instances of the cluster."""
        return [
            self.head_node.described(),
            *(
                {
                    "InstanceId": f"i-{node.name}",
                    "State": {"Name": "running"},
                    "LaunchTime": datetime.fromtimestamp(int(node.on_since), UTC),
                    "PrivateIpAddress": node.address,
                    "PrivateDnsName": f"ip-{node.address.replace('.', '-')}.ec2.internal",
                    "Tags": [],
                }
                for node in self.slurm.nodes
                if node.paid
            ),
        ]


def _here(plan: Plan) -> Any:
    home = stage.home
    return stage.modules["settings"].Settings(
        home=home,
        cluster="cryo",
        event_bus="bus",
        region="eu-central-1",
        manifest_parameter="/cryo/lanes",
        cryosparc_secret="arn:secret",
        cryosparc_url="http://10.0.0.9:61000" if plan.cryosparc else "",
        cryosparc_worker="/cryosparc/bin/cryosparcw",
        fsx=home / "fsx",
        scratch=home / "scratch",
        slurm_bin="",
        user="",
        results_bucket="none",
        cryosparc_version="5.0.3" if plan.cryosparc else "none",
        cryosparc_installed="5.0.3" if plan.cryosparc else "",
        cryosparc_license_secret="none",
        cryosparc_folder=home / "cryosparc",
        cryosparc_server="",
        cryosparc_host="",
        cryosparc_port=61000,
    )


def _refusal(operation: str) -> Exception:
    service, _, verb = operation.partition(".")
    if service == "slurm":
        said = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
        return subprocess.CalledProcessError(1, ["scontrol"], stderr=said)
    if service == "cryosparc":
        return ConnectionError("cryoSPARC: connection refused")
    if verb == "TransactWriteItems":
        reasons = [{"Code": "TransactionConflict"}]
        return failed("TransactionCanceledException", verb, CancellationReasons=reasons)
    return failed("ThrottlingException", verb)


def _timeout(operation: str) -> Exception:
    service, _, verb = operation.partition(".")
    if service == "slurm":
        return subprocess.TimeoutExpired(["scontrol"], 60)
    if service == "cryosparc":
        return TimeoutError("cryoSPARC: timed out")
    return ReadTimeoutError(endpoint_url=f"https://{service}/{verb}")
