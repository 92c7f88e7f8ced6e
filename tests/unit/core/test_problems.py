import json

import pytest

from regrow.core import limits
from regrow.core.problems import (
    InvalidTree,
    Path,
    Problem,
    Suggester,
    on_the_wire,
    path_text,
    refuse_if,
    suggestion,
)

DEEP = Problem("x", ("tasks", 2, "retry", "maximum_attempts"), "is wrong")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), ""),
        (("name",), "name"),
        ((0, "id"), "[0].id"),
        (("tasks", 2, "retry", "maximum_attempts"), "tasks[2].retry.maximum_attempts"),
        (("tasks", 0, "children", 1), "tasks[0].children[1]"),
    ],
)
def test_path_is_written_as_people_do(path: Path, text: str) -> None:
    assert path_text(path) == text


def test_problem_reads_as_path_and_message() -> None:
    assert str(DEEP) == "tasks[2].retry.maximum_attempts: is wrong"
    assert str(Problem("x", (), "is wrong")) == "is wrong"


@pytest.mark.parametrize("problem", [DEEP, DEEP.at(7, 3), Problem("x", (), "is wrong")])
def test_problem_survives_the_wire(problem: Problem) -> None:
    assert Problem.from_json(problem.as_json()) == problem


def test_place_is_on_the_wire_only_when_it_is_known() -> None:
    assert set(DEEP.as_json()) == {"code", "path", "message"}
    assert DEEP.at(7, 3).as_json()["line"] == 7
    assert DEEP.at(7, 3).as_json()["column"] == 3


def test_invalid_tree_carries_and_says_every_problem() -> None:
    error = InvalidTree([DEEP, Problem("y", ("name",), "is odd")])

    assert [each.code for each in error.problems] == ["x", "y"]
    assert str(error) == "tasks[2].retry.maximum_attempts: is wrong; name: is odd"


def test_no_problem_is_no_refusal() -> None:
    refuse_if([])
    with pytest.raises(InvalidTree):
        refuse_if([DEEP])


def test_suggestion_is_the_closest_name_or_nothing() -> None:
    assert suggestion("retri", ["name", "retry"]) == "; did you mean 'retry'?"
    assert not suggestion("colour", ["name", "retry"])


def test_a_word_of_other_systems_is_understood_where_ours_is_known() -> None:
    fields = ["start_to_close_timeout", "dependencies", "when"]

    assert suggestion("timeout", fields) == "; did you mean 'start_to_close_timeout'?"
    assert suggestion("needs", fields) == "; did you mean 'dependencies'?"
    assert not suggestion("timeout", ["when"])


def test_many_names_are_suggested_only_so_often() -> None:
    suggest = Suggester(["name", "retry"])

    assert [suggest("retri") for _ in range(22)] == ["; did you mean 'retry'?"] * 20 + [""] * 2


def test_only_so_many_names_are_compared() -> None:
    names = [f"t{at}" for at in range(2_000)]

    assert Suggester([*names[1:], "retry"])("retri")
    assert not Suggester([*names, "retry"])("retri")


def test_what_a_refused_run_carries_is_bounded() -> None:
    many = [Problem("code", ("tasks", at), "x" * 5_000) for at in range(50_000)]

    carried = on_the_wire(many)

    assert len(carried) == limits.MAX_WIRE_PROBLEMS + 1
    assert carried[-1]["message"] == "… and 49,500 more problems"
    assert len(json.dumps(carried)) < limits.MAX_ENGINE_BYTES
    assert on_the_wire(many[:1])[0]["path"] == "tasks[0]"
