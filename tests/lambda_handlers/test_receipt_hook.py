"""The receipt hook: which datasets it looks at, what it writes, of whom people are told, and when."""

from __future__ import annotations

import gzip
import hashlib
import json
from types import SimpleNamespace
from typing import Any

import pytest
from fakes import Aws, batch, failed
from receipt_world import OTHER_TASK, TASK, Share, VersionedS3, landed

from cdk_cryoem_lambda import receipt_hook, receipt_store
from cdk_cryoem_lambda.datasets import dataset_of
from cdk_cryoem_lambda.receipt_hook import due, keeper

TICK = {"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}}
ODD = ["d/Images-Disc1/a b.mrc", "d/zeile\numbruch.tif", "d/grille détectée.eer", "d/empty.xml"]
HOUR = 3600.0


class World:
    """A bucket, one microscope, and the hook."""

    def __init__(self, aws: Aws) -> None:
        self.aws = aws
        self.s3 = VersionedS3(aws, page=3)
        self.share = Share(aws, self.s3)
        aws.s3 = self.s3  # type: ignore[assignment]

    def wait(self, seconds: float) -> None:
        self.aws.clock.now += seconds

    def tick(self, event: dict[str, Any] = TICK) -> list[str]:
        """What comes again."""
        return failed(receipt_hook.handler(batch(event), None))

    def receipt(self, name: str = "d") -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.s3.content(f"datasets/{name}.receipt.json"))
        return found

    def manifest(self, name: str = "d") -> dict[str, dict[str, Any]]:
        lines = gzip.decompress(self.s3.content(f"datasets/{name}.manifest.jsonl.gz")).splitlines()
        return {each["path"]: each for each in map(json.loads, lines)}

    def safe(self) -> None:
        """Dataset d, from its first file to its receipt."""
        self.share.run({path: path.encode() for path in ODD})
        landed(self.aws, self.s3, "d")
        self.wait(HOUR)
        self.share.run()
        self.wait(200)
        assert self.tick() == []


@pytest.fixture
def world(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> World:
    for name, value in {
        "INGEST_TASKS": json.dumps([TASK]),
        "NOT_SAFE_AFTER_HOURS": "24",
        "DEAD_LETTERS": "dead",
        "REPORTS_PREFIX": "datasync-reports/",
    }.items():
        monkeypatch.setenv(name, value)
    made = World(aws)
    # boto3.client takes a configuration here.
    monkeypatch.setattr(receipt_hook.boto3, "client", lambda service, config=None: aws.client(service))
    keeper.cache_clear()
    return made


def test_a_dataset_that_is_all_there_is_safe_and_said_so_once(world: World) -> None:
    world.safe()
    receipt = world.receipt()
    assert receipt["complete"] is True
    assert receipt["statement"].endswith("it is safe to purge what the manifest lists from the microscope disk.")
    counts = {
        name: receipt[name] for name in ("files", "movies", "bytes", "verified", "missing", "reasons", "examples")
    }
    size = sum(len(path.encode()) for path in ODD)
    assert counts == {
        "files": 4, "movies": 3, "bytes": size, "verified": 4, "missing": 0, "reasons": [], "examples": [],
    }  # fmt: skip
    text = gzip.decompress(world.s3.content("datasets/d.manifest.jsonl.gz"))
    assert receipt["manifest"]["sha256"] == hashlib.sha256(text).hexdigest()
    (said,) = world.aws.said("Dataset Safe")
    assert said == {
        "version": 1, "cluster": "cryo", "dataset": "d", "files": 4, "movies": 3, "bytes": size,
        "manifest": "datasets/d.manifest.jsonl.gz", "manifest_version": receipt["manifest"]["version_id"],
        "safe_at": world.aws.clock.now,
    }  # fmt: skip
    before = dict(world.s3.calls)
    for _ in range(3):
        world.wait(900)
        world.share.run()
        assert world.tick() == []
    assert dict(world.s3.calls) == before, "what is safe costs nothing"
    assert world.aws.kinds_said() == ["Dataset Safe"]


def test_every_line_of_the_manifest_says_what_it_knows(world: World) -> None:
    world.safe()
    found = world.manifest()
    assert sorted(found) == sorted(path.removeprefix("d/") for path in ODD)
    line = found["zeile\numbruch.tif"]
    assert line["sha256"] == hashlib.sha256(b"d/zeile\numbruch.tif").hexdigest()
    assert (line["s3_checksum"], line["s3_algorithm"]) == ("crc==", "CRC64NVME")
    assert (line["status"], line["execution"], line["size"]) == ("verified", "exec-0a0001", 19)
    assert line["mtime"] < line["transferred_at"] < line["verified_at"]
    assert line["version"] == "v2"


def test_it_is_not_safe_before_the_share_was_looked_at_again(world: World) -> None:
    world.share.run({"d/a.mrc": b"a"})
    landed(world.aws, world.s3, "d")
    world.wait(300)
    world.tick()
    assert world.receipt()["reasons"] == ["task-0a has not looked at the share again since the last file came"]
    assert world.receipt()["statement"].startswith("NOT safe")
    assert world.aws.kinds_said() == []
    world.wait(HOUR)
    world.share.run()
    assert world.receipt()["complete"] is False
    world.tick()
    assert world.receipt()["reasons"] == ["the report of task-0a's last look is not there yet"]
    world.wait(200)
    world.tick()
    assert world.aws.kinds_said() == ["Dataset Safe"]


def test_another_dataset_that_is_still_copied_does_not_hold_it_up(world: World) -> None:
    world.share.run({"d/a.mrc": b"a"})
    landed(world.aws, world.s3, "d")
    world.wait(HOUR)
    world.share.run({"e/a.mrc": b"b"})
    world.wait(200)
    world.tick()
    assert [each["dataset"] for each in world.aws.said("Dataset Safe")] == ["d"]
    assert world.s3.versions_of("datasets/e.receipt.json") == 0


def test_a_look_that_did_not_end_well_is_none(world: World) -> None:
    world.share.run({"d/a.mrc": b"a"})
    landed(world.aws, world.s3, "d")
    world.wait(HOUR)
    world.share.run(well=False)
    world.wait(200)
    world.tick()
    assert world.receipt()["reasons"] == ["task-0a's last look at the share did not end well"]
    world.wait(HOUR)
    world.share.run()
    world.wait(200)
    world.tick()
    assert world.aws.kinds_said() == ["Dataset Safe"]


def test_every_microscope_has_to_look(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGEST_TASKS", json.dumps([TASK, OTHER_TASK]))
    keeper.cache_clear()
    world.safe()
    assert world.receipt()["reasons"] == ["task-0b has not looked at the share again since the last file came"]
    world.wait(HOUR)
    Share(world.aws, world.s3, task=OTHER_TASK).run()
    world.wait(200)
    world.tick()
    assert world.aws.kinds_said() == ["Dataset Safe"]


def test_a_file_that_was_not_verified_is_told_of_after_a_day_and_once(world: World) -> None:
    world.share.run({"d/a.mrc": b"a", "d/b.mrc": b"b"}, unverified=("d/b.mrc",))
    landed(world.aws, world.s3, "d")
    for _ in range(30):
        world.wait(HOUR)
        world.share.run()
        world.wait(200)
        world.tick()
    (said,) = world.aws.said("Dataset Not Safe")
    assert {name: said[name] for name in ("files", "verified", "unverified", "reasons", "examples")} == {
        "files": 2, "verified": 1, "unverified": 1, "reasons": ["1 files copied and not verified"], "examples": ["b.mrc"],
    }  # fmt: skip
    assert 24 * HOUR < said["since"] - world.aws.record("dataset", "d")["landed_at"] < 26 * HOUR
    # It is copied again, and verified.
    world.share.run({"d/b.mrc": b"b"})
    landed(world.aws, world.s3, "d", at=world.aws.record("dataset", "d")["landed_at"])
    world.wait(HOUR)
    world.share.run()
    world.wait(200)
    world.tick()
    assert world.aws.kinds_said() == ["Dataset Not Safe", "Dataset Safe"]


def test_who_was_told_that_it_is_safe_is_told_at_once_that_it_is_not_any_more(world: World) -> None:
    world.safe()
    world.wait(HOUR)
    world.share.run({"d/late.mrc": b"late"})
    landed(world.aws, world.s3, "d")
    world.tick()
    assert world.aws.kinds_said() == ["Dataset Safe", "Dataset Not Safe"]
    assert world.receipt()["complete"] is False
    world.wait(HOUR)
    world.share.run()
    world.wait(200)
    world.tick()
    assert world.aws.kinds_said() == ["Dataset Safe", "Dataset Not Safe", "Dataset Safe"]
    assert world.receipt()["files"] == 5


@pytest.mark.parametrize("what", ["overwritten", "deleted", "put by hand", "truncated"])
def test_what_others_do_to_the_bucket_is_found(world: World, what: str) -> None:
    world.share.run({"d/a.mrc": b"aaa", "d/b.mrc": b"bbb"})
    if what == "deleted":
        world.s3.delete("datasets/d/a.mrc")
    else:
        name = "c.mrc" if what == "put by hand" else "a.mrc"
        world.s3.put(f"datasets/d/{name}", b"aa" if what == "truncated" else b"xxx")
    landed(world.aws, world.s3, "d")
    world.wait(HOUR)
    world.share.run()
    world.wait(200)
    world.tick()
    bad = {path: each["status"] for path, each in world.manifest().items() if each["status"] != "verified"}
    assert (
        bad
        == {
            "overwritten": {"a.mrc": "different"},
            "truncated": {"a.mrc": "different"},
            "deleted": {"a.mrc": "missing"},
            "put by hand": {"c.mrc": "unknown"},
        }[what]
    )
    assert world.receipt()["complete"] is False
    assert world.aws.kinds_said() == []


def test_a_file_that_vanished_from_the_share_holds_nothing_up_once_nothing_is_left_to_copy(world: World) -> None:
    world.share.run({"d/a.mrc": b"a"}, failing=("d/tmp.mrc",))
    landed(world.aws, world.s3, "d")
    world.wait(300)
    world.tick()
    assert world.manifest()["tmp.mrc"]["status"] == "missing"
    world.wait(HOUR)
    world.share.run()
    world.wait(200)
    world.tick()
    assert sorted(world.manifest()) == ["a.mrc"]
    assert world.aws.kinds_said() == ["Dataset Safe"]


def test_reports_in_many_parts_are_read_as_one(world: World) -> None:
    world.share.run({f"d/{n}.mrc": str(n).encode() for n in range(20)}, split=3)
    landed(world.aws, world.s3, "d")
    world.wait(HOUR)
    world.share.run()
    world.wait(200)
    world.tick()
    assert world.receipt()["verified"] == 20
    assert world.receipt()["complete"] is True


def test_a_report_that_cannot_be_read_makes_nothing_safe(world: World) -> None:
    world.share.run({"d/a.mrc": b"a"})
    world.s3.put("datasync-reports/Detailed-Reports/task-0a/exec-0a0001/cut.json", b'{"Transferred": [')
    landed(world.aws, world.s3, "d")
    world.wait(HOUR)
    world.share.run()
    world.wait(200)
    world.tick()
    (reason,) = world.receipt()["reasons"]
    assert reason.startswith("1 task reports cannot be read: datasync-reports/")


def test_checksums_of_a_version_are_asked_for_once(world: World) -> None:
    world.share.run({"d/a.mrc": b"a", "d/b.mrc": b"b"})
    landed(world.aws, world.s3, "d")
    world.wait(300)
    world.tick()
    assert world.s3.calls["head_object"] == 2
    world.wait(HOUR)
    world.share.run({"d/c.mrc": b"c"})
    landed(world.aws, world.s3, "d")
    world.wait(200)
    world.tick()
    assert world.s3.calls["head_object"] == 3
    assert {each["s3_algorithm"] for each in world.manifest().values()} == {"CRC64NVME"}


def test_a_version_without_a_checksum_is_not_asked_for_again(world: World) -> None:
    world.s3.checksums.clear()
    world.safe()
    assert {(each["s3_checksum"], each["s3_algorithm"]) for each in world.manifest().values()} == {(None, "none")}
    assert world.receipt()["complete"] is True


def test_what_there_was_no_time_for_is_done_next_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipt_store, "_HEAD_TOGETHER", 3)
    world.share.run({f"d/{n}.mrc": b"x" for n in range(7)})
    landed(world.aws, world.s3, "d")
    world.wait(HOUR)
    world.share.run()
    world.wait(200)
    clock, real = world.aws.clock, world.s3.head_object

    def slow(**given: Any) -> dict[str, Any]:
        clock.now += 100.0
        return real(**given)

    monkeypatch.setattr(world.s3, "head_object", slow)
    context = SimpleNamespace(get_remaining_time_in_millis=lambda: 300_000)
    receipt_hook.handler(batch(TICK), context)
    assert world.receipt()["reasons"] == ["S3's checksums of 4 files are still to be read"]
    receipt_hook.handler(batch(TICK), context)
    receipt_hook.handler(batch(TICK), context)
    assert world.receipt()["complete"] is True
    assert world.s3.calls["head_object"] == 7
    assert world.aws.kinds_said() == ["Dataset Safe"]


def test_nothing_is_listed_when_nothing_is_due(world: World) -> None:
    world.share.run({"d/a.mrc": b"a"})
    assert world.tick() == []
    assert not world.s3.calls, "it has not landed"


def test_an_event_that_was_not_said_is_said_next_time(world: World) -> None:
    world.aws.events.refusing = True
    with pytest.raises(AssertionError):
        world.safe()
    assert world.aws.waiting() == ["Dataset Safe"]
    world.aws.events.refusing = False
    assert world.tick() == []
    assert (world.aws.kinds_said(), world.aws.waiting()) == (["Dataset Safe"], [])


def test_of_two_that_look_at_once_one_writes_and_says(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    write, raced = receipt_store.Bucket.write, []

    def slowly(self: Any, *given: Any, **more: Any) -> str:
        if not raced:
            raced.append(True)
            receipt_hook.act()
        return write(self, *given, **more)

    monkeypatch.setattr(receipt_store.Bucket, "write", slowly)
    world.safe()
    assert raced
    assert world.aws.kinds_said() == ["Dataset Safe"]
    # Whose look came second wrote its files last, whatever was in them: they are made once more.
    records = receipt_hook.keeper().records
    (record,) = records.known("receipt")
    assert record["digest"] == ""
    monkeypatch.undo()
    world.tick()
    (record,) = records.known("receipt")
    assert record["digest"]


def test_one_dataset_that_fails_does_not_keep_the_others(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.share.run({"d/a.mrc": b"a", "e/a.mrc": b"e"})
    for name in ("d", "e"):
        landed(world.aws, world.s3, name)
    world.wait(HOUR)
    world.share.run()
    world.wait(200)
    look = receipt_store.Bucket.look

    def failing(self: Any, name: str, *given: Any, **more: Any) -> Any:
        if name == "d":
            raise OSError("SlowDown")
        return look(self, name, *given, **more)

    monkeypatch.setattr(receipt_store.Bucket, "look", failing)
    assert world.tick() == ["m0"]
    assert [each["dataset"] for each in world.aws.said("Dataset Safe")] == ["e"]
    monkeypatch.setattr(receipt_store.Bucket, "look", look)
    assert world.tick() == []
    assert [each["dataset"] for each in world.aws.said("Dataset Safe")] == ["e", "d"]


def test_dead_letters_are_over_with_the_next_good_look(world: World) -> None:
    world.aws.sqs.put("dead", TICK, {"source": "aws.datasync"})
    assert world.tick() == []
    assert world.aws.sqs.bodies("dead") == []


def test_what_landed_before_there_were_receipts_is_written_down_without_a_word(world: World) -> None:
    world.s3.put("datasets/d/a.mrc", b"a")
    landed(world.aws, world.s3, "d", at=world.aws.clock.now - 40 * 24 * HOUR)
    world.tick()
    assert (world.receipt()["unknown"], world.aws.kinds_said()) == (1, [])
    assert world.aws.record("receipt", "d")["state"] == "not-safe"


def test_a_dataset_that_is_seen_late_is_told_of_at_the_first_look(world: World) -> None:
    world.s3.put("datasets/d/a.mrc", b"a")
    landed(world.aws, world.s3, "d", at=world.aws.clock.now - 40 * HOUR)
    world.tick()
    assert world.aws.kinds_said() == ["Dataset Not Safe"]


def test_receipts_beside_a_dataset_are_no_files_of_it_and_no_dataset(world: World) -> None:
    world.safe()
    assert [key for key, _ in world.s3.current("datasets/d.")] == [
        "datasets/d.manifest.jsonl.gz", "datasets/d.receipt.json",
    ]  # fmt: skip
    assert dataset_of("datasets/d.receipt.json") is None
    assert dataset_of("datasets/d.manifest.jsonl.gz") is None


KNOWN: dict[str, Any] = {
    "state": "open", "dataset_last_at": 5.0, "dataset_objects": 2, "waits": 0, "transfers": "m", "looked_at": 1000.0,
    "digest": "d",
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "now", "expected"),
    [
        ({}, 2000.0, False),
        ({"transfers": "before"}, 2000.0, True),
        ({"transfers": "before"}, 1899.0, False),
        ({"transfers": "before"}, 1900.0, True),
        ({"waits": 1}, 1000.0, True),
        ({"state": "safe", "digest": ""}, 1000.0, True),
        ({"dataset_objects": 1}, 1000.0, True),
        ({"dataset_last_at": 4.0}, 1000.0, True),
        ({"state": "safe", "transfers": "before"}, 9e5, False),
        ({"state": "safe", "dataset_last_at": 4.0}, 1000.0, True),
        ({}, 24 * HOUR, False),
        ({}, 24 * HOUR + 1, True),
        ({"state": "not-safe"}, 48 * HOUR, False),
        # An old one is looked at when a tenth of its age has gone by.
        ({"state": "not-safe", "transfers": "before", "looked_at": 100 * HOUR}, 110 * HOUR, False),
        ({"state": "not-safe", "transfers": "before", "looked_at": 100 * HOUR}, 112 * HOUR, True),
        ({"state": "not-safe", "transfers": "before", "looked_at": 1000 * HOUR}, 1024 * HOUR, True),
    ],
)  # fmt: skip
def test_what_is_due(changes: dict[str, Any], now: float, expected: bool) -> None:
    dataset = {"last_at": 5.0, "objects": 2, "landed_at": 0.0}
    assert due(dataset, {**KNOWN, **changes}, mark="m", not_safe_after=24 * HOUR, now=now) is expected


def test_what_has_no_receipt_is_due() -> None:
    assert due({"last_at": 5.0, "objects": 2, "landed_at": 0.0}, None, mark="m", not_safe_after=1.0, now=0.0)
