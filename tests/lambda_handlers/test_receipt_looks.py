"""The receipt hook: what failed runs say of datasets that were safe, and that one that cannot be read keeps no other."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from fakes import batch, refusal
from receipt_world import OTHER_TASK, TASK, Share, landed
from test_receipt_hook import HOUR, TICK, World, world

from cdk_cryoem_lambda import receipt_hook, receipt_store
from cdk_cryoem_lambda.receipt_hook import keeper

__all__ = ["world"]


def look(world: World, **run: Any) -> None:
    """An hour later a run, and then the hook's look at what it says."""
    world.wait(HOUR)
    world.share.run(**run)
    world.wait(200)
    assert world.tick() == []


def test_files_that_could_not_be_copied_later_make_a_safe_dataset_unsafe_at_once(world: World) -> None:
    world.safe()
    look(world, failing=("d/late.mrc",), well=False)
    assert world.aws.kinds_said() == ["Dataset Safe", "Dataset Not Safe"]
    receipt = world.receipt()
    assert (receipt["complete"], receipt["missing"], receipt["examples"]) == (False, 1, ["late.mrc"])
    assert receipt["reasons"] == ["1 files missing in the bucket"], "the look before was a good one"
    look(world)
    assert world.aws.kinds_said()[2:] == ["Dataset Safe"], "it is on the share no more"


def test_a_report_of_a_failed_run_is_read_once(world: World) -> None:
    world.safe()
    look(world, failing=("other/late.mrc",), well=False)
    before = dict(world.s3.calls)
    for _ in range(3):
        world.wait(900)
        assert world.tick() == []
    assert dict(world.s3.calls) == before
    assert world.aws.kinds_said() == ["Dataset Safe"], "nothing of it failed"


def test_an_agent_that_is_off_makes_nothing_unsafe(world: World) -> None:
    world.safe()
    before = world.s3.calls["get_object"]
    for _ in range(5):
        look(world, well=False, reports=False)
    assert world.aws.kinds_said() == ["Dataset Safe"]
    assert world.receipt()["complete"] is True
    assert world.s3.calls["get_object"] == before


def test_a_failed_run_does_not_undo_the_look_before_it(world: World) -> None:
    world.share.run({"d/a.mrc": b"a"})
    landed(world.aws, world.s3, "d")
    world.wait(HOUR)
    world.share.run()
    look(world, well=False, reports=False)
    assert world.aws.kinds_said() == ["Dataset Safe"]


def test_what_was_named_is_named_again_until_its_receipt_is_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.safe()
    world.wait(HOUR)
    world.share.run(failing=("d/late.mrc",), well=False)
    world.wait(200)

    def throttled(*_: Any, **__: Any) -> str:
        raise OSError("SlowDown")

    write = receipt_store.Bucket.write
    monkeypatch.setattr(receipt_store.Bucket, "write", throttled)
    assert world.tick() == ["m0"]
    monkeypatch.setattr(receipt_store.Bucket, "write", write)
    assert world.tick() == []
    assert world.aws.kinds_said() == ["Dataset Safe", "Dataset Not Safe"]


def test_a_failed_run_whose_report_is_still_written_is_read_later(world: World) -> None:
    world.safe()
    world.wait(HOUR)
    world.share.run(failing=("d/late.mrc",), well=False)
    assert world.tick() == []
    assert world.aws.kinds_said() == ["Dataset Safe"]
    world.wait(121)
    assert world.tick() == []
    assert world.aws.kinds_said() == ["Dataset Safe", "Dataset Not Safe"]


def test_what_is_left_out_is_in_the_receipt_and_in_what_it_states(world: World) -> None:
    world.share.patterns = {"excludes": "*.tmp|*/atlas", "includes": "/d*"}
    world.safe()
    receipt = world.receipt()
    assert (receipt["complete"], receipt["left_out"], receipt["included"]) == (True, ["*.tmp", "*/atlas"], ["/d*"])
    assert "that a pattern of included names and that no pattern of left_out names" in receipt["statement"]


def two(world: World, *, together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Datasets old and new, each in a group of its own."""
    monkeypatch.setattr(receipt_hook, "_TOGETHER", together)
    world.share.run({"old/a.mrc": b"a", "old/b.mrc": b"b"})
    landed(world.aws, world.s3, "old")
    world.wait(HOUR)
    world.share.run({"new/a.mrc": b"a", "new/b.mrc": b"b"})
    landed(world.aws, world.s3, "new")
    world.wait(HOUR)
    world.share.run()
    world.wait(200)


def test_what_there_is_no_time_for_waits_and_the_newest_does_not(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    two(world, together=2, monkeypatch=monkeypatch)
    write, clock = receipt_store.Bucket.write, world.aws.clock

    def slow(self: Any, *given: Any, **more: Any) -> str:
        clock.now += 400
        return write(self, *given, **more)

    monkeypatch.setattr(receipt_store.Bucket, "write", slow)
    context = SimpleNamespace(get_remaining_time_in_millis=lambda: 420_000)
    # Time for one group.
    receipt_hook.handler(batch(TICK), context)
    assert [each["dataset"] for each in world.aws.said("Dataset Safe")] == ["new"]
    receipt_hook.handler(batch(TICK), context)
    assert [each["dataset"] for each in world.aws.said("Dataset Safe")] == ["new", "old"]


def test_reports_that_cannot_be_had_at_the_moment_keep_their_group_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    two(world, together=2, monkeypatch=monkeypatch)
    versions = receipt_store.Bucket.versions

    def broken(self: Any, name: str) -> Any:
        if name == "new":
            raise refusal("SlowDown", "ListObjectVersions")
        return versions(self, name)

    monkeypatch.setattr(receipt_store.Bucket, "versions", broken)
    assert world.tick() == ["m0"]
    assert [each["dataset"] for each in world.aws.said("Dataset Safe")] == ["old"]
    monkeypatch.setattr(receipt_store.Bucket, "versions", versions)
    assert world.tick() == []
    assert [each["dataset"] for each in world.aws.said("Dataset Safe")] == ["old", "new"]


@pytest.mark.parametrize("code", ["AccessDenied", "NoSuchKey", "InvalidObjectState", "KMS.DisabledException"])
def test_a_report_that_s3_does_not_give_out_cannot_be_read(
    world: World, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    world.share.run({"d/a.mrc": b"a"})
    landed(world.aws, world.s3, "d")
    world.wait(HOUR)
    world.share.run()
    world.wait(200)
    get = world.s3.get_object

    def refused(*, Bucket: str, Key: str) -> dict[str, Any]:
        if "exec-0a0001" in Key:
            raise refusal(code, "GetObject")
        return get(Bucket=Bucket, Key=Key)

    monkeypatch.setattr(world.s3, "get_object", refused)
    assert world.tick() == []
    assert any("task reports cannot be read: datasync-reports/" in reason for reason in world.receipt()["reasons"])


def test_a_report_that_s3_is_too_busy_for_is_asked_for_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.share.run({"d/a.mrc": b"a"})
    landed(world.aws, world.s3, "d")
    world.wait(HOUR)
    world.share.run()
    world.wait(200)
    get = world.s3.get_object

    def busy(**_: Any) -> dict[str, Any]:
        raise refusal("SlowDown", "GetObject")

    monkeypatch.setattr(world.s3, "get_object", busy)
    assert world.tick() == ["m0"]
    assert world.s3.versions_of("datasets/d.receipt.json") == 0, "nothing is said of what was not looked at"
    monkeypatch.setattr(world.s3, "get_object", get)
    assert world.tick() == []
    assert world.aws.kinds_said() == ["Dataset Safe"]


def test_a_manifest_that_may_not_be_read_is_logged(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world.share.run({"d/a.mrc": b"a"})
    landed(world.aws, world.s3, "d")
    world.wait(300)
    with caplog.at_level(logging.WARNING, logger="cryoem"):
        assert world.tick() == []
    assert not caplog.records, "the first look expects none"
    get = world.s3.get_object

    def refused(*, Bucket: str, Key: str) -> dict[str, Any]:
        if Key.endswith(".manifest.jsonl.gz"):
            raise refusal("AccessDenied", "GetObject")
        return get(Bucket=Bucket, Key=Key)

    monkeypatch.setattr(world.s3, "get_object", refused)
    with caplog.at_level(logging.WARNING, logger="cryoem"):
        look(world)
    assert any("the manifest of d cannot be read" in line.getMessage() for line in caplog.records)
    assert world.receipt()["complete"] is True


def test_a_microscope_that_is_not_to_copy_a_dataset_and_did_not_need_not_look_at_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INGEST_TASKS", json.dumps([TASK, OTHER_TASK]))
    keeper.cache_clear()
    seen = {
        "pk": {"S": "look"}, "sk": {"S": OTHER_TASK}, "looked_at": {"N": repr(world.aws.clock.now - HOUR)},
        "execution": {"S": "exec-0b0001"}, "includes": {"S": "/glacios-*"}, "scope": {"S": "/glacios-*"},
    }  # fmt: skip
    world.aws.dynamodb.put_item(TableName="records", Item=seen)
    world.safe()
    assert world.aws.kinds_said() == ["Dataset Safe"]


def test_a_microscope_that_copied_a_dataset_must_look_at_it_whatever_its_patterns_are_now(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INGEST_TASKS", json.dumps([TASK, OTHER_TASK]))
    keeper.cache_clear()
    other = Share(world.aws, world.s3, task=OTHER_TASK)
    other.run({"d/first.mrc": b"first"})
    seen = {
        "pk": {"S": "look"}, "sk": {"S": OTHER_TASK}, "looked_at": {"N": repr(world.aws.clock.now + HOUR)},
        "execution": {"S": "exec-0b0001"}, "includes": {"S": "/glacios-*"}, "scope": {"S": "/glacios-*"},
    }  # fmt: skip
    world.aws.dynamodb.put_item(TableName="records", Item=seen)
    world.safe()
    assert world.receipt()["reasons"] == ["task-0b has not looked at the share again since the last file came"]
