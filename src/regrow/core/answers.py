"""What people say to waits: whether an approval or an event can be taken, and what is recorded."""

from collections.abc import Mapping

from regrow.core import limits
from regrow.core.by_hand import RequestRefused
from regrow.core.models import Json, TaskId
from regrow.core.outcome import Outcome
from regrow.core.problems import suggestion
from regrow.core.record import Record
from regrow.core.result import json_size
from regrow.core.run import TreeRun
from regrow.core.wire import APPROVAL, ErrorType, Status


def check_approval(run: TreeRun, task_id: TaskId, *, approved: bool) -> bool:
    """Tell whether the answer is new; raises `RequestRefused` if it cannot be given."""
    if task_id not in run.tasks:
        raise RequestRefused(f"the tree has no task '{task_id}'{suggestion(task_id, run.tasks)}")
    if run.plan.natives.get(task_id) != APPROVAL:
        raise RequestRefused(
            f"'{task_id}' is no approval but runs {run.tasks[task_id].executor_id}"
        )
    if task_id in run.waits:
        return True
    record = run.records[task_id]
    if not record.status.is_settled:
        why = "what it depends on still runs" if run.paused is None else "the tree is paused"
        raise RequestRefused(f"'{task_id}' does not wait yet; {why}")
    if _said_before(record, approved=approved):
        return False
    raise RequestRefused(f"'{task_id}' no longer waits: it is {record.status.value}")


def _said_before(record: Record, *, approved: bool) -> bool:
    """Tell whether a person has decided just so already, in whatever words."""
    said = _said(record)
    if "timed_out" in said:
        return False
    if approved:
        return said.get("approved") is True or record.result_omitted
    return record.outcome is not None and record.outcome.error_type == ErrorType.REJECTED


def _said(record: Record) -> Mapping[str, Json]:
    """Give what was recorded of an answer; nothing, once a continuation has left it behind."""
    end = record.outcome or Outcome(record.status)
    said = end.result if end.status is Status.COMPLETED else end.metadata
    return said if isinstance(said, Mapping) else {}


def recorded_answer(run: TreeRun, task_id: TaskId) -> dict[str, Json]:
    """Give the answer that counts: the first one.

    `by` and `at` are null if they were left behind by a continuation.
    """
    record = run.records[task_id]
    said = _said(record)
    return {
        "task_id": task_id,
        "approved": record.status is Status.COMPLETED,
        "by": said.get("by"),
        "at": said.get("at"),
    }


def check_event(run: TreeRun, name: str, payload: Json) -> bool:
    """Tell whether the event is the first of its name; raises `RequestRefused` for too many."""
    if name in run.events:
        return False
    size = check_size("payload", payload)
    if len(run.events) >= limits.MAX_EVENTS:
        raise RequestRefused(f"the tree keeps at most {limits.MAX_EVENTS:,} events")
    if json_size(run.events) + size > limits.MAX_ALL_EVENTS_BYTES:
        most = limits.MAX_ALL_EVENTS_BYTES
        raise RequestRefused(f"the events of a tree have at most {most:,} bytes in all")
    return True


def check_size(what: str, value: Json) -> int:
    """Give the bytes of what a person hands in; raises `RequestRefused` if they are too many."""
    size = json_size(value)
    if size > limits.MAX_EVENT_BYTES:
        most = f"{limits.MAX_EVENT_BYTES:,} bytes"
        raise RequestRefused(f"a {what} has at most {most}, not {size:,}")
    return size
