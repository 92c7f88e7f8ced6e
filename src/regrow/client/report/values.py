"""Values in as few characters as fit: a line, and more of it for whoever opens it."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from regrow.client.report.html import Child, Markup, element, joined
from regrow.client.report.words import one_line, size


@dataclass(frozen=True, slots=True)
class Room:
    """How much a value may take."""

    line: int
    """Characters of its line."""
    full: int
    """Bytes of it as a whole, for whoever opens it."""


ROOMS: Final = (
    Room(120, 2048),
    Room(100, 1024),
    Room(80, 512),
    Room(60, 256),
    Room(60, 128),
    Room(40, 100),
    Room(60, 60),
    Room(30, 30),
    Room(12, 12),
)


def fitted(render: Callable[[Room], Child], budget: int, rooms: Sequence[Room] = ROOMS) -> Markup:
    """Render with as much of each value as fits into so many bytes, or with the least."""
    markup = Markup("")
    for room in rooms:
        markup = joined(render(room))
        if len(markup.encode()) <= budget:
            break
    return markup


def value(given: Any, room: Room) -> Markup:
    """Show a JSON value: on its line if it is short, else to be opened."""
    text = json.dumps(given, ensure_ascii=False)
    if len(text) <= room.line:
        return element("code", text)
    return _opened(given if isinstance(given, str) else text, _indented(given), room)


def text(given: str, room: Room) -> Markup:
    """Show a text: on its line if it is short, else to be opened."""
    line = one_line(given, room.line)
    return element("span", line) if line == given else _opened(given, given, room)


def _opened(line: str, whole: str, room: Room) -> Markup:
    summary = one_line(line[: 2 * room.line + 20], room.line)
    if room.full <= room.line:
        return element("code", summary)
    return element("details", element("summary", summary), clipped(whole, room.full))


def clipped(whole: str, most: int) -> Markup:
    """Show a text as it is laid out, as far as there is room."""
    data = whole.encode(errors="replace")
    if len(data) <= most:
        return element("pre", whole)
    kept = data[:most].decode(errors="ignore")
    return element("pre", kept, element("i", f"… the first {size(most)} of {size(len(data))}"))


def _indented(given: Any) -> str:
    return given if isinstance(given, str) else json.dumps(given, ensure_ascii=False, indent=1)
