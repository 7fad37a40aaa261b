"""cryoSPARC's pages for people with a browser: a load balancer with HTTPS and your login before the head node."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from aws_cdk import Duration, RemovalPolicy, Stack, Tags
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_elasticloadbalancingv2 as elb
from aws_cdk import aws_elasticloadbalancingv2_targets as targets
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from .engine import Engine
from .problems import Problem, known, require

CRYOSPARC_PORT = 61000
"""Where cryoSPARC's pages are on the head node."""
_LOGS_KEPT = Duration.days(180)
_ENDPOINTS = ("issuer", "authorization_endpoint", "token_endpoint", "user_info_endpoint")


@dataclass(frozen=True, kw_only=True, slots=True)
class OidcLogin:
    """A login at your identity provider (OpenID Connect): Keycloak, Entra ID, a Cognito user pool, a federation's proxy.

    issuer, authorization_endpoint, token_endpoint, user_info_endpoint: as the provider's
        `/.well-known/openid-configuration` has them, https. client_id: of this load balancer, whose redirect URI is
        `https://NAME/oauth2/idpresponse`. client_secret: a secret with the client's secret as plain text, read by
        CloudFormation and in no template.
    scope: default openid. session_hours: how long a login holds, 1 to 168, default 12.
    """

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    user_info_endpoint: str
    client_id: str
    client_secret: secretsmanager.ISecret
    scope: str = "openid"
    session_hours: int = 12


class CryosparcWeb(Construct):
    """An application load balancer with HTTPS in front of cryoSPARC's pages, which asks for a login before it lets anybody pass.

    vpc, subnets: where it is: two or more, in two zones; public ones with internet_facing.
    certificate: for the name that people type; point that name at `load_balancer.load_balancer_dns_name`.
    allowed_from: addresses (CIDR) that reach it at all, 1 to 50; no default, and never all of them.
    login: an OidcLogin. Default: none, so that cryoSPARC's own login is the only one; required with internet_facing.
    internet_facing: a public address; default no: reached by VPN or Direct Connect.
    port: of cryoSPARC on the head node; default 61000. access_logs_bucket: yours (SSE-S3), default a new one, retained, whose
        logs go after 180 days. deletion_protection: default yes. Switch it off before its stack is destroyed, which fails otherwise, and before a
        deployment that removes it, which would leave it in the account, with its cost (docs/access.md, "Taking it away").

    Two security groups, each for one purpose: `security_group` lets browsers reach the load balancer,
    `head_node_security_group` lets the load balancer reach this port, which else only the cluster's own nodes do. Give the second to the engine
    (`head_node_security_groups=[web.head_node_security_group]`), then the engine to `serve`.

    A head node that sleeps answers 503 here and is not woken; `cryoem wake` does that. Nobody has tried it on AWS.
    Errors: CryoEmError. The stack needs a region: who may write access logs depends on it.
    Costs (list prices, us-east-1): 16.43 USD a month (0.0225 an hour), 5.84 for each load balancer capacity unit that is used, 3.65 for
    each public address. IAM to deploy: elasticloadbalancing, ec2, s3, secretsmanager:GetSecretValue on the client's secret.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        vpc: ec2.IVpc,
        subnets: Sequence[ec2.ISubnet],
        certificate: acm.ICertificate,
        allowed_from: Sequence[str],
        login: OidcLogin | None = None,
        internet_facing: bool = False,
        port: int = CRYOSPARC_PORT,
        access_logs_bucket: s3.IBucket | None = None,
        deletion_protection: bool = True,
    ) -> None:
        super().__init__(scope, id)
        require(
            f"CryosparcWeb {id!r}",
            [
                *web_problems(allowed_from=allowed_from, internet_facing=internet_facing, has_login=login is not None),
                *(p.under("login") for p in (login_problems(_values(login)) if login else ())),
                *_place_problems(len(subnets), Stack.of(self).region, port),
            ],
        )
        self.login: OidcLogin | None = login
        self.port: int = port
        self.security_group: ec2.SecurityGroup = self._group(
            vpc, "SecurityGroup", "Browsers to cryoSPARC's load balancer"
        )
        self.head_node_security_group: ec2.SecurityGroup = self._group(
            vpc, "HeadNodeSecurityGroup", "cryoSPARC's load balancer to its pages on the head node"
        )
        self._connect(allowed_from)
        self.access_logs_bucket: s3.IBucket = access_logs_bucket or self._access_logs_bucket()
        self.load_balancer: elb.ApplicationLoadBalancer = elb.ApplicationLoadBalancer(
            self,
            "LoadBalancer",
            vpc=vpc,
            vpc_subnets=ec2.SubnetSelection(subnets=list(subnets)),
            internet_facing=internet_facing,
            security_group=self.security_group,
            deletion_protection=deletion_protection,
            drop_invalid_header_fields=True,
            # Pages of Live sessions stay open, and their sockets are quiet for minutes.
            idle_timeout=Duration.minutes(10),
        )
        self.load_balancer.log_access_logs(self.access_logs_bucket, "cryosparc")
        self.target_group: elb.ApplicationTargetGroup = elb.ApplicationTargetGroup(
            self,
            "TargetGroup",
            vpc=vpc,
            port=port,
            protocol=elb.ApplicationProtocol.HTTP,
            target_type=elb.TargetType.INSTANCE,
            deregistration_delay=Duration.seconds(30),
            health_check=elb.HealthCheck(path="/", healthy_http_codes="200-399", interval=Duration.seconds(30)),
        )
        self.listener: elb.ApplicationListener = self.load_balancer.add_listener(
            "Https",
            port=443,
            protocol=elb.ApplicationProtocol.HTTPS,
            certificates=[certificate],
            ssl_policy=elb.SslPolicy.RECOMMENDED_TLS,
            # Who may come is said by allowed_from; the default would be everybody.
            open=False,
            default_action=self._action(),
        )

    def serve(self, engine: Engine) -> None:
        """Send people to the head node of this engine."""
        self.target_group.add_target(targets.InstanceIdTarget(engine.head_node_instance_id, self.port))

    def metric_healthy(self) -> cloudwatch.IMetric:
        """Whether cryoSPARC's pages answer: 1 or 0 head nodes, the least in five minutes; 0 too while it sleeps."""
        return self.target_group.metrics.healthy_host_count(statistic="Minimum", period=Duration.minutes(5))

    def _connect(self, allowed_from: Sequence[str]) -> None:
        for cidr in allowed_from:
            self.security_group.add_ingress_rule(ec2.Peer.ipv4(cidr), ec2.Port.tcp(443), "Browsers that may come")
        self.security_group.add_egress_rule(
            self.head_node_security_group, ec2.Port.tcp(self.port), "cryoSPARC's pages on the head node"
        )
        self.head_node_security_group.add_ingress_rule(
            self.security_group, ec2.Port.tcp(self.port), "cryoSPARC's pages, from their load balancer"
        )
        if self.login is not None:
            # It asks the provider itself, whose addresses nobody knows.
            self.security_group.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(443), "The identity provider")

    def _action(self) -> elb.ListenerAction:
        onward = elb.ListenerAction.forward([self.target_group])
        if self.login is None:
            return onward
        return elb.ListenerAction.authenticate_oidc(
            issuer=self.login.issuer,
            authorization_endpoint=self.login.authorization_endpoint,
            token_endpoint=self.login.token_endpoint,
            user_info_endpoint=self.login.user_info_endpoint,
            client_id=self.login.client_id,
            client_secret=self.login.client_secret.secret_value,
            scope=self.login.scope,
            session_timeout=Duration.hours(self.login.session_hours),
            on_unauthenticated_request=elb.UnauthenticatedAction.AUTHENTICATE,
            allow_https_outbound=False,
            next=onward,
        )

    def _group(self, vpc: ec2.IVpc, id: str, purpose: str) -> ec2.SecurityGroup:
        group = ec2.SecurityGroup(self, id, vpc=vpc, description=purpose, allow_all_outbound=False)
        Tags.of(group).add("Name", f"{Stack.of(self).stack_name} {purpose}")
        return group

    def _access_logs_bucket(self) -> s3.Bucket:
        return s3.Bucket(
            self,
            "AccessLogs",
            # The only encryption that load balancers can write with (ELB user guide, "Enable access logs").
            encryption=s3.BucketEncryption.S3_MANAGED,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=True,
            versioned=True,
            lifecycle_rules=[
                s3.LifecycleRule(
                    expiration=_LOGS_KEPT,
                    noncurrent_version_expiration=Duration.days(30),
                    abort_incomplete_multipart_upload_after=Duration.days(7),
                )
            ],
            removal_policy=RemovalPolicy.RETAIN,
        )


def web_problems(*, allowed_from: Sequence[str], internet_facing: bool, has_login: bool) -> Iterator[Problem]:
    """What is wrong with who may come."""
    if not 1 <= len(allowed_from) <= 50:
        yield Problem(property="allowed_from", value=list(allowed_from), allowed="1 to 50 ranges of addresses")
    for cidr in allowed_from:
        if known(cidr) and not _is_a_range(cidr):
            yield Problem(
                property="allowed_from",
                value=cidr,
                allowed="ranges of addresses such as 10.0.0.0/8 or 203.0.113.7/32, never all of them",
                fix="Name the networks of your campus or VPN",
            )
    if internet_facing and not has_login:
        yield Problem(
            property="login",
            value=None,
            allowed="a login, with internet_facing",
            fix="Otherwise cryoSPARC's own login page is the only thing before it",
        )


def login_problems(values: Mapping[str, object]) -> Iterator[Problem]:
    """What is wrong with a login; values by the names of OidcLogin."""
    for name in _ENDPOINTS:
        value = values[name]
        if known(value) and not re.fullmatch(r"https://[^/\s]+\S*", str(value)):
            yield Problem(
                property=name,
                value=value,
                allowed="an https address",
                fix="The provider's /.well-known/openid-configuration has it",
            )
    hours = values["session_hours"]
    # The longest that the load balancer takes is a week.
    if known(hours) and not (isinstance(hours, int) and 1 <= hours <= 168):
        yield Problem(property="session_hours", value=hours, allowed="1 to 168")


def _values(login: OidcLogin) -> dict[str, object]:
    return {name: getattr(login, name) for name in (*_ENDPOINTS, "session_hours")}


def _is_a_range(cidr: str) -> bool:
    """Half of all addresses is as open as all of them; the largest private network is a /8."""
    try:
        return ipaddress.IPv4Network(cidr).prefixlen >= 8
    except ValueError:
        return False


def _place_problems(subnets: int, region: str, port: int) -> Iterator[Problem]:
    if subnets < 2:
        yield Problem(
            property="subnets",
            value=subnets,
            allowed="two or more, in two zones",
            fix="AWS makes none in a single zone",
        )
    if not known(region):
        yield Problem(
            property="region",
            value="known only at deployment",
            allowed="a stack with env=Environment(region=...)",
            fix="Who may write a load balancer's access logs depends on it",
        )
    if known(port) and not 1 <= port <= 65535:
        yield Problem(property="port", value=port, allowed="1 to 65535")
