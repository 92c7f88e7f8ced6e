"""How long it will still take."""

from datetime import timedelta

import pytest

from regrow.cli.view.estimate import Estimate, roughly, told


def spans(*seconds: float) -> list[timedelta]:
    return [timedelta(seconds=each) for each in seconds]


def test_estimate_is_the_median() -> None:
    assert Estimate.of(spans(10, 1000, 30)) == Estimate(timedelta(seconds=30), 3)
    assert Estimate.of(spans(10, 30)) == Estimate(timedelta(seconds=20), 2)


def test_there_is_none_without_earlier_runs_or_for_what_is_over_at_once() -> None:
    assert Estimate.of([]) is None
    assert Estimate.of(spans(0.5, 1, 9)) is None


@pytest.mark.parametrize(
    ("runs", "elapsed", "said"),
    [
        (5, 60, "about 3m left (median of 5 earlier runs)"),
        (1, 60, "about 3m left (as the run before)"),
        (5, 238, "about 2s left (median of 5 earlier runs)"),
        (5, 240, "longer than the 4m of 5 earlier runs"),
        (1, 999, "longer than the 4m of the run before"),
    ],
)
def test_what_is_left_is_said(runs: int, elapsed: float, said: str) -> None:
    estimate = Estimate(timedelta(minutes=4), runs)

    assert " ".join(told(estimate, timedelta(seconds=elapsed))) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "1s"), (9, "9s"), (11, "15s"), (58, "1m"), (61, "1m"), (3500, "58m"), (7260, "2h01m")],
)
def test_times_are_rough(seconds: float, said: str) -> None:
    assert roughly(timedelta(seconds=seconds)) == said
