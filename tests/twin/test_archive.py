"""Archive and back on the emulator's S3, under the synthesised bucket policy, by people with the documented policies alone.

The daily moves of S3's lifecycle are not played by the emulator: an object is put into the archive as S3 would have moved it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError
from emulated import Emulator, System, emulator

from cdk_cryoem_stacks.app import build, make_app
from cdk_cryoem_stacks.archive import deposition, work
from cdk_cryoem_stacks.archive.bucket import Movies
from cdk_cryoem_stacks.archive.contents import Rule, sum_up
from cdk_cryoem_stacks.config import Config
from cdk_cryoem_stacks.config_file import load
from cdk_cryoem_stacks.operate.ask import Failed
from cdk_cryoem_stacks.operate.find import Clients
from cdk_cryoem_stacks.operate.records import Records, typed
from cdk_cryoem_twin.environment import ACCOUNT, REGION
from cdk_cryoem_twin.waiting import wait_for

pytestmark = pytest.mark.twin
_ROOT = Path(__file__).resolve().parents[2]
_NAMES = ("a_fractions.tiff", "ü b/ c_fractions.tiff", "deep.tiff")
_LARGE = 128 * 1024
_NAME = "archived"


@dataclass
class World:
    """A system whose storage is deployed. people: clients with the documented policies; root: of the account."""

    system: System
    people: Callable[[str], Any]
    root: Callable[[str], Any]
    table: str

    @property
    def records(self) -> Records:
        """The hooks' table, as people reach it."""
        return Records(cast(Clients, _Clients(self.people)), self.table)

    def movies(self, dataset: str) -> Movies:
        """A dataset, as people reach it."""
        return Movies(s3=self.people("s3"), bucket=self.system.landing_bucket, dataset=dataset)

    def put(self, key: str, **more: Any) -> str:
        """An object, put by the account's root; its version."""
        made = self.root("s3").put_object(
            Bucket=self.system.landing_bucket, Key=f"datasets/{key}", Body=b"m" * _LARGE, **more
        )
        return str(made["VersionId"])

    def seen(self, dataset: str) -> work.Seen:
        """The dataset now. The stack of the hooks is not deployed, by whose outputs `work.look` would find it."""
        item = self.records.item("dataset", dataset)
        assert item is not None
        return work._seen(self.movies(dataset), item, self.records.item("receipt", dataset), _quiet)

    def tags(self, key: str, **version: str) -> dict[str, str]:
        """An object's tags."""
        answer = self.root("s3").get_object_tagging(Bucket=self.system.landing_bucket, Key=f"datasets/{key}", **version)
        return {each["Key"]: each["Value"] for each in answer["TagSet"]}

    def versions(self, dataset: str) -> dict[tuple[str, str], str]:
        """Every version's checksum; a delete marker is an error."""
        found = self.root("s3").list_object_versions(Bucket=self.system.landing_bucket, Prefix=f"datasets/{dataset}/")
        assert not found.get("DeleteMarkers")
        return {(each["Key"], each["VersionId"]): each["ETag"] for each in found["Versions"]}


class _Clients:
    def __init__(self, make: Callable[[str], Any]) -> None:
        self.dynamodb = make("dynamodb")


def _quiet(what: str, done: int, of: int) -> None:
    assert done <= of, what


def _documented(system: System, table: str) -> list[dict[str, Any]]:
    """The statements of docs/iam.md, with the names of this system."""
    text = (_ROOT / "docs" / "iam.md").read_text()
    (section,) = re.findall(r"^## Archive and deposition\n(.*?)(?=^## )", text, re.M | re.S)
    names = {"REGION": REGION, "ACCOUNT": ACCOUNT, "NAME": _NAME, "TABLE": table, "LANDING": system.landing_bucket}
    for word, name in {**names, "KEY": "*"}.items():
        section = re.sub(rf"\b{word}\b", name, section)
    return [
        statement
        for policy in re.findall(r"```json\n(.*?)```", section, re.S)
        for statement in json.loads(policy)["Statement"]
    ]


@pytest.fixture(scope="module")
def emulated() -> Iterator[Emulator]:
    with pytest.MonkeyPatch.context() as patch, emulator(_ROOT / ".twin-test-archive", patch) as running:
        yield running


@pytest.fixture(scope="module")
def world(emulated: Emulator, tmp_path_factory: pytest.TempPathFactory) -> World:
    given = load(_ROOT / "twin" / "cryoem.yaml").model_dump(exclude_unset=True)
    landing = {**given.get("landing", {}), "archive_after_days": 30}
    app = make_app(outdir=str(tmp_path_factory.mktemp("assembly")))
    build(app, Config.model_validate({**given, "name": _NAME, "landing": landing}), config_folder=_ROOT / "twin")
    system = System(emulated, {stack.stack_name: stack.template for stack in app.synth().stacks})
    system.deploy()
    _set_lifecycle(system)
    ((stack, logical, _),) = system.deployed.of_type("AWS::DynamoDB::Table")
    table = system.deployed.name(stack, logical)
    iam = emulated.make("iam")
    trust = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}
    role = iam.create_role(
        RoleName="archivists",
        AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
    )
    policy = {"Version": "2012-10-17", "Statement": _documented(system, table)}
    iam.put_role_policy(RoleName="archivists", PolicyName="documented", PolicyDocument=json.dumps(policy))
    return World(system, emulated.as_role(role["Role"]["Arn"]), emulated.make, table)


def _set_lifecycle(system: System) -> None:
    """The landing bucket's rule of the template, which the emulator's CloudFormation leaves out."""
    rules = [
        rule
        for _, _, properties in system.deployed.of_type("AWS::S3::Bucket")
        for rule in properties.get("LifecycleConfiguration", {}).get("Rules", ())
        if "TagFilters" in rule
    ]
    (rule,) = rules
    given = {
        "ID": rule["Id"],
        "Status": rule["Status"],
        "Filter": {"And": {"Prefix": rule["Prefix"], "Tags": rule["TagFilters"]}},
        "Transitions": [
            {"Days": t["TransitionInDays"], "StorageClass": t["StorageClass"]} for t in rule["Transitions"]
        ],
    }
    system.emulator.make("s3").put_bucket_lifecycle_configuration(
        Bucket=system.landing_bucket, LifecycleConfiguration={"Rules": [given]}
    )


def _dataset(world: World, name: str, *, deep: bool) -> None:
    for number, file in enumerate(_NAMES):
        archived = {"StorageClass": "DEEP_ARCHIVE"} if deep and file == "deep.tiff" else {}
        world.put(f"{name}/{file}", **archived, **({"Tagging": "group=smith"} if number == 0 else {}))
    item = typed({"pk": "dataset", "sk": name, "state": "landed", "last_at": 1000.5})
    world.root("dynamodb").put_item(TableName=world.table, Item=item)


def test_the_deployed_bucket_has_the_rule_that_is_meant(world: World) -> None:
    assert world.movies("any").rule() == Rule(days=30)


def test_archive_undo_and_restore_lose_no_version_and_no_tag_of_others(world: World) -> None:
    _dataset(world, "krios-1", deep=True)
    before = world.versions("krios-1")
    assert work.finish(world.records, world.seen("krios-1"), by="anna", progress=_quiet) == 2
    assert world.tags(f"krios-1/{_NAMES[0]}") == {"group": "smith", "cryoem-state": "finished"}
    assert world.tags(f"krios-1/{_NAMES[1]}") == {"cryoem-state": "finished"}
    assert world.seen("krios-1").state == "finished"
    assert work.undo(world.records, world.seen("krios-1"), by="anna", progress=_quiet) == 2
    assert world.tags(f"krios-1/{_NAMES[0]}") == {"group": "smith"}
    assert world.tags(f"krios-1/{_NAMES[1]}") == {}
    movies = world.movies("krios-1")
    with pytest.raises(Failed, match="InvalidObjectState"):
        movies.read("datasets/krios-1/deep.tiff")
    answers = work.restore(world.records, world.seen("krios-1"), tier="bulk", days=3, by="anna", progress=_quiet)
    assert answers == {"requested": 1}
    assert world.seen("krios-1").state == "restoring"
    wait_for(lambda: world.seen("krios-1").state == "restored", "the copy", seconds=20)
    assert movies.read("datasets/krios-1/deep.tiff", 0, 5) == b"mmmmm"
    again = work.restore(world.records, world.seen("krios-1"), tier="bulk", days=9, by="anna", progress=_quiet)
    assert again == {"extended": 1}
    assert world.versions("krios-1") == before


def test_what_is_on_its_way_is_no_failure(world: World) -> None:
    _dataset(world, "krios-2", deep=True)
    movies = world.movies("krios-2")
    assert movies.restore("datasets/krios-2/deep.tiff", days=3, tier="standard") == "requested"
    assert movies.restore("datasets/krios-2/deep.tiff", days=3, tier="standard") == "on its way"
    # Whether the emulator refuses a restore of what can be read as S3 does.
    with pytest.raises(ClientError, match="ObjectAlreadyInActiveTier"):
        world.root("s3").restore_object(
            Bucket=movies.bucket, Key=f"datasets/krios-2/{_NAMES[0]}", RestoreRequest={"Days": 1}
        )


def test_a_mark_is_of_the_version_that_was_read(world: World) -> None:
    """Who replaces a file between reading and writing its tags keeps those of the new one."""
    old = world.put("krios-3/a.tiff", Tagging="group=smith")
    movies, reads = world.movies("krios-3"), world.people("s3")

    class Between:
        """The bucket, in which somebody is faster."""

        new = ""

        def __getattr__(self, name: str) -> Any:
            return getattr(reads, name)

        def put_object_tagging(self, **request: Any) -> Any:
            self.new = world.put("krios-3/a.tiff", Tagging="group=jones")
            return reads.put_object_tagging(**request)

    between = Between()
    assert Movies(s3=cast(Any, between), bucket=movies.bucket, dataset="krios-3").mark(
        "datasets/krios-3/a.tiff", "finished"
    )
    assert world.tags("krios-3/a.tiff", VersionId=old) == {"group": "smith", "cryoem-state": "finished"}
    assert world.tags("krios-3/a.tiff", VersionId=between.new) == {"group": "jones"}


def test_who_archives_deletes_nothing_and_sees_no_other_bucket(world: World) -> None:
    version = world.put("krios-4/a.tiff")
    s3, bucket = world.people("s3"), world.system.landing_bucket
    for call in (
        lambda: s3.delete_object(Bucket=bucket, Key="datasets/krios-4/a.tiff"),
        lambda: s3.delete_object(Bucket=bucket, Key="datasets/krios-4/a.tiff", VersionId=version),
        lambda: s3.put_object(Bucket=bucket, Key="datasets/krios-4/a.tiff", Body=b""),
        lambda: s3.delete_bucket_lifecycle(Bucket=bucket),
        lambda: s3.put_object_tagging(Bucket=bucket, Key="elsewhere", Tagging={"TagSet": []}),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            call()
    assert [version_id for _, version_id in world.versions("krios-4")] == [version]


def test_a_deposition_reads_what_is_there(world: World) -> None:
    _dataset(world, "krios-5", deep=True)
    movies = world.movies("krios-5")
    objects = movies.objects()
    contents = sum_up(objects, movies.rule(), now=objects[0].at)
    assert (contents.all.files, contents.archived.files, contents.moves.files) == (3, 1, 2)
    listed = deposition.files([(each.key, each.size) for each in objects], [])
    assert deposition.table(listed, dataset="krios-5").count("131072") == 3
    assert movies.read_if_there("datasets/krios-5.manifest.jsonl.gz") is None
