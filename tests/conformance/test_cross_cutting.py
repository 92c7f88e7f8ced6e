"""What the guide's system publishes besides: rows CC-1, CC-2, CC-7, CC-9 to CC-12 and CC-14."""

import asyncio
import json
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError
from tests.conformance.executors import Broken, Echo, Nap, nap
from tests.conformance.running import (
    Document,
    assert_legal,
    ended,
    finished,
    histories,
    overlap,
    run_tree,
    started,
    task,
    tree,
)

from regrow import InvalidTree, Status, TaskContext, TreeHandle, executor_register, load
from regrow.client import Change, TreeConflict, TreeNotFound
from regrow.core.problems import path_text
from regrow.core.wire import WORKFLOW_TYPE
from regrow.embedded import EmbeddedServer
from regrow.testing import assert_replays, worker_env

Guide = dict[str, Any]

WRONG = tree(
    task("a", "c!", executor="echo"),
    task("b", "a!", executor="echo"),
    task("c", "b?", executor="echo"),
    task("self", "self!", executor="echo"),
    task("lost", "nowhere!", executor="echo", parent_id="nobody"),
    task("twice", executor="echo"),
    task("twice", executor="echo"),
)
PROBLEMS = [
    ("cycle", "tasks[0].dependencies"),
    ("self_dependency", "tasks[3].dependencies[0]"),
    ("unknown_dependency", "tasks[4].dependencies[0]"),
    ("unknown_parent", "tasks[4].parent_id"),
    ("duplicate_id", "tasks[6].id"),
]


async def test_cc1_a_wrong_graph_is_refused_by_the_client_with_every_problem(
    server: EmbeddedServer,
) -> None:
    tree_id = f"wrong-{uuid4().hex[:8]}"
    async with worker_env(server.client, Echo) as client:
        with pytest.raises(InvalidTree) as refusal:
            await client.start(WRONG, id=tree_id)
        with pytest.raises(TreeNotFound):
            await client.get(tree_id).status()

    found = [(problem.code, path_text(problem.path)) for problem in refusal.value.problems]
    assert found == PROBLEMS
    assert "cycle: a → c → b → a" in str(refusal.value)


async def test_cc1_a_wrong_graph_is_refused_by_the_workflow_before_anything_starts(
    server: EmbeddedServer,
) -> None:
    async with worker_env(server.client, Echo) as client:
        handle = await client.client.start_workflow(
            WORKFLOW_TYPE, WRONG, id=f"wrong-{uuid4().hex[:8]}", task_queue=client.task_queue
        )
        with pytest.raises(WorkflowFailureError) as failure:
            await handle.result()
        with pytest.raises(InvalidTree) as refusal:
            await client.get(handle.id).result()
        history = await handle.fetch_history()
        await assert_replays(history)

    cause = failure.value.cause
    assert isinstance(cause, ApplicationError)
    assert (cause.type, cause.non_retryable) == ("InvalidTree", True)
    assert [(each["code"], each["path"]) for each in cause.details[0]] == PROBLEMS
    assert [problem.code for problem in refusal.value.problems] == [code for code, _ in PROBLEMS]
    assert len(history.events) == 5  # started, one workflow task, failed


OWN = task("own", parent_id="own")
X, Y = task("x", parent_id="y"), task("y", parent_id="x")
A, B = task("a", "b!"), task("b", "a!")


@pytest.mark.timeout(5)  # a walk from parent to parent must not go round for ever
@pytest.mark.parametrize(
    ("tasks", "found"),
    [
        ([OWN], ["parent_cycle tasks[0].parent_id"]),
        ([X, Y], ["parent_cycle tasks[0].parent_id"]),
        ([X, Y, OWN], ["parent_cycle tasks[0].parent_id", "parent_cycle tasks[2].parent_id"]),
        ([X, Y, A, B], ["parent_cycle tasks[0].parent_id", "cycle tasks[2].dependencies"]),
    ],
    ids=["own-parent", "two", "both", "beside-a-cycle"],
)
def test_cc1_a_parent_cycle_is_refused(tasks: list[Document], found: list[str]) -> None:
    with pytest.raises(InvalidTree) as refusal:
        load(tree(*tasks))

    assert [f"{each.code} {path_text(each.path)}" for each in refusal.value.problems] == found
    assert ("x → y → x" in str(refusal.value)) is (X in tasks)


async def test_cc1_several_roots_run(server: EmbeddedServer) -> None:
    document = tree(
        task("a", executor="nap"), task("b", executor="nap"), task("b2", "b!", executor="nap")
    )
    async with worker_env(server.client, nap) as client:
        result = await run_tree(client, document)

    assert result.status is Status.COMPLETED
    assert overlap(result.tasks["a"], result.tasks["b"])


async def test_cc2_every_kind_of_end_is_reached_legally(server: EmbeddedServer) -> None:
    document = tree(
        task("good", executor="nap"),
        task("bad", executor="broken"),
        task("blocked", "bad!", executor="echo"),
        task("tolerant", "bad?", "good!", executor="echo"),
        task("idle", executor="echo", when="`false`"),
        task("wrong", "bad?", executor="echo", inputs={"text": "got ${{ tasks.bad.result }}"}),
        task("rest", executor="sleep", inputs={"duration": "10ms"}),
        task("all", "good!", "tolerant!", executor="aggregate_results"),
        task("group", executor="group"),
        task("member", executor="echo", parent_id="group"),
    )
    async with worker_env(server.client, nap, Broken, Echo) as client:
        result = await run_tree(client, document)

    assert {name: end.status.value for name, end in result.tasks.items()} == {
        "good": "completed",
        "bad": "failed",
        "blocked": "skipped",
        "tolerant": "completed",
        "idle": "skipped",
        "wrong": "failed",
        "rest": "completed",
        "all": "completed",
        "group": "completed",
        "member": "completed",
    }
    assert started(result.tasks["tolerant"]) >= finished(result.tasks["good"])


async def test_cc2_a_cancelled_tree_ends_legally(server: EmbeddedServer) -> None:
    document = tree(
        task("first", executor="nap", inputs={"seconds": 0.1}),
        task("long", "first!", executor="nap", inputs={"seconds": 60}),
        task("rest", executor="sleep", inputs={"duration": "1h"}),
        task("never", "long?", executor="nap"),
        defaults={"heartbeat_timeout": "1s"},
    )
    async with worker_env(server.client, nap) as client:
        handle = await client.start(document)
        async for change in handle.watch():
            if (change.task_id, change.status) == ("long", Status.IN_PROGRESS):
                await handle.cancel("enough")
        result = await ended(client, handle)

    assert result.status is Status.CANCELLED
    assert [end.status.value for end in result.tasks.values()] == [
        "completed", "cancelled", "cancelled", "cancelled",
    ]  # fmt: skip


async def collect(handle: TreeHandle, most: int | None = None) -> list[Change]:
    changes: list[Change] = []
    async for change in handle.watch():
        changes.append(change)
        if len(changes) == most:
            break
    return changes


async def test_cc7_every_watcher_sees_every_change_in_order(server: EmbeddedServer) -> None:
    document = tree(
        task("a", executor="nap"),
        task("b", "a!", executor="nap"),
        task("bad", "a!", executor="broken"),
        task("c", "bad!", executor="nap"),
        task("d", "b!", "bad?", executor="nap"),
    )
    async with worker_env(server.client, nap, Broken) as client:
        handle = await client.start(document)
        early = asyncio.create_task(collect(handle))
        assert len(await collect(handle, most=3)) == 3  # goes away, and comes back
        again = asyncio.create_task(collect(client.get(handle.id)))
        result = await ended(client, handle)
        seen = await early
        late = await collect(client.get(handle.id))

    assert_legal(seen, result)
    assert seen == await again == late
    assert [(change.task_id, change.status.value) for change in seen] == [
        (None, "in_progress"),
        ("a", "in_progress"),
        ("a", "completed"),
        ("b", "in_progress"),
        ("bad", "in_progress"),
        ("bad", "failed"),
        ("c", "skipped"),
        ("b", "completed"),
        ("d", "in_progress"),
        ("d", "completed"),
        (None, "failed"),
    ]
    assert all(change.task and change.task.status is change.status for change in seen[1:-1])


async def test_cc9_aggregate_results_gathers_its_dependencies(server: EmbeddedServer) -> None:
    document = tree(
        task("a", executor="echo", inputs={"n": 1}),
        task("b", executor="nap", inputs={"seconds": 0}),
        task("bad", executor="broken"),
        task("idle", executor="echo", when="`false`"),
        task("all", "b!", "idle?", "a!", "bad?", executor="aggregate_results"),
    )
    async with worker_env(server.client, nap, Broken, Echo) as client:
        result = await run_tree(client, document)

    gathered = {"results": {"b": "b", "a": {"n": 1}}, "count": 2, "absent": ["idle", "bad"]}
    assert json.dumps(result.outputs["all"]) == json.dumps(gathered)  # in declared order


async def test_cc10_an_unknown_executor_is_refused_with_a_suggestion(
    server: EmbeddedServer,
) -> None:
    runs: list[str] = []

    @executor_register("user_data_fetcher")
    async def fetch(inputs: Guide, context: TaskContext) -> None:
        runs.append(context.task_id)

    document = tree(
        task("good", executor="user_data_fetcher"),
        task("slip", executor="user_data_fetchr"),
        task("alien", executor="zzz"),
    )
    async with worker_env(server.client, fetch) as client:
        handle = await client.start(document)
        with pytest.raises(InvalidTree) as refusal:
            await handle.result()
        await assert_replays(*await histories(client, handle))

    slip, alien = refusal.value.problems
    assert [slip.code, alien.code] == ["unknown_executor"] * 2
    assert [path_text(slip.path), path_text(alien.path)] == [
        "tasks[1].executor",
        "tasks[2].executor",
    ]
    assert "did you mean 'user_data_fetcher'?" in slip.message
    assert all("user_data_fetcher" in each.message for each in (slip, alien))
    assert all("http_request" in each.message for each in (slip, alien))
    assert runs == []


async def test_cc11_a_result_of_none_blocks_nobody(server: EmbeddedServer) -> None:
    @executor_register("nothing")
    async def nothing(inputs: Guide) -> None: ...

    document = tree(
        task("bare", executor="nothing"),
        task("after", "bare!", executor="echo"),
        task("then", "after!", executor="nothing"),
        task("last", "bare!", "then?", executor="echo"),
    )
    async with worker_env(server.client, nothing, Echo) as client:
        result = await run_tree(client, document)

    assert result.counts["completed"] == 4
    assert result.tasks["after"].result == {"bare": None}
    assert result.outputs == {"last": {"bare": None, "then": None}}


async def test_cc12_two_users_in_one_tree_are_refused(server: EmbeddedServer) -> None:
    tasks: list[Document] = [
        {"id": "a", "name": "echo", "user_id": "ann"},
        {"id": "b", "name": "echo", "user_id": "bob", "parent_id": "a"},
    ]
    async with worker_env(server.client, Echo) as client:
        for document in (tasks, tree(*tasks), tree(tasks[0], user_id="bob")):
            with pytest.raises(InvalidTree) as refusal:
                await client.start(document)
            assert [problem.code for problem in refusal.value.problems] == ["user_id"]
        result = await run_tree(client, [tasks[0], {**tasks[1], "user_id": "ann"}])

    assert result.status is Status.COMPLETED


async def test_cc14_one_id_is_one_execution_however_many_start_it(server: EmbeddedServer) -> None:
    runs: list[str] = []

    @executor_register("count")
    async def count(inputs: Nap, context: TaskContext) -> int:
        runs.append(context.idempotency_key)
        await asyncio.sleep(inputs.seconds)
        return len(runs)

    tree_id = f"once-{uuid4().hex[:8]}"
    document = tree(task("count"))
    async with worker_env(server.client, count) as client:
        handles = await asyncio.gather(*(client.start(document, id=tree_id) for _ in range(50)))
        results = await asyncio.gather(*(handle.result() for handle in handles))
        afterwards = await client.start(document, id=tree_id)
        assert await ended(client, afterwards) == results[0]
        with pytest.raises(TreeConflict, match=tree_id):
            await client.start(tree(task("count"), task("other", executor="count")), id=tree_id)
        executions = [each async for each in client.list(f"WorkflowId = '{tree_id}'")]

    assert runs == [f"{tree_id}/count"]
    assert results == [results[0]] * 50
    assert len(executions) == 1


async def test_cc14_a_tree_started_by_a_stock_tool_is_the_same_tree(server: EmbeddedServer) -> None:
    tree_id = f"stock-{uuid4().hex[:8]}"
    written: list[Document] = [
        {"id": "a", "name": "echo", "inputs": {"n": 1}, "priority": 2, "dependencies": []}
    ]
    same = {"tasks": [{"inputs": {"n": 1}, "name": "echo", "schemas": {}, "id": "a"}]}
    async with worker_env(server.client, Echo) as client:
        await client.client.start_workflow(
            WORKFLOW_TYPE, written, id=tree_id, task_queue=client.task_queue
        )
        result = await ended(client, await client.start(same, id=tree_id))
        with pytest.raises(TreeConflict):
            await client.start(tree(task("a", executor="echo")), id=tree_id)

    assert result.outputs == {"a": {"n": 1}}
