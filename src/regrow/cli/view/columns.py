"""Lines in columns, none wider than the screen: names, how long, and what there is to say.

Where there is too little room the title is shortened first, then the executor and the note go; an
id is cut only if it alone is wider than the screen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from rich.cells import cell_len
from rich.text import Text

_GAP: Final = 2
_LEAST_TITLE: Final = 8
_LEAST_REST: Final = 6
_FOR_NOTES: Final = 0.4
"""The share of the screen that notes get before names do."""
_FOR_NAMES: Final = 0.6
"""The share beyond which a long title is cut, so that no other line has a wide gap."""


@dataclass(frozen=True, slots=True)
class Line:
    """What one line says."""

    margin: int
    glyph: str
    unit: str
    style: str = ""
    unit_style: str = ""
    title: str = ""
    executor: str = ""
    lasted: str = ""
    note: str = ""
    is_error: bool = False
    """Whether the note is an error, for which the title gives way."""

    @property
    def head(self) -> str:
        """What is never left out."""
        return f"{'':{self.margin}}{self.glyph} {self.unit}"

    @property
    def about(self) -> str:
        """The title, as far as it says more than the id."""
        return f" · {self.title}" if self.title else ""

    @property
    def kind(self) -> str:
        """The executor, likewise."""
        return f" [{self.executor}]" if self.executor else ""

    @property
    def width(self) -> int:
        """How wide the names are if nothing is shortened."""
        return cell_len(f"{self.head}{self.about}{self.kind}")


class _Halves(NamedTuple):
    left: Text
    rest: Text
    is_loose: bool
    """Whether the right one begins where the left one ends."""


def unbounded(line: Line) -> Text:
    """Write a line as long as it is, for files and for other programs."""
    said = " · ".join(part for part in (line.lasted, line.note) if part)
    return Text(f"{line.head}{line.about}{line.kind}" + (f"  {said}" if said else ""))


def aligned(lines: Sequence[Line], width: int) -> list[Text]:
    """Write lines so that the eye finds what belongs together."""
    times = max((cell_len(line.lasted) for line in lines), default=0)
    names = _names(lines, times, width)
    halves = [_halves(line, names, times, width) for line in lines]
    column = max((each.left.cell_len for each in halves if each.rest), default=0)
    return [_joined(each, min(column, names), width) for each in halves]


def cut(text: Text, width: int) -> Text:
    """Shorten to so many cells; what is missing is marked."""
    text.truncate(max(width, 0), overflow="ellipsis")
    text.no_wrap = True
    return text


def _names(lines: Sequence[Line], times: int, width: int) -> int:
    """Give how wide the names are: as there is room beside the notes, which ids take first."""
    notes = min(max((cell_len(line.note) for line in lines), default=0), int(width * _FOR_NOTES))
    room = width - (times + _GAP if times else 0) - (notes + _GAP if notes else 0)
    heads = max((cell_len(line.head) for line in lines), default=0)
    full = max((line.width for line in lines), default=0)
    return min(full, max(min(room, int(width * _FOR_NAMES)), min(heads, width // 2)))


def _halves(line: Line, names: int, times: int, width: int) -> _Halves:
    """Write what is left and right; names may reach into the other half if nothing is there."""
    rest = _rest(line, times)
    room, is_loose = (names if rest else width), False
    if line.is_error and names + rest.cell_len > width:  # it is read rather than compared
        rest, is_loose = _rest(line), True
        room = width - rest.cell_len
    left = _left(line, max(room, min(cell_len(line.head), width)))
    return _Halves(left, rest, is_loose)


def _left(line: Line, room: int) -> Text:
    spare = room - cell_len(line.head)
    kind = line.kind if cell_len(line.kind) <= spare else ""
    spare -= cell_len(kind)
    about = Text(line.about, style="dim")
    has_room = spare >= _LEAST_TITLE and kind == line.kind
    about = cut(about, spare) if has_room or about.cell_len <= spare else Text()
    margin, glyph = " " * line.margin, (f"{line.glyph} ", line.style)
    left = Text.assemble(margin, glyph, (line.unit, line.unit_style), about, (kind, "dim"))
    return cut(left, room)


def _joined(halves: _Halves, column: int, width: int) -> Text:
    written = halves.left.copy()
    written.append("" if halves.is_loose else " " * (column - written.cell_len))
    room = width - written.cell_len
    written.append_text(cut(halves.rest, room) if room >= _LEAST_REST else Text())
    written.rstrip()
    return written


def _rest(line: Line, times: int = 0) -> Text:
    rest = Text()
    if line.lasted or (times and line.note):
        rest.append(f"{'':{_GAP}}{line.lasted:>{times}}", style="dim")
    if line.note:
        rest.append(f"{'':{_GAP}}{line.note}", style="red" if line.is_error else "dim")
    return rest
