"""A tree as lines of text that line up, in a terminal as in a fenced block.

A line says of its task what matters now: how long it took, why it did not complete, how far it is,
or what it waits for.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from regrow.core.draw.marks import GLYPHS, WORDS, Mark, duration, one_line
from regrow.core.draw.picture import counts_text, groups_of
from regrow.core.graph import children_of
from regrow.core.models import Task, TaskId, TaskTree
from regrow.core.wire import GROUP, TREE, Status

WIDTH: Final = 80
_MOST_ID: Final = 32
_MOST_NESTING: Final = 6
_MOST_NAMED: Final = 6


class Line(NamedTuple):
    """One task."""

    status: Status | None
    name: str
    """Its id, indented by what it is in."""
    kind: str
    note: str


def text(
    tree: TaskTree, marks: Mapping[TaskId, Mark] | None = None, *, most: int | None = None
) -> str:
    """Write a tree, one line a task, at most so many, with a line that says what is left out."""
    lines = list(lines_of(tree, marks))
    left = len(lines) - (len(lines) if most is None else most)
    shown = lines[:most] if left > 0 else lines
    more = [f"… {left:,} more tasks"] if left > 0 else []
    return "\n".join([f"{tree.name}: {_counts(tree, marks)}", *written(shown), *more]) + "\n"


def _counts(tree: TaskTree, marks: Mapping[TaskId, Mark] | None) -> str:
    if marks is None:
        return f"{len(tree.tasks):,} task{'s' if len(tree.tasks) != 1 else ''}"
    counts = Counter(mark.status for mark in marks.values())
    return counts_text({status: counts[status] for status in Status})


def lines_of(tree: TaskTree, marks: Mapping[TaskId, Mark] | None = None) -> Iterator[Line]:
    """Give the lines of a tree, children below their parents."""
    children = children_of(tree.tasks)
    known = {task.id: task for task in tree.tasks}
    groups = groups_of(tree)
    rest = [(task, 0) for task in reversed(tree.tasks) if task.parent_id is None]
    while rest:
        task, depth = rest.pop()
        below: Sequence[TaskId] = children.get(task.id, ())
        yield _line(task, depth, marks.get(task.id) if marks else None, task.id in groups)
        rest.extend((known[child], depth + 1) for child in reversed(below))


def written(lines: Iterable[Line], width: int = WIDTH) -> list[str]:
    """Write lines in columns, none wider than asked for."""
    lines = list(lines)
    names = min(max((len(line.name) for line in lines), default=0), _MOST_ID)
    kinds = min(max((len(line.kind) for line in lines), default=0), _MOST_ID)
    return [_cut(_row(line, names, kinds), width) for line in lines]


def _row(line: Line, names: int, kinds: int) -> str:
    glyph = f"{GLYPHS[line.status]} " if line.status else ""
    kind = f"{_cut(line.kind, _MOST_ID):{kinds}}  " if kinds else ""
    return f"{glyph}{_cut(line.name, _MOST_ID):{names}}  {kind}{line.note}".rstrip()


def _line(task: Task, depth: int, mark: Mark | None, is_group: bool) -> Line:  # noqa: FBT001
    name = "  " * min(depth, _MOST_NESTING) + task.id
    if mark is not None:
        return Line(mark.status, name, "", _note(task, mark))
    when = f"when {one_line(task.when)}" if task.when else ""
    note = "  ".join(filter(None, [_after(task), when]))
    return Line(None, name, _kind(task, is_group), note)


def _kind(task: Task, is_group: bool) -> str:  # noqa: FBT001
    executor = TREE if task.tree else GROUP if is_group else task.executor_id
    return f"[{executor}{', for each' if task.for_each is not None else ''}]"


def _note(task: Task, mark: Mark) -> str:
    if mark.status is Status.PENDING:
        return mark.note or _after(task)
    word = WORDS[mark.status] if mark.status is not Status.COMPLETED else ""
    took = duration(mark.took) if mark.took is not None else ""
    said = [took or word, mark.note, mark.reason or (word if took else "")]
    return " · ".join(filter(None, said))


def _after(task: Task) -> str:
    """Name what a task waits for; a question mark is for what may fail."""
    names = [f"{edge.id}{'' if edge.required else '?'}" for edge in task.dependencies]
    more = len(names) - _MOST_NAMED
    rest = f" and {more} more" if more > 0 else ""
    return f"after {', '.join(names[:_MOST_NAMED])}{rest}" if names else ""


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else f"{line[: width - 1]}…"
