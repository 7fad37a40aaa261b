"""Questions to AWS. What is not permitted, or not answered, becomes a warning that says what was not checked."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
from botocore import exceptions as botocore
from botocore.config import Config as BotoConfig

from .check import Check, warning

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_datasync import DataSyncClient
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_fsx import FSxClient
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_service_quotas import ServiceQuotasClient
    from mypy_boto3_sts import STSClient

_DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError", "403")
_BUSY = ("Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequestsException", "SlowDown")
_BOTO = BotoConfig(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "max_attempts": 4})
_T = TypeVar("_T")


class Unanswered(Exception):
    """AWS did not say. `fix`: what would make it say. `for_now`: it may, with the same credentials, another time."""

    def __init__(self, reason: str, fix: str, *, for_now: bool = False) -> None:
        super().__init__(reason)
        self.fix = fix
        self.for_now = for_now


@dataclass(frozen=True, kw_only=True, slots=True)
class Clients:
    """AWS, in one region. kms: in any region, because a second copy has its key where it is."""

    sts: STSClient
    ec2: EC2Client
    cloudformation: CloudFormationClient
    service_quotas: ServiceQuotasClient
    datasync: DataSyncClient
    secretsmanager: SecretsManagerClient
    s3: S3Client
    fsx: FSxClient
    iam: IAMClient
    acm: Any
    kms: Callable[[str], Any]

    @classmethod
    def of(cls, session: boto3.Session, region: str) -> Clients:
        """The clients of a session, in a region that need not be the session's."""
        return cls(
            sts=session.client("sts", region_name=region, config=_BOTO),
            ec2=session.client("ec2", region_name=region, config=_BOTO),
            cloudformation=session.client("cloudformation", region_name=region, config=_BOTO),
            service_quotas=session.client("service-quotas", region_name=region, config=_BOTO),
            datasync=session.client("datasync", region_name=region, config=_BOTO),
            secretsmanager=session.client("secretsmanager", region_name=region, config=_BOTO),
            s3=session.client("s3", region_name=region, config=_BOTO),
            fsx=session.client("fsx", region_name=region, config=_BOTO),
            iam=session.client("iam", region_name=region, config=_BOTO),
            acm=session.client("acm", region_name=region, config=_BOTO),
            kms=functools.cache(lambda of: session.client("kms", region_name=of, config=_BOTO)),
        )


def ask(action: str, call: Callable[[], _T]) -> _T:
    """AWS's answer. `action` is the IAM action that the call needs. Errors: Unanswered."""
    answer = find(action, call, missing=())
    assert answer is not None, "a call that may find nothing asks by find()"
    return answer


def find(action: str, call: Callable[[], _T], *, missing: Collection[str]) -> _T | None:
    """AWS's answer, or None when it is one of the error codes in `missing`. Errors: Unanswered."""
    try:
        return call()
    except botocore.ClientError as problem:
        code = problem.response.get("Error", {}).get("Code", "")
        if code in missing:
            return None
        if code in _DENIED:
            raise Unanswered(
                f"not checked: these credentials may not {action}",
                f"Allow {action}; docs/preflight.md has the whole policy",
            ) from problem
        if code in _BUSY:
            reason = f"not checked: AWS takes no more {action} now ({code})"
            raise Unanswered(reason, "Try again later", for_now=True) from problem
        message = problem.response.get("Error", {}).get("Message", "")
        raise Unanswered(f"not checked: {action} was answered with {code}: {message}", "Try again later") from problem
    except (botocore.ConnectionError, botocore.HTTPClientError) as problem:
        reason = f"not checked: {action} had no answer: {problem}"
        raise Unanswered(reason, "Look at network and proxy, try again", for_now=True) from problem
    except botocore.BotoCoreError as problem:
        raise Unanswered(f"not checked: {action} was not asked: {problem}", "Look at the credentials") from problem


def checked(name: str, subject: str, look: Callable[[], Iterable[Check]]) -> list[Check]:
    """The checks that `look` gives, or one warning when AWS does not say. What it gave before that is kept."""
    found: list[Check] = []
    try:
        for check in look():
            found.append(check)  # noqa: PERF402 - extend() would lose what came before the Unanswered
    except Unanswered as problem:
        found.append(warning(name, subject, str(problem), problem.fix))
    return found
