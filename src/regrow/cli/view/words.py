"""The words for times, amounts and texts of others, each on a line and short."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from regrow.core.draw.marks import duration
from regrow.core.wire import Status

STYLES: Final = {
    Status.PENDING: "dim",
    Status.IN_PROGRESS: "cyan",
    Status.COMPLETED: "green",
    Status.FAILED: "bold red",
    Status.CANCELLED: "yellow",
    Status.SKIPPED: "dim yellow",
}
"""Colours only repeat what the glyphs say."""
_SHORT: Final = 160
_MOST_NAMED: Final = 3
_MINUTE: Final = 60
_DAY: Final = timedelta(days=1)
_NO_CONTROLS: Final = dict.fromkeys([*range(32), *range(127, 160)])


def one_line(text: str) -> str:
    """Put a text of others on one line, without what would steer the terminal."""
    line = whole(text)
    return line if len(line) <= _SHORT else f"{line[:_SHORT]}…"


def whole(text: str) -> str:
    """Put a text of others on one line, however long: what to do stands at the end of many."""
    return " ".join(text.split()).translate(_NO_CONTROLS)


def few(names: Sequence[str]) -> str:
    """Name the first few."""
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def whole_seconds(span: timedelta) -> str:
    """Write how long something takes that is told each second."""
    seconds = max(round(span.total_seconds()), 0)
    return f"{seconds}s" if seconds < _MINUTE else duration(span)


def clock(at: datetime, now: datetime) -> str:
    """Write a time as the clock on the wall shows it; with its day if that isn't near."""
    near = abs(at - now) < _DAY
    return f"{at.astimezone():%H:%M:%S}" if near else f"{at.astimezone():%Y-%m-%d %H:%M}"


def said_by(said: Mapping[str, Any], unknown: str = "") -> str:
    """Say who did something by hand and why, as far as that is known."""
    by = f" by {one_line(str(said['by']))}" if said.get("by") else unknown
    why = f": {one_line(str(said['reason']))}" if said.get("reason") else ""
    return f"{by}{why}"


def bar(done: float, total: float, cells: int) -> str:
    """Draw how much of something is done."""
    share = min(max(done / total, 0), 1) if total > 0 else 0
    full = int(share * cells)
    return "█" * full + "░" * (cells - full)
