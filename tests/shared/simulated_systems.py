"""Systems whose policies are simulated, and who asks besides their own roles."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import systems
from deployed import Template
from iam_simulator import ADMINISTRATOR, Principal, Simulated, aws_managed

from cdk_cryoem_stacks.app import build, make_app
from cdk_cryoem_stacks.config import Config
from cdk_cryoem_stacks.config_file import load

ROOT = Path(__file__).parents[2]
EXAMPLES = ("one-stack", "own-vpc")
"""Those that have movies."""
# Services that act on buckets or keys by themselves, or in whose name somebody might ask.
SERVICES = (
    *("backup.amazonaws.com", "cloudformation.amazonaws.com", "cloudtrail.amazonaws.com", "datasync.amazonaws.com"),
    *("delivery.logs.amazonaws.com", "ec2.amazonaws.com", "events.amazonaws.com", "fsx.amazonaws.com"),
    *("glacier.amazonaws.com", "lambda.amazonaws.com", "logging.s3.amazonaws.com", "logs.us-east-1.amazonaws.com"),
    *("pcs.amazonaws.com", "s3.amazonaws.com", "scheduler.amazonaws.com", "ssm.amazonaws.com"),
)


@cache
def simulated(name: str) -> Simulated:
    """A system by name: default, everything, everything-on-pcs, or an example. Made once; nobody changes it."""
    with TemporaryDirectory() as folder:
        return Simulated.of(_templates(name, Path(folder)))


def _templates(name: str, folder: Path) -> dict[str, Template]:
    if name in EXAMPLES:
        return _example(name, folder)
    configs: dict[str, tuple[Config, Path]] = {
        "default": (load(ROOT / "cryoem.yaml"), ROOT),
        "everything": (systems.everything(), ROOT / "twin"),
        "everything-on-pcs": (systems.everything_on_pcs(), ROOT / "twin"),
    }
    config, recipes = configs[name]
    app = make_app(outdir=str(folder))
    build(app, config, config_folder=recipes)
    return {stack.stack_name: stack.template for stack in app.synth().stacks}


def _example(name: str, folder: Path) -> dict[str, Template]:
    subprocess.run(
        [sys.executable, str(ROOT / "examples" / name / "app.py")],
        cwd=folder, env={**os.environ, "CDK_OUTDIR": str(folder / "out")}, check=True, timeout=120,
    )  # fmt: skip
    return {name: json.loads((folder / "out" / f"{name}.template.json").read_text())}


def break_glass(system: Simulated) -> Principal:
    """The break-glass role, with the policy that somebody attached to it for the occasion."""
    (found,) = (role for name, role in system.roles.items() if "BreakGlassRole" in name)
    return Principal(name="break-glass", arn=found.arn, policies=[*found.policies, ADMINISTRATOR])


def deployment(system: Simulated) -> Principal:
    """CloudFormation's role of the CDK bootstrap, which is an administrator unless somebody has narrowed it."""
    account, region = system.deployed.account, system.deployed.region
    return system.outsider(f"cdk-hnb659fds-cfn-exec-role-{account}-{region}", ADMINISTRATOR)


def outsiders(system: Simulated) -> Iterator[Principal]:
    """People and programs of the account that are in no template, with every right their own policies can give."""
    account, region = system.deployed.account, system.deployed.region
    yield system.outsider("Administrator", ADMINISTRATOR)
    yield system.outsider("PowerUser", aws_managed("PowerUserAccess"))
    yield system.outsider("StorageAdmin", aws_managed("AmazonS3FullAccess"), aws_managed("AmazonFSxFullAccess"))
    yield system.outsider(f"cdk-hnb659fds-deploy-role-{account}-{region}", ADMINISTRATOR)
    yield system.outsider(f"cdk-hnb659fds-file-publishing-role-{account}-{region}", ADMINISTRATOR)
    # ParallelCluster makes the roles of its head node, its nodes and its functions below this path.
    yield system.outsider("cluster-RoleHeadNode", ADMINISTRATOR, path="/parallelcluster/cryoem/")
    yield system.outsider(
        "AWSServiceRoleForFSxS3Access_fs-0123456789abcdef0",
        ADMINISTRATOR,
        path="/aws-service-role/s3.data-source.lustre.fsx.amazonaws.com/",
    )
    yield Principal(name="root", arn=f"arn:aws:iam::{account}:root", policies=[ADMINISTRATOR])


def services(system: Simulated) -> Iterator[Principal]:
    """AWS services, each by itself."""
    yield from map(system.service, SERVICES)
