"""A whole tree as lines: as large as a screen, or as long as it is."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from rich.text import Text

from regrow.cli.view import notes
from regrow.cli.view.columns import Line, aligned, cut, unbounded
from regrow.cli.view.estimate import Estimate
from regrow.cli.view.fitting import fitting
from regrow.cli.view.header import header_line, header_lines
from regrow.cli.view.rows import Row, rows_of
from regrow.cli.view.standing import Standing
from regrow.cli.view.words import STYLES, one_line
from regrow.client.watching import Seen
from regrow.core.draw.marks import GLYPHS, WORDS
from regrow.core.models import TaskTree
from regrow.core.result import TaskResult, TreeResult
from regrow.core.wire import Status

_MOST_NESTING: Final = 6
_BARS: Final = ((100, 12), (70, 8), (0, 6))
"""How wide bars are from which width of the screen on."""
_TOLD_FIRST: Final = (
    Status.FAILED,
    Status.IN_PROGRESS,
    Status.CANCELLED,
    Status.PENDING,
    Status.COMPLETED,
    Status.SKIPPED,
)


@dataclass(frozen=True, slots=True)
class Sight:
    """From where a tree is seen: the screen, the time, and what is known beside its state."""

    width: int
    height: int
    now: datetime
    began: datetime | None = None
    ended: datetime | None = None
    estimate: Estimate | None = None


def picture(
    standing: Standing, sight: Sight, seen: Seen | None = None, below: Sequence[Text] = ()
) -> list[Text]:
    """Draw a tree on a screen, and below it what there is to say.

    Of what is `seen` beside its state: attempts, and the tasks of sub-trees.
    """
    head = header_lines(
        standing, sight.width, now=sight.now, began=sight.began, ended=sight.ended,
        estimate=sight.estimate,
    )  # fmt: skip
    room = sight.height - len(head) - len(below)
    shown, hidden = fitting(rows_of(standing, seen), room)
    cells = next(cells for width, cells in _BARS if sight.width >= width)
    lines = [_line(row, sight.now, cells) for row in shown]
    rest = [cut(_rest(hidden), sight.width)] if hidden else []
    return [*head, *aligned(lines, sight.width), *rest, *below]


def tree_lines(
    tree: TaskTree,
    result: TreeResult,
    *,
    height: int,
    seen: Seen | None = None,
    now: datetime | None = None,
) -> list[Text]:
    """Write a header and one line per task, each as long as it is."""
    standing = Standing(tree, result, seen.fold.run if seen else None)
    shown, hidden = fitting(rows_of(standing, seen), height)
    at = now or datetime.now(UTC)
    lines = [unbounded(_line(row, at)) for row in shown]
    return [header_line(standing), *lines, *([_rest(hidden)] if hidden else [])]


def _line(row: Row, now: datetime, cells: int = 0) -> Line:
    task, state = row.task, row.state
    style = STYLES[row.status]
    title = one_line(task.title) if row.is_task and task.title != task.id else ""
    executor = task.executor if row.is_task and task.executor != task.id else ""
    said = [*notes.ended(state, weighed=cells > 0), *notes.under_way(row, now, cells)]
    return Line(
        margin=2 * (1 + min(row.depth, _MOST_NESTING)),
        glyph=GLYPHS[row.status],
        unit=row.unit,
        style=style,
        unit_style=style if row.status is not Status.COMPLETED else "",
        title=title,
        executor=executor or "",
        lasted=notes.lasted(state, now),
        note=" · ".join(said),
        is_error=row.status is Status.FAILED or _is_undone_badly(state),
    )


def _is_undone_badly(task: TaskResult) -> bool:
    undone = task.compensation
    return undone is not None and undone.status is Status.FAILED


def _rest(hidden: Counter[Status]) -> Text:
    counts = [f"{hidden[status]:,} {WORDS[status]}" for status in _TOLD_FIRST if hidden[status]]
    first, *others = counts
    number, word = first.split(" ")
    return Text(f"  … {', '.join([f'{number} more {word}', *others])}", style="dim")
