"""Trees of 1,200 tasks, with the limits as they are, look to everybody like small ones.

REGROW_LONG=1 runs all shapes, else those with few steps one after the other.
"""

import asyncio
import os
from collections import Counter, defaultdict
from typing import Any

import pytest
from benchmarks.shapes import Shape, chain, diamond, fan, layered

from regrow import Status, TaskContext, TreeFailed, executor_register
from regrow.client import Change, TreeHandle
from regrow.embedded import EmbeddedServer
from regrow.testing import worker_env

TASKS = 1_200
WIDE = (fan(TASKS), layered(40, 30))
SHAPES = (*WIDE, chain(TASKS), diamond(TASKS)) if os.environ.get("REGROW_LONG") else WIDE
RAN: defaultdict[str, Counter[str]] = defaultdict(Counter)
"""How often what was executed, by root tree."""
BROKEN: dict[str, int] = {}
"""The value at which the executor fails, by tree."""


@executor_register(retry={"maximum_attempts": 1})
async def noop(inputs: dict[str, Any], context: TaskContext) -> Any:
    """Give its input."""
    root, _, unit = context.idempotency_key.partition("/")
    RAN[root][unit] += 1
    if BROKEN.get(root) == inputs["value"]:
        return {"status": "failed", "error": "it broke", "error_type": "broken"}
    return inputs["value"]


async def seen_by_watcher(handle: TreeHandle) -> list[Change]:
    return [change async for change in handle.watch()]


def check_changes(changes: list[Change]) -> None:
    """Each task begins and ends once, in that order."""
    assert (changes[-1].task_id, changes[-1].status) == (None, Status.COMPLETED)
    moves: defaultdict[str, list[Status]] = defaultdict(list)
    for change in changes:
        if change.task_id is not None:
            moves[change.task_id].append(change.status)
    both = [Status.IN_PROGRESS, Status.COMPLETED]
    assert {task_id: seen for task_id, seen in moves.items() if seen != both} == {}
    assert len(moves) == TASKS


@pytest.mark.timeout(180)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
async def test_everything_runs_once_and_is_seen_once(server: EmbeddedServer, shape: Shape) -> None:
    async with worker_env(server.client, noop) as client:
        handle = await client.start(shape.document(), id=f"large-{shape.name}")
        watching = asyncio.create_task(seen_by_watcher(handle))
        result = await handle.result()
        check_changes(await watching)
        check_changes(await seen_by_watcher(handle))

    assert RAN[handle.id] == {f"t{at}": 1 for at in range(TASKS)}
    read = await handle.status()
    for each in (result, read):
        assert {task_id: task.result for task_id, task in each.tasks.items()} == {
            f"t{at}": at for at in range(TASKS)
        }


@pytest.mark.timeout(180)
async def test_failure_is_explained_and_a_rerun_runs_just_what_did_not_complete(
    server: EmbeddedServer,
) -> None:
    tree_id = "large-that-fails"
    BROKEN[tree_id] = 600
    async with worker_env(server.client, noop) as client:
        handle = await client.start(layered(40, 30).document(), id=tree_id)
        with pytest.raises(TreeFailed) as failure:
            await handle.result()
        counts = failure.value.result.counts
        assert await handle.attempts() == {}
        assert "it broke" in " ".join((await handle.explain("t600")).lines)
        assert "t600" in " ".join((await handle.explain("t630")).lines)
        again = await handle.rerun(failed=True)
        result = await again.result()

    assert result.status is Status.COMPLETED
    assert {task_id: task.result for task_id, task in result.tasks.items()} == {
        f"t{at}": at for at in range(TASKS)
    }
    assert sum(RAN[again.id].values()) == TASKS - counts["completed"]
    assert RAN[again.id]["t600"] == 1
