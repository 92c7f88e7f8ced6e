"""A map on its way: which items have started, and how the ended ones ended.

Items start in order, at most `window` at a time. Once more of them have failed than are tolerated
no further item starts; those that run are awaited.
"""

from bisect import insort
from builtins import isinstance
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from regrow.core import limits
from regrow.core.bounded import Budget
from regrow.core.inputs import Inputs
from regrow.core.models import Json, Task
from regrow.core.outcome import Outcome
from regrow.core.references import ExpressionError, Scope, compile_items
from regrow.core.wire import ErrorType, Status

_SHORT = 200


@dataclass(slots=True)
class MapRun:
    """The state of one map."""

    items: Sequence[Json]
    inputs: Inputs
    window: int
    tolerated: int
    results: list[Json] = field(init=False)
    next_item: int = 0
    running: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    attempts: int | None = 0
    """Those of all items; None once those of one aren't known."""
    failures: list[tuple[int, str, str]] = field(default_factory=list[tuple[int, str, str]])
    """The first failed items: index, error, type."""
    undone: list[int] = field(default_factory=list[int])
    """The items that failed or were cancelled."""
    again: deque[int] = field(default_factory=deque[int])
    """The items that somebody let run once more."""
    closed: bool = False
    """Whether the tree has been cancelled or gave up."""
    in_line: bool = False
    """Whether it waits for a slot."""

    def __post_init__(self) -> None:
        self.results = [None] * len(self.items)

    @classmethod
    def of(cls, task: Task, scope: Scope, budget: Budget | None = None) -> "MapRun":
        """Find the items; raises `ExpressionError` if there is no list of them."""
        items = compile_items(cast("list[Json] | str", task.for_each)).render(scope, budget)
        if not isinstance(items, list):
            kind = "null" if items is None else type(items).__name__
            message = f"for_each needs a list, but {task.for_each} gave {kind}"
            raise ExpressionError(message)
        if len(items) > limits.MAX_ITEMS:
            message = f"for_each has {len(items):,} items; a map has at most {limits.MAX_ITEMS:,}"
            raise ExpressionError(message)
        window = task.max_in_flight or limits.MAX_IN_FLIGHT
        return cls(items, Inputs.of(task), window, tolerated(task.tolerate, len(items)))

    @property
    def may_start(self) -> bool:
        """Whether another item may start now."""
        more = self.again or self.next_item < len(self.items)
        return bool(more) and self.running < self.window and not self._stopped

    @property
    def is_over(self) -> bool:
        """Whether nothing runs and nothing more will."""
        return not self.running and (self._stopped or self._all_ended)

    @property
    def _all_ended(self) -> bool:
        return self.completed + self.failed == len(self.items)

    @property
    def _stopped(self) -> bool:
        return self.closed or self.cancelled > 0 or self.failed > self.tolerated

    def take(self) -> int:
        """Take the next item."""
        if self.again:
            return self.again.popleft()
        self.next_item += 1
        return self.next_item - 1

    def ended(self, index: int, outcome: Outcome) -> None:
        """Note how an item ended."""
        if outcome.attempts is None or self.attempts is None:
            self.attempts = None
        else:
            self.attempts += outcome.attempts
        if outcome.status is Status.COMPLETED:
            self.completed += 1
            self.results[index] = outcome.result
            return
        insort(self.undone, index)
        if outcome.status is Status.CANCELLED:
            self.cancelled += 1
        else:
            self.failed += 1
            error = (outcome.error or "")[:_SHORT]
            insort(self.failures, (index, error, str(outcome.error_type)))
            del self.failures[limits.MAX_LISTED_FAILURES :]

    def outcome(self) -> Outcome:
        """Give the end of the map."""
        metadata: dict[str, Json] = {
            "items": len(self.items),
            "completed": self.completed,
            "failed": self.failed,
        }
        if self.failures:
            metadata["errors"] = [
                {"index": index, "error": error, "error_type": error_type}
                for index, error, error_type in self.failures
            ]
        end = Outcome(Status.COMPLETED, metadata=metadata, attempts=self.attempts)
        if self.closed and (self.failed > self.tolerated or not self._all_ended):
            return replace(end, status=Status.CANCELLED, error="cancelled")
        if self.failed > self.tolerated:
            kind = ErrorType.MAP_FAILED
            return replace(end, status=Status.FAILED, error=self._error(), error_type=kind)
        if self.cancelled:
            return replace(end, status=Status.CANCELLED, error="cancelled")
        return replace(end, result=list(self.results))

    def _error(self) -> str:
        index, error, _ = self.failures[0]
        return f"{self.failed} of {len(self.items)} items failed: item {index}: {error}"

    def retry(self, items: Sequence[int] | None = None) -> None:
        """Let items run again, by default those that did not complete; the others stay as they are.

        Items that have not started are none of its business.
        """
        chosen = dict.fromkeys(self.undone if items is None else sorted(items))
        fresh = [index for index in chosen if index < self.next_item and index not in self.again]
        for index in fresh:
            self.results[index] = None
        self.again.extend(fresh)
        self.undone = [index for index in self.undone if index not in chosen]
        self.failures = [each for each in self.failures if each[0] not in chosen]
        self.failed, self.cancelled = len(self.undone), 0
        self.completed = self.next_item - len(self.again) - len(self.undone)
        self.closed = False

    # --- handed to a continuation

    def as_json(self) -> list[Any]:
        """Write down a map of which no item runs; its items can be found again."""
        counts = [self.next_item, self.completed, self.failed, self.attempts]
        results = self.results[: self.next_item]
        return [*counts, self.failures, results, self.undone, list(self.again)]

    def restore(self, shape: list[Any]) -> None:
        """Read what `as_json` wrote; an older engine's didn't know which items failed."""
        self.next_item, self.completed, self.failed, self.attempts, failures, results = shape[:6]
        self.failures = [(index, error, error_type) for index, error, error_type in failures]
        self.results[: len(results)] = results
        if shape[6:]:
            undone, again = shape[6:]
            self.undone = list(undone)
            self.again.extend(again)
            self.cancelled = len(undone) - self.failed
        elif self.failed:
            self.undone = [at for at in range(self.next_item) if self.results[at] is None]


def tolerated(tolerate: int | str, items: int) -> int:
    """Give how many of so many items may fail."""
    if isinstance(tolerate, int):
        return tolerate
    return int(float(tolerate.rstrip("%")) * items / 100 + 1e-9)
