from datetime import timedelta
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from regrow.core.durations import Duration, parse_duration

DURATION = TypeAdapter[timedelta](Duration)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("30s", 30),
        (" 30s ", 30),
        ("1m30s", 90),
        ("1.5h", 5400),
        ("250ms", 0.25),
        ("1d2h3m4s5ms", 93784.005),
        ("PT1M", 60),
        ("PT0.5S", 0.5),
        ("P1DT2H3M4S", 93784),
        ("P2W", 1209600),
        (90, 90),
        (0.25, 0.25),
        (timedelta(minutes=1), 60),
    ],
)
def test_duration_is_read_as_people_write_it(written: object, seconds: float) -> None:
    assert parse_duration(written) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "written",
    ["", "P", "PT", "30", "s", "5 s", "1s1m", "1x", "-5s", True, None, [], {}],
)
def test_anything_else_is_refused_with_the_accepted_forms(written: object) -> None:
    with pytest.raises(ValueError, match="30s, 1m30s, PT1M or a number of seconds"):
        parse_duration(written)


@pytest.mark.parametrize("written", [316_224_000, "316224000s", "3660d"])
def test_ten_years_are_the_most(written: object) -> None:
    assert parse_duration(written) == timedelta(days=3660)


@pytest.mark.parametrize("written", [-1, 316_224_001, 1e300, 10**400, float("nan"), float("inf")])
def test_number_outside_of_ten_years_is_refused(written: float) -> None:
    with pytest.raises(ValueError, match="between 0 seconds and 10 years"):
        parse_duration(written)


@pytest.mark.parametrize("written", ["316224001s", "11000d", f"{'9' * 400}s"])
def test_text_beyond_ten_years_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(written)


@pytest.mark.parametrize("written", [0, "0s", -1, "PT0S"])
def test_a_limit_of_no_time_at_all_is_refused(written: object) -> None:
    with pytest.raises(ValidationError):
        DURATION.validate_python(written)


@pytest.mark.parametrize(("written", "dumped"), [("1m30s", "90"), ("0.5s", "0.5"), (2.0, "2")])
def test_duration_is_written_as_seconds_whole_where_it_can(written: Any, dumped: str) -> None:
    assert DURATION.dump_json(DURATION.validate_python(written)).decode() == dumped


def test_schema_shows_text_and_number() -> None:
    assert DURATION.json_schema()["type"] == ["string", "number"]
