"""Explaining tasks of trees on a real server, with and without a worker."""

import asyncio
from typing import Any

import pytest
from tests.workflow.test_language import reached

from regrow import Status, TaskContext, executor_register
from regrow.client import TreeClient, UnknownTask
from regrow.embedded import EmbeddedServer
from regrow.testing import worker_env


@executor_register(retry={"maximum_attempts": 4, "initial_interval": "30s"})
async def flaky(_: dict[str, Any]) -> None:
    raise OSError("no disk")


@executor_register(heartbeat_timeout="2s")
async def slow(_: dict[str, Any], context: TaskContext) -> None:
    for at in range(60):
        context.progress(at, 60, "rows")
        await asyncio.sleep(1)


async def explained(trees: TreeClient, tree_id: str, task_id: str) -> str:
    return "\n".join((await trees.get(tree_id).explain(task_id)).lines)


async def test_task_under_way_says_its_attempts_and_heartbeats(server: EmbeddedServer) -> None:
    document = {
        "name": "explain",
        "tasks": [
            {"id": "flaky"},
            {"id": "slow"},
            {"id": "after", "dependencies": ["flaky"]},
            {"id": "s", "tree": {"tasks": [{"id": "x", "executor": "slow"}]}},
            {"id": "far", "executor": "slow", "task_queue": "nobody"},
        ],
    }
    document["tasks"][2]["executor"] = "slow"  # type: ignore[index]
    async with worker_env(server.client, flaky, slow) as trees:
        handle = await trees.start(document)
        for task_id in ("flaky", "slow", "s"):
            await reached(handle, task_id)
        await asyncio.sleep(3)

        told = await handle.explain("flaky")
        assert told.status is Status.IN_PROGRESS
        assert told.lines[0].startswith("attempt 2 of 4 begins at 20")
        assert told.lines[1] == "the attempt before failed: no disk (OSError)"
        running = await explained(trees, handle.id, "slow")
        assert "attempt 1 of 3 runs since 20" in running
        assert "its last heartbeat was at 20" in running
        assert "rows" in running
        inside = await explained(trees, handle.id, "s")
        assert inside == f"it runs as the tree '{handle.id}/s'; explain what is in that"
        far = await explained(trees, handle.id, "far")
        assert "waits for a worker" in far
        assert "no worker polls its task queue 'nobody'" in far
        with pytest.raises(UnknownTask, match="did you mean 'flaky'"):
            await handle.explain("flakey")
        await handle.workflow_handle.terminate()
        assert "ended from outside" in await explained(trees, handle.id, "after")


async def test_tree_that_nobody_has_taken_says_so(server: EmbeddedServer) -> None:
    trees = TreeClient(server.client, task_queue="nobody-either")
    handle = await trees.start({"name": "explain", "tasks": [{"id": "a", "executor": "slow"}]})

    assert await explained(trees, handle.id, "a") == (
        "no worker has taken the tree yet; no worker polls its task queue 'nobody-either'"
    )
    await handle.workflow_handle.terminate()
    assert await explained(trees, handle.id, "a") == "the tree ended before it began"
