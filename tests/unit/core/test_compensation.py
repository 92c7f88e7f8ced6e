from typing import Any

import pytest
from tests.unit.core.builders import (
    CANCELLED,
    Document,
    approval,
    begin,
    clock,
    continued,
    describe,
    end,
    entry_of,
    fails,
    group,
    play,
    problems_of,
    refusal,
    sleep,
    start_all,
    statuses,
    subtree,
    task,
    tree_of,
    undone,
)

from regrow.core.models import Policy
from regrow.core.outcome import Outcome, outcome_of
from regrow.core.problems import InvalidTree, path_text
from regrow.core.record import Kind
from regrow.core.resolve import Description, resolve
from regrow.core.result import tree_result
from regrow.core.run import TreeRun
from regrow.core.waits import Verdict
from regrow.core.wire import ErrorType, Status


def ended(*tasks: Document, script: Document | None = None, **head: Any) -> TreeRun:
    """A run to the end, compensations included, in which `bad` fails unless scripted."""
    run = begin(tree_of(*tasks, **head))
    play(run, {"bad": fails(), **(script or {})})
    assert run.is_finished
    return run


def undoes(**inputs: Any) -> Document:
    return {"compensate": {"executor": "undo", "inputs": inputs}}


def undone_units(run: TreeRun) -> list[str]:
    """Play to the end; gives what was undone, in order."""
    return [unit for unit in play(run) if unit.endswith("~compensate")]


def answered(result: Any) -> Document:
    """What an executor's host says after the second attempt."""
    return {"status": "completed", "result": result, "attempt": 2}


# --- when and in which order


def test_completed_tasks_of_a_failed_tree_are_undone_the_last_one_first() -> None:
    run = begin(tree_of(undone("a"), undone("b"), undone("c"), task("bad")))
    start_all(run)
    for unit in ("b", "c", "a"):
        end(run, unit)
    end(run, "bad", fails())

    assert undone_units(run) == ["a~compensate", "c~compensate", "b~compensate"]
    assert (run.is_finished, run.status) == (True, Status.FAILED)


def test_they_are_undone_one_at_a_time_after_everything_has_ended() -> None:
    run = begin(tree_of(undone("a"), undone("b", "a"), task("bad"), task("busy")))
    start_all(run)
    end(run, "bad", fails())
    end(run, "a")
    start_all(run)
    end(run, "b")
    assert start_all(run) == []
    end(run, "busy")

    assert [start.unit for start in start_all(run)] == ["b~compensate"]
    assert (run.is_drained, run.is_finished, run.in_flight) == (True, False, 1)
    assert run.status is Status.IN_PROGRESS
    end(run, "b~compensate")
    assert run.is_finished is False
    assert [start.unit for start in start_all(run)] == ["a~compensate"]
    end(run, "a~compensate")
    assert (run.is_finished, run.status) == (True, Status.FAILED)


def test_tree_that_completes_undoes_nothing() -> None:
    run = ended(undone("a"), task("bad", allow_failure=True))

    assert run.status is Status.COMPLETED
    assert "compensation" not in entry_of(run, "a")


def test_only_completed_tasks_are_undone() -> None:
    run = ended(
        undone("a"),
        undone("no", when=False),
        undone("failed", allow_failure=True),
        undone("after", "bad"),
        task("bad"),
        script={"failed": fails()},
    )

    assert [each for each in run.records if "compensation" in entry_of(run, each)] == ["a"]


def test_cancelled_tree_undoes_what_had_completed_also_in_spite_of_the_cancel() -> None:
    run = begin(tree_of(undone("a"), undone("busy"), undone("late"), undone("next", "a", "busy")))
    start_all(run)
    end(run, "a")
    run.cancel("", clock(run))
    end(run, "late")
    assert start_all(run) == []
    end(run, "busy", CANCELLED)

    assert undone_units(run) == ["late~compensate", "a~compensate"]
    assert run.status is Status.CANCELLED


def test_tree_that_gives_up_undoes_once_what_ran_has_ended() -> None:
    run = begin(tree_of(undone("a"), task("bad"), undone("busy"), on_failure="cancel"))
    start_all(run)
    end(run, "a")
    end(run, "bad", fails())
    assert start_all(run) == []
    end(run, "busy", CANCELLED)

    assert undone_units(run) == ["a~compensate"]


def test_tree_that_waits_undoes_only_when_it_is_closed() -> None:
    run = begin(tree_of(undone("a"), undone("b"), task("bad"), on_failure="wait"))
    play(run, {"bad": fails()})
    assert (run.is_held, start_all(run)) == (True, [])

    run.cancel("", clock(run))

    assert undone_units(run) == ["b~compensate", "a~compensate"]
    assert (run.is_finished, run.status) == (True, Status.FAILED)


def test_tree_that_could_not_go_on_is_undone_too() -> None:
    run = begin(tree_of(undone("a"), task("b", "a")))
    start_all(run)
    end(run, "a")

    run.give_up("the history is full", ErrorType.HISTORY_FULL, clock(run))

    assert undone_units(run) == ["a~compensate"]
    assert (run.status, run.error) == (Status.FAILED, "the history is full")


@pytest.mark.parametrize("on_failure", ["continue", "cancel", "wait"])
def test_output_that_fails_fails_the_tree_and_so_undoes(on_failure: str) -> None:
    run = begin(
        tree_of(undone("a"), undone("b"), on_failure=on_failure, outputs={"x": "${{ abs('x') }}"})
    )

    assert play(run)[2:] == ["b~compensate", "a~compensate"]

    assert (run.is_finished, run.status) == (True, Status.FAILED)
    assert str(run.error).startswith("output 'x': abs('x')")


def test_output_that_fails_leaves_a_cancelled_tree_cancelled() -> None:
    run = begin(tree_of(undone("a"), sleep("s"), outputs={"x": "${{ abs('x') }}"}))
    start_all(run)
    end(run, "a")
    run.cancel("", clock(run))

    assert undone_units(run) == ["a~compensate"]
    assert run.status is Status.CANCELLED


# --- what can be undone


def test_map_an_approval_a_group_and_a_sub_tree_can_be_undone_as_well() -> None:
    inside = task("in")
    tree = tree_of(
        task("m", for_each=[1, 2], **undoes(was="${{ tasks.m.result }}")),
        approval("ok") | undoes(by="${{ tasks.ok.result.by }}"),
        group("g", children=[inside], **undoes(was="${{ tasks.g.result }}")),
        subtree("sub", task("x")) | undoes(was="${{ tasks.sub.result }}"),
        task("bad", "m", "ok", "g", "sub"),
    )
    run = begin(tree)
    start_all(run)
    end(run, "in", 3)
    end(run, "m[0]", 1)
    end(run, "m[1]", 2)
    run.answered("ok", Verdict(by="ann"), clock(run))
    end(run, "sub", Outcome(Status.COMPLETED, {"x": 4}))
    start_all(run)
    end(run, "bad", fails())

    given: list[tuple[str, Any]] = []
    while starts := start_all(run):
        given += [(start.unit, start.inputs) for start in starts]
        end(run, starts[0].unit)

    assert given == [
        ("g~compensate", {"was": {"in": 3}}),
        ("sub~compensate", {"was": {"x": 4}}),
        ("ok~compensate", {"by": "ann"}),
        ("m~compensate", {"was": [1, 2]}),
    ]


def test_empty_group_and_a_map_of_nothing_can_be_undone() -> None:
    run = begin(tree_of(group("g", **undoes()), task("m", for_each=[], **undoes()), task("bad")))
    play(run, {"bad": fails()})

    assert [*run.undo.records] == ["m", "g"]


def test_failed_map_is_not_undone() -> None:
    run = ended(task("m", for_each=[1, 2], **undoes()), script={"m[1]": fails()})

    assert run.undo.records == {}


# --- what it is given


def test_compensation_is_given_its_own_inputs_and_no_results_by_themselves() -> None:
    run = begin(
        tree_of(
            task("before"),
            task(
                *("a", "before"),
                **undoes(
                    was="${{ tasks.a.result }}",
                    why="${{ tasks.bad.error }}",
                    later="${{ tasks.never.status }}",
                    who="${{ tree.name }} of ${{ inputs.n }}",
                    plain=[1],
                ),
            ),
            task("bad", "a"),
            task("never", "bad"),
            inputs={"n": 5},
        )
    )
    played: list[Any] = []
    while starts := start_all(run):
        played += starts
        for start in starts:
            end(run, start.unit, fails() if start.unit == "bad" else start.unit)

    last = played[-1]
    assert (last.unit, last.task_id, last.executor) == ("a~compensate", "a", "undo")
    assert last.kind is Kind.ACTIVITY
    assert last.inputs == {
        "was": "a",
        "why": "broken",
        "later": "skipped",
        "who": "tree of 5",
        "plain": [1],
    }


def test_compensation_whose_inputs_have_no_value_fails_and_the_others_go_on() -> None:
    bad_undo = {"executor": "undo", "inputs": {"x": "${{ abs(tasks.b.result) }}"}}
    run = ended(undone("a"), task("b", compensate=bad_undo), undone("c"), task("bad"))

    entry = entry_of(run, "b")["compensation"]
    assert (entry["status"], entry["error_type"]) == ("failed", "expression_error")
    assert (entry["attempts"], entry["started_at"]) == (0, entry["finished_at"])
    assert [entry_of(run, each)["compensation"]["status"] for each in "ac"] == ["completed"] * 2


@pytest.mark.parametrize("count", [1, 3])
def test_tree_ends_when_none_of_its_compensations_can_run(count: int) -> None:
    bad_undo = {"executor": "undo", "inputs": {"x": "${{ abs('x') }}"}}
    run = ended(*[task(f"t{at}", compensate=bad_undo) for at in range(count)], task("bad"))

    assert len(run.undo.records) == count
    assert run.status is Status.FAILED


def test_compensation_that_cannot_be_started_fails_and_the_others_go_on() -> None:
    run = begin(tree_of(undone("a"), undone("b"), task("bad")))
    start_all(run)
    for unit, answer in (("a", 1), ("b", 2), ("bad", fails())):
        end(run, unit, answer)
    start = run.next_start(clock(run))
    assert start is not None

    run.refused(start.unit, "too large", ErrorType.PAYLOAD_TOO_LARGE, clock(run))

    assert undone_units(run) == ["a~compensate"]
    entry = entry_of(run, "b")["compensation"]
    assert (entry["status"], entry["error"]) == ("failed", "too large")
    assert run.is_finished


# --- how it ends


def test_end_of_a_compensation_is_in_the_entry_of_its_task() -> None:
    run = begin(tree_of(undone("a"), task("bad")))
    start_all(run)
    end(run, "a", answered(1))
    end(run, "bad", fails())
    start_all(run)
    at = clock(run).isoformat(timespec="milliseconds")
    running = entry_of(run, "a")["compensation"]
    assert (running["status"], running["started_at"]) == ("in_progress", at)
    assert running["finished_at"] is None

    end(run, "a~compensate", answered(5))

    entry = entry_of(run, "a")
    assert (entry["status"], entry["result"], entry["attempts"]) == ("completed", 1, 2)
    assert entry["compensation"] == {
        "status": "completed",
        "error": None,
        "error_type": None,
        "attempts": 2,
        "started_at": at,
        "finished_at": at,
    }


@pytest.mark.parametrize(
    "wrong", [outcome_of(fails("cannot")), Outcome(Status.CANCELLED, error="cannot")]
)
def test_compensation_that_fails_stops_no_other_and_changes_nothing_else(wrong: Outcome) -> None:
    run = ended(undone("a"), undone("b"), task("bad"), script={"b~compensate": wrong})

    entry = entry_of(run, "b")
    assert (entry["status"], entry["compensation"]["status"]) == ("completed", wrong.status)
    assert entry["compensation"]["error"] == "cannot"
    assert entry_of(run, "a")["compensation"]["status"] == "completed"
    assert (run.status, run.error) == (Status.FAILED, None)
    assert run.counts[Status.FAILED] == 1


def test_failing_compensation_of_a_cancelled_tree_leaves_it_cancelled() -> None:
    run = begin(tree_of(undone("a"), sleep("s")))
    start_all(run)
    end(run, "a")
    run.cancel("", clock(run))

    play(run, {"a~compensate": fails()})

    assert (run.is_finished, run.status) == (True, Status.CANCELLED)


@pytest.mark.parametrize("on_failure", ["continue", "cancel", "wait"])
def test_cancel_does_not_stop_what_is_undone(on_failure: str) -> None:
    run = begin(tree_of(undone("a"), undone("b"), task("bad"), on_failure=on_failure))
    start_all(run)
    end(run, "a")
    end(run, "b")
    end(run, "bad", fails())
    if on_failure == "wait":
        run.cancel("", clock(run))
    assert [start.unit for start in start_all(run)] == ["b~compensate"]

    run.cancel("now", clock(run))

    assert run.next_interrupt() is None
    end(run, "b~compensate")
    assert undone_units(run) == ["a~compensate"]
    assert (run.is_finished, run.status) == (True, Status.FAILED)


def test_cancel_between_two_compensations_does_not_stop_the_second() -> None:
    run = begin(tree_of(undone("a"), undone("b"), task("bad")))
    start_all(run)
    for unit, answer in (("a", 1), ("b", 2), ("bad", fails())):
        end(run, unit, answer)
    start_all(run)
    end(run, "b~compensate")

    run.cancel("now", clock(run))

    assert undone_units(run) == ["a~compensate"]


def test_outputs_are_those_from_before_anything_was_undone() -> None:
    run = ended(undone("a"), task("bad"))

    assert tree_result(run)["outputs"] == {"a": "a"}


# --- a continuation before the end


def test_order_and_results_survive_a_continuation() -> None:
    tree = tree_of(
        undone("a"), undone("b"), task("c"), undone("d", "c"), task("bad", "a", "b", "d")
    )
    run = begin(tree)
    start_all(run)
    for unit in ("b", "a", "c"):
        end(run, unit, f"{unit} was done")

    fresh = continued(run)
    for unit, answer in (("d", "d was done"), ("bad", fails())):
        assert [start.unit for start in start_all(fresh)] == [unit]
        end(fresh, unit, answer)

    given: list[tuple[str, Any]] = []
    while starts := start_all(fresh):
        given += [(start.unit, start.inputs["was"]) for start in starts]
        end(fresh, starts[0].unit)
    assert given == [
        ("d~compensate", "d was done"),
        ("a~compensate", "a was done"),
        ("b~compensate", "b was done"),
    ]


def test_order_survives_two_continuations() -> None:
    run = begin(tree_of(undone("a"), undone("b"), undone("c", "a", "b"), task("bad", "c")))
    start_all(run)
    end(run, "b")
    end(run, "a")
    once = continued(run)
    start_all(once)
    end(once, "c")

    assert continued(continued(once)).undo.completed == ["b", "a", "c"]


@pytest.mark.parametrize("cancelled", [True, False], ids=["cancelled", "failed"])
def test_undoing_goes_on_after_a_continuation(*, cancelled: bool) -> None:
    run = begin(tree_of(undone("a"), undone("b", "a"), undone("c", "b"), task("bad", "c")))
    for unit in ("a", "b", "c"):
        start_all(run)
        end(run, unit)
    start_all(run)
    if cancelled:
        run.cancel("enough", clock(run))
    end(run, "bad", CANCELLED if cancelled else fails())
    assert [start.unit for start in start_all(run)] == ["c~compensate"]
    end(run, "c~compensate", fails("not so"))

    fresh = continued(run)
    assert [start.unit for start in start_all(fresh)] == ["b~compensate"]
    end(fresh, "b~compensate")
    last = continued(fresh)
    assert [start.unit for start in start_all(last)] == ["a~compensate"]
    end(last, "a~compensate")
    start_all(last)

    result = tree_result(last)
    assert last.is_finished
    assert result["status"] == ("cancelled" if cancelled else "failed")
    assert [result["tasks"][each]["compensation"]["error"] for each in "abc"] == [
        None,
        None,
        "not so",
    ]
    assert start_all(continued(last)) == []


# --- what is refused


@pytest.mark.parametrize(
    "native", ["group", "sleep", "approval", "wait_for_event", "aggregate_results", "tree"]
)
def test_what_the_workflow_does_itself_undoes_nothing(native: str) -> None:
    written = {"name": "t", "tasks": [task("a", compensate={"executor": native})]}

    problem = refusal(written).problems[0]

    assert (problem.code, path_text(problem.path)) == ("compensate", "tasks[0].compensate.executor")
    assert problem.message == f"'{native}' is run by the workflow itself and undoes nothing"


@pytest.mark.parametrize(
    ("compensate", "problem"),
    [
        ({}, "missing tasks[0].compensate.executor"),
        ("undo", "model_type tasks[0].compensate"),
        ({"executor": "u", "input": {}}, "unknown_key tasks[0].compensate.input"),
        ({"executor": "u", "inputs": []}, "dict_type tasks[0].compensate.inputs"),
        (
            {"executor": "u", "inputs": {"x": "${{ tasks.z.result }}"}},
            "reference tasks[0].compensate.inputs.x",
        ),
        ({"executor": "u", "inputs": {"x": "${{ ( }}"}}, "expression tasks[0].compensate.inputs.x"),
    ],
)
def test_compensation_is_checked_with_its_task(compensate: Any, problem: str) -> None:
    assert problems_of({"name": "t", "tasks": [task("a", compensate=compensate)]}) == [problem]


def test_compensation_may_name_any_task_also_its_own_and_one_further_down() -> None:
    inputs = {"x": "${{ tasks.a.result }}", "y": "${{ tasks.b.result }}"}
    written = {
        "name": "t",
        "tasks": [task("a", compensate={"executor": "u", "inputs": inputs}), task("b", "a")],
    }

    assert problems_of(written) == []


def test_worker_is_asked_for_what_undoes_too_and_its_absence_is_told() -> None:
    tree = tree_of(undone("a"), task("b", task_queue="go", **undoes()))

    with pytest.raises(InvalidTree) as refused:
        resolve(tree, Description(executors={"work": Policy()}, known=("work",)))

    assert [path_text(each.path) for each in refused.value.problems] == [
        "tasks[0].compensate.executor",
        "tasks[1].compensate.executor",
    ]
    assert "no worker has the executor 'undo' (known: work)" in str(refused.value)


def test_compensation_has_a_policy_of_its_own_not_its_tasks() -> None:
    tree = tree_of(
        undone("a", retry={"maximum_attempts": 9}),
        defaults={"start_to_close_timeout": "7s", "retry": {"maximum_attempts": 2}},
    )

    plan = resolve(tree, describe(tree))

    assert plan.policy("a").retry.maximum_attempts == 9
    undo = plan.policy("a~compensate")
    assert (undo.retry.maximum_attempts, undo.start_to_close_timeout) == (
        2,
        tree.defaults.start_to_close_timeout,
    )
    assert plan.is_subtree("a~compensate") is False


def test_sub_tree_is_undone_by_an_activity() -> None:
    tree = tree_of(subtree("s", task("a")) | undoes())

    plan = resolve(tree, describe(tree))

    assert (plan.is_subtree("s"), plan.is_subtree("s~compensate")) == (True, False)


def test_compensation_that_would_be_retried_for_ever_is_refused() -> None:
    tree = tree_of(undone("a", retry={"maximum_attempts": 1}))
    undo = Policy.model_validate({"retry": {"maximum_attempts": 0}})

    with pytest.raises(InvalidTree) as refused:
        resolve(tree, Description(executors={"work": Policy(), "undo": undo}))

    assert [each.code for each in refused.value.problems] == ["endless_retries"]


def test_what_would_be_retried_for_ever_is_one_problem_a_task() -> None:
    tree = tree_of(undone("a"), defaults={"retry": {"maximum_attempts": 0}})

    with pytest.raises(InvalidTree) as refused:
        resolve(tree, describe(tree))

    problems = refused.value.problems
    assert len(problems) == len({*problems})


def test_statuses_are_untouched_by_what_is_undone() -> None:
    run = ended(undone("a"), task("bad"))

    assert statuses(run) == {"a": "completed", "bad": "failed"}
