"""What would take one workflow task or one history too long is spread over many; nothing hangs."""

import asyncio
from collections import Counter
from typing import Any
from uuid import uuid4

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowExecutionStatus

from regrow import Status, TreeCancelled, TreeFailed, executor_register
from regrow.client import TreeClient, TreeHandle
from regrow.core import limits
from regrow.core.result import TreeResult
from regrow.embedded import EmbeddedServer
from regrow.testing import assert_replays, worker_env

Document = dict[str, Any]
FEW_EVENTS = 60
SLOW = "length(inputs.numbers[?@ > `10`])"
"""Takes about a tenth of a second."""
NUMBERS = list(range(20_000))


@executor_register()
async def echo(inputs: Document) -> Any:
    return inputs


@executor_register()
async def breaks(_: Document) -> Any:
    return {"status": "failed", "error": "it broke"}


def task(id: str, **fields: Any) -> Document:
    return {"id": id, "executor": "echo", **fields}


def tree(*tasks: Document, **head: Any) -> Document:
    return {"name": "limits", "tasks": list(tasks), **head}


async def ended(handle: TreeHandle) -> TreeResult:
    try:
        return await handle.result()
    except (TreeFailed, TreeCancelled) as end:
        return end.result


async def runs_of(handle: TreeHandle) -> list[Counter[int]]:
    """Replay every run of a tree; gives how often each type of event is in it, the latest first."""
    runs: list[Counter[int]] = []
    async for found in handle.client.list_workflows(f"WorkflowId = '{handle.id}'"):
        history = await handle.client.get_workflow_handle(
            handle.id, run_id=found.run_id
        ).fetch_history()
        await assert_replays(history)
        runs.append(Counter(event.event_type for event in history.events))
    return runs


async def no_task_was_repeated(handle: TreeHandle) -> bool:
    trouble = (
        EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED,
        EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT,
    )
    return not any(run[kind] for run in await runs_of(handle) for kind in trouble)


async def test_items_whose_inputs_take_long_to_find_are_spread_over_workflow_tasks(
    server: EmbeddedServer,
) -> None:
    each = task("each", for_each=list(range(40)), inputs={"count": f"${{{{ {SLOW} }}}}"})
    document = tree(each, inputs={"numbers": NUMBERS})

    async with worker_env(server.client, echo) as trees:
        handle = await trees.start(document)
        result = await ended(handle)

    assert result.tasks["each"].result == [{"count": 19_989}] * 40
    assert await no_task_was_repeated(handle)


async def test_conditions_that_take_long_are_spread_over_workflow_tasks(
    server: EmbeddedServer,
) -> None:
    many = [task(f"t{at}", when=f"{SLOW} == `{at}`") for at in range(40)]
    document = tree(*many, inputs={"numbers": NUMBERS})

    async with worker_env(server.client, echo) as trees:
        handle = await trees.start(document)
        result = await ended(handle)

    assert result.counts[Status.SKIPPED] == 40
    assert await no_task_was_repeated(handle)


async def test_outputs_that_take_too_long_together_fail_the_tree(server: EmbeddedServer) -> None:
    outputs = {f"o{at}": f"${{{{ {SLOW} }}}}" for at in range(40)}
    document = tree(task("a"), inputs={"numbers": NUMBERS}, outputs=outputs)

    async with worker_env(server.client, echo) as trees:
        handle = await trees.start(document)
        result = await ended(handle)

    assert result.status is Status.FAILED
    assert "takes too many steps" in str(result.error)
    assert result.outputs["o0"] == 19_989
    assert result.outputs["o39"] is None
    assert await no_task_was_repeated(handle)


@pytest.mark.parametrize("executor", ["breaks", "approval"], ids=["fails", "is cancelled"])
async def test_undoing_goes_on_in_fresh_runs(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch, executor: str
) -> None:
    undo = {"executor": "echo", "inputs": {"was": "${{ tasks.t3.result.value }}"}}
    done = [task(f"t{at}", inputs={"value": at}, compensate=undo) for at in range(30)]
    after = [f"t{at}" for at in range(30)]
    last = {"id": "last", "executor": executor, "dependencies": after}
    outputs = {"third": "${{ tasks.t3.result.value }}"}

    async with worker_env(server.client, echo, breaks) as trees:
        monkeypatch.setattr(limits, "ROLLOVER_EVENTS", FEW_EVENTS)
        monkeypatch.setattr(limits, "ROLLOVER_FORCE_EVENTS", FEW_EVENTS)
        handle = await trees.start(tree(*done, last, outputs=outputs))
        if executor == "approval":
            await waiting(handle, "last")
            await handle.cancel()
        result = await ended(handle)
        runs = await runs_of(handle)

    ends = {str(task.compensation and task.compensation.status) for task in result.tasks.values()}
    assert ends == {"completed", "None"}
    assert result.status is (Status.FAILED if executor == "breaks" else Status.CANCELLED)
    assert result.outputs == {"third": 3}
    assert len(runs) > 3
    assert sum(run[EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED] for run in runs) == 60


async def waiting(handle: TreeHandle, task_id: str) -> None:
    async with asyncio.timeout(30):
        async for change in handle.watch():
            if (change.task_id, change.status) == (task_id, Status.IN_PROGRESS):
                return


async def test_tree_that_is_held_hands_over_too(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = tree({"id": "bad", "executor": "breaks"}, on_failure="wait")

    async with worker_env(server.client, echo, breaks) as trees:
        monkeypatch.setattr(limits, "ROLLOVER_EVENTS", FEW_EVENTS)
        handle = await trees.start(document)
        for at in range(60):
            await handle.send_event(f"e{at}")
        about = await handle.workflow_handle.describe()
        assert about.status is WorkflowExecutionStatus.RUNNING
        assert (await handle.status()).tasks["bad"].status is Status.FAILED
        assert not (await handle.send_event("e0"))["first"]
        await handle.cancel()
        result = await ended(handle)
        runs = await runs_of(handle)

    assert result.status is Status.FAILED
    assert len(runs) > 1


async def test_event_reaches_more_waits_than_one_workflow_task_begins(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = [
        {"id": f"w{at}", "executor": "wait_for_event", "inputs": {"event": "go"}}
        for at in range(30)
    ]
    monkeypatch.setattr(limits, "MAX_WAITS_PER_TASK", 10)
    trees = TreeClient(server.client, task_queue=f"limits-{uuid4().hex[:8]}")
    handle = await trees.start(tree(*waits))
    sending = asyncio.create_task(handle.send_event("go", 7))
    await asyncio.sleep(0.5)  # the event waits for a worker with the tree
    async with worker_env(server.client, echo, task_queue=trees.task_queue):
        await sending
        result = await ended(handle)

    assert result.counts[Status.COMPLETED] == 30
