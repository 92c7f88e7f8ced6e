"""The shape of a tree: who waits for whom, who is inside which group, and what is wrong with it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from regrow.core import limits
from regrow.core.models import Task, TaskId
from regrow.core.problems import Path, Problem, Suggester
from regrow.core.wire import GROUP

_SHOWN_CYCLE = 12


def children_of(tasks: Iterable[Task]) -> dict[TaskId, list[TaskId]]:
    """Give the children of every task that has any, in document order."""
    children: dict[TaskId, list[TaskId]] = {}
    for task in tasks:
        if task.parent_id is not None:
            children.setdefault(task.parent_id, []).append(task.id)
    return children


def dependents_of(tasks: Iterable[Task]) -> dict[TaskId, list[tuple[TaskId, bool]]]:
    """Give, for every task, who depends on it and whether it is required."""
    dependents: dict[TaskId, list[tuple[TaskId, bool]]] = {}
    for task in tasks:
        for edge in task.dependencies:
            dependents.setdefault(edge.id, []).append((task.id, edge.required))
    return dependents


def enclosing_groups(
    tasks: Sequence[Task], groups: Mapping[TaskId, object]
) -> dict[TaskId, TaskId]:
    """Give the nearest group above every task that is inside one; parents must not be in a ring."""
    if not groups:
        return {}
    parents = {task.id: task.parent_id for task in tasks}
    nearest: dict[TaskId, TaskId | None] = {}
    for task in tasks:
        trail: list[TaskId] = []
        above: TaskId | None = task.id
        while above is not None and above not in nearest:
            trail.append(above)
            above = parents.get(above)
        found = None if above is None else above if above in groups else nearest[above]
        for inner in reversed(trail):
            nearest[inner] = found
            found = inner if inner in groups else found
    return {task.id: group for task in tasks if (group := nearest[task.id]) is not None}


def may_be_group(task: Task, children: Mapping[TaskId, object]) -> bool:
    """Tell whether a task that names no executor could be a mere group of its children."""
    says_more = task.inputs or task.for_each is not None or task.local is not None
    return task.executor is None and task.id in children and not says_more


def waits_for(tasks: Sequence[Task], groups: Mapping[TaskId, object]) -> dict[TaskId, list[TaskId]]:
    """Give what each task waits for: its dependencies and, for a group, its members."""
    waits = {task.id: [edge.id for edge in task.dependencies] for task in tasks}
    for member, group in enclosing_groups(tasks, groups).items():
        waits[group].append(member)
    return waits


def graph_problems(parsed: Sequence[tuple[Task, Path]]) -> list[Problem]:
    """Find duplicate ids, edges and parents that lead nowhere, and cycles, each with its place."""
    paths: dict[TaskId, Path] = {}
    problems: list[Problem] = []
    for task, path in parsed:
        if task.id in paths:
            problems.append(Problem("duplicate_id", (*path, "id"), f"'{task.id}' is used twice"))
        paths.setdefault(task.id, path)
    suggest = Suggester(paths)
    for task, path in parsed:
        problems += _edge_problems(task, path, paths, suggest)
        problems += _parent_problems(task, path, paths, suggest)
    tasks = list({task.id: task for task, _ in reversed(parsed)}.values())[::-1]
    parents = {
        task.id: [task.parent_id]
        for task in tasks
        if task.parent_id is not None and task.parent_id != task.id
    }
    problems += [_cycle_problem("parent_cycle", loop, paths) for loop in _cycles(parents)]
    children = children_of(tasks)
    groups = {t.id: True for t in tasks if t.executor == GROUP and t.id in children}
    if any(problem.code == "parent_cycle" for problem in problems):
        groups = {}
    return problems + cycle_problems(tasks, groups, paths)


def cycle_problems(
    tasks: Sequence[Task], groups: Mapping[TaskId, object], paths: Mapping[TaskId, Path]
) -> list[Problem]:
    """Find tasks that wait for themselves; self-dependencies are reported elsewhere."""
    waits = {
        task_id: [other for other in others if other != task_id] if task_id in others else others
        for task_id, others in waits_for(tasks, groups).items()
    }
    return [_cycle_problem("cycle", loop, paths) for loop in _cycles(waits)]


def _edge_problems(
    task: Task, path: Path, known: Mapping[TaskId, object], suggest: Suggester
) -> Iterator[Problem]:
    seen: dict[TaskId, bool] = {}
    keys: dict[str, TaskId] = {}
    for index, edge in enumerate(task.dependencies):
        other, key = edge.id, edge.input_key
        if other == task.id:
            yield Problem("self_dependency", _at(path, index), f"'{other}' depends on itself")
        elif other in seen:
            yield Problem("duplicate_dependency", _at(path, index), f"'{other}' is named twice")
        elif other not in known:
            message = f"there is no task '{other}'{suggest(other)}"
            yield Problem("unknown_dependency", _at(path, index), message)
        if key not in (None, "*") and keys.setdefault(key, other) != other:
            message = f"the results of '{keys[key]}' and '{other}' both go into '{key}'"
            yield Problem("duplicate_into", _at(path, index), message)
        seen[other] = True


def _at(path: Path, index: int) -> Path:
    return (*path, "dependencies", index)


def _parent_problems(
    task: Task, path: Path, known: Mapping[TaskId, object], suggest: Suggester
) -> Iterator[Problem]:
    if task.parent_id is None:
        return
    where = (*path, "parent_id")
    if task.parent_id == task.id:
        yield Problem("parent_cycle", where, f"'{task.id}' is its own parent")
    elif task.parent_id not in known:
        message = f"there is no task '{task.parent_id}'{suggest(task.parent_id)}"
        yield Problem("unknown_parent", where, message)


def _cycles(waits: Mapping[TaskId, Sequence[TaskId]]) -> Iterator[list[TaskId]]:
    """Give each knot once, as `a, b, …, a` where each waits for the next."""
    position = {task_id: at for at, task_id in enumerate(waits)}
    if not any(
        position.get(other, -1) >= at
        for at, others in enumerate(waits.values())
        for other in others
    ):
        return  # nobody waits for what comes later, as in most documents
    rest = dict(waits)
    for _ in range(limits.MAX_CYCLES):
        try:
            TopologicalSorter(rest).prepare()
        except CycleError as error:
            loop: list[TaskId] = error.args[1][::-1]
            first = min(range(len(loop) - 1), key=lambda at: position[loop[at]])
            loop = [*loop[first:-1], *loop[:first], loop[first]]
            yield loop
            for task_id in loop[:-1]:
                rest.pop(task_id)
        else:
            return


def _cycle_problem(code: str, loop: list[TaskId], paths: Mapping[TaskId, Path]) -> Problem:
    field = "dependencies" if code == "cycle" else "parent_id"
    return Problem(code, (*paths[loop[0]], field), f"cycle: {cycle_text(loop)}")


def cycle_text(loop: Sequence[TaskId]) -> str:
    """Write a cycle so that a person can follow it, shortened in the middle."""
    if len(loop) > _SHOWN_CYCLE:
        half = _SHOWN_CYCLE // 2
        loop = [*loop[:half], f"… {len(loop) - 2 * half} more …", *loop[-half:]]
    return " → ".join(loop)
