"""Random trees on real Temporal servers end as the oracle says, and their histories replay.

REGROW_LONG=1 runs ten times as many.
"""

import asyncio
import copy
import os
import random
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast
from uuid import uuid4

from hypothesis import HealthCheck, Phase, given, settings
from tests.fuzz.language import expected, shape
from tests.fuzz.oracle import Approved, Rejected, Scripted, Sent, TimedOut, oracle, scripted_for
from tests.fuzz.strategies import LanguageCase, language_cases

from regrow import BaseTask, TaskContext, Trace, executor_register
from regrow.client import RequestRefused, TreeClient, TreeFailed, TreeHandle
from regrow.core.wire import APPROVAL, SLEEP, WAIT_FOR_EVENT
from regrow.embedded import EmbeddedServer
from regrow.testing import assert_replays, tree_env, worker_env

TIMES = 10 if os.environ.get("REGROW_LONG") else 1
SCRIPTS: dict[str, dict[str, Any]] = {}
TRACES: dict[str, Trace] = {}


@executor_register()
class Probe(BaseTask):
    """Does what the case says, after a moment that chance decides."""

    async def execute(self, inputs: dict[str, Any], context: TaskContext) -> dict[str, Any]:
        root, _, path = context.idempotency_key.partition("/")
        TRACES[root].inputs[path] = inputs
        await asyncio.sleep(random.random() / 100)
        entry = scripted_for(SCRIPTS[root], path)
        tries = cast("list[Scripted]", entry if isinstance(entry, list) else [entry])
        scripted = tries[min(context.attempt, len(tries)) - 1]
        if scripted.ok:
            return {"status": "completed", "result": scripted.value}
        return {"status": "failed", "error": scripted.value, "retryable": scripted.retryable}


def collected(count: int) -> list[LanguageCase]:
    """Draw cases; the server is asked about them later, many at once where it can."""
    found: list[LanguageCase] = []

    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(language_cases())
    def draw(case: LanguageCase) -> None:
        found.append(case)

    draw()
    return found


def unanswered(case: LanguageCase) -> LanguageCase:
    """The same case where nobody answers: on a server that skips time an answer comes too late."""
    document = copy.deepcopy(case.document)
    for task in waits_in(document):
        task["inputs"] = {"timeout": "30d", **task.get("inputs", {})}
    script = {
        path: TimedOut() if isinstance(entry, Approved | Rejected | Sent) else entry
        for path, entry in case.script.items()
    }
    return replace(case, document=document, script=script)


def waits_in(document: Any) -> Iterator[dict[str, Any]]:
    """Give the waits of a tree and of those inside it."""
    for task in document["tasks"]:
        if task.get("executor") in (APPROVAL, WAIT_FOR_EVENT):
            yield task
        if "tree" in task:
            yield from waits_in(task["tree"])


async def check(client: TreeClient, case: LanguageCase, *, answer: bool) -> None:
    tree_id = f"fuzz-{uuid4().hex}"
    SCRIPTS[tree_id], TRACES[tree_id] = dict(case.script), Trace()
    handle = await client.start(dict(case.document), id=tree_id, inputs=case.tree_inputs)
    async with answering(client, tree_id) if answer else nobody():
        try:
            result = await handle.result()
        except TreeFailed as failed:
            result = failed.result
    state = oracle(case.document, case.script, tree_inputs=case.tree_inputs, tree_id=tree_id)
    assert shape(result, TRACES[tree_id], state) == expected(state), case
    read = await handle.status()
    assert read.model_dump(exclude={"tasks"}) == result.model_dump(exclude={"tasks"}), case
    for task_id, task in read.tasks.items():
        told = result.tasks[task_id]
        assert (task.status, task.result) == (told.status, told.result), case
        assert (task.error, task.because) == (told.error, told.because), case
    await assert_replays(await handle.workflow_handle.fetch_history())


@asynccontextmanager
async def nobody() -> AsyncGenerator[None]:
    yield


@asynccontextmanager
async def answering(client: TreeClient, tree_id: str) -> AsyncGenerator[None]:
    """Answer whatever waits, in the tree and in those inside it, as the case says."""

    async def answer() -> None:
        running = f"WorkflowId STARTS_WITH '{tree_id}' AND ExecutionStatus = 'Running'"
        while True:
            async for tree in client.client.list_workflows(running):
                await answer_in(client.get(tree.id), tree_id)
            await asyncio.sleep(0.1)

    task = asyncio.create_task(answer())
    try:
        yield
    finally:
        task.cancel()


async def answer_in(handle: TreeHandle, root: str) -> None:
    fold = handle.new_fold()
    await handle.status(fold)
    run = fold.run
    for task_id, wait in list(run.waits.items() if run else ()):
        path = f"{handle.id}/{task_id}".removeprefix(f"{root}/")
        entry = None if wait.kind == SLEEP else scripted_for(SCRIPTS[root], path)
        try:
            if isinstance(entry, Approved):
                by, note = entry.by, entry.note
                await handle.approve(task_id, by=by, note=note, result=entry.result)
            elif isinstance(entry, Rejected):
                await handle.approve(task_id, approved=False, by=entry.by, note=entry.note)
            elif isinstance(entry, Sent) and wait.event is not None:
                await handle.send_event(wait.event, entry.payload)
        except RequestRefused:  # it has ended in the meantime
            return


async def test_on_the_time_skipping_server_one_after_another() -> None:
    async with tree_env(Probe, time_skipping=True) as client:
        for case in collected(200 * TIMES):
            await check(client, unanswered(case), answer=False)


async def test_on_the_dev_server_many_at_once(server: EmbeddedServer) -> None:
    async with worker_env(server.client, Probe) as client:
        limit = asyncio.Semaphore(10)

        async def one(case: LanguageCase) -> None:
            async with limit:
                await check(client, case, answer=True)

        await asyncio.gather(*(one(case) for case in collected(50 * TIMES)))
