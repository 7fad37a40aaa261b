"""Everything that a system and its people can do to movies, step by step, on the emulator's real S3.

DataSync is the twin's own, under the task's role. The file system is synchronised under the role that FSx makes for it, which
is given every right here. Hooks are the shipped ones, under their roles and with their environment. Who tries to delete
does so under their own policies. Played are: days, S3's lifecycle, and a share that is a folder.
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
from typing import Any
from unittest import mock

import boto3
from botocore.exceptions import ClientError
from deployed import Template
from emulated import Make, System
from iam_simulator import ADMINISTRATOR, Principal
from lustre_double import LustreDouble, RefusedError
from movie_ledger import MOVIES, Ledger, LostError

from cdk_cryoem_lambda import dataset_hook, receipt_hook
from cdk_cryoem_lambda.reconcile import datasets
from cdk_cryoem_stacks.archive.bucket import Movies
from cdk_cryoem_stacks.archive.decide import FINISHED
from cdk_cryoem_twin.environment import REGION
from cdk_cryoem_twin.waiting import wait_for

_FIRST_MTIME_NS = 1_700_000_000_000_000_000


class World:
    """A system with its microscope, file system, hooks and people; the ledger of its movies.

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
        self.refused = 0
        self.safe: set[str] = set()
        self._file_systems, self._other_stacks = file_systems, other_stacks
        self._made = 0
        self._sessions: dict[str, Make] = {}
        self._s3: dict[str, Any] = {}
        self._hooks: dict[str, Any] = {}
        self._mount()

    # People

    @cached_property
    def people(self) -> dict[str, Principal]:
        """All roles of the system but the one that wants a second factor, an administrator, and FSx with every right."""
        simulated = self.system.simulated
        path = "/aws-service-role/s3.data-source.lustre.fsx.amazonaws.com/"
        others = {
            "administrator": simulated.outsider(f"{self._system_name}-Administrator", ADMINISTRATOR),
            "fsx": simulated.outsider(f"AWSServiceRoleForFSxS3Access_{self._system_name}", ADMINISTRATOR, path=path),
        }
        for other in others.values():
            self.system.make_role(other)
        return {name: role for name, role in simulated.roles.items() if "BreakGlass" not in name} | others

    @property
    def _system_name(self) -> str:
        return next(iter(self.system.stacks)).partition("-")[0]

    def client(self, who: str) -> Any:
        """S3 as one of the people."""
        if who not in self._s3:
            self._s3[who] = self._clients(self.people[who].arn)("s3")
        return self._s3[who]

    def _clients(self, role_arn: str) -> Make:
        if role_arn not in self._sessions:
            self._sessions[role_arn] = self.system.emulator.as_role(role_arn)
        return self._sessions[role_arn]

    # The microscope and its share

    def record(self) -> None:
        """New movies, in a dataset that is there or a new one."""
        folders = sorted(path for path in self.share.iterdir() if path.is_dir())
        dataset = self.rng.choice([*folders[-3:], self.share / self._new("day")])
        for _ in range(self.rng.randint(1, 3)):
            size = self.rng.choice([0, 1, 200, 5000])
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

    def _new(self, kind: str) -> str:
        self._made += 1
        return f"{kind}-{self._made:04}"

    def _new_movie(self) -> str:
        name = self.rng.choice(["FoilHole {}.tiff", "Größe {}.mrc", "{}.eer", "{} 'x' & #1+%20.tif"])
        return unicodedata.normalize("NFC", name.format(self._new("m")))

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
            with self._as_hook("HooksDataset", dataset_hook, "world"):
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
            self._as_hook("Receipts", receipt_hook, "keeper") as keeper,
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
        with self._as_hook("HooksSweeper", dataset_hook, "world") as w:
            datasets.reconcile(w, datasets.of_sweep(w))
            known = {item["sk"]: (item["objects"], item["size_bytes"]) for item in w.records.datasets()}
        there: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
        for key, size in self.ledger.current().items():
            name = key.split("/")[1]
            # An object beside the datasets belongs to none; a key with a slash at its end is a folder.
            if key.count("/") > 1 and not key.endswith("/"):
                there[name] = (there[name][0] + 1, there[name][1] + size)
        if known != there:
            raise LostError(f"records say {known}, S3 has {dict(there)}")

    @contextmanager
    def _as_hook(self, function: str, module: ModuleType, maker: str) -> Iterator[Any]:
        """What a hook makes for itself, of its own environment and role, as warm as a function's; its module finds it."""
        if function not in self._hooks:
            environment, role = self.system.environment(function)
            # Nothing is deployed of the cluster: its head node is gone, which keeps no hook from looking at datasets.
            environment = {**environment, "AWS_DEFAULT_REGION": REGION, "HEAD_NODE": "i-0123456789abcdef0"}
            made = self._clients(role)
            with (
                mock.patch.dict(os.environ, environment),
                mock.patch.object(boto3, "client", side_effect=lambda service, **_: made(service)),
            ):
                self._hooks[function] = getattr(module, maker).__wrapped__()
        with mock.patch.object(module, maker, return_value=self._hooks[function]):
            yield self._hooks[function]

    # The file system

    def _mount(self) -> None:
        root = self._file_systems / self._new("fs")
        self.file_system = LustreDouble(root, self.system.deployed, self.client("fsx"))

    def synchronise(self) -> None:
        """The file system and S3 tell each other what is new. Errors: LostError when it wants to delete a movie."""
        try:
            self.file_system.synchronise()
        except RefusedError as error:
            raise LostError(f"only its policy kept the bucket from what the file system wanted: {error}") from error

    def work_on_file_system(self) -> None:
        """What scientists do to /data and /projects, by intent or not."""
        store = self.file_system
        match self.rng.choice(["result", "rm -rf data", "rm -rf projects", "rm", "overwrite", "cut", "new", "mv"]):
            case "result":
                result = store.projects / "P1" / self._new("job") / "particles.star"
                result.parent.mkdir(parents=True, exist_ok=True)
                result.write_bytes(self.rng.randbytes(50))
            case "rm -rf data":
                store.empty(store.data)
            case "rm -rf projects":
                store.empty(store.projects)
            case "new":
                (store.data / self._new("by-hand")).write_bytes(b"by hand")
            case what:
                self._spoil_on_file_system(what)
        self.synchronise()

    def _spoil_on_file_system(self, what: str) -> None:
        files = self.file_system.files(self.file_system.data)
        if not files:
            return
        movie = self.rng.choice(files)
        match what:
            case "rm":
                movie.unlink()
            case "overwrite":
                movie.write_bytes(b"not a movie")
            case "cut":
                os.truncate(movie, 0)
            case _:
                movie.rename(movie.with_name(self._new("moved")))

    def release(self) -> None:
        """Contents that nobody used for long leave the file system, and come back when they are read."""
        for path in self.file_system.files(self.file_system.data):
            if self.rng.random() < 0.5:
                self.file_system.release(str(path.relative_to(self.file_system.data)))
        self.synchronise()

    def rebuild(self) -> None:
        """The file system is torn down and made again; every movie is on it then. Errors: LostError."""
        self.file_system.delete()
        self._mount()
        self.synchronise()
        data = self.file_system.data
        there = {MOVIES + str(path.relative_to(data)) for path in self.file_system.files(data)}
        if there != set(self.ledger.current()):
            raise LostError("the new file system does not have all movies, or others")

    # Archive, deployments, days, and who tries what

    def finish(self) -> None:
        """Somebody says of a dataset that it is finished, or not any more: its movies are marked, as `cryoem archive` does."""
        names = sorted({key.split("/")[1] for key in self.ledger.current() if key.count("/") > 1})
        if names:
            movies = Movies(s3=self.client("administrator"), bucket=self.ledger.bucket, dataset=self.rng.choice(names))
            mark = self.rng.choice([FINISHED, None])
            for each in movies.objects():
                movies.mark(each.key, mark)

    def deploy(self) -> None:
        """Another configuration, and back at the next time."""
        if self._other_stacks is not None:
            now = dict(self.system.stacks)
            self.system.update(self._other_stacks)
            self._other_stacks = now
            self.ledger.policy_is_as_deployed()

    def pass_days(self) -> None:
        """Days pass, but not so many that a version which was replaced may go."""
        left = max(0.0, self.ledger.days_to_the_first_expiration() - 0.01)
        self.ledger.live_for(min(self.rng.uniform(1, 20), left))

    def overwrite(self) -> None:
        """An administrator puts something else in a movie's place: a version more, and none less."""
        if self.ledger.landed:
            key, _ = self.rng.choice(sorted(self.ledger.landed))
            content = self.rng.randbytes(10)
            self.ledger.note(key, content)
            self.client("administrator").put_object(Bucket=self.ledger.bucket, Key=key, Body=content)

    def attempt(self) -> None:
        """Somebody tries to delete, or to make deletion possible."""
        if not self.ledger.landed:
            return
        s3 = self.client(self.rng.choice([*sorted(self.people), "administrator", "fsx"]))
        key, version = self.rng.choice(sorted(self.ledger.landed))
        both = {"Objects": [{"Key": key}, {"Key": key, "VersionId": version}]}
        expire = {"Rules": [{"ID": "x", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}]}
        verb, arguments = self.rng.choice(
            [
                (s3.delete_object, {"Key": key}),
                (s3.delete_object, {"Key": key, "VersionId": version}),
                (s3.delete_objects, {"Delete": both}),
                (s3.delete_bucket, {}),
                (s3.delete_bucket_policy, {}),
                (s3.put_bucket_policy, {"Policy": '{"Version": "2012-10-17", "Statement": []}'}),
                (s3.put_bucket_versioning, {"VersioningConfiguration": {"Status": "Suspended"}}),
                (s3.put_bucket_lifecycle_configuration, {"LifecycleConfiguration": expire}),
            ]
        )
        try:
            verb(Bucket=self.ledger.bucket, **arguments)
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("AccessDenied", "BucketNotEmpty"):
                raise
            self.refused += 1


Step = Callable[[World], None]
STEPS: dict[Step, int] = {
    World.record: 12,
    World.spoil: 12,
    World.transfer: 8,
    World.transfer_of_a_share_that_changes: 5,
    World.sweep: 5,
    World.receipts: 4,
    World.synchronise: 8,
    World.work_on_file_system: 12,
    World.release: 3,
    World.rebuild: 3,
    World.finish: 3,
    World.deploy: 2,
    World.pass_days: 5,
    World.overwrite: 3,
    World.attempt: 15,
}
"""All steps, and how often in a hundred."""


def play(world: World, steps: int) -> list[str]:
    """So many steps by chance, with a look after each; returns their names. Errors: LostError, with the last steps.

    Which steps is decided by the world's seed alone. What a run copies of a share that changes meanwhile is not, nor hence
    everything that is chosen within later steps.
    """
    done: list[str] = []
    for step in Random(world.rng.random()).choices(list(STEPS), list(STEPS.values()), k=steps):
        done.append(step.__name__)
        try:
            step(world)
            world.ledger.look()
        except LostError as error:
            raise LostError(f"{error}; after {len(done)} steps, the last ones {done[-5:]}") from error
    world.ledger.retrieve()
    return done
