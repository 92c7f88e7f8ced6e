"""What is surely wrong with a task's inputs is said before it runs; what may still come isn't."""

import sys
from typing import Any

import pytest
from pydantic import BaseModel, ValidationInfo, field_validator, model_validator

from regrow import executor_register, load
from regrow.activities.catalogue import make_registry
from regrow.cli.inputs import invalid_inputs, lacking, unknown_inputs
from regrow.core.problems import path_text
from regrow.executors import Registry


class Inner(BaseModel):
    key: str


class Other(BaseModel):
    number: int


class Wanted(BaseModel):
    size: int
    name: str = ""
    inner: Inner | Other | None = None
    many: list[int] = []

    @model_validator(mode="after")
    def _fits(self) -> "Wanted":
        if self.size == 13:
            raise ValueError("13 is unlucky")
        return self


@executor_register()
async def typed(inputs: Wanted) -> None: ...


@executor_register()
async def untyped(inputs: dict[str, Any]) -> None: ...


REGISTRY = Registry(typed, untyped)


def found(*tasks: dict[str, Any], **head: Any) -> list[str]:
    tree = load({"name": "tree", **head, "tasks": [{"id": "z", "executor": "untyped"}, *tasks]})
    return [path_text(problem.path) for problem in invalid_inputs(tree, REGISTRY)]


def one(inputs: dict[str, Any], **fields: Any) -> list[str]:
    return found({"id": "a", "executor": "typed", "inputs": inputs, **fields})


def test_what_fits_is_fine() -> None:
    assert one({"size": 1, "inner": {"key": "x"}, "more": 1}) == []
    assert found({"id": "a", "executor": "untyped", "inputs": {"size": "many"}}) == []


@pytest.mark.parametrize(
    ("inputs", "places"),
    [
        ({}, ["tasks[1].inputs.size"]),
        ({"size": "many"}, ["tasks[1].inputs.size"]),
        ({"size": 1, "many": [1, "two"]}, ["tasks[1].inputs.many[1]"]),
        ({"size": 1, "inner": {"kee": "x"}}, ["tasks[1].inputs.inner"]),
        ({"size": 13}, ["tasks[1].inputs"]),
        ({"name": 1}, ["tasks[1].inputs.size", "tasks[1].inputs.name"]),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(inputs: Any, places: list[str]) -> None:
    assert one(inputs) == places


@pytest.mark.parametrize(
    "inputs",
    [
        {"size": "${{ inputs.n }}"},
        {"size": "1${{ inputs.n }}"},
        {"size": 1, "many": ["${{ inputs.n }}"]},
        {"size": 1, "inner": {"key": ["${{ inputs.n }}"]}},
        {"size": 13, "name": "${{ inputs.n }}"},
    ],
)
def test_what_a_reference_stands_for_is_not_judged(inputs: dict[str, Any]) -> None:
    task = {"id": "a", "executor": "typed", "inputs": inputs}

    assert found(task, inputs={"n": 1}) == []


def test_what_a_dependency_brings_is_not_missing() -> None:
    brings = {"id": "z", "into": "size"}

    assert one({}, dependencies=[brings]) == []
    assert one({}, dependencies=[{"id": "z", "into": "*"}]) == []
    assert one({}, dependencies=["z"]) == ["tasks[1].inputs.size"]
    assert one({"size": 13}, dependencies=[brings]) == []


def test_sub_trees_are_looked_into_and_other_workers_left_alone() -> None:
    bad = {"id": "a", "executor": "typed"}
    inside = {"id": "sub", "tree": {"tasks": [bad]}}

    assert found(inside) == ["tasks[1].tree.tasks[0].inputs.size"]
    assert found({**bad, "task_queue": "theirs"}) == []


def test_inputs_that_would_be_ignored_are_told_apart() -> None:
    tree = load({"tasks": [{"id": "a", "executor": "typed", "inputs": {"size": 1, "sise": 2}}]})

    [problem] = unknown_inputs(tree, REGISTRY)
    assert path_text(problem.path) == "tasks[0].inputs.sise"
    assert list(invalid_inputs(tree, REGISTRY)) == []


class Span(BaseModel):
    start: int
    end: int

    @field_validator("end")
    @classmethod
    def _later(cls, end: int, info: ValidationInfo) -> int:
        if end < info.data["start"]:  # which isn't there if it was wrong itself
            raise ValueError("ends before it starts")
        return end


@executor_register()
async def spans(inputs: Span) -> None: ...


def test_a_validator_that_cannot_bear_a_reference_says_nothing() -> None:
    REGISTRY.add(spans)
    task = {"id": "a", "executor": "spans", "inputs": {"start": "${{ inputs.n }}", "end": 3}}
    late = {"id": "a", "executor": "spans", "inputs": {"start": 5, "end": 3}}

    assert found(task, inputs={"n": 1}) == []
    assert found(late) == ["tasks[1].inputs.end"]


def batch(**inputs: Any) -> list[str]:
    tree = load({"tasks": [{"id": "a", "executor": "batch", "inputs": inputs}]})
    registry = make_registry()
    registry.add(typed)
    return [f"{path_text(p.path)}: {p.code}" for p in invalid_inputs(tree, registry)]


def test_what_a_batch_would_call_is_judged_as_far_as_it_is_written_out() -> None:
    place = "tasks[0].inputs"

    assert batch(executor="typed", items=[{"size": 1}]) == []
    assert batch(executor="typd", items=[]) == [f"{place}.executor: unknown_executor"]
    assert batch(executor="typed", items=[{"size": 1}, {}]) == [
        f"{place}.items[1].size: invalid_input"
    ]
    assert batch(executor="typed", items=[{}], inputs={"size": 1}) == []
    assert batch(executor="typed", items="${{ tree.name }}") == []


def test_waits_that_would_fail_are_found() -> None:
    assert found({"id": "a", "executor": "sleep", "inputs": {"seconds": 5}}) == ["tasks[1].inputs"]
    assert found({"id": "a", "executor": "sleep", "inputs": {"duration": "5s"}}) == []
    assert found({"id": "a", "executor": "wait_for_event"}) == ["tasks[1].inputs"]


def test_an_executor_without_its_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)  # as if it weren't there
    tree = load({"tasks": [{"id": "a", "executor": "http_request", "inputs": {"url": "x"}}]})

    [problem] = lacking(tree, make_registry())
    assert path_text(problem.path) == "tasks[0].executor"
    assert problem.message == "'http_request' can't run here: pip install 'regrow[http]'"
