from datetime import timedelta
from typing import Any

import pytest
from tests.unit.core.builders import (
    Document,
    describe,
    group,
    plan_of,
    problems_of,
    sleep,
    task,
    tree_of,
)

from regrow.core.models import Policy, TaskTree
from regrow.core.problems import InvalidTree, path_text
from regrow.core.resolve import Description, Unknown, executor_ids, resolve


def refused(tree: TaskTree, description: Description) -> InvalidTree:
    with pytest.raises(InvalidTree) as error:
        resolve(tree, description)
    return error.value


def codes(error: InvalidTree) -> list[str]:
    return [f"{each.code} {path_text(each.path)}" for each in error.problems]


def test_worker_is_asked_for_each_executor_once_but_not_for_what_it_does_not_run() -> None:
    tree = tree_of(
        task("a", executor="x"),
        {"id": "b"},
        task("c", executor="x"),
        task("d", executor="other", task_queue="go"),
        group("e"),
        sleep("f"),
        task("g", executor="aggregate_results"),
    )

    assert executor_ids(tree) == ["x", "b"]


def test_every_task_is_native_or_an_activity() -> None:
    tree = tree_of(
        task("a"),
        sleep("s"),
        group("g"),
        task("r", executor="aggregate_results"),
        task("f", executor="anything", task_queue="go"),
        task("n", executor="group", task_queue="go"),
    )

    plan = plan_of(tree)

    assert plan.natives == {"s": "sleep", "g": "group", "r": "aggregate_results"}
    assert [*plan.activities] == ["a", "f", "n"]
    assert plan.groups == {"g": "group"}


def test_task_that_only_has_children_is_a_group() -> None:
    tree = tree_of({"id": "g", "children": [task("a")]})

    assert resolve(tree, describe(tree, "g")).groups == {"g": "group"}


def test_task_of_the_seed_that_only_organises_is_a_group_whatever_its_name() -> None:
    tree = tree_of({"id": "g", "executor_default": "Stage", "children": [task("a")]})

    assert resolve(tree, describe(tree, "Stage")).groups == {"g": "group"}


def test_task_with_children_whose_id_is_an_executor_runs_it() -> None:
    tree = tree_of({"id": "g", "children": [task("a")]})

    assert [*resolve(tree, describe(tree)).activities] == ["g", "a"]


@pytest.mark.parametrize(
    ("tasks", "unknown"),
    [
        ([{"id": "g"}], Unknown()),
        ([{"id": "g", "executor": "g"}, task("a", parent_id="g")], Unknown()),
        ([{"id": "g", "inputs": {"x": 1}}, task("a", parent_id="g")], Unknown()),
        ([{"id": "g"}, task("a", parent_id="g")], Unknown(suggestion="gg", near_miss=True)),
    ],
)
def test_no_group_is_implied_by_an_executor_inputs_a_near_miss_or_no_children(
    tasks: list[Document], unknown: Unknown
) -> None:
    description = Description(executors={"work": Policy()}, unknown={"g": unknown})

    assert codes(refused(tree_of(*tasks), description)) == ["unknown_executor tasks[0].executor"]


def test_all_unknown_executors_are_listed_with_suggestions_and_the_known_ones() -> None:
    tree = tree_of(task("a"), task("b", executor="http_reqest"), task("c", executor="nothing"))
    description = Description(
        executors={"work": Policy()},
        unknown={"http_reqest": Unknown(suggestion="http_request"), "nothing": Unknown()},
        known=("http_request", "work"),
    )

    error = refused(tree, description)

    known = "(known: http_request, work)"
    assert [each.message for each in error.problems] == [
        f"no worker has the executor 'http_reqest'; did you mean 'http_request'? {known}",
        f"no worker has the executor 'nothing' {known}",
    ]


@pytest.mark.parametrize(
    ("known", "shown"),
    [
        ((), "(known: none)"),
        (tuple(f"e{at}" for at in range(30)), "e29)"),
        (tuple(f"e{at}" for at in range(33)), "e29 and 3 more)"),
    ],
)
def test_known_executors_are_shown_as_far_as_people_read(
    known: tuple[str, ...], shown: str
) -> None:
    error = refused(tree_of(task("a")), Description(known=known))

    assert str(error).endswith(shown)


@pytest.mark.parametrize(
    ("fields", "problems"),
    [
        ({"retry": {"maximum_attempts": 0}}, ["endless_retries tasks[0].retry.maximum_attempts"]),
        ({"retry": {"maximum_attempts": 0}, "schedule_to_close_timeout": "1h"}, []),
        ({"retry": {"maximum_attempts": 1}}, []),
    ],
)
def test_retries_without_end_need_a_time_limit(fields: dict[str, Any], problems: list[str]) -> None:
    tree = tree_of(task("a", **fields))

    assert (codes(refused(tree, describe(tree))) if problems else []) == problems
    assert problems or plan_of(tree)


def test_endless_retries_are_found_in_the_layers_below_too() -> None:
    tree = tree_of(task("a"), defaults={"retry": {"maximum_attempts": 0}})

    assert codes(refused(tree, describe(tree))) == [
        "endless_retries tasks[0].retry.maximum_attempts"
    ]


def test_policies_are_layered_and_shared_by_tasks_that_say_nothing() -> None:
    tree = tree_of(
        task("a"),
        task("b"),
        task("c", start_to_close_timeout="3s"),
        task("d", task_queue="go"),
        task("e", task_queue="go"),
        task("f", task_queue="go", start_to_close_timeout="4s"),
        defaults={"start_to_close_timeout": "1s", "schedule_to_close_timeout": "9s"},
    )
    executor = Policy(start_to_close_timeout=timedelta(seconds=2))

    made = resolve(tree, Description(executors={"work": executor})).activities

    seconds = {"a": 2, "b": 2, "c": 3, "d": 1, "e": 1, "f": 4}
    assert {each: policy.start_to_close_timeout for each, policy in made.items()} == {
        each: timedelta(seconds=limit) for each, limit in seconds.items()
    }
    assert made["a"] is made["b"]
    assert made["d"] is made["e"]
    assert all(each.schedule_to_close_timeout == timedelta(seconds=9) for each in made.values())


# --- what only shows once the groups are known


def test_member_of_an_implied_group_cannot_wait_for_it() -> None:
    tree = tree_of({"id": "g"}, task("m", "g", parent_id="g"))

    error = refused(tree, describe(tree, "g"))

    assert codes(error) == ["cycle tasks[0].dependencies"]
    assert "g → m → g" in str(error)


def test_member_may_wait_for_a_parent_that_turns_out_to_be_an_executor() -> None:
    tree = tree_of({"id": "g"}, task("m", "g", parent_id="g"))

    assert resolve(tree, describe(tree))


READER = task("after", "g", inputs={"x": "${{ tasks.m.result }}"})


def test_reference_through_an_implied_group_holds_if_it_is_one() -> None:
    tree = tree_of({"id": "g"}, task("m", parent_id="g"), READER)

    assert resolve(tree, describe(tree, "g"))
    assert codes(refused(tree, describe(tree))) == ["not_upstream tasks[2].inputs.x"]


def test_problems_of_all_kinds_come_together() -> None:
    tree = tree_of(
        {"id": "g"},
        task("m", "g", parent_id="g"),
        task("b", executor="nothing"),
        task("c", retry={"maximum_attempts": 0}),
    )

    assert not problems_of(tree)
    assert codes(refused(tree, describe(tree, "g", "nothing"))) == [
        "unknown_executor tasks[2].executor",
        "endless_retries tasks[3].retry.maximum_attempts",
        "cycle tasks[0].dependencies",
    ]
