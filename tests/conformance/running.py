"""Run trees as the rows of CONFORMANCE.md are to be shown: on a real server, to the end, replayed.

Whatever a test looks at, every tree that goes through `ended` must also have moved from status to
status legally, and its history must replay.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

from temporalio.api.history.v1 import ActivityTaskScheduledEventAttributes
from temporalio.client import WorkflowHistory

from regrow import Status, TaskResult, TreeCancelled, TreeClient, TreeFailed, TreeHandle, TreeResult
from regrow.client import Change
from regrow.testing import assert_replays

Document = dict[str, Any]

_PATIENCE: Final = 40
"""Seconds; a tree that hangs fails its test alone."""

_LEGAL: Final = {
    Status.PENDING: (
        Status.IN_PROGRESS,
        Status.COMPLETED,
        Status.FAILED,
        Status.CANCELLED,
        Status.SKIPPED,
    ),
    Status.IN_PROGRESS: (Status.COMPLETED, Status.FAILED, Status.CANCELLED),
}


def task(task_id: str, *edges: str, **fields: Any) -> Document:
    """Write a task as the rows do: `x!` is required, `x?` is optional."""
    dependencies = [{"id": edge[:-1], "required": edge.endswith("!")} for edge in edges]
    return {"id": task_id, "dependencies": dependencies, **fields}


def tree(*tasks: Document, **head: Any) -> Document:
    return {"name": "tree", **head, "tasks": list(tasks)}


async def run_tree(client: TreeClient, document: Document | Sequence[Document]) -> TreeResult:
    """Start a tree and give its result, whatever its status."""
    return await ended(client, await client.start(document))


async def ended(client: TreeClient, handle: TreeHandle) -> TreeResult:
    async with asyncio.timeout(_PATIENCE):
        try:
            result = await handle.result()
        except (TreeFailed, TreeCancelled) as end:
            result = end.result
    await assert_replays(*await histories(client, handle))
    assert_legal([change async for change in handle.watch()], result)
    return result


async def histories(client: TreeClient, handle: TreeHandle) -> list[WorkflowHistory]:
    """Give the history of every run of the chain, the latest first."""
    found: list[WorkflowHistory] = []
    run_id: str | None = None
    while run_id != "":
        run = client.client.get_workflow_handle(handle.id, run_id=run_id)
        history = await run.fetch_history()
        started = history.events[0].workflow_execution_started_event_attributes
        run_id = started.continued_execution_run_id
        found.append(history)
    return found


async def scheduled(
    client: TreeClient, tree_id: str
) -> dict[str, ActivityTaskScheduledEventAttributes]:
    """Give what history says of each activity when it was scheduled, by task, in order."""
    history = await client.client.get_workflow_handle(tree_id).fetch_history()
    found = [
        event.activity_task_scheduled_event_attributes
        for event in history.events
        if event.HasField("activity_task_scheduled_event_attributes")
    ]
    return {attributes.activity_id: attributes for attributes in found}


def assert_legal(changes: Sequence[Change], result: TreeResult) -> None:
    """Hold a tree to the status machine of DESIGN §4, and its times to each other."""
    assert [changes[0].task_id, changes[0].status] == [None, Status.IN_PROGRESS]
    assert [changes[-1].task_id, changes[-1].status] == [None, result.status]
    for task_id, end in result.tasks.items():
        mine = [change for change in changes if change.task_id == task_id]
        path = [Status.PENDING, *(change.status for change in mine)]
        assert all(earlier.at <= later.at for earlier, later in pairwise(mine))
        assert all(then in _LEGAL[now] for now, then in pairwise(path)), (task_id, path)
        assert path[-1] is end.status
        assert end.status.is_settled
        assert end.finished_at is not None
        assert (end.started_at is not None) is (Status.IN_PROGRESS in path)
        assert end.started_at is None or end.started_at <= end.finished_at


def started(end: TaskResult) -> datetime:
    assert end.started_at is not None
    return end.started_at


def finished(end: TaskResult) -> datetime:
    assert end.finished_at is not None
    return end.finished_at


def overlap(*ends: TaskResult) -> bool:
    """Tell whether there was a moment at which all of them ran."""
    return max(map(started, ends)) < min(map(finished, ends))


def spent(result: TreeResult) -> float:
    """Give the seconds from the first start of a task to the last end."""
    ends = result.tasks.values()
    return (max(map(finished, ends)) - min(map(started, ends))).total_seconds()
