"""How long a tree will still take, judged by how long it took before."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import ceil
from statistics import median
from typing import Final

_LEAST: Final = 2
"""Seconds; what took less is over before anybody asks."""
_MINUTE, _HOUR = 60, 3600
_TO_THE_SECOND: Final = 10
_STEP: Final = 5


@dataclass(frozen=True, slots=True)
class Estimate:
    """How long earlier runs took."""

    typical: timedelta
    runs: int

    @classmethod
    def of(cls, spans: Sequence[timedelta]) -> "Estimate | None":
        """Judge by earlier runs, if there are any worth it."""
        typical = median(span.total_seconds() for span in spans) if spans else 0
        return cls(timedelta(seconds=typical), len(spans)) if typical >= _LEAST else None


def told(estimate: Estimate, elapsed: timedelta) -> tuple[str, str]:
    """Say what is left, or that it takes longer than before, and how one knows."""
    left = estimate.typical - elapsed
    if left <= timedelta():
        which = f"{estimate.runs} earlier runs" if estimate.runs > 1 else "the run before"
        return f"longer than the {roughly(estimate.typical)}", f"of {which}"
    by = f"median of {estimate.runs} earlier runs" if estimate.runs > 1 else "as the run before"
    return f"about {roughly(left)} left", f"({by})"


def roughly(span: timedelta) -> str:
    """Write how long something takes, no more exactly than one can know."""
    seconds = ceil(span.total_seconds())
    if seconds <= _TO_THE_SECOND:
        return f"{seconds}s"
    if (steps := ceil(seconds / _STEP) * _STEP) < _MINUTE:
        return f"{steps}s"
    if seconds < _HOUR:
        return f"{round(seconds / _MINUTE)}m"
    hours, rest = divmod(round(seconds / _MINUTE), _MINUTE)
    return f"{hours}h{rest:02}m"
