from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError
from tests.unit.core.builders import document, task, tree_of

from regrow.core.loading import load
from regrow.core.models import Dependency, RetryPolicy, Task, TaskTree


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("fetch", "fetch"),
        ({"id": "fetch"}, "fetch"),
        ({"id": "fetch", "into": "user"}, "user"),
        ({"id": "fetch", "into": "*"}, "*"),
        ({"id": "fetch", "into": None}, None),
    ],
)
def test_absent_into_is_the_id_and_null_is_nothing(written: Any, key: str | None) -> None:
    assert Dependency.model_validate(written).input_key == key


def test_bare_dependency_is_required() -> None:
    assert Dependency.model_validate("fetch").required


def test_title_and_executor_default_to_the_id() -> None:
    plain = Task(id="fetch")
    named = Task(id="fetch", name="Fetch it", executor="http_request")

    assert (plain.title, plain.executor_id) == ("fetch", "fetch")
    assert (named.title, named.executor_id) == ("Fetch it", "http_request")
    assert Task(id="fetch", executor_default="get").executor_id == "get"


@pytest.mark.parametrize("given", [{}, {"priority": None}, {"priority": 2}])
def test_no_priority_is_normal(given: dict[str, Any]) -> None:
    assert Task.model_validate({"id": "a", **given}).priority == 2


@pytest.mark.parametrize("priority", [-1, 4, 1.5, "1", True])
def test_priority_is_a_whole_number_from_0_to_3(priority: object) -> None:
    with pytest.raises(ValidationError):
        Task.model_validate({"id": "a", "priority": priority})


def test_what_is_no_mapping_is_no_task() -> None:
    with pytest.raises(ValidationError):
        Task.model_validate("fetch")


@pytest.mark.parametrize(("written", "kept"), [(True, "`true`"), (False, "`false`"), ("a", "a")])
def test_condition_may_be_a_truth_value(written: object, kept: str) -> None:
    assert Task.model_validate({"id": "a", "when": written}).when == kept


@pytest.mark.parametrize("user_id", ["", "é" * 33, "a" * 65, 5])
def test_user_id_is_text_of_at_most_64_bytes(user_id: object) -> None:
    with pytest.raises(ValidationError):
        TaskTree.model_validate(document(task("a"), user_id=user_id))


def test_user_id_of_64_bytes_is_fine() -> None:
    assert tree_of(task("a"), user_id="é" * 32).user_id == "é" * 32


@pytest.mark.parametrize(
    "field",
    [
        {"allow_failure": 1},
        {"task_queue": ""},
        {"name": "x" * 201},
        {"retry": {"maximum_attempts": -1}},
        {"retry": {"maximum_attempts": 1.5}},
        {"retry": {"backoff_coefficient": 0.5}},
        {"start_to_close_timeout": 0},
        {"dependencies": [{"id": "b", "required": "yes"}]},
    ],
)
def test_field_out_of_its_bounds_is_refused(field: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Task.model_validate({"id": "a", **field})


def test_values_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Task(id="a").id = "b"


def test_document_holds_what_is_not_default_and_nothing_else() -> None:
    tree = tree_of(
        task("a", priority=2, allow_failure=False, start_to_close_timeout="1m30s"),
        task("b", "a", {"id": "a2", "into": None}, {"id": "a3", "required": False, "into": "x"}),
        task("a2"),
        task("a3"),
        max_in_flight=100,
    )

    assert tree.as_document() == {
        "version": 1,
        "name": "tree",
        "tasks": [
            {"id": "a", "executor": "work", "start_to_close_timeout": 90},
            {
                "id": "b",
                "executor": "work",
                "dependencies": [
                    "a",
                    {"id": "a2", "into": None},
                    {"id": "a3", "required": False, "into": "x"},
                ],
            },
            {"id": "a2", "executor": "work"},
            {"id": "a3", "executor": "work"},
        ],
    }


def test_document_reads_back_as_the_same_tree() -> None:
    tree = tree_of(
        task("a", retry={"maximum_attempts": 4, "initial_interval": "1s"}, when=True),
        task("b", {"id": "a", "into": None}, inputs={"n": None, "deep": {"x": [1, None]}}),
        inputs={"n": None},
        outputs={"x": "${{ tasks.b.result }}"},
        defaults={"heartbeat_timeout": "10s"},
        user_id="acme",
    )

    assert load(tree.as_document()).as_document() == tree.as_document()
    assert load(tree) == tree


def test_python_builds_the_same_model() -> None:
    tree = TaskTree(
        name="tree",
        tasks=(
            Task(id="a", start_to_close_timeout=timedelta(seconds=5)),
            Task(id="b", dependencies=(Dependency(id="a"),), retry=RetryPolicy(maximum_attempts=1)),
        ),
    )

    assert load(tree) == load(
        document(
            {"id": "a", "start_to_close_timeout": "5s"},
            {"id": "b", "dependencies": ["a"], "retry": {"maximum_attempts": 1}},
        )
    )
