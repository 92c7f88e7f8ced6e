"""Which tasks of a large tree are in the hands of child workflows.

A partition holds tasks whose dependencies have all ended or are in it too: it waits for nothing
outside. What it learns it reports, so nothing outside waits for the partition as a whole either: a
task starts the moment its own edges allow, whoever runs it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from regrow.core import limits
from regrow.core.frontier import Frontier
from regrow.core.models import TaskId
from regrow.core.record import Kind, Record, Start
from regrow.core.resolve import Plan
from regrow.core.wire import Status, partition_unit


class NoRoomYet(Exception):  # noqa: N818 - it is a matter of time
    """A partition would begin here if less were in flight."""


@dataclass(slots=True)
class Partition:
    """One child workflow that runs tasks of the tree."""

    unit: str
    share: int
    """How many of its tasks may be in flight."""
    left: int
    """How many of its tasks are not known to have ended."""

    @property
    def load(self) -> int:
        """How many of its tasks may be in flight now, as far as is known."""
        return min(self.share, self.left)


class Partitions:
    """The partitions of one run: who holds which task, and what may be handed over."""

    def __init__(self, plan: Plan, records: Mapping[TaskId, Record], *, is_wanted: bool) -> None:
        """Only large trees have partitions, and only if they are wanted."""
        tree = plan.tree
        self._records = records
        self.is_wanted = is_wanted
        self.is_on = is_wanted and len(tree.tasks) > limits.PARTITION_ABOVE
        self.open: dict[str, Partition] = {}
        self.holders: dict[TaskId, str] = {}
        """The partition that a task is in, by task; only while it has not ended."""
        self.begun = 0
        """How many there were, for the numbers of those to come."""
        self.read_later: dict[TaskId, None] | None = None
        """The tasks whose results are read at the tree's end, once that has been asked."""
        self._simple = {
            task.id: True
            for task in (tree.tasks if self.is_on else ())
            if task.id in plan.activities and task.for_each is None
        }
        self._most = tree.max_in_flight

    @property
    def load(self) -> int:
        """How many tasks may be in flight in partitions."""
        return sum(partition.load for partition in self.open.values())

    def takes(self, task_id: TaskId) -> bool:
        """Tell whether a task could be in a partition: a plain activity that nobody has begun."""
        is_free = task_id in self._simple and task_id not in self.holders
        return is_free and self._records[task_id].status is Status.PENDING

    def next(self, frontier: Frontier, head: TaskId, free: int) -> Start | None:
        """Begin a partition with what is first in line; None if that had better run by itself.

        `free` is how many more tasks may be in flight. Raises `NoRoomYet` if the partition has to
        wait; everything is in line again then.
        """
        line = frontier.ready(limits.PARTITION_TASKS - 1)
        heads = [head, *filter(self.takes, line)]
        batch = frontier.reach(heads, limits.PARTITION_TASKS, self.takes)
        is_worth_it = len(batch) >= limits.PARTITION_LEAST
        share = 0
        if is_worth_it:
            share = self._share(free, len(line) + frontier.in_line, frontier.width(batch))
            is_worth_it = share > 0 or self._will_make_room
        taken = dict.fromkeys(batch if share else (head,))
        for task_id in line:
            if task_id not in taken:
                frontier.enqueue(task_id)
        if not is_worth_it:
            return None
        if not share:
            frontier.enqueue(head)
            raise NoRoomYet
        return self._hand_over(batch, share)

    @property
    def _will_make_room(self) -> bool:
        """Whether to wait for partitions to end; other tasks may run for long."""
        return 2 * self.load >= self._most

    def _share(self, free: int, in_line: int, width: int) -> int:
        """Give how many of its tasks may be in flight; where more are in line, they share.

        Not more than can be, lest others wait for places that nobody takes.
        """
        least = min(width, max(1, self._most // limits.PARTITIONS_AT_ONCE))
        if free < least:
            return 0
        wanted = 1 + in_line // limits.PARTITION_TASKS
        return min(width, max(least, free // min(wanted, limits.PARTITIONS_AT_ONCE)))

    def _hand_over(self, batch: Sequence[TaskId], share: int) -> Start:
        self.begun += 1
        unit = partition_unit(self.begun)
        self.open[unit] = Partition(unit, share, len(batch))
        self.holders |= dict.fromkeys(batch, unit)
        return Start(unit, unit, Kind.PARTITION, tasks=tuple(batch), share=share)

    def let_go(self, task_id: TaskId) -> None:
        """Note that a task has ended, or is nobody's any more."""
        unit = self.holders.pop(task_id, None)
        if unit is not None:
            self.open[unit].left -= 1

    def held_by(self, unit: str) -> list[TaskId]:
        """Give the tasks of a partition that are not known to have ended."""
        return [task_id for task_id, holder in self.holders.items() if holder == unit]

    def running(self, records: Mapping[TaskId, Record]) -> list[TaskId]:
        """Give the tasks in partitions that run, as far as is known."""
        return [each for each in self.holders if records[each].status is Status.IN_PROGRESS]

    def close(self, unit: str) -> None:
        """Note that a partition has ended; its tasks have been let go."""
        del self.open[unit]

    def bar(self, unit: str) -> None:
        """Let the tasks of a partition run by themselves: together they were too large."""
        for task_id in self.held_by(unit):
            del self._simple[task_id], self.holders[task_id]
        self.close(unit)
