"""`batch`: one executor over a list, inside one activity.

A map (`for_each`) gives every item an activity of its own: its own retries, history and place in
the Web UI. A batch gives that up for speed: its items share one activity, so a thousand short ones
cost what one task costs. What is done is kept in the heartbeat; after a crash, or when some items
failed, the next attempt does only the rest.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Any, Final, cast

from pydantic import BaseModel, ConfigDict, Field

from regrow.activities.calling import Calls, Said, as_task_error, calls_here, named_here, plain
from regrow.core.limits import MAX_ITEMS, MIB
from regrow.core.mapping import tolerated
from regrow.core.models import Json, Tolerance
from regrow.core.outcome import read_answer, short_error
from regrow.core.problems import suggestion
from regrow.core.result import json_size
from regrow.core.wire import ErrorType
from regrow.executors import Executor, TaskContext, TaskError, executor_register
from regrow.hooks import TaskCall

BATCH_FAILED: Final = "batch_failed"
ERRORS: Final = {
    BATCH_FAILED: "More items failed than it tolerates; `errors` lists the first. Retried if it may"
    " help one of them; what is done isn't done again.",
}

_ID: Final = "batch"
_MOST_KEPT: Final = MIB
_MOST_RESULTS: Final = MIB + MIB // 2
_LISTED: Final = 20
_BEAT_EVERY: Final = 1.0
_PATIENCE: Final = 60.0


class Batch(BaseModel):
    """What to do, and with what."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    executor: str
    """The id of any executor of the same worker."""
    items: Annotated[list[dict[str, Json]], Field(max_length=MAX_ITEMS)]
    """The inputs of each call."""
    inputs: dict[str, Json] = Field(default_factory=dict[str, Json])
    """Inputs of every call; what an item says goes before them."""
    max_in_flight: Annotated[int, Field(ge=1, le=1000)] = 10
    """How many are called at a time."""
    tolerate: Tolerance = 0
    """How many may fail, or which share of them, such as `10%`."""


class FailedItem(BaseModel):
    """An item that failed."""

    model_config = ConfigDict(frozen=True)

    index: int
    error: str
    error_type: str


class BatchResult(BaseModel):
    """What came of the items."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    results: list[Json]
    """One for each item, in their order; null for one that failed."""
    completed: int
    failed: int
    errors: list[FailedItem]
    """The first 20 that failed."""


def _shown(inputs: dict[str, Any]) -> dict[str, Any]:
    """Give what the executor's own demo would be of each item."""
    shown = [_shown_item(inputs, item) for item in inputs["items"]]
    return {"results": shown, "completed": len(shown), "failed": 0, "errors": []}


def _shown_item(inputs: dict[str, Any], item: dict[str, Any]) -> Json:
    calls, name = calls_here.get(None), inputs["executor"]
    if calls is None or name not in calls.registry:
        return {"demo": name}
    given = {**inputs.get("inputs", {}), **item}
    answer = calls.registry[name].demo_answer(given, TaskContext())
    return read_answer(plain(name, answer)).result


@executor_register(
    _ID,
    heartbeat_timeout="30s",
    tags=("data",),
    examples=(
        {
            "executor": "http_request",
            "items": [{"url": "https://example.com/1"}, {"url": "https://example.com/2"}],
            "max_in_flight": 2,
        },
    ),
    demo=_shown,
)
async def batch(inputs: Batch, context: TaskContext) -> BatchResult:
    """Call one executor for every item of a list, some at a time, inside one activity.

    As safe to repeat as that executor is: a crash repeats what ended in its last two or three
    seconds. Every item has an idempotency key of its own, the same on every attempt, and is tried
    once per attempt of the batch. The batch fails when more items failed than it tolerates; the
    next attempt does those, and what the heartbeat could not keep (1 MiB of results). A cancel
    interrupts the items that run. The time limit is the task's: raise `start_to_close_timeout`.
    """
    calls = calls_here.get()
    executor = _known(calls, inputs.executor)
    items = _Items(inputs, context)
    named, items.secrets = named_here.get()
    items.named = {"inputs": {}, **cast("dict[str, Any]", named)}
    if context.heartbeat_details:
        items.restore(context.heartbeat_details[-1])
    await _call_all(items, partial(_call_one, calls, executor, items))
    return items.result()


def _known(calls: Calls, name: str) -> Executor:
    if name == _ID:
        raise TaskError("a batch of batches is none", error_type=ErrorType.VALIDATION)
    if name not in calls.registry:
        known = [executor.id for executor in calls.registry]
        message = f"this worker has no executor '{name}'{suggestion(name, known)}"
        raise TaskError(message, error_type=ErrorType.UNKNOWN_EXECUTOR)
    return calls.registry[name]


@dataclass
class _Items:
    """The items of a batch, and what has come of them."""

    inputs: Batch
    context: TaskContext
    done: dict[int, Json] = field(default_factory=dict[int, Json])
    failed: dict[int, TaskError] = field(default_factory=dict[int, TaskError])
    kept: list[list[Json]] = field(default_factory=list[list[Json]])
    """What the heartbeat carries, as far as it fits."""
    size: int = 0
    last_beat: float = 0.0
    named: dict[str, Any] = field(default_factory=dict[str, Any])
    secrets: Any = ()

    def restore(self, kept: Json) -> None:
        """Take over what an earlier attempt has done."""
        for index, result in cast("list[tuple[int, Json]]", kept):
            self._keep(index, result)

    @property
    def left(self) -> list[int]:
        """The items that are to be done."""
        return [index for index in range(len(self.inputs.items)) if index not in self.done]

    def completed(self, index: int, result: Json) -> None:
        self._keep(index, result)
        self._beat()

    def _keep(self, index: int, result: Json) -> None:
        self.done[index] = result
        self.size += json_size(result)
        if self.size <= _MOST_KEPT:
            self.kept.append([index, result])

    async def keep_beating(self) -> None:
        """Say what is done also while nothing more ends."""
        said = 0
        while True:
            await asyncio.sleep(_BEAT_EVERY)
            if said != (said := len(self.done) + len(self.failed)):
                self._beat(now=True)

    def went_wrong(self, index: int, error: TaskError) -> None:
        self.failed[index] = error
        self._beat()

    def _beat(self, *, now: bool = False) -> None:
        clock = time.monotonic()
        if now or clock - self.last_beat >= _BEAT_EVERY:
            self.last_beat = clock
            total, ended = len(self.inputs.items), len(self.done) + len(self.failed)
            self.context.heartbeat({"done": ended, "total": total, "note": ""}, list(self.kept))

    def result(self) -> BatchResult:
        """Give the results, or raise `TaskError` if too many failed."""
        self._beat(now=True)
        errors = [
            FailedItem(index=i, error=short_error(e.error), error_type=e.error_type)
            for i, e in sorted(self.failed.items())[:_LISTED]
        ]
        total = len(self.inputs.items)
        if len(self.failed) > tolerated(self.inputs.tolerate, total):
            raise self._too_many(errors)
        if self.size > _MOST_RESULTS:
            message = (
                f"the results take {self.size:,} bytes; a batch gives at most {_MOST_RESULTS:,}."
                " Let the executor return references, or use for_each"
            )
            raise TaskError(message, error_type=ErrorType.PAYLOAD_TOO_LARGE)
        results = [self.done.get(index) for index in range(total)]
        return BatchResult(
            results=results, completed=len(self.done), failed=len(self.failed), errors=errors
        )

    def _too_many(self, errors: list[FailedItem]) -> TaskError:
        first = errors[0]
        message = (
            f"{len(self.failed)} of {len(self.inputs.items)} items failed; the first is"
            f" [{first.index}]: {first.error} ({first.error_type})"
        )
        retryable = any(error.retryable for error in self.failed.values())
        listed = cast("list[Json]", [error.model_dump() for error in errors])
        return TaskError(
            message,
            error_type=BATCH_FAILED,
            retryable=retryable,
            completed=len(self.done),
            failed=len(self.failed),
            errors=listed,
        )


async def _call_all(items: _Items, call: Callable[[int], Awaitable[None]]) -> None:
    """Call for every item that is left, so many at a time; a cancel reaches all of them."""
    left = iter(items.left)

    async def work() -> None:
        for index in left:
            await call(index)

    beating = asyncio.create_task(items.keep_beating())
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(items.inputs.max_in_flight, len(items.inputs.items))):
                group.create_task(work())
    finally:
        beating.cancel()


async def _call_one(calls: Calls, executor: Executor, items: _Items, index: int) -> None:
    call = TaskCall(executor.id, _inputs_of(items, index), _context_of(items.context, index))
    said = Said(secrets=_secrets_of(items, index))
    try:
        answer = await calls.answer(executor, call, said, _PATIENCE)
    except Exception as error:  # noqa: BLE001 - an author's code may raise anything
        items.went_wrong(index, as_task_error(error))
    else:
        items.completed(index, answer.result)


def _inputs_of(items: _Items, index: int) -> Json:
    """Give an item's own inputs, with the names of secrets: their values come with the call."""
    return deepcopy(cast("Json", {**items.named["inputs"], **items.named["items"][index]}))


def _secrets_of(items: _Items, index: int) -> list[Any]:
    own = items.named["items"][index]
    return [
        {**place, "at": rest}
        for place in items.secrets
        for rest in [_rest(place["at"], own, index)]
        if rest
    ]


def _rest(at: list[Any], own: dict[str, Json], index: int) -> list[Any]:
    """Say where in the inputs of an item is what stands there in those of the batch."""
    if at[0] == "items":
        return at[2:] if at[1] == index else []
    return at[1:] if at[0] == "inputs" and at[1] not in own else []


def _context_of(context: TaskContext, index: int) -> TaskContext:
    """Give an item's own context; its heartbeat is the batch's."""
    unit = context.task_id if context.index is None else f"{context.task_id}[{context.index}]"
    return replace(context, task_id=unit, index=index, heartbeat_details=(), beat=_ignore)


def _ignore(*_: Json) -> None:
    """What an item says goes nowhere."""
