"""Nobody deletes a movie: of every role, administrator and service it is simulated what they may do to movies and their key.

What a simulation cannot show is said in tests/shared/iam_simulator.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest
from iam_simulator import ADMINISTRATOR, Principal, Request, Simulated, allowed
from simulated_systems import EXAMPLES, break_glass, deployment, outsiders, services, simulated

SYSTEMS = ("default", "everything", "everything-on-pcs", *EXAMPLES)
KEYS = ("datasets/krios-1/a movie.tiff", "datasync-reports/r.json", "anything/else")
ENDS_OF_MOVIES = (
    *("s3:DeleteObject", "s3:DeleteObjectVersion", "s3:BypassGovernanceRetention", "s3:PutObjectRetention"),
    # Under another key, which is then deleted, a version is as good as gone.
    *("s3:PutObjectLegalHold", "s3:ReplicateDelete", "s3:UpdateObjectEncryption"),
)
ENDS_OF_THE_BUCKET = ("s3:DeleteBucket",)
PROTECTIONS = (
    *("s3:PutBucketVersioning", "s3:PutLifecycleConfiguration", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy"),
    *("s3:PutBucketObjectLockConfiguration", "s3:PutReplicationConfiguration", "s3:PutEncryptionConfiguration"),
    *("s3:PutBucketPublicAccessBlock", "s3:PutBucketOwnershipControls"),
)
# These are done by no role of the system; the bucket does not forbid them to others.
BY_NO_ROLE = ("s3:PutObjectAcl", "s3:PutObjectVersionAcl", "s3:ReplicateObject")
ENDS_OF_THE_KEY = ("kms:ScheduleKeyDeletion", "kms:DisableKey")
PROTECTIONS_OF_THE_KEY = ("kms:PutKeyPolicy",)


@pytest.fixture(scope="module", params=SYSTEMS)
def system(request: pytest.FixtureRequest) -> Simulated:
    return simulated(request.param)


def movies(system: Simulated) -> str:
    """The landing bucket's ARN."""
    (found,) = {
        system.deployed.arn(stack, logical)
        for stack, logical, _ in system.deployed.of_type("AWS::S3::Bucket")
        if re.search(r"Landing[0-9A-F]{8}$", logical)
    }
    return found


def on_objects(system: Simulated, actions: Iterable[str]) -> list[Request]:
    return [Request(action, f"{movies(system)}/{key}") for action in actions for key in KEYS]


def on_bucket(system: Simulated, actions: Iterable[str]) -> list[Request]:
    return [Request(action, movies(system)) for action in actions]


def on_key(system: Simulated, actions: Iterable[str]) -> list[Request]:
    (key,) = (arn for arn in system.resource_policies if ":kms:" in arn)
    return [Request(action, key) for action in actions]


def everybody(system: Simulated) -> list[Principal]:
    """All but the two that may: with the break-glass role as it stands in the template, without a policy."""
    return [*system.roles.values(), *outsiders(system), *services(system)]


def forbidden(system: Simulated) -> list[Request]:
    """To everybody but those who hold the break-glass role."""
    return [
        *on_objects(system, ENDS_OF_MOVIES),
        *on_bucket(system, ENDS_OF_THE_BUCKET),
        *on_key(system, ENDS_OF_THE_KEY),
    ]


def protections(system: Simulated) -> list[Request]:
    """To everybody but them and deployments."""
    return [*on_bucket(system, PROTECTIONS), *on_key(system, PROTECTIONS_OF_THE_KEY)]


def test_nobody_deletes_a_movie_the_bucket_or_the_key(system: Simulated) -> None:
    assert allowed(system, [*everybody(system), deployment(system)], forbidden(system)) == []


def test_only_deployments_change_what_protects_movies(system: Simulated) -> None:
    assert allowed(system, everybody(system), protections(system)) == []
    assert len(allowed(system, [deployment(system)], protections(system))) == len(protections(system))


def test_whoever_holds_the_break_glass_role_and_a_policy_for_it_may(system: Simulated) -> None:
    """Else all this would hold for a bucket that nobody can ever empty, or for a simulator that always says no."""
    asked = [*forbidden(system), *protections(system)]
    assert len(allowed(system, [break_glass(system)], asked)) == len(asked)


def test_the_break_glass_role_by_itself_may_nothing(system: Simulated) -> None:
    (role,) = (role for name, role in system.roles.items() if "BreakGlassRole" in name)
    assert list(role.policies) == []


def test_no_role_of_the_system_shares_movies_or_plants_some(system: Simulated) -> None:
    assert allowed(system, system.roles.values(), on_objects(system, BY_NO_ROLE)) == []


def test_no_role_of_the_system_ends_what_others_live_on(system: Simulated) -> None:
    """File systems, records, instances: hooks ask the head node, which asks Slurm; nodes are powered down, never ended."""
    account, region = system.deployed.account, system.deployed.region
    asked = [
        Request(action, f"arn:aws:{service}:{region}:{account}:{resource}")
        for service, resources, actions in (
            ("fsx", ["file-system/fs-0123456789abcdef0"], ["fsx:DeleteFileSystem", "fsx:DeleteBackup"]),
            ("fsx", ["association/fs-0/dra-0"], ["fsx:DeleteDataRepositoryAssociation", "fsx:UpdateDataRepositoryAssociation"]),
            ("dynamodb", [f"table/{name}" for name in _tables(system)], ["dynamodb:DeleteTable", "dynamodb:UpdateContinuousBackups"]),
            ("ec2", ["instance/i-0123456789abcdef0"], ["ec2:TerminateInstances"]),
            ("ec2", ["volume/vol-0123456789abcdef0"], ["ec2:DeleteVolume"]),
            ("logs", ["log-group:any:*"], ["logs:DeleteLogGroup", "logs:PutRetentionPolicy"]),
        )
        for resource in resources
        for action in actions
    ]  # fmt: skip
    assert allowed(system, system.roles.values(), asked) == []


def _tables(system: Simulated) -> list[str]:
    found = system.deployed.of_type("AWS::DynamoDB::Table", "AWS::DynamoDB::GlobalTable")
    return [system.deployed.name(stack, logical) for stack, logical, _ in found]


@pytest.mark.parametrize(
    ("sid", "action"),
    [
        ("NobodyDeletesMovies", "s3:DeleteObjectVersion"),
        ("TheBucketStays", "s3:DeleteBucket"),
        ("OnlyDeploymentsChangeTheProtection", "s3:PutLifecycleConfiguration"),
        ("NobodyEndsTheKey", "kms:ScheduleKeyDeletion"),
        ("OnlyDeploymentsChangeTheKeysProtection", "kms:PutKeyPolicy"),
    ],
)
def test_a_deny_that_is_missing_is_noticed(system: Simulated, sid: str, action: str) -> None:
    asked = [*forbidden(system), *protections(system)]
    found = allowed(system.without(sid), everybody(system), asked)
    assert {"Administrator", "root"} <= {name for name, what, _ in found if what == action}


def test_a_role_that_may_delete_is_stopped_by_the_bucket(system: Simulated) -> None:
    """The second line: even a policy that somebody gets wrong one day deletes nothing."""
    wrong = [
        Principal(name=name, arn=role.arn, policies=[*role.policies, ADMINISTRATOR])
        for name, role in system.roles.items()
        if "BreakGlassRole" not in name
    ]
    if not wrong:
        pytest.skip("it has no role but the break-glass one")
    assert allowed(system, wrong, [*forbidden(system), *protections(system)]) == []
