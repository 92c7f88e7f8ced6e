"""How long earlier trees of the same name took, as far as the server's list knows."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Final

from temporalio.client import WorkflowExecution

from regrow.activities.attributes import registered_attributes
from regrow.client import TreeHandle
from regrow.client.listing import TreeFilter, summary_of
from regrow.client.watching import first_event
from regrow.core.attributes import TREE_NAME
from regrow.core.wire import MEMO_RERUN_OF

_COMPLETED: Final = "ExecutionStatus = 'Completed'"
_MOST: Final = 10
_PATIENCE: Final = 10.0


async def earlier_spans(handle: TreeHandle, name: str) -> list[timedelta]:
    """Give how long the last few that completed took, the latest first.

    Reruns are left out: they kept what others did. What isn't known soon is not waited for.
    """
    spans: list[timedelta] = []
    try:
        async with asyncio.timeout(_PATIENCE):
            async for span in _spans(handle, name):
                spans.append(span)
                if len(spans) == _MOST:
                    break
    except Exception:  # noqa: BLE001 - it is only a guess; whatever fails, the tree is shown
        return spans
    return spans


async def _spans(handle: TreeHandle, name: str) -> AsyncIterator[timedelta]:
    known = await registered_attributes(handle.client)
    wanted = TreeFilter(_COMPLETED, name=name)
    query = wanted.on_server(knows_names=TREE_NAME in known)
    async for execution in handle.client.list_workflows(query):
        if not wanted.wants(execution, await summary_of(execution)) or execution.id == handle.id:
            continue
        if await execution.memo_value(MEMO_RERUN_OF, None) is None and execution.close_time:
            yield execution.close_time - await _began(handle, execution)


async def _began(handle: TreeHandle, execution: WorkflowExecution) -> datetime:
    """Give when a tree began of which this is the last run, and often the only one."""
    event = await first_event(handle.client, execution.id, execution.run_id)
    first = event.workflow_execution_started_event_attributes.first_execution_run_id
    if first == execution.run_id:
        return execution.start_time
    about = await handle.client.get_workflow_handle(execution.id, run_id=first).describe()
    return about.start_time
