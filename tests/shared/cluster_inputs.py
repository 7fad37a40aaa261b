"""What a cluster's configuration is told from outside the lanes, in the form of ids that AWS gives."""

from __future__ import annotations

from cdk_cryoem import ClusterInputs

REGION = "us-east-1"
RESERVATION = "cr-0a1b2c3d4e5f60718"
BOUNDARY = "arn:aws:iam::111122223333:policy/cryoem-boundary"
LICENSE = "arn:aws:secretsmanager:us-east-1:111122223333:secret:cryosparc-AbCdEf"
INPUTS = ClusterInputs(
    region=REGION,
    operating_system="ubuntu2204",
    subnet_id="subnet-0a1b2c3d4e5f60718",
    compute_subnet_id="subnet-0a1b2c3d4e5f60719",
    client_security_group_id="sg-0a1b2c3d4e5f60718",
    file_system_id="fs-0a1b2c3d4e5f60718",
    policy_arn="arn:aws:iam::111122223333:policy/parallelcluster-cryoem-head",
    session_manager_policy_arn="arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore",
    node_policy_arn="arn:aws:iam::111122223333:policy/parallelcluster-cryoem-node",
    trampoline_url="s3://cryoem-assets-111122223333/trampoline.sh",
    setup_parameter="CFN-ClusterSetup-0a1b2c3d",
    node_script_url="s3://cryoem-assets-111122223333/prepare-node.sh",
    tags={"cryoem:cluster": "cryoem"},
)
"""Subnets of head node and nodes differ, so that a test sees which one is used where."""
