"""Whose credentials these are, and whether they are those of the configuration."""

from __future__ import annotations

from collections.abc import Iterator

from ..config import Config
from .ask import Clients, ask
from .check import Check, error, ok

NAME = "credentials"


def account_of(clients: Clients) -> tuple[str, str]:
    """Account and ARN that the credentials belong to. Errors: Unanswered."""
    answer = ask("sts:GetCallerIdentity", clients.sts.get_caller_identity)
    return answer["Account"], answer["Arn"]


def decide(config: Config, *, account: str, arn: str, region: str | None) -> Iterator[Check]:
    """Account and region against the configuration. `region`: what the environment or the profile says, if anything."""
    if config.account is not None and config.account != account:
        reason = f"the file says {config.account}, the credentials ({arn}) are of {account}"
        yield error(
            NAME, "account", reason, f"Take credentials of {config.account} (AWS_PROFILE), or account: '{account}'"
        )
    else:
        yield ok(NAME, "account", f"{account}, as {arn}")
    if region is not None and region != config.region:
        reason = f"the file says {config.region}, environment or profile say {region}: one of them is a mistake"
        yield error(NAME, "region", reason, f"export AWS_REGION={config.region}, or region: {region}")
    else:
        yield ok(NAME, "region", config.region if region else f"{config.region}; the environment names none")
