"""Every cell of the truth table in docs/semantics.md, on a real Temporal server."""

import asyncio
from collections.abc import Iterable
from itertools import groupby
from typing import Any
from uuid import uuid4

import pytest
from temporalio.service import RPCError
from tests.conformance.running import ended
from tests.semantics.running import Seen, check_cell
from tests.semantics.table import Cell, Scenario, cells, scenario

from regrow import TaskContext, TreeClient, executor_register
from regrow.core.wire import item_unit
from regrow.embedded import EmbeddedServer
from regrow.testing import worker_env

CELLS = {upstream: list(them) for upstream, them in groupby(cells(), lambda cell: cell.upstream)}

_SCENES: dict[str, Scenario] = {}
_GETS: dict[str, dict[str, Any]] = {}


@executor_register()
async def work(inputs: dict[str, Any], context: TaskContext) -> Any:
    """Does what the cell says, and notes what it was given."""
    root, _, path = f"{context.tree_id}/{context.task_id}".partition("/")
    unit = path if context.index is None else item_unit(path, context.index)
    _GETS[root][unit] = inputs
    act = _SCENES[root].act(unit)
    await asyncio.sleep(5 if act.seconds is None else act.seconds)
    return act.value if act.ok else {"status": "failed", "error": act.error}


async def cancel(client: TreeClient, tree_ids: Iterable[str]) -> None:
    """Cancel sub-trees alone, as anyone can with Temporal's own tools, once they are there."""
    for tree_id in tree_ids:
        for _ in range(100):
            try:
                await client.client.get_workflow_handle(tree_id).cancel()
            except RPCError:
                await asyncio.sleep(0.05)
            else:
                break


def cancellable(scene: Scenario) -> dict[str, Any]:
    """The tree, with what is to be cancelled alone as a sub-tree that waits for somebody."""
    hold = {"tasks": [{"id": "hold", "executor": "approval"}]}
    tasks = [
        {"id": task["id"], "tree": hold} if task["id"] in scene.cancelled else task
        for task in scene.document["tasks"]
    ]
    return {**scene.document, "tasks": tasks}


async def disagreement(client: TreeClient, cell: Cell) -> str | None:
    tree_id, scene = f"cell-{uuid4().hex}", scenario(cell.written)
    _SCENES[tree_id], _GETS[tree_id] = scene, {}
    handle = await client.start(cancellable(scene), id=tree_id)
    await cancel(client, [f"{tree_id}/{task_id}" for task_id in scene.cancelled])
    gets = _GETS[tree_id]
    seen = Seen(await ended(client, handle), tuple(gets), gets)
    try:
        check_cell(cell, seen)
    except AssertionError as error:
        return f"{cell.id}: {error}"
    return None


@pytest.mark.parametrize("upstream", CELLS)
async def test_cells_on_temporal(upstream: str, server: EmbeddedServer) -> None:
    async with worker_env(server.client, work) as client:
        them = CELLS[upstream]
        assert len(them) == 32
        found = await asyncio.gather(*(disagreement(client, cell) for cell in them))

    assert [each for each in found if each] == []
