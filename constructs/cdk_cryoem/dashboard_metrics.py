"""The metrics that the sweeper writes into its log, by name, for dashboards and alarms of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch

from .lane import Lane

_SWEEP = Duration.minutes(5)


@dataclass(frozen=True, kw_only=True, slots=True)
class SystemMetrics:
    """Metrics of the namespace CryoEm/CLUSTER. Naming one costs nothing; docs/dashboard.md says what sending them does.

    cluster_name: the engine's. lanes: its lanes.
    """

    cluster_name: str
    lanes: Sequence[Lane]

    def paid_nodes(self, lane: Lane) -> cloudwatch.Metric:
        """How many nodes of a lane are paid for: booting, at work, idle. Nothing while there is none."""
        return self._metric("PaidNodes", lane=lane)

    def used_gpus_of(self, lane: Lane) -> cloudwatch.Metric:
        """How many GPUs of a lane jobs have. Nothing while it has no nodes, or Slurm does not answer."""
        return self._metric("UsedGpus", lane=lane)

    def spend_this_month(self) -> cloudwatch.Metric:
        """What the jobs cost that have ended since the month began (UTC), USD at list price. Nothing before the first."""
        return self._metric("SpendThisMonth", label="spent")

    def longest_wait(self) -> cloudwatch.Metric:
        """For how long the oldest job has waited that could start if there were a node, seconds; 0 when none waits."""
        return self._metric("LongestWait", label="longest wait")

    def starved_lanes(self) -> cloudwatch.Metric:
        """Lanes in which a job has waited for half an hour that could start, and that have no node at all."""
        return self._metric("StarvedLanes")

    def datasets_arriving(self) -> cloudwatch.Metric:
        """How many datasets are arriving."""
        return self._metric("DatasetsArriving", label="arriving")

    def datasets_landed(self) -> cloudwatch.Metric:
        """How many datasets have landed in the last 24 hours."""
        return self._metric("DatasetsLanded", label="landed in a day")

    def shown_paid_nodes(self, lane: Lane) -> cloudwatch.MathExpression:
        """As paid_nodes, with 0 while there is none."""
        name = f"n{list(self.lanes).index(lane)}"
        return cloudwatch.MathExpression(
            expression=f"FILL({name}, 0)", using_metrics={name: self.paid_nodes(lane)}, label=lane.name, period=_SWEEP
        )

    def paid_gpus(self) -> cloudwatch.MathExpression | None:
        """GPUs of all nodes that are paid for; None without a lane that has GPUs."""
        return self._math(self._paid("n"), label="paid for", statistic="Maximum", period=_SWEEP)

    def used_gpus(self) -> cloudwatch.MathExpression | None:
        """GPUs that jobs have; None without a lane that has GPUs."""
        return self._math(self._used("u"), label="in use", statistic="Maximum", period=_SWEEP)

    def pbr(self, period: Duration | None = None) -> cloudwatch.MathExpression | None:
        """Paid GPU-seconds / used GPU-seconds of each period (default a day), of one sample a sweep; 1.0 is perfect.

        Nothing while no GPU was used; None without a lane that has GPUs. What the records say afterwards is exact.
        """
        # Ids of their own: in one graph, one id is one metric of one period.
        paid, used = self._paid("sn"), self._used("su")
        ratio = f"IF(({used}) > 0, ({paid}) / ({used}))"
        # A sweep that was tried again counts twice, in both.
        return self._math(ratio, label="PBR", statistic="Sum", period=period or Duration.days(1))

    @property
    def _gpu_lanes(self) -> list[tuple[int, Lane]]:
        return [(number, lane) for number, lane in enumerate(self.lanes) if lane.gpus]

    def _paid(self, prefix: str) -> str:
        return " + ".join(f"{lane.gpus} * FILL({prefix}{number}, 0)" for number, lane in self._gpu_lanes)

    def _used(self, prefix: str) -> str:
        return " + ".join(f"FILL({prefix}{number}, 0)" for number, _ in self._gpu_lanes)

    def _math(
        self, expression: str, *, label: str, statistic: str, period: Duration
    ) -> cloudwatch.MathExpression | None:
        """A formula of nodes (ids that end with n and the lane's number) and of GPUs in use (with u)."""
        if not self._gpu_lanes:
            return None
        named: dict[str, cloudwatch.Metric] = {}
        for number, lane in self._gpu_lanes:
            for prefix in ("n", "sn"):
                named[f"{prefix}{number}"] = self.paid_nodes(lane)
            for prefix in ("u", "su"):
                named[f"{prefix}{number}"] = self.used_gpus_of(lane)
        metrics: dict[str, cloudwatch.IMetric] = {
            name: metric.with_(statistic=statistic, period=period)
            for name, metric in named.items()
            if f"FILL({name}, 0)" in expression
        }
        return cloudwatch.MathExpression(expression=expression, using_metrics=metrics, label=label, period=period)

    def _metric(self, name: str, *, lane: Lane | None = None, label: str | None = None) -> cloudwatch.Metric:
        return cloudwatch.Metric(
            namespace=f"CryoEm/{self.cluster_name}",
            metric_name=name,
            dimensions_map={"Lane": lane.name} if lane is not None else None,
            statistic="Maximum",
            period=_SWEEP,
            label=label if lane is None else lane.name,
        )
