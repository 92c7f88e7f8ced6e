"""Only what a run of ours handed over is read without being checked again."""

import asyncio
from typing import Any
from uuid import uuid4

from temporalio.api.enums.v1 import EventType

from regrow.client import TreeClient
from regrow.embedded import EmbeddedServer
from regrow.testing import worker_env

GENEROUS = 60
SECOND_RUN = 2
RING = [{"id": "a", "dependencies": ["b"]}, {"id": "b", "dependencies": ["a"]}]
FORGED: dict[str, Any] = {"description": {"executors": {"a": {}, "b": {}}}, "snapshot": {}}


async def failures_of(trees: TreeClient, tree_id: str) -> list[str]:
    """Give why the runs of a tree have failed, the latest first."""
    failures: list[str] = []
    async for run in trees.client.list_workflows(f"WorkflowId = '{tree_id}'"):
        handle = trees.client.get_workflow_handle(tree_id, run_id=run.run_id)
        last = (await handle.fetch_history()).events[-1]
        if last.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED:
            failures.append(last.workflow_execution_failed_event_attributes.failure.message)
    return failures


async def test_document_that_a_cron_repeats_is_checked_though_it_looks_handed_over(
    server: EmbeddedServer,
) -> None:
    document: dict[str, Any] = {"name": "forged", "tasks": RING, "engine": FORGED}
    tree_id = f"forged-{uuid4().hex[:8]}"

    async with worker_env(server.client) as trees:
        cron = await trees.client.start_workflow(
            "TaskTree",
            document,
            id=tree_id,
            task_queue=trees.task_queue,
            cron_schedule="@every 1s",
        )
        async with asyncio.timeout(GENEROUS):
            while len(failures := await failures_of(trees, tree_id)) < SECOND_RUN:  # noqa: ASYNC110 - another system's state
                await asyncio.sleep(0.1)
        await cron.terminate()

    assert failures[0] == "tasks[0].dependencies: cycle: a → b → a"
