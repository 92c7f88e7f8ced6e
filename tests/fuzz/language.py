"""Random trees of the whole language, brought into the forms that can be compared.

What `simulate` and Temporal give, and what the oracle says, is reduced to the same plain shape:
how every task ended, why, and what everything that ran was given, by path.
"""

import random
from collections.abc import Iterator, Mapping
from typing import Any

from tests.fuzz.oracle import (
    Approved,
    Ended,
    EndState,
    Rejected,
    Scripted,
    Sent,
    TimedOut,
    without_times,
)
from tests.fuzz.strategies import LanguageCase

from regrow.core.result import TaskResult, TreeResult
from regrow.core.script import Act, Script, Trace, approves, fails, hangs, rejects, returns, sends

LONGEST = 200.0
"""Seconds; the library's timeout of one attempt is five minutes."""


def script_of(case: LanguageCase, chance: random.Random) -> Script:
    """Say the case's script in the words of `simulate`; how long things take decides the order."""
    script: dict[str, Any] = {}
    for path, entry in case.script.items():
        if isinstance(entry, list):
            script[path] = [_act(each, chance) for each in entry]
        else:
            script[path] = _act(entry, chance)
    return script


def _act(end: Any, chance: random.Random) -> Act:
    seconds = chance.uniform(0, LONGEST)
    match end:
        case Scripted(ok=True):
            return returns(end.value, seconds=seconds)
        case Scripted():
            return fails(str(end.value), retryable=end.retryable, seconds=seconds)
        case Approved():
            return approves(end.by, end.note, end.result, seconds=seconds)
        case Rejected():
            return rejects(end.by, end.note, seconds=seconds)
        case Sent():
            return sends(end.payload, seconds=seconds)
        case _:
            assert isinstance(end, TimedOut)
            return hangs()


def shape(result: TreeResult, trace: Trace, state: EndState) -> dict[str, Any]:
    """What was seen, as far as the oracle can know it."""
    unsure = list(_unsure(state, ""))
    seen = {
        path: inputs
        for path, inputs in trace.inputs.items()
        if not any(path.startswith(each) for each in unsure)
    }
    tasks = {
        task_id: _seen(task, known=state.tasks[task_id].metadata is not None)
        for task_id, task in result.tasks.items()
    }
    return _without_times(result.status.value, result.outputs, tasks, seen)


def expected(state: EndState) -> dict[str, Any]:
    """What the oracle says, in the same form."""
    tasks = {task_id: _judged(end) for task_id, end in state.tasks.items()}
    return _without_times(state.status, state.outputs, tasks, dict(_received(state, "")))


def _without_times(status: str, outputs: Any, tasks: Any, received: Any) -> dict[str, Any]:
    whole: Any = {"status": status, "outputs": outputs, "tasks": tasks, "received": received}
    return without_times(whole)  # type: ignore[return-value]


def _seen(task: TaskResult, *, known: bool) -> dict[str, Any]:
    undone = task.compensation
    return {
        "status": task.status.value,
        "result": task.result,
        "error_type": task.error_type,
        "reason": task.because and task.because.reason,
        "because": task.because and task.because.task_id,
        "undone": undone and [undone.status.value, undone.error_type],
        "metadata": _without_texts(task.metadata) if known else None,
    }


def _without_texts(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The oracle has no words for an expression that fails."""
    return {
        key: [{**each, "error": None} for each in value] if key == "errors" else value
        for key, value in metadata.items()
    }


def _judged(end: Ended) -> dict[str, Any]:
    undone = end.compensation
    return {
        "status": end.status,
        "result": end.result,
        "error_type": end.error_type,
        "reason": end.reason,
        "because": end.because,
        "undone": undone and [undone.status, undone.error_type],
        "metadata": end.metadata and _without_texts(end.metadata),
    }


def _received(state: EndState, path: str) -> Iterator[tuple[str, Any]]:
    """What everything that surely ran was given, by path."""
    for task_id, end in state.tasks.items():
        here = f"{path}{task_id}"
        if end.inputs is not None and end.subtree is None:
            yield here, end.inputs
        if end.compensation is not None and end.compensation.inputs is not None:
            yield f"{here}~compensate", end.compensation.inputs
        for place, inside in _inside(here, end):
            yield from _received(inside, f"{place}/")
        if end.subtree is None:
            for at, inputs in enumerate(end.items or ()):
                if inputs is not None:
                    yield f"{here}[{at}]", inputs


def _inside(here: str, end: Ended) -> Iterator[tuple[str, EndState]]:
    """The trees that a task ran, with their paths."""
    if isinstance(end.subtree, EndState):
        yield here, end.subtree
        return
    for at, each in enumerate(end.subtree or ()):
        if each is not None:
            yield f"{here}[{at}]", each


def _unsure(state: EndState, path: str) -> Iterator[str]:
    """The maps of which the order decides what ran."""
    for task_id, end in state.tasks.items():
        here = f"{path}{task_id}"
        if end.error_type == "map_failed":
            yield f"{here}["
        for place, inside in _inside(here, end):
            yield from _unsure(inside, f"{place}/")
