from datetime import datetime, timedelta

import pytest
from tests.unit.core.builders import NOW

from regrow.core import limits
from regrow.core.rollover import Rollover


def holds(
    rollover: Rollover, events: int, *, size: int = 0, suggested: bool = False, after: float = 0
) -> bool:
    return rollover.holds(events, size, suggested, later(after))


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("events", "size", "suggested", "held"),
    [
        (0, 0, False, False),
        (limits.ROLLOVER_EVENTS - 1, limits.ROLLOVER_BYTES - 1, False, False),
        (limits.ROLLOVER_EVENTS, 0, False, True),
        (0, limits.ROLLOVER_BYTES, False, True),
        (0, 0, True, True),
    ],
)
def test_starts_are_held_once_the_history_is_long_large_or_the_server_asks(
    events: int, size: int, *, suggested: bool, held: bool
) -> None:
    rollover = Rollover(0)

    assert holds(rollover, events, size=size, suggested=suggested) is held
    assert rollover.is_held is held


def test_hold_ends_after_a_while_and_is_tried_again_after_more_events() -> None:
    rollover = Rollover(0)
    first = limits.ROLLOVER_EVENTS
    again = first + 7 + limits.ROLLOVER_RETRY_EVENTS

    assert holds(rollover, first)
    assert holds(rollover, first + 5, after=29)
    assert not holds(rollover, first + 7, after=30)
    assert not holds(rollover, again - 1, suggested=True, after=31)
    assert holds(rollover, again, after=32)


def test_hold_for_bytes_is_tried_again_after_as_many_more() -> None:
    rollover = Rollover(0)
    size = limits.ROLLOVER_BYTES

    assert holds(rollover, 10, size=size)
    assert not holds(rollover, 10, size=size, after=30)
    assert not holds(rollover, 10, size=2 * size - 1, after=31)
    assert holds(rollover, 10, size=2 * size, after=32)


def test_hold_has_no_end_once_the_history_is_nearly_full() -> None:
    rollover = Rollover(0)

    assert holds(rollover, limits.ROLLOVER_FORCE_EVENTS)
    assert holds(rollover, limits.ROLLOVER_FORCE_EVENTS, after=3600)
    assert rollover.left(limits.ROLLOVER_FORCE_EVENTS, later(3600)) is None


def test_rest_of_a_hold_is_known_and_never_nothing() -> None:
    rollover = Rollover(0)
    assert rollover.left(0, NOW) is None

    holds(rollover, limits.ROLLOVER_EVENTS)

    assert rollover.left(limits.ROLLOVER_EVENTS, later(10)) == timedelta(seconds=20)
    assert rollover.left(limits.ROLLOVER_EVENTS, later(60)) == timedelta(milliseconds=1)


def test_suggestion_of_the_server_is_followed_once_only() -> None:
    rollover = Rollover(0)

    assert holds(rollover, 100, suggested=True)
    rollover.postpone(100, 0)

    assert not holds(rollover, 101, suggested=True)


def test_suggestion_of_the_server_is_followed_once_only_at_any_length() -> None:
    rollover = Rollover(0)
    rollover.postpone(limits.ROLLOVER_EVENTS - limits.ROLLOVER_RETRY_EVENTS, 0)

    assert not holds(rollover, 2_501, suggested=True)


@pytest.mark.parametrize(
    ("events", "size", "last"),
    [
        (limits.LAST_EVENTS - 1, limits.LAST_BYTES - 1, False),
        (limits.LAST_EVENTS, 0, True),
        (0, limits.LAST_BYTES, True),
    ],
)
def test_run_ends_itself_before_the_server_does(events: int, size: int, *, last: bool) -> None:
    assert Rollover.is_last(events, size) is last
