"""Faults of the whole system, with real Slurm: hooks killed, events lost, daemons killed, a full spool, everything at once.

After each the twin is swept once. Then no node is on that nobody uses, every job has run once from its beginning to its end
(each writes down both), no node was switched off under one, the lanes are the manifest's, and what landed was announced.
The schedule's own sweeps are off, so that nothing else mends anything. Tests run in their order, on one twin: nodes that
die at the beginning are given up by the hooks ten minutes later, at the end.
"""

from __future__ import annotations

import json
import os
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from shaken import LANES, LONG, Shaken

from cdk_cryoem_twin import faults, head, lifecycle
from cdk_cryoem_twin.cluster import Cluster
from cdk_cryoem_twin.environment import Mode
from cdk_cryoem_twin.observer import Observer
from cdk_cryoem_twin.places import ROOT_VARIABLE, Places
from cdk_cryoem_twin.slurm import controller
from cdk_cryoem_twin.waiting import wait_for

pytestmark = [
    pytest.mark.twin,
    pytest.mark.slow,
    pytest.mark.skipif("TWIN_FAULTS" not in os.environ, reason="takes a quarter of an hour: make test-twin-faults"),
]

_CHECKOUT = Path(__file__).resolve().parents[2]
_CONFIG = """
name: cryoem
microscopes:
  - name: krios
    nfs: {host: 10.0.0.5, path: /krios}
    agent_arn: arn:aws:datasync:us-east-1:111122223333:agent/agent-0123456789abcdef0
landing: {sentinel: complete.txt}
lanes:
  - {name: cpu, instance_types: [m6i.8xlarge], max_nodes: 4}
  - {name: gpu1, instance_types: [g5.4xlarge], gpus: 1, max_nodes: 4}
  - {name: gpu4, instance_types: [g5.12xlarge], gpus: 4, max_nodes: 4}
"""
# On AWS minutes: 180 s and 30 minutes with ParallelCluster.
_HURRY = "SlurmdTimeout=30\nResumeTimeout=30\n"
# reconcile.nodes leaves a node that died to Slurm and the engine for so long.
_LEFT_ALONE_SECONDS = 600


@pytest.fixture(scope="module")
def shaken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shaken]:
    places, mode = Places(_CHECKOUT / ".twin-test-faults"), Mode(strict=True)
    config = tmp_path_factory.mktemp("config") / "cryoem.yaml"
    config.write_text(_CONFIG)
    with pytest.MonkeyPatch.context() as patch, lifecycle.alone(places):
        patch.setenv(ROOT_VARIABLE, str(places.root))
        observer = None
        try:
            lifecycle.down(places)
            lifecycle.up(places, mode, lambda text: None, config=config)
            make, outputs = lifecycle.clients(places, mode), lifecycle.outputs(places)
            observer = Observer(places, make, outputs)
            observer.start()
            twin = Shaken(places, make, outputs, observer)
            twin.folder.mkdir(parents=True)
            with (places.slurm / "slurm.conf").open("a") as conf:
                conf.write(_HURRY)
            twin.slurm("scontrol", "reconfigure")
            _no_schedule(make)
            twin.sweep()
            assert twin.lanes() == LANES
            yield twin
        finally:
            if observer is not None:
                observer.stop()
            lifecycle.down(places)


def _no_schedule(make: Callable[[str], Any]) -> None:
    scheduler = make("scheduler")
    for each in scheduler.list_schedules()["Schedules"]:
        found = scheduler.get_schedule(Name=each["Name"])
        kept = {name: found[name] for name in ("Name", "ScheduleExpression", "FlexibleTimeWindow", "Target")}
        scheduler.update_schedule(**kept, State="DISABLED")


@pytest.fixture(scope="module")
def dead(shaken: Shaken) -> float:
    """Three nodes of lane gpu4 die: idle, under a job, and before they came up. When the last of them was given up by Slurm."""
    with shaken.lost_events():
        idle = shaken.idle_node("gpu4")
        busy_job = shaken.submit("gpu4", 25, f"--exclude={idle}")
        shaken.until(busy_job, "RUNNING")
        busy = shaken.node_of(busy_job)
        wait_for(lambda: any(run[:2] == (busy_job, "begin") for run in shaken.runs()), "the job to begin", seconds=LONG)
        names = shaken.slurm("sinfo", "--noheader", "--Node", "-p", "gpu4", "--format", "%N").split()
        never = next(name for name in names if name not in (idle, busy))
        (shaken.places.slurm / "boot" / f"fail-{never}").touch()
        # For no other node, and without a trace of its own: it never runs.
        waiting = shaken.slurm("sbatch", "--parsable", "-p", "gpu4", f"--nodelist={never}", "--wrap", "true").strip()
        shaken.dead |= {idle, busy, never}
        shaken.killed.add(busy_job)
        faults.kill_slurmd(shaken.places, idle)
        faults.kill_slurmd(shaken.places, busy)
        faults.kill_job(shaken.places, busy_job)

        def given_up() -> bool:
            return all("DOWN+" in shaken.node(name)["State"] for name in shaken.dead)

        wait_for(given_up, "Slurm to give the three nodes up", seconds=300)
        shaken.slurm("scancel", waiting)
        # Slurm has put the job of the dead node back into the queue. Its second run is for the end.
        shaken.slurm("scontrol", "hold", busy_job)
        (shaken.places.slurm / "boot" / f"fail-{never}").unlink()
    return time.time()


def test_dead_nodes_are_left_to_slurm_for_a_while(shaken: Shaken, dead: float) -> None:
    shaken.sweep()
    assert shaken.lanes() == LANES
    on = {span.node for span in shaken.observer.nodes() if span.off is None}
    assert on >= shaken.dead, "they are paid for, and not forgotten"


def test_a_node_whose_job_was_cancelled_while_it_booted(shaken: Shaken) -> None:
    job = shaken.submit("gpu1", 60)
    shaken.until(job, "CONFIGURING")
    node = shaken.node_of(job)
    wait_for(lambda: node in shaken.still_on(), f"{node} to be launched", seconds=LONG)
    assert "POWERING_UP" in shaken.node(node)["State"]
    shaken.slurm("scancel", job)
    shaken.jobs.pop(job)
    wait_for(lambda: not shaken.still_on(), "the node to go, without a sweep", seconds=LONG)
    shaken.settled()


def test_the_node_hook_is_killed_between_its_command_and_its_record(shaken: Shaken) -> None:
    with faults.hold_answer(shaken.places, "ssm", "SendCommand") as looked:
        job = shaken.submit("gpu1", 1)
        wait_for(looked, "the hook to look", seconds=LONG)
        with faults.hold_answer(shaken.places, "ssm", "SendCommand") as commanded:
            (held,) = faults.held_answers(shaken.places).glob("*.held")
            held.unlink()
            wait_for(commanded, "the hook's command", seconds=LONG)
            node = shaken.node_of(job)
            wait_for(lambda: shaken.node(node)["State"] != "IDLE+CLOUD", "the command to act", seconds=LONG)
            assert faults.kill_functions(shaken.places, shaken.function("Node"))
    shaken.sweep()
    shaken.settled()
    assert shaken.records()[job] == 1


def test_the_sweeper_is_killed_while_it_sets_the_lanes(shaken: Shaken) -> None:
    address = f"http://127.0.0.1:{shaken.places.cryosparc_port}/api/cmd/resources"
    for what in ("clusters", "lanes"):
        with urllib.request.urlopen(urllib.request.Request(f"{address}/{what}/gpu1", method="DELETE"), timeout=30):
            continue
    assert shaken.lanes() == ["cpu", "gpu4"]
    with faults.hold_answer(shaken.places, "ssm", "SendCommand") as looked:
        shaken.make("lambda").invoke(FunctionName=shaken.outputs["Sweeper"], Payload=b"{}", InvocationType="Event")
        wait_for(looked, "the sweeper to look", seconds=LONG)
        with faults.hold_answer(shaken.places, "ssm", "SendCommand") as commanded:
            (held,) = faults.held_answers(shaken.places).glob("*.held")
            held.unlink()
            wait_for(commanded, "the sweeper's command", seconds=LONG)
            assert faults.kill_functions(shaken.places, shaken.outputs["Sweeper"])
    shaken.sweep()
    shaken.settled()


def test_the_dataset_hook_is_killed_after_it_said_that_a_dataset_landed(shaken: Shaken) -> None:
    with faults.hold_answer(shaken.places, "events", "PutEvents") as said:
        shaken.land("killed")
        wait_for(said, "the hook to say it", seconds=LONG)
        assert faults.kill_functions(shaken.places, shaken.function("Dataset"))
    shaken.sweep()
    announced = wait_for(lambda: shaken.landed("killed"), "the announcement", seconds=LONG)
    assert announced[0]["objects"] == 3
    shaken.settled()
    assert len(shaken.landed("killed")) <= 2


def test_what_no_event_told_is_found_by_one_sweep(shaken: Shaken) -> None:
    with shaken.lost_events():
        busy = shaken.submit("cpu", 45)
        shaken.until(busy, "RUNNING")
        nodes = [shaken.idle_node(lane) for lane in ("cpu", "gpu1")]
        shaken.land("unheard")
        assert not shaken.landed("unheard")
        shaken.sweep()
        wait_for(lambda: not set(nodes) & set(shaken.still_on()), "the idle nodes to be off", seconds=LONG)
        assert shaken.state(busy) == "RUNNING"
        wait_for(lambda: len(shaken.landed("unheard")) == 1, "the announcement", seconds=LONG)
        shaken.until(busy, "COMPLETED")
        shaken.unheard.add(busy)
        shaken.until_sent(busy)
        shaken.sweep()
        shaken.settled()
    assert len(shaken.landed("unheard")) == 1


def test_the_controller_is_killed_under_a_busy_and_an_idle_node(shaken: Shaken) -> None:
    with shaken.lost_events():
        idle = shaken.idle_node("gpu1")
    busy, ends_meanwhile = shaken.submit("cpu", 90), shaken.submit("cpu", 40)
    shaken.until(busy, "RUNNING")
    shaken.until(ends_meanwhile, "RUNNING")
    # Else it would come back to nodes that it had not heard from, and give them up.
    shaken.saved()
    faults.kill_controller(shaken.places)
    try:
        shaken.until_ended(ends_meanwhile)
        answer = shaken.make("lambda").invoke(FunctionName=shaken.outputs["Sweeper"], Payload=b"{}")
        assert "FunctionError" in answer, "a sweep that cannot look at Slurm must not pass for one that did"
        assert idle in shaken.still_on()
    finally:
        controller.start(shaken.places)
    _wait_for_registrations(shaken)
    shaken.sweep()
    wait_for(lambda: idle not in shaken.still_on(), f"{idle} to be off", seconds=LONG)
    assert shaken.state(busy) in ("RUNNING", "COMPLETED")
    shaken.until(busy, "COMPLETED")
    shaken.until(ends_meanwhile, "COMPLETED")
    shaken.settled()
    assert not _restarted(shaken, busy, ends_meanwhile)


def test_a_slurmd_is_killed_under_a_job_and_comes_back(shaken: Shaken) -> None:
    job = shaken.submit("gpu1", 12)
    shaken.until(job, "RUNNING")
    node = shaken.node_of(job)
    faults.kill_slurmd(shaken.places, node)
    shaken.sweep()
    shaken.slurm("slurmd", "-N", node)
    shaken.until(job, "COMPLETED")
    shaken.sweep()
    shaken.settled()
    assert not _restarted(shaken, job)


def test_a_spool_that_cannot_be_written_to(shaken: Shaken) -> None:
    spool = shaken.places.home / "spool"
    aside = spool.rename(spool.with_name("spool-aside"))
    # Permissions would not do it: tests may run as root, as the head node's programs do.
    spool.touch()
    try:
        node = shaken.idle_node("cpu", sent=False)
        assert node in shaken.still_on()
    finally:
        spool.unlink()
        aside.rename(spool)
    shaken.sweep()
    shaken.settled()


def test_a_spool_with_two_thousand_events_of_which_some_are_garbage(shaken: Shaken) -> None:
    spool = shaken.places.home / "spool"
    sender = shaken.places.run / "sender.pid"
    with faults.frozen(sender):
        job = shaken.submit("cpu", 1)
        (event,) = wait_for(lambda: list(spool.glob(f"*-{job}.json")), "the event in the spool", seconds=LONG)
        detail = json.loads(event.read_text())
        for number in range(2000):
            older = detail | {"job_id": f"9{number:05}", "end": detail["end"] - 3000 + number}
            (spool / f"{older['end']}-{older['job_id']}.json").write_text(json.dumps(older))
        (spool / "1-garbage.json").write_bytes(b"\xff\xfe no event")
        (spool / "2-cut.json").write_text(event.read_text()[:40])
        (spool / "3-empty.json").touch()
    shaken.sweep()
    wait_for(lambda: not shaken.still_on(), "the node to be off, however long the spool", seconds=LONG)
    wait_for(lambda: not shaken.spooled(), "the spool to be sent", seconds=LONG)
    assert sorted(path.name for path in spool.glob("*.unreadable")) == [
        "1-garbage.unreadable", "2-cut.unreadable", "3-empty.unreadable",
    ]  # fmt: skip
    wait_for(lambda: sum(shaken.records().values()) >= 2000, "the records of all", seconds=900, every=2)
    shaken.settled()


def test_everything_is_killed_and_started_again(shaken: Shaken) -> None:
    with shaken.lost_events():
        idle = shaken.idle_node("gpu1")
    busy, ends_meanwhile = shaken.submit("cpu", 90), shaken.submit("cpu", 40)
    shaken.until(busy, "RUNNING")
    shaken.until(ends_meanwhile, "RUNNING")
    shaken.saved()
    nodes = [idle, shaken.node_of(busy), shaken.node_of(ends_meanwhile)]
    with faults.frozen(shaken.places.run / "emulator.pid"):
        faults.kill_functions(shaken.places, "cryoem-hooks")
        faults.kill_head_node(shaken.places)
        for node in nodes:
            faults.kill_slurmd(shaken.places, node)
        shaken.until_ended(ends_meanwhile)
    shaken.land("meanwhile")
    _start_head_node(shaken)
    for node in nodes:
        shaken.slurm("slurmd", "-N", node)
    _wait_for_registrations(shaken)
    assert shaken.lanes() == [], "the cryoSPARC double forgets; that of AWS has a database"
    shaken.sweep()
    assert shaken.lanes() == LANES
    wait_for(lambda: idle not in shaken.still_on(), f"{idle} to be off", seconds=LONG)
    shaken.until(ends_meanwhile, "COMPLETED")
    shaken.until(busy, "COMPLETED")
    shaken.sweep()
    shaken.settled()
    assert not _restarted(shaken, busy, ends_meanwhile)
    assert len(shaken.landed("meanwhile")) in (1, 2)


def test_dead_nodes_are_off_one_sweep_after_their_time(shaken: Shaken, dead: float) -> None:
    (job,) = shaken.killed
    shaken.slurm("scontrol", "release", job)
    shaken.until_ended(job, seconds=300)
    assert [run[1] for run in shaken.runs() if run[0] == job] == ["begin", "begin", "end"]
    wait_for(lambda: time.time() > dead + _LEFT_ALONE_SECONDS, "their time", seconds=_LEFT_ALONE_SECONDS + 10, every=5)
    shaken.sweep()
    shaken.dead.clear()
    shaken.settled()
    told = {event.detail["node"] for event in shaken.observer.seen("cryoem.platform", "Node Failed")}
    assert len(told) == 3


def _restarted(shaken: Shaken, *jobs: str) -> list[str]:
    shown = [shaken.slurm("scontrol", "--oneliner", "show", "job", job) for job in jobs]
    return [text for text in shown if " Restarts=0 " not in text]


def _wait_for_registrations(shaken: Shaken) -> None:
    """A controller that was restarted does not know since when its nodes are up, until they have told it."""

    def known() -> bool:
        names = [name for name in shaken.observer.powered_up() if name not in shaken.dead]
        return all(shaken.node(name)["BootTime"] != "None" for name in names)

    wait_for(known, "the nodes to register", seconds=LONG)


def _start_head_node(shaken: Shaken) -> None:
    role = Cluster.load(shaken.places).role_arn
    session = shaken.make("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
    head.start(shaken.places, head.head_environment(shaken.places, Mode(strict=True), session))
