"""What a task is given: its own inputs with their references filled in, and results passed on."""

from builtins import isinstance
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, cast

from regrow.core.bounded import Budget
from regrow.core.models import Dependency, Json, Task, TaskId
from regrow.core.references import (
    ExpressionError,
    Scope,
    Template,
    compile_items,
    compile_template,
)

SPREAD = "*"


class Upstream(Scope, Protocol):
    """What is known of the tasks before this one."""

    def completed(self, task_id: TaskId) -> bool:
        """Tell whether there is a result to pass."""
        ...


@dataclass(frozen=True, slots=True)
class Inputs:
    """How the inputs of one task are made."""

    template: Template
    passed: tuple[Dependency, ...]
    """The edges whose results are added, since no reference names them."""
    known: tuple[str, ...] | None = None
    """The only inputs that a sub-tree takes; None for an executor, which takes whatever comes."""

    @property
    def names_secrets(self) -> bool:
        """Whether the author wrote names of secrets into them."""
        return bool(self.template.secrets)

    @classmethod
    def of(cls, task: Task) -> "Inputs":
        """Read them off a checked task."""
        template = compile_template(task.inputs)
        expressions = [*template.expressions]
        if task.for_each is not None:
            expressions += compile_items(task.for_each).expressions
        named = {task_id for each in expressions for task_id in each.results}
        passed = tuple(
            edge
            for edge in task.dependencies
            if edge.input_key is not None and edge.id not in named
        )
        return cls(template, passed, None if task.tree is None else tuple(task.tree.inputs))

    def render(self, upstream: Upstream, budget: Budget | None = None) -> dict[str, Json]:
        """Give the inputs; raises `ExpressionError`.

        The author's keys win, then results under a name, then spread ones, the later edge first.
        """
        own = cast("dict[str, Json]", self.template.render(upstream, budget))
        spread: dict[str, Json] = {}
        named: dict[str, Json] = {}
        for edge in self.passed:
            if not upstream.completed(edge.id):
                continue
            result = upstream.task_view(edge.id)["result"]
            if edge.input_key == SPREAD:
                spread |= _keys_of(edge.id, result)
            else:
                named[cast("str", edge.input_key)] = result
        inputs = {**spread, **named, **own}
        if self.known is None:
            return inputs
        return {key: value for key, value in inputs.items() if key in self.known}


@dataclass(frozen=True, slots=True)
class ItemScope:
    """What the expressions of one item of a map see: all that the task sees, and the item."""

    run: Upstream
    item: Json
    index: int

    @property
    def local(self) -> Mapping[str, Json]:
        """Give the item and its position, which counts from 0."""
        return {"item": self.item, "index": self.index}

    @property
    def inputs(self) -> Mapping[str, Json]:
        """Give the tree's inputs."""
        return self.run.inputs

    @property
    def tree(self) -> Mapping[str, Json]:
        """Give what the tree is called."""
        return self.run.tree

    def task_view(self, task_id: TaskId) -> dict[str, Json]:
        """Give how another task ended."""
        return self.run.task_view(task_id)

    def completed(self, task_id: TaskId) -> bool:
        """Tell whether another task has a result to pass."""
        return self.run.completed(task_id)


def _keys_of(task_id: TaskId, result: Json) -> Mapping[str, Json]:
    if isinstance(result, dict):
        return result
    message = f"into: '*' spreads a mapping, but '{task_id}' gave {type(result).__name__}"
    raise ExpressionError(message)
