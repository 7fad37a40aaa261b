"""One page of CloudWatch that shows the whole system: lanes, waits, spend, datasets, file system, hooks."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from aws_cdk import Duration, Stack, Token
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from .dashboard_metrics import SystemMetrics
from .engine import Engine
from .hook_function import HookFunction
from .lustre_store import LustreStore
from .microscope_ingest import MicroscopeIngest
from .problems import Problem, known, require

_FIVE_MINUTES = Duration.minutes(5)
_WIDTH = 24
_ALARMS_MAX = 100


class CryoEmDashboard(Construct):
    """A CloudWatch dashboard of one system, for either engine.

    engine: its lanes, and nodes that did not come up. hooks: by the name they are shown by; their dead letters, errors and
    run times. file_system: free space, throughput, what waits to be imported or exported. Default: not shown.
    microscopes: by name; what they transfer. Default: none.
    limits_usd: lines across the month's spend, by label: caps, the budget. Default: none.
    alarms: shown at the top, 100 at most, each once. Default: none.

    What the sweeper writes into its log becomes the metrics of lanes, waits, spend and datasets (`metrics`, a
    `SystemMetrics`; docs/dashboard.md): 0.30 USD a month each, a lane's only for hours in which it has nodes. The dashboard
    costs 3 USD a month beyond an account's first three (CloudWatch price list, us-east-1). Errors: CryoEmError for
    limits_usd and alarms. IAM to deploy: cloudwatch:PutDashboard, cloudwatch:DeleteDashboards, cloudwatch:GetDashboard.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        engine: Engine,
        hooks: Mapping[str, HookFunction],
        file_system: LustreStore | None = None,
        microscopes: Mapping[str, MicroscopeIngest] | None = None,
        limits_usd: Mapping[str, float] | None = None,
        alarms: Sequence[cloudwatch.IAlarm] = (),
    ) -> None:
        super().__init__(scope, id)
        require(f"CryoEmDashboard {id!r}", dashboard_problems(limits_usd or {}, alarms))
        self.metrics: SystemMetrics = SystemMetrics(cluster_name=engine.cluster_name, lanes=engine.lanes)
        self.dashboard: cloudwatch.Dashboard = cloudwatch.Dashboard(
            self, "Resource", default_interval=Duration.days(1), period_override=cloudwatch.PeriodOverride.INHERIT
        )
        if alarms:
            self.dashboard.add_widgets(
                cloudwatch.AlarmStatusWidget(title="Alarms", alarms=list(alarms), width=_WIDTH, height=4)
            )
        self.dashboard.add_widgets(*self._numbers())
        self.dashboard.add_widgets(*self._lanes(engine))
        self.dashboard.add_widgets(*self._waits(engine))
        self.dashboard.add_widgets(*self._spend_and_datasets(limits_usd or {}, microscopes or {}))
        if file_system is not None:
            self.dashboard.add_widgets(*_of_file_system(file_system))
        if hooks:
            self.dashboard.add_widgets(*_of_hooks(hooks))

    @property
    def dashboard_name(self) -> str:
        """As CloudFormation names it."""
        return self.dashboard.dashboard_name

    @property
    def url(self) -> str:
        """Where a browser shows it to whoever is logged in to the account."""
        region = Stack.of(self).region
        return f"https://{_console(region)}/cloudwatch/home?region={region}#dashboards/dashboard/{self.dashboard_name}"

    def _numbers(self) -> list[cloudwatch.IWidget]:
        metrics = self.metrics
        shown: list[tuple[str, cloudwatch.IMetric | None]] = [
            ("Spent this month, USD", metrics.spend_this_month()),
            ("PBR of the last day", metrics.pbr()),
            ("Longest wait now, s", metrics.longest_wait()),
            ("Datasets arriving", metrics.datasets_arriving()),
            ("Landed in a day", metrics.datasets_landed()),
        ]
        made = [(title, metric) for title, metric in shown if metric is not None]
        edges = [-(-_WIDTH * number // len(made)) for number in range(len(made) + 1)]
        return [
            cloudwatch.SingleValueWidget(title=title, metrics=[metric], width=right - left, height=3)
            for (title, metric), (left, right) in zip(made, itertools.pairwise(edges), strict=True)
        ]

    def _lanes(self, engine: Engine) -> list[cloudwatch.IWidget]:
        metrics = self.metrics
        nodes = cloudwatch.GraphWidget(
            title="Nodes that are paid for",
            left=[metrics.shown_paid_nodes(lane) for lane in engine.lanes],
            left_y_axis=cloudwatch.YAxisProps(min=0, show_units=False),
            stacked=True,
            width=_WIDTH // 2,
        )
        paid, used, pbr = metrics.paid_gpus(), metrics.used_gpus(), metrics.pbr()
        if paid is None or used is None or pbr is None:
            return [nodes]
        gpus = cloudwatch.GraphWidget(
            title="GPUs paid for and in use; PBR of a day",
            left=[paid, used],
            right=[pbr],
            left_y_axis=cloudwatch.YAxisProps(min=0, show_units=False),
            right_y_axis=cloudwatch.YAxisProps(min=1, show_units=False),
            width=_WIDTH // 2,
        )
        return [nodes, gpus]

    def _waits(self, engine: Engine) -> list[cloudwatch.IWidget]:
        lost = engine.metric_lost_job_records()
        return [
            cloudwatch.GraphWidget(
                title="Longest wait for a node, s; lanes without any",
                left=[self.metrics.longest_wait()],
                right=[self.metrics.starved_lanes().with_(label="lanes without a node for their jobs")],
                left_y_axis=cloudwatch.YAxisProps(min=0, show_units=False),
                right_y_axis=cloudwatch.YAxisProps(min=0, show_units=False),
                width=_WIDTH // 2,
            ),
            cloudwatch.GraphWidget(
                title="Nodes that did not come up" + ("" if lost is None else "; jobs without a price"),
                left=[engine.metric_failed_nodes(), *([] if lost is None else [lost])],
                left_y_axis=cloudwatch.YAxisProps(min=0, show_units=False),
                width=_WIDTH // 2,
            ),
        ]

    def _spend_and_datasets(
        self, limits_usd: Mapping[str, float], microscopes: Mapping[str, MicroscopeIngest]
    ) -> list[cloudwatch.IWidget]:
        metrics = self.metrics
        arriving: list[cloudwatch.IMetric] = [metrics.datasets_arriving(), metrics.datasets_landed()]
        return [
            cloudwatch.GraphWidget(
                title="Spent this month by finished jobs, USD",
                left=[metrics.spend_this_month()],
                left_annotations=[
                    cloudwatch.HorizontalAnnotation(value=usd, label=label) for label, usd in limits_usd.items()
                ],
                left_y_axis=cloudwatch.YAxisProps(min=0, show_units=False),
                width=_WIDTH // 2,
            ),
            cloudwatch.GraphWidget(
                title="Datasets" + ("; bytes of microscopes" if microscopes else ""),
                left=arriving,
                right=[
                    ingest.metric_bytes_transferred().with_(label=name, period=_FIVE_MINUTES)
                    for name, ingest in microscopes.items()
                ],
                left_y_axis=cloudwatch.YAxisProps(min=0, show_units=False),
                width=_WIDTH // 2,
            ),
        ]


def dashboard_problems(limits_usd: Mapping[str, float], alarms: Sequence[cloudwatch.IAlarm]) -> list[Problem]:
    """What is wrong with a dashboard's lines and alarms."""
    found = [
        Problem(property=f"limits_usd[{label!r}]", value=usd, allowed="above 0")
        for label, usd in limits_usd.items()
        if known(usd) and not usd > 0
    ]
    if len(alarms) > _ALARMS_MAX:
        found.append(
            Problem(
                property="alarms", value=f"{len(alarms)} alarms", allowed=f"{_ALARMS_MAX} at most, as CloudWatch shows"
            )
        )
    if len({alarm.node.path for alarm in alarms}) < len(alarms):
        found.append(Problem(property="alarms", value="one alarm twice", allowed="each alarm once"))
    return found


def _of_file_system(file_system: LustreStore) -> list[cloudwatch.IWidget]:
    third = _WIDTH // 3
    return [
        cloudwatch.GraphWidget(
            title="File system: free space, %",
            left=[file_system.metric_free_storage_percent()],
            left_y_axis=cloudwatch.YAxisProps(min=0, max=100, show_units=False),
            width=third,
        ),
        cloudwatch.GraphWidget(
            title="File system: bytes per second",
            left=[
                _per_second(file_system, "DataReadBytes", "read"),
                _per_second(file_system, "DataWriteBytes", "written"),
            ],
            left_y_axis=cloudwatch.YAxisProps(min=0, show_units=False),
            width=third,
        ),
        cloudwatch.GraphWidget(
            title="File system: oldest uncopied change, s",
            left=[
                file_system.metric_queued_seconds("AutoImport").with_(label="S3 to file system"),
                file_system.metric_queued_seconds("AutoExport").with_(label="file system to S3"),
            ],
            left_y_axis=cloudwatch.YAxisProps(min=0, show_units=False),
            width=third,
        ),
    ]


def _per_second(file_system: LustreStore, name: str, label: str) -> cloudwatch.IMetric:
    total = cloudwatch.Metric(
        namespace="AWS/FSx",
        metric_name=name,
        dimensions_map={"FileSystemId": file_system.file_system_id},
        statistic="Sum",
        period=_FIVE_MINUTES,
    )
    return cloudwatch.MathExpression(
        expression=f"{label}Bytes / PERIOD({label}Bytes)",
        using_metrics={f"{label}Bytes": total},
        label=label,
        period=_FIVE_MINUTES,
    )


def _of_hooks(hooks: Mapping[str, HookFunction]) -> list[cloudwatch.IWidget]:
    third = _WIDTH // 3
    zero = cloudwatch.YAxisProps(min=0, show_units=False)
    return [
        cloudwatch.GraphWidget(
            title="Hooks: dead letters",
            left=[
                hook.dead_letter_queue.metric_approximate_number_of_messages_visible(
                    label=name, statistic="Maximum", period=_FIVE_MINUTES
                )
                for name, hook in hooks.items()
            ],
            left_y_axis=zero,
            width=third,
        ),
        cloudwatch.GraphWidget(
            title="Hooks: errors",
            left=[hook.function.metric_errors(label=name, period=_FIVE_MINUTES) for name, hook in hooks.items()],
            left_y_axis=zero,
            width=third,
        ),
        cloudwatch.GraphWidget(
            title="Hooks: longest run, ms",
            left=[
                hook.function.metric_duration(label=name, statistic="Maximum", period=_FIVE_MINUTES)
                for name, hook in hooks.items()
            ],
            left_y_axis=zero,
            width=third,
        ),
    ]


def _console(region: str) -> str:
    """The console's address in the region's partition; a region that only the deployment knows is taken for a commercial one."""
    if not Token.is_unresolved(region):
        if region.startswith("cn-"):
            return "console.amazonaws.cn"
        if region.startswith("us-gov-"):
            return "console.amazonaws-us-gov.com"
    return "console.aws.amazon.com"
