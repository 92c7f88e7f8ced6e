"""From the histories that a tree leaves to figures, what drives them, and what would be cheaper."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from regrow.core import limits
from regrow.core.attributes import SEARCH_ATTRIBUTES
from regrow.core.cost.assume import assumed
from regrow.core.cost.history import Action, History, Share
from regrow.core.cost.workflow import Workflow
from regrow.core.cost.world import Assumptions, World
from regrow.core.models import Task, TaskId, TaskTree
from regrow.core.resolve import Description, resolve
from regrow.core.simulate import everything_known
from regrow.core.wire import (
    APPROVAL,
    ENGINE_VERSION,
    TREE,
    WAIT_FOR_EVENT,
    ErrorType,
    Status,
    split_unit,
)

_TASK: Final = "workflow_task_completed"
_EVENTS_OF_TASK: Final = 3
_PARTS: Final = 5
_WIDE: Final = 50
"""Items from which on a map is worth a hint."""
_LONG: Final = 20
"""Tasks from which on it matters that they come one after the other."""
_ONE_BY_ONE: Final = 0.4
"""The share of workflow tasks in the events, from which on it does."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a workflow, with a history of its own."""

    events: int
    bytes: int
    workflow_tasks: int


@dataclass(frozen=True, slots=True)
class Part:
    """What one task costs, with everything inside it."""

    task: str
    executor: str
    activities: int
    events: int
    bytes: int
    actions: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What a tree uses."""

    status: Status
    tasks: int
    """With those of sub-trees, each as often as it runs."""
    activities: Mapping[str, int]
    """By executor; an item of a map is one."""
    workflows: int
    """The tree, and its sub-trees."""
    runs: tuple[Run, ...]
    actions: Mapping[str, int]
    most_events: int
    """Those if no two tasks ended together, so that each end had a workflow task of its own."""
    parts: tuple[Part, ...]
    """The tasks that cost most, the first one first."""
    hints: tuple[str, ...]
    assumptions: tuple[str, ...]

    @property
    def events(self) -> int:
        """All events of all runs."""
        return sum(run.events for run in self.runs)

    @property
    def bytes(self) -> int:
        """All bytes of all histories."""
        return sum(run.bytes for run in self.runs)

    @property
    def workflow_tasks(self) -> int:
        """How many there are in all runs."""
        return sum(run.workflow_tasks for run in self.runs)

    def as_json(self) -> dict[str, Any]:
        """Give everything by stable keys."""
        return {
            "status": self.status.value,
            "tasks": self.tasks,
            "activities": {"total": sum(self.activities.values()), "by_executor": self.activities},
            "workflow_tasks": self.workflow_tasks,
            "events": self.events,
            "most_events": self.most_events,
            "bytes": self.bytes,
            "workflows": self.workflows,
            "runs": len(self.runs),
            "continuations": len(self.runs) - self.workflows,
            "largest_run": asdict(max(self.runs, key=lambda run: run.events)),
            "actions": {"total": sum(self.actions.values()), "by_kind": self.actions},
            "parts": [asdict(part) for part in self.parts],
            "hints": list(self.hints),
            "assumptions": list(self.assumptions),
        }


def estimate(
    tree: TaskTree,
    assumptions: Assumptions = Assumptions(),  # noqa: B008 - a frozen value
    description: Description | None = None,
) -> Cost:
    """Run a checked tree in memory and count what it leaves.

    `description` is what a worker says of its executors; without one every executor is known and
    has no policy of its own. Raises `InvalidTree` for executors that a worker doesn't have.
    """
    known = description or everything_known(tree).model_copy(
        update={
            "engine_version": ENGINE_VERSION,
            "search_attributes": tuple(SEARCH_ATTRIBUTES),
        }
    )
    plain, notes = assumed(tree, assumptions)
    world = World(assumptions)
    whole = Workflow(world, resolve(plain, known), known, f"{tree.name}-00000000")
    whole.begin(tree.as_document())
    world.run()
    return Cost(
        status=whole.run.status,
        tasks=world.tasks,
        activities=world.executors,
        workflows=world.workflows,
        runs=tuple(map(_run, world.histories)),
        actions=_actions(world.histories),
        most_events=sum(map(_most_events, world.histories)),
        parts=tuple(_parts(tree, world.shares)),
        hints=tuple(_hints(tree, world, whole)),
        assumptions=(*_general(tree, assumptions), *notes, *_failures(whole)),
    )


def _run(history: History) -> Run:
    return Run(history.events, history.size, history.kinds[_TASK])


def _most_events(history: History) -> int:
    """Give the events if everything that ended had a workflow task of its own."""
    apart = max(history.news + 1 - history.kinds[_TASK], 0)
    return history.events + _EVENTS_OF_TASK * apart


def _actions(histories: Sequence[History]) -> dict[str, int]:
    total = sum((history.actions for history in histories), Counter[Action]())
    return {action.value: total[action] for action in Action}


def _parts(tree: TaskTree, shares: Mapping[str, Share]) -> list[Part]:
    """Give what each task of the whole tree costs with all that is inside, the dearest first."""
    sums: dict[TaskId, Share] = {task.id: Share() for task in tree.tasks}
    for path, share in shares.items():
        if path:
            sums[split_unit(path.partition("/")[0])[0]].add(share)
    executors = {task.id: TREE if task.tree else task.executor_id for task in tree.tasks}
    parts = [
        Part(each, executors[each], share.activities, share.events, share.bytes, share.actions)
        for each, share in sums.items()
    ]
    return sorted(parts, key=lambda part: -part.events)[:_PARTS]


# --- what is said beside the figures


def _general(tree: TaskTree, given: Assumptions) -> Iterator[str]:
    shortest, longest = given.task_seconds
    time = f"{shortest:g} to {longest:g}" if shortest != longest else f"{shortest:g}"
    yield f"a result has {given.result_bytes:,} bytes, unless it is given"
    yield f"a task takes {time} seconds, and succeeds at its first attempt"
    if any(task.executor_id in (APPROVAL, WAIT_FOR_EVENT) for task in tree.tasks):
        yield "approvals are given and events come at once"


def _failures(whole: Workflow) -> Iterator[str]:
    """Say where what is assumed doesn't do, so that the rest of the branch isn't counted."""
    for task_id, record in whole.run.records.items():
        end = record.outcome
        if end is not None and end.error_type == ErrorType.EXPRESSION:
            yield f"'{task_id}' fails, since it needs more than an assumed result: {end.error}"
    if not whole.run.is_finished:
        yield "the tree then waits for somebody; what follows isn't counted"


def _hints(tree: TaskTree, world: World, whole: Workflow) -> Iterator[str]:
    for task in tree.tasks:
        items = whole.run.maps.get(task.id)
        if items is not None and len(items.items) >= _WIDE:
            yield _map_hint(task, len(items.items), world.shares[task.id])
    runs = [history for history in world.histories if history.events >= _EVENTS_OF_TASK * _LONG]
    if any(_one_by_one(history) for history in runs):
        yield (
            "mostly one task after the other: 6 events each, and 3 where many end together; steps"
            " that only belong together could be one task"
        )
    if any(_left_for_size(history) for history in world.histories):
        yield (
            f"a history is left at {limits.ROLLOVER_BYTES:,} bytes, before"
            f" {limits.ROLLOVER_EVENTS:,} events: let tasks return references to large results"
        )


def _map_hint(task: Task, items: int, share: Share) -> str:
    start = f"'{task.id}' maps {items:,} items"
    if task.tree is not None:
        return f"{start}, each a workflow: a task with the work of the sub-tree would take 3 events"
    short = "" if task.local else "; if they are short, `local: true` takes 1 event each"
    return f"{start} in {share.activities:,} activities: `batch` would take 1{short}"


def _one_by_one(history: History) -> bool:
    return history.kinds[_TASK] * _EVENTS_OF_TASK >= _ONE_BY_ONE * history.events


def _left_for_size(history: History) -> bool:
    continued = history.kinds["workflow_execution_continued_as_new"] > 0
    return continued and history.events < limits.ROLLOVER_EVENTS
