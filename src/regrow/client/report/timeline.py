"""What happened when: the bars of a run, read from the events of its history and nothing else.

One pass, no rules of trees: a unit of work is there from the event that asked for it to the one
that tells of its end. So the times are those of history, to the last digit.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, cast

from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.enums.v1 import EventType
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.converter import DataConverter

from regrow.core.wire import COMPENSATE, ErrorType, Status, split_unit

_NEVER: Final = datetime.min.replace(tzinfo=UTC)


class Kind(StrEnum):
    """How a unit of work is done."""

    ACTIVITY = "activity"
    SUBTREE = "sub-tree"
    WAIT = "wait"
    GROUP = "group"
    MOMENT = "moment"
    """Nothing is done: it is decided."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A unit of work from being asked for to its end."""

    unit: str
    kind: Kind
    start: datetime
    """When it was scheduled."""
    taken: datetime | None = None
    """When its last attempt began; history tells only once that has ended."""
    end: datetime | None = None
    status: Status = Status.IN_PROGRESS
    attempts: int = 0
    earlier_failure: str | None = None
    """Why the attempt before the last one failed."""
    argument: Payload | None = None

    @property
    def task_id(self) -> str:
        """The task that it belongs to."""
        return split_unit(self.unit)[0]

    @property
    def index(self) -> int | None:
        """Which item of a map it is."""
        return split_unit(self.unit)[1]

    @property
    def undoes(self) -> bool:
        """Whether it undoes its task."""
        return self.unit.endswith(COMPENSATE)


@dataclass(frozen=True, slots=True)
class Act:
    """What somebody did by hand."""

    at: datetime
    name: str
    """That of the update, or `cancel` for the whole tree."""
    said: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Timeline:
    """A run, or several that continue each other."""

    bars: tuple[Bar, ...] = ()
    acts: tuple[Act, ...] = ()
    runs: int = 0
    started: datetime | None = None
    ended: datetime | None = None
    status: Status | None = None
    """How it ended."""
    failure: str = ""
    """What its workflow failed with."""
    last: datetime = _NEVER
    """When the last event was."""


def timeline(
    events: Iterable[HistoryEvent], converter: DataConverter = DataConverter.default
) -> Timeline:
    """Read all the events of a tree; of one with several runs, one after the other."""
    reader = _Reader(converter)
    for event in events:
        reader.take(event)
    return replace(reader.seen, bars=tuple(reader.bars), acts=tuple(reader.acts))


@dataclass(slots=True)
class _Reader:
    converter: DataConverter
    seen: Timeline = field(default_factory=Timeline)
    bars: list[Bar] = field(default_factory=list[Bar])
    acts: list[Act] = field(default_factory=list[Act])
    by_event: dict[int, int] = field(default_factory=dict[int, int])
    """The bar that an event of the current run asked for."""
    waits: dict[str, int] = field(default_factory=dict[str, int])
    """Waits that go on; a run carries them into the next one."""
    admitted: dict[str, Any] = field(default_factory=dict[str, Any])
    asked: dict[int, Any] = field(default_factory=dict[int, Any])

    def take(self, event: HistoryEvent) -> None:
        at = event.event_time.ToDatetime(tzinfo=UTC)
        self.seen = replace(self.seen, last=at)
        attributes = str(event.WhichOneof("attributes"))
        about: Any = getattr(event, attributes, None)
        if handler := _HANDLERS.get(attributes.removesuffix("_event_attributes")):
            handler(self, event, about, at)
        elif status := _BAR_ENDS.get(event.event_type):
            self._close(about, at, status)
        elif status := _ENDS.get(event.event_type):
            self._end(about, at, status)

    # --- the run

    def run_started(self, event: HistoryEvent, about: Any, at: datetime) -> None:
        del event
        self.by_event, self.asked = {}, {}
        if about.continued_execution_run_id:
            first = self.seen.started or at  # of the first of these runs, if not of the tree
            runs = self.seen.runs + 1
            self.seen = replace(self.seen, runs=runs, started=first, ended=None, status=None)
            return
        self.bars, self.acts, self.waits = [], [], {}
        self.seen = Timeline(runs=1, started=at, last=at)

    def _end(self, about: Any, at: datetime, status: Status) -> None:
        failure: Failure = getattr(about, "failure", Failure())
        if failure.application_failure_info.type == ErrorType.TREE_CANCELLED:
            status = Status.CANCELLED
        text = failure.message or getattr(about, "reason", "")
        self.seen = replace(self.seen, ended=at, status=status, failure=text)

    def cancel_requested(self, event: HistoryEvent, about: Any, at: datetime) -> None:
        del event
        self.acts.append(Act(at, "cancel", {"reason": about.cause} if about.cause else {}))

    # --- bars

    def _open(self, event: HistoryEvent, bar: Bar) -> None:
        self.by_event[event.event_id] = len(self.bars)
        self.bars.append(bar)

    def _change(self, event_id: int, **changes: Any) -> None:
        position = self.by_event.get(event_id)
        if position is not None:
            self.bars[position] = replace(self.bars[position], **changes)

    def activity_scheduled(self, event: HistoryEvent, about: Any, at: datetime) -> None:
        argument = _first(about.input)
        self._open(event, Bar(about.activity_id, Kind.ACTIVITY, at, argument=argument))

    def activity_started(self, event: HistoryEvent, about: Any, at: datetime) -> None:
        del event
        why = about.last_failure.message or None
        attempts = about.attempt
        self._change(about.scheduled_event_id, taken=at, attempts=attempts, earlier_failure=why)

    def child_initiated(self, event: HistoryEvent, about: Any, at: datetime) -> None:
        unit = about.workflow_id.rpartition("/")[2]
        self._open(event, Bar(unit, Kind.SUBTREE, at, argument=_first(about.input)))

    def child_started(self, event: HistoryEvent, about: Any, at: datetime) -> None:
        del event
        self._change(about.initiated_event_id, taken=at, attempts=1)

    def timer_started(self, event: HistoryEvent, about: Any, at: datetime) -> None:
        """A wait's timer carries the task's summary; the engine's own carry none."""
        del about
        if not event.user_metadata.HasField("summary"):
            return
        label = str(self._value(event.user_metadata.summary))
        unit = label.split(" · ", 1)[0]
        if unit in self.waits:
            self.by_event[event.event_id] = self.waits[unit]
        else:
            self.waits[unit] = len(self.bars)
            self._open(event, Bar(unit, Kind.WAIT, at, at))

    def timer_ended(self, event: HistoryEvent, about: Any, at: datetime) -> None:
        del event
        position = self.by_event.get(about.started_event_id)
        if position is not None:
            self.waits.pop(self.bars[position].unit, None)
            self._change(about.started_event_id, end=at, status=Status.COMPLETED)

    def _close(self, about: Any, at: datetime, status: Status) -> None:
        begun = getattr(about, "scheduled_event_id", 0) or getattr(about, "initiated_event_id", 0)
        self._change(begun, end=at, status=status)

    # --- what people did

    def update_admitted(self, event: HistoryEvent, about: Any, at: datetime) -> None:
        del event, at
        self.admitted[about.request.meta.update_id] = about.request.input

    def update_accepted(self, event: HistoryEvent, about: Any, at: datetime) -> None:
        del at
        admitted = self.admitted.pop(about.protocol_instance_id, None)
        self.asked[event.event_id] = admitted or about.accepted_request.input

    def update_completed(self, event: HistoryEvent, about: Any, at: datetime) -> None:
        del event
        asked = self.asked.pop(about.accepted_event_id, None)
        if asked is None or not about.outcome.HasField("success"):
            return
        answer = self._mapping(about.outcome.success)
        at = datetime.fromisoformat(str(answer["at"])) if "at" in answer else at
        self.acts.append(Act(at, asked.name, self._mapping(asked.args)))

    def _mapping(self, payloads: Payloads) -> dict[str, Any]:
        value = self._value(_first(payloads))
        return cast("dict[str, Any]", value) if isinstance(value, dict) else {}

    def _value(self, payload: Payload | None) -> Any:
        return None if payload is None else self.converter.payload_converter.from_payload(payload)


def _first(payloads: Payloads) -> Payload | None:
    return payloads.payloads[0] if payloads.payloads else None


_Handler = Callable[[_Reader, HistoryEvent, Any, datetime], None]
_HANDLERS: Final[Mapping[str, _Handler]] = {
    "workflow_execution_started": _Reader.run_started,
    "workflow_execution_cancel_requested": _Reader.cancel_requested,
    "activity_task_scheduled": _Reader.activity_scheduled,
    "activity_task_started": _Reader.activity_started,
    "start_child_workflow_execution_initiated": _Reader.child_initiated,
    "child_workflow_execution_started": _Reader.child_started,
    "timer_started": _Reader.timer_started,
    "timer_fired": _Reader.timer_ended,
    "timer_canceled": _Reader.timer_ended,
    "workflow_execution_update_admitted": _Reader.update_admitted,
    "workflow_execution_update_accepted": _Reader.update_accepted,
    "workflow_execution_update_completed": _Reader.update_completed,
}
_BAR_ENDS: Final = {
    EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED: Status.COMPLETED,
    EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED: Status.FAILED,
    EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT: Status.FAILED,
    EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED: Status.CANCELLED,
    EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_FAILED: Status.FAILED,
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_COMPLETED: Status.COMPLETED,
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_FAILED: Status.FAILED,
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TIMED_OUT: Status.FAILED,
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_CANCELED: Status.CANCELLED,
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TERMINATED: Status.FAILED,
}
_ENDS: Final = {
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED: Status.COMPLETED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED: Status.FAILED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED: Status.CANCELLED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED: Status.CANCELLED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT: Status.FAILED,
}
