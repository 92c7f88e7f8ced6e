"""A server lets ten updates of a run through at once; asking for more is not the caller's worry."""

import asyncio
from typing import Any

import pytest
from temporalio.client import WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from regrow import Status
from regrow.client import TreeHandle, tree_handle
from regrow.client.errors import TreeBusy
from regrow.embedded import EmbeddedServer
from regrow.testing import worker_env

MANY = 300


async def all_wait(handle: TreeHandle) -> None:
    waiting = 0
    async for change in handle.watch():
        waiting += change.task_id is not None and change.status is Status.IN_PROGRESS
        if waiting == MANY:
            return


async def test_three_hundred_approvals_are_answered_at_once(server: EmbeddedServer) -> None:
    document = {
        "name": "many",
        "tasks": [{"id": f"ask{at}", "executor": "approval"} for at in range(MANY)],
    }
    async with worker_env(server.client) as client:
        handle = await client.start(document, id="many-approvals")
        await all_wait(handle)

        async with asyncio.timeout(60):
            answers = await asyncio.gather(
                *(handle.approve(f"ask{at}", by=f"p{at}") for at in range(MANY))
            )
            result = await handle.result()

    assert [answer["by"] for answer in answers] == [f"p{at}" for at in range(MANY)]
    assert result.status is Status.COMPLETED
    assert {task_id: task.result["by"] for task_id, task in result.tasks.items()} == {  # type: ignore[index,call-overload]
        f"ask{at}": f"p{at}" for at in range(MANY)
    }


async def test_server_that_stays_busy_is_named(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def refused(*_: Any, id: str, **__: Any) -> None:
        asked.append(id)
        raise RPCError("limit of in-flight updates", RPCStatusCode.RESOURCE_EXHAUSTED, b"")

    monkeypatch.setattr(WorkflowHandle, "execute_update", refused)
    monkeypatch.setattr(tree_handle, "_PATIENCE", 0.5)
    with pytest.raises(TreeBusy, match="tree 'busy' has too many requests under way"):
        await TreeHandle(server.client, "busy").send_event("paid")

    assert len(asked) > 2
    assert len(set(asked)) == 1
