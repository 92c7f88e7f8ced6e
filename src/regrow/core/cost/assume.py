"""What is assumed where a tree depends on results that only a run will know.

Such a condition holds, such a list has so many items, and such an expression gives as many bytes as
a result. References to a whole result stay, since what is assumed of that result answers them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from regrow.core.cost.world import Assumptions
from regrow.core.models import Dependency, Json, Task, TaskId, TaskTree
from regrow.core.references import Expression, compile_items, compile_template, condition
from regrow.core.script import acts_of
from regrow.core.wire import APPROVAL, SLEEP

_WHOLE: Final = re.compile(r'tasks\.("[^"]+"|\w+)\.\w+|inputs\.\w+|item|index')
"""What has a value whatever the result is."""


def assumed(tree: TaskTree, given: Assumptions) -> tuple[TaskTree, tuple[str, ...]]:
    """Give the tree with nothing in it that depends on unknown results, and what was assumed."""
    assumer = _Assumer(given)
    return assumer.tree(tree, "", ()), tuple(assumer.notes)


@dataclass(frozen=True, slots=True)
class _Vague:
    """Tells whether an expression looks into what isn't known."""

    tasks: Mapping[TaskId, bool]
    inputs: tuple[str, ...]
    has_items: bool = False
    """Whether the items of the map that is looked at are unknown."""

    def __call__(self, expression: Expression) -> bool:
        """Tell whether its value cannot be found from what is assumed of results."""
        return not _WHOLE.fullmatch(expression.text.strip()) and self.names(expression)

    def names(self, expression: Expression) -> bool:
        """Tell whether it names what isn't known, be it a whole result."""
        return any(map(self._is_unknown, expression.names))

    def _is_unknown(self, name: tuple[str, ...]) -> bool:
        root, *rest = name
        if root == "tasks":
            return self.tasks.get(rest[0], False) and rest[1:2] in ([], ["result"])
        if root == "inputs":
            return any(each in self.inputs for each in rest[:1] or self.inputs)
        return root == "item" and self.has_items


class _Assumer:
    def __init__(self, given: Assumptions) -> None:
        self.notes: list[str] = []
        self._given = given

    def tree(self, tree: TaskTree, path: str, unknown_inputs: tuple[str, ...]) -> TaskTree:
        known = {task.id: _has_unknown_result(task, path, self._given) for task in tree.tasks}
        vague = _Vague(known, unknown_inputs)
        tasks = tuple(self._task(task, path, vague) for task in tree.tasks)
        return tree.model_copy(
            update={"tasks": tasks, "outputs": self._filled(tree.outputs, vague)}
        )

    def _task(self, task: Task, path: str, vague: _Vague) -> Task:
        name, update = f"{path}{task.id}", dict[str, Any]()
        if task.when is not None and vague(condition(task.when)):
            self.notes.append(f"the condition of '{name}' holds")
            update["when"] = None
        if isinstance(task.for_each, str) and vague.names(condition(task.for_each)):
            self.notes.append(f"'{name}' has {self._given.items:,} items (--items)")
            update["for_each"] = [None] * self._given.items
            vague = replace(vague, has_items=True)
        update["inputs"] = self._filled(task.inputs, vague)
        if task.compensate is not None:
            inputs = self._filled(task.compensate.inputs, vague)
            update["compensate"] = task.compensate.model_copy(update={"inputs": inputs})
        if task.tree is not None:
            update["tree"] = self.tree(task.tree, f"{name}/", _unknown_inputs(task, vague))
        changed = task.model_copy(update=update)
        return changed.model_copy(update={"dependencies": _edges(task, changed)})

    def _filled(self, value: Any, vague: _Vague) -> Any:
        """Put as many bytes as a result has where an expression looks into one."""
        if isinstance(value, dict):
            fields = cast("dict[str, Any]", value)
            return {key: self._filled(each, vague) for key, each in fields.items()}
        if isinstance(value, list):
            return [self._filled(each, vague) for each in cast("list[Any]", value)]
        if isinstance(value, str) and any(map(vague, compile_template(value).expressions)):
            return self._given.filler
        return value


def _has_unknown_result(task: Task, path: str, given: Assumptions) -> bool:
    """Tell whether nothing is known of a result; of those made of others nothing is."""
    if task.for_each is not None or task.tree is not None:
        return True
    said = acts_of(given.script, f"{path}{task.id}", task.executor_id)
    return not said and task.executor_id not in (SLEEP, APPROVAL)


def _unknown_inputs(task: Task, vague: _Vague) -> tuple[str, ...]:
    """Give the inputs of a sub-tree whose value isn't known: written ones, and passed results."""
    written = [
        key
        for key, value in task.inputs.items()
        if any(map(vague.names, compile_template(value).expressions))
    ]
    declared = tuple(cast("TaskTree", task.tree).inputs)
    passed = [edge.input_key for edge in task.dependencies if vague.tasks[edge.id]]
    return declared if "*" in passed else (*written, *(key for key in passed if key in declared))


def _edges(task: Task, changed: Task) -> tuple[Dependency, ...]:
    """Keep results from being passed by themselves because their names are no longer written."""
    gone = [name for name in _named_results(task) if name not in _named_results(changed)]
    return tuple(
        Dependency(id=edge.id, required=edge.required, into=None) if edge.id in gone else edge
        for edge in task.dependencies
    )


def _named_results(task: Task) -> list[TaskId]:
    expressions = list(compile_template(cast("Json", task.inputs)).expressions)
    if task.for_each is not None:
        expressions += compile_items(task.for_each).expressions
    return [name for each in expressions for name in each.results]
