"""What people may ask of a running tree: each request is read, checked, and refused in one line."""

import abc
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, TypeVar, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)
from pydantic_core import PydanticCustomError

from regrow.core import by_hand, limits
from regrow.core.answers import check_approval, check_event, check_size, recorded_answer
from regrow.core.by_hand import RequestRefused
from regrow.core.models import Json, TaskId
from regrow.core.outcome import Because, Outcome
from regrow.core.result import moment
from regrow.core.run import TreeRun
from regrow.core.waits import Verdict
from regrow.core.wire import (
    APPROVE,
    CANCEL_TASK,
    PAUSE,
    RESUME,
    RETRY_TASK,
    SEND_EVENT,
    SKIP_TASK,
    Status,
)


def _what_json_holds(value: object) -> object:
    """Refuse what JSON cannot hold, and nesting that would exhaust a reader."""
    level: Sequence[object] = [value]
    for _ in range(limits.MAX_NESTING + 1):
        if any(isinstance(each, float) and not math.isfinite(each) for each in level):
            raise PydanticCustomError("number", "a number that JSON cannot hold")
        level = [inner for each in level for inner in _inside(each)]
        if not level:
            return value
    raise PydanticCustomError(
        "too_deep", "nested more than {most} deep", {"most": limits.MAX_NESTING}
    )


def _inside(value: object) -> Sequence[object]:
    if isinstance(value, dict):
        return list(cast("dict[object, object]", value).values())
    return cast("list[object]", value) if isinstance(value, list) else ()


Text = Annotated[str, StringConstraints(min_length=1, max_length=1_000)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=limits.MAX_EVENT_NAME)]
Payload = Annotated[Json, BeforeValidator(_what_json_holds)]


class Request(BaseModel, abc.ABC):
    """One request of a person, checked against the tree and then carried out.

    The workflow does both when it comes, the reader of histories when it finds it there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    def check(self, run: TreeRun) -> None:
        """Raise `RequestRefused` if it cannot be done."""
        self._is_new(run)

    def do(self, run: TreeRun, at: datetime) -> dict[str, Json]:
        """Carry it out and give the answer; what is so already changes nothing.

        Raises `RequestRefused`.
        """
        return self._do(run, at, is_new=self._is_new(run))

    @abc.abstractmethod
    def _is_new(self, run: TreeRun) -> bool: ...

    @abc.abstractmethod
    def _do(self, run: TreeRun, at: datetime, *, is_new: bool) -> dict[str, Json]: ...


class Approve(Request):
    """Answer an approval that waits."""

    task_id: TaskId
    approved: Annotated[bool, Field(strict=True)] = True
    by: Text | None = None
    note: Text | None = None
    result: Payload = None

    def _is_new(self, run: TreeRun) -> bool:
        check_size("result", self.result)
        return check_approval(run, self.task_id, approved=self.approved)

    def _do(self, run: TreeRun, at: datetime, *, is_new: bool) -> dict[str, Json]:
        if is_new:
            verdict = Verdict(self.approved, self.by, self.note, self.result, moment(at))
            run.answered(self.task_id, verdict, at)
        return recorded_answer(run, self.task_id)


class SendEvent(Request):
    """Send an event; the first of its name ends every wait for it, now or later."""

    event: Name
    payload: Payload = None

    def _is_new(self, run: TreeRun) -> bool:
        return check_event(run, self.event, self.payload)

    def _do(self, run: TreeRun, at: datetime, *, is_new: bool) -> dict[str, Json]:
        if is_new:
            run.event(self.event, self.payload, at)
        return {"event": self.event, "first": is_new}


class _ByHand(Request):
    """What somebody does to the tree or to one of its tasks, with a reason that is kept."""

    by: Text | None = None
    reason: Text | None = None

    @property
    def said(self) -> dict[str, Json]:
        """Give who said so, and why."""
        return {"by": self.by, "reason": self.reason}


class Pause(_ByHand):
    """Let nothing new start; what runs goes on."""

    def _is_new(self, run: TreeRun) -> bool:
        by_hand.check_open(run)
        return run.paused is None

    def _do(self, run: TreeRun, at: datetime, *, is_new: bool) -> dict[str, Json]:
        if is_new:
            run.paused = {**self.said, "at": moment(at)}
        return {"paused": True, **(run.paused or {})}


class Resume(_ByHand):
    """Let a paused tree go on."""

    def _is_new(self, run: TreeRun) -> bool:
        return run.paused is not None

    def _do(self, run: TreeRun, at: datetime, *, is_new: bool) -> dict[str, Json]:
        del at, is_new
        run.paused = None
        return {"paused": False}


class CancelTask(_ByHand):
    """Cancel one task, interrupting whatever of it runs."""

    task_id: TaskId

    def _is_new(self, run: TreeRun) -> bool:
        return by_hand.check_cancel(run, self.task_id)

    def _do(self, run: TreeRun, at: datetime, *, is_new: bool) -> dict[str, Json]:
        if is_new:
            by_hand.cancel(run, self.task_id, self.said, at)
        status = run.records[self.task_id].status
        return {"task_id": self.task_id, "status": status.value}


class RetryTask(_ByHand):
    """Let a failed task run again, or everything that failed."""

    task_id: TaskId | None = None

    def _is_new(self, run: TreeRun) -> bool:
        return by_hand.check_retry(run, self.task_id)

    def _do(self, run: TreeRun, at: datetime, *, is_new: bool) -> dict[str, Json]:
        again = by_hand.retry(run, self.task_id, self.said, at) if is_new else []
        shown: list[Json] = [*again[: limits.MAX_LISTED_PROBLEM_TASKS]]
        return {"retried": shown, "count": len(again)}


class SkipTask(_ByHand):
    """Let a task end without running it: with a result, or as skipped."""

    task_id: TaskId
    result: Payload = None

    def _is_new(self, run: TreeRun) -> bool:
        check_size("result", self.result)
        return by_hand.check_skip(run, self.task_id, with_result=self._with_result)

    def _do(self, run: TreeRun, at: datetime, *, is_new: bool) -> dict[str, Json]:
        if is_new:
            by_hand.skip(run, self.task_id, self._outcome(), self.said, at)
        status = run.records[self.task_id].status
        return {"task_id": self.task_id, "status": status.value}

    @property
    def _with_result(self) -> bool:
        return "result" in self.model_fields_set

    def _outcome(self) -> Outcome:
        if self._with_result:
            return Outcome(Status.COMPLETED, self.result, metadata=self.said)
        return Outcome(Status.SKIPPED, because=Because(by_hand.BY_HAND, error=self.reason))


REQUESTS: Final[Mapping[str, type[Request]]] = {
    APPROVE: Approve,
    SEND_EVENT: SendEvent,
    PAUSE: Pause,
    RESUME: Resume,
    CANCEL_TASK: CancelTask,
    RETRY_TASK: RetryTask,
    SKIP_TASK: SkipTask,
}
"""By the names of the updates."""

_Model = TypeVar("_Model", bound=BaseModel)


def read_request(model: type[_Model], value: Any) -> _Model:
    """Read a request's one argument; raises `RequestRefused`."""
    try:
        return model.model_validate({} if value is None else value)
    except ValidationError as error:
        raise RequestRefused(_message(model, dict(error.errors()[0]))) from None


def _message(model: type[BaseModel], problem: dict[str, Any]) -> str:
    where = ".".join(map(str, problem["loc"])) or "the request"
    if problem["type"] == "extra_forbidden":
        return f"there is no field '{where}'; it takes {', '.join(model.model_fields)}"
    return f"{where}: {problem['msg']}"
