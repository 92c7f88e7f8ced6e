"""What is wrong with one task whose fields are sound, each by itself."""

from collections.abc import Iterator

from regrow.core import limits
from regrow.core.models import Task
from regrow.core.problems import Path, Problem, suggestion
from regrow.core.wire import NATIVE_EXECUTORS, TREE


def task_problems(user_id: str | None, task: Task, path: Path) -> Iterator[Problem]:
    """Find fields that contradict each other: maps, sub-trees, compensations, local tasks.

    `user_id` is that of the whole tree.
    """
    yield from _map_problems(task, path)
    yield from _subtree_problems(user_id, task, path)
    yield from _local_problems(task, path)
    undo = task.compensate
    if undo is not None and undo.executor in NATIVE_EXECUTORS:
        message = f"'{undo.executor}' is run by the workflow itself and undoes nothing"
        yield Problem("compensate", (*path, "compensate", "executor"), message)


def _map_problems(task: Task, path: Path) -> Iterator[Problem]:
    if task.for_each is not None:
        if task.executor_id in NATIVE_EXECUTORS and task.executor_id != TREE:
            named = task.executor_id
            message = f"a map runs executors and sub-trees; put '{named}' into a sub-tree"
            yield Problem("for_each", (*path, "for_each"), message)
        return
    for field in ("max_in_flight", "tolerate"):
        if field in task.model_fields_set:
            message = f"'{field}' of a task is for its items; it has no for_each"
            yield Problem("for_each", (*path, field), message)


def _local_problems(task: Task, path: Path) -> Iterator[Problem]:
    if not task.local:
        return
    if task.task_queue is not None:
        message = "a local task runs on the tree's own workers; leave out local, or task_queue"
        yield Problem("local", (*path, "local"), message)
    elif task.executor_id in NATIVE_EXECUTORS:
        message = f"'{task.executor_id}' is run by the workflow itself; local is for executors"
        yield Problem("local", (*path, "local"), message)
    longest, most = task.start_to_close_timeout, limits.MAX_LOCAL_TIMEOUT
    if longest is not None and longest > most:
        message = f"an attempt of a local task takes at most {most.total_seconds():g}s"
        yield Problem("local", (*path, "start_to_close_timeout"), message)


def _subtree_problems(user_id: str | None, task: Task, path: Path) -> Iterator[Problem]:
    tree = task.tree
    if tree is None:
        return
    if task.executor != TREE:
        message = f"a task with a sub-tree has the executor 'tree', not '{task.executor}'"
        yield Problem("tree", (*path, "executor"), message)
    if task.task_queue is not None:
        message = "a sub-tree has no task queue of its own; give one to the tasks inside"
        yield Problem("tree", (*path, "task_queue"), message)
    if tree.user_id not in (None, user_id):
        whole = f"one of '{user_id}'" if user_id else "one that has none"
        message = f"user_id '{tree.user_id}' inside {whole}; one tree has one user"
        yield Problem("user_id", (*path, "tree", "user_id"), message)
    for key in task.inputs:
        if key not in tree.inputs:
            message = f"the sub-tree declares no input '{key}'{suggestion(key, tree.inputs)}"
            yield Problem("unknown_input", (*path, "inputs", key), message)
