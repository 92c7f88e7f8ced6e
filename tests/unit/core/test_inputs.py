from typing import Any

import pytest
from tests.unit.core.builders import (
    Document,
    begin,
    drive,
    entry_of,
    fails,
    inputs_of,
    run_to_end,
    task,
    tree_of,
)

from regrow.core.inputs import Inputs

USER = {"name": "ann", "age": 3}


def given(*dependencies: str | Document, script: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """What a task that depends on `a` and `b` is given."""
    tree = tree_of(task("a"), task("b"), task("c", *dependencies, **fields))
    return inputs_of(tree, "c", script)


@pytest.mark.parametrize(
    ("into", "inputs"),
    [
        ({}, {"a": USER}),
        ({"into": "user"}, {"user": USER}),
        ({"into": "a"}, {"a": USER}),
        ({"into": "*"}, USER),
        ({"into": None}, {}),
        ({"into": ""}, {"": USER}),
    ],
)
def test_result_of_a_dependency_goes_where_into_says(
    into: Document, inputs: dict[str, Any]
) -> None:
    assert given({"id": "a", **into}, script={"a": USER}) == inputs


def test_null_is_a_result_like_any_other() -> None:
    assert given("a", script={"a": None}) == {"a": None}


@pytest.mark.parametrize("edge", ["a?", {"id": "a", "required": False, "into": "*"}])
def test_dependency_that_did_not_complete_passes_nothing(edge: str | Document) -> None:
    assert given(edge, "b?", script={"a": fails(), "b": 1}) == {"b": 1}


def test_authors_keys_win_then_named_results_then_spread_ones_the_later_first() -> None:
    tree = tree_of(
        task("one"),
        task("two"),
        task("name"),
        task(
            "last",
            "name",
            {"id": "one", "into": "*"},
            {"id": "two", "into": "*"},
            inputs={"own": "author"},
        ),
    )
    script = {
        "one": {"own": 1, "name": 1, "shared": 1, "one": 1},
        "two": {"own": 2, "name": 2, "shared": 2},
        "name": "named",
    }

    assert inputs_of(tree, "last", script) == {
        "own": "author",
        "name": "named",
        "shared": 2,
        "one": 1,
    }


def test_authors_key_wins_over_the_dependency_of_that_name() -> None:
    assert given("a", script={"a": 1}, inputs={"a": None}) == {"a": None}


@pytest.mark.parametrize(
    ("inputs", "added"),
    [
        ({"x": "${{ tasks.a.result.name }}"}, False),
        ({"x": "name: ${{ tasks.a.result.name }}"}, False),
        ({"x": [{"y": "${{ tasks.a.result.name }}"}]}, False),
        pytest.param({"x": "${{ tasks.a.result[0] }}"}, False),
        ({"x": "${{ tasks.a.status }}"}, True),
        ({"x": "${{ tasks.b.result }}"}, True),
        ({}, True),
    ],
)
def test_result_that_a_reference_names_is_not_added(inputs: dict[str, Any], *, added: bool) -> None:
    assert ("a" in given("a", "b", script={"a": USER}, inputs=inputs)) is added


def test_condition_names_a_dependency_without_taking_its_result_away() -> None:
    assert given("a", script={"a": USER}, when="tasks.a.result.name == 'ann'") == {"a": USER}


@pytest.mark.parametrize("result", ["text", [1], None, 5])
def test_what_is_no_mapping_cannot_be_spread(result: Any) -> None:
    tree = tree_of(task("a"), task("b", {"id": "a", "into": "*"}))

    entry = entry_of(run_to_end(tree, {"a": result}), "b")

    assert (entry["status"], entry["error_type"]) == ("failed", "expression_error")
    assert entry["error"].startswith("into: '*' spreads a mapping, but 'a' gave ")


def test_documents_own_inputs_are_never_modified() -> None:
    tree = tree_of(task("a"), task("b", "a", inputs={"x": {"y": "${{ tasks.a.result }}"}}))
    before = tree.as_document()

    drive(begin(tree), {"a": USER})

    assert tree.as_document() == before


def test_edges_that_pass_their_results_are_known_beforehand() -> None:
    tree = tree_of(
        task("a"),
        task("b"),
        task("c", "a", {"id": "b", "into": None}, inputs={"x": "${{ tree.name }}"}),
    )

    assert [edge.id for edge in Inputs.of(tree.tasks[2]).passed] == ["a"]
