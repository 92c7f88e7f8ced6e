"""Random trees in which something fails, mended and run again on a real server.

What the executors themselves count: nothing that is kept is executed, nothing is executed twice,
nothing is dropped; and it all ends as it does in a tree that nothing disturbed.

What time has decided stays as it was: waits that nobody answers. REGROW_LONG=1 runs ten times as
many.
"""

import asyncio
import os
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, Final, cast
from uuid import uuid4

import pytest
from hypothesis import Phase, assume, given, settings
from tests.fuzz.oracle import Approved, Rejected, Scripted, without_times
from tests.fuzz.strategies import LanguageCase, language_cases
from tests.fuzz.test_random_trees_on_temporal import SCRIPTS, TRACES, Probe, answering
from tests.fuzz.test_rerun import FIRST, SLOW, Executions, executed, plan_of, tree_of

from regrow import Status, Trace
from regrow.client import TreeClient, TreeFailed, TreeHandle
from regrow.core.result import TaskResult, TreeResult
from regrow.core.run import TreeRun
from regrow.embedded import EmbeddedServer
from regrow.testing import assert_replays, worker_env

COUNT: Final = 500 if os.environ.get("REGROW_LONG") else 50
SPARE: Final = COUNT // 10
"""More are drawn, since where chance decides what a map has run some cannot be mended."""
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


def mended(case: LanguageCase, old: TreeRun) -> LanguageCase | None:
    """The same case, in which nothing fails any more.

    What failed inside a sub-tree that completed nevertheless would have to stay as it was; there is
    no case then.
    """
    script: dict[str, Any] = {path: _sound(end) for path, end in case.script.items()}
    for path, end in case.script.items():
        task_id = _top(path)
        kept = old.completed(task_id) or task_id in old.maps
        if "/" in path and kept and script[path] != end:
            return None
    return replace(case, script=script)


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
def cases() -> list[LanguageCase]:
    """Cases in which something fails and can be mended."""
    found: list[LanguageCase] = []

    @settings(
        max_examples=COUNT + SPARE,
        phases=[Phase.generate],
        database=None,
        suppress_health_check=SLOW,
    )
    @given(language_cases())
    def draw(case: LanguageCase) -> None:
        old, _ = executed(case, plan_of(tree_of(case)), FIRST)
        assume(old.counts[Status.FAILED])
        assume(mended(case, old) is not None)
        found.append(case)

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


async def is_checked(trees: TreeClient, case: LanguageCase) -> bool:
    """Run a case, mend and rerun it, and hold that against an undisturbed run."""
    first = await run_of(trees, case)
    old = await state_of(first.handle)
    well = mended(case, old)
    if well is None:
        return False
    undisturbed = asyncio.create_task(run_of(trees, well))
    plan = await first.handle.plan_rerun(failed=True)
    handle = await first.handle.rerun(failed=True, id=prepared(well))
    again, whole = await end_of(trees, handle), await undisturbed

    assert shape(again.result) == shape(whole.result), case
    assert set(again.times.values()) <= {1}, case
    check_kept(old, again, plan.kept)
    check_not_executed(old, again, whole, plan.runs)
    await check_history(again)
    return True


def check_kept(old: TreeRun, again: Ended, kept: tuple[str, ...]) -> None:
    """Nothing of what is kept was executed, and its result is the one it had."""
    executed_at_all = {_top(path) for path in again.times if "~" not in path.split("/")[0]}
    assert not executed_at_all & set(kept)
    for task_id in kept:
        end, then = again.result.tasks[task_id], old.records[task_id].outcome
        assert end.reused
        assert then
        assert end.result == then.result


def check_not_executed(old: TreeRun, again: Ended, whole: Ended, runs: Any) -> None:
    """Whatever wasn't executed, but is in an undisturbed run, had completed."""
    for unit in whole.units.keys() - again.units.keys():
        task_id, _, index = unit.rstrip("]").partition("[")
        if task_id in runs:
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


async def test_reruns_of_random_trees_end_like_undisturbed_ones(
    server: EmbeddedServer, cases: list[LanguageCase]
) -> None:
    limit = asyncio.Semaphore(AT_ONCE)
    async with worker_env(server.client, Probe) as trees:

        async def one(case: LanguageCase) -> bool:
            async with limit:
                return await is_checked(trees, case)

        checked = await asyncio.gather(*map(one, cases))

    assert sum(checked) >= COUNT
