"""A few hundred schedules of `make faults`, and what the model itself must be: the same each time, and able to see."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from faultmodel.chance import NONE, Dice, Rates
from faultmodel.clockwork import Clockwork, Crash, Process
from faultmodel.command import run
from faultmodel.schedule import play

_SCHEDULES = 240


def test_every_schedule_is_good() -> None:
    bad: dict[str, list[tuple[int, str]]] = {}
    played = 0
    for part in run(0, _SCHEDULES, 2):
        played += part.schedules
        bad |= part.first
    assert bad == {}, "replay one with: python tests/faults --trace --seed SEED"
    assert played == _SCHEDULES


def test_one_seed_is_one_schedule(modelled: None) -> None:
    first, second = (play(17, tracing=True) for _ in range(2))
    assert first == second
    assert first.lines == second.lines
    assert first.api_calls > 100


def test_without_faults_nothing_is_injected(modelled: None) -> None:
    calm = play(3, rates=NONE)
    assert calm.violations == []
    assert not calm.injected


def test_a_schedule_injects_faults_of_many_kinds(modelled: None) -> None:
    kinds = set()
    for seed in range(40, 60):
        kinds |= set(play(seed).injected)
    assert {"duplicate", "duplicate_new_id", "lost", "late", "throttled", "ambiguous", "aimed"} <= kinds
    assert {"crash_before_effect", "crash_after_effect", "command_late", "command_lost", "command_slow"} <= kinds


def test_the_command_says_what_it_has_played() -> None:
    program = Path(__file__).with_name("__main__.py")
    told = subprocess.run(
        [sys.executable, str(program.parent), "--schedules", "4", "--processes", "1"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "good                            4   100.000 %" in told.stdout
    traced = subprocess.run(
        [sys.executable, str(program.parent), "--seed", "2", "--trace"], capture_output=True, text=True, check=True
    )
    assert "the faults have ended" in traced.stdout


@pytest.mark.parametrize("inline", [True, False])
def test_processes_take_turns_in_the_order_of_time(inline: bool) -> None:
    clock, seen = Clockwork(0.0, inline=inline), []

    def body(name: str, seconds: float) -> None:
        for _ in range(3):
            clock.advance(seconds)
            seen.append((name, round(clock.now, 3)))

    clock.start(0.0, Process("lambda", "a"), lambda: body("a", 1.0))
    clock.start(0.0, Process("lambda", "b"), lambda: body("b", 0.7))
    clock.at(10.0, clock.finish)
    clock.run()
    assert seen == [("b", 0.7), ("a", 1.0), ("b", 1.4), ("a", 2.0), ("b", 2.1), ("a", 3.0)]


def test_a_doomed_process_dies_where_it_would_go_on() -> None:
    clock, seen = Clockwork(0.0), []
    process = Process("host", "p")

    def body() -> None:
        try:
            clock.advance(5.0)
            seen.append("lived")
        except Crash:
            seen.append("died")
            raise

    clock.start(0.0, process, body)
    clock.at(1.0, clock.doom, process)
    clock.at(9.0, clock.finish)
    clock.run()
    assert seen == ["died"]
    assert clock.live() == []


def test_a_mistake_of_the_model_ends_it() -> None:
    clock = Clockwork(0.0)
    clock.start(0.0, Process("lambda", "p"), lambda: clock.advance(2.0))
    clock.at(1.0, lambda: {}["not there"])
    with pytest.raises(KeyError):
        clock.run()


def test_dice_stop() -> None:
    dice = Dice(random.Random(1), Rates(lost=1.0), stress=1.0)
    assert dice.chance("lost") or dice.chance("lost") or dice.chance("lost")
    dice.stop()
    assert not any(dice.chance("lost") for _ in range(50))
    assert dice.of_call() == ""
