"""What a PCS cluster writes: finished jobs become job events, nodes that do not come up become a metric."""

from __future__ import annotations

from aws_cdk import Aws, CrossStackReferences, Duration, Fn, Names, ReferenceStrength, RemovalPolicy
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_logs_destinations as logs_destinations
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from ._assets import NOT_SHIPPED, lambda_root

# Capacity that EC2 has not got is no failure of a node: PCS tries again, and ParallelCluster does not count it either.
_FAILED = (
    '{ ($.status_code = "LAUNCH_FAILED" && $.reason_code != "INSUFFICIENT_CAPACITY")'
    ' || ($.status_code = "TERMINATED" && ($.reason_code = "BOOTSTRAP_FAILED" || $.reason_code = "UNHEALTHY_NODE")) }'
)


class PcsLogs(Construct):
    """Log groups of a PCS cluster, and a function that turns a finished job's record into a job event.

    cluster_name: every job event carries it. cluster_arn: the PCS cluster. event_bus: where job events go.
    retention: of the logs.

    PCS delivers finished jobs, its scaling and its daemons' logs by CloudWatch's vended logs; the records' delivery is
    not free (0.50 USD per GB; a job is about 1 kB). IAM to deploy: logs:CreateDelivery, logs:PutDeliverySource,
    logs:PutDeliveryDestination, pcs:AllowVendedLogDeliveryForResource.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        cluster_name: str,
        cluster_arn: str,
        event_bus: events.IEventBus,
        retention: logs.RetentionDays,
    ) -> None:
        super().__init__(scope, id)
        self._unique = Names.unique_resource_name(self, max_length=40, separator="-").lower()
        stack_id = Fn.select(2, Fn.split("/", Aws.STACK_ID))
        self._of_this_stack = Fn.select(0, Fn.split("-", stack_id))
        self._cluster_arn, self._retention = cluster_arn, retention
        self.job_log_group: logs.LogGroup = self._deliver("Jobs", "PCS_JOBCOMP_LOGS")
        self.scaling_log_group: logs.LogGroup = self._deliver("Scaling", "PCS_SCALING_LOGS")
        self.scheduler_log_group: logs.LogGroup = self._deliver("Scheduler", "PCS_SCHEDULER_LOGS")
        namespace = f"CryoEm/{cluster_name}"
        self.failed_nodes: logs.MetricFilter = logs.MetricFilter(
            self,
            "FailedNodes",
            log_group=self.scaling_log_group,
            filter_pattern=logs.FilterPattern.literal(_FAILED),
            metric_namespace=namespace,
            metric_name="FailedNodes",
            metric_value="1",
        )
        self.dead_letter_queue: sqs.Queue = sqs.Queue(
            self,
            "DeadLetters",
            enforce_ssl=True,
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            retention_period=Duration.days(14),
        )
        # It goes when the engine is changed, which an import of its name by the alarm on it would forbid.
        CrossStackReferences.of(self.dead_letter_queue).produce(ReferenceStrength.WEAK)
        self.function_log_group: logs.LogGroup = logs.LogGroup(
            self, "FunctionLog", retention=retention, removal_policy=RemovalPolicy.DESTROY
        )
        self.role: iam.Role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        self.function_log_group.grant_write(self.role)
        self.role.add_to_policy(iam.PolicyStatement(actions=["events:PutEvents"], resources=[event_bus.event_bus_arn]))
        self.function: lambda_.Function = lambda_.Function(
            self,
            "Resource",
            runtime=lambda_.Runtime.PYTHON_3_14,
            architecture=lambda_.Architecture.ARM_64,
            handler="cdk_cryoem_lambda.pcs_jobs.handler",
            code=lambda_.Code.from_asset(str(lambda_root()), exclude=NOT_SHIPPED),
            environment={"EVENT_BUS": event_bus.event_bus_name, "CLUSTER": cluster_name},
            memory_size=256,
            timeout=Duration.minutes(1),
            # CloudWatch Logs calls it asynchronously: two tries more, then the record is kept here.
            dead_letter_queue=self.dead_letter_queue,
            log_group=self.function_log_group,
            logging_format=lambda_.LoggingFormat.JSON,
            role=self.role,
        )
        self.subscription: logs.SubscriptionFilter = logs.SubscriptionFilter(
            self,
            "Subscription",
            log_group=self.job_log_group,
            destination=logs_destinations.LambdaDestination(self.function),
            filter_pattern=logs.FilterPattern.all_events(),
        )

    def metric_failed_nodes(self) -> cloudwatch.IMetric:
        """Nodes that were launched and did not come up, or could not be launched, in five minutes."""
        return self.failed_nodes.metric(statistic="Sum", period=Duration.minutes(5), label="Nodes that did not come up")

    def metric_lost_job_records(self) -> cloudwatch.IMetric:
        """Finished jobs whose record could not become an event: they are not priced."""
        return self.dead_letter_queue.metric_approximate_number_of_messages_visible(
            statistic="Maximum", period=Duration.minutes(5), label="Finished jobs without an event"
        )

    def _deliver(self, id: str, log_type: str) -> logs.LogGroup:
        """A log group and the delivery into it.

        A log group's name must begin so, or each delivery would take room in the account's one small resource policy. It
        ends with what this stack has for itself, because the group stays when the stack goes.
        """
        group = logs.LogGroup(
            self,
            f"{id}Log",
            log_group_name=f"/aws/vendedlogs/pcs/{self._unique}-{id.lower()}-{self._of_this_stack}",
            retention=self._retention,
            removal_policy=RemovalPolicy.RETAIN,
        )
        source = logs.CfnDeliverySource(
            self,
            f"{id}Source",
            name=f"{self._unique}-{id.lower()}",
            log_type=log_type,
            resource_arn=self._cluster_arn,
        )
        destination = logs.CfnDeliveryDestination(
            self,
            f"{id}Destination",
            name=f"{self._unique}-{id.lower()}-log",
            destination_resource_arn=group.log_group_arn,
            output_format="json",
        )
        delivery = logs.CfnDelivery(
            self,
            f"{id}Delivery",
            delivery_source_name=source.name,
            delivery_destination_arn=destination.attr_arn,
        )
        delivery.node.add_dependency(source)
        return group
