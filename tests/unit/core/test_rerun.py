"""What a rerun keeps and runs; `tests/fuzz/test_rerun.py` shows that it ends as it should."""

from typing import Any

import pytest
from tests.unit.core.builders import (
    CANCELLED,
    NOW,
    Document,
    approval,
    begin,
    end,
    event,
    fails,
    group,
    plan_of,
    start_all,
    statuses,
    subtree,
    task,
    tree_of,
    undone,
)

from regrow.core import by_hand, limits
from regrow.core.outcome import Because, Outcome, completed
from regrow.core.rerun import RerunPlan, RerunRefused, Selection, plan_rerun
from regrow.core.run import TreeRun
from regrow.core.script import Trace, returns
from regrow.core.script import fails as script_fails
from regrow.core.simulate import simulate_run
from regrow.core.snapshot import rerun_of, restore_snapshot
from regrow.core.wire import Status

THE_REST = Selection()
CHAIN = (task("a"), task("b", "a"), task("c", "b"), task("other"))


def ran(*tasks: Document, wrong: tuple[str, ...] = (), **head: Any) -> TreeRun:
    """A tree that has run to its end, in which those units failed."""
    run = begin(tree_of(*tasks, **head))
    while starts := start_all(run):
        for start in starts:
            if start.wait is None:
                end(run, start.unit, fails() if start.unit in wrong else start.unit)
    return run


def planned(
    old: TreeRun, *tasks: Document, selection: Selection = THE_REST, **head: Any
) -> RerunPlan:
    tree = tree_of(*tasks, **head) if tasks or head else old.plan.tree
    return plan_rerun(old, plan_of(tree), selection)


def goes_on(plan: RerunPlan) -> TreeRun:
    run = begin(plan.tree)
    restore_snapshot(run, plan.snapshot)
    return run


# --- what is kept


def test_what_completed_is_kept_and_what_failed_runs_with_all_that_depends_on_it() -> None:
    plan = planned(ran(*CHAIN, wrong=("b",)))

    assert plan.kept == ("a", "other")
    assert plan.runs == {"b": "it failed", "c": "after 'b'"}


def test_kept_tasks_are_there_from_the_beginning() -> None:
    run = goes_on(planned(ran(*CHAIN, wrong=("b",))))

    [start] = start_all(run)
    assert (start.unit, start.inputs) == ("b", {"a": "a"})
    assert run.records["a"].reused
    assert statuses(run)["other"] == "completed"


def test_everything_runs_if_everything_is_to() -> None:
    plan = planned(ran(*CHAIN), selection=Selection(everything=True))

    assert plan.kept == ()
    assert set(plan.runs.values()) == {"everything runs again"}


def test_selected_task_runs_with_all_that_depends_on_it() -> None:
    plan = planned(ran(*CHAIN), selection=Selection(tasks=["b"]))

    assert plan.runs == {"b": "selected", "c": "after 'b'"}


def test_selected_group_is_all_that_is_in_it() -> None:
    old = ran(group("g"), task("x", parent_id="g"), task("y", parent_id="g"), task("z"))

    plan = planned(old, selection=Selection(tasks=["g"]))

    assert plan.runs == {"g": "selected", "x": "selected", "y": "selected"}
    assert plan.kept == ("z",)


def test_group_follows_from_what_is_in_it() -> None:
    old = ran(
        group("g"), task("x", parent_id="g"), task("y", parent_id="g"), task("z", "g"), wrong=("x",)
    )

    plan = planned(old)

    assert plan.kept == ("y",)
    assert plan.runs == {"g": "after 'x'", "x": "it failed", "z": "after 'g'"}


def test_group_of_kept_tasks_is_neither_kept_nor_run() -> None:
    old = ran(group("g"), task("x", parent_id="g"), task("z", "g"), task("bad"), wrong=("bad",))

    plan = planned(old)

    assert plan.kept == ("x", "z")
    assert plan.runs == {"bad": "it failed"}


def test_failure_that_was_tolerated_runs_again_too() -> None:
    old = ran(task("a", allow_failure=True), task("b", "a?"), wrong=("a",))

    assert planned(old).runs == {"a": "it failed", "b": "after 'a'"}


def test_reader_further_down_runs_with_what_it_names() -> None:
    reader = task("r", "m", inputs={"x": "${{ tasks.a.result }}"})
    old = ran(task("a"), task("m", "a?"), reader)

    plan = planned(old, selection=Selection(tasks=["a"]))

    assert plan.runs["r"].startswith("after")


def test_condition_that_was_false_is_asked_again_and_costs_nothing() -> None:
    old = ran(task("a"), task("b", "a", when="`false`"), task("c", "b?"), wrong=())

    plan = planned(old)
    run = goes_on(plan)

    assert (plan.kept, plan.runs) == (("a", "c"), {})
    assert start_all(run) == []
    assert statuses(run) == {"a": "completed", "b": "skipped", "c": "completed"}
    assert run.status is Status.COMPLETED


def test_what_had_not_ended_or_was_cancelled_runs() -> None:
    old = begin(tree_of(task("a"), task("b"), task("c", "b"), approval("ok")))
    start_all(old)
    old.cancel("", NOW)
    end(old, "a", CANCELLED)

    plan = planned(old)

    assert plan.runs == {
        "a": "it was cancelled",
        "b": "it had not ended",
        "c": "it was cancelled",
        "ok": "it was cancelled",
    }


def test_what_was_undone_runs_again() -> None:
    old = ran(undone("a"), task("b"), task("bad", "a", "b"), wrong=("bad",))

    plan = planned(old)

    assert plan.runs["a"] == "it was undone"
    assert plan.kept == ("b",)


def test_kept_task_can_still_be_undone() -> None:
    old = begin(tree_of(undone("a"), task("bad", "a"), on_failure="wait"))
    for unit, answer in (("a", "was"), ("bad", fails())):
        start_all(old)
        end(old, unit, answer)
    run = goes_on(planned(old, undone("a"), task("bad", "a")))
    assert [start.unit for start in start_all(run)] == ["bad"]
    end(run, "bad", fails())

    [undo] = start_all(run)
    assert (undo.unit, undo.inputs) == ("a~compensate", {"was": "was"})


def test_answers_and_events_of_people_are_kept() -> None:
    old = begin(tree_of(event("paid"), task("a"), event("again", "a", event="paid")))
    start_all(old)
    old.event("paid", {"n": 1}, NOW)
    end(old, "a", fails())
    start_all(old)

    run = goes_on(planned(old))
    [start] = start_all(run)
    end(run, start.unit)
    start_all(run)

    assert run.task_view("again")["result"] == {"n": 1}


def test_person_who_gave_a_result_need_not_do_it_again() -> None:
    old = begin(tree_of(task("a"), task("b", "a"), task("c"), on_failure="wait"))
    start_all(old)
    end(old, "a", fails())
    end(old, "c", fails())
    by_hand.skip(old, "a", completed(7), {}, NOW)
    by_hand.skip(old, "c", Outcome(Status.SKIPPED, because=Because("by_hand")), {}, NOW)
    [start] = start_all(old)
    end(old, start.unit)

    plan = planned(old)

    assert plan.kept == ("a", "b")
    assert plan.runs == {"c": "it was skipped"}


def test_result_that_nobody_knows_runs_again() -> None:
    old = ran(*CHAIN)
    old.records["b"].result_omitted = True

    assert planned(old).runs == {"b": "its result is unknown", "c": "after 'b'"}


def test_sub_tree_that_failed_runs_again_as_a_whole() -> None:
    old = ran(subtree("s", task("x")), subtree("t", task("x")), wrong=("s",))

    plan = planned(old)

    assert (plan.kept, plan.runs) == (("t",), {"s": "it failed"})


# --- what has changed


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (task("b", "a", inputs={"x": 1}), "'inputs' has changed"),
        (task("b", "a", executor="other"), "'executor' has changed"),
        (task("b", "a?"), "'dependencies' has changed"),
        (task("b", "a", when="`true`"), "'when' has changed"),
        (task("b", "a", for_each=[1]), "'for_each' has changed"),
    ],
)
def test_task_that_is_written_otherwise_runs(changed: Document, why: str) -> None:
    plan = planned(ran(*CHAIN), task("a"), changed, task("c", "b"), task("other"))

    assert plan.runs == {"b": why, "c": "after 'b'"}


@pytest.mark.parametrize(
    "field",
    [
        {"name": "A title"},
        {"priority": 0},
        {"retry": {"maximum_attempts": 9}},
        {"start_to_close_timeout": "9s"},
        {"allow_failure": True},
        {"compensate": {"executor": "undo"}},
    ],
    ids=str,
)
def test_what_changes_no_result_changes_nothing(field: Document) -> None:
    plan = planned(ran(*CHAIN), task("a"), task("b", "a", **field), task("c", "b"), task("other"))

    assert plan.runs == {}


def test_new_task_runs_and_one_that_is_gone_is_gone() -> None:
    plan = planned(ran(*CHAIN), task("a"), task("b", "a"), task("new", "b"), task("other"))

    assert plan.kept == ("a", "b", "other")
    assert plan.runs == {"new": "it is new"}


def test_task_that_names_a_changed_input_runs() -> None:
    tasks = (
        task("a", inputs={"x": "${{ inputs.n }}"}),
        task("b", inputs={"x": "${{ inputs.m }}"}),
        task("c", when="inputs.n == `1`"),
        task("d", for_each="inputs.list"),
        task("e", inputs={"x": "${{ length(keys(inputs)) }}"}),
    )
    inputs = {"n": 1, "m": 1, "list": [1]}
    old = ran(*tasks, inputs=inputs)

    plan = planned(old, *tasks, inputs={**inputs, "n": 2})

    why = "the input 'n' has changed"
    assert plan.runs == {"a": why, "c": why, "e": why}
    assert planned(old, *tasks, inputs={**inputs, "list": [1, 2]}).runs["d"].endswith("changed")


# --- maps


def test_items_that_failed_run_and_the_others_keep_their_results() -> None:
    old = ran(task("m", for_each=[1, 2, 3, 4]), task("after", "m"), wrong=("m[1]",))

    plan = planned(old)
    run = goes_on(plan)

    assert plan.runs == {"m": "1 of its 4 items", "after": "after 'm'"}
    assert [start.unit for start in start_all(run)] == ["m[1]"]
    end(run, "m[1]", "again")
    [after] = start_all(run)
    assert after.inputs == {"m": ["m[0]", "again", "m[2]", "m[3]"]}


def test_items_that_were_cut_short_or_had_not_begun_run_too() -> None:
    old = begin(tree_of(task("m", for_each=[1, 2, 3, 4], max_in_flight=2)))
    start_all(old)
    end(old, "m[0]", "zero")
    start_all(old)  # m[1] and m[2] run; the tree is terminated

    run = goes_on(planned(old))

    assert [start.unit for start in start_all(run)] == ["m[1]", "m[2]"]
    end(run, "m[1]")
    assert [start.unit for start in start_all(run)] == ["m[3]"]


def test_items_that_failed_in_a_map_that_tolerates_it_run_too() -> None:
    old = ran(task("m", for_each=[1, 2, 3], tolerate=1), wrong=("m[2]",))

    assert planned(old).runs == {"m": "1 of its 3 items"}


def test_selected_items_run() -> None:
    old = ran(task("m", for_each=[1, 2, 3]), task("after", "m"))

    plan = planned(old, selection=Selection(items={"m": [2, 0]}))

    assert plan.runs == {"m": "2 of its 3 items", "after": "after 'm'"}
    assert [start.unit for start in start_all(goes_on(plan))] == ["m[0]", "m[2]"]


def test_map_behind_something_that_runs_again_runs_as_a_whole() -> None:
    old = ran(task("a"), task("m", "a?", for_each=[1, 2]), wrong=("a", "m[1]"))

    plan = planned(old)

    assert plan.runs["m"] == "it failed"
    assert len(start_all(goes_on(plan))) == 1  # a; then all of m
    run = goes_on(plan)
    start_all(run)
    end(run, "a")
    assert [start.unit for start in start_all(run)] == ["m[0]", "m[1]"]


def test_map_whose_results_are_too_large_to_carry_runs_as_a_whole() -> None:
    old = begin(tree_of(task("m", for_each=[1, 2])))
    start_all(old)
    end(old, "m[0]", "x" * limits.MAX_RESULTS_BYTES)
    end(old, "m[1]", fails())

    plan = planned(old)

    assert plan.runs["m"] == "all its items, since what they gave is too large to carry"
    assert len(start_all(goes_on(plan))) == 2


# --- what is refused


@pytest.mark.parametrize(
    ("selection", "reason"),
    [
        (Selection(tasks=["oter"]), "the tree has no task 'oter'; did you mean 'other'?"),
        (Selection(items={"a": [1]}), "'a' is no map that has run"),
        (Selection(items={"m": [2]}), "'m' has the items 0 to 1, not 2"),
    ],
)
def test_what_is_not_there_cannot_be_selected(selection: Selection, reason: str) -> None:
    old = ran(*CHAIN, task("m", for_each=[1, 2]))

    with pytest.raises(RerunRefused) as refused:
        planned(old, selection=selection)

    assert str(refused.value) == reason


# --- in memory


async def test_rerun_is_simulated_from_its_plan() -> None:
    plan = planned(ran(*CHAIN, wrong=("b",)))
    trace = Trace()

    run = await simulate_run(
        plan_of(plan.tree), {"b": returns(2)}, engine=plan.engine_part("old"), trace=trace
    )

    assert run.status is Status.COMPLETED
    assert [*trace.inputs] == ["b", "c"]


def test_engine_says_which_tree_is_repaired() -> None:
    assert rerun_of({"rerun": {"of": "old"}}) == "old"
    assert rerun_of({}) is None
    assert rerun_of({"rerun": 5}) is None


def test_sub_tree_that_failed_keeps_what_had_completed_in_it() -> None:
    inner = (task("x"), task("y", "x"))
    whole = (subtree("s", *inner), subtree("m", *inner))
    whole[1]["for_each"] = [1, 2]
    old = ran(*whole, wrong=("s", "m[1]"))
    plan = planned(old)
    assert plan.subtrees == ("s", "m[1]")
    child = ran(*inner, wrong=("y",))

    plan.inside["s"] = planned(child)
    part = plan.engine_part("old")

    assert part["seeds"]["s"]["rerun"] == {"of": "old/s"}
    assert [*part["seeds"]["s"]["snapshot"]["ended"]] == ["x"]


def test_selected_item_that_is_a_tree_runs_as_a_whole() -> None:
    whole = subtree("m", task("x"))
    whole["for_each"] = [1, 2, 3]
    old = ran(whole, wrong=("m[1]",))

    plan = planned(old, selection=Selection(items={"m": [0, 1]}))

    assert plan.runs["m"] == "2 of its 3 items"
    assert plan.subtrees == ()


async def test_sub_tree_keeps_something_only_if_it_is_given_what_it_was_given() -> None:
    inner = (task("x"), task("y", "x"))
    tree = tree_of(subtree("s", *inner, name="inner", inputs={"n": 1}))
    first = Trace()
    old = await simulate_run(plan_of(tree), {"s/y": script_fails("no")}, trace=first)
    plan = plan_rerun(old, plan_of(tree), THE_REST)
    child = first.runs["s"]
    plan.inside["s"] = plan_rerun(child, child.plan, THE_REST)

    again = Trace()
    run = await simulate_run(plan_of(tree), {}, engine=plan.engine_part("tree"), trace=again)
    assert run.status is Status.COMPLETED
    assert [*again.inputs] == ["s/y"]

    part = plan.engine_part("tree")
    part["seeds"]["s"]["document"] = "another"
    whole = Trace()
    await simulate_run(plan_of(tree), {}, engine=part, trace=whole)
    assert [*whole.inputs] == ["s/x", "s/y"]
