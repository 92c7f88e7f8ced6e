"""How a tree stands, asked task by task: of thousands only a screenful is ever looked at."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from regrow.client import Fold
from regrow.core.mapping import MapRun
from regrow.core.models import Task, TaskId, TaskTree
from regrow.core.result import TaskResult, TreeResult, counts_of, task_entry
from regrow.core.run import TreeRun
from regrow.core.waits import Wait
from regrow.core.wire import Status

UNSOUND: Final = (Status.FAILED, Status.CANCELLED)
_TOLD: Final = ("items", "completed", "failed", "cached", "answered_by")
"""Of a task's metadata, which may be large."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A tree, and how it and its tasks stand."""

    tree: TaskTree
    result: TreeResult
    """A task that isn't in it stands as the `run` says; without a run it completed."""
    run: TreeRun | None = None

    def status_of(self, task_id: TaskId) -> Status:
        """Tell where a task stands."""
        known = self.result.tasks.get(task_id)
        if known is not None:
            return known.status
        return self.run.records[task_id].status if self.run else Status.COMPLETED

    def task(self, task_id: TaskId) -> TaskResult:
        """Give all that a line says of a task; what it resulted in is not shown."""
        known = self.result.tasks.get(task_id)
        if known is not None:
            return known
        if self.run is None:
            return TaskResult(status=Status.COMPLETED)
        return TaskResult.model_validate(_shown(task_entry(self.run, task_id)))

    def wait_of(self, task_id: TaskId) -> Wait | None:
        """Give what a task waits for just now."""
        return self.run.waits.get(task_id) if self.run else None

    def map_of(self, task_id: TaskId) -> MapRun | None:
        """Give how far a map is."""
        return self.run.maps.get(task_id) if self.run else None

    def open_dependencies(self, task: Task) -> list[TaskId]:
        """Give what a task has yet to wait for."""
        ids = (edge.id for edge in task.dependencies)
        return [task_id for task_id in ids if not self.status_of(task_id).is_settled]

    @property
    def goes_on(self) -> bool:
        """Whether it is on its way to an end like that of any other."""
        is_closed = self.run is not None and self.run.closed is not None
        stalls = self.result.paused or self.result.rerun_of or self.is_held
        return self.result.status is Status.IN_PROGRESS and not (is_closed or stalls)

    @property
    def is_held(self) -> bool:
        """Whether `on_failure: wait` keeps the tree open, and nothing else does."""
        if self.result.status is not Status.IN_PROGRESS or self.tree.on_failure != "wait":
            return False
        if self.run is not None:
            return self.run.is_held
        tasks = self.result.tasks.values()
        over = all(task.status.is_settled and not task.compensation for task in tasks)
        return over and any(task.status in UNSOUND and not task.tolerated for task in tasks)


def standing_of(fold: Fold) -> Standing | None:
    """Give a tree as far as its history was read; none before its beginning was."""
    if fold.tree is None:
        return None
    if fold.run is None:
        return Standing(fold.tree, fold.result())
    run = fold.run
    head = TreeResult(
        tree_id=fold.tree_id,
        name=fold.tree.name,
        status=fold.status,
        counts=counts_of(run),
        error=run.error,
        paused=run.paused,
        rerun_of=run.rerun_of,
        demo=run.plan.tree.demo,
    )
    return Standing(fold.tree, head, run)


def _shown(entry: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {key: entry["metadata"][key] for key in _TOLD if key in entry["metadata"]}
    return {**entry, "result": None, "metadata": metadata}
