"""What people do to running and ended trees, on a real server with a real worker."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError
from tests.workflow.test_language import reached

from regrow import Status, TaskContext, TreeCancelled, TreeFailed, TreeResult, executor_register
from regrow.client import RequestRefused, RerunError, TreeConflict, TreeHandle, TreeTerminated
from regrow.core import limits
from regrow.embedded import EmbeddedServer
from regrow.testing import assert_replays, worker_env

Document = dict[str, Any]
BROKEN: dict[str, bool] = {}
"""What fails just now, by task or item."""
RAN: Counter[str] = Counter()
"""How often every unit of work was executed, by its idempotency key."""
INTERRUPTED: list[str] = []


@executor_register(heartbeat_timeout="3s", retry={"maximum_attempts": 1})
async def act(inputs: Document, context: TaskContext) -> Any:
    key = context.idempotency_key
    RAN[key] += 1
    name = key.partition("/")[2]
    try:
        await asyncio.sleep(inputs.get("seconds", 0))
    except asyncio.CancelledError:
        INTERRUPTED.append(key)
        raise
    if BROKEN.get(name):
        return {"status": "failed", "error": "it broke"}
    return inputs.get("value", name)


@pytest.fixture(autouse=True)
def _sound() -> None:
    BROKEN.clear()


def task(id: str, *after: str | Document, **fields: Any) -> Document:
    return {"id": id, "executor": "act", "dependencies": list(after), **fields}


def tree(*tasks: Document, **head: Any) -> Document:
    return {"name": "operate", "tasks": list(tasks), **head}


async def ended(handle: TreeHandle) -> TreeResult:
    try:
        result = await handle.result()
    except (TreeFailed, TreeCancelled, TreeTerminated) as end:
        result = end.result
    seen = await handle.status()
    assert {each: seen.tasks[each].status for each in seen.tasks} == {
        each: result.tasks[each].status for each in result.tasks
    }
    await assert_replays(await handle.workflow_handle.fetch_history())
    return result


async def held(handle: TreeHandle, *failed: str) -> None:
    for task_id in failed:
        await reached(handle, task_id, Status.FAILED)


def times(handle: TreeHandle) -> dict[str, int]:
    start = f"{handle.id}/"
    return {key.removeprefix(start): n for key, n in RAN.items() if key.startswith(start)}


async def test_pause_lets_nothing_new_start_until_resume(server: EmbeddedServer) -> None:
    async with worker_env(server.client, act) as trees:
        handle = await trees.start(tree(task("a", inputs={"seconds": 1}), task("b", "a")))
        await reached(handle, "a")
        told = await handle.pause("the disk is full", by="ann")
        assert await handle.pause() == {**told, "at": told["at"]}
        await reached(handle, "a", Status.COMPLETED)
        await asyncio.sleep(0.5)

        seen = await handle.status()
        assert seen.tasks["b"].status is Status.PENDING
        assert seen.paused is not None
        assert seen.paused["reason"] == "the disk is full"
        await handle.resume()
        assert (await ended(handle)).status is Status.COMPLETED


async def test_cancelled_task_is_really_interrupted(server: EmbeddedServer) -> None:
    document = tree(
        task("long", inputs={"seconds": 60}),
        task("after", "long"),
        task("anyway", {"id": "long", "required": False}),
    )
    async with worker_env(server.client, act) as trees:
        handle = await trees.start(document)
        await reached(handle, "long")
        await asyncio.sleep(0.3)
        told = await handle.cancel_task("long", "too slow", by="ann")
        assert told["status"] == "in_progress"
        result = await ended(handle)

    assert f"{handle.id}/long" in INTERRUPTED
    long = result.tasks["long"]
    assert long.status is Status.CANCELLED
    assert long.because
    assert (long.because.reason, long.because.error) == ("by_hand", "too slow")
    assert [note["by"] for note in long.by_hand] == ["ann"]
    assert result.tasks["after"].status is Status.SKIPPED
    assert result.tasks["anyway"].status is Status.COMPLETED
    assert result.status is Status.FAILED


async def test_held_tree_goes_on_after_a_retry_and_repeats_nothing(server: EmbeddedServer) -> None:
    BROKEN["b"] = BROKEN["each[1]"] = True
    document = tree(
        task("a"),
        task("b", "a"),
        task("c", "b"),
        task("each", for_each=[1, 2, 3]),
        on_failure="wait",
    )
    async with worker_env(server.client, act) as trees:
        handle = await trees.start(document)
        await held(handle, "b", "each")
        BROKEN.clear()
        told = await handle.retry_task(by="ann", reason="the disk is larger now")
        assert told["retried"] == ["b", "each"]
        result = await ended(handle)

    assert result.status is Status.COMPLETED
    assert result.tasks["b"].attempts == 2
    assert result.tasks["each"].result == ["each[0]", "each[1]", "each[2]"]
    assert times(handle) == {
        "a": 1,
        "b": 2,
        "c": 1,
        "each[0]": 1,
        "each[1]": 2,
        "each[2]": 1,
    }


async def test_failed_task_is_given_a_result_or_skipped(server: EmbeddedServer) -> None:
    BROKEN["a"] = BROKEN["b"] = True
    document = tree(task("a"), task("b"), task("c", "a"), on_failure="wait")
    async with worker_env(server.client, act) as trees:
        handle = await trees.start(document)
        await held(handle, "a", "b")
        with pytest.raises(RequestRefused, match="was skipped because of 'a'"):
            await handle.retry_task("c")
        await handle.skip_task("b", "not needed today", by="ann")
        await handle.skip_task("a", by="ann", result={"n": 7})
        result = await ended(handle)

    assert result.status is Status.COMPLETED
    assert result.tasks["a"].result == {"n": 7}
    assert result.tasks["b"].status is Status.SKIPPED
    assert times(handle) == {"a": 1, "b": 1, "c": 1}


async def test_what_was_done_by_hand_holds_over_a_continuation(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    BROKEN["each[3]"] = True
    document = tree(task("each", for_each=list(range(40)), max_in_flight=4), on_failure="wait")
    async with worker_env(server.client, act) as trees:
        monkeypatch.setattr(limits, "ROLLOVER_EVENTS", 60)
        handle = await trees.start(document)
        await held(handle, "each")
        await handle.pause(by="ann")
        for at in range(30):
            await handle.send_event(f"e{at}")
        BROKEN.clear()
        await handle.retry_task("each")
        await asyncio.sleep(0.5)
        assert (await handle.status()).tasks["each"].status is Status.PENDING
        await handle.resume()
        result = await handle.result()

    assert result.tasks["each"].result == [f"each[{at}]" for at in range(40)]
    assert times(handle) == {f"each[{at}]": 2 if at == 3 else 1 for at in range(40)}


# --- after the end


async def test_rerun_repeats_only_what_failed_and_what_depends_on_it(
    server: EmbeddedServer,
) -> None:
    BROKEN["b"] = BROKEN["each[1]"] = True
    document = tree(
        task("a", inputs={"value": "${{ inputs.n }}"}),
        task("b", "a"),
        task("c", "b", inputs={"value": "${{ tasks.a.result }}"}),
        task("other"),
        task("each", for_each=[1, 2, 3]),
        inputs={"n": 1, "spare": 0},
        outputs={"a": "${{ tasks.a.result }}", "other": "${{ tasks.other.result }}"},
    )
    async with worker_env(server.client, act) as trees:
        handle = await trees.start(document)
        assert (await ended(handle)).status is Status.FAILED
        plan = await handle.plan_rerun(failed=True)
        BROKEN.clear()
        again = await handle.rerun(failed=True)
        result = await ended(again)

        assert again.id == f"{handle.id}.r1"
        assert plan.kept == ("a", "other")
        assert plan.runs == {"b": "it failed", "c": "after 'b'", "each": "1 of its 3 items"}
        assert result.status is Status.COMPLETED
        assert result.rerun_of == handle.id
        assert result.outputs == {"a": 1, "other": "other"}
        assert {each for each, end in result.tasks.items() if end.reused} == {"a", "other"}
        assert times(again) == {"b": 1, "c": 1, "each[1]": 1}

        changed = await again.rerun(failed=True, inputs={"n": 2})
        assert changed.id == f"{handle.id}.r2"
        assert (await ended(changed)).outputs == {"a": 2, "other": "other"}
        assert times(changed) == {"a": 1, "b": 1, "c": 1}
        assert await again.lineage() == [handle.id, again.id, changed.id]

        whole = await handle.rerun(id=f"{handle.id}-whole")
        assert (await ended(whole)).rerun_of == handle.id
        assert len(times(whole)) == 7
        with pytest.raises(RerunError, match="there is a tree"):
            await handle.rerun(id=whole.id)


async def test_rerun_takes_a_changed_document(server: EmbeddedServer) -> None:
    BROKEN["b"] = True
    async with worker_env(server.client, act) as trees:
        handle = await trees.start(tree(task("a"), task("b", "a"), task("c", "a")))
        await ended(handle)
        fixed = tree(
            task("a"), task("b", "a", inputs={"value": 2}), task("new", "b"), task("c", "a")
        )
        BROKEN.clear()
        again = await handle.rerun(failed=True, document=fixed)
        result = await ended(again)

    assert result.tasks["b"].result == 2
    assert times(again) == {"b": 1, "new": 1}


async def test_tree_that_waits_was_cancelled_or_was_terminated_can_be_rerun(
    server: EmbeddedServer,
) -> None:
    slow = task("slow", "a", inputs={"seconds": 60})
    async with worker_env(server.client, act) as trees:
        cancelled = await trees.start(tree(task("a"), slow))
        await reached(cancelled, "slow")
        with pytest.raises(RerunError, match="still runs"):
            await cancelled.rerun(failed=True)
        await cancelled.cancel()
        await ended(cancelled)
        terminated = await trees.start(tree(task("a"), slow))
        await reached(terminated, "slow")
        await terminated.workflow_handle.terminate()
        BROKEN["slow"] = True
        waits = await trees.start(tree(task("a"), task("slow", "a"), on_failure="wait"))
        await held(waits, "slow")
        BROKEN.clear()
        quick = tree(task("a"), task("slow", "a"))

        for handle in (cancelled, terminated, waits):
            again = await handle.rerun(failed=True, document=quick)
            assert (await ended(again)).status is Status.COMPLETED
            assert times(again) == {"slow": 1}
        about = await waits.workflow_handle.describe()
        assert about.status is WorkflowExecutionStatus.RUNNING
        await waits.cancel()


async def test_results_that_a_rerun_need_not_carry_are_found_in_the_tree_it_repairs(
    server: EmbeddedServer,
) -> None:
    BROKEN["last"] = True
    large = [task(f"t{at}", inputs={"value": "x" * 150_000}) for at in range(4)]
    document = tree(*large, task("last", *[f"t{at}" for at in range(4)]), outputs={})
    document["tasks"][-1]["dependencies"] = [{"id": f"t{at}", "into": None} for at in range(4)]
    async with worker_env(server.client, act) as trees:
        handle = await trees.start(document)
        await ended(handle)
        BROKEN.clear()
        again = await handle.rerun(failed=True)
        result = await again.result()

    assert times(again) == {"last": 1}
    assert [len(str(result.tasks[f"t{at}"].result)) for at in range(4)] == [150_000] * 4


async def test_engine_part_that_is_made_up_is_refused(server: EmbeddedServer) -> None:
    async with worker_env(server.client, act) as trees:
        document = {**tree(task("a")), "engine": {"rerun": {"of": "x"}, "snapshot": {"ended": 5}}}
        started = await server.client.start_workflow(
            "TaskTree", document, id="made-up", task_queue=trees.task_queue
        )
        with pytest.raises(WorkflowFailureError) as failure:
            await started.result()
        assert "this key is the engine's own" in str(failure.value.cause)


# --- starting the same again


async def test_start_with_another_document_says_what_differs(server: EmbeddedServer) -> None:
    document = tree(task("a"), inputs={"n": 1})
    async with worker_env(server.client, act) as trees:
        handle = await trees.start(document, id="same-id")
        await ended(handle)

        with pytest.raises(TreeConflict) as conflict:
            await trees.start(tree(task("a"), task("b"), inputs={"n": 2}), id="same-id")
        assert conflict.value.differences == ("input 'n': 1 → 2", "task 'b' is new")
        assert "(input 'n': 1 → 2; task 'b' is new)" in str(conflict.value)


async def test_ended_tree_is_started_anew_only_if_asked(server: EmbeddedServer) -> None:
    document = tree(task("a"))
    async with worker_env(server.client, act) as trees:
        first = await trees.start(document, id="started-anew")
        await ended(first)
        assert (await trees.start(document, id="started-anew")).attached
        assert times(first) == {"a": 1}

        second = await trees.start(document, id="started-anew", again=True)
        await ended(second)
        assert not second.attached
    assert times(first) == {"a": 2}


async def test_failed_sub_tree_keeps_what_had_completed_in_it(server: EmbeddedServer) -> None:
    BROKEN["s/deep/y"] = BROKEN["each[1]/y"] = True
    deep = {"id": "deep", "tree": tree(task("x"), task("y", "x"))}
    document = tree(
        {"id": "s", "tree": tree(task("z"), deep)},
        {"id": "each", "for_each": [1, 2], "tree": tree(task("x"), task("y", "x"))},
        task("after", "s", "each"),
    )
    async with worker_env(server.client, act) as trees:
        handle = await trees.start(document)
        assert (await ended(handle)).status is Status.FAILED
        BROKEN.clear()
        plan = await handle.plan_rerun(failed=True)
        again = await handle.rerun(failed=True)
        assert (await ended(again)).status is Status.COMPLETED

        assert plan.inside["s"].kept == ("z",)
        assert plan.inside["s"].inside["deep"].kept == ("x",)
        assert times(again) == {"s/deep/y": 1, "each[1]/y": 1, "after": 1}
        inner = await trees.get(f"{again.id}/s/deep").status()
        assert inner.tasks["x"].reused
        assert inner.rerun_of == f"{handle.id}/s/deep"
