"""What is said of a tree in a line or two, and of what failed in it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from regrow.cli.view.words import one_line, said_by, whole
from regrow.core.draw.marks import GLYPHS, WORDS
from regrow.core.result import TaskResult, TreeResult
from regrow.core.wire import Status

_NEVER: Final = datetime.max.replace(tzinfo=UTC)


def counted(result: TreeResult) -> list[tuple[Status, str]]:
    """Say how many tasks stand how."""
    counts = [(Status(status), count) for status, count in result.counts.items() if count]
    return [(status, f"{count:,} {WORDS[status]}") for status, count in counts]


def summary_line(result: TreeResult) -> str:
    """Say in one line how a tree stands."""
    counts = ", ".join(text for _, text in counted(result))
    paused = f" (paused{said_by(result.paused)})" if result.paused else ""
    status = f"{GLYPHS[result.status]} {result.name} {WORDS[result.status]}"
    demo = " (a demo)" if result.demo else ""
    return f"{status}{demo}{paused}: {counts or 'no tasks yet'}"


def failure_lines(result: TreeResult) -> Iterator[str]:
    """Name what failed, each with its error."""
    if result.error:
        yield f"  {result.error}"
    for task_id, task in result.tasks.items():
        if task.status is Status.FAILED:
            yield failure_line(task_id, task)
    yield from undone_lines(result)


def failure_line(task_id: str, task: TaskResult) -> str:
    """Say why a task failed."""
    kind = f" ({task.error_type})" if task.error_type else ""
    tolerated = " - tolerated" if task.tolerated else ""
    return f"  {task_id}: {whole(task.error or '')}{kind}{tolerated}"


def undone_lines(result: TreeResult) -> Iterator[str]:
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
            yield f"  NOT undone: {task_id}: {one_line(end.error or end.status.value)}"
