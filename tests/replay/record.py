"""Record the histories that are missing: `python -m tests.replay.record`."""

import asyncio
import json
import logging
import re
from pathlib import Path
from typing import Any, cast

from temporalio.client import WorkflowHistory
from tests.replay.behaviours import (
    BEHAVIOURS,
    CONTINUED,
    EXECUTORS,
    HEARD,
    PARTITIONED,
    SHOWN,
    STEERED,
    hear,
    run_once,
)

from regrow.client import TreeClient, TreeHandle
from regrow.embedded import embedded_server
from regrow.logs import configure_logs
from regrow.testing import worker_env

HISTORIES = Path(__file__).parent / "histories"
SUGGEST_AFTER_100 = ("--dynamic-config-value", "limit.historyCount.suggestContinueAsNew=100")


async def histories(handle: TreeHandle, client: TreeClient) -> list[WorkflowHistory]:
    """Give the history of every run of a tree, the first one first."""
    found: list[WorkflowHistory] = []
    run_id: str | None = (await client.client.get_workflow_handle(handle.id).describe()).run_id
    while run_id:
        run = client.client.get_workflow_handle(handle.id, run_id=run_id)
        found.insert(0, await run.fetch_history())
        started = found[0].events[0].workflow_execution_started_event_attributes
        run_id = started.continued_execution_run_id
    return found


async def partitions(handle: TreeHandle, client: TreeClient) -> list[tuple[str, WorkflowHistory]]:
    """Give the history of every partition of a tree, by its unit."""
    fold = handle.new_fold()
    await handle.status(fold)
    return [
        (unit, await client.get(f"{handle.id}/{unit}").workflow_handle.fetch_history())
        for unit in fold.partitions
    ]


def missing(names: list[str]) -> list[str]:
    return [name for name in names if not list(HISTORIES.glob(f"{name}*.json"))]


def without_traces(value: Any) -> Any:
    """Leave out what tells of the machine and plays no part in a replay: paths, process, host."""
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        return {
            key: "recorder" if key == "identity" else without_traces(item)
            for key, item in fields.items()
            if key != "stackTrace"
        }
    if isinstance(value, list):
        return [without_traces(item) for item in cast("list[Any]", value)]
    return re.sub(r"^\d+@[\w.]+-", "recorder-", value) if isinstance(value, str) else value


def keep(name: str, found: list[WorkflowHistory]) -> None:
    for at, history in enumerate(found, 1):
        part = f".run{at}" if len(found) > 1 else ""
        compact = json.dumps(without_traces(json.loads(history.to_json())), separators=(",", ":"))
        (HISTORIES / f"{name}{part}.json").write_text(f"{compact}\n")


async def record() -> None:
    async with (
        embedded_server() as server,
        worker_env(server.client, *EXECUTORS) as client,
    ):
        for name in missing(list(PARTITIONED)):
            document, steer = PARTITIONED[name]
            handle = await run_once(client, document, name, steer)
            keep(name, await histories(handle, client))
            for unit, history in await partitions(handle, client):
                keep(f"{name}.{unit}", [history])
        for name in missing([*BEHAVIOURS, *STEERED, *SHOWN]):
            document, steer = STEERED.get(name) or ({**BEHAVIOURS, **SHOWN}[name], None)
            keep(name, await histories(await run_once(client, document, name, steer), client))
    async with (
        embedded_server() as server,
        worker_env(server.client, *EXECUTORS, hear) as client,
    ):
        for name in missing(list(HEARD)):
            keep(name, await histories(await run_once(client, HEARD[name], name, None), client))
    async with (
        embedded_server(options=SUGGEST_AFTER_100) as server,
        worker_env(server.client, *EXECUTORS) as client,
    ):
        for name in missing(list(CONTINUED)):
            handle = await run_once(client, CONTINUED[name], name, None)
            keep(name, await histories(handle, client))


if __name__ == "__main__":
    configure_logs(level="CRITICAL")
    logging.getLogger("temporalio").setLevel(logging.CRITICAL)
    asyncio.run(record())
