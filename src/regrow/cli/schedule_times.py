"""Writing when a schedule's trees are due; the server keeps cron as calendars."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from temporalio.client import (
    ScheduleCalendarSpec,
    ScheduleIntervalSpec,
    ScheduleRange,
    ScheduleSpec,
)

_UNITS: Final = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def times_of(spec: ScheduleSpec) -> list[str]:
    """Write when trees are due as `regrow schedule create` takes it."""
    return [*map(_cron, spec.calendars), *map(_every, spec.intervals)]


def _every(interval: ScheduleIntervalSpec) -> str:
    """Give the period and, as the `temporal` command does, what it is shifted by."""
    shift = f"/{_duration(interval.offset)}" if interval.offset else ""
    return f"every {_duration(interval.every)}{shift}"


def _cron(calendar: ScheduleCalendarSpec) -> str:
    """Give five fields, or as many as it takes to name seconds and years."""
    second, year = _field(calendar.second, 0, 59), _field(calendar.year, 0, -1)
    fields = [
        _field(calendar.minute, 0, 59),
        _field(calendar.hour, 0, 23),
        _field(calendar.day_of_month, 1, 31),
        _field(calendar.month, 1, 12),
        _field(calendar.day_of_week, 0, 6),
    ]
    if second != "0":
        return " ".join([second, *fields, year])
    return " ".join(fields if year == "*" else [*fields, year])


def _field(ranges: Sequence[ScheduleRange], least: int, most: int) -> str:
    return ",".join(_range(each, least, most) for each in ranges) or "*"


def _range(values: ScheduleRange, least: int, most: int) -> str:
    step = f"/{values.step}" if values.step > 1 else ""
    if (values.start, values.end) == (least, most):
        return f"*{step}"
    return f"{values.start}-{values.end}{step}" if values.end > values.start else f"{values.start}"


def _duration(span: timedelta) -> str:
    text, rest = "", int(span.total_seconds())
    for unit, size in _UNITS:
        count, rest = divmod(rest, size)
        text += f"{count}{unit}" if count else ""
    return text
