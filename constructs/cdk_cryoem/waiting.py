"""What waiting for a node is worth: cheap lanes are then held a little while people work."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from .problems import Problem, known
from .working_hours import WorkingHours, working_hours_problems

LONGEST_MINUTES = 15
"""The hooks remind themselves of the end of a hold by a delayed message, and SQS delays one by 15 minutes at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """The price of an hour in which somebody waits for a node, from which the hooks make the hold time of each lane.

    usd_per_hour: USD, above 0; what is lost while a node boots, not a salary: most people do something else meanwhile.
        A lane is held from three times its node's price per hour on, two and a half minutes for each time.
    longest_minutes: no node is held longer for it, 1 to 15, default 10. With ParallelCluster not more than the cluster's
        idle_backstop_minutes; tell Pcs of it, which has its own idle times (longest_hold_minutes).
    hours: when somebody waits; default Monday to Friday from nine to seven, UTC. At other times lanes hold as they say.

    Costs idle time of the cheap lanes: docs/waiting.md has both operating points. Errors: CryoEmError of whatever takes
    it, with all problems.
    """

    usd_per_hour: float
    longest_minutes: int = 10
    hours: WorkingHours = field(default_factory=WorkingHours)


def waiting_problems(waiting: Waiting) -> Iterator[Problem]:
    """What is wrong with it, in the names of the properties."""
    if known(waiting.usd_per_hour) and not 0 < waiting.usd_per_hour < math.inf:
        yield Problem(property="usd_per_hour", value=waiting.usd_per_hour, allowed="above 0")
    if known(waiting.longest_minutes) and not 1 <= waiting.longest_minutes <= LONGEST_MINUTES:
        yield Problem(property="longest_minutes", value=waiting.longest_minutes, allowed=f"1 to {LONGEST_MINUTES}")
    for problem in working_hours_problems(waiting.hours):
        yield problem.under("hours")


def environment_text(waiting: Waiting | None) -> str:
    """The hooks' environment variable WAITING: JSON, or nothing where waiting has no price."""
    if waiting is None:
        return ""
    document = {
        "usd_per_hour": waiting.usd_per_hour,
        "longest_minutes": waiting.longest_minutes,
        **waiting.hours.document(),
    }
    return json.dumps(document, separators=(",", ":"))
