"""ARNs in the configuration file that belong to another region or account, seen without asking AWS."""

from __future__ import annotations

from collections.abc import Iterator

from ..config import Config
from .check import Check, error, ok

NAME = "ARNs"


def named(config: Config) -> dict[str, str]:
    """Each ARN of agents, secrets and the certificate, by the property that holds it."""
    found: dict[str, str] = {}
    for number, microscope in enumerate(config.microscopes):
        if microscope.agent_arn is not None:
            found[f"microscopes[{number}].agent_arn"] = microscope.agent_arn
        for place, arn in enumerate(microscope.agent_arns):
            found[f"microscopes[{number}].agent_arns[{place}]"] = arn
        if microscope.smb is not None:
            found[f"microscopes[{number}].smb.password_secret_arn"] = microscope.smb.password_secret_arn
    if config.cryosparc is not None:
        found["cryosparc.license_secret_arn"] = config.cryosparc.license_secret_arn
    if config.web is not None:
        found["web.certificate_arn"] = config.web.certificate_arn
        if config.web.login is not None:
            found["web.login.client_secret_arn"] = config.web.login.client_secret_arn
    return found


def is_elsewhere(arn: str, *, region: str, account: str | None) -> bool:
    """Whether an ARN is of another region, or of another account when that is known."""
    parts = arn.split(":")
    return parts[3] != region or (account is not None and parts[4] != account)


def decide(config: Config, *, account: str | None) -> Iterator[Check]:
    """Each ARN against region and account."""
    arns = named(config)
    for subject, arn in arns.items():
        if is_elsewhere(arn, region=config.region, account=account):
            region, owner = arn.split(":")[3:5]
            here = f"{config.region}, account {account}" if account else config.region
            reason = f"it is in {region}, account {owner}; the system is in {here}"
            yield error(NAME, subject, reason, "Name one of the system's own region and account")
    if arns and not any(is_elsewhere(arn, region=config.region, account=account) for arn in arns.values()):
        yield ok(NAME, ", ".join(arns), f"in {config.region}" + (f", account {account}" if account else ""))
