"""Histories for reports: recorded ones, and made ones of any size."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory
from temporalio.converter import DataConverter

Document = dict[str, Any]
RECORDED: Final = sorted((Path(__file__).parents[3] / "replay" / "histories").glob("*.json"))
BEGAN: Final = datetime(2030, 1, 1, tzinfo=UTC)
_CONVERTER: Final = DataConverter.default.payload_converter


def recorded(name: str) -> list[HistoryEvent]:
    """The events of one recorded history."""
    [path] = [path for path in RECORDED if path.stem == name]
    return list(WorkflowHistory.from_json("recorded", path.read_text()).events)


def runs_of(name: str) -> list[HistoryEvent]:
    """The events of all runs of a recorded tree that continued as new."""
    paths = [path for path in RECORDED if path.stem.startswith(f"{name}.run")]
    return [event for path in paths for event in recorded(path.stem)]


def to_the_millisecond(time: str) -> str:
    """Cut a time of history, such as 2030-01-01T00:00:00.123456789Z, after the milliseconds."""
    whole, _, rest = time.removesuffix("Z").partition(".")
    return f"{whole}.{rest[:3]:0<3}Z"


def bars_of(events: list[Document]) -> dict[str, tuple[str, str]]:
    """When each activity and sub-tree was asked for and when it ended, as history says."""
    asked: dict[str, tuple[str, str]] = {}
    found: dict[str, tuple[str, str]] = {}
    for event in events:
        about: Document = next(event[key] for key in event if key.endswith("Attributes"))
        if event["eventType"].endswith("ACTIVITY_TASK_SCHEDULED"):
            asked[event["eventId"]] = (about["activityId"], event["eventTime"])
        elif event["eventType"].endswith("START_CHILD_WORKFLOW_EXECUTION_INITIATED"):
            asked[event["eventId"]] = (about["workflowId"].split("/")[-1], event["eventTime"])
        begun = asked.get(about.get("scheduledEventId", about.get("initiatedEventId", "")))
        if begun and not event["eventType"].endswith("_STARTED"):
            start, end = to_the_millisecond(begun[1]), to_the_millisecond(event["eventTime"])
            found[begun[0]] = (start, end)
    return found


class History:
    """Writes down events at given milliseconds, as a server would."""

    def __init__(self, tasks: Sequence[Document], **head: Any) -> None:
        self.events: list[HistoryEvent] = []
        self.at = 0.0
        names = {task.get("executor", task["id"]): {"heartbeat_timeout": 3} for task in tasks}
        engine = {"engine": {"description": {"engine_version": 2, "executors": names}}}
        document = {"name": "made", "tasks": list(tasks), **head, **engine}
        self.add("WORKFLOW_EXECUTION_STARTED", input=payloads(document))

    def add(self, kind: str, summary: str | None = None, **attributes: Any) -> int:
        event_id = len(self.events) + 1
        filled: Any = {f"{kind.lower()}_event_attributes": attributes}
        event_type = EventType.Value(f"EVENT_TYPE_{kind}")
        event = HistoryEvent(event_id=event_id, event_type=event_type, **filled)
        event.event_time.FromDatetime(BEGAN + timedelta(milliseconds=self.at))
        if summary is not None:
            event.user_metadata.summary.CopyFrom(payload(summary))
        self.events.append(event)
        return event_id

    def turn(self) -> None:
        """Write down a workflow task; what it did comes after it."""
        for kind in ("SCHEDULED", "STARTED", "COMPLETED"):
            self.add(f"WORKFLOW_TASK_{kind}")

    def begin(self, unit: str, inputs: Any = None) -> int:
        given = payloads(inputs or {})
        return self.add("ACTIVITY_TASK_SCHEDULED", activity_id=unit, input=given)

    def end(self, begun: int, result: Any = None, *, attempt: int = 1, taken: float = 0) -> None:
        """Write down that an activity was taken so many milliseconds ago, and has completed."""
        self.take(begun, attempt=attempt, taken=taken)
        answer = {"status": "completed", "result": result, "metadata": {"attempt": attempt}}
        done = payloads(answer)
        self.add("ACTIVITY_TASK_COMPLETED", scheduled_event_id=begun, result=done)

    def fail(self, begun: int, message: str) -> None:
        self.take(begun)
        about = {"type": "broken", "details": payloads({"attempt": 1})}
        failure = {"message": message, "application_failure_info": about}
        self.add("ACTIVITY_TASK_FAILED", scheduled_event_id=begun, failure=failure)

    def take(self, begun: int, *, attempt: int = 1, taken: float = 0) -> None:
        self.at -= taken
        self.add("ACTIVITY_TASK_STARTED", scheduled_event_id=begun, attempt=attempt)
        self.at += taken

    def answered(self, name: str, request: Document) -> None:
        asked = {"input": {"name": name, "args": payloads(request)}}
        accepted = self.add("WORKFLOW_EXECUTION_UPDATE_ACCEPTED", accepted_request=asked)
        at = (BEGAN + timedelta(milliseconds=self.at)).isoformat()
        outcome = {"success": payloads({"at": at})}
        self.add("WORKFLOW_EXECUTION_UPDATE_COMPLETED", accepted_event_id=accepted, outcome=outcome)


def payload(value: Any) -> Payload:
    return _CONVERTER.to_payload(value)


def payloads(value: Any) -> Payloads:
    return Payloads(payloads=[payload(value)])


def layered(number: int, *, width: int = 20, filling: int = 400) -> list[HistoryEvent]:
    """A run of many tasks in layers, each with inputs and a result of so many bytes."""
    text = json.dumps({"rows": ["a value like those that people pass on"] * 99})[:filling]

    def after(at: int) -> list[str]:
        above = (at // width - 1) * width
        return (
            [f"step-{above + each}" for each in (at % width, (at * 7 + 1) % width)]
            if at >= width
            else []
        )

    tasks = [
        {
            "id": f"step-{at}",
            "name": f"Step {at} of the nightly run",
            "executor": "transform",
            "dependencies": [{"id": each, "into": None} for each in dict.fromkeys(after(at))],
            "inputs": {"text": text, "number": at},
        }
        for at in range(number)
    ]
    history = History(tasks, max_in_flight=100)
    for first in range(0, number, width):
        history.turn()
        layer = range(first, min(first + width, number))
        begun = [history.begin(f"step-{at}", tasks[at]["inputs"]) for at in layer]
        for at, event_id in zip(layer, begun, strict=True):
            history.at += 13 + at % 5
            if at % 37 == 36:
                history.fail(event_id, f"step {at} broke: {text}")
            else:
                history.end(event_id, {"text": text}, attempt=1 + at % 3 // 2, taken=9)
    return history.events
