"""What things do in a simulation: the words of a script."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Final

from regrow.core.models import Json, TaskTree
from regrow.core.outcome import Answer
from regrow.core.problems import Suggester
from regrow.core.wire import (
    AGGREGATE_RESULTS,
    GROUP,
    SLEEP,
    ErrorType,
    Status,
    compensation_unit,
    item_unit,
)

_SILENT: Final = (GROUP, AGGREGATE_RESULTS, SLEEP)
"""What the workflow does by itself, so that nobody can say what it does."""
_INDEX: Final = re.compile(r"\[(0|[1-9][0-9]*)\]")
_ANY_INDEX: Final = re.compile(r"\[\d+\]$")


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
    runs: dict[str, Any] = field(default_factory=dict[str, Any])
    """What every tree knew in the end, by its path: a `TreeRun` each, the whole one at ""."""


Script = Mapping[str, Act | Sequence[Act] | Callable[..., Any]]


def check_script(script: Script, tree: TaskTree) -> None:
    """Raise ValueError for names under which nothing in the tree would ever do what is said."""
    known = dict.fromkeys(_names(tree)) if script else {}
    suggest = Suggester(known)
    unknown = [
        f"nothing in the tree is scripted by '{name}'{suggest(name)}"
        for name in script
        if _INDEX.sub("[0]", name) not in known
    ]
    if unknown:
        raise ValueError("\n".join(unknown))


def acts_of(script: Script, path: str, executor: str) -> Sequence[Act | Callable[..., Any]]:
    """Give what is said of a unit of work, by the most exact name; nothing if nothing is."""
    for name in _names_of(path, executor):
        if name in script:
            found = script[name]
            return [found] if isinstance(found, Act) or callable(found) else found
    return []


def _names_of(path: str, executor: str) -> Iterator[str]:
    """Give the names under which something may be scripted, the most exact one first."""
    spellings = ((part, _ANY_INDEX.sub("", part)) for part in path.split("/"))
    yield from dict.fromkeys(map("/".join, product(*spellings)))
    yield executor


def _names(tree: TaskTree, path: str = "") -> Iterator[str]:
    """Give every name that may be scripted; the first item of a map stands for them all."""
    for task in tree.tasks:
        units = [task.id] if task.for_each is None else [task.id, item_unit(task.id, 0)]
        if task.tree is not None:
            for unit in units:
                yield from _names(task.tree, f"{path}{unit}/")
        elif task.task_queue or task.executor_id not in _SILENT:
            yield from (f"{path}{unit}" for unit in units)
            yield task.executor_id
        if task.compensate is not None:
            yield f"{path}{compensation_unit(task.id)}"
            yield task.compensate.executor


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
