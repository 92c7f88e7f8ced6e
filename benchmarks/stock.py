"""Regrow's worker beside a `Worker` as the SDK makes it, both running the same workflow by hand.

In between stands the stock worker with the activities of Regrow's executors: what hosting them
costs, with their context, heartbeats and outcomes, and what the worker's options give, are two
figures.
"""

import argparse
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

from benchmarks import targets
from benchmarks.bench import Bench, Kind
from benchmarks.comparing import CPU, WALL, WORKER_CPU, Side, measure, ratio, ratio_cells
from benchmarks.report import Report
from benchmarks.shapes import fan

_FAN: Final = fan(200)
_KINDS: Final[tuple[Kind, ...]] = ("tuned", "hosted", "stock")
_NAMES: Final = {
    "tuned": "Regrow's worker",
    "hosted": "stock worker, Regrow's activities",
    "stock": "stock worker, plain activities",
}

_ROWS: Final = (
    ("cpu.both", "CPU of worker and server", CPU),
    ("cpu.worker", "CPU of the worker", WORKER_CPU),
    ("wall", "Wall", WALL),
)


async def compare_with_stock(place: Bench, report: Report, options: argparse.Namespace) -> None:
    """Compare the workers."""
    async with AsyncExitStack() as stack:
        workers = [await stack.enter_async_context(place.worker(kind)) for kind in _KINDS]
        sides = [
            Side(_NAMES[kind], worker, partial(place.by_hand, worker, _FAN))
            for kind, worker in zip(_KINDS, workers, strict=True)
        ]
        await measure(place, report, _FAN.name, sides, options.repetitions)
    _tell(report, *sides)


def _tell(report: Report, tuned: Side, hosted: Side, stock: Side) -> None:
    for side in (tuned, hosted, stock):
        report.table("stock", worker=side.name, **side.cells())
    report.table("stock", worker="Regrow's ÷ stock", **ratio_cells(tuned, stock))
    report.table("stock", worker="with the same activities", **ratio_cells(tuned, hosted))
    for id_, what, figure in _ROWS:
        about = f"{what}, {_FAN.name} by hand, Regrow's worker ÷ stock"
        report.row(f"stock.{id_}", about, targets.STOCK, ratio(tuned, stock, figure))
