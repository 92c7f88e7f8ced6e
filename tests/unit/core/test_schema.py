"""The JSON Schema and `load` say the same of a document's shape."""

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from tests.fuzz.strategies import LanguageCase, language_cases
from tests.replay.behaviours import BEHAVIOURS, CONTINUED, HEARD, SHOWN, STEERED
from tests.unit.core.builders import document, task

from regrow.core.durations import parse_duration
from regrow.core.loading import load
from regrow.core.problems import InvalidTree
from regrow.core.schema import tree_schema

PLAIN: Any = Draft202012Validator(tree_schema())
REFUSED_BY_ITS_NAMES = ("a_bad_document_fails_at_once",)  # the shape is fine

steered = {name: pair[0] for name, pair in STEERED.items()}
recorded = {**BEHAVIOURS, **steered, **CONTINUED, **SHOWN, **HEARD}


def loads(written: Any) -> bool:
    try:
        load(written)
    except InvalidTree:
        return False
    return True


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(tree_schema())


@pytest.mark.parametrize("name", recorded)
def test_every_recorded_tree_fits(name: str) -> None:
    assert PLAIN.is_valid(recorded[name])
    assert loads(recorded[name]) is (name not in REFUSED_BY_ITS_NAMES)


@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(language_cases(max_tasks=6))
def test_every_tree_of_the_language_fits(case: LanguageCase) -> None:
    PLAIN.validate(case.document)


# --- the forms of a document

A = {"id": "a"}


@pytest.mark.parametrize(
    "written",
    [
        [A],
        {"tasks": [A]},
        {"version": 1, "name": "t", "description": "d", "tasks": [A]},
        {"version": None, "name": None, "defaults": None, "outputs": None, "tasks": [A]},
        {"on_failure": None, "inputs": None, "user_id": None, "max_in_flight": None, "tasks": [A]},
        document(A, defaults={"retry": {"maximum_attempts": None, "backoff_coefficient": 1.5}}),
        document(A, defaults={"heartbeat_timeout": None, "start_to_close_timeout": "PT1M"}),
        document(A, user_id="é" * 32, inputs={"n": None}, outputs={"x": [1]}),
        [{"name": "a"}, {"id": None, "name": "b"}],
        [{**A, "name": "A title", "schemas": {"method": "m", "x": 1}, "params": None}],
        [{**A, "schemas": {"method": ""}, "params": {"executor_id": "p"}}],
        [{**A, "executor": "e", "schemas": {"method": "Any words"}}],
        [{**A, "user_id": "acme", "executor_default": "x"}],
        document({**A, "children": [{"id": "b", "children": [{"id": "c"}]}, {"id": "d"}]}),
        document({**A, "children": None, "dependencies": None, "inputs": None, "retry": None}),
        document({**A, "priority": None, "when": None, "allow_failure": None, "tree": None}),
        document(A, {"id": "b", "dependencies": ["a"]}),
        document(A, {"id": "b", "dependencies": [{"id": "a", "required": False, "into": None}]}),
        document({**A, "name": "A b"}, {"id": "b", "dependencies": [{"name": "A b", "id": None}]}),
        document(task("a", when=True), task("b", when="`true`")),
        document(task("a", for_each=[1], max_in_flight=500, tolerate=" 100.0% ")),
        document(task("a", for_each="inputs.x", tolerate=3), inputs={"x": []}),
        document(task("a", max_in_flight=None, tolerate=None)),
        document(task("a", compensate={"executor": "undo", "inputs": {"x": 1}})),
        document({**A, "tree": {"tasks": [A]}}, {"id": "b", "executor": "tree", "tree": [A]}),
        document({**A, "tree": [{"id": "b", "tree": [A]}], "for_each": [], "max_in_flight": 1}),
        document({"id": "nap", "executor": "sleep", "inputs": {"until": "2030-01-31T08:00:00Z"}}),
        document({"id": "sleep", "inputs": {"duration": 0}}),
        document({"id": "nap", "executor": "sleep", "inputs": {"duration": "${{ inputs.x }}"}},
                 inputs={"x": 1}),
        document({"id": "ask", "executor": "approval"}, {"id": "approval", "inputs": None}),
        document({"id": "sleep", "tree": [A]}, {"id": "approval", "task_queue": "q",
                                                "inputs": {"x": 1}}),
        [{"id": "sleep", "name": "give", "inputs": {"value": 1}}],
    ],
)  # fmt: skip
def test_what_load_accepts_fits(written: Any) -> None:
    load(written)
    PLAIN.validate(written)


@pytest.mark.parametrize("name", ["features.yaml", "parts/features.yaml"])
def test_a_sub_tree_may_be_a_file(name: str) -> None:
    PLAIN.validate(document({**A, "tree": name}))


@pytest.mark.parametrize(
    "written",
    [
        "text",
        None,
        7,
        {},
        [],
        [[A]],
        {"tasks": {}},
        {"tasks": None},
        {"tasks": []},
        {"tasks": ["a"]},
        document(A, engine={}),
        document(A, bogus=1),
        document(A, version=2),
        document(A, name="a tree"),
        document(A, name=5),
        document(A, description=["d"]),
        document(A, user_id=""),
        document(A, user_id="x" * 65),
        document(A, inputs=["x"]),
        document(A, outputs="x"),
        document(A, max_in_flight=0),
        document(A, max_in_flight=501),
        document(A, max_in_flight=1.5),
        document(A, on_failure="explode"),
        document(A, defaults={"retri": {}}),
        document(A, defaults={"retry": None}),
        document(A, defaults={"priority": 1}),
        document({"executor": "x"}),
        document({"id": "a b"}),
        document({"id": 5}),
        document({"name": "A title is no id"}),
        document({"id": None}),
        document(task("a", name="x" * 201)),
        document(task("a", executr="x")),
        document(task("a", executor="a b")),
        document(task("a", parent_id="/")),
        document(task("a", inputs=[1])),
        document(task("a", priority=4)),
        document(task("a", priority=-1)),
        document(task("a", priority="high")),
        document(task("a", priority=True)),
        document(task("a", when=5)),
        document(task("a", when="")),
        document(task("a", allow_failure="yes")),
        document(task("a", task_queue="")),
        document(task("a", user_id=5)),
        document(task("a", dependencies="b")),
        document(task("a"), task("b", dependencies=["a", "a"])),
        document(task("a"), task("b", dependencies=[{"into": "x"}])),
        document(task("a"), task("b", dependencies=[{"id": "a", "name": "a"}])),
        document(task("a"), task("b", dependencies=[{"id": "a", "name": None}])),
        document(task("a"), task("b", dependencies=[{"id": "a", "requird": False}])),
        document(task("a"), task("b", dependencies=[{"id": "a", "required": None}])),
        document(task("a"), task("b", dependencies=["a b"])),
        document(task("a", retry=5)),
        document(task("a", retry={"maximum_attempts": -1})),
        document(task("a", retry={"maximum_attempts": 1.5})),
        document(task("a", retry={"backoff_coefficient": 0.5})),
        document(task("a", retry={"non_retryable_error_types": "x"})),
        document(task("a", retry={"non_retryable_error_types": None})),
        document(task("a", retry={"initial_interval": "soon"})),
        document(task("a", heartbeat_timeout="1 hour")),
        document(task("a", start_to_close_timeout=0)),
        document(task("a", for_each=5)),
        document(task("a", for_each={"x": 1})),
        document(task("a", for_each=[], tolerate="101%")),
        document(task("a", for_each=[], tolerate=-1)),
        document(task("a", for_each=[], tolerate=True)),
        document(task("a", for_each=[], max_in_flight=0)),
        document(task("a", max_in_flight=2)),
        document(task("a", tolerate=1, for_each=None)),
        document({"id": "ask", "executor": "approval", "for_each": [1]}),
        document({"id": "g", "executor": "group", "for_each": [1]}),
        document(task("a", tree=[A])),
        document(task("a", executor="tree")),
        document({**A, "tree": [A], "task_queue": "q"}),
        document({**A, "tree": ""}),
        document({**A, "tree": {"tasks": [{"id": "b", "bogus": 1}]}}),
        document({**A, "tree": []}),
        document(task("a", compensate="undo")),
        document(task("a", compensate={"inputs": {}})),
        document(task("a", compensate={"executor": "sleep"})),
        document(task("a", compensate={"executor": "undo", "inputs": None})),
        document(task("a", children={"id": "b"})),
        document(task("a", children=["b"])),
        document(task("a", children=[{"id": "b", "bogus": 1}])),
        [{**A, "schemas": "x"}],
        [{**A, "params": [1]}],
        [{**A, "schemas": {"method": "two words"}}],
        [{**A, "params": {"executor_id": 5}}],
    ],
)
def test_a_shape_that_load_refuses_does_not_fit(written: Any) -> None:
    assert not loads(written)
    assert not PLAIN.is_valid(written)


@pytest.mark.parametrize(
    "written",
    [
        document(A, bogus=None),
        document({**A, "bogus": None}),
        document({**A, "children": False}),
        document(task("a", retry={"backoff_coefficient": "2"})),
        document({"id": "nap", "executor": "sleep"}),
        document({"id": "nap", "executor": "sleep", "inputs": {"seconds": 5}}),
        document({"id": "nap", "executor": "sleep", "inputs": {"duration": None}}),
        document({"id": "sleep", "name": "A title", "inputs": {"duration": 1, "until": "x"}}),
        document({"id": "nap", "executor": "sleep", "inputs": {"until": "tomorrow"}}),
        document({"id": "ask", "executor": "approval", "inputs": {"on_timeout": "shrug"}}),
        document({"id": "ask", "executor": "approval", "inputs": {"prompt": ""}}),
        document({"id": "e", "executor": "wait_for_event", "inputs": {"timeout": "1h"}}),
        document(A, {"id": "e", "executor": "wait_for_event", "dependencies": ["a"]}),
    ],
)
def test_what_slips_through_load_or_fails_later_does_not_fit(written: Any) -> None:
    load(written)
    assert not PLAIN.is_valid(written)


@pytest.mark.parametrize(
    "duration",
    [
        "30s", "1m30s", "1d2h3m4s5ms", "1.5h", " 1s ", "5ms", "PT1M", "P1W", "P1DT2H", "PT0.5S",
        "01s", 1, 0.5, 10 * 366 * 24 * 3600,
        "", "s", "0s", "0m0s", "PT", "P", "PT0S", "1 s", "1s1m", "-1s", "1.s", "1e3s", "1", "P1.5D",
        0, -1, 10 * 366 * 24 * 3600 + 1, True, [1], {},
    ],
)  # fmt: skip
def test_a_duration_fits_if_it_can_be_read(duration: Any) -> None:
    written = document(task("a", start_to_close_timeout=duration))
    assert PLAIN.is_valid(written) is loads(written)


@pytest.mark.parametrize("duration", ["0s", 0, "PT0S", "1h"])
def test_a_wait_may_be_over_at_once(duration: Any) -> None:
    parse_duration(duration)
    PLAIN.validate(document({"id": "s", "executor": "sleep", "inputs": {"duration": duration}}))


def fields_of(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{name}.{key}": field
        for name, model in schema["$defs"].items()
        for key, field in model.get("properties", {}).items()
    }


def test_every_field_is_described_and_none_is_titled_by_its_own_name() -> None:
    fields = fields_of(tree_schema())
    assert [name for name, field in fields.items() if not field.get("description")] == []
    assert [name for name, field in fields.items() if "title" in field] == []
    assert fields["Task.for_each"]["description"].startswith("Run the task once for each item")


def test_the_patterns_are_those_of_every_language() -> None:
    """No named groups, no look-behind: editors read them as JavaScript does."""
    text = str(tree_schema())
    assert not re.search(r"\(\?P|\(\?<|\\A|\\Z", text)


# --- inputs of executors


class Item(BaseModel):
    name: str
    price: float


class Order(BaseModel):
    """An order."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    customer: str
    """Who pays."""
    items: list[Item]
    size: tuple[int, int] = (1, 1)
    prices: dict[str, int] = {}


class Node(BaseModel):
    label: str
    below: "list[Node]" = []


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    tricks: int


class Owner(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]


EXECUTORS: dict[str, Any] = {
    "order": Order,
    "node": Node,
    "either": Cat | Dog,
    "owner": Owner,
    "numbers": dict[str, int],
}
SCHEMAS: dict[str, Any] = {
    **{name: TypeAdapter(type_).json_schema() for name, type_ in EXECUTORS.items()},
    "anything": {"type": "object"},
}
TYPED: Any = Draft202012Validator(tree_schema(SCHEMAS))
GOOD = {"customer": "ann", "items": [{"name": "tea", "price": 2}]}

Place = Callable[[str, Any], Any]


def named(executor: str, inputs: Any) -> Any:
    return document({"id": "x", "executor": executor, "inputs": inputs})


def by_id(executor: str, inputs: Any) -> Any:
    return document({"id": executor, "name": "A title", "inputs": inputs})


def nested(executor: str, inputs: Any) -> Any:
    return document({"id": "g", "children": [{"id": "x", "executor": executor, "inputs": inputs}]})


def inside(executor: str, inputs: Any) -> Any:
    return document({"id": "sub", "tree": named(executor, inputs)})


def undoing(executor: str, inputs: Any) -> Any:
    return document(task("a", compensate={"executor": executor, "inputs": inputs}))


EVERYWHERE = pytest.mark.parametrize("place", [named, by_id, nested, inside, undoing])


def test_the_schema_with_executors_is_one() -> None:
    Draft202012Validator.check_schema(tree_schema(SCHEMAS))
    assert tree_schema({}) == tree_schema()


@EVERYWHERE
@pytest.mark.parametrize(
    ("executor", "inputs"),
    [
        ("order", GOOD),
        ("order", {**GOOD, "size": [1, 2], "prices": {"a": 1}}),
        ("order", {"customer": "${{ x }}", "items": "${{ x }}"}),
        ("order", {"customer": "for ${{ x }}", "items": ["${{ x }}"], "size": ["${{ x }}", 1]}),
        ("order", {"customer": "a", "items": [{"name": "tea", "price": "${{ x }}"}]}),
        ("order", {**GOOD, "prices": {"a": "${{ x }}"}}),
        ("node", {"label": "a", "below": [{"label": "b", "below": [{"label": "${{ x }}"}]}]}),
        ("owner", {"pet": {"kind": "${{ x }}", "lives": 9}}),
        ("owner", {"pet": {"kind": "dog", "tricks": "${{ x }}"}}),
        ("either", {"whatever": 1}),
        ("numbers", {"a": 1, "b": "${{ x }}"}),
        ("anything", {"a": [1]}),
        ("unknown", {"a": [1]}),
    ],
)
def test_inputs_that_an_executor_takes_fit(place: Place, executor: str, inputs: Any) -> None:
    TYPED.validate(place(executor, inputs))


@EVERYWHERE
@pytest.mark.parametrize(
    ("executor", "inputs"),
    [
        ("order", {**GOOD, "customer": 5}),
        ("order", {**GOOD, "custmer": "ann"}),
        ("order", {**GOOD, "items": "tea"}),
        ("order", {**GOOD, "items": [{"name": "tea", "price": "two"}]}),
        ("order", {**GOOD, "items": [{"name": "tea"}]}),
        ("order", {**GOOD, "size": [1, 2, 3]}),
        ("order", {**GOOD, "prices": {"a": "one"}}),
        ("order", {"customer": "ann"}),
        ("order", {}),
        ("node", {"label": "a", "below": [{"label": 5}]}),
        ("node", {"below": []}),
        ("owner", {"pet": {"kind": "cow"}}),
        ("numbers", {"a": "one"}),
    ],
)
def test_inputs_that_an_executor_refuses_do_not_fit(
    place: Place, executor: str, inputs: Any
) -> None:
    written = place(executor, inputs)
    assert loads(written)
    assert not TYPED.is_valid(written)


@pytest.mark.parametrize(
    ("fields", "fits"),
    [
        ({"dependencies": ["a"], "inputs": {"customer": "ann"}}, True),
        ({"dependencies": ["a"]}, True),
        ({"dependencies": ["a"], "inputs": None}, True),
        ({"dependencies": ["a"], "inputs": {"customer": 5}}, False),
        ({"dependencies": [], "inputs": {"customer": "ann"}}, False),
        ({"dependencies": None}, False),
        ({}, False),
        ({"task_queue": "elsewhere"}, True),
    ],
)
def test_dependencies_may_bring_what_is_missing(fields: Any, fits: bool) -> None:  # noqa: FBT001
    written = document({"id": "a"}, {"id": "b", "executor": "order", **fields})
    assert TYPED.is_valid(written) is fits


@pytest.mark.parametrize(
    "fields",
    [
        {"executor": "anything"},
        {"schemas": {"method": "anything"}},
        {"params": {"executor_id": "anything"}},
        {"executor_default": "anything"},
        {"name": "anything"},
        {"tree": {"inputs": {"x": 1}, "tasks": [A]}, "inputs": {"x": 1}},
    ],
)
def test_an_id_that_is_an_executors_means_nothing_beside_another_name(fields: Any) -> None:
    TYPED.validate(document({"id": "order", "inputs": {"x": 1}, **fields}))


def test_an_editor_can_offer_the_executors_and_what_they_say_of_their_inputs() -> None:
    definitions = tree_schema(SCHEMAS)["$defs"]
    assert definitions["Task"]["properties"]["executor"]["examples"][-6:] == [*SCHEMAS]
    inputs = definitions["order.inputs"]
    assert inputs["description"] == "An order."
    assert inputs["properties"]["customer"]["description"] == "Who pays."
