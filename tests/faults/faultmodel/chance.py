"""What goes wrong, and how often. One random generator a schedule decides everything, so a seed is a schedule."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, fields

# Each makes work, and so calls, at which the world may move again.
_MOST_MOVES = 10
_PER_CALL = ("world_moves", "throttled", "ambiguous")


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Probabilities of one stress level of 1.

    Of an event: duplicate, duplicate_new_id, lost, late, to_dead_letters (its rule could not reach the queue).
    Of a message: redelivered (SQS shows it again although it was worked off).
    Of an invocation: crash, frozen (it stands still for up to half a minute). sweep_lost: of a sweep.
    Of a call: world_moves (somebody acts just then), throttled, ambiguous (done, and the caller sees a timeout),
    refused (an entry of PutEvents), stale_read (an eventually consistent read that is old).
    Of a write to the records: stalled_write (its writer stands still just before it).
    Of a command: aimed (just before it or while it runs somebody does what makes it wrong), command_lost, command_late, command_slow (runs, and its caller sees no end), unknown_at_first.
    Of the head node: program_dies, slurm_error, master_away.
    Of a node: boot_fails, not_replaced (nobody replaces a node that is down). backup_fails: of a backup.
    """

    duplicate: float = 0.05
    duplicate_new_id: float = 0.025
    lost: float = 0.02
    late: float = 0.06
    to_dead_letters: float = 0.02
    redelivered: float = 0.02
    crash: float = 0.06
    frozen: float = 0.04
    sweep_lost: float = 0.04
    world_moves: float = 0.03
    throttled: float = 0.006
    ambiguous: float = 0.004
    refused: float = 0.02
    stale_read: float = 0.2
    stalled_write: float = 0.015
    aimed: float = 0.12
    command_lost: float = 0.02
    command_late: float = 0.04
    command_slow: float = 0.03
    unknown_at_first: float = 0.1
    program_dies: float = 0.02
    slurm_error: float = 0.01
    master_away: float = 0.04
    boot_fails: float = 0.08
    not_replaced: float = 0.3
    backup_fails: float = 0.1


NONE = Rates(**{field.name: 0.0 for field in fields(Rates)})


class Dice:
    """Decides with the generator of a schedule. Once `stop` was called nothing goes wrong any longer."""

    def __init__(self, random_: random.Random, rates: Rates, *, stress: float) -> None:
        self.random = random_
        self.injected: Counter[str] = Counter()
        self._moves = random_.randint(0, _MOST_MOVES)
        self._rates = {field.name: min(0.5, getattr(rates, field.name) * stress) for field in fields(rates)}
        self._set_per_call()

    def chance(self, kind: str) -> bool:
        """Whether this goes wrong now."""
        rate = self._rates[kind]
        if rate and self.random.random() < rate:
            self.injected[kind] += 1
            return True
        return False

    def of_call(self) -> str:
        """What goes wrong with a call; empty for nothing."""
        if not self.any_per_call:
            return ""
        drawn = self.random.random()
        if drawn >= self.any_per_call:
            return ""
        for kind in _PER_CALL:
            drawn -= self._rates[kind]
            if drawn < 0:
                if kind == "world_moves":
                    if not self._moves:
                        return ""
                    self._moves -= 1
                self.injected[kind] += 1
                return kind
        return ""

    def note(self, kind: str) -> None:
        """Count a fault that was decided elsewhere."""
        self.injected[kind] += 1

    def stop(self) -> None:
        """From now on nothing goes wrong."""
        self._rates = dict.fromkeys(self._rates, 0.0)
        self._set_per_call()

    def heavy_tail(self, typical: float, longest: float) -> float:
        """A delay that is mostly short and sometimes very long."""
        return min(longest, typical * self.random.paretovariate(0.8))

    def _set_per_call(self) -> None:
        self.any_per_call = sum(self._rates[kind] for kind in _PER_CALL)
