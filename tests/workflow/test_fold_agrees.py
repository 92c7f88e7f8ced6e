"""Whoever reads a history comes to the same statuses as the workflow did, whatever came together.

What is to come together is sent while no worker runs: the next one takes it in at once.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

import pytest
from temporalio import activity, workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, ResetReapplyType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client
from temporalio.worker import Worker

from regrow import Status, TaskContext, TreeFailed, executor_register
from regrow.client import TreeCancelled, TreeClient, TreeHandle
from regrow.client.tree_handle import first_event
from regrow.core.limits import MIB
from regrow.core.resolve import Description
from regrow.core.result import TreeResult
from regrow.core.wire import ENGINE_VERSION
from regrow.embedded import EmbeddedServer, embedded_server
from regrow.testing import assert_replays, worker_env

Document = dict[str, Any]
FAILING: dict[str, bool] = {}
SUGGEST_AFTER_100 = ("--dynamic-config-value", "limit.historyCount.suggestContinueAsNew=100")


@executor_register(heartbeat_timeout="3s")
async def act(inputs: Document, context: TaskContext) -> Any:
    """Do what the inputs say."""
    if inputs.get("linger"):
        await asyncio.sleep(60)
    if inputs.get("fail") or FAILING.get(context.tree_id):
        return {"status": "failed", "error": "it broke", "error_type": "broken"}
    return "x" * inputs["bytes"] if "bytes" in inputs else inputs.get("value")


@activity.defn(name="far")
async def far(inputs: Document) -> Any:
    """Run on another worker's queue, where it may end while the trees' own worker is away."""
    if inputs.get("fail"):
        return {"status": "failed", "error": "it broke", "error_type": "broken"}
    return inputs.get("value")


def task(id: str, *after: str, **fields: Any) -> Document:
    return {"id": id, "executor": "act", "dependencies": list(after), **fields}


def approval(id: str, *after: str, **inputs: Any) -> Document:
    return {"id": id, "executor": "approval", "dependencies": list(after), "inputs": inputs}


def tree(*tasks: Document, **head: Any) -> Document:
    return {"name": "agrees", "tasks": list(tasks), **head}


class Scene:
    """A tree whose worker comes and goes."""

    def __init__(self, client: Client, id: str, far_queue: str) -> None:
        self.client = client
        self.id = id
        self.queue = f"agrees-{uuid4().hex[:8]}"
        self.far_queue = far_queue
        self.handle = TreeHandle(client, id)

    @asynccontextmanager
    async def worker(self) -> AsyncGenerator[TreeClient]:
        async with worker_env(self.client, act, task_queue=self.queue) as client:
            yield client

    @asynccontextmanager
    async def far_worker(self) -> AsyncGenerator[None]:
        plain = await Client.connect(self.client.service_client.config.target_host)
        async with Worker(plain, task_queue=self.far_queue, activities=[far]):
            yield

    async def start(self, document: Document) -> None:
        await TreeClient(self.client, task_queue=self.queue).start(document, id=self.id)

    async def seen(self, *kinds: str, count: int = 1) -> None:
        """Wait for as many events of each of these kinds."""
        async with asyncio.timeout(30):
            for kind in kinds:
                wanted = EventType.Value(f"EVENT_TYPE_{kind}")
                while True:
                    history = await self.handle.workflow_handle.fetch_history()
                    if sum(event.event_type == wanted for event in history.events) >= count:
                        break
                    await asyncio.sleep(0.05)

    async def reached(self, task_id: str, status: Status = Status.IN_PROGRESS) -> None:
        async with asyncio.timeout(30):
            async for change in self.handle.watch():
                if (change.task_id, change.status) == (task_id, status):
                    return


@pytest.fixture
def scene(server: EmbeddedServer, request: pytest.FixtureRequest) -> Scene:
    return Scene(server.client, request.node.name[:60], f"far-{uuid4().hex[:8]}")


async def sent(asking: Awaitable[Any]) -> asyncio.Task[Any]:
    """Let a request wait at the server until a worker comes."""

    async def ask() -> Any:
        return await asking

    task = asyncio.create_task(ask())
    await asyncio.sleep(0.7)
    assert not task.done()
    return task


async def told_by_workflow(handle: TreeHandle) -> dict[str, str]:
    summary: Document = await handle.workflow_handle.query("status")  # pyright: ignore[reportUnknownMemberType]  # the SDK's overloads
    return summary["tasks"]


async def read_before_its_end(handle: TreeHandle) -> TreeResult:
    """Read what history says without the result, which would put right what was read wrong."""
    fold = handle.new_fold()
    fold.feed((await handle.workflow_handle.fetch_history()).events[:-1])
    return fold.result()


def statuses(result: TreeResult) -> dict[str, str]:
    return {task_id: task.status.value for task_id, task in result.tasks.items()}


async def ended(handle: TreeHandle) -> TreeResult:
    """Wait for the end, and hold what is read at every place against what the workflow says."""
    try:
        result = await handle.result()
    except (TreeFailed, TreeCancelled) as end:
        result = end.result
    told, read = await told_by_workflow(handle), await handle.status()
    assert statuses(result) == told
    for seen in (read, await read_before_its_end(handle)):
        assert statuses(seen) == told
        for task_id, task in result.tasks.items():
            assert (seen.tasks[task_id].error, seen.tasks[task_id].because) == (
                task.error,
                task.because,
            )
    changes = [change async for change in handle.watch()]
    assert {change.task_id: change.status.value for change in changes if change.task_id} == told
    assert (changes[-1].task_id, changes[-1].status) == (None, result.status)
    await assert_replays(await handle.workflow_handle.fetch_history())
    return result


# --- what comes together


async def test_answer_goes_before_a_timeout_that_came_earlier(scene: Scene) -> None:
    async with scene.worker():
        await scene.start(tree(approval("ask", timeout="3s"), task("after", "ask")))
        await scene.reached("ask")
    await scene.seen("TIMER_FIRED")
    answer = await sent(scene.handle.approve("ask", by="ann"))
    assert (await scene.handle.status()).tasks["ask"].status is Status.FAILED  # so far
    async with scene.worker():
        await answer
        result = await ended(scene.handle)

    assert result.status is Status.COMPLETED
    assert result.tasks["ask"].result["by"] == "ann"  # type: ignore[index,call-overload]


async def test_event_goes_before_a_timeout_that_came_earlier(scene: Scene) -> None:
    paid = {
        "id": "paid",
        "executor": "wait_for_event",
        "inputs": {"event": "paid", "timeout": "3s"},
    }
    async with scene.worker():
        await scene.start(tree(paid))
        await scene.reached("paid")
    await scene.seen("TIMER_FIRED")
    sending = await sent(scene.handle.send_event("paid", 12))
    async with scene.worker():
        await sending
        result = await ended(scene.handle)

    assert result.outputs == {"paid": 12}


async def test_answer_that_completes_the_tree_goes_before_a_cancel(scene: Scene) -> None:
    async with scene.worker():
        await scene.start(tree(approval("ask")))
        await scene.reached("ask")
    await scene.handle.cancel()
    await scene.seen("WORKFLOW_EXECUTION_CANCEL_REQUESTED")
    answer = await sent(scene.handle.approve("ask"))
    async with scene.worker():
        await answer
        result = await ended(scene.handle)

    assert result.status is Status.COMPLETED


async def test_what_an_answer_began_is_cancelled_with_the_rest(scene: Scene) -> None:
    async with scene.worker():
        await scene.start(
            tree(
                approval("ask"),
                task("next", "ask"),
                task("no", "ask", when="`false`"),
                approval("more", "ask"),
                task("each", "ask", for_each=[1, 2]),
            )
        )
        await scene.reached("ask")
    await scene.handle.cancel()
    await scene.seen("WORKFLOW_EXECUTION_CANCEL_REQUESTED")
    answer = await sent(scene.handle.approve("ask"))
    async with scene.worker():
        await answer
        result = await ended(scene.handle)

    assert result.status is Status.CANCELLED
    assert result.tasks["ask"].status is Status.COMPLETED
    assert result.tasks["no"].status is Status.SKIPPED
    assert result.tasks["each"].status is Status.CANCELLED


async def test_cancel_goes_before_a_timer_that_fired_earlier(scene: Scene) -> None:
    nap = {"id": "nap", "executor": "sleep", "inputs": {"duration": "3s"}}
    async with scene.worker():
        await scene.start(tree(nap, task("after", "nap")))
        await scene.reached("nap")
    await scene.seen("TIMER_FIRED")
    await scene.handle.cancel()
    await scene.seen("WORKFLOW_EXECUTION_CANCEL_REQUESTED")
    async with scene.worker():
        result = await ended(scene.handle)

    assert result.tasks["nap"].status is Status.CANCELLED


@pytest.mark.parametrize("on_failure", ["continue", "cancel"])
async def test_what_ended_before_a_cancel_keeps_its_end(scene: Scene, on_failure: str) -> None:
    def remote(id: str, **inputs: Any) -> Document:
        return {"id": id, "executor": "far", "task_queue": scene.far_queue, "inputs": inputs}

    document = tree(
        remote("good", value=1),
        remote("bad", fail=True),
        approval("ask"),
        task("after", "good"),
        on_failure=on_failure,
    )
    async with scene.worker():
        await scene.start(document)
        await scene.reached("bad")
    async with scene.far_worker():
        await scene.seen("ACTIVITY_TASK_COMPLETED", count=2)
    await scene.handle.cancel()
    await scene.seen("WORKFLOW_EXECUTION_CANCEL_REQUESTED")
    async with scene.worker():
        result = await ended(scene.handle)

    assert result.status is Status.FAILED
    assert result.tasks["good"].status is Status.COMPLETED
    assert result.tasks["ask"].because.reason == "cancel"  # type: ignore[union-attr]


async def test_wait_that_was_over_before_a_failure_came_is_not_cancelled(scene: Scene) -> None:
    bad = {"id": "bad", "executor": "far", "task_queue": scene.far_queue, "inputs": {"fail": True}}
    nap = {"id": "nap", "executor": "sleep", "inputs": {"duration": "3s"}}
    async with scene.worker():
        await scene.start(tree(bad, nap, task("after", "nap"), on_failure="cancel"))
        await scene.reached("nap")
        await scene.reached("bad")
    await scene.seen("TIMER_FIRED")
    async with scene.far_worker():
        await scene.seen("ACTIVITY_TASK_COMPLETED")
    async with scene.worker():
        result = await ended(scene.handle)

    assert result.tasks["nap"].status is Status.COMPLETED


async def test_failure_goes_before_that_of_a_sub_tree_which_came_earlier(scene: Scene) -> None:
    """The end of a sub-tree takes a turn of the workflow's loop more to be told."""
    bad = {"id": "bad", "executor": "far", "task_queue": scene.far_queue, "inputs": {"fail": True}}
    inner = {"id": "sub", "tree": tree(approval("inside"))}
    child = TreeHandle(scene.client, f"{scene.id}/sub")
    async with scene.worker():
        await scene.start(tree(bad, inner, approval("ask"), on_failure="cancel"))
        await scene.reached("sub")
        await scene.seen("CHILD_WORKFLOW_EXECUTION_STARTED")
        await scene.reached("ask")
    await child.workflow_handle.terminate()
    await scene.seen("CHILD_WORKFLOW_EXECUTION_TERMINATED")
    async with scene.far_worker():
        await scene.seen("ACTIVITY_TASK_COMPLETED")
    async with scene.worker():
        result = await ended(scene.handle)

    assert statuses(result) == {"bad": "failed", "sub": "failed", "ask": "cancelled"}
    assert result.tasks["ask"].because.task_id == "bad"  # type: ignore[union-attr]


# --- cancelled before it could begin


async def test_tree_cancelled_before_any_worker_took_it_has_only_cancelled_tasks(
    scene: Scene,
) -> None:
    await scene.start(tree(task("a"), task("b", "a")))
    await scene.handle.cancel()
    await scene.seen("WORKFLOW_EXECUTION_CANCEL_REQUESTED")
    async with scene.worker():
        with pytest.raises(TreeCancelled) as cancelled:
            await scene.handle.result()
        changes = [(change.task_id, change.status) async for change in scene.handle.watch()]

    assert statuses(cancelled.value.result) == {"a": "cancelled", "b": "cancelled"}
    assert cancelled.value.result.counts == {"cancelled": 2}
    assert changes == [
        (None, Status.IN_PROGRESS),
        ("a", Status.CANCELLED),
        ("b", Status.CANCELLED),
        (None, Status.CANCELLED),
    ]


@workflow.defn(name="StartsOne", sandboxed=False)
class StartsOne:
    """Starts a tree as a tree starts one inside itself, on a queue that no worker polls yet."""

    @workflow.run
    async def run(self, document: Document, queue: str) -> None:
        own = workflow.info().workflow_id
        await workflow.start_child_workflow(
            "TaskTree",
            document,
            id=f"{own}/sub",
            task_queue=queue,
            parent_close_policy=workflow.ParentClosePolicy.ABANDON,
        )


async def test_cancel_of_a_sub_tree_that_has_just_begun_comes_after_what_needs_no_worker(
    scene: Scene,
) -> None:
    document = tree(
        {"id": "nap", "executor": "sleep", "inputs": {"duration": "1h"}},
        approval("ask"),
        {"id": "no", "executor": "approval", "when": "`false`"},
        approval("after", "no"),
        approval("next", "ask"),
    )
    described = Description(engine_version=ENGINE_VERSION).model_dump(mode="json")
    plain = await Client.connect(scene.client.service_client.config.target_host)
    async with Worker(plain, task_queue=scene.far_queue, workflows=[StartsOne]):
        await plain.execute_workflow(
            StartsOne.run,
            args=[{**document, "engine": {"description": described}}, scene.queue],
            id=scene.id,
            task_queue=scene.far_queue,
        )
    handle = TreeHandle(scene.client, f"{scene.id}/sub")
    await handle.cancel()
    async with scene.worker():
        result = await ended(handle)

    assert statuses(result) == {
        "nap": "cancelled",
        "ask": "cancelled",
        "no": "skipped",
        "after": "skipped",
        "next": "cancelled",
    }


# --- what leaves no event


async def test_what_is_cancelled_in_the_task_that_starts_it_is_known(scene: Scene) -> None:
    document = tree(
        task("made", compensate={"executor": "act", "inputs": {"linger": True}}),
        task("never", "made", inputs={"linger": True}),
        task("items", "made", for_each=[1, 2], inputs={"linger": True}),
        task("bad", "made", inputs={"value": "${{ abs(inputs.text) }}"}),
        on_failure="cancel",
        inputs={"text": "no number"},
    )
    async with scene.worker():
        await scene.start(document)
        await scene.reached("bad", Status.FAILED)
        read = await scene.handle.status()
        told = await told_by_workflow(scene.handle)
        await scene.handle.workflow_handle.terminate()

    assert statuses(read) == told
    assert told == {
        "made": "completed",
        "never": "cancelled",
        "items": "cancelled",
        "bad": "failed",
    }


async def test_task_of_a_worker_that_never_heard_of_the_cancel_is_cancelled(scene: Scene) -> None:
    document = tree({"id": "a", "executor": "far", "task_queue": scene.far_queue}, task("b", "a"))
    async with scene.worker():
        await scene.start(document)
        await scene.reached("a")
        await scene.handle.cancel()
        result = await ended(scene.handle)

    assert result.tasks["a"].status is Status.CANCELLED


async def test_refused_inputs_are_known_and_no_later_result_is_lost(scene: Scene) -> None:
    large = {"bytes": MIB + 1}
    both = {"l": "${{ tasks.l.result }}", "r": "${{ tasks.r.result }}"}
    inner = tree(task("x"), inputs={"l": "", "r": ""})
    document = tree(
        task("l", inputs=large),
        task("r", inputs=large),
        task("big", "l", "r", inputs=both),
        {"id": "sub", "dependencies": ["l", "r"], "inputs": both, "tree": inner},
        task("each", "l", "r", for_each=[1, 2], inputs=both),
        task("rest", inputs={"value": "${{ tasks.big.error_type }}"}),
        approval("ask", "rest"),
        max_in_flight=1,
    )
    optional = {"required": False, "into": None}
    document["tasks"][5]["dependencies"] = [
        {"id": refused, **optional} for refused in ("big", "sub", "each")
    ]
    async with scene.worker():
        await scene.start(document)
        await scene.reached("ask")
        read = await scene.handle.status()
        told = await told_by_workflow(scene.handle)
        entry: Document = await scene.handle.workflow_handle.query("task", "sub")  # pyright: ignore[reportUnknownMemberType]  # the SDK's overloads
        await scene.handle.approve("ask")
        result = await ended(scene.handle)

    assert statuses(read) == told
    assert (told["big"], told["sub"], told["each"]) == ("failed", "failed", "failed")
    assert read.tasks["sub"].error == entry["error"]
    assert result.tasks["rest"].result == "payload_too_large"
    assert len(result.tasks["r"].result) == MIB + 1  # type: ignore[arg-type]


# --- what history shows is shown


async def test_end_is_shown_though_no_worker_has_taken_it_in(scene: Scene) -> None:
    remote = {"id": "a", "executor": "far", "task_queue": scene.far_queue, "inputs": {"value": 1}}
    async with scene.worker():
        await scene.start(tree(remote, task("b", "a")))
        await scene.reached("a")
    async with scene.far_worker():
        await scene.seen("ACTIVITY_TASK_COMPLETED")

    read = await scene.handle.status()
    await scene.handle.workflow_handle.terminate()

    assert statuses(read) == {"a": "completed", "b": "pending"}
    assert read.tasks["a"].result == 1
    assert statuses(await scene.handle.status()) == {"a": "completed", "b": "pending"}


async def test_changes_are_watched_as_they_happen(scene: Scene) -> None:
    document = tree(task("a"), task("b", "a"), approval("ask", "b"))
    seen: list[tuple[str | None, Status]] = []
    async with scene.worker(), asyncio.timeout(20):
        await scene.start(document)
        async for change in scene.handle.watch():
            seen.append((change.task_id, change.status))
            if change.task_id == "ask":
                break
        await scene.handle.workflow_handle.terminate()

    assert seen == [
        (None, Status.IN_PROGRESS),
        ("a", Status.IN_PROGRESS),
        ("a", Status.COMPLETED),
        ("b", Status.IN_PROGRESS),
        ("b", Status.COMPLETED),
        ("ask", Status.IN_PROGRESS),
    ]


# --- reset


async def reset(tree: TreeHandle, task_number: int = 1) -> str:
    """Reset the latest run to one of its workflow tasks."""
    client, handle = tree.client, tree.workflow_handle
    history = await handle.fetch_history()
    wanted = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    completed = [event.event_id for event in history.events if event.event_type == wanted]
    done = await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(
                workflow_id=handle.id, run_id=(await handle.describe()).run_id
            ),
            reason="test",
            workflow_task_finish_event_id=completed[task_number - 1],
            request_id=uuid4().hex,
            reset_reapply_type=ResetReapplyType.RESET_REAPPLY_TYPE_ALL_ELIGIBLE,
        )
    )
    return done.run_id


async def test_reset_tree_is_read_from_the_run_that_counts(scene: Scene) -> None:
    FAILING[scene.id] = True
    async with scene.worker() as client:
        await scene.start(tree(task("a"), task("b", "a"), approval("ask")))
        await scene.reached("a", Status.FAILED)
        await scene.handle.approve("ask", by="ann")
        with suppress(TreeFailed):
            await scene.handle.result()
        FAILING[scene.id] = False
        await reset(scene.handle)
        result = await ended(client.get(scene.id))
        read = await scene.handle.status()

    assert result.status is Status.COMPLETED
    assert statuses(read) == {"a": "completed", "b": "completed", "ask": "completed"}
    assert read.tasks["ask"].result["by"] == "ann"  # type: ignore[index,call-overload]


async def test_what_runs_while_a_tree_is_reset_is_read_too(scene: Scene) -> None:
    FAILING[scene.id] = True
    remote = {"id": "r", "executor": "far", "task_queue": scene.far_queue, "inputs": {"value": 1}}
    async with scene.worker() as client:
        await scene.start(tree(remote, task("a"), task("b", "a")))
        await scene.reached("b", Status.SKIPPED)
        await reset(scene.handle, 2)
        async with scene.far_worker():
            result = await ended(client.get(scene.id))

    assert statuses(result) == {"r": "completed", "a": "failed", "b": "skipped"}


async def test_reset_continuation_is_read_after_the_runs_before_it() -> None:
    nap = {"id": "nap", "executor": "sleep", "inputs": {"duration": "4s"}}
    chain = [task(f"n{at}", *([f"n{at - 1}"] if at else [])) for at in range(60)]
    document = tree(*chain, nap, task("end", "n59", "nap"))
    async with (
        embedded_server(options=SUGGEST_AFTER_100) as server,
        worker_env(server.client, act) as client,
    ):
        handle = await client.start(document, id="long")
        await handle.result()
        first_result = await handle.status()
        again = await reset(handle)
        result = await client.get("long").result()
        read = await handle.status()
        latest = await first_event(server.client, "long", again)

        assert latest.workflow_execution_started_event_attributes.continued_execution_run_id
        assert read.status is result.status is Status.COMPLETED
        assert first_result.tasks["n0"] == read.tasks["n0"]
        assert set(statuses(read).values()) == {"completed"}
