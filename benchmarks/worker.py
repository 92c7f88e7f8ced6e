"""The worker process of benchmarks; it ends when its standard input does.

    python -m benchmarks.worker ADDRESS TASK_QUEUE tuned|hosted|stock

`tuned` is what `regrow worker` runs, `stock` a `Worker` as Temporal's SDK makes it, with activities
that are plain functions. `hosted` is that stock worker with the activities of Regrow's executors:
beside `stock` it shows what hosting costs, beside `tuned` what the worker's options give. All of
them have the hand-written workflows. Logs are off, since a stock worker writes none.
"""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

from temporalio import activity
from temporalio.client import Client
from temporalio.plugin import SimplePlugin
from temporalio.worker import Worker

from benchmarks.hand_written import WORKFLOWS
from regrow.activities.catalogue import make_registry
from regrow.activities.host import ExecutorHost
from regrow.executors import Registry
from regrow.logs import configure_logs
from regrow.plugin import RegrowPlugin
from regrow.settings import load_settings
from regrow.worker import running_worker

READY: Final = b"ready\n"


@activity.defn(name="noop")
async def _plain_noop(inputs: dict[str, Any]) -> dict[str, Any]:
    """Answer as a hosted executor does, without what the host finds out."""
    return {"status": "completed", "result": inputs["value"], "metadata": {}}


@asynccontextmanager
async def _tuned(address: str, task_queue: str) -> AsyncGenerator[None]:
    by_hand = SimplePlugin("hand-written", workflows=[*WORKFLOWS])
    client = await Client.connect(address, plugins=[RegrowPlugin(), by_hand])
    async with running_worker(client, _registry(), load_settings(task_queue=task_queue)):
        yield


@asynccontextmanager
async def _hosted(address: str, task_queue: str) -> AsyncGenerator[None]:
    client, host = await Client.connect(address), ExecutorHost(_registry())
    async with host, _untuned(client, task_queue, host.activities()):
        yield


@asynccontextmanager
async def _stock(address: str, task_queue: str) -> AsyncGenerator[None]:
    async with _untuned(await Client.connect(address), task_queue, [_plain_noop]):
        yield


def _untuned(client: Client, task_queue: str, activities: Sequence[Callable[..., Any]]) -> Worker:
    return Worker(client, task_queue=task_queue, workflows=[*WORKFLOWS], activities=activities)


def _registry() -> Registry:
    return make_registry(("benchmarks.executors",))


KINDS: Final[dict[str, Callable[[str, str], AbstractAsyncContextManager[None]]]] = {
    "tuned": _tuned,
    "hosted": _hosted,
    "stock": _stock,
}


async def _serve(address: str, task_queue: str, kind: str) -> None:
    async with KINDS[kind](address, task_queue):
        sys.stdout.buffer.write(READY)
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    configure_logs(level="ERROR", style="json")
    asyncio.run(_serve(*sys.argv[1:]))
    os._exit(0)  # nothing is left to do, and native threads may trip over the interpreter's end
