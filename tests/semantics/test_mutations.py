"""Changing a rule of the core turns cells of the truth table red, and none survives all changes."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from tests.semantics.running import check_cell, check_rule, seen_of
from tests.semantics.table import cells, rules, scenario

from regrow.core import compensation, frontier, gates, inputs, mapping, models, run
from regrow.core.graph import dependents_of
from regrow.core.outcome import Because, Outcome
from regrow.core.references import ExpressionError
from regrow.core.resolve import Plan
from regrow.core.wire import Status

CELLS = {cell.id: cell for cell in cells()}
RULES = {row["rule"]: (title, row) for title, row in rules()}

Mutation = Callable[[pytest.MonkeyPatch], None]


# --- edges


def every_edge(*, required: bool) -> Mutation:
    def broken(tasks: Any) -> dict[str, list[tuple[str, bool]]]:
        edges = dependents_of(tasks)
        return {task_id: [(to, required) for to, _ in found] for task_id, found in edges.items()}

    return lambda patch: patch.setattr(frontier, "dependents_of", broken)


def optional_edges_block(patch: pytest.MonkeyPatch) -> None:
    every_edge(required=True)(patch)


def required_edges_do_not_block(patch: pytest.MonkeyPatch) -> None:
    every_edge(required=False)(patch)


def optional_edges_are_not_awaited(patch: pytest.MonkeyPatch) -> None:
    original = vars(frontier.Frontier)["__init__"]

    def broken(self: frontier.Frontier, tasks: Any, groups: Any) -> None:
        original(self, tasks, groups)
        optional = [t.id for t in tasks if t.dependencies and not t.dependencies[0].required]
        vars(self)["_unblocked"].extendleft(optional)

    patch.setattr(frontier.Frontier, "__init__", broken)


def what_was_skipped_satisfies(patch: pytest.MonkeyPatch) -> None:
    original = vars(frontier.Frontier)["settle"]

    def broken(self: frontier.Frontier, task_id: str, status: Status) -> list[str]:
        return original(self, task_id, Status.COMPLETED if status is Status.SKIPPED else status)

    patch.setattr(frontier.Frontier, "settle", broken)


def what_completed_satisfies_nothing(patch: pytest.MonkeyPatch) -> None:
    original = vars(frontier.Frontier)["settle"]

    def broken(self: frontier.Frontier, task_id: str, status: Status) -> list[str]:
        return original(self, task_id, Status.FAILED if status is Status.COMPLETED else status)

    patch.setattr(frontier.Frontier, "settle", broken)


def because_names_the_root_alone(patch: pytest.MonkeyPatch) -> None:
    original = vars(run.TreeRun)["because"]

    def broken(self: run.TreeRun, task_id: str, *more: Any) -> Because | None:
        because: Because | None = original(self, task_id, *more)
        return because and replace(because, task_id=because.root)

    patch.setattr(run.TreeRun, "because", broken)


def expressions_do_not_wait_for_what_they_read(patch: pytest.MonkeyPatch) -> None:
    def broken(tasks: Any) -> dict[str, list[str]]:
        return {}

    patch.setattr(frontier, "_readers", broken)


# --- conditions


def conditions_are_ignored(patch: pytest.MonkeyPatch) -> None:
    def broken(value: Any) -> bool:
        return True

    patch.setattr(gates, "is_true", broken)


def conditions_that_fail_are_false(patch: pytest.MonkeyPatch) -> None:
    original = vars(gates)["_condition"]

    def broken(self: run.TreeRun, text: str) -> bool:
        try:
            return original(self, text)
        except ExpressionError:
            return False

    patch.setattr(gates, "_condition", broken)


# --- what is passed


def null_is_no_result(patch: pytest.MonkeyPatch) -> None:
    original = vars(run.TreeRun)["completed"]

    def broken(self: run.TreeRun, task_id: str) -> bool:
        return original(self, task_id) and self.task_view(task_id)["result"] is not None

    patch.setattr(run.TreeRun, "completed", broken)


def no_result_is_passed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(models.Dependency, "input_key", None)


def whatever_has_ended_passes_its_result(patch: pytest.MonkeyPatch) -> None:
    original = vars(inputs.Inputs)["render"]

    class Settled:
        def __init__(self, upstream: Any) -> None:
            self.upstream = upstream

        def __getattr__(self, name: str) -> Any:
            return getattr(self.upstream, name)

        def completed(self, _: str) -> bool:
            return True

    def broken(self: inputs.Inputs, upstream: Any) -> dict[str, Any]:
        return original(self, Settled(upstream))

    patch.setattr(inputs.Inputs, "render", broken)


def sub_trees_take_no_results(patch: pytest.MonkeyPatch) -> None:
    original = inputs.Inputs.of

    def broken(task: models.Task) -> inputs.Inputs:
        found = original(task)
        return found if task.tree is None else replace(found, known=())

    patch.setattr(inputs.Inputs, "of", broken)


def items_of_maps_take_no_results(patch: pytest.MonkeyPatch) -> None:
    original = mapping.MapRun.of

    def broken(task: models.Task, scope: Any) -> mapping.MapRun:
        made = original(task, scope)
        made.inputs = replace(made.inputs, passed=())
        return made

    patch.setattr(mapping.MapRun, "of", broken)


def into_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(models.Dependency, "input_key", property(lambda self: self.id))


# --- which failures count


def tolerates(*, everything: bool) -> Mutation:
    def broken(self: run.TreeRun, task_id: str) -> bool:
        return everything

    return lambda patch: patch.setattr(run.TreeRun, "is_tolerated", broken)


def no_failure_is_tolerated(patch: pytest.MonkeyPatch) -> None:
    tolerates(everything=False)(patch)


def every_failure_is_tolerated(patch: pytest.MonkeyPatch) -> None:
    tolerates(everything=True)(patch)


def judges(one: Status, like: Status) -> Mutation:
    original = vars(run.TreeRun)["_judge"]

    def broken(self: run.TreeRun, task_id: str, outcome: Outcome, at: Any) -> None:
        seen = replace(outcome, status=like) if outcome.status is one else outcome
        original(self, task_id, seen, at)

    return lambda patch: patch.setattr(run.TreeRun, "_judge", broken)


def a_skip_is_a_failure(patch: pytest.MonkeyPatch) -> None:
    judges(Status.SKIPPED, Status.FAILED)(patch)


def a_task_cancelled_alone_is_no_failure(patch: pytest.MonkeyPatch) -> None:
    judges(Status.CANCELLED, Status.SKIPPED)(patch)


def the_tree_goes_on_after_a_failure(patch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> None:
        pass

    patch.setattr(run.TreeRun, "_close", broken)


# --- groups, maps, order, compensation


def groups_wait_for_nobody(patch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> dict[str, str]:
        return {}

    patch.setattr(frontier, "enclosing_groups", broken)


def groups_die_of_any_failure(patch: pytest.MonkeyPatch) -> None:
    def broken(self: run.TreeRun, task_id: str) -> bool:
        return self.records[task_id].status is Status.FAILED

    patch.setattr(gates, "_went_wrong", broken)


def members_have_the_edges_of_their_group(patch: pytest.MonkeyPatch) -> None:
    original = vars(run.TreeRun)["__init__"]

    def broken(self: run.TreeRun, plan: Plan, **more: Any) -> None:
        tasks = {task.id: task for task in plan.tree.tasks}
        edges = {task_id: task.dependencies for task_id, task in tasks.items()}
        for task_id, task in tasks.items():
            if task.parent_id in plan.groups:
                inherited = (*task.dependencies, *edges[task.parent_id])
                tasks[task_id] = task.model_copy(update={"dependencies": inherited})
        tree = plan.tree.model_copy(update={"tasks": tuple(tasks.values())})
        original(self, replace(plan, tree=tree), **more)

    patch.setattr(run.TreeRun, "__init__", broken)


def maps_tolerate_nothing(patch: pytest.MonkeyPatch) -> None:
    def broken(tolerate: Any, items: int) -> int:
        return 0

    patch.setattr(mapping, "tolerated", broken)


def the_least_urgent_goes_first(patch: pytest.MonkeyPatch) -> None:
    original = vars(frontier.Frontier)["__init__"]

    def broken(self: frontier.Frontier, *args: Any) -> None:
        original(self, *args)
        turned = {task_id: -value for task_id, value in vars(self)["_priority"].items()}
        vars(self)["_priority"] = turned

    patch.setattr(frontier.Frontier, "__init__", broken)


def the_first_is_undone_first(patch: pytest.MonkeyPatch) -> None:
    def broken(self: compensation.Compensations) -> None:
        getattr(self, "_queue").extend(self.completed)  # noqa: B009 - private to others

    patch.setattr(compensation.Compensations, "begin", broken)


BROKEN: dict[Mutation, tuple[str, ...]] = {
    optional_edges_block: (
        "failed-optional-when_absent-plain",
        "timed_out-optional-when_true-map",
        "cancelled-optional-when_absent-sub-tree",
        "skipped_by_condition-optional-when_absent-group",
    ),
    required_edges_do_not_block: (
        "failed-required-when_absent-plain",
        "skipped_by_dependency-required-when_true-map",
        "cancelled-required-when_failing-group",
    ),
    optional_edges_are_not_awaited: (
        "completed-optional-when_absent-plain",
        "an optional one is awaited too",
    ),
    what_was_skipped_satisfies: ("skipped_by_condition-required-when_absent-plain",),
    what_completed_satisfies_nothing: (
        "completed-required-when_absent-group",
        "completed_with_null-required-when_true-plain",
    ),
    because_names_the_root_alone: ("skipped_by_dependency-required-when_absent-group",),
    expressions_do_not_wait_for_what_they_read: ("reading past a skip",),
    conditions_are_ignored: (
        "completed-required-when_false-plain",
        "skipped_by_dependency-optional-when_false-group",
    ),
    conditions_that_fail_are_false: (
        "completed-required-when_failing-map",
        "failed-optional-when_failing-sub-tree",
    ),
    null_is_no_result: (
        "completed_with_null-required-when_absent-plain",
        "completed_with_null-optional-when_true-sub-tree",
    ),
    no_result_is_passed: (
        "completed-required-when_absent-plain",
        "completed_with_null-optional-when_true-map",
    ),
    whatever_has_ended_passes_its_result: (
        "failed-optional-when_absent-plain",
        "skipped_by_condition-optional-when_true-map",
        "cancelled-optional-when_absent-sub-tree",
    ),
    sub_trees_take_no_results: ("completed-required-when_absent-sub-tree",),
    items_of_maps_take_no_results: ("completed-required-when_absent-map",),
    into_is_ignored: ("or under `into`", "spread", "or not at all"),
    no_failure_is_tolerated: (
        "failed-optional-when_absent-plain",
        "timed_out-optional-when_false-group",
        "unless it is allowed",
    ),
    every_failure_is_tolerated: (
        "failed-required-when_absent-plain",
        "completed-required-when_failing-group",
    ),
    a_skip_is_a_failure: (
        "completed-required-when_false-plain",
        "skipped_by_condition-required-when_absent-map",
    ),
    a_task_cancelled_alone_is_no_failure: ("cancelled-required-when_absent-plain",),
    the_tree_goes_on_after_a_failure: ("cancel: nothing goes on",),
    groups_wait_for_nobody: ("dependents wait for all members",),
    groups_die_of_any_failure: ("a tolerated one doesn't",),
    members_have_the_edges_of_their_group: (
        "completed-optional-when_absent-group",
        "failed-required-when_absent-group",
        "members don't wait for the group's edges",
    ),
    maps_tolerate_nothing: ("unless tolerated: it is null at its place",),
    the_least_urgent_goes_first: ("by priority",),
    the_first_is_undone_first: ("in reverse",),
}


@contextmanager
def mutated(mutation: Mutation) -> Generator[None]:
    with pytest.MonkeyPatch.context() as patch:
        mutation(patch)
        yield


async def is_red(name: str) -> bool:
    try:
        if name in CELLS:
            check_cell(CELLS[name], await seen_of(scenario(CELLS[name].written)))
        else:
            title, row = RULES[name]
            await check_rule(row, in_every_order=title == "Whatever the order")
    except Exception:  # noqa: BLE001 - a broken engine may stumble over anything
        return True
    return False


@pytest.mark.parametrize("mutation", BROKEN, ids=lambda mutation: mutation.__name__)
async def test_a_changed_rule_turns_cells_red(mutation: Mutation) -> None:
    names = BROKEN[mutation]
    assert not [name for name in names if await is_red(name)]

    with mutated(mutation):
        assert [name for name in names if not await is_red(name)] == []


async def test_every_cell_is_red_under_some_mutation() -> None:
    green = list(CELLS)
    for mutation in BROKEN:
        with mutated(mutation):
            green = [name for name in green if not await is_red(name)]

    assert green == []
