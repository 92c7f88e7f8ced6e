"""What each task is: a group, something the workflow does itself, or an activity with its policy.

A document doesn't say which executors exist; a worker does, once, as a `Description`. From then on
everything about the tree is known.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, Field

from regrow.core.graph import children_of, cycle_problems, may_be_group
from regrow.core.models import Policy, Task, TaskId, TaskTree
from regrow.core.policies import (
    described_policy,
    foreign_policy,
    local_policy,
    says_something,
)
from regrow.core.problems import InvalidTree, Path, Problem, refuse_if, within
from regrow.core.reference_check import reference_problems
from regrow.core.wire import (
    COMPENSATE,
    GROUP,
    NATIVE_EXECUTORS,
    TREE,
    compensation_unit,
    split_unit,
)

_SHOWN_EXECUTORS = 30


class Unknown(BaseModel):
    """An executor id that the worker doesn't have."""

    model_config = ConfigDict(frozen=True)
    suggestion: str | None = None
    near_miss: bool = False
    """So close to a known id that it must be a slip, not the name of a group."""


class Description(BaseModel):
    """What a worker says about the executors of one tree; recorded in history, asked once."""

    model_config = ConfigDict(frozen=True)
    engine_version: int = 1
    """That of the worker that began the tree; absent in the oldest histories."""
    executors: dict[str, Policy] = {}
    unknown: dict[str, Unknown] = {}
    known: tuple[str, ...] = ()
    """Every id the worker has; given only when some are unknown."""
    search_attributes: tuple[str, ...] = Field(default=(), exclude_if=lambda names: not names)
    """Those of a tree that the server has; absent in histories from before they were told."""
    local: tuple[str, ...] = Field(default=(), exclude_if=lambda ids: not ids)
    """Those whose tasks are local unless they say otherwise."""
    hooks: tuple[str, ...] = Field(default=(), exclude_if=lambda moments: not moments)
    """The moments of a tree that hooks of the worker wait for."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A tree whose every task is resolved."""

    tree: TaskTree
    natives: Mapping[TaskId, str]
    """Tasks that the workflow runs itself, groups included."""
    activities: Mapping[str, Policy]
    """Of tasks by their id, and of compensations by theirs."""
    local_tasks: Mapping[TaskId, bool] = field(default_factory=dict[TaskId, bool])
    """Those that run inside a workflow task, with all their items; what undoes them does not."""

    def policy(self, unit: str) -> Policy:
        """Give the policy of a unit of work: a task, an item of a map, a compensation."""
        return self.activities[unit if unit in self.activities else split_unit(unit)[0]]

    def is_subtree(self, unit: str) -> bool:
        """Tell whether a unit of work is a workflow of its own."""
        if unit in self.activities:
            return False
        task_id, _ = split_unit(unit)
        return self.natives.get(task_id) == TREE and not unit.endswith(COMPENSATE)

    def is_local(self, unit: str) -> bool:
        """Tell whether a unit of work runs inside a workflow task."""
        if not self.local_tasks or unit.endswith(COMPENSATE):
            return False
        return split_unit(unit)[0] in self.local_tasks

    @property
    def groups(self) -> dict[TaskId, str]:
        """The groups among the natives."""
        return {task_id: kind for task_id, kind in self.natives.items() if kind == GROUP}


def executor_ids(tree: TaskTree) -> list[str]:
    """The ids that a worker must describe, each once."""
    return [name for name in dict.fromkeys(_named(tree)) if name not in NATIVE_EXECUTORS]


def _named(tree: TaskTree) -> Iterator[str]:
    for task in tree.tasks:
        if not task.task_queue:
            yield task.executor_id
        if task.compensate is not None:
            yield task.compensate.executor
        if task.tree is not None:
            yield from _named(task.tree)


def resolve(tree: TaskTree, description: Description) -> Plan:
    """Settle what each task is; raises `InvalidTree` for unknown executors and what follows."""
    paths: dict[TaskId, Path] = {t.id: ("tasks", at) for at, t in enumerate(tree.tasks)}
    children = children_of(tree.tasks)
    natives: dict[TaskId, str] = {}
    activities: dict[str, Policy] = {}
    local_tasks: dict[TaskId, bool] = {}
    problems: list[Problem] = []
    policy_of = _Policies(tree, description)
    for task in tree.tasks:
        kind = _native_kind(task, children, description)
        if kind is not None:
            natives[task.id] = kind
        elif task.task_queue or task.executor_id in description.executors:
            activities[task.id] = policy_of(task)
            if _is_local(task, description):
                local_tasks[task.id] = True
        else:
            path = (*paths[task.id], "executor")
            problems.append(_unknown_executor(task.executor_id, path, description))
        problems += _inner_problems(task, paths[task.id], description)
    activities |= _compensations(tree, description)
    problems += _endless_retries(activities, paths)
    problems += _implied_group_problems(tree, natives, paths)
    refuse_if(problems)
    return Plan(tree, natives, activities, local_tasks)


def _is_local(task: Task, description: Description) -> bool:
    """Tell whether an activity is local: the task's word goes before its executor's."""
    if task.task_queue:
        return False
    return task.executor_id in description.local if task.local is None else task.local


class _Policies:
    """Policies of tasks, made once for all that say nothing of their own."""

    def __init__(self, tree: TaskTree, description: Description) -> None:
        self._defaults = tree.defaults
        self._description = description
        self._made: dict[tuple[str, bool], Policy] = {}

    def __call__(self, task: Task) -> Policy:
        key = ("" if task.task_queue else task.executor_id, _is_local(task, self._description))
        if says_something(task):
            return self._make(key, task)
        if key not in self._made:
            self._made[key] = self._make(key, task)
        return self._made[key]

    def _make(self, key: tuple[str, bool], task: Task) -> Policy:
        executor, is_local = key
        if not executor:
            return foreign_policy(self._defaults, task)
        make = local_policy if is_local else described_policy
        return make(self._defaults, self._description.executors[executor], task)


def _native_kind(
    task: Task, children: Mapping[TaskId, object], description: Description
) -> str | None:
    if task.task_queue:
        return None
    if task.executor_id in NATIVE_EXECUTORS:
        return task.executor_id
    unknown = description.unknown.get(task.executor_id)
    implied = unknown is not None and not unknown.near_miss and may_be_group(task, children)
    return GROUP if implied else None


def _compensations(tree: TaskTree, description: Description) -> dict[str, Policy]:
    """Give the policies of what undoes tasks: as any task's that says nothing of its own."""
    return {
        compensation_unit(task.id): described_policy(tree.defaults, executor, Policy())
        for task in tree.tasks
        if task.compensate is not None
        and (executor := description.executors.get(task.compensate.executor)) is not None
    }


def _inner_problems(task: Task, path: Path, description: Description) -> list[Problem]:
    """Check what a task brings along: its compensation and its sub-tree."""
    problems: list[Problem] = []
    undo = task.compensate
    if undo is not None and undo.executor not in description.executors:
        where = (*path, "compensate", "executor")
        problems.append(_unknown_executor(undo.executor, where, description))
    if task.tree is not None:
        try:
            resolve(task.tree, description)
        except InvalidTree as error:
            problems += within((*path, "tree"), error.problems)
    return problems


def _unknown_executor(executor: str, path: Path, description: Description) -> Problem:
    unknown = description.unknown.get(executor, Unknown())
    hint = f"; did you mean '{unknown.suggestion}'?" if unknown.suggestion else ""
    shown = ", ".join(description.known[:_SHOWN_EXECUTORS]) or "none"
    more = len(description.known) - _SHOWN_EXECUTORS
    rest = f" and {more} more" if more > 0 else ""
    message = f"no worker has the executor '{executor}'{hint} (known: {shown}{rest})"
    return Problem("unknown_executor", path, message)


def _endless_retries(
    activities: Mapping[str, Policy], paths: Mapping[TaskId, Path]
) -> list[Problem]:
    message = "maximum_attempts 0 retries for ever; give a schedule_to_close_timeout"
    return [
        Problem("endless_retries", _policy_path(unit, paths), message)
        for unit, policy in activities.items()
        if policy.retry.maximum_attempts == 0 and policy.schedule_to_close_timeout is None
    ]


def _policy_path(unit: str, paths: Mapping[TaskId, Path]) -> Path:
    """Where the policy of a task is written; that of a compensation comes with its executor."""
    path = paths[split_unit(unit)[0]]
    if unit.endswith(COMPENSATE):
        return (*path, "compensate", "executor")
    return (*path, "retry", "maximum_attempts")


def _implied_group_problems(
    tree: TaskTree, natives: Mapping[TaskId, str], paths: Mapping[TaskId, Path]
) -> list[Problem]:
    """Check again what only shows once it is known which tasks are groups."""
    implied = [t.id for t in tree.tasks if natives.get(t.id) == GROUP and t.executor != GROUP]
    children = children_of(tree.tasks)
    doubtful = any(may_be_group(task, children) for task in tree.tasks)
    groups = {task_id: True for task_id, kind in natives.items() if kind == GROUP}
    problems = cycle_problems(tree.tasks, groups, paths) if implied else []
    if doubtful and not problems:
        parsed: Sequence[tuple[Task, Path]] = [(task, paths[task.id]) for task in tree.tasks]
        problems = reference_problems(tree, parsed, groups)
    return problems
