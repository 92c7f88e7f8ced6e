"""What the server's lists say of a tree: its search attributes, as the run stands.

They are for finding trees among many, not for reading one: a word for how it stands, and the first
few tasks that failed or wait for people.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from itertools import islice
from typing import Final

from regrow.core.models import TaskId
from regrow.core.run import TreeRun
from regrow.core.wire import GROUP, SLEEP, Status

TREE_NAME: Final = "TreeName"
TREE_STATUS: Final = "TreeStatus"
TREE_FAILED_TASKS: Final = "TreeFailedTasks"
TREE_WAITING_ON: Final = "TreeWaitingOn"

SEARCH_ATTRIBUTES: Final[Mapping[str, str]] = {
    TREE_NAME: "Keyword",
    TREE_STATUS: "Keyword",
    TREE_FAILED_TASKS: "KeywordList",
    TREE_WAITING_ON: "KeywordList",
}
"""Each with its type, as Temporal names it."""

MOST_TASKS: Final = 20
"""A server takes 2 KB as one value, and an id has at most 64 characters."""


class TreeState(StrEnum):
    """How a tree stands, as its attribute `TreeStatus` says it."""

    IN_PROGRESS = "in_progress"
    WAITING = "waiting"
    """A task waits for people, or all of it does, to mend what failed; the rest may go on."""
    PAUSED = "paused"
    """Also while tasks wait for people: their answers would start nothing."""
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class TreeAttributes:
    """Gives the values of the attributes; asking often is cheap, also in a large tree."""

    def __init__(self, run: TreeRun) -> None:
        self._run = run
        self._failed: list[TaskId] = []
        self._failures = 0

    def values(self) -> dict[str, str | list[str]]:
        """Give every attribute's value; what no task is in is an empty list."""
        waiting_on = list(islice(self._waiting(), MOST_TASKS))
        return {
            TREE_NAME: self._run.plan.tree.name,
            TREE_STATUS: self._state(waiting=bool(waiting_on)).value,
            TREE_FAILED_TASKS: self._first_failed(),
            TREE_WAITING_ON: waiting_on,
        }

    def _state(self, *, waiting: bool) -> TreeState:
        if self._run.is_finished:
            return TreeState(self._run.status.value)
        if self._run.paused is not None:
            return TreeState.PAUSED
        waits = waiting or self._run.is_held
        return TreeState.WAITING if waits else TreeState.IN_PROGRESS

    def _waiting(self) -> Iterator[TaskId]:
        return (task_id for task_id, wait in self._run.waits.items() if wait.kind != SLEEP)

    def _first_failed(self) -> list[TaskId]:
        """Look through the tasks only when that may find others than the last time."""
        failures, room = self._run.counts[Status.FAILED], len(self._failed) < MOST_TASKS
        if (room and failures != self._failures) or not all(map(self._has_failed, self._failed)):
            self._failed = list(islice(filter(self._has_failed, self._run.records), MOST_TASKS))
        self._failures = failures
        return self._failed

    def _has_failed(self, task_id: TaskId) -> bool:
        """Tell whether this task itself fails the tree; a group fails for others."""
        return (
            self._run.records[task_id].status is Status.FAILED
            and self._run.plan.natives.get(task_id) != GROUP
            and not self._run.is_tolerated(task_id)
        )
