"""Task objects, and how a tree of them is written as a document."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

from regrow.core.draw.marks import because_text
from regrow.core.loading import as_id
from regrow.core.result import TaskBecause, TaskResult
from regrow.core.wire import Status

_EXECUTOR_ID: Final = "executor_id"
_LONGEST_STEM: Final = 48
"""Of a name that becomes an id: with what makes it unique it is an id still."""


@dataclass(kw_only=True)
class TaskModel:
    """A task: what was asked for, and how it stands since it was last looked at."""

    id: str
    name: str
    user_id: str | None = None
    parent_id: str | None = None
    priority: int = 2
    dependencies: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    inputs: dict[str, Any] = field(default_factory=dict[str, Any])
    schemas: dict[str, Any] = field(default_factory=dict[str, Any])
    params: dict[str, Any] = field(default_factory=dict[str, Any])
    status: str = Status.PENDING.value
    """`pending`, `in_progress`, `completed`, `failed` or `cancelled`."""
    result: Any = None
    error: str | None = None
    error_type: str | None = None
    attempts: int | None = 0
    """How often the executor ran; None when it isn't known, as after a timeout."""
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    """What the executor answered beside its result, and what the worker knows."""
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    started_at: datetime | None = None
    completed_at: datetime | None = None

    def as_document(self, parent_id: str | None) -> dict[str, Any]:
        """Write it as an entry of a tree's `tasks`."""
        return {
            "id": self.id,
            "name": self.name,
            "user_id": self.user_id,
            "parent_id": self.parent_id or parent_id,
            "priority": self.priority,
            "dependencies": self.dependencies,
            "inputs": self.inputs,
            "schemas": self.schemas,
            "params": self.params,
        }

    def take(self, end: TaskResult) -> None:
        """Take over how it stands."""
        because = end.because
        blocked = because is not None and because.reason == "dependency"
        self.status = (Status.FAILED if blocked else end.status).value
        self.result, self.error_type = end.result, end.error_type
        self.error = _blocked_by(because) if because and blocked else end.error
        self.attempts, self.metadata = end.attempts, dict(end.metadata)
        self.started_at, self.completed_at = end.started_at, end.finished_at


def create_task(  # noqa: PLR0913 - that system's keywords
    name: str,
    *,
    id: str | None = None,  # noqa: A002 - the word of the contract
    user_id: str | None = None,
    parent_id: str | None = None,
    priority: int = 2,
    dependencies: Sequence[Mapping[str, Any]] | None = None,
    inputs: Mapping[str, Any] | None = None,
    schemas: Mapping[str, Any] | None = None,
    params: Mapping[str, Any] | None = None,
) -> TaskModel:
    """Make a task; nothing runs yet.

    Its executor is `schemas["method"]`, else `params["executor_id"]`, else `name`. The id defaults
    to the name with a few characters that make it unique. Raises ValueError for other `params`,
    which an executor would not get.
    """
    if lost := ", ".join(key for key in params or () if key != _EXECUTOR_ID):
        raise ValueError(
            f"'{name}' has params that its executor would not get: {lost}; put them into inputs"
        )
    return TaskModel(
        id=id or f"{as_id(name)[:_LONGEST_STEM] or 'task'}-{uuid4().hex[:8]}",
        name=name,
        user_id=user_id,
        parent_id=parent_id,
        priority=priority,
        dependencies=[dict(each) for each in dependencies or ()],
        inputs=dict(inputs or {}),
        schemas=dict(schemas or {}),
        params=dict(params or {}),
    )


class TaskTreeNode:
    """A task and those below it; it organises, and orders nothing."""

    def __init__(self, task: TaskModel) -> None:
        self.task = task
        self.children: list[TaskTreeNode] = []

    def add_child(self, child: "TaskTreeNode") -> None:
        """Put a node below this one."""
        self.children.append(child)

    def walk(self) -> Iterator[tuple[TaskModel, str | None]]:
        """Give every task with the id of its parent, parents first, in the order of adding."""
        rest: list[tuple[TaskTreeNode, str | None]] = [(self, None)]
        while rest:
            node, parent_id = rest.pop()
            yield node.task, parent_id
            rest += [(child, node.task.id) for child in reversed(node.children)]

    def as_document(self) -> dict[str, Any]:
        """Write the tree as a document, named as its root."""
        tasks = [task.as_document(parent_id) for task, parent_id in self.walk()]
        return {"name": as_id(self.task.name) or "tree", "tasks": tasks}


def _blocked_by(because: TaskBecause) -> str:
    cause = f": {because.error}" if because.error else ""
    return f"it did not run, {because_text(because)}{cause}"
