import json
from typing import Any

import pytest
from tests.unit.core.builders import (
    CANCELLED,
    NOW,
    Document,
    Script,
    begin,
    clock,
    continued,
    end,
    entry_of,
    fails,
    play,
    problems_of,
    start_all,
    statuses,
    subtree,
    task,
    tree_of,
)

from regrow.core import limits
from regrow.core.outcome import Outcome
from regrow.core.record import Kind
from regrow.core.run import TreeRun
from regrow.core.snapshot import take_snapshot
from regrow.core.wire import ErrorType, Status


def each(task_id: str, items: Any, *dependencies: str | Document, **fields: Any) -> Document:
    """A map that gives every item to its executor."""
    fields = {"inputs": {"x": "${{ item }}"}, **fields}
    return task(task_id, *dependencies, for_each=items, **fields)


def started(run: TreeRun, limit: int = 10**6) -> list[str]:
    return [start.unit for start in start_all(run, limit)]


def run_map(
    *tasks: Document, script: Script | None = None, **head: Any
) -> tuple[TreeRun, Document]:
    """Run a tree to its end; gives it, and the entry of its map `m`."""
    run = begin(tree_of(*tasks, **head))
    play(run, script)
    assert run.is_finished
    return run, entry_of(run, "m")


def answered(result: Any, attempt: int) -> Document:
    return {"status": "completed", "result": result, "attempt": attempt}


def test_attempts_of_a_map_are_unknown_once_those_of_an_item_are() -> None:
    run = begin(tree_of(task("m", for_each=[1, 2])))
    start_all(run)
    end(run, "m[0]", Outcome(Status.COMPLETED, 1, attempts=2))
    end(run, "m[1]", Outcome(Status.FAILED, error="late", error_type="x", attempts=None))

    assert entry_of(run, "m")["attempts"] is None


# --- items


def test_task_runs_once_per_item_and_its_result_is_theirs_in_order() -> None:
    run = begin(tree_of(each("m", ["a", "b"], inputs={"x": "${{ item }}", "at": "${{ index }}"})))

    starts = start_all(run)
    end(run, "m[1]", "second")
    end(run, "m[0]", "first")

    assert {start.unit: start.inputs for start in starts} == {
        "m[0]": {"x": "a", "at": 0},
        "m[1]": {"x": "b", "at": 1},
    }
    assert {(start.task_id, start.executor, start.kind) for start in starts} == {
        ("m", "work", Kind.ACTIVITY)
    }
    entry = entry_of(run, "m")
    assert (entry["status"], entry["result"]) == ("completed", ["first", "second"])
    assert entry["metadata"] == {"items": 2, "completed": 2, "failed": 0}


@pytest.mark.parametrize(
    ("items", "found"),
    [
        ("tasks.a.result", [1, 2]),
        ("${{ tasks.a.result }}", [1, 2]),
        (" ${{ tasks.a.result }} ", [1, 2]),
        ("tasks.a.result[1:]", [2]),
        ("inputs.list", [["x"], None]),
        (["${{ tasks.a.result[0] }}", {"k": "${{ inputs.list[0] }}"}, "plain"], None),
        ("`[5]`", [5]),
    ],
)
def test_items_are_a_list_or_an_expression_that_gives_one(items: Any, found: Any) -> None:
    tree = tree_of(task("a"), each("m", items, "a"), inputs={"list": [["x"], None]})
    run = begin(tree)
    start_all(run)
    end(run, "a", [1, 2])

    given = [start.inputs["x"] for start in start_all(run)]

    assert given == (found or [1, {"k": ["x"]}, "plain"])


@pytest.mark.parametrize(
    ("items", "error"),
    [
        ("inputs.null", "for_each needs a list, but inputs.null gave null"),
        ("inputs.number", "gave int"),
        ("inputs.text", "gave str"),
        ("inputs.mapping", "gave dict"),
        ("abs(inputs.text)", "abs"),
        (["${{ abs(inputs.text) }}"], "abs"),
    ],
)
def test_what_is_no_list_fails_the_map_as_an_expression(items: Any, error: str) -> None:
    given = {"null": None, "number": 1, "text": "ab", "mapping": {"a": 1}}

    run, entry = run_map(each("m", items, tolerate="100%"), task("b", "m"), inputs=given)

    assert (entry["status"], entry["error_type"]) == ("failed", "expression_error")
    assert error in entry["error"]
    assert (entry["result"], entry["attempts"]) == (None, 0)
    assert (statuses(run)["b"], run.status) == ("skipped", Status.FAILED)


def test_map_has_so_many_items_and_no_more() -> None:
    tree = tree_of(
        each("most", "inputs.list[1:]"),
        each("over", "inputs.list"),
        inputs={"list": [0] * (limits.MAX_ITEMS + 1)},
    )
    run = begin(tree)
    start_all(run)

    assert entry_of(run, "over")["error"] == "for_each has 10,001 items; a map has at most 10,000"
    assert statuses(run) == {"most": "in_progress", "over": "failed"}


@pytest.mark.parametrize("items", [[], "inputs.none"])
def test_map_of_nothing_completes_with_nothing(items: Any) -> None:
    run, entry = run_map(
        each("m", items), task("b", "m"), inputs={"none": []}, script={"b": "done"}
    )

    assert (entry["status"], entry["result"], entry["attempts"]) == ("completed", [], 0)
    assert entry["metadata"] == {"items": 0, "completed": 0, "failed": 0}
    assert run.outputs == {"b": "done"}


def test_map_of_nothing_needs_no_slot() -> None:
    run = begin(tree_of(task("busy"), each("m", []), max_in_flight=1))

    assert started(run) == ["busy"]
    assert statuses(run)["m"] == "completed"


def test_condition_is_asked_once_and_before_the_items() -> None:
    run, entry = run_map(
        each("m", "inputs.number", when="inputs.no"), inputs={"number": 1, "no": 0}
    )
    assert (entry["status"], run.status) == ("failed", Status.FAILED)

    run, entry = run_map(
        each("m", "inputs.number", when="inputs.no"), inputs={"number": 1, "no": False}
    )
    assert (entry["status"], run.status) == ("skipped", Status.COMPLETED)


def test_dependency_whose_result_gives_the_items_is_not_passed_to_them() -> None:
    run = begin(
        tree_of(task("list"), task("other"), each("m", "tasks.list.result", "list", "other"))
    )
    start_all(run)
    end(run, "list", [7])
    end(run, "other", "more")

    assert [start.inputs for start in start_all(run)] == [{"x": 7, "other": "more"}]


def test_attempts_of_all_items_add_up() -> None:
    script = {"m[0]": answered(1, 2), "m[1]": answered(2, 3), "m[2]": answered(3, 1)}

    _, entry = run_map(each("m", [1, 2, 3]), script=script)

    assert entry["attempts"] == 6


def test_map_begins_with_its_first_item_and_ends_with_its_last() -> None:
    run = begin(tree_of(each("m", [1, 2])))
    start_all(run, 1)
    begun = run.records["m"].started_at
    start_all(run)
    end(run, "m[0]")
    assert run.records["m"].finished_at is None

    end(run, "m[1]")

    record = run.records["m"]
    assert (begun, record.started_at) == (NOW, NOW)
    assert record.finished_at is not None


# --- failed items


@pytest.mark.parametrize(
    ("tolerate", "items", "failures", "status"),
    [
        (0, 3, 1, "failed"),
        (1, 3, 1, "completed"),
        (1, 3, 2, "failed"),
        (5, 3, 3, "completed"),
        ("0%", 3, 1, "failed"),
        ("10%", 10, 1, "completed"),
        ("10%", 9, 1, "failed"),
        ("10%", 20, 2, "completed"),
        ("10%", 20, 3, "failed"),
        ("33.4%", 3, 1, "completed"),
        ("33.3%", 3, 1, "failed"),
        ("29%", 100, 29, "completed"),
        ("29%", 100, 30, "failed"),
        ("0.1%", 1_000, 1, "completed"),
        ("100%", 3, 3, "completed"),
    ],
)
def test_as_many_items_may_fail_as_are_tolerated(
    tolerate: Any, items: int, failures: int, status: str
) -> None:
    script = {f"m[{at}]": fails() for at in range(failures)}

    run, entry = run_map(
        each("m", "inputs.list", tolerate=tolerate), inputs={"list": [0] * items}, script=script
    )

    assert (entry["status"], run.status.value) == (status, status)
    assert entry["metadata"]["failed"] == failures


def test_failed_item_is_null_at_its_place_and_listed() -> None:
    script = {"m[1]": fails("no", "broken_pipe"), "m": "ok"}

    _, entry = run_map(each("m", [1, 2, 3], tolerate=1), script=script)

    assert (entry["status"], entry["result"], entry["error"]) == (
        "completed",
        ["ok", None, "ok"],
        None,
    )
    assert entry["metadata"] == {
        "items": 3,
        "completed": 2,
        "failed": 1,
        "errors": [{"index": 1, "error": "no", "error_type": "broken_pipe"}],
    }


def test_beyond_what_is_tolerated_no_item_starts_and_running_ones_are_awaited() -> None:
    run = begin(tree_of(each("m", [*range(5)], max_in_flight=3), task("b", "m")))
    assert started(run) == ["m[0]", "m[1]", "m[2]"]

    end(run, "m[2]", fails("late"))
    assert started(run) == []
    end(run, "m[0]", "ok")
    end(run, "m[1]", fails("it broke"))

    assert started(run) == []
    entry = entry_of(run, "m")
    assert (entry["status"], entry["error_type"]) == ("failed", "map_failed")
    assert entry["error"] == "2 of 5 items failed: item 1: it broke"
    assert entry["result"] is None
    assert [error["index"] for error in entry["metadata"]["errors"]] == [1, 2]
    assert statuses(run)["b"] == "skipped"


def test_ten_failures_are_listed_those_of_the_first_items_in_short() -> None:
    run = begin(tree_of(each("m", [*range(15)], tolerate=15)))
    start_all(run)

    for at in reversed(range(15)):
        end(run, f"m[{at}]", fails("x" * 500))

    errors = entry_of(run, "m")["metadata"]["errors"]
    assert [error["index"] for error in errors] == [*range(10)]
    assert {error["error"] for error in errors} == {"x" * 200}


def test_failed_map_is_tolerated_as_any_task() -> None:
    run, entry = run_map(each("m", [1], allow_failure=True), task("b", "m?"), script={"m": fails()})

    assert (entry["tolerated"], run.status) == (True, Status.COMPLETED)


def test_failed_map_makes_a_tree_give_up() -> None:
    run = begin(tree_of(each("m", [1]), task("busy"), task("b", "busy"), on_failure="cancel"))
    start_all(run)

    end(run, "m[0]", fails())

    assert statuses(run) == {"m": "failed", "busy": "in_progress", "b": "cancelled"}
    assert run.next_interrupt() == "busy"


@pytest.mark.parametrize("tolerate", [0, 1])
def test_item_whose_inputs_have_no_value_fails_without_running(tolerate: int) -> None:
    run = begin(
        tree_of(each("m", ["a", 1, "b"], inputs={"x": "${{ length(item) }}"}, tolerate=tolerate))
    )
    units = started(run)
    for unit in units:
        end(run, unit, unit)

    entry = entry_of(run, "m")
    failure = entry["metadata"]["errors"][0]
    assert (failure["index"], failure["error_type"]) == (1, "expression_error")
    if tolerate:
        assert units == ["m[0]", "m[2]"]
        assert entry["result"] == ["m[0]", None, "m[2]"]
    else:
        assert units == ["m[0]"]
        assert entry["error"].startswith("1 of 3 items failed: item 1: length(item): ")


@pytest.mark.parametrize(("tolerate", "failed"), [(0, 1), (1, 2), ("100%", 3)])
def test_map_none_of_whose_items_can_run_ends_at_once(tolerate: Any, failed: int) -> None:
    run = begin(
        tree_of(each("m", [1, 2, 3], inputs={"x": "${{ length(item) }}"}, tolerate=tolerate))
    )

    assert started(run) == []

    entry = entry_of(run, "m")
    assert entry["status"] == ("completed" if failed == 3 else "failed")
    assert (entry["metadata"]["failed"], entry["attempts"]) == (failed, 0)
    assert entry["started_at"] is None
    assert run.is_finished


def test_results_that_cannot_be_spread_fail_every_item() -> None:
    run, entry = run_map(
        task("a"), each("m", [1, 2], {"id": "a", "into": "*"}, tolerate=1), script={"a": 5}
    )

    assert entry["error"].startswith("2 of 2 items failed: item 0: into: '*' spreads a mapping")
    assert run.is_finished


@pytest.mark.parametrize(("tolerate", "status"), [(0, "failed"), (1, "in_progress")])
def test_item_that_cannot_be_started_is_a_failed_one(tolerate: int, status: str) -> None:
    run = begin(tree_of(each("m", [1, 2], tolerate=tolerate, max_in_flight=1)))
    assert run.next_start(NOW)

    run.refused("m[0]", "too large", ErrorType.PAYLOAD_TOO_LARGE, NOW)

    assert started(run) == ([] if status == "failed" else ["m[1]"])
    assert statuses(run) == {"m": status}
    assert run.in_flight == (status != "failed")


def test_item_that_was_cancelled_without_the_tree_ends_the_map_once_the_others_have() -> None:
    run = begin(tree_of(each("m", [1, 2, 3], max_in_flight=2), task("b", "m")))
    start_all(run)

    end(run, "m[0]", CANCELLED)
    assert started(run) == []
    end(run, "m[1]", "ok")

    entry = entry_of(run, "m")
    assert (entry["status"], entry["because"]) == ("cancelled", None)
    assert entry["metadata"] == {"items": 3, "completed": 1, "failed": 0}
    assert started(run) == []
    assert (statuses(run)["b"], run.status) == ("skipped", Status.FAILED)


# --- how many at a time, and in which order


def test_no_more_items_run_than_the_map_allows() -> None:
    run = begin(tree_of(each("m", [*range(4)], max_in_flight=2)))

    assert started(run) == ["m[0]", "m[1]"]
    assert run.in_flight == 2
    end(run, "m[1]")
    assert started(run) == ["m[2]"]
    end(run, "m[0]")
    end(run, "m[2]")
    assert started(run) == ["m[3]"]


def test_items_count_towards_what_the_tree_allows() -> None:
    run = begin(tree_of(each("m", [*range(4)]), task("a"), max_in_flight=3))

    assert started(run) == ["m[0]", "m[1]", "m[2]"]
    end(run, "m[0]")
    assert started(run) == ["m[3]"]
    end(run, "m[1]")
    assert started(run) == ["a"]


def test_map_whose_window_is_full_lets_others_start() -> None:
    run = begin(tree_of(each("m", [*range(3)], max_in_flight=1, priority=0), task("a"), task("b")))

    assert started(run) == ["m[0]", "a", "b"]


def test_items_and_tasks_start_by_priority_then_position() -> None:
    tree = tree_of(
        each("low", [1, 2], priority=3),
        task("a"),
        each("m", [1, 2]),
        task("b"),
        each("urgent", [1, 2], priority=0),
        max_in_flight=1,
    )

    assert play(begin(tree)) == [
        *("urgent[0]", "urgent[1]"),
        *("a", "m[0]", "m[1]", "b"),
        *("low[0]", "low[1]"),
    ]


def test_more_urgent_task_goes_before_the_rest_of_a_map() -> None:
    run = begin(
        tree_of(each("m", [1, 2, 3]), task("a"), task("u", "a", priority=0), max_in_flight=2)
    )
    assert started(run) == ["m[0]", "m[1]"]
    end(run, "m[0]")
    assert started(run) == ["m[2]"]
    end(run, "m[1]")
    assert started(run) == ["a"]
    end(run, "a")
    assert started(run) == ["u"]


# --- upstream


@pytest.mark.parametrize(("edge", "status"), [("a", "skipped"), ("a?", "completed")])
def test_map_follows_its_edges_as_any_task(edge: str, status: str) -> None:
    _, entry = run_map(task("a"), each("m", [1], edge), script={"a": fails()})

    assert entry["status"] == status


def test_items_out_of_a_task_that_failed_are_no_list() -> None:
    _, entry = run_map(task("a"), each("m", "tasks.a.result", "a?"), script={"a": fails()})

    assert entry["error"] == "for_each needs a list, but tasks.a.result gave null"


def test_map_waits_for_whatever_its_items_name_further_up() -> None:
    tree = tree_of(
        *[task("slow"), task("quick"), task("mid", "slow", "quick")],
        each("m", "tasks.slow.result", "mid?"),
    )
    run = begin(tree)
    start_all(run)
    end(run, "quick", fails())
    assert (statuses(run)["mid"], started(run)) == ("skipped", [])

    end(run, "slow", [1])

    assert started(run) == ["m[0]"]


def test_dependents_of_a_map_are_given_its_results() -> None:
    run = begin(tree_of(each("m", [1, 2]), task("b", "m")))
    start_all(run)
    end(run, "m[0]", "x")
    end(run, "m[1]", "y")

    assert [start.inputs for start in start_all(run)] == [{"m": ["x", "y"]}]


def test_map_of_sub_trees_starts_a_sub_tree_for_every_item() -> None:
    mapped = subtree("m", task("a"), inputs={"x": 0}) | {
        "for_each": [1, 2],
        "inputs": {"x": "${{ item }}"},
    }
    run = begin(tree_of(mapped))

    starts = start_all(run)

    assert [(start.unit, start.kind, start.inputs) for start in starts] == [
        ("m[0]", Kind.SUBTREE, {"x": 1}),
        ("m[1]", Kind.SUBTREE, {"x": 2}),
    ]
    assert run.plan.is_subtree("m[1]")


# --- the tree is closed


def test_cancel_interrupts_the_running_items_and_starts_no_more() -> None:
    run = begin(tree_of(each("m", [*range(4)], max_in_flight=2)))
    start_all(run)
    end(run, "m[0]", answered("ok", 2))
    assert started(run) == ["m[2]"]

    run.cancel("enough", clock(run))

    assert [run.next_interrupt() for _ in range(3)] == ["m[1]", "m[2]", None]
    end(run, "m[1]", CANCELLED)
    assert statuses(run) == {"m": "in_progress"}
    end(run, "m[2]", CANCELLED)
    entry = entry_of(run, "m")
    assert (entry["status"], entry["because"]["error"]) == ("cancelled", "enough")
    assert entry["metadata"] == {"items": 4, "completed": 1, "failed": 0}
    assert entry["attempts"] == 4
    assert (started(run), run.status) == ([], Status.CANCELLED)


def test_map_completes_if_all_its_items_do_in_spite_of_the_cancel() -> None:
    run = begin(tree_of(each("m", [1, 2]), task("b", "m")))
    start_all(run)
    run.cancel("", clock(run))

    end(run, "m[0]", "x")
    end(run, "m[1]", "y")

    entry = entry_of(run, "m")
    assert (entry["status"], entry["result"]) == ("completed", ["x", "y"])
    assert statuses(run)["b"] == "cancelled"
    assert started(run) == []
    assert run.status is Status.CANCELLED


def test_map_whose_running_items_complete_but_not_all_have_run_is_cancelled() -> None:
    run = begin(tree_of(each("m", [1, 2, 3], max_in_flight=2)))
    start_all(run)
    run.cancel("", clock(run))

    end(run, "m[0]", "x")
    end(run, "m[1]", "y")

    assert (statuses(run), started(run)) == ({"m": "cancelled"}, [])


def test_tolerated_failures_do_not_keep_a_map_from_completing_in_spite_of_a_cancel() -> None:
    run = begin(tree_of(each("m", [1, 2], tolerate=1)))
    start_all(run)
    run.cancel("", clock(run))

    end(run, "m[0]", fails())
    end(run, "m[1]", "y")

    assert entry_of(run, "m")["result"] == [None, "y"]


def test_map_that_has_not_begun_is_cancelled_at_once() -> None:
    run = begin(tree_of(task("a"), each("m", [1, 2]), max_in_flight=1))
    start_all(run)

    run.cancel("", clock(run))

    assert statuses(run) == {"a": "in_progress", "m": "cancelled"}
    assert [run.next_interrupt(), run.next_interrupt()] == ["a", None]


def test_map_none_of_whose_items_runs_is_cancelled_at_once() -> None:
    run = begin(tree_of(each("m", [1, 2], max_in_flight=1)))
    start_all(run)
    end(run, "m[0]", answered("ok", 3))

    run.cancel("", clock(run))

    assert (statuses(run), run.next_interrupt()) == ({"m": "cancelled"}, None)
    assert (started(run), run.status) == ([], Status.CANCELLED)


def test_map_none_of_whose_items_runs_still_says_what_its_items_did() -> None:
    run = begin(tree_of(each("m", [1, 2], max_in_flight=1)))
    start_all(run)
    end(run, "m[0]", answered("ok", 3))

    run.cancel("", clock(run))

    entry = entry_of(run, "m")
    assert entry["attempts"] == 3
    assert entry["metadata"] == {"items": 2, "completed": 1, "failed": 0}


def test_failure_elsewhere_cancels_a_map_of_a_tree_that_gives_up() -> None:
    run = begin(tree_of(each("m", [1, 2], max_in_flight=1), task("bad"), on_failure="cancel"))
    start_all(run)

    end(run, "bad", fails())

    assert run.next_interrupt() == "m[0]"
    end(run, "m[0]", CANCELLED)
    assert entry_of(run, "m")["because"]["task_id"] == "bad"
    assert (started(run), run.status) == ([], Status.FAILED)


# --- a continuation in the middle


def halfway(script: Script, ends: int, **fields: Any) -> TreeRun:
    """A run of a map `m` of five, of whose items so many have ended and none is running."""
    tree = tree_of(
        task("list"),
        task("extra"),
        each("m", "tasks.list.result", "list", "extra", **fields),
        task("after", "m"),
    )
    run = begin(tree)
    for unit in ("list", "extra", *[f"m[{at}]" for at in range(ends)]):
        start = run.next_start(clock(run))
        assert start is not None
        run.began(start.unit, clock(run))
        end(run, unit, script.get(unit, unit))
    return run


LIST: Script = {"list": [10, 11, 12, 13, 14], "extra": "more", "after": "end"}


@pytest.mark.parametrize("ends", range(5))
@pytest.mark.parametrize("tolerate", [1, 2])
def test_continuation_comes_to_the_same_end_from_the_middle_of_a_map(
    ends: int, tolerate: int
) -> None:
    script = {**LIST, "m[1]": fails("no", "t"), "m[3]": fails("nor", "t"), "m[0]": answered(0, 4)}
    straight = begin(halfway(script, 0, tolerate=tolerate, max_in_flight=1).plan.tree)
    play(straight, script)

    fresh = continued(halfway(script, ends, tolerate=tolerate, max_in_flight=1))
    is_over = statuses(fresh)["m"] == "failed"
    units = play(fresh, script)

    assert statuses(fresh) == statuses(straight)
    ended = entry_of(straight, "m")
    kept = ["status", "result", "error", "error_type", "attempts", "metadata"]
    assert [entry_of(fresh, "m")[key] for key in kept] == [ended[key] for key in kept]
    assert units[:1] == ([] if is_over else [f"m[{ends}]"])
    assert fresh.status is (Status.COMPLETED if tolerate == 2 else Status.FAILED)


def test_map_that_was_carried_over_keeps_its_hour_its_window_and_its_inputs() -> None:
    run = halfway(LIST, 2, max_in_flight=2)

    fresh = continued(run)

    assert (statuses(fresh), fresh.counts) == (statuses(run), run.counts)
    assert fresh.records["m"].started_at == run.records["m"].started_at
    starts = start_all(fresh)
    assert [(each.unit, each.inputs) for each in starts] == [
        ("m[2]", {"x": 12, "extra": "more"}),
        ("m[3]", {"x": 13, "extra": "more"}),
    ]


def test_condition_of_a_map_that_has_begun_is_not_asked_again() -> None:
    run = halfway(LIST, 1, when="tasks.list.result", max_in_flight=1)

    assert started(continued(run)) == ["m[1]"]


def test_map_that_was_carried_over_is_cancelled_with_the_tree() -> None:
    fresh = continued(halfway(LIST, 2, max_in_flight=1))

    fresh.cancel("", clock(fresh))

    assert statuses(fresh) == {
        "list": "completed",
        "extra": "completed",
        "m": "cancelled",
        "after": "cancelled",
    }


def test_continuation_of_a_continuation_of_a_map_is_the_same_again() -> None:
    run = halfway({**LIST, "m[0]": fails("no", "t")}, 3, tolerate=1)

    snapshots = [json.dumps(take_snapshot(of)) for of in (continued(run), run)]

    assert snapshots[0] == snapshots[1]


# --- what is refused


@pytest.mark.parametrize(
    "fields",
    [
        {"executor": "sleep", "inputs": {"duration": 1}},
        {"executor": "approval"},
        {"executor": "wait_for_event"},
        {"executor": "aggregate_results"},
        {"executor": "group"},
    ],
)
def test_map_of_what_the_workflow_does_itself_is_refused(fields: Document) -> None:
    written = {"name": "t", "tasks": [{"id": "m", "for_each": [1], **fields}]}

    assert problems_of(written) == ["for_each tasks[0].for_each"]


@pytest.mark.parametrize("native", ["sleep", "approval", "aggregate_results"])
def test_map_of_what_the_workflow_does_itself_is_refused_also_if_its_id_says_so(
    native: str,
) -> None:
    written = {"name": "t", "tasks": [{"id": native, "for_each": [1, 2]}]}

    assert problems_of(written) == ["for_each tasks[0].for_each"]


@pytest.mark.parametrize("fields", [{"max_in_flight": 2}, {"tolerate": 1}, {"tolerate": 0}])
def test_what_only_a_map_has_is_refused_without_one(fields: Document) -> None:
    field = next(iter(fields))

    assert problems_of({"name": "t", "tasks": [task("m", **fields)]}) == [
        f"for_each tasks[0].{field}"
    ]


@pytest.mark.parametrize(
    "tolerate", [-1, True, "10", "101%", "100.5%", "-1%", "1e1%", "%", "ten", 1.5, [1]]
)
def test_what_is_tolerated_is_a_number_or_a_share(tolerate: Any) -> None:
    written = {"name": "t", "tasks": [each("m", [1], tolerate=tolerate)]}

    assert problems_of(written) == ["tolerate tasks[0].tolerate"]


@pytest.mark.parametrize("window", [0, 501, "2"])
def test_as_many_items_as_a_tree_may_run_at_a_time(window: Any) -> None:
    written = {"name": "t", "tasks": [each("m", [1], max_in_flight=window)]}

    assert problems_of(written)[0].endswith("tasks[0].max_in_flight")


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"when": "item"}, "when"),
        ({"for_each": "item"}, "for_each"),
        ({"compensate": {"executor": "u", "inputs": {"x": "${{ item }}"}}}, "compensate.inputs.x"),
    ],
)
def test_item_means_something_in_the_inputs_of_a_map_alone(fields: Document, where: str) -> None:
    written = {"name": "t", "tasks": [task("m", **{"for_each": [1], **fields})]}

    assert problems_of(written) == [f"reference tasks[0].{where}"]


@pytest.mark.parametrize("items", ["${{ }}", ""])
def test_items_of_no_expression_are_refused(items: str) -> None:
    written = {"name": "t", "tasks": [each("m", items)]}

    assert problems_of(written) == ["expression tasks[0].for_each"]


def test_outcome_without_an_error_text_is_listed_as_such() -> None:
    run = begin(tree_of(each("m", [1])))
    start_all(run)

    end(run, "m[0]", Outcome(Status.FAILED, error_type="odd"))

    assert entry_of(run, "m")["error"] == "1 of 1 items failed: item 0: "
