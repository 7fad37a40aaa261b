"""How sure a grant pays for so many datasets: ranges drawn many times over. Pure; the draws are always the same."""

from __future__ import annotations

import random
from collections.abc import Sequence

from .calibration import speed
from .choose import Chosen
from .nodes import Overheads
from .totals import datasets_for
from .work import Range

CONFIDENCE = 0.9
_DRAWS = 4000


def datasets_with_confidence(
    grant: float, *, fixed_year: Range, chosen: Chosen, others: Sequence[Range], overheads: Overheads
) -> int:
    """How many datasets a year's grant pays for in CONFIDENCE of all draws.

    Drawn, each from a triangle over its range with its likely value on top: the speed of each GPU model and the minutes of each
    step, both the same for all datasets of the year (an error in them does not average out), and every other amount.
    """
    dice = random.Random(2)  # noqa: S311 - nothing here is secret
    counts = sorted(
        datasets_for(
            grant,
            fixed_year=Range.of(_draw(dice, fixed_year)),
            each=Range.of(_nodes(dice, chosen, overheads) + sum(_draw(dice, other) for other in others)),
        )[0]
        for _ in range(_DRAWS)
    )
    return counts[int((1 - CONFIDENCE) * _DRAWS)]


def _nodes(dice: random.Random, chosen: Chosen, overheads: Overheads) -> float:
    models = {placed.node.shape.gpu_model for placed in chosen} | {placed.work.gpu_model for placed in chosen}
    speeds = {}
    for model in sorted(models):
        found = speed(model)
        speeds[model] = _draw(dice, Range(low=found.low, likely=found.likely, high=found.high)) / found.likely
    total = 0.0
    for placed in chosen:
        minutes = placed.work.minutes
        usd_an_hour = placed.node.usd_per_hour
        idle = min(placed.usd.likely, overheads.billed / 60 * usd_an_hour)
        faster = speeds[placed.node.shape.gpu_model] / speeds[placed.work.gpu_model]
        total += idle + (placed.usd.likely - idle) * _draw(dice, minutes) / minutes.likely / faster
    return total


def _draw(dice: random.Random, value: Range) -> float:
    return value.likely if value.exact else dice.triangular(value.low, value.high, value.likely)
