"""Where benchmarks run: one real server, worker processes beside it, and a watch on their CPU time.

The server is the embedded one, with the options that the product gives it. Each run is measured
from its start request to its result; CPU time is read a moment later, so that what a process does
after the end is counted to the run that caused it.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal
from uuid import uuid4

import psutil
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus

from benchmarks.report import machine_line
from benchmarks.shapes import Shape
from benchmarks.worker import READY
from regrow import TreeClient
from regrow.embedded import embedded_server

Storage = Literal["memory", "file"]
Kind = Literal["tuned", "hosted", "stock"]

_ROOT: Final = Path(__file__).parents[1]
_START_SECONDS: Final = 60
_SETTLING: Final = 0.5
_COMPLETED: Final = WorkflowExecutionStatus.COMPLETED


class WorkerProcess:
    """A worker in a process of its own, on a task queue of its own."""

    def __init__(self, address: str, kind: Kind, bytecode: Path) -> None:
        """`bytecode` is where Python keeps what it has compiled, as it does for a package.

        The sandbox imports workflow code for each run; from a checkout it may compile it each time.
        """
        self.task_queue = f"bench-{kind}-{uuid4().hex[:8]}"
        self._environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(bytecode)}
        self._environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self._command = [sys.executable, "-m", "benchmarks.worker", address, self.task_queue, kind]
        self._process: asyncio.subprocess.Process | None = None
        self._past_cpu = 0.0

    @property
    def cpu(self) -> float:
        """The CPU time used so far, in seconds, also by processes that were killed."""
        return self._past_cpu + cpu_seconds(self.running.pid)

    @property
    def running(self) -> asyncio.subprocess.Process:
        """The process."""
        assert self._process is not None  # noqa: S101 - start comes first
        return self._process

    async def start(self) -> float:
        """Start it; gives the seconds until it was ready."""
        began, pipe = time.perf_counter(), asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            *self._command, cwd=_ROOT, env=self._environment, stdin=pipe, stdout=pipe
        )
        assert self.running.stdout is not None  # noqa: S101 - it is a pipe
        said = await asyncio.wait_for(self.running.stdout.readline(), _START_SECONDS)
        if said != READY:
            raise RuntimeError(f"the worker did not start: {' '.join(self._command)}")
        return time.perf_counter() - began

    async def stop(self) -> None:
        """Let it end."""
        if self._process is not None and self.running.stdin is not None:
            self.running.stdin.close()
            await self.running.wait()

    async def kill(self) -> None:
        """End it as a crash would."""
        self._past_cpu = self.cpu
        self.running.kill()
        await self.running.wait()


@dataclass(frozen=True, slots=True)
class Used:
    """What a run took, in seconds."""

    wall: float
    worker_cpu: float
    server_cpu: float

    @property
    def cpu(self) -> float:
        """Of worker and server together."""
        return self.worker_cpu + self.server_cpu


@dataclass(frozen=True, slots=True)
class Size:
    """What a tree, or a workflow, has left in history, with all that belongs to it."""

    runs: int
    events: int
    bytes: int
    largest_events: int
    largest_bytes: int
    largest: tuple[str, str]
    """The workflow id and run id of the run with most events."""


@dataclass(frozen=True)
class Bench:
    """A server, and what can be done on it."""

    client: Client
    address: str
    server_pid: int
    machine: str
    folder: Path

    @asynccontextmanager
    async def worker(self, kind: Kind = "tuned") -> AsyncGenerator[WorkerProcess]:
        """Run a worker for as long as the block lasts."""
        worker = WorkerProcess(self.address, kind, self.folder)
        await worker.start()
        try:
            yield worker
        finally:
            await worker.stop()

    async def tree(self, worker: WorkerProcess, document: Mapping[str, Any], id_: str) -> Any:
        """Run a task tree as its users do; gives its result."""
        handle = await TreeClient(self.client, task_queue=worker.task_queue).start(document, id=id_)
        return await handle.result()

    async def by_hand(self, worker: WorkerProcess, shape: Shape, id_: str) -> Any:
        """Run the hand-written workflow for a shape."""
        name, about = hand_written(shape)
        return await self.client.execute_workflow(
            name, args=[about, []], id=id_, task_queue=worker.task_queue
        )

    async def measured(
        self, worker: WorkerProcess, run: Callable[[str], Awaitable[Any]]
    ) -> tuple[Used, str]:
        """Run something under a new id; gives what it took, and the id."""
        id_ = f"bench-{uuid4().hex[:12]}"
        before, began = self._cpu(worker), time.perf_counter()
        await run(id_)
        wall = time.perf_counter() - began
        await asyncio.sleep(_SETTLING)
        after = self._cpu(worker)
        return Used(wall, after[0] - before[0], after[1] - before[1]), id_

    def _cpu(self, worker: WorkerProcess) -> tuple[float, float]:
        return worker.cpu, cpu_seconds(self.server_pid)

    async def size(self, id_: str) -> Size:
        """Give what a workflow left in history, once the server's list of workflows has it all.

        Child workflows of a tree begin with its id; continuations have it.
        """
        seen: list[WorkflowExecution] = []
        while True:
            runs = [each async for each in self.client.list_workflows(_belonging(id_))]
            is_there = any(each.id == id_ and each.status == _COMPLETED for each in runs)
            if is_there and len(runs) == len(seen) and all(each.close_time for each in runs):
                return _size(runs)
            seen = runs
            await asyncio.sleep(_SETTLING)


@asynccontextmanager
async def bench(storage: Storage = "memory") -> AsyncGenerator[Bench]:
    """Run a server for as long as the block lasts."""
    others = {each.pid for each in psutil.Process().children()}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        db = Path(folder) / "temporal.db" if storage == "file" else None
        async with embedded_server(db=db) as server:
            [pid] = {each.pid for each in psutil.Process().children()} - others
            machine = f"{await machine_line(server.client)}, state in {storage}"
            yield Bench(server.client, server.address, pid, machine, Path(folder))


def hand_written(shape: Shape) -> tuple[str, int | list[list[int]]]:
    """Give the workflow type for a shape, and what it is told."""
    tasks = len(shape.dependencies)
    match shape.name.partition("-")[0]:
        case "fan":
            return "HandWrittenFan", tasks
        case "chain":
            return "HandWrittenChain", tasks
        case _:
            return "HandWrittenGraph", [[*others] for others in shape.dependencies]


def cpu_seconds(pid: int) -> float:
    """Give the CPU time that a process has used, user and system."""
    if sys.platform == "linux":  # to the nanosecond; what psutil reads counts in hundredths
        return time.clock_gettime(~pid << 3 | 2)
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def _belonging(id_: str) -> str:
    return f"WorkflowId STARTS_WITH '{id_}'"


def _size(runs: list[WorkflowExecution]) -> Size:
    sizes = [(each.history_length, each.raw_info.history_size_bytes, each) for each in runs]
    most = max(sizes, key=lambda each: each[0])
    return Size(
        runs=len(runs),
        events=sum(events for events, _, _ in sizes),
        bytes=sum(size for _, size, _ in sizes),
        largest_events=most[0],
        largest_bytes=max(size for _, size, _ in sizes),
        largest=(most[2].id, most[2].run_id),
    )
