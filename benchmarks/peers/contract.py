"""What the program of a peer is asked and answers, whatever it runs on.

A program reads on standard input which task depends on which, by position, how often to run them
and for how long at most. It starts its engine with its state in the current folder, warms it up,
runs, checks each run, and leaves its answer there. This module needs nothing but Python: it is
imported in the environment of each peer.
"""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final

Dependencies = Sequence[Sequence[int]]
"""What each task depends on, by position; all of it stands before the task."""
Run = Callable[[Dependencies], Awaitable[Sequence[Any]]]
"""Runs tasks and gives their results by position."""
Engine = Callable[[Path], AbstractAsyncContextManager[Run]]
"""An engine with its state in a folder, ready to run for as long as the block lasts."""

ANSWER: Final = "answer.json"
ASSERTED: Final = "each task ran once, after all that it depends on, and each result came back"
_WARM_UP: Final = ((), (0,), (1,))

_done: list[int] = []


class Unavailable(Exception):  # noqa: N818 - no error, but an answer
    """This peer cannot run here; the text says why."""


def work(at: int) -> dict[str, int]:
    """Do the work of a task, which is none."""
    _done.append(at)
    return {"task": at}


def answer(engine: Engine) -> None:
    """Do what standard input asks, and leave the answer in the current folder."""
    asked = json.load(sys.stdin)
    try:
        told = asyncio.run(_measured(engine, **asked))
    except Unavailable as reason:
        told = {"unavailable": str(reason)}
    Path(ANSWER).write_text(json.dumps(told), encoding="utf-8")


def levels(dependencies: Dependencies) -> list[list[int]]:
    """Group the tasks so that each depends on earlier groups alone."""
    depths: list[int] = []
    for others in dependencies:
        depths.append(1 + max((depths[other] for other in others), default=-1))
    groups: list[list[int]] = [[] for _ in range(max(depths, default=-1) + 1)]
    for at, depth in enumerate(depths):
        groups[depth].append(at)
    return groups


def check(dependencies: Dependencies, done: Sequence[int], results: Sequence[Any]) -> None:
    """Raise `AssertionError` unless each task ran once, in order, and has its result."""
    places = {at: place for place, at in enumerate(done)}
    if len(done) != len(dependencies) or len(places) != len(dependencies):
        runs = f"{len(done)} runs of {len(places)} tasks"
        raise AssertionError(f"{runs}, not one of each of {len(dependencies)}")
    for at, others in enumerate(dependencies):
        if any(places[other] > places[at] for other in others):
            raise AssertionError(f"task {at} ran before what it depends on")
        if results[at] != {"task": at}:
            raise AssertionError(f"the result of task {at} is {results[at]!r}")


async def _measured(
    engine: Engine, dependencies: Dependencies, times: int, limit: float
) -> dict[str, Any]:
    async with engine(Path.cwd()) as run:
        await _timed(run, _WARM_UP, limit)
        cpu = _cpu_seconds()
        seconds = [await _timed(run, dependencies, limit) for _ in range(times)]
        cpu = (_cpu_seconds() - cpu) / times
    return {"seconds": seconds, "cpu": cpu, "tasks": len(dependencies), "asserted": ASSERTED}


async def _timed(run: Run, dependencies: Dependencies, limit: float) -> float:
    """Run once; past the limit the alarm ends this process, whatever blocks it."""
    _done.clear()
    signal.setitimer(signal.ITIMER_REAL, limit)
    start = time.perf_counter()
    results = await run(dependencies)
    seconds = time.perf_counter() - start
    signal.setitimer(signal.ITIMER_REAL, 0)
    check(dependencies, _done, results)
    return seconds


def _cpu_seconds() -> float:
    """Add up the processor time of this process and all below it; 0 where no /proc tells."""
    parents = dict(_processes())
    used = 0
    for pid, (parent, ticks) in parents.items():
        while pid != os.getpid() and parent in parents:
            pid, parent = parent, parents[parent][0]  # noqa: PLW2901 - climbs to the top
        used += ticks if pid == os.getpid() else 0
    return used / os.sysconf("SC_CLK_TCK")


def _processes() -> Iterator[tuple[int, tuple[int, int]]]:
    """Give each process with its parent and the ticks that it has used."""
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = file.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        yield int(file.parent.name), (int(fields[1]), sum(map(int, fields[11:15])))
