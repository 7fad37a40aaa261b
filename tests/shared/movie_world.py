"""A system with its microscope, its file system and its people, on the emulator's real S3: what happens to movies by itself.

DataSync is the twin's own, under the task's role. The file system is synchronised under the role that FSx makes for it, which
is given every right here. Hooks are the shipped ones, under their roles and with their environment. Who tries to delete
does so under their own policies. The second copy is S3's own replication. Played are: days, S3's lifecycle, FSx's API, and a
share that is a folder. What operators do is in movie_operators.py, in which order all of it comes in movie_steps.py.
"""

from __future__ import annotations

import os
import shutil
import time
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from random import Random
from types import ModuleType, SimpleNamespace
from typing import Any, cast
from unittest import mock

import boto3
from deep_archive import DAY, SMALLEST, DeepArchive
from deployed import Template
from emulated import Make, System
from fsx_double import FsxDouble
from iam_simulator import ADMINISTRATOR, Principal
from lustre_double import LustreDouble, RefusedError
from movie_ledger import MOVIES, Ledger, LostError
from second_copy import SecondCopy

from cdk_cryoem_lambda import dataset_hook, receipt_hook
from cdk_cryoem_lambda.reconcile import datasets
from cdk_cryoem_stacks.operate.find import Clients
from cdk_cryoem_stacks.operate.records import Records
from cdk_cryoem_twin.environment import REGION
from cdk_cryoem_twin.waiting import wait_for

_FIRST_MTIME_NS = 1_700_000_000_000_000_000
HEAD_NODE = "i-0123456789abcdef0"
"""Nothing is deployed of the cluster: its head node is gone, which keeps nobody from looking at datasets."""


class World:
    """A system with its microscope, file systems, archive, second copy, hooks and people; the ledger of its movies.

    share: the folder that is the microscope's share. file_systems: where file systems are. other_stacks: templates of
    the same system with another configuration.
    """

    def __init__(
        self,
        system: System,
        rng: Random,
        *,
        share: Path,
        file_systems: Path,
        other_stacks: dict[str, Template] | None = None,
    ) -> None:
        self.system, self.rng, self.share = system, rng, share
        self.ledger = Ledger(system)
        self.refused = self.killed = self.torn_down = self.exported = self.released = self.restored = 0
        self.safe: set[str] = set()
        self.finished: set[str] = set()
        self.words: dict[str, str] = {}
        self.archive = DeepArchive(self.ledger, self.now)
        self.second = SecondCopy(system)
        self.fsx = FsxDouble(self.now)
        self.retained: list[LustreDouble] = []
        self.other_stacks = other_stacks
        self._file_systems = file_systems
        self._made = 0
        self._sessions: dict[str, Make] = {}
        self._s3: dict[str, Any] = {}
        self._hooks: dict[str, Any] = {}
        self.mount()

    def now(self) -> float:
        """Epoch seconds, with the days that have passed."""
        return time.time() + self.ledger.day * DAY

    def look(self) -> None:
        """After whatever happened: every version is there, here and in the second copy. Errors: LostError."""
        self.ledger.look()
        self.second.look(self.ledger)

    # People

    @cached_property
    def people(self) -> dict[str, Principal]:
        """All roles of the system but the one that wants a second factor, an administrator, and FSx with every right."""
        simulated = self.system.simulated
        path = "/aws-service-role/s3.data-source.lustre.fsx.amazonaws.com/"
        others = {
            "administrator": simulated.outsider(f"{self.name}-Administrator", ADMINISTRATOR),
            "fsx": simulated.outsider(f"AWSServiceRoleForFSxS3Access_{self.name}", ADMINISTRATOR, path=path),
        }
        for other in others.values():
            self.system.make_role(other)
        return {name: role for name, role in simulated.roles.items() if "BreakGlass" not in name} | others

    @property
    def name(self) -> str:
        """The system's."""
        return next(iter(self.system.stacks)).partition("-")[0]

    def client(self, who: str) -> Any:
        """S3 as one of the people."""
        if who not in self._s3:
            self._s3[who] = self._clients(self.people[who].arn)("s3")
        return self._s3[who]

    @cached_property
    def operators(self) -> Clients:
        """An administrator's clients, as the commands make them."""
        make = self._clients(self.people["administrator"].arn)
        found = {service: make(service) for service in ("dynamodb", "ec2", "cloudformation")}
        return cast(
            Clients, SimpleNamespace(fsx=self.fsx, s3=self.archive.client(self.client("administrator")), **found)
        )

    @property
    def records(self) -> Records:
        """The hooks' table, as operators reach it."""
        ((stack, logical, _),) = self.system.deployed.of_type("AWS::DynamoDB::Table")
        return Records(self.operators, self.system.deployed.name(stack, logical))

    def _clients(self, role_arn: str) -> Make:
        if role_arn not in self._sessions:
            self._sessions[role_arn] = self.system.emulator.as_role(role_arn)
        return self._sessions[role_arn]

    # The microscope and its share

    def record(self) -> None:
        """New movies, in a dataset that is there or a new one."""
        folders = sorted(path for path in self.share.iterdir() if path.is_dir())
        dataset = self.rng.choice([*folders[-3:], self.share / self.new("day")])
        for _ in range(self.rng.randint(1, 3)):
            size = self.rng.choice([0, 1, 200, SMALLEST, SMALLEST])
            self._put(dataset / self.rng.choice(["", "Images-Disc1"]) / self._new_movie(), self.rng.randbytes(size))

    def spoil(self) -> None:
        """What happens on a share: a movie is cut, changed, longer, renamed, deleted, or a dataset is cleaned up."""
        movies = self._on_share()
        if not movies:
            return
        movie = self.rng.choice(movies)
        content = movie.read_bytes()
        match self.rng.choice(["cut", "flip", "grow", "rename", "delete", "clean up"]):
            case "cut":
                self._put(movie, content[: len(content) // 2])
            case "flip":
                self._put(movie, bytes(byte ^ 1 for byte in content))
            case "grow":
                self._put(movie, content + self.rng.randbytes(100))
            case "rename":
                self._put(movie.with_name(self._new_movie()), content)
                movie.unlink()
            case "delete":
                movie.unlink()
            case _:
                shutil.rmtree(self.share / movie.relative_to(self.share).parts[0])

    def _on_share(self) -> list[Path]:
        return sorted(path for path in self.share.rglob("*") if path.is_file())

    def _put(self, path: Path, content: bytes) -> None:
        """As a whole: how halves are told from movies is not what is asked here."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.ledger.note(f"{MOVIES}{path.relative_to(self.share)}", content)
        draft = self.share.parent / "draft"
        draft.write_bytes(content)
        # A change that keeps the size is told by the time.
        self._made += 1
        os.utime(draft, ns=(time.time_ns(), _FIRST_MTIME_NS + self._made * 1_000_000_000))
        draft.replace(path)

    def new(self, kind: str) -> str:
        """A name that nothing has."""
        self._made += 1
        return f"{kind}-{self._made:04}"

    def _new_movie(self) -> str:
        name = self.rng.choice(["FoilHole {}.tiff", "Größe {}.mrc", "{}.eer", "{} 'x' & #1+%20.tif"])
        return unicodedata.normalize("NFC", name.format(self.new("m")))

    # DataSync and hooks

    def transfer_of_a_share_that_changes(self) -> None:
        """Files vanish and change while they are copied; how the run ends does not matter."""

        def meanwhile() -> None:
            for change in (self.record, self.spoil, self.spoil):
                change()

        self._transfer(meanwhile)

    def transfer(self) -> None:
        """A run of a share that nobody touches succeeds, and takes everything. Errors: LostError."""
        if self._transfer() != "SUCCESS":
            raise LostError("DataSync did not copy a share that it could read")
        missing = {f"{MOVIES}{path.relative_to(self.share)}" for path in self._on_share()} - set(self.ledger.current())
        if missing:
            raise LostError(f"never landed: {sorted(missing)[0]}")

    def _transfer(self, meanwhile: Callable[[], None] = lambda: None, *, heard: float = 0.7) -> str:
        """A run of the task. Returns how it ended. heard: how likely it is that the hook hears of it."""
        datasync = self.system.emulator.make("datasync")
        (task,) = self.system.tasks
        execution = datasync.start_task_execution(TaskArn=task)["TaskExecutionArn"]
        meanwhile()

        def ended() -> str:
            status = str(datasync.describe_task_execution(TaskExecutionArn=execution)["Status"])
            return status if status in ("SUCCESS", "ERROR") else ""

        how = str(wait_for(ended, "the transfer", seconds=60))
        if self.rng.random() < heard:
            with self.as_hook("HooksDataset", dataset_hook, "world"):
                dataset_hook.act([dataset_hook.Hint(execution=execution)])
        return how

    def receipts(self) -> None:
        """Two runs, and the receipts a while later; of what they call safe the share may be purged. Errors: LostError."""
        for _ in range(2):
            self._transfer(heard=1)
        self.sweep()
        self.ledger.look()
        later = SimpleNamespace(time=lambda: time.time() + 600)
        with (
            self.as_hook("Receipts", receipt_hook, "keeper") as keeper,
            mock.patch.object(receipt_hook, "time", later),
            # There are no queues here, hence no dead letters.
            mock.patch.object(receipt_hook, "redrive"),
        ):
            receipt_hook.act()
            safe = {str(item["sk"]) for item in keeper.records.known("receipt") if item["state"] == "safe"}
        self.safe |= safe
        for path in self._on_share():
            key = f"{MOVIES}{path.relative_to(self.share)}"
            if key.split("/")[1] in safe and not self.ledger.holds(key, path.read_bytes()):
                raise LostError(f"a receipt calls {key} safe, which is not in the bucket as it is on the share")

    def sweep(self) -> None:
        """The sweeper's look at datasets; then its records say what S3 has. Errors: LostError."""
        with self.as_hook("HooksSweeper", dataset_hook, "world") as w:
            datasets.reconcile(w, datasets.of_sweep(w))
            items = {item["sk"]: item for item in w.records.datasets()}
        known = {name: (item["objects"], item["size_bytes"]) for name, item in items.items()}
        there: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
        for key, size in self.ledger.current().items():
            name = key.split("/")[1]
            # An object beside the datasets belongs to none; a key with a slash at its end is a folder.
            if key.count("/") > 1 and not key.endswith("/"):
                there[name] = (there[name][0] + 1, there[name][1] + size)
        if known != there:
            raise LostError(f"records say {known}, S3 has {dict(there)}")
        disobeyed = [name for name, word in self.words.items() if items[name]["state"] != word]
        if disobeyed:
            raise LostError(f"somebody said that {disobeyed[0]} is {self.words[disobeyed[0]]}, and it is not")

    @contextmanager
    def as_hook(self, function: str, module: ModuleType, maker: str) -> Iterator[Any]:
        """What a hook makes for itself, of its own environment and role, as warm as a function's; its module finds it."""
        if function not in self._hooks:
            environment, role = self.system.environment(function)
            environment = {**environment, "AWS_DEFAULT_REGION": REGION, "HEAD_NODE": HEAD_NODE}
            made = self._clients(role)

            def client(service: str, **_: Any) -> Any:
                return self.fsx if service == "fsx" else made(service)

            with mock.patch.dict(os.environ, environment), mock.patch.object(boto3, "client", side_effect=client):
                self._hooks[function] = getattr(module, maker).__wrapped__()
        with mock.patch.object(module, maker, return_value=self._hooks[function]):
            yield self._hooks[function]

    # The file system

    def mount(self) -> None:
        """A new file system of the template that is deployed now, with what S3 has."""
        root = self._file_systems / self.new("fs")
        s3 = self.archive.client_of_fsx(self.client("fsx"))
        self.file_system = LustreDouble(root, self.system.deployed, s3)
        self.fsx.mount(self.file_system)
        # As they were deployed, whatever becomes of those of the file system.
        associations = self.file_system.associations
        self.declared = {path: (each.imports, each.exports) for path, each in associations.items()}

    def synchronise(self) -> None:
        """All file systems and S3 tell each other what is new. Errors: LostError when one wants to delete a movie."""
        try:
            self.fsx.work_off()
            for each in (*self.retained, self.file_system):
                each.synchronise()
        except RefusedError as error:
            raise LostError(f"only its policy kept the bucket from what the file system wanted: {error}") from error

    @cached_property
    def results_bucket(self) -> str:
        """Its name."""
        return self.system.simulated.bucket("LandingZoneResults").rpartition(":")[2]

    # Deployments and days

    def follow(self) -> None:
        """Other templates were deployed."""
        self._hooks.clear()
        self.ledger.policy_is_as_deployed()
        self.second.follow(self.system)

    def pass_days(self) -> None:
        """Days pass, but not so many that a version which was replaced may go; what is finished, and no other, is archived.

        Errors: LostError.
        """
        left = max(0.0, self.ledger.days_to_the_first_expiration() - 0.01)
        self.ledger.live_for(min(self.rng.uniform(1, 20), left))
        self.ledger.look()
        wrong = [key for key, _ in self.archive.move() if key.split("/")[1] not in self.finished]
        if wrong:
            raise LostError(f"{wrong[0]} went to the archive, and nobody finished its dataset")
