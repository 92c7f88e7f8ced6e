"""What is drawn of a tree: nodes and edges, however they are written down.

A large tree is drawn by its layers: what can run at the same time becomes one node with its counts.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from regrow.core.draw.layout import ranks
from regrow.core.draw.marks import GLYPHS, WORDS, Mark, duration
from regrow.core.graph import children_of, cycle_problems, enclosing_groups, may_be_group
from regrow.core.models import Task, TaskId, TaskTree
from regrow.core.wire import GROUP, Status

MOST_NODES: Final = 150
MOST_EDGES: Final = 450
"""What programs that draw Mermaid take, and about what people can read."""
_MOST_LAYERS: Final = 60
_WORST_FIRST: Final = (
    Status.FAILED,
    Status.CANCELLED,
    Status.IN_PROGRESS,
    Status.SKIPPED,
    Status.PENDING,
    Status.COMPLETED,
)


class EdgeKind(StrEnum):
    """What an edge says."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    MEMBER = "member"
    """From a task to the group that it is in, which waits for it."""


@dataclass(frozen=True, slots=True)
class Node:
    """A box: a task, or a layer of many."""

    id: str
    label: str
    status: Status | None = None
    """None before anything has run."""
    note: str = ""
    tip: str = ""
    """What is said when somebody points at it."""
    link: str | None = None


@dataclass(frozen=True, slots=True)
class Edge:
    """A line from what is waited for to what waits."""

    start: str
    end: str
    kind: EdgeKind = EdgeKind.REQUIRED


@dataclass(frozen=True, slots=True)
class Picture:
    """A graph, ready to be drawn."""

    name: str
    nodes: Sequence[Node]
    edges: Sequence[Edge]
    is_whole: bool = field(default=True)
    """Whether every task has a node of its own."""


def picture_of(
    tree: TaskTree,
    marks: Mapping[TaskId, Mark] | None = None,
    *,
    groups: Mapping[TaskId, object] | None = None,
    most: int = MOST_NODES,
) -> Picture:
    """Give what is drawn of a tree; with marks, how its tasks stand.

    Which tasks are groups a run knows; else it is taken from the document.
    """
    edges = list(_edges(tree, groups_of(tree) if groups is None else groups))
    if len(tree.tasks) > most or len(edges) > most * (MOST_EDGES // MOST_NODES):
        return _by_layers(tree, edges, marks)
    nodes = [_node(task, marks.get(task.id) if marks else None) for task in tree.tasks]
    return Picture(tree.name, nodes, edges)


def groups_of(tree: TaskTree) -> dict[TaskId, bool]:
    """Give the tasks that are groups, as far as the document says so."""
    children = children_of(tree.tasks)
    groups = {
        task.id: True
        for task in tree.tasks
        if task.executor == GROUP or may_be_group(task, children)
    }
    # A child that depends on its parent: the parent must be an executor.
    nowhere: dict[TaskId, tuple[str, ...]] = {task.id: () for task in tree.tasks}
    return {} if cycle_problems(tree.tasks, groups, nowhere) else groups


def _edges(tree: TaskTree, groups: Mapping[TaskId, object]) -> Iterator[Edge]:
    for task in tree.tasks:
        for edge in task.dependencies:
            kind = EdgeKind.REQUIRED if edge.required else EdgeKind.OPTIONAL
            yield Edge(edge.id, task.id, kind)
    for member, group in enclosing_groups(tree.tasks, groups).items():
        yield Edge(member, group, EdgeKind.MEMBER)


def _node(task: Task, mark: Mark | None) -> Node:
    kind = _kind(task)
    if mark is None:
        return Node(task.id, task.id, None, kind, _tip(task, None))
    return Node(task.id, task.id, mark.status, mark.note or kind, _tip(task, mark), mark.link)


def _kind(task: Task) -> str:
    """Mark what isn't a plain task; once it runs a map says how far it is instead."""
    if task.for_each is not None:
        return "for each"
    return "tree" if task.tree is not None else ""


def _tip(task: Task, mark: Mark | None) -> str:
    title = "" if task.title == task.id else task.title
    executor = "" if task.executor in (None, task.id) else task.executor
    when = f"when {task.when}" if task.when else ""
    said = [duration(mark.took)] if mark and mark.took else []
    said += [mark.reason] if mark else []
    return " · ".join(filter(None, [title, executor, when, *said]))


# --- large trees


def _by_layers(
    tree: TaskTree, edges: Sequence[Edge], marks: Mapping[TaskId, Mark] | None
) -> Picture:
    """Draw what may run at the same time as one node, and long sequences of those as one, too."""
    at = {task.id: index for index, task in enumerate(tree.tasks)}
    rank = ranks(len(tree.tasks), ((at[edge.start], at[edge.end]) for edge in edges))
    first, last = min(rank), max(rank)
    step = -(-(last - first + 1) // _MOST_LAYERS)
    bands: dict[int, list[Task]] = {band: [] for band in range((last - first) // step + 1)}
    for task, layer in zip(tree.tasks, rank, strict=True):
        bands[(layer - first) // step].append(task)
    nodes = [_band(band, tasks, marks) for band, tasks in bands.items()]
    band_of = {task.id: band for band, tasks in bands.items() for task in tasks}
    return Picture(tree.name, nodes, list(_nearest(edges, band_of)), is_whole=False)


def _nearest(edges: Sequence[Edge], band_of: Mapping[TaskId, int]) -> Iterator[Edge]:
    """Give the edges between bands, of each only that to the next one that waits for it."""
    nearest: dict[int, tuple[int, EdgeKind]] = {}
    for edge in edges:
        start, end = band_of[edge.start], band_of[edge.end]
        known, kind = nearest.get(start, (end, edge.kind))
        if start == end or end > known:
            continue
        is_firm = end == known and kind is EdgeKind.REQUIRED
        nearest[start] = (end, kind if is_firm else edge.kind)
    for start, (end, kind) in nearest.items():
        yield Edge(f"~{start}", f"~{end}", kind)


def _band(band: int, tasks: Sequence[Task], marks: Mapping[TaskId, Mark] | None) -> Node:
    label = tasks[0].id if len(tasks) == 1 else f"{len(tasks):,} tasks: {tasks[0].id} …"
    tip = ", ".join(task.id for task in tasks[:10])
    if marks is None:
        return Node(f"~{band}", label, tip=tip)
    counts = dict.fromkeys(Status, 0)
    for task in tasks:
        counts[marks[task.id].status] += 1
    worst = next(status for status in _WORST_FIRST if counts[status])
    many = len(tasks) > 1
    note = " ".join(f"{GLYPHS[status]}{count:,}" for status, count in counts.items() if count)
    return Node(f"~{band}", label, worst, note if many else marks[tasks[0].id].note, tip)


def counts_text(counts: Mapping[Status, int]) -> str:
    """Say how many tasks stand how."""
    return ", ".join(f"{count:,} {WORDS[status]}" for status, count in counts.items() if count)
