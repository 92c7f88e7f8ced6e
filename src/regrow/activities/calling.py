"""One call of an executor, and what may come before and after it.

In this order: hooks before the task, a kept result, secrets, the executor itself, hooks after it.
The host calls executors for tasks; `batch` calls them for its items; both go through here.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import pydantic_core
import structlog
from temporalio.exceptions import ApplicationError

from regrow.activities.cache import Results, cache_key
from regrow.activities.secrets import revealed
from regrow.activities.threads import ExecutorThreads, contained
from regrow.core.models import Json
from regrow.core.outcome import Answer, read_answer
from regrow.core.secrets import hide, is_kept, sealed
from regrow.core.wire import ErrorType, Status
from regrow.executors import Executor, Registry, TaskContext, TaskError
from regrow.hooks import AnswerInstead, ChangedInputs, Hook, TaskCall, TaskEnd, TreeEvent
from regrow.logs import hidden_values

_LONGEST_TREE_HOOK: Final = 10.0
"""Seconds; several share the minute that their activity has."""

log = structlog.get_logger("regrow.hooks")

calls_here: ContextVar["Calls"] = ContextVar("regrow_calls")
"""How the executor that is running can call others of its worker."""
named_here: ContextVar[tuple[Json, Any]] = ContextVar("regrow_named", default=({}, ()))
"""The inputs of the executor that is running with the names of secrets, and their places."""


@dataclass(frozen=True)
class Said:
    """What the workflow says about a call beside its inputs."""

    secrets: Any = ()
    """The places of secrets in the inputs."""
    demo: bool = False


class Calls:
    """Calls the executors of one worker."""

    def __init__(self, registry: Registry, threads: ExecutorThreads, results: Results) -> None:
        self.registry = registry
        self._threads = threads
        self._results = results

    async def answer(
        self, executor: Executor, call: TaskCall, said: Said, patience: float
    ) -> Answer:
        """Give what the executor answers, or raise what it raises; a returned failure is raised.

        A cancel interrupts the executor and gives it `patience` seconds to clean up.
        """
        calls_here.set(self)
        if said.demo:
            return await self._demo(executor, call, patience)
        first = _sealed(call, said)
        call, instead = await self._before(first, patience)
        if call is not first:
            kept = [p for p in said.secrets if is_kept(p, first.inputs, call.inputs)]
            said = replace(said, secrets=kept)
        clock = time.monotonic()
        try:
            answer = instead or await self._kept(executor, call, said, patience)
        except Exception as error:
            await self._after(call, _failed(error, time.monotonic() - clock), patience)
            raise
        end = TaskEnd(Status.COMPLETED, answer.result, duration=time.monotonic() - clock)
        await self._after(call, end, patience)
        return answer

    # --- hooks

    async def _before(self, call: TaskCall, patience: float) -> tuple[TaskCall, Answer | None]:
        for hook in self._hooks("before_task", call):
            said = await self._hook(hook, patience, call)
            if isinstance(said, ChangedInputs):
                call = replace(call, inputs=cast("Json", dict(said.inputs)))
            elif isinstance(said, AnswerInstead):
                answer = successful(plain(hook.name, said.answer))
                return call, replace(answer, metadata={**answer.metadata, "answered_by": hook.name})
            elif said is not None:
                error = f"it returned {type(said).__name__}, no ChangedInputs or AnswerInstead"
                _told([call]).error("hook.failed", hook=hook.name, error=error, kind="TypeError")
        return call, None

    async def _after(self, call: TaskCall, end: TaskEnd, patience: float) -> None:
        for hook in self._hooks("after_task", call):
            await self._hook(hook, patience, call, end)

    def _hooks(self, kind: str, call: TaskCall) -> list[Hook]:
        hooks = self.registry.hooks
        return [hook for hook in hooks if hook.kind == kind and hook.is_for(call.executor)]

    async def _hook(self, hook: Hook, patience: float, *about: object) -> Any:
        """Call a hook; one that fails is logged, and has said nothing."""
        try:
            said = await self.run(
                lambda: hook.function(*about), hook.name, patience, is_async=hook.is_async
            )
            return ChangedInputs(dict(said.inputs)) if isinstance(said, ChangedInputs) else said
        except Exception as error:  # noqa: BLE001 - no hook may fail a task
            kind = type(error).__name__
            _told(about).exception("hook.failed", hook=hook.name, error=str(error), kind=kind)
            return None

    async def tell(self, event: TreeEvent, patience: float) -> None:
        """Call the hooks of trees."""
        for hook in self.registry.hooks:
            if hook.kind == "on_tree" and hook.is_for(event.moment):
                try:
                    async with asyncio.timeout(_LONGEST_TREE_HOOK):
                        await self._hook(hook, patience, event)
                except TimeoutError:
                    log.warning("hook.slow", hook=hook.name, seconds=_LONGEST_TREE_HOOK)

    # --- kept results

    async def _kept(
        self, executor: Executor, call: TaskCall, said: Said, patience: float
    ) -> Answer:
        if executor.cache is None:
            return await self._executed(executor, call, said, patience)
        given = [call.inputs, list(said.secrets)] if said.secrets else call.inputs
        key = cache_key(executor.id, cast("Json", given), call.context.user_id)
        if kept := await self._results.find(key):
            metadata = cast("dict[str, Json]", kept["metadata"])
            return Answer(ok=True, result=kept["result"], metadata={**metadata, "cached": True})
        answer = await self._executed(executor, call, said, patience)
        entry: dict[str, Json] = {"result": answer.result, "metadata": dict(answer.metadata)}
        await self._results.keep(key, entry, executor.cache)
        return replace(answer, metadata={"cached": False, **answer.metadata})

    # --- the executor

    async def _executed(
        self, executor: Executor, call: TaskCall, said: Said, patience: float
    ) -> Answer:
        inputs, values = revealed(call.inputs, said.secrets)
        context = call.context
        named_here.set((call.inputs, said.secrets))
        values = tuple(dict.fromkeys((*hidden_values.get(), *values)))
        if values:
            hidden_values.set(values)
            context = replace(context, beat=_hiding(context, values))
        name = f"{executor.id} ({context.tree_id}/{context.task_id})"
        try:
            value = await self.run(
                lambda: executor.call(inputs, context), name, patience, is_async=executor.is_async
            )
            return successful(hide(plain(executor.id, value), values))
        except Exception as error:
            if not values:
                raise
            raise _without(values, as_task_error(error)) from None

    async def _demo(self, executor: Executor, call: TaskCall, patience: float) -> Answer:
        name = f"the demo of {executor.id}"
        try:
            shown = await self.run(
                lambda: executor.demo_answer(call.inputs, call.context),
                name,
                patience,
                is_async=False,
            )
        except Exception as error:  # another attempt would do the same
            message = f"{name} failed: {type(error).__name__}: {error}"
            raise TaskError(message, error_type=ErrorType.CONTRACT) from error
        answer = successful(plain(executor.id, shown))
        return replace(answer, metadata={**answer.metadata, "demo": True})

    async def run(
        self, function: Callable[[], Any], name: str, patience: float, *, is_async: bool
    ) -> Any:
        """Run authors' code where it can't hold up the worker: on its loop, or in a thread.

        A cancel interrupts it and gives it `patience` seconds to clean up.
        """
        if not is_async:
            return await self._threads.call_sync(function).result(patience, name)
        if self._threads.is_here:
            return await contained(function)

        async def call() -> Any:
            return await function()

        return await self._threads.call_async(call, name).result(patience, name)


def _sealed(call: TaskCall, said: Said) -> TaskCall:
    """Mark the texts in which the author named secrets, so that no hook can put others there."""
    if not said.secrets:
        return call
    with suppress(ValueError):  # which is told where the values are put in
        return replace(call, inputs=sealed(call.inputs, said.secrets))
    return call


def _told(about: Sequence[object]) -> Any:
    """Give a logger that knows what a hook was told of."""
    first = about[0]
    if isinstance(first, TaskCall):
        return log.bind(tree=first.context.tree_id, task=first.context.task_id)
    return log.bind(tree=first.tree_id) if isinstance(first, TreeEvent) else log


def _hiding(context: TaskContext, values: tuple[str, ...]) -> Callable[..., None]:
    def beat(*details: Json) -> None:
        context.beat(*cast("list[Json]", hide(plain("a heartbeat", list(details)), values)))

    return beat


def _failed(error: Exception, duration: float) -> TaskEnd:
    failure = as_task_error(error)
    return TaskEnd(
        Status.FAILED, error=failure.error, error_type=failure.error_type, duration=duration
    )


def _without(values: tuple[str, ...], failure: TaskError) -> TaskError:
    """Give the failure without the secrets that its text or details would show."""
    hidden = TaskError(
        str(hide(failure.error, values)),
        error_type=failure.error_type,
        retryable=failure.retryable,
        retry_after=failure.retry_after,
    )
    hidden.details = cast("dict[str, Json]", hide(failure.details, values))
    return hidden


def plain(name: str, value: Any) -> Json:
    """Turn what an executor returned into JSON."""
    try:
        return cast("Json", pydantic_core.to_jsonable_python(value, inf_nan_mode="constants"))
    except (pydantic_core.PydanticSerializationError, ValueError, RecursionError) as error:
        message = f"{name} returned what JSON cannot hold: {error}"
        raise TaskError(message, error_type=ErrorType.CONTRACT) from error


def successful(value: Json) -> Answer:
    """Read an executor's answer; raises `TaskError` for a failure that it returned."""
    answer = read_answer(value)
    if answer.ok:
        return answer
    failure = TaskError(
        answer.error or "",
        error_type=answer.error_type or ErrorType.EXECUTION,
        retryable=answer.retryable,
        retry_after=answer.retry_after,
    )
    failure.details = dict(answer.metadata)  # any key, also one that is a parameter's name
    raise failure


def as_task_error(error: Exception) -> TaskError:
    """Give every exception the same form; one that says nothing of itself is retried by policy."""
    if isinstance(error, TaskError):
        return error
    if isinstance(error, ApplicationError):  # an author who speaks Temporal
        delay = error.next_retry_delay
        return TaskError(
            error.message,
            error_type=error.type or ErrorType.EXECUTION,
            retryable=not error.non_retryable,
            retry_after=delay.total_seconds() if delay else None,
        )
    return TaskError(str(error) or repr(error), error_type=type(error).__name__, retryable=True)
