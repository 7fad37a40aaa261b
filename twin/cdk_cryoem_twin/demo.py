"""The demo: the reference architecture at work, stage by stage, each proven by what the running system says."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from . import fsc, lifecycle, timeline
from .acquisition import acquire
from .environment import Mode, client_environment
from .microscope import share_of
from .observer import Observer
from .places import Places
from .summary import LaneFacts, Summary, job_rows, summarise
from .waiting import GaveUp, wait_for

_DATASET = "krios-2026-03-17-grid1"
_JOBS = 4


class StageFailed(Exception):
    """A stage of the demo failed: which, why, where to look, what to try."""


class Demo:
    """One run from nothing. Killing it at any moment is harmless: the next run starts from nothing again."""

    def __init__(
        self, places: Places, mode: Mode, *, config: Path, output: Path, movies: int, console: Console
    ) -> None:
        self.places, self.mode, self.config, self.output, self.movies = places, mode, config, output, movies
        self.console = console
        self._began = time.monotonic()
        self._done: list[tuple[str, str, float]] = []
        self._stage = ""
        self._note = ""
        self._live: Live | None = None
        self._observer: Observer | None = None

    def run(self) -> Summary:
        """All stages. Errors: StageFailed."""
        self.output.mkdir(parents=True, exist_ok=True)
        with Live(self, console=self.console, refresh_per_second=4) if self.console.is_terminal else _nothing() as live:
            self._live = live
            try:
                summary = self._stages()
            finally:
                if self._observer is not None:
                    self._observer.stop()
        self._report(summary)
        return summary

    def _stages(self) -> Summary:
        places, truth = self.places, self.places.root / "truth.mrc"
        with self._in("deploy the stacks", log="cdk-deploy"):
            lifecycle.down(places)
            lifecycle.up(places, self.mode, self._say, config=self.config)
            outputs = lifecycle.outputs(places)
            make = lifecycle.clients(places, self.mode)
            seen = self._observer = Observer(places, make, outputs)
            seen.start()
            self._say(f"5 stacks, head node {outputs['HeadNode']}")
        with self._in("the head node sleeps", log="head-node"):
            make("ec2").stop_instances(InstanceIds=[outputs["HeadNode"]])
            self._until(lambda: self._power("stopped"), "EC2 to say that the head node stopped", 60)
            self._say("stopped, costs nothing but its disk")
        with self._in("the microscope takes movies", log="emulator"):
            made = acquire(share_of(places, make, outputs["TaskKrios"]) / _DATASET, truth=truth, movies=self.movies)
            files = sum(path.is_file() for path in made.root.rglob("*"))
            self._say(f"{len(made.movies)} movies, {files} files on its share")
        with self._in("DataSync: share to landing bucket", log="emulator"):
            first, second = self._transfer(make, outputs["TaskKrios"]), self._transfer(make, outputs["TaskKrios"])
            if (first, second) != (files, 0):
                raise GaveUp(f"DataSync copied {first} and then {second} files, expected {files} and 0")
            landed_keys = seen.objects(outputs["LandingBucket"], f"datasets/{_DATASET}/")
            self._say(f"{len(landed_keys)} objects in S3, verified; nothing left to transfer")
        with self._in("FSx: the movies appear under /fsx/data", log="emulator"):
            data = places.file_systems / outputs["FileSystemId"] / "data" / _DATASET
            self._until(lambda: sum(p.is_file() for p in data.rglob("*")) == files, "the import of every object", 60)
            self._say(f"{files} files")
        with self._in("dataset hook: landed, head node woken", log="emulator"):
            record = self._until(lambda: self._dataset("landed"), "the dataset's record to say landed", 90)
            self._until(lambda: self._power("running", after="stopped"), "EC2 to say that the head node runs", 90)
            self._until(lambda: seen.seen("cryoem.platform", "Dataset Landed"), "the event Dataset Landed", 60)
            self._say(f"{record['objects']} objects, {record['reason']}")
        with self._in("lane hook: lanes launched in cryoSPARC and RELION", log="emulator"):
            lanes = self._until(lambda: seen.records("lanes"), "the lanes' record", 180)[0]
            self._say(", ".join(lanes["lanes"]))
        with self._in("RELION and cryoSPARC jobs on nodes that boot for them", log="slurmctld"):
            self._until(self._jobs_finished, f"{_JOBS} finished jobs in the records", 420)
            rows = job_rows(seen.records("job"))
            wrong = [row for row in rows if row.state != "COMPLETED"]
            if wrong:
                raise GaveUp(f"job {wrong[0].job_id} ({wrong[0].name}) on lane {wrong[0].lane} is {wrong[0].state}")
            self._say(f"{len(rows)} jobs completed and priced")
        with self._in("node hook: nodes shut down", log="slurmctld"):
            spans = self._until(self._nodes_off, "every node to be off", 120)
            self._say(f"{len(spans)} nodes were launched, Slurm has none left")
        with self._in("results in S3, compared with the truth", log="emulator"):
            key = f"projects/{_DATASET}/Reconstruct/map.mrc"
            self._until(lambda: key in seen.objects(outputs["ResultsBucket"], "projects/"), f"the export of {key}", 60)
            found = self.output / "map.mrc"
            make("s3").download_file(outputs["ResultsBucket"], key, str(found))
            agreement = fsc.compare(found, truth)
            fsc.figure(agreement, found, truth, self.output / "map-against-truth.png")
            if not agreement.passed:
                raise GaveUp(f"the map agrees with the truth only to {agreement.resolution_angstrom:.1f} Å")
            self._say(f"FSC 0.5 at {agreement.resolution_angstrom:.1f} Å")
        with self._in("timeline and table", log="emulator"):
            facts = self._lanes(make, outputs)
            rows = job_rows(seen.records("job"))
            summary = summarise(rows, spans, facts, now=time.time())
            picture = timeline.Run(
                dataset=_DATASET,
                objects=[
                    e.at for e in seen.seen("aws.s3") if e.detail["object"]["key"].startswith(f"datasets/{_DATASET}/")
                ],
                landed=float(record["landed_at"]),
                head_node=[(e.at, e.detail["state"]) for e in seen.seen("aws.ec2") if self._is_head(e.detail)],
                lanes_registered=float(lanes["looked_at"]),
                nodes=spans,
                summary=summary,
                resolution_angstrom=agreement.resolution_angstrom,
            )
            svg = timeline.draw(picture, self.output / "timeline.png")
            timeline.page(picture, svg, self.output / "map-against-truth.png", self.output / "timeline.html")
            (self.output / "events.json").write_text(
                json.dumps(
                    [{"at": e.at, "source": e.source, "kind": e.kind, "detail": e.detail} for e in seen.events],
                    indent=1,
                )
            )
            self._write_report()
            self._say(str(self.output / "timeline.html"))
        return summary

    def _write_report(self) -> None:
        """By the command itself, as an operator calls it."""
        page = self.output / "dataset-report.html"
        ran = subprocess.run(
            [sys.executable, "-m", "cdk_cryoem_stacks.cli", "report", _DATASET, "--config", str(self.config),
             "--output", str(page), "--force"],
            env=client_environment(self.places, self.mode),
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        if ran.returncode:
            raise GaveUp(f"cryoem report ended with {ran.returncode}: {ran.stderr[-500:]}")

    def _transfer(self, make: Callable[[str], Any], task: str) -> int:
        datasync = make("datasync")
        execution = datasync.start_task_execution(TaskArn=task)["TaskExecutionArn"]

        def ended() -> dict[str, Any]:
            found: dict[str, Any] = datasync.describe_task_execution(TaskExecutionArn=execution)
            return found if found["Status"] in ("SUCCESS", "ERROR") else {}

        found = self._until(ended, "the DataSync execution", 120)
        if found["Status"] == "ERROR":
            raise GaveUp(f"DataSync: {found['Result']['ErrorDetail']}")
        return int(found["FilesTransferred"])

    def _power(self, state: str, *, after: str = "") -> bool:
        assert self._observer is not None
        seen = [e.detail["state"] for e in self._observer.seen("aws.ec2") if self._is_head(e.detail)]
        return bool(seen) and seen[-1] == state and (not after or after in seen)

    def _is_head(self, detail: dict[str, Any]) -> bool:
        assert self._observer is not None
        return bool(detail.get("instance-id") == self._observer.outputs["HeadNode"])

    def _dataset(self, state: str) -> dict[str, Any]:
        assert self._observer is not None
        return next((r for r in self._observer.records("dataset") if r["sk"] == _DATASET and r["state"] == state), {})

    def _jobs_finished(self) -> bool:
        assert self._observer is not None
        queue = self._observer.queue()
        self._note = ", ".join(f"{name.strip('/')} {state.lower()} on {lane}" for _, name, lane, state in queue[-2:])
        records = self._observer.records("job")
        return len(records) >= _JOBS or any(record["state"] != "COMPLETED" for record in records)

    def _nodes_off(self) -> list[Any]:
        assert self._observer is not None
        spans = self._observer.nodes()
        off = bool(spans) and all(span.off for span in spans) and not self._observer.powered_up()
        return spans if off else []

    def _lanes(self, make: Callable[[str], Any], outputs: dict[str, str]) -> dict[str, LaneFacts]:
        found = make("ssm").get_parameter(Name=outputs["LaneManifest"])["Parameter"]["Value"]
        return {
            lane["name"]: LaneFacts(gpus=int(lane["gpus"]), usd_per_hour=float(lane["usd_per_hour"]))
            for lane in json.loads(found)["lanes"]
        }

    def _until(self, look: Callable[[], Any], what: str, seconds: float) -> Any:
        return wait_for(look, what, seconds=seconds, every=0.4)

    @contextmanager
    def _in(self, stage: str, *, log: str) -> Iterator[None]:
        self._stage, self._note = stage, ""
        if self._live is None:
            self.console.print(f"          {stage} ...", highlight=False)
        began = time.monotonic()
        try:
            yield
        except Exception as error:
            kept = self._keep_logs()
            raise StageFailed(
                f"stage '{stage}' failed: {error}\n  log: {kept / (log + '.log')} (all logs are beside it)\n"
                "  try: cryoem twin demo --keep, then cryoem twin status and cryoem twin logs"
            ) from error
        self._done.append((stage, self._note, time.monotonic() - began))
        if self._live is None:
            self.console.print(f"{time.monotonic() - self._began:6.1f} s  {stage}: {self._note}", highlight=False)

    def _keep_logs(self) -> Path:
        kept = self.output / "logs"
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir(parents=True)
        for path in [*self.places.logs.glob("*.log"), *(self.places.slurm / "log").glob("*.log")]:
            shutil.copy(path, kept)
        return kept

    def _say(self, note: str) -> None:
        self._note = note

    def __rich__(self) -> Group:
        """The live view."""
        table = Table.grid(padding=(0, 2))
        for stage, note, seconds in self._done:
            table.add_row(
                Text("✓", style="green"), stage, Text(note, style="dim"), Text(f"{seconds:.1f} s", style="dim")
            )
        table.add_row(Text("•", style="yellow"), Text(self._stage, style="bold"), self._note, "")
        clock = Text(f"{time.monotonic() - self._began:.0f} s", style="dim")
        return Group(table, clock)

    def _report(self, summary: Summary) -> None:
        table = Table(title="Jobs", title_justify="left")
        for name in ("job", "name", "lane", "state"):
            table.add_column(name)
        for name in ("waited s", "ran s", "USD"):
            table.add_column(name, justify="right")
        for job in summary.jobs:
            ran = str(job.ended_at - job.started_at)
            table.add_row(job.job_id, job.name, job.lane, job.state, str(job.wait), ran, f"{job.usd:.4f}")
        self.console.print(table)
        self.console.print(
            f"Jobs {summary.jobs_usd:.4f} USD; their nodes {summary.nodes_usd:.4f} USD at list prices, boot and idle included.",
            highlight=False,
        )
        if summary.pbr is not None and summary.mean_cold_wait_seconds is not None:
            self.console.print(
                f"PBR (paid / used GPU-seconds) {summary.pbr:.2f}, mean cold wait {summary.mean_cold_wait_seconds:.1f} s "
                "(nodes of the twin boot in 3 s, jobs take seconds).",
                highlight=False,
            )
        self.console.print(
            f"{time.monotonic() - self._began:.0f} s in all. Pictures: {self.output}/timeline.html", highlight=False
        )
        self.console.print(f"Report of the dataset: {self.output}/dataset-report.html", highlight=False)


@contextmanager
def _nothing() -> Iterator[None]:
    yield None
