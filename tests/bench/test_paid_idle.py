"""The simulation of docs/waiting.md keeps its books right, and lets the shipped decisions act as the hooks do."""

from __future__ import annotations

import dataclasses
import functools
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

import paid_idle
from idle_bench import picture, trace
from idle_bench.cluster import TEARDOWN, Cluster, Outcome, Policy
from idle_bench.policies import ACT, SWEEP, Clairvoyant, Hooks, IdleTime, Immediate, price

SHORT = dataclasses.replace(trace.TRACES["B"], jobs_least=40, jobs_most=60)
NOON = trace.MONDAY + 12 * 3600


def run(policy: Policy, laws: trace.Laws = SHORT, seed: int = 7, *, by_dependency: bool = False) -> Outcome:
    people = trace.draw(laws, scientists=3, seed=seed)
    return Cluster(people, policy, seed=seed, by_dependency=by_dependency).run()


def one_job(policy: Policy, lane: str, gpus: int, begins: float = NOON) -> Outcome:
    """A single job of 100 s on a node that takes 300 s to boot."""
    job = trace.Job(lane=lane, gpus=gpus, seconds=100.0, boot=300.0, delay=0.0)
    person = trace.Person(begins=begins, steps=(trace.Step(think=0.0, chains=((job,),)),))
    return Cluster([person], policy, seed=1).run()


def test_table_1_adds_up_to_its_printed_totals() -> None:
    totals = {name: sum(minutes for _, minutes in stages.values()) for name, stages in trace.table().items()}
    assert totals == {"cgrp": 36 * 60 + 2, "glp1r": 38 * 60, "spike": 5 * 60 + 41}


@pytest.mark.parametrize("name", trace.TRACES)
def test_the_job_in_the_middle_runs_for_the_median_of_its_trace(name: str) -> None:
    laws = trace.TRACES[name]
    people = [person for seed in range(1, 6) for person in trace.draw(laws, scientists=4, seed=seed)]
    seconds = [job.seconds for person in people for step in person.steps for chain in step.chains for job in chain]
    assert statistics.median(seconds) / 60 == pytest.approx(laws.median_minutes, rel=0.1)


def test_a_seed_is_one_trace() -> None:
    assert trace.draw(SHORT, scientists=2, seed=3) == trace.draw(SHORT, scientists=2, seed=3)
    assert trace.draw(SHORT, scientists=2, seed=3) != trace.draw(SHORT, scientists=2, seed=4)


@pytest.mark.parametrize(
    ("day", "hour", "then_day", "then_hour"),
    [(0, 8, 0, 9), (0, 12, 0, 12), (0, 19, 1, 9), (4, 20, 7, 9), (5, 12, 7, 9), (6, 23, 7, 9)],
)
def test_people_are_at_work_from_monday_to_friday(day: int, hour: int, then_day: int, then_hour: int) -> None:
    when = trace.at_work(trace.MONDAY + day * trace.DAY + hour * 3600)
    assert when == trace.MONDAY + then_day * trace.DAY + then_hour * 3600


@pytest.mark.parametrize("by_dependency", [False, True])
@pytest.mark.parametrize("name", paid_idle.POLICIES)
def test_every_policy_runs_every_job_once_and_pays_for_at_least_what_is_used(name: str, by_dependency: bool) -> None:
    people = trace.draw(SHORT, scientists=3, seed=7)
    jobs = [job for person in people for step in person.steps for chain in step.chains for job in chain]
    cluster = Cluster(people, paid_idle.POLICIES[name](), seed=7, by_dependency=by_dependency)
    outcome = cluster.run()
    assert outcome.used_gpu_seconds == pytest.approx(sum(job.seconds * job.gpus for job in jobs))
    assert len(outcome.waits) == len(jobs)
    assert sum(outcome.waits) <= sum(job.boot for job in jobs) + 1e-6
    assert outcome.pbr > 1
    assert cluster.nodes == {}
    assert not +cluster.running
    assert not +cluster.dependent


def test_what_is_paid_is_boot_run_idle_time_and_shutdown() -> None:
    outcome = one_job(Immediate(), "gpu4", 4)
    assert outcome.paid_gpu_seconds == (300 + 100 + TEARDOWN) * 4
    assert outcome.waits == [300]


def test_an_engine_takes_a_node_at_its_first_round_after_the_idle_time() -> None:
    assert one_job(IdleTime(600), "gpu1", 1).idle_gpu_seconds["gpu1"] == 620  # idle from 12:06:40, gone at 12:17


def test_the_hooks_take_a_node_seconds_after_its_job() -> None:
    assert one_job(Hooks(), "gpu1", 1).idle_gpu_seconds["gpu1"] < 10


def test_a_priced_wait_holds_the_cheap_lane_and_looks_again_when_the_hold_ends() -> None:
    held = 5.5 / 1.624 * 150
    idle = one_job(Hooks(waiting=price(5.5)), "gpu1", 1).idle_gpu_seconds["gpu1"]
    assert held + ACT <= idle <= held + 12
    assert one_job(Hooks(waiting=price(5.5)), "gpu8", 8).idle_gpu_seconds["gpu8"] < 10 * 8


def test_a_hold_ends_with_the_working_day() -> None:
    late = trace.MONDAY + 19 * 3600 - 460  # the job ends a minute before seven
    idle = one_job(Hooks(waiting=price(5.5)), "gpu1", 1, begins=late).idle_gpu_seconds["gpu1"]
    assert 60 <= idle <= 60 + SWEEP


def test_a_lost_event_costs_no_more_than_a_sweep() -> None:
    assert one_job(Hooks(event_seconds=1e6), "gpu1", 1).idle_gpu_seconds["gpu1"] <= SWEEP + ACT


def test_a_node_with_a_job_is_never_powered_down() -> None:
    class Late(Hooks):
        """Acts on what it saw ten minutes ago."""

        def _look(self, cluster: Cluster) -> None:
            for node in cluster.idle_nodes():
                cluster.at(cluster.now + 600, functools.partial(cluster.power_down, node.name, node.epoch))

    outcome = run(Late())
    assert outcome.used_gpu_seconds == pytest.approx(run(Immediate()).used_gpu_seconds)
    assert 0.0 in outcome.waits


def test_immediately_everybody_waits_for_every_node() -> None:
    outcome = run(Immediate())
    assert all(wait > 60 for wait in outcome.waits)


def test_a_job_that_chains_finds_its_node_still_there() -> None:
    assert run(Hooks()).mean_wait < run(Immediate()).mean_wait
    assert run(Hooks()).pbr < run(Immediate()).pbr


def test_who_knows_what_comes_pays_least() -> None:
    def mean(policy: Callable[[], Policy]) -> float:
        return paid_idle.measure(SHORT, policy, scientists=4, seeds=range(1, 9)).pbr

    others = [mean(policy) for name, policy in paid_idle.POLICIES.items() if name != "clairvoyant"]
    assert mean(Clairvoyant) <= min(others)


def test_dearer_waiting_costs_more_and_waits_less() -> None:
    rows = [
        paid_idle.measure(SHORT, functools.partial(Hooks, waiting=price(usd)), scientists=4, seeds=range(1, 9))
        for usd in (1.0, 5.5, 40.0)
    ]
    assert rows[0].pbr < rows[1].pbr < rows[2].pbr
    assert rows[0].wait > rows[1].wait > rows[2].wait


def test_quick_prints_a_row_for_every_policy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["paid_idle.py", "--quick"])
    paid_idle.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line[:20].strip() for line in lines[1:]] == list(paid_idle.POLICIES)


def test_the_picture_has_every_point() -> None:
    text = picture.frontier({"curve": [("a", 1.2, 200.0), ("b", 1.4, 150.0)], "point": [("c", 1.15, 250.0)]}, title="t")
    assert text.count("<circle") == 3
    assert all(f">{label}</text>" in text for label in "abc")
