"""What a task costs in trees of different sizes, and how large their single runs get.

A tree is all that belongs to it: its continuations, and the child workflows of its parts.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Final

from benchmarks import targets
from benchmarks.bench import Bench, Size, WorkerProcess
from benchmarks.comparing import SERVER_CPU, WALL, WORKER_CPU, Side, measure, sizes_of
from benchmarks.figures import Spread, exactly, ratios, spread
from benchmarks.report import Report
from benchmarks.shapes import Shape, fan, layered
from regrow.testing import assert_replays

_WIDTH: Final = 100
_REPLAYS: Final = 3


@dataclass(frozen=True, slots=True)
class _Tree:
    """A tree of some size, and what was measured of it."""

    shape: Shape
    side: Side

    @property
    def tasks(self) -> int:
        return len(self.shape.dependencies)

    def per_task(self, figure: str) -> list[float]:
        return [seconds / self.tasks for seconds in self.side.seconds(figure)]

    def milliseconds(self, figure: str) -> str:
        return f"{1000 * median(self.per_task(figure)):.2f} ms"


async def compare_sizes(place: Bench, report: Report, options: argparse.Namespace) -> None:
    """Run fans and layers of every size in turns; others are compared to the first size."""
    seen: list[Size] = []
    async with place.worker() as worker:
        for kind in ("fan", "layered"):
            trees = [_tree(place, worker, kind, tasks) for tasks in options.sizes]
            await measure(place, report, kind, [each.side for each in trees], options.repetitions)
            for tree in trees:
                sizes = await sizes_of(place, tree.side)
                _tell(report, tree, sizes)
                if tree is not trees[0]:
                    _compare(report, tree, trees[0], sizes)
                seen += sizes
        await _tell_largest(place, report, seen)


def _tree(place: Bench, worker: WorkerProcess, kind: str, tasks: int) -> _Tree:
    shape = fan(tasks) if kind == "fan" else layered(tasks // _WIDTH, _WIDTH)
    return _Tree(shape, Side(shape.name, worker, partial(place.tree, worker, shape.document())))


def _tell(report: Report, tree: _Tree, sizes: Sequence[Size]) -> None:
    events = max(size.largest_events for size in sizes)
    bytes_ = max(size.largest_bytes for size in sizes)
    report.table(
        "sizes",
        tree=tree.shape.name,
        wall_a_task=tree.milliseconds(WALL),
        worker_cpu_a_task=tree.milliseconds(WORKER_CPU),
        server_cpu_a_task=tree.milliseconds(SERVER_CPU),
        runs=sizes[-1].runs,
        events_a_task=_events_a_task(tree, sizes).middle,
        largest_run=f"{events:,} events, {bytes_:,} bytes",
    )


def _events_a_task(tree: _Tree, sizes: Sequence[Size]) -> Spread:
    return spread([size.events / tree.tasks for size in sizes])


def _compare(report: Report, tree: _Tree, first: _Tree, sizes: Sequence[Size]) -> None:
    name, per_task = tree.shape.name, _events_a_task(tree, sizes)
    what = f"Worker CPU per task, {name} ÷ {first.shape.name}"
    flat = spread(ratios(tree.per_task(WORKER_CPU), first.per_task(WORKER_CPU)))
    report.row(f"sizes.cpu.{name}", what, targets.FLAT, flat)
    what, row = f"Events per task, {name}", f"events.partitioned.{name}"
    report.row(row, what, targets.PARTITIONED_EVENTS, per_task, "events")


async def _tell_largest(place: Bench, report: Report, sizes: Sequence[Size]) -> None:
    """Tell about the largest run of all the trees, which is what a worker may have to replay."""
    most = max(sizes, key=lambda size: size.largest_events)
    events, size = most.largest_events, max(size.largest_bytes for size in sizes)
    what = "Largest single run, {}".format
    report.row("largest.events", what("events"), targets.RUN_EVENTS, exactly(events), "events")
    report.row("largest.bytes", what("bytes"), targets.RUN_BYTES, exactly(size), "bytes")
    seconds = spread(await _replays(place, *most.largest))
    report.row("largest.replay", what("CPU of its replay"), targets.RUN_REPLAY, seconds, "s")


async def _replays(place: Bench, id_: str, run_id: str) -> list[float]:
    """Replay a run some times, and give the CPU time of each; the first time is not counted."""
    history = await place.client.get_workflow_handle(id_, run_id=run_id).fetch_history()
    taken: list[float] = []
    for _ in range(_REPLAYS + 1):
        before = time.process_time()
        await assert_replays(history)
        taken.append(time.process_time() - before)
    return taken[1:]
