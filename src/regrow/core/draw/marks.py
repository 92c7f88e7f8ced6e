"""How the tasks of a run stand, in the few words that a drawing has room for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from regrow.core.models import TaskId
from regrow.core.outcome import Because
from regrow.core.record import Record
from regrow.core.result import TaskBecause
from regrow.core.run import TreeRun
from regrow.core.waits import Wait
from regrow.core.wire import APPROVAL, SLEEP, TREE, Status

GLYPHS: Final[Mapping[Status, str]] = {
    Status.PENDING: "○",
    Status.IN_PROGRESS: "◐",
    Status.COMPLETED: "✔",
    Status.FAILED: "✘",
    Status.CANCELLED: "⊘",
    Status.SKIPPED: "‖",
}
"""So that a status can be told without its colour."""

WORDS: Final[Mapping[Status, str]] = {status: status.value for status in Status} | {
    Status.IN_PROGRESS: "running"
}
"""As people say it."""

_MINUTE: Final = 60
_NO_CONTROLS: Final = dict.fromkeys([*range(32), *range(127, 160)])

Link = Callable[[str], str]
"""Gives the page of a sub-tree's workflow, by its id."""


@dataclass(frozen=True, slots=True)
class Mark:
    """How one task stands."""

    status: Status
    note: str = ""
    """A word or two: how far a map is, what is waited for, how often it was tried."""
    reason: str = ""
    """Why it did not complete, on one line."""
    took: timedelta | None = None
    link: str | None = None


def marks_of(run: TreeRun, link: Link | None = None) -> dict[TaskId, Mark]:
    """Give the mark of every task, in the order of the document."""
    return {task_id: mark_of(run, task_id, link) for task_id in run.records}


def mark_of(run: TreeRun, task_id: TaskId, link: Link | None = None) -> Mark:
    """Give the mark of one task."""
    record = run.records[task_id]
    is_child = run.plan.natives.get(task_id) == TREE and task_id not in run.maps
    begun = record.started_at is not None and not record.reused
    page = link(f"{run.tree_id}/{task_id}") if link and is_child and begun else None
    note, reason = _note(run, task_id), _reason(run, task_id)
    return Mark(record.status, note, reason, _took(record), page)


def duration(span: timedelta) -> str:
    """Write how long something took, as short as it is exact enough."""
    seconds = max(span.total_seconds(), 0)
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < _MINUTE:
        return f"{seconds:.1f}s"
    minutes, seconds = divmod(int(seconds), _MINUTE)
    hours, minutes = divmod(minutes, _MINUTE)
    return f"{hours}h{minutes:02}m{seconds:02}s" if hours else f"{minutes}m{seconds:02}s"


def waits_for(wait: Wait) -> str:
    """Say what a wait is for."""
    if wait.kind == SLEEP:
        return f"until {_clock(wait.until)}"
    return "approve?" if wait.kind == APPROVAL else f"event {wait.event}"


def _note(run: TreeRun, task_id: TaskId) -> str:
    record = run.records[task_id]
    if record.reused:
        return "kept"
    if wait := run.waits.get(task_id):
        return waits_for(wait)
    if mapping := run.maps.get(task_id):
        counts = {
            Status.COMPLETED: mapping.completed,
            Status.IN_PROGRESS: mapping.running,
            Status.FAILED: mapping.failed,
            Status.CANCELLED: mapping.cancelled,
        }
        parts = [f"{GLYPHS[status]}{count}" for status, count in counts.items() if count]
        return f"{' '.join(parts) or 0} of {len(mapping.items)}"
    attempts = record.outcome.attempts if record.outcome else 0
    return f"{attempts} attempts" if attempts and attempts > 1 else ""


def _reason(run: TreeRun, task_id: TaskId) -> str:
    """Say why a task did not complete."""
    end = run.records[task_id].outcome
    if end is None or end.status is Status.COMPLETED:
        return ""
    because = run.because(task_id)
    why = one_line(end.error) if end.error else because_text(because) if because else ""
    is_tolerated = end.status is not Status.SKIPPED and run.is_tolerated(task_id)
    return " · ".join(filter(None, [why, "tolerated" if is_tolerated else ""]))


def because_text(because: Because | TaskBecause) -> str:
    """Say in a few words why a task did not run."""
    if because.reason == "condition":
        return "its condition is false"
    if because.reason == "cancel":
        return "the tree was cancelled"
    if because.reason == "by_hand":
        return "by hand"
    if because.task_id is None:
        return "the tree gave up"
    how = "failed" if because.error else "did not complete"
    if because.root in (None, because.task_id):
        return f"because {because.task_id} {how}"
    return f"because {because.task_id} did not complete, since {because.root} {how}"


def one_line(text: str) -> str:
    """Put a text of others on one line, without what would steer a terminal."""
    return " ".join(text.split()).translate(_NO_CONTROLS)


def _took(record: Record) -> timedelta | None:
    if record.reused or not (record.started_at and record.finished_at):
        return None
    return record.finished_at - record.started_at


def _clock(at: datetime | None) -> str:
    return f"{at:%d %b %H:%M:%S} UTC" if at else "?"
