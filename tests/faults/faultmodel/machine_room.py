"""The head node: an instance that is on or off, the programs that are shipped to it, cryoSPARC's master, recipes.

The programs are the shipped ones, called by their own main; `stand_ins` has what they reach for beyond themselves.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from .clockwork import Process
from .ram_files import RamFile, RamPath
from .stand_ins import print_, stage
from .table import failed

if TYPE_CHECKING:
    from .site import Site
    from .slurm_model import Job

# The shipped program's own number, said again here.
_MOST_ATTEMPTS = 3
# How a recipe may end on a dataset: always well, always badly, not yet and then well or refused, anyhow.
_NATURES = ((0,), (0,), (1,), (75, 0, 78), (0, 1, 1, 75))


class HeadNode:
    """The instance. agent: whether SSM's agent answers."""

    instance_id = "i-head"

    def __init__(self, site: Site, *, on: bool) -> None:
        self._site = site
        self.state = "running" if on else "stopped"
        self.agent = on
        self.launched = self.agent_since = site.clock.now
        self.logins: dict[str, float] = {}
        self.stops = 0

    @property
    def on(self) -> bool:
        return self.state == "running"

    def described(self) -> dict[str, Any]:
        return {
            "InstanceId": self.instance_id,
            "State": {"Name": self.state},
            "LaunchTime": datetime.fromtimestamp(int(self.launched), UTC),
            "PrivateIpAddress": "10.0.0.9",
            "PrivateDnsName": "ip-10-0-0-9.ec2.internal",
            "Tags": [],
        }

    def start(self) -> None:
        if self.state == "stopping":
            raise failed("IncorrectInstanceState", "StartInstances")
        if self.state != "stopped":
            return
        clock, random = self._site.clock, self._site.dice.random
        self.state, self.launched = "pending", clock.now
        clock.at(clock.now + random.uniform(10, 40), self._runs)
        self._site.trace("the head node starts")

    def _runs(self) -> None:
        clock, random, site = self._site.clock, self._site.dice.random, self._site
        self.state = "running"
        detail = {"instance-id": self.instance_id, "state": "running"}
        site.bus.accept("aws.ec2", "EC2 Instance State-change Notification", detail)
        clock.at(clock.now + random.uniform(5, 40), self._answers)

    def _answers(self) -> None:
        self.agent, self.agent_since = True, self._site.clock.now
        self._site.trace("the head node answers")
        self._site.slurm.soon()
        self._site.clock.at(self._site.clock.now + 60, self._site.programs.send_soon)

    def stop_by_lambda(self) -> None:
        self._site.judge.head_node_stops(began=self._site.clock.now)
        self._stop()

    def power_off(self) -> None:
        """The machine switches itself off: systemctl poweroff."""
        process = self._site.clock.current
        assert process is not None
        self._site.judge.head_node_stops(began=process.attributes["began"])
        self._stop()

    def _stop(self) -> None:
        clock, random, site = self._site.clock, self._site.dice.random, self._site
        if self.state != "running":
            return
        site.trace("the head node stops")
        self.state, self.agent = "stopping", False
        self.stops += 1
        self.logins.clear()
        clock.at(clock.now + random.uniform(1, 5), self._dies)
        clock.at(clock.now + random.uniform(15, 60), self._stopped)

    def _dies(self) -> None:
        for process in self._site.clock.live():
            if process.kind == "host":
                self._site.clock.doom(process)
        self._site.recipes.die()
        self._site.backup.die()

    def _stopped(self) -> None:
        self.state = "stopped"


class Master:
    """cryoSPARC's master: cluster targets, and lanes of their own beside them, behind version 5's API.

    What the shipped programs do with the API they do here too; only what gives a target its form is left out.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self.kept: dict[str, SimpleNamespace] = {}
        self.lanes: dict[str, SimpleNamespace] = {}
        self._api = SimpleNamespace(resources=self)

    def connect(self, _: object) -> Master | None:
        site = self._site
        if not site.plan.cryosparc:
            return None
        site.call("cryosparc.Login", lambda: None)
        if site.dice.chance("master_away"):
            print_("cryoSPARC does not answer", file=2)
            raise SystemExit(75)
        return self

    def add(self, files: Mapping[str, str]) -> None:
        name = json.loads(files["cluster_info.json"])["name"]

        def effect() -> None:
            config = SimpleNamespace(script_tpl=files["cluster_script.sh"])
            self.kept[name] = SimpleNamespace(name=name, config=config)
            self.lanes[name] = SimpleNamespace(name=name)
            self._site.trace("cryoSPARC: lane %s set", name)

        self._site.call("cryosparc.Add", effect, latency=1.0)

    def targets(self) -> dict[str, Any]:
        found: dict[str, Any] = stage.modules["register_lanes"].Cryosparc.targets(self)
        return found

    def remove(self, name: str) -> None:
        stage.modules["register_lanes"].Cryosparc.remove(self, name)

    # the API

    def find_clusters(self) -> list[SimpleNamespace]:
        return self._site.call("cryosparc.Find", lambda: list(self.kept.values()))

    def find_lanes(self) -> list[SimpleNamespace]:
        return self._site.call("cryosparc.Find", lambda: list(self.lanes.values()))

    def remove_cluster(self, name: str) -> None:
        self._site.call("cryosparc.Remove", lambda: self._forget(self.kept, name), latency=0.5)

    def remove_lane(self, name: str) -> None:
        self._site.call("cryosparc.Remove", lambda: self._forget(self.lanes, name), latency=0.5)

    def _forget(self, among: dict[str, SimpleNamespace], name: str) -> None:
        if name not in among:
            raise ValueError(f"there is no {name}")
        del among[name]
        self._site.trace("cryoSPARC: %s of lane %s removed", "target" if among is self.kept else "rest", name)


class Recipes:
    """Recipes that run under their lock, and how they end: well (0), not now (75), refused (78), or badly.

    begun: how often each dataset's recipe began. ended_at: when one ended for good.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self.running: dict[str, tuple[RamFile, float, int]] = {}
        self.begun: dict[str, int] = {}
        self.ended_at: dict[str, float] = {}
        self._failed: dict[str, int] = {}
        self._nature: dict[str, tuple[int, ...]] = {}
        self._number = 0

    def popen(self, command: list[str], **_: Any) -> None:
        notes, _recipe, _data, project = command[command.index("run") + 1 :]
        self._number += 1
        disk, clock = stage.home.disk, self._site.clock
        clock.at(clock.now + 0.05, self._try, RamPath(disk, notes), RamPath(disk, project).name, self._number, 0)

    def _try(self, notes: RamPath, name: str, number: int, tries: int) -> None:
        site = self._site
        if not site.head_node.agent:
            return
        handle = _beside(notes, "lock").open("w")
        try:
            handle.lock()
        except BlockingIOError:
            handle.close()
            if tries < 10:
                site.clock.at(site.clock.now + 0.2, self._try, notes, name, number, tries + 1)
            return
        site.judge.recipe_begins(name, done=_beside(notes, "done").exists(), failed=self._failed.get(name, 0))
        site.trace("recipe of %s begins", name)
        self.begun[name] = self.begun.get(name, 0) + 1
        self.running[name] = (handle, site.clock.now, number)
        if name not in self._nature:
            self._nature[name] = site.dice.random.choice(_NATURES)
        status = site.dice.random.choice(self._nature[name])
        site.clock.at(site.clock.now + site.dice.random.uniform(5, 200), self._ends, name, number, notes, status)

    def _ends(self, name: str, number: int, notes: RamPath, status: int) -> None:
        if name not in self.running or self.running[name][2] != number:
            return
        handle, _, _ = self.running.pop(name)
        self._site.trace("recipe of %s ends with %s", name, status)
        if status == 75:
            later = _beside(notes, "later")
            later.write_text((later.read_text() if later.exists() else "") + "\n")
        elif status == 1:
            self._fails(name)
        else:
            _beside(notes, "refused" if status else "done").touch()
            self.ended_at[name] = self._site.clock.now
        handle.close()

    def _fails(self, name: str) -> None:
        self._failed[name] = self._failed.get(name, 0) + 1
        if self._failed[name] == _MOST_ATTEMPTS:
            self.ended_at[name] = self._site.clock.now

    def die(self) -> None:
        """The machine goes off."""
        for name, (handle, _, _) in self.running.items():
            handle.close()
            self._fails(name)
        self.running.clear()


def _beside(notes: RamPath, what: str) -> RamPath:
    return notes.with_name(f"{notes.name}.{what}")


class Backup:
    """The unit that backs cryoSPARC's database up, and holds its lock meanwhile."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._lock: RamFile | None = None

    def begin(self) -> None:
        site = self._site
        if self._lock is not None:
            return
        lock = (stage.home / "cryosparc.lock").open("w")
        try:
            lock.lock()
        except BlockingIOError:
            return
        self._lock = lock
        site.trace("a backup begins")
        site.clock.at(site.clock.now + site.dice.random.uniform(5, 60), self._ends, lock)

    def _ends(self, lock: RamFile) -> None:
        if self._lock is lock:
            note = {"made_at": self._site.clock.now}
            if self._site.dice.chance("backup_fails"):
                note = {"failed_at": self._site.clock.now, "reason": "no space"}
            (stage.home / "backup.json").write_text(json.dumps(note))
            self.die()

    def die(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


class Programs:
    """Runs the shipped programs."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._sending = self._again = False
        self._failures = 0

    def run(self, process: Process, document: str, given: Mapping[str, str]) -> tuple[str, str, str]:
        """Status, standard output and standard error of a command."""
        main, argv = _DOCUMENTS[document](given)
        process.attributes.update(argv=argv, out=[], err=[], began=self._site.clock.now)
        code = _exit_code(main, process)
        return (
            "Success" if code == 0 else "Failed",
            "".join(process.attributes["out"]),
            "".join(process.attributes["err"]),
        )

    def job_ended(self, job: Job) -> None:
        """What slurmctld runs when a job has ended; it waits for nobody."""
        site = self._site
        node = job.node.name if job.node else ""
        seconds = job.started if job.started else 0.0
        environ = {
            "JOBID": str(job.number),
            "JOBNAME": f"cryosparc_P1_J{job.number}",
            "USERNAME": "ada",
            "PARTITION": job.lane,
            "JOBSTATE": "COMPLETED" if job.state == "COMPLETING" else job.state,
            "EXITCODE": "0:0",
            "SUBMIT": str(int(job.submitted)),
            "START": str(int(seconds)),
            "END": str(int(job.ended)),
            "NODES": node,
            "NODECNT": "1" if node else "0",
            "WORK_DIR": str(stage.home / "fsx" / "projects" / "spike" / "J1"),
        }
        process = Process("host", "job-completion", environ=environ, argv=[], out=[], err=[], quick=True, began=0.0)
        before, site.clock.current = site.clock.current, process
        try:
            stage.modules["job_completion"].main()
        finally:
            site.clock.current = before
        site.judge.job_spooled(job)
        self.send_soon()

    def send_soon(self) -> None:
        """systemd's path unit and timer."""
        site = self._site
        if self._sending:
            self._again = True
        elif site.head_node.agent and any((stage.home / "spool").glob("*.json")):
            self._sending = True
            site.clock.at(site.clock.now + 0.1, self._send)

    def _send(self) -> None:
        site = self._site
        process = Process("host", "send-events", argv=[], out=[], err=[], began=site.clock.now)
        code = 1

        def body() -> None:
            nonlocal code
            try:
                code = _exit_code(stage.modules["send_events"].main, process)
            finally:
                self._sending = False
                self._failures = 0 if code == 0 else self._failures + 1
                # A unit that failed is started again a second later, because its path still exists.
                pause = 1.0 if self._failures < 3 else 30.0
                if not site.clock.finished:
                    site.clock.at(site.clock.now + pause, self.send_soon)

        site.clock.start(site.clock.now, process, body)


def _exit_code(main: Callable[[], None], process: Process) -> int:
    try:
        main()
    except SystemExit as end:
        if isinstance(end.code, str):
            process.attributes["err"].append(f"{end.code}\n")
            return 1
        return end.code or 0
    except Exception as error:
        process.attributes["err"].append(f"{type(error).__name__}: {error}")
        return 1
    return 0


_DOCUMENTS: dict[str, Callable[[Mapping[str, str]], tuple[Callable[[], None], list[str]]]] = {
    "slurm-status": lambda given: (stage.modules["slurm_status"].main, []),
    "power-down": lambda given: (stage.modules["power_down"].main, ["--nodes", given["Nodes"]]),
    "register-lanes": lambda given: (
        stage.modules["register_lanes"].main,
        [given["Mode"], "--manifest-sha256", given["ManifestSha256"]],
    ),
    "start-processing": lambda given: (
        stage.modules["start_processing"].main,
        ["--dataset", given["Dataset"], "--recipe", given["Recipe"], "--objects", given["Objects"]],
    ),
    "stop-head-node": lambda given: (
        stage.modules["stop_head_node"].main,
        ["--used-until", given["UsedUntil"], "--decided-at", given["DecidedAt"]],
    ),
    "live-sessions": lambda given: (_no_live_sessions, []),
}


def _no_live_sessions() -> None:
    print_(json.dumps({"sessions": []}))
