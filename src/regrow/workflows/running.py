"""What runs for a tree: its activities, sub-trees and timers, and the news of their ends."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

from regrow.core.models import TaskId
from regrow.core.record import Kind, Record, Start
from regrow.core.wire import PARTITION_ASK, WORKFLOW_TYPE
from regrow.workflows.policies import WorkOptions

_MOST_ASKED = 1_000
"""Requests that are kept hold of while they are under way."""


class Running:
    """Starts and cancels units of work; ends are kept until they are asked for."""

    def __init__(
        self,
        options: WorkOptions,
        wake_up: Callable[[], None],
        *,
        lets_begin: bool,
        about: Mapping[str, Any],
    ) -> None:
        """`wake_up` is called at every end.

        With `lets_begin` a sub-tree is cancelled only once it has begun: one that has not is let go
        of by the SDK, and then ended by the server without undoing anything. `about` is what every
        activity is told beside its inputs.
        """
        self._options = options
        self._wake_up = wake_up
        self._lets_begin = lets_begin
        self._about_all = about
        self._handles: dict[str, asyncio.Task[Any]] = {}
        self._timers: dict[TaskId, asyncio.Task[None]] = {}
        self._local: dict[str, bool] = {}
        """What runs inside a workflow task."""
        self._unborn: dict[str, bool] = {}
        """Sub-trees that have not begun, and whether they are to be cancelled then."""
        self._children: dict[str, workflow.ChildWorkflowHandle[Any, Any]] = {}
        """Those that run."""
        self.header: Mapping[str, Any] = {}
        """What the activity that is being started is told beside its inputs."""
        self._news: deque[tuple[str, asyncio.Task[Any]]] = deque()
        self._local_news: deque[tuple[str, asyncio.Task[Any]]] = deque()
        self._reports: deque[tuple[str, Mapping[TaskId, Record]]] = deque()
        self._asking: deque[asyncio.Task[None]] = deque(maxlen=_MOST_ASKED)

    @property
    def has_news(self) -> bool:
        """Whether something has ended."""
        return bool(self._news or self._local_news or self._reports)

    def reported(self, unit: str, ends: Mapping[TaskId, Record]) -> None:
        """Note what a partition says while it runs."""
        if unit in self._handles:
            self._reports.append((unit, ends))
            self._wake_up()

    def reports(self) -> Iterator[tuple[str, Mapping[TaskId, Record]]]:
        """Give what partitions said, in order."""
        while self._reports:
            yield self._reports.popleft()

    def news(self) -> Iterator[tuple[str, asyncio.Task[Any], bool]]:
        """Give what has ended, in order, and whether it was a timer.

        Ends of local tasks come last and one by one: history has each in its place, among what was
        decided in between.
        """
        if self._local_news and not self._news:
            self._news.append(self._local_news.popleft())
        while self._news:
            unit, done = self._news.popleft()
            is_timer = self._timers.pop(unit, None) is not None
            if not is_timer:
                del self._handles[unit]
            yield unit, done, is_timer

    def start(self, start: Start, argument: RawValue, *, is_local: bool) -> None:
        """Start an activity, which may be local, or a child workflow."""
        begin = self._activity if start.kind is Kind.ACTIVITY else self._child
        if is_local:
            self._local[start.unit] = True
            begin = self._local_activity
        self._handles[start.unit] = begin(start, argument)
        self._handles[start.unit].add_done_callback(lambda done: self._ended(start.unit, done))

    def set_timer(self, task_id: TaskId, until: datetime | None) -> None:
        """Wake a wait at its end; one that waits for a person may have none."""
        if until is None:
            return
        left = max(until - workflow.now(), timedelta(0))
        label = self._options.label(task_id, task_id)
        self._timers[task_id] = asyncio.create_task(workflow.sleep(left, summary=label))
        self._timers[task_id].add_done_callback(lambda done: self._ended(task_id, done))

    def cancel(self, unit: str) -> None:
        """Cancel what runs, or a timer that is no longer needed."""
        if self._lets_begin and unit in self._unborn:
            self._unborn[unit] = True
        elif unit in self._handles:
            self._handles[unit].cancel()
        elif unit in self._timers:
            self._timers[unit].cancel()

    def _activity(self, start: Start, argument: RawValue) -> asyncio.Task[Any]:
        options = self._options.activity(start)
        self.header = self._about(start)
        return workflow.start_activity(start.executor, argument, result_type=RawValue, **options)

    def _local_activity(self, start: Start, argument: RawValue) -> asyncio.Task[Any]:
        options = self._options.local_activity(start)
        self.header = {**self._about(start), **self._options.about_user}
        return workflow.start_local_activity(
            start.executor, argument, result_type=RawValue, **options
        )

    def _about(self, start: Start) -> Mapping[str, Any]:
        return {**self._about_all, "secrets": start.secrets} if start.secrets else self._about_all

    def _child(self, start: Start, argument: RawValue) -> asyncio.Task[Any]:
        self._unborn[start.unit] = False
        return asyncio.create_task(self._run_child(start, argument))

    async def _run_child(self, start: Start, argument: RawValue) -> Any:
        options = self._options.child(start)
        child = await workflow.start_child_workflow(
            WORKFLOW_TYPE, argument, result_type=dict[str, Any], **options
        )
        self._children[start.unit] = child
        if self._unborn.pop(start.unit):
            child.cancel()
        return await child

    def ask(self, unit: str, request: Mapping[str, Any]) -> None:
        """Ask something of a partition; one that is about to end has no need of it."""
        if unit in self._handles:
            self._asking.append(asyncio.create_task(self._ask(unit, request)))

    async def _ask(self, unit: str, request: Mapping[str, Any]) -> None:
        await workflow.wait_condition(lambda: unit not in self._unborn)
        if unit in self._children:
            with suppress(ApplicationError):
                await self._children[unit].signal(PARTITION_ASK, request)

    def _ended(self, unit: str, done: asyncio.Task[Any]) -> None:
        """Note an end and wake the loop, where an error of ours is not swallowed."""
        self._unborn.pop(unit, None)
        self._children.pop(unit, None)
        news = self._local_news if self._local.pop(unit, False) else self._news
        news.append((unit, done))
        self._wake_up()
