"""What is wrong with a document: every reason at once, each with its place."""

import re
from builtins import isinstance
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import islice
from typing import Any, Final

from regrow.core import limits

Path = tuple[str | int, ...]
"""Where in the document as it was written: `("tasks", 2, "retry", "maximum_attempts")`."""

_SUGGESTION_CUTOFF = 0.6
_MOST_COMPARED = 2_000
_MOST_SUGGESTIONS = 20
_PARTS = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason why a tree cannot run."""

    code: str
    path: Path
    message: str
    line: int | None = None
    column: int | None = None
    file: str | None = None
    """The file, where it isn't the one that was given."""

    def __str__(self) -> str:
        """Read as `path: message`."""
        where = path_text(self.path)
        return f"{where}: {self.message}" if where else self.message

    def at(self, line: int, column: int) -> "Problem":
        """Give the same problem with its place in a file; both count from 1."""
        return replace(self, line=line, column=column)

    def as_json(self) -> dict[str, Any]:
        """Give the form that errors carry on the wire."""
        shape = {"code": self.code, "path": path_text(self.path), "message": self.message}
        if self.line is None:
            return shape
        return {**shape, "line": self.line, "column": self.column}

    @classmethod
    def from_json(cls, shape: dict[str, Any]) -> "Problem":
        """Read what `as_json` wrote."""
        path = tuple(
            int(index) if index else key for key, index in _PARTS.findall(shape.get("path") or "")
        )
        return cls(shape["code"], path, shape["message"], shape.get("line"), shape.get("column"))


class InvalidTree(ValueError):  # noqa: N818 - the name is part of the wire contract
    """The tree cannot run; `problems` lists every reason, in the document's order."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = tuple(problems)


def on_the_wire(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    """Give problems as errors carry them: few and short enough for Temporal to record."""
    most = limits.MAX_WIRE_PROBLEMS
    shown = [
        replace(problem, message=problem.message[: limits.MAX_PROBLEM_CHARS]).as_json()
        for problem in problems[:most]
    ]
    if len(problems) > most:
        rest = f"… and {len(problems) - most:,} more problems"
        shown.append(Problem("and_more", (), rest).as_json())
    return shown


def within(place: Path, problems: Iterable[Problem]) -> list[Problem]:
    """Give the problems of a part as problems of the whole."""
    return [replace(problem, path=(*place, *problem.path)) for problem in problems]


def path_text(path: Path) -> str:
    """Write a path as people do: `tasks[2].retry.maximum_attempts`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


_OTHER_WORDS: Final = {
    "condition": "when",
    "depends_on": "dependencies",
    "foreach": "for_each",
    "if": "when",
    "max_retries": "retry",
    "needs": "dependencies",
    "retries": "retry",
    "timeout": "start_to_close_timeout",
}
"""What other systems call it."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """Say which known name was probably meant: `; did you mean 'retry'?`, or nothing."""
    names = list(known)
    close = get_close_matches(name, names, n=1, cutoff=_SUGGESTION_CUTOFF)
    if not close and _OTHER_WORDS.get(name) in names:
        close = [_OTHER_WORDS[name]]
    return f"; did you mean '{close[0]}'?" if close else ""


class Suggester:
    """Suggests names out of many; only so often, since each suggestion looks at all of them."""

    def __init__(self, known: Iterable[str]) -> None:
        self._known = list(islice(known, _MOST_COMPARED))
        self._left = _MOST_SUGGESTIONS

    def __call__(self, name: str) -> str:
        """Give what `suggestion` gives, or nothing once there were enough."""
        self._left -= 1
        return suggestion(name, self._known) if self._left >= 0 else ""


def refuse_if(problems: Sequence[Problem]) -> None:
    """Raise `InvalidTree` when there is any problem."""
    if problems:
        raise InvalidTree(problems)
