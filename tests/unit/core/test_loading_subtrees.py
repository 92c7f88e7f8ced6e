"""Trees inside trees, as documents write them."""

from typing import Any

import pytest

from regrow.core.loading import load
from regrow.core.problems import InvalidTree, path_text

MISSING = ("missing", "tasks[0].tree", "'tree' is missing: what it runs")
LEAF: dict[str, Any] = {"tasks": [{"id": "leaf", "executor": "give"}]}


def problems_of(document: object) -> list[tuple[str, str, str]]:
    with pytest.raises(InvalidTree) as refused:
        load(document)
    return [(each.code, path_text(each.path), each.message) for each in refused.value.problems]


@pytest.mark.parametrize(
    "document",
    [
        {"tasks": [{"id": "sub", "tree": LEAF}]},
        {"tasks": [{"id": "sub", "tree": LEAF["tasks"]}]},
        [{"id": "sub", "name": "A title", "tree": LEAF}],
        {"tasks": [{"id": "sub", "executor": "tree", "tree": LEAF}]},
        {"tasks": [{"id": "tree", "tree": LEAF}]},
        {"tasks": [{"id": "g", "children": [{"id": "sub", "tree": LEAF}]}]},
    ],
)
def test_sub_tree_is_read_in_every_form(document: object) -> None:
    tree = load(document)

    sub = next(task for task in tree.tasks if task.tree is not None)
    assert sub.executor_id == "tree"
    assert sub.tree is not None
    assert [task.id for task in sub.tree.tasks] == ["leaf"]
    assert load(tree.as_document()) == tree


def test_inputs_of_the_seeds_form_reach_a_sub_tree() -> None:
    inner = {**LEAF, "inputs": {"n": 0}}

    tree = load([{"id": "sub", "inputs": {"n": 1}, "tree": inner}])

    assert (tree.tasks[0].executor_id, tree.tasks[0].inputs) == ("tree", {"n": 1})


def test_sub_tree_without_a_name_is_called_after_its_task() -> None:
    tree = load({"tasks": [{"id": "sub", "tree": LEAF}]})

    assert tree.tasks[0].tree is not None
    assert tree.tasks[0].tree.name == "sub"


@pytest.mark.parametrize(
    ("task", "problem"),
    [
        ({"id": "tree"}, ("missing", "tasks[0].tree", "'tree' is missing: what it runs")),
        (
            {"id": "a", "executor": "tree"},
            ("missing", "tasks[0].tree", "'tree' is missing: what it runs"),
        ),
        (
            {"id": "a", "tree": "b.yaml"},
            (
                "tree",
                "tasks[0].tree",
                "'b.yaml' is a file, which only a tree that is read from a file can name",
            ),
        ),
        (
            {"id": "a", "tree": 7},
            ("shape", "tasks[0].tree", "a tree is a mapping or a list, not int"),
        ),
        (
            {"id": "a", "executor": "give", "tree": LEAF},
            (
                "tree",
                "tasks[0].executor",
                "a task with a sub-tree has the executor 'tree', not 'give'",
            ),
        ),
        (
            {"id": "a", "task_queue": "q", "tree": LEAF},
            (
                "tree",
                "tasks[0].task_queue",
                "a sub-tree has no task queue of its own; give one to the tasks inside",
            ),
        ),
        (
            {"id": "a", "tree": {**LEAF, "user_id": "eve"}},
            (
                "user_id",
                "tasks[0].tree.user_id",
                "user_id 'eve' inside one that has none; one tree has one user",
            ),
        ),
        (
            {"id": "a", "inputs": {"lenght": 1}, "tree": {**LEAF, "inputs": {"length": 0}}},
            (
                "unknown_input",
                "tasks[0].inputs.lenght",
                "the sub-tree declares no input 'lenght'; did you mean 'length'?",
            ),
        ),
        (
            {"id": "a", "tree": {"tasks": [{"id": "b", "priority": 9}]}},
            (
                "less_than_equal",
                "tasks[0].tree.tasks[0].priority",
                "input should be less than or equal to 3",
            ),
        ),
        (
            {"id": "a", "tree": {**LEAF, "engine": {}}},
            ("reserved", "tasks[0].tree.engine", "this key is the engine's own"),
        ),
    ],
)
def test_what_is_wrong_with_a_sub_tree_is_said_where_it_is(
    task: dict[str, Any], problem: tuple[str, str, str]
) -> None:
    assert problems_of({"tasks": [task]}) == [problem]


def nested(depth: int) -> dict[str, Any]:
    tree = LEAF
    for _ in range(depth):
        tree = {"tasks": [{"id": "sub", "tree": tree}]}
    return tree


def test_trees_are_nested_eight_deep_and_no_deeper() -> None:
    assert load(nested(8)).tasks[0].executor_id == "tree"
    [(code, path, message)] = problems_of(nested(9))
    assert (code, message) == ("too_deep", "trees inside trees more than 8 deep")
    assert path.count("tree") == 9


def test_every_problem_of_every_level_is_reported_at_once() -> None:
    inner = {"tasks": [{"id": "x", "dependencies": ["y"]}, {"id": "x"}]}
    outer = {"tasks": [{"id": "a", "tree": inner, "dependencies": ["b"]}]}

    assert [(code, path) for code, path, _ in problems_of(outer)] == [
        ("unknown_dependency", "tasks[0].tree.tasks[0].dependencies[0]"),
        ("duplicate_id", "tasks[0].tree.tasks[1].id"),
        ("unknown_dependency", "tasks[0].dependencies[0]"),
    ]
