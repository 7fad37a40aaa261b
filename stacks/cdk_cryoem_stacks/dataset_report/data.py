"""Reads what a report is made of: the hooks' records, the receipt in the landing bucket, the lanes. Changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ..operate.ask import Failed, ask, find
from ..operate.find import Clients, System, storage
from ..operate.land import KIND, unknown
from ..operate.records import Records
from ..paid import KIND as NODE_LIFE
from .model import Given, Lane

if TYPE_CHECKING:
    from cdk_cryoem.instances import InstanceShape

    from ..config import Config

DATASETS_PREFIX = "datasets/"
MANIFEST = "LaneManifest"
"""Output of the cluster's stack: the SSM parameter with the lanes."""
_R = TypeVar("_R")


def read(clients: Clients, found: System, dataset: str, *, lanes: Sequence[Lane] | None, at: float) -> Given:
    """Everything there is of a dataset. lanes: those of the configuration file, None to read the manifest. Errors: Failed.

    What may be missing (the receipt, the lanes) is left out, and a note says so.
    """
    records = Records(clients, found.table)
    item = records.item(KIND, dataset)
    if item is None:
        raise Failed(unknown(dataset, (str(each["sk"]) for each in records.items(KIND))))
    notes: list[str] = []

    def unless_missing(what: str, call: Callable[[], _R], default: _R) -> _R:
        try:
            return call()
        except Failed as problem:
            notes.append(f"{what}: {problem}.")
            return default

    document = unless_missing("The receipt in the landing bucket", lambda: _receipt(clients, found, dataset), None)
    none: list[Lane] = []
    shapes = unless_missing("The lanes", lambda: manifest_lanes(clients, found), none) if lanes is None else lanes
    # Jobs are named by their ends, and none ends before the dataset it is of has begun to arrive.
    since = f"{max(0, int(float(item.get('first_at', 0)))):012d}#"
    return Given(
        name=dataset,
        system=found.target.name,
        region=found.target.region,
        at=at,
        item=item,
        receipt=records.item("receipt", dataset),
        document=document,
        jobs=records.items("job", since=since),
        nodes=records.items(NODE_LIFE),
        lanes=shapes,
        notes=notes,
    )


def _receipt(clients: Clients, found: System, dataset: str) -> Mapping[str, Any] | None:
    bucket, key = storage(clients, found.target).landing_bucket, f"{DATASETS_PREFIX}{dataset}.receipt.json"
    body = find(
        "s3:GetObject", lambda: clients.s3.get_object(Bucket=bucket, Key=key)["Body"].read(), unless=("NoSuchKey",)
    )
    if body is None:
        return None
    try:
        document = json.loads(body)
    except ValueError as error:
        raise Failed(f"s3://{bucket}/{key} is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise Failed(f"s3://{bucket}/{key} is no receipt")
    return document


def manifest_lanes(clients: Clients, found: System) -> list[Lane]:
    """The lanes as the hooks have them, by the output of the cluster's stack. Errors: Failed."""
    stack = f"{found.target.name}-cluster"
    answer = find(
        "cloudformation:DescribeStacks",
        lambda: clients.cloudformation.describe_stacks(StackName=stack),
        unless=("ValidationError",),
    )
    outputs = answer["Stacks"][0].get("Outputs", []) if answer else []
    parameter = next((each.get("OutputValue", "") for each in outputs if each.get("OutputKey") == MANIFEST), "")
    if not parameter:
        raise Failed(f"there is no stack {stack} with the output {MANIFEST}")
    text = ask("ssm:GetParameter", lambda: clients.ssm.get_parameter(Name=parameter)["Parameter"].get("Value", ""))
    return [of_manifest(entry) for entry in json.loads(text)["lanes"]]


def of_manifest(entry: Mapping[str, Any]) -> Lane:
    """A lane by its entry in the manifest, which has no instance type: the one of that price and so many GPUs, if there is one."""
    # Brings the CDK with it, which takes seconds.
    from cdk_cryoem.instances import instance_shapes

    usd, gpus = float(entry["usd_per_hour"]), int(entry["gpus"])
    shapes = [s for s in instance_shapes().values() if s.gpus == gpus and abs(s.usd_per_hour - usd) < 1e-9]
    models = {shape.gpu_model.lower() for shape in shapes}
    kind = shapes[0].instance_type if len(shapes) == 1 else ""
    return Lane(
        name=str(entry["name"]),
        gpus=gpus,
        vcpus=int(entry["vcpus"]),
        usd_per_hour=usd,
        instance_type=kind,
        gpu_model=models.pop() if len(models) == 1 else "",
        price_of=_said(shapes[0], usd) if kind else "",
    )


def config_lanes(config: Config) -> list[Lane]:
    """The lanes of a configuration file, with the prices it names."""
    return [
        Lane(
            name=lane.name,
            gpus=lane.gpus,
            vcpus=lane.vcpus,
            usd_per_hour=lane.usd_per_hour,
            instance_type=lane.instance_types[0],
            gpu_model=lane.gpu_model,
            price_of=_said(lane.shapes[lane.instance_types[0]], lane.usd_per_hour),
        )
        for lane in config.all_lanes()
    ]


def _said(shape: InstanceShape, usd_per_hour: float) -> str:
    """Region and date of a price, and whether it is of spot capacity."""
    spot = ", spot" if usd_per_hour == shape.spot_usd_per_hour != shape.usd_per_hour else ""
    return f"{shape.price_region}, {shape.price_date}{spot}" if shape.price_date else ""
