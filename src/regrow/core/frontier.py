"""Which tasks may run now.

Facts come in (`settle`), decisions go out (`unblocked`, `ready`). This module knows no Temporal, no
clock and no I/O, so one rule serves the workflow, the reader of histories and the tests.

A task is unblocked once every dependency has settled and every required one completed; it also
waits for whatever its expressions name further up, and a group for its members. A required
dependency that did not complete skips its dependent at once (a group once its members have
settled), and the skip travels on. What is unblocked and needs a worker is put in line by
(priority, position in the document).
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import heappop, heappush

from regrow.core.graph import dependents_of, enclosing_groups
from regrow.core.models import Task, TaskId
from regrow.core.references import named_tasks
from regrow.core.wire import Status


class Frontier:
    """The edge between what has run and what may run next."""

    def __init__(self, tasks: Sequence[Task], groups: Mapping[TaskId, object]) -> None:
        self._groups = groups
        self._position = {task.id: at for at, task in enumerate(tasks)}
        self._priority = {task.id: task.priority for task in tasks}
        self._dependents = dependents_of(tasks)
        self._group_of = enclosing_groups(tasks, groups)
        self._waiting = {task.id: len(task.dependencies) for task in tasks}
        for group in self._group_of.values():
            self._waiting[group] += 1
        self._readers = _readers(tasks)
        self._reading = dict.fromkeys(self._waiting, 0)
        for readers in self._readers.values():
            for reader in readers:
                self._reading[reader] += 1
        self._blocked: dict[TaskId, bool] = {}
        self._settled: dict[TaskId, Status] = {}
        self._unblocked = deque(
            task.id for task in tasks if not self._waiting[task.id] + self._reading[task.id]
        )
        self._line: list[tuple[int, int, TaskId]] = []

    @property
    def unsettled(self) -> int:
        """How many tasks have not ended."""
        return len(self._position) - len(self._settled)

    def settle(self, task_id: TaskId, status: Status) -> list[TaskId]:
        """Record an end; returns the tasks that are skipped because of it, nearest first."""
        return [] if task_id in self._settled else self.restore({task_id: status})

    def restore(self, settled: Mapping[TaskId, Status]) -> list[TaskId]:
        """Record ends, each of which stands whatever the others are; returns who is skipped."""
        self._settled |= settled
        skipped: list[TaskId] = []
        ended = deque(settled)
        while ended:
            for blocked in self._pass_on(ended.popleft()):
                self._settled[blocked] = Status.SKIPPED
                skipped.append(blocked)
                ended.append(blocked)
        return skipped

    def unblocked(self) -> TaskId | None:
        """Take the next task whose edges allow it to go on, if there is one."""
        while self._unblocked:
            task_id = self._unblocked.popleft()
            if task_id not in self._settled:
                return task_id
        return None

    def enqueue(self, task_id: TaskId) -> None:
        """Put an unblocked task in line for a worker."""
        heappush(self._line, (self._priority[task_id], self._position[task_id], task_id))

    def ready(self, limit: int) -> list[TaskId]:
        """Take the first tasks in line, at most `limit`."""
        taken: list[TaskId] = []
        while self._line and len(taken) < limit:
            task_id = heappop(self._line)[2]
            if task_id not in self._settled:
                taken.append(task_id)
        return taken

    @property
    def in_line(self) -> int:
        """How many tasks stand in line, some of which may have ended there."""
        return len(self._line)

    def reach(
        self, heads: Sequence[TaskId], limit: int, takes: Callable[[TaskId], bool]
    ) -> list[TaskId]:
        """Give tasks from the line, and those further on that wait for nothing else.

        Level by level, in document order in the end; not a few of a level that `limit` cuts.
        """
        chosen = dict.fromkeys(heads)
        left: dict[TaskId, int] = {}
        level = list(heads)
        while level:
            level = [task_id for task_id in self._next_level(level, left) if takes(task_id)]
            if len(chosen) + len(level) > limit:
                level = [] if 2 * len(chosen) >= limit else level[: limit - len(chosen)]
            chosen |= dict.fromkeys(level)
        return sorted(chosen, key=self._position.__getitem__)

    def width(self, chosen: Sequence[TaskId]) -> int:
        """Give a bound of how many of these can run at once: the paths that lead through them."""
        followed = dict.fromkeys(chosen, False)
        for task_id in chosen:
            for waiter in self._waiters(task_id):
                if followed.get(waiter) is False:
                    followed[waiter] = True
                    break
        return len(followed) - sum(followed.values())

    def leads_out(self, task_id: TaskId, inside: Mapping[TaskId, object]) -> bool:
        """Tell whether others than those given wait for a task."""
        waited_for = any(waiter not in inside for waiter in self._waiters(task_id))
        return waited_for or task_id in self._group_of

    def _next_level(self, level: Sequence[TaskId], left: dict[TaskId, int]) -> Iterable[TaskId]:
        """Give whom the ends of a level would let go on; `left` counts what they still wait for."""
        for task_id in level:
            for waiter in self._waiters(task_id):
                waits = left.get(waiter, self._waiting[waiter] + self._reading[waiter])
                left[waiter] = waits - 1
                if not left[waiter] and waiter not in self._settled and waiter not in self._blocked:
                    yield waiter

    def _waiters(self, task_id: TaskId) -> Iterable[TaskId]:
        """Give who waits for a task, groups aside."""
        for dependent, _ in self._dependents.get(task_id, ()):
            yield dependent
        yield from self._readers.get(task_id, ())

    def _pass_on(self, ended: TaskId) -> Iterable[TaskId]:
        """Tell everyone who waits for a task that it has ended; gives those it blocks."""
        completed = self._settled[ended] is Status.COMPLETED
        for dependent, required in self._dependents.get(ended, ()):
            if required and not completed:
                self._blocked[dependent] = True
            if self._released(dependent, self._waiting):
                yield dependent
        group = self._group_of.get(ended)
        if group is not None and self._released(group, self._waiting):
            yield group
        for reader in self._readers.get(ended, ()):
            self._released(reader, self._reading)

    def _released(self, waiter: TaskId, waits: dict[TaskId, int]) -> bool:
        """Count one wait less; tells whether the waiter is skipped now, else lets it go on."""
        waits[waiter] -= 1
        if waiter in self._settled:
            return False
        if waiter in self._blocked:
            return waiter not in self._groups or not self._waiting[waiter]
        if not self._waiting[waiter] and not self._reading[waiter]:
            self._unblocked.append(waiter)
        return False


def _readers(tasks: Sequence[Task]) -> dict[TaskId, list[TaskId]]:
    """Who looks at a task's end without depending on it.

    A skipped dependency settles before what is above it does; without this wait an expression
    would see a task further up running or ended, as chance has it.
    """
    readers: dict[TaskId, list[TaskId]] = {}
    for task in tasks:
        direct = {edge.id: True for edge in task.dependencies}
        for named in named_tasks(task):
            if named not in direct:
                readers.setdefault(named, []).append(task.id)
    return readers
