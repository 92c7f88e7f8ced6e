"""One tree: wait for it, look at it, stop it."""

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar, cast
from uuid import uuid4
from weakref import WeakValueDictionary

from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import (
    Client,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
)
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.service import RPCError, RPCStatusCode

from regrow.client.errors import (
    TreeBusy,
    TreeCancelled,
    TreeFailed,
    TreeNotFound,
    TreeTerminated,
)
from regrow.client.explain import Explanation, explain
from regrow.client.fold import Change, Fold
from regrow.client.rerun import Changes, lineage, plan, rerun
from regrow.client.submission import Submitted
from regrow.core.loading import without_engine
from regrow.core.problems import InvalidTree, Problem
from regrow.core.requests import RequestRefused
from regrow.core.rerun import RerunPlan
from regrow.core.result import TreeResult
from regrow.core.wire import (
    APPROVE,
    CANCEL_TASK,
    PAUSE,
    RESUME,
    RETRY_TASK,
    SEND_EVENT,
    SKIP_TASK,
    ErrorType,
)

_FIRST_PAGE: Final = 1
_AT_ONCE: Final = 5
"""Updates under way for one tree. A server lets ten through for each run, and at the eleventh it
drops those that are under way as well, so the limit is better not met."""
_LANES: Final[WeakValueDictionary[tuple[int, str, str], asyncio.Semaphore]] = WeakValueDictionary()
"""Shared by all handles of a tree, as long as one of them asks for something."""
_PATIENCE: Final = 30.0
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0

_NO_RESULT: Final = object()

_T = TypeVar("_T")


class TreeHandle:
    """A tree on the server; `workflow_handle` is the way out to plain Temporal."""

    def __init__(
        self,
        client: Client,
        tree_id: str,
        started: WorkflowHandle[Any, Any] | None = None,
        *,
        attached: bool = False,
    ) -> None:
        self.client = client
        self._started = started
        self.id = tree_id
        self.attached = attached
        """Whether the tree was there already when this handle was to start it."""

    @property
    def workflow_handle(self) -> WorkflowHandle[Any, Any]:
        """The Temporal handle of the latest run."""
        return self.client.get_workflow_handle(self.id)

    async def result(self) -> TreeResult:
        """Wait for the end and give the result.

        Raises `TreeFailed`, `TreeCancelled` or `TreeTerminated`, each with a `result`, and
        `InvalidTree` for a document that the worker refused.
        """
        try:
            # The handle of the start is the one on which the time-skipping test server skips time.
            raw = await (self._started or self.workflow_handle).result()
        except WorkflowFailureError as failure:
            raise await self._ended_badly(failure.cause) from None
        except RPCError as error:
            raise self._translated(error) from error
        return await self._complete(TreeResult.model_validate(raw))

    async def status(self, fold: Fold | None = None) -> TreeResult:
        """Give the tree as it stands, read from its history; needs no worker."""
        fold = fold or self.new_fold()
        async for _ in self._changes(fold, wait=False):
            pass
        fold.finish()
        if fold.lacks is not None:
            earlier = TreeHandle(self.client, fold.lacks)
            with contextlib.suppress(TreeNotFound):  # a server forgets after a while
                fold.adopt(await earlier._read_fold())
        return fold.result()

    async def _read_fold(self) -> Fold:
        fold = self.new_fold()
        await self.status(fold)
        return fold

    async def watch(self) -> AsyncIterator[Change]:
        """Give every change so far and then each as it happens, until the tree has ended.

        Reads the history; costs no events and needs no worker.
        """
        async for change in self.follow(self.new_fold()):
            yield change

    def new_fold(self) -> Fold:
        """Give a fold that reads this tree's history."""
        return Fold(self.id, self.client.data_converter)

    async def cancel(self, reason: str = "") -> None:
        """Ask the tree to cancel; `result` or `watch` tell when it has."""
        try:
            await self.workflow_handle.cancel(reason=reason)
        except RPCError as error:
            raise self._translated(error) from error

    async def approve(
        self,
        task_id: str,
        *,
        approved: bool = True,
        by: str | None = None,
        note: str | None = None,
        result: Any = None,
    ) -> dict[str, Any]:
        """Answer an approval that waits; `approved=False` rejects it, which fails the task.

        Raises `RequestRefused` if the task is no approval, doesn't wait yet, or was answered
        otherwise.
        """
        request = {"task_id": task_id, "approved": approved, "by": by, "note": note}
        return await self._update(APPROVE, {**request, "result": result})

    async def send_event(self, event: str, payload: Any = None) -> dict[str, Any]:
        """Send an event; the first of its name ends every wait for it, now or later."""
        return await self._update(SEND_EVENT, {"event": event, "payload": payload})

    async def pause(self, reason: str | None = None, *, by: str | None = None) -> dict[str, Any]:
        """Let nothing new start; what runs goes on, and the tree doesn't end. See `resume`."""
        return await self._update(PAUSE, {"reason": reason, "by": by})

    async def resume(self, reason: str | None = None, *, by: str | None = None) -> dict[str, Any]:
        """Let a paused tree go on."""
        return await self._update(RESUME, {"reason": reason, "by": by})

    async def cancel_task(
        self, task_id: str, reason: str | None = None, *, by: str | None = None
    ) -> dict[str, Any]:
        """Cancel one task, or what is in a group; for what depends on it that is a failure.

        What runs is interrupted: the task ends once that has arrived. Raises `RequestRefused` if
        the task has ended already.
        """
        return await self._update(CANCEL_TASK, {"task_id": task_id, "reason": reason, "by": by})

    async def retry_task(
        self, task_id: str | None = None, reason: str | None = None, *, by: str | None = None
    ) -> dict[str, Any]:
        """Run a failed task again, or all that failed; what was skipped because of it comes back.

        For a tree that is still open: others of its tasks run, or it is `on_failure: wait`. Of a
        map only the items run that did not complete. Raises `RequestRefused`.
        """
        return await self._update(RETRY_TASK, {"task_id": task_id, "reason": reason, "by": by})

    async def skip_task(
        self,
        task_id: str,
        reason: str | None = None,
        *,
        by: str | None = None,
        result: Any = _NO_RESULT,
    ) -> dict[str, Any]:
        """End a task that failed or has not begun: as skipped, or with a result as completed.

        None is a result. Raises `RequestRefused` if the task runs or is completed.
        """
        request = {"task_id": task_id, "reason": reason, "by": by}
        given = {} if result is _NO_RESULT else {"result": result}
        return await self._update(SKIP_TASK, {**request, **given})

    async def rerun(  # noqa: PLR0913 - all by name
        self,
        *,
        failed: bool = False,
        from_tasks: Sequence[str] = (),
        items: Mapping[str, Sequence[int]] | None = None,
        inputs: Mapping[str, Any] | None = None,
        document: Submitted | None = None,
        id: str | None = None,  # noqa: A002 - the word of the contract
    ) -> "TreeHandle":
        """Run an ended tree again as a new one, keeping what needs no repeating.

        With nothing said, everything runs. `failed`: what did not complete and whatever depends on
        it. `from_tasks`: those as well. `items`: those of a map. A task that is written otherwise
        than it was, or that names an input that is changed, runs too. `plan_rerun` tells what would
        happen. The default id is `<root>.r<n>`. Raises `RerunError`, `InvalidTree`, or
        `TreeConflict` if the id is taken.
        """
        changes = Changes(failed, from_tasks, items, inputs, document)
        new_id, started = await rerun(self, changes, id)
        return TreeHandle(self.client, new_id, started)

    async def plan_rerun(
        self,
        *,
        failed: bool = False,
        from_tasks: Sequence[str] = (),
        items: Mapping[str, Sequence[int]] | None = None,
        inputs: Mapping[str, Any] | None = None,
        document: Submitted | None = None,
    ) -> RerunPlan:
        """Say what `rerun` would keep, what it would run, and why; starts nothing."""
        return await plan(self, Changes(failed, from_tasks, items, inputs, document))

    async def explain(self, task_id: str) -> Explanation:
        """Say why a task waits, was skipped, failed or is being retried; needs no worker.

        Raises `UnknownTask`.
        """
        return await explain(self, task_id)

    async def lineage(self) -> list[str]:
        """Give the ids of the tree and its reruns, oldest first, as far as named by default."""
        return await lineage(self.client, self.id)

    async def _update(self, name: str, request: dict[str, Any]) -> dict[str, Any]:
        handle = cast("WorkflowHandle[Any, dict[str, Any]]", self.workflow_handle)
        update_id = uuid4().hex  # asked again, it is still the same request
        try:
            return await self._patiently(
                lambda: handle.execute_update(name, request, id=update_id)  # pyright: ignore[reportUnknownMemberType]  # the SDK's overloads
            )
        except WorkflowUpdateFailedError as error:
            raise RequestRefused(getattr(error.cause, "message", str(error))) from None
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND and await self._has_ended():
                raise RequestRefused(f"'{self.id}' has ended") from None
            raise self._translated(error) from error

    async def _patiently(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        """Ask again as long as the server has too many requests for this tree under way."""
        key = (id(asyncio.get_running_loop()), self.client.namespace, self.id)
        lanes = _LANES.setdefault(key, asyncio.Semaphore(_AT_ONCE))
        pause, deadline = _FIRST_PAUSE, time.monotonic() + _PATIENCE
        while True:
            try:
                async with lanes:
                    return await ask()
            except RPCError as error:
                if not _is_crowded(error):
                    raise
                if time.monotonic() > deadline:
                    raise TreeBusy(self.id, error.message) from error
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _has_ended(self) -> bool:
        try:
            return (await self.workflow_handle.describe()).close_time is not None
        except RPCError:
            return False

    async def follow(self, fold: Fold) -> AsyncIterator[Change]:
        """Like `watch`, into a fold of the caller's, who so sees the whole state at any time."""
        async for change in self._changes(fold, wait=True):
            yield change

    async def _changes(self, fold: Fold, *, wait: bool) -> AsyncIterator[Change]:
        try:
            runs = deque(await self._runs())
            while runs:
                async for page in self._pages(runs.popleft(), wait=wait):
                    for change in fold.feed(page):
                        yield change
                if not runs and fold.next_run_id is not None:
                    runs.append(fold.next_run_id)
        except RPCError as error:
            raise self._translated(error) from error

    async def _runs(self) -> list[str]:
        """Find the runs of which each continued the one before, up to the current one.

        Found backwards, since a reset makes another run take the place of the latest.
        """
        run_id: str | None = (await self.workflow_handle.describe()).run_id
        runs: list[str] = []
        while run_id:
            runs.append(run_id)
            first = await first_event(self.client, self.id, run_id)
            run_id = first.workflow_execution_started_event_attributes.continued_execution_run_id
        return runs[::-1]

    async def _pages(self, run_id: str, *, wait: bool) -> AsyncIterator[Sequence[HistoryEvent]]:
        handle = self.client.get_workflow_handle(self.id, run_id=run_id)
        events = handle.fetch_history_events(wait_new_event=wait)
        while events.current_page is None or events.next_page_token:
            await events.fetch_next_page()
            yield events.current_page or ()

    async def _complete(self, result: TreeResult) -> TreeResult:
        """Fill in what was left out for its size, from history."""
        omitted = any(task.result_omitted for task in result.tasks.values())
        if not (result.truncated or result.outputs_omitted or omitted):
            return result
        return await self.status()

    async def _ended_badly(self, cause: BaseException | None) -> Exception:
        if isinstance(cause, ApplicationError) and cause.type == ErrorType.TREE_FAILED:
            return TreeFailed(await self._complete(TreeResult.model_validate(cause.details[0])))
        if isinstance(cause, ApplicationError) and cause.type == ErrorType.INVALID_TREE:
            problems = cast("list[dict[str, Any]]", cause.details[0])
            return InvalidTree([Problem.from_json(problem) for problem in problems])
        late = isinstance(cause, ApplicationError) and cause.type == ErrorType.TREE_CANCELLED
        if late or isinstance(cause, CancelledError):
            return TreeCancelled(await self.status())
        return TreeTerminated(await self.status(), str(cause))

    def _translated(self, error: RPCError) -> Exception:
        if error.status is RPCStatusCode.NOT_FOUND:
            return TreeNotFound(self.id, self.client.namespace)
        return error


def _is_crowded(error: RPCError) -> bool:
    dropped = "update was aborted" in error.message
    return dropped or error.status is RPCStatusCode.RESOURCE_EXHAUSTED


async def first_event(client: Client, tree_id: str, run_id: str | None = None) -> HistoryEvent:
    """Give the event that began a run; the latest one if none is named."""
    handle = client.get_workflow_handle(tree_id, run_id=run_id)
    return await anext(aiter(handle.fetch_history_events(page_size=_FIRST_PAGE)))


async def started_document(client: Client, tree_id: str) -> Any:
    """Give the document that a tree was started with, by whatever tool."""
    event = await first_event(client, tree_id)
    first_run = event.workflow_execution_started_event_attributes.first_execution_run_id
    event = await first_event(client, tree_id, first_run)
    payloads = event.workflow_execution_started_event_attributes.input.payloads
    [document] = await client.data_converter.decode(payloads)
    return without_engine(document)[0]
