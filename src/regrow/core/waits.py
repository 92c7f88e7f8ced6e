"""Tasks that wait: for a time, for a person, for an event. They hold no worker.

Here their inputs are read, and it is said how a wait ends when its time is up or it is answered.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, cast

from regrow.core import limits
from regrow.core.durations import parse_duration
from regrow.core.models import Json
from regrow.core.outcome import Outcome, completed, failed, short_error
from regrow.core.references import ExpressionError
from regrow.core.wire import APPROVAL, SLEEP, WAIT_FOR_EVENT, ErrorType, Status

_ON_TIMEOUT: Final = ("fail", "approve", "reject")


@dataclass(frozen=True, slots=True)
class Wait:
    """What a task waits for; `until` is when it gives up, or for a sleep when it is over."""

    kind: str
    until: datetime | None = None
    timeout: str | None = None
    """As the author wrote it, for messages."""
    event: str | None = None
    prompt: str | None = None
    on_timeout: str = "fail"

    def timed_out(self) -> Outcome:
        """Say how the wait ends when its time is up."""
        if self.kind == SLEEP:
            return completed()
        if self.kind == WAIT_FOR_EVENT:
            return _late(f"no event '{self.event}' came within {self.timeout}")
        if self.on_timeout == "fail":
            return _late(f"nobody answered within {self.timeout}")
        return Verdict(approved=self.on_timeout == "approve", timed_out=True).outcome(self)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a person, or the end of a timeout, says to an approval."""

    approved: bool = True
    by: str | None = None
    note: str | None = None
    result: Json = None
    at: str | None = None
    timed_out: bool = False

    def outcome(self, wait: Wait) -> Outcome:
        """Give the end of the approval: an approved one's result says who, when and why."""
        said: dict[str, Json] = {"by": self.by, "note": self.note, "at": self.at}
        if self.timed_out:
            said["timed_out"] = True
        if self.approved:
            given = {} if self.result is None else {"result": self.result}
            return completed({"approved": True, **said, **given})
        who = f" by {self.by}" if self.by else ""
        why = f": {self.note}" if self.note else ""
        late = f": nobody answered within {wait.timeout}" if self.timed_out else ""
        return Outcome(
            Status.FAILED,
            error=short_error(f"rejected{who}{why}{late}"),
            error_type=ErrorType.REJECTED,
            metadata=said,
        )


def read_wait(kind: str, inputs: Json, now: datetime) -> Wait:
    """Read a wait's inputs; raises `ExpressionError` that names what is wrong with them."""
    given: Mapping[str, Json] = inputs if isinstance(inputs, dict) else {}
    return _READERS[kind](given, now)


def _sleep(inputs: Mapping[str, Json], now: datetime) -> Wait:
    if len(inputs) != 1 or next(iter(inputs)) not in ("duration", "until"):
        given = ", ".join(inputs) or "nothing"
        message = f"sleep takes either 'duration' or 'until', not {given}"
        raise ExpressionError(message)
    key, value = next(iter(inputs.items()))
    read: Callable[[], datetime] = (
        (lambda: now + parse_duration(value)) if key == "duration" else lambda: _moment(value)
    )
    return Wait(SLEEP, _read(f"sleep {key}", read))


def _approval(inputs: Mapping[str, Json], now: datetime) -> Wait:
    _only(APPROVAL, inputs, ("prompt", "timeout", "on_timeout"))
    given = inputs.get("on_timeout")
    on_timeout = "fail" if given is None else given
    if on_timeout not in _ON_TIMEOUT:
        message = f"approval on_timeout: {on_timeout!r} is not one of {', '.join(_ON_TIMEOUT)}"
        raise ExpressionError(message)
    prompt = inputs.get("prompt")
    return Wait(
        APPROVAL,
        _until(APPROVAL, inputs, now),
        timeout=_timeout_text(inputs),
        prompt=None if prompt is None else _text(f"{APPROVAL} prompt", prompt),
        on_timeout=cast("str", on_timeout),
    )


def _event(inputs: Mapping[str, Json], now: datetime) -> Wait:
    _only(WAIT_FOR_EVENT, inputs, ("event", "timeout"))
    event = _text(f"{WAIT_FOR_EVENT} event", inputs.get("event"))
    if len(event) > limits.MAX_EVENT_NAME:
        message = f"{WAIT_FOR_EVENT} event: a name has at most {limits.MAX_EVENT_NAME} characters"
        raise ExpressionError(message)
    return Wait(
        WAIT_FOR_EVENT,
        _until(WAIT_FOR_EVENT, inputs, now),
        timeout=_timeout_text(inputs),
        event=event,
    )


_READERS: Final[Mapping[str, Callable[[Mapping[str, Json], datetime], Wait]]] = {
    SLEEP: _sleep,
    APPROVAL: _approval,
    WAIT_FOR_EVENT: _event,
}


def _only(kind: str, inputs: Mapping[str, Json], known: tuple[str, ...]) -> None:
    unknown = [key for key in inputs if key not in known]
    if unknown:
        message = f"{kind} takes {', '.join(known)}, not '{unknown[0]}'"
        raise ExpressionError(message)


def _text(what: str, value: Json) -> str:
    if not isinstance(value, str) or not value:
        message = f"{what} must be text, not {value!r}"
        raise ExpressionError(message)
    return value


def _until(kind: str, inputs: Mapping[str, Json], now: datetime) -> datetime | None:
    value = inputs.get("timeout")
    if value is None:
        return None
    return _read(f"{kind} timeout", lambda: now + parse_duration(value))


def _timeout_text(inputs: Mapping[str, Json]) -> str | None:
    value = inputs.get("timeout")
    return f"{value}s" if isinstance(value, int | float) else cast("str | None", value)


def _read(what: str, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except (ValueError, OverflowError) as error:
        message = f"{what}: {error}"
        raise ExpressionError(message) from error


def _moment(value: Json) -> datetime:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    if moment is None or moment.tzinfo is None:
        message = f"{value!r} is no time with an offset, such as 2030-01-31T08:00:00Z"
        raise ValueError(message)
    return moment.astimezone(UTC)


def _late(error: str) -> Outcome:
    return failed(error, ErrorType.TIMEOUT)
