"""What things do in a simulation: the words of a script."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from regrow.core.models import Json
from regrow.core.outcome import Answer
from regrow.core.wire import ErrorType, Status


@dataclass(frozen=True, slots=True)
class Act:
    """What happens when a task's turn comes; made by the functions below."""

    ok: bool = True
    value: Json = None
    error: str | None = None
    error_type: str | None = None
    retryable: bool = False
    by: str | None = None
    note: str | None = None
    seconds: float | None = 0
    """How long it takes; None for ever, so that a timeout has its turn."""

    def answer(self) -> Answer:
        """Give what an executor that does this answers."""
        if self.ok:
            return Answer(ok=True, result=self.value)
        return Answer(
            ok=False, error=self.error, error_type=self.error_type, retryable=self.retryable
        )


@dataclass(slots=True)
class Trace:
    """What happened in a simulation, by path."""

    inputs: dict[str, dict[str, Json]] = field(default_factory=dict[str, dict[str, Json]])
    """What every executor was given."""
    changes: list[tuple[str, Status]] = field(default_factory=list[tuple[str, Status]])
    """Every change of a task's status, in order."""


Script = Mapping[str, Act | Sequence[Act] | Callable[..., Any]]


def returns(value: Json = None, *, seconds: float = 0) -> Act:
    """Complete with a result."""
    return Act(value=value, seconds=seconds)


def fails(
    error: str = "it failed",
    error_type: str = ErrorType.EXECUTION,
    *,
    retryable: bool = False,
    seconds: float = 0,
) -> Act:
    """Fail; only if `retryable` is it tried again, as the task's retry policy says."""
    return Act(
        ok=False, error=error, error_type=str(error_type), retryable=retryable, seconds=seconds
    )


def hangs() -> Act:
    """Never answer: an executor runs into its timeout, an approval or a wait into its own."""
    return Act(seconds=None)


def approves(
    by: str | None = None, note: str | None = None, result: Json = None, *, seconds: float = 0
) -> Act:
    """Say yes to an approval."""
    return Act(value=result, by=by, note=note, seconds=seconds)


def rejects(by: str | None = None, note: str | None = None, *, seconds: float = 0) -> Act:
    """Say no to an approval."""
    return Act(ok=False, by=by, note=note, seconds=seconds)


def sends(payload: Json = None, *, seconds: float = 0) -> Act:
    """Send the event that a task waits for, so many seconds after it began to wait."""
    return Act(value=payload, seconds=seconds)
