"""AWS CDK constructs for cryo-EM computing: movies land, lanes open, jobs run, nodes go."""

from .budget_action import BudgetAction, DenyLaunches
from .caps import Cap, Period
from .cryosparc import Cryosparc
from .cryosparc_web import CryosparcWeb, OidcLogin
from .dashboard import CryoEmDashboard
from .dashboard_metrics import SystemMetrics
from .dataset_group import DatasetGroup, DatasetGroups
from .dataset_receipts import DatasetReceipts
from .engine import JOB_EVENT_DETAIL_TYPE, JOB_EVENT_SOURCE, Engine
from .file_system_care import FileSystemCare
from .head_node_programs import HeadNodePrograms
from .hook_function import HookFunction
from .ingest_pace import BandwidthWindow
from .instances import InstanceShape, instance_shapes
from .landing_zone import LandingZone
from .lane import Capacity, Lane, default_lanes
from .lane_hooks import DATASET_LANDED, PLATFORM_EVENT_SOURCE, LaneHooks
from .lane_manifest import LaneManifest
from .lustre_store import Association, ILustreStore, LustreStore
from .microscope_ingest import MicroscopeIngest, NfsShare, SmbShare
from .monthly_budget import MonthlyBudget
from .notifications import Notifications
from .parallel_cluster import ParallelCluster
from .parallel_cluster_config import ClusterInputs, HeadNode, cluster_configuration
from .parallel_cluster_provider import ParallelClusterProvider
from .pcs import Pcs
from .platform import CryoEmPlatform, Microscope
from .private_network import PrivateNetwork
from .problems import CryoEmError, Problem
from .records_table import RecordsTable
from .replication import SecondCopy
from .ssm_documents import HeadNodeDocuments
from .stages import Stage, stage_lanes
from .system_alarms import SystemAlarms
from .waiting import Waiting
from .working_hours import WorkingHours

__all__ = [
    "DATASET_LANDED",
    "JOB_EVENT_DETAIL_TYPE",
    "JOB_EVENT_SOURCE",
    "PLATFORM_EVENT_SOURCE",
    "Association",
    "BandwidthWindow",
    "BudgetAction",
    "Cap",
    "Capacity",
    "ClusterInputs",
    "CryoEmDashboard",
    "CryoEmError",
    "CryoEmPlatform",
    "Cryosparc",
    "CryosparcWeb",
    "DatasetGroup",
    "DatasetGroups",
    "DatasetReceipts",
    "DenyLaunches",
    "Engine",
    "FileSystemCare",
    "HeadNode",
    "HeadNodeDocuments",
    "HeadNodePrograms",
    "HookFunction",
    "ILustreStore",
    "InstanceShape",
    "LandingZone",
    "Lane",
    "LaneHooks",
    "LaneManifest",
    "LustreStore",
    "Microscope",
    "MicroscopeIngest",
    "MonthlyBudget",
    "NfsShare",
    "Notifications",
    "OidcLogin",
    "ParallelCluster",
    "ParallelClusterProvider",
    "Pcs",
    "Period",
    "PrivateNetwork",
    "Problem",
    "RecordsTable",
    "SecondCopy",
    "SmbShare",
    "Stage",
    "SystemAlarms",
    "SystemMetrics",
    "Waiting",
    "WorkingHours",
    "cluster_configuration",
    "default_lanes",
    "instance_shapes",
    "stage_lanes",
]
