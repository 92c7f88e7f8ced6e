"""A tree amid its run, from plain data: what began and ended when, and what is seen beside it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from rich.text import Text
from tests.unit.core.builders import Document, begin, tree_of

from regrow.cli.view import Sight, picture, standing_of
from regrow.cli.view.hints import Place, answer_lines, go_on_lines, questions
from regrow.client import Attempt, Fold
from regrow.client.watching import Seen
from regrow.core.outcome import Outcome, outcome_of

BEGAN = datetime(2030, 1, 31, 3, 0, tzinfo=UTC)
PLACE = Place()


class Scene:
    """A run whose clock stands at `now`, seconds after its beginning."""

    def __init__(self, *tasks: Document, tree_id: str = "nightly-7", **head: Any) -> None:
        self.tree = tree_of(*tasks, **{"name": "nightly", **head})
        self.run = begin(self.tree, tree_id=tree_id)
        self.fold = Fold(tree_id)
        self.fold.tree, self.fold.run = self.tree, self.run
        self.seen = Seen(self.fold)
        self.seconds = 0.0
        self.go_on()

    @property
    def now(self) -> datetime:
        return BEGAN + timedelta(seconds=self.seconds)

    def at(self, seconds: float) -> "Scene":
        self.seconds = seconds
        return self

    def go_on(self) -> None:
        """Begin whatever may."""
        while (start := self.run.next_start(self.now)) is not None:
            if start.wait is None:
                self.run.began(start.unit, self.now)
            else:
                self.run.waiting(start, self.now)

    def ends(self, *units: str, answer: Any = None) -> "Scene":
        for unit in units:
            outcome = answer if isinstance(answer, Outcome) else outcome_of(answer)
            self.run.ended(unit, outcome, self.now)
        self.go_on()
        return self

    def tries(self, unit: str, attempt: int = 1, **known: Any) -> "Scene":
        """Let the server know this of an activity."""
        self.fold._open[unit] = True  # pyright: ignore[reportPrivateUsage]  # as history would
        about: dict[str, Any] = {"maximum_attempts": 5, "is_running": True, **known}
        self.seen.attempts[unit] = Attempt(unit, attempt, **about)
        return self

    def shown(self, width: int, height: int = 24, **known: Any) -> list[str]:
        """Give what the live view draws, without its colours."""
        return [line.plain for line in self.drawn(width, height, **known)]

    def drawn(self, width: int, height: int = 24, **known: Any) -> list[Text]:
        standing = standing_of(self.fold)
        assert standing
        asked = list(questions(self.seen))
        below = [
            *answer_lines(asked, PLACE, self.now, width, 3),
            *go_on_lines(self.fold, PLACE, width),
        ]
        ended = self.now if self.fold.ended else None
        sight = Sight(width, height, self.now, BEGAN, ended, **known)
        return picture(standing, sight, self.seen, below)
