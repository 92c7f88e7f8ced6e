"""Random trees on real Temporal servers end as the oracle says, and their histories replay.

REGROW_LONG=1 runs ten times as many.
"""

import asyncio
import os
import random
from typing import Any
from uuid import uuid4

from hypothesis import HealthCheck, Phase, given, settings
from tests.fuzz.oracle import Scripted, oracle
from tests.fuzz.strategies import Case, cases
from tests.fuzz.test_run_against_oracle import expected, shape

from regrow import BaseTask, TaskContext, executor_register
from regrow.client import TreeClient, TreeFailed
from regrow.embedded import EmbeddedServer
from regrow.testing import assert_replays, tree_env, worker_env

TIMES = 10 if os.environ.get("REGROW_LONG") else 1
SCRIPTS: dict[str, dict[str, Scripted]] = {}
RECEIVED: dict[str, dict[str, Any]] = {}


@executor_register()
class Scripted_(BaseTask):  # noqa: N801 - beside the oracle's word
    """Does what the case says, after a moment that chance decides."""

    id = "scripted"

    async def execute(self, inputs: dict[str, Any], context: TaskContext) -> dict[str, Any]:
        RECEIVED[context.tree_id][context.task_id] = inputs
        await asyncio.sleep(random.random() / 100)
        scripted = SCRIPTS[context.tree_id][context.task_id]
        if scripted.ok:
            return {"status": "completed", "result": scripted.value}
        return {"status": "failed", "error": scripted.value}


def collected(count: int) -> list[Case]:
    """Draw cases; the server is asked about them later, many at once where it can."""
    found: list[Case] = []

    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(cases(far_references=True))
    def draw(case: Case) -> None:
        found.append(case)

    draw()
    return found


async def check(client: TreeClient, case: Case) -> None:
    tree_id = f"fuzz-{uuid4().hex}"
    SCRIPTS[tree_id], RECEIVED[tree_id] = dict(case.script), {}
    handle = await client.start(dict(case.document), id=tree_id)
    try:
        result = await handle.result()
    except TreeFailed as failed:
        result = failed.result
    got = shape(result.model_dump(mode="json"), RECEIVED[tree_id])
    assert got == expected(oracle(case.document, case.script, tree_id=tree_id)), case
    read = await handle.status()
    assert read.model_dump(exclude={"tasks"}) == result.model_dump(exclude={"tasks"}), case
    assert {t: e.status for t, e in read.tasks.items()} == {
        t: e.status for t, e in result.tasks.items()
    }, case
    await assert_replays(await handle.workflow_handle.fetch_history())


async def test_on_the_time_skipping_server_one_after_another() -> None:
    async with tree_env(Scripted_, time_skipping=True) as client:
        for case in collected(200 * TIMES):
            await check(client, case)


async def test_on_the_dev_server_many_at_once(server: EmbeddedServer) -> None:
    async with worker_env(server.client, Scripted_) as client:
        limit = asyncio.Semaphore(10)

        async def one(case: Case) -> None:
            async with limit:
                await check(client, case)

        await asyncio.gather(*(one(case) for case in collected(50 * TIMES)))
