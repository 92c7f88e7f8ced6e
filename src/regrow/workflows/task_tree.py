"""The workflow `TaskTree`: the thin shell around `TreeRun`.

It waits, schedules and reports; what to do next is decided in `regrow.core`. Each pass through its
loop is one activation: facts have come in through callbacks, decisions go out as commands.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, cast

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from regrow.core import limits
from regrow.core.loading import load, without_engine
from regrow.core.models import TaskId, TaskTree
from regrow.core.problems import InvalidTree, on_the_wire
from regrow.core.resolve import Description, executor_ids, resolve
from regrow.core.result import bounded_entry, json_size, status_summary, tree_result
from regrow.core.rollover import Rollover
from regrow.core.run import Start, TreeRun
from regrow.core.snapshot import restore_snapshot, take_snapshot
from regrow.core.wire import (
    DESCRIBE_EXECUTORS,
    ENGINE_KEY,
    WORKFLOW_TYPE,
    ErrorType,
    Status,
)
from regrow.workflows.outcomes import answer_outcome, failure_outcome
from regrow.workflows.policies import ActivityOptions, summary

_NEXT_TASK = timedelta(milliseconds=1)
_DESCRIBE_TIMEOUT = timedelta(seconds=30)


@workflow.defn(name=WORKFLOW_TYPE)
class TaskTreeWorkflow:
    """Runs one task tree; the one argument is its document."""

    @workflow.init
    def __init__(self, document: Any) -> None:
        """Check the document; what is wrong with it is raised by `run`, before anything starts."""
        self._engine: dict[str, Any] = {}
        self._tree: TaskTree | None = None
        self._refusal: InvalidTree | None = None
        try:
            self._engine, self._tree = _read(document)
        except InvalidTree as error:
            self._refusal = error
        self._run: TreeRun | None = None
        self._options: ActivityOptions | None = None
        self._handles: dict[TaskId, workflow.ActivityHandle[Any]] = {}
        self._timers: dict[TaskId, asyncio.Task[None]] = {}
        self._rollover = Rollover(workflow.info().get_current_history_size())
        self._wake: asyncio.Future[None] | None = None
        self._news: deque[tuple[TaskId, asyncio.Task[Any]]] = deque()

    @workflow.run
    async def run(self, document: Any) -> Any:
        """Run to the end; fails with `TreeFailed` if the tree does."""
        del document  # read in __init__
        try:
            await self._prepare()
        except InvalidTree as error:
            raise _refusal(error) from None
        while True:
            self._interrupt()
            more = self._start_what_can()
            if self._tree_run.is_finished:
                return self._end()
            await self._next_activation(_NEXT_TASK if more else self._rest_of_hold())
            self._take_in()

    @workflow.query(description="Counts, and the status of every task")
    def status(self) -> dict[str, Any]:
        """Answer with where the tree stands."""
        if self._run is None:
            return {"status": Status.PENDING.value, "paused": False, "counts": {}, "tasks": {}}
        return status_summary(self._run)

    @workflow.query(description="Everything about one task")
    def task(self, request: dict[str, Any] | str) -> dict[str, Any]:
        """Answer with the entry of the task named by `task_id`."""
        task_id = request if isinstance(request, str) else request.get("task_id")
        if self._run is None or task_id not in self._run.records:
            message = f"the tree has no task '{task_id}', or has not begun"
            raise ApplicationError(message, non_retryable=True)
        return bounded_entry(self._run, task_id)

    # --- beginning

    @property
    def _tree_run(self) -> TreeRun:
        assert self._run is not None  # noqa: S101 - set by _prepare
        return self._run

    async def _prepare(self) -> None:
        """Learn what the executors are, once for all continuations, and pick up what was done."""
        if self._tree is None:
            raise self._refusal or AssertionError
        description = self._engine.get("description") or await self._describe(self._tree)
        plan = resolve(self._tree, Description.model_validate(description))
        self._engine["description"] = description
        self._run = TreeRun(plan, tree_id=workflow.info().workflow_id)
        self._options = ActivityOptions(plan)
        if snapshot := self._engine.pop("snapshot", None):
            restore_snapshot(self._run, snapshot)
            for task_id, until in self._run.sleeping.items():
                self._sleep(Start(task_id, until=until))

    async def _describe(self, tree: TaskTree) -> dict[str, Any]:
        return await workflow.execute_local_activity(
            DESCRIBE_EXECUTORS,
            executor_ids(tree),
            result_type=dict[str, Any],
            start_to_close_timeout=_DESCRIBE_TIMEOUT,
            schedule_to_close_timeout=2 * _DESCRIBE_TIMEOUT,
            activity_id=DESCRIBE_EXECUTORS,
            summary="what the executors of this tree are",
        )

    # --- starting

    def _start_what_can(self) -> bool:
        """Start ready tasks; tells whether some are left for the next workflow task."""
        if self._holding():
            return False
        started, size = 0, 0
        while (start := self._tree_run.next_start(workflow.now())) is not None:
            if start.until is not None:
                self._tree_run.napping(start, workflow.now())
                self._sleep(start)
                continue
            size += self._start_activity(start)
            started += 1
            if started >= limits.MAX_STARTS_PER_TASK or size >= limits.MAX_BYTES_PER_TASK:
                return True
        return False

    def _start_activity(self, start: Start) -> int:
        """Start one activity; gives the bytes of its inputs."""
        run, now = self._tree_run, workflow.now()
        payload = workflow.payload_converter().to_payload(start.inputs)
        size = len(payload.data)
        if size > limits.MAX_PAYLOAD:
            message = (
                f"the inputs of '{start.task_id}' take {size:,} bytes; at most"
                f" {limits.MAX_PAYLOAD:,} fit into history. Pass a reference instead"
            )
            run.refused(start.task_id, message, ErrorType.PAYLOAD_TOO_LARGE, now)
            return 0
        task = run.tasks[start.task_id]
        options = cast("ActivityOptions", self._options).of(task)
        handle = workflow.start_activity(
            task.executor_id, RawValue(payload), result_type=RawValue, **options
        )
        handle.add_done_callback(lambda done: self._ended(task.id, done))
        self._handles[task.id] = handle
        run.began(task.id, now)
        return size

    def _sleep(self, start: Start) -> None:
        left = max(cast("Any", start.until) - workflow.now(), timedelta(0))
        title = summary(start.task_id, self._tree_run.tasks[start.task_id].title)
        timer = asyncio.create_task(workflow.sleep(left, summary=title))
        timer.add_done_callback(lambda done: self._ended(start.task_id, done))
        self._timers[start.task_id] = timer

    # --- what comes in

    def _ended(self, task_id: TaskId, done: asyncio.Task[Any]) -> None:
        """Note an end and wake the loop, where an error of ours is not swallowed."""
        self._news.append((task_id, done))
        self._wake_up()

    def _take_in(self) -> None:
        while self._news:
            task_id, done = self._news.popleft()
            if self._timers.pop(task_id, None) is None:
                del self._handles[task_id]
                self._take_in_activity(task_id, done)
            elif not done.cancelled():
                self._tree_run.woke(task_id, workflow.now())

    def _take_in_activity(self, task_id: TaskId, done: asyncio.Task[Any]) -> None:
        run, now = self._tree_run, workflow.now()
        error = asyncio.CancelledError() if done.cancelled() else done.exception()
        if error is None:
            outcome = answer_outcome(done.result().payload, workflow.payload_converter())
        else:
            outcome = failure_outcome(error, run.plan.activities[task_id])
        run.ended(task_id, outcome, now)

    def _wake_up(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def _next_activation(self, at_most: timedelta | None) -> None:
        """Wait until something has happened, or for as long as given."""
        if self._news:
            return
        loop = asyncio.get_running_loop()
        self._wake = loop.create_future()
        timer = loop.call_later(at_most.total_seconds(), self._wake_up) if at_most else None
        try:
            await self._wake
        except asyncio.CancelledError:
            self._tree_run.cancel("the tree was cancelled", workflow.now())
        finally:
            if timer is not None:
                timer.cancel()

    def _interrupt(self) -> None:
        """Cancel what runs, after the tree has been closed."""
        while (task_id := self._tree_run.next_interrupt()) is not None:
            if task_id in self._handles:
                self._handles[task_id].cancel()
            elif task_id in self._timers:
                self._timers[task_id].cancel()

    # --- handing over to a fresh run

    def _holding(self) -> bool:
        """Hold back starts when the history is due to be left, and leave it once nothing runs."""
        if self._tree_run.is_finished:
            return False
        info = workflow.info()
        events, size = info.get_current_history_length(), info.get_current_history_size()
        if self._rollover.is_last(events, size):
            self._give_up(events, size)
            return False
        suggested = info.is_continue_as_new_suggested()
        if not self._rollover.holds(events, size, suggested, workflow.now()):
            return False
        if self._tree_run.in_flight:
            return True
        self._continue_as_new()
        self._rollover.postpone(events, size)
        return False

    def _rest_of_hold(self) -> timedelta | None:
        """How long starts stay held back if nothing else happens; None for no end."""
        events = workflow.info().get_current_history_length()
        return self._rollover.left(events, workflow.now())

    def _continue_as_new(self) -> None:
        """Hand over, unless what must be handed over is too large."""
        if self._tree_run.closed is not None:
            return
        engine = {**self._engine, "snapshot": take_snapshot(self._tree_run)}
        document = {**self._tree_run.plan.tree.as_document(), ENGINE_KEY: engine}
        if (
            json_size(engine) <= limits.MAX_ENGINE_BYTES
            and json_size(document) <= limits.MAX_PAYLOAD
        ):
            workflow.continue_as_new(document)

    def _give_up(self, events: int, size: int) -> None:
        message = (
            f"the history is full ({events:,} events, {size:,} bytes) and the results still needed"
            " are too large to be handed to a fresh run; let tasks return references"
        )
        self._tree_run.give_up(message, ErrorType.HISTORY_FULL, workflow.now())
        self._interrupt()

    # --- ending

    def _end(self) -> Any:
        result = tree_result(self._tree_run)
        if result["status"] == Status.FAILED.value:
            message = _failure_message(result)
            raise ApplicationError(
                message, result, type=ErrorType.TREE_FAILED.value, non_retryable=True
            )
        if result["status"] == Status.CANCELLED.value:
            raise asyncio.CancelledError
        return result


def _read(document: Any) -> tuple[dict[str, Any], TaskTree]:
    """Split the engine's part from the document and check the rest."""
    engine: dict[str, Any] = {}
    if workflow.info().continued_run_id:  # else whoever started it has no business there
        document, engine = without_engine(document)
    return engine, load(document)


def _refusal(error: InvalidTree) -> ApplicationError:
    return ApplicationError(
        str(error)[: limits.MAX_ERROR_CHARS],
        on_the_wire(error.problems),
        type=ErrorType.INVALID_TREE.value,
        non_retryable=True,
    )


def _failure_message(result: Mapping[str, Any]) -> str:
    """Name the first failure for people who only read one line."""
    name, failed = result["name"], result["counts"]["failed"]
    if result.get("error"):
        return f"tree '{name}' failed: {result['error']}"
    for task_id, entry in result["tasks"].items():
        if entry["status"] == Status.FAILED.value:
            more = f" (and {failed - 1} more)" if failed > 1 else ""
            return f"tree '{name}' failed: {task_id}: {entry['error']}{more}"
    return f"tree '{name}' failed"
