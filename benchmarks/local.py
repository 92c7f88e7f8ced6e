"""Two ways around the price of an activity per task: local tasks, and a batch."""

import argparse
from functools import partial
from typing import Any, Final

from benchmarks import targets
from benchmarks.bench import Bench
from benchmarks.comparing import WALL, Side, measure, ratio, ratio_cells, sizes_of
from benchmarks.figures import spread
from benchmarks.report import Report
from benchmarks.shapes import EXECUTOR, fan

_FAN: Final = fan(1_000)
_ITEMS: Final = 500
_AT_ONCE: Final = 50
_BATCH: Final[dict[str, Any]] = {
    "name": f"batch-{_ITEMS}",
    "tasks": [
        {
            "id": "batch",
            "inputs": {
                "executor": EXECUTOR,
                "items": [{"value": at} for at in range(_ITEMS)],
                "max_in_flight": _AT_ONCE,
            },
        }
    ],
}


async def compare_local(place: Bench, report: Report, options: argparse.Namespace) -> None:
    """Compare a fan of local tasks with one of regular tasks."""
    async with place.worker() as worker:
        local = Side("local", worker, partial(place.tree, worker, _FAN.document(local=True)))
        regular = Side("regular", worker, partial(place.tree, worker, _FAN.document()))
        await measure(place, report, _FAN.name, [local, regular], options.repetitions)
        for side in (local, regular):
            sizes = await sizes_of(place, side)
            per_task = sizes[-1].events / len(_FAN.dependencies)
            report.table("local", tasks=side.name, **side.cells(), events_a_task=per_task)
    report.table("local", tasks="local ÷ regular", **ratio_cells(local, regular))
    what = f"Wall, {_FAN.name}, local ÷ regular"
    report.row("local.wall", what, targets.LOCAL, ratio(local, regular, WALL))


async def measure_batch(place: Bench, report: Report, options: argparse.Namespace) -> None:
    """Measure how many items a second one batch does, by the time that its activity took."""
    async with place.worker() as worker:
        durations: list[float] = []

        async def run(id_: str) -> None:
            result = await place.tree(worker, _BATCH, id_)
            durations.append(float(result.tasks["batch"].metadata["duration"]))

        side = Side("batch", worker, run)
        await measure(place, report, _BATCH["name"], [side], options.repetitions)
    rates = spread([_ITEMS / seconds for seconds in durations[1:]])
    report.row("batch.items", f"One batch of {_ITEMS} items", targets.BATCH, rates, "items/s")
