"""One run of a tree: everything it has learnt, and what it does next.

The workflow tells it facts (`began`, `ended`, `woke`, …) and asks for the `next_start`; the
reader of histories tells it the same facts from recorded events. It decides, they act.

What starts and ends is a *unit* of work, named as in history: a task by its id, an item of a map
`task[3]`, what undoes a task `task~compensate`.
"""

from builtins import isinstance
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar, cast

from regrow.core import limits
from regrow.core.bounded import Budget
from regrow.core.compensation import Compensations
from regrow.core.frontier import Frontier
from regrow.core.gates import decide, event_outcome
from regrow.core.graph import children_of, dependents_of, enclosing_groups
from regrow.core.inputs import Inputs, ItemScope
from regrow.core.models import Json, TaskId
from regrow.core.outcome import Because, Outcome, failed, short_error
from regrow.core.partitions import NoRoomYet, Partitions
from regrow.core.record import Kind, Record, Start
from regrow.core.references import ExpressionError, compile_template
from regrow.core.resolve import Plan
from regrow.core.secrets import secret_places
from regrow.core.waits import Verdict, Wait
from regrow.core.wire import (
    COMPENSATE,
    TREE,
    ErrorType,
    Status,
    is_partition,
    item_unit,
    split_unit,
)

if TYPE_CHECKING:
    from regrow.core.mapping import MapRun

_T = TypeVar("_T")

_GATE_STEPS = 50
"""What looking at one task takes, in the steps of expressions."""


class TreeRun:
    """The state of one run; every method keeps the tree's order."""

    local: Mapping[str, Json] = {}
    """As a scope for expressions, it has nothing of its own."""

    def __init__(
        self,
        plan: Plan,
        *,
        tree_id: str,
        on_change: Callable[[TaskId], object] = lambda _: None,
        steps_at_once: int | None = None,
        may_partition: bool = False,
    ) -> None:
        """`on_change` is told of every task whose status changes.

        After `steps_at_once` of deciding `next_start` gives None, though there may be more. A large
        tree that `may_partition` starts most of its tasks many at a time.
        """
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
        self.waits: dict[TaskId, Wait] = {}
        self.maps: dict[TaskId, MapRun] = {}
        self.restored_maps: dict[TaskId, list[Any]] = {}
        """How far the maps that an earlier run began had come, until their items are found."""
        self.events: dict[str, Json] = {}
        """The first payload sent by each name."""
        self.undo = Compensations(self.tasks)
        self.to_cancel: dict[TaskId, Because] = {}
        """What somebody asked to cancel and has not ended yet."""
        self.rerun_of: str | None = None
        """The tree that this one repairs."""
        self.seeds: Mapping[str, Mapping[str, Any]] = {}
        """What a rerun lets sub-trees keep, by unit."""
        self.paused: dict[str, Json] | None = None
        """Who paused the tree, why and when; nothing starts until it is resumed."""
        self.closed: Because | None = None
        """Set once nothing new may start: the tree was cancelled, or gave up at a failure."""
        self.error: str | None = None
        """Why the tree failed, when it isn't for a task."""
        self.outputs: dict[str, Json] | None = None
        """What the tree gives, once every task has ended."""
        self.partitions = Partitions(plan, self.records, is_wanted=may_partition)
        self._frontier = Frontier(tree.tasks, self._groups)
        self._begun_waits: deque[Start] = deque()
        self._running: dict[str, TaskId] = {}
        self.local_in_flight = 0
        self._failed = False
        self._interrupts: deque[str] = deque()
        self._steps_at_once = inf if steps_at_once is None else steps_at_once
        self._effort = 0

    # --- what others see

    @property
    def is_drained(self) -> bool:
        """Whether every task has ended; what undoes them may still run."""
        return not self._frontier.unsettled

    @property
    def is_held(self) -> bool:
        """Whether the tree is kept open, `on_failure: wait`, for somebody to mend what failed."""
        waits = self.plan.tree.on_failure == "wait" and self.closed is None
        return waits and self._failed and self.is_drained and self.outputs is None

    @property
    def is_finished(self) -> bool:
        """Whether every task has ended and whatever had to be undone is."""
        return self.outputs is not None and self.undo.is_finished

    @property
    def in_flight(self) -> int:
        """How many activities and sub-trees are running."""
        return len(self._running)

    @property
    def has_room(self) -> bool:
        """Whether another activity or sub-tree may run beside those that do."""
        return self._free > 0 and self.local_in_flight < limits.MAX_LOCAL_IN_FLIGHT

    @property
    def status(self) -> Status:
        """Where the tree stands; an untolerated failure outweighs a later cancel."""
        return self._verdict() if self.is_finished else Status.IN_PROGRESS

    def units_of(self, task_id: TaskId) -> list[str]:
        """Give what runs of a task."""
        return [unit for unit, owner in self._running.items() if owner == task_id]

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

    def leads_out(self, task_id: TaskId, inside: Mapping[TaskId, object]) -> bool:
        """Tell whether others than those inside wait for a task, or a group around it does."""
        return self._frontier.leads_out(task_id, inside)

    def members(self, group: TaskId) -> Iterator[TaskId]:
        """Give everything below a task, in document order of the branches."""
        rest = list(reversed(self.children.get(group, ())))
        while rest:
            member = rest.pop()
            yield member
            rest.extend(reversed(self.children.get(member, ())))

    def evaluate_outputs(self) -> dict[str, Json]:
        """Give the outputs as far as the tree has come."""
        declared = self.plan.tree.outputs
        if declared is None:
            return {
                task_id: self.task_view(task_id)["result"]
                for task_id in self.records
                if self.completed(task_id) and self.is_default_output(task_id)
            }
        budget = Budget()
        return {name: self._output(name, value, budget) for name, value in declared.items()}

    def _output(self, name: str, value: Json, budget: Budget) -> Json:
        """Give one output; one that has no value is null, and fails the tree."""
        try:
            return compile_template(value).render(self, budget)
        except ExpressionError as error:
            self.error = self.error or f"output '{name}': {error}"
            return None

    # --- decisions

    def next_start(self, now: datetime) -> Start | None:
        """Give what starts next, or None when nothing can; settles what needs no worker."""
        while self._may_go_on:
            if (unblocked := self._frontier.unblocked()) is not None:
                self._pass_gate(unblocked, now)
                continue
            if self._begun_waits:
                start = self._begun_waits.popleft()
                if self._still_waits(start, now):
                    return start
                continue
            ready = self._frontier.ready(1) if self.has_room else []
            if not ready:
                break
            try:
                start = self._start_of(ready[0], now)
            except NoRoomYet:
                break
            if start is not None:
                return start
        return self._next_compensation(now)

    @property
    def _free(self) -> int:
        """How many more tasks may be in flight."""
        alone = len(self._running) - len(self.partitions.open)
        return self.plan.tree.max_in_flight - alone - self.partitions.load

    def _start_of(self, task_id: TaskId, now: datetime) -> Start | None:
        """Give what starts with a task in line: a partition, if it is worth one, or itself."""
        if self.partitions.is_on and self.partitions.takes(task_id):
            partition = self.partitions.next(self._frontier, task_id, self._free)
            if partition is not None:
                return partition
        return self._render(task_id, now)

    def _still_waits(self, start: Start, now: datetime) -> bool:
        """Tell whether a wait decided before is to begin still; its event may have come since."""
        name = cast("Wait", start.wait).event
        if self.records[start.task_id].status is not Status.PENDING:
            return False
        if name is None or name not in self.events:
            return True
        self._settle(start.task_id, event_outcome(name, self.events[name]), now)
        return False

    @property
    def _may_go_on(self) -> bool:
        return self.closed is None and self.paused is None and not self.is_tired

    @property
    def is_tired(self) -> bool:
        """Whether deciding took so long that the rest is left for later, after a `rest`."""
        return self._effort >= self._steps_at_once

    def rest(self) -> None:
        """Begin anew to count what deciding takes."""
        self._effort = 0

    @property
    def has_interrupts(self) -> bool:
        """Whether something is to be cancelled."""
        return bool(self._interrupts)

    def next_interrupt(self) -> str | None:
        """Give the next unit that is to be cancelled, or whose timer is no longer needed."""
        return self._interrupts.popleft() if self._interrupts else None

    # --- facts

    def began(self, unit: str, at: datetime) -> None:
        """Record that an activity or a sub-tree was started."""
        task_id, index = split_unit(unit)
        self._running[unit] = task_id
        if is_partition(unit):
            return
        self.local_in_flight += self.plan.is_local(unit)
        if unit.endswith(COMPENSATE):
            self.undo.began(task_id, at)
            return
        if index is not None:
            self.maps[task_id].running += 1
        if self.records[task_id].status is Status.PENDING:
            self._move(task_id, Status.IN_PROGRESS)
            self.records[task_id].started_at = at

    def ended(self, unit: str, outcome: Outcome, at: datetime) -> None:
        """Record how an activity or a sub-tree ended: a result, a failure, or a cancel."""
        task_id = self._running.pop(unit)
        self.local_in_flight -= self.plan.is_local(unit)
        if task_id in self.maps and not unit.endswith(COMPENSATE):
            self.maps[task_id].running -= 1
        self._end_unit(unit, outcome, at)

    def refused(self, unit: str, error: str, error_type: ErrorType, at: datetime) -> None:
        """Record that something could not be started, such as for the size of its inputs."""
        self._end_unit(unit, failed(error, error_type), at)

    def reported(self, unit: str, ends: Mapping[TaskId, Record], at: datetime) -> None:
        """Record what a partition says of its tasks, in the order in which they ended."""
        for task_id, end in ends.items():
            if self.partitions.holders.get(task_id) == unit:
                self._take_over(task_id, end, at)
            elif task_id in self.records:
                self.glimpse(unit, task_id, end)

    def partition_ended(self, unit: str, lost: Outcome, at: datetime) -> None:
        """Record that a partition has ended; tasks it did not report end as `lost`."""
        del self._running[unit]
        for task_id in self.partitions.held_by(unit):
            if task_id in self.partitions.holders:  # not skipped because of one before
                self._end_unit(task_id, lost, at)
        self.partitions.close(unit)

    def partition_refused(self, unit: str, at: datetime) -> None:
        """Record that a partition cannot be started; its tasks start by themselves.

        It would be too large, or the one of before a reset has its id still.
        """
        self._running.pop(unit, None)
        self.partitions.bar(unit)
        self.begin_anew(at)

    def glimpse(self, unit: str, task_id: TaskId, seen: Record) -> None:
        """Show how a task in a partition stands, before it is reported or when that left it out.

        Nothing is decided by it.
        """
        record = self.records[task_id]
        if self.partitions.holders.get(task_id) == unit:
            record.outcome, record.started_at = seen.outcome, seen.started_at
            record.finished_at, record.result_omitted = seen.finished_at, seen.result_omitted
            self._move(task_id, seen.status)
        elif record.result_omitted and not seen.result_omitted and self._is_end(record, seen):
            end, found = cast("Outcome", record.outcome), cast("Outcome", seen.outcome)
            record.outcome = replace(end, result=found.result, metadata=found.metadata)
            record.result_omitted = False

    @staticmethod
    def _is_end(record: Record, seen: Record) -> bool:
        """Tell whether what a partition saw is the end that counts, not one before a retry."""
        return record.status is Status.COMPLETED and seen.status is Status.COMPLETED

    def waiting(self, start: Start, at: datetime) -> None:
        """Record that a wait has begun."""
        self.waits[start.task_id] = cast("Wait", start.wait)
        self._move(start.task_id, Status.IN_PROGRESS)
        self.records[start.task_id].started_at = at

    def woke(self, task_id: TaskId, at: datetime) -> None:
        """Record that a wait's time is up; one that ended a moment before stays so."""
        wait = self.waits.pop(task_id, None)
        if wait is not None:
            self._settle(task_id, wait.timed_out(), at)

    def answered(self, task_id: TaskId, verdict: Verdict, at: datetime) -> None:
        """Record what a person said to an approval that waits."""
        wait = self.waits.pop(task_id)
        self._interrupts.append(task_id)
        self._settle(task_id, verdict.outcome(wait), at)

    def event(self, name: str, payload: Json, at: datetime) -> bool:
        """Record an event; the first of its name ends every wait for it, now or later."""
        if name in self.events:
            return False
        self.events[name] = payload
        for task_id, wait in list(self.waits.items()):
            if wait.event == name and task_id in self.waits:
                del self.waits[task_id]
                self._interrupts.append(task_id)
                self._settle(task_id, event_outcome(name, payload), at)
        return True

    def cancel(self, reason: str, at: datetime) -> None:
        """Cancel the tree unless it is judged: nothing new starts, what runs is interrupted."""
        if self.outputs is None:
            self._close(Because("cancel", error=reason or None), at)

    def give_up(self, error: str, error_type: ErrorType, at: datetime) -> None:
        """Fail the tree for a reason that is no task's."""
        self._failed = True
        self.error = error
        self._close(Because("on_failure", error=error, error_type=error_type), at)

    def restore(self, task_id: TaskId, record: Record) -> None:
        """Record an end that an earlier run of the same tree saw; `begin_anew` comes after all."""
        self.counts[Status.PENDING] -= 1
        self.counts[record.status] += 1
        self.records[task_id] = record
        self._on_change(task_id)

    def restore_map(self, task_id: TaskId, started_at: datetime, shape: list[Any]) -> None:
        """Record a map that an earlier run began; its items are found when it goes on."""
        self.restored_maps[task_id] = shape
        self._move(task_id, Status.IN_PROGRESS)
        self.records[task_id].started_at = started_at

    def restore_close(self, because: Because | None) -> None:
        """Record, before anything else, why an earlier run closed the tree."""
        self.closed = because

    # --- what people do to single tasks; `core.by_hand` knows what may be done

    def cancel_task(self, task_id: TaskId, because: Because, at: datetime) -> None:
        """Cancel a task: now if nothing of it runs, else once what runs has been interrupted."""
        units = self.units_of(task_id)
        if task_id in self.maps:
            self.maps[task_id].closed = True
        if task_id in self.partitions.holders:
            units = [task_id]
        if units or task_id in self._groups:
            self.to_cancel[task_id] = because
            self._interrupts.extend(units)
        else:
            self._stop_waiting(task_id)
            self._settle(task_id, Outcome(Status.CANCELLED, because=because), at)

    def reopen(self, task_ids: Iterable[TaskId], at: datetime) -> None:
        """Let tasks that have ended be pending again, and what was skipped because of them."""
        for task_id in task_ids:
            self._forget(task_id)
        self.begin_anew(at)

    def amend(self, task_id: TaskId, outcome: Outcome, at: datetime) -> None:
        """Let a task end as a person says; what was skipped because of it may go on."""
        self._stop_waiting(task_id)
        self._keep_attempts(task_id)
        self._finish(task_id, outcome, at, ran=False)
        self.begin_anew(at)

    def begin_anew(self, at: datetime) -> None:
        """Find from how the tasks stand what may run, what is skipped, and whether it failed."""
        self._begun_waits.clear()
        for mapping in self.maps.values():
            mapping.in_line = False
        self._frontier = Frontier(self.plan.tree.tasks, self._groups)
        held = self.partitions.holders
        ends = {each: None if each in held else of.outcome for each, of in self.records.items()}
        settled = {
            task_id: end.status
            for task_id, end in ends.items()
            if end is not None and not self._skipped_by_edge(task_id)
        }
        skipped = self._frontier.restore(settled)
        for task_id, end in ends.items():
            if end is not None and self._skipped_by_edge(task_id) and task_id not in skipped:
                self._forget(task_id)
        for task_id in skipped:
            if ends[task_id] is None:
                self._finish(task_id, Outcome(Status.SKIPPED), at)
        self._failed = any(
            end is not None and self._counts_as_failure(task_id, end)
            for task_id, end in ends.items()
        )

    def _stop_waiting(self, task_id: TaskId) -> None:
        if self.waits.pop(task_id, None) is not None:
            self._interrupts.append(task_id)

    def _forget(self, task_id: TaskId) -> None:
        """Let a task be pending again."""
        self._keep_attempts(task_id)
        self._move(task_id, Status.PENDING)
        record = self.records[task_id]
        record.outcome = record.started_at = record.finished_at = None

    def _keep_attempts(self, task_id: TaskId) -> None:
        """Let the attempts so far count with those to come; a map counts them itself."""
        end = self.records[task_id].outcome
        if end is not None and self.tasks[task_id].for_each is None:
            self.records[task_id].attempts_before = end.attempts or 0

    # --- gates: what needs no worker

    def _pass_gate(self, task_id: TaskId, now: datetime) -> None:
        if task_id in self.partitions.holders:
            return
        outcome = self._gate(task_id, now)
        if outcome is not None:
            self._settle(task_id, outcome, now)  # such that the tree may give up

    def _gate(self, task_id: TaskId, now: datetime) -> Outcome | None:
        """Decide about a task whose edges are satisfied; an outcome ends it here and now."""
        if because := self.to_cancel.get(task_id):
            return Outcome(Status.CANCELLED, because=because)
        task = self.tasks[task_id]
        try:
            end = self._paid(lambda budget: decide(self, task, now, budget))
        except ExpressionError as error:
            return _no_value(error)
        if end is None:
            self._let_run(task_id)
            return None
        if isinstance(end, Wait):
            self._begun_waits.append(Start(task_id, task_id, Kind.WAIT, wait=end))
            return None
        return end

    def _let_run(self, task_id: TaskId) -> None:
        if task_id in self.maps:
            self._queue_map(task_id)
        elif self.records[task_id].status is Status.PENDING:
            self._frontier.enqueue(task_id)

    def _paid(self, make: Callable[[Budget], _T]) -> _T:
        """Evaluate within bounds, and remember what it took."""
        budget = Budget()
        try:
            return make(budget)
        finally:
            self._effort += budget.spent + _GATE_STEPS

    # --- starts

    def _render(self, task_id: TaskId, now: datetime) -> Start | None:
        """Give the start of a task that has a slot, or end it if its inputs have no value."""
        if task_id in self.maps:
            return self._next_item(task_id, now)
        inputs_of = Inputs.of(self.tasks[task_id])
        try:
            inputs = self._paid(lambda budget: inputs_of.render(self, budget))
        except ExpressionError as error:
            self._settle(task_id, _no_value(error), now)
            return None
        return self._start(task_id, task_id, inputs, inputs_of)

    def _next_item(self, task_id: TaskId, now: datetime) -> Start | None:
        """Give the next item of a map, which stays in line as long as it may start another."""
        mapping = self.maps[task_id]
        mapping.in_line = False
        if not mapping.may_start:
            return None
        index = mapping.take()
        self._queue_map(task_id)
        scope = ItemScope(self, mapping.items[index], index)
        try:
            inputs = self._paid(lambda budget: mapping.inputs.render(scope, budget))
        except ExpressionError as error:
            self._end_unit(item_unit(task_id, index), _no_value(error), now)
            return None
        return self._start(item_unit(task_id, index), task_id, inputs, mapping.inputs)

    def _queue_map(self, task_id: TaskId) -> None:
        mapping = self.maps[task_id]
        if mapping.may_start and not mapping.in_line:
            mapping.in_line = True
            self._frontier.enqueue(task_id)

    def _start(self, unit: str, task_id: TaskId, inputs: Mapping[str, Json], of: Inputs) -> Start:
        kind = Kind.SUBTREE if self.plan.natives.get(task_id) == TREE else Kind.ACTIVITY
        secrets = secret_places(inputs) if of.names_secrets else ()
        executor = self.tasks[task_id].executor_id
        return Start(unit, task_id, kind, executor, inputs, secrets=secrets)

    def _next_compensation(self, now: datetime) -> Start | None:
        """Once every task has ended, judge the tree and undo what is to be undone."""
        if not self.is_drained or self.is_held or self.is_tired or self.paused is not None:
            return None
        if self.outputs is None:
            self._conclude()
        while self.undo.may_start and not self.is_tired:
            start = self.undo.next(self._render_undo, now)
            if start is not None:
                return start
        return None

    def _render_undo(self, inputs: Json) -> Json:
        return self._paid(lambda budget: compile_template(inputs).render(self, budget))

    def _conclude(self) -> None:
        self.outputs = self.evaluate_outputs()
        self._failed = self._failed or (self.error is not None and self.closed is None)
        if self._verdict() is not Status.COMPLETED:
            self.undo.begin()

    def _verdict(self) -> Status:
        if self._failed:
            return Status.FAILED
        cancelled = self.closed is not None and self.closed.reason == "cancel"
        return Status.CANCELLED if cancelled else Status.COMPLETED

    # --- ends

    def _end_unit(self, unit: str, outcome: Outcome, at: datetime) -> None:
        """Take in the end of a task, of an item of a map, or of a compensation."""
        task_id, index = split_unit(unit)
        if unit.endswith(COMPENSATE):
            self.undo.ended(task_id, outcome, at)
            return
        if index is not None:
            mapping = self.maps[task_id]
            mapping.ended(index, outcome)
            if not mapping.is_over:
                self._queue_map(task_id)
                return
            outcome = mapping.outcome()
        if outcome.status is Status.CANCELLED:
            because = self.to_cancel.get(task_id, self.closed)
            outcome = replace(outcome, because=because)
        self._settle(task_id, outcome, at)

    def _settle(self, task_id: TaskId, outcome: Outcome, at: datetime) -> None:
        self._finish(task_id, outcome, at)
        self._judge(task_id, outcome, at)  # a tree that gives up cancels what it would skip
        for passed_over in self._frontier.settle(task_id, outcome.status):
            self._finish(passed_over, self._end_of_what_is_passed_over(), at)

    def _end_of_what_is_passed_over(self) -> Outcome:
        """Give the end of a task that is not to run; a close has spared what partitions have."""
        if self.closed is not None:
            return Outcome(Status.CANCELLED, because=self.closed)
        return Outcome(Status.SKIPPED)

    def _take_over(self, task_id: TaskId, end: Record, at: datetime) -> None:
        """Record an end that a partition saw; what is known already of its result is kept."""
        record = self.records[task_id]
        outcome = cast("Outcome", end.outcome)
        if end.result_omitted and record.outcome is not None:
            outcome = record.outcome
        else:
            record.result_omitted = end.result_omitted
        record.started_at = end.started_at
        self._end_unit(task_id, outcome, end.finished_at or at)

    def _judge(self, task_id: TaskId, outcome: Outcome, at: datetime) -> None:
        """An untolerated failure fails the tree, and may end it."""
        if not self._counts_as_failure(task_id, outcome):
            return
        self._failed = True
        if self.plan.tree.on_failure == "cancel":
            error = (outcome.error or "")[: limits.MAX_ROOT_ERROR_CHARS]
            self._close(Because("on_failure", task_id, task_id, error, outcome.error_type), at)

    def _counts_as_failure(self, task_id: TaskId, end: Outcome) -> bool:
        by_itself = end.because is None or end.because.reason == "by_hand"
        by_hand = end.status is Status.CANCELLED and by_itself
        return (end.status is Status.FAILED or by_hand) and not self.is_tolerated(task_id)

    def _close(self, because: Because, at: datetime) -> None:
        if self.closed is not None:
            return
        self.closed = because
        self.paused = None
        running: dict[TaskId, list[str]] = {}
        for unit, task_id in self._running.items():
            running.setdefault(task_id, []).append(unit)
        self._interrupts.extend(self.partitions.open)
        for task_id, record in self.records.items():
            if task_id in self.maps:
                self.maps[task_id].closed = True
            self._stop_waiting(task_id)
            if task_id in running:
                self._interrupts.extend(running[task_id])
            elif task_id in self.partitions.holders:
                continue
            elif not record.status.is_settled:
                begun = record.status is Status.IN_PROGRESS and task_id in self.maps
                end = self.maps[task_id].outcome() if begun else Outcome(Status.CANCELLED)
                self._finish(task_id, replace(end, because=because), at)
                self._frontier.settle(task_id, Status.CANCELLED)

    def _finish(self, task_id: TaskId, outcome: Outcome, at: datetime, *, ran: bool = True) -> None:
        record = self.records[task_id]
        self._move(task_id, outcome.status)
        if record.attempts_before and outcome.attempts is not None:
            outcome = outcome.with_attempts(record.attempts_before + outcome.attempts)
        record.outcome = outcome
        record.finished_at = at
        self.partitions.let_go(task_id)
        self.to_cancel.pop(task_id, None)
        if outcome.status is Status.COMPLETED and ran:
            self.undo.note(task_id)

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


def _no_value(error: ExpressionError) -> Outcome:
    return failed(short_error(str(error)), ErrorType.EXPRESSION)
