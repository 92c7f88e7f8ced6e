"""Local tasks: what history says of them, what goes wrong with them, and what people do to them."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from temporalio.api.enums.v1 import EventType

from regrow import Status, TaskContext, TreeFailed, executor_register
from regrow.client import TreeCancelled, TreeClient, TreeHandle
from regrow.core import limits
from regrow.core.result import TreeResult
from regrow.embedded import EmbeddedServer
from regrow.testing import assert_replays, worker_env

Document = dict[str, Any]
CALLS: Counter[str] = Counter()
HEARD: dict[str, Document] = {}


@executor_register()
async def act(inputs: Document, context: TaskContext) -> Any:
    """Do what the inputs say."""
    CALLS[context.idempotency_key] += 1
    context.progress(1, 2, "half")
    HEARD[context.idempotency_key] = {
        "user_id": context.user_id,
        "index": context.index,
        "key": inputs.get("key"),
    }
    if context.attempt <= inputs.get("fails", 0):
        raise ConnectionError("not yet")
    if inputs.get("error"):
        details = "x" * inputs.get("details", 0)
        return {"status": "failed", "error": "it broke", "error_type": "broken", "more": details}
    await asyncio.sleep(inputs.get("seconds", 0))
    return "x" * inputs["bytes"] if "bytes" in inputs else inputs.get("value")


@executor_register(local=True)
async def cheap(inputs: Document) -> Any:
    """Give the value back."""
    return inputs.get("value")


@pytest.fixture
async def trees(server: EmbeddedServer) -> AsyncIterator[TreeClient]:
    async with worker_env(server.client, act, cheap) as client:
        yield client


def local(id: str, *after: str, **fields: Any) -> Document:
    return {"id": id, "executor": "act", "dependencies": list(after), "local": True, **fields}


def regular(id: str, *after: str, **fields: Any) -> Document:
    return {"id": id, "executor": "act", "dependencies": list(after), **fields}


def tree(*tasks: Document, **head: Any) -> Document:
    return {"name": "local", "tasks": list(tasks), **head}


async def ended(handle: TreeHandle) -> TreeResult:
    try:
        return await handle.result()
    except (TreeFailed, TreeCancelled) as end:
        return end.result


async def run(trees: TreeClient, document: Document) -> tuple[TreeResult, Counter[str]]:
    """Run a tree to its end; gives how often each type of event is in its history, too."""
    handle = await trees.start(document)
    result = await ended(handle)
    return result, await told(handle, result)


async def impatient(trees: TreeClient, document: Document) -> TreeHandle:
    """Start a tree whose workflow tasks last two seconds, so that a long local task outlasts it."""
    handle = trees.get(f"impatient-{uuid4().hex[:8]}")
    await trees.client.start_workflow(
        "TaskTree",
        document,
        id=handle.id,
        task_queue=trees.task_queue,
        task_timeout=timedelta(seconds=2),
    )
    return handle


async def told(handle: TreeHandle, result: TreeResult) -> Counter[str]:
    """Replay the history, and read it without the result at its end."""
    history = await handle.workflow_handle.fetch_history()
    await assert_replays(history)
    fold = handle.new_fold()
    fold.feed(history.events[:-1])
    if result.status is not Status.CANCELLED:
        read = fold.result()
        for task_id, task in result.tasks.items():
            seen = read.tasks[task_id]
            assert (seen.status, seen.result) == (task.status, task.result), task_id
            assert (seen.error, seen.because) == (task.error, task.because), task_id
            assert task.attempts in (seen.attempts, None), task_id
    kinds = [EventType.Name(e.event_type).removeprefix("EVENT_TYPE_") for e in history.events]
    trouble = ("WORKFLOW_TASK_FAILED", "WORKFLOW_TASK_TIMED_OUT")
    assert not any(kind in trouble for kind in kinds)
    return Counter(kinds)


async def until_called(key: str) -> None:
    async with asyncio.timeout(30):
        while not CALLS[key]:  # noqa: ASYNC110 - it is called in another thread
            await asyncio.sleep(0.01)


# --- what they are


async def test_a_local_task_is_one_event(trees: TreeClient) -> None:
    result, events = await run(trees, tree(local("a", inputs={"value": 1}), local("b", "a")))

    assert result.tasks["a"].result == 1
    assert result.tasks["b"].attempts == 1
    assert events["MARKER_RECORDED"] == 3
    assert not events["ACTIVITY_TASK_SCHEDULED"]
    assert events["WORKFLOW_TASK_COMPLETED"] == 1


async def test_an_executor_may_be_local_and_a_task_may_say_otherwise(trees: TreeClient) -> None:
    mine = {"id": "mine", "executor": "cheap"}
    theirs = {"id": "theirs", "executor": "cheap", "local": False}

    result, events = await run(trees, tree(mine, theirs))

    assert result.status is Status.COMPLETED
    assert (events["MARKER_RECORDED"], events["ACTIVITY_TASK_SCHEDULED"]) == (2, 1)


async def test_items_of_a_local_map_are_local_and_so_are_tasks_of_sub_trees(
    trees: TreeClient,
) -> None:
    each = local("each", for_each=[1, 2, 3], inputs={"value": "${{ item }}"})
    inner = {"id": "inner", "executor": "tree", "tree": tree({"id": "x", "executor": "cheap"})}

    result, events = await run(trees, tree(each, inner))

    assert result.tasks["each"].result == [1, 2, 3]
    assert result.tasks["inner"].status is Status.COMPLETED
    assert events["MARKER_RECORDED"] == 4
    child = trees.client.get_workflow_handle(f"{result.tree_id}/inner")
    kinds = [event.event_type for event in (await child.fetch_history()).events]
    assert kinds.count(EventType.EVENT_TYPE_MARKER_RECORDED) == 1
    assert EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED not in kinds


async def test_the_executor_knows_user_item_and_secrets(
    trees: TreeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_SECRET_KEY", "open sesame")
    each = local("each", for_each=[7], inputs={"key": "${{ secrets.KEY }}"})

    result, _ = await run(trees, tree(each, user_id="acme"))

    assert result.status is Status.COMPLETED
    heard = HEARD[f"{result.tree_id}/each[0]"]
    assert heard == {"user_id": "acme", "index": 0, "key": "open sesame"}


async def test_a_demo_calls_no_executor(trees: TreeClient) -> None:
    result, _ = await run(trees, tree(local("a", inputs={"error": True}), demo=True))

    assert result.tasks["a"].result == {"demo": "act"}


async def test_what_undoes_a_local_task_is_not_local(trees: TreeClient) -> None:
    undone = local("a", compensate={"executor": "cheap"})

    result, events = await run(trees, tree(undone, local("b", "a", inputs={"error": True})))

    assert result.status is Status.FAILED
    assert (events["MARKER_RECORDED"], events["ACTIVITY_TASK_COMPLETED"]) == (3, 1)


# --- what goes wrong


async def test_while_a_local_task_waits_for_its_next_attempt_others_go_on(
    trees: TreeClient,
) -> None:
    again = local("again", inputs={"fails": 2, "value": 1}, retry={"initial_interval": "0.2s"})
    beside = [regular("r"), local("l", "r")]

    result, events = await run(trees, tree(again, *beside))

    assert result.tasks["again"].attempts == 3
    assert result.tasks["again"].result == 1
    ends = {task_id: task.finished_at for task_id, task in result.tasks.items()}
    assert max(str(ends["r"]), str(ends["l"])) < str(ends["again"])
    assert events["TIMER_FIRED"] >= 2


async def test_an_error_that_lasts_fails_the_task_after_its_attempts(trees: TreeClient) -> None:
    retry = {"initial_interval": "0.1s", "maximum_attempts": 2}

    result, _ = await run(trees, tree(local("a", inputs={"fails": 9}, retry=retry)))

    task = result.tasks["a"]
    assert (task.status, task.error_type, task.attempts) == (Status.FAILED, "ConnectionError", 2)


async def test_an_attempt_that_takes_too_long_ends_by_name(trees: TreeClient) -> None:
    slow = local(
        "slow", inputs={"seconds": 30}, start_to_close_timeout="0.3s", retry={"maximum_attempts": 1}
    )

    result, _ = await run(trees, tree(slow))

    task = result.tasks["slow"]
    assert task.error_type == "timeout_error"
    assert task.error == "start_to_close_timeout of 0.3s exceeded"


async def test_an_attempt_may_outlast_its_workflow_task(trees: TreeClient) -> None:
    handle = await impatient(
        trees, tree(local("slow", inputs={"seconds": 3, "value": 1}), local("b", "slow"))
    )

    result = await ended(handle)

    assert result.tasks["b"].status is Status.COMPLETED
    assert CALLS[f"{handle.id}/slow"] == 1
    events = await told(handle, result)
    assert events["WORKFLOW_TASK_COMPLETED"] > 1


async def test_a_result_that_is_too_large_fails_its_task_once(trees: TreeClient) -> None:
    size = limits.MAX_LOCAL_RESULT

    result, _ = await run(trees, tree(local("a", inputs={"bytes": size}), regular("b")))

    task = result.tasks["a"]
    assert (task.error_type, task.attempts) == ("payload_too_large", 1)
    assert "or let the task not be local" in (task.error or "")
    assert CALLS[f"{result.tree_id}/a"] == 1


async def test_results_that_are_large_together_are_spread_over_workflow_tasks(
    trees: TreeClient,
) -> None:
    size = limits.MAX_LOCAL_RESULT - 300
    many = [local(f"t{at}", inputs={"bytes": size}) for at in range(150)]

    handle = await trees.start(tree(*many, max_in_flight=200))
    result = await ended(handle)

    assert result.counts[Status.COMPLETED] == 150
    read = await handle.status()
    assert all(task.result for task in read.tasks.values())


async def test_failures_that_say_much_do_not_end_the_run(trees: TreeClient) -> None:
    said = {"error": True, "details": 2 * limits.MIB}
    many = [local(f"t{at}", inputs=said) for at in range(60)]

    result, _ = await run(trees, tree(*many))

    assert result.counts[Status.FAILED] == 60
    assert result.tasks["t0"].error == "it broke"


async def test_inputs_that_are_too_large_are_refused_and_what_just_started_is_cancelled(
    trees: TreeClient,
) -> None:
    big = local("big", inputs={"value": ["${{ inputs.text }}"] * 3})
    document = tree(
        local("first", inputs={"seconds": 5}),
        big,
        inputs={"text": "x" * 800_000},
        on_failure="cancel",
    )

    result, _ = await run(trees, document)

    assert result.tasks["big"].error_type == "payload_too_large"
    assert result.tasks["first"].status is Status.CANCELLED


# --- many of them


async def test_a_wide_tree_takes_few_events_and_few_workflow_tasks(trees: TreeClient) -> None:
    many = [local(f"t{at}", inputs={"value": at}) for at in range(1_000)]

    result, events = await run(trees, tree(*many, max_in_flight=500))

    assert result.counts[Status.COMPLETED] == 1_000
    assert sum(events.values()) < 1_200


async def test_a_long_chain_is_safe_step_by_step(trees: TreeClient) -> None:
    chain = [local(f"t{at}", *([f"t{at - 1}"] if at else ())) for at in range(250)]

    result, events = await run(trees, tree(*chain))

    assert result.counts[Status.COMPLETED] == 250
    assert events["WORKFLOW_TASK_COMPLETED"] >= 250 // limits.MAX_LOCAL_STARTS


async def test_no_more_run_at_a_time_than_the_tree_allows(trees: TreeClient) -> None:
    many = [local(f"t{at}", inputs={"seconds": 0.1}) for at in range(8)]

    result, _ = await run(trees, tree(*many, max_in_flight=2))

    began = sorted(str(task.started_at) for task in result.tasks.values())
    over = sorted(str(task.finished_at) for task in result.tasks.values())
    assert all(began[at + 2] >= over[at] for at in range(6))


async def test_a_long_history_is_left_for_a_fresh_run(
    trees: TreeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ROLLOVER_EVENTS", 150)
    chain = [local(f"t{at}", *([f"t{at - 1}"] if at else ())) for at in range(400)]

    handle = await trees.start(tree(*chain))
    result = await ended(handle)

    assert result.counts[Status.COMPLETED] == 400
    runs = [run async for run in trees.client.list_workflows(f"WorkflowId = '{handle.id}'")]
    assert len(runs) > 1
    for each in runs:
        past = trees.client.get_workflow_handle(handle.id, run_id=each.run_id)
        await assert_replays(await past.fetch_history())
    assert (await handle.status()).counts[Status.COMPLETED] == 400


# --- what people do


async def test_a_first_failure_interrupts_what_runs(trees: TreeClient) -> None:
    slow = [local(f"slow{at}", inputs={"seconds": 8}) for at in range(3)]
    fails = local("fails", inputs={"error": True})

    result, _ = await run(trees, tree(*slow, fails, on_failure="cancel"))

    assert result.status is Status.FAILED
    assert [result.tasks[f"slow{at}"].status for at in range(3)] == [Status.CANCELLED] * 3


async def test_a_running_local_task_is_cancelled_by_hand(trees: TreeClient) -> None:
    handle = await impatient(trees, tree(local("slow", inputs={"seconds": 9}), local("b", "slow")))
    await until_called(f"{handle.id}/slow")

    await handle.cancel_task("slow", reason="enough")
    result = await ended(handle)

    assert result.tasks["slow"].status is Status.CANCELLED
    assert result.tasks["b"].status is Status.SKIPPED
    await told(handle, result)


async def test_one_that_waits_for_its_next_attempt_is_cancelled_by_hand(trees: TreeClient) -> None:
    again = local("again", inputs={"fails": 9}, retry={"initial_interval": "60s"})
    handle = await trees.start(tree(again, local("b", "again"), regular("r")))
    await until_called(f"{handle.id}/again")

    await handle.cancel_task("again")
    result = await ended(handle)

    assert result.tasks["again"].status is Status.CANCELLED
    assert CALLS[f"{handle.id}/again"] == 1
    await told(handle, result)


async def test_a_cancel_of_the_tree_ends_it(trees: TreeClient) -> None:
    handle = await impatient(trees, tree(local("slow", inputs={"seconds": 9}), local("b", "slow")))
    await until_called(f"{handle.id}/slow")

    await handle.cancel()
    result = await ended(handle)

    assert result.status is Status.CANCELLED
    assert result.tasks["slow"].status is Status.CANCELLED
    await assert_replays(await handle.workflow_handle.fetch_history())


async def test_a_failed_one_is_retried_by_hand(trees: TreeClient) -> None:
    retry = {"maximum_attempts": 1}
    handle = await trees.start(
        tree(local("a", inputs={"fails": 1}, retry=retry), local("b", "a"), on_failure="wait")
    )
    async for change in handle.watch():
        if change.task_id == "a" and change.status is Status.FAILED:
            break

    await handle.skip_task("a", result="given")
    result = await ended(handle)

    assert result.tasks["b"].status is Status.COMPLETED
    await told(handle, result)


async def test_a_paused_tree_starts_nothing_until_it_is_resumed(trees: TreeClient) -> None:
    chain = [
        local(f"t{at}", *([f"t{at - 1}"] if at else ()), inputs={"seconds": 0.1})
        for at in range(40)
    ]
    handle = await trees.start(tree(*chain))
    await until_called(f"{handle.id}/t1")

    await handle.pause()
    before = (await handle.status()).counts[Status.PENDING]
    await asyncio.sleep(0.5)
    assert (await handle.status()).counts[Status.PENDING] == before > 0
    await handle.resume()
    result = await ended(handle)

    assert result.counts[Status.COMPLETED] == 40
    await told(handle, result)


async def test_who_watches_sees_every_local_task_begin_and_end(trees: TreeClient) -> None:
    handle = await trees.start(tree(local("a"), local("b", "a", inputs={"error": True})))

    seen = [(change.task_id, change.status.value) async for change in handle.watch()]

    assert seen == [
        (None, "in_progress"),
        ("a", "in_progress"),
        ("a", "completed"),
        ("b", "in_progress"),
        ("b", "failed"),
        (None, "failed"),
    ]
