"""One schedule: a site, forty to sixty minutes with faults, two quiet sweeps, and what is left to be worked off."""

from __future__ import annotations

import logging
import os
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from .actors import Actors
from .chance import NONE, Dice, Rates
from .hooks_code import set_hooks
from .site import SWEEP_SECONDS, Plan, Site
from .stand_ins import clear_home, set_stage, stage

BEGAN = 1_800_000_000.0
_LANES = ("cpu", "gpu1", "gpu4", "live")
_QUIET_SECONDS = 2 * SWEEP_SECONDS + 100
_LOOK_SECONDS = 15.0
_STRESS = (0.0, 0.3, 0.3, 1.0, 1.0, 2.5)
_OUTAGES = ("dynamodb", "events", "ssm", "slurm", "cryosparc", "s3", "ec2", "sqs")


@dataclass(frozen=True)
class Result:
    """What came of a schedule. slowest: seconds until the last thing was done that was left undone by the faults."""

    seed: int
    violations: list[tuple[str, str]]
    injected: Counter[str]
    slowest: float
    overtaken: int
    api_calls: int
    invocations: int
    events: int
    lines: list[str] = field(repr=False)


@contextmanager
def model() -> Iterator[None]:
    """The shipped code with the model around it, until the block ends."""
    undo: list[tuple[object, str, object]] = []
    missing = object()

    def replace(owner: object, name: str, value: object) -> None:
        undo.append((owner, name, vars(owner).get(name, missing)))
        setattr(owner, name, value)

    environment = dict(os.environ)
    try:
        set_stage(replace)
        set_hooks(replace)
        yield
    finally:
        stage.site = None
        for owner, name, value in reversed(undo):
            if value is missing:
                delattr(owner, name)
            else:
                setattr(owner, name, value)
        os.environ.clear()
        os.environ.update(environment)


def draw_plan(dice: random.Random) -> Plan:
    """A site like many."""
    lanes = dice.sample(_LANES, dice.randint(2, 4))
    return Plan(
        lanes={name: dice.randint(1, 2) for name in sorted(lanes)},
        hold_minutes={name: dice.choice((0, 0, 5, 5, 10)) for name in sorted(lanes)},
        cryosparc=dice.random() < 0.7,
        recipe=dice.random() < 0.5,
        sentinel=dice.choice(("DONE", "DONE", "")),
        quiet_minutes=dice.choice((4, 8, 15)),
        microscopes=dice.choice((0, 0, 0, 1)),
        stop_head_node_after_minutes=dice.choice((0, 0, 5, 15)),
        head_node_on=dice.random() < 0.85,
        keys_a_page=dice.choice((4, 1000)),
    )


def play(
    seed: int, *, rates: Rates | None = None, tracing: bool = False, sweeping: bool = True, redriving: bool = True
) -> Result:
    """Play one schedule; only within `model`."""
    generator = random.Random(seed)
    plan = draw_plan(generator)
    stress = generator.choice(_STRESS)
    dice = Dice(generator, rates or (Rates() if stress else NONE), stress=stress or 1.0)
    clear_home()
    site = Site(plan, dice, now=BEGAN, sweeping=sweeping, redriving=redriving)
    site.tracing = tracing
    site.judge.began = BEGAN
    logging.getLogger("cryoem").disabled = not tracing
    stage.site = site
    site.trace("plan: %s, stress %s", plan, stress)
    faults_end = BEGAN + generator.uniform(40, 60) * 60
    actors = Actors(site, until=faults_end - 20)
    actors.begin()
    site.sweeps.start(BEGAN + generator.uniform(0, SWEEP_SECONDS))
    if stress and generator.random() < 0.12 * min(stress, 2):
        service, begin = generator.choice(_OUTAGES), BEGAN + generator.uniform(0, 2000)
        site.outages.append((service, begin, min(faults_end, begin + generator.choice((120, 900, 2400)))))
        dice.note("outage")
        site.trace("%s is out from %.0f for %.0f s", service, begin - BEGAN, site.outages[0][2] - begin)
    clock = site.clock
    clock.random, clock.share_of_threads = generator.random, 0.15

    def quiet() -> None:
        clock.share_of_threads = 1.0
        dice.stop()
        actors.stop()
        site.judge.faults_end()
        site.trace("the faults have ended")
        if site.head_node.state == "stopped" and generator.random() < 0.5:
            site.head_node.start()
        clock.at(clock.now, look)

    def look() -> None:
        site.judge.look()
        if clock.now < faults_end + _QUIET_SECONDS:
            clock.at(clock.now + _LOOK_SECONDS, look)
        else:
            work_off(0)

    def work_off(rounds: int) -> None:
        """What SQS shows only after an hour is shown now; the dead letters are redriven by sweeps."""
        site.sweeps.pause()
        waiting = [queue for queue in site.queues.values() if queue.messages]
        dead = any(not message.poison for queue in site.queues.values() for message in queue.dead)
        busy = clock.live() or site.bus.under_way or any(job.active and not job.held for job in site.slurm.jobs)
        if rounds == 14 or not (waiting or dead or busy):
            clock.at(clock.now + 120, end)
            return
        if dead or rounds % 4 == 3:
            site.sweeps.once()
        for queue in waiting:
            queue.show_all(within=300.0)
        clock.at(clock.now + 400, work_off, rounds + 1)

    def end() -> None:
        site.judge.at_the_end()
        clock.finish()

    clock.at(faults_end, quiet)
    clock.run()
    return Result(
        seed=seed,
        violations=site.judge.violations,
        injected=dice.injected,
        slowest=site.judge.slowest,
        overtaken=site.judge.overtaken,
        api_calls=sum(site.api_calls.values()),
        invocations=sum(queue.invocations for queue in site.queues.values()) + site.sweeps.ended,
        events=len(site.bus.said),
        lines=site.lines,
    )
