"""Where the landing bucket is copied to: S3 takes a wrong bucket or key without a word, and then copies nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..config_storage import SecondCopyConfig
from .ask import Clients, Unanswered, ask, find
from .check import Check, error, ok, warning
from .places import Site
from .storage import bucket_region

NAME = "second copy"
_BUCKET, _KEY = "landing.replicate_to.bucket_arn", "landing.replicate_to.key_arn"


def look(clients: Clients, site: Site) -> Iterator[Check]:
    """Bucket and key. Whether their policies let the replication role in, only the first copied object shows."""
    copy = site.config.landing.replicate_to
    if copy is None:
        return
    bucket = copy.second_copy().bucket_name
    locked = site.config.landing.object_lock_days is not None
    yield from _or_there(_BUCKET, copy, bucket, lambda: _bucket(clients, bucket, copy, site.region, locked=locked))
    yield from _or_there(_KEY, copy, bucket, lambda: _key(clients, copy.key_arn))


def _bucket(clients: Clients, bucket: str, copy: SecondCopyConfig, region: str, *, locked: bool) -> Iterator[Check]:
    where = bucket_region(clients, bucket)
    if where is None:
        yield decide_bucket(bucket, None, key_region=_region(copy.key_arn), region=region, versioning="", locks=None)
        return
    versioning = ask("s3:GetBucketVersioning", lambda: clients.s3.get_bucket_versioning(Bucket=bucket))
    locks = None
    if locked:
        answer = find(
            "s3:GetBucketObjectLockConfiguration",
            lambda: clients.s3.get_object_lock_configuration(Bucket=bucket),
            missing=("ObjectLockConfigurationNotFoundError",),
        )
        found = answer.get("ObjectLockConfiguration", {}) if answer else {}
        locks = found.get("ObjectLockEnabled") == "Enabled"
    yield decide_bucket(
        bucket,
        where,
        key_region=_region(copy.key_arn),
        region=region,
        versioning=versioning.get("Status", "off"),
        locks=locks,
    )


def decide_bucket(
    bucket: str, found: str | None, *, key_region: str, region: str, versioning: str, locks: bool | None
) -> Check:
    """Whether S3 can copy to a bucket. found: its region; locks: whether it can lock objects, None when it need not."""
    if found is None:
        return error(NAME, _BUCKET, f"there is no bucket {bucket}", "Deploy examples/second-copy there first")
    if versioning != "Enabled":
        mend = f"aws s3api put-bucket-versioning --bucket {bucket} --versioning-configuration Status=Enabled"
        return error(NAME, _BUCKET, f"the versioning of {bucket} is {versioning}: S3 copies nothing", mend)
    if locks is False:
        reason = f"{bucket} locks no objects, and the landing bucket does (landing.object_lock_days): S3 copies nothing"
        return error(NAME, _BUCKET, reason, "Name a bucket with object lock, as examples/second-copy makes it")
    if key_region != found:
        reason = f"it is in {found}, its key in {key_region}: S3 encrypts with a key of the bucket's region only"
        return error(NAME, _KEY, reason, f"Name a key in {found}")
    if found == region:
        reason = f"{bucket} is in {region}, as the landing bucket: what a region loses, both lose"
        return warning(NAME, _BUCKET, reason, "Name a bucket in another region, unless another account is all you mean")
    return ok(
        NAME,
        _BUCKET,
        f"in {found}, versioned; whether the role is let in, only the first object shows (docs/data-protection.md)",
    )


def _key(clients: Clients, arn: str) -> Iterator[Check]:
    answer = find(
        "kms:DescribeKey", lambda: clients.kms(_region(arn)).describe_key(KeyId=arn), missing=("NotFoundException",)
    )
    yield decide_key(arn, answer["KeyMetadata"]["KeyState"] if answer else None)


def decide_key(arn: str, state: str | None) -> Check:
    """Whether a key can encrypt. state: None when there is no such key."""
    name = arn.rpartition("/")[2]
    if state is None:
        return error(NAME, _KEY, f"there is no key {name} in {_region(arn)}", "Deploy examples/second-copy there first")
    if state != "Enabled":
        return error(NAME, _KEY, f"the key {name} is {state}: S3 copies nothing", f"aws kms enable-key --key-id {arn}")
    return ok(NAME, _KEY, f"{name} is enabled")


def _region(arn: str) -> str:
    return arn.split(":")[3]


def _or_there(
    subject: str, copy: SecondCopyConfig, bucket: str, look: Callable[[], Iterator[Check]]
) -> Iterator[Check]:
    """The checks; of another account, which answers its own people alone, a warning that says how they look."""
    try:
        yield from look()
    except Unanswered as problem:
        mend = problem.fix
        if copy.account is not None and not problem.for_now:
            mend = (
                f"With credentials of {copy.account}: aws s3api get-bucket-versioning --bucket {bucket};"
                f" aws kms describe-key --key-id {copy.key_arn} --region {_region(copy.key_arn)}"
            )
        yield warning(NAME, subject, str(problem), mend)
