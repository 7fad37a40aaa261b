"""The buckets and the file system of a system that is there already."""

from __future__ import annotations

from collections.abc import Iterator

from .ask import Clients, checked, find
from .check import Check, error, ok, warning
from .places import Site

NAME = "bucket"
_BUCKETS = ("LandingBucket", "ResultsBucket")


def look(clients: Clients, site: Site) -> Iterator[Check]:
    """Buckets and file system that the storage stack names; before it is deployed there is nothing to look at."""
    there = site.is_deployed("storage")
    if there is None:
        return  # and that the stacks are not known was said
    if not there:
        yield ok(NAME, "landing, results", f"not there yet; will be made in {site.region}, as the file system")
        return
    for output in _BUCKETS:
        bucket = site.output("storage", output)
        if bucket is None:
            yield warning(NAME, output, "the storage stack does not name it", "tools/cdk deploy the storage stack")
        else:

            def region(bucket: str = bucket) -> Iterator[Check]:
                yield decide_bucket(bucket, bucket_region(clients, bucket), region=site.region)

            yield from checked(NAME, bucket, region)
    file_system = site.output("storage", "FileSystemId")
    if file_system is not None:
        yield from checked("file system", file_system, lambda: _file_system(clients, file_system))


def bucket_region(clients: Clients, bucket: str) -> str | None:
    """Where a bucket is, if it is there. Errors: Unanswered."""
    answer = find(
        "s3:GetBucketLocation", lambda: clients.s3.get_bucket_location(Bucket=bucket), missing=("NoSuchBucket", "404")
    )
    if answer is None:
        return None
    # The oldest regions have names of their own here.
    where = answer.get("LocationConstraint") or "us-east-1"
    return "eu-west-1" if where == "EU" else where


def decide_bucket(bucket: str, found: str | None, *, region: str) -> Check:
    """FSx imports from and exports to buckets of its own region only."""
    if found is None:
        reason = "the storage stack names it, and it is gone"
        return error(NAME, bucket, reason, "See docs/operations.md; what was in it can be had from the microscope only")
    if found != region:
        reason = f"it is in {found}, the file system in {region}: FSx imports from its own region only"
        return error(NAME, bucket, reason, f"region: {found}, or a system of another name in {region}")
    return ok(NAME, bucket, f"in {region}, as the file system")


def decide_file_system(file_system: str, lifecycle: str | None, message: str) -> Check:
    """The state of a file system."""
    name, mend = "file system", f"aws fsx describe-file-systems --file-system-ids {file_system}"
    if lifecycle is None:
        return error(name, file_system, "the storage stack names it, and it is gone", "See docs/operations.md")
    if lifecycle in ("AVAILABLE", "UPDATING"):
        return ok(name, file_system, lifecycle)
    reason = f"{lifecycle} {message}".strip()
    if lifecycle == "CREATING":
        return warning(name, file_system, reason, mend)
    return error(name, file_system, reason, mend)


def _file_system(clients: Clients, file_system: str) -> Iterator[Check]:
    answer = find(
        "fsx:DescribeFileSystems",
        lambda: clients.fsx.describe_file_systems(FileSystemIds=[file_system]),
        missing=("FileSystemNotFound",),
    )
    found = next(iter(answer["FileSystems"]), None) if answer else None
    message = found.get("FailureDetails", {}).get("Message", "") if found else ""
    yield decide_file_system(file_system, found.get("Lifecycle", "unknown") if found else None, message)
