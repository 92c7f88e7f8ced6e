"""Random trees with local tasks end as without them, their histories say so too, and replay."""

import asyncio
import copy
from dataclasses import replace
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from tests.fuzz.language import expected, shape
from tests.fuzz.oracle import oracle
from tests.fuzz.strategies import PROBE, LanguageCase
from tests.fuzz.test_random_trees_on_temporal import (
    SCRIPTS,
    TIMES,
    TRACES,
    Probe,
    answering,
    collected,
)

from regrow import Trace
from regrow.client import TreeClient, TreeFailed, TreeHandle
from regrow.core import limits
from regrow.core.result import TreeResult
from regrow.embedded import EmbeddedServer
from regrow.testing import assert_replays, worker_env


def partly_local(case: LanguageCase) -> LanguageCase:
    """The same case where most tasks are local, and only a few run at a time."""
    document = copy.deepcopy(case.document)
    dice = case.chance()
    make_local(document, dice)
    return replace(case, document=document)


def make_local(document: Any, dice: Random) -> None:
    document["max_in_flight"] = dice.randint(1, 6)
    for task in document["tasks"]:
        if task.get("executor") == PROBE and dice.random() < 0.7:
            task["local"] = True
        if "tree" in task:
            make_local(task["tree"], dice)


async def check(client: TreeClient, case: LanguageCase) -> None:
    tree_id = f"local-{uuid4().hex}"
    SCRIPTS[tree_id], TRACES[tree_id] = dict(case.script), Trace()
    handle = await client.start(dict(case.document), id=tree_id, inputs=case.tree_inputs)
    async with answering(client, tree_id):
        try:
            result = await handle.result()
        except TreeFailed as failed:
            result = failed.result
    if case.document["on_failure"] == "continue":
        state = oracle(case.document, case.script, tree_inputs=case.tree_inputs, tree_id=tree_id)
        assert shape(result, TRACES[tree_id], state) == expected(state), case
    await history_tells(handle, result)


async def history_tells(handle: TreeHandle, result: TreeResult) -> None:
    """Check what is read without the result at the end, which would put right what is wrong."""
    history = await handle.workflow_handle.fetch_history()
    await assert_replays(history)
    fold = handle.new_fold()
    fold.feed(history.events[:-1])
    read = fold.result()
    for task_id, task in read.tasks.items():
        told = result.tasks[task_id]
        said = (task.status, task.result, task.error, task.because)
        assert said == (told.status, told.result, told.error, told.because), (task_id, handle.id)
        assert told.attempts in (task.attempts, None), (task_id, handle.id)
    assert not fold.activities


async def check_all(server: EmbeddedServer, cases: list[LanguageCase]) -> None:
    async with worker_env(server.client, Probe) as client:
        limit = asyncio.Semaphore(10)

        async def one(case: LanguageCase) -> None:
            async with limit:
                await check(client, partly_local(case))

        await asyncio.gather(*(one(case) for case in cases))


async def test_on_the_dev_server_many_at_once(server: EmbeddedServer) -> None:
    await check_all(server, collected(20 * TIMES))


async def test_with_many_workflow_tasks_in_each(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_LOCAL_STARTS", 2)
    monkeypatch.setattr(limits, "MAX_LOCAL_IN_FLIGHT", 2)
    await check_all(server, collected(10 * TIMES))


async def test_that_give_up_at_a_failure(server: EmbeddedServer) -> None:
    """What is cut off is decided by chance, so the workflow's own word stands for the oracle's."""
    cases = [
        replace(case, document={**case.document, "on_failure": "cancel"})
        for case in collected(20 * TIMES)
    ]
    await check_all(server, cases)
