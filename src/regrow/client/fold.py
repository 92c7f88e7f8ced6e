"""From a history to the state of the tree.

History holds the facts of a run; the same `TreeRun` that decided for the workflow is told them
again and so knows how every task stands. No worker is asked, and nothing is written.

The order in which a run learns things decides how tasks end, and it is not that of the events: what
came in between two workflow tasks is taken in by the second, where answers go first and a cancel
goes before ends. So events are gathered until a workflow task is known as a whole, and then told as
the workflow was told them (`_Turn`). Local tasks end within a workflow task: history has a marker
for each end, among what was started before and after it; of their starts it says nothing.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.converter import DataConverter
from temporalio.exceptions import (
    ApplicationError,
    CancelledError,
    RetryState,
    TerminatedError,
    TimeoutType,
    WorkflowAlreadyStartedError,
)
from temporalio.exceptions import TimeoutError as TemporalTimeoutError

from regrow.client.attempts import Attempt
from regrow.core import limits
from regrow.core.handover import obey, partition_bytes, read_report
from regrow.core.loading import load, without_engine
from regrow.core.models import TaskId, TaskTree
from regrow.core.normal import read_normal
from regrow.core.outcome import Outcome
from regrow.core.packing import unpacked
from regrow.core.problems import InvalidTree
from regrow.core.record import Kind, Record, Start
from regrow.core.requests import REQUESTS, Approve, RequestRefused, read_request
from regrow.core.resolve import Description, Plan, resolve
from regrow.core.result import TaskResult, TreeResult, counts_of, task_entry
from regrow.core.run import TreeRun
from regrow.core.snapshot import rerun_of, restore_snapshot
from regrow.core.wire import (
    DESCRIBE_EXECUTORS,
    PACED_ENGINE,
    PARTITION_ASK,
    PARTITION_KEY,
    PARTITION_REPORT,
    PARTITIONED_ENGINE,
    REPORT_ALARM,
    TREE_HOOKS,
    ErrorType,
    Status,
    is_partition,
)
from regrow.workflows.outcomes import (
    answer_outcome,
    argument_of,
    child_outcome,
    failure_outcome,
    partition_loss,
    too_large,
)

_LOCAL_ACTIVITY: Final = "core_local_activity"
_ENDS: Final = {
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED: Status.COMPLETED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED: Status.FAILED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED: Status.CANCELLED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED: Status.CANCELLED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT: Status.FAILED,
}
_BETWEEN_TURNS: Final = (
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED,
    EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED,
    *_ENDS,
)
_NO_LENGTH: Final = {"seconds": 0, "nanos": 0}
"""For a local task that was cancelled before it began."""
_RESET: Final = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW
_AT_ONCE, _SOON, _LAST = range(3)
_NEWS: Final = {
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED: _AT_ONCE,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED: _AT_ONCE,
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED: _AT_ONCE,
    EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED: _SOON,
    EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED: _SOON,
    EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT: _SOON,
    EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED: _SOON,
    EventType.EVENT_TYPE_TIMER_FIRED: _SOON,
    EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_FAILED: _SOON,
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_COMPLETED: _LAST,
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_FAILED: _LAST,
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_CANCELED: _LAST,
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TERMINATED: _LAST,
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TIMED_OUT: _LAST,
}
"""What a workflow task takes in, and in which order its loop comes to know of it."""


@dataclass(frozen=True, slots=True)
class Change:
    """A task, or the whole tree if `task_id` is None, has a new status.

    With an `attempt` the status is the same: another attempt follows one that failed (`is_retry`),
    or the executor says how far it is. What is inside a sub-tree has its path before it:
    `features/clean`, or `each[3]/clean` in an item of a map.
    """

    task_id: TaskId | None
    status: Status
    at: datetime
    task: TaskResult | None = None
    attempt: Attempt | None = None
    is_retry: bool = False


def fold(
    tree_id: str,
    events: Iterable[HistoryEvent],
    converter: DataConverter = DataConverter.default,
) -> TreeResult:
    """Give a tree as far as its history goes; asks no server.

    The events may come from a file: `temporal workflow show -w ID -o json > history.json`, then
    `WorkflowHistory.from_json(ID, text).events`. Of a tree that continued as new, give the events
    of all its runs, one after the other; of the last run alone, some results may be left out.
    Raises `InvalidTree` for a document that is none.
    """
    reader = Fold(tree_id, converter)
    reader.feed(events)
    reader.finish()
    return reader.result()


@dataclass(frozen=True, slots=True)
class _Marker:
    """How an attempt of a local task ended, as its marker says."""

    unit: str
    attempt: int
    at: datetime
    pause: timedelta | None
    """Until the next attempt, if there is one."""
    result: Payload | None
    failure: Failure | None


@dataclass(slots=True)
class _Turn:
    """What one workflow task was told and what it did, as far as history shows."""

    at: datetime
    news: list[HistoryEvent] = field(default_factory=list[HistoryEvent])
    answers: list[HistoryEvent] = field(default_factory=list[HistoryEvent])
    expected: dict[str, bool] = field(default_factory=dict[str, bool])
    """Units, and waits that have an end, of which history shows that they began.

    Whether it shows their very start: of local tasks it only shows an end.
    """
    markers: list[_Marker] = field(default_factory=list[_Marker])
    """What local tasks came to, one after the other."""
    pauses: list[tuple[timedelta, str]] = field(default_factory=list[tuple[timedelta, str]])
    """How long they wait for their next attempts; the SDK's timers for that follow."""
    is_first: bool = False
    is_woken: bool = True
    """Whether the news let the workflow decide; to the SDK's own timers it doesn't listen."""
    is_cut_short: bool = False
    """Whether decisions were left for later, to bound the task or to leave a long history."""

    def in_order(self) -> list[HistoryEvent]:
        """Give the news as the workflow took them in."""
        return sorted(self.news, key=lambda event: _NEWS[event.event_type])


class Fold:
    """Reads a tree's history, through all its continuations."""

    def __init__(self, tree_id: str, converter: DataConverter = DataConverter.default) -> None:
        self.tree_id = tree_id
        self.tree: TaskTree | None = None
        self.run: TreeRun | None = None
        self.next_run_id: str | None = None
        """The run that takes over, once this one has continued as new."""
        self.ended: Status | None = None
        self._payloads = converter.payload_converter
        self._failures = converter.failure_converter
        self._changed: deque[TaskId] = deque()
        self._engine: dict[str, Any] = {}
        self.description: Description | None = None
        self._shown: dict[TaskId, Status] = {}
        self._attempts: dict[int, int] = {}
        self._scheduled: dict[int, str] = {}
        self._timers: dict[int, TaskId] = {}
        self._rests: dict[int, bool] = {}
        """Timers at whose end the workflow goes on to decide."""
        self._pause_timers: dict[int, str] = {}
        """Those at whose end the SDK tries a local task again."""
        self._open: dict[str, bool] = {}
        """Units that run, and whether history shows their start."""
        self._born: dict[str, bool] = {}
        """Sub-trees that have begun."""
        self.partitions: dict[str, str] = {}
        """The first runs of the child workflows that run tasks of this very tree, by unit."""
        self._pausing: dict[str, bool] = {}
        """Local tasks that wait for their next attempt."""
        self._asked_to_end: dict[str, bool] = {}
        """Local tasks that were cancelled; one that came to wait just then ends at once, too."""
        self._was_cancelled = False
        self._admitted: dict[str, Any] = {}
        self._asked: dict[int, Any] = {}
        self._news: list[HistoryEvent] = []
        """What no workflow task has taken in yet."""
        self._is_woken = False
        self._now = datetime.min.replace(tzinfo=UTC)
        self._turn: _Turn | None = None
        self._is_fresh = False
        """Whether the run has not decided anything yet."""
        self._final: TreeResult | None = None
        self._unstarted = Status.PENDING
        """How the tasks stand as long as there is no run."""
        self._known_until: str | None = None
        """The run up to whose own events nothing is new, once the tree has been reset."""
        self._is_reset = False
        """Whether what the reset left of the run has yet to be taken in by a workflow task."""

    def feed(self, events: Iterable[HistoryEvent]) -> list[Change]:
        """Take in events; gives what they changed.

        The last one must not be amid what one workflow task did; the server's pages never end so.
        """
        changes = [change for event in events for change in self._take(event)]
        return [*changes, *self._end_turn()]

    def finish(self) -> list[Change]:
        """Take in what happened since the last workflow task; nothing may be fed after it.

        A worker may decide otherwise, if an answer comes with it.
        """
        self._tell(_Turn(self._now, self._news))
        self._news, self._is_reset = [], False
        return list(self._task_changes(self._now))

    def begin_again(self, run_id: str) -> None:
        """Read a tree that was reset, from its first run on, up to the one that took its place.

        There it is told what the reset took back, and from there on what is new. The end of the run
        whose place is taken must not have been read.
        """
        self.run = None
        self.partitions.clear()
        self._known_until = run_id

    @property
    def activities(self) -> list[str]:
        """Units of work that workers have to do: tasks, items, and what undoes them.

        But for the local ones, of which no server knows.
        """
        if self.run is None or self.ended is not None:
            return []
        plan = self.run.plan
        own = [
            unit
            for unit, is_seen in self._open.items()
            if not self._is_child(unit) and (is_seen or not plan.is_local(unit))
        ]
        return [*own, *self.run.partitions.running(self.run.records)]

    def _take(self, event: HistoryEvent) -> Iterable[Change]:
        at = event.event_time.ToDatetime(tzinfo=UTC)
        if event.event_type in _NEWS:
            self._news.append(event)
            timer = event.timer_fired_event_attributes.started_event_id
            self._is_woken = self._is_woken or timer not in self._pause_timers
            self._is_over(timer)
            return
        if event.event_type in _BETWEEN_TURNS:
            yield from self._end_turn()
        if event.event_type in _ENDS:
            yield from self.finish()
        self.ended = _ENDS.get(event.event_type)
        self._handle(event, at)
        yield from self._task_changes(at)
        yield from self._tree_changes(event, at)

    def _handle(self, event: HistoryEvent, at: datetime) -> None:
        name = EventType.Name(event.event_type).removeprefix("EVENT_TYPE_").lower()
        handler = getattr(self, f"_on_{name}", None)
        if handler is not None:
            handler(event, at)

    def result(self) -> TreeResult:
        """Give the tree as far as the history goes, with every result in it."""
        if self.run is None:
            return self._unstarted_result()
        roots: dict[TaskId, TaskId] = {}
        tasks = {task_id: task_entry(self.run, task_id, roots) for task_id in self.run.records}
        if self._final is not None:
            tasks |= self._corrections()
        shape = {
            "tree_id": self.tree_id,
            "name": self.run.plan.tree.name,
            "status": self.status,
            "outputs": self._outputs(),
            "tasks": tasks,
            "counts": self._final.counts if self._final else counts_of(self.run),
            "error": self._final.error if self._final else self.run.error,
            "paused": self.run.paused,
            "rerun_of": self.run.rerun_of,
            "demo": self.run.plan.tree.demo,
        }
        return TreeResult.model_validate(shape)

    @property
    def status(self) -> Status:
        """Where the tree stands."""
        if self.ended is not None:
            return self.ended
        return Status.PENDING if self.run is None else Status.IN_PROGRESS

    # --- the beginning of a run

    def _on_workflow_execution_started(self, event: HistoryEvent, at: datetime) -> None:
        del at
        document = self._value(event.workflow_execution_started_event_attributes.input)
        document, self._engine = without_engine(unpacked(document))
        self.tree = _read(document, self._engine)
        self.next_run_id = None
        self._asked, self._news, self._turn = {}, [], None
        if description := self._engine.get("description"):
            self._begin(description)

    def _on_marker_recorded(self, event: HistoryEvent, at: datetime) -> None:
        del at
        marker = event.marker_recorded_event_attributes
        if marker.marker_name != _LOCAL_ACTIVITY:
            return
        about = self._value(marker.details["data"])
        if about.get("activity_type") != DESCRIBE_EXECUTORS:
            self._noted(_marker(about, event))
        elif "result" in marker.details:
            self._begin(self._value(marker.details["result"]))

    def _noted(self, marker: _Marker) -> None:
        turn = self._this_turn
        turn.markers.append(marker)
        if marker.pause is not None:
            turn.pauses.append((marker.pause, marker.unit))
        if marker.unit not in self._open:
            turn.expected[marker.unit] = False

    def _begin(self, description: dict[str, Any]) -> None:
        self.description = Description.model_validate(description)
        plan = resolve(cast("TaskTree", self.tree), self.description)
        earlier = self.run
        self.run = self._new_run(plan)
        self.run.rerun_of = rerun_of(self._engine)
        self.run.seeds = self._engine.get("seeds", {})
        self._scheduled, self._timers, self._attempts = {}, {}, {}
        self._rests, self._pause_timers = {}, {}
        self._open, self._born = {}, {}
        self._pausing, self._asked_to_end = {}, {}
        self._is_fresh, self._was_cancelled = True, False
        if snapshot := self._engine.get("snapshot"):
            restore_snapshot(self.run, snapshot)
            if earlier is not None:
                self._keep_results(earlier)

    def _new_run(self, plan: Plan) -> TreeRun:
        part = cast("dict[str, Any] | None", self._engine.get(PARTITION_KEY))
        if part is not None:
            return TreeRun(plan, tree_id=part["of"], on_change=self._changed.append)
        version = cast("Description", self.description).engine_version
        return TreeRun(
            plan,
            tree_id=self.tree_id,
            on_change=self._changed.append,
            may_partition=version >= PARTITIONED_ENGINE,
        )

    def _keep_results(self, earlier: TreeRun) -> None:
        """What the continuation didn't carry, the history read before this one has."""
        records = cast("TreeRun", self.run).records
        for task_id, record in earlier.records.items():
            if records[task_id].result_omitted:
                records[task_id] = record
        for task_id, mapping in earlier.maps.items():
            if records[task_id].status.is_settled:
                cast("TreeRun", self.run).maps[task_id] = mapping

    @property
    def lacks(self) -> str | None:
        """The tree that this one is a rerun of, if results are only in its history."""
        run = self.run
        omitted = run is not None and any(
            record.reused and record.result_omitted for record in run.records.values()
        )
        return run.rerun_of if run is not None and omitted else None

    def adopt(self, earlier: "Fold") -> None:
        """Take from the tree that was repaired what the rerun had no need to carry."""
        for task_id, record in self.run.records.items() if self.run else ():
            if record.reused and record.result_omitted and earlier.run is not None:
                known = earlier.run.records[task_id]
                record.outcome, record.result_omitted = known.outcome, known.result_omitted

    # --- workflow tasks

    def _on_workflow_task_started(self, event: HistoryEvent, at: datetime) -> None:
        del event
        self._now = at

    def _on_workflow_task_completed(self, event: HistoryEvent, at: datetime) -> None:
        del event, at
        self._turn = _Turn(self._now, self._news, is_woken=self._is_woken)
        self._news, self._is_woken = [], False

    def _on_workflow_task_failed(self, event: HistoryEvent, at: datetime) -> None:
        """The events before a reset are copied from the run that it took the place of."""
        del at
        failed = event.workflow_task_failed_event_attributes
        if failed.cause == _RESET and failed.new_run_id == self._known_until:
            self._known_until, self._is_reset = None, True
            self._changed.extend(self._shown)

    @property
    def _this_turn(self) -> _Turn:
        self._turn = self._turn or _Turn(self._now)
        return self._turn

    def _end_turn(self) -> Iterable[Change]:
        """Let the run learn and decide what the workflow did in the task that is now complete."""
        turn, self._turn = self._turn, None
        if turn is None or self.run is None:
            return ()
        turn.is_cut_short = turn.is_cut_short or bool(self._rests)
        turn.is_first, self._is_fresh, self._is_reset = self._is_fresh, False, False
        for step in self._steps(turn):
            step(turn)
        changes = list(self._task_changes(turn.at))
        for marker in turn.markers:
            self._tell_local(marker, turn)
            changes += self._task_changes(turn.at)
        return changes

    def _steps(self, turn: _Turn) -> Iterable[Callable[[_Turn], None]]:
        """Give what the workflow did, one after the other; it decides whenever it was told."""
        answers = (self._answer, self._decide) if turn.answers else ()
        decides = turn.is_woken or not turn.markers  # else only once a local task has ended
        news = (self._tell, self._decide) if decides else (self._tell,)
        if turn.is_first:  # what was asked before has waited for it
            return (self._decide, *news, *answers, self._interrupt)
        return (*answers, *news, self._interrupt)

    def _tell(self, turn: _Turn) -> None:
        if self.run is not None:
            for event in turn.in_order():
                self._handle(event, event.event_time.ToDatetime(tzinfo=UTC))

    def _tell_local(self, marker: _Marker, turn: _Turn) -> None:
        """Tell how a local task ended; the workflow decides after each of them."""
        turn.at = max(turn.at, marker.at)
        self._end_local(marker, turn)
        self._decide(turn)
        self._interrupt(turn)

    def _end_local(self, marker: _Marker, turn: _Turn) -> None:
        unit, at = marker.unit, turn.at
        if marker.pause is not None:
            self._pausing[unit] = True
            has_no_timer = (marker.pause, unit) in turn.pauses
            if has_no_timer and unit in self._asked_to_end and unit in self._open:
                self._cancelled(unit, at)
            return
        if marker.failure is None:
            self._end_unit(unit, answer_outcome(marker.result, self._payloads), at)
        elif self.run is not None:
            error = self._failures.from_failure(marker.failure, self._payloads)
            outcome = failure_outcome(error, self.run.plan.policy(unit))
            known = marker.attempt if outcome.attempts is None else outcome.attempts
            self._end_unit(unit, outcome.with_attempts(known), at)

    def _decide(self, turn: _Turn) -> None:
        """Begin what the workflow began: all that could, or just what history shows of it."""
        run = cast("TreeRun", self.run)
        while turn.expected or not turn.is_cut_short:
            start = run.next_start(turn.at)
            if start is None:
                return
            self._start(start, turn)

    def _start(self, start: Start, turn: _Turn) -> None:
        run = cast("TreeRun", self.run)
        is_seen = turn.expected.pop(start.unit, None)
        if start.kind is Kind.WAIT:
            run.waiting(start, turn.at)
        elif start.kind is Kind.PARTITION and is_seen is None and self._refusal(start):
            run.partition_refused(start.unit, turn.at)
        elif is_seen is None and (refusal := self._refusal(start)):
            run.refused(start.unit, refusal, ErrorType.PAYLOAD_TOO_LARGE, turn.at)
        else:
            self._open[start.unit] = bool(is_seen)
            run.began(start.unit, turn.at)

    def _refusal(self, start: Start) -> str | None:
        run, description = cast("TreeRun", self.run), cast("Description", self.description)
        if start.kind is Kind.PARTITION and partition_bytes(run, start) > limits.PARTITION_BYTES:
            return "more than a partition may be given"
        argument = argument_of(start, run, description)
        return too_large(start, len(self._payloads.to_payload(argument).data))

    def _interrupt(self, turn: _Turn) -> None:
        """End what the workflow cancelled without history telling of an end."""
        while gone := [unit for unit in self._interrupted() if self._ends_at_once(unit)]:
            for unit in gone:
                self._cancelled(unit, turn.at)
            self._decide(turn)

    def _interrupted(self) -> Iterable[str]:
        while (unit := cast("TreeRun", self.run).next_interrupt()) is not None:
            if unit in self._open:
                yield unit

    def _ends_at_once(self, unit: str) -> bool:
        """Tell whether a cancel is not awaited.

        What is cancelled in the very task that starts it never gets into history. Without a
        heartbeat the cancel would not arrive. The first engine did not wait for a sub-tree that had
        yet to begin.
        """
        plan = cast("TreeRun", self.run).plan
        if self._is_child(unit) and self._is_paced:
            return False
        if plan.is_local(unit) and not self._open[unit]:
            self._asked_to_end[unit] = True
            return unit in self._pausing
        if not self._open[unit]:
            return True
        if plan.is_subtree(unit):
            return self._was_cancelled and unit not in self._born
        return not plan.policy(unit).heartbeat_timeout

    @property
    def _is_paced(self) -> bool:
        return self.description is not None and self.description.engine_version >= PACED_ENGINE

    def _is_child(self, unit: str) -> bool:
        """Tell whether a unit of work is a workflow of its own."""
        return is_partition(unit) or cast("TreeRun", self.run).plan.is_subtree(unit)

    def _began(self, event: HistoryEvent, unit: str) -> None:
        self._scheduled[event.event_id] = unit
        if unit in self._open:
            self._open[unit] = True
        else:
            self._this_turn.expected[unit] = True

    # --- facts

    def _on_activity_task_scheduled(self, event: HistoryEvent, at: datetime) -> None:
        del at
        scheduled = event.activity_task_scheduled_event_attributes
        if scheduled.activity_type.name != TREE_HOOKS:
            self._began(event, scheduled.activity_id)

    def _on_activity_task_started(self, event: HistoryEvent, at: datetime) -> None:
        del at
        started = event.activity_task_started_event_attributes
        self._attempts[started.scheduled_event_id] = started.attempt

    def _on_activity_task_completed(self, event: HistoryEvent, at: datetime) -> None:
        done = event.activity_task_completed_event_attributes
        unit = self._scheduled.get(done.scheduled_event_id)
        if unit is not None:
            answer = next(iter(done.result.payloads), None)
            outcome = answer_outcome(answer, self._payloads)
            self._end_unit(unit, outcome, at)

    def _on_activity_task_failed(self, event: HistoryEvent, at: datetime) -> None:
        done = event.activity_task_failed_event_attributes
        self._failed(done.scheduled_event_id, done.failure, done.retry_state, at)

    def _on_activity_task_timed_out(self, event: HistoryEvent, at: datetime) -> None:
        done = event.activity_task_timed_out_event_attributes
        self._failed(done.scheduled_event_id, done.failure, done.retry_state, at)

    def _on_activity_task_canceled(self, event: HistoryEvent, at: datetime) -> None:
        scheduled = event.activity_task_canceled_event_attributes.scheduled_event_id
        failure = Failure(message="cancelled")
        failure.canceled_failure_info.SetInParent()
        self._failed(scheduled, failure, 0, at)

    def _failed(self, scheduled: int, failure: Failure, retry_state: int, at: datetime) -> None:
        unit = self._scheduled.get(scheduled)
        if unit is None or self.run is None:
            return
        error = self._failures.from_failure(failure, self._payloads)
        policy = self.run.plan.policy(unit)
        outcome = failure_outcome(error, policy, RetryState(retry_state) if retry_state else None)
        known = self._attempts.get(scheduled) if outcome.attempts is None else outcome.attempts
        self._end_unit(unit, outcome.with_attempts(known), at)

    def _end_unit(self, unit: str, outcome: Outcome, at: datetime) -> None:
        self._asked_to_end.pop(unit, None)
        self._pausing.pop(unit, None)
        if self.run is not None and self._open.pop(unit, None) is not None:
            self.run.ended(unit, outcome, at)

    def _cancelled(self, unit: str, at: datetime) -> None:
        plan, error = cast("TreeRun", self.run).plan, CancelledError("cancelled")
        if is_partition(unit):
            self._partition_ended(unit, None, error, at)
        elif plan.is_subtree(unit):
            self._end_unit(unit, child_outcome(unit, None, error), at)
        else:
            self._end_unit(unit, failure_outcome(error, plan.policy(unit)), at)

    def _on_timer_started(self, event: HistoryEvent, at: datetime) -> None:
        """A wait's timer carries the task's summary.

        The engine's own carry none: they end a pause after which it goes on to decide. Nor do those
        of the SDK, at whose end it tries a local task again.
        """
        del at
        length = event.timer_started_event_attributes.start_to_fire_timeout.ToTimedelta()
        if event.user_metadata.HasField("summary"):
            label = str(self._payload(event.user_metadata.summary))
            if label == REPORT_ALARM:
                return
            task_id = self._timers[event.event_id] = label.split(" · ", 1)[0]
            if self.run is not None and task_id not in self.run.waits:
                self._this_turn.expected[task_id] = True
        elif pause := next((each for each in self._this_turn.pauses if each[0] == length), None):
            self._this_turn.pauses.remove(pause)
            self._pause_timers[event.event_id] = pause[1]
        else:
            self._rests[event.event_id] = True

    def _is_over(self, timer: int) -> None:
        """Note the end of what was a pause, of the workflow or of one task."""
        self._rests.pop(timer, None)
        self._pausing.pop(self._pause_timers.pop(timer, ""), None)

    def _on_timer_canceled(self, event: HistoryEvent, at: datetime) -> None:
        del at
        self._rests.pop(event.timer_canceled_event_attributes.started_event_id, None)

    def _on_timer_fired(self, event: HistoryEvent, at: datetime) -> None:
        task_id = self._timers.get(event.timer_fired_event_attributes.started_event_id)
        if task_id is not None and self.run is not None:
            self.run.woke(task_id, at)

    # --- sub-trees

    def _on_start_child_workflow_execution_initiated(
        self, event: HistoryEvent, at: datetime
    ) -> None:
        del at
        child = event.start_child_workflow_execution_initiated_event_attributes.workflow_id
        self._began(event, child.rpartition("/")[2])

    def _on_child_workflow_execution_started(self, event: HistoryEvent, at: datetime) -> None:
        del at
        began = event.child_workflow_execution_started_event_attributes
        if unit := self._scheduled.get(began.initiated_event_id):
            self._born[unit] = True
            if is_partition(unit):
                self.partitions[unit] = began.workflow_execution.run_id

    def _on_start_child_workflow_execution_failed(self, event: HistoryEvent, at: datetime) -> None:
        done = event.start_child_workflow_execution_failed_event_attributes
        error = WorkflowAlreadyStartedError(done.workflow_id, done.workflow_type.name)
        self._child_ended(done.initiated_event_id, None, error, at)

    def _on_child_workflow_execution_completed(self, event: HistoryEvent, at: datetime) -> None:
        done = event.child_workflow_execution_completed_event_attributes
        self._child_ended(done.initiated_event_id, self._value(done.result), None, at)

    def _on_child_workflow_execution_failed(self, event: HistoryEvent, at: datetime) -> None:
        done = event.child_workflow_execution_failed_event_attributes
        error = self._failures.from_failure(done.failure, self._payloads)
        self._child_ended(done.initiated_event_id, None, error, at)

    def _on_child_workflow_execution_canceled(self, event: HistoryEvent, at: datetime) -> None:
        done = event.child_workflow_execution_canceled_event_attributes
        self._child_ended(done.initiated_event_id, None, CancelledError("cancelled"), at)

    def _on_child_workflow_execution_terminated(self, event: HistoryEvent, at: datetime) -> None:
        done = event.child_workflow_execution_terminated_event_attributes
        self._child_ended(done.initiated_event_id, None, TerminatedError("terminated"), at)

    def _on_child_workflow_execution_timed_out(self, event: HistoryEvent, at: datetime) -> None:
        done = event.child_workflow_execution_timed_out_event_attributes
        kind = TimeoutType.START_TO_CLOSE
        error = TemporalTimeoutError("Timed out", type=kind, last_heartbeat_details=())
        self._child_ended(done.initiated_event_id, None, error, at)

    def _child_ended(
        self, initiated: int, result: Any, error: BaseException | None, at: datetime
    ) -> None:
        unit = self._scheduled.get(initiated)
        if unit is not None and is_partition(unit):
            self._partition_ended(unit, result, error, at)
        elif unit is not None:
            self._end_unit(unit, child_outcome(unit, result, error), at)

    # --- partitions

    def _partition_ended(
        self, unit: str, result: Any, error: BaseException | None, at: datetime
    ) -> None:
        run = cast("TreeRun", self.run)
        if self._open.pop(unit, None) is None:
            return
        if isinstance(error, WorkflowAlreadyStartedError):
            run.partition_refused(unit, at)
        else:
            if error is None:
                run.reported(unit, read_report(result)[1], at)
            run.partition_ended(unit, partition_loss(unit, error), at)

    def _on_workflow_execution_signaled(self, event: HistoryEvent, at: datetime) -> None:
        signal = event.workflow_execution_signaled_event_attributes
        run = cast("TreeRun", self.run)
        with contextlib.suppress(InvalidTree):  # from whoever is none of ours
            if signal.signal_name == PARTITION_REPORT:
                run.reported(*read_report(self._value(signal.input)), at)
        if signal.signal_name == PARTITION_ASK and PARTITION_KEY in self._engine:
            obey(run, self._value(signal.input), at)

    def glimpse(self, unit: str, inner: "Fold", task_ids: Iterable[TaskId]) -> list[Change]:
        """See in a partition's own history how tasks stand, before it reports them."""
        for task_id in task_ids:
            if self.run is not None and inner.run is not None and task_id in self.run.records:
                self.run.glimpse(unit, task_id, inner.run.records[task_id])
        return list(self._task_changes(self._now))

    # --- what people asked for

    def _on_workflow_execution_update_admitted(self, event: HistoryEvent, at: datetime) -> None:
        """Asked of a run that was reset since, it is asked again of this one."""
        del at
        request = event.workflow_execution_update_admitted_event_attributes.request
        self._admitted[request.meta.update_id] = request.input

    def _on_workflow_execution_update_accepted(self, event: HistoryEvent, at: datetime) -> None:
        del at
        accepted = event.workflow_execution_update_accepted_event_attributes
        admitted = self._admitted.pop(accepted.protocol_instance_id, None)
        self._asked[event.event_id] = admitted or accepted.accepted_request.input

    def _on_workflow_execution_update_completed(self, event: HistoryEvent, at: datetime) -> None:
        del at
        self._this_turn.answers.append(event)

    def _answer(self, turn: _Turn) -> None:
        for event in turn.answers:
            done = event.workflow_execution_update_completed_event_attributes
            asked = self._asked.pop(done.accepted_event_id, None)
            if asked is None or not done.outcome.HasField("success"):
                continue
            request, answer = self._value(asked.args), self._value(done.outcome.success)
            said_at = answer.get("at") or event.event_time.ToDatetime(tzinfo=UTC).isoformat()
            self._carry_out(asked.name, request, datetime.fromisoformat(said_at), turn)

    def _carry_out(self, name: str, request: Any, at: datetime, turn: _Turn) -> None:
        if name not in REQUESTS:
            return
        asked = read_request(REQUESTS[name], request)
        if isinstance(asked, Approve):
            self._catch_up(asked.task_id, turn)
        with contextlib.suppress(RequestRefused):  # it had been done before
            asked.do(cast("TreeRun", self.run), at)

    def _catch_up(self, task_id: TaskId, turn: _Turn) -> None:
        """Begin a wait that a task which was cut short had begun, which leaves no event."""
        run = cast("TreeRun", self.run)
        while task_id not in run.waits and not run.records[task_id].status.is_settled:
            start = run.next_start(turn.at)
            if start is None:
                return
            self._start(start, turn)

    def _on_workflow_execution_cancel_requested(self, event: HistoryEvent, at: datetime) -> None:
        del event
        self._was_cancelled = True
        cast("TreeRun", self.run).cancel("the tree was cancelled", at)

    # --- the end of a run

    def _on_workflow_execution_continued_as_new(self, event: HistoryEvent, at: datetime) -> None:
        del at
        attributes = event.workflow_execution_continued_as_new_event_attributes
        self.next_run_id = attributes.new_execution_run_id
        self._this_turn.is_cut_short = True

    def _on_workflow_execution_completed(self, event: HistoryEvent, at: datetime) -> None:
        del at
        result = self._value(event.workflow_execution_completed_event_attributes.result)
        if PARTITION_KEY in self._engine:
            return
        self._final = TreeResult.model_validate(result)

    def _on_workflow_execution_canceled(self, event: HistoryEvent, at: datetime) -> None:
        del event
        self._cancel_rest(at)

    def _on_workflow_execution_failed(self, event: HistoryEvent, at: datetime) -> None:
        failure = event.workflow_execution_failed_event_attributes.failure
        error = self._failures.from_failure(failure, self._payloads)
        if isinstance(error, ApplicationError) and error.type == ErrorType.TREE_FAILED:
            self._final = TreeResult.model_validate(error.details[0])
        elif isinstance(error, ApplicationError) and error.type == ErrorType.TREE_CANCELLED:
            self.ended = Status.CANCELLED
            self._cancel_rest(at)

    def _cancel_rest(self, at: datetime) -> None:
        """In a tree that ended as cancelled nothing is left open."""
        if self.run is None:
            self._unstarted = Status.CANCELLED
            return
        self.run.cancel("the tree was cancelled", at)
        for unit in list(self._open):
            self._cancelled(unit, at)

    def _corrections(self) -> dict[TaskId, Any]:
        """Where the run's own result knows better, should history not tell all."""
        run, final = cast("TreeRun", self.run), cast("TreeResult", self._final)
        return {
            task_id: task.model_dump(mode="json")
            for task_id, task in final.tasks.items()
            if run.records[task_id].status is not task.status
        }

    # --- helpers

    def _outputs(self) -> dict[str, Any]:
        if self.ended is None or self.run is None:
            return {}
        if self._final is not None and not self._final.outputs_omitted:
            return self._final.outputs
        return self.run.evaluate_outputs()

    def _unstarted_result(self) -> TreeResult:
        name = self.tree.name if self.tree else self.tree_id
        tasks = (
            {task.id: TaskResult(status=self._unstarted) for task in self.tree.tasks}
            if self.tree
            else {}
        )
        counts = {self._unstarted.value: len(tasks)}
        return TreeResult(
            tree_id=self.tree_id, name=name, status=self.status, tasks=tasks, counts=counts
        )

    def _task_changes(self, at: datetime) -> Iterable[Change]:
        if self._known_until is not None:
            self._changed.clear()
        while self._changed and self.run is not None and not self._is_reset:
            task_id = self._changed.popleft()
            record: Record = self.run.records[task_id]
            if self._shown.get(task_id, Status.PENDING) is not record.status:
                self._shown[task_id] = record.status
                entry = TaskResult.model_validate(task_entry(self.run, task_id))
                yield Change(task_id, record.status, record.finished_at or at, entry)

    def _tree_changes(self, event: HistoryEvent, at: datetime) -> Iterable[Change]:
        first = event.workflow_execution_started_event_attributes
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
            if not first.continued_execution_run_id and self._known_until is None:
                yield Change(None, Status.IN_PROGRESS, at)
        elif self.ended is not None:
            if self._unstarted is Status.CANCELLED:
                for task_id, task in self._unstarted_result().tasks.items():
                    yield Change(task_id, task.status, at, task)
            yield Change(None, self.ended, at)

    def _value(self, payloads: Payloads) -> Any:
        return self._payload(payloads.payloads[0]) if payloads.payloads else None

    def _payload(self, payload: Payload) -> Any:
        return self._payloads.from_payload(payload)


def _read(document: Any, engine: Mapping[str, Any]) -> TaskTree:
    """Read a document; what a tree has handed to a partition was checked as a part of it."""
    return read_normal(document) if PARTITION_KEY in engine else load(document)


def _marker(about: Mapping[str, Any], event: HistoryEvent) -> _Marker:
    """Read the end of an attempt; `about` is what the SDK says of it."""
    marker = event.marker_recorded_event_attributes
    pause = about.get("backoff")
    results = marker.details["result"].payloads if "result" in marker.details else ()
    return _Marker(
        about["activity_id"],
        about["attempt"],
        datetime.fromtimestamp(0, UTC) + _length(about["complete_time"] or _NO_LENGTH),
        None if pause is None else _length(pause),
        next(iter(results), None),
        marker.failure if marker.HasField("failure") else None,
    )


def _length(said: Mapping[str, int]) -> timedelta:
    return timedelta(seconds=said["seconds"], microseconds=said["nanos"] // 1000)
