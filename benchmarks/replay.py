"""What replaying a tree costs beside the same work written by hand; no server is needed.

    python -m benchmarks.replay [--pairs N] [--shape NAME]... [--jsonl FILE]

A replay is what a worker does when it takes over a run, and it runs all of a workflow's code and
nothing else. Both sides replay histories of the same structure (`benchmarks.histories`) in the
same sandbox, by turns; what counts is the processor time of the whole process, and of the ratios
of the pairs the median.

The start is everything up to the first activity: the sandbox, reading the document, what the
executors are. By hand it is that of a chain, which has next to nothing to read.
"""

import argparse
import asyncio
import compileall
import gc
import json
import sys
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any, Final

from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, WorkflowReplayResult

import regrow.workflows
from benchmarks import by_hand
from benchmarks.by_hand import Chain, Fan, Graph
from benchmarks.histories import first_task_of, history_by_hand, history_of_tree
from benchmarks.shapes import Shape, chain, diamond, fan, layered
from regrow.plugin import RegrowPlugin

TARGET: Final = "≤ 1.05"
_PAIRS: Final = 7


@dataclass(frozen=True, slots=True)
class Case:
    """A shape, the workflow that does the same, and how ends arrive on a real server."""

    shape: Shape
    by_hand: type
    argument: Any
    batch: int
    """So many activities end between two workflow tasks."""

    @property
    def name(self) -> str:
        """What it is called."""
        return self.shape.name

    def histories(self) -> tuple[WorkflowHistory, ...]:
        """Give those of tree and workflow, and of how each of them starts."""
        links = chain(len(self.shape.dependencies))
        return (
            history_of_tree(self.shape, self.batch),
            history_by_hand(self.by_hand.__name__, self.argument, self.shape, self.batch),
            first_task_of(history_of_tree(self.shape, self.batch, max_in_flight=1)),
            first_task_of(history_by_hand(Chain.__name__, len(links.dependencies), links, 1)),
        )


def _graph(shape: Shape, batch: int) -> Case:
    return Case(shape, Graph, shape.dependencies, batch)


CASES: Final[Mapping[str, Case]] = {
    case.name: case
    for case in (
        Case(fan(1000), Fan, 1000, batch=60),
        Case(chain(300), Chain, 300, batch=1),
        _graph(layered(10, 100), batch=12),
        _graph(diamond(300), batch=2),
    )
}


@dataclass(frozen=True, slots=True)
class Pair:
    """The seconds of one round."""

    tree: float
    by_hand: float
    tree_start: float
    by_hand_start: float

    @property
    def ratio(self) -> float:
        """What a tree costs in all."""
        return self.tree / self.by_hand

    @property
    def task_ratio(self) -> float:
        """What a tree costs once it has started."""
        return (self.tree - self.tree_start) / (self.by_hand - self.by_hand_start)


@dataclass(frozen=True, slots=True)
class Row:
    """One figure, as the documentation takes it in; low and high are the quartiles."""

    row: str
    what: str
    target: str
    result: float
    low: float
    high: float
    unit: str
    command: str


async def measure(case: Case, pairs: int = _PAIRS) -> list[Pair]:
    """Replay both sides by turns, after once for nothing."""
    histories = case.histories()
    async with _replaying(histories * (pairs + 1)) as replays:
        seconds = [await _seconds(replays) for _ in range(len(histories) * (pairs + 1))]
    rounds = [seconds[at : at + len(histories)] for at in range(0, len(seconds), len(histories))]
    return [Pair(*each) for each in rounds[1:]]


@asynccontextmanager
async def _replaying(
    histories: Sequence[WorkflowHistory],
) -> AsyncGenerator[AsyncIterator[WorkflowReplayResult]]:
    async def given() -> AsyncGenerator[WorkflowHistory]:
        for history in histories:
            yield history

    replayer = Replayer(workflows=[Fan, Chain, Graph], plugins=[RegrowPlugin()])
    with _compiled():
        async with replayer.workflow_replay_iterator(given()) as replays:
            yield replays


@contextmanager
def _compiled() -> Generator[None]:
    """Let the sandbox, which imports workflow code for each run, find it compiled.

    Installed packages are; a checkout may not be.
    """
    before = sys.pycache_prefix
    with TemporaryDirectory() as folder:
        sys.pycache_prefix = folder
        for module in (regrow, regrow.workflows, by_hand):
            path = Path(str(module.__file__))
            compileall.compile_dir(path.parent, maxlevels=0, quiet=1)
        try:
            yield
        finally:
            sys.pycache_prefix = before


async def _seconds(replays: AsyncIterator[WorkflowReplayResult]) -> float:
    """Give the processor time of the next replay, without the garbage of the one before."""
    gc.collect()
    began = process_time()
    replayed = await anext(replays)
    spent = process_time() - began
    if replayed.replay_failure is not None:
        raise replayed.replay_failure
    return spent


def ratio_of(pairs: Sequence[Pair]) -> float:
    """Give the ratio that counts."""
    return median(pair.ratio for pair in pairs)


def rows(case: Case, pairs: Sequence[Pair]) -> Iterator[Row]:
    """Give what is reported of a case."""
    command = f"python -m benchmarks.replay --shape {case.name} --pairs {len(pairs)}"

    def row(suffix: str, what: str, of: Callable[[Pair], float], unit: str, target: str) -> Row:
        values = [of(pair) for pair in pairs]
        quartiles = quantiles(values, n=4, method="inclusive")
        low, middle, high = (round(value, 3) for value in quartiles)
        return Row(f"replay-{case.name}{suffix}", what, target, middle, low, high, unit, command)

    whole = f"processor time to replay {case.name}, tree / by hand"
    yield row("", whole, lambda pair: pair.ratio, "ratio", TARGET)
    yield row("-tasks", f"{whole}, after the start", lambda pair: pair.task_ratio, "ratio", "")
    yield row("-start", f"start of the tree {case.name}", lambda p: p.tree_start * 1000, "ms", "")
    yield row("-start-by-hand", "start by hand", lambda p: p.by_hand_start * 1000, "ms", "")


def _report(found: Iterable[Row], jsonl: Path | None) -> None:
    for row in found:
        spread = f"[{row.low:.3f} … {row.high:.3f}]"
        print(f"{row.row:40} {row.result:9.3f} {row.unit:6} {spread}")
        if jsonl is not None:
            with jsonl.open("a") as file:
                file.write(f"{json.dumps(asdict(row), ensure_ascii=False)}\n")


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--pairs", type=int, default=_PAIRS)
    parser.add_argument("--shape", action="append", choices=[*CASES], dest="shapes")
    parser.add_argument("--jsonl", type=Path, help="append the figures to this file")
    asked = parser.parse_args()
    for name in asked.shapes or CASES:
        pairs = asyncio.run(measure(CASES[name], asked.pairs))
        _report(rows(CASES[name], pairs), asked.jsonl)


if __name__ == "__main__":
    main()
