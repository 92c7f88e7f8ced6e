"""What a history says, where chance or an unusual server would be needed to record one."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.converter import DataConverter

from regrow import Status
from regrow.client import Fold
from regrow.core import limits

Document = dict[str, Any]
_BEGAN = datetime(2030, 1, 1, tzinfo=UTC)
_CONVERTER = DataConverter.default.payload_converter


class History:
    """Writes down events, a second apart, as a server would."""

    def __init__(self, *tasks: Document, **head: Any) -> None:
        self.events: list[HistoryEvent] = []
        described = {"executors": {"act": {"heartbeat_timeout": 3}}}
        engine = {"engine": {"description": described}}
        document = {"name": "unit", "tasks": list(tasks), **head, **engine}
        self.add("WORKFLOW_EXECUTION_STARTED", input=payloads(document))

    def add(self, kind: str, summary: str | None = None, **attributes: Any) -> int:
        event_id = len(self.events) + 1
        filled: Any = {f"{kind.lower()}_event_attributes": attributes}
        event_type = EventType.Value(f"EVENT_TYPE_{kind}")
        event = HistoryEvent(event_id=event_id, event_type=event_type, **filled)
        event.event_time.FromDatetime(_BEGAN + timedelta(seconds=event_id))
        if summary is not None:
            event.user_metadata.summary.CopyFrom(payload(summary))
        self.events.append(event)
        return event_id

    def turn(self) -> None:
        """Write down a workflow task; what it did comes after it."""
        for kind in ("SCHEDULED", "STARTED", "COMPLETED"):
            self.add(f"WORKFLOW_TASK_{kind}")

    def activity(self, unit: str) -> int:
        return self.add("ACTIVITY_TASK_SCHEDULED", activity_id=unit)

    def completed(self, scheduled: int, result: Any = None) -> None:
        self.add("ACTIVITY_TASK_COMPLETED", scheduled_event_id=scheduled, result=payloads(result))

    def answered(self, name: str, request: Document) -> None:
        asked = {"input": {"name": name, "args": payloads(request)}}
        accepted = self.add("WORKFLOW_EXECUTION_UPDATE_ACCEPTED", accepted_request=asked)
        self.add(
            "WORKFLOW_EXECUTION_UPDATE_COMPLETED",
            accepted_event_id=accepted,
            outcome={"success": payloads({"at": _BEGAN.isoformat()})},
        )


def payload(value: Any) -> Payload:
    return _CONVERTER.to_payload(value)


def payloads(value: Any) -> Payloads:
    return Payloads(payloads=[payload(value)])


def task(id: str, *after: str, **fields: Any) -> Document:
    return {"id": id, "executor": "act", "dependencies": list(after), **fields}


def approval(id: str, *after: str, **fields: Any) -> Document:
    return {"id": id, "executor": "approval", "dependencies": list(after), **fields}


def statuses(fold: Fold) -> list[str]:
    return [entry.status.value for entry in fold.result().tasks.values()]


def read(events: Sequence[HistoryEvent]) -> Fold:
    fold = Fold("tree")
    fold.feed(events)
    return fold


def test_sub_tree_that_timed_out_failed_its_task() -> None:
    history = History({"id": "sub", "tree": {"name": "in", "tasks": [task("a")]}}, task("b", "sub"))
    history.turn()
    started = history.add("START_CHILD_WORKFLOW_EXECUTION_INITIATED", workflow_id="tree/sub")
    history.add("CHILD_WORKFLOW_EXECUTION_TIMED_OUT", initiated_event_id=started)
    history.turn()
    result = read(history.events).result()

    assert result.tasks["sub"].status is Status.FAILED
    assert result.tasks["sub"].error == "sub: Timed out"  # as the workflow is told
    assert result.tasks["b"].status is Status.SKIPPED


def test_activity_of_another_language_may_give_no_result_at_all() -> None:
    history = History(task("a"))
    history.turn()
    history.add("ACTIVITY_TASK_COMPLETED", scheduled_event_id=history.activity("a"))
    history.turn()
    result = read(history.events).result()

    assert (result.tasks["a"].status, result.tasks["a"].result) == (Status.COMPLETED, None)


@pytest.mark.parametrize("has_begun", [False, True])
def test_cancelled_tree_waits_for_a_sub_tree_only_if_that_has_begun(*, has_begun: bool) -> None:
    history = History({"id": "sub", "tree": {"name": "in", "tasks": [task("a")]}}, task("b"))
    history.turn()
    history.activity("b")
    started = history.add("START_CHILD_WORKFLOW_EXECUTION_INITIATED", workflow_id="tree/sub")
    if has_begun:
        history.add("CHILD_WORKFLOW_EXECUTION_STARTED", initiated_event_id=started)
    history.add("WORKFLOW_EXECUTION_CANCEL_REQUESTED")
    history.turn()
    if not has_begun:
        history.add("CHILD_WORKFLOW_EXECUTION_STARTED", initiated_event_id=started)

    sub = "in_progress" if has_begun else "cancelled"
    assert statuses(read(history.events)) == [sub, "in_progress"]


def test_end_counts_once_a_workflow_task_has_taken_it_in() -> None:
    history = History(task("a"), task("b", "a"))
    history.turn()
    history.completed(history.activity("a"), 1)
    fold = Fold("tree")
    fold.feed(history.events)
    before = statuses(fold)
    seen = len(history.events)
    history.turn()
    history.activity("b")
    changes = fold.feed(history.events[seen:])

    assert before == ["in_progress", "pending"]
    assert [(change.task_id, change.status) for change in changes] == [
        ("a", Status.COMPLETED),
        ("b", Status.IN_PROGRESS),
    ]


def test_workflow_task_that_failed_took_nothing_in() -> None:
    history = History(approval("ask", inputs={"timeout": "1m"}))
    history.turn()
    timer = history.add("TIMER_STARTED", summary="ask")
    history.add("TIMER_FIRED", started_event_id=timer)
    for kind in ("SCHEDULED", "STARTED", "FAILED"):
        history.add(f"WORKFLOW_TASK_{kind}")
    history.turn()
    history.answered("approve", {"task_id": "ask"})

    assert statuses(read(history.events)) == ["completed"]


def test_end_that_nobody_has_taken_in_is_seen_at_the_end_of_the_history() -> None:
    history = History(task("a"), task("b", "a"))
    history.turn()
    history.completed(history.activity("a"), 1)
    fold = read(history.events)

    changes = fold.finish()

    assert [(change.task_id, change.status) for change in changes] == [("a", Status.COMPLETED)]
    assert statuses(fold) == ["completed", "pending"]


def test_what_is_left_for_the_next_workflow_task_has_not_begun() -> None:
    history = History(task("a"), task("b"), task("c", "b"))
    history.turn()
    history.activity("a")
    history.add("TIMER_STARTED")
    first = statuses(read(history.events))
    history.turn()
    history.activity("b")

    assert first == ["in_progress", "pending", "pending"]
    assert statuses(read(history.events)) == ["in_progress", "in_progress", "pending"]


def test_what_is_held_back_when_a_failure_comes_is_cancelled() -> None:
    history = History(
        task("made", compensate={"executor": "act"}),
        task("bad"),
        approval("held", "made"),
        on_failure="cancel",
    )
    history.turn()
    made, bad = history.activity("made"), history.activity("bad")
    history.completed(made)
    history.turn()
    history.add("TIMER_STARTED")  # it is to continue as new, and waits for what runs
    history.completed(bad, {"status": "failed", "error": "it broke"})
    history.turn()
    history.activity("made~compensate")
    history.add("TIMER_STARTED")

    assert statuses(read(history.events)) == ["completed", "failed", "cancelled"]


def test_wait_that_left_no_event_can_be_answered_before_more_is_decided() -> None:
    history = History(approval("ask"), approval("too"))
    history.turn()
    history.add("TIMER_STARTED")
    history.turn()
    history.answered("approve", {"task_id": "too"})
    history.add("TIMER_STARTED")

    assert statuses(read(history.events)) == ["in_progress", "completed"]


def test_refused_inputs_end_their_task_as_soon_as_the_workflow_refused_them() -> None:
    history = History(
        task("big", inputs={"text": "x" * limits.MAX_PAYLOAD}), task("b", "big"), task("free")
    )
    history.turn()
    history.activity("free")
    result = read(history.events).result()

    assert result.tasks["big"].error_type == "payload_too_large"
    assert [entry.status.value for entry in result.tasks.values()] == [
        "failed",
        "skipped",
        "in_progress",
    ]


def test_run_that_hands_over_begins_nothing_more() -> None:
    history = History(task("a"), approval("ask"))
    history.turn()
    history.add("WORKFLOW_EXECUTION_CONTINUED_AS_NEW", new_execution_run_id="second")
    fold = read(history.events)

    assert fold.next_run_id == "second"
    assert statuses(fold) == ["pending", "pending"]
