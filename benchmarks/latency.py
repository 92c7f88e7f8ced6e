"""How long the smallest trees take, from the request to start until the result is there.

One task, and a chain of three; as a tree, by hand, and with `--local` as a tree of local tasks, in
turns.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from typing import Final

from benchmarks.bench import Bench, WorkerProcess
from benchmarks.command import parser, run
from benchmarks.comparing import WALL, Side, measure, ratio
from benchmarks.figures import percentile, written
from benchmarks.report import Report
from benchmarks.shapes import Shape, chain

_SHAPES: Final = (chain(1), chain(3))


def main() -> None:
    """Read the options and measure."""
    made = parser(__doc__, repetitions=100)
    made.add_argument("--local", action="store_true", help="also trees of local tasks")
    run(made.parse_args(), measure_latency)


async def measure_latency(place: Bench, report: Report, options: argparse.Namespace) -> None:
    """Measure each shape in each way."""
    async with place.worker() as worker:
        for shape in _SHAPES:
            sides = _sides(place, worker, shape, with_local=options.local)
            await measure(place, report, shape.name, sides, options.repetitions)
            _tell(report, shape, sides)


def _sides(
    place: Bench, worker: WorkerProcess, shape: Shape, *, with_local: bool
) -> Sequence[Side]:
    ways = {"tree": partial(place.tree, worker, shape.document())}
    if with_local:
        ways["tree, local tasks"] = partial(place.tree, worker, shape.document(local=True))
    ways["by hand"] = partial(place.by_hand, worker, shape)
    return [Side(name, worker, way) for name, way in ways.items()]


def _tell(report: Report, shape: Shape, sides: Sequence[Side]) -> None:
    by_hand = sides[-1]
    for side in sides:
        report.table(
            "latency",
            tasks=len(shape.dependencies),
            run=side.name,
            p50=_milliseconds(side, 0.5),
            p95=_milliseconds(side, 0.95),
            to_by_hand="" if side is by_hand else written(ratio(side, by_hand, WALL)),
        )


def _milliseconds(side: Side, share: float) -> str:
    return f"{1000 * percentile(side.seconds(WALL), share):.0f} ms"


if __name__ == "__main__":
    main()
