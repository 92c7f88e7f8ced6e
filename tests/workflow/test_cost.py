"""What `regrow cost` says before a tree runs is, within a tenth, what it leaves on a server."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import pytest
from benchmarks.shapes import Shape, chain, fan, layered
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from regrow import Status, TaskContext, TreeHandle, executor_register
from regrow.client import TreeClient
from regrow.core.cost import Assumptions, Cost, estimate
from regrow.core.loading import load
from regrow.core.script import fails, returns
from regrow.testing import tree_env

WITHIN = 0.1
TEXT = "x" * 98
"""With its quotes, a result of 100 bytes."""

MIXED: dict[str, Any] = {
    "name": "mixed",
    "tasks": [
        {"id": "flaky", "retry": {"initial_interval": "100ms"}},
        {"id": "rest", "executor": "sleep", "inputs": {"duration": "300ms"}},
        {
            "id": "each",
            "executor": "text",
            "for_each": list(range(30)),
            "inputs": {"number": "${{ item }}"},
            "dependencies": ["flaky", "rest"],
        },
        {
            "id": "part",
            "dependencies": ["each"],
            "tree": {
                "name": "part",
                "inputs": {"text": ""},
                "tasks": [
                    {"id": "first", "executor": "text"},
                    {"id": "then", "executor": "text", "dependencies": ["first"]},
                ],
            },
            "inputs": {"text": "${{ tasks.flaky.result }}"},
        },
        {
            "id": "ask",
            "executor": "approval",
            "inputs": {"prompt": "go on?", "timeout": "1h"},
            "dependencies": ["part"],
        },
        {"id": "broken", "dependencies": ["ask"], "allow_failure": True},
    ],
}


@executor_register()
async def noop(inputs: dict[str, Any]) -> Any:
    return inputs.get("value")


@executor_register()
async def nap(inputs: dict[str, Any]) -> Any:
    await asyncio.sleep(0.2)
    return inputs.get("value")


@executor_register()
async def text(_: dict[str, Any]) -> str:
    return TEXT


@executor_register()
async def flaky(_: dict[str, Any], context: TaskContext) -> str:
    if context.attempt == 1:
        raise RuntimeError("not yet")
    return TEXT


@executor_register(retry={"maximum_attempts": 2, "initial_interval": "100ms"})
async def broken(_: dict[str, Any]) -> None:
    raise RuntimeError("never")


@dataclass
class Measured:
    """What is in the histories of all runs of a tree, its sub-trees included."""

    events: int = 0
    bytes: int = 0
    workflow_tasks: int = 0
    activities: int = 0
    runs: int = 0


@pytest.fixture(scope="module")
async def client() -> AsyncGenerator[TreeClient]:
    async with tree_env(noop, nap, text, flaky, broken) as opened:
        yield opened


async def measured(client: Client, handle: TreeHandle, *inside: str) -> Measured:
    found, left = Measured(), [handle.id, *(f"{handle.id}/{each}" for each in inside)]
    for workflow_id in left:
        run_id: str | None = None
        while run_id != "":
            run_id = await _add_run(found, client, workflow_id, run_id)
    return found


async def _add_run(found: Measured, client: Client, workflow_id: str, run_id: str | None) -> str:
    """Add one run, the latest one without an id; gives the one before, if there is any."""
    run = client.get_workflow_handle(workflow_id, run_id=run_id)
    about, history = await run.describe(), await run.fetch_history()
    kinds = [event.event_type for event in history.events]
    found.runs += 1
    found.events += len(kinds)
    found.bytes += about.raw_description.workflow_execution_info.history_size_bytes
    found.workflow_tasks += kinds.count(EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED)
    found.activities += kinds.count(EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED)
    return history.events[0].workflow_execution_started_event_attributes.continued_execution_run_id


def assert_near(said: Cost, found: Measured) -> None:
    assert said.events == pytest.approx(found.events, rel=WITHIN)
    assert said.bytes == pytest.approx(found.bytes, rel=WITHIN)
    assert sum(said.activities.values()) == found.activities
    assert len(said.runs) == found.runs


@pytest.mark.parametrize(
    "shape", [fan(200), chain(50), layered(5, 20), fan(1_500)], ids=lambda shape: shape.name
)
async def test_events_and_bytes_are_as_estimated(client: TreeClient, shape: Shape) -> None:
    document = shape.document()

    handle = await client.start(document)
    await handle.result()

    said = estimate(load(document), Assumptions(result_bytes=3))
    partitions = [f"~{at}" for at in range(1, said.workflows)]
    assert_near(said, await measured(client.client, handle, *partitions))


@pytest.mark.parametrize("shape", [fan(200), chain(300)], ids=lambda shape: shape.name)
async def test_local_tasks_are_too(client: TreeClient, shape: Shape) -> None:
    document = shape.document(local=True)

    handle = await client.start(document)
    await handle.result()

    found = await measured(client.client, handle)
    said = estimate(load(document), Assumptions(result_bytes=3))
    assert said.events == pytest.approx(found.events, rel=WITHIN)
    assert said.bytes == pytest.approx(found.bytes, rel=WITHIN)


@pytest.mark.parametrize(
    "shape", [fan(200), chain(20), layered(5, 20)], ids=lambda shape: shape.name
)
async def test_tasks_that_take_time_are_too(client: TreeClient, shape: Shape) -> None:
    document = shape.document(executor="nap")

    handle = await client.start(document)
    await handle.result()

    said = estimate(load(document), Assumptions(result_bytes=4, task_seconds=(0.2, 0.2)))
    assert_near(said, await measured(client.client, handle))


async def test_a_tree_with_something_of_everything_is_too(client: TreeClient) -> None:
    handle = await client.start(MIXED)
    async for change in handle.watch():
        if change.task_id == "ask" and change.status is Status.IN_PROGRESS:
            await handle.approve("ask", by="ann")

    script = {
        "flaky": [fails(retryable=True), returns(TEXT)],
        "broken": fails(retryable=True),
        "text": returns(TEXT),
    }
    said = estimate(load(MIXED), Assumptions(script=script))
    found = await measured(client.client, handle, "part")
    assert_near(said, found)
    assert said.workflow_tasks == pytest.approx(found.workflow_tasks, abs=5)
