"""A cancel, of the tree or of one task, wherever the task is just then.

Every tree is the same: two tasks that complete and can be undone, the target, and what depends on
it. What differs is what the target does when the cancel comes.
"""

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest
from temporalio import activity
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.worker import Worker
from tests.workflow.test_fold_agrees import ended
from tests.workflow.test_language import reached

from regrow import Status, TaskContext, executor_register
from regrow.client import RequestRefused, TreeClient, TreeHandle
from regrow.core.result import TreeResult
from regrow.embedded import EmbeddedServer
from regrow.testing import assert_replays, worker_env

Document = dict[str, Any]
HEARTBEAT: Final = 3.0
"""The shortest that a loaded machine keeps; a cancel arrives within two seconds of it."""
LONG: Final = 60
FAR: Final = f"far-{uuid4().hex[:8]}"
SLEEP: Final = f"{LONG}.{os.getpid()}"
"""How long a program of ours sleeps, by which it is known."""
UNDO: Final = {"executor": "note"}
BEGAN: defaultdict[str, list[str]] = defaultdict(list)
"""What began to be executed, in order, by root tree: the rest of its idempotency key."""
STOPPED: defaultdict[str, list[tuple[str, float]]] = defaultdict(list)
"""What was interrupted, and when."""

LET_GO: defaultdict[str, bool] = defaultdict(bool)


def _began(context: TaskContext) -> tuple[str, str]:
    root, _, unit = context.idempotency_key.partition("/")
    BEGAN[root].append(unit)
    return root, unit


@executor_register(heartbeat_timeout=HEARTBEAT)
async def note(inputs: Document, context: TaskContext) -> Any:
    _began(context)
    await asyncio.sleep(inputs.get("seconds", 0))
    return inputs


@executor_register(heartbeat_timeout=HEARTBEAT)
async def quiet(inputs: Document, context: TaskContext) -> None:
    """Leaves heartbeats to the host."""
    root, unit = _began(context)
    try:
        await asyncio.sleep(LONG)
    finally:
        STOPPED[root].append((unit, time.time()))


@executor_register(heartbeat_timeout=HEARTBEAT)
async def beats(inputs: Document, context: TaskContext) -> None:
    """Sends heartbeats of its own."""
    root, unit = _began(context)
    try:
        for at in range(10 * LONG):
            context.progress(at, 10 * LONG)
            await asyncio.sleep(0.1)
    finally:
        STOPPED[root].append((unit, time.time()))


@executor_register(heartbeat_timeout=HEARTBEAT)
def threaded(inputs: Document, context: TaskContext) -> None:
    root, unit = _began(context)
    try:
        for _ in range(50 * LONG):
            time.sleep(0.02)
    finally:
        STOPPED[root].append((unit, time.time()))


@executor_register(heartbeat_timeout=HEARTBEAT)
async def busy(inputs: Document, context: TaskContext) -> None:
    """Takes a slot until it is let go."""
    root, _ = _began(context)
    while not LET_GO[root]:  # noqa: ASYNC110 - of another thread
        await asyncio.sleep(0.02)


@executor_register(heartbeat_timeout=HEARTBEAT, retry={"initial_interval": f"{LONG}s"})
async def breaks(inputs: Document, context: TaskContext) -> None:
    """Is tried again only after a minute."""
    _began(context)
    raise ConnectionError("not yet")


@executor_register(heartbeat_timeout=HEARTBEAT)
async def fails(inputs: Document, context: TaskContext) -> Document:
    _began(context)
    return {"status": "failed", "error": "it broke"}


@activity.defn(name="far")
async def far(inputs: Document) -> None:
    """Runs on another worker's queue, where no cancel gets for want of a heartbeat."""
    BEGAN[activity.info().workflow_id or ""].append("target")
    await asyncio.sleep(LONG)


EXECUTORS: Final = (note, quiet, beats, threaded, busy, breaks, fails)


def task(id: str, executor: str, *after: Any, **fields: Any) -> Document:
    return {"id": id, "executor": executor, "dependencies": list(after), **fields}


def tree(*tasks: Document, **head: Any) -> Document:
    return {"name": "cancels", "tasks": list(tasks), **head}


def edge(id: str, *, required: bool = True) -> Document:
    return {"id": id, "required": required, "into": None}


def document(target: Document, more: Sequence[Document], max_in_flight: int) -> Document:
    """Two done tasks, the target after them, and behind it one dependent of each kind."""
    target = {"id": "target", **target}
    target["dependencies"] = [edge("second"), *target.get("dependencies", ())]
    return tree(
        task("first", "note", compensate=UNDO),
        task("second", "note", edge("first"), compensate=UNDO),
        target,
        task("required", "note", edge("target"), compensate=UNDO),
        task("further", "note", edge("required")),
        task("anyway", "note", edge("target", required=False), compensate=UNDO),
        *more,
        max_in_flight=max_in_flight,
    )


async def began(handle: TreeHandle, *units: str) -> None:
    async with asyncio.timeout(30):
        while not set(units) <= set(BEGAN[handle.id]):  # noqa: ASYNC110 - of another thread
            await asyncio.sleep(0.02)


async def tried(handle: TreeHandle) -> None:
    """Wait until the server waits for the next attempt."""
    await began(handle, "target")
    async with asyncio.timeout(30):
        while True:
            about = await handle.workflow_handle.describe()
            pending = about.raw_description.pending_activities
            if any(each.HasField("last_failure") for each in pending):
                return
            await asyncio.sleep(0.05)


async def waits_for_gate(handle: TreeHandle) -> None:
    await reached(handle, "second", Status.COMPLETED)
    await reached(handle, "gate")


async def held_back(handle: TreeHandle) -> None:
    """Pause the tree, and let go on what the target depends on."""
    await waits_for_gate(handle)
    await handle.pause()
    await handle.approve("gate")


async def program_runs(handle: TreeHandle) -> None:
    async with asyncio.timeout(30):
        while not programs():  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.02)


def programs() -> list[Path]:
    return [path for path in Path("/proc").glob("[0-9]*/cmdline") if SLEEP in _words(path)]


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split("\0")
    except OSError:  # it has ended
        return []


async def nothing(handle: TreeHandle) -> None:
    pass


async def approve_gate(handle: TreeHandle) -> None:
    await handle.approve("gate")


async def let_go(handle: TreeHandle) -> None:
    LET_GO[handle.id] = True


async def resume(handle: TreeHandle) -> None:
    await handle.resume()


Step = Callable[[TreeHandle], Awaitable[None]]


@dataclass(frozen=True)
class Scene:
    """A target, and how it gets to where the cancel is to find it."""

    target: Document
    ready: Step
    running: Sequence[str] = ()
    """What of it runs then, and is told of the cancel."""
    go_on: Step = nothing
    """What else it takes to let the tree end without the target."""
    more: Sequence[Document] = ()
    done: Sequence[str] = ()
    """What has completed by then, besides what is before every target."""
    max_in_flight: int = 10


def runs(executor: str, **fields: Any) -> Scene:
    return Scene(
        {"executor": executor, **fields}, lambda handle: began(handle, "target"), ["target"]
    )


GATE: Final = {"id": "gate", "executor": "approval"}
AFTER_GATE: Final = {"executor": "note", "dependencies": [edge("gate")]}
INNER: Final = tree(task("done", "note", compensate=UNDO), task("slow", "quiet", edge("done")))
ITEMS: Final = ("target[0]", "target[1]")
SCENES: Final[dict[str, Scene]] = {
    "has not started": Scene(AFTER_GATE, waits_for_gate, go_on=approve_gate, more=[GATE]),
    "is in line": Scene(
        {"executor": "note"},
        lambda handle: began(handle, "busy"),
        go_on=let_go,
        more=[task("busy", "busy", edge("second"), priority=0)],
        max_in_flight=1,
    ),
    "is held by a pause": Scene(AFTER_GATE, held_back, go_on=resume, more=[GATE], done=["gate"]),
    "runs and sends heartbeats": runs("beats"),
    "runs and is silent": runs("quiet"),
    "runs in a thread": runs("threaded"),
    "runs a program": Scene(
        {
            "executor": "command",
            "heartbeat_timeout": HEARTBEAT,
            "inputs": {"argv": ["sleep", SLEEP]},
        },
        program_runs,
    ),
    "runs where no cancel arrives": Scene(
        {"executor": "far", "task_queue": FAR}, lambda handle: began(handle, "target")
    ),
    "runs as items": Scene(
        {"executor": "quiet", "for_each": [1, 2, 3], "max_in_flight": 2},
        lambda handle: began(handle, *ITEMS),
        ITEMS,
    ),
    "runs as a tree": Scene(
        {"tree": INNER}, lambda handle: began(handle, "target/slow"), ["target/slow"]
    ),
    "is tried again later": Scene({"executor": "breaks"}, tried),
    "waits for approval": Scene({"executor": "approval"}, lambda handle: reached(handle, "target")),
}


@pytest.fixture(params=SCENES)
def scene(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setenv("REGROW_COMMAND_ALLOW", "sleep")
    return SCENES[request.param]


@asynccontextmanager
async def workers(client: Client) -> AsyncGenerator[TreeClient]:
    plain = await Client.connect(client.service_client.config.target_host)
    async with (
        Worker(plain, task_queue=FAR, activities=[far]),
        worker_env(client, *EXECUTORS) as trees,
    ):
        yield trees


async def started(trees: TreeClient, scene: Scene) -> TreeHandle:
    whole = document(scene.target, scene.more, scene.max_in_flight)
    handle = await trees.start(whole, id=f"cancels-{uuid4().hex[:8]}")
    await scene.ready(handle)
    return handle


def undone(handle: TreeHandle) -> list[str]:
    """What was undone, in order."""
    suffix = "~compensate"
    return [unit.removesuffix(suffix) for unit in BEGAN[handle.id] if unit.endswith(suffix)]


async def check(handle: TreeHandle, scene: Scene, result: TreeResult, asked: float) -> None:
    """Whatever ran was interrupted once and in time, and the target ended then."""
    stopped = STOPPED[handle.id]
    assert sorted(unit for unit, _ in stopped) == sorted(scene.running)
    assert not programs()
    finished = result.tasks["target"].finished_at
    assert finished is not None
    for at in (finished.timestamp(), *(at for _, at in stopped)):
        assert at - asked < 2 * HEARTBEAT
    if "tree" in scene.target:
        child = handle.client.get_workflow_handle(f"{handle.id}/target")
        assert (await child.describe()).status is WorkflowExecutionStatus.CANCELED
        await assert_replays(await child.fetch_history())


def statuses(result: TreeResult) -> dict[str, str]:
    return {task_id: task.status.value for task_id, task in result.tasks.items()}


async def test_cancel_of_the_tree(server: EmbeddedServer, scene: Scene) -> None:
    async with workers(server.client) as trees:
        handle, asked = await started(trees, scene), time.time()
        await handle.cancel("enough")
        result = await ended(handle)
        about = await handle.workflow_handle.describe()
        await check(handle, scene, result, asked)

    assert about.status is WorkflowExecutionStatus.CANCELED
    assert result.status is Status.CANCELLED
    done = dict.fromkeys(["first", "second", *scene.done], "completed")
    assert statuses(result) == {**dict.fromkeys(result.tasks, "cancelled"), **done}
    assert undone(handle) == [*inside(scene), "second", "first"]


async def test_cancel_of_the_task(server: EmbeddedServer, scene: Scene) -> None:
    async with workers(server.client) as trees:
        handle, asked = await started(trees, scene), time.time()
        await handle.cancel_task("target", "too slow", by="ann")
        await scene.go_on(handle)
        result = await ended(handle)
        about = await handle.workflow_handle.describe()
        await check(handle, scene, result, asked)

    assert about.status is WorkflowExecutionStatus.FAILED
    assert result.status is Status.FAILED
    because = result.tasks["target"].because
    assert because
    assert (because.reason, because.error) == ("by_hand", "too slow")
    others = dict.fromkeys(result.tasks, "completed")
    skipped = {"required": "skipped", "further": "skipped"}
    assert statuses(result) == {**others, "target": "cancelled", **skipped}
    assert undone(handle) == [*inside(scene), "anyway", "second", "first"]


def inside(scene: Scene) -> list[str]:
    """What is undone inside the target, before anything around it."""
    return ["target/done"] if "tree" in scene.target else []


# --- while it is being undone


async def undoing(trees: TreeClient, *, by_cancel: bool) -> TreeHandle:
    """Start a tree that fails or is cancelled, and wait until the target is being undone."""
    slow = {"executor": "note", "inputs": {"seconds": 1.5}}
    last = task("last", "quiet" if by_cancel else "fails", edge("target"))
    whole = tree(
        task("first", "note", compensate=UNDO),
        task("target", "note", edge("first"), compensate=slow),
        last,
    )
    handle = await trees.start(whole, id=f"cancels-{uuid4().hex[:8]}")
    await began(handle, "last")
    if by_cancel:
        await handle.cancel("enough")
    await began(handle, "target~compensate")
    return handle


@pytest.mark.parametrize("by_cancel", [False, True], ids=["failed", "cancelled"])
@pytest.mark.parametrize("what", ["tree", "task"])
async def test_cancel_while_it_is_undone_changes_nothing(
    server: EmbeddedServer, what: str, *, by_cancel: bool
) -> None:
    async with worker_env(server.client, *EXECUTORS) as trees:
        handle = await undoing(trees, by_cancel=by_cancel)
        if what == "tree":
            await handle.cancel("again")
        else:
            with pytest.raises(RequestRefused, match=r"is being undone|is ending"):
                await handle.cancel_task("target")
        result = await ended(handle)
        about = await handle.workflow_handle.describe()

    end = WorkflowExecutionStatus.CANCELED if by_cancel else WorkflowExecutionStatus.FAILED
    assert about.status is end
    assert result.status is (Status.CANCELLED if by_cancel else Status.FAILED)
    assert undone(handle) == ["target", "first"]
    ends = [result.tasks[each].compensation for each in ("first", "target")]
    assert [each and each.status for each in ends] == [Status.COMPLETED] * 2
    assert result.tasks["target"].status is Status.COMPLETED
