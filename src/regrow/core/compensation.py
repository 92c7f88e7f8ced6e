"""Undoing what was done: compensations run one at a time, the latest completed task first."""

from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime

from regrow.core.models import Json, Task, TaskId
from regrow.core.outcome import Outcome, failed, short_error
from regrow.core.record import Record, Start
from regrow.core.references import ExpressionError
from regrow.core.secrets import secret_places
from regrow.core.wire import ErrorType, Status, compensation_unit


class Compensations:
    """Which tasks are to be undone, and how that went."""

    def __init__(self, tasks: Mapping[TaskId, Task]) -> None:
        self._tasks = {task_id: task for task_id, task in tasks.items() if task.compensate}
        self.completed: list[TaskId] = []
        """The tasks that could be undone, in the order in which they completed."""
        self.records: dict[TaskId, Record] = {}
        self._queue: deque[TaskId] = deque()
        self._running = False

    @property
    def is_begun(self) -> bool:
        """Whether undoing has begun, here or in an earlier run."""
        return bool(self._queue or self.records)

    @property
    def left(self) -> list[TaskId]:
        """The tasks that are still to be undone, in that order."""
        return list(self._queue)

    def restore(self, left: list[TaskId], records: Mapping[TaskId, Record]) -> None:
        """Record how far an earlier run had come."""
        self._queue.extend(left)
        self.records |= records

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to undo."""
        return not self._queue and not self._running

    def note(self, task_id: TaskId) -> None:
        """Remember that a task has completed."""
        if task_id in self._tasks:
            self.completed.append(task_id)

    def begin(self) -> None:
        """Undo from now on, unless that had begun already."""
        if not self.is_begun:
            self._queue.extend(reversed(self.completed))

    @property
    def may_start(self) -> bool:
        """Whether a compensation can start now; they run one at a time."""
        return bool(self._queue) and not self._running

    def next(self, render: Callable[[Json], Json], now: datetime) -> Start | None:
        """Give the next compensation that may start, or end it if its inputs have no value."""
        task_id = self._queue.popleft()
        undo = self._tasks[task_id].compensate
        assert undo is not None  # noqa: S101 - only such tasks are kept
        try:
            inputs = render(undo.inputs)
        except ExpressionError as error:
            self.began(task_id, now)
            self.ended(task_id, failed(short_error(str(error)), ErrorType.EXPRESSION), now)
            return None
        assert isinstance(inputs, dict)  # noqa: S101 - inputs are a mapping
        unit = compensation_unit(task_id)
        secrets = secret_places(inputs)
        return Start(unit, task_id, executor=undo.executor, inputs=inputs, secrets=secrets)

    def began(self, task_id: TaskId, at: datetime) -> None:
        """Record that it was started."""
        self._running = True
        self.records[task_id] = Record(Status.IN_PROGRESS, started_at=at)

    def ended(self, task_id: TaskId, outcome: Outcome, at: datetime) -> None:
        """Record how it ended; the others are undone whatever happened."""
        self._running = False
        record = self.records.setdefault(task_id, Record())
        record.status, record.outcome, record.finished_at = outcome.status, outcome, at
