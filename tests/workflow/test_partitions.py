"""What people and accidents do to a large tree while child workflows run parts of it.

The limits are lowered, so that a small tree is partitioned as a large one is.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionStatus

from regrow import Status, TaskContext, TreeFailed, executor_register
from regrow.client import RequestRefused, TreeCancelled, TreeClient, TreeHandle
from regrow.core import limits
from regrow.core.result import TreeResult
from regrow.embedded import EmbeddedServer
from regrow.testing import assert_replays, worker_env

Document = dict[str, Any]
BEGAN: defaultdict[str, list[str]] = defaultdict(list)
"""What began to be executed, in order, by root tree: the rest of its idempotency key."""
STOPPED: defaultdict[str, list[str]] = defaultdict(list)
"""What was interrupted."""
GATES: defaultdict[str, list[str]] = defaultdict(list)
"""Tasks that need not go on waiting, or fail, by root tree."""
MENDED: defaultdict[str, bool] = defaultdict(bool)
LONG: Final = 60


@executor_register(heartbeat_timeout="3s", retry={"maximum_attempts": 1})
async def work(inputs: Document, context: TaskContext) -> Any:
    """Do what the inputs say."""
    root, _, unit = context.idempotency_key.partition("/")
    BEGAN[root].append(unit)
    try:
        await _wait(root, unit, inputs)
    except asyncio.CancelledError:
        STOPPED[root].append(unit)
        raise
    if inputs.get("fail") and not MENDED[root]:
        return {"status": "failed", "error": "it broke", "error_type": "broken"}
    return "x" * inputs["bytes"] if "bytes" in inputs else inputs.get("value", unit)


async def _wait(root: str, unit: str, inputs: Document) -> None:
    await asyncio.sleep(inputs.get("seconds", 0))
    until = time.monotonic() + LONG
    while inputs.get("gate") and inputs["gate"] not in GATES[root] and time.monotonic() < until:  # noqa: ASYNC110 - of another thread
        await asyncio.sleep(0.02)


def task(id: str, *after: str, **inputs: Any) -> Document:
    edges: list[Document] = [{"id": each, "into": None} for each in after]
    return {"id": id, "executor": "work", "dependencies": edges, "inputs": inputs}


def tree(*tasks: Document, **head: Any) -> Document:
    return {"name": "parts", "max_in_flight": 20, "tasks": list(tasks), **head}


@pytest.fixture(autouse=True)
def lowered(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(limits, "PARTITION_ABOVE", 3)
    monkeypatch.setattr(limits, "PARTITION_TASKS", 8)
    monkeypatch.setattr(limits, "PARTITION_LEAST", 2)
    monkeypatch.setattr(limits, "REPORT_EXPORTS", timedelta(seconds=0.2))
    monkeypatch.setattr(limits, "REPORT_ALL", timedelta(seconds=1))
    return monkeypatch


class Scene:
    """One tree on a worker that may come and go."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.id = f"parts-{uuid4().hex}"
        self.queue = f"parts-{uuid4().hex[:8]}"
        self.handle = TreeHandle(client, self.id)

    @asynccontextmanager
    async def worker(self) -> AsyncGenerator[TreeClient]:
        async with worker_env(self.client, work, task_queue=self.queue) as client:
            yield client

    async def start(self, document: Document) -> TreeHandle:
        await TreeClient(self.client, task_queue=self.queue).start(document, id=self.id)
        return self.handle

    def open(self, gate: str) -> None:
        GATES[self.id].append(gate)

    async def began(self, *units: str) -> None:
        await until(lambda: set(units) <= set(BEGAN[self.id]))

    async def told(self, task_id: str, status: Status) -> None:
        """Wait until the workflow itself knows."""
        async with asyncio.timeout(30):
            while (await self.asked())["tasks"].get(task_id) != status:  # noqa: ASYNC110 - of the server
                await asyncio.sleep(0.05)

    async def asked(self) -> Document:
        answer: Document = await self.handle.workflow_handle.query("status")  # pyright: ignore[reportUnknownMemberType]  # the SDK's overloads
        return answer

    async def partitions(self) -> list[str]:
        history = await self.handle.workflow_handle.fetch_history()
        begun = [
            event.child_workflow_execution_started_event_attributes.workflow_execution.workflow_id
            for event in history.events
        ]
        return [each for each in begun if "/~" in each]

    async def ended(self) -> TreeResult:
        """Wait for the end; what is read and watched says the same, and all histories replay."""
        async with asyncio.timeout(40):
            try:
                result = await self.handle.result()
            except (TreeFailed, TreeCancelled) as end:
                result = end.result
        read = await self.handle.status()
        statuses = {task_id: task.status for task_id, task in result.tasks.items()}
        assert {task_id: task.status for task_id, task in read.tasks.items()} == statuses
        changes = [change async for change in self.handle.watch()]
        assert {c.task_id: c.status for c in changes if c.task_id is not None} == statuses
        for each in (self.id, *await self.partitions()):
            await assert_replays(await self.client.get_workflow_handle(each).fetch_history())
        return result


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - of another thread
            await asyncio.sleep(0.02)


@pytest.fixture
def scene(server: EmbeddedServer) -> Scene:
    return Scene(server.client)


def statuses(result: TreeResult) -> dict[str, str]:
    return {task_id: task.status.value for task_id, task in result.tasks.items()}


# --- by hand


async def test_pause_reaches_what_is_in_partitions(scene: Scene) -> None:
    tasks = [task("a", gate="go"), *(task(f"b{at}", "a") for at in range(6))]
    async with scene.worker():
        await scene.start(tree(*tasks))
        await scene.began("a")
        await scene.handle.pause("lunch")
        await asyncio.sleep(1)
        scene.open("go")
        await asyncio.sleep(2)
        assert BEGAN[scene.id] == ["a"]
        assert await scene.partitions()

        await scene.handle.resume()
        result = await scene.ended()

    assert set(statuses(result).values()) == {"completed"}
    assert sorted(BEGAN[scene.id]) == ["a", *(f"b{at}" for at in range(6))]


async def test_task_that_runs_in_a_partition_is_cancelled(scene: Scene) -> None:
    tasks = [task("a", gate="never"), task("b", "a"), task("c", gate="go"), task("d", "c")]
    async with scene.worker():
        await scene.start(tree(*tasks))
        await scene.began("a", "c")
        await scene.handle.cancel_task("a", "no use", by="ann")
        await until(lambda: STOPPED[scene.id] == ["a"])
        scene.open("go")
        result = await scene.ended()

    assert statuses(result) == {
        "a": "cancelled",
        "b": "skipped",
        "c": "completed",
        "d": "completed",
    }
    because = result.tasks["a"].because
    assert because
    assert (because.reason, because.error) == ("by_hand", "no use")
    assert result.status is Status.FAILED


async def test_task_that_waits_in_a_partition_is_cancelled(scene: Scene) -> None:
    tasks = [task("a", gate="go"), task("b", "a"), task("c", "b"), task("d", "a")]
    async with scene.worker():
        await scene.start(tree(*tasks))
        await scene.began("a")
        await scene.handle.cancel_task("b")
        await asyncio.sleep(1)
        scene.open("go")
        result = await scene.ended()

    assert statuses(result) == {
        "a": "completed",
        "b": "cancelled",
        "c": "skipped",
        "d": "completed",
    }
    assert sorted(BEGAN[scene.id]) == ["a", "d"]


async def test_failed_task_of_a_partition_is_retried_with_all_it_needs(scene: Scene) -> None:
    tasks = [
        task("given", value={"key": 7}),
        task("fails", "given", fail=True),
        task("after", "fails", "given", got="${{ tasks.given.result.key }}", value=1),
        task("further", "after"),
        task("slow", gate="go"),
    ]
    tasks[2]["inputs"] = {"value": "${{ tasks.given.result.key }}"}
    async with scene.worker():
        await scene.start(tree(*tasks))
        await scene.told("fails", Status.FAILED)
        MENDED[scene.id] = True
        answer = await scene.handle.retry_task("fails")
        assert answer["retried"] == ["fails"]
        await scene.told("further", Status.COMPLETED)
        scene.open("go")
        result = await scene.ended()

    assert set(statuses(result).values()) == {"completed"}
    assert result.tasks["after"].result == 7
    assert result.tasks["fails"].attempts == 2
    assert [each for each in BEGAN[scene.id] if each != "fails"].count("given") == 1


async def test_failure_is_known_to_the_tree_at_once(
    scene: Scene, lowered: pytest.MonkeyPatch
) -> None:
    lowered.setattr(limits, "REPORT_ALL", timedelta(seconds=LONG))
    tasks = [task("fails", fail=True), task("after", "fails"), task("slow", gate="go")]
    async with scene.worker():
        await scene.start(tree(*tasks, task("more", "slow")))
        await scene.told("fails", Status.FAILED)
        scene.open("go")
        await scene.ended()


async def test_failed_task_of_a_partition_is_skipped_with_a_result(scene: Scene) -> None:
    after = task("after", "fails", value="${{ tasks.fails.result }}")
    async with scene.worker():
        await scene.start(tree(task("fails", fail=True), after, task("slow", gate="go"), task("z")))
        await scene.told("fails", Status.FAILED)
        await scene.handle.skip_task("fails", result="instead")
        await scene.told("after", Status.COMPLETED)
        scene.open("go")
        result = await scene.ended()

    assert result.tasks["after"].result == "instead"
    assert result.status is Status.COMPLETED


async def test_what_is_in_the_hands_of_a_partition_is_skipped_only_once_cancelled(
    scene: Scene,
) -> None:
    tasks = [task("a", gate="go"), task("b", "a"), task("c", "b"), task("d", "a")]
    async with scene.worker():
        await scene.start(tree(*tasks))
        await scene.began("a")
        for task_id in ("a", "b"):
            with pytest.raises(RequestRefused, match="cancel it first"):
                await scene.handle.skip_task(task_id)
        await scene.handle.cancel_task("b")
        await scene.told("b", Status.CANCELLED)
        await scene.handle.skip_task("b", result=3)
        scene.open("go")
        result = await scene.ended()

    assert set(statuses(result).values()) == {"completed"}
    assert "b" not in BEGAN[scene.id]


async def test_cancelled_tree_interrupts_what_runs_in_partitions_and_undoes_it(
    scene: Scene,
) -> None:
    undo = {"executor": "work", "inputs": {"value": "${{ tasks.a.result }}"}}
    tasks = [{**task("a"), "compensate": undo}, task("b", "a", gate="never"), task("c", "b")]
    async with scene.worker():
        await scene.start(tree(*tasks, task("d", "b")))
        await scene.began("b")
        await scene.handle.cancel("enough")
        result = await scene.ended()
        children = [
            await scene.client.get_workflow_handle(e).describe() for e in await scene.partitions()
        ]

    assert statuses(result) == {
        "a": "completed",
        "b": "cancelled",
        "c": "cancelled",
        "d": "cancelled",
    }
    assert result.status is Status.CANCELLED
    assert BEGAN[scene.id] == ["a", "b", "a~compensate"]
    assert STOPPED[scene.id] == ["b"]
    assert all(child.status is not WorkflowExecutionStatus.RUNNING for child in children)


async def test_failure_in_a_partition_ends_a_tree_that_gives_up(scene: Scene) -> None:
    tasks = [
        task("a", gate="never"),
        task("b", gate="go", fail=True),
        task("c", "a"),
        task("d", "b"),
    ]
    async with scene.worker():
        await scene.start(tree(*tasks, on_failure="cancel"))
        await scene.began("a", "b")
        scene.open("go")
        result = await scene.ended()

    assert statuses(result) == {"a": "cancelled", "b": "failed", "c": "cancelled", "d": "cancelled"}
    assert {result.tasks[each].because.reason for each in "acd"} == {"on_failure"}  # type: ignore[union-attr]
    assert STOPPED[scene.id] == ["a"]


async def test_tree_in_partitions_is_held_until_its_failure_is_mended(scene: Scene) -> None:
    tasks = [task("a", fail=True), task("b", "a"), task("c"), task("d", "b", "c")]
    async with scene.worker():
        await scene.start(tree(*tasks, on_failure="wait"))
        await scene.told("d", Status.SKIPPED)
        await scene.told("c", Status.COMPLETED)
        MENDED[scene.id] = True
        await scene.handle.retry_task()
        result = await scene.ended()

    assert set(statuses(result).values()) == {"completed"}
    assert BEGAN[scene.id].count("c") == 1


# --- data


async def test_tasks_further_up_are_read_in_a_partition(scene: Scene) -> None:
    pause = {"id": "pause", "executor": "sleep", "inputs": {"duration": "0.1s"}}
    later = [task(f"c{at}", "b", "pause", value="${{ tasks.a.result }}") for at in range(3)]
    async with scene.worker():
        await scene.start(tree(task("a", value=7), task("b", "a"), pause, *later))
        result = await scene.ended()

    assert result.outputs == dict.fromkeys(("c0", "c1", "c2"), 7)


async def test_results_too_large_for_a_partition_reach_tasks_that_run_by_themselves(
    scene: Scene, lowered: pytest.MonkeyPatch
) -> None:
    lowered.setattr(limits, "PARTITION_BYTES", 100_000)
    pause = {"id": "pause", "executor": "sleep", "inputs": {"duration": "0.1s"}}
    first = [task(f"a{at}", bytes=30_000) for at in range(4)]
    for each in first:
        pause.setdefault("dependencies", []).append({"id": each["id"]})  # type: ignore[attr-defined]
    later = [
        task(f"b{at}", f"a{at}", "pause", value=f"${{{{ tasks.a{at}.result }}}}") for at in range(4)
    ]
    async with scene.worker():
        await scene.start(tree(*first, pause, *later))
        result = await scene.ended()

    assert set(statuses(result).values()) == {"completed"}
    assert result.tasks["b3"].result == "x" * 30_000
    assert len(await scene.partitions()) == 1


# --- accidents


async def test_terminated_partition_fails_what_it_has_not_reported_by_name(scene: Scene) -> None:
    tasks = [task("a"), task("b", "a", gate="never"), task("c", "b"), task("d", "a", gate="never")]
    async with scene.worker():
        await scene.start(tree(*tasks))
        await scene.began("b", "d")
        await scene.told("a", Status.COMPLETED)
        [child] = await scene.partitions()
        await scene.client.get_workflow_handle(child).terminate("by an operator")
        result = await scene.ended()

    assert statuses(result) == {"a": "completed", "b": "failed", "c": "skipped", "d": "failed"}
    assert result.tasks["b"].error_type == "terminated"
    assert "~1" in str(result.tasks["b"].error)


async def test_worker_that_comes_back_goes_on_where_the_partitions_were(scene: Scene) -> None:
    tasks = [
        task(f"{row}{at}", *([f"{row}{at - 1}"] if at else [])) for row in "ab" for at in range(8)
    ]
    tasks[3] |= {"inputs": {"gate": "go"}, "retry": {"maximum_attempts": 3}}
    async with scene.worker():
        await scene.start(tree(*tasks))
        await scene.began("a3")
        await scene.told("a2", Status.COMPLETED)
    scene.open("go")
    async with scene.worker():
        result = await scene.ended()

    assert set(statuses(result).values()) == {"completed"}
    again = {each for each in BEGAN[scene.id] if BEGAN[scene.id].count(each) > 1}
    assert again <= {"a3"}


async def test_continued_tree_and_partitions_lose_nothing(
    scene: Scene, lowered: pytest.MonkeyPatch
) -> None:
    lowered.setattr(limits, "ROLLOVER_EVENTS", 30)
    lowered.setattr(limits, "ROLLOVER_RETRY_EVENTS", 30)
    lowered.setattr(limits, "ROLLOVER_HOLD", timedelta(seconds=2))
    lowered.setattr(limits, "PARTITION_TASKS", 20)
    tasks = [
        task(f"{row}{at}", *([f"{row}{at - 1}"] if at else []), value=at)
        for row in "abc"
        for at in range(20)
    ]
    for each in tasks:
        if each["dependencies"]:
            each["dependencies"][0].pop("into")
    async with scene.worker():
        await scene.start(tree(*tasks))
        result = await scene.ended()

    assert set(statuses(result).values()) == {"completed"}
    assert sorted(BEGAN[scene.id]) == sorted(each["id"] for each in tasks)


async def test_tree_that_is_reset_to_its_beginning_runs_to_its_end(scene: Scene) -> None:
    tasks = [task("a"), task("b", "a", gate="go"), task("c", "b"), task("d", "a")]
    async with scene.worker():
        await scene.start(tree(*tasks))
        await scene.began("b", "d")
        await scene.told("d", Status.COMPLETED)
        await reset(scene)
        await asyncio.sleep(1)
        scene.open("go")
        result = await scene.ended()

    assert set(statuses(result).values()) == {"completed"}


async def reset(scene: Scene) -> None:
    """Take a tree back to the end of its first workflow task."""
    history = await scene.handle.workflow_handle.fetch_history()
    first = next(
        event.event_id
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    )
    about = await scene.handle.workflow_handle.describe()
    await scene.client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=scene.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=scene.id, run_id=about.run_id),
            workflow_task_finish_event_id=first,
            request_id=uuid4().hex,
            reason="once more",
        )
    )
