"""Groups read their own, and nobody else's, whatever other policies they have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from functools import cache, cached_property
from typing import Any

import pytest
from aws_cdk import Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from aws_cdk.assertions import Template

from cdk_cryoem import CryoEmError, LandingZone
from cdk_cryoem.dataset_group import DatasetGroup, DatasetGroups, group_problems

SMITH = "arn:aws:iam::111122223333:role/smith"
JONES = "arn:aws:iam::111122223333:role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_jones_0123456789abcdef"
ADMIN = "arn:aws:iam::111122223333:role/admin"
EVERYTHING = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}


class World:
    """A landing zone with two groups, its template, and what S3 would say by AWS's documents.

    A request through an access point has to be let through by the access point and by the bucket; one policy that denies is
    enough, and in one account an identity's policy is as good as a resource's (S3 user guide, "Configuring IAM policies for
    using access points").
    """

    def __init__(self, stack: Stack) -> None:
        self.zone = LandingZone(stack, "Zone")
        self.groups = DatasetGroups(
            stack,
            "Groups",
            landing_zone=self.zone,
            groups=[
                DatasetGroup(name="smith", datasets=["smith_*", "demo"], readers=[self.role(stack, "S", SMITH)]),
                DatasetGroup(name="jones", datasets=["jones_*"], readers=[self.role(stack, "J", JONES)]),
            ],
        )
        self.stack = stack

    @staticmethod
    def role(stack: Stack, id: str, arn: str) -> iam.IRole:
        return iam.Role.from_role_arn(stack, id, arn)

    def text(self, value: Any) -> Any:
        """References and joins as texts."""
        if isinstance(value, list):
            return [self.text(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "Fn::Join" in value:
            return value["Fn::Join"][1] and value["Fn::Join"][0].join(map(str, self.text(value["Fn::Join"][1])))
        if "Ref" in value:
            return {"AWS::Partition": "aws", "AWS::Region": "us-east-1", "AWS::AccountId": "111122223333"}.get(
                value["Ref"], value["Ref"]
            )
        if "Fn::GetAtt" in value:
            return self.attribute(*value["Fn::GetAtt"])
        return {key: self.text(item) for key, item in value.items()}

    def attribute(self, logical_id: str, name: str) -> str:
        resource = self.template["Resources"][logical_id]
        if resource["Type"] == "AWS::S3::AccessPoint":
            return f"arn:aws:s3:us-east-1:111122223333:accesspoint/{resource['Properties']['Name']}"
        if resource["Type"] == "AWS::S3::Bucket":
            return f"arn:aws:s3:::{logical_id}"
        return f"{logical_id}.{name}"

    @cached_property
    def template(self) -> dict[str, Any]:
        return dict(Template.from_stack(self.stack).to_json())

    @cache  # noqa: B019
    def policies(self, group: str, kind: str) -> tuple[str, Sequence[Any], str, Sequence[Any]]:
        """Access point and its policy, bucket and its policy."""
        resources = self.template["Resources"]
        point = getattr(self.groups.doors[group], kind)
        logical_id = self.stack.resolve(point.ref)["Ref"]
        properties = resources[logical_id]["Properties"]
        bucket = properties["Bucket"]
        (policy,) = [
            resource["Properties"]["PolicyDocument"]["Statement"]
            for resource in resources.values()
            if resource["Type"] == "AWS::S3::BucketPolicy" and resource["Properties"]["Bucket"] == bucket
        ]
        listed = properties["Policy"]["Statement"]
        return self.attribute(logical_id, "Arn"), self.text(listed), f"arn:aws:s3:::{bucket['Ref']}", self.text(policy)

    def reads(
        self,
        who: str,
        key: str,
        *,
        through: str | None,
        kind: str = "movies",
        own: Sequence[Any] = (),
        listing: bool = False,
    ) -> bool:
        point, point_policy, bucket, bucket_policy = self.policies(through or "smith", kind)
        action = "s3:ListBucket" if listing else "s3:GetObject"
        keys = {"aws:PrincipalArn": who, "aws:SecureTransport": "true"} | ({"s3:prefix": key} if listing else {})
        at_bucket = bucket if listing else f"{bucket}/{key}"
        if through is None:
            return decided([*own, *bucket_policy], who, action, at_bucket, keys)
        keys["s3:DataAccessPointArn"] = point
        at_point = point if listing else f"{point}/object/{key}"
        return decided([*own, *point_policy], who, action, at_point, keys) and decided(
            [*own, *bucket_policy], who, action, at_bucket, keys
        )


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def matches(patterns: Any, value: str) -> bool:
    return any(fnmatchcase(value, pattern) for pattern in as_list(patterns))


CONDITIONS: dict[str, Callable[[Any, str | None], bool]] = {
    "ArnEquals": lambda wanted, got: got is not None and matches(wanted, got),
    "ArnNotEquals": lambda wanted, got: got is None or not matches(wanted, got),
    "StringLike": lambda wanted, got: got is not None and matches(wanted, got),
    "StringNotLike": lambda wanted, got: got is None or not matches(wanted, got),
    "Bool": lambda wanted, got: got == wanted,
}


def decided(statements: Sequence[Any], who: str, action: str, resource: str, keys: dict[str, str]) -> bool:
    effects = {s["Effect"] for s in statements if applies(s, who, action, resource, keys)}
    return effects == {"Allow"}


def applies(statement: Any, who: str, action: str, resource: str, keys: dict[str, str]) -> bool:
    principal = statement.get("Principal", {"AWS": "*"})
    return (
        matches(principal["AWS"], who)
        and matches(statement["Action"], action)
        and (
            matches(statement["Resource"], resource)
            if "Resource" in statement
            else not matches(statement["NotResource"], resource)
        )
        and all(
            CONDITIONS[operator](wanted, keys.get(key))
            for operator, condition in statement.get("Condition", {}).items()
            for key, wanted in condition.items()
        )
    )


@pytest.fixture(scope="module")
def world(new_stack: Callable[[str], Stack]) -> World:
    return World(new_stack("Groups"))


WHO = {"smith": SMITH, "jones": JONES}
MOVIES = {"smith": ["datasets/smith_1/a.tiff", "datasets/smith_/b", "datasets/demo/c"], "jones": ["datasets/jones_x/d"]}
NOBODYS = ["datasets/smit/a", "datasets/demo2/a", "datasets/smithers_1/a", "datasync-reports/r", "secret"]


@pytest.mark.parametrize("own", [(), (EVERYTHING,)], ids=["no policy of their own", "all of S3 by their own policy"])
@pytest.mark.parametrize("group", WHO)
def test_a_group_reads_its_movies_and_nothing_else_in_whatever_way(
    world: World, group: str, own: Sequence[Any]
) -> None:
    for of, keys in [*MOVIES.items(), ("nobody", NOBODYS)]:
        for key in keys:
            for through in ("smith", "jones", None):
                expected = of == group == through
                assert world.reads(WHO[group], key, through=through, own=own) is expected, (of, key, through)


@pytest.mark.parametrize("own", [(), (EVERYTHING,)])
@pytest.mark.parametrize("group", WHO)
def test_a_group_reads_its_results_and_nothing_else(world: World, group: str, own: Sequence[Any]) -> None:
    for of in WHO:
        for through in ("smith", "jones", None):
            expected = of == group == through
            assert (
                world.reads(WHO[group], f"projects/{of}/P1/x.mrc", through=through, kind="results", own=own) is expected
            )
    assert not world.reads(WHO[group], "backups/db.tar", through=group, kind="results", own=own)


@pytest.mark.parametrize("own", [(), (EVERYTHING,)])
def test_a_group_lists_what_it_reads(world: World, own: Sequence[Any]) -> None:
    def lists(prefix: str) -> bool:
        return world.reads(SMITH, prefix, through="smith", own=own, listing=True)

    assert lists("datasets/smith_1/")
    assert lists("datasets/demo/")
    assert not any(lists(prefix) for prefix in ("", "datasets/", "datasets/jones_x/", "datasets/smi"))
    assert not world.reads(SMITH, "datasets/smith_1/", through=None, own=own, listing=True)


def test_an_administrator_sees_through_a_groups_door_nothing_and_through_the_bucket_as_before(world: World) -> None:
    key = MOVIES["smith"][0]
    assert not world.reads(ADMIN, key, through="smith", own=[EVERYTHING])
    assert world.reads(ADMIN, key, through=None, own=[EVERYTHING])
    assert not world.reads(ADMIN, key, through=None)


def test_the_evaluation_here_sees_what_each_statement_does(world: World) -> None:
    """Without it somebody reads what is not theirs: none of them is there for nothing."""
    point, point_policy, bucket, bucket_policy = world.policies("smith", "movies")

    def open_without(sid: str, who: str, key: str, *, direct: bool = False) -> bool:
        keys = {"aws:PrincipalArn": who, "aws:SecureTransport": "true"} | (
            {} if direct else {"s3:DataAccessPointArn": point}
        )
        at_point = [EVERYTHING, *(s for s in point_policy if s.get("Sid") != sid)]
        at_bucket = [EVERYTHING, *(s for s in bucket_policy if s.get("Sid") != sid)]
        through = direct or decided(at_point, who, "s3:GetObject", f"{point}/object/{key}", keys)
        return through and decided(at_bucket, who, "s3:GetObject", f"{bucket}/{key}", keys)

    assert open_without("NobodyElse", JONES, "datasets/smith_1/a")
    assert open_without("NothingElse", SMITH, "datasets/jones_1/a")
    assert open_without("GroupsHaveNoOtherWay", SMITH, "datasets/jones_1/a", direct=True)


def test_readers_decrypt_through_s3_alone(world: World) -> None:
    (key,) = [r for r in world.template["Resources"].values() if r["Type"] == "AWS::KMS::Key"]
    (statement,) = [s for s in key["Properties"]["KeyPolicy"]["Statement"] if s.get("Sid") == "GroupsReadThroughS3"]
    assert (statement["Action"], statement["Effect"]) == ("kms:Decrypt", "Allow")
    assert statement["Principal"] == {"AWS": [SMITH, JONES]}
    assert "kms:ViaService" in statement["Condition"]["StringEquals"]


def test_each_group_has_two_private_access_points_with_names_of_their_own(world: World) -> None:
    points = [r["Properties"] for r in world.template["Resources"].values() if r["Type"] == "AWS::S3::AccessPoint"]
    assert len({point["Name"] for point in points}) == len(points) == 4
    for point in points:
        assert set(point["PublicAccessBlockConfiguration"].values()) == {True}
        assert "VpcConfiguration" not in point
        assert 3 <= len(point["Name"]) <= 50
        assert point["Name"] == point["Name"].lower()


def test_a_group_can_be_held_to_a_vpc(stack: Stack) -> None:
    vpc = ec2.Vpc.from_vpc_attributes(stack, "Vpc", vpc_id="vpc-1", availability_zones=["a"])
    groups = DatasetGroups(
        stack, "Groups", landing_zone=LandingZone(stack, "Zone"),
        groups=[DatasetGroup(name="a", datasets=["a*"], readers=[World.role(stack, "R", SMITH)], vpc=vpc)],
    )  # fmt: skip
    assert list(groups.doors) == ["a"]
    template = Template.from_stack(stack)
    template.all_resources_properties("AWS::S3::AccessPoint", {"VpcConfiguration": {"VpcId": "vpc-1"}})


def test_a_role_that_is_granted_one_reads_one_and_is_fenced_in(new_stack: Callable[[str], Stack]) -> None:
    world = World(new_stack("Granted"))
    one, both = (iam.Role(world.stack, name, assumed_by=iam.AccountRootPrincipal()) for name in ("One", "Both"))
    world.groups.grant_read_movies(one, group="smith")
    world.groups.grant_read_movies(both, group="smith")
    world.groups.grant_read_results(both, group="smith")
    with pytest.raises(CryoEmError, match="smith, jones"):
        world.groups.grant_read_movies(one, group="nobody")
    for role, reads_results in ((one, False), (both, True)):
        who = world.text(world.stack.resolve(role.role_arn))
        assert world.reads(who, "datasets/smith_1/a", through="smith")
        assert world.reads(who, "projects/smith/a", through="smith", kind="results", own=[EVERYTHING]) is reads_results
        assert not world.reads(who, "datasets/jones_1/a", through="jones", own=[EVERYTHING])
        assert not world.reads(who, "datasets/smith_1/a", through=None, own=[EVERYTHING])
    actions = {
        action
        for name, resource in world.template["Resources"].items()
        if resource["Type"] == "AWS::IAM::Policy"
        for statement in resource["Properties"]["PolicyDocument"]["Statement"]
        for action in as_list(statement["Action"])
    }
    assert actions == {"s3:GetObject", "s3:GetObjectAttributes", "s3:GetObjectTagging", "s3:ListBucket"}


def test_two_systems_fit_in_one_stack(stack: Stack) -> None:
    for name in ("A", "B"):
        DatasetGroups(
            stack, f"{name}Groups", landing_zone=LandingZone(stack, name),
            groups=[DatasetGroup(name="a", datasets=["a*"], readers=[World.role(stack, f"{name}R", SMITH)])],
        )  # fmt: skip
    points = Template.from_stack(stack).find_resources("AWS::S3::AccessPoint").values()
    assert len({point["Properties"]["Name"] for point in points}) == 4


@pytest.mark.parametrize(
    ("groups", "wrong"),
    [
        ([("smith", ["smith_*"]), ("jones", ["jones_*"])], []),
        ([("a", ["smi"]), ("b", ["smith"])], []),
        ([("a", ["smi"]), ("b", ["smith_*"])], []),
        ([("a", ["smith_*", "smith_1*"])], []),
        ([("a", ["smi*"]), ("b", ["smith_*"])], ["groups[1].datasets"]),
        ([("a", ["smith_*"]), ("b", ["smi*"])], ["groups[1].datasets"]),
        ([("a", ["smi*"]), ("b", ["smith"])], ["groups[1].datasets"]),
        ([("a", ["one"]), ("b", ["one"])], ["groups[1].datasets"]),
        ([("a", ["x"]), ("a", ["y"])], ["groups[1].name"]),
        ([("Smith", ["x"])], ["groups[0].name"]),
        ([("a" * 21, ["x"])], ["groups[0].name"]),
        ([("a", [])], ["groups[0].datasets"]),
        *(([("a", [bad])], ["groups[0].datasets"]) for bad in ("*", "", "a*b", "a?", "a/b", "a**", "../b", "${x}")),
    ],
)
def test_what_groups_may_be(groups: list[tuple[str, list[str]]], wrong: list[str]) -> None:
    assert [problem.property for problem in group_problems(groups)] == wrong


def test_groups_without_readers_or_with_buckets_of_ones_own_are_refused_all_at_once(stack: Stack) -> None:
    own = s3.Bucket.from_bucket_name
    zone = LandingZone(
        stack, "Zone", landing_bucket=own(stack, "L", "own-landing"), results_bucket=own(stack, "R", "own-results")
    )
    with pytest.raises(CryoEmError) as caught:
        DatasetGroups(stack, "Groups", landing_zone=zone, groups=[DatasetGroup(name="a", datasets=["a*"], readers=[])])
    assert [problem.property for problem in caught.value.problems] == [
        "groups[0].readers", "landing_zone.landing_bucket", "landing_zone.results_bucket",
    ]  # fmt: skip
    with pytest.raises(CryoEmError, match="one group at least"):
        DatasetGroups(stack, "None", landing_zone=LandingZone(stack, "Other"), groups=[])
