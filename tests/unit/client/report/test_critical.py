from collections.abc import Mapping, Sequence
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.client.report.histories import BEGAN

from regrow.client.report.critical import Link, Step, critical_path


def at(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def step(start: float, end: float, *after: str) -> Step:
    return Step(BEGAN + at(start), BEGAN + at(end), after)


def names(links: Sequence[Link]) -> list[str]:
    return [link.task_id for link in links]


def test_nothing_that_has_settled_gives_no_path() -> None:
    assert critical_path({}, BEGAN) == []


def test_path_leads_through_what_settled_last() -> None:
    steps = {
        "fast": step(0, 1),
        "slow": step(0, 3),
        "join": step(3, 4, "fast", "slow"),
        "short": step(1, 2, "fast"),
    }
    assert names(critical_path(steps, BEGAN)) == ["slow", "join"]


def test_what_lies_between_is_waiting() -> None:
    path = critical_path({"a": step(0.5, 1), "b": step(3, 4, "a")}, BEGAN)

    assert [link.waited for link in path] == [at(0.5), at(2)]
    assert [link.took for link in path] == [at(0.5), at(1)]


def test_dependency_that_ran_again_afterwards_was_not_waited_for() -> None:
    steps = {
        "tolerated": step(0, 9),
        "other": step(0, 2),
        "join": step(2, 10, "tolerated", "other"),
    }
    assert names(critical_path(steps, BEGAN)) == ["other", "join"]


def test_of_equals_the_one_named_first_is_taken() -> None:
    steps = {"a": step(0, 2), "b": step(0, 2), "join": step(2, 3, "b", "a")}
    assert names(critical_path(steps, BEGAN)) == ["b", "join"]


def test_group_leads_on_to_the_member_that_settled_last() -> None:
    steps = {"group": step(5, 5, "x", "y"), "x": step(0, 5), "y": step(0, 1)}
    assert names(critical_path(steps, BEGAN)) == ["x", "group"]


@given(
    st.lists(st.tuples(st.integers(1, 50), st.sets(st.integers(0, 11))), min_size=1, max_size=12)
)
def test_without_waits_it_is_the_longest_chain(shape: list[tuple[int, set[int]]]) -> None:
    takes = {f"t{number}": length for number, (length, _) in enumerate(shape)}
    after = {
        f"t{number}": [f"t{above}" for above in sorted(aboves) if above < number]
        for number, (_, aboves) in enumerate(shape)
    }
    steps: dict[str, Step] = {}
    for name, waits in after.items():
        start = max((steps[each].end for each in waits), default=BEGAN)
        steps[name] = Step(start, start + at(takes[name]), waits)

    path = critical_path(steps, BEGAN)

    assert sum(takes[link.task_id] for link in path) == longest(takes, after)
    assert all(link.waited == at(0) for link in path)


def longest(takes: Mapping[str, int], after: Mapping[str, Sequence[str]]) -> int:
    """Try every chain."""

    def up_to(name: str) -> int:
        return takes[name] + max((up_to(above) for above in after[name]), default=0)

    return max(up_to(name) for name in takes)
