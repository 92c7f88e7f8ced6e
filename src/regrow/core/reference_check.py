"""What is wrong with a tree's references: unknown names, and tasks that aren't upstream.

Every expression is compiled and its names are looked up. A task may only name what has surely
settled by then: what it depends on, directly or further up, and what is inside a group it waits
for.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from regrow.core.graph import children_of, may_be_group, waits_for
from regrow.core.models import Json, Task, TaskId, TreeHead
from regrow.core.problems import Path, Problem, Suggester, suggestion
from regrow.core.references import (
    ITEM_ROOTS,
    NEEDS_QUOTES,
    ROOTS,
    TASK_FIELDS,
    TREE_FIELDS,
    Expression,
    ExpressionError,
    Template,
    compile_items,
    compile_template,
    may_refer,
)
from regrow.core.secrets import SECRETS
from regrow.core.wire import GROUP, NATIVE_EXECUTORS

_NO_SECRETS: Final = (
    "a secret can only be given to an executor: name it in the task's inputs, or inside the"
    " sub-tree, where it is used"
)
_ONLY_NAMED: Final = (
    "a secret can only be named, ${{ secrets.NAME }}, with letters, digits and '_', in the inputs"
    " of an executor; its value is known to the worker alone"
)
_MOST_DOUBTS: Final = 100
_CHUNK: Final = 512


def reference_problems(
    head: TreeHead,
    parsed: Sequence[tuple[Task, Path]],
    groups: Mapping[TaskId, object] | None = None,
    *,
    spoilt: bool = False,
) -> list[Problem]:
    """Check every expression of the tree: readable, known names, only tasks upstream.

    Which tasks are mere groups is known once a worker has described the executors; until then
    (`groups` absent) whatever could be one gets the benefit of the doubt. With `spoilt` inputs,
    edges or parents, only what doesn't depend on them is checked.
    """
    check = _Check(head, parsed, spoilt=spoilt)
    for task, path in parsed:
        check.task(task, path)
    for name, value in (head.outputs or {}).items():
        check.template(value, ("outputs", name), None)
    return check.finish(groups)


class _Check:
    def __init__(
        self, head: TreeHead, parsed: Sequence[tuple[Task, Path]], *, spoilt: bool
    ) -> None:
        self._head = head
        self._spoilt = spoilt
        self._tasks: dict[TaskId, Task] = {}
        for task, _ in parsed:  # of an id used twice the first, as where rings are looked for
            self._tasks.setdefault(task.id, task)
        self._suggest = Suggester(self._tasks)
        self._problems: list[Problem] = []
        self._distant: list[tuple[TaskId, TaskId, Path]] = []
        """References to tasks that are not direct dependencies: (from, to, place)."""

    def task(self, task: Task, path: Path) -> None:
        roots = ROOTS if task.for_each is None else (*ROOTS, *ITEM_ROOTS)
        secrets = task.executor_id not in NATIVE_EXECUTORS
        for key, value in task.inputs.items():
            if may_refer(value):
                self.template(value, (*path, "inputs", key), task, roots, secrets=secrets)
        for key, value in (("for_each", task.for_each), ("when", task.when)):
            if value is not None:
                self._expressions(partial(compile_items, value), (*path, key), task)
        undo = {} if task.compensate is None else task.compensate.inputs
        for key, value in undo.items():  # by then every task has ended
            self.template(value, (*path, "compensate", "inputs", key), None, secrets=True)

    def template(
        self,
        value: Json,
        where: Path,
        task: Task | None,
        roots: Sequence[str] = ROOTS,
        *,
        secrets: bool = False,
    ) -> None:
        self._expressions(lambda: compile_template(value), where, task, roots, secrets=secrets)

    def _expressions(
        self,
        read: Callable[[], Template],
        where: Path,
        task: Task | None,
        roots: Sequence[str] = ROOTS,
        *,
        secrets: bool = False,
    ) -> None:
        try:
            template = read()
            if template.secrets and not secrets:
                self._problems.append(Problem("secret", where, _NO_SECRETS))
            for expression in template.expressions:
                self._names(expression, where, task, roots)
        except ExpressionError as error:
            self._problems.append(Problem("expression", where, str(error)))

    def finish(self, groups: Mapping[TaskId, object] | None) -> list[Problem]:
        if self._spoilt or not self._distant:
            return self._problems
        tasks = [*self._tasks.values()]
        children = children_of(tasks)
        explicit = {t.id: True for t in tasks if t.executor == GROUP and t.id in children}
        possible = {t.id: True for t in tasks if groups is None and may_be_group(t, children)}
        surely = _upstream(waits_for(tasks, explicit if groups is None else groups), self._distant)
        maybe = waits_for(tasks, {**explicit, **possible}) if possible else None
        doubts = 0
        for (task_id, named, where), reachable in zip(self._distant, surely, strict=True):
            doubts += not reachable
            if reachable or (maybe and (doubts > _MOST_DOUBTS or _reaches(maybe, task_id, named))):
                continue
            message = f"'{named}' is not upstream of '{task_id}'; add it to the dependencies"
            self._problems.append(Problem("not_upstream", where, message))
        return self._problems

    def _names(
        self, expression: Expression, where: Path, task: Task | None, roots: Sequence[str]
    ) -> None:
        for name in expression.names:
            message = self._name_message(name, roots)
            if message:
                self._problems.append(Problem("reference", where, message))
            elif name[0] == "tasks" and task is not None:
                self._distance(name[1], where, task)

    def _distance(self, named: TaskId, where: Path, task: Task) -> None:
        if all(edge.id != named for edge in task.dependencies):
            self._distant.append((task.id, named, where))

    def _name_message(self, name: tuple[str, ...], roots: Sequence[str]) -> str | None:
        root, rest = name[0], name[1:]
        if root in ITEM_ROOTS:
            only = f"'{root}' means something only in the inputs of a task with for_each"
            return None if root in roots else only
        if root not in ROOTS:
            unknown = f"'{root}' is not one of {', '.join(roots)}{suggestion(root, roots)}"
            return _ONLY_NAMED if root == SECRETS else unknown
        if root == "tasks":
            return self._task_message(rest)
        if root == "inputs" and self._spoilt:
            return None
        known = self._head.inputs if root == "inputs" else TREE_FIELDS
        if rest and rest[0] not in known:
            what = "the tree declares no input" if root == "inputs" else "the tree has no field"
            return f"{what} '{rest[0]}'{suggestion(rest[0], known)}"
        return None

    def _task_message(self, rest: tuple[str, ...]) -> str | None:
        if rest[0] not in self._tasks:
            hint = self._dotted(rest) or self._suggest(rest[0])
            return f"there is no task '{rest[0]}'{hint}"
        if len(rest) > 1 and rest[1] not in TASK_FIELDS:
            fields = ", ".join(TASK_FIELDS)
            return f"a task has {fields}, not '{rest[1]}'{suggestion(rest[1], TASK_FIELDS)}"
        return None

    def _dotted(self, rest: tuple[str, ...]) -> str | None:
        """An id with dots in it, written without quotes, reads as a path."""
        for length in range(len(rest), 1, -1):
            if (dotted := ".".join(rest[:length])) in self._tasks:
                return f'{NEEDS_QUOTES} tasks."{dotted}"'
        return None


def _upstream(
    waits: Mapping[TaskId, Sequence[TaskId]], pairs: Sequence[tuple[TaskId, TaskId, Path]]
) -> list[bool]:
    """Tell for each pair whether the second is upstream of the first; O((V+E)·pairs/512)."""
    order = _topological(waits) if pairs else []
    answers: list[bool] = []
    for start in range(0, len(pairs), _CHUNK):
        chunk = pairs[start : start + _CHUNK]
        bits = {named: 1 << at for at, named in enumerate(dict.fromkeys(p[1] for p in chunk))}
        above: dict[TaskId, int] = {}
        for task_id in order:
            mask = 0
            for other in waits[task_id]:
                mask |= above.get(other, 0) | bits.get(other, 0)
            above[task_id] = mask
        answers += [bool(above.get(pair[0], 0) & bits[pair[1]]) for pair in chunk]
    return answers


def _reaches(waits: Mapping[TaskId, Sequence[TaskId]], start: TaskId, goal: TaskId) -> bool:
    seen, rest = {start: True}, [start]
    while rest:
        for other in waits.get(rest.pop(), ()):
            if other == goal:
                return True
            if other not in seen:
                seen[other] = True
                rest.append(other)
    return False


def _topological(waits: Mapping[TaskId, Sequence[TaskId]]) -> list[TaskId]:
    """Order tasks after what they wait for; what is on a cycle is left out, it has its problem."""
    missing = {task_id: sum(o in waits for o in others) for task_id, others in waits.items()}
    followers: dict[TaskId, list[TaskId]] = {}
    for task_id, others in waits.items():
        for other in others:
            followers.setdefault(other, []).append(task_id)
    order = [task_id for task_id, count in missing.items() if not count]
    for task_id in order:  # grows while it is read
        for follower in followers.get(task_id, ()):
            missing[follower] -= 1
            if not missing[follower]:
                order.append(follower)
    return order
