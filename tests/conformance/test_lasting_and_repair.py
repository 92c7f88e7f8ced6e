"""Rows that the chapters' files leave out: what lasts, what is batched or cached, what is repaired.

TD-2, OP-2, a cancelled primary (OP-4 iv), PO-2 to PO-4, PR-2, CC-3 to CC-5, CC-13 and CC-15.
"""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.conformance.executors import Broken, Echo, nap
from tests.conformance.running import (
    Document,
    ended,
    finished,
    histories,
    run_tree,
    started,
    task,
    tree,
)

from regrow import (
    InvalidTree,
    Status,
    TaskContext,
    TreeClient,
    TreeHandle,
    TreeResult,
    executor_register,
    load,
)
from regrow.core import limits
from regrow.embedded import EmbeddedServer
from regrow.testing import assert_replays, worker_env

Guide = dict[str, Any]


# --- TD-2


async def test_td2_the_effect_happens_once_for_a_key_that_attempts_share(
    server: EmbeddedServer,
) -> None:
    effects: dict[str, int] = {}
    keys: list[str] = []

    @executor_register(retry={"initial_interval": "50ms"})
    async def pay(inputs: Guide, context: TaskContext) -> Guide:
        keys.append(context.idempotency_key)
        cached = context.idempotency_key in effects
        receipt = effects.setdefault(context.idempotency_key, len(effects) + 1)
        if context.attempt == 1:
            raise ConnectionError("the answer was lost")
        return {"status": "completed", "result": receipt, "cached": cached}

    async with worker_env(server.client, pay) as client:
        result = await run_tree(client, tree(task("a", executor="pay"), task("b", executor="pay")))

    assert {name: (end.result, end.metadata["cached"]) for name, end in result.tasks.items()} == {
        "a": (effects[f"{result.tree_id}/a"], True),
        "b": (effects[f"{result.tree_id}/b"], True),
    }
    assert sorted(keys) == [f"{result.tree_id}/{name}" for name in ("a", "a", "b", "b")]


# --- OP-2


async def test_op2_trees_run_one_after_another(server: EmbeddedServer) -> None:
    document = tree(task("a", executor="nap"), task("b", "a!", executor="nap"))
    async with worker_env(server.client, nap) as client:
        results = [await run_tree(client, document) for _ in range(3)]

    for earlier, later in pairwise(results):
        assert started(later.tasks["a"]) >= finished(earlier.tasks["b"])


async def test_op2_a_tree_of_500_tasks_runs(server: EmbeddedServer) -> None:
    tasks = [
        task(f"t{n}", *([f"t{n - 1}!"] if n % 10 else []), executor="echo") for n in range(500)
    ]
    async with worker_env(server.client, Echo) as client:
        result = await run_tree(client, tree(*tasks))

    assert result.counts["completed"] == 500


@pytest.mark.skipif(not os.environ.get("REGROW_LONG"), reason="takes half a minute: `make long`")
@pytest.mark.timeout(300)
async def test_op2_a_tree_of_5000_tasks_runs_in_several_histories(server: EmbeddedServer) -> None:
    tasks = [
        task(f"t{n}", *([f"t{n - 1}!"] if n % 10 else []), executor="echo") for n in range(5000)
    ]
    async with worker_env(server.client, Echo) as client:
        handle = await client.start(tree(*tasks))
        result = await handle.result()
        runs = await histories(client, handle)
        await assert_replays(*runs)

    assert result.counts["completed"] == 5000
    assert len(runs) > 1


def test_op2_a_tree_beyond_the_limit_is_refused_in_words() -> None:
    tasks = [{"id": f"t{n}", "executor": "echo"} for n in range(limits.MAX_TASKS + 1)]

    with pytest.raises(InvalidTree, match="100,001 tasks; a tree has at most 100,000"):
        load(tree(*tasks))


# --- OP-4, a cancelled primary, and CC-3


async def test_op4_iv_a_primary_that_is_cancelled_lets_its_fallback_run(
    server: EmbeddedServer,
) -> None:
    document = tree(
        task("primary", executor="nap", inputs={"seconds": 60}, heartbeat_timeout="1s"),
        task("fallback", "primary?", executor="echo", inputs={"from": "fallback"}),
        task("final", "primary?", "fallback?", executor="echo"),
    )
    async with worker_env(server.client, nap, Echo) as client:
        handle = await client.start(document)
        async for change in handle.watch():
            if (change.task_id, change.status) == ("primary", Status.IN_PROGRESS):
                await handle.cancel_task("primary", "too slow")
        result = await ended(client, handle)

    assert result.status is Status.COMPLETED
    assert result.tasks["primary"].status is Status.CANCELLED
    assert result.outputs == {"final": {"fallback": {"from": "fallback"}}}


async def test_cc3_a_cancelled_task_is_interrupted_and_its_dependents_go_by_their_edges(
    server: EmbeddedServer,
) -> None:
    interrupted: list[str] = []

    @executor_register(heartbeat_timeout="1s")
    async def hang(inputs: Guide, context: TaskContext) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            interrupted.append(context.task_id)
            raise

    document = tree(
        task("runs", executor="hang"),
        task("waits", executor="sleep", inputs={"duration": "1h"}),
        task("required", "runs!", executor="echo"),
        task("optional", "runs?", executor="echo"),
        task("pending", "waits!", executor="echo"),
        task("after", "pending?", executor="echo"),
    )
    async with worker_env(server.client, hang, Echo) as client:
        handle = await client.start(document)
        async for change in handle.watch():
            if (change.task_id, change.status) == ("runs", Status.IN_PROGRESS):
                await handle.cancel_task("pending")
                await handle.cancel_task("runs")
            if (change.task_id, change.status) == ("optional", Status.COMPLETED):
                await handle.cancel("all of it")
        result = await ended(client, handle)

    assert interrupted == ["runs"]
    assert result.status is Status.FAILED  # decided before the tree was cancelled
    assert {name: end.status.value for name, end in result.tasks.items()} == {
        "runs": "cancelled",
        "waits": "cancelled",
        "required": "skipped",
        "optional": "completed",
        "pending": "cancelled",
        "after": "completed",
    }


# --- PO-2, PO-3, PO-4


async def test_po2_a_batch_goes_on_where_the_attempt_before_stopped(server: EmbeddedServer) -> None:
    processed: list[int] = []
    under_way: set[int] = set()
    at_once: list[int] = []

    async def process(item: int) -> None:
        processed.append(item)
        under_way.add(item)
        at_once.append(len(under_way))
        await asyncio.sleep(0.01)
        under_way.remove(item)

    @executor_register(retry={"initial_interval": "50ms"})
    async def process_all(inputs: Guide, context: TaskContext) -> int:
        done = int(str(context.heartbeat_details[0])) if context.heartbeat_details else 0
        for start in range(done, len(inputs["items"]), 4):
            await asyncio.gather(*map(process, inputs["items"][start : start + 4]))
            context.heartbeat(start + 4)
            if start == 4 and context.attempt == 1:
                raise ConnectionError("half of it is done")
        return done

    async with worker_env(server.client, process_all) as client:
        document = tree(task("process_all", inputs={"items": list(range(16))}))
        end = (await run_tree(client, document)).tasks["process_all"]

    assert (end.result, end.attempts) == (8, 2)
    assert processed == list(range(16))  # none of them twice
    assert max(at_once) == 4


async def test_po3_a_cache_goes_by_the_inputs_whatever_their_order(server: EmbeddedServer) -> None:
    cache: dict[str, int] = {}

    @executor_register("expensive")
    async def expensive(inputs: dict[str, int]) -> Guide:
        key = json.dumps(inputs, sort_keys=True)
        if key in cache:
            return {"status": "completed", "result": cache[key], "cached": True}
        cache[key] = inputs["a"] * inputs["b"]
        return {"status": "completed", "result": cache[key], "cached": False}

    asked: list[Guide] = [{"a": 2, "b": 3}, {"b": 3, "a": 2}, {"a": 3, "b": 2}]
    async with worker_env(server.client, expensive) as client:
        ends = [
            (await run_tree(client, tree(task("expensive", inputs=inputs)))).tasks["expensive"]
            for inputs in asked
        ]

    assert [(end.result, end.metadata["cached"]) for end in ends] == [
        (6, False), (6, True), (6, False),
    ]  # fmt: skip


async def test_po4_one_query_asks_for_all_users_in_a_thread(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    file = tmp_path / "users.sqlite3"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE users (id INTEGER, name TEXT)")
        connection.execute("INSERT INTO users VALUES (1, 'ann'), (2, 'bob'), (3, 'carl')")
    connection.close()
    queries: list[str] = []
    threads: list[str] = []

    @executor_register()
    def users(inputs: Guide) -> list[str]:
        threads.append(threading.current_thread().name)
        connection = sqlite3.connect(file)
        connection.set_trace_callback(queries.append)
        marks = ", ".join("?" * len(inputs["user_ids"]))
        query = f"SELECT name FROM users WHERE id IN ({marks}) ORDER BY id"
        rows = connection.execute(query, inputs["user_ids"]).fetchall()
        connection.close()
        return [name for (name,) in rows]

    async with worker_env(server.client, users) as client:
        result = await run_tree(client, tree(task("users", inputs={"user_ids": [1, 3]})))

    assert result.outputs == {"users": ["ann", "carl"]}
    assert queries == ["SELECT name FROM users WHERE id IN (1, 3) ORDER BY id"]
    assert threads[0].startswith("regrow-executor")


# --- PR-2


async def test_pr2_durations_counts_and_progress_can_be_read(server: EmbeddedServer) -> None:
    document = tree(
        task("good", executor="nap", inputs={"seconds": 0.2}),
        task("bad", executor="broken"),
        task("blocked", "bad!", executor="echo"),
        name="monitored",
        user_id="acme",
    )
    async with worker_env(server.client, nap, Broken, Echo) as client:
        result = await run_tree(client, document)
        run = client.client.get_workflow_handle(result.tree_id)
        status, about = await run.query("status"), await run.describe()
        listed = await _listed(client, result.tree_id)

    durations = {name: result.tasks[name].metadata["duration"] for name in ("good", "bad")}
    assert isinstance(durations["good"], float)
    assert durations["good"] >= 0.2
    assert isinstance(durations["bad"], float)
    assert status["tasks"] == {"good": "completed", "bad": "failed", "blocked": "skipped"}
    assert {name: n for name, n in status["counts"].items() if n} == {
        "completed": 1, "failed": 1, "skipped": 1,
    }  # fmt: skip
    attributes = {name: list(values) for name, values in about.search_attributes.items()}
    assert attributes["TreeName"] == ["monitored"]
    assert attributes["TreeStatus"] == ["failed"]
    assert attributes["TreeFailedTasks"] == ["bad"]
    assert await about.memo_value("user_id", None) == "acme"
    assert listed == ("monitored", "failed")


async def _listed(client: TreeClient, tree_id: str) -> tuple[str, str]:
    async with asyncio.timeout(20):
        while True:  # a list follows after a moment
            found = [each async for each in client.list(f"WorkflowId = '{tree_id}'", failed=True)]
            if found:
                return found[0].name, str(found[0].status)
            await asyncio.sleep(0.1)


# --- CC-4, CC-5


async def replayed(client: TreeClient, handle: TreeHandle) -> TreeResult:
    """Wait for a rerun, which is no tree like others: what it kept has begun before it did."""
    result = await handle.result()
    await assert_replays(*await histories(client, handle))
    return result


async def test_cc4_a_rerun_of_what_failed_runs_each_of_it_once(server: EmbeddedServer) -> None:
    runs: list[str] = []
    broken = {"b"}

    @executor_register("work")
    async def work(inputs: Guide, context: TaskContext) -> Guide:
        runs.append(context.task_id)
        if context.task_id in broken:
            return {"status": "failed", "error": "not today"}
        return {"status": "completed", "result": context.task_id}

    document = tree(
        task("a", executor="work"),
        task("b", "a!", executor="work"),
        task("c", "b!", executor="work"),
        task("d", "a!", executor="work"),
        task("e", "c!", "d!", executor="work"),
    )
    async with worker_env(server.client, work) as client:
        handle = await client.start(document)
        first = await ended(client, handle)
        before, broken = list(runs), set[str]()
        again = await replayed(client, await handle.rerun(failed=True))

    assert first.status is Status.FAILED
    assert sorted(before) == ["a", "b", "d"]
    assert runs[len(before) :] == ["b", "c", "e"]
    assert again.status is Status.COMPLETED
    assert [name for name, end in again.tasks.items() if end.reused] == ["a", "d"]
    assert again.tasks["a"].result == first.tasks["a"].result


async def test_cc5_a_copy_knows_what_it_is_a_copy_of(server: EmbeddedServer) -> None:
    document = tree(
        task("a", executor="echo", inputs={"n": "${{ inputs.n }}"}),
        task("b", executor="echo"),
        inputs={"n": 1},
    )
    async with worker_env(server.client, Echo) as client:
        handle = await client.start(document)
        first = await ended(client, handle)
        copy = await handle.rerun()
        second = await replayed(client, copy)
        third = await replayed(client, await copy.rerun(failed=True, inputs={"n": 2}))
        lineage = await handle.lineage()

    assert [second.rerun_of, third.rerun_of] == [first.tree_id, second.tree_id]
    assert lineage == [first.tree_id, second.tree_id, third.tree_id]
    assert [name for name, end in second.tasks.items() if end.reused] == []
    assert [name for name, end in third.tasks.items() if end.reused] == ["b"]
    assert third.outputs == {"a": {"n": 2}, "b": {}}


# --- CC-13

STEPS = """
import os
import time
from pathlib import Path

from regrow import TaskContext, executor_register

@executor_register(heartbeat_timeout="2s", retry={"initial_interval": "0.1s"})
def step(inputs, context: TaskContext):
    with Path(os.environ["LOG_FILE"]).open("a") as log:
        log.write(f"{context.idempotency_key}\\n")
    time.sleep(60 if context.task_id == "slow" and context.attempt == 1 else 0)
    return context.attempt
"""


async def test_cc13_a_killed_worker_repeats_only_what_it_was_doing(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    (tmp_path / "steps.py").write_text(STEPS)
    queue = f"killed-{uuid4().hex[:8]}"
    env = {
        **os.environ,
        "TEMPORAL_ADDRESS": server.address,
        "REGROW_TASK_QUEUE": queue,
        "LOG_FILE": str(tmp_path / "log.txt"),
    }
    command = [sys.executable, "-m", "regrow", "worker", "--executors", "steps.py"]
    client = TreeClient(server.client, task_queue=queue)
    document = tree(
        task("first", executor="step"),
        task("slow", "first!", executor="step"),
        task("last", "slow!", executor="step"),
    )
    handle = await client.start(document)

    async def worker() -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *command, cwd=tmp_path, env=env, stderr=subprocess.DEVNULL
        )

    doomed = await worker()
    try:
        async with asyncio.timeout(60):
            async for change in handle.watch():
                if (change.task_id, change.status) == ("slow", Status.IN_PROGRESS):
                    break
            while not (tmp_path / "log.txt").read_text().count("slow"):  # noqa: ASYNC110 - of another process
                await asyncio.sleep(0.05)
        doomed.send_signal(signal.SIGKILL)
    finally:
        await _end(doomed)
    survivor = await worker()
    try:
        result = await ended(client, handle)
    finally:
        await _end(survivor)

    ran = (tmp_path / "log.txt").read_text().split()
    assert result.outputs == {"last": 1}
    assert result.tasks["slow"].attempts == 2
    assert ran == [f"{handle.id}/{name}" for name in ("first", "slow", "slow", "last")]


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    await process.wait()


# --- CC-15


async def test_cc15_the_author_says_how_a_result_enters_and_the_document_stays_as_it_is(
    server: EmbeddedServer,
) -> None:
    def uses(*edges: Document, **inputs: Any) -> Document:
        return {"executor": "echo", "dependencies": list(edges), "inputs": {"own": 1, **inputs}}

    document = tree(
        task("data", executor="echo", inputs={"x": 1, "own": 2}),
        {"id": "by_id", **uses({"id": "data"})},
        {"id": "named", **uses({"id": "data", "into": "given"})},
        {"id": "spread", **uses({"id": "data", "into": "*"})},
        {"id": "none", **uses({"id": "data", "into": None})},
        {"id": "asked", **uses({"id": "data"}, x="${{ tasks.data.result.x }}")},
        {"id": "own_wins", **uses({"id": "data", "into": "own"})},
    )
    written = json.dumps(document)
    async with worker_env(server.client, Echo) as client:
        result = await run_tree(client, document)
        start = await client.client.get_workflow_handle(result.tree_id).fetch_history()

    data = {"x": 1, "own": 2}
    assert result.outputs == {
        "by_id": {"own": 1, "data": data},
        "named": {"own": 1, "given": data},
        "spread": {"own": 1, "x": 1},
        "none": {"own": 1},
        "asked": {"own": 1, "x": 1},
        "own_wins": {"own": 1},
    }
    assert json.dumps(document) == written
    [payload] = start.events[0].workflow_execution_started_event_attributes.input.payloads
    kept = {each["id"]: each["inputs"] for each in json.loads(payload.data)["tasks"]}
    assert kept == {each["id"]: each["inputs"] for each in document["tasks"]}
