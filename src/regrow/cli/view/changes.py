"""Plain lines, one for each thing that happens: for files, and where there is no screen."""

from typing import Final

from regrow.cli.view import notes
from regrow.cli.view.words import one_line, whole_seconds
from regrow.client import Attempt, Change
from regrow.core.draw.marks import GLYPHS
from regrow.core.models import TaskTree
from regrow.core.wire import Status

_WORDS: Final = {Status.IN_PROGRESS: "started"}


def change_line(tree: TaskTree | None, change: Change) -> str:
    """Give one line for one change."""
    clock = _clock(change)
    glyph = GLYPHS[change.status]
    word = _WORDS.get(change.status, change.status.value)
    if change.task_id is None:
        name = tree.name if tree else "tree"
        return f"{clock} {glyph} {name}: tree {word}"
    if change.task and change.task.reused:  # it ended long before this tree began
        return f"{'':{len(clock)}} {glyph} {change.task_id} kept"
    return f"{clock} {glyph} {change.task_id} {word}{_note(change)}"


def retry_line(change: Change, attempt: Attempt) -> str:
    """Give one line for one attempt that follows a failed one."""
    begins = attempt.next_attempt_at
    when = f" in {whole_seconds(begins - change.at)}" if begins else ""
    why = f": {one_line(attempt.error)}" if attempt.error else ""
    return f"{_clock(change)} {notes.RETRY} {attempt.unit} {notes.which(attempt)}{when}{why}"


def _clock(change: Change) -> str:
    return change.at.astimezone().strftime("%H:%M:%S.%f")[:-3]


def _note(change: Change) -> str:
    if change.task is None or not change.status.is_settled:
        return ""
    parts = [notes.lasted(change.task, change.at), *notes.ended(change.task)]
    said = " · ".join(part for part in parts if part)
    return f"  {said}" if said else ""
