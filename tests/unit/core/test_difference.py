from tests.unit.core.builders import task, tree_of

from regrow.core.difference import differences


def test_equal_trees_differ_in_nothing() -> None:
    assert list(differences(tree_of(task("a")), tree_of(task("a")))) == []


def test_every_difference_is_named() -> None:
    before = tree_of(task("a"), task("b", "a"), task("c"), inputs={"n": 1, "m": 2}, max_in_flight=5)
    tree = tree_of(
        task("a", priority=0),
        task("b", inputs={"x": 1}),
        task("d"),
        inputs={"n": "x" * 100, "m": 2},
        max_in_flight=6,
        description="new",
    )

    assert list(differences(before, tree)) == [
        f"input 'n': 1 → \"{'x' * 59}…",
        "max_in_flight: 5 → 6",
        'description: null → "new"',
        "task 'a' has another priority",
        "task 'b' has another dependencies, inputs",
        "task 'c' is gone",
        "task 'd' is new",
    ]


def test_order_of_the_tasks_is_a_difference() -> None:
    found = differences(tree_of(task("a"), task("b")), tree_of(task("b"), task("a")))

    assert list(found) == ["the tasks are in another order"]
