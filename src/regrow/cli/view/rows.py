"""What a picture has a line for: each task, below what it is in, and what runs inside sub-trees."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from regrow.cli.view.standing import UNSOUND, Standing, standing_of
from regrow.client import Attempt
from regrow.client.watching import Seen
from regrow.core.graph import children_of
from regrow.core.models import Task, TaskId
from regrow.core.result import TaskResult
from regrow.core.wire import Status, split_unit

TOP: Final = -1
_OPENED: Final = (Status.IN_PROGRESS, *UNSOUND)
"""Sub-trees that stand like this show what is in them."""


class Row(NamedTuple):
    """A task, or the sub-tree of one of its items."""

    standing: Standing
    """The tree that it is in."""
    task: Task
    unit: str
    status: Status
    depth: int
    above: int
    """Where among the rows that is which it is in."""
    attempts: Sequence[Attempt] = ()
    folded: int = 0
    """How many rows below it are not shown, since all is well there."""

    @property
    def is_task(self) -> bool:
        """Whether it is no item of a map."""
        return self.unit == self.task.id

    @property
    def state(self) -> TaskResult:
        """Give how it stands."""
        return self.standing.task(self.unit) if self.is_task else TaskResult(status=self.status)


def rows_of(standing: Standing, seen: Seen | None = None) -> list[Row]:
    """Give a row for each task, children below their parents, in the tree's order."""
    rows: list[Row] = []
    _add_tree(rows, standing, seen, 0, TOP)
    return rows


def _add_tree(
    rows: list[Row], standing: Standing, seen: Seen | None, depth: int, above: int
) -> None:
    tasks = standing.tree.tasks
    children = children_of(tasks)
    known: Mapping[TaskId, Task] = {task.id: task for task in tasks}
    attempts, inside = _attempts_by_task(seen), _inside_by_task(seen)
    rest = [(task, depth, above) for task in reversed(tasks) if task.parent_id is None]
    while rest:
        task, level, over = rest.pop()
        status, here = standing.status_of(task.id), len(rows)
        tries = attempts.get(task.id, ())
        rows.append(Row(standing, task, task.id, status, level, over, tries))
        if status in _OPENED:
            for unit, inner in inside.get(task.id, ()):
                _add_inner(rows, task, unit, inner, here)
        below: Sequence[TaskId] = children.get(task.id, ())
        rest.extend((known[child], level + 1, here) for child in reversed(below))


def _add_inner(rows: list[Row], task: Task, unit: str, inner: Seen, above: int) -> None:
    """Add the tasks of a sub-tree; of a map, each item's below a line for the item."""
    standing = standing_of(inner.fold)
    if standing is None:
        return
    depth = rows[above].depth + 1
    if unit != task.id:
        rows.append(Row(standing, task, unit, standing.result.status, depth, above))
        above, depth = len(rows) - 1, depth + 1
    _add_tree(rows, standing, inner, depth, above)


def _attempts_by_task(seen: Seen | None) -> dict[TaskId, list[Attempt]]:
    """Sort what is known of attempts by their tasks, without what has ended since it was asked."""
    found: dict[TaskId, list[Attempt]] = {}
    for unit in seen.fold.activities if seen and seen.attempts else ():
        if seen and (attempt := seen.attempts.get(unit)):
            found.setdefault(split_unit(unit)[0], []).append(attempt)
    return found


def _inside_by_task(seen: Seen | None) -> dict[TaskId, list[tuple[str, Seen]]]:
    """Sort what is seen inside by tasks, items in their order."""
    found: dict[TaskId, list[tuple[str, Seen]]] = {}
    units = list(seen.inside.items()) if seen else []
    for unit, inner in sorted(units, key=lambda entry: split_unit(entry[0])[1] or 0):
        found.setdefault(split_unit(unit)[0], []).append((unit, inner))
    return found
