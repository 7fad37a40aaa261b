"""A whole file system is lost and made again from S3: every movie and every exported result is there, byte for byte.

The emulator, strict, with the landing zone and the file system of the very constructs, deployed by CloudFormation. It is the
procedure of docs/file-system.md, "Restore"; what the twin's FSx does not do is said in docs/twin.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from aws_cdk import App, Environment, Stack
from aws_cdk import aws_ec2 as ec2
from emulated import Emulator, emulator

from cdk_cryoem import LandingZone, LustreStore
from cdk_cryoem_twin.environment import ACCOUNT, REGION
from cdk_cryoem_twin.waiting import wait_for

pytestmark = pytest.mark.twin

_CHECKOUT = Path(__file__).resolve().parents[2]
STACK = "cryoem-storage"
MOVIES = {
    "krios-1/Images-Disc1/GridSquare_1/a.mrc": 300_000,
    "krios-1/with spaces & 粒子/ü.eer": 1_234,
    "krios-1/empty.txt": 0,
    "glacios-2/b.tiff": 70_000,
}
RESULTS = {"krios-1/CS-krios-1/J1/map.mrc": 200_000, "krios-1/.processing/spa.log": 99, "mine/粒子 1.star": 1_000}


def template(*, generation: int, folder: Path) -> str:
    app = App(analytics_reporting=False, outdir=str(folder / str(generation)))
    stack = Stack(app, STACK, env=Environment(account=ACCOUNT, region=REGION))
    vpc = ec2.Vpc.from_vpc_attributes(
        stack,
        "Vpc",
        vpc_id="vpc-0123456789abcdef0",
        availability_zones=["us-east-1a"],
        private_subnet_ids=["subnet-0123456789abcdef0"],
    )
    zone = LandingZone(stack, "LandingZone")
    group = ec2.SecurityGroup.from_security_group_id
    LustreStore(
        stack,
        "FileSystem",
        vpc=vpc,
        subnet=vpc.private_subnets[0],
        landing_bucket=zone.landing_bucket,
        results_bucket=zone.results_bucket,
        key=zone.key,
        client_security_group=group(stack, "Clients", "sg-0123456789abcdef0", mutable=False),
        file_system_security_group=group(stack, "Servers", "sg-0123456789abcdef1", mutable=False),
        generation=generation,
    )
    return json.dumps(app.synth().get_stack_by_name(STACK).template)


class Storage:
    """The stack in the emulator."""

    def __init__(self, emulated: Emulator, folder: Path) -> None:
        self.make, self.places, self._folder = emulated.make, emulated.places, folder
        self.s3, self.fsx, self._cloudformation = (self.make(name) for name in ("s3", "fsx", "cloudformation"))

    def deploy(self, generation: int) -> None:
        body = template(generation=generation, folder=self._folder)
        verb = self._cloudformation.create_stack if generation == 1 else self._cloudformation.update_stack
        verb(StackName=STACK, TemplateBody=body, Capabilities=["CAPABILITY_NAMED_IAM"])

        def status() -> str:
            return str(self._cloudformation.describe_stacks(StackName=STACK)["Stacks"][0]["StackStatus"])

        wait_for(lambda: not status().endswith("_IN_PROGRESS"), "the stack", seconds=120, log=self.places.logs)
        assert status() in ("CREATE_COMPLETE", "UPDATE_COMPLETE"), self._reasons()

    def _reasons(self) -> list[str]:
        events = self._cloudformation.describe_stack_events(StackName=STACK)["StackEvents"]
        return [
            f"{e['LogicalResourceId']}: {e['ResourceStatusReason']}" for e in events if e.get("ResourceStatusReason")
        ]

    def bucket(self, name: str) -> str:
        found = self._cloudformation.describe_stack_resources(StackName=STACK)["StackResources"]
        (bucket,) = (
            each["PhysicalResourceId"]
            for each in found
            if each["ResourceType"] == "AWS::S3::Bucket" and each["LogicalResourceId"].startswith(f"LandingZone{name}")
        )
        return str(bucket)

    def file_system(self) -> str:
        """The one that the stack has now."""
        found = self._cloudformation.describe_stack_resources(StackName=STACK)["StackResources"]
        (name,) = (e["PhysicalResourceId"] for e in found if e["ResourceType"] == "AWS::FSx::FileSystem")
        return str(name)

    def root(self) -> Path:
        return self.places.file_systems / self.file_system()

    def versions(self, bucket: str) -> list[tuple[str, str, str]]:
        """Every version and every delete marker."""
        found = self.s3.list_object_versions(Bucket=bucket)
        return sorted(
            (kind, each["Key"], each["VersionId"])
            for kind in ("Versions", "DeleteMarkers")
            for each in found.get(kind, [])
        )

    def wait(self, what: str, is_so: Any) -> None:
        wait_for(is_so, what, seconds=60, log=self.places.logs)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    with pytest.MonkeyPatch.context() as patch, emulator(_CHECKOUT / ".twin-test-restore", patch) as running:
        made = Storage(running, tmp_path_factory.mktemp("templates"))
        made.deploy(1)
        yield made


def contents(random: Random, sizes: dict[str, int]) -> dict[str, bytes]:
    return {name: random.randbytes(size) for name, size in sizes.items()}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_lost_file_system_is_had_again_from_s3_byte_for_byte(storage: Storage) -> None:
    random = Random(20261121)
    movies, results = contents(random, MOVIES), contents(random, RESULTS)
    landing, kept = storage.bucket("Landing"), storage.bucket("Results")
    for name, content in movies.items():
        storage.s3.put_object(Bucket=landing, Key=f"datasets/{name}", Body=content)
    first = storage.root()
    for name, content in results.items():
        path = first / "projects" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (first / "projects" / "krios-1" / "alias").symlink_to("CS-krios-1")
    storage.wait("the movies on the first file system", lambda: files(first / "data") == movies)
    storage.wait(
        "the results in their bucket",
        lambda: storage.s3.list_objects_v2(Bucket=kept, Prefix="projects/").get("KeyCount") == len(results) + 1,
    )
    times = {name: (first / "projects" / name).stat().st_mtime_ns for name in results}
    before = storage.versions(landing), storage.versions(kept)

    lost = storage.file_system()
    storage.fsx.delete_file_system(FileSystemId=lost)
    assert not first.exists()
    storage.deploy(2)

    second = storage.root()
    assert storage.file_system() != lost
    storage.wait("the movies on the second file system", lambda: files(second / "data") == movies)
    storage.wait("the results on the second file system", lambda: files(second / "projects") == results)
    assert (second / "projects" / "krios-1" / "alias" / "J1" / "map.mrc").read_bytes() == results[
        "krios-1/CS-krios-1/J1/map.mrc"
    ]
    assert (second / "projects" / "krios-1" / "alias").is_symlink()
    assert {name: (second / "projects" / name).stat().st_mtime_ns for name in results} == times
    states = {
        each["FileSystemPath"]: each["Lifecycle"]
        for each in storage.fsx.describe_data_repository_associations()["Associations"]
        if each["FileSystemId"] == storage.file_system()
    }
    assert states == {"/data": "AVAILABLE", "/projects": "AVAILABLE"}

    # It goes on: new movies come, new results go, and nothing that was in S3 was written again or deleted.
    storage.s3.put_object(Bucket=landing, Key="datasets/krios-3/c.mrc", Body=b"new movie")
    (second / "projects" / "mine" / "new.mrc").write_bytes(b"new result")
    storage.wait("a new movie", lambda: files(second / "data").get("krios-3/c.mrc") == b"new movie")

    def exported() -> bool:
        return any(key == "projects/mine/new.mrc" for _, key, _ in storage.versions(kept))

    storage.wait("a new result", exported)
    after = storage.versions(landing), storage.versions(kept)
    for old, now, key in zip(before, after, ("datasets/krios-3/c.mrc", "projects/mine/new.mrc"), strict=True):
        assert [each for each in now if each[1] != key] == old


def test_a_file_system_grows_in_place_and_keeps_what_is_on_it(storage: Storage) -> None:
    name, root = storage.file_system(), storage.root()
    there = files(root)
    storage.fsx.update_file_system(FileSystemId=name, StorageCapacity=4800)
    (found,) = storage.fsx.describe_file_systems(FileSystemIds=[name])["FileSystems"]
    assert found["StorageCapacity"] == 4800
    assert files(root) == there
    with pytest.raises(storage.fsx.exceptions.BadRequest):
        storage.fsx.update_file_system(FileSystemId=name, StorageCapacity=2400)
    with pytest.raises(storage.fsx.exceptions.BadRequest):
        storage.fsx.update_file_system(FileSystemId=name, StorageCapacity=6000)


def _association(storage: Storage, path: str) -> dict[str, Any]:
    (found,) = (
        each
        for each in storage.fsx.describe_data_repository_associations(
            Filters=[{"Name": "file-system-id", "Values": [storage.file_system()]}]
        )["Associations"]
        if each["FileSystemPath"] == path
    )
    return dict(found)


def _ended(storage: Storage, task: str) -> dict[str, Any]:
    def look() -> dict[str, Any]:
        return dict(storage.fsx.describe_data_repository_tasks(TaskIds=[task])["DataRepositoryTasks"][0])

    storage.wait("the task", lambda: look()["Lifecycle"] in ("SUCCEEDED", "FAILED"))
    return look()


def test_an_export_task_brings_what_was_written_while_the_automatic_export_was_off(storage: Storage) -> None:
    projects, bucket = _association(storage, "/projects"), storage.bucket("Results")
    arguments: dict[str, Any] = {
        "Type": "EXPORT_TO_REPOSITORY",
        "FileSystemId": storage.file_system(),
        "Paths": ["projects"],
        "Report": {"Enabled": False},
    }
    with pytest.raises(storage.fsx.exceptions.BadRequest):
        storage.fsx.create_data_repository_task(**arguments)
    change = storage.fsx.update_data_repository_association
    change(AssociationId=projects["AssociationId"], S3={"AutoExportPolicy": {"Events": []}})
    (storage.root() / "projects" / "while-off.mrc").write_bytes(b"written while nothing was exported")
    task = storage.fsx.create_data_repository_task(**arguments)["DataRepositoryTask"]["TaskId"]
    assert _ended(storage, task)["Lifecycle"] == "SUCCEEDED"
    change(AssociationId=projects["AssociationId"], S3=projects["S3"])
    body = storage.s3.get_object(Bucket=bucket, Key="projects/while-off.mrc")["Body"].read()
    assert body == b"written while nothing was exported"


def test_a_release_leaves_every_byte_where_it_was_read(storage: Storage) -> None:
    there, bucket = files(storage.root() / "data"), storage.bucket("Landing")
    before = storage.versions(bucket)
    assert there
    task = storage.fsx.create_data_repository_task(
        Type="RELEASE_DATA_FROM_FILESYSTEM",
        FileSystemId=storage.file_system(),
        Paths=["data/krios-1"],
        Report={"Enabled": False},
        ReleaseConfiguration={"DurationSinceLastAccess": {"Unit": "DAYS", "Value": 0}},
    )["DataRepositoryTask"]["TaskId"]
    ended = _ended(storage, task)
    assert (ended["Lifecycle"], ended["Status"]["SucceededCount"]) == ("SUCCEEDED", 3)
    assert files(storage.root() / "data") == there
    assert storage.versions(bucket) == before


def test_an_association_that_loses_its_bucket_is_misconfigured_and_says_why(storage: Storage) -> None:
    storage.s3.create_bucket(Bucket="passing")
    made = storage.fsx.create_data_repository_association(
        FileSystemId=storage.file_system(),
        FileSystemPath="/passing",
        DataRepositoryPath="s3://passing/",
        S3={"AutoImportPolicy": {"Events": ["NEW"]}},
    )["Association"]["AssociationId"]
    storage.wait("the association", lambda: _association(storage, "/passing")["Lifecycle"] == "AVAILABLE")
    storage.s3.delete_bucket(Bucket="passing")
    storage.wait("its trouble", lambda: _association(storage, "/passing")["Lifecycle"] == "MISCONFIGURED")
    assert "passing: NoSuchBucket" in _association(storage, "/passing")["FailureDetails"]["Message"]
    storage.s3.create_bucket(Bucket="passing")
    storage.wait("its end", lambda: _association(storage, "/passing")["Lifecycle"] == "AVAILABLE")
    assert "FailureDetails" not in _association(storage, "/passing")
    storage.fsx.delete_data_repository_association(AssociationId=made)
