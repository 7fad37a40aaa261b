"""The load balancer of section `web`, in the network that is made here or in yours."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import Annotations, Stack
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_secretsmanager as secretsmanager

from cdk_cryoem import CryosparcWeb, OidcLogin

from .config_web import LoginConfig, WebConfig


def web(stack: Stack, config: WebConfig, vpc: ec2.IVpc, subnets: Sequence[ec2.ISubnet]) -> CryosparcWeb:
    """The load balancer. subnets: of the network that is made here; none where the file names them."""
    return CryosparcWeb(
        stack,
        "Web",
        vpc=vpc,
        subnets=subnets or _named(stack, config.subnet_ids),
        certificate=acm.Certificate.from_certificate_arn(stack, "WebCertificate", config.certificate_arn),
        allowed_from=config.allowed_from,
        login=_login(stack, config.login) if config.login else None,
        internet_facing=config.internet_facing,
    )


def _named(stack: Stack, subnet_ids: Sequence[str]) -> list[ec2.ISubnet]:
    Annotations.of(stack).acknowledge_warning(
        "@aws-cdk/aws-ec2:noSubnetRouteTableId", "Nothing here touches the routes of a network that is yours"
    )
    return [
        ec2.Subnet.from_subnet_id(stack, f"WebSubnet{number}", subnet_id)
        for number, subnet_id in enumerate(dict.fromkeys(subnet_ids), start=1)
    ]


def _login(stack: Stack, config: LoginConfig) -> OidcLogin:
    return OidcLogin(
        issuer=config.issuer,
        authorization_endpoint=config.authorization_endpoint,
        token_endpoint=config.token_endpoint,
        user_info_endpoint=config.user_info_endpoint,
        client_id=config.client_id,
        client_secret=secretsmanager.Secret.from_secret_complete_arn(
            stack, "WebClientSecret", config.client_secret_arn
        ),
        scope=config.scope,
        session_hours=config.session_hours,
    )
