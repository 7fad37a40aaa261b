"""What the twin's DataSync reports is what the hooks read: each half is written after the user guide, by itself."""

from __future__ import annotations

import hashlib
import json

import pytest

from cdk_cryoem_lambda.receipts import Look, Version, by_dataset, files
from cdk_cryoem_lambda.reports import Place, Reported, entries
from cdk_cryoem_twin.emulator import datasync_report as twin

CONFIG = {"ReportLevel": "SUCCESSES_AND_ERRORS", "ObjectVersionIds": "INCLUDE"}
PLACE = Place(task="task-0a", execution="exec-0b")
NS = 1_800_000_000_123_456_789
NAMES = ["d/a b.mrc", "d/zeile\numbruch.tif", "d/grille détectée.eer"]
SUM = hashlib.sha256(b"movie").hexdigest()


def written(mode: str, *, wrong: str = "") -> list[Reported]:
    sources = [twin.Source(name=name, size=5, mtime_ns=NS) for name in NAMES]
    told = {
        "Transferred": [
            twin.transferred(each, mode=mode, at_ns=NS + 10**9, overwrote=False, version=f"v{n}")
            for n, each in enumerate(sources)
        ],
        "Verified": [
            twin.verified(
                each, mode=mode, at_ns=NS + 2 * 10**9, source_sha256=SUM, target_sha256=SUM, size=5,
                failure="no match" if each.name == wrong else "",
            )
            for each in sources
        ],
        "Skipped": [],
    }  # fmt: skip
    reports = [json.loads(content) for _, content in twin.files("exec-0b", told, CONFIG)]
    return [each for report in reports for each in entries(report, PLACE, written_at=0.0)]


def statuses(reported: list[Reported]) -> dict[str, str]:
    versions = {
        name.removeprefix("d/"): [Version(id=f"v{n}", size=5, at=NS / 1e9, latest=True)] for n, name in enumerate(NAMES)
    }
    looks = {"task-0a": Look(began=NS / 1e9 + 100)}
    found = files(versions, by_dataset(reported, ["d"])["d"], looks)
    assert {each.sha256 for each in found if each.status == "verified"} <= {SUM}
    return {each.path: each.status for each in found}


@pytest.mark.parametrize("mode", ["BASIC", "ENHANCED"])
def test_what_it_copied_and_verified_is_verified(mode: str) -> None:
    assert statuses(written(mode)) == dict.fromkeys((name.removeprefix("d/") for name in NAMES), "verified")


@pytest.mark.parametrize("mode", ["BASIC", "ENHANCED"])
def test_what_it_found_different_is_not(mode: str) -> None:
    found = statuses(written(mode, wrong="d/a b.mrc"))
    assert found == {"a b.mrc": "unverified", "zeile\numbruch.tif": "verified", "grille détectée.eer": "verified"}


@pytest.mark.parametrize("mode", ["BASIC", "ENHANCED"])
def test_both_modes_say_the_same(mode: str) -> None:
    assert written(mode) == written("BASIC")


def test_a_report_in_parts_is_the_same_report(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = written("BASIC")
    monkeypatch.setattr(twin, "LARGEST", 700)
    assert written("BASIC") == whole
