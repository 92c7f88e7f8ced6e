"""What a line says beside a task's name: how long, how far, what went wrong, what it waits for."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, cast

from regrow.cli.view.estimate import roughly
from regrow.cli.view.rows import Row
from regrow.cli.view.words import bar, clock, few, one_line, said_by, whole_seconds
from regrow.client import Attempt
from regrow.core.draw.marks import because_text, duration
from regrow.core.mapping import MapRun
from regrow.core.models import Json
from regrow.core.result import Compensation, TaskResult
from regrow.core.wire import APPROVAL, SLEEP, WAIT_FOR_EVENT, Status, split_unit

RETRY: Final = "↻"
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
_WAITS: Final = {
    SLEEP: "sleeps",
    APPROVAL: "waits for an answer",
    WAIT_FOR_EVENT: "waits for an event",
}


def lasted(task: TaskResult, now: datetime) -> str:
    """Say how long it took, or has taken."""
    by_hand = _last_act(task) == "skip" and task.status.is_settled  # until a person said so
    if task.reused or by_hand or not task.started_at:
        return ""
    return duration((task.finished_at or now) - task.started_at)


def ended(task: TaskResult, *, weighed: bool = False) -> Iterator[str]:
    """Say what came of it; `weighed`, whether a failure counts comes before its error."""
    if task.reused:
        yield "kept"
        return
    if "items" in task.metadata:
        yield f"{task.metadata['completed']} of {task.metadata['items']} items"
    elif task.attempts and task.attempts > 1:
        yield f"{task.attempts} attempts"
    if task.tolerated and weighed:
        yield "tolerated"
    yield from _went(task)
    if task.tolerated and not weighed:
        yield "tolerated"
    if task.compensation:
        yield _undone(task.compensation)


def under_way(row: Row, now: datetime, cells: int = 0) -> Iterator[str]:
    """Say how it stands with what has not ended; with `cells` for it, bars show how far."""
    if row.status is Status.PENDING:
        yield from _waits_for_others(row)
    elif row.status is Status.IN_PROGRESS and row.is_task:
        yield from _waits(row, now, cells)
        if mapping := row.standing.map_of(row.task.id):
            yield _items(mapping, cells)
    if row.folded:
        yield f"{row.folded:,} task{'s' if row.folded > 1 else ''}"
    yield from _attempted(row.attempts, now, cells)


def which(attempt: Attempt) -> str:
    """Say the how-manieth attempt it is."""
    most = f" of {attempt.maximum_attempts}" if attempt.maximum_attempts else ""
    return f"attempt {attempt.attempt}{most}"


# --- ended


def _went(task: TaskResult) -> Iterator[str]:
    hand = _BY_HAND.get((_last_act(task), task.status))
    if hand:
        yield f"{hand}{said_by(task.by_hand[-1], ' by hand')}"
    if task.error and not (hand and task.status is Status.CANCELLED):
        yield one_line(task.error)
    elif task.because and not hand:
        yield because_text(task.because)
    if task.metadata.get("cached") is True:
        yield "a kept result"
    if by := task.metadata.get("answered_by"):
        yield f"answered by the hook {one_line(str(by))}"


def _undone(end: Compensation) -> str:
    if end.status is Status.COMPLETED:
        return "undone"
    if not end.status.is_settled:
        return "being undone" if end.status is Status.IN_PROGRESS else "to be undone"
    return f"NOT undone: {one_line(end.error or end.status.value)}"


def _last_act(task: TaskResult) -> Json:
    return task.by_hand[-1]["action"] if task.by_hand else None


# --- not ended


def _waits_for_others(row: Row) -> Iterator[str]:
    """Name what must end before it begins, once that is near: some of it runs."""
    awaited = row.standing.open_dependencies(row.task)
    if any(row.standing.status_of(each) is Status.IN_PROGRESS for each in awaited):
        yield f"waits for {few(awaited)}"


def _waits(row: Row, now: datetime, cells: int) -> Iterator[str]:
    wait = row.standing.wait_of(row.task.id)
    kind = wait.kind if wait else row.task.executor_id
    if kind not in _WAITS or row.standing.map_of(row.task.id):
        return
    what = f"{_WAITS[kind]} '{wait.event}'" if wait and wait.event else _WAITS[kind]
    yield f"{what}{_until(wait.until, now, cells) if wait and wait.until else ''}"


def _until(at: datetime, now: datetime, cells: int) -> str:
    """Say until when; on a screen, which is drawn again, how long that is still."""
    return f", {roughly(max(at - now, timedelta()))} left" if cells else f" until {clock(at, now)}"


def _items(mapping: MapRun, cells: int) -> str:
    done, total = mapping.completed + mapping.failed, len(mapping.items)
    drawn = f"{bar(done, total, cells)} " if cells else ""
    failed = f", {mapping.failed:,} failed" if mapping.failed else ""
    return f"{drawn}{done:,} of {total:,} items{failed}"


def _attempted(attempts: Sequence[Attempt], now: datetime, cells: int) -> Iterator[str]:
    """Say what only the server knows of what takes its time."""
    if any(split_unit(each.unit)[1] is not None for each in attempts):
        yield from _items_attempted(attempts)
        return
    for each in attempts:
        far, about = _progress(each.progress, cells)
        again = f"{RETRY} {which(each)}{_next(each, now, cells)}" if each.attempt > 1 else ""
        stands = again or ("" if each.is_running else "waits for a worker")
        parts = (far, stands, about) if each.is_running else (stands, far, about)
        yield from filter(None, parts)
        if again and each.error:
            yield f"last error: {one_line(each.error)}"


def _items_attempted(attempts: Sequence[Attempt]) -> Iterator[str]:
    again = [each for each in attempts if each.attempt > 1]
    if again:
        units = few([each.unit for each in again])
        why = f", last error: {one_line(again[0].error)}" if again[0].error else ""
        yield f"{RETRY} tried again: {units}{why}"
    waiting = sum(each.attempt == 1 and not each.is_running for each in attempts)
    if waiting:
        yield f"{waiting} wait for a worker"


def _next(attempt: Attempt, now: datetime, cells: int) -> str:
    at = attempt.next_attempt_at
    if at is None:
        return ""
    return f", next in {whole_seconds(at - now)}" if cells else f", next at {clock(at, now)}"


def _progress(said: Any, cells: int) -> tuple[str, str]:
    """Put what `TaskContext.progress` sent in words: how far, and what about.

    Other heartbeats are for the next attempt.
    """
    if not isinstance(said, dict) or "done" not in said:
        return "", ""
    fields = cast("dict[str, Any]", said)
    done, total, note = fields["done"], fields.get("total"), one_line(str(fields.get("note") or ""))
    far = f"{done}{f' of {total}' if total is not None else ''}"
    if not cells:
        return one_line(f"{far} {note}"), ""
    return one_line(f"{_bar(done, total, cells)} {far}"), note


def _bar(done: Any, total: Any, cells: int) -> str:
    try:
        return bar(float(done), float(total), cells)
    except (TypeError, ValueError):
        return ""
