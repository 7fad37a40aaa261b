"""The whole path with AWS Parallel Computing Service, under enforced IAM."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from cdk_cryoem_twin import processes
from cdk_cryoem_twin.pcs.state import PcsState
from cdk_cryoem_twin.slurm import controller
from cdk_cryoem_twin.waiting import wait_for

if TYPE_CHECKING:
    from conftest import Twin

pytestmark = pytest.mark.twin


def test_every_stage_of_the_demo_passed_with_the_other_engine(pcs_twin: Twin) -> None:
    jobs = pcs_twin.summary.jobs
    assert [job.state for job in jobs] == ["COMPLETED"] * 4
    assert {job.lane for job in jobs} == {"cpu", "gpu1", "gpu4"}
    assert any(job.name.startswith("cryosparc_") for job in jobs), "no job came through the cryoSPARC lane"
    assert any(job.name.startswith("Class2D") for job in jobs), "no job came through RELION's own queue submission"


def test_jobs_have_price_gpus_and_project_from_pcs_own_record(pcs_twin: Twin) -> None:
    records = {record["name"]: record for record in pcs_twin.observer.records("job")}
    (relion,) = [record for name, record in records.items() if name.startswith("Class2D")]
    assert (relion["gpus"], relion["project"]) == (4, "krios-2026-03-17-grid1")
    seconds = int(relion["ended_at"]) - int(relion["started_at"])
    assert float(relion["usd"]) == pytest.approx(seconds / 3600 * 5.672, abs=1e-6)


def test_job_events_come_from_the_log_group_and_not_from_the_head_node(pcs_twin: Twin) -> None:
    group = PcsState.load(pcs_twin.places).deliveries["PCS_JOBCOMP_LOGS"]
    pages = pcs_twin.make("logs").get_paginator("filter_log_events").paginate(logGroupName=group)
    told = [json.loads(event["message"])["fields"] for page in pages for event in page["events"]]
    assert {str(fields["job_id"]) for fields in told} == {job.job_id for job in pcs_twin.summary.jobs}
    assert list((pcs_twin.places.home / "spool").glob("*.json")) == []
    assert not (pcs_twin.places.logs / "job-completion.log").exists()


def test_slurm_is_what_the_three_types_say(pcs_twin: Twin) -> None:
    shown = _slurm(pcs_twin, "scontrol", "--oneliner", "show", "partition")
    partitions = {line.split()[0].removeprefix("PartitionName="): line for line in shown.splitlines()}
    assert list(partitions) == ["cpu", "gpu1", "gpu4", "gpu8", "live"]
    assert "Default=YES" in partitions["cpu"]
    assert all("MaxTime=2-00:00:00" in line for line in partitions.values())
    config = (pcs_twin.places.slurm / "slurm.conf").read_text()
    assert config.count("SuspendTime=300") == 5, "each lane has the idle time of its node group"


def test_the_controller_goes_on_while_the_head_node_sleeps(pcs_twin: Twin) -> None:
    ec2, node = pcs_twin.make("ec2"), pcs_twin.outputs["HeadNode"]
    ec2.stop_instances(InstanceIds=[node])
    wait_for(lambda: not (pcs_twin.places.run / "head.ready").exists(), "the head node to stop", seconds=60)
    assert processes.alive(pcs_twin.places.slurm / "pid" / "slurmctld.pid")
    assert "UP" in _slurm(pcs_twin, "scontrol", "ping")
    ec2.start_instances(InstanceIds=[node])
    wait_for(lambda: (pcs_twin.places.run / "head.ready").exists(), "the head node to start", seconds=90)


@pytest.mark.parametrize(
    ("service", "operation", "arguments"),
    [
        ("s3", "list_objects_v2", {"Bucket": "LandingBucket"}),
        ("s3", "delete_object", {"Bucket": "LandingBucket", "Key": "datasets/x"}),
        ("dynamodb", "scan", {"TableName": "RecordsTable"}),
        ("ec2", "terminate_instances", {"InstanceIds": ["HeadNode"]}),
        ("ec2", "stop_instances", {"InstanceIds": ["HeadNode"]}),
    ],
)
@pytest.mark.parametrize("role", ["ClusterHeadNodeRole", "ClusterNodeRole", "ClusterLogsRole"])
def test_what_the_engines_roles_must_not_do_is_denied(
    pcs_twin: Twin, role: str, service: str, operation: str, arguments: dict[str, Any]
) -> None:
    names = pcs_twin.outputs
    given = {
        key: [names.get(v, v) for v in value] if isinstance(value, list) else names.get(value, value)
        for key, value in arguments.items()
    }
    call = getattr(_as_role(pcs_twin, role, service), operation)
    with pytest.raises(Exception, match=r"AccessDenied|UnauthorizedOperation|not authorized|Forbidden"):
        call(**given)


def _as_role(twin: Twin, word: str, service: str) -> Any:
    import boto3

    from cdk_cryoem_twin.environment import Mode, certificate, endpoint

    pages = twin.make("iam").get_paginator("list_roles").paginate()
    (role,) = [r["Arn"] for page in pages for r in page["Roles"] if word in r["RoleName"]]
    session = twin.make("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
    return boto3.client(  # type: ignore[call-overload]
        service,
        endpoint_url=endpoint(twin.places, Mode(strict=True)),
        verify=str(certificate(twin.places)),
        region_name="us-east-1",
        aws_access_key_id=session["AccessKeyId"],
        aws_secret_access_key=session["SecretAccessKey"],
        aws_session_token=session["SessionToken"],
    )


def _slurm(twin: Twin, *command: str) -> str:
    environment = controller.environment(twin.places)
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
