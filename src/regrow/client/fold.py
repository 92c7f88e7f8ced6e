"""From a history to the state of the tree.

History holds the facts of a run; the same `TreeRun` that decided for the workflow is told them
again and so knows how every task stands. No worker is asked, and nothing is written.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, cast

from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.enums.v1 import EventType
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.converter import DataConverter
from temporalio.exceptions import (
    ApplicationError,
    CancelledError,
    RetryState,
    TerminatedError,
    WorkflowAlreadyStartedError,
)

from regrow.core.loading import load, without_engine
from regrow.core.models import TaskId, TaskTree
from regrow.core.record import Kind, Record, Start
from regrow.core.requests import Approve, SendEvent
from regrow.core.resolve import Description, resolve
from regrow.core.result import TaskResult, TreeResult, counts_of, task_entry
from regrow.core.run import TreeRun
from regrow.core.snapshot import restore_snapshot
from regrow.core.wire import APPROVE, DESCRIBE_EXECUTORS, SEND_EVENT, ErrorType, Status
from regrow.workflows.outcomes import answer_outcome, child_outcome, failure_outcome

_LOCAL_ACTIVITY: Final = "core_local_activity"
_ENDS: Final = {
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED: Status.COMPLETED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED: Status.FAILED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED: Status.CANCELLED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED: Status.CANCELLED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT: Status.FAILED,
}


@dataclass(frozen=True, slots=True)
class Change:
    """A task, or the whole tree if `task_id` is None, has a new status."""

    task_id: TaskId | None
    status: Status
    at: datetime
    task: TaskResult | None = None


class Fold:
    """Reads a tree's history event by event, through all its continuations."""

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
        self._shown: dict[TaskId, Status] = {}
        self._attempts: dict[int, int] = {}
        self._scheduled: dict[int, str] = {}
        self._timers: dict[int, TaskId] = {}
        self._ahead: dict[str, Start] = {}
        """What the run decided to start and history has not started yet."""
        self._asked: dict[int, Any] = {}
        self._final: TreeResult | None = None

    def feed(self, event: HistoryEvent) -> list[Change]:
        """Take in one event; gives what it changed."""
        at = event.event_time.ToDatetime(tzinfo=UTC)
        name = EventType.Name(event.event_type).removeprefix("EVENT_TYPE_").lower()
        handler = getattr(self, f"_on_{name}", None)
        if handler is not None:
            handler(event, at)
        if event.event_type in _ENDS:
            self._end(event)
        return [*self._task_changes(at), *self._tree_changes(event, at)]

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
        document, self._engine = without_engine(document)
        self.tree = load(document)
        self.next_run_id = None
        self._asked = {}
        if description := self._engine.get("description"):
            self._begin(description)

    def _on_marker_recorded(self, event: HistoryEvent, at: datetime) -> None:
        marker = event.marker_recorded_event_attributes
        if marker.marker_name != _LOCAL_ACTIVITY:
            return
        about = self._value(marker.details["data"])
        if about.get("activity_type") == DESCRIBE_EXECUTORS and "result" in marker.details:
            self._begin(self._value(marker.details["result"]))
            self._look_ahead(at)

    def _begin(self, description: dict[str, Any]) -> None:
        plan = resolve(cast("TaskTree", self.tree), Description.model_validate(description))
        earlier = self.run
        self.run = TreeRun(plan, tree_id=self.tree_id, on_change=self._changed.append)
        self._scheduled, self._timers, self._attempts = {}, {}, {}
        self._ahead = {}
        if snapshot := self._engine.get("snapshot"):
            restore_snapshot(self.run, snapshot)
            if earlier is not None:
                self._keep_results(earlier)

    def _keep_results(self, earlier: TreeRun) -> None:
        """What the continuation didn't carry, the history read before this one has."""
        records = cast("TreeRun", self.run).records
        for task_id, record in earlier.records.items():
            if records[task_id].result_omitted:
                records[task_id] = record

    # --- facts

    def _on_workflow_task_completed(self, event: HistoryEvent, at: datetime) -> None:
        del event
        self._look_ahead(at)

    def _look_ahead(self, at: datetime, unit: str | None = None) -> None:
        """Let the run decide up to one start, or to that of a unit which history has started.

        Waits begin with the decision: one without an end leaves no event.
        """
        run = self.run
        while run is not None and (unit not in self._ahead if unit else not self._ahead):
            start = run.next_start(at)
            if start is None:
                return
            if start.kind is Kind.WAIT:
                run.waiting(start, at)
            else:
                self._ahead[start.unit] = start

    def _begun(self, event_id: int, unit: str, at: datetime) -> None:
        self._look_ahead(at, unit)
        if self._ahead.pop(unit, None) is not None and self.run is not None:
            self._scheduled[event_id] = unit
            self.run.began(unit, at)

    def _on_activity_task_scheduled(self, event: HistoryEvent, at: datetime) -> None:
        activity_id = event.activity_task_scheduled_event_attributes.activity_id
        self._begun(event.event_id, activity_id, at)

    def _on_activity_task_started(self, event: HistoryEvent, at: datetime) -> None:
        del at
        started = event.activity_task_started_event_attributes
        self._attempts[started.scheduled_event_id] = started.attempt

    def _on_activity_task_completed(self, event: HistoryEvent, at: datetime) -> None:
        done = event.activity_task_completed_event_attributes
        if unit := self._scheduled.get(done.scheduled_event_id):
            outcome = answer_outcome(done.result.payloads[0], self._payloads)
            cast("TreeRun", self.run).ended(unit, outcome, at)

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
        self.run.ended(unit, outcome.with_attempts(known), at)

    def _on_timer_started(self, event: HistoryEvent, at: datetime) -> None:
        """A wait's timer carries the task's summary; the engine's own timers carry none."""
        del at
        if event.user_metadata.HasField("summary"):
            label = str(self._payload(event.user_metadata.summary))
            self._timers[event.event_id] = label.split(" · ", 1)[0]

    def _on_timer_fired(self, event: HistoryEvent, at: datetime) -> None:
        task_id = self._timers.get(event.timer_fired_event_attributes.started_event_id)
        if task_id is not None and self.run is not None:
            self.run.woke(task_id, at)

    # --- sub-trees

    def _on_start_child_workflow_execution_initiated(
        self, event: HistoryEvent, at: datetime
    ) -> None:
        child = event.start_child_workflow_execution_initiated_event_attributes.workflow_id
        self._begun(event.event_id, child.removeprefix(f"{self.tree_id}/"), at)

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

    def _child_ended(
        self, initiated: int, result: Any, error: BaseException | None, at: datetime
    ) -> None:
        unit = self._scheduled.get(initiated)
        if unit is not None and self.run is not None:
            self.run.ended(unit, child_outcome(unit, result, error), at)

    # --- what people asked for

    def _on_workflow_execution_update_accepted(self, event: HistoryEvent, at: datetime) -> None:
        del at
        accepted = event.workflow_execution_update_accepted_event_attributes
        self._asked[event.event_id] = accepted.accepted_request.input

    def _on_workflow_execution_update_completed(self, event: HistoryEvent, at: datetime) -> None:
        done = event.workflow_execution_update_completed_event_attributes
        asked = self._asked.pop(done.accepted_event_id, None)
        if asked is None or self.run is None or not done.outcome.HasField("success"):
            return
        request, answer = self._value(asked.args), self._value(done.outcome.success)
        if asked.name == APPROVE:
            approve = Approve.model_validate(request)
            if approve.task_id in self.run.waits:
                self.run.answered(approve.task_id, approve.verdict(answer["at"]), at)
        elif asked.name == SEND_EVENT:
            sent = SendEvent.model_validate(request)
            self.run.event(sent.event, sent.payload, at)
        self._look_ahead(at)  # a wait that begins because of it leaves no event

    def _on_workflow_execution_cancel_requested(self, event: HistoryEvent, at: datetime) -> None:
        del event
        if self.run is not None:
            self.run.cancel("the tree was cancelled", at)

    # --- the end of a run

    def _on_workflow_execution_continued_as_new(self, event: HistoryEvent, at: datetime) -> None:
        del at
        attributes = event.workflow_execution_continued_as_new_event_attributes
        self.next_run_id = attributes.new_execution_run_id

    def _on_workflow_execution_completed(self, event: HistoryEvent, at: datetime) -> None:
        del at
        result = self._value(event.workflow_execution_completed_event_attributes.result)
        self._final = TreeResult.model_validate(result)

    def _on_workflow_execution_failed(self, event: HistoryEvent, at: datetime) -> None:
        del at
        failure = event.workflow_execution_failed_event_attributes.failure
        error = self._failures.from_failure(failure, self._payloads)
        if isinstance(error, ApplicationError) and error.type == ErrorType.TREE_FAILED:
            self._final = TreeResult.model_validate(error.details[0])

    def _end(self, event: HistoryEvent) -> None:
        self.ended = _ENDS[event.event_type]

    def _corrections(self) -> dict[TaskId, Any]:
        """Where the run's own result knows better, such as a task refused for its size."""
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
            {task.id: TaskResult(status=Status.PENDING) for task in self.tree.tasks}
            if self.tree
            else {}
        )
        counts = {Status.PENDING.value: len(tasks)}
        return TreeResult(
            tree_id=self.tree_id, name=name, status=self.status, tasks=tasks, counts=counts
        )

    def _task_changes(self, at: datetime) -> Iterable[Change]:
        while self._changed:
            task_id = self._changed.popleft()
            record: Record = cast("TreeRun", self.run).records[task_id]
            if self._shown.get(task_id, Status.PENDING) is not record.status:
                self._shown[task_id] = record.status
                entry = TaskResult.model_validate(task_entry(cast("TreeRun", self.run), task_id))
                yield Change(task_id, record.status, record.finished_at or at, entry)

    def _tree_changes(self, event: HistoryEvent, at: datetime) -> Iterable[Change]:
        first = event.workflow_execution_started_event_attributes
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
            if not first.continued_execution_run_id:
                yield Change(None, Status.IN_PROGRESS, at)
        elif self.ended is not None:
            yield Change(None, self.ended, at)

    def _value(self, payloads: Payloads) -> Any:
        return self._payload(payloads.payloads[0]) if payloads.payloads else None

    def _payload(self, payload: Payload) -> Any:
        return self._payloads.from_payload(payload)
