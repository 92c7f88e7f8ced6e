"""How much later a tree ends if its worker is killed in the middle and started again at once.

What the worker ran is noticed by its missing heartbeat, and what it decided by the sticky timeout.
So the time lost may be the heartbeat timeout, the start of a worker, and little more.
"""

import argparse
from contextlib import aclosing
from functools import partial
from statistics import median
from typing import Any, Final

from benchmarks import targets
from benchmarks.bench import Bench, WorkerProcess
from benchmarks.command import parser, run
from benchmarks.comparing import WALL, Side, measure
from benchmarks.figures import spread
from benchmarks.report import Report
from regrow import Status, TreeClient, TreeHandle

_TASKS: Final = 200
_HEARTBEAT: Final = 5
_TREE: Final[dict[str, Any]] = {
    "name": f"naps-{_TASKS}",
    "max_in_flight": 20,
    "outputs": {},
    "defaults": {"heartbeat_timeout": _HEARTBEAT},
    "tasks": [
        {"id": f"t{at}", "executor": "nap", "inputs": {"seconds": 0.1}} for at in range(_TASKS)
    ],
}


def main() -> None:
    """Read the options and measure."""
    run(parser(__doc__, repetitions=3).parse_args(), measure_recovery)


async def measure_recovery(place: Bench, report: Report, options: argparse.Namespace) -> None:
    """Run the tree undisturbed and killed, in turns."""
    starts: list[float] = []
    async with place.worker() as worker:
        calm = Side("undisturbed", worker, partial(place.tree, worker, _TREE))
        killed = Side("killed", worker, partial(_killed, place, worker, starts))
        await measure(place, report, _TREE["name"], [calm, killed], options.repetitions)
    for side in (calm, killed):
        report.table("recovery", run=side.name, wall=side.cells()[WALL])
    pairs = zip(killed.seconds(WALL), calm.seconds(WALL), strict=True)
    lost, start = spread([late - early for late, early in pairs]), median(starts)
    limit = _HEARTBEAT + start + targets.RECOVERY_SLACK
    what = (
        f"kill -9 of the worker, {_TREE['name']}: time lost; {_HEARTBEAT} s heartbeat timeout,"
        f" {start:.1f} s worker start"
    )
    report.row("recovery", what, f"≤ {limit:.1f} s", lost, "s")


async def _killed(place: Bench, worker: WorkerProcess, starts: list[float], id_: str) -> None:
    client = TreeClient(place.client, task_queue=worker.task_queue)
    handle = await client.start(_TREE, id=id_)
    await _half_done(handle)
    await worker.kill()
    starts.append(await worker.start())
    await handle.result()


async def _half_done(handle: TreeHandle) -> None:
    ended = 0
    async with aclosing(handle.watch()) as changes:
        async for change in changes:
            ended += change.status is Status.COMPLETED
            if ended == _TASKS // 2:
                return


if __name__ == "__main__":
    main()
