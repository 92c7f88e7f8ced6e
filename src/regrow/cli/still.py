"""A tree as it stands, printed once: in columns on a screen, in whole lines elsewhere."""

from datetime import UTC, datetime
from typing import Final

from rich.console import Console
from rich.text import Text

from regrow.cli.view import Sight, Standing, picture, tree_lines
from regrow.cli.view.hints import Place, answer_line, answer_lines, questions
from regrow.client.watching import Seen
from regrow.core.models import TaskTree
from regrow.core.result import TreeResult

_ALL_LINES: Final = 1_000_000


def print_tree(
    screen: Console,
    tree: TaskTree,
    result: TreeResult,
    seen: Seen | None = None,
    place: Place | None = None,
) -> None:
    """Print every task, and below them what answers those that wait, if it is known where."""
    drawn = _drawn if is_screen(screen) else _written
    for line in drawn(screen, Standing(tree, result, seen.fold.run if seen else None), seen, place):
        screen.print(line, soft_wrap=True)


def is_screen(console: Console) -> bool:
    """Tell whether lines can be drawn in colours and over one another."""
    return console.is_terminal and not console.is_dumb_terminal


def _drawn(
    screen: Console, standing: Standing, seen: Seen | None, place: Place | None
) -> list[Text]:
    now = datetime.now(UTC)
    began, ended = _span(standing.result, now)
    below = (
        [*answer_lines(list(questions(seen)), place, now, screen.width)] if seen and place else []
    )
    return picture(standing, Sight(screen.width, _ALL_LINES, now, began, ended), seen, below)


def _written(_: Console, standing: Standing, seen: Seen | None, place: Place | None) -> list[Text]:
    lines = tree_lines(standing.tree, standing.result, height=_ALL_LINES, seen=seen)
    asked = questions(seen) if seen and place else ()
    return [*lines, *(Text(answer_line(each, place)) for each in asked if place)]


def _span(result: TreeResult, now: datetime) -> tuple[datetime | None, datetime | None]:
    """Tell from the tasks when a tree began and ended; what a rerun kept is older."""
    own = [task for task in result.tasks.values() if not task.reused]
    began = min((task.started_at for task in own if task.started_at), default=None)
    undone = [task.compensation for task in own if task.compensation]
    ends = [each.finished_at for each in (*own, *undone) if each.finished_at]
    if began is None or (began > now and not result.status.is_settled):  # a simulated time
        return None, None
    return began, max(ends, default=began) if result.status.is_settled else None
