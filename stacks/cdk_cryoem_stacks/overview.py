"""What a person looks at: the dashboard with all that a system has, and the alarms of the system as a whole."""

from __future__ import annotations

from collections.abc import Mapping

from aws_cdk import CfnOutput, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from cdk_cryoem import (
    CryoEmDashboard,
    Engine,
    HookFunction,
    LaneHooks,
    LustreStore,
    MicroscopeIngest,
    Period,
    SystemAlarms,
    SystemMetrics,
)

from .config import Config


class Overview(Construct):
    """SystemAlarms and CryoEmDashboard, made last in the hooks' stack: the dashboard shows all hooks and alarms that it has."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        config: Config,
        engine: Engine,
        hooks: LaneHooks,
        file_system: LustreStore,
        microscopes: Mapping[str, MicroscopeIngest],
    ) -> None:
        super().__init__(scope, id)
        stack = Stack.of(self)
        self.alarms: SystemAlarms = SystemAlarms(
            self,
            "Alarms",
            metrics=SystemMetrics(cluster_name=engine.cluster_name, lanes=engine.lanes),
            sweeper=hooks.sweeper.function,
            alarm_topic=hooks.alarm_topic,
        )
        made = stack.node.find_all()
        self.dashboard: CryoEmDashboard = CryoEmDashboard(
            self,
            "Dashboard",
            engine=engine,
            hooks={each.node.id.lower(): each for each in made if isinstance(each, HookFunction)},
            file_system=file_system,
            microscopes=microscopes,
            limits_usd=limits(config),
            alarms=[each for each in made if isinstance(each, cloudwatch.Alarm)],
        )
        CfnOutput(stack, "Dashboard", value=self.dashboard.url)


def limits(config: Config) -> dict[str, float]:
    """The lines across a month's spend: the budget, and caps of a month that count every job."""
    found = {"budget": config.budget.monthly_usd} if config.budget else {}
    for cap in config.all_caps():
        if cap.period is Period.MONTH and not cap.projects and not cap.each:
            found[f"cap {cap.name}"] = cap.usd
    return found
