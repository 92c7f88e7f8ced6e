"""Maps, sub-trees, waits and compensations on real servers: what only Temporal can show."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowUpdateFailedError
from temporalio.testing import WorkflowEnvironment

from regrow import Status, TaskContext, TreeCancelled, TreeFailed, executor_register
from regrow.client import RequestRefused, TreeHandle, TreeNotFound
from regrow.core.result import TreeResult
from regrow.embedded import EmbeddedServer
from regrow.plugin import RegrowPlugin
from regrow.testing import assert_replays, test_server_binary, worker_env

Document = dict[str, Any]
SEEN: dict[str, list[Any]] = {}


@executor_register(heartbeat_timeout="3s", retry={"initial_interval": "0.1s"})
async def probe(inputs: Document, context: TaskContext) -> Any:
    """Do what the inputs say, and keep what was seen under the root tree's id."""
    seen = SEEN.setdefault(context.tree_id.partition("/")[0], [])
    seen.append((context.idempotency_key, context.index, context.attempt))
    await asyncio.sleep(inputs.get("seconds", 0))
    if inputs.get("linger"):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("interrupted")
            raise
    if context.attempt <= inputs.get("fail_times", 0):
        raise ConnectionError("not yet")
    if inputs.get("fail"):
        return {"status": "failed", "error": "it broke", "error_type": "broken"}
    return inputs.get("value")


def task(id: str, *after: str, **fields: Any) -> Document:
    return {"id": id, "executor": "probe", "dependencies": list(after), **fields}


def tree(*tasks: Document, **head: Any) -> Document:
    return {"name": "language", "tasks": list(tasks), **head}


async def ended(handle: TreeHandle) -> TreeResult:
    try:
        result = await handle.result()
    except (TreeFailed, TreeCancelled) as end:
        result = end.result
    await assert_replays(await handle.workflow_handle.fetch_history())
    return result


async def reached(handle: TreeHandle, task_id: str, status: Status = Status.IN_PROGRESS) -> None:
    """Wait for a status; a sub-tree is there only a moment after its task has started."""
    async with asyncio.timeout(30):
        while True:
            try:
                async for change in handle.watch():
                    if (change.task_id, change.status) == (task_id, status):
                        return
            except TreeNotFound:
                await asyncio.sleep(0.05)


# --- waits


async def test_approval_waits_thirty_days_and_holds_nothing() -> None:
    document = tree(
        task("draft"),
        {
            "id": "review",
            "executor": "approval",
            "dependencies": ["draft"],
            "inputs": {"prompt": "publish?"},
        },
        task("publish", "review", inputs={"value": "${{ tasks.review.result.by }}"}),
    )
    env = await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=test_server_binary(), plugins=[RegrowPlugin()]
    )
    async with env, worker_env(env.client, probe) as client:
        handle = await client.start(document, id="thirty-days")
        began = await env.get_current_time()
        await env.sleep(timedelta(days=30))
        answer = await handle.approve("review", by="ann", note="at last")

        result = await ended(handle)
        events = (await handle.workflow_handle.fetch_history()).events

    assert result.outputs == {"publish": "ann"}
    assert answer["at"] == result.tasks["review"].result["at"]  # type: ignore[index,call-overload]
    waited = result.tasks["review"].finished_at - began  # type: ignore[operator]
    assert waited >= timedelta(days=30)
    assert len(events) < 30


async def test_approval_that_nobody_answers_ends_after_its_thirty_days() -> None:
    document = tree(
        {
            "id": "review",
            "executor": "approval",
            "inputs": {"timeout": "30d", "on_timeout": "reject"},
        },
        task("anyway", inputs={"value": "${{ tasks.review.error }}"}),
    )
    document["tasks"][1]["dependencies"] = [{"id": "review", "required": False}]
    env = await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=test_server_binary(), plugins=[RegrowPlugin()]
    )
    async with env, worker_env(env.client, probe) as client:
        result = await ended(await client.start(document, id="nobody"))

    assert result.outputs == {"anyway": "rejected: nobody answered within 30d"}
    assert result.tasks["review"].error_type == "rejected"


async def test_event_sent_before_any_worker_took_the_tree_is_kept(server: EmbeddedServer) -> None:
    queue = "late-worker"
    document = tree(
        task("slow"),
        {
            "id": "paid",
            "executor": "wait_for_event",
            "dependencies": ["slow"],
            "inputs": {"event": "paid"},
        },
    )
    async with worker_env(server.client, probe) as starter:
        client = type(starter)(server.client, task_queue=queue)
        handle = await client.start(document, id="early-event")
        sending = asyncio.create_task(handle.send_event("paid", {"amount": 12}))
        await asyncio.sleep(0.3)
    async with worker_env(server.client, probe, task_queue=queue):
        assert (await sending)["first"] is True
        assert (await handle.send_event("paid", {"amount": 13}))["first"] is False
        result = await ended(handle)

    assert result.outputs == {"paid": {"amount": 12}}


async def test_waits_take_no_slot(server: EmbeddedServer) -> None:
    document = tree(
        *({"id": f"ask{at}", "executor": "approval"} for at in range(3)),
        task("work", inputs={"value": "done"}),
        max_in_flight=1,
    )
    async with worker_env(server.client, probe) as client:
        handle = await client.start(document, id="no-slot")
        await reached(handle, "work", Status.COMPLETED)
        for at in range(3):
            await handle.approve(f"ask{at}")

        assert (await ended(handle)).status is Status.COMPLETED


async def test_answers_that_make_no_sense_are_refused_in_one_line(server: EmbeddedServer) -> None:
    document = tree(
        {"id": "ask", "executor": "approval"},
        {"id": "next", "executor": "approval", "dependencies": ["ask"]},
        task("work", "next"),
    )
    async with worker_env(server.client, probe) as client:
        handle = await client.start(document, id="refusals")
        await reached(handle, "ask")
        for task_id, reason in [
            ("nothing", "the tree has no task 'nothing'"),
            ("work", "'work' is no approval but runs probe"),
            ("next", "'next' does not wait yet; what it depends on still runs"),
        ]:
            with pytest.raises(RequestRefused, match=reason):
                await handle.approve(task_id)
        with pytest.raises(WorkflowUpdateFailedError) as stock:
            await handle.workflow_handle.execute_update("approve", {"task": "ask"})  # pyright: ignore[reportUnknownMemberType]  # the SDK's overloads
        await handle.approve("ask", by="ann")
        await handle.approve("ask", by="ann")  # said again
        with pytest.raises(RequestRefused, match="'ask' no longer waits: it is completed"):
            await handle.approve("ask", approved=False)
        await handle.approve("next", approved=False, note="no")
        result = await ended(handle)
        with pytest.raises(RequestRefused, match="'refusals' has ended"):
            await handle.send_event("late")

    assert "\n" not in str(stock.value.cause)
    assert result.tasks["next"].error == "rejected: no"


# --- giving up


async def test_failure_before_anything_was_started_interrupts_what_runs(
    server: EmbeddedServer,
) -> None:
    document = tree(
        task("slow", inputs={"linger": True}),
        task("bad", inputs={"value": "${{ abs(inputs.text) }}"}),
        on_failure="cancel",
        inputs={"text": "no number"},
    )
    async with worker_env(server.client, probe) as client, asyncio.timeout(30):
        result = await ended(await client.start(document, id="gives-up"))

    assert result.tasks["bad"].error_type == "expression_error"
    assert result.tasks["slow"].status is Status.CANCELLED


# --- maps and sub-trees


async def test_items_are_retried_one_by_one_under_their_own_keys(server: EmbeddedServer) -> None:
    document = tree(
        task(
            "each",
            for_each=[0, 2, 0],
            inputs={"value": "${{ index }}", "fail_times": "${{ item }}"},
        )
    )
    async with worker_env(server.client, probe) as client:
        result = await ended(await client.start(document, id="items"))

    assert result.outputs == {"each": [0, 1, 2]}
    assert sorted(SEEN["items"]) == [
        ("items/each[0]", 0, 1),
        ("items/each[1]", 1, 1),
        ("items/each[1]", 1, 2),
        ("items/each[1]", 1, 3),
        ("items/each[2]", 2, 1),
    ]


async def test_sub_trees_have_ids_summaries_and_keys_below_their_parents(
    server: EmbeddedServer,
) -> None:
    leaf = tree(task("leaf", inputs={"value": "${{ tree.id }}"}))
    document = tree({"id": "outer", "tree": tree({"id": "each", "for_each": [1], "tree": leaf})})
    async with worker_env(server.client, probe) as client:
        result = await ended(await client.start(document, id="ids"))
        child = client.client.get_workflow_handle("ids/outer/each[0]")
        description = await child.describe()
        listed = [found.tree_id async for found in client.list("WorkflowId STARTS_WITH 'ids'")]
        await assert_replays(await child.fetch_history())

    assert result.outputs == {"outer": {"each": [{"leaf": "ids/outer/each[0]"}]}}
    assert SEEN["ids"] == [("ids/outer/each[0]/leaf", None, 1)]
    assert description.parent_id == "ids/outer"
    assert listed == ["ids"]
    assert await description.static_summary() == "each[0]"


async def test_executors_of_sub_trees_are_described_once_with_the_whole(
    server: EmbeddedServer,
) -> None:
    document = tree({"id": "sub", "tree": tree(task("a"))})
    async with worker_env(server.client, probe) as client:
        await ended(await client.start(document, id="described"))
        history = await client.client.get_workflow_handle("described/sub").fetch_history()

    assert not [e for e in history.events if e.HasField("marker_recorded_event_attributes")]


async def test_cancel_reaches_the_innermost_executor_and_undoes_on_the_way_out(
    server: EmbeddedServer,
) -> None:
    undo = {"executor": "probe"}
    inner = tree(task("made", compensate=undo), task("slow", "made", inputs={"linger": True}))
    document = tree(
        task("first", compensate=undo),
        {"id": "outer", "dependencies": ["first"], "tree": tree({"id": "inner", "tree": inner})},
    )
    async with worker_env(server.client, probe) as client:
        handle = await client.start(document, id="nested-cancel")
        await reached(client.get("nested-cancel/outer/inner"), "slow")
        await handle.cancel("enough")
        result = await ended(handle)
        statuses = [
            (await client.client.get_workflow_handle(tree_id).describe()).status
            for tree_id in ("nested-cancel/outer", "nested-cancel/outer/inner")
        ]

    assert (result.status, result.tasks["outer"].status) == (Status.CANCELLED, Status.CANCELLED)
    assert statuses == [WorkflowExecutionStatus.CANCELED] * 2
    keys = [seen if isinstance(seen, str) else seen[0] for seen in SEEN["nested-cancel"]]
    assert keys == [
        "nested-cancel/first",
        "nested-cancel/outer/inner/made",
        "nested-cancel/outer/inner/slow",
        "interrupted",
        "nested-cancel/outer/inner/made~compensate",
        "nested-cancel/first~compensate",
    ]


async def test_terminated_sub_tree_fails_its_task_by_name(server: EmbeddedServer) -> None:
    document = tree({"id": "sub", "tree": tree(task("slow", inputs={"linger": True}))})
    async with worker_env(server.client, probe) as client:
        handle = await client.start(document, id="terminated")
        await reached(handle, "sub")
        await reached(client.get("terminated/sub"), "slow")
        await client.client.get_workflow_handle("terminated/sub").terminate()
        result = await ended(handle)

    assert result.tasks["sub"].error == "the sub-tree 'sub' was terminated"
    assert result.tasks["sub"].error_type == "terminated"


async def test_file_name_in_a_started_document_is_refused_by_the_workflow(
    server: EmbeddedServer,
) -> None:
    async with worker_env(server.client, probe) as client:
        handle = client.get("file-name")
        await server.client.start_workflow(
            "TaskTree",
            tree({"id": "sub", "tree": "sub.yaml"}),
            id="file-name",
            task_queue=client.task_queue,
        )
        with pytest.raises(ValueError, match=r"tree: 'sub\.yaml' is a file"):
            await handle.result()


async def test_submitter_cannot_smuggle_in_what_an_engine_hands_over(
    server: EmbeddedServer,
) -> None:
    forged: Document = {
        "description": {"executors": {}},
        "snapshot": {"ended": {"a": ["c", 1, 1, 1]}},
    }
    async with worker_env(server.client, probe) as client:
        handle = client.get("forged")
        await server.client.start_workflow(
            "TaskTree",
            tree({"id": "sub", "tree": {**tree(task("a")), "engine": forged}}),
            id="forged",
            task_queue=client.task_queue,
        )
        with pytest.raises(ValueError, match="engine: this key is the engine's own"):
            await handle.result()


# --- compensation


async def test_cancel_while_undoing_does_not_stop_it(server: EmbeddedServer) -> None:
    undo = {"executor": "probe", "inputs": {"fail_times": 2}}
    document = tree(
        task("a", compensate=undo),
        task("b", "a", compensate=undo),
        task("c", "b", inputs={"fail": 1}),
    )
    async with worker_env(server.client, probe) as client:
        handle = await client.start(document, id="second-cancel")
        await reached(handle, "c", Status.FAILED)
        await handle.cancel("now")
        result = await ended(handle)

    assert result.status is Status.FAILED
    undone = [result.tasks[task_id].compensation for task_id in ("a", "b")]
    assert [each and each.status for each in undone] == [Status.COMPLETED] * 2


async def test_cancel_that_arrives_with_ends_lets_them_stand(server: EmbeddedServer) -> None:
    """While no worker looks, work ends elsewhere and the tree is cancelled: both arrive at once."""
    away = f"elsewhere-{uuid4().hex[:8]}"
    undo = {"executor": "probe", "inputs": {"value": "undone"}}
    done = task("done", task_queue=away, inputs={"seconds": 1.5}, compensate=undo)
    each = task("each", task_queue=away, for_each=[1, 2], inputs={"seconds": 1.5, "value": 1})
    async with worker_env(server.client, probe, task_queue=away):
        async with worker_env(server.client, probe) as trees:
            handle = await trees.start(tree(done, each, task("after", "each")))
            await reached(handle, "each")
            await asyncio.sleep(0.3)
        await handle.cancel()
        await asyncio.sleep(2.5)
        async with worker_env(server.client, probe, task_queue=trees.task_queue):
            result = await ended(handle)

    assert result.status is Status.CANCELLED
    assert result.tasks["done"].status is Status.COMPLETED
    assert result.tasks["each"].result == [1, 1]
    assert result.tasks["after"].status is Status.CANCELLED
    assert result.tasks["done"].compensation
    assert result.tasks["done"].compensation.status is Status.COMPLETED
