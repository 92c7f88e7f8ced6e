from typing import Any

import pytest
from tests.unit.core.builders import document, tree_of

from regrow.core.hashing import document_hash
from regrow.core.loading import load, with_inputs


def hash_of(written: Any) -> str:
    return document_hash(load(written, name="tree"))


NATIVE = document(
    {
        "id": "fetch",
        "executor": "http_request",
        "inputs": {"url": "é"},
        "start_to_close_timeout": "1m30s",
    },
    {"id": "clean", "parent_id": "fetch", "dependencies": ["fetch"], "priority": 0},
)


@pytest.mark.parametrize(
    "same",
    [
        document(
            {
                "id": "fetch",
                "executor": "http_request",
                "inputs": {"url": "é"},
                "start_to_close_timeout": 90,
                "children": [{"priority": 0, "dependencies": [{"id": "fetch"}], "id": "clean"}],
            }
        ),
        [
            {
                "id": "fetch",
                "schemas": {"method": "http_request"},
                "inputs": {"url": "é"},
                "start_to_close_timeout": "PT90S",
                "priority": None,
            },
            {
                "id": "clean",
                "parent_id": "fetch",
                "dependencies": [{"id": "fetch", "required": True}],
                "priority": 0,
                "allow_failure": False,
            },
        ],
        load(NATIVE),
        load(NATIVE).as_document(),
    ],
)
def test_same_tree_has_the_same_hash_however_it_is_written(same: Any) -> None:
    assert hash_of(same) == hash_of(NATIVE)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([{"name": "a"}], [{"id": "a"}]),
        (
            [{"id": "a"}, {"id": "b", "dependencies": [{"id": "a", "into": "a"}]}],
            [{"id": "a"}, {"id": "b", "dependencies": ["a"]}],
        ),
    ],
)
def test_saying_the_default_changes_nothing(one: Any, other: Any) -> None:
    assert hash_of(one) == hash_of(other)


@pytest.mark.parametrize(
    "other",
    [
        {"user_id": "acme"},
        {"inputs": {"n": 1}},
        {"description": "x"},
        {"max_in_flight": 5},
        {"outputs": {}},
        {"name": "other"},
        {"tasks": NATIVE["tasks"][:1]},
        {"tasks": NATIVE["tasks"][::-1]},
    ],
)
def test_other_trees_have_other_hashes(other: dict[str, Any]) -> None:
    assert hash_of({**NATIVE, **other}) != hash_of(NATIVE)


@pytest.mark.parametrize("into", [None, "*", "x"])
def test_into_is_part_of_the_tree(into: str | None) -> None:
    plain = document({"id": "a"}, {"id": "b", "dependencies": ["a"]})
    other = document({"id": "a"}, {"id": "b", "dependencies": [{"id": "a", "into": into}]})

    assert hash_of(plain) != hash_of(other)


def test_inputs_are_hashed_as_they_are_set() -> None:
    tree = tree_of({"id": "a"}, inputs={"n": 1})

    assert document_hash(with_inputs(tree, {"n": 1})) == document_hash(tree)
    assert document_hash(with_inputs(tree, {"n": 2})) != document_hash(tree)


def test_hash_never_changes_since_memos_of_running_trees_hold_it() -> None:
    expected = "9e76b3a1778f151e4a348a7d7fe4d21a8e83b35baf903d188c51768ae783ae9c"

    assert hash_of(NATIVE) == expected
