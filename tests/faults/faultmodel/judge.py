"""What must never be, and what must be soon after the faults have stopped.

Safety is judged at each step, against what whoever acted could have known: a job that began after the head node's program
had looked at the nodes is not its fault, and POWER_DOWN_ASAP lets it finish. Liveness: each thing that ought to be done
is an obligation with a time from which on it is due, and may stay open for one sweep.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from . import lives
from .stand_ins import stage
from .table import plain

if TYPE_CHECKING:
    from .site import Site
    from .slurm_model import Job, Node

SWEEP_SECONDS = 300.0
# A sweep takes time too: some commands of a few seconds each, one after the other.
SLACK_SECONDS = 90.0
_MOST_ATTEMPTS = 3
_SENT_SECONDS = 100.0
_BLOCKED_SECONDS = 120.0
_DOWN_SECONDS = 600.0
_MOVIES = (".mrc", ".mrcs", ".tif", ".tiff", ".eer")


class Judge:
    """Watches a site. violations: (kind, what happened)."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.began = 0.0
        self.violations: list[tuple[str, str]] = []
        self.overtaken = 0
        self.faults_ended: float | None = None
        self.slowest = 0.0
        self._open: dict[tuple[str, str], float] = {}
        self._landed: dict[str, set[float]] = {}
        self._changed: dict[str, float] = {}
        self._truth: dict[str, dict[str, float]] = {}
        self._spooled: list[Job] = []
        self._priced: dict[tuple[str, float], set[str]] = {}
        self._processed: dict[str, set[str]] = {}
        self._reported: set[tuple[str, str]] = set()

    def violated(self, kind: str, text: str) -> None:
        self.violations.append((kind, text))
        self._site.trace("VIOLATION %s: %s", kind, text)

    # at each step

    def told_to_power_down(self, node: Node, verb: str) -> None:
        """Somebody tells Slurm to power a node down."""
        site = self._site
        process = site.clock.current
        assert process is not None
        if verb != "power_down_asap":
            self.violated("node killed", f"{node.name} with {len(node.jobs)} jobs: {verb}")
            return
        looked = process.attributes.get("saw_nodes_at", -1.0)
        queue_seen = process.attributes.get("saw_queue_at", -1.0)
        busy = [job for job in node.jobs if job.state != "COMPLETING"]
        if any(job.began_at <= looked for job in busy) or (busy and looked < 0):
            self.violated("busy node powered down", f"{node.name} has job {busy[0].number}")
        elif busy:
            self.overtaken += 1
        for job in site.slurm.jobs:
            waits = node.power != "down" and job.state == "PENDING" and job.startable and job.lane == node.lane
            if waits and job.lane not in site.slurm.closed and job.waits_since < queue_seen and not busy:
                self.violated("powered down under a waiting job", f"{node.name}: job {job.number} waits")
                break
        if node.power == "up" and not node.jobs:
            held = self._least_hold(node.lane)
            idle = site.clock.now - node.since
            # Slurm's times have whole seconds.
            if idle < held - 1.0:
                self.violated("hold broken", f"{node.name} was idle for {idle:.1f} s of {held:.0f}")

    def _least_hold(self, lane: str) -> float:
        """The shortest hold of the lane that somebody who decided in the last minutes may have read."""
        now, least, until = self._site.clock.now, float("inf"), float("inf")
        for at, lanes in reversed(self._site.manifests):
            if until < now - 900:
                break
            least = min(least, lanes[lane]["hold_minutes"] * 60.0 if lane in lanes else 0.0)
            until = at
        return least

    def lane_removed(self, lane: str) -> None:
        """A program takes a lane away."""
        process = self._site.clock.current
        assert process is not None
        seen = process.attributes.get("saw_queue_at", float("inf"))
        for job in self._site.slurm.jobs:
            if job.active and job.lane == lane and job.submitted < seen:
                self.violated("lane taken from its jobs", f"{lane}: job {job.number} is {job.state}")
                return

    def head_node_stops(self, *, began: float) -> None:
        """Somebody stops the head node. began: when the program that does so began to look."""
        site = self._site
        missed = []
        for job in site.slurm.jobs:
            # A job that waits until a person does something keeps nothing awake.
            stuck = job.state == "PENDING" and (job.held or job.lane in site.slurm.closed)
            if job.active and not stuck and job.submitted < began:
                missed.append(f"job {job.number} is {job.state}")
        missed += [f"node {n.name} is {n.power}" for n in site.slurm.nodes if n.paid and n.on_since < began]
        missed += [f"{name} is logged in" for name, since in site.head_node.logins.items() if since < began]
        missed += [
            f"the recipe of {name} runs" for name, (_, since, _) in site.recipes.running.items() if since < began
        ]
        waiting = [job for job in self._spooled if ("job", str(job.number)) in self._unsent() and job.ended < began]
        missed += [f"the end of job {job.number} is not sent" for job in waiting]
        if missed:
            self.violated("head node stopped under work", "; ".join(missed[:3]))

    def _unsent(self) -> set[tuple[str, str]]:
        files = (self._site.here.home / "spool").glob("*.json")
        return {("job", path.stem.partition("-")[2]) for path in files if not path.name.startswith(".")}

    def recipe_begins(self, dataset: str, *, done: bool, failed: int) -> None:
        """A recipe begins to run."""
        if failed >= _MOST_ATTEMPTS:
            self.violated("processed again", f"the recipe of {dataset} had failed {failed} times")
        if done:
            self.violated("processed again", f"the recipe of {dataset} had finished")
        if dataset in self._site.recipes.running:
            self.violated("processed twice at once", dataset)

    def event_said(self, source: str, kind: str, detail: dict[str, Any]) -> None:
        """The platform's bus has taken an event."""
        if source != "cryoem.platform":
            return
        if kind == "Dataset Landed":
            self._dataset_landed(detail)
        elif kind == "Job Finished":
            said = self._priced.setdefault((str(detail["job_id"]), float(detail["ended_at"])), set())
            said.add(repr(detail.get("usd")))
            if len(said) > 1:
                self.violated("a job has two prices", f"job {detail['job_id']}: {sorted(said)}")
        elif kind == "Lanes Changed":
            self._lanes_changed(detail)
        elif kind == "Processing Ended":
            self._processed.setdefault(str(detail["dataset"]), set()).add(str(detail["state"]))
            if len(self._processed[detail["dataset"]]) > 1:
                self.violated("processing ended twice", f"{detail['dataset']}: {self._processed[detail['dataset']]}")
        elif kind == "Cost Leak Found" and detail["kind"] == "instance":
            node = self._site.slurm.by_name.get(str(detail["id"]).removeprefix("i-"))
            if node is not None and node.paid:
                self.violated("false cost leak", f"{detail['id']}: {detail['advice']}")

    def _lanes_changed(self, detail: dict[str, Any]) -> None:
        """What is said of a manifest must be its lanes."""
        meant = self._site.fingerprints.get(str(detail["manifest"]))
        if meant != set(detail["lanes"]):
            self.violated("lanes of another manifest", f"{sorted(detail['lanes'])}, not {sorted(meant or ())}")

    def _dataset_landed(self, detail: dict[str, Any]) -> None:
        site, name, at = self._site, str(detail["dataset"]), float(detail["landed_at"])
        seen = self._landed.setdefault(name, set())
        item = site.table.find("dataset", name) or {}
        if item.get("operator", {}).get("S") == "arriving" and plain(item["operator_at"]) < at - 60:
            self.violated("landed too early", f"{name}: an operator holds it open")
        seen.add(at)
        if len(seen) > 1:
            self.violated("landed twice", f"{name}: {sorted(seen)}")
        reason = str(detail["reason"])
        if reason.startswith("sentinel") and not any(k.endswith("/DONE") for k in site.bucket.get(name, {})):
            self.violated("landed too early", f"{name}: no sentinel")
        if reason.startswith("quiet"):
            # Nothing may have come in the quiet time before the look.
            late = [w.timestamp() for _, w in site.bucket.get(name, {}).values()]
            quiet = site.plan.quiet_minutes * 60
            if any(at - quiet + 1 < when < at - 1 for when in late):
                self.violated("landed too early", f"{name}: not quiet")

    def bucket_changed(self, dataset: str) -> None:
        self._changed[dataset] = self._site.clock.now
        self._truth.pop(dataset, None)

    def job_spooled(self, job: Job) -> None:
        self._spooled.append(job)

    # once the faults have stopped

    def faults_end(self) -> None:
        self.faults_ended = self._site.clock.now

    def look(self) -> None:
        """Note which obligations are open, and since when; one that stays open too long is a violation."""
        now, began = self._site.clock.now, self.faults_ended or self.began
        still: dict[tuple[str, str], float] = {}
        for kind, name, due in self._obligations():
            since = max(due, began)
            if since > now:
                continue
            key = (kind, name)
            still[key] = self._open.get(key, since)
            age = now - still[key]
            if age > SWEEP_SECONDS + SLACK_SECONDS and key not in self._reported:
                self._reported.add(key)
                self.violated(kind, f"{name}, due for {age:.0f} s")
        for key, since in self._open.items():
            if key not in still:
                self.slowest = max(self.slowest, now - since)
        self._open = still

    def _obligations(self) -> Iterator[tuple[str, str, float]]:
        site = self._site
        if site.head_node.agent:
            yield from self._nodes()
            yield from self._lanes()
        yield from self._datasets()
        if site.head_node.state == "stopped":
            yield from self._asleep()
        for name, item in site.table.kinds.get("outbox", {}).items():
            yield "said too late", name, plain(item["written_at"]) if "written_at" in item else 0.0

    def _nodes(self) -> Iterator[tuple[str, str, float]]:
        site = self._site
        waiting = [job for job in site.slurm.jobs if job.state == "PENDING" and not job.held]
        awaited = {job.lane for job in waiting if job.startable and job.lane not in site.slurm.closed}
        blocked = {job.lane for job in waiting if not job.startable}
        since_agent = site.head_node.agent_since
        for node in site.slurm.nodes:
            if not node.useless:
                continue
            if node.power == "down":
                yield "broken node left on", node.name, max(since_agent, node.since + _DOWN_SECONDS)
                continue
            if node.lane in awaited or (node.power == "booting" and node.lane in blocked):
                continue
            hold = site.manifest[node.lane]["hold_minutes"] * 60.0 if node.lane in site.manifest else 0.0
            hold = max(hold, _BLOCKED_SECONDS) if node.lane in blocked else hold
            due = node.since + (hold if node.power == "up" else 0.0)
            yield "idle node left on", node.name, max(since_agent, due, self._last_awaited(node.lane))

    def _last_awaited(self, lane: str) -> float:
        """When the last job of the lane stopped waiting: until then its idle nodes were kept for it."""
        return max((max(job.began_at, job.ended) for job in self._site.slurm.jobs if job.lane == lane), default=0.0)

    def _lanes(self) -> Iterator[tuple[str, str, float]]:
        site = self._site
        at, manifest = site.manifests[-1]
        files = self.registered()
        due = max(at, site.head_node.agent_since)
        for name in sorted(set(manifest) - set(files)):
            yield "lane missing", name, due
        for name in sorted(set(files) & set(manifest)):
            if files[name] != self._digest(manifest[name]):
                yield "lane out of date", name, due
        for name in sorted(set(files) - set(manifest)):
            if not any(job.active for job in site.slurm.jobs if job.lane == name):
                yield "lane not removed", name, max(due, self._last_used(name))
        if site.plan.cryosparc:
            for name in sorted((set(site.master.kept) ^ set(files)) | (set(site.master.lanes) ^ set(files))):
                # One that is kept for its jobs may be half gone already.
                if name in manifest or not any(job.active for job in site.slurm.jobs if job.lane == name):
                    yield "cryoSPARC's lanes differ", name, due if name in manifest else max(due, self._last_used(name))

    def _last_used(self, lane: str) -> float:
        return max((job.ended for job in self._site.slurm.jobs if job.lane == lane), default=0.0)

    def registered(self) -> dict[str, str]:
        """Lanes whose files are there, with the fingerprint that was written last."""
        folder = self._site.here.lanes
        found = {}
        for lane in folder.iterdir():
            if lane.is_dir():
                stamp = lane / "registered.sha256"
                found[lane.name] = stamp.read_text().strip() if stamp.exists() else ""
        return found

    def _digest(self, lane: dict[str, Any]) -> str:
        here, files = self._site.here, stage.modules["lane_files"]
        rendered = files.render(
            lane,
            worker=here.cryosparc_worker,
            cache_root=str(here.scratch),
            sbatch=here.slurm_bin,
            home=str(here.home),
        )
        return str(files.digest(rendered))

    def truth(self, dataset: str) -> dict[str, float]:
        """What the bucket holds of a dataset."""
        if dataset not in self._truth:
            found = self._site.bucket.get(dataset, {})
            times = [at.timestamp() for _, at in found.values()]
            self._truth[dataset] = {
                "objects": len(found),
                "movies": sum(key.lower().endswith(_MOVIES) for key in found),
                "size_bytes": sum(size for size, _ in found.values()),
                **({"first_at": min(times), "last_at": max(times)} if times else {}),
            }
        return self._truth[dataset]

    def _datasets(self) -> Iterator[tuple[str, str, float]]:
        site = self._site
        for name in site.bucket:
            truth, changed = self.truth(name), self._changed[name]
            item = site.table.find("dataset", name)
            if item is None:
                if truth["objects"]:
                    yield "dataset not noticed", name, changed
                continue
            state = item["state"]["S"]
            if not truth["objects"]:
                if state == "arriving":
                    yield "dataset gone, and not noticed", name, changed
                continue
            wrong = [key for key, value in truth.items() if key not in item or plain(item[key]) != value]
            if wrong:
                yield "counters wrong", name, changed
            if state != "landed" and item.get("operator", {}).get("S") != "arriving":
                complete = changed + site.plan.quiet_minutes * 60
                if site.plan.sentinel and any(key.endswith("/DONE") for key in site.bucket[name]):
                    complete = changed
                yield "not landed", name, complete
            elif state == "landed" and name not in self._landed:
                yield "landed, and nobody told", name, plain(item["landed_at"])
            if state == "landed" and site.plan.recipe:
                yield from self._processing(name, item)

    def _processing(self, name: str, item: dict[str, Any]) -> Iterator[tuple[str, str, float]]:
        site = self._site
        if "processing_at" in item or not site.head_node.agent:
            return
        ready = max(plain(item["landed_at"]), self._changed[name] + 40, site.head_node.agent_since)
        if name in site.recipes.ended_at:
            yield "end of processing not noticed", name, max(site.recipes.ended_at[name], ready)
        elif not site.recipes.begun.get(name):
            yield "not processed", name, ready

    # at the very end

    def at_the_end(self) -> None:
        """What must hold once every message has been worked off."""
        site = self._site
        recorded = dict(site.table.items("job"))
        lost = set(site.bus.lost)
        for job in self._spooled:
            if job.ended > site.clock.now - _SENT_SECONDS:
                continue
            key = f"{int(job.ended):012d}#{job.number}"
            if ("job", str(job.number)) in self._unsent():
                self.violated("job's end never sent", f"job {job.number}")
            elif key not in recorded:
                if ("job", str(job.number)) not in lost:
                    self.violated("job not recorded", f"job {job.number}")
            else:
                self._check_price(job, recorded[key])
                if (str(job.number), float(int(job.ended))) not in self._priced:
                    self.violated("job finished, and nobody told", f"job {job.number}")
        keys = {f"{int(job.ended):012d}#{job.number}" for job in self._spooled}
        for key in sorted(set(recorded) - keys):
            self.violated("job recorded that never was", key)
        self._check_totals(recorded)
        for kind, text in lives.wrong(site, patience=2 * SWEEP_SECONDS + SLACK_SECONDS):
            self.violated(kind, text)
        for queue in site.queues.values():
            left = [message for message in queue.dead if not message.poison]
            if left:
                self.violated("dead letters left", f"{queue.name}: {len(left)}")

    def _check_totals(self, recorded: dict[str, dict[str, Any]]) -> None:
        """The totals are the sums of the jobs, to the millionth of a dollar."""
        sums: dict[str, int] = {}
        for job in recorded.values():
            for total in (f"lane#{job['lane']}", f"user#{job['user']}", f"project#{job['project']}"):
                sums[total] = sums.get(total, 0) + round(job.get("usd", 0.0) * 1e6)
        found: dict[str, int] = {}
        for name, item in self._site.table.items("spend"):
            period, _, total = name.partition("#")
            if period != "always" and total != "month":
                found[total] = found.get(total, 0) + int(item["usd_micro"])
        for total in sorted(set(sums) | set(found)):
            if sums.get(total) != found.get(total):
                self.violated("wrong total", f"{total}: {found.get(total)}, not {sums.get(total)}")

    def _check_price(self, job: Job, record: dict[str, Any]) -> None:
        site = self._site
        prices = {lanes[job.lane]["usd_per_hour"] for _, lanes in site.manifests if job.lane in lanes}
        expected = {round(job_price(job, price), 6) for price in prices}
        absent = any(job.lane not in lanes for _, lanes in site.manifests)
        if "usd" not in record:
            if not absent:
                self.violated("job without a price", f"job {job.number}")
        elif not any(abs(record["usd"] - each) < 2e-6 for each in expected):
            self.violated("wrong price", f"job {job.number}: {record['usd']}, not {sorted(expected)}")

    def _asleep(self) -> Iterator[tuple[str, str, float]]:
        """Why the head node ought to be on."""
        site = self._site
        request = site.table.find("request", "wake")
        if request is not None and plain(request["until"]) > site.clock.now:
            yield "head node asleep", "somebody asked for it", plain(request["at"])
        for name, item in site.table.kinds.get("dataset", {}).items():
            state = item["state"]["S"]
            if state == "arriving":
                yield "head node asleep", f"{name} is arriving", self._changed[name]
            elif state == "landed" and site.plan.recipe and "processing_at" not in item:
                yield "head node asleep", f"{name} waits for its recipe", plain(item["landed_at"])


def job_price(job: Job, usd_per_hour: float) -> float:
    """What a job cost, worked out here: half a node costs half."""
    began, ended = int(job.started), int(job.ended)
    return max(0, ended - began) / 3600 * usd_per_hour * job.slots / 2 if began else 0.0
