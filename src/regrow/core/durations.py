"""Durations as people write them: `30s`, `1m30s`, `PT1M`, or a number of seconds."""

import re
from builtins import isinstance
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

_COMPACT = re.compile(
    r"(?:(?P<days>\d+(?:\.\d+)?)d)?(?:(?P<hours>\d+(?:\.\d+)?)h)?"
    r"(?:(?P<minutes>\d+(?:\.\d+)?)m)?(?:(?P<seconds>\d+(?:\.\d+)?)s)?"
    r"(?:(?P<milliseconds>\d+(?:\.\d+)?)ms)?"
)
_ISO = re.compile(
    r"P(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?"
)
_MAX_SECONDS = 10 * 366 * 24 * 3600


def parse_duration(value: object) -> timedelta:
    """Read a duration; raises ValueError that shows the accepted forms."""
    if isinstance(value, timedelta):
        return value
    if isinstance(value, str) and (parsed := _parse_text(value.strip())) is not None:
        return parsed
    if isinstance(value, int | float) and not isinstance(value, bool):
        if 0 <= value <= _MAX_SECONDS:
            return timedelta(seconds=value)
        raise PydanticCustomError("duration", "a duration lies between 0 seconds and 10 years")
    raise PydanticCustomError(
        "duration", "write a duration like 30s, 1m30s, PT1M or a number of seconds"
    )


def seconds(duration: timedelta) -> float | int:
    """Give the number of seconds, whole where it is whole."""
    total = duration.total_seconds()
    return int(total) if total.is_integer() else total


def _parse_text(text: str) -> timedelta | None:
    for pattern in (_COMPACT, _ISO):
        match = pattern.fullmatch(text)
        if match and any(match.groups()):
            units = {unit: float(n) for unit, n in match.groupdict().items() if n}
            return _bounded(units)
    return None


def _bounded(units: dict[str, float]) -> timedelta | None:
    try:
        parsed = timedelta(**units)
    except OverflowError:
        return None
    return parsed if parsed.total_seconds() <= _MAX_SECONDS else None


Duration = Annotated[
    timedelta,
    Field(gt=timedelta(0)),
    BeforeValidator(parse_duration),
    PlainSerializer(seconds, return_type=float | int),
    WithJsonSchema({"type": ["string", "number"], "examples": ["30s", "1m30s", 90]}),
]
