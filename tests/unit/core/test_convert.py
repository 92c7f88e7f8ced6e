from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.core.builders import document

from regrow.core.convert import convert
from regrow.core.hashing import document_hash
from regrow.core.loading import load
from regrow.core.problems import InvalidTree

ROW: dict[str, Any] = {
    "id": "7d1f",
    "parent_id": None,
    "task_tree_id": "7d1f",
    "user_id": None,
    "name": "Fetch the user",
    "status": "completed",
    "priority": 1,
    "dependencies": [],
    "inputs": {"user_id": "7"},
    "params": {},
    "result": {"name": "Ann"},
    "error": None,
    "schemas": {"method": "fetch_user"},
    "progress": 1.0,
    "created_at": "2026-01-01T00:00:00",
    "has_children": True,
    "origin_type": "create",
    "max_attempts": 3,
    "backoff_strategy": "exponential",
    "backoff_base_seconds": 1.0,
    "schedule_type": None,
    "token_usage": None,
}
"""What their models give, shortened."""

FETCH: dict[str, Any] = {
    "id": "7d1f",
    "name": "Fetch the user",
    "executor": "fetch_user",
    "inputs": {"user_id": "7"},
    "priority": 1,
}
HAPPENED = (
    "left out: task_tree_id, status, result, progress, created_at, has_children"
    " (what happened there; here every task begins anew)"
)


def tasks_of(value: object) -> list[dict[str, Any]]:
    return convert(value).document["tasks"]


def notes_of(value: object) -> list[str]:
    return list(convert(value).notes)


# --- what becomes of an array


def test_an_array_becomes_a_native_document() -> None:
    converted = convert(
        [
            {**task_of("fetch"), "schemas": {"method": "http_request"}, "inputs": {"url": "x"}},
            {**task_of("look", priority=2), "params": {"executor_id": "weather"}},
            task_of(
                "greet",
                name="Say hello",
                parent_id="fetch",
                priority=0,
                inputs={"greeting": "hello"},
                schemas={"method": "greeter"},
                dependencies=[{"id": "fetch", "required": True}, {"id": "look", "required": False}],
            ),
        ],
        name="greeting",
    )

    assert converted.notes == ()
    assert converted.document == {
        "version": 1,
        "name": "greeting",
        "user_id": "acme",
        "tasks": [
            {"id": "fetch", "executor": "http_request", "inputs": {"url": "x"}},
            {"id": "look", "executor": "weather"},
            {
                "id": "greet",
                "name": "Say hello",
                "executor": "greeter",
                "parent_id": "fetch",
                "dependencies": ["fetch", {"id": "look", "required": False}],
                "inputs": {"greeting": "hello"},
                "priority": 0,
            },
        ],
    }


def task_of(task_id: str, **fields: Any) -> dict[str, Any]:
    return {"id": task_id, "user_id": "acme", **fields}


def test_keys_stand_in_the_order_in_which_people_write_them() -> None:
    (_, task) = tasks_of(
        document(
            {"id": "a"},
            {
                "start_to_close_timeout": "5s",
                "priority": 0,
                "inputs": {"x": 1},
                "when": "`true`",
                "dependencies": ["a"],
                "parent_id": "a",
                "executor": "e",
                "name": "B",
                "id": "b",
            },
        )
    )

    assert " ".join(task) == (
        "id name executor parent_id dependencies when inputs priority start_to_close_timeout"
    )


def test_a_sub_tree_is_written_likewise() -> None:
    (task,) = tasks_of(document({"id": "a", "tree": document({"priority": 0, "id": "b"})}))

    assert [*task["tree"]["tasks"][0]] == ["id", "priority"]


def test_a_mere_name_stays_the_default_that_it_is() -> None:
    assert tasks_of([{"id": "a", "name": "stage"}]) == [
        {"id": "a", "name": "stage", "executor_default": "stage"}
    ]


IDS = ["a", "b", "c", "d", "e"]
NAMES = [None, "fetcher", "Fetch it", "a"]
EXECUTORS = [{}, {"schemas": {"method": "run"}}, {"params": {"executor_id": "go"}}]


@st.composite
def arrays(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Arrays as the guide writes them, with edges and parents that lead backwards."""
    found: list[dict[str, Any]] = []
    for at, task_id in enumerate(IDS[: draw(st.integers(1, len(IDS)))]):
        before = IDS[:at]
        task: dict[str, Any] = {"id": task_id, **draw(st.sampled_from(EXECUTORS))}
        if name := draw(st.sampled_from(NAMES)):
            task["name"] = name
        if before and draw(st.booleans()):
            task["parent_id"] = draw(st.sampled_from(before))
        upstream = draw(st.lists(st.sampled_from(before), unique=True)) if before else []
        if upstream:
            task["dependencies"] = [{"id": e, "required": draw(st.booleans())} for e in upstream]
        if draw(st.booleans()):
            task["inputs"] = {"x": draw(st.sampled_from([None, 1, "text", [], {"deep": [1]}]))}
        if draw(st.booleans()):
            task["priority"] = draw(st.sampled_from([None, 0, 1, 2, 3]))
        if draw(st.booleans()):
            task["user_id"] = "acme"
        found.append(task)
    return found


@given(arrays())
def test_any_array_stays_the_same_tree(array: list[dict[str, Any]]) -> None:
    converted = convert(array)

    assert converted.notes == ()
    assert document_hash(load(converted.document)) == document_hash(load(array))
    assert [task["id"] for task in converted.document["tasks"]] == [task["id"] for task in array]
    assert convert(converted.document) == converted


# --- what becomes of a dump


def test_a_row_of_their_table_is_a_task_and_what_happened_is_left_out() -> None:
    assert (tasks_of([ROW]), notes_of([ROW])) == ([FETCH], [HAPPENED])


BELOW: dict[str, Any] = {**ROW, "id": "8e2a"}
WRAPPED: dict[str, object] = {
    "nested": {**ROW, "children": [{**BELOW, "parent_id": "7d1f"}]},
    "nodes": {"task": ROW, "children": [{"task": BELOW, "children": []}]},
    "list of nodes": [{"task": ROW, "children": [{"task": BELOW, "children": None}]}],
    "answer of a command": {"tasks": [ROW, {**BELOW, "parent_id": "7d1f"}], "saved": False},
}


@pytest.mark.parametrize("wrapped", WRAPPED.values(), ids=WRAPPED)
def test_their_trees_are_read_in_every_form(wrapped: object) -> None:
    below = {key: FETCH[key] for key in ("name", "executor", "inputs", "priority")}

    assert tasks_of(wrapped) == [FETCH, {**below, "id": "8e2a", "parent_id": "7d1f"}]
    assert notes_of(wrapped) == [HAPPENED]


def test_results_that_an_execution_wrote_into_the_inputs_are_left_out() -> None:
    ran = {"id": "b", "schemas": {"method": "e"}, "inputs": {"a": {"result": 1}, "own": 2}}
    edge = {"dependencies": [{"id": "a"}], "status": "completed"}

    assert tasks_of([{"id": "a"}, {**ran, **edge}])[1]["inputs"] == {"own": 2}
    assert notes_of([{"id": "a"}, {**ran, **edge}]) == [
        "left out: status (what happened there; here every task begins anew)",
        "left out: inputs (those that held a dependency's result, which is passed anew)",
    ]


@pytest.mark.parametrize("status", [None, "pending"])
def test_inputs_of_a_task_that_never_ran_are_the_author_s(status: str | None) -> None:
    task = {"id": "b", "dependencies": ["a"], "inputs": {"a": 1}, "status": status}

    assert tasks_of([{"id": "a"}, task])[1]["inputs"] == {"a": 1}


def test_inputs_without_results_stay_as_they_are() -> None:
    task = {"id": "b", "dependencies": ["a"], "inputs": {"x": 1}, "status": "failed"}

    assert tasks_of([{"id": "a"}, task])[1]["inputs"] == {"x": 1}


@pytest.mark.parametrize(
    ("said", "note"),
    [
        ({"max_attempts": 5}, "max_attempts (write it as `retry` of the task)"),
        (
            {"schedule_expression": "0 8 * * *"},
            "schedule_expression (`regrow schedule create` starts trees at their times)",
        ),
        (
            {"schemas": {"method": "e", "input_schema": {"type": "object"}}},
            "schemas.input_schema (an executor's types say what it takes and gives)",
        ),
        (
            {"params": {"executor_id": "e", "model": "m"}},
            "params.model (an executor is given its inputs alone; write it there)",
        ),
        (
            {"dependencies": [{"id": "a", "type": "status"}]},
            "dependencies.type (an edge passes the result, or nothing by `into: null`)",
        ),
        ({"project_code": "x9"}, "project_code (a tree has no such key)"),
    ],
)
def test_what_has_no_counterpart_is_named_with_what_to_do(said: dict[str, Any], note: str) -> None:
    assert notes_of([{"id": "a"}, {"id": "b", **said}]) == [f"left out: {note}"]


def test_what_nobody_wrote_is_not_named() -> None:
    silent = {"dependencies": [{"id": "a", "type": "result"}], "lease_id": None, "run_count": 0}

    assert notes_of([{"id": "a", "has_copy": False}, {"id": "b", **silent}]) == []


def test_a_link_is_named() -> None:
    link = {"id": "a", "name": "e", "origin_type": "link", "original_task_id": "x"}

    assert notes_of([link])[-1] == "'a' is a link; write out what 'x' does"


def test_two_names_of_an_executor_are_named() -> None:
    task = {"id": "a", "schemas": {"method": "m"}, "params": {"executor_id": "p"}}

    assert tasks_of([task]) == [{"id": "a", "executor": "m"}]
    assert notes_of([task]) == ["'a' is run by m; there it was p"]


# --- names instead of ids


def test_a_task_without_an_id_gets_one_from_its_name() -> None:
    assert tasks_of([{"name": "Fetch it", "schemas": {"method": "e"}}]) == [
        {"id": "Fetch-it", "name": "Fetch it", "executor": "e"}
    ]


def test_parents_and_dependencies_may_be_named_by_name() -> None:
    (_, *others) = tasks_of(
        [
            {"id": "a", "name": "First", "executor": "e"},
            {"id": "b", "parent_id": "First", "dependencies": ["First"], "executor": "e"},
            {"id": "c", "dependencies": [{"id": "First", "required": False}], "executor": "e"},
            {"id": "d", "dependencies": [{"name": "First"}], "executor": "e"},
        ]
    )

    assert others == [
        {"id": "b", "executor": "e", "parent_id": "a", "dependencies": ["a"]},
        {"id": "c", "executor": "e", "dependencies": [{"id": "a", "required": False}]},
        {"id": "d", "executor": "e", "dependencies": ["a"]},
    ]


def test_an_id_means_more_than_a_name() -> None:
    array = [{"id": "a"}, {"id": "b", "name": "a"}, {"id": "c", "dependencies": ["a"]}]

    assert tasks_of(array)[2]["dependencies"] == ["a"]


def test_a_name_of_two_is_nobody_s() -> None:
    twice = [{"id": "a", "name": "Same"}, {"id": "b", "name": "Same"}]

    with pytest.raises(InvalidTree, match="Same"):
        convert([*twice, {"id": "c", "dependencies": ["Same"]}])


# --- what is no tree

REFUSED: list[tuple[object, str]] = [
    ("text", "a tree is a mapping or a list, not str"),
    ({"name": "x"}, "tasks: a tree needs a list of tasks"),
    ({"tasks": "x"}, "tasks: must be a list of tasks"),
    (["x"], "[0]: a task is a mapping"),
    ([{"id": "a", "children": "x"}], "[0].children: must be a list of tasks"),
    ([{"id": "a", "schemas": "x"}], "[0].schemas: must be a mapping"),
    ([{"id": "a", "dependencies": "x"}], "[0].dependencies: must be a list"),
    ([{"id": "a", "dependencies": [5]}], "[0].dependencies[0]: must be the id of a task"),
    ([{"id": "a", "status": "failed", "inputs": [1]}], "[0].inputs: must be a mapping"),
    ([{"id": "a", "dependancies": []}], "[0].dependancies: unknown key 'dependancies'; did"),
    ({"tasks": [{"id": "a"}], "on_failur": 1}, "on_failur: unknown key 'on_failur'; did you"),
    ([{"id": 5, "name": "x"}], "[0].id: "),
    ([{"name": "???"}], "[0].id: ''"),
]


@pytest.mark.parametrize(("value", "problem"), REFUSED)
def test_what_is_wrong_is_refused_at_its_place(value: object, problem: str) -> None:
    with pytest.raises(InvalidTree) as refused:
        convert(value)

    assert any(str(each).startswith(problem) for each in refused.value.problems)


def test_keys_that_are_no_text_are_left_out() -> None:
    assert notes_of([{"id": "a", 7: "x"}]) == ["left out: 7 (a tree has no such key)"]
