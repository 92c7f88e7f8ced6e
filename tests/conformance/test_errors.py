"""The guide's section "Error Handling": rows EH-1, EH-2, EH-3 and EH-4."""

import asyncio
from datetime import timedelta
from typing import Any

from tests.conformance.executors import Broken, Echo, nap
from tests.conformance.running import (
    Document,
    ended,
    finished,
    histories,
    run_tree,
    scheduled,
    started,
    task,
    tree,
)

from regrow import Status, TaskContext, TaskError, executor_register
from regrow.embedded import EmbeddedServer
from regrow.executors import Registry
from regrow.settings import load_settings
from regrow.testing import assert_replays, tree_env, worker_env
from regrow.worker import running_worker

Guide = dict[str, Any]


ANSWERS: dict[str, Guide] = {
    "invalid": {
        "status": "failed",
        "error": "bad input",
        "error_type": "validation_error",
        "field": "input_data",
    },
    "slow": {
        "status": "failed",
        "error": "too slow",
        "error_type": "timeout_error",
        "retryable": True,
    },
    "broken": {"status": "failed", "error": "broken", "error_type": "execution_error"},
    "mute": {"status": "failed"},
    "plain": {"success": False},
}
"""The errors of the guide's example, by task."""


@executor_register()
async def answering(inputs: Guide, context: TaskContext) -> Guide:
    if context.task_id == "slow" and context.attempt > 1:
        return {"status": "completed", "result": "in time"}
    return ANSWERS[context.task_id]


async def test_eh1_a_returned_error_is_the_tasks_outcome(server: EmbeddedServer) -> None:
    names = ("invalid", "slow", "broken", "mute", "plain", "raises")
    document = tree(*(task(name, executor="answering") for name in names))
    document["tasks"][-1]["retry"] = {"maximum_attempts": 2}
    async with worker_env(server.client, answering) as client:
        tasks = (await run_tree(client, document)).tasks

    assert {name: (end.error_type, end.error, end.attempts) for name, end in tasks.items()} == {
        "invalid": ("validation_error", "bad input", 1),
        "slow": (None, None, 2),
        "broken": ("execution_error", "broken", 1),
        "mute": ("execution_error", "unknown error", 1),
        "plain": (None, None, 1),
        "raises": ("KeyError", "'raises'", 2),
    }
    assert tasks["invalid"].metadata["field"] == "input_data"
    assert tasks["plain"].result == {"success": False}  # a plain value: only `status` is read


async def test_eh1_a_raised_task_error_means_the_same(server: EmbeddedServer) -> None:
    @executor_register("raising")
    def raising(inputs: Guide, context: TaskContext) -> None:
        retryable = inputs["retryable"]
        message = f"attempt {context.attempt}"
        raise TaskError(message, error_type="quota_error", retryable=retryable, left=0)

    document = tree(
        task("final", executor="raising", inputs={"retryable": False}),
        task("again", executor="raising", inputs={"retryable": True}),
        defaults={"retry": {"maximum_attempts": 2}},
    )
    async with worker_env(server.client, raising) as client:
        tasks = (await run_tree(client, document)).tasks

    assert [(end.error_type, end.error) for end in tasks.values()] == [
        ("quota_error", "attempt 1"),
        ("quota_error", "attempt 2"),
    ]
    assert [end.metadata["left"] for end in tasks.values()] == [0, 0]


async def test_eh2_a_failed_dependency_is_named_along_the_whole_chain(
    server: EmbeddedServer,
) -> None:
    document = tree(
        task("p", executor="broken", inputs={"error": "no such user"}),
        task("d", "p!", executor="echo"),
        task("e", "d!", executor="echo"),
        task("other", executor="echo"),
    )
    async with worker_env(server.client, Broken, Echo) as client:
        result = await run_tree(client, document)
        run = client.client.get_workflow_handle(result.tree_id)
        d, e = [await run.query("task", {"task_id": task_id}) for task_id in ("d", "e")]
        status = await run.query("status")

    cause = {"root": "p", "error": "no such user", "error_type": "broken_error"}
    assert d["status"] == e["status"] == "skipped"
    assert d["because"] == {"reason": "dependency", "task_id": "p", **cause}
    assert e["because"] == {"reason": "dependency", "task_id": "d", **cause}
    assert status["status"] == "failed"
    counts = {name: count for name, count in status["counts"].items() if count}
    assert counts == {"completed": 1, "failed": 1, "skipped": 2}
    assert result.counts == status["counts"]


def resilient_tree(critical: str, optional: str) -> Document:
    return tree(
        task("critical", executor=critical),
        task("optional", "critical?", executor=optional),
        task("final", "critical!", "optional?", executor="echo"),
    )


async def test_eh3_an_optional_failure_does_not_stop_the_final_task(server: EmbeddedServer) -> None:
    async with worker_env(server.client, Echo, Broken) as client:
        result = await run_tree(client, resilient_tree("echo", "broken"))

    assert result.status is Status.COMPLETED
    assert result.outputs == {"final": {"critical": {}}}
    assert started(result.tasks["final"]) >= finished(result.tasks["optional"])


async def test_eh3_a_critical_failure_stops_only_what_requires_it(server: EmbeddedServer) -> None:
    async with worker_env(server.client, Echo, Broken) as client:
        result = await run_tree(client, resilient_tree("broken", "echo"))

    assert result.status is Status.FAILED
    assert [end.status for end in result.tasks.values()] == [
        Status.FAILED,
        Status.COMPLETED,
        Status.SKIPPED,
    ]


async def test_eh3_a_slow_optional_task_is_awaited(server: EmbeddedServer) -> None:
    async with worker_env(server.client, Echo, nap) as client:
        result = await run_tree(client, resilient_tree("echo", "nap"))

    assert result.outputs == {"final": {"critical": {}, "optional": "optional"}}
    assert started(result.tasks["final"]) >= finished(result.tasks["optional"])


async def test_eh3_nothing_waits_for_what_it_does_not_depend_on(server: EmbeddedServer) -> None:
    document = tree(
        task("critical", executor="echo"),
        task("slow", executor="nap"),
        task("final", "critical!", executor="echo"),
    )
    async with worker_env(server.client, nap, Echo) as client:
        tasks = (await run_tree(client, document)).tasks

    assert finished(tasks["final"]) < finished(tasks["slow"])


class TransientError(Exception):
    """What the guide retries."""


@executor_register()
async def flaky(inputs: Guide, context: TaskContext) -> Guide:
    """Succeeds at the attempt that its inputs name."""
    if context.attempt >= inputs.get("ok_at", 99):
        return {"status": "completed", "result": context.attempt}
    return {
        "status": "failed",
        "error": f"attempt {context.attempt}",
        "error_type": "transient_error",
        "retryable": True,
    }


async def test_eh4_transient_errors_are_retried_up_to_the_limit(server: EmbeddedServer) -> None:
    document = tree(
        task("recovers", executor="flaky", inputs={"ok_at": 3}),
        task("never", executor="flaky"),
        defaults={"retry": {"initial_interval": "100ms", "backoff_coefficient": 1}},
    )
    async with worker_env(server.client, flaky) as client:
        recovers, never = (await run_tree(client, document)).tasks.values()

    assert (recovers.status, recovers.result, recovers.attempts) == (Status.COMPLETED, 3, 3)
    assert (never.error_type, never.error) == ("transient_error", "attempt 3")
    assert (never.status, never.attempts) == (Status.FAILED, 3)


async def test_eh4_a_task_overrides_its_executors_retries(server: EmbeddedServer) -> None:
    slow = {"initial_interval": "2s", "backoff_coefficient": 3, "maximum_interval": "20s"}

    @executor_register("raising", retry={"maximum_attempts": 2, "initial_interval": "100ms"})
    async def raising(inputs: Guide) -> None:
        raise TransientError

    document = tree(
        task("default", executor="raising"),
        task("task", executor="raising", retry={"maximum_attempts": 1, **slow}),
        defaults={"retry": {"maximum_attempts": 9, "backoff_coefficient": 1.5}},
    )
    async with worker_env(server.client, raising) as client:
        result = await run_tree(client, document)
        policies = await scheduled(client, result.tree_id)

    recorded = {
        name: (
            each.retry_policy.maximum_attempts,
            each.retry_policy.initial_interval.ToTimedelta(),
            each.retry_policy.backoff_coefficient,
            each.retry_policy.maximum_interval.ToTimedelta(),
        )
        for name, each in policies.items()
    }
    assert {name: end.attempts for name, end in result.tasks.items()} == {"default": 2, "task": 1}
    assert recorded == {
        "default": (2, timedelta(milliseconds=100), 1.5, timedelta(minutes=1)),
        "task": (1, timedelta(seconds=2), 3, timedelta(seconds=20)),
    }


async def test_eh4_invalid_inputs_are_never_retried(server: EmbeddedServer) -> None:
    @executor_register("strict")
    async def strict(inputs: Guide) -> None:
        raise TaskError("not like this", error_type="validation_error", retryable=True)

    policy = {"maximum_attempts": 9, "non_retryable_error_types": ["other_error"]}
    async with worker_env(server.client, strict) as client:
        result = await run_tree(client, tree(task("strict", retry=policy)))

    assert result.tasks["strict"].attempts == 1


async def test_eh4_a_wait_for_the_next_attempt_takes_no_worker_slot(server: EmbeddedServer) -> None:
    runs: list[tuple[str, int]] = []

    @executor_register("note")
    async def note(inputs: Guide, context: TaskContext) -> None:
        runs.append((context.task_id, context.attempt))
        if (context.task_id, context.attempt) == ("flaky", 1):
            raise TransientError

    document = tree(
        task("flaky", executor="note"),
        task("a", executor="note"),
        task("b", "a!", executor="note"),
        task("c", "b!", executor="note"),
    )
    async with worker_env(server.client, note, max_concurrent_tasks=1) as client:
        result = await run_tree(client, document)

    assert result.status is Status.COMPLETED
    assert sorted(runs[:4]) == [("a", 1), ("b", 1), ("c", 1), ("flaky", 1)]
    assert runs[4:] == [("flaky", 2)]


async def test_eh4_a_wait_for_the_next_attempt_survives_the_worker(server: EmbeddedServer) -> None:
    failed = asyncio.Event()
    home = asyncio.get_running_loop()

    @executor_register("note")
    async def note(inputs: Guide, context: TaskContext) -> int:
        if context.attempt == 1:
            home.call_soon_threadsafe(failed.set)
            raise TransientError
        return context.attempt

    async with worker_env(server.client, note) as client:
        handle = await client.start(tree(task("note")))
        await failed.wait()
    settings = load_settings(task_queue=client.task_queue)
    async with running_worker(server.client, Registry(note), settings):
        result = await ended(client, handle)

    assert (result.tasks["note"].result, result.tasks["note"].attempts) == (2, 2)


async def test_eh4_hours_of_backoff_pass_as_configured() -> None:
    policy = {"maximum_attempts": 4, "initial_interval": "1h", "maximum_interval": "3h"}
    document = tree(task("flaky", inputs={"ok_at": 4}, retry=policy))
    async with tree_env(flaky, time_skipping=True) as client:
        handle = await client.start(document)
        end = (await handle.result()).tasks["flaky"]
        await assert_replays(*await histories(client, handle))

    assert (end.result, end.attempts) == (4, 4)
    assert 6 <= (finished(end) - started(end)) / timedelta(hours=1) < 6.1  # 1 + 2 + 3
