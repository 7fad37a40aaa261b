"""Groups of one facility, each of which reads its own movies and results in S3 and nobody else's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from aws_cdk import Names, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from .landing_zone import DATASETS_PREFIX, LandingZone
from .problems import Problem, known, require

RESULTS_PREFIX = "projects/"
"""A group's results are below `projects/GROUP/` of the results bucket, which is `/projects/GROUP` of the file system."""

_READ = ("s3:GetObject", "s3:GetObjectAttributes", "s3:GetObjectTagging", "s3:ListBucket")
_GROUP = re.compile(r"[a-z][a-z0-9-]{0,19}")
_DATASETS = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\*?")


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetGroup:
    """One group: what is its own, and who reads it.

    name: lower-case letters, digits and dashes; its results are below `projects/NAME/`.
    datasets: names of datasets, or beginnings of names with a `*` at the end (`smith_*`). No beginning may be the beginning
        of another group's: `smi*` would read what is `smith_*`.
    readers: roles of this account, one at least. They read as this group and in no other way: both buckets deny them
        everything that does not come through a group's access point, whatever other policy they have.
    vpc: the access points answer only there (default: from everywhere, signed and over TLS). Cannot be changed later.
    """

    name: str
    datasets: Sequence[str]
    readers: Sequence[iam.IRole]
    vpc: ec2.IVpc | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupDoors:
    """The access points of one group, one for each bucket; an alias is used like a bucket's name."""

    movies: s3.CfnAccessPoint
    results: s3.CfnAccessPoint


class DatasetGroups(Construct):
    """For each group an S3 access point of the landing bucket and one of the results bucket, held to the group's prefixes.

    Access points and not statements in the buckets' policies, because a bucket's policy has 20 KB, enough for some 30 groups,
    and a facility has more; because each group's own policy is short enough to be read; and because a group's program is
    given one address. What denies: an access point answers nobody but its group's readers, and nothing but its prefixes,
    not even to an administrator; the buckets deny those readers every other way.

    Not isolated by this: the file system, where POSIX permissions rule, Slurm and cryoSPARC. Who may log in to the head node
    sees there what the permissions of files allow.

    groups: all of them, since their prefixes are compared with each other; one at least. landing_zone: with buckets that it
        made; to yours nothing can be added. With a key of yours, let the readers decrypt in its policy.

    Errors: CryoEmError for names, prefixes that contain each other, a group without readers.
    Costs: nothing. IAM to deploy: s3:CreateAccessPoint, s3:PutAccessPointPolicy, s3:PutBucketPolicy, kms:PutKeyPolicy.
    """

    def __init__(self, scope: Construct, id: str, *, landing_zone: LandingZone, groups: Sequence[DatasetGroup]) -> None:
        super().__init__(scope, id)
        require(
            f"DatasetGroups {id!r}",
            [
                *group_problems([(group.name, group.datasets) for group in groups]),
                *([] if groups else [Problem(property="groups", value=[], allowed="one group at least")]),
                *_reader_problems(groups),
                *_zone_problems(landing_zone),
            ],
        )
        self._zone = landing_zone
        self.groups: Mapping[str, DatasetGroup] = {group.name: group for group in groups}
        self._statements: dict[str, list[_Door]] = {}
        self.doors: Mapping[str, GroupDoors] = {group.name: self._open(group) for group in groups}
        self._fences = [
            _Fence(bucket, [getattr(doors, kind).attr_arn for doors in self.doors.values()])
            for kind, bucket in (("movies", landing_zone.landing_bucket), ("results", landing_zone.results_bucket))
        ]
        self._decrypt = iam.PolicyStatement(
            sid="GroupsReadThroughS3",
            actions=["kms:Decrypt"],
            resources=["*"],
            conditions={"StringEquals": {"kms:ViaService": f"s3.{Stack.of(self).region}.{Stack.of(self).url_suffix}"}},
        )
        self._readers: list[str] = []
        for group in groups:
            for reader in group.readers:
                self._admit(group.name, reader, ("movies", "results"))
        if isinstance(landing_zone.key, kms.Key):
            landing_zone.key.add_to_resource_policy(self._decrypt)

    def grant_read_movies(self, role: iam.IRole, *, group: str) -> iam.Grant:
        """Let role read the group's movies, through the group's access point and in no other way."""
        return self._grant(role, group, "movies")

    def grant_read_results(self, role: iam.IRole, *, group: str) -> iam.Grant:
        """Let role read the group's results, through the group's access point and in no other way."""
        return self._grant(role, group, "results")

    def _grant(self, role: iam.IRole, group: str, kind: str) -> iam.Grant:
        if group not in self.groups:
            require("DatasetGroups", [Problem(property="group", value=group, allowed=", ".join(self.groups))])
        self._admit(group, role, (kind,))
        (door,) = [door for door in self._statements[group] if door.kind == kind]
        return iam.Grant.add_to_principal(grantee=role, actions=list(_READ), resource_arns=[door.arn, *door.objects])

    def _open(self, group: DatasetGroup) -> GroupDoors:
        movies = [f"{DATASETS_PREFIX}{pattern}" for pattern in map(key_prefix, group.datasets)]
        return GroupDoors(
            movies=self._door(group, "movies", self._zone.landing_bucket, movies),
            results=self._door(group, "results", self._zone.results_bucket, [f"{RESULTS_PREFIX}{group.name}/"]),
        )

    def _door(self, group: DatasetGroup, kind: str, bucket: s3.IBucket, prefixes: Sequence[str]) -> s3.CfnAccessPoint:
        stack = Stack.of(self)
        made = Construct(self, f"{group.name}-{kind}")
        # A physical name, because the policy has to say the access point's own ARN.
        name = Names.unique_resource_name(made, max_length=50, separator="-", allowed_special_characters="-").lower()
        arn = stack.format_arn(service="s3", resource="accesspoint", resource_name=name)
        door = _Door(kind, arn, prefixes)
        self._statements.setdefault(group.name, []).append(door)
        return s3.CfnAccessPoint(
            made,
            "Resource",
            bucket=bucket.bucket_name,
            name=name,
            policy=door.document,
            public_access_block_configuration=s3.CfnAccessPoint.PublicAccessBlockConfigurationProperty(
                block_public_acls=True, block_public_policy=True, ignore_public_acls=True, restrict_public_buckets=True
            ),
            vpc_configuration=(
                s3.CfnAccessPoint.VpcConfigurationProperty(vpc_id=group.vpc.vpc_id) if group.vpc is not None else None
            ),
        )

    def _admit(self, group: str, reader: iam.IRole, kinds: Sequence[str]) -> None:
        for door in self._statements[group]:
            if door.kind in kinds:
                door.admit(reader.role_arn)
        if reader.role_arn not in self._readers:
            self._readers.append(reader.role_arn)
            self._decrypt.add_arn_principal(reader.role_arn)
            for fence in self._fences:
                fence.around(self._readers)


class _Door:
    """Policy of one access point: readers read below prefixes; nobody else anything, and they nothing else."""

    def __init__(self, kind: str, arn: str, prefixes: Sequence[str]) -> None:
        self.kind = kind
        self.arn = arn
        self.objects = [f"{arn}/object/{prefix}*" for prefix in prefixes]
        self._readers: list[str] = []
        listed = [f"{prefix}*" for prefix in prefixes]
        everything = [arn, f"{arn}/object/*"]
        self._read = iam.PolicyStatement(
            sid="TheGroupReads",
            actions=[action for action in _READ if action != "s3:ListBucket"],
            resources=self.objects,
        )
        self._list = iam.PolicyStatement(
            sid="TheGroupLists",
            actions=["s3:ListBucket"],
            resources=[arn],
            conditions={"StringLike": {"s3:prefix": listed}},
        )
        self._others = self._deny("NobodyElse", resources=everything)
        self.document = iam.PolicyDocument(
            statements=[
                self._read,
                self._list,
                self._others,
                self._deny("NothingElse", not_resources=[arn, *self.objects]),
                self._deny(
                    "ListsNothingElse",
                    actions=["s3:ListBucket", "s3:ListBucketVersions"],
                    resources=[arn],
                    conditions={"StringNotLike": {"s3:prefix": listed}},
                ),
            ]
        )

    def admit(self, reader: str) -> None:
        if reader in self._readers:
            return
        self._readers.append(reader)
        self._read.add_arn_principal(reader)
        self._list.add_arn_principal(reader)
        self._others.add_condition("ArnNotEquals", {"aws:PrincipalArn": list(self._readers)})

    @staticmethod
    def _deny(
        sid: str,
        *,
        actions: Sequence[str] = ("s3:*",),
        resources: Sequence[str] | None = None,
        not_resources: Sequence[str] | None = None,
        conditions: Mapping[str, object] | None = None,
    ) -> iam.PolicyStatement:
        return iam.PolicyStatement(
            sid=sid,
            effect=iam.Effect.DENY,
            principals=[iam.AnyPrincipal()],
            actions=list(actions),
            resources=list(resources) if resources is not None else None,
            not_resources=list(not_resources) if not_resources is not None else None,
            conditions=conditions,
        )


class _Fence:
    """In a bucket's policy: what the access points allow is allowed, and their readers have no other way."""

    def __init__(self, bucket: s3.IBucket, doors: Sequence[str]) -> None:
        resources = [bucket.bucket_arn, bucket.arn_for_objects("*")]
        bucket.add_to_resource_policy(
            iam.PolicyStatement(
                sid="GroupsReadThroughTheirAccessPoints",
                principals=[iam.AnyPrincipal()],
                actions=list(_READ),
                resources=resources,
                conditions={"ArnEquals": {"s3:DataAccessPointArn": list(doors)}},
            )
        )
        # A negated condition is met by what has no such key: a request that comes through no access point.
        self._deny = iam.PolicyStatement(
            sid="GroupsHaveNoOtherWay",
            effect=iam.Effect.DENY,
            principals=[iam.AnyPrincipal()],
            actions=["s3:*"],
            resources=resources,
            conditions={"ArnNotEquals": {"s3:DataAccessPointArn": list(doors)}},
        )
        self._bucket = bucket
        self._added = False

    def around(self, readers: Sequence[str]) -> None:
        self._deny.add_condition("ArnEquals", {"aws:PrincipalArn": list(readers)})
        if not self._added:
            self._added = True
            self._bucket.add_to_resource_policy(self._deny)


def key_prefix(pattern: str) -> str:
    """What keys of a group's datasets begin with, below datasets/: `smith_*` is `smith_`, `em-1` is `em-1/`."""
    return pattern[:-1] if pattern.endswith("*") else f"{pattern}/"


def group_problems(groups: Sequence[tuple[str, Sequence[str]]]) -> Iterator[Problem]:
    """Everything wrong with names and datasets of groups, which are given as (name, datasets)."""
    seen: set[str] = set()
    for index, (name, datasets) in enumerate(groups):
        here = f"groups[{index}]"
        if known(name) and not _GROUP.fullmatch(name):
            yield Problem(
                property=f"{here}.name",
                value=name,
                allowed="a lower-case letter, then lower-case letters, digits, dashes; 20 characters at most",
            )
        if name in seen:
            yield Problem(property=f"{here}.name", value=name, allowed="a name of its own")
        seen.add(name)
        if not datasets:
            yield Problem(property=f"{here}.datasets", value=[], allowed="at least one name or beginning of names")
        for pattern in datasets:
            if not _DATASETS.fullmatch(pattern):
                yield Problem(
                    property=f"{here}.datasets",
                    value=pattern,
                    allowed="a dataset's name, or a beginning of names and one * at the end",
                )
            else:
                yield from _overlaps(here, pattern, groups[:index])


def _overlaps(here: str, pattern: str, before: Sequence[tuple[str, Sequence[str]]]) -> Iterator[Problem]:
    prefix = key_prefix(pattern)
    for other, theirs in before:
        for their in theirs:
            if prefix.startswith(key_prefix(their)) or key_prefix(their).startswith(prefix):
                yield Problem(
                    property=f"{here}.datasets",
                    value=pattern,
                    allowed=f"nothing that {their} of group {other} begins with or that begins so",
                    fix="One of the two groups would read the other's movies",
                )


def _reader_problems(groups: Sequence[DatasetGroup]) -> Iterator[Problem]:
    for index, group in enumerate(groups):
        if not group.readers:
            yield Problem(property=f"groups[{index}].readers", value=[], allowed="one role at least")


def _zone_problems(zone: LandingZone) -> Iterator[Problem]:
    for prop, bucket in (("landing_bucket", zone.landing_bucket), ("results_bucket", zone.results_bucket)):
        if not isinstance(bucket, s3.Bucket):
            yield Problem(
                property=f"landing_zone.{prop}", value="your own", allowed="one that the landing zone made",
                fix="Its policy must deny the groups' readers every way but their access points",
            )  # fmt: skip
