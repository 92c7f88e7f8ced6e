"""How a tree looks in a terminal: lines of text from a state, and nothing else."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from rich.text import Text

from regrow.client import Attempt, Change
from regrow.client.watching import Seen
from regrow.core.graph import children_of
from regrow.core.models import Json, Task, TaskId, TaskTree
from regrow.core.result import TaskResult, TreeResult
from regrow.core.wire import Status, split_unit

GLYPHS: Final = {
    Status.PENDING: "○",
    Status.IN_PROGRESS: "◐",
    Status.COMPLETED: "✔",
    Status.FAILED: "✘",
    Status.CANCELLED: "⊘",
    Status.SKIPPED: "‖",
}
_STYLES: Final = {
    Status.PENDING: "dim",
    Status.IN_PROGRESS: "cyan",
    Status.COMPLETED: "green",
    Status.FAILED: "bold red",
    Status.CANCELLED: "yellow",
    Status.SKIPPED: "dim yellow",
}
_UNSOUND: Final = (Status.FAILED, Status.CANCELLED)
_BY_HAND: Final[Mapping[tuple[Json, Status], str]] = {
    ("skip", Status.COMPLETED): "given its result",
    ("skip", Status.SKIPPED): "skipped",
    ("cancel", Status.IN_PROGRESS): "being cancelled",
    ("cancel", Status.CANCELLED): "cancelled",
    **{
        ("retry", status): "retried"
        for status in (Status.PENDING, Status.IN_PROGRESS, Status.COMPLETED, Status.FAILED)
    },
}
"""What the last act of a person says of a task, if it stands like that."""
_WORDS: Final = {Status.IN_PROGRESS: "started"}
_COUNTED: Final = {Status.IN_PROGRESS.value: "running"}
_MOST_NESTING: Final = 6
_SHORT: Final = 160
_MINUTE: Final = 60
_MOST_NAMED: Final = 3
_NEVER: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Row:
    task: Task
    state: TaskResult
    depth: int
    unit: str
    """What the line is about: the task, or the sub-tree of one of its items."""
    attempts: Sequence[Attempt] = ()


def tree_lines(
    tree: TaskTree, result: TreeResult, *, height: int, seen: Seen | None = None
) -> list[Text]:
    """Give a header and one line per task; a large tree shows what runs and what went wrong.

    Of what is `seen` beside the result: attempts, and the tasks of sub-trees.
    """
    rows = list(_rows(tree, result, seen))
    header = _header(tree, result)
    if len(rows) <= height:
        return [header, *map(_task_line, rows)]
    telling = [row for row in rows if _is_telling(row.state)]
    shown = telling[:height]
    rest = Text(f"  … {len(rows) - len(shown):,} more tasks", style="dim")
    return [header, *map(_task_line, shown), rest]


def change_line(tree: TaskTree | None, change: Change) -> str:
    """Give one line for one change."""
    clock = change.at.astimezone().strftime("%H:%M:%S.%f")[:-3]
    glyph = GLYPHS[change.status]
    word = _WORDS.get(change.status, change.status.value)
    if change.task_id is None:
        name = tree.name if tree else "tree"
        return f"{clock} {glyph} {name}: tree {word}"
    if change.task and change.task.reused:  # it ended long before this tree began
        return f"{'':{len(clock)}} {glyph} {change.task_id} kept"
    note = _note(change.task, change.at) if change.task and change.status.is_settled else ""
    return f"{clock} {glyph} {change.task_id} {word}{note}"


def retry_line(change: Change, attempt: Attempt) -> str:
    """Give one line for one attempt that follows a failed one."""
    clock = change.at.astimezone().strftime("%H:%M:%S.%f")[:-3]
    begins = attempt.next_attempt_at
    when = f" in {_whole_seconds(begins - change.at)}" if begins else ""
    why = f": {_one_line(attempt.error)}" if attempt.error else ""
    return f"{clock} ↻ {attempt.unit} {_which(attempt)}{when}{why}"


def summary_line(result: TreeResult) -> str:
    """Say in one line how a tree stands."""
    counts = ", ".join(f"{n:,} {_COUNTED.get(s, s)}" for s, n in result.counts.items() if n)
    status = _COUNTED.get(result.status.value, result.status.value)
    paused = f" (paused{_said_by(result.paused)})" if result.paused else ""
    return f"{GLYPHS[result.status]} {result.name} {status}{paused}: {counts or 'no tasks yet'}"


def _said_by(said: Mapping[str, Any], unknown: str = "") -> str:
    """Say who did something by hand and why, as far as that is known."""
    by = f" by {said['by']}" if said.get("by") else unknown
    why = f": {_one_line(str(said['reason']))}" if said.get("reason") else ""
    return f"{by}{why}"


def failure_lines(result: TreeResult) -> Iterator[str]:
    """Name what failed, each with its error."""
    if result.error:
        yield f"  {result.error}"
    for task_id, task in result.tasks.items():
        if task.status is Status.FAILED:
            kind = f" ({task.error_type})" if task.error_type else ""
            tolerated = " - tolerated" if task.tolerated else ""
            yield f"  {task_id}: {_one_line(task.error or '')}{kind}{tolerated}"
    yield from _undone_lines(result)


def _undone_lines(result: TreeResult) -> Iterator[str]:
    """Name what was undone, in the order in which it was, and what could not be."""
    undone = [(task_id, task.compensation) for task_id, task in result.tasks.items()]
    ends = sorted(
        ((end.started_at or _NEVER, task_id, end) for task_id, end in undone if end),
        key=lambda entry: entry[0],
    )
    done = [task_id for _, task_id, end in ends if end.status is Status.COMPLETED]
    if done:
        yield f"  undone: {', '.join(done)}"
    for _, task_id, end in ends:
        if end.status is not Status.COMPLETED:
            yield f"  NOT undone: {task_id}: {_one_line(end.error or end.status.value)}"


def _rows(tree: TaskTree, result: TreeResult, seen: Seen | None, depth: int = 0) -> Iterator[_Row]:
    children = children_of(tree.tasks)
    known: Mapping[TaskId, Task] = {task.id: task for task in tree.tasks}
    attempts = _attempts_by_task(seen) if seen else {}
    rest = [(task, depth) for task in reversed(tree.tasks) if task.parent_id is None]
    while rest:
        task, level = rest.pop()
        state = _task(result, task.id)
        yield _Row(task, state, level, task.id, attempts.get(task.id, ()))
        if seen and state.status in (Status.IN_PROGRESS, *_UNSOUND):
            yield from _inner_rows(task, seen, level + 1)
        below: Sequence[TaskId] = children.get(task.id, ())
        rest.extend((known[child], level + 1) for child in reversed(below))


def _attempts_by_task(seen: Seen) -> dict[TaskId, list[Attempt]]:
    """Sort what is known of attempts by their tasks, without what has ended since it was asked."""
    found: dict[TaskId, list[Attempt]] = {}
    for unit in seen.fold.activities if seen.attempts else ():
        if attempt := seen.attempts.get(unit):
            found.setdefault(split_unit(unit)[0], []).append(attempt)
    return found


def _inner_rows(task: Task, seen: Seen, depth: int) -> Iterator[_Row]:
    """Give the tasks of a task's sub-trees; of a map, each item's below a line for the item."""
    own = [unit for unit in seen.inside if split_unit(unit)[0] == task.id]
    for unit in sorted(own, key=lambda unit: split_unit(unit)[1] or 0):
        inner = seen.inside[unit]
        if inner.fold.tree is None:
            continue
        result, is_item = inner.fold.result(), unit != task.id
        if is_item:
            yield _Row(task, TaskResult(status=result.status), depth, unit)
        yield from _rows(inner.fold.tree, result, inner, depth + is_item)


def _header(tree: TaskTree, result: TreeResult) -> Text:
    line = Text(summary_line(result), style=_STYLES[result.status])
    line.append(f"  {result.tree_id}", style="dim")
    if result.rerun_of:
        line.append(f", a rerun of {result.rerun_of}", style="dim")
    if _is_held(tree, result):
        line.append(", held until what failed is retried or skipped", style="bold red")
    return line


def _is_held(tree: TaskTree, result: TreeResult) -> bool:
    """Whether `on_failure: wait` keeps the tree open, and nothing else does."""
    tasks = result.tasks.values()
    over = all(task.status.is_settled and not task.compensation for task in tasks)
    bad = any(task.status in _UNSOUND and not task.tolerated for task in tasks)
    open_ = result.status is Status.IN_PROGRESS and tree.on_failure == "wait"
    return open_ and over and bad


def _task_line(row: _Row) -> Text:
    task, state = row.task, row.state
    style = _STYLES[state.status]
    line = Text("  " * (1 + min(row.depth, _MOST_NESTING)))
    line.append(f"{GLYPHS[state.status]} ", style=style)
    line.append(row.unit, style=style if state.status is not Status.COMPLETED else "")
    if row.unit == task.id and task.title != task.id:
        line.append(f" · {task.title}", style="dim")
    if row.unit == task.id and task.executor and task.executor != task.id:
        line.append(f" [{task.executor}]", style="dim")
    line.append(
        _note(state, datetime.now(UTC), row.attempts),
        style="red" if state.status is Status.FAILED else "dim",
    )
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


def _note(task: TaskResult, now: datetime, attempts: Sequence[Attempt] = ()) -> str:
    """Say what matters of a task: how long it took, what went wrong, what people did to it."""
    if task.reused:
        return "  kept"
    parts = [*_lasted(task, now), *_went(task), *_undone(task), *_under_way(attempts)]
    return f"  {' · '.join(parts)}" if parts else ""


def _lasted(task: TaskResult, now: datetime) -> Iterator[str]:
    if _last_act(task) == "skip" and task.status.is_settled:  # until a person said so
        return
    if task.started_at:
        yield _duration((task.finished_at or now) - task.started_at)
    if "items" in task.metadata:
        yield f"{task.metadata['completed']} of {task.metadata['items']} items"
    elif task.attempts and task.attempts > 1:
        yield f"{task.attempts} attempts"


def _went(task: TaskResult) -> Iterator[str]:
    hand = _BY_HAND.get((_last_act(task), task.status))
    if hand:
        yield f"{hand}{_said_by(task.by_hand[-1], ' by hand')}"
    if task.error and not (hand and task.status is Status.CANCELLED):
        yield _one_line(task.error)
    elif task.because and not hand:
        yield _reason(task)
    if task.tolerated:
        yield "tolerated"


def _last_act(task: TaskResult) -> Json:
    return task.by_hand[-1]["action"] if task.by_hand else None


def _undone(task: TaskResult) -> Iterator[str]:
    if task.compensation:
        done = task.compensation.status is Status.COMPLETED
        yield "undone" if done else f"undoing: {task.compensation.status}"


def _under_way(attempts: Sequence[Attempt]) -> Iterator[str]:
    """Say what only the server knows of what takes its time."""
    if any(split_unit(each.unit)[1] is not None for each in attempts):
        yield from _items_under_way(attempts)
        return
    for each in attempts:
        if progress := _progress(each.progress):
            yield progress
        if each.attempt > 1:
            yield f"{_which(each)}{_next(each)}{_last_error(each)}"
        elif not each.is_running:
            yield "waits for a worker"


def _items_under_way(attempts: Sequence[Attempt]) -> Iterator[str]:
    again = [each for each in attempts if each.attempt > 1]
    if again:
        units = _few([each.unit for each in again])
        yield f"tried again: {units}{_last_error(again[0])}"
    waiting = sum(each.attempt == 1 and not each.is_running for each in attempts)
    if waiting:
        yield f"{waiting} wait for a worker"


def _which(attempt: Attempt) -> str:
    most = f" of {attempt.maximum_attempts}" if attempt.maximum_attempts else ""
    return f"attempt {attempt.attempt}{most}"


def _next(attempt: Attempt) -> str:
    at = attempt.next_attempt_at
    return f", next at {at.astimezone():%H:%M:%S}" if at else ""


def _last_error(attempt: Attempt) -> str:
    return f", last error: {_one_line(attempt.error)}" if attempt.error else ""


def _progress(said: Any) -> str:
    """Put what `TaskContext.progress` sent in words; other heartbeats are for the next attempt."""
    if not isinstance(said, dict) or "done" not in said:
        return ""
    fields = cast("dict[str, Any]", said)
    total, note = fields.get("total"), fields.get("note")
    of = f" of {total}" if total is not None else ""
    return _one_line(f"{fields['done']}{of} {note or ''}")


def _few(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _whole_seconds(span: timedelta) -> str:
    seconds = max(round(span.total_seconds()), 0)
    return f"{seconds}s" if seconds < _MINUTE else _duration(span)


def _reason(task: TaskResult) -> str:
    because = task.because
    if because is None:
        return ""
    if because.reason == "condition":
        return "its condition is false"
    if because.reason == "cancel":
        return "the tree was cancelled"
    if because.reason == "by_hand":
        return f"{task.status} by hand"
    how = "failed" if because.error else "did not complete"
    if because.root in (None, because.task_id):
        return f"because {because.task_id} {how}"
    return f"because {because.task_id} did not complete, since {because.root} {how}"


def _duration(span: timedelta) -> str:
    seconds = max(span.total_seconds(), 0)
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < _MINUTE:
        return f"{seconds:.1f}s"
    minutes, seconds = divmod(int(seconds), _MINUTE)
    hours, minutes = divmod(minutes, _MINUTE)
    return f"{hours}h{minutes:02}m{seconds:02}s" if hours else f"{minutes}m{seconds:02}s"


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHORT else f"{line[:_SHORT]}…"


def _task(result: TreeResult, task_id: TaskId) -> TaskResult:
    return result.tasks.get(task_id) or TaskResult(status=Status.COMPLETED)


def _is_telling(task: TaskResult) -> bool:
    return task.status in (Status.IN_PROGRESS, Status.FAILED, Status.CANCELLED)
