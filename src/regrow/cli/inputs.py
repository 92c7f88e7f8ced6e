"""What executors would say of the inputs that a tree's author wrote, before anything runs.

Only what is surely wrong is a problem: a value that a reference stands for, or that a dependency
may bring, is known when the task runs.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, cast

from regrow.core.inputs import SPREAD, Inputs
from regrow.core.models import Json, Task, TaskTree
from regrow.core.problems import Path, Problem, suggestion
from regrow.core.references import OPEN, ExpressionError
from regrow.core.waits import read_wait
from regrow.core.wire import NATIVE_EXECUTORS, WAITS
from regrow.executors import Executor, Registry

BATCH = "batch"
_MISSING = "missing"
_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)
_OWN = ("value_error", "assertion_error")
"""What a validator of the author's says, who may have looked at other inputs too."""


def invalid_inputs(tree: TaskTree, registry: Registry) -> Iterator[Problem]:
    """Give what executors would refuse, whatever comes."""
    for task, executor, path in _hosted(tree, registry, ()):
        brought = [edge.input_key for edge in Inputs.of(task).passed]
        yield from _refused(executor, task.inputs, brought, path)
        if executor.id == BATCH and not brought:
            yield from _refused_items(registry, task.inputs, path)
    yield from _refused_waits(tree, ())


def unknown_inputs(tree: TaskTree, registry: Registry) -> Iterator[Problem]:
    """Give the inputs that executors would ignore."""
    for task, executor, path in _hosted(tree, registry, ()):
        known = _known(executor.input_schema())
        for key in task.inputs if known is not None else ():
            if key not in (known or ()):
                ignored = f"'{executor.id}' doesn't know the input '{key}' and will ignore it"
                message = f"{ignored}{suggestion(key, known or ())}"
                yield Problem("unknown_input", (*path, "inputs", key), message)


def lacking(tree: TaskTree, registry: Registry) -> Iterator[Problem]:
    """Give the executors that this machine lacks a library for."""
    for _, executor, path in _hosted(tree, registry, ()):
        if needs := " ".join(f"'{need}'" for need in executor.missing):
            message = f"'{executor.id}' can't run here: pip install {needs}"
            yield Problem("missing_extra", (*path, "executor"), message)


def _hosted(
    tree: TaskTree, registry: Registry, around: Path
) -> Iterator[tuple[Task, Executor, Path]]:
    """Give the tasks that this worker's executors do, those of sub-trees too."""
    for at, task in enumerate(tree.tasks):
        path: Path = (*around, "tasks", at)
        if task.tree is not None:
            yield from _hosted(task.tree, registry, (*path, "tree"))
        elif task.executor_id in registry and not _is_elsewhere(task):
            yield task, registry[task.executor_id], path


def _is_elsewhere(task: Task) -> bool:
    return task.task_queue is not None or task.executor_id in NATIVE_EXECUTORS


def _refused(
    executor: Executor, inputs: Mapping[str, Json], brought: list[str | None], path: Path
) -> Iterator[Problem]:
    anything = SPREAD in brought
    told: dict[Path, bool] = {}
    for where, kind, said in executor.input_errors(dict(inputs)):
        place, value = _nearest(dict(inputs), where)
        may_come = anything or (kind == _MISSING and where[:1] and where[0] in brought)
        unsure = kind in _OWN and (brought or _has_reference(dict(inputs)))
        if may_come or unsure or _has_reference(value) or (not where and brought):
            continue
        is_key = kind == _MISSING and len(where) == len(place) + 1
        at = (*path, "inputs", *(where if is_key else place))
        if not told.setdefault(at, False):
            told[at] = True
            message = f"'{executor.id}' would refuse it: {said[:1].lower()}{said[1:]}"
            yield Problem("invalid_input", at, message)


def _refused_items(registry: Registry, inputs: Mapping[str, Json], path: Path) -> Iterator[Problem]:
    """Judge what a batch is to call, as far as it is written out."""
    name, items, shared = inputs.get("executor"), inputs.get("items"), inputs.get("inputs", {})
    if not isinstance(name, str) or OPEN in name or not isinstance(shared, dict):
        return
    if name not in registry:
        message = f"no worker has the executor '{name}'{suggestion(name, [e.id for e in registry])}"
        yield Problem("unknown_executor", (*path, "inputs", "executor"), message)
        return
    for at, item in enumerate(items if isinstance(items, list) else ()):
        if isinstance(item, dict):
            for problem in _refused(registry[name], {**shared, **item}, [], ()):
                where = (*path, "inputs", "items", at, *problem.path[1:])
                yield Problem(problem.code, where, problem.message)


def _refused_waits(tree: TaskTree, around: Path) -> Iterator[Problem]:
    """Judge the inputs of waits that the workflow itself would refuse."""
    for at, task in enumerate(tree.tasks):
        path: Path = (*around, "tasks", at)
        if task.tree is not None:
            yield from _refused_waits(task.tree, (*path, "tree"))
        elif task.executor_id in WAITS and not _has_reference(dict(task.inputs)):
            try:
                read_wait(task.executor_id, dict(task.inputs), _ANY_TIME)
            except ExpressionError as error:
                yield Problem("invalid_input", (*path, "inputs"), str(error))


def _nearest(value: Any, where: Path) -> tuple[Path, Any]:
    """Follow a place as far as the inputs have it; pydantic also names the types it tried."""
    for at, key in enumerate(where):
        inside = isinstance(value, dict) and key in value
        if not inside and not (isinstance(value, list) and isinstance(key, int)):
            return where[:at], cast("Any", value)
        value = cast("Any", value)[key]
    return where, value


def _has_reference(value: Json) -> bool:
    if isinstance(value, str):
        return OPEN in value
    if isinstance(value, dict):
        return any(map(_has_reference, value.values()))
    return isinstance(value, list) and any(map(_has_reference, value))


def _known(schema: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The inputs an executor declares; None when it takes whatever comes."""
    return None if schema.get("additionalProperties") else schema.get("properties")
