#!/usr/bin/env python3
"""Put many configurations through ParallelCluster's own code, in one process and in one account for each region.

    pcluster_many.py CHECK < configurations.json > verdicts.json

CHECK is the path of check.py, whose functions this uses; what is judged and how is the same. It is faster because the account
of a region is made once, for all of its configurations: AWS's answers are then the same for all and stay in the caches of
ParallelCluster. Only where it is asked for is the CloudFormation template synthesised, which takes longest.

Input: {"configurations": {NAME: configuration}, "templates": [NAME]}; NAME, up to a first slash, is the cluster's name.
Reservations must have ids of their own.
Output: {NAME: verdict} as check.py has them, `template_resources` null where none was synthesised.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

made_buckets: set[str] = set()


def load_check(path: str) -> Any:
    """check.py as a module."""
    spec = importlib.util.spec_from_file_location("check", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["check"] = module  # its dataclass looks for its own module
    spec.loader.exec_module(module)
    return module


def keep_what_is_made_anew() -> None:
    """Do once what is done again for every call: parse AWS's policies, make a session, make a client."""
    from moto.iam import models as iam_models
    from pcluster.aws import common
    from pcluster.aws.aws_api import AWSApi
    from pcluster.models.s3_bucket import S3Bucket
    from pcluster.validators import iam_validators

    create = S3Bucket.create_bucket

    def create_bucket(self: S3Bucket) -> None:
        """One bucket for all clusters of an account and region, as it is on AWS."""
        if self.region not in made_buckets:
            create(self)
            made_buckets.add(self.region)

    class Json:
        loads = staticmethod(functools.cache(json.loads))
        dumps = staticmethod(json.dumps)

    def region() -> str:
        return os.environ["AWS_REGION"]

    iam_models.json = Json
    iam_validators.IamClient = lambda: AWSApi.instance().iam
    common._log_boto3_calls = lambda **_: None
    S3Bucket.create_bucket = create_bucket
    for module in list(sys.modules.values()):
        if getattr(module, "get_region", None) is common.get_region and module is not common:
            module.get_region = region
    common.get_region = region


def merged(configurations: list[dict[str, Any]]) -> dict[str, Any]:
    """One tree with all that the configurations name, for the account that has to have it."""
    queues = [queue for each in configurations for queue in each["Scheduling"]["SlurmQueues"]]
    return {"Configurations": configurations, "Scheduling": {"SlurmQueues": queues}}


def judge(check: Any, region: str, configurations: dict[str, dict[str, Any]], templates: set[str]) -> dict[str, Any]:
    """The verdicts on all configurations of a region."""
    os.environ["AWS_DEFAULT_REGION"] = os.environ["AWS_REGION"] = region
    verdicts: dict[str, Any] = {}
    with check.mock_aws(config={"iam": {"load_aws_managed_policies": True}}):
        check.AWSApi.reset()
        check.Cache.clear_all()
        world = check.World(region, merged(list(configurations.values())))
        for name, configuration in configurations.items():
            cluster_name = name.split("/")[0]
            translated = check.rebuild(
                configuration, lambda _, value: world.made.get(value, value) if isinstance(value, str) else value
            )
            cluster, schema = check.load(translated, cluster_name)
            findings = check.validate(cluster) if cluster else []
            of_text, schema_of_text = check.load(check.stringified(translated), cluster_name)
            findings_of_text = check.validate(of_text) if of_text else []
            count = check.resource_count(cluster, cluster_name) if cluster and name in templates else None
            verdicts[name] = {
                "schema": [*schema, *(line + check.STRINGS_ONLY for line in schema_of_text)],
                "findings": [
                    {**found, "message": world.restored(found["message"])}
                    for found in check.unique(
                        [*findings, *(found for found in findings_of_text if check.is_error(found))]
                    )
                ],
                "template_resources": count,
                "strings_ok": not schema_of_text and not any(map(check.is_error, findings_of_text)),
            }
    return verdicts


def main() -> None:
    """Judge what comes on standard input."""
    given = json.load(sys.stdin)
    configurations: dict[str, dict[str, Any]] = given["configurations"]
    check = load_check(str(Path(sys.argv[1]).resolve()))
    logging.getLogger("pcluster").addHandler(logging.NullHandler())
    logging.getLogger("pcluster").propagate = False
    asyncio.set_event_loop(asyncio.new_event_loop())
    check.patch()
    keep_what_is_made_anew()
    by_region: dict[str, dict[str, Any]] = {}
    for name, configuration in configurations.items():
        by_region.setdefault(configuration["Region"], {})[name] = configuration
    verdicts: dict[str, Any] = {}
    for region, group in by_region.items():
        verdicts |= judge(check, region, group, set(given["templates"]))
    json.dump({name: verdicts[name] for name in configurations}, sys.stdout)


if __name__ == "__main__":
    main()
