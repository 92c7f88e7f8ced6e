"""A tree on a screen, drawn anew several times a second for as long as it is followed."""

import asyncio
from datetime import UTC, datetime
from typing import Final

from rich.console import Console, Group
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType
from rich.text import Text

from regrow.cli.beside import beside
from regrow.cli.earlier import earlier_spans
from regrow.cli.view import Estimate, Sight, Standing, picture, standing_of
from regrow.cli.view.hints import Place, answer_lines, go_on_lines, questions
from regrow.client import Change, TreeHandle
from regrow.client.watching import Seen

_FRAME_SECONDS: Final = 0.25
_LEAST_LINES: Final = 8
_NARROWEST: Final = 20
_MOST_QUESTIONS: Final = 3
_LINES_EACH: Final = 5
"""Of a screen for each question, so that there is room for the tree."""


async def show_live(
    handle: TreeHandle, seen: Seen, screen: Console, place: Place, *, inside: bool
) -> None:
    """Show a tree until it has ended; the last picture stays on the screen."""
    drawing = _Drawing(seen, screen, place)
    with Live(console=screen, auto_refresh=False, vertical_overflow="crop") as live:
        async with beside(drawing.go_on(live)), beside(drawing.look_back(handle)):
            async for change in handle.follow(seen, inside=inside):
                drawing.note(change)
        drawing.draw(live)


class _Drawing:
    """What is known beside the tree's state, and what was drawn last."""

    def __init__(self, seen: Seen, screen: Console, place: Place) -> None:
        self._seen = seen
        self._screen = screen
        self._place = place
        self._began: datetime | None = None
        self._ended: datetime | None = None
        self._estimate: Estimate | None = None
        self._drawn: list[Text] = []
        self._is_known = asyncio.Event()
        self._width = screen.width

    def note(self, change: Change) -> None:
        """Learn when the tree began and ended."""
        if change.task_id is None and change.status.is_settled:
            self._ended = change.at
        elif change.task_id is None:
            self._began, self._ended = change.at, None
            self._is_known.set()

    async def look_back(self, handle: TreeHandle) -> None:
        """Ask once how long earlier trees of the name took."""
        await self._is_known.wait()
        if (tree := self._seen.fold.tree) is not None:
            self._estimate = Estimate.of(await earlier_spans(handle, tree.name))

    async def go_on(self, live: Live) -> None:
        """Draw again and again."""
        while True:
            self.draw(live)
            await asyncio.sleep(_FRAME_SECONDS)

    def draw(self, live: Live) -> None:
        """Draw the tree as it stands now, as large as the screen is now."""
        width = max(self._screen.width, _NARROWEST)
        standing = standing_of(self._seen.fold)
        lines = self._lines(standing, width) if standing else []
        self._take_back(width)
        live.update(Group(*lines), refresh=True)
        self._drawn, self._width = lines, width

    def _lines(self, standing: Standing, width: int) -> list[Text]:
        height, now = max(self._screen.height - 1, _LEAST_LINES), datetime.now(UTC)
        asked, most = list(questions(self._seen)), min(height // _LINES_EACH, _MOST_QUESTIONS)
        guess = None if asked else self._estimate  # nobody knows how long people take
        sight = Sight(width, height, now, self._began, self._ended, guess)
        below = [
            *answer_lines(asked, self._place, now, width, most),
            *go_on_lines(self._seen.fold, self._place, width),
        ]
        return picture(standing, sight, self._seen, below)

    def _take_back(self, width: int) -> None:
        """Erase what a terminal has broken into more lines, having become narrower."""
        if width >= self._width:
            return
        more = sum(max(line.cell_len - 1, 0) // width for line in self._drawn)
        erase = (ControlType.ERASE_IN_LINE, 2)
        up = ((ControlType.CURSOR_UP, 1), erase) * more
        self._screen.control(Control(ControlType.CARRIAGE_RETURN, erase, *up))
