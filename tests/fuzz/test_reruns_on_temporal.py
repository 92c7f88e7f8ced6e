"""Random trees in which something fails, mended and run again on a real server.

What the executors themselves count: nothing that is kept is executed, nothing is executed twice,
nothing is dropped; and it all ends as it does in a tree that nothing disturbed.

What time has decided stays as it was: waits that nobody answers. REGROW_LONG=1 runs ten times as
many.
"""

import asyncio
import itertools
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, cast
from uuid import uuid4

import pytest
from hypothesis import Phase, assume, given, settings
from tests.fuzz.oracle import Approved, Rejected, Scripted, without_times
from tests.fuzz.strategies import LanguageCase, language_cases
from tests.fuzz.test_random_trees_on_temporal import SCRIPTS, TRACES, Probe, answering
from tests.fuzz.test_rerun import (
    FIRST,
    SLOW,
    Executions,
    Ran,
    executed,
    kept_inside,
    plan_of,
    tree_of,
)

from regrow import Status, Trace
from regrow.client import TreeClient, TreeFailed, TreeHandle
from regrow.core.rerun import RerunPlan
from regrow.core.result import TaskResult, TreeResult
from regrow.core.run import TreeRun
from regrow.embedded import EmbeddedServer
from regrow.testing import assert_replays, worker_env

LONG: Final = bool(os.environ.get("REGROW_LONG"))
COUNT: Final = 500 if LONG else 50
AT_ONCE: Final = 8


@dataclass(frozen=True)
class Ended:
    """A tree that has ended, and how often everything in it was executed, by path."""

    handle: TreeHandle
    result: TreeResult
    times: Counter[str]

    @property
    def units(self) -> dict[str, int]:
        """What is neither inside a sub-tree nor a compensation."""
        return {path: n for path, n in self.times.items() if "/" not in path and "~" not in path}


# --- cases


def mended(case: LanguageCase, first: Ran) -> LanguageCase:
    """The same case, in which nothing fails any more.

    What failed inside a sub-tree that completed nevertheless would have to stay as it was; such
    cases are left out.
    """
    script: dict[str, Any] = {path: _sound(end) for path, end in case.script.items()}
    changed = [path for path, end in case.script.items() if script[path] != end]
    assume(not any(_is_inside_what_is_kept(path, first) for path in changed))
    return replace(case, script=script)


def _is_inside_what_is_kept(path: str, first: Ran) -> bool:
    above = path.split("/")[:-1]
    for depth, unit in enumerate(above):
        run, task_id = first.trees.get("/".join(above[:depth])), _top(unit)
        if run is not None and (run.completed(task_id) or task_id in run.maps):
            return True
    return False


def _sound(end: Any) -> Any:
    if isinstance(end, list):
        return _sound(cast("list[Any]", end)[-1])
    if isinstance(end, Scripted):
        return end if end.ok else Scripted(ok=True, value="mended")
    return Approved(by="ann") if isinstance(end, Rejected) else end


def _top(path: str) -> str:
    """The task of the tree itself that a path leads to or into."""
    return path.partition("/")[0].partition("[")[0].partition("~")[0]


@pytest.fixture
def cases() -> list[tuple[LanguageCase, LanguageCase]]:
    """Cases in which something fails, each with the same one mended."""
    found: list[tuple[LanguageCase, LanguageCase]] = []

    @settings(
        max_examples=COUNT,
        phases=[Phase.generate],
        database=None,
        suppress_health_check=SLOW,
    )
    @given(language_cases())
    def draw(case: LanguageCase) -> None:
        first = executed(case, plan_of(tree_of(case)), FIRST)
        assume(first.run.counts[Status.FAILED])
        found.append((case, mended(case, first)))

    draw()
    return found


# --- runs


def prepared(case: LanguageCase) -> str:
    """Give a new tree's id under which the executors know what to do."""
    tree_id = f"rerun-{uuid4().hex}"
    SCRIPTS[tree_id], TRACES[tree_id] = dict(case.script), Trace(inputs=Executions())
    return tree_id


async def end_of(trees: TreeClient, handle: TreeHandle) -> Ended:
    async with answering(trees, handle.id):
        try:
            result = await handle.result()
        except TreeFailed as failed:
            result = failed.result
    return Ended(handle, result, cast("Executions", TRACES[handle.id].inputs).times)


async def run_of(trees: TreeClient, case: LanguageCase) -> Ended:
    document, tree_id = dict(case.document), prepared(case)
    handle = await trees.start(document, id=tree_id, inputs=case.tree_inputs)
    return await end_of(trees, handle)


async def state_of(handle: TreeHandle) -> TreeRun:
    fold = handle.new_fold()
    await handle.status(fold)
    assert fold.run is not None
    return fold.run


# --- checks


def shape(result: TreeResult) -> Any:
    """How a tree ended, without hours and names of trees."""
    tasks: Any = {task_id: _shape(task) for task_id, task in result.tasks.items()}
    return without_times({"status": result.status.value, "outputs": result.outputs, "tasks": tasks})


def _shape(task: TaskResult) -> dict[str, Any]:
    undone, because = task.compensation, task.because
    return {
        "status": task.status.value,
        "result": task.result,
        "error_type": task.error_type,
        "because": because and because.model_dump(mode="json", exclude={"error"}),
        "undone": undone and [undone.status.value, undone.error_type],
    }


async def check(trees: TreeClient, case: LanguageCase, well: LanguageCase) -> None:
    """Run a case, mend and rerun it, and hold that against an undisturbed run."""
    first, whole = await asyncio.gather(run_of(trees, case), run_of(trees, well))
    old = await state_of(first.handle)

    plan = await first.handle.plan_rerun(failed=True)
    again = await end_of(trees, await first.handle.rerun(failed=True, id=prepared(well)))

    assert shape(again.result) == shape(whole.result), case
    assert set(again.times.values()) <= {1}, case
    check_kept(old, again, plan)
    check_not_executed(old, again, whole, plan)
    await check_history(again)


def check_kept(old: TreeRun, again: Ended, plan: RerunPlan) -> None:
    """Nothing of what is kept was executed, and its result is the one it had."""
    kept = {*plan.kept, *kept_inside(plan, "")}
    for path in again.times:
        assert not kept.intersection(_around(path)), path
    for task_id in plan.kept:
        end, then = again.result.tasks[task_id], old.records[task_id].outcome
        assert end.reused
        assert then
        assert end.result == then.result


def _around(path: str) -> Iterator[str]:
    """Give the task that a path leads to and those that it is in, unless it is an undoing."""
    for around in itertools.accumulate(path.split("/"), "{}/{}".format):
        yield re.sub(r"\[\d+\]$", "", around)


def check_not_executed(old: TreeRun, again: Ended, whole: Ended, plan: RerunPlan) -> None:
    """Whatever wasn't executed, but is in an undisturbed run, had completed."""
    for unit in whole.units.keys() - again.units.keys():
        task_id, _, index = unit.rstrip("]").partition("[")
        if task_id in plan.runs:
            assert index
            assert int(index) not in old.maps[task_id].undone
        else:
            assert again.result.tasks[task_id].reused


async def check_history(again: Ended) -> None:
    """The history replays, and whoever reads it sees the same."""
    read = await again.handle.status()
    assert shape(read) == shape(again.result)
    assert read.counts == again.result.counts
    await assert_replays(await again.handle.workflow_handle.fetch_history())


@pytest.mark.timeout(900 if LONG else 120)
async def test_reruns_of_random_trees_end_like_undisturbed_ones(
    server: EmbeddedServer, cases: list[tuple[LanguageCase, LanguageCase]]
) -> None:
    limit = asyncio.Semaphore(AT_ONCE)
    async with worker_env(server.client, Probe) as trees:

        async def one(case: LanguageCase, well: LanguageCase) -> None:
            async with limit:
                await check(trees, case, well)

        async with asyncio.TaskGroup() as group:
            for each in cases:
                group.create_task(one(*each))
