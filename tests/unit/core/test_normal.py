import gc
import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError
from tests.unit.core.builders import document, problems_of, task

from regrow.core.garbage import collected_later
from regrow.core.loading import load
from regrow.core.models import TaskTree
from regrow.core.normal import read_normal

Document = dict[str, Any]

EVERYTHING = document(
    task("first", name="The first", priority=0, retry={"maximum_attempts": 2}),
    task(
        "second",
        "first",
        {"id": "other", "required": False, "into": None},
        start_to_close_timeout="1m30s",
        heartbeat_timeout=1.5,
        compensate={"executor": "undo", "inputs": {"of": "${{ tasks.second.result }}"}},
    ),
    task("other", {"id": "first", "into": "*"}, when=True, inputs={"deep": [{"a": None}]}),
    task("map", "first", for_each=[1, None], tolerate="10%", max_in_flight=3),
    {
        "id": "inner",
        "dependencies": ["first"],
        "inputs": {"x": 1},
        "tree": document(task("a"), task("b", "a"), inputs={"x": None}, name="inside"),
        "compensate": {"executor": "undo"},
    },
    inputs={"count": 3},
    outputs={"out": "${{ tasks.first.result }}"},
    defaults={"retry": {"initial_interval": "2s"}},
    on_failure="wait",
    user_id="acme",
)


def on_the_way(tree: TaskTree) -> Document:
    return json.loads(json.dumps(tree.as_document()))


@pytest.mark.parametrize("written", [EVERYTHING, document(task("only"))])
def test_written_out_and_read_back_a_tree_is_the_same(written: Document) -> None:
    tree = load(written)
    again = read_normal(on_the_way(tree))

    assert again == tree
    assert again.as_document() == tree.as_document()


def test_name_that_says_no_more_than_the_id_is_left_out() -> None:
    tree = load(document(task("a", name="a")))

    assert read_normal(on_the_way(tree)) == load(on_the_way(tree))


def test_what_was_checked_before_is_not_checked_again() -> None:
    ring = document(task("a", "b"), task("b", "a"))

    assert problems_of(ring)
    assert [each.id for each in read_normal(ring).tasks] == ["a", "b"]


@pytest.mark.parametrize(
    "edge", ["no id", {"id": "a", "required": "perhaps"}, ["a"]], ids=["id", "field", "shape"]
)
def test_types_of_fields_hold_whatever_is_read(edge: object) -> None:
    with pytest.raises(ValidationError):
        read_normal({"name": "t", "tasks": [{"id": "b", "dependencies": [edge]}]})


def fails_while_it_is_put_off(seen: list[bool]) -> None:
    with collected_later():
        seen.append(gc.isenabled())
        raise ValueError("bad")


@pytest.mark.parametrize("switch", [gc.enable, gc.disable])
def test_search_for_garbage_goes_on_afterwards_if_it_did_before(switch: Callable[[], None]) -> None:
    before, seen = gc.isenabled(), list[bool]()
    switch()
    try:
        with pytest.raises(ValueError, match="bad"):
            fails_while_it_is_put_off(seen)
        seen.append(gc.isenabled())
    finally:
        (gc.enable if before else gc.disable)()
    assert seen == [False, switch is gc.enable]
