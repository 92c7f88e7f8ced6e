"""Several ways to do the same, measured in turns on one server."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Final

from benchmarks.bench import Bench, Size, Used, WorkerProcess
from benchmarks.figures import Spread, in_turns, ratios, spread, written
from benchmarks.report import Report

WALL: Final = "wall"
WORKER_CPU: Final = "worker_cpu"
SERVER_CPU: Final = "server_cpu"
CPU: Final = "cpu"


@dataclass
class Side:
    """One of the ways, and what was measured of it."""

    name: str
    worker: WorkerProcess
    run: Callable[[str], Awaitable[Any]]
    """Runs it under the id that it is given."""
    used: list[Used] = field(default_factory=list[Used])
    ids: list[str] = field(default_factory=list[str])

    def seconds(self, figure: str) -> list[float]:
        """Give one figure of every run."""
        return [getattr(used, figure) for used in self.used]

    def cells(self) -> dict[str, str]:
        """Give the medians, for a table."""
        return {each: f"{median(self.seconds(each)):.2f} s" for each in _FIGURES}


_FIGURES: Final = (WALL, WORKER_CPU, SERVER_CPU)


async def measure(
    place: Bench, report: Report, what: str, sides: Sequence[Side], rounds: int
) -> None:
    """Measure every side so many times, in turns, after one round that warms up."""
    for at, side in in_turns(sides, rounds + 1):
        used, id_ = await place.measured(side.worker, side.run)
        seconds = {name: round(value, 4) for name, value in asdict(used).items()}
        report.run(what=what, round=at, side=side.name, **seconds)
        if at:
            side.used.append(used)
            side.ids.append(id_)


async def sizes_of(place: Bench, side: Side) -> list[Size]:
    """Give what each run of a side left in history."""
    return await asyncio.gather(*[place.size(id_) for id_ in side.ids])


def ratio(above: Side, below: Side, figure: str) -> Spread:
    """Compare two sides, round by round."""
    return spread(ratios(above.seconds(figure), below.seconds(figure)))


def ratio_cells(above: Side, below: Side) -> dict[str, str]:
    """Give the ratios of two sides, for a table."""
    return {each: written(ratio(above, below, each)) for each in _FIGURES}
