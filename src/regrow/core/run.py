"""One run of a tree: everything it has learnt, and what it does next.

The workflow tells it facts (`began`, `ended`, `woke`, …) and asks for the `next_start`; the
reader of histories tells it the same facts from recorded events. It decides, they act.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import cast

from regrow.core import limits
from regrow.core.durations import parse_duration
from regrow.core.frontier import Frontier
from regrow.core.graph import children_of, dependents_of, enclosing_groups
from regrow.core.inputs import Inputs
from regrow.core.models import Json, Task, TaskId
from regrow.core.outcome import Because, Outcome, completed, failed, short_error
from regrow.core.references import ExpressionError, compile_template, condition, is_true
from regrow.core.resolve import Plan
from regrow.core.wire import AGGREGATE_RESULTS, GROUP, SLEEP, ErrorType, Status


@dataclass(frozen=True, slots=True)
class Start:
    """A task that starts now: an activity with its inputs, or a sleep until a time."""

    task_id: TaskId
    inputs: Mapping[str, Json] = field(default_factory=dict[str, Json])
    until: datetime | None = None


@dataclass(slots=True)
class Record:
    """What is known of one task."""

    status: Status = Status.PENDING
    outcome: Outcome | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    result_omitted: bool = False
    """The result was left behind in an earlier run's history, since nothing here needs it."""


class TreeRun:
    """The state of one run; every method keeps the tree's order."""

    def __init__(
        self,
        plan: Plan,
        *,
        tree_id: str,
        on_change: Callable[[TaskId], object] = lambda _: None,
    ) -> None:
        """`on_change` is told of every task whose status changes."""
        tree = plan.tree
        self._on_change = on_change
        self.plan = plan
        self.tree_id = tree_id
        self.inputs: Mapping[str, Json] = tree.inputs
        self.tree: Mapping[str, Json] = {
            "id": tree_id,
            "name": tree.name,
            "user_id": tree.user_id,
        }
        self.tasks = {task.id: task for task in tree.tasks}
        self.records = {task.id: Record() for task in tree.tasks}
        self.counts = dict.fromkeys(Status, 0) | {Status.PENDING: len(self.records)}
        self.dependents = dependents_of(tree.tasks)
        self.children = children_of(tree.tasks)
        self._groups = plan.groups
        self.grouped = enclosing_groups(tree.tasks, self._groups)
        self.sleeping: dict[TaskId, datetime] = {}
        self.closed: Because | None = None
        """Set once nothing new may start: the tree was cancelled, or gave up at a failure."""
        self.error: str | None = None
        """Why the tree failed, when it isn't for a task."""
        self._frontier = Frontier(tree.tasks, self._groups)
        self._naps: deque[Start] = deque()
        self._in_flight = 0
        self._failed = False
        self._interrupts: deque[TaskId] = deque()

    # --- what others see

    @property
    def is_finished(self) -> bool:
        """Whether every task has ended."""
        return not self._frontier.unsettled

    @property
    def in_flight(self) -> int:
        """How many activities are running."""
        return self._in_flight

    @property
    def status(self) -> Status:
        """Where the tree stands; an untolerated failure outweighs a later cancel."""
        if not self.is_finished:
            return Status.IN_PROGRESS
        if self._failed:
            return Status.FAILED
        cancelled = self.closed is not None and self.closed.reason == "cancel"
        return Status.CANCELLED if cancelled else Status.COMPLETED

    def completed(self, task_id: TaskId) -> bool:
        """Tell whether the task has a result."""
        return self.records[task_id].status is Status.COMPLETED

    def task_view(self, task_id: TaskId) -> dict[str, Json]:
        """Give what expressions see of a task."""
        record = self.records[task_id]
        end = record.outcome or Outcome(record.status)
        return {
            "status": record.status.value,
            "result": end.result,
            "error": end.error,
            "error_type": end.error_type,
        }

    def is_tolerated(self, task_id: TaskId) -> bool:
        """Tell whether a failure of this task leaves the tree unharmed."""
        edges = self.dependents.get(task_id)
        optional = bool(edges) and not any(required for _, required in edges or ())
        return self.tasks[task_id].allow_failure or optional

    def because(self, task_id: TaskId, roots: dict[TaskId, TaskId] | None = None) -> Because | None:
        """Say why a task did not run; for a skip it is derived from the edges as they are now.

        `roots` remembers where chains begin, for whoever asks about many tasks at once.
        """
        end = self.records[task_id].outcome
        if end is None or not self._skipped_by_edge(task_id):
            return end.because if end else None
        nearest = self._blocker(task_id)
        root = self._root(nearest, {} if roots is None else roots)
        end = self.records[root].outcome or Outcome(Status.FAILED)
        error = end.error and end.error[: limits.MAX_ROOT_ERROR_CHARS]
        return Because("dependency", nearest, root, error, end.error_type)

    def is_default_output(self, task_id: TaskId) -> bool:
        """Tell whether the result is an output when the tree names none."""
        unread = task_id not in self.dependents and task_id not in self.grouped
        return unread and self.plan.tree.outputs is None

    def members(self, group: TaskId) -> Iterator[TaskId]:
        """Give everything below a task, in document order of the branches."""
        rest = list(reversed(self.children.get(group, ())))
        while rest:
            member = rest.pop()
            yield member
            rest.extend(reversed(self.children.get(member, ())))

    # --- decisions

    def next_start(self, now: datetime) -> Start | None:
        """Give the next task to start, or None when none can; settles what needs no worker."""
        while self.closed is None:
            self._pass_gates(now)
            if self.closed is not None:  # a gate failed its task, and the tree gave up
                return None
            if self._naps:
                return self._naps.popleft()
            room = self._in_flight < self.plan.tree.max_in_flight
            ready = self._frontier.ready(1) if room else []
            if not ready:
                return None
            start = self._render(ready[0], now)
            if start is not None:
                return start
        return None

    def next_interrupt(self) -> TaskId | None:
        """Give the next running task that is to be cancelled."""
        return self._interrupts.popleft() if self._interrupts else None

    # --- facts

    def began(self, task_id: TaskId, at: datetime) -> None:
        """Record that an activity was scheduled."""
        self._in_flight += 1
        self._move(task_id, Status.IN_PROGRESS)
        self.records[task_id].started_at = at

    def ended(self, task_id: TaskId, outcome: Outcome, at: datetime) -> None:
        """Record how an activity ended: with what result or failure, or by a cancel."""
        if outcome.status is Status.CANCELLED:
            outcome = replace(outcome, because=self.closed)
        self._in_flight -= 1
        self._settle(task_id, outcome, at)

    def refused(self, task_id: TaskId, error: str, error_type: ErrorType, at: datetime) -> None:
        """Record that a task could not be started, such as for the size of its inputs."""
        self._settle(task_id, failed(error, error_type), at)

    def napping(self, start: Start, at: datetime) -> None:
        """Record that a sleep has begun."""
        self.sleeping[start.task_id] = cast("datetime", start.until)
        self._move(start.task_id, Status.IN_PROGRESS)
        self.records[start.task_id].started_at = at

    def woke(self, task_id: TaskId, at: datetime) -> None:
        """Record that a sleep is over; one that was cancelled a moment before stays so."""
        if self.sleeping.pop(task_id, None) is not None:
            self._settle(task_id, completed(), at)

    def cancel(self, reason: str, at: datetime) -> None:
        """Cancel the tree: nothing new starts, what runs is interrupted."""
        self._close(Because("cancel", error=reason or None), at)

    def give_up(self, error: str, error_type: ErrorType, at: datetime) -> None:
        """Fail the tree for a reason that is no task's."""
        self._failed = True
        self.error = error
        self._close(Because("on_failure", error=error, error_type=error_type), at)

    def restore(self, task_id: TaskId, record: Record) -> None:
        """Record an end that an earlier run of the same tree saw."""
        outcome = cast("Outcome", record.outcome)
        self.counts[Status.PENDING] -= 1
        self.counts[record.status] += 1
        self.records[task_id] = record
        self._on_change(task_id)
        self._frontier.settle(task_id, record.status)
        self._judge(task_id, outcome, cast("datetime", record.finished_at))

    def restore_sleep(self, task_id: TaskId, started_at: datetime, until: datetime) -> None:
        """Record a sleep that an earlier run began; it keeps its hour."""
        self.napping(Start(task_id, until=until), started_at)

    # --- gates: what needs no worker

    def _pass_gates(self, now: datetime) -> None:
        while self.closed is None and (task_id := self._frontier.unblocked()) is not None:
            outcome = self._gate(task_id, now)
            if outcome is not None:
                self._settle(task_id, outcome, now)

    def _gate(self, task_id: TaskId, now: datetime) -> Outcome | None:
        """Decide about a task whose edges are satisfied; an outcome ends it here and now."""
        task = self.tasks[task_id]
        try:
            if task.when is not None and not is_true(condition(task.when).evaluate(self)):
                return Outcome(Status.SKIPPED, because=Because("condition"))
            native = self.plan.natives.get(task_id)
            if native == SLEEP:
                self._plan_nap(task, now)
            elif native == GROUP:
                return self._group_outcome(task_id)
            elif native == AGGREGATE_RESULTS:
                return self._aggregate(task)
            else:
                self._frontier.enqueue(task_id)
        except ExpressionError as error:
            return failed(short_error(str(error)), ErrorType.EXPRESSION)
        return None

    def _plan_nap(self, task: Task, now: datetime) -> None:
        if task.id not in self.sleeping:
            inputs = compile_template(task.inputs).render(self)
            self._naps.append(Start(task.id, until=_wake_time(inputs, now)))

    def _group_outcome(self, group: TaskId) -> Outcome:
        members = list(self.members(group))
        wrong = [member for member in members if self._went_wrong(member)]
        bad = [member for member in wrong if member not in self._groups] or wrong
        if bad:
            more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
            return failed(f"'{bad[0]}'{more} inside the group failed", ErrorType.GROUP_FAILED)
        return completed(
            {
                member: self.task_view(member)["result"]
                for member in members
                if self.completed(member) and member not in self._groups
            }
        )

    def _went_wrong(self, task_id: TaskId) -> bool:
        ended_badly = self.records[task_id].status in (Status.FAILED, Status.CANCELLED)
        return ended_badly and not self.is_tolerated(task_id)

    def _aggregate(self, task: Task) -> Outcome:
        edges = [edge.id for edge in task.dependencies]
        results = {edge: self.task_view(edge)["result"] for edge in edges if self.completed(edge)}
        absent = [edge for edge in edges if edge not in results]
        summary = {"results": results, "count": len(results), "absent": absent}
        return completed(cast("Json", summary), attempts=1)

    def _render(self, task_id: TaskId, now: datetime) -> Start | None:
        try:
            return Start(task_id, Inputs.of(self.tasks[task_id]).render(self))
        except ExpressionError as error:
            self._settle(task_id, failed(short_error(str(error)), ErrorType.EXPRESSION), now)
            return None

    # --- ends

    def _settle(self, task_id: TaskId, outcome: Outcome, at: datetime) -> None:
        self._finish(task_id, outcome, at)
        self._judge(task_id, outcome, at)  # a tree that gives up cancels what it would skip
        for skipped in self._frontier.settle(task_id, outcome.status):
            self._finish(skipped, Outcome(Status.SKIPPED), at)

    def _judge(self, task_id: TaskId, outcome: Outcome, at: datetime) -> None:
        """An untolerated failure fails the tree, and may end it."""
        by_hand = outcome.status is Status.CANCELLED and self.closed is None
        if not (outcome.status is Status.FAILED or by_hand) or self.is_tolerated(task_id):
            return
        self._failed = True
        if self.plan.tree.on_failure == "cancel":
            error = (outcome.error or "")[: limits.MAX_ROOT_ERROR_CHARS]
            self._close(Because("on_failure", task_id, task_id, error, outcome.error_type), at)

    def _close(self, because: Because, at: datetime) -> None:
        if self.closed is not None:
            return
        self.closed = because
        for task_id, record in self.records.items():
            if task_id in self.sleeping:
                del self.sleeping[task_id]
                self._interrupts.append(task_id)
            elif record.status is Status.IN_PROGRESS:
                self._interrupts.append(task_id)
                continue
            if not record.status.is_settled:
                self._finish(task_id, Outcome(Status.CANCELLED, because=because), at)
                self._frontier.settle(task_id, Status.CANCELLED)

    def _finish(self, task_id: TaskId, outcome: Outcome, at: datetime) -> None:
        record = self.records[task_id]
        self._move(task_id, outcome.status)
        record.outcome = outcome
        record.finished_at = at

    def _move(self, task_id: TaskId, status: Status) -> None:
        record = self.records[task_id]
        self.counts[record.status] -= 1
        self.counts[status] += 1
        record.status = status
        self._on_change(task_id)

    # --- looking around

    def _blocker(self, task_id: TaskId) -> TaskId:
        """The first required dependency, as declared, that did not complete."""
        edges = self.tasks[task_id].dependencies
        return next(
            edge.id
            for edge in edges
            if edge.required
            and self.records[edge.id].status.is_settled
            and not self.completed(edge.id)
        )

    def _root(self, task_id: TaskId, roots: dict[TaskId, TaskId]) -> TaskId:
        trail: list[TaskId] = []
        while task_id not in roots and self._skipped_by_edge(task_id):
            trail.append(task_id)
            task_id = self._blocker(task_id)
        root = roots.get(task_id, task_id)
        roots.update(dict.fromkeys(trail, root))
        return root

    def _skipped_by_edge(self, task_id: TaskId) -> bool:
        end = self.records[task_id].outcome
        return end is not None and end.status is Status.SKIPPED and end.because is None


def _wake_time(inputs: Json, now: datetime) -> datetime:
    """Read a sleep's `duration` or `until`; raises `ExpressionError` for anything else."""
    keys = inputs if isinstance(inputs, dict) else {}
    if len(keys) != 1 or next(iter(keys)) not in ("duration", "until"):
        message = f"sleep takes either 'duration' or 'until', not {', '.join(keys) or 'nothing'}"
        raise ExpressionError(message)
    key, value = next(iter(keys.items()))
    try:
        if key == "duration":
            return now + parse_duration(value)
        return _moment(value)
    except (ValueError, OverflowError) as error:
        message = f"sleep {key}: {error}"
        raise ExpressionError(message) from error


def _moment(value: Json) -> datetime:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    if moment is None or moment.tzinfo is None:
        message = f"{value!r} is no time with an offset, such as 2030-01-31T08:00:00Z"
        raise ValueError(message)
    return moment
