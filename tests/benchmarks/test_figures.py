"""How measurements become figures."""

import pytest
from benchmarks.figures import in_turns, meets, number, percentile, ratios, spread


def test_sides_take_turns_forwards_and_backwards() -> None:
    assert [side for _, side in in_turns("AB", 3)] == ["A", "B", "B", "A", "A", "B"]
    assert [at for at, _ in in_turns("AB", 2)] == [0, 0, 1, 1]


def test_ratios_are_those_of_pairs() -> None:
    assert ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]
    with pytest.raises(ValueError, match="longer"):
        ratios([1.0], [1.0, 2.0])


def test_an_outlier_moves_the_interval_and_not_the_middle() -> None:
    calm, disturbed = spread([1.0, 1.1, 1.2, 1.3, 1.4]), spread([1.0, 1.1, 1.2, 1.3, 9.0])

    assert calm.middle == disturbed.middle == 1.2
    assert calm.low <= calm.middle <= calm.high
    assert calm.high < disturbed.high


def test_the_same_measurements_give_the_same_interval() -> None:
    assert spread([1.0, 2.0, 4.0]) == spread([1.0, 2.0, 4.0])


def test_one_measurement_has_no_spread() -> None:
    found = spread([1.5])

    assert (found.low, found.middle, found.high) == (1.5, 1.5, 1.5)


def test_a_percentile_may_lie_between_two_values() -> None:
    values = [40.0, 10.0, 30.0, 20.0]

    assert percentile(values, 0) == 10
    assert percentile(values, 0.5) == 25
    assert percentile(values, 0.95) == pytest.approx(38.5)
    assert percentile(values, 1) == 40


@pytest.mark.parametrize(
    ("target", "low", "high", "says"),
    [
        ("≤ 1.05", 1.0, 1.05, "yes"),
        ("≤ 1.05", 1.0, 1.1, "within the spread"),
        ("≤ 1.05", 1.06, 1.1, "no"),
        ("≤ 4,000", 3_999, 3_999, "yes"),
        ("≤ 8.1 s", 9.0, 9.0, "no"),
        ("≥ 20,000", 25_000, 26_000, "yes"),
        ("≥ 20,000", 19_000, 26_000, "within the spread"),
        ("≥ 20,000", 18_000, 19_000, "no"),
        ("reported", 1.0, 2.0, ""),
    ],
)
def test_the_interval_decides_whether_a_target_is_met(
    target: str, low: float, high: float, says: str
) -> None:
    assert meets(target, low, high) == says


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.4, "0.400"), (1.0, "1.00"), (12.34, "12.3"), (99.99, "100"), (24_680.4, "24,680")],
)
def test_figures_have_three_digits_or_are_whole(value: float, text: str) -> None:
    assert number(value) == text
