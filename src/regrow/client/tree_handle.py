"""One tree: wait for it, look at it, stop it."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar, cast
from uuid import uuid4
from weakref import WeakValueDictionary

from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
)
from temporalio.exceptions import ApplicationError, CancelledError, TerminatedError
from temporalio.service import RPCError, RPCStatusCode

from regrow.client.attempts import Attempt, attempts
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
from regrow.client.watching import Seen, first_event, follow, read, read_partitions
from regrow.core.loading import without_engine
from regrow.core.packing import unpacked
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
            raw = await self._raw_result()
        except WorkflowFailureError as failure:
            raise await self._ended_badly(failure.cause) from None
        except RPCError as error:
            raise self._translated(error) from error
        return await self._complete(TreeResult.model_validate(raw))

    async def _raw_result(self) -> Any:
        """Wait for the result; if the tree is reset, for that of the run that takes its place."""
        # The handle of the start is the one on which the time-skipping test server skips time.
        handle = self._started or self.workflow_handle
        while True:
            try:
                return await handle.result()
            except WorkflowFailureError as failure:
                if not isinstance(failure.cause, TerminatedError) or await self._is_terminated():
                    raise
            handle = self.workflow_handle

    async def _is_terminated(self) -> bool:
        status = (await self.workflow_handle.describe()).status
        return status is WorkflowExecutionStatus.TERMINATED

    async def status(self, fold: Fold | None = None) -> TreeResult:
        """Give the tree as it stands, read from its history; needs no worker."""
        fold = fold or self.new_fold()
        try:
            async for _ in read(self.client, Seen(fold), wait=False):
                pass
        except RPCError as error:
            raise self._translated(error) from error
        fold.finish()
        await read_partitions(self.client, fold)
        if fold.lacks is not None:
            earlier = TreeHandle(self.client, fold.lacks)
            with contextlib.suppress(TreeNotFound):  # a server forgets after a while
                fold.adopt(await earlier._read_fold())
        return fold.result()

    async def _read_fold(self) -> Fold:
        fold = self.new_fold()
        await self.status(fold)
        return fold

    async def watch(self, *, inside: bool = False) -> AsyncGenerator[Change]:
        """Give every change so far and then each as it happens, until the tree has ended.

        Of tasks that run for more than about two seconds also each attempt after the first, and
        how far their executors say they are (`Change.attempt`). With `inside` the tasks of
        sub-trees too, under their paths, as long as no more than 20 sub-trees run at once: of what
        begins beyond that only its task is seen. Each tree's changes are in order, those inside a
        sub-tree between the start and the end of its task. A tree that is reset is followed on:
        what the reset takes back is a change. Reads; costs no events and needs no worker.
        """
        seen = Seen(self.new_fold())
        async with contextlib.aclosing(self.follow(seen, inside=inside)) as changes:
            async for change in changes:
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
        happen. The default id is `<root>.r<n>`. Raises `RerunError`, also if the id is taken, and
        `InvalidTree`.
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

    async def attempts(self) -> dict[str, Attempt]:
        """Say how it stands with what workers have to do just now, by task or item.

        Which attempt it is, why the one before failed, what the executor said last: that is not in
        history, so it is asked of the server; no worker is needed.
        """
        try:
            return await attempts(self.client, self.workflow_handle)
        except RPCError as error:
            raise self._translated(error) from error

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

    async def follow(self, seen: Seen, *, inside: bool = False) -> AsyncGenerator[Change]:
        """Like `watch`, into what the caller sees, who so knows the whole state at any time."""
        try:
            async with contextlib.aclosing(follow(self.client, seen, inside=inside)) as changes:
                async for change in changes:
                    yield change
        except RPCError as error:
            raise self._translated(error) from error

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


async def started_document(client: Client, tree_id: str) -> Any:
    """Give the document that a tree was started with, by whatever tool."""
    event = await first_event(client, tree_id)
    first_run = event.workflow_execution_started_event_attributes.first_execution_run_id
    event = await first_event(client, tree_id, first_run)
    payloads = event.workflow_execution_started_event_attributes.input.payloads
    [document] = await client.data_converter.decode(payloads)
    return without_engine(unpacked(document))[0]
