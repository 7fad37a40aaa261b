"""The custom-resource provider that ParallelCluster publishes per region and version."""

from __future__ import annotations

import re
from collections.abc import Iterator

from aws_cdk import Aws, CfnStack
from aws_cdk import aws_iam as iam
from constructs import Construct

from .problems import Problem, known, require

_OLDEST = (3, 16, 0)


class ParallelClusterProvider(Construct):
    """ParallelCluster's own nested stack, which deploys and updates clusters. Share one per region and version.

    version: ParallelCluster's version, 3.16.0 or later.
    lambda_role: role of the provider's function, for accounts that allow no others. Default: the provider makes one.
    Costs: a Lambda function that runs only at deployments.
    IAM to deploy: CAPABILITY_NAMED_IAM and CAPABILITY_AUTO_EXPAND (the CDK CLI passes them).
    """

    def __init__(
        self, scope: Construct, id: str, *, version: str = "3.16.1", lambda_role: iam.IRole | None = None
    ) -> None:
        super().__init__(scope, id)
        require(f"ParallelClusterProvider {id!r}", version_problems(version))
        self.version: str = version
        bucket = f"{Aws.REGION}-aws-parallelcluster"
        self.stack: CfnStack = CfnStack(
            self,
            "Resource",
            template_url=(
                f"https://{bucket}.s3.{Aws.REGION}.{Aws.URL_SUFFIX}"
                f"/parallelcluster/{version}/templates/custom_resource/cluster.yaml"
            ),
            parameters={"CustomLambdaRole": lambda_role.role_arn} if lambda_role else None,
        )
        self.service_token: str = self.stack.get_att("Outputs.ServiceToken").to_string()


def version_problems(version: str) -> Iterator[Problem]:
    """What is wrong with a ParallelCluster version."""
    parts = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)", version) if known(version) else None
    if known(version) and (parts is None or tuple(int(p) for p in parts.groups()) < _OLDEST):
        yield Problem(
            property="version",
            value=version,
            allowed="3.16.0 or later",
            fix="Earlier ones cannot deploy login nodes and accept operating systems that cryoSPARC 5 does not",
        )
