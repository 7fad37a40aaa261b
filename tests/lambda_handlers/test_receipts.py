"""What became of a file: each status, its borders, and reports in any order, twice, split, of others."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdk_cryoem_lambda import receipts
from cdk_cryoem_lambda.receipts import File, Look, Version, by_dataset, files, judge, receipt
from cdk_cryoem_lambda.reports import Reported

SUM, OTHER = hashlib.sha256(b"a").hexdigest(), hashlib.sha256(b"b").hexdigest()
A, B = "task-a", "task-b"
LATER = {A: Look(began=1000.0), B: Look(began=1000.0)}


def copied(version: str | None = "v1", *, at: float = 10.0, **changes: Any) -> Reported:
    made = Reported(
        path="d/a.mrc",
        kind="transferred",
        ok=True,
        at=at,
        task=A,
        execution="exec-1",
        size=6,
        mtime=1.5,
        version=version,
    )
    return replace(made, **changes)


def checked(*, at: float = 20.0, **changes: Any) -> Reported:
    made = Reported(
        path="d/a.mrc", kind="verified", ok=True, at=at, task=A, execution="exec-1", source=SUM, destination=SUM
    )
    return replace(made, **changes)


def version(id: str = "v1", *, at: float = 9.0, size: int = 6, latest: bool = True, deleted: bool = False) -> Version:
    return Version(id=id, size=size, at=at, latest=latest, deleted=deleted)


def old(id: str = "v0", **changes: Any) -> Version:
    return version(id, latest=False, **changes)


def status(versions: list[Version], reports: list[Reported], looks: Any = LATER) -> tuple[str, str]:
    found = judge("a.mrc", versions, reports, looks)
    return (found.status, found.reason) if found else ("nothing", "")


def test_copied_and_verified() -> None:
    assert judge("a.mrc", [version()], [copied(), checked()], LATER) == File(
        path="a.mrc", status="verified", size=6, mtime=1.5, sha256=SUM, version="v1",
        transferred_at=10.0, verified_at=20.0, execution="exec-1",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("versions", "reports", "expected"),
    [
        ([version()], [copied()], "unverified"),
        ([version()], [copied(), checked(ok=False, reason="no match")], "unverified"),
        ([version()], [], "unknown"),
        ([], [copied(), checked()], "missing"),
        ([version("m", deleted=True), old("v1")], [copied(), checked()], "missing"),
        ([version("v9"), old("v1")], [copied(), checked()], "different"),
        ([version(size=5)], [copied(), checked()], "different"),
        ([version(size=5)], [copied()], "different"),
        # The verification was of the version before.
        ([version("v2"), old("v1")], [copied(), checked(), copied("v2", at=30.0, execution="exec-2")], "unverified"),
        ([version("v2"), old("v1")], [copied("v1"), copied("v2", at=30.0), checked(at=20.0)], "unverified"),
        ([version("v2"), old("v1")], [copied("v1"), copied("v2", at=15.0), checked(at=20.0)], "verified"),
        # It failed first.
        ([version()], [copied(None, ok=False, at=5.0, execution="exec-0"), copied(), checked()], "verified"),
        ([version()], [copied(), checked(ok=False, at=19.0), checked(at=20.0)], "verified"),
        # It failed afterwards, or at the same moment.
        ([version()], [copied(), checked(at=20.0), checked(ok=False, at=20.0)], "unverified"),
        ([version()], [copied(), checked(at=20.0), checked(ok=False, at=30.0, execution="exec-2")], "unverified"),
        # Reports without version ids: the only version there ever was, if it was there when it was verified.
        ([version()], [copied(None), checked()], "verified"),
        ([version(at=21.0)], [copied(None), checked()], "unverified"),
        ([version(), old()], [copied(None), checked()], "different"),
        # Verified by an execution that had not copied it.
        ([version()], [copied(), checked(execution="exec-2")], "verified"),
        ([version(), old()], [copied(), checked(execution="exec-2")], "unverified"),
        # Verified before it was copied.
        ([version()], [copied(at=30.0), checked(at=20.0)], "unverified"),
    ],
)
def test_each_status(versions: list[Version], reports: list[Reported], expected: str) -> None:
    assert status(versions, reports)[0] == expected


def test_what_could_not_be_copied_is_missing_until_the_share_has_no_more_to_copy() -> None:
    failed = copied(None, ok=False, reason="it vanished")
    assert status([], [failed], {A: Look(began=10.0)}) == ("missing", "not copied: it vanished")
    assert status([], [failed], {A: None}) == ("missing", "not copied: it vanished")
    assert status([], [failed], {B: Look(began=11.0)}) == ("missing", "not copied: it vanished")
    assert status([], [failed], {A: Look(began=11.0, reported=False)})[0] == "missing"
    assert status([], [failed], {A: Look(began=11.0, well=False)})[0] == "missing"
    assert status([], [failed], {A: Look(began=11.0)})[0] == "nothing"


def test_a_file_that_changed_and_could_not_be_copied_again_is_not_verified_any_more() -> None:
    failed = copied(None, ok=False, at=30.0, execution="exec-2", reason="denied")
    assert status([version()], [copied(), checked(), failed], {A: Look(began=25.0)}) == ("unverified", "denied")
    assert status([version()], [copied(), checked(), failed], {A: Look(began=31.0)}) == ("verified", "")
    assert status([version()], [failed], {A: Look(began=25.0)}) == ("unverified", "denied")


def test_a_later_look_does_not_settle_a_verification_that_failed() -> None:
    wrong = checked(ok=False, at=30.0, reason="no match")
    assert status([version()], [copied(), checked(), wrong]) == ("unverified", "no match")


@pytest.mark.parametrize("size", [0, 5])
def test_a_movie_that_shrank_is_different_though_it_was_copied_and_verified(size: int) -> None:
    """A disk that is full cuts movies off; the bucket still has the whole one as an earlier version."""
    reports = [
        copied("v1"),
        checked(),
        copied("v2", at=30.0, size=size, execution="exec-2"),
        checked(at=40.0, execution="exec-2"),
    ]
    now = [version("v2", size=size), old("v1")]
    assert status(now, reports) == (
        "different", f"{size} bytes now, 6 in a version before: a movie does not shrink",
    )  # fmt: skip
    assert status([version("v2", size=6), old("v1", size=size)], [*reports[:2], copied("v2", at=30.0, execution="exec-2"),
                  checked(at=40.0, execution="exec-2")])[0] == "verified", "it grew while it was written"  # fmt: skip
    log = judge("session.log", now, [replace(each, path="d/session.log") for each in reports], LATER)
    assert log is not None
    assert log.status == "verified", "other files may"


@pytest.mark.parametrize(
    ("changes", "sums", "expected"),
    [
        ({}, (SUM, SUM), "verified"),
        ({}, (SUM, OTHER), "different"),
        ({"mtime": 9.0}, (SUM, SUM), "verified"),
        ({}, (SUM, None), "verified"),
        ({"mtime": 9.0}, (SUM, None), "different"),
        ({"size": 7}, (None, None), "different"),
    ],
)
def test_two_tasks_that_copied_to_one_name(changes: Any, sums: tuple[Any, Any], expected: str) -> None:
    other = copied("v2", at=30.0, task=B, execution="exec-b", **changes)
    current = version("v2", size=other.size or 0)
    reports = [
        copied(), checked(source=sums[0], destination=sums[0]),
        other, checked(at=40.0, task=B, execution="exec-b", source=sums[1], destination=sums[1]),
    ]  # fmt: skip
    assert status([current, old("v1")], reports)[0] == expected


def test_what_was_never_copied_and_is_gone_is_nothing() -> None:
    assert status([version("m", deleted=True), old("v1")], []) == ("nothing", "")


def test_reports_of_other_datasets_and_of_files_of_none_are_left_out() -> None:
    there = replace(copied(), path="d2/a.mrc")
    found = by_dataset([copied(), there, replace(copied(), path="loose.mrc")], ["d"])
    assert {name: dict(paths) for name, paths in found.items()} == {"d": {"a.mrc": [copied()]}}


def test_lines_of_a_manifest_come_back_whatever_their_names() -> None:
    for path in ("a b.mrc", "é\n\u2028.tif", '"\\.eer'):
        file = File(path=path, status="verified", size=1, s3_checksum="x", s3_algorithm="CRC64NVME")
        assert "\n" not in file.line()
        assert File.parse(file.line()) == file


# --- datasets -----------------------------------------------------------------------------------------------------------

GOOD = [File(path="a.mrc", status="verified", size=6), File(path="gain.gain", status="verified", size=3)]


def reasons(found: list[File] = GOOD, **changes: Any) -> tuple[str, ...]:
    given: dict[str, Any] = {
        "last_at": 9.0,
        "looks": {A: Look(began=10.0)},
        "sentinel": "DONE",
        **changes,
    }
    return receipt("d", found, **given).reasons


def test_a_complete_receipt_counts_files_movies_and_bytes() -> None:
    made = receipt("d", GOOD, last_at=9.0, looks={A: Look(began=10.0)}, sentinel="")
    assert (made.complete, made.files, made.movies, made.bytes, made.examples) == (True, 2, 1, 9, ())
    assert made.counts == {"verified": 2, "unverified": 0, "different": 0, "missing": 0, "unknown": 0}


@pytest.mark.parametrize(
    ("found", "changes", "expected"),
    [
        (GOOD, {}, ()),
        (GOOD[1:], {}, ("there is no movie in it",)),
        ([], {}, ("there is no movie in it",)),
        (GOOD, {"copied_by": {A, B}}, ("task-b, which copied files of it, is no microscope's task any more",)),
        (GOOD, {"copied_by": {A}}, ()),
        (GOOD, {"looks": {A: Look(began=10.0, includes=("/e*",))}}, ("task-a has not looked at the share again since the last file came",)),
        (GOOD, {"looks": {A: Look(began=10.0, includes=("/dd*", "/d/x"))}}, ()),
        (GOOD, {"looks": {A: Look(began=10.0, includes=("/d*",))}}, ()),
        (GOOD, {"looks": {}}, ("no microscope's task is known",)),
        (GOOD, {"looks": {A: None}}, ("task-a has not looked at the share again since the last file came",)),
        (GOOD, {"looks": {A: Look(began=9.0)}}, ("task-a has not looked at the share again since the last file came",)),
        (GOOD, {"looks": {A: Look(began=10.0), B: None}}, ("task-b has not looked at the share again since the last file came",)),
        (GOOD, {"looks": {A: Look(began=10.0, reported=False)}}, ("the report of task-a's last look is not there yet",)),
        (GOOD, {"looks": {A: Look(began=9.0, failed_at=9.5)}}, ("task-a's last look at the share did not end well",)),
        (GOOD, {"looks": {A: Look(began=9.0, failed_at=8.5)}}, ("task-a has not looked at the share again since the last file came",)),
        (GOOD, {"looks": {A: Look(began=10.0, failed_at=11.0)}}, ()),
        (GOOD, {"looks": {A: Look(began=10.0), B: Look(began=10.0, includes=("/e*",), scope=("/e*",))}, "copied_by": {A}}, ()),
        (GOOD, {"looks": {A: Look(began=10.0), B: Look(began=10.0, includes=("/e*",))}, "copied_by": {A}}, ("task-b has not looked at the share again since the last file came",)),
        (GOOD, {"looks": {A: Look(began=10.0), B: Look(began=10.0, includes=("/e*",), scope=("/e*",))}, "copied_by": {A, B}}, ("task-b has not looked at the share again since the last file came",)),
        (GOOD, {"looks": {A: Look(began=10.0), B: Look(began=10.0, includes=("/e*",), scope=("/e*",))}}, ("task-b has not looked at the share again since the last file came",)),
        (GOOD, {"looks": {A: Look(began=10.0, well=False)}}, ("task-a's last look at the share did not end well",)),
        (GOOD, {"checksums_left": 3}, ("S3's checksums of 3 files are still to be read",)),
        (GOOD, {"unreadable": ["r.json"]}, ("1 task reports cannot be read: r.json",)),
        ([*GOOD, File(path="x", status="unknown", size=0)], {}, ("1 files in the bucket that no report tells of",)),
        ([*GOOD, File(path="sub/DONE", status="unknown", size=0)], {}, ()),
        ([*GOOD, File(path="DONE", status="unknown", size=1)], {}, ("1 files in the bucket that no report tells of",)),
        ([*GOOD, File(path="DONE", status="unknown", size=0)], {"sentinel": ""}, ("1 files in the bucket that no report tells of",)),
        ([*GOOD, File(path="x", status="missing", size=0)], {}, ("1 files missing in the bucket",)),
        ([*GOOD, File(path="x", status="different", size=0)], {}, ("1 files different from what was copied",)),
        ([*GOOD, File(path="x", status="unverified", size=0)], {}, ("1 files copied and not verified",)),
    ],
)  # fmt: skip
def test_a_receipt_is_complete_only_if(found: list[File], changes: Any, expected: tuple[str, ...]) -> None:
    assert reasons(found, **changes) == expected


@pytest.mark.parametrize(("name", "sizes", "status"), [
    ("a.mrc", (6, 6), "verified"),
    ("a.mrc", (3, 6), "verified"),
    ("a.mrc", (6, 0), "different"),
    ("a.mrc", (6, 5), "different"),
    ("log.txt", (6, 0), "verified"),
])  # fmt: skip
def test_a_movie_that_shrank_is_not_verified_whatever_datasync_says(
    name: str, sizes: tuple[int, int], status: str
) -> None:
    before, now = sizes
    versions = [
        Version(id="v2", size=now, at=20.0, latest=True),
        Version(id="v1", size=before, at=10.0, latest=False),
    ]
    said = {"path": f"d/{name}", "task": A, "execution": "exec-2", "ok": True, "mtime": 1.0}
    copied = Reported(**said, kind="transferred", at=21.0, size=now, version="v2")
    checked = Reported(**said, kind="verified", at=22.0, size=now, source="s", destination="s")
    found = judge(name, versions, [copied, checked], {A: Look(began=30.0)})
    assert found is not None
    assert found.status == status


def test_the_worst_are_shown_first_and_five_at_most() -> None:
    bad = [File(path=f"{kind}{n}", status=kind, size=1) for kind in receipts.STATUSES[::-1] for n in range(2)]
    made = receipt("d", bad, last_at=0.0, looks={}, sentinel="")
    assert made.examples == ("missing0", "missing1", "different0", "different1", "unverified0")


# --- properties ---------------------------------------------------------------------------------------------------------

TIMES = st.integers(1, 8).map(float)
REPORTS = st.lists(
    st.builds(
        Reported,
        path=st.just("d/a.mrc"),
        kind=st.sampled_from(["transferred", "verified", "skipped"]),
        ok=st.booleans(),
        at=TIMES,
        task=st.sampled_from([A, B]),
        execution=st.sampled_from(["exec-1", "exec-2"]),
        size=st.sampled_from([None, 6, 7]),
        mtime=st.sampled_from([None, 1.0]),
        version=st.sampled_from([None, "v0", "v1"]),
        source=st.sampled_from([None, SUM, OTHER]),
    ),
    max_size=7,
)
VERSIONS = st.sampled_from(
    [[], [version()], [version(), old()], [version("m", deleted=True), old("v1")], [version("v0"), old("v1")], [version(at=5.0)]]
)  # fmt: skip
LOOKS = st.fixed_dictionaries({name: st.none() | st.builds(Look, began=TIMES) for name in (A, B)})


@given(VERSIONS, REPORTS, LOOKS, st.randoms())
def test_order_and_copies_of_reports_change_nothing(
    versions: list[Version], reports: list[Reported], looks: Any, chance: Any
) -> None:
    expected = judge("a.mrc", versions, reports, looks)
    shuffled = [*reports, *chance.sample(reports, chance.randint(0, len(reports)))]
    chance.shuffle(shuffled)
    found = judge("a.mrc", chance.sample(versions, len(versions)), shuffled, looks)
    assert (found and found.status) == (expected and expected.status)


@given(VERSIONS, REPORTS, LOOKS)
def test_verified_is_only_what_just_this_version_was_copied_and_verified_of(
    versions: list[Version], reports: list[Reported], looks: Any
) -> None:
    found = judge("a.mrc", versions, reports, looks)
    if found is None or found.status != "verified":
        return
    (current,) = [each for each in versions if each.latest]
    assert (found.version, current.deleted) == (current.id, False)
    good = [each for each in reports if each.kind == "verified" and each.ok and each.at == found.verified_at]
    assert good, "without a verification nothing is verified"
    named = [each.version for each in reports if each.kind == "transferred" and each.ok and each.version]
    assert len(versions) == 1 or current.id in named
    bad = [each for each in reports if each.kind == "verified" and not each.ok]
    assert all(each.at < (found.verified_at or 0) for each in bad), "bad news that came later"


@given(VERSIONS, REPORTS, LOOKS)
def test_a_verification_that_fails_later_makes_nothing_verified(
    versions: list[Version], reports: list[Reported], looks: Any
) -> None:
    later = checked(ok=False, at=99.0)
    found = judge("a.mrc", versions, [*reports, later], looks)
    assert found is None or found.status != "verified"


@given(VERSIONS, REPORTS, LOOKS)
def test_a_file_that_is_in_the_bucket_or_was_copied_is_never_left_out(
    versions: list[Version], reports: list[Reported], looks: Any
) -> None:
    there = any(each.latest and not each.deleted for each in versions)
    was = any(each.kind == "transferred" and each.ok for each in reports)
    found = files({"a.mrc": versions} if versions else {}, {"a.mrc": reports} if reports else {}, looks)
    assert len(found) == 1 or not (there or was)
    assert not found or (found[0].status == "missing") == (not there)


@given(REPORTS, LOOKS)
def test_a_dataset_with_anything_but_verified_files_is_not_complete(reports: list[Reported], looks: Any) -> None:
    found = files({"a.mrc": [version()]}, {"a.mrc": reports}, looks)
    made = receipt("d", found, last_at=0.5, looks=looks, sentinel="")
    if made.complete:
        assert [each.status for each in found] == ["verified"]
        assert all(look is not None for look in looks.values())
