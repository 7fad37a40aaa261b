"""Receipts of datasets: what became of each file, and whether nothing of a dataset is on the microscope's disk alone.

Pure functions of task reports (what DataSync says) and of S3's list of versions (what is there). docs/receipts.md has the
rules in words.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from .datasets import DATASETS_PREFIX, covers, is_movie
from .reports import Reported

Status = Literal["verified", "unverified", "different", "missing", "unknown"]
STATUSES: tuple[Status, ...] = ("verified", "unverified", "different", "missing", "unknown")
EXAMPLES = 5
_WORST_FIRST: tuple[Status, ...] = ("missing", "different", "unverified", "unknown")


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """A version of an object, or the mark of its deletion. at: epoch seconds."""

    id: str
    size: int
    at: float
    latest: bool
    deleted: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """When a microscope's share was last looked at: by a transfer that began then and is over.

    reported: whether its reports are there. well: whether it listed everything, so that what failed is in its report. includes:
    patterns that it was held to, scope: those that all transfers of the task are; none for the whole share. excludes: patterns of
    what it left. failed_at: when a later transfer began that failed; that one is no look.
    """

    began: float
    reported: bool = True
    well: bool = True
    includes: tuple[str, ...] = ()
    scope: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    failed_at: float | None = None

    def saw(self, dataset: str) -> bool:
        """Whether it was to look at a dataset."""
        return covers(self.includes, dataset)

    def failed_since(self, at: float) -> bool:
        """Whether a transfer that might have been a look since then failed."""
        return self.failed_at is not None and self.failed_at > at


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """One line of a manifest. path: below the dataset's folder. Times in epoch seconds; None for what nobody knows.

    size: in the bucket, or on the share of a file that is not there. sha256: of the file on the share, by DataSync.
    s3_checksum, s3_algorithm: what S3 itself keeps of the version.
    """

    path: str
    status: Status
    size: int
    mtime: float | None = None
    sha256: str | None = None
    version: str | None = None
    s3_checksum: str | None = None
    s3_algorithm: str | None = None
    transferred_at: float | None = None
    verified_at: float | None = None
    execution: str | None = None
    reason: str = ""

    def line(self) -> str:
        """As the manifest has it."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def parse(cls, line: str | bytes) -> File:
        """From a line."""
        return cls(**json.loads(line))


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """What is known of a whole dataset. looked_at: since when no share was looked at. reasons: why it is not complete; empty when it is.

    left_out: patterns of what is not copied. included: patterns that transfers are held to; empty for the whole share.
    """

    dataset: str
    counts: Mapping[str, int]
    movies: int
    bytes: int
    last_at: float
    looked_at: float | None
    reasons: tuple[str, ...]
    examples: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    included: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether the microscope's disk may be purged of it."""
        return not self.reasons

    @property
    def files(self) -> int:
        """How many files there are, or ought to be."""
        return sum(self.counts.values())


def manifest_key(dataset: str) -> str:
    """Where its manifest is: beside its folder, so that no hook takes it for one of its files."""
    return f"{DATASETS_PREFIX}{dataset}.manifest.jsonl.gz"


def receipt_key(dataset: str) -> str:
    """Where its receipt is."""
    return f"{DATASETS_PREFIX}{dataset}.receipt.json"


def by_dataset(reported: Iterable[Reported], names: Iterable[str]) -> dict[str, dict[str, list[Reported]]]:
    """What reports say, by dataset and path below it; of other datasets nothing is kept."""
    found: dict[str, dict[str, list[Reported]]] = {name: defaultdict(list) for name in names}
    for each in reported:
        dataset, _, path = each.path.partition("/")
        if path and dataset in found:
            found[dataset][path].append(each)
    return found


def not_copied(reported: Iterable[Reported]) -> set[str]:
    """Datasets of which reports say that something could not be copied or verified."""
    return {each.path.partition("/")[0] for each in reported if not each.ok}


def files(
    versions: Mapping[str, Sequence[Version]],
    reports: Mapping[str, Sequence[Reported]],
    looks: Mapping[str, Look | None],
) -> list[File]:
    """What became of each file, by path. looks: by task id, when its share was last looked at."""
    paths = sorted({*versions, *reports})
    found = (judge(path, versions.get(path, ()), reports.get(path, ()), looks) for path in paths)
    return [each for each in found if each is not None]


def judge(
    path: str, versions: Sequence[Version], reports: Sequence[Reported], looks: Mapping[str, Look | None]
) -> File | None:
    """What became of one file. None for one that was never copied and is gone: from the bucket, or from the share."""
    current = next((each for each in versions if each.latest and not each.deleted), None)
    copied = sorted((each for each in reports if each.kind == "transferred" and each.ok), key=_order)
    troubles = [each for each in reports if not each.ok and not _settled(each, looks)]
    worst = max(troubles, key=_order, default=None)
    if current is None:
        if not copied and worst is None:
            return None
        last = copied[-1] if copied else worst
        assert last is not None
        reason = "copied, and not in the bucket any more" if copied else f"not copied: {last.reason}"
        return _file(path, "missing", last.size or 0, copied[-1] if copied else None, None, reason=reason)
    checked = _checked(current, versions, reports, copied)
    if not copied and checked is None:
        if worst is not None:
            return replace(_file(path, "unverified", current.size, None, current), reason=worst.reason)
        return _file(path, "unknown", current.size, None, current, reason="in the bucket, and in no report")
    transfer = _transfer_of(current, versions, copied)
    status, reason = _status(path, current, versions, transfer, checked, copied, reports, worst)
    made = _file(path, status, current.size, transfer, current, reason=reason)
    if checked is None:
        return made
    return replace(
        made,
        sha256=checked.source or checked.destination,
        verified_at=checked.at,
        execution=checked.execution,
        mtime=made.mtime if made.mtime is not None else checked.mtime,
    )


def _status(
    path: str,
    current: Version,
    versions: Sequence[Version],
    transfer: Reported | None,
    checked: Reported | None,
    copied: Sequence[Reported],
    reports: Sequence[Reported],
    worst: Reported | None,
) -> tuple[Status, str]:
    said = transfer or checked
    if said is None:
        return "different", "the bucket's current version is none that was copied"
    if said.size is not None and said.size != current.size:
        return "different", f"{said.size} bytes on the share, {current.size} in the bucket"
    largest = max((each.size for each in versions if not each.deleted), default=0)
    if is_movie(path) and current.size < largest:
        return "different", f"{current.size} bytes now, {largest} in a version before: a movie does not shrink"
    if _contradicting(copied, reports):
        return "different", "two tasks copied different files to this name"
    if checked is None:
        return "unverified", worst.reason if worst is not None else "copied, and not verified since"
    # Of two at one moment the bad news counts.
    if worst is not None and worst.at >= checked.at:
        return "unverified", worst.reason
    return "verified", ""


def _settled(trouble: Reported, looks: Mapping[str, Look | None]) -> bool:
    """Whether a later look at the share had nothing more to copy: what failed is not there, or was copied since.

    A verification that failed is not settled by that: DataSync compares sizes and times of what it need not copy.
    """
    look = looks.get(trouble.task)
    return trouble.kind != "verified" and look is not None and look.reported and look.well and look.began > trouble.at


def _transfer_of(current: Version, versions: Sequence[Version], copied: Sequence[Reported]) -> Reported | None:
    """The transfer that wrote the current version."""
    named = [each for each in copied if each.version == current.id]
    if named:
        return named[-1]
    nameless = [each for each in copied if each.version is None]
    return nameless[-1] if nameless and len(versions) == 1 else None


def _checked(
    current: Version, versions: Sequence[Version], reports: Sequence[Reported], copied: Sequence[Reported]
) -> Reported | None:
    """The last successful verification of just the current version.

    A verification names no version. It was of what the same execution had copied last before it; where that is not known, of
    the current version if there never was another.
    """
    found = []
    for each in reports:
        if each.kind != "verified" or not each.ok:
            continue
        same = [transfer for transfer in copied if (transfer.task, transfer.execution) == (each.task, each.execution)]
        before = [transfer for transfer in same if transfer.at <= each.at]
        if same and not before:
            continue
        version = before[-1].version if before else None
        if version is None and len(versions) == 1 and current.at <= each.at:
            version = current.id
        if version == current.id:
            found.append(each)
    return max(found, key=_order, default=None)


def _contradicting(copied: Sequence[Reported], reports: Sequence[Reported]) -> bool:
    """Whether two tasks have copied files of this name last that are not the same."""
    last = {each.task: each for each in copied}
    if len(last) < 2:
        return False
    sums = {
        (each.task, each.execution): each.source
        for each in sorted(reports, key=_order)
        if each.kind == "verified" and each.ok and each.source
    }
    contents = [(each.size, sums.get((task, each.execution)), each.mtime) for task, each in last.items()]
    size, digest, mtime = contents[0]
    return any(
        other[0] != size or (other[1] != digest if other[1] and digest else other[2] != mtime) for other in contents[1:]
    )


def _order(each: Reported) -> tuple[Any, ...]:
    """By time; of one moment in an order that is the same however the reports came."""
    known = (-1 if value is None else value for value in (each.size, each.mtime))
    return (
        each.at,
        each.execution,
        each.version or "",
        each.task,
        each.ok,
        *known,
        each.source or "",
        each.destination or "",
        each.reason,
    )


def _file(
    path: str, status: Status, size: int, transfer: Reported | None, current: Version | None, *, reason: str = ""
) -> File:
    return File(
        path=path,
        status=status,
        size=size,
        mtime=transfer.mtime if transfer else None,
        version=current.id if current else None,
        transferred_at=transfer.at if transfer else None,
        execution=transfer.execution if transfer else None,
        reason=reason,
    )


def receipt(
    dataset: str,
    found: Sequence[File],
    *,
    last_at: float,
    looks: Mapping[str, Look | None],
    copied_by: Collection[str] = (),
    sentinel: str,
    checksums_left: int = 0,
    unreadable: Sequence[str] = (),
) -> Receipt:
    """Sum up a dataset that has landed. looks: of every microscope, None of one that no transfer is known of. copied_by: whose
    reports tell of its files; one that is no microscope's any more may have more of them on its share.

    A task whose patterns do not include the dataset, and that copied nothing of it, has nothing to do with it.
    A dataset without a movie is never complete: what it has may be all there, and still no acquisition was saved. The
    sentinel that somebody put into the bucket himself needs no report: it holds nothing.
    """
    counted = [each for each in found if not _own_sentinel(each, sentinel)]
    counts = Counter(each.status for each in counted)
    movies = sum(is_movie(each.path) for each in counted if each.status != "missing")
    reasons = [f"{counts[status]} files {_WORDS[status]}" for status in _WORST_FIRST if counts[status]]
    if not movies:
        reasons.append("there is no movie in it")
    if not looks:
        reasons.append("no microscope's task is known")
    gone = sorted(set(copied_by) - set(looks))
    reasons += [f"{task}, which copied files of it, is no microscope's task any more" for task in gone]
    for task, look in sorted(looks.items()):
        if look is not None and copied_by and task not in copied_by and not covers(look.scope, dataset):
            continue
        if look is not None and look.began <= last_at and look.failed_since(last_at):
            reasons.append(f"{task}'s last look at the share did not end well")
        elif look is None or look.began <= last_at or not look.saw(dataset):
            reasons.append(f"{task} has not looked at the share again since the last file came")
        elif not look.reported:
            reasons.append(f"the report of {task}'s last look is not there yet")
        elif not look.well:
            reasons.append(f"{task}'s last look at the share did not end well")
    if unreadable:
        reasons.append(f"{len(unreadable)} task reports cannot be read: {unreadable[0]}")
    if checksums_left:
        reasons.append(f"S3's checksums of {checksums_left} files are still to be read")
    known = [look for look in looks.values() if look is not None]
    bad = [each.path for status in _WORST_FIRST for each in counted if each.status == status]
    return Receipt(
        dataset=dataset,
        counts={status: counts[status] for status in STATUSES},
        movies=movies,
        bytes=sum(each.size for each in counted if each.status != "missing"),
        last_at=last_at,
        looked_at=min((look.began for look in known if look.well), default=None),
        reasons=tuple(reasons),
        examples=tuple(bad[:EXAMPLES]),
        left_out=tuple(sorted({pattern for look in known for pattern in look.excludes})),
        included=tuple(sorted({pattern for look in known for pattern in look.includes})),
    )


_WORDS: Mapping[str, str] = {
    "missing": "missing in the bucket",
    "different": "different from what was copied",
    "unverified": "copied and not verified",
    "unknown": "in the bucket that no report tells of",
}


def _own_sentinel(file: File, sentinel: str) -> bool:
    return bool(sentinel) and file.status == "unknown" and file.size == 0 and file.path.rpartition("/")[2] == sentinel
