"""How a task ended, and how an executor's answer is read.

The same table reads what Regrow's own host answers and what a worker in another language returns.
"""

from builtins import isinstance
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any, Final, Literal, cast

from regrow.core import limits
from regrow.core.models import Json, TaskId
from regrow.core.wire import ErrorType, Status

UNKNOWN_ERROR: Final = "unknown error"

_ENDED_WORDS: Final = (Status.COMPLETED.value, Status.FAILED.value)
_FAILURE_KEYS: Final = ("status", "error", "error_type", "retryable", "retry_after")


@dataclass(frozen=True, slots=True)
class Because:
    """Why a task did not run: the rule, and the task that caused it."""

    reason: Literal["dependency", "condition", "on_failure", "cancel", "by_hand"]
    task_id: TaskId | None = None
    """The nearest cause; following it from task to task gives the chain."""
    root: TaskId | None = None
    """Where the chain begins."""
    error: str | None = None
    error_type: str | None = None

    def as_json(self) -> dict[str, Json]:
        """Give the form that results carry."""
        return {
            "reason": self.reason,
            "task_id": self.task_id,
            "root": self.root,
            "error": self.error,
            "error_type": self.error_type,
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a task ended."""

    status: Status
    result: Json = None
    error: str | None = None
    error_type: str | None = None
    metadata: Mapping[str, Json] = field(default_factory=dict[str, Json])
    because: Because | None = None
    attempts: int | None = 0

    def with_attempts(self, attempts: int | None) -> "Outcome":
        """Give the same end with the number of attempts known from elsewhere."""
        return replace(self, attempts=attempts)


@dataclass(frozen=True, slots=True)
class Answer:
    """An executor's answer, read by the outcome table."""

    ok: bool
    result: Json = None
    error: str | None = None
    error_type: str | None = None
    retryable: bool = False
    retry_after: float | None = None
    metadata: Mapping[str, Json] = field(default_factory=dict[str, Json])


def completed(result: Json = None, *, attempts: int | None = 0) -> Outcome:
    """End well."""
    return Outcome(Status.COMPLETED, result, attempts=attempts)


def failed(error: str, error_type: str, *, attempts: int | None = 0) -> Outcome:
    """End badly."""
    return Outcome(Status.FAILED, error=error, error_type=error_type, attempts=attempts)


def read_answer(value: Json) -> Answer:
    """Read what an executor returned; anything but a mapping with a known `status` is a result."""
    if not isinstance(value, dict) or value.get("status") not in _ENDED_WORDS:
        return Answer(ok=True, result=value)
    if value["status"] == Status.FAILED.value:
        return _read_failure(value)
    rest = {**value}
    del rest["status"]
    if "result" not in rest:
        return Answer(ok=True, result=rest)
    result = rest.pop("result")
    return Answer(ok=True, result=result, metadata=flat_metadata(rest))


def _read_failure(value: Mapping[str, Json]) -> Answer:
    error, error_type, after = value.get("error"), value.get("error_type"), value.get("retry_after")
    rest = {key: item for key, item in value.items() if key not in _FAILURE_KEYS}
    number = isinstance(after, int | float) and not isinstance(after, bool) and 0 <= after < inf
    return Answer(
        ok=False,
        error=UNKNOWN_ERROR if error in (None, "") else str(error),
        error_type=str(error_type) if error_type else ErrorType.EXECUTION.value,
        retryable=value.get("retryable") is True,
        retry_after=float(cast("float", after)) if number else None,
        metadata=flat_metadata(rest),
    )


def flat_metadata(rest: Mapping[str, Json]) -> dict[str, Json]:
    """Merge a `metadata` mapping into its siblings."""
    inner = rest.get("metadata")
    if not isinstance(inner, dict):
        return dict(rest)
    return {**inner, **{key: item for key, item in rest.items() if key != "metadata"}}


def outcome_of(value: Json) -> Outcome:
    """Turn an activity's result into the task's end; a foreign worker may answer a failure."""
    answer = read_answer(value)
    return Outcome(
        Status.COMPLETED if answer.ok else Status.FAILED,
        answer.result,
        short_error(answer.error) if answer.error else None,
        answer.error_type,
        answer.metadata,
        attempts=attempts_of(answer.metadata),
    )


def attempts_of(metadata: Mapping[str, Any]) -> int | None:
    """Read how often the executor ran, if the host said so."""
    attempt = metadata.get("attempt")
    return attempt if type(attempt) is int else None


def short_error(text: str) -> str:
    """Keep an error readable, history small, and the text such that UTF-8 can hold it."""
    text = text.encode(errors="replace").decode()
    most = limits.MAX_ERROR_CHARS
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters in all)"
