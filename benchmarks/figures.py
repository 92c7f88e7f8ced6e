"""From measurements to figures: the middle, how sure it is, and whether it meets its target.

Two ways of doing the same are measured in turns, A B B A, and compared pair by pair, so that a
machine that gets slower for a while slows both. The figure is the median of the ratios, with the
interval in which it lies for 95 of 100 samples drawn anew from them.
"""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, TypeVar

_DRAWS: Final = 2_000
_SHARE: Final = 0.95
_WHOLE: Final = 99.95

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Spread:
    """A median with the interval it lies in."""

    middle: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Give the median and its bootstrap interval, the same for the same values."""
    draw = random.Random(0)  # noqa: S311 - no secret
    middles = sorted(median(draw.choices(values, k=len(values))) for _ in range(_DRAWS))
    outside = (1 - _SHARE) / 2
    return Spread(median(values), percentile(middles, outside), percentile(middles, 1 - outside))


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Divide pair by pair."""
    return [one / other for one, other in zip(above, below, strict=True)]


def percentile(values: Sequence[float], share: float) -> float:
    """Give the value below which this share of all lies, between two if need be."""
    ordered, place = sorted(values), share * (len(values) - 1)
    before = int(place)
    after = min(before + 1, len(ordered) - 1)
    return ordered[before] + (ordered[after] - ordered[before]) * (place - before)


def in_turns(sides: Sequence[T], rounds: int) -> Iterator[tuple[int, T]]:
    """Give each side once a round, every other round backwards: A B, B A, A B."""
    for at in range(rounds):
        for side in sides if at % 2 == 0 else reversed(sides):
            yield at, side


def meets(target: str, low: float, high: float) -> str:
    """Say whether a figure meets `≤ 1.05` or `≥ 20,000`: the interval decides, if it is clear."""
    found = re.match(r"([≤≥]) ([\d.,]+)", target)
    if found is None:
        return ""
    limit = float(found[2].replace(",", ""))
    worst, best = (high, low) if found[1] == "≤" else (-low, -high)
    limit = limit if found[1] == "≤" else -limit
    return "yes" if worst <= limit else "no" if best > limit else "within the spread"


def number(value: float) -> str:
    """Write a figure with three digits, or whole with its thousands apart."""
    return f"{value:,.0f}" if value >= _WHOLE else f"{value:#.3g}"


def exactly(value: float) -> Spread:
    """Give a figure that is counted and not measured."""
    return Spread(value, value, value)


def written(found: Spread) -> str:
    """Write a figure with its interval."""
    return f"{number(found.middle)} ({number(found.low)} to {number(found.high)})"
