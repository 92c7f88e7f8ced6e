"""Histories of the shapes as a server would have written them, made without one.

A tree and a workflow written by hand are played by the same rules: activities complete in the order
in which they were started, so many for each workflow task, and each completion starts what it lets
go on. They differ in how many they start at once and in which order; a tree has, besides, its
describe marker and its search attributes.
"""

import json
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory

from benchmarks.shapes import EXECUTOR, Shape
from regrow.core import limits
from regrow.core.attributes import SEARCH_ATTRIBUTES, TREE_NAME, TREE_STATUS
from regrow.core.wire import DESCRIBE_EXECUTORS, PACED_ENGINE, WORKFLOW_TYPE, Status

_BEGAN: Final = datetime(2026, 1, 1, tzinfo=UTC)
_STEP: Final = timedelta(milliseconds=1)
_JSON: Final = {"encoding": b"json/plain"}
_CORE_FLAGS: Final = (1, 2, 3, 4)
_DESCRIPTION: Final[dict[str, Any]] = {
    "engine_version": PACED_ENGINE,
    "executors": {EXECUTOR: {}},
    "search_attributes": list(SEARCH_ATTRIBUTES),
}


def history_of_tree(shape: Shape, batch: int, **document: Any) -> WorkflowHistory:
    """Give the history of the tree; so many activities complete for each workflow task."""
    argument = shape.document() | document
    written, play = _Written(WORKFLOW_TYPE, argument), _Play(shape, argument["max_in_flight"])
    written.workflow_task()
    written.described(_DESCRIPTION)
    is_paced = _start_some(written, play)
    written.listed({TREE_NAME: shape.name, TREE_STATUS: Status.IN_PROGRESS})
    while play.in_flight:
        if is_paced:
            written.timer_started()
        written.completed(play.complete(batch))
        written.workflow_task()
        if is_paced:
            written.timer_cancelled()
        is_paced = _start_some(written, play)
    written.listed({TREE_STATUS: Status.COMPLETED})
    return written.ended()


def history_by_hand(workflow: str, argument: Any, shape: Shape, batch: int) -> WorkflowHistory:
    """Give the history of a workflow that starts everything as soon as it can."""
    written, play = _Written(workflow, argument), _Play(shape, len(shape.dependencies))
    written.workflow_task()
    written.started(play.start())
    while play.in_flight:
        written.completed(play.complete(batch))
        written.workflow_task()
        written.started(play.start())
    return written.ended()


def first_task_of(history: WorkflowHistory) -> WorkflowHistory:
    """Give the history as it stood when the first activity, and nothing else, was under way."""
    kinds = [event.event_type for event in history.events]
    completed = kinds.index(EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED)
    return WorkflowHistory(history.workflow_id, history.events[:completed])


def _start_some(written: "_Written", play: "_Play") -> bool:
    """Start as a tree does; tells whether it goes on in the next workflow task."""
    started = play.start_in_order(limits.MAX_STARTS_PER_TASK)
    written.started(started)
    return len(started) == limits.MAX_STARTS_PER_TASK


class _Play:
    """Which tasks run and which wait; a task waits for one dependency after the other."""

    def __init__(self, shape: Shape, most_in_flight: int) -> None:
        self.in_flight: deque[int] = deque()
        self._dependencies = shape.dependencies
        self._most = most_in_flight
        self._done = [False] * len(shape.dependencies)
        self._waiting: list[list[int]] = [[] for _ in shape.dependencies]
        self._ready: list[int] = []
        for at in range(len(shape.dependencies)):
            self._place(at)

    def start(self) -> list[int]:
        """Start everything, in the order in which it became ready."""
        return self._start(self._ready)

    def start_in_order(self, most: int) -> list[int]:
        """Start what there is room for, by position."""
        room = min(most, self._most - len(self.in_flight))
        self._ready.sort()
        return self._start(self._ready[:room])

    def complete(self, batch: int) -> list[int]:
        """Let the oldest activities complete."""
        ended = [self.in_flight.popleft() for _ in range(min(batch, len(self.in_flight)))]
        for at in ended:
            self._done[at] = True
        for at in ended:
            for waiter in self._waiting[at]:
                self._place(waiter)
        return ended

    def _start(self, started: Sequence[int]) -> list[int]:
        self.in_flight += started
        self._ready = self._ready[len(started) :]
        return [*started]

    def _place(self, at: int) -> None:
        open_ones = (other for other in self._dependencies[at] if not self._done[other])
        first = next(open_ones, None)
        (self._ready if first is None else self._waiting[first]).append(at)


class _Written:
    """The events of one run."""

    def __init__(self, workflow: str, argument: Any) -> None:
        self._id = f"{workflow}-replay"
        self._events: list[HistoryEvent] = []
        self._size = 0
        self._task = 0
        self._scheduled: dict[int, int] = {}
        self._timers: list[int] = []
        event = self._add(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED)
        began = event.workflow_execution_started_event_attributes
        began.workflow_type.name = workflow
        began.task_queue.name = "replay"
        began.workflow_id = self._id
        began.original_execution_run_id = began.first_execution_run_id = self._id
        began.attempt = 1
        began.workflow_task_timeout.FromTimedelta(timedelta(seconds=10))
        began.input.CopyFrom(_payloads(argument))
        self._counted(event)

    def workflow_task(self) -> None:
        """Let a worker look at the run; what is written next is what it commands."""
        scheduled = self._add(EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED)
        scheduled.workflow_task_scheduled_event_attributes.task_queue.name = "replay"
        started = self._add(EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED)
        begun = started.workflow_task_started_event_attributes
        begun.scheduled_event_id = scheduled.event_id
        begun.history_size_bytes = self._size
        completed = self._add(EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED)
        done = completed.workflow_task_completed_event_attributes
        done.scheduled_event_id, done.started_event_id = scheduled.event_id, started.event_id
        if not self._task:
            done.sdk_metadata.core_used_flags.extend(_CORE_FLAGS)
        self._task = completed.event_id
        self._counted(scheduled, started, completed)

    def described(self, description: Any) -> None:
        """Record the local activity that describes the executors."""
        event = self._add(EventType.EVENT_TYPE_MARKER_RECORDED)
        marker = event.marker_recorded_event_attributes
        marker.marker_name = "core_local_activity"
        about = {
            "seq": 1,
            "attempt": 1,
            "activity_id": DESCRIBE_EXECUTORS,
            "activity_type": DESCRIBE_EXECUTORS,
            "complete_time": {"seconds": int(_BEGAN.timestamp()), "nanos": 0},
            "backoff": None,
            "original_schedule_time": {"seconds": int(_BEGAN.timestamp()), "nanos": 0},
            "activation_index": 1,
        }
        marker.details["data"].CopyFrom(_payloads(about))
        marker.details["result"].CopyFrom(_payloads(description))
        marker.workflow_task_completed_event_id = self._task
        self._counted(event)

    def started(self, tasks: Iterable[int]) -> None:
        """Record the start of activities."""
        for at in tasks:
            event = self._add(EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED)
            scheduled = event.activity_task_scheduled_event_attributes
            scheduled.activity_id, scheduled.activity_type.name = f"t{at}", EXECUTOR
            scheduled.task_queue.name = "replay"
            scheduled.input.CopyFrom(_payloads({"value": at}))
            scheduled.start_to_close_timeout.FromTimedelta(timedelta(minutes=5))
            scheduled.heartbeat_timeout.FromTimedelta(timedelta(seconds=30))
            scheduled.retry_policy.maximum_attempts = 3
            scheduled.priority.priority_key = 3
            scheduled.workflow_task_completed_event_id = self._task
            event.user_metadata.summary.CopyFrom(_payload(f"t{at}"))
            self._scheduled[at] = event.event_id
            self._counted(event)

    def completed(self, tasks: Iterable[int]) -> None:
        """Record the ends of activities; a start is written only then."""
        for at in tasks:
            begun = self._add(EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED)
            started = begun.activity_task_started_event_attributes
            started.scheduled_event_id, started.attempt = self._scheduled[at], 1
            event = self._add(EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED)
            completed = event.activity_task_completed_event_attributes
            completed.scheduled_event_id = self._scheduled[at]
            completed.started_event_id = begun.event_id
            completed.result.CopyFrom(_payloads(_answer(at)))
            self._counted(begun, event)

    def timer_started(self) -> None:
        """Record the timer with which a tree goes on in its next workflow task."""
        event = self._add(EventType.EVENT_TYPE_TIMER_STARTED)
        self._timers.append(event.event_id)
        timer = event.timer_started_event_attributes
        timer.timer_id = str(len(self._timers))
        timer.start_to_fire_timeout.FromTimedelta(_STEP)
        timer.workflow_task_completed_event_id = self._task
        self._counted(event)

    def timer_cancelled(self) -> None:
        """Record that something else came before the timer."""
        event = self._add(EventType.EVENT_TYPE_TIMER_CANCELED)
        cancelled = event.timer_canceled_event_attributes
        cancelled.timer_id = str(len(self._timers))
        cancelled.started_event_id = self._timers[-1]
        cancelled.workflow_task_completed_event_id = self._task
        self._counted(event)

    def listed(self, values: dict[str, str]) -> None:
        """Record what the server's lists are told."""
        event = self._add(EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES)
        told = event.upsert_workflow_search_attributes_event_attributes
        for name, value in values.items():
            payload = _payload(value)
            payload.metadata["type"] = SEARCH_ATTRIBUTES[name].encode()
            told.search_attributes.indexed_fields[name].CopyFrom(payload)
        told.workflow_task_completed_event_id = self._task
        self._counted(event)

    def ended(self) -> WorkflowHistory:
        """Record the end, and give the whole."""
        event = self._add(EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED)
        ended = event.workflow_execution_completed_event_attributes
        ended.workflow_task_completed_event_id = self._task
        ended.result.CopyFrom(_payloads(None))
        return WorkflowHistory(self._id, self._events)

    def _add(self, kind: EventType.ValueType) -> HistoryEvent:
        event = HistoryEvent(event_id=len(self._events) + 1, event_type=kind)
        event.event_time.FromDatetime(_BEGAN + len(self._events) * _STEP)
        self._events.append(event)
        return event

    def _counted(self, *events: HistoryEvent) -> None:
        self._size += sum(event.ByteSize() for event in events)


def _answer(at: int) -> dict[str, Any]:
    """Give what the host of executors answers."""
    about = {"duration": 0.0004, "attempt": 1, "started_at": _BEGAN.isoformat()}
    return {"status": Status.COMPLETED, "result": at, "metadata": about}


def _payload(value: Any) -> Payload:
    return Payload(metadata=_JSON, data=json.dumps(value, separators=(",", ":")).encode())


def _payloads(value: Any) -> Payloads:
    return Payloads(payloads=[_payload(value)])
