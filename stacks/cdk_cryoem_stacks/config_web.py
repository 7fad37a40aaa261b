"""Section `web` of the file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

from pydantic import Field, model_validator

from cdk_cryoem import Problem
from cdk_cryoem.cryosparc_web import login_problems, web_problems

from .config_network import NetworkConfig
from .config_sections import SECRET_ARN, Section, report

_CERTIFICATE_ARN = r"^arn:aws[a-z-]*:acm:[a-z0-9-]+:\d{12}:certificate/[0-9a-f-]{36}$"


class LoginConfig(Section):
    """A login at an identity provider (OpenID Connect)."""

    issuer: str = Field(description="As the provider's /.well-known/openid-configuration has it, and the next three")
    authorization_endpoint: str
    token_endpoint: str
    user_info_endpoint: str
    client_id: str = Field(min_length=1)
    client_secret_arn: str = Field(
        pattern=SECRET_ARN, description="Secrets Manager secret with the client's secret as plain text"
    )
    scope: str = "openid"
    session_hours: int = Field(default=12, description="How long a login holds, 1 to 168")

    @model_validator(mode="after")
    def _check(self) -> Self:
        report(login_problems(self.model_dump()))
        return self


class WebConfig(Section):
    """A load balancer with HTTPS and a login in front of cryoSPARC's pages."""

    certificate_arn: str = Field(pattern=_CERTIFICATE_ARN, description="ACM certificate of the name that people type")
    allowed_from: list[str] = Field(description="Addresses (CIDR) that reach it at all; no default, never all of them")
    internet_facing: bool = Field(default=False, description="A public address; needs a login")
    login: LoginConfig | None = Field(default=None, description="Who may pass; default: cryoSPARC's own login alone")
    subnet_ids: list[str] = Field(
        default_factory=list, description="With a network of yours: two of its subnets or more, in two zones"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        report(
            web_problems(
                allowed_from=self.allowed_from,
                internet_facing=self.internet_facing,
                has_login=self.login is not None,
            )
        )
        return self


def place_problems(web: WebConfig | None, network: NetworkConfig) -> Iterator[Problem]:
    """What is wrong with where the load balancer is to be."""
    if web is None:
        return
    if network.vpc_id is not None:
        if len(set(web.subnet_ids)) < 2:
            yield Problem(
                property="web.subnet_ids",
                value=web.subnet_ids,
                allowed="two subnets or more beside vpc_id",
                fix="A load balancer is in two zones at least, and network.subnet_id is in one",
            )
    elif web.subnet_ids:
        yield Problem(
            property="web.subnet_ids",
            value=web.subnet_ids,
            allowed="nothing without vpc_id",
            fix="The new network has some",
        )
    elif network.availability_zone is not None:
        yield Problem(
            property="network.availability_zone",
            value=network.availability_zone,
            allowed="none beside web, in a new network",
            fix="A load balancer is in two zones; without it cluster and file system are in the first of two",
        )
    if not network.nat and (web.internet_facing or web.login is not None):
        yield Problem(
            property="web.internet_facing" if web.internet_facing else "web.login",
            value=web.internet_facing or "given",
            allowed="nothing with nat: false",
            fix="Without a way out nobody comes from the internet, and no identity provider is asked",
        )
