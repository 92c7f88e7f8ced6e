"""The same trees end alike with apflow and with Regrow, where the guide's rules decide."""

import asyncio
from collections import Counter
from typing import Any, Final

import pytest
from tests.differential.sides import Apflow, Array, Here, There, bare, run_here, seen
from tests.differential.trees import random_tree

from regrow import TreeClient
from regrow.core.convert import convert
from regrow.core.hashing import document_hash
from regrow.core.loading import load

pytestmark = pytest.mark.timeout(600)

TREES: Final = [random_tree(seed) for seed in range(200)]
AT_ONCE: Final = 20
MEANS: Final = {"pending": "skipped"}
"""What never ran is waiting for ever there, and skipped with a reason here."""


async def test_two_hundred_random_trees_end_alike(apflow: Apflow, client: TreeClient) -> None:
    there, here = await asyncio.gather(asyncio.to_thread(apflow.run, TREES), all_here(client))

    for tree, other, own in zip(TREES, there, here, strict=True):
        assert outcomes_here(own) == outcomes_there(other), tree
        assert seen(own.events) == bare(seen(other.events)), tree
    ends = Counter(status for own in here for status in own.statuses().values())
    assert min(ends["completed"], ends["failed"], ends["skipped"]) > 50


@pytest.mark.parametrize("tree", TREES[:50], ids=lambda tree: tree[0]["inputs"]["tree"])
def test_a_converted_tree_is_the_same_document(tree: Array) -> None:
    assert document_hash(load(convert(tree).document)) == document_hash(load(tree))


def test_what_apflow_exports_of_a_tree_that_ran_converts_to_the_tree_that_was_written(
    apflow: Apflow,
) -> None:
    for tree, there in zip(TREES[:20], apflow.run(TREES[:20], export=True), strict=True):
        assert by_id(there.exported) == by_id(tree)


def by_id(written: object) -> dict[str, Any]:
    """Give the tasks of a converted document; an export has them in another order."""
    return {task["id"]: task for task in convert(written).document["tasks"]}


async def all_here(client: TreeClient) -> list[Here]:
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(tree: Array) -> Here:
        async with limit:
            return await run_here(client, tree)

    return await asyncio.gather(*map(one, TREES))


def outcomes_there(end: There) -> dict[str, Any]:
    """Give each task's status, result and error, in Regrow's words."""
    return {
        task_id: (
            MEANS.get(task["status"], task["status"]),
            bare(task["result"]) if task["status"] == "completed" else None,
            task["error"],
        )
        for task_id, task in end.tasks.items()
    }


def outcomes_here(end: Here) -> dict[str, Any]:
    return {
        task_id: (task.status.value, task.result, task.error if task.attempts else None)
        for task_id, task in end.result.tasks.items()
    }
