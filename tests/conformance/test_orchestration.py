"""The guide's section "Orchestration Patterns": rows OP-1, OP-3, OP-4 and OP-5.

OP-4 (iv), a cancelled primary, is shown here on `TreeRun`, the object that decides for the
workflow, and in `test_lasting_and_repair.py` by hand on a server.
"""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.conformance.executors import Broken, Echo, Nap, nap
from tests.conformance.running import (
    Document,
    finished,
    overlap,
    run_tree,
    scheduled,
    spent,
    started,
    task,
    tree,
)

from regrow import InvalidTree, Status, TaskContext, executor_register, load
from regrow.core.models import Policy
from regrow.core.outcome import Outcome
from regrow.core.resolve import Description, resolve
from regrow.core.run import TreeRun
from regrow.embedded import EmbeddedServer
from regrow.testing import worker_env


async def test_op1_a_parent_orders_nothing_and_a_dependency_does(server: EmbeddedServer) -> None:
    document = tree(
        task("fetch", executor="nap"),
        task("beside", executor="nap", parent_id="fetch", inputs={"seconds": 0.6}),
        task("after", "fetch!", executor="nap", parent_id="fetch"),
    )
    async with worker_env(server.client, nap) as client:
        result = await run_tree(client, document)

    fetch, beside, after = (result.tasks[name] for name in ("fetch", "beside", "after"))
    assert started(beside) < finished(fetch)
    assert finished(fetch) < finished(beside)  # nor does a parent wait for its children
    assert started(after) >= finished(fetch)


async def test_op1_a_deep_nest_without_dependencies_starts_together(server: EmbeddedServer) -> None:
    nest: Document = task("t5", executor="nap")
    for depth in (4, 3, 2, 1, 0):
        nest = task(f"t{depth}", executor="nap", children=[nest])
    async with worker_env(server.client, nap) as client:
        result = await run_tree(client, tree(nest))

    assert list(result.tasks) == ["t0", "t1", "t2", "t3", "t4", "t5"]
    assert overlap(*result.tasks.values())


async def test_op3_tasks_without_dependencies_run_in_parallel(server: EmbeddedServer) -> None:
    root: Document = {"id": "root", "name": "nap", "inputs": {"seconds": 0.6}}
    children = [
        {"id": f"fetch_data_{n}", "name": "nap", "parent_id": "root", "inputs": {"seconds": 0.6}}
        for n in (1, 2, 3)
    ]
    async with worker_env(server.client, nap) as client:
        result = await run_tree(client, [root, *children])

    assert result.status is Status.COMPLETED
    assert overlap(*result.tasks.values())
    assert spent(result) < 1.8  # one after another they would take 2.4 s


async def test_op3_the_arms_of_a_diamond_overlap(server: EmbeddedServer) -> None:
    document = tree(
        task("s", executor="nap", inputs={"seconds": 0.1}),
        *(task(arm, "s!", executor="nap") for arm in ("x", "y", "z")),
        task("end", "x!", "y!", "z!", executor="nap", inputs={"seconds": 0}),
    )
    async with worker_env(server.client, nap) as client:
        result = await run_tree(client, document)

    arms = [result.tasks[arm] for arm in ("x", "y", "z")]
    assert overlap(*arms)
    assert started(result.tasks["end"]) >= max(map(finished, arms))


async def test_op3_chains_advance_independently(server: EmbeddedServer) -> None:
    first = {"a1": 0.1, "b1": 0.4, "c1": 0.8}
    document = tree(
        *(task(name, executor="nap", inputs={"seconds": s}) for name, s in first.items()),
        *(task(f"{name[0]}2", f"{name}!", executor="nap") for name in first),
    )
    async with worker_env(server.client, nap) as client:
        tasks = (await run_tree(client, document)).tasks

    assert started(tasks["a2"]) < finished(tasks["b1"])
    assert started(tasks["b2"]) < finished(tasks["c1"])
    assert all(started(tasks[f"{n}2"]) >= finished(tasks[f"{n}1"]) for n in "abc")


def fallback_tree(primary: str, fallback: str) -> Document:
    return tree(
        task("primary", executor=primary, inputs={"from": "primary"}),
        task("fallback", "primary?", executor=fallback, inputs={"from": "fallback"}),
        task("final", "primary?", "fallback?", executor="echo"),
    )


PRIMARY: dict[str, Any] = {"from": "primary"}
FALLBACK: dict[str, Any] = {"from": "fallback"}


@pytest.mark.parametrize(
    ("primary", "fallback", "given"),
    [
        pytest.param("broken", "echo", {"fallback": FALLBACK}, id="i-primary-fails"),
        pytest.param(
            "echo",
            "echo",
            {"primary": PRIMARY, "fallback": {**FALLBACK, "primary": PRIMARY}},
            id="ii-both-run",
        ),
        pytest.param("broken", "broken", {}, id="iii-both-fail"),
    ],
)
async def test_op4_a_fallback_runs_after_its_primary_however_that_ended(
    server: EmbeddedServer, primary: str, fallback: str, given: Document
) -> None:
    async with worker_env(server.client, Echo, Broken) as client:
        result = await run_tree(client, fallback_tree(primary, fallback))

    first, second, final = result.tasks.values()
    assert result.status is Status.COMPLETED  # each failure is tolerated
    assert result.outputs == {"final": given}
    assert started(second) >= finished(first)
    assert started(final) >= finished(second)
    assert result.counts["failed"] == [primary, fallback].count("broken")


def test_op4_iv_a_cancelled_primary_is_an_end_for_its_fallback() -> None:
    now = datetime(2030, 1, 31, tzinfo=UTC)
    described = Description(executors={"echo": Policy()})
    run = TreeRun(resolve(load(fallback_tree("echo", "echo")), described), tree_id="t")

    run.next_start(now)
    run.began("primary", now)
    run.ended("primary", Outcome(Status.CANCELLED), now)

    start = run.next_start(now)
    assert start is not None
    assert (start.unit, start.inputs) == ("fallback", FALLBACK)


async def test_op4_a_fallback_may_be_kept_for_failures_only(server: EmbeddedServer) -> None:
    document = fallback_tree("echo", "echo")
    document["tasks"][1]["when"] = "tasks.primary.status == 'failed'"
    async with worker_env(server.client, Echo) as client:
        result = await run_tree(client, document)

    assert result.tasks["fallback"].status is Status.SKIPPED
    assert result.outputs == {"final": {"primary": PRIMARY}}


async def test_op5_ready_tasks_start_by_priority(server: EmbeddedServer) -> None:
    order: list[str] = []

    @executor_register("note")
    async def note(inputs: Nap, context: TaskContext) -> None:
        order.append(context.task_id)
        await asyncio.sleep(inputs.seconds)

    document = tree(
        *(task(name, executor="note", priority=p, inputs={"seconds": 0.02}) for name, p in {
            "low": 3, "unset": None, "normal": 2, "high": 1, "urgent": 0,
        }.items()),
        max_in_flight=1,
    )  # fmt: skip
    async with worker_env(server.client, note) as client:
        result = await run_tree(client, document)
        activities = await scheduled(client, result.tree_id)

    assert order == ["urgent", "high", "unset", "normal", "low"]
    keys = {name: each.priority.priority_key for name, each in activities.items()}
    assert keys == {"urgent": 1, "high": 2, "unset": 3, "normal": 3, "low": 4}


async def test_op5_priority_never_beats_a_dependency(server: EmbeddedServer) -> None:
    document = tree(
        task("urgent", "low!", executor="nap", priority=0),
        task("low", executor="nap", priority=3, inputs={"seconds": 0.1}),
        max_in_flight=1,
    )
    async with worker_env(server.client, nap) as client:
        tasks = (await run_tree(client, document)).tasks

    assert started(tasks["urgent"]) >= finished(tasks["low"])


@pytest.mark.parametrize("priority", [-1, 4, 1.5, "high", "1", True])
def test_op5_other_priorities_are_refused(priority: object) -> None:
    with pytest.raises(InvalidTree) as refusal:
        load(tree(task("a", priority=priority)))

    assert [problem.path for problem in refusal.value.problems] == [("tasks", 0, "priority")]
