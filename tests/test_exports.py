"""The public names. A name that goes or is renamed needs a major version, a new one a changelog entry."""

from __future__ import annotations

import inspect

import pytest

import cdk_cryoem

PUBLIC = [
    "Association", "BandwidthWindow", "BudgetAction", "Cap", "Capacity", "ClusterInputs", "CryoEmDashboard", "CryoEmError", "CryoEmPlatform", "Cryosparc", "CryosparcWeb", "DATASET_LANDED", "DatasetGroup", "DatasetGroups", "DatasetReceipts", "DenyLaunches", "Engine",
    "FileSystemCare", "HeadNode", "HeadNodeDocuments", "HeadNodePrograms", "HookFunction", "ILustreStore", "InstanceShape",
    "JOB_EVENT_DETAIL_TYPE", "JOB_EVENT_SOURCE", "LandingZone", "Lane", "LaneHooks", "LaneManifest", "LustreStore",
    "Microscope", "MicroscopeIngest", "MonthlyBudget", "NfsShare", "Notifications", "OidcLogin", "PLATFORM_EVENT_SOURCE", "ParallelCluster",
    "ParallelClusterProvider", "Pcs", "Period", "PrivateNetwork", "Problem", "RecordsTable", "SecondCopy", "SmbShare", "Stage", "SystemAlarms", "SystemMetrics", "Waiting", "WorkingHours", "cluster_configuration", "default_lanes",
    "instance_shapes", "stage_lanes",
]  # fmt: skip
CLASSES = [name for name in PUBLIC if inspect.isclass(getattr(cdk_cryoem, name, None))]


def test_the_public_names() -> None:
    assert sorted(cdk_cryoem.__all__) == PUBLIC
    assert all(hasattr(cdk_cryoem, name) for name in PUBLIC)


@pytest.mark.parametrize("name", CLASSES)
def test_a_public_class_says_what_it_is(name: str) -> None:
    documented = inspect.getdoc(getattr(cdk_cryoem, name))
    assert documented
    assert len(documented) > 20


@pytest.mark.parametrize("name", CLASSES)
def test_a_construct_takes_scope_and_id_and_everything_else_by_keyword(name: str) -> None:
    parameters = list(inspect.signature(getattr(cdk_cryoem, name).__init__).parameters.values())[1:]
    if [parameter.name for parameter in parameters[:2]] == ["scope", "id"]:
        parameters = parameters[2:]
    elif name in ("CryoEmError", "Capacity", "Engine", "ILustreStore", "Period"):
        return
    assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in parameters), name
