from typing import Any

import pytest
from tests.unit.core.builders import Document, document, group, problems_of, task, tree_of

from regrow.core import limits
from regrow.core.graph import (
    children_of,
    cycle_text,
    dependents_of,
    enclosing_groups,
    graph_problems,
    waits_for,
)
from regrow.core.models import Task
from regrow.core.problems import Problem


def found(*tasks: Document) -> list[Problem]:
    """What the graph alone has to say."""
    parsed = [(Task.model_validate(each), ("tasks", at)) for at, each in enumerate(tasks)]
    return graph_problems(parsed)


def messages(*tasks: Document) -> list[str]:
    return [each.message for each in found(*tasks)]


# --- what is wrong


def test_cycle_is_named_in_the_direction_of_waiting_from_the_first_task_on() -> None:
    assert messages(task("a", "c"), task("b", "a"), task("c", "b")) == ["cycle: a → c → b → a"]
    assert found(task("x"), task("a", "b"), task("b", "a"))[0].path == ("tasks", 1, "dependencies")


def test_optional_edges_make_cycles_too() -> None:
    assert messages(task("a", "b?"), task("b", "a?")) == ["cycle: a → b → a"]


def test_several_cycles_are_named_at_once() -> None:
    tasks = [task("a", "b"), task("b", "a"), task("c", "d", "a"), task("d", "c"), task("e", "e")]

    assert messages(*tasks) == [
        "'e' depends on itself",
        "cycle: a → b → a",
        "cycle: c → d → c",
    ]


def test_only_so_many_cycles_are_named() -> None:
    pairs = [
        each
        for at in range(limits.MAX_CYCLES + 5)
        for each in (task(f"a{at}", f"b{at}"), task(f"b{at}", f"a{at}"))
    ]

    assert len(messages(*pairs)) == limits.MAX_CYCLES


def test_long_cycle_is_shortened_in_the_middle() -> None:
    assert cycle_text([*"abcdefghijkl"]) == " → ".join("abcdefghijkl")
    assert cycle_text([f"t{at}" for at in range(20)]) == (
        "t0 → t1 → t2 → t3 → t4 → t5 → … 8 more … → t14 → t15 → t16 → t17 → t18 → t19"
    )


def test_group_waits_for_its_members_so_a_member_cannot_wait_for_it() -> None:
    tasks = [group("g"), task("m", "g", parent_id="g")]

    assert messages(*tasks) == ["cycle: g → m → g"]


def test_cycle_through_a_nested_group_is_found() -> None:
    tasks = [
        group("g"),
        group("inner", parent_id="g"),
        task("m", "after", parent_id="inner"),
        task("after", "g"),
    ]

    assert messages(*tasks) == ["cycle: g → inner → m → after → g"]


def test_parent_that_is_no_group_waits_for_nobody() -> None:
    assert not found(task("p"), task("m", "p", parent_id="p"))


def test_parent_cycles_are_named() -> None:
    tasks = [task("a", parent_id="b"), task("b", parent_id="a"), task("c", parent_id="c")]

    assert [(each.code, each.message) for each in found(*tasks)] == [
        ("parent_cycle", "'c' is its own parent"),
        ("parent_cycle", "cycle: a → b → a"),
    ]


@pytest.mark.parametrize(
    ("written", "problems"),
    [
        (
            document(task("a", parent_id="b"), task("b", parent_id="a")),
            ["parent_cycle tasks[0].parent_id"],
        ),
        (document(task("a", parent_id="a")), ["parent_cycle tasks[0].parent_id"]),
        (
            document(group("a", parent_id="b"), group("b", parent_id="a")),
            ["parent_cycle tasks[0].parent_id"],
        ),
        (
            document(group("a", parent_id="a"), task("b", "c"), task("c", "b")),
            ["parent_cycle tasks[0].parent_id", "cycle tasks[1].dependencies"],
        ),
    ],
)
def test_document_with_a_parent_cycle_is_refused(written: Document, problems: list[str]) -> None:
    assert problems_of(written) == problems


@pytest.mark.parametrize(
    ("tasks", "code", "message"),
    [
        ([task("a"), task("a")], "duplicate_id", "'a' is used twice"),
        ([task("a", "a")], "self_dependency", "'a' depends on itself"),
        (
            [task("fetch"), task("b", "fecth")],
            "unknown_dependency",
            "there is no task 'fecth'; did you mean 'fetch'?",
        ),
        ([task("a", "zzz")], "unknown_dependency", "there is no task 'zzz'"),
        ([task("a"), task("b", "a", "a?")], "duplicate_dependency", "'a' is named twice"),
        (
            [task("fetch"), task("b", parent_id="fecth")],
            "unknown_parent",
            "there is no task 'fecth'; did you mean 'fetch'?",
        ),
        (
            [task("a"), task("b"), task("c", {"id": "a", "into": "x"}, {"id": "b", "into": "x"})],
            "duplicate_into",
            "the results of 'a' and 'b' both go into 'x'",
        ),
        (
            [task("a"), task("b"), task("c", {"id": "a", "into": "b"}, "b")],
            "duplicate_into",
            "the results of 'a' and 'b' both go into 'b'",
        ),
    ],
)
def test_edge_or_parent_that_leads_nowhere_is_named(
    tasks: list[Document], code: str, message: str
) -> None:
    assert [(each.code, each.message) for each in found(*tasks)] == [(code, message)]


@pytest.mark.parametrize("into", [None, "*"])
def test_several_results_may_be_spread_or_dropped(into: Any) -> None:
    edges = [{"id": "a", "into": into}, {"id": "b", "into": into}]

    assert not found(task("a"), task("b"), task("c", *edges))


def test_several_roots_are_fine() -> None:
    assert not found(task("a"), task("b"), task("c", "a"))


# --- the shape


def test_children_and_dependents_come_in_document_order() -> None:
    tree = tree_of(
        task("p"), task("b", "p", parent_id="p"), task("a", "p?", parent_id="p"), task("z", "a")
    )

    assert children_of(tree.tasks) == {"p": ["b", "a"]}
    assert dependents_of(tree.tasks) == {"p": [("b", True), ("a", False)], "a": [("z", True)]}


def test_nearest_group_above_is_found_through_mere_parents() -> None:
    tree = tree_of(
        task("deep", parent_id="mere"),
        task("mere", parent_id="inner"),
        group("inner", parent_id="outer"),
        group("outer"),
        task("alone"),
        task("second", parent_id="inner"),
        task("under", parent_id="alone"),
    )
    groups = {"inner": True, "outer": True}

    assert enclosing_groups(tree.tasks, groups) == {
        "deep": "inner",
        "mere": "inner",
        "inner": "outer",
        "second": "inner",
    }
    assert waits_for(tree.tasks, groups)["outer"] == ["inner"]
