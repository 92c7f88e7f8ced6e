"""How fast trees run on a real server, beside hand-written workflows with the same activities.

Without an option that names another comparison, each shape is run as a tree and by hand, in turns,
by the same worker process. CPU is that of the worker, user and system.
"""

import argparse
from functools import partial
from typing import Final

from benchmarks import shapes, targets
from benchmarks.bench import Bench
from benchmarks.command import parser, run
from benchmarks.comparing import WALL, WORKER_CPU, Side, measure, ratio, ratio_cells, sizes_of
from benchmarks.figures import Spread, spread
from benchmarks.local import compare_local, measure_batch
from benchmarks.report import Report
from benchmarks.shapes import Shape
from benchmarks.sizes import compare_sizes
from benchmarks.stock import compare_with_stock

_SHAPES: Final = "fan-1000,chain-300,layered-10x100,diamond-300"
_KINDS: Final = {
    "fan": shapes.fan,
    "chain": shapes.chain,
    "layered": shapes.layered,
    "diamond": shapes.diamond,
}
_MANY: Final = 200
"""Tasks of a fan from which on its events per task have a target."""


def main() -> None:
    """Read the options and measure."""
    made = parser(__doc__, repetitions=7)
    made.add_argument("--shapes", type=_shapes, default=_SHAPES, help="default: %(default)s")
    made.add_argument("--versus-stock", action="store_true", help="Regrow's worker and a stock one")
    made.add_argument("--sizes", type=_sizes, help="such as 1000,10000: cost per task of each")
    made.add_argument("--local", action="store_true", help="local tasks, and a batch")
    options = made.parse_args()
    if options.versus_stock:
        run(options, compare_with_stock)
    elif options.sizes:
        run(options, compare_sizes)
    elif options.local:
        run(options, compare_local, measure_batch)
    else:
        run(options, compare_shapes)


async def compare_shapes(place: Bench, report: Report, options: argparse.Namespace) -> None:
    """Compare trees with hand-written workflows, shape by shape."""
    async with place.worker() as worker:
        for shape in options.shapes:
            tree = Side("tree", worker, partial(place.tree, worker, shape.document()))
            hand = Side("by hand", worker, partial(place.by_hand, worker, shape))
            await measure(place, report, shape.name, [tree, hand], options.repetitions)
            await _tell(place, report, shape, tree, hand)


async def _tell(place: Bench, report: Report, shape: Shape, tree: Side, hand: Side) -> None:
    for side in (tree, hand):
        sizes, tasks = await sizes_of(place, side), len(shape.dependencies)
        events = spread([size.events / tasks for size in sizes])
        each = {"events_a_task": events.middle, "bytes_a_task": sizes[-1].bytes / tasks}
        report.table("end_to_end", shape=shape.name, run=side.name, **side.cells(), **each)
        if side is tree:
            _tell_events(report, shape, events)
    ratios = ratio_cells(tree, hand)
    report.table("end_to_end", shape=shape.name, run="tree ÷ by hand", **ratios)
    for id_, what, figure in (("wall", "Wall", WALL), ("cpu", "Worker CPU", WORKER_CPU)):
        about = f"{what}, {shape.name}, tree ÷ hand-written"
        row = f"end_to_end.{id_}.{shape.name}"
        report.row(row, about, targets.RATIO, ratio(tree, hand, figure))


def _tell_events(report: Report, shape: Shape, found: Spread) -> None:
    what = f"Events per task, {shape.name}"
    if shape.name.startswith("chain"):
        report.row(f"events.chain.{shape.name}", what, targets.CHAIN_EVENTS, found, "events")
    if shape.name.startswith("fan") and len(shape.dependencies) >= _MANY:
        report.row(f"events.fan.{shape.name}", what, targets.FAN_EVENTS, found, "events")


def _shapes(text: str) -> list[Shape]:
    return [_shape(word) for word in text.split(",")]


def _shape(word: str) -> Shape:
    kind, _, size = word.partition("-")
    return _KINDS[kind](*map(int, size.split("x")))


def _sizes(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


if __name__ == "__main__":
    main()
