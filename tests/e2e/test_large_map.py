"""A map of ten thousand items, as a user would run it."""

import json
from pathlib import Path

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client
from tests.e2e.command import Shell

from regrow.embedded import embedded_server

ITEMS = 10_000
MOST_EVENTS = 5_000


async def test_map_of_ten_thousand_items_completes_in_short_histories(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    each = {"id": "each", "executor": "noop", "for_each": list(range(ITEMS))}
    document = {
        "name": "large",
        "max_in_flight": 400,
        "tasks": [{**each, "inputs": {"value": "${{ item }}"}}],
        "outputs": {"last": "${{ tasks.each.result[-1] }}"},
    }
    file, db = shell.write("large.json", document), tmp_path / "large.db"

    done = shell.run("run", file, "--executors", shell.executors, "--db", db, "-w", "large")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"last": ITEMS - 1}
    async with embedded_server(db=db) as server:
        runs = await events_of(server.client, "large")
    assert sum(run.count(EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED) for run in runs) == ITEMS
    assert max(map(len, runs)) <= MOST_EVENTS
    assert not [run for run in runs if EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED in run]


async def events_of(client: Client, tree_id: str) -> list[list[int]]:
    """Give the types of the events of every run of a tree."""
    runs: list[list[int]] = []
    async for found in client.list_workflows(f"WorkflowId = '{tree_id}'"):
        run = client.get_workflow_handle(tree_id, run_id=found.run_id)
        runs.append([event.event_type for event in (await run.fetch_history()).events])
    return runs
