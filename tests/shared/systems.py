"""Systems besides the default one: everything that a configuration may say, on either engine."""

from __future__ import annotations

from typing import Any

from cluster_inputs import BOUNDARY, LICENSE, RESERVATION

from cdk_cryoem_stacks.config import Config

AGENT = "arn:aws:datasync:us-east-1:111122223333:agent/agent-0123456789abcdef0"
HEAD_NODE_ROLE = "arn:aws:iam::111122223333:role/parallelcluster/every/every-RoleHeadNode-1A2B3C4D5E6F"
_EVERYTHING: dict[str, Any] = {
    "name": "every",
    "region": "us-east-1",
    "account": "111122223333",
    "network": {"cidr": "10.99.0.0/20", "availability_zone": "us-east-1c"},
    "microscopes": [
        {
            "name": "krios",
            "nfs": {"host": "10.0.0.5", "path": "/krios"},
            "agent_arn": AGENT,
            "bandwidth_limit_mibps": 90,
        },
        {
            "name": "talos",
            "nfs": {"host": "10.0.0.6", "path": "/talos"},
            "agent_arns": [AGENT, AGENT.replace("def0", "def1")],
            "task_mode": "enhanced",
            "schedule": "rate(15 minutes)",
            "time_zone": "Europe/Vienna",
            "bandwidth_windows": [{"start": "07:00", "end": "20:00", "limit_mibps": 40}],
            "software": "epu",
            "include_patterns": ["/2026*"],
            "exclude_patterns": ["*/atlas"],
        },
    ],
    "landing": {
        "quiet_minutes": 60,
        "sentinel": "done.txt",
        "noncurrent_days": 30,
        "object_lock_days": 20,
        "archive_after_days": 90,
        "replicate_to": {
            "bucket_arn": "arn:aws:s3:::second-copy",
            "key_arn": "arn:aws:kms:eu-west-1:444455556666:key/11111111-2222-3333-4444-555555555555",
            "account": "444455556666",
            "storage_class": "DEEP_ARCHIVE",
        },
    },
    "groups": [
        {"name": "smith", "datasets": ["smith_*"], "reader_role_arns": ["arn:aws:iam::111122223333:role/smith"]},
        {
            "name": "jones",
            "datasets": ["jones_*", "demo"],
            "reader_role_arns": ["arn:aws:iam::111122223333:role/lab/jones"],
            "vpc_only": True,
        },
    ],
    "deletion": {"allowed": ["file_system", "results", "landing"]},
    "file_system": {"capacity_gib": 4800, "throughput_mibps_per_tib": 500, "release_after_days": 30},
    "head_node": {
        "instance_type": "m7i.2xlarge",
        "operating_system": "ubuntu2404",
        "root_volume_gib": 120,
        "cryosparc_volume_gib": 500,
        "stop_after_minutes": 240,
        "awake": {"days": ["mon", "fri"], "start": "08:00", "end": "18:30", "time_zone": "Europe/Vienna"},
    },
    "lanes": [
        {"name": "cpu", "instance_types": ["m6i.8xlarge", "r6i.8xlarge"], "max_nodes": 2, "spot_twin": True},
        {
            "name": "gpu1",
            "instance_types": ["g6e.4xlarge", "g5.4xlarge"],
            "gpus": 1,
            "spot_twin": True,
            "particle_cache": False,
            "memory_multiplier": 1.5,
            "time_limit_hours": 12.5,
            "hold_minutes": 20,
        },
        {"name": "spread", "instance_types": ["g6e.48xlarge"], "gpus": 8, "max_nodes": 2, "nodes_per_job": 2},
        {
            "name": "reserved",
            "instance_types": ["g5.48xlarge"],
            "gpus": 8,
            "capacity_reservation_id": RESERVATION,
            "nodes_per_job": 2,
        },
    ],
    "idle_backstop_minutes": 30,
    "waiting": {"usd_per_hour": 5.5, "longest_minutes": 12, "hours": {"end": "18:00", "time_zone": "Europe/Vienna"}},
    "stages": {"motion": "spread"},
    "cryosparc": {"license_secret_arn": LICENSE, "version": "5.0.6", "license_tokens": 100},
    "processing": {"recipes": "recipes", "on_landed": "spa-quickstart"},
    "budget": {"monthly_usd": 100.5, "emails": ["em@example.org"]},
    "notifications": {"emails": ["ada@example.org", "em@example.org"], "job_minutes": 10},
    "permissions_boundary_arn": BOUNDARY,
    "log_retention_days": 365,
    "tags": {"Cost Center": "EM-4711", "owner": "em@example.org"},
}


def everything() -> Config:
    """With ParallelCluster. Its recipes are in the folder twin/."""
    return Config.model_validate(
        {
            **_EVERYTHING,
            "head_node": {**_EVERYTHING["head_node"], "remote_desktop_from": "10.0.0.0/8"},
            "budget": {**_EVERYTHING["budget"], "at_limit": {"roles": [HEAD_NODE_ROLE], "approval": "manual"}},
        }
    )


def everything_on_pcs() -> Config:
    """With AWS Parallel Computing Service."""
    return Config.model_validate(
        {**_EVERYTHING, "name": "everypcs", "engine": "pcs", "pcs": {"ami_id": "ami-0a1b2c3d4e5f60718"}}
    )
