"""What the hooks cost for a dataset, from landing to receipt: calls of the shipped handlers are counted, and priced at list prices.

AWS is the fakes of the handlers' own tests, with S3's pages of 1,000. How long a function runs on Lambda is assumed: a twentieth
of a second, and `_CALL_SECONDS` for each call, `_AT_ONCE` of them at a time where the code has threads. Throughput is measured, as
ratios to the smallest dataset.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import pkgutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "lambda_handlers"))

from fakes import Aws, batch, object_created
from receipt_world import TASK, moment, stamp

import cdk_cryoem_lambda
from cdk_cryoem_lambda import dataset_hook, receipt_hook
from cdk_cryoem_lambda.reconcile import datasets
from cdk_cryoem_lambda.world import world

PRICES: Mapping[str, float] = {
    "s3 list, put": 0.005 / 1000,
    "s3 get, head": 0.0004 / 1000,
    "sqs": 0.40 / 1e6,
    "eventbridge": 1.00 / 1e6,
    "lambda requests": 0.20 / 1e6,
    "lambda GB-s": 0.0000133334,
    "dynamodb writes": 0.625 / 1e6,
    "dynamodb reads": 0.125 / 1e6,
}
"""USD for one, us-east-1, list prices of November 2026: S3 Standard requests, SQS standard queues, custom events of EventBridge
(those of AWS services cost nothing), Lambda on arm64, DynamoDB on demand."""
_CALL_SECONDS, _BASE_SECONDS, _AT_ONCE = 0.03, 0.05, 32
_WINDOW, _SWEEP, _BATCH = 20, 300, 100
_HOUR, _DAY = 3600, 24 * 3600
_SIZE = 300_000_000
_SIZES = (1_000, 10_000, 100_000)


@dataclass
class Bill:
    """What was used, by the names of PRICES."""

    used: Counter[str] = field(default_factory=Counter)
    seconds: float = _BASE_SECONDS

    def call(self, what: str, number: float = 1, *, at_once: int = 1) -> None:
        """A call of a service, which the function waits for."""
        self.used[what] += number  # type: ignore[assignment]
        self.seconds += _CALL_SECONDS / at_once

    def invocation(self, gigabytes: float) -> None:
        """A function has ended: its seconds are billed."""
        self.used["lambda requests"] += 1
        self.used["lambda GB-s"] += self.seconds * gigabytes  # type: ignore[assignment]
        self.seconds = _BASE_SECONDS

    def usd(self) -> float:
        """At list prices."""
        return sum(PRICES[what] * number for what, number in self.used.items())


class S3:
    """A landing bucket that only grows, in the order of its keys: what is asked of it is counted."""

    def __init__(self, bill: Bill) -> None:
        self._bill = bill
        self.objects: list[dict[str, Any]] = []
        self.others: dict[str, bytes] = {}

    def add(self, name: str, at: float) -> None:
        """Another movie of dataset d."""
        key = f"datasets/d/{name}"
        self.objects.append(
            {
                "Key": key,
                "Size": _SIZE,
                "LastModified": moment(at),
                "IsLatest": True,
                "VersionId": f"v{len(self.objects)}",
            }
        )

    def get_paginator(self, call: str) -> Any:
        """As boto3 has it, like all below."""
        return _Pages(self, call)

    def pages(self, call: str, prefix: str, delimiter: str) -> Iterator[dict[str, Any]]:
        """A listing, a thousand a page."""
        if delimiter:
            self._bill.call("s3 list, put")
            yield {"CommonPrefixes": [{"Prefix": "datasets/d/"}] if self.objects else []}
            return
        rows = self.objects
        if not prefix.startswith("datasets/d/"):
            rows = [
                {"Key": key, "Size": 1, "LastModified": moment(1e9)} for key in self.others if key.startswith(prefix)
            ]
            rows = [{**row, "LastModified": self.objects[-1]["LastModified"]} for row in rows]
        name = "Contents" if call == "list_objects_v2" else "Versions"
        for start in range(0, max(1, len(rows)), 1000):
            self._bill.call("s3 list, put")
            yield {name: rows[start : start + 1000]}

    def get_object(self, **given: Any) -> dict[str, Any]:
        """A report, or a manifest."""
        self._bill.call("s3 get, head", at_once=8)
        return {"Body": _Body(self.others[given["Key"]])}

    def head_object(self, **_: Any) -> dict[str, Any]:
        """The checksum of a version."""
        self._bill.call("s3 get, head", at_once=_AT_ONCE)
        return {"ChecksumCRC64NVME": "AAAAAAAAAAA="}

    def put_object(self, **given: Any) -> dict[str, Any]:
        """A manifest, or a receipt."""
        self._bill.call("s3 list, put")
        self.others[given["Key"]] = given["Body"]
        return {"VersionId": "m1"}


@dataclass(frozen=True)
class _Body:
    content: bytes

    def read(self) -> bytes:
        """All of it."""
        return self.content


@dataclass(frozen=True)
class _Pages:
    s3: S3
    call: str

    def paginate(self, **given: Any) -> Iterator[dict[str, Any]]:
        """The pages."""
        return self.s3.pages(self.call, given["Prefix"], given.get("Delimiter", ""))


class _Counted:
    """A client of the fakes whose calls are put on the bill."""

    def __init__(self, client: Any, bill: Bill, prices: Mapping[str, tuple[str, int]]) -> None:
        self._client, self._bill, self._prices = client, bill, prices

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if name == "get_paginator":
            return lambda call: self
        if name not in self._prices:
            return found
        what, number = self._prices[name]

        def call(**given: Any) -> Any:
            # What is written in one transaction costs twice (DynamoDB developer guide).
            items = len(given.get("TransactItems", given.get("Entries", [None])))
            self._bill.call(what, number * items)
            return found(**given)

        return call


_DYNAMODB = {
    "get_item": ("dynamodb reads", 1),
    "paginate": ("dynamodb reads", 2),
    "query": ("dynamodb reads", 1),
    "put_item": ("dynamodb writes", 1),
    "delete_item": ("dynamodb writes", 1),
    "update_item": ("dynamodb writes", 1),
    "transact_write_items": ("dynamodb writes", 2),
}


class System:
    """The shipped handlers, a clock, and the bill."""

    def __init__(self) -> None:
        self.aws, self.bill = Aws(), Bill()
        self.s3 = S3(self.bill)
        self.aws.s3 = self.s3  # type: ignore[assignment]
        self.aws.ssm.parameters["/cryo/lanes"] = json.dumps({"version": 1, "cluster": "cryo", "lanes": []})
        counted = {
            "dynamodb": _Counted(self.aws.dynamodb, self.bill, _DYNAMODB),
            "events": _Counted(self.aws.events, self.bill, {"put_events": ("eventbridge", 1)}),
            "sqs": _Counted(self.aws.sqs, self.bill, {"receive_message": ("sqs", 1)}),
        }
        boto3.client = lambda service, config=None: counted.get(service) or self.aws.client(service)  # type: ignore[assignment,misc]
        os.environ.update(_ENVIRONMENT)
        for found in pkgutil.walk_packages(cdk_cryoem_lambda.__path__, "cdk_cryoem_lambda."):
            module = importlib.import_module(found.name)
            if "time" in vars(module) and hasattr(module.time, "monotonic"):
                module.time = self.aws.clock  # type: ignore[attr-defined]
        world.cache_clear()
        receipt_hook.keeper.cache_clear()

    @property
    def now(self) -> float:
        """What the clock shows."""
        return self.aws.clock.now

    def sweep(self) -> None:
        """The sweeper's look at datasets."""
        datasets.reconcile(world(), datasets.of_sweep(world()))
        self.bill.invocation(0.5)

    def hints(self, names: list[str]) -> None:
        """Object Created events, in as few batches as Lambda makes of them."""
        for start in range(0, len(names), _BATCH):
            some = names[start : start + _BATCH]
            # Each is sent; ten at a time are received and deleted.
            self.bill.used["sqs"] += len(some) + 2 * -(-len(some) // 10)
            dataset_hook.handler(batch(*[object_created(f"datasets/d/{name}") for name in some]), None)
            self.bill.invocation(0.5)

    def transfer(self, names: list[str], *, began: float, told: bool = True) -> None:
        """An execution of DataSync ends: its reports are written, both hooks are told. told: the receipt hook too."""
        execution = f"exec-{int(began):x}"
        arn = f"{TASK}/execution/{execution}"
        self.aws.datasync.executions[arn] = {
            "StartTime": moment(began),
            "FilesTransferred": len(names),
            "Status": "SUCCESS",
        }
        self._report(execution, names, began)
        self.bill.used["sqs"] += 2 * 3
        dataset_hook.handler(
            batch({"source": "aws.datasync", "resources": [TASK, arn], "detail": {"State": "SUCCESS"}}), None
        )
        self.bill.invocation(0.5)
        if told:
            self.receipts()

    def receipts(self) -> None:
        """The receipt hook, for whatever reason."""
        self.bill.used["sqs"] += 3
        answer = receipt_hook.handler(batch({"source": "aws.events"}), None)
        assert not answer["batchItemFailures"], "a receipt failed"
        self.bill.invocation(2.0)

    def _report(self, execution: str, names: list[str], began: float) -> None:
        folder = f"datasync-reports/Detailed-Reports/{TASK.rpartition('/')[2]}/{execution}/{execution}"
        versions = {each["Key"]: each["VersionId"] for each in self.s3.objects[-len(names) :]} if names else {}
        digest = hashlib.sha256(b"movie").hexdigest()
        source = {"Type": "Regular", "ContentSize": _SIZE, "Mtime": stamp(began - 60)}
        # Below 5 MB a file, as DataSync splits them.
        for part, start in enumerate(range(0, max(1, len(names)), 8000)):
            some = names[start : start + 8000]
            told = [
                {
                    "RelativePath": f"/d/{name}",
                    "SrcMetadata": source,
                    "DstS3VersionId": versions[f"datasets/d/{name}"],
                    "TransferTimestamp": stamp(self.now - 2),
                    "TransferStatus": "SUCCESS",
                }
                for name in some
            ]
            checked = [
                {"RelativePath": f"/d/{name}", "SrcChecksum": digest, "DstChecksum": digest}
                | {"VerifyTimestamp": stamp(self.now - 1), "VerifyStatus": "SUCCESS"}
                for name in some
            ]
            for kind, rows in (("transferred", told), ("verified", checked)):
                key = f"{folder}.files-{kind}-v1-{part:05}.json"
                self.s3.others[key] = json.dumps({"TaskExecutionId": execution, kind.title(): rows}).encode()


_ENVIRONMENT = {
    "RECORDS_TABLE": "records", "EVENT_BUS": "bus", "CLUSTER": "cryo", "HEAD_NODE": "i-head",
    "MANIFEST_PARAMETER": "/cryo/lanes", "LANDING_BUCKET": "landing", "INGEST_TASKS": json.dumps([TASK]),
    "SLURM_STATUS_DOCUMENT": "s", "POWER_DOWN_DOCUMENT": "p", "REGISTER_LANES_DOCUMENT": "r", "START_PROCESSING_DOCUMENT": "t",
    "STOP_HEAD_NODE_DOCUMENT": "h", "LIVE_SESSIONS_DOCUMENT": "l", "PAUSE_LIVE_SESSION_DOCUMENT": "u", "QUIET_MINUTES": "180",
    "SENTINEL": "", "RECIPE": "", "STOP_HEAD_NODE_AFTER_MINUTES": "0", "WAITING": "", "AWAKE": "",
    "INSTANCE_TAG": "parallelcluster:cluster-name=cryo", "SYSTEM": "", "LIVE_IDLE_MINUTES": "60", "QUEUES": "[]",
    "NOT_SAFE_AFTER_HOURS": "24", "DEAD_LETTERS": "dead", "REPORTS_PREFIX": "datasync-reports/", "AWS_DEFAULT_REGION": "us-east-1",
}  # fmt: skip


def acquisition(movies: int, *, minutes: int) -> Bill:
    """A day in which so many movies are acquired, a transfer each hour that takes so many minutes, until the receipt."""
    system = System()
    began = start = system.now
    made = 0
    swept = looked = start
    while not system.aws.said("Dataset Safe"):
        if system.now - start > 2 * _DAY:
            raise RuntimeError("there is no receipt after two days")
        system.aws.clock.now += _WINDOW
        hour, second = divmod(system.now - start, _HOUR)
        if second < _WINDOW:
            began = system.now
        # What was acquired in the hour before is copied evenly in the first minutes of this one.
        share = min(1.0, (second + _WINDOW) / (minutes * 60))
        wanted = min(movies, int(movies * min(24.0, hour + share) / 24))
        names = [f"FoilHole_{n:07}_Fractions.mrc" for n in range(made, wanted)]
        for name in names:
            system.s3.add(name, system.now - 1)
        made = wanted
        system.hints(names)
        if second >= _HOUR - _WINDOW:
            first = int(movies * min(24.0, hour) / 24)
            system.transfer([f"FoilHole_{n:07}_Fractions.mrc" for n in range(first, made)], began=began)
        if system.now - swept >= _SWEEP:
            swept = system.now
            system.sweep()
        if system.now - looked >= 3 * _SWEEP:
            looked = system.now
            system.receipts()
    return system.bill


def seconds(objects: int) -> float:
    """Processor seconds of the receipt hook for a dataset that has just landed; AWS answers at once."""
    system = System()
    names = [f"FoilHole_{n:07}_Fractions.mrc" for n in range(objects)]
    for name in names:
        system.s3.add(name, system.now)
    system.aws.clock.now += 60
    system.transfer(names, began=system.now - 60)
    system.aws.clock.now += _HOUR
    system.sweep()
    system.transfer([], began=system.now - 60, told=False)
    system.aws.clock.now += _HOUR
    began = time.process_time()
    system.receipts()
    taken = time.process_time() - began
    assert system.aws.said("Dataset Safe"), "no receipt"
    return taken


def main() -> None:
    """Print the tables."""
    taken = [seconds(size) for size in _SIZES]
    print(f"{'files':>8}  {'a manifest, relative to 1,000':>30}  {'files a processor second':>20}")
    for size, each in zip(_SIZES, taken, strict=True):
        print(f"{size:>8,}  {each / taken[0]:>30.1f}  {size / each:>20,.0f}")
    for minutes, words in ((15, "copied within 15 minutes of each hour"), (60, "copied all day long")):
        bills = [acquisition(size, minutes=minutes) for size in _SIZES[1:]]
        print(f"\nUSD for all hooks, a day of acquisition {words}, until the receipt:")
        print(f"{'':>18}" + "".join(f"{size:>22,}" for size in _SIZES[1:]))
        for what, price in PRICES.items():
            print(f"{what:>18}" + "".join(f"{b.used[what]:>12,.0f} {b.used[what] * price:>9.4f}" for b in bills))
        print(f"{'USD':>18}" + "".join(f"{b.usd():>22.4f}" for b in bills))


if __name__ == "__main__":
    main()
