"""Hooks: what else runs when tasks and trees do.

@before_task()                      # or @before_task("http_request", "acme_*")
async def stamp(call: TaskCall) -> ChangedInputs:
    return ChangedInputs({**call.inputs, "trace": call.context.tree_id})

A hook is found where executors are found and runs on the worker, in the task's own activity or, for
trees, in one of its own; never in workflow code. It looks on; only one before a task may step in.
One that fails is named in the log, and changes nothing.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final, TypeVar

from regrow.context import TaskContext
from regrow.core.models import Json
from regrow.core.wire import Status, TreeMoment

__all__ = [
    "AnswerInstead",
    "ChangedInputs",
    "Hook",
    "TaskCall",
    "TaskEnd",
    "TreeEvent",
    "TreeMoment",
    "after_task",
    "before_task",
    "is_hook",
    "on_tree",
]

_MARK: Final = "__regrow_hook__"
_ARGUMENTS: Final = {"before_task": 1, "after_task": 2, "on_tree": 1}
_TAKES: Final = {
    "before_task": "one parameter, a TaskCall",
    "after_task": "two parameters, a TaskCall and a TaskEnd",
    "on_tree": "one parameter, a TreeEvent",
}

Target = TypeVar("Target", bound=Callable[..., Any])


@dataclass(frozen=True)
class TaskCall:
    """An executor that is about to be called, or has been."""

    executor: str
    inputs: Json
    """What it is given, but for secrets: of them the names."""
    context: TaskContext


@dataclass(frozen=True)
class ChangedInputs:
    """Said before a task: call the executor with these inputs."""

    inputs: Mapping[str, Json]


@dataclass(frozen=True)
class AnswerInstead:
    """Said before a task: this is the answer, don't call the executor."""

    answer: Json
    """Read by the outcome table, as what an executor returns."""


@dataclass(frozen=True)
class TaskEnd:
    """How an attempt ended."""

    status: Status
    """`completed` or `failed`."""
    result: Json = None
    error: str | None = None
    error_type: str | None = None
    duration: float = 0.0
    """Seconds."""


@dataclass(frozen=True)
class TreeEvent:
    """Something that has happened to a tree."""

    moment: TreeMoment
    tree_id: str
    name: str
    user_id: str | None = None
    counts: Mapping[str, int] = field(default_factory=dict[str, int])
    """Tasks by status; empty before the end."""
    error: str | None = None
    """Why it failed."""
    demo: bool = False
    """Whether it is only shown, and no executor is called."""


@dataclass(frozen=True)
class Hook:
    """A function that was marked as a hook, and for what."""

    kind: str
    """`before_task`, `after_task` or `on_tree`."""
    only: tuple[str, ...]
    """Patterns of executors' ids, or moments; none stands for all."""
    function: Callable[..., Any]

    @property
    def is_async(self) -> bool:
        """Whether it is to be awaited."""
        return inspect.iscoroutinefunction(self.function)

    @property
    def name(self) -> str:
        """Where it is written, for people."""
        return f"{self.function.__module__}.{self.function.__qualname__}"

    def is_for(self, what: str) -> bool:
        """Tell whether it wants to hear of an executor, or of a moment."""
        return not self.only or any(fnmatchcase(what, pattern) for pattern in self.only)


def before_task(*executors: str) -> Callable[[Target], Target]:
    """Mark a function that is called with a `TaskCall` before each attempt of a task.

    It may return `ChangedInputs`, which the next hook and the executor get, or `AnswerInstead`,
    which ends the task without its executor. `executors` are ids or patterns; default: all.
    """
    return _marking("before_task", _texts("before_task", executors))


def after_task(*executors: str) -> Callable[[Target], Target]:
    """Mark a function that is called with a `TaskCall` and a `TaskEnd` after each attempt."""
    return _marking("after_task", _texts("after_task", executors))


def on_tree(*moments: TreeMoment | str) -> Callable[[Target], Target]:
    """Mark a function that is called with a `TreeEvent`; `moments` default to all."""
    known = [moment.value for moment in TreeMoment]
    for moment in _texts("on_tree", moments):
        if moment not in known:
            message = f"'{moment}' is no moment of a tree; those are {', '.join(known)}"
            raise ValueError(message)
    return _marking("on_tree", moments)


def is_hook(value: object) -> bool:
    """Tell whether this very object was marked."""
    return callable(value) and _MARK in getattr(value, "__dict__", {})


def hook_of(function: Callable[..., Any]) -> Hook:
    """Give what a marked function was marked as."""
    return vars(function)[_MARK]


def _texts(kind: str, given: Sequence[object]) -> Sequence[str]:
    if not all(isinstance(each, str) for each in given):
        message = f"write @{kind}() with its brackets; in them may stand patterns, as texts"
        raise TypeError(message)
    return [str(each) for each in given]


def _marking(kind: str, only: Sequence[str]) -> Callable[[Target], Target]:
    def mark(target: Target) -> Target:
        if not callable(target):
            message = f"{kind} marks functions"
            raise TypeError(message)
        try:
            inspect.signature(target).bind(*range(_ARGUMENTS[kind]))
        except TypeError:
            message = f"a hook of {kind} takes {_TAKES[kind]}"
            raise TypeError(message) from None
        setattr(target, _MARK, Hook(kind, tuple(map(str, only)), target))
        return target

    return mark
