"""What the host does for executors: context, heartbeats, interrupts, limits."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from temporalio import activity
from temporalio.api.common.v1 import Payload
from temporalio.client import Client, WorkflowFailureError
from temporalio.converter import (
    ActivitySerializationContext,
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)
from temporalio.worker import UnsandboxedWorkflowRunner, Worker
from tests.workflow.dice import RollsDice

from regrow import TaskContext, TaskError, TreeFailed, executor_register
from regrow.client import TreeCancelled, TreeHandle
from regrow.core import limits
from regrow.core.problems import InvalidTree
from regrow.core.result import TreeResult
from regrow.core.wire import Status
from regrow.embedded import EmbeddedServer
from regrow.plugin import runner_for
from regrow.testing import assert_replays, worker_env


async def result_of(handle: TreeHandle) -> TreeResult:
    try:
        return await handle.result()
    except (TreeFailed, TreeCancelled) as ended:
        return ended.result


async def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.05)


SEEN: dict[str, list[Any]] = {}


def note(context: TaskContext, what: Any) -> None:
    SEEN.setdefault(context.tree_id, []).append(what)


@executor_register(heartbeat_timeout="3s")
async def linger(inputs: dict[str, Any], context: TaskContext) -> None:
    note(context, "began")
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        await asyncio.sleep(0.1)  # clean-up may take a while
        note(context, "interrupted")
        raise


@executor_register(heartbeat_timeout="3s")
def linger_in_a_thread(inputs: dict[str, Any], context: TaskContext) -> None:
    note(context, "began")
    try:
        while True:
            time.sleep(0.05)
    except BaseException as error:
        note(context, "interrupted")
        raise error from None


@executor_register(heartbeat_timeout="2s", retry={"initial_interval": "0.1s"})
async def remembers(inputs: dict[str, Any], context: TaskContext) -> Any:
    if context.attempt == 1:
        context.progress(3, 9, "three done")
        await asyncio.sleep(1.5)  # the background heartbeat must not wipe it out
        raise ConnectionError("lost")
    return context.heartbeat_details


@executor_register()
async def who(inputs: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    return {
        "tree": context.tree_id,
        "task": context.task_id,
        "user": context.user_id,
        "key": context.idempotency_key,
        "attempt": context.attempt,
    }


@executor_register()
async def leaves(inputs: dict[str, Any]) -> None:
    raise SystemExit(7)


@executor_register()
async def large(inputs: dict[str, Any]) -> str:
    return "x" * inputs["size"]


@executor_register()
async def size_of(inputs: dict[str, Any]) -> int:
    return sum(len(str(value)) for value in inputs.values())


@executor_register()
async def odd(inputs: dict[str, Any]) -> Any:
    return {"object": object(), "nan": float("nan"), "text": "\ud800"}[inputs["kind"]]


@executor_register()
async def fails_slowly(inputs: dict[str, Any]) -> None:
    raise TaskError("later", retryable=True, retry_after=0.1, error_type="busy", hint="wait")


@pytest.mark.parametrize("executor", ["linger", "linger_in_a_thread"])
async def test_a_cancel_interrupts_the_executor(server: EmbeddedServer, executor: str) -> None:
    async with worker_env(server.client, linger, linger_in_a_thread) as client:
        handle = await client.start([{"id": "a", "name": executor, "inputs": {}}])
        await until(lambda: SEEN.get(handle.id) == ["began"])

        await handle.cancel("enough")
        result = await result_of(handle)

        assert result.status is Status.CANCELLED
        assert result.tasks["a"].status is Status.CANCELLED
        assert SEEN[handle.id] == ["began", "interrupted"]
        await assert_replays(await handle.workflow_handle.fetch_history())


async def test_a_timeout_interrupts_the_executor(server: EmbeddedServer) -> None:
    async with worker_env(server.client, linger) as client:
        tree = [{"id": "a", "name": "linger", "start_to_close_timeout": 1,
                 "retry": {"maximum_attempts": 1}}]  # fmt: skip
        handle = await client.start(tree)
        result = await result_of(handle)

        assert result.tasks["a"].error_type == "timeout_error"
        assert result.tasks["a"].error == "start_to_close_timeout of 1s exceeded"
        await until(lambda: SEEN[handle.id] == ["began", "interrupted"])


async def test_progress_reaches_the_next_attempt(server: EmbeddedServer) -> None:
    async with worker_env(server.client, remembers) as client:
        result = await result_of(await client.start([{"id": "remembers"}]))

        assert result.tasks["remembers"].result == [{"done": 3, "total": 9, "note": "three done"}]
        assert result.tasks["remembers"].attempts == 2


async def test_an_executor_knows_its_task(server: EmbeddedServer) -> None:
    async with worker_env(server.client, who) as client:
        handle = await client.start([{"id": "me", "name": "who", "user_id": "acme"}], id="its-tree")
        result = await handle.result()

        assert result.outputs["me"] == {
            "tree": "its-tree", "task": "me", "user": "acme", "key": "its-tree/me", "attempt": 1,
        }  # fmt: skip


async def test_an_executor_that_ends_the_process_only_fails_its_task(
    server: EmbeddedServer,
) -> None:
    async with worker_env(server.client, leaves, who) as client:
        tree = [{"id": "leaves", "retry": {"maximum_attempts": 1}}, {"id": "who"}]
        result = await result_of(await client.start(tree))

        assert result.tasks["leaves"].error == "the executor ended with SystemExit: 7"
        assert result.tasks["who"].status is Status.COMPLETED


async def test_a_failure_says_when_to_try_again(server: EmbeddedServer) -> None:
    async with worker_env(server.client, fails_slowly) as client:
        tree = [{"id": "fails_slowly", "retry": {"maximum_attempts": 2, "initial_interval": "1h"}}]
        result = await result_of(await client.start(tree))

        task = result.tasks["fails_slowly"]
        assert (task.error, task.error_type, task.attempts) == ("later", "busy", 2)
        assert task.metadata["hint"] == "wait"


@pytest.mark.parametrize("kind", ["object", "nan", "text"])
async def test_what_json_cannot_hold_is_a_contract_error_once(
    server: EmbeddedServer, kind: str
) -> None:
    async with worker_env(server.client, odd) as client:
        result = await result_of(await client.start([{"id": "odd", "inputs": {"kind": kind}}]))

        assert result.tasks["odd"].error_type == "contract_error"
        assert result.tasks["odd"].attempts == 1


async def test_too_large_a_result_fails_its_task_once(server: EmbeddedServer) -> None:
    async with worker_env(server.client, large) as client:
        tree = [{"id": "large", "inputs": {"size": limits.MAX_PAYLOAD}}]
        result = await result_of(await client.start(tree))

        assert result.tasks["large"].error_type == "payload_too_large"
        assert result.tasks["large"].attempts == 1
        assert "the result of large takes" in (result.tasks["large"].error or "")


async def test_too_large_inputs_fail_the_task_that_would_get_them(server: EmbeddedServer) -> None:
    async with worker_env(server.client, large, size_of) as client:
        half = {"size": 1_100_000}
        tree = [
            {"id": "a", "name": "large", "inputs": half},
            {"id": "b", "name": "large", "inputs": half},
            {"id": "both", "name": "size_of", "dependencies": ["a", "b"]},
        ]
        result = await result_of(await client.start(tree))

        assert result.tasks["both"].error_type == "payload_too_large"
        assert "the inputs of 'both' take" in (result.tasks["both"].error or "")
        # Both results are too large for the answer and were read back from history.
        assert len(str(result.tasks["a"].result)) == half["size"]


async def test_many_inputs_that_together_exceed_one_message_run(server: EmbeddedServer) -> None:
    """200 times 22 kB of commands in one workflow task would end the run."""
    async with worker_env(server.client, size_of) as client:
        one = {"executor": "size_of", "inputs": {"pad": "${{ inputs.pad }}"}}
        tree = {
            "name": "wide",
            "inputs": {"pad": "x" * 22_000},
            "max_in_flight": 500,
            "tasks": [{"id": f"t{at}", **one} for at in range(200)],
        }
        result = await result_of(await client.start(tree))

        assert result.counts["completed"] == 200


async def test_a_document_too_large_to_start_is_refused(server: EmbeddedServer) -> None:
    async with worker_env(server.client, size_of) as client:
        chance = random.Random(1).randbytes(3_000_000).hex()
        tree = [{"id": "size_of", "inputs": {"pad": chance}}]
        with pytest.raises(InvalidTree, match=r"takes \d,\d+,\d+ bytes although compressed"):
            await client.start(tree)


@activity.defn(name="foreign")
async def foreign(inputs: dict[str, Any]) -> Any:
    """An activity that knows nothing of Regrow, as a worker in another language would have."""
    return {"status": "failed", "error": "no luck"} if inputs.get("fail") else {"plain": inputs}


async def test_another_workers_queue_is_used_as_it_is(server: EmbeddedServer) -> None:
    async with (
        worker_env(server.client, size_of) as client,
        Worker(server.client, task_queue="elsewhere", activities=[foreign]),
    ):
        tree = [
            {"id": "good", "name": "foreign", "task_queue": "elsewhere", "inputs": {"n": 1}},
            {"id": "bad", "name": "foreign", "task_queue": "elsewhere", "inputs": {"fail": True}},
        ]
        result = await result_of(await client.start(tree))

        assert result.tasks["good"].result == {"plain": {"n": 1}}
        assert result.tasks["bad"].error == "no luck"


async def test_a_queue_nobody_polls_ends_by_name(server: EmbeddedServer) -> None:
    async with worker_env(server.client, size_of) as client:
        tree = [{"id": "a", "name": "x", "task_queue": "nobody", "schedule_to_start_timeout": "1s",
                 "retry": {"maximum_attempts": 1}}]  # fmt: skip
        result = await result_of(await client.start(tree))

        assert result.tasks["a"].error_type == "timeout_error"
        assert "no worker took the task" in (result.tasks["a"].error or "")


async def test_an_unknown_executor_on_a_described_queue_is_answered_not_repeated_for_ever(
    server: EmbeddedServer,
) -> None:
    async with worker_env(server.client, size_of) as client:
        tree = [{"id": "a", "name": "nothing", "task_queue": client.task_queue}]
        result = await result_of(await client.start(tree))

        assert result.tasks["a"].error_type == "unknown_executor"


async def test_the_sandbox_still_refuses_chance(server: EmbeddedServer) -> None:
    """The runner that skips the sandbox's context calls doesn't skip the sandbox."""
    async with Worker(
        server.client,
        task_queue="dice",
        workflows=[RollsDice],
        workflow_failure_exception_types=[Exception],
    ):
        with pytest.raises(WorkflowFailureError) as failed:
            await server.client.execute_workflow(RollsDice.run, id="dice", task_queue="dice")

    assert "random.random" in str(failed.value.cause)


class SealsByWorkflow(PayloadCodec, WithSerializationContext):
    """Seals payloads so that only the workflow that they belong to can open them."""

    def __init__(self, seal: bytes = b"") -> None:
        self.seal = seal

    def with_context(self, context: SerializationContext) -> "SealsByWorkflow":
        assert isinstance(context, WorkflowSerializationContext | ActivitySerializationContext)
        return SealsByWorkflow(str(context.workflow_id).encode())

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [
            Payload(
                metadata={"encoding": b"sealed"}, data=self.seal + b"|" + each.SerializeToString()
            )
            for each in payloads
        ]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        opened: list[Payload] = []
        for each in payloads:
            seal, _, data = each.data.partition(b"|")
            assert seal == self.seal
            opened.append(Payload.FromString(data))
        return opened


async def test_a_codec_that_looks_at_contexts_is_given_them(server: EmbeddedServer) -> None:
    converter = replace(server.client.data_converter, payload_codec=SealsByWorkflow())
    config: dict[str, Any] = {**server.client.config(), "data_converter": converter}
    tree = {"tasks": [{"id": "a", "executor": "size_of"}]}
    async with worker_env(Client(**config), size_of) as client:
        result = await result_of(await client.start(tree))

    assert result.tasks["a"].status == "completed"


def test_a_debuggers_unsandboxed_runner_is_left_alone() -> None:
    runner = UnsandboxedWorkflowRunner()
    assert runner_for(runner) is runner
