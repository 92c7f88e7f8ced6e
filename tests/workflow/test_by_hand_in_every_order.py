"""Pause, a killed worker, resume, retry, approve and skip, in every order: it always ends well.

Many trees share one worker, a real process that is killed amid them. Each tree sees its acts in an
order of its own: some of them before the worker dies, one maybe while there is none, the rest
after. The module is the executors' as well.

REGROW_LONG=1 takes every order.
"""

import asyncio
import itertools
import os
import random
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest

from regrow import Status, TaskContext, executor_register
from regrow.client import TreeClient, TreeHandle
from regrow.core.result import TreeResult
from regrow.embedded import EmbeddedServer
from regrow.testing import assert_replays

Document = dict[str, Any]
LONG: Final = bool(os.environ.get("REGROW_LONG"))
SAMPLE: Final = 30
AT_ONCE: Final = 15
QUEUE: Final = f"orders-{uuid4().hex[:8]}"
HELD: Final = ("bad", "wrong", "each")


# --- what runs in the worker's process


@executor_register(heartbeat_timeout="3s", retry={"initial_interval": "0.1s"})
async def step(inputs: Document, context: TaskContext) -> Any:
    """Note that it ran; fail until the tree is mended, or wait until it is let go."""
    root, _, unit = context.idempotency_key.partition("/")
    files = Files(Path(inputs["files"]), root)
    files.note(unit)
    if inputs.get("never") or (inputs.get("breaks") and not files.mended.exists()):
        return {"status": "failed", "error": "it broke"}
    while inputs.get("waits") and not files.open.exists():  # noqa: ASYNC110 - of another process
        await asyncio.sleep(0.1)
    return unit


@dataclass(frozen=True)
class Files:
    """How a test and the executors of one tree talk to each other."""

    directory: Path
    root: str

    @property
    def mended(self) -> Path:
        """Once it is there, what `breaks` is sound."""
        return self.directory / f"{self.root}.mended"

    @property
    def open(self) -> Path:
        """Once it is there, what `waits` goes on."""
        return self.directory / f"{self.root}.open"

    @property
    def log(self) -> Path:
        return self.directory / f"{self.root}.log"

    def note(self, unit: str) -> None:
        with self.log.open("a") as log:
            log.write(f"{unit}\n")

    def times(self) -> Counter[str]:
        """How often every unit of work was executed."""
        return Counter(self.log.read_text().split()) if self.log.exists() else Counter()


# --- the tree


def task(id: str, *after: str, **inputs: Any) -> Document:
    edges = [{"id": each, "into": None} for each in after]
    files = {"files": "${{ inputs.files }}"}
    return {"id": id, "executor": "step", "dependencies": edges, "inputs": {**files, **inputs}}


def tree(files: Path, *tasks: Document, **head: Any) -> Document:
    return {"name": "orders", "inputs": {"files": str(files)}, "tasks": list(tasks), **head}


def document(files: Path) -> Document:
    each = task("each", "a", breaks="${{ item == `1` }}")
    inner = tree(files, task("x"), task("slow", "x", waits=True), task("y", "slow"))
    return tree(
        files,
        task("a"),
        task("bad", "a", breaks=True),
        task("wrong", "a", never=True),
        {"id": "ask", "executor": "approval", "dependencies": ["a"]},
        {**each, "for_each": [0, 1, 2], "max_in_flight": 1},
        {"id": "sub", "tree": inner},
        task("slow", "a", waits=True),
        *(task(f"after_{each}", each) for each in ("bad", "wrong", "ask", "each")),
        task("end", "after_bad", "after_wrong", "after_ask", "after_each", "sub", "slow"),
        on_failure="wait",
    )


UNITS: Final = Counter(
    {
        **dict.fromkeys(["a", "bad", "wrong", "slow", "end"], 1),
        **{f"each[{at}]": 1 for at in range(3)},
        **{f"after_{each}": 1 for each in ("bad", "wrong", "ask", "each")},
        **{f"sub/{each}": 1 for each in ("x", "slow", "y")},
    }
)
ONCE_MORE: Final = Counter({"bad": 1, "each[1]": 1})
"""What failed and was retried."""


# --- the acts


@dataclass
class Scene:
    """A tree, and the order in which things happen to it."""

    handle: TreeHandle
    files: Files
    before: list[str]
    after: list[str]
    cut_short: list[str] = field(default_factory=list[str])
    """What was running when the worker died."""

    async def retry(self) -> None:
        self.files.mended.touch()
        await self.handle.retry_task("bad", by="ann")
        await self.handle.retry_task("each", by="ann")

    async def do(self, act: str) -> None:
        acts: dict[str, Callable[[], Awaitable[object]]] = {
            "pause": lambda: self.handle.pause("lunch", by="ann"),
            "resume": lambda: self.handle.resume(by="ann"),
            "retry": self.retry,
            "approve": lambda: self.handle.approve("ask", by="ann"),
            "skip": lambda: self.handle.skip_task("wrong", by="ann", result="by hand"),
        }
        await acts[act]()

    async def do_all(self, acts: list[str]) -> None:
        for act in acts:
            await self.do(act)
            await agrees(self.handle)


KILL: Final = "kill"
ACTS: Final = ("pause", KILL, "resume", "retry", "approve", "skip")


def orders() -> Iterator[tuple[list[str], list[str]]]:
    """Give what is before the worker dies and what is after; nothing is resumed before a pause."""
    every = [each for each in itertools.permutations(ACTS) if _makes_sense(each)]
    if not LONG:
        every = random.Random("orders").sample(every, SAMPLE)
    for order in every:
        at = order.index(KILL)
        yield list(order[:at]), list(order[at + 1 :])


def _makes_sense(order: tuple[str, ...]) -> bool:
    return order.index("pause") < order.index("resume")


# --- looking


async def agrees(handle: TreeHandle) -> None:
    """Hold what is read against what the workflow says, at a moment when nothing happens."""
    async with asyncio.timeout(60):
        while True:
            length = await length_of(handle)
            told: Document = await handle.workflow_handle.query("status")  # pyright: ignore[reportUnknownMemberType]  # the SDK's overloads
            read = await handle.status()
            if await length_of(handle) == length:
                break
    assert statuses(read) == told["tasks"]
    assert (read.paused is not None) == told["paused"]


async def length_of(handle: TreeHandle) -> int:
    return (await handle.workflow_handle.describe()).history_length


def statuses(result: TreeResult) -> dict[str, str]:
    return {task_id: task.status.value for task_id, task in result.tasks.items()}


def without_times(result: TreeResult) -> Document:
    """Events and the workflow tasks that take them in have clocks of their own."""
    times = {"started_at": True, "finished_at": True}
    return result.model_dump(mode="json", exclude={"tasks": {"__all__": times}})


async def is_held(scene: Scene) -> None:
    """Wait until nothing goes on without a person, but for what waits to be let go."""
    async with asyncio.timeout(60):
        while True:
            seen = (await scene.handle.status()).tasks
            held = all(seen[each].status is Status.FAILED for each in HELD)
            waits = seen["ask"].status is Status.IN_PROGRESS
            if held and waits and scene.files.times().keys() >= {"slow", "sub/slow"}:
                return
            await asyncio.sleep(0.1)


async def running(handle: TreeHandle) -> list[str]:
    fold = handle.new_fold()
    await handle.status(fold)
    assert fold.run is not None
    return [unit for each in fold.run.tasks for unit in fold.run.units_of(each)]


async def note_what_was_cut_short(scene: Scene) -> None:
    inside = TreeHandle(scene.handle.client, f"{scene.handle.id}/sub")
    scene.cut_short += await running(scene.handle)
    scene.cut_short += [f"sub/{unit}" for unit in await running(inside)]


@asynccontextmanager
async def worker(address: str, log: Path) -> AsyncGenerator[asyncio.subprocess.Process]:
    """Run a worker in a process of its own; killed at the end."""
    options = ["--executors", __file__, "--task-queue", QUEUE, "--address", address]
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "regrow", "worker", *options), stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


async def for_each(scenes: list[Scene], do: Callable[[Scene], Awaitable[None]]) -> None:
    """Do it for all trees, some at a time."""
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(scene: Scene) -> None:
        async with limit:
            await do(scene)

    async with asyncio.TaskGroup() as group:
        for scene in scenes:
            group.create_task(one(scene))


# --- the test


@pytest.mark.timeout(900 if LONG else 120)
async def test_acts_in_every_order_end_well(server: EmbeddedServer, tmp_path: Path) -> None:
    trees, every = TreeClient(server.client, task_queue=QUEUE), list(orders())
    for first in range(0, len(every), SAMPLE):
        some = every[first : first + SAMPLE]
        await check([await started(trees, tmp_path, *order) for order in some], server, tmp_path)


async def check(scenes: list[Scene], server: EmbeddedServer, directory: Path) -> None:
    log = directory / "worker.log"
    async with worker(server.address, log):
        await for_each(scenes, is_held)
        await for_each(scenes, lambda scene: scene.do_all(scene.before))
    await for_each(scenes, note_what_was_cut_short)
    early = [asyncio.create_task(scene.do(scene.after.pop(0))) for scene in asked_early(scenes)]
    async with worker(server.address, log):
        await asyncio.gather(*early)
        await for_each(scenes, lambda scene: scene.do_all(scene.after))
        for scene in scenes:
            scene.files.open.touch()
        await for_each(scenes, ends_well)


async def started(trees: TreeClient, directory: Path, before: list[str], after: list[str]) -> Scene:
    handle = await trees.start(document(directory), id=f"orders-{uuid4().hex[:8]}")
    return Scene(handle, Files(directory, handle.id), before, after)


def asked_early(scenes: list[Scene]) -> list[Scene]:
    """Every other tree is asked for its next act while no worker runs."""
    return [scene for scene in scenes[::2] if scene.after]


async def ends_well(scene: Scene) -> None:
    result = await scene.handle.result()
    order = f"{scene.before} killed {scene.after}"

    assert result.status is Status.COMPLETED, order
    assert {each.status for each in result.tasks.values()} == {Status.COMPLETED}, order
    assert result.outputs == {"end": "end"}, order
    assert result.tasks["wrong"].result == "by hand", order
    assert result.tasks["each"].result == ["each[0]", "each[1]", "each[2]"], order
    again = scene.files.times() - UNITS - ONCE_MORE
    assert scene.files.times() >= UNITS + ONCE_MORE, order
    assert again <= Counter(scene.cut_short), order
    await agrees(scene.handle)
    assert without_times(await scene.handle.status()) == without_times(result), order
    for tree_id in (scene.handle.id, f"{scene.handle.id}/sub"):
        run = scene.handle.client.get_workflow_handle(tree_id)
        await assert_replays(await run.fetch_history())
