"""What a real worker answers when the Web UI asks for the details of a tree."""

from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import WorkflowHandle
from temporalio.worker import Worker
from tests.workflow.own import OwnWorkflow

from regrow import TreeClient, executor_register
from regrow.core.draw.details import MOST_BYTES
from regrow.embedded import EmbeddedServer
from regrow.testing import worker_env

APPROVAL: Final[dict[str, Any]] = {"id": "sign", "executor": "approval"}


@executor_register()
async def work(inputs: dict[str, Any]) -> int:
    return 1


@pytest.fixture
async def client(server: EmbeddedServer) -> AsyncIterator[TreeClient]:
    async with worker_env(server.client, work) as connected:
        yield connected


async def details_of(handle: WorkflowHandle[Any, Any]) -> str:
    metadata = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    return metadata.current_details


async def test_a_tree_says_how_it_stands_running_and_ended(client: TreeClient) -> None:
    sign = {**APPROVAL, "dependencies": ["build"]}
    tree = {"name": "release", "tasks": [{"id": "build", "executor": "work"}, sign]}
    handle = await client.start(tree)
    async for change in handle.watch():
        if change.task_id == "sign":
            break

    running = await details_of(handle.workflow_handle)
    await handle.approve("sign")
    await handle.result()
    ended = await details_of(handle.workflow_handle)

    assert "◐ release running: 1 running, 1 completed\n" in running
    assert f"-> regrow approve sign -w {handle.id}" in running
    assert "<svg" in running
    assert "✔ release completed: 2 completed\n" in ended
    assert "regrow approve" not in ended


async def test_what_a_tree_is_is_said_at_its_start(client: TreeClient) -> None:
    inner = {"name": "inner", "description": "Inside", "tasks": [{"id": "x", "executor": "work"}]}
    tree = {"name": "outer", "user_id": "acme", "tasks": [{"id": "inner", "tree": inner}]}
    handle = await client.start(tree)
    await handle.result()

    own = await handle.workflow_handle.describe()
    child = await client.get(f"{handle.id}/inner").workflow_handle.describe()

    assert "Owner: acme" in (await own.static_details() or "")
    assert (await child.static_details() or "").startswith("**inner**\n\nInside\n")
    assert await child.static_summary() == "inner"


async def test_the_details_of_a_large_tree_are_small(client: TreeClient) -> None:
    tasks = [{"id": f"t{at}", "executor": "work", "dependencies": ["sign"]} for at in range(3_000)]
    handle = await client.start({"name": "large", "tasks": [APPROVAL, *tasks]})
    async for change in handle.watch():
        if change.task_id == "sign":
            break

    written = await details_of(handle.workflow_handle)
    await handle.cancel("seen")

    assert "◐ large running: 3,000 pending, 1 running\n" in written
    assert len(written.encode()) < MOST_BYTES


async def test_a_tree_that_was_refused_has_none(client: TreeClient) -> None:
    started = await client.client.start_workflow(
        "TaskTree", {"name": "x"}, id="refused-details", task_queue=client.task_queue
    )
    with pytest.raises(Exception, match="Workflow execution failed"):
        await started.result()

    assert not await details_of(started)


async def test_other_workflows_keep_their_own(server: EmbeddedServer) -> None:
    async with Worker(server.client, task_queue="own", workflows=[OwnWorkflow]):
        handle = await server.client.start_workflow(OwnWorkflow.run, id="own-1", task_queue="own")
        await handle.result()

        assert await details_of(handle) == "my own words"
