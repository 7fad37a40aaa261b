"""Look at the truth and converge. Hooks and the sweeper call the same functions; acting twice changes nothing."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import boto3

from . import datasets, nodes
from .head_node import CommandFailed, HeadNode
from .hints import log
from .jobs import Job, Lane, price_usd
from .records import Records
from .settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_ssm import SSMClient

PLATFORM_EVENT_SOURCE = "cryoem.platform"
DATASET_LANDED = "Dataset Landed"
# What the head node's documents accept as a name.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class World:
    """Everything a hook can see and touch."""

    settings: Settings
    records: Records
    head_node: HeadNode
    s3: S3Client
    ssm: SSMClient
    events: EventBridgeClient

    def manifest(self) -> tuple[str, list[Lane]]:
        """Fingerprint and lanes of the lane manifest."""
        text = self.ssm.get_parameter(Name=self.settings.manifest_parameter)["Parameter"]["Value"]
        return hashlib.sha256(text.encode()).hexdigest(), [Lane.parse(lane) for lane in json.loads(text)["lanes"]]


@functools.cache
def world() -> World:
    """The real one, made once for a warm function."""
    settings = Settings.from_environment()
    ssm = boto3.client("ssm")
    return World(
        settings=settings,
        records=Records(settings.records_table, dynamodb=boto3.client("dynamodb")),
        head_node=HeadNode(settings.head_node, ec2=boto3.client("ec2"), ssm=ssm),
        s3=boto3.client("s3"),
        ssm=ssm,
        events=boto3.client("events"),
    )


def converge_datasets(w: World, names: Iterable[str]) -> None:
    """Count what S3 holds of the datasets, decide which have landed, wake the head node for what has arrived."""
    empty_transfers = w.records.empty_transfers(w.settings.ingest_tasks)
    looks: list[tuple[str, datasets.Seen, datasets.Verdict, float]] = []
    wanted = False
    for name in sorted(set(names)):
        now = time.time()
        seen = datasets.look(_objects(w, name), sentinel=w.settings.sentinel)
        if seen is None:
            continue
        known = w.records.dataset(name)
        verdict = datasets.judge(
            seen,
            known_objects=int(known.get("objects", 0)),
            known_state=known.get("state"),
            now=now,
            quiet_minutes=w.settings.quiet_minutes,
            empty_transfers=empty_transfers,
        )
        wanted = wanted or verdict.grown or verdict.state != known.get("state")
        looks.append((name, seen, verdict, now))
    # Before anything is written down: whoever fails here sees the same growth again.
    if wanted:
        _wake(w)
    for name, seen, verdict, now in looks:
        w.records.note_dataset(name, seen, verdict, now=now)
        log.info("dataset %s: %s objects, %s (%s)", name, seen.objects, verdict.state, verdict.reason)


def announce_landed(w: World) -> None:
    """Say of every dataset that has landed that it has, once; again if it is not known that it was said."""
    for item in w.records.datasets():
        if item["state"] != "landed" or "announced_at" in item:
            continue
        detail = {
            "version": 1,
            "cluster": w.settings.cluster,
            "dataset": item["sk"],
            "objects": item["objects"],
            "movies": item["movies"],
            "bytes": item["size_bytes"],
            "reason": item["reason"],
            "landed_at": item["landed_at"],
        }
        answer = w.events.put_events(
            Entries=[
                {
                    "EventBusName": w.settings.event_bus,
                    "Source": PLATFORM_EVENT_SOURCE,
                    "DetailType": DATASET_LANDED,
                    "Detail": json.dumps(detail),
                }
            ]
        )
        if answer["FailedEntryCount"]:
            raise RuntimeError(f"EventBridge did not take the event: {answer['Entries']}")
        w.records.mark_dataset(item["sk"], "announced_at")


def converge_lanes(w: World) -> None:
    """Give cryoSPARC and RELION the lanes of the manifest. Nothing to do while the head node sleeps."""
    if not w.head_node.running:
        log.info("head node is not running; lanes wait until it is")
        return
    fingerprint, _ = w.manifest()
    has = w.head_node.run(w.settings.register_lanes_document, {"Mode": "show", "ManifestSha256": fingerprint})
    if has["registered"] != has["wanted"]:
        has = w.head_node.run(w.settings.register_lanes_document, {"Mode": "converge", "ManifestSha256": fingerprint})
        log.info("lanes: %s", json.dumps(has["changes"]))
    w.records.note_lanes(manifest=fingerprint, lanes=sorted(has["registered"]), now=time.time())


def wake_for_processing(w: World) -> None:
    """Start the head node if a dataset waits for its recipe: no event comes again for what has landed."""
    if w.settings.recipe and any(i["state"] == "landed" and "processing_at" not in i for i in w.records.datasets()):
        _wake(w)


def converge_processing(w: World) -> None:
    """See to it that the recipe runs, or has run, on every dataset that has landed."""
    if not w.settings.recipe:
        return
    failed: list[str] = []
    for item in w.records.datasets():
        name = str(item["sk"])
        if item["state"] != "landed" or "processing_at" in item or not w.head_node.running:
            continue
        if not _NAME.fullmatch(name):
            log.warning("dataset %r: not started, its name has characters that no command may carry", name)
            w.records.mark_dataset(name, "processing_at")
            continue
        wanted = {"Dataset": name, "Recipe": w.settings.recipe, "Objects": str(item["objects"])}
        try:
            state = w.head_node.run(w.settings.start_processing_document, wanted)["state"]
        except CommandFailed as error:
            # The others need not wait for it.
            failed.append(f"{name}: {error}")
            continue
        log.info("processing of %s: %s", name, state)
        # Until it has finished, each sweep asks again: a recipe that died with the head node is started anew.
        if state in ("finished", "failed"):
            w.records.mark_dataset(name, "processing_at")
        if state == "failed":
            failed.append(f"{name}: the recipe {w.settings.recipe} failed three times; its log is beside its results")
    if failed:
        raise CommandFailed("; ".join(failed))


def note_jobs(w: World, finished: Iterable[Job]) -> None:
    """Price finished jobs and write each down once."""
    _, lanes = w.manifest()
    by_name = {lane.name: lane for lane in lanes}
    for job in finished:
        lane = by_name.get(job.lane)
        fields: dict[str, str | int | float] = {
            "name": job.name,
            "user": job.user,
            "project": job.project,
            "lane": job.lane,
            "state": job.state,
            "submitted_at": job.submitted_at,
            "started_at": job.started_at,
            "ended_at": job.ended_at,
            "nodes": job.nodes,
            "gpus": job.tres.get("gres/gpu", 0.0),
            "cpus": job.tres.get("cpu", 0.0),
            "seconds": job.seconds,
        }
        if lane is not None:
            fields["usd"] = round(price_usd(job, lane), 6)
        if w.records.note_job(job_id=job.job_id, ended_at=job.ended_at, fields=fields):
            log.info("job %s on %s: %s, %s s, %s USD", job.job_id, job.lane, job.state, job.seconds, fields.get("usd"))


def converge_nodes(w: World) -> nodes.Status | None:
    """Power down what nobody needs. Returns what Slurm said, None while the head node sleeps."""
    if not w.head_node.running:
        return None
    _, lanes = w.manifest()
    status = nodes.Status.parse(w.head_node.run(w.settings.slurm_status_document))
    idle = nodes.to_power_down(status, lanes)
    if idle:
        fenced = ",".join(f"{node.name}={node.epoch}" for node in idle[:100])
        done = w.head_node.run(w.settings.power_down_document, {"Nodes": fenced})
        log.info("power down: %s", json.dumps(done))
    return status


def converge_head_node(w: World, status: nodes.Status | None) -> None:
    """Stop the head node when nobody would miss it."""
    if status is None or not w.settings.stop_head_node_after_minutes:
        return
    state, started_at = w.head_node.look()
    known = list(w.records.datasets())
    last_activity = max([started_at, w.records.last_job_ended_at(), *(float(item["last_at"]) for item in known)])
    if state == "running" and nodes.head_node_may_stop(
        status,
        after_minutes=w.settings.stop_head_node_after_minutes,
        datasets_arriving=sum(item["state"] == "arriving" for item in known),
        last_activity=last_activity,
        now=time.time(),
    ):
        log.info("head node %s: nothing to do since %s, stopping it", w.settings.head_node, last_activity)
        w.head_node.sleep()


def arriving(w: World) -> list[str]:
    """Datasets that are known and have not landed yet."""
    return [item["sk"] for item in w.records.datasets() if item["state"] == "arriving"]


def not_landed(w: World) -> list[str]:
    """Datasets that S3 has and that have not landed, also those of which every event was lost."""
    landed = {item["sk"] for item in w.records.datasets() if item["state"] == "landed"}
    pages = w.s3.get_paginator("list_objects_v2").paginate(
        Bucket=w.settings.landing_bucket, Prefix=datasets.DATASETS_PREFIX, Delimiter="/"
    )
    found = [prefix["Prefix"] for page in pages for prefix in page.get("CommonPrefixes", [])]
    names = [prefix.removeprefix(datasets.DATASETS_PREFIX).removesuffix("/") for prefix in found]
    return [name for name in names if name and name not in landed]


def _wake(w: World) -> None:
    if w.head_node.wake():
        log.info("head node %s was stopped and has been started", w.settings.head_node)


def _objects(w: World, dataset: str) -> Iterator[tuple[str, int, float]]:
    pages = w.s3.get_paginator("list_objects_v2").paginate(
        Bucket=w.settings.landing_bucket, Prefix=f"{datasets.DATASETS_PREFIX}{dataset}/"
    )
    for page in pages:
        for found in page.get("Contents", []):
            yield found["Key"], found["Size"], found["LastModified"].timestamp()
