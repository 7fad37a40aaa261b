"""The table of records: what the hooks have written down of datasets, lanes, jobs and money."""

from __future__ import annotations

from aws_cdk import RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from constructs import Construct

# The kinds that the head node's admission of jobs needs: totals, finished jobs, and raised caps.
_MONEY = ("spend", "job", "cap")


class RecordsTable(Construct):
    """One DynamoDB table, kept when its stack goes, with every second of the last 35 days to go back to.

    table: the table. It belongs beside what outlives a cluster: with another table everything there ever was is told of
    again, and what was spent is forgotten.
    Costs: 1.25 USD per million writes and 0.25 USD per million reads (us-east-1, on demand): cents a month.
    """

    def __init__(self, scope: Construct, id: str) -> None:
        super().__init__(scope, id)
        self.table: dynamodb.Table = dynamodb.Table(
            self,
            "Resource",
            partition_key=dynamodb.Attribute(name="pk", type=dynamodb.AttributeType.STRING),
            sort_key=dynamodb.Attribute(name="sk", type=dynamodb.AttributeType.STRING),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            time_to_live_attribute="expires_at",
            removal_policy=RemovalPolicy.RETAIN,
        )


def grant_read_money(table: dynamodb.ITable, grantee: iam.IGrantable) -> None:
    """Let grantee read what was spent, finished jobs and raised caps, and no other record."""
    grantee.grant_principal.add_to_principal_policy(
        iam.PolicyStatement(
            actions=["dynamodb:GetItem", "dynamodb:Query"],
            resources=[table.table_arn],
            conditions={"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": list(_MONEY)}},
        )
    )
