from datetime import timedelta
from typing import Any

import pytest
from tests.unit.core.builders import (
    NOW,
    chain,
    describe,
    document,
    problems_of,
    task,
    tree_of,
)

from regrow.core import limits
from regrow.core.explain import explain
from regrow.core.models import Policy
from regrow.core.outcome import completed
from regrow.core.pace import Pace
from regrow.core.problems import InvalidTree
from regrow.core.resolve import Description, Plan, resolve
from regrow.core.run import TreeRun
from regrow.core.subtree import child_document
from regrow.core.wire import ENGINE_KEY

WORK = Description(executors={"work": Policy()})
LOCAL_WORK = Description(executors={"work": Policy()}, local=("work",))


# --- which tasks are local


@pytest.mark.parametrize(
    ("fields", "description", "is_local"),
    [
        ({}, WORK, False),
        ({"local": True}, WORK, True),
        ({"local": False}, WORK, False),
        ({}, LOCAL_WORK, True),
        ({"local": True}, LOCAL_WORK, True),
        ({"local": False}, LOCAL_WORK, False),
        ({"task_queue": "gpu"}, LOCAL_WORK, False),
        ({"task_queue": "gpu", "local": False}, LOCAL_WORK, False),
    ],
)
def test_the_word_of_a_task_goes_before_that_of_its_executor(
    fields: dict[str, Any], description: Description, *, is_local: bool
) -> None:
    plan = resolve(tree_of(task("a", **fields)), description)

    assert plan.is_local("a") is is_local


def test_items_are_local_with_their_task_and_what_undoes_it_is_not() -> None:
    each = task("each", for_each=[1], local=True, compensate={"executor": "work"})

    plan = resolve(tree_of(each, task("other")), WORK)

    units = ("each", "each[0]", "each~compensate", "other")
    assert [plan.is_local(unit) for unit in units] == [True, True, False, False]


@pytest.mark.parametrize(
    ("fields", "problems"),
    [
        ({"local": True}, []),
        ({"local": False, "task_queue": "gpu"}, []),
        ({"local": True, "task_queue": "gpu"}, ["local tasks[0].local"]),
        ({"local": True, "executor": "sleep", "inputs": {"duration": 1}}, ["local tasks[0].local"]),
        ({"local": True, "executor": "group"}, ["local tasks[0].local"]),
        ({"local": True, "executor": "aggregate_results"}, ["local tasks[0].local"]),
        ({"local": True, "executor": "approval"}, ["local tasks[0].local"]),
        (
            {"local": True, "executor": "wait_for_event", "inputs": {"event": "e"}},
            ["local tasks[0].local"],
        ),
        (
            {"local": True, "executor": "tree", "tree": document(task("x"))},
            ["local tasks[0].local"],
        ),
        ({"local": "yes"}, ["bool_type tasks[0].local"]),
        ({"local": True, "start_to_close_timeout": "1m"}, []),
        (
            {"local": True, "start_to_close_timeout": "61s"},
            ["local tasks[0].start_to_close_timeout"],
        ),
        ({"local": False, "start_to_close_timeout": "61s"}, []),
    ],
)
def test_what_cannot_be_local_is_refused(fields: dict[str, Any], problems: list[str]) -> None:
    assert problems_of(document(task("a", **fields))) == problems


def test_a_task_that_says_whether_it_is_local_is_no_mere_group() -> None:
    tree = tree_of({"id": "g", "local": False}, task("a", parent_id="g"))

    with pytest.raises(InvalidTree) as refused:
        resolve(tree, describe(tree, "g"))

    assert [problem.code for problem in refused.value.problems] == ["unknown_executor"]


def test_sub_trees_are_told_which_of_their_executors_are_local() -> None:
    described = Description(
        executors={"work": Policy(), "other": Policy()}, local=("other", "work")
    )

    argument = child_document(tree_of(task("a")), {}, None, described)

    assert argument[ENGINE_KEY]["description"]["local"] == ["work"]


def test_a_description_without_local_executors_says_nothing_of_them() -> None:
    assert "local" not in WORK.model_dump(mode="json")


# --- policies


def policy_of(plan: Plan) -> timedelta | None:
    return plan.policy("a").start_to_close_timeout


@pytest.mark.parametrize(
    ("tree", "executor", "of_task", "seconds"),
    [
        (None, None, None, 10),
        (20, None, None, 20),
        (20, 30, None, 30),
        (20, 30, 40, 40),
        (300, None, None, 60),
        (None, 300, None, 60),
    ],
)
def test_a_local_attempt_is_short(
    tree: int | None, executor: int | None, of_task: int | None, seconds: int
) -> None:
    fields = {} if of_task is None else {"start_to_close_timeout": of_task}
    head = {} if tree is None else {"defaults": {"start_to_close_timeout": tree}}
    own = (
        Policy()
        if executor is None
        else Policy.model_validate({"start_to_close_timeout": executor})
    )
    description = Description(executors={"work": own})

    plan = resolve(tree_of(task("a", local=True, **fields), **head), description)

    assert policy_of(plan) == timedelta(seconds=seconds)


def test_local_and_other_tasks_of_one_executor_have_policies_of_their_own() -> None:
    plan = resolve(tree_of(task("a", local=True), task("b"), task("c", local=True)), WORK)

    seconds = [plan.policy(unit).start_to_close_timeout for unit in ("a", "b", "c")]
    assert seconds == [timedelta(seconds=each) for each in (10, 300, 10)]


# --- how many run


def started(count: int, *, local: bool) -> TreeRun:
    tasks = [task(f"t{at}", local=local) for at in range(count)]
    run = TreeRun(resolve(tree_of(*tasks, max_in_flight=500), WORK), tree_id="tree")
    while (start := run.next_start(NOW)) is not None:
        run.began(start.unit, NOW)
    return run


def test_only_so_many_local_tasks_run_at_a_time() -> None:
    run = started(limits.MAX_LOCAL_IN_FLIGHT + 1, local=True)

    assert run.in_flight == run.local_in_flight == limits.MAX_LOCAL_IN_FLIGHT
    last = f"t{limits.MAX_LOCAL_IN_FLIGHT}"
    most = limits.MAX_LOCAL_IN_FLIGHT
    assert explain(run, last) == [
        f"it could start, but {most} local tasks are in flight, as many as may"
    ]
    run.ended("t0", completed(), NOW)
    start = run.next_start(NOW)
    assert start is not None
    assert start.unit == last


def test_other_tasks_are_not_counted_as_local() -> None:
    run = started(limits.MAX_LOCAL_IN_FLIGHT + 1, local=False)

    assert (run.in_flight, run.local_in_flight) == (limits.MAX_LOCAL_IN_FLIGHT + 1, 0)


def test_a_chain_of_local_tasks_runs_one_by_one() -> None:
    tasks = [{**each, "local": True} for each in chain(3)]
    run = TreeRun(resolve(tree_of(*tasks), WORK), tree_id="tree")
    for unit in ("t0", "t1", "t2"):
        start = run.next_start(NOW)
        assert start is not None
        assert start.unit == unit
        run.began(unit, NOW)
        run.ended(unit, completed(), NOW)
    assert run.next_start(NOW) is None
    assert run.is_finished


# --- how much one workflow task starts


def test_a_workflow_task_is_spent_after_so_many_starts() -> None:
    pace = Pace(NOW)
    for _ in range(limits.MAX_LOCAL_STARTS - 1):
        pace.started(0, is_last=False)
    assert not pace.is_spent(0, NOW)

    pace.started(0, is_last=False)

    assert pace.is_spent(0, NOW)


def test_it_is_spent_by_inputs_results_and_room_for_those_to_come() -> None:
    pace = Pace(NOW)
    pace.started(limits.MAX_BYTES_PER_TASK // 2, is_last=False)
    pace.wrote(limits.MAX_BYTES_PER_TASK // 2 - limits.MAX_LOCAL_RESULT - 1)

    assert not pace.is_spent(1, NOW)
    assert pace.is_spent(2, NOW)


def test_it_is_spent_after_a_while() -> None:
    pace = Pace(NOW)

    assert not pace.is_spent(0, NOW + limits.MAX_LOCAL_PACE / 2)
    assert pace.is_spent(0, NOW + limits.MAX_LOCAL_PACE)


def test_it_is_over_with_the_last_start_until_the_next_one_begins() -> None:
    pace = Pace(NOW)
    pace.started(limits.MAX_BYTES_PER_TASK, is_last=True)
    assert pace.is_over

    pace.begin(NOW)

    assert not pace.is_over
    assert not pace.is_spent(0, NOW)


def test_results_that_wait_for_each_other_fit_into_what_a_server_takes() -> None:
    most = limits.MAX_LOCAL_IN_FLIGHT * limits.MAX_LOCAL_RESULT

    assert most < limits.MAX_BYTES_PER_TASK
