"""The custom-resource Lambda that stands where ParallelCluster's provider stands on AWS.

Same contract: ServiceToken, ClusterName, ClusterConfiguration, DeletionPolicy in; headNode.* attributes out; any other
property is refused as the real one does. The head node is an EC2 instance of the emulator with a role that has the
policies the configuration names; its scripts are fetched from S3 and run in ParallelCluster's order.
"""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import boto3

from cdk_cryoem_stacks.changes import Effect, changes

from .. import head
from ..cluster import PARALLEL_CLUSTER, Cluster
from ..environment import ACCOUNT, Mode, certificate
from ..places import Places, places
from ..slurm import controller

_PROPERTIES = {"ServiceToken", "ClusterName", "ClusterConfiguration", "DeletionPolicy"}
# The account too: here this provider hands the session to the head node, where EC2's metadata service would.
_TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "ec2.amazonaws.com", "AWS": f"arn:aws:iam::{ACCOUNT}:root"},
            "Action": "sts:AssumeRole",
        }
    ],
}


def handler(event: Mapping[str, Any], context: object) -> None:
    """Entry point: do what is asked, and always answer CloudFormation."""
    answer: dict[str, Any] = {
        "Status": "SUCCESS",
        "PhysicalResourceId": event.get("PhysicalResourceId") or event["ResourceProperties"].get("ClusterName", "none"),
    }
    try:
        answer["Data"] = act(places(), event["RequestType"], event["ResourceProperties"])
    except Exception as error:
        # Whatever it is: without an answer CloudFormation would wait for an hour.
        print(f"{event['RequestType']} failed: {error!r}")
        answer |= {"Status": "FAILED", "Reason": f"{type(error).__name__}: {error}"}
    _respond(event, answer)


def act(places: Places, verb: str, props: Mapping[str, Any]) -> dict[str, Any]:
    """Create, update or delete the cluster; the attributes that GetAtt finds."""
    unknown = sorted(set(props) - _PROPERTIES)
    if unknown:
        raise ValueError(f"<{verb.lower()}-cluster> got unexpected arguments: {unknown}")
    if verb == "Delete":
        _delete(places)
        return {}
    cluster = Cluster.load_if_any(places)
    if cluster is None:
        cluster = _create(places, props)
    elif cluster.name != props["ClusterName"]:
        raise ValueError("Cannot update the ClusterName")
    else:
        cluster = _update(places, cluster, props["ClusterConfiguration"])
    found = boto3.client("ec2").describe_instances(InstanceIds=[cluster.instance_id])["Reservations"][0]["Instances"][0]
    return {
        "clusterName": cluster.name,
        "clusterStatus": "CREATE_COMPLETE",
        "headNode.instanceId": cluster.instance_id,
        "headNode.privateIpAddress": found["PrivateIpAddress"],
        "headNode.state": found["State"]["Name"],
    }


def _create(places: Places, props: Mapping[str, Any]) -> Cluster:
    configuration, name = props["ClusterConfiguration"], props["ClusterName"]
    node = configuration["HeadNode"]
    iam, ec2 = boto3.client("iam"), boto3.client("ec2")
    role = iam.create_role(
        RoleName=f"{name}-RoleHeadNode", Path="/parallelcluster/", AssumeRolePolicyDocument=json.dumps(_TRUST)
    )["Role"]
    for policy in node["Iam"]["AdditionalIamPolicies"]:
        if ":aws:policy/" not in policy["Policy"] and not policy["Policy"].rpartition("/")[2].startswith(
            "parallelcluster"
        ):
            raise ValueError(f"the provider may attach only policies named parallelcluster*: {policy['Policy']}")
        iam.attach_role_policy(RoleName=role["RoleName"], PolicyArn=policy["Policy"])
    made = ec2.run_instances(
        MinCount=1,
        MaxCount=1,
        ImageId="ami-0a1b2c3d4e5f60718",
        InstanceType=node["InstanceType"],
        SubnetId=node["Networking"]["SubnetId"],
        SecurityGroupIds=node["Networking"].get("AdditionalSecurityGroups", []),
        TagSpecifications=[
            {
                "ResourceType": "instance",
                "Tags": [
                    {"Key": "parallelcluster:cluster-name", "Value": name},
                    {"Key": "parallelcluster:node-type", "Value": "HeadNode"},
                    *configuration.get("Tags", []),
                ],
            }
        ],
    )["Instances"][0]
    cluster = Cluster(
        engine=PARALLEL_CLUSTER,
        name=name,
        instance_id=made["InstanceId"],
        role_arn=role["Arn"],
        file_system_id=_file_system_of(configuration),
        configuration=dict(configuration),
    )
    cluster.save(places)
    for shared in ("data", "projects"):
        (places.file_systems / cluster.file_system_id / shared).mkdir(parents=True, exist_ok=True)
    places.scratch.mkdir(parents=True, exist_ok=True)
    _configure(places, configuration)
    _custom_action(places, cluster, "OnNodeStart")
    environment = _head_environment(places, cluster)
    subprocess.run(
        [sys.executable, "-m", "cdk_cryoem_twin.head", "start"], env=environment, check=True, cwd=places.root
    )
    _custom_action(places, cluster, "OnNodeConfigured")
    return cluster


def _update(places: Places, before: Cluster, configuration: Mapping[str, Any]) -> Cluster:
    found = changes(before.configuration, configuration)
    refused = [change for change in found if change.effect.rank >= Effect.STOPS_FLEET.rank]
    if refused:  # as ParallelCluster does while the compute fleet runs; here it cannot be stopped
        raise ValueError(
            "Update failure: "
            + "; ".join(f"{change.path}: it {change.effect}. {change.what_to_do}" for change in refused)
        )
    if all(change.effect is Effect.NOTHING for change in found):
        print("No changes found in your cluster configuration.")
        return before
    after = replace(before, configuration=dict(configuration))
    after.save(places)
    _configure(places, configuration)
    controller.stop(places)
    controller.start(places)
    return after


def _file_system_of(configuration: Mapping[str, Any]) -> str:
    for storage in configuration["SharedStorage"]:
        if storage["StorageType"] == "FsxLustre":
            return str(storage["FsxLustreSettings"]["FileSystemId"])
    raise ValueError("the configuration names no FSx file system")


def _configure(places: Places, configuration: Mapping[str, Any]) -> None:
    # Here, because it needs the library's instance table and with it the CDK, which takes seconds to import.
    from .spec import slurm_spec

    controller.configure(places, slurm_spec(configuration, root=places.root / "head"))


def _delete(places: Places) -> None:
    cluster = Cluster.load_if_any(places)
    if cluster is None:
        return
    head.stop(places)
    boto3.client("ec2").terminate_instances(InstanceIds=[cluster.instance_id])
    iam, name = boto3.client("iam"), cluster.role_arn.rpartition("/")[2]
    for policy in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
        iam.detach_role_policy(RoleName=name, PolicyArn=policy["PolicyArn"])
    iam.delete_role(RoleName=name)
    places.cluster_file.unlink()
    shutil.rmtree(places.root / "head", ignore_errors=True)


def _head_environment(places: Places, cluster: Cluster) -> dict[str, str]:
    """The head node asks the emulator for its role's session, as it would ask the instance metadata service."""
    sts = boto3.client("sts")
    session = sts.assume_role(RoleArn=cluster.role_arn, RoleSessionName=cluster.instance_id, DurationSeconds=43200)
    found: dict[str, Any] = dict(session["Credentials"])
    return head.head_environment(places, Mode.load(places), found)


def _custom_action(places: Places, cluster: Cluster, name: str) -> None:
    action = cluster.configuration["HeadNode"]["CustomActions"].get(name)
    if action is None:
        return
    environment = _head_environment(places, cluster)
    script = places.run / f"{name}.sh"
    for command in (
        ["aws", "s3", "cp", "--quiet", action["Script"], str(script)],
        ["bash", str(script), *action.get("Args", [])],
    ):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=places.root)
        print(done.stdout, done.stderr)
        if done.returncode:
            raise RuntimeError(f"{name} failed with {done.returncode}: {done.stderr.strip()[-600:]}")


def _respond(event: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
    body = {key: event[key] for key in ("StackId", "RequestId", "LogicalResourceId")} | dict(answer)
    request = urllib.request.Request(event["ResponseURL"], data=json.dumps(body).encode(), method="PUT")
    secure = event["ResponseURL"].startswith("https")
    context = ssl.create_default_context(cafile=str(certificate(places()))) if secure else None
    with urllib.request.urlopen(request, context=context) as response:
        print(f"CloudFormation was told {answer['Status']}: {response.status}")
