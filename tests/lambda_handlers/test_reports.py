"""DataSync's task reports: both spellings, and what is none."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest

from cdk_cryoem_lambda.reports import Place, Reported, entries, has_files, place_of, task_id

PLACE = Place(task="task-0a", execution="exec-0b")
SUM = hashlib.sha256(b"movie").hexdigest()
# As in the DataSync user guide, with the checksums it names and does not show.
BASIC: dict[str, Any] = {
    "TaskExecutionId": "exec-0b",
    "Transferred": [
        {
            "RelativePath": "/krios 1/a é.tiff",
            "SrcMetadata": {
                "Type": "Regular",
                "ContentSize": 6,
                "Mtime": "2022-01-07T16:59:26.136114671Z",
                "Atime": "2022-01-07T16:59:26.136114671Z",
                "Uid": 0,
                "Gid": 0,
                "Mode": "0644",
            },
            "Overwrite": "False",
            "DstS3VersionId": "v1",
            "TransferTimestamp": "2022-01-07T16:59:45.747270957Z",
            "TransferType": "CONTENT_AND_METADATA",
            "TransferStatus": "SUCCESS",
        },
        {"RelativePath": "/krios 1", "SrcMetadata": {"Type": "Directory"}, "TransferStatus": "SUCCESS"},
        {
            "RelativePath": "/krios 1/b.tiff",
            "SrcMetadata": {"Type": "Regular", "ContentSize": 7},
            "TransferTimestamp": "2022-01-07T16:59:46Z",
            "TransferStatus": "FAILED",
            "FailureReason": "Input/output error",
            "FailureCode": 40974,
        },
    ],
}
COPIED = Reported(
    path="krios 1/a é.tiff",
    kind="transferred",
    ok=True,
    at=1641574785.74727,
    task="task-0a",
    execution="exec-0b",
    size=6,
    mtime=1641574766.136114,
    version="v1",
)


def read(document: dict[str, Any]) -> list[Reported]:
    return list(entries(document, PLACE, written_at=9.0))


def test_basic_mode() -> None:
    copied, failed = read(BASIC)
    assert copied == COPIED
    assert (failed.path, failed.ok, failed.reason) == ("krios 1/b.tiff", False, "Input/output error 40974")


def test_enhanced_mode_says_the_same_in_other_words() -> None:
    enhanced = {
        "TaskExecutionId": "exec-0b",
        "Transferred": [
            {
                "RelativePath": "krios 1/a é.tiff",
                "SourceMetadata": {
                    "Type": "Regular",
                    "ContentSize": 6,
                    "LastModified": "2022-01-07T16:59:26.136114671Z",
                },
                "DstS3VersionId": "v1",
                "TransferTimestamp": "2022-01-07T16:59:45.747270957Z",
                "TransferStatus": "SUCCESS",
            },
            {
                "RelativePath": "krios 1/b.tiff",
                "SourceMetadata": {},
                "TransferStatus": "FAILED",
                "ErrorCode": "FileNotFound",
                "ErrorDetail": "it vanished",
            },
        ],
    }
    copied, failed = read(enhanced)
    assert copied == COPIED
    assert (failed.ok, failed.reason, failed.at) == (False, "it vanished FileNotFound", 9.0)


@pytest.mark.parametrize("spelling", [SUM, SUM.upper(), base64.b64encode(bytes.fromhex(SUM)).decode(), {"Value": SUM}])
@pytest.mark.parametrize(
    ("source", "destination"), [("SrcChecksum", "DstChecksum"), ("SourceChecksum", "DestinationChecksum")]
)
def test_verified_files_have_their_checksums(spelling: Any, source: str, destination: str) -> None:
    given = {
        "RelativePath": "/d/a",
        source: spelling,
        destination: SUM,
        "VerifyTimestamp": "2022-01-07T17:00:00.5Z",
        "VerifyStatus": "SUCCESS",
    }
    (found,) = read({"Verified": [given]})
    assert (found.kind, found.ok, found.source, found.destination, found.at) == (
        "verified",
        True,
        SUM,
        SUM,
        1641574800.5,
    )


def test_a_success_of_two_checksums_that_differ_is_none() -> None:
    other = hashlib.sha256(b"flipped").hexdigest()
    given = {"RelativePath": "/d/a", "SrcChecksum": SUM, "DstChecksum": other, "VerifyStatus": "SUCCESS"}
    (found,) = read({"Verified": [given]})
    assert not found.ok


@pytest.mark.parametrize("spelling", [None, "", "?", "abc", "ab" * 20, {}, base64.b64encode(b"short").decode()])
def test_what_is_no_sha256_is_not_taken_for_one(spelling: Any) -> None:
    (found,) = read({"Verified": [{"RelativePath": "/d/a", "SrcChecksum": spelling, "VerifyStatus": "SUCCESS"}]})
    assert (found.source, found.ok) == (None, True)


def test_skipped_files_are_there_when_they_failed() -> None:
    (found,) = read({"Skipped": [{"RelativePath": "/d/a", "SkipStatus": "FAILED", "FailureReason": "denied"}]})
    assert (found.kind, found.ok, found.reason) == ("skipped", False, "denied")


def test_deletions_say_nothing_and_empty_lists_neither() -> None:
    assert read({"Deleted": [{"RelativePath": "/d/a", "DeleteStatus": "SUCCESS"}]}) == []
    assert read({"Transferred": None}) == []


@pytest.mark.parametrize("document", [{}, {"TaskExecutionId": "e"}, {"Result": {"FilesTransferred": 1}}])
def test_what_is_no_report_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no task report"):
        read(document)


def test_whose_report_it_is_follows_from_its_folder() -> None:
    key = "datasync-reports/Detailed-Reports/task-0a/exec-0b/exec-0b.files-transferred-v1-00001-0000000000000000.json"
    assert (place_of(key), has_files(key)) == (PLACE, True)
    summary = "datasync-reports/Summary-Reports/task-0a/exec-0b/exec-0b.json"
    assert (place_of(summary), has_files(summary)) == (PLACE, False)
    assert place_of("datasync-reports/Detailed-Reports/") is None
    assert task_id("arn:aws:datasync:eu-west-1:1:task/task-0a") == "task-0a"
