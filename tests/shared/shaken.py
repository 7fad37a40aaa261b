"""A twin that is given faults, what was done on it, and all that ought to be true of it after one sweep."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cdk_cryoem_twin import faults
from cdk_cryoem_twin.observer import Observer
from cdk_cryoem_twin.places import Places
from cdk_cryoem_twin.slurm import controller
from cdk_cryoem_twin.waiting import wait_for

LANES = ["cpu", "gpu1", "gpu4"]
# A guard, not a measure: a machine that others use too.
LONG = 180


@dataclass
class Shaken:
    """The twin, and what was done on it."""

    places: Places
    make: Callable[[str], Any]
    outputs: dict[str, str]
    observer: Observer
    jobs: dict[str, str] = field(default_factory=dict)
    killed: set[str] = field(default_factory=set)
    unheard: set[str] = field(default_factory=set)
    dead: set[str] = field(default_factory=set)

    @property
    def folder(self) -> Path:
        """Where jobs run, in a project of its own."""
        return self.places.file_systems / self.outputs["FileSystemId"] / "projects" / "shaken"

    def slurm(self, *command: str) -> str:
        """What a Slurm command printed."""
        env = controller.environment(self.places)
        return subprocess.run(command, env=env, cwd=self.folder, capture_output=True, text=True, check=True).stdout

    def submit(self, lane: str, seconds: float, *options: str) -> str:
        """A job alone on its node, which writes down when it begins and when it ends."""
        note = 'echo "$SLURM_JOB_ID {} $SLURMD_NODENAME $(date +%s.%N)" >> runs.txt'
        script = f"{note.format('begin')}; sleep {seconds}; {note.format('end')}"
        job = self.slurm("sbatch", "--parsable", "--exclusive", "-p", lane, *options, "--wrap", script).strip()
        self.jobs[job] = lane
        return job

    def state(self, job: str) -> str:
        """Its state, by Slurm, which forgets it five minutes after its end."""
        return self.slurm("squeue", "--noheader", "--states", "all", "--jobs", job, "--format", "%T").strip()

    def until(self, job: str, state: str, seconds: float = LONG) -> None:
        """Wait for a job's state."""
        wait_for(lambda: self.state(job) == state, f"job {job} to be {state}", seconds=seconds)

    def until_ended(self, job: str, seconds: float = LONG) -> None:
        """Wait until a job has come to its end, which it says itself."""
        wait_for(lambda: (job, "end") in {run[:2] for run in self.runs()}, f"the end of job {job}", seconds=seconds)

    def node_of(self, job: str) -> str:
        """Where it runs, or ran."""
        return self.slurm("squeue", "--noheader", "--states", "all", "--jobs", job, "--format", "%N").strip()

    def saved(self) -> None:
        """Wait until slurmctld has written down what it knows of nodes and jobs, which it does a few seconds later.

        One that was killed before that would not know that its jobs run: it starts them again, and Slurm holds them.
        """
        state, before = self.places.slurm / "state", time.time()
        for name in self.observer.powered_up():
            self.slurm("scontrol", "update", f"nodename={name}", f"comment={before}")
        for job, _, _, running in self.observer.queue():
            if running == "RUNNING":
                self.slurm("scontrol", "update", f"jobid={job}", f"comment={before}")
        files = [state / "node_state", state / "job_state"]
        wait_for(lambda: all(file.stat().st_mtime > before for file in files), "slurmctld to save", seconds=LONG)

    def node(self, name: str) -> dict[str, str]:
        """What Slurm says of a node."""
        return dict(re.findall(r"(\w+)=(\S+)", self.slurm("scontrol", "--oneliner", "show", "node", name)))

    def idle_node(self, lane: str, *, sent: bool = True) -> str:
        """A node that is on, and that no hook hears of: its job's event is lost, once it was sent if it can be."""
        job = self.submit(lane, 1)
        self.unheard.add(job)
        self.until(job, "COMPLETED")
        node = self.node_of(job)
        wait_for(lambda: self.node(node)["State"] == "IDLE+CLOUD", f"{node} to be idle", seconds=LONG)
        if sent:
            self.until_sent(job)
        return node

    @contextmanager
    def lost_events(self) -> Iterator[None]:
        """Nothing reaches a hook."""
        with faults.lost_events(self.make, buses=("default", self.outputs["EventBus"]), prefix="cryoem-hooks"):
            yield

    def until_sent(self, job: str) -> None:
        """Wait until a job's event is on the bus, whoever takes it from there."""

        def sent() -> bool:
            return any(event.detail["job_id"] == job for event in self.observer.seen("cryoem.slurm"))

        wait_for(sent, f"the event of job {job}", seconds=LONG)

    def spooled(self) -> list[Path]:
        """Job events that wait to be sent."""
        return list((self.places.home / "spool").glob("*.json"))

    def function(self, hook: str) -> str:
        """Name of a hook's function."""
        names = [found["FunctionName"] for found in self.make("lambda").list_functions()["Functions"]]
        return next(name for name in names if name.startswith(f"cryoem-hooks-Hooks{hook}"))

    def sweep(self) -> None:
        """One sweep, which has to succeed."""
        answer = self.make("lambda").invoke(FunctionName=self.outputs["Sweeper"], Payload=b"{}")
        assert "FunctionError" not in answer, answer["Payload"].read()

    def land(self, dataset: str) -> None:
        """A dataset arrives, complete."""
        for name in ("movie-1.tiff", "movie-2.tiff", "complete.txt"):
            self.make("s3").put_object(
                Bucket=self.outputs["LandingBucket"], Key=f"datasets/{dataset}/{name}", Body=b"movie"
            )

    def landed(self, dataset: str) -> list[dict[str, Any]]:
        """What was announced of it, each time in the same words.

        Who dies between saying it and noting that it was said says it again, and a hook and a sweep that come together
        may both say it.
        """
        seen = self.observer.seen("cryoem.platform", "Dataset Landed")
        said = [event.detail for event in seen if event.detail["dataset"] == dataset]
        assert all(detail == said[0] for detail in said)
        return said

    def runs(self) -> list[tuple[str, str, str, float]]:
        """What the jobs wrote down: job, begin or end, node, when."""
        notes = self.folder / "runs.txt"
        rows = [line.split() for line in notes.read_text().splitlines()] if notes.exists() else []
        return [(job, what, node, float(at)) for job, what, node, at in rows]

    def records(self) -> Counter[str]:
        """Jobs that the hooks wrote down, and how often."""
        return Counter(str(item["sk"]).partition("#")[2] for item in self.observer.records("job"))

    def still_on(self) -> list[str]:
        """Nodes that are paid for, but for the dead."""
        return [span.node for span in self.observer.nodes() if span.off is None and span.node not in self.dead]

    def lanes(self) -> list[str]:
        """cryoSPARC's cluster targets, as often as it has them."""
        address = f"http://127.0.0.1:{self.places.cryosparc_port}/api/cmd/resources/clusters"
        with urllib.request.urlopen(address, timeout=30) as answer:
            return sorted(target["name"] for target in json.load(answer))

    def settled(self) -> None:
        """Wait for what one sweep has set going, and look at all that ought to be true then."""
        wait_for(lambda: not self.still_on(), "every node to be off", seconds=LONG)
        up = [name for name in self.observer.powered_up() if name not in self.dead]
        assert not [name for name in up if "POWERING_DOWN" not in self.node(name)["State"]]
        self.every_job_ran_once()
        heard = set(self.jobs) - self.unheard - self.killed
        wait_for(lambda: heard <= set(self.records()), "the records of all jobs", seconds=LONG)
        # One whose node died has two ends.
        assert {job for job, times in self.records().items() if times > 1} <= self.killed
        assert self.lanes() == LANES

    def every_job_ran_once(self) -> None:
        """From its beginning to its end, and no node was switched off meanwhile."""
        runs = self.runs()
        said = Counter((job, what) for job, what, _, _ in runs)
        for job in set(self.jobs) - self.killed:
            assert (said[job, "begin"], said[job, "end"]) == (1, 1), f"job {job}: {runs}"
        begins = {job: (node, at) for job, what, node, at in runs if what == "begin"}
        ends = {job: at for job, what, _, at in runs if what == "end"}
        offs = [(span.node, span.off) for span in self.observer.nodes() if span.off is not None]
        for job in set(self.jobs) - self.killed:
            node, began = begins[job]
            assert not [off for name, off in offs if name == node and began < off < ends[job]], f"{node}, job {job}"
