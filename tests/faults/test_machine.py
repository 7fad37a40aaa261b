"""The same site in the hands of hypothesis, which chooses each fault and each moment itself and shrinks what goes wrong."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from faultmodel.actors import lane
from faultmodel.chance import NONE, Dice
from faultmodel.hooks_code import HOOKS
from faultmodel.schedule import BEGAN
from faultmodel.site import SWEEP_SECONDS, Plan, Site
from faultmodel.stand_ins import clear_home, stage
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

_LANES = {"cpu": 0, "gpu1": 5, "gpu4": 0}
_QUEUES = st.sampled_from(["dataset_hook", "lane_hook", "node_hook"])
_NAMES = st.sampled_from(sorted(_LANES))
_DATASETS = st.sampled_from(["d0", "d1"])


class Armed(Dice):
    """Nothing goes wrong but what a rule has armed."""

    def __init__(self) -> None:
        super().__init__(random.Random(0), NONE, stress=1.0)
        self.armed: Counter[str] = Counter()
        self.next_call = ""

    def chance(self, kind: str) -> bool:
        if not self.armed[kind]:
            return False
        self.armed[kind] -= 1
        return True

    def of_call(self) -> str:
        fate, self.next_call = self.next_call, ""
        self.any_per_call = 0.0
        return fate

    def of_next_call(self, fate: str) -> None:
        self.next_call, self.any_per_call = fate, 1.0


class Faults(RuleBasedStateMachine):
    """Rules are what people, AWS and bad luck do. In the end there are two quiet sweeps."""

    site: Site
    dice: Armed

    @initialize(
        cryosparc=st.booleans(), recipe=st.booleans(), sentinel=st.booleans(), stops=st.booleans(), sleeps=st.booleans()
    )
    def begin(self, cryosparc: bool, recipe: bool, sentinel: bool, stops: bool, sleeps: bool) -> None:
        self.dice = Armed()
        clear_home()
        plan = Plan(
            lanes=dict.fromkeys(_LANES, 2),
            hold_minutes=_LANES,
            cryosparc=cryosparc,
            recipe=recipe,
            sentinel="DONE" if sentinel else "",
            quiet_minutes=4,
            stop_head_node_after_minutes=5 if stops else 0,
            head_node_on=not sleeps,
            keys_a_page=3,
        )
        self.site = Site(plan, self.dice, now=BEGAN, inline=False)
        self.site.judge.began = BEGAN
        stage.site = self.site
        self.site.set_manifest(
            {name: lane(name, hold_minutes=hold, usd=2.0) for name, hold in _LANES.items()}, told=False
        )
        self.site.sweeps.start(BEGAN + 120)

    # time

    @rule(seconds=st.sampled_from([0.1, 2.0, 25.0, 200.0, 700.0]))
    def time_passes(self, seconds: float) -> None:
        self.site.clock.run_until(self.site.clock.now + seconds)

    # people

    @rule(name=_NAMES, seconds=st.sampled_from([0.2, 5.0, 120.0]), slots=st.sampled_from([1, 2]), at_once=st.booleans())
    def job_submitted(self, name: str, seconds: float, slots: int, at_once: bool) -> None:
        if self.site.head_node.on:
            self.site.slurm.submit(name, seconds, slots=slots)
            if at_once:
                self.site.slurm.schedule()

    @rule(name=_NAMES, call=st.integers(1, 9), after=st.booleans())
    def job_ends_and_its_hook_dies(self, name: str, call: int, after: bool) -> None:
        if self.site.head_node.on:
            self.site.slurm.submit(name, 1.0)
            self.site.next_crash["node_hook"] = (call, after)
            self.site.clock.run_until(self.site.clock.now + 400)

    @rule(which=st.integers(0, 5))
    def job_cancelled(self, which: int) -> None:
        jobs = self.site.slurm.active()
        if jobs:
            self.site.slurm.cancel(jobs[which % len(jobs)])

    @rule(dataset=_DATASETS, number=st.integers(0, 6), size=st.integers(1, 9))
    def object_arrives(self, dataset: str, number: int, size: int) -> None:
        self.site.put_object(dataset, f"m{number}.mrc", size)

    @rule(dataset=_DATASETS)
    def dataset_completes(self, dataset: str) -> None:
        if self.site.plan.sentinel and self.site.bucket.get(dataset):
            self.site.put_object(dataset, "DONE", 1)

    @rule(dataset=_DATASETS)
    def dataset_removed(self, dataset: str) -> None:
        item = self.site.table.find("dataset", dataset)
        if self.site.bucket.get(dataset) and (item is None or item["state"]["S"] != "landed"):
            self.site.remove_objects(dataset)

    @rule(name=_NAMES, minutes=st.integers(60, 62))
    def lane_changes(self, name: str, minutes: int) -> None:
        hold = _LANES[name]
        self.site.set_manifest({**self.site.manifest, name: lane(name, hold_minutes=hold, usd=2.0, minutes=minutes)})

    @rule(name=_NAMES)
    def lane_goes(self, name: str) -> None:
        self.site.set_manifest({other: found for other, found in self.site.manifest.items() if other != name})

    @rule(seconds=st.sampled_from([1.0, 400.0]))
    def user_logs_in(self, seconds: float) -> None:
        if self.site.head_node.agent:
            self.site.head_node.logins["ada"] = self.site.clock.now
            self.site.clock.at(self.site.clock.now + seconds, self.site.head_node.logins.pop, "ada", None)

    # bad luck

    @rule(kind=st.sampled_from(["lost", "duplicate", "duplicate_new_id", "late", "to_dead_letters", "redelivered"]))
    def next_event(self, kind: str) -> None:
        self.dice.armed[kind] += 1

    @rule(
        kind=st.sampled_from(
            ["command_lost", "command_late", "command_slow", "program_dies", "slurm_error", "master_away"]
        )
    )
    def next_command(self, kind: str) -> None:
        self.dice.armed[kind] += 1

    @rule(function=st.sampled_from([*HOOKS, "sweeper"]), call=st.integers(1, 12), after=st.booleans())
    def next_invocation_dies(self, function: str, call: int, after: bool) -> None:
        self.site.next_crash[function] = (call, after)

    @rule(kind=st.sampled_from(["frozen", "sweep_lost", "boot_fails", "not_replaced", "refused", "stalled_write"]))
    def next_of_its_kind(self, kind: str) -> None:
        self.dice.armed[kind] += 1

    @rule(fate=st.sampled_from(["throttled", "ambiguous"]))
    def next_call(self, fate: str) -> None:
        self.dice.of_next_call(fate)

    @rule(name=_QUEUES)
    def poison_comes(self, name: str) -> None:
        self.site.queues[name].put("no JSON", poison=True)

    @rule()
    def sweep_comes_twice(self) -> None:
        self.site.sweeps.once()

    @invariant()
    def nothing_forbidden_has_happened(self) -> None:
        assert self._site_violations() == []

    def teardown(self) -> None:
        if not hasattr(self, "site"):
            return
        try:
            self._become_quiet()
        finally:
            self.site.clock.close()
            stage.site = None

    def _become_quiet(self) -> None:
        clock, judge = self.site.clock, self.site.judge
        self.dice.armed.clear()
        self.dice.of_call()
        self.site.next_crash.clear()
        judge.faults_end()
        until = clock.now + 2 * SWEEP_SECONDS + 100
        while clock.now < until and not clock.finished:
            clock.run_until(clock.now + 20)
            judge.look()
        # What SQS shows only after an hour is shown now.
        for _ in range(8):
            for queue in self.site.queues.values():
                queue.show_all(within=300.0)
            clock.run_until(clock.now + 320)
        judge.at_the_end()
        assert self._site_violations() == []

    def _site_violations(self) -> list[Any]:
        return self.site.judge.violations if hasattr(self, "site") else []


def test_whatever_people_and_bad_luck_do_the_site_converges(modelled: None) -> None:
    run_state_machine_as_test(
        Faults,
        settings=settings(
            max_examples=300,
            stateful_step_count=40,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
