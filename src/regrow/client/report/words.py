"""How a report writes times, sizes and counts."""

from datetime import UTC, datetime, timedelta
from typing import Final

_KILO: Final = 1024


def millis(span: timedelta) -> int:
    """Give whole milliseconds."""
    return max(span, timedelta(0)) // timedelta(milliseconds=1)


def iso(at: datetime) -> str:
    """Write a moment to the millisecond, for programs."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z"


def clock(at: datetime) -> str:
    """Write a time of day to the millisecond."""
    return f"{at.astimezone(UTC):%H:%M:%S}.{at.microsecond // 1000:03}"


def moment(at: datetime) -> str:
    """Write a day and a time for people."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def size(count: int) -> str:
    """Write a number of bytes."""
    if count < _KILO:
        return f"{count} bytes"
    return f"{count / _KILO:,.0f} KB" if count < _KILO**2 else f"{count / _KILO**2:,.1f} MB"


def count(number: int, one: str, many: str | None = None) -> str:
    """Write a number with its noun."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def one_line(text: str, most: int) -> str:
    """Put a text on one line of at most so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def few(names: list[str], most: int) -> str:
    """Name the first ones."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")
