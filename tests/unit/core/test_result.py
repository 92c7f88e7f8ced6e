import json
from typing import Any

import pytest
from tests.unit.core.builders import (
    CANCELLED,
    NOW,
    Document,
    begin,
    drive,
    fails,
    group,
    run_to_end,
    settle,
    start_all,
    task,
    tree_of,
)

from regrow.core import limits
from regrow.core.result import (
    TreeResult,
    bounded_entry,
    failure_message,
    json_size,
    moment,
    status_summary,
    task_entry,
    tree_result,
)
from regrow.core.run import TreeRun

BIG = "x" * (100 * limits.KIB)


def result_of(*tasks: Document, script: Document | None = None, **head: Any) -> dict[str, Any]:
    return tree_result(run_to_end(tree_of(*tasks, **head), script))


def size_of(result: dict[str, Any]) -> int:
    return len(json.dumps(result, ensure_ascii=False, separators=(",", ":")).encode())


# --- the whole


def test_result_says_how_the_tree_and_every_task_ended() -> None:
    answer = {"status": "completed", "result": {"n": 1}, "attempt": 2, "took": 5}

    result = result_of(task("a"), task("b", "a"), script={"a": answer, "b": fails("e", "t")})

    assert result["tree_id"] == "run"
    assert (result["name"], result["status"], result["outputs"]) == ("tree", "failed", {})
    assert result["counts"] == {
        "pending": 0,
        "in_progress": 0,
        "completed": 1,
        "failed": 1,
        "cancelled": 0,
        "skipped": 0,
    }
    assert result["tasks"]["a"] == {
        "status": "completed",
        "result": {"n": 1},
        "error": None,
        "error_type": None,
        "because": None,
        "attempts": 2,
        "started_at": "2030-01-01T00:00:00.000+00:00",
        "finished_at": "2030-01-01T00:00:01.000+00:00",
        "metadata": {"attempt": 2, "took": 5},
    }
    assert (result["tasks"]["b"]["error"], result["tasks"]["b"]["error_type"]) == ("e", "t")
    assert not {"error", "truncated", "outputs_omitted"} & {*result}


def test_result_reads_back_as_typed_values_and_writes_the_same() -> None:
    result = result_of(task("a"), task("b", "a"), script={"a": fails()})

    typed = TreeResult.model_validate(result)

    assert typed.tasks["b"].because is not None
    assert typed.tasks["b"].because.root == "a"
    again = typed.model_dump(mode="json")
    assert {*again} == {*result}
    assert {*again["tasks"]["a"]} == {*result["tasks"]["a"]}
    assert TreeResult.model_validate(again) == typed


def test_marks_of_what_is_left_out_read_back_too() -> None:
    ids = [f"t{at}" for at in range(4)]
    result = result_of(*map(task, ids), script=dict.fromkeys(ids, BIG))

    typed = TreeResult.model_validate(result)

    assert typed.outputs_omitted == ("t2", "t3")
    assert typed.model_dump(mode="json")["tasks"]["t3"]["result_omitted"] is True


def test_time_is_written_to_the_millisecond() -> None:
    assert moment(NOW.replace(microsecond=123_000)) == "2030-01-01T00:00:00.123+00:00"
    assert moment(None) is None


# --- outputs


def test_outputs_are_the_results_nothing_depends_on_and_no_group_holds() -> None:
    result = result_of(
        *[task("a"), task("b", "a"), task("c", "a?"), task("bad", allow_failure=True)],
        *[group("g", children=[task("m")]), task("p"), task("kid", parent_id="p")],
        script={"bad": fails(), "c": None},
    )

    assert result["outputs"] == {
        "b": "b",
        "c": None,
        "g": {"m": "m"},
        "p": "p",
        "kid": "kid",
    }


def test_declared_outputs_are_all_there_is() -> None:
    outputs = {
        "x": "${{ tasks.a.result.n }}",
        "status": "a ${{ tasks.a.status }}",
        "bad": "${{ tasks.bad.result }}",
        "plain": [1, "${{ inputs.i }}"],
    }

    result = result_of(
        *[task("a"), task("bad", allow_failure=True)],
        outputs=outputs,
        inputs={"i": 2},
        script={"a": {"n": 1}, "bad": fails()},
    )

    assert result["outputs"] == {"x": 1, "status": "a completed", "bad": None, "plain": [1, 2]}


def test_no_outputs_at_all_may_be_declared() -> None:
    assert result_of(task("a"), outputs={})["outputs"] == {}


@pytest.mark.parametrize(("script", "status"), [({}, "failed"), ({"b": fails()}, "failed")])
def test_output_expression_that_fails_fails_the_tree(script: Document, status: str) -> None:
    outputs = {"ok": 1, "sum": "${{ abs(tasks.a.result) }}"}

    result = result_of(task("a"), task("b"), outputs=outputs, script=script)

    assert (result["status"], result["outputs"]) == (status, {"ok": 1, "sum": None})
    assert result["error"].startswith("output 'sum': abs(tasks.a.result): ")


def test_cancelled_tree_stays_cancelled_though_an_output_fails() -> None:
    run = begin(tree_of(task("a"), outputs={"x": "text ${{ tasks.a.result }}"}))
    run.cancel("", NOW)
    start_all(run)

    result = tree_result(run)

    assert (result["status"], "output 'x'" in result["error"]) == ("cancelled", True)


# --- bounds


def test_results_beyond_256_kib_are_left_out_and_marked_outputs_first() -> None:
    """Two results fit; the outputs take one place, the first task the other."""
    result = result_of(
        *[task("a"), task("b", "a"), task("c", "b")],
        script={"a": BIG, "b": BIG, "c": {"status": "completed", "result": BIG, "took": 1}},
    )

    assert result["outputs"] == {"c": BIG}
    tasks = result["tasks"]
    assert (tasks["a"]["result"], "result_omitted" in tasks["a"]) == (BIG, False)
    for left_out in ("b", "c"):
        assert tasks[left_out]["result"] is None
        assert tasks[left_out]["metadata"] == {}
        assert tasks[left_out]["result_omitted"] is True
    assert size_of(result) <= limits.MAX_RESULTS_BYTES + 2 * limits.KIB


def test_smaller_results_after_one_that_is_left_out_still_fit() -> None:
    result = result_of(task("a"), task("b"), script={"a": BIG * 3, "b": 1})

    assert result["outputs"] == {"a": None, "b": 1}
    assert result["outputs_omitted"] == ("a",)
    assert result["tasks"]["b"]["result"] == 1


@pytest.mark.parametrize(("more", "kept"), [(0, True), (1, False)])
def test_results_of_just_256_kib_are_kept(more: int, *, kept: bool) -> None:
    """Of the task's entry the empty metadata takes two bytes, the quotes take two more."""
    text = "x" * (limits.MAX_RESULTS_BYTES - 4 + more)
    run = run_to_end(tree_of(task("a"), outputs={}), {"a": text})

    assert (tree_result(run)["tasks"]["a"]["result"] == text) is kept
    assert (bounded_entry(run, "a")["result"] == text) is kept


def test_output_of_just_256_kib_is_kept() -> None:
    text = "x" * (limits.MAX_RESULTS_BYTES - 2)

    assert result_of(task("a"), script={"a": text})["outputs"] == {"a": text}
    assert result_of(task("a"), script={"a": text + "x"})["outputs"] == {"a": None}


def test_tolerated_failures_are_marked_and_nothing_else() -> None:
    tasks = [
        task("a", allow_failure=True),
        task("b"),
        task("c", "b?"),
        task("d", allow_failure=True),
    ]

    result = result_of(*tasks, task("e"), script={"a": fails(), "b": CANCELLED, "e": fails()})

    marked = {each: entry.get("tolerated") for each, entry in result["tasks"].items()}
    assert marked == {"a": True, "b": True, "c": None, "d": None, "e": None}


def test_entry_without_result_or_metadata_is_not_marked() -> None:
    tasks = [task("big"), task("null", "big")]

    result = result_of(*tasks, script={"big": "x" * limits.MAX_RESULTS_BYTES, "null": None})

    assert "result_omitted" not in result["tasks"]["null"]


def test_declared_outputs_that_do_not_fit_are_marked() -> None:
    outputs = {"all": "${{ tasks.a.result }}", "one": 1}

    result = result_of(task("a"), outputs=outputs, script={"a": BIG * 3})

    assert (result["outputs"], result["outputs_omitted"]) == ({"all": None, "one": 1}, ("all",))


def test_bytes_are_counted_not_characters() -> None:
    assert json_size({"a": "é", "b": [1, None]}) == len('{"a":"é","b":[1,null]}'.encode())


def test_half_a_surrogate_pair_in_a_result_does_not_stop_the_run() -> None:
    assert result_of(task("a"), script={"a": "\ud83d"})["status"] == "completed"


def wide(count: int, name: str = "t", **fields: Any) -> list[Document]:
    return [task(f"{name}{at}", **fields) for at in range(count)]


def test_up_to_2000_tasks_are_listed_each() -> None:
    result = result_of(*wide(2000), outputs={})

    assert (len(result["tasks"]), "truncated" in result) == (2000, False)
    assert size_of(result) <= limits.MAX_ENGINE_BYTES


def test_beyond_2000_only_those_that_did_not_complete_are_listed_without_results() -> None:
    answer = {**fails(), "metadata": {"a": 1}}

    result = result_of(*wide(2001), outputs={}, script={"t7": answer, "t1999": fails()})

    assert ([*result["tasks"]], result["truncated"]) == (["t7", "t1999"], True)
    assert result["tasks"]["t7"]["metadata"] == {}
    assert result["counts"]["completed"] == 1999


def test_at_most_500_of_those_are_listed() -> None:
    result = result_of(*wide(2001), outputs={}, script={f"t{at}": fails() for at in range(2001)})

    assert [*result["tasks"]] == [f"t{at}" for at in range(500)]


def test_why_the_tree_failed_is_listed_before_all_else_but_in_its_place() -> None:
    """The group fails for the last task; of what else did not complete there is too much."""
    tasks = [group("g"), *wide(1999, allow_failure=True), task("late", parent_id="g")]
    script = {f"t{at}": fails("tolerated") for at in range(1999)}

    result = result_of(*tasks, outputs={}, script=script | {"late": fails("untolerated")})

    assert [*result["tasks"]] == ["g", *[f"t{at}" for at in range(498)], "late"]


def test_own_failures_are_listed_before_those_of_groups() -> None:
    groups = [group(f"g{at}") for at in range(1001)]
    inside = [task(f"t{at}", parent_id=f"g{at}") for at in range(1001)]

    result = result_of(*groups, *inside, script={f"t{at}": fails() for at in range(490, 1001)})

    assert [*result["tasks"]] == [f"t{at}" for at in range(490, 990)]


def test_large_errors_are_listed_as_far_as_a_mebibyte_goes() -> None:
    bad = {f"t{at}": fails("x" * limits.MAX_ERROR_CHARS) for at in range(200)}

    result = result_of(*wide(200), script=bad)

    assert result["truncated"] is True
    assert 90 < len(result["tasks"]) < 105
    assert size_of(result) <= limits.MAX_ENGINE_BYTES


def test_result_with_very_many_outputs_stays_within_a_mebibyte() -> None:
    result = result_of(*wide(20_000, "t" * 50))

    assert size_of(result) <= limits.MAX_ENGINE_BYTES


def test_error_of_an_output_expression_is_short() -> None:
    outputs = {"x": "${{ abs(tasks.a.result) }}"}

    result = result_of(task("a"), outputs=outputs, script={"a": BIG * 15})

    assert size_of(result) <= limits.MAX_ENGINE_BYTES


# --- why it failed


@pytest.mark.parametrize(
    ("tasks", "script", "message"),
    [
        ([task("a")], {"a": fails("no")}, "tree 'tree' failed: a: no"),
        (
            [task("may", allow_failure=True), task("also"), task("a", "also?"), task("b")],
            {"may": fails("x"), "also": fails("y"), "a": fails("no"), "b": fails("nor")},
            "tree 'tree' failed: a: no (and 1 more)",
        ),
        (
            [group("g", children=[task("a"), task("b")]), task("c")],
            {"b": fails("no")},
            "tree 'tree' failed: b: no",
        ),
        (
            [group("g", children=[task("a")]), group("h", children=[task("b")])],
            {"a": CANCELLED, "b": CANCELLED},
            "tree 'tree' failed: g: 'a' inside the group failed (and 1 more)",
        ),
        ([task("a")], {"a": CANCELLED}, "tree 'tree' failed"),
    ],
)
def test_message_names_the_first_failure_that_counts_and_how_many_do(
    tasks: list[Document], script: Document, message: str
) -> None:
    assert failure_message(result_of(*tasks, script=script)) == message


def test_message_of_a_tree_that_failed_for_no_task_says_why() -> None:
    result = result_of(task("a"), outputs={"x": "${{ abs('x') }}"})

    assert failure_message(result).startswith("tree 'tree' failed: output 'x': abs('x')")


@pytest.mark.parametrize(("failed", "more"), [(2, "1"), (499, "498"), (501, "at least 499")])
def test_message_counts_no_more_than_the_result_lists(failed: int, more: str) -> None:
    script = {f"t{at}": fails("no") for at in range(failed)}

    result = result_of(*wide(2001), task("last", "t0"), outputs={}, script=script)

    assert failure_message(result) == f"tree 'tree' failed: t0: no (and {more} more)"


# --- while it runs


def halfway() -> TreeRun:
    run = begin(tree_of(task("a"), task("b"), task("c", "b")))
    start_all(run)
    settle(run, "a", BIG * 3)
    return run


def test_status_of_a_small_tree_lists_every_task() -> None:
    summary = status_summary(halfway())

    assert (summary["status"], summary["paused"]) == ("in_progress", False)
    assert summary["tasks"] == {"a": "completed", "b": "in_progress", "c": "pending"}
    assert summary["counts"]["pending"] == 1


def test_status_of_a_large_tree_lists_what_matters() -> None:
    run = begin(tree_of(*wide(3000), max_in_flight=500))
    start_all(run)
    settle(run, "t0")
    settle(run, "t1", fails())
    start_all(run, 1)

    summary = status_summary(run)

    assert summary["truncated"] is True
    assert len(summary["tasks"]) == limits.MAX_LISTED_PROBLEM_TASKS
    assert [*summary["tasks"].items()][:2] == [("t1", "failed"), ("t2", "in_progress")]


def test_status_of_2000_tasks_lists_each() -> None:
    summary = status_summary(begin(tree_of(*wide(2_000))))

    assert (len(summary["tasks"]), "truncated" in summary) == (2_000, False)


def test_entry_of_a_task_that_waits_or_runs_has_no_end() -> None:
    waiting, busy = task_entry(halfway(), "c"), task_entry(halfway(), "b")

    assert (waiting["status"], waiting["started_at"], waiting["attempts"]) == ("pending", None, 0)
    assert busy["status"] == "in_progress"
    assert busy["started_at"] is not None
    assert busy["finished_at"] is None


def test_entry_asked_for_alone_leaves_a_large_result_out() -> None:
    run = halfway()
    settle(run, "b", 5)

    assert bounded_entry(run, "b")["result"] == 5
    assert bounded_entry(run, "a")["result"] is None
    assert bounded_entry(run, "a")["result_omitted"] is True


def test_result_can_be_asked_for_before_the_end() -> None:
    run = halfway()

    assert tree_result(run)["status"] == "in_progress"
    drive(run, {})
    assert tree_result(run)["status"] == "completed"
