"""The worker: settings → plugin → `Worker` → graceful stop."""

import asyncio
import os
import signal
import warnings
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta

import structlog
from temporalio.client import Client
from temporalio.worker import Worker

from regrow.activities.cache import open_cache
from regrow.activities.catalogue import make_registry
from regrow.activities.host import ExecutorHost
from regrow.executors import ExecutorErrors, Registry
from regrow.settings import (
    EXECUTORS_VARIABLE,
    InvalidSettings,
    Settings,
    load_settings,
    split_names,
)

_STICKY_TIMEOUT = timedelta(seconds=1)
_HEARTBEAT_THROTTLE = timedelta(seconds=2)

log = structlog.get_logger("regrow.worker")


@asynccontextmanager
async def running_worker(
    client: Client, registry: Registry, settings: Settings
) -> AsyncGenerator[Worker]:
    """Run a worker for as long as the block lasts, then stop it gracefully.

    `client` must have the `RegrowPlugin`.
    """
    slots = settings.max_concurrent_tasks
    # A local task may end while it is being cancelled; the SDK wonders, to no end for anybody.
    warnings.filterwarnings("ignore", message="Cannot find activity to cancel")
    async with ExecutorHost(registry, threads=slots, cache=open_cache(settings.cache)) as host:
        worker = Worker(
            client,
            task_queue=settings.task_queue,
            activities=host.activities(),
            max_concurrent_activities=slots,
            # The default of 3 sends most tasks through the server once more.
            max_eager_activity_reservations_per_workflow_task=slots,
            # A cancel reaches an executor with its next heartbeat.
            max_heartbeat_throttle_interval=_HEARTBEAT_THROTTLE,
            # How long a tree waits for a worker that died before another takes it over.
            sticky_queue_schedule_to_start_timeout=_STICKY_TIMEOUT,
            graceful_shutdown_timeout=settings.graceful_shutdown_timeout,
        )
        async with worker:
            log.info(
                "worker.started",
                task_queue=settings.task_queue,
                executors=[executor.id for executor in registry],
            )
            yield worker
            log.info("worker.stopping")
        log.info("worker.stopped")


def configure(
    executors: Sequence[str] = (), task_queue: str | None = None
) -> tuple[Settings, Registry]:
    """Read the settings and find the executors, those named here too.

    Raises `InvalidSettings` with everything that is wrong, of both.
    """
    problems: list[str] = []
    settings, named = Settings.model_construct(), split_names(os.environ.get(EXECUTORS_VARIABLE))
    try:
        settings = load_settings(task_queue=task_queue)
        named = settings.executors
    except InvalidSettings as error:
        problems += error.problems
    try:
        registry = make_registry(tuple(dict.fromkeys((*named, *executors))))
    except ExecutorErrors as error:
        raise InvalidSettings([*problems, *error.problems]) from None
    if problems:
        raise InvalidSettings(problems)
    return settings, registry


async def run_worker(client: Client, registry: Registry, settings: Settings) -> None:
    """Run until SIGINT or SIGTERM."""
    with stop_signals() as stop:
        async with running_worker(client, registry, settings):
            await stop.wait()


@contextmanager
def stop_signals() -> Generator[asyncio.Event]:
    """Give an event that SIGINT and SIGTERM set, in place of their usual effect."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
