"""Secrets that the configuration names: whether they are there. Their values are never read."""

from __future__ import annotations

from collections.abc import Iterator

from ..config import Config
from .arns import is_elsewhere
from .ask import Clients, checked, find
from .check import Check, error, ok
from .places import Site

NAME = "secret"


def named(config: Config) -> dict[str, tuple[str, str]]:
    """ARN and meaning of each secret, by the property that holds it."""
    found = {
        f"microscopes[{number}].smb.password_secret_arn": (microscope.smb.password_secret_arn, "the share's password")
        for number, microscope in enumerate(config.microscopes)
        if microscope.smb is not None
    }
    if config.cryosparc is not None:
        found["cryosparc.license_secret_arn"] = (config.cryosparc.license_secret_arn, "cryoSPARC's licence id")
    if config.web is not None and config.web.login is not None:
        found["web.login.client_secret_arn"] = (config.web.login.client_secret_arn, "the login's client secret")
    return found


def look(clients: Clients, site: Site) -> Iterator[Check]:
    """Every secret that is named."""
    for subject, (arn, meaning) in named(site.config).items():
        if is_elsewhere(arn, region=site.region, account=site.account):
            continue  # that was said offline

        def there(subject: str = subject, arn: str = arn, meaning: str = meaning) -> Iterator[Check]:
            answer = find(
                "secretsmanager:DescribeSecret",
                lambda: clients.secretsmanager.describe_secret(SecretId=arn),
                missing=("ResourceNotFoundException",),
            )
            deleted = answer is not None and "DeletedDate" in answer
            yield decide(subject, arn, meaning, exists=answer is not None, deleted=deleted)

        yield from checked(NAME, subject, there)


def decide(subject: str, arn: str, meaning: str, *, exists: bool, deleted: bool) -> Check:
    """Whether a secret can be used."""
    region, name = arn.split(":")[3], arn.rsplit(":", 1)[-1][:-7]
    if not exists:
        mend = f"aws secretsmanager create-secret --name {name} --secret-string file:///dev/stdin --region {region}"
        return error(NAME, subject, f"there is no secret {arn}", f"{mend}, then write the ARN it prints")
    if deleted:
        mend = f"aws secretsmanager restore-secret --secret-id {arn} --region {region}"
        return error(NAME, subject, f"{name} is scheduled for deletion", mend)
    return ok(NAME, subject, f"{name} ({meaning}) is there")
