"""What people may ask of a running tree: each request is read, checked, and refused in one line."""

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from regrow.core import limits
from regrow.core.models import Json, TaskId
from regrow.core.outcome import Outcome
from regrow.core.record import Record
from regrow.core.result import json_size
from regrow.core.run import TreeRun
from regrow.core.waits import Verdict
from regrow.core.wire import APPROVAL, ErrorType

Text = Annotated[str, StringConstraints(min_length=1, max_length=1_000)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=limits.MAX_EVENT_NAME)]


class RequestRefused(ValueError):  # noqa: N818 - it is an answer, not an accident
    """The request cannot be done; the message says why and what to do."""


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Approve(_Request):
    """Answer an approval that waits."""

    task_id: TaskId
    approved: Annotated[bool, Field(strict=True)] = True
    by: Text | None = None
    note: Text | None = None
    result: Json = None

    def verdict(self, at: str) -> Verdict:
        """Give what the person said, and when."""
        return Verdict(self.approved, self.by, self.note, self.result, at)


class SendEvent(_Request):
    """Send an event; the first of its name ends every wait for it, now or later."""

    event: Name
    payload: Json = None


_Model = TypeVar("_Model", bound=BaseModel)


def read_request(model: type[_Model], value: Any) -> _Model:
    """Read a request's one argument; raises `RequestRefused`."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the request"
        message = f"{where}: {first['msg']}"
        raise RequestRefused(message) from None


def check_approve(run: TreeRun, request: Approve) -> bool:
    """Tell whether the answer is new; raises `RequestRefused` if it cannot be given."""
    task_id = request.task_id
    if task_id not in run.tasks:
        raise RequestRefused(f"the tree has no task '{task_id}'")
    if run.plan.natives.get(task_id) != APPROVAL:
        raise RequestRefused(
            f"'{task_id}' is no approval but runs {run.tasks[task_id].executor_id}"
        )
    if json_size(request.result) > limits.MAX_EVENT_BYTES:
        raise RequestRefused(f"a result has at most {limits.MAX_EVENT_BYTES:,} bytes")
    if task_id in run.waits:
        return True
    record = run.records[task_id]
    if not record.status.is_settled:
        raise RequestRefused(f"'{task_id}' does not wait yet; what it depends on still runs")
    if _said_before(record, request):
        return False
    raise RequestRefused(f"'{task_id}' no longer waits: it is {record.status.value}")


def _said_before(record: Record, request: Approve) -> bool:
    """Tell whether a person has given this very answer already."""
    end = record.outcome or Outcome(record.status)
    if request.approved:
        result = end.result if isinstance(end.result, dict) else {}
        return result.get("approved") is True and "timed_out" not in result
    return end.error_type == ErrorType.REJECTED and "timed_out" not in end.metadata


def check_event(run: TreeRun, request: SendEvent) -> bool:
    """Tell whether the event is the first of its name; raises `RequestRefused` for too many."""
    if request.event in run.events:
        return False
    size = json_size(request.payload)
    if size > limits.MAX_EVENT_BYTES:
        raise RequestRefused(
            f"a payload has at most {limits.MAX_EVENT_BYTES:,} bytes, not {size:,}"
        )
    if len(run.events) >= limits.MAX_EVENTS:
        raise RequestRefused(f"the tree keeps at most {limits.MAX_EVENTS:,} events")
    if json_size(run.events) + size > limits.MAX_ALL_EVENTS_BYTES:
        most = limits.MAX_ALL_EVENTS_BYTES
        raise RequestRefused(f"the events of a tree have at most {most:,} bytes in all")
    return True
