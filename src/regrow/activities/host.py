"""Executors as activities: one activity per executor, named by its id, with one JSON argument.

The host gives the executor its context, keeps its heartbeat going, reads its answer by the outcome
table and turns it into what Temporal understands. It never retries: Temporal does.
"""

import asyncio
import contextvars
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Self

import structlog
from pydantic import TypeAdapter
from temporalio import activity
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from regrow.activities.attributes import registered_attributes
from regrow.activities.cache import Cache, MemoryCache, Results
from regrow.activities.calling import Calls, Said, as_task_error
from regrow.activities.describe import describe
from regrow.activities.threads import ExecutorThreads
from regrow.core import limits
from regrow.core.models import Json
from regrow.core.outcome import Answer, short_error
from regrow.core.result import json_size
from regrow.core.wire import (
    COMPENSATE,
    DESCRIBE_EXECUTORS,
    ENGINE_VERSION,
    TREE_HOOKS,
    ErrorType,
    split_unit,
)
from regrow.executors import Executor, Registry, TaskContext, TaskError
from regrow.hooks import TaskCall, TreeEvent

_BEATS_PER_TIMEOUT = 3
_LONGEST_BEAT = 2.0
_TICK = 0.25
_PATIENCE = 60.0
_BRIEF = 2.0

log = structlog.get_logger("regrow.task")

task_header: contextvars.ContextVar[dict[str, Any] | None] = contextvars.ContextVar(
    "regrow_task_header", default=None
)
"""What the workflow said about the task in its header, if it did."""


@dataclass(slots=True)
class _Running:
    """A task whose heartbeat the host keeps going."""

    context: contextvars.Context
    timeout: float
    on_loop: bool
    details: tuple[Json, ...]
    next_beat: float
    interval: float = field(init=False)

    def __post_init__(self) -> None:
        self.interval = min(self.timeout / _BEATS_PER_TIMEOUT, _LONGEST_BEAT)
        self.next_beat += self.interval


class ExecutorHost:
    """Runs the executors of a registry as activities; enter it before the worker starts."""

    def __init__(
        self, registry: Registry, *, threads: int = 500, cache: Cache | None = None
    ) -> None:
        """Host the executors; `cache` keeps results of those that ask for it, by default here."""
        self._registry = registry
        self._threads = ExecutorThreads(threads)
        self._calls = Calls(registry, self._threads, Results(cache or MemoryCache()))
        self._running: dict[bytes, _Running] = {}
        self._beats: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._threads.__aenter__()
        self._beats = asyncio.create_task(self._keep_beating())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._beats:
            self._beats.cancel()
        await self._threads.__aexit__()

    def activities(self) -> list[Callable[..., Any]]:
        """Give the activities for a `Worker`: the executors, their description, and a catch-all."""
        hosted = [self._hosted(executor) for executor in self._registry]
        return [*hosted, self._describe(), self._tell_hooks(), _unknown_executor]

    def _hosted(self, executor: Executor) -> Callable[..., Any]:
        @activity.defn(name=executor.id)
        async def run(inputs: Any = None) -> RawValue:
            return await self._run(executor, {} if inputs is None else inputs)

        return run

    def _describe(self) -> Callable[..., Any]:
        @activity.defn(name=DESCRIBE_EXECUTORS)
        async def describe_executors(ids: list[str]) -> dict[str, Any]:
            known = await registered_attributes(activity.client())
            described = describe(self._registry, ids, known)
            said = described.model_dump(mode="json", exclude_defaults=True)
            return {"engine_version": ENGINE_VERSION, **said}

        return describe_executors

    def _tell_hooks(self) -> Callable[..., Any]:
        @activity.defn(name=TREE_HOOKS)
        async def tree_hooks(events: list[dict[str, Any]]) -> None:
            for event in events:
                await self._calls.tell(TypeAdapter(TreeEvent).validate_python(event), _BRIEF)

        return tree_hooks

    async def _run(self, executor: Executor, inputs: Json) -> RawValue:
        started, clock = activity.info().started_time, time.monotonic()
        context = self._context(executor)
        line = log.bind(
            tree=context.tree_id,
            task=context.task_id,
            executor=executor.id,
            attempt=context.attempt,
        )
        line.info("task.started")

        def about(metadata: dict[str, Json]) -> dict[str, Json]:
            """The author's keys, and what only the host knows."""
            duration = round(time.monotonic() - clock, 4)
            known = {"attempt": context.attempt, "started_at": started.isoformat()}
            return {"duration": duration, **metadata, **known}

        try:
            answer = await self._execute(executor, TaskCall(executor.id, inputs, context))
            payload = _payload(executor, answer, about(dict(answer.metadata)))
        except asyncio.CancelledError:
            line.info("task.cancelled", duration=round(time.monotonic() - clock, 4))
            raise
        except Exception as error:  # noqa: BLE001 - an author's code may raise anything
            failure = as_task_error(error)
            line.warning(
                "task.failed",
                error_type=failure.error_type,
                error=short_error(failure.error),
                retryable=failure.retryable,
                duration=round(time.monotonic() - clock, 4),
            )
            raise _application_error(failure, about(failure.details)) from _cause(error)
        line.info("task.completed", duration=round(time.monotonic() - clock, 4))
        return RawValue(payload)

    async def _execute(self, executor: Executor, call: TaskCall) -> Answer:
        token = activity.info().task_token
        timeout = activity.info().heartbeat_timeout
        if timeout and not activity.info().is_local:
            self._running[token] = _Running(
                contextvars.copy_context(),
                timeout.total_seconds(),
                executor.is_async,
                call.context.heartbeat_details,
                time.monotonic(),
            )
        try:
            patience = 2 * timeout.total_seconds() if timeout else _PATIENCE
            return await self._calls.answer(executor, call, _said(), patience)
        finally:
            self._running.pop(token, None)

    def _context(self, executor: Executor) -> TaskContext:
        info = activity.info()
        said = task_header.get() or {}
        unit = said.get("task_id") or info.activity_id
        task_id, index = (unit, None) if unit.endswith(COMPENSATE) else split_unit(unit)
        home = asyncio.get_running_loop()

        def beat(*details: Json) -> None:
            home.call_soon_threadsafe(self._beat_with, info.task_token, details)

        return TaskContext(
            tree_id=said.get("tree_id") or info.workflow_id or f"{executor.id}-alone",
            task_id=task_id,
            index=index,
            attempt=info.attempt,
            user_id=said.get("user_id"),
            heartbeat_details=tuple(info.heartbeat_details),
            beat=beat,
        )

    def _beat_with(self, token: bytes, details: tuple[Json, ...]) -> None:
        running = self._running.get(token)
        if running is not None:
            running.details = details
            running.context.run(activity.heartbeat, *details)

    async def _keep_beating(self) -> None:
        """Show the server that tasks are alive, with what they said last.

        An async executor isn't alive when the loop it runs on has been silent for its timeout.
        """
        while True:
            await asyncio.sleep(_TICK)
            now, silent = time.monotonic(), self._threads.silent_for()
            for running in list(self._running.values()):
                if now >= running.next_beat and not (running.on_loop and silent > running.timeout):
                    running.next_beat = now + running.interval
                    running.context.run(activity.heartbeat, *running.details)


def _said() -> Said:
    said = task_header.get() or {}
    return Said(said.get("secrets") or (), said.get("demo") is True)


@activity.defn(dynamic=True)
async def _unknown_executor(args: Sequence[RawValue]) -> Any:
    """Answer for every executor that this worker doesn't have."""
    del args
    if _said().demo:  # another worker's, which a demo doesn't call
        return {"status": "completed", "result": None, "metadata": {"attempt": 1, "demo": True}}
    name = activity.info().activity_type
    message = (
        f"this worker has no executor '{name}'; start one that has it,"
        " with --executors or REGROW_EXECUTORS"
    )
    raise ApplicationError(message, type=ErrorType.UNKNOWN_EXECUTOR.value)


def _payload(executor: Executor, answer: Answer, metadata: dict[str, Json]) -> Payload:
    shape = {"status": "completed", "result": answer.result, "metadata": metadata}
    try:
        text = json.dumps(shape, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        data = text.encode()
    except ValueError as error:  # NaN, infinity, half a surrogate pair
        message = f"{executor.id} returned what JSON cannot hold: {error}"
        raise TaskError(message, error_type=ErrorType.CONTRACT) from error
    is_local = activity.info().is_local
    most = limits.MAX_LOCAL_RESULT if is_local else limits.MAX_PAYLOAD
    if len(data) > most:
        message = (
            f"the result of {executor.id} takes {len(data):,} bytes; at most"
            f" {most:,} fit into history. Return a reference to it instead"
        )
        if is_local:
            message += ", or let the task not be local"
        raise TaskError(message, error_type=ErrorType.PAYLOAD_TOO_LARGE)
    return Payload(metadata={"encoding": b"json/plain"}, data=data)


def _application_error(failure: TaskError, details: dict[str, Json]) -> ApplicationError:
    is_local = activity.info().is_local
    most = limits.MAX_LOCAL_DETAILS if is_local else limits.MAX_RESULTS_BYTES
    if json_size(details) > most:
        details = {key: details[key] for key in ("attempt", "started_at") if key in details}
    after = failure.retry_after
    return ApplicationError(
        short_error(failure.error),
        details,
        type=failure.error_type,
        non_retryable=not failure.retryable,
        next_retry_delay=timedelta(seconds=after) if after is not None else None,
    )


def _cause(error: Exception) -> Exception | None:
    """Show people the trace of a surprise; a failure that the author chose needs none.

    Of a local task it would be written with those of its neighbours, and there is little room.
    """
    brief = isinstance(error, TaskError) or activity.info().is_local
    return None if brief else error
