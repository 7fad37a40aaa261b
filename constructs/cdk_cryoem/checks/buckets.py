"""Rules of the way in: buckets that movies land in, and DataSync tasks that bring them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from .rule import Finding, Rule
from .templates import Part, Resource, Templates, intrinsic, true, words

_BUCKET = "AWS::S3::Bucket"
_DELETION = "s3:DeleteObjectVersion"
_ANY_KEY, _SOME_NAME = "\0", "\1"


def bucket_behind(templates: Templates, association: Resource) -> Resource | None:
    """The bucket of a data repository association, if the app makes it."""
    parts = templates.text(association, association.get("DataRepositoryPath"))
    for part in parts:
        if isinstance(part, Resource):
            return part if part.type == _BUCKET else None
        if part is None:
            return None
        name = part.removeprefix("s3://").partition("/")[0]
        if name:
            return next((each for each in templates.of(_BUCKET) if each.get("BucketName") == name), None)
    return None


def imports(association: Resource) -> bool:
    """Whether an association shows what is in S3, so that its bucket is where data comes from."""
    return bool(association.every("S3", "AutoImportPolicy", "Events")) or true(
        association.get("BatchImportMetaDataOnCreate")
    )


def landing_buckets(templates: Templates) -> list[Resource]:
    """Buckets of the app that movies land in: behind an association that imports, or where a DataSync task writes."""
    found: list[Resource | None] = [
        bucket_behind(templates, association)
        for association in templates.of("AWS::FSx::DataRepositoryAssociation")
        if imports(association)
    ]
    for task in templates.of("AWS::DataSync::Task"):
        location = templates.meant(task, task.get("DestinationLocationArn"))
        if location is not None and location.type == "AWS::DataSync::LocationS3":
            found.append(templates.meant(location, location.get("S3BucketArn")))
    return list(dict.fromkeys(each for each in found if each is not None and each.type == _BUCKET))


def _unversioned(templates: Templates) -> Iterator[Finding]:
    for bucket in landing_buckets(templates):
        path = ("VersioningConfiguration", "Status")
        if bucket.get(*path) != "Enabled" and not bucket.undecided(*path):
            yield Finding(bucket, "Properties.VersioningConfiguration")


def _not_retained(templates: Templates) -> Iterator[Finding]:
    return (Finding(bucket, "DeletionPolicy") for bucket in landing_buckets(templates) if not bucket.is_retained)


def _keeps_torn_uploads(templates: Templates) -> Iterator[Finding]:
    for bucket in landing_buckets(templates):
        path = ("LifecycleConfiguration", "Rules")
        rules = [rule for rule in bucket.every(*path) if isinstance(rule, Mapping)]
        unreadable = bucket.undecided(*path) or any(intrinsic(rule) for rule in rules)
        tidy = any(_aborts_everywhere(rule) for rule in rules)
        if not tidy and not unreadable:
            yield Finding(bucket, "Properties.LifecycleConfiguration")


def _aborts_everywhere(rule: Mapping[str, Any]) -> bool:
    return (
        "AbortIncompleteMultipartUpload" in rule
        and rule.get("Status") == "Enabled"
        and not rule.get("Prefix")
        and not rule.get("TagFilters")
    )


def _deletable(templates: Templates) -> Iterator[Finding]:
    policies = [
        (templates.meant(policy, policy.get("Bucket")) or policy.get("Bucket"), policy)
        for policy in templates.of("AWS::S3::BucketPolicy")
    ]
    for bucket in landing_buckets(templates):
        prefixes = _prefixes(templates, bucket)
        own = [policy for of, policy in policies if of is bucket or (of and of == bucket.get("BucketName"))]
        # Of which bucket these are, only the deployment knows.
        maybe = [policy for of, policy in policies if isinstance(of, Mapping) and policy not in own]
        unreadable = (
            any(policy.undecided("PolicyDocument") for policy in own)
            or any(_denies_deletion(templates, policy, prefixes) for policy in maybe)
            or any(bucket.undecided(*path) for path in (("ObjectLockEnabled",), ("ObjectLockConfiguration", "Rule")))
        )
        locked = true(bucket.get("ObjectLockEnabled")) and bucket.get(
            "ObjectLockConfiguration", "Rule", "DefaultRetention"
        )
        if not locked and not unreadable and not any(_denies_deletion(templates, policy, prefixes) for policy in own):
            yield Finding(bucket)


def _denies_deletion(templates: Templates, policy: Resource, prefixes: Sequence[str]) -> bool:
    statements = policy.get("PolicyDocument", "Statement")
    every = statements if isinstance(statements, list) else [statements]
    return any(
        isinstance(each, Mapping) and _denies(each) and all(_covers(templates, policy, each, p) for p in prefixes)
        for each in every
    )


def _prefixes(templates: Templates, bucket: Resource) -> list[str]:
    """Below which keys movies land in a bucket, as far as its associations and tasks say; all keys when they do not."""
    found = []
    for association in templates.of("AWS::FSx::DataRepositoryAssociation"):
        if imports(association) and bucket_behind(templates, association) is bucket:
            text = _text(templates.text(association, association.get("DataRepositoryPath")))
            found.append(text.removeprefix("s3://").partition("/")[2].strip("/"))
    for task in templates.of("AWS::DataSync::Task"):
        location = templates.meant(task, task.get("DestinationLocationArn"))
        if location is not None and templates.meant(location, location.get("S3BucketArn")) is bucket:
            found.append(str(location.get("Subdirectory") or "").strip("/"))
    return [f"{prefix}/" if prefix else "" for prefix in found] or [""]


def _covers(templates: Templates, policy: Resource, statement: Mapping[str, Any], prefix: str) -> bool:
    """Whether a statement is about every object below a prefix; what only the deployment knows may be."""
    given = statement.get("Resource")
    for each in given if isinstance(given, list) else [given]:
        parts = templates.text(policy, each)
        if each is not None and parts == [None]:
            return True
        text = _text(parts)
        # The bucket itself is none of its objects.
        keys = "*" if text == "*" else text.partition("/")[2]
        if keys and fnmatchcase(f"{prefix}{_ANY_KEY}", keys):
            return True
    return False


def _text(parts: Sequence[Part]) -> str:
    return "".join(each if isinstance(each, str) else _SOME_NAME for each in parts)


def _denies(statement: Mapping[str, Any]) -> bool:
    if statement.get("Effect") != "Deny" or statement.get("Principal") not in ("*", {"AWS": "*"}, {"AWS": ["*"]}):
        return False
    actions = [action.lower() for action in words(statement.get("Action"))]
    if not any(fnmatchcase(_DELETION.lower(), action) for action in actions):
        return False
    # Some may be let through by who they are. A condition on how they come, such as without TLS, denies nearly nobody.
    conditions = statement.get("Condition", {})
    return all(
        "not" in operator.lower() and all(key.lower().startswith(("aws:principal", "aws:userid")) for key in keys)
        for operator, keys in conditions.items()
    )


def _unverified(templates: Templates) -> Iterator[Finding]:
    for task in templates.of("AWS::DataSync::Task"):
        if task.get("Options", "VerifyMode") == "NONE":
            yield Finding(task, "Properties.Options.VerifyMode")


def _removing(templates: Templates) -> Iterator[Finding]:
    for task in templates.of("AWS::DataSync::Task"):
        if task.get("Options", "PreserveDeletedFiles") == "REMOVE":
            yield Finding(task, "Properties.Options.PreserveDeletedFiles")


def _unreported(templates: Templates) -> Iterator[Finding]:
    for task in templates.of("AWS::DataSync::Task"):
        path = ("TaskReportConfig", "Destination")
        if task.get(*path) is None and not task.undecided(*path):
            yield Finding(task, "Properties.TaskReportConfig")


BUCKET_RULES = (
    Rule(
        name="LandingBucketVersioned",
        info="The bucket that movies land in keeps no versions.",
        explanation="A movie that is written again is lost without versions. Set VersioningConfiguration.Status to Enabled.",
        find=_unversioned,
    ),
    Rule(
        name="LandingBucketRetained",
        info="The bucket that movies land in goes with its stack.",
        explanation="Set DeletionPolicy and UpdateReplacePolicy to Retain (removal_policy=RemovalPolicy.RETAIN).",
        find=_not_retained,
    ),
    Rule(
        name="LandingBucketAbortsUploads",
        info="The bucket that movies land in keeps torn uploads for ever.",
        explanation="Parts of uploads that were never finished are paid for and shown nowhere. Add a lifecycle rule for "
        "the whole bucket with AbortIncompleteMultipartUpload.",
        find=_keeps_torn_uploads,
    ),
    Rule(
        name="LandingBucketDeniesDeletion",
        info="Whoever has rights in S3 can delete versions of movies for good.",
        explanation="Give the bucket object lock with a default retention, or a policy that denies s3:DeleteObjectVersion "
        "to everyone but a break-glass role, wherever movies land.",
        find=_deletable,
    ),
    Rule(
        name="DataSyncVerifies",
        info="The DataSync task does not verify what it has copied.",
        explanation="A flipped byte would be found when the microscope's disk is long empty. Set Options.VerifyMode to "
        "ONLY_FILES_TRANSFERRED or POINT_IN_TIME_CONSISTENT.",
        find=_unverified,
    ),
    Rule(
        name="DataSyncPreserves",
        info="The DataSync task deletes at the destination what is gone at the source.",
        explanation="A microscope's disk is emptied for the next user. Set Options.PreserveDeletedFiles to PRESERVE.",
        find=_removing,
    ),
    Rule(
        name="DataSyncReports",
        info="The DataSync task leaves no report.",
        explanation="Without a task report nobody can show which files were copied and verified. Set TaskReportConfig.",
        find=_unreported,
    ),
)
