"""`cryoem archive` and `cryoem restore`, with moto in AWS's place."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto.moto_api import state_manager

sys.path.insert(0, str(Path(__file__).parent))

from archive_account import BUCKET, LANDED, LARGE, RULE, Archive, archive_at_hand
from operate_account import deployed, run

from cdk_cryoem_stacks.archive import bucket, decide, work
from cdk_cryoem_stacks.archive.contents import sum_up
from cdk_cryoem_stacks.operate.ask import Failed

FILES = {"a_fractions.tiff", "b ü_fractions.tiff", "a.xml"}
SAFE = {"state": "safe", "dataset_last_at": 1000.5}
MARKED, UNMARKED = dict.fromkeys(FILES, "finished"), dict.fromkeys(FILES)


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Archive]:
    with archive_at_hand(monkeypatch, tmp_path) as made:
        yield made


# --- archive ----------------------------------------------------------------------------------------------------------


def test_archive_marks_every_object_keeps_other_tags_and_writes_it_down(
    archive: Archive, capsys: pytest.CaptureFixture[str]
) -> None:
    archive.dataset()
    archive.put("krios-10/other.tiff")
    assert run("archive", "krios-1", "--yes") == 0
    assert archive.states() == MARKED
    assert archive.tags("datasets/krios-1/a.xml") == {"group": "smith", "cryoem-state": "finished"}
    assert archive.tags("datasets/krios-10/other.tiff") == {}
    item = archive.system.get("dataset", "krios-1")
    assert item is not None
    assert isinstance(item.pop("archive_at"), float)
    assert item == {"pk": "dataset", "sk": "krios-1", **LANDED, "archive": "finished", "archive_by": "user/moto"}
    out = capsys.readouterr().out
    assert "krios-1 is finished: 3 of 3 files were marked now; S3 moves them from " in out


def test_it_says_what_when_and_for_how_much_before_it_does_anything(
    archive: Archive, capsys: pytest.CaptureFixture[str]
) -> None:
    archive.dataset()
    assert run("archive", "krios-1") == 1
    said = capsys.readouterr()
    assert "nothing was changed: nobody can be asked here; --yes does it without asking" in said.err
    assert f"krios-1 in s3://{BUCKET}/datasets/krios-1/, active: 3 files, 262 kB" in said.out
    due = (datetime.now(UTC) + timedelta(days=31)).strftime("%Y-%m-%d")
    for line in (
        "moves      2 files, 262 kB, to S3 Glacier Deep Archive",
        "stays      1 file, 100 B: smaller than 131,072 bytes each",
        f"when       from {due}, 30 days after each file came",
        "back       standard: 0.0002 USD, typically within 12 h",
        "back       bulk: 5.1e-05 USD, typically within 48 h",
        "prices     list prices of us-east-1, 2026-11\n",
        "at least   180 days are billed for what was moved",
        "reading ends with an error",
    ):
        assert line in said.out
    assert archive.states() == UNMARKED
    assert "archive" not in (archive.system.get("dataset", "krios-1") or {})


def test_who_says_yes_is_obeyed_and_who_does_not_is_too(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archive.dataset()
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda prompt: "")
    assert run("archive", "krios-1") == 1
    assert archive.states() == UNMARKED
    assert "nothing was changed" in capsys.readouterr().err
    monkeypatch.setattr("builtins.input", lambda prompt: "y")
    assert run("archive", "krios-1") == 0
    assert archive.states() == MARKED


def test_json_without_yes_changes_nothing(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    archive.dataset()
    assert run("archive", "krios-1", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["dataset"], said["state"], said["refusals"]) == ("krios-1", "active", [])
    assert said["contents"]["moves"] == {"files": 2, "bytes": 2 * LARGE}
    assert said["rule"] == {"days": 30, "smallest": LARGE}
    assert said["due_first"] == said["due_last"] > said["at"] + 30 * 86400
    assert said["cost"]["once"] == pytest.approx(2 * 0.05 / 1000 + 3 * 0.0054 / 1000)
    assert archive.states() == UNMARKED
    assert run("archive", "krios-1", "--json", "--yes") == 0
    assert json.loads(capsys.readouterr().out)["dataset"] == "krios-1"
    assert archive.states() == MARKED


@pytest.mark.parametrize(
    ("rules", "attributes", "receipt", "said"),
    [
        ([], {}, SAFE, "no rule that moves finished datasets: set landing.archive_after_days"),
        ([RULE], {"state": "arriving"}, SAFE, "krios-1 is arriving, not landed"),
        ([RULE], {}, None, "krios-1 has no receipt: that all of it arrived is not proven"),
        ([RULE], {}, {"state": "open"}, "the receipt of krios-1 is not complete: open: that all of it"),
        ([RULE], {}, {"state": "not-safe", "reasons": "1 files missing"}, "complete: not-safe (1 files missing): that"),
        ([RULE], {}, {"state": "safe", "dataset_last_at": 1000.0}, "older than its last file (1970-01-01"),
        ([RULE], {}, {"state": "safe"}, "older than its last file"),
    ],
)
def test_what_may_not_be_archived_is_not(
    archive: Archive,
    rules: list[dict[str, Any]],
    attributes: dict[str, Any],
    receipt: dict[str, Any] | None,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    archive.dataset(receipt=False, **attributes)
    if receipt:
        archive.system.put("receipt", "krios-1", **receipt)
    archive.rules(*rules)
    assert run("archive", "krios-1", "--yes") == 1
    assert said in capsys.readouterr().err
    assert archive.states() == UNMARKED


def test_without_a_receipt_it_is_archived_when_that_is_said(
    archive: Archive, capsys: pytest.CaptureFixture[str]
) -> None:
    archive.dataset(receipt=False)
    assert run("archive", "krios-1", "--without-receipt", "--yes") == 0
    assert "careful    krios-1 has no receipt" in capsys.readouterr().out
    assert archive.states() == MARKED


def test_a_recipe_that_has_not_ended_keeps_its_movies(
    archive: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive.dataset()
    (tmp_path / "recipes").mkdir()
    recipe = tmp_path / "recipes" / "spa"
    recipe.write_text("#!/bin/sh\n")
    recipe.chmod(0o755)
    (tmp_path / "cryoem.yaml").write_text("name: cryoem\nprocessing: {recipes: recipes, on_landed: spa}\n")
    assert run("archive", "krios-1", "--yes") == 1
    assert "the recipe spa has not ended on krios-1" in capsys.readouterr().err
    archive.system.put("dataset", "krios-1", **LANDED, processing_at=2000, processing="failed")
    assert run("archive", "krios-1", "--yes") == 0
    assert archive.states() == MARKED


def test_by_the_systems_name_nobody_knows_its_recipe_which_is_said(
    archive: Archive, capsys: pytest.CaptureFixture[str]
) -> None:
    archive.dataset()
    assert run("archive", "krios-1", "--yes", "--name", "cryoem", "--region", "us-east-1") == 0
    assert "careful    without the configuration file nobody can tell whether a recipe" in capsys.readouterr().out


def test_again_it_marks_what_came_late_and_nothing_else(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    archive.dataset()
    assert run("archive", "krios-1", "--yes") == 0
    archive.put("krios-1/late.tiff")
    capsys.readouterr()
    assert run("archive", "krios-1", "--yes") == 0
    assert "1 of 4 files were marked now" in capsys.readouterr().out
    assert set(archive.states().values()) == {"finished"}


def test_what_failed_is_named_and_done_the_next_time(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archive.dataset()
    mark = bucket.Movies.mark

    def fails(self: bucket.Movies, key: str, value: str | None) -> bool:
        if "ü" in key:
            raise Failed("s3:PutObjectTagging was answered with SlowDown: later")
        return mark(self, key, value)

    with monkeypatch.context() as patch:
        patch.setattr(bucket.Movies, "mark", fails)
        assert run("archive", "krios-1", "--yes") == 1
    said = capsys.readouterr().err
    assert "1 file of 3 failed: 'datasets/krios-1/b ü_fractions.tiff' (s3:PutObjectTagging was answered with" in said
    assert (archive.system.get("dataset", "krios-1") or {})["archive_pending"] == 1
    run("archive", "--list")
    assert "not all marked or asked for: run it again" in capsys.readouterr().out
    assert run("archive", "krios-1", "--yes") == 0
    assert "1 of 3 files were marked now" in capsys.readouterr().out
    assert archive.states() == MARKED
    assert "archive_pending" not in (archive.system.get("dataset", "krios-1") or {})


def test_ten_tags_of_others_leave_no_room(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    archive.dataset()
    archive.put("krios-1/full.tiff", tags="&".join(f"t{number}=v" for number in range(10)))
    assert run("archive", "krios-1", "--yes") == 1
    assert "it has 10 tags of others, and S3 takes no more" in capsys.readouterr().err
    assert len(archive.tags("datasets/krios-1/full.tiff")) == 10


def test_two_at_once_are_told(archive: Archive) -> None:
    archive.dataset()
    mine, theirs = archive.look(), archive.look()
    work.finish(archive.records, mine, by="user/anna", progress=archive.told)
    with pytest.raises(Failed, match="changed at this moment: a file came, or somebody else archives"):
        work.undo(archive.records, theirs, by="user/ben", progress=archive.told)
    assert archive.states() == MARKED
    late = archive.look()
    archive.system.clients.dynamodb.update_item(
        TableName=archive.found.table,
        Key={"pk": {"S": "dataset"}, "sk": {"S": "krios-1"}},
        UpdateExpression="SET last_at = :now",
        ExpressionAttributeValues={":now": {"N": "2000"}},
    )
    with pytest.raises(Failed, match="changed at this moment"):
        work.finish(archive.records, late, by="user/anna", progress=archive.told)


def test_an_unknown_dataset_and_wrong_input(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    archive.dataset()
    assert run("archive", "krios") == 1
    assert "there is no dataset krios. Did you mean krios-1?" in capsys.readouterr().err
    assert run("restore", "talos") == 1
    assert run("archive") == 2
    assert "name a dataset, or --list" in capsys.readouterr().err
    assert run("archive", "--list", "krios-1") == 2
    assert run("archive", "--list", "--undo") == 2
    assert run("restore", "krios-1", "--tier", "expedited") == 2
    assert "Deep Archive has no expedited restore: standard is typically there within 12 h" in capsys.readouterr().err
    assert run("restore", "krios-1", "--tier", "fast") == 2
    assert "got fast, allowed: standard, bulk" in capsys.readouterr().err
    for days in ("0", "366", "1.5", "-1", "x"):
        assert run("restore", "krios-1", f"--days={days}") == 2
        assert f"got {days}, allowed: whole days, 1 to 365" in capsys.readouterr().err


# --- undo -------------------------------------------------------------------------------------------------------------


def test_undo_takes_the_mark_away_and_no_other_tag(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    archive.dataset()
    run("archive", "krios-1", "--yes")
    capsys.readouterr()
    assert run("archive", "krios-1", "--undo") == 0
    assert "krios-1 is not finished any more: 3 marks taken away\n" in capsys.readouterr().out
    assert archive.states() == UNMARKED
    assert archive.tags("datasets/krios-1/a.xml") == {"group": "smith"}
    assert (archive.system.get("dataset", "krios-1") or {})["archive"] == "active"
    assert archive.look().state == "active"


def test_undo_says_what_is_gone_already(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    archive.dataset()
    run("archive", "krios-1", "--yes")
    assert archive.move() == 2
    capsys.readouterr()
    assert run("archive", "krios-1", "--undo") == 0
    assert "2 files had been moved and stay there: `cryoem restore krios-1` makes" in capsys.readouterr().out
    assert archive.look().state == "archived"


# --- restore ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def slow_restores() -> Iterator[None]:
    """moto's restores end when they are asked for twice, not at once."""
    state_manager.set_transition("s3::keyrestore", {"progression": "manual", "times": 2})
    yield
    state_manager.unset_transition("s3::keyrestore")


def archived(archive: Archive) -> None:
    archive.dataset()
    assert run("archive", "krios-1", "--yes") == 0
    assert archive.move() == 2
    assert archive.look().state == "archived"


@pytest.mark.usefixtures("slow_restores")
def test_restore_asks_for_every_archived_file_and_says_how_far_it_is(
    archive: Archive, capsys: pytest.CaptureFixture[str]
) -> None:
    archived(archive)
    capsys.readouterr()
    assert run("restore", "krios-1", "--yes", "--days", "7", "--tier", "standard") == 0
    said = capsys.readouterr().out
    assert "archived   2 files, 262 kB of 3 files, 262 kB" in said
    assert "chosen     standard: 0.0002 USD, typically within 12 h" in said
    assert "or         bulk: 5.1e-05 USD, typically within 48 h" in said
    assert "krios-1: 2 files requested. `cryoem restore krios-1 --status` says" in said
    assert archive.states(archived=False) == {"a.xml": None}, "in the archive a mark means nothing"
    item = archive.system.get("dataset", "krios-1") or {}
    assert (item["archive"], item["archive_tier"], item["archive_days"]) == ("restoring", "standard", 7)
    assert "archive_pending" not in item
    assert run("restore", "krios-1", "--status") == 0
    said = capsys.readouterr().out
    assert "krios-1 is restoring: 0 of 2 archived files can be read; 2 on the way; asked by user/moto at " in said
    assert said.endswith("UTC, standard\n")
    for key in archive.current():
        key.advance()
    assert run("restore", "krios-1", "--status") == 0
    until = (datetime.now(UTC) + timedelta(days=7)).strftime("%Y-%m-%d")
    assert f"krios-1 is restored: 2 of 2 archived files can be read, the first until {until}" in capsys.readouterr().out
    assert run("restore", "krios-1", "--status", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["state"] == "restored"
    assert said["contents"]["restored"] == {"files": 2, "bytes": 2 * LARGE}
    assert said["cost"]["bulk"]["once_usd"] == 0


def test_a_restore_can_be_asked_for_again_and_then_lasts_longer(
    archive: Archive, capsys: pytest.CaptureFixture[str]
) -> None:
    archived(archive)
    assert run("restore", "krios-1", "--yes", "--days", "2") == 0
    capsys.readouterr()
    assert run("restore", "krios-1", "--json", "--days", "20") == 0
    bulk = json.loads(capsys.readouterr().out)["cost"]["bulk"]
    assert bulk["once_usd"] == 0, "the copies are there"
    assert bulk["copy_usd_per_day"] > 0, "and are paid for each day that they stay"
    assert run("restore", "krios-1", "--yes", "--days", "20") == 0
    assert "krios-1: 2 files extended." in capsys.readouterr().out
    until = archive.look().contents.restored_until
    assert until is not None
    assert until > datetime.now(UTC).timestamp() + 19 * 86400


def test_what_is_on_its_way_or_was_never_archived_is_no_failure(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    archived(archive)
    s3 = archive.system.clients.s3

    def refused(**_: object) -> object:
        error = {"Error": {"Code": "RestoreAlreadyInProgress", "Message": "Object restore is already in progress"}}
        raise s3.exceptions.ClientError(error, "RestoreObject")  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(s3, "restore_object", refused)
        assert run("restore", "krios-1", "--yes") == 0
    assert "krios-1: 2 files on its way" in capsys.readouterr().out


def test_advice_on_a_name_with_spaces_can_be_typed() -> None:
    nothing = sum_up((), None, now=0)
    verdict = decide.may_archive({"sk": "my grid 2"}, None, None, nothing, recipe="", without_receipt=False)
    assert "`cryoem land 'my grid 2'`" in verdict.refusals[0]
    assert "`cryoem verify 'my grid 2'`" in verdict.refusals[-1]


def test_nothing_to_restore(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    archive.dataset()
    assert run("restore", "krios-1", "--yes") == 1
    assert "nothing of krios-1 is in the archive: all 3 files can be read" in capsys.readouterr().err
    run("archive", "krios-1", "--yes")
    assert run("restore", "krios-1", "--yes") == 1
    assert "in the archive yet; it waits to be moved: `cryoem archive krios-1 --undo`" in capsys.readouterr().err
    assert archive.states() == MARKED
    archive.system.put("dataset", "empty", **LANDED)
    assert run("restore", "empty") == 1
    assert "the landing bucket has nothing of empty" in capsys.readouterr().err


def test_status_where_nothing_is_archived(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    archive.dataset()
    assert run("restore", "krios-1", "--status") == 0
    assert "krios-1 is active: nothing of it is in the archive, all of it can be read" in capsys.readouterr().out


# --- the list ---------------------------------------------------------------------------------------------------------


def test_the_list_has_every_dataset_with_state_size_and_price(
    archive: Archive, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("archive", "--list") == 0
    assert "there is no dataset" in capsys.readouterr().out
    archived(archive)
    archive.system.put("dataset", "krios-2", state="arriving", objects=12, size_bytes=10**12)
    archive.system.put("dataset", "krios-3", state="gone", objects=0, size_bytes=0)
    capsys.readouterr()
    assert run("archive", "--list") == 0
    first, second, last = capsys.readouterr().out.splitlines()
    assert " ".join(first.split()) == "krios-1 archived 3 files 262 kB 6.6e-07 USD 262 kB archived"
    assert " ".join(second.split()) == "krios-2 active, arriving 12 files 1.0 TB 21.42 USD"
    assert last == "15 files, 1.0 TB: at most 21.42 USD a month (list prices of us-east-1, 2026-11)"
    assert run("archive", "--list", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert [(each["dataset"], each["state"], each["looked"]) for each in said] == [
        ("krios-1", "archived", True),
        ("krios-2", "active", False),
    ]


# --- whatever the order -----------------------------------------------------------------------------------------------

STEPS = ("archive", "archive, interrupted", "undo", "restore", "move", "late file", "replaced file", "tag of others")


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(st.sampled_from(STEPS), min_size=1, max_size=10))
def test_whatever_the_order_no_version_is_lost_and_no_tag_of_others(steps: list[str]) -> None:
    with deployed() as system, pytest.MonkeyPatch.context() as patch:
        archive = Archive(system)
        archive.dataset()
        versions = archive.versions()
        others = {version: _others(archive, *version) for version in versions}
        for number, step in enumerate(steps):
            _play(archive, step, number, patch)
            if step == "tag of others":
                others[_current(archive, "a.xml")]["n"] = str(number)
            now = archive.versions()
            assert versions.items() <= now.items(), "a version is gone, or another than it was"
            assert now == versions or step in ("late file", "replaced file"), "nothing is written anew"
            for version in now.keys() - versions.keys():
                others[version] = _others(archive, *version)
            versions = now
            assert {version: _others(archive, *version) for version in versions} == others
            if step == "archive":
                assert (
                    set(archive.states(archived=False).values()) == {"finished"}
                    or not archive.look().contents.moves.files
                )
            if step in ("undo", "restore") and archive.look().item.get("archive") != "finished":
                assert set(archive.states(archived=False).values()) <= {None}


def _play(archive: Archive, step: str, number: int, patch: pytest.MonkeyPatch) -> None:
    seen = archive.look()
    if step.startswith("archive") and seen.contents.moves.files:
        if step.endswith("interrupted"):
            with patch.context() as interrupted:
                interrupted.setattr(bucket.Movies, "mark", _first_only(bucket.Movies.mark))
                with pytest.raises(Failed):
                    work.finish(archive.records, seen, by="anna", progress=archive.told)
        else:
            work.finish(archive.records, seen, by="anna", progress=archive.told)
    elif step == "undo":
        work.undo(archive.records, seen, by="anna", progress=archive.told)
    elif step == "restore" and seen.contents.archived.files:
        work.restore(archive.records, seen, tier="bulk", days=3, by="anna", progress=archive.told)
    elif step == "move":
        archive.move()
    elif step == "late file":
        archive.put(f"krios-1/late{number}.tiff")
    elif step == "replaced file":
        archive.put("krios-1/a_fractions.tiff", LARGE + number + 1, tags=f"n={number}")
    elif step == "tag of others":
        key, version = _current(archive, "a.xml")
        tags = {**archive.tags(key), "n": str(number)}
        archive.system.clients.s3.put_object_tagging(
            Bucket=BUCKET,
            Key=key,
            VersionId=version,
            Tagging={"TagSet": [{"Key": name, "Value": value} for name, value in tags.items()]},
        )


def _first_only(mark: Any) -> Any:
    marked: list[str] = []

    def once(self: bucket.Movies, key: str, value: str | None) -> bool:
        if marked:
            raise Failed("the network is gone")
        marked.append(key)
        return bool(mark(self, key, value))

    return once


def _current(archive: Archive, name: str) -> tuple[str, str]:
    key = f"datasets/krios-1/{name}"
    return key, archive.system.clients.s3.head_object(Bucket=BUCKET, Key=key)["VersionId"]


def _others(archive: Archive, key: str, version: str) -> dict[str, str]:
    return {name: value for name, value in archive.tags(key, VersionId=version).items() if name != "cryoem-state"}
