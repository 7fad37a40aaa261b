"""The second copy of a landing bucket: the emulator's S3 replicates by the template's rule, into a bucket of another account.

That bucket has the policy of examples/second-copy, which the emulator asks about each object. The emulator's CloudFormation
leaves replication rules out, so the template's is handed to S3 here.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import boto3
from botocore.config import Config as BotoConfig
from deployed import Deployed, Json
from emulated import Emulator, System
from movie_ledger import Ledger, LostError

from cdk_cryoem_twin.environment import ACCOUNT as EMULATED
from cdk_cryoem_twin.environment import REGION, Mode, certificate, endpoint

_ROOT = Path(__file__).parents[2]
ACCOUNT = "444455556666"
_EXAMPLES_ACCOUNT = "111122223333"


def settings(bucket: str) -> Json:
    """`landing.replicate_to` of a system whose second copy is in this bucket."""
    key = f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555"
    return {"bucket_arn": f"arn:aws:s3:::{bucket}", "key_arn": key, "account": ACCOUNT}


class SecondCopy:
    """The bucket over there. its: a client of the other account's root."""

    def __init__(self, system: System) -> None:
        (rule,) = _replication(system)["Rules"]
        self.bucket = str(rule["Destination"]["Bucket"]).rpartition(":")[2]
        self.its: Any = _other_account(system.emulator)
        self._there: dict[str, set[str]] = {}
        self._digests: dict[tuple[str, str], str] = {}
        self.its.create_bucket(Bucket=self.bucket)
        self.its.put_bucket_versioning(Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"})
        self.its.put_bucket_policy(Bucket=self.bucket, Policy=json.dumps(_policy(self.bucket, system)))
        self.follow(system)

    def follow(self, system: System) -> None:
        """S3 replicates by the rule that is deployed now."""
        given = _replication(system)
        rules = [
            {
                "ID": rule["Id"],
                "Priority": rule["Priority"],
                "Status": rule["Status"],
                "Filter": {"Prefix": rule["Filter"]["Prefix"]},
                "DeleteMarkerReplication": rule["DeleteMarkerReplication"],
                "Destination": {
                    "Bucket": rule["Destination"]["Bucket"],
                    "Account": rule["Destination"]["Account"],
                    "AccessControlTranslation": rule["Destination"]["AccessControlTranslation"],
                    "StorageClass": rule["Destination"]["StorageClass"],
                },
            }
            for rule in given["Rules"]
        ]
        system.emulator.make("s3").put_bucket_replication(
            Bucket=system.landing_bucket, ReplicationConfiguration={"Role": given["Role"], "Rules": rules}
        )

    def look(self, ledger: Ledger) -> None:
        """Every version that landed is there with its bytes, and nothing of it is hidden or goes again. Errors: LostError."""
        now: dict[tuple[str, str], str] = {}
        for page in self.its.get_paginator("list_object_versions").paginate(Bucket=self.bucket):
            if page.get("DeleteMarkers"):
                raise LostError(f"a delete marker hides the second copy of {page['DeleteMarkers'][0]['Key']}")
            for found in page.get("Versions", []):
                version = (found["Key"], found["VersionId"])
                now[version] = self._digests.get(version) or self._digest(*version)
        gone = sorted(set(self._digests) - set(now))
        if gone:
            raise LostError(f"{len(gone)} second copies are gone, {gone[0]} for one")
        self._digests = now
        there = {(key, digest) for (key, _), digest in now.items()}
        missing = sorted(version for version, digest in ledger.landed.items() if (version[0], digest) not in there)
        if missing:
            raise LostError(f"{len(missing)} versions have no second copy, {missing[0]} for one")

    def _digest(self, key: str, version: str) -> str:
        body = self.its.get_object(Bucket=self.bucket, Key=key, VersionId=version)["Body"].read()
        return hashlib.sha256(body).hexdigest()


def _replication(system: System) -> Json:
    """The landing bucket's, from the template."""
    deployed: Deployed = system.deployed
    (found,) = (
        bucket["ReplicationConfiguration"]
        for stack, logical, bucket in deployed.of_type("AWS::S3::Bucket")
        if deployed.name(stack, logical) == system.landing_bucket
    )
    return dict(found)


@cache
def _example() -> Json:
    with TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        command = [sys.executable, str(_ROOT / "examples" / "second-copy" / "app.py")]
        subprocess.run(command, cwd=folder, env={**os.environ, "CDK_OUTDIR": str(out)}, check=True, timeout=120)
        return dict(json.loads((out / "second-copy.template.json").read_text()))


def _policy(bucket: str, system: System) -> Json:
    """The policy of the example's bucket, with this bucket's name, the emulator's account and this system's name in the role's."""
    template = _example()
    (policy,) = (r for r in template["Resources"].values() if r["Type"] == "AWS::S3::BucketPolicy")
    (logical,) = (name for name, r in template["Resources"].items() if r["Type"] == "AWS::S3::Bucket")
    deployed = Deployed({"second-copy": template}, account=ACCOUNT, physical={("second-copy", logical): bucket})
    document = json.dumps(deployed.value(policy["Properties"]["PolicyDocument"], "second-copy"))
    (stack,) = (name for name in system.stacks if name.endswith("-storage"))
    for word, here in ((_EXAMPLES_ACCOUNT, EMULATED), (":role/cryoem-storage-", f":role/{stack}-")):
        assert word in document
        document = document.replace(word, here)
    return dict(json.loads(document))


def _other_account(emulator: Emulator) -> Any:
    """S3 as the root of the other account: the emulator takes twelve digits as an access key for that."""
    mode = Mode(strict=True)
    return boto3.client(
        "s3",
        endpoint_url=endpoint(emulator.places, mode),
        verify=str(certificate(emulator.places)),
        region_name=REGION,
        aws_access_key_id=ACCOUNT,
        aws_secret_access_key="test",
        config=BotoConfig(proxies={}, retries={"max_attempts": 1}, s3={"addressing_style": "path"}),
    )
