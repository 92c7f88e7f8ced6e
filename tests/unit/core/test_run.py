from datetime import timedelta
from typing import Any

import pytest
from tests.unit.core.builders import (
    CANCELLED,
    NOW,
    Document,
    begin,
    clock,
    drive,
    entry_of,
    fails,
    group,
    inputs_of,
    run_to_end,
    running,
    settle,
    sleep,
    start_all,
    statuses,
    task,
    tree_of,
)

from regrow.core.outcome import Outcome
from regrow.core.wire import ErrorType, Status

# --- the table of upstream and edge


@pytest.mark.parametrize(
    ("end", "required", "optional"),
    [
        ({"status": "completed", "result": 1}, "completed", "completed"),
        (None, "completed", "completed"),
        (fails(), "skipped", "completed"),
        (CANCELLED, "skipped", "completed"),
    ],
)
def test_dependents_follow_the_table(end: Any, required: str, optional: str) -> None:
    tree = tree_of(
        task("a"), task("must", "a"), task("further", "must"), task("may", "a?"), task("x", "must?")
    )

    run = run_to_end(tree, {"a": end})

    assert statuses(run) | {"a": ""} == {
        "a": "",
        "must": required,
        "further": required,
        "may": optional,
        "x": "completed",
    }


@pytest.mark.parametrize("edge", ["a", "a?"])
def test_dependency_is_awaited_while_it_runs(edge: str) -> None:
    run = begin(tree_of(task("a"), task("b", edge)))

    assert [each.task_id for each in start_all(run)] == ["a"]
    assert statuses(run) == {"a": "in_progress", "b": "pending"}
    assert (run.in_flight, run.status, run.is_finished) == (1, Status.IN_PROGRESS, False)


def test_every_end_has_its_times() -> None:
    run = run_to_end(
        tree_of(task("a"), task("b", "a"), task("c", "b"), sleep("s", "a")), {"b": fails()}
    )

    for record in run.records.values():
        assert record.finished_at is not None
        assert record.started_at is None or NOW <= record.started_at <= record.finished_at
    assert run.records["c"].started_at is None


# --- conditions


@pytest.mark.parametrize(
    ("when", "status", "reason"),
    [
        ("tasks.a.result.active", "completed", None),
        ("${{ tasks.a.result.active }}", "completed", None),
        ("tasks.a.result.zero", "completed", None),
        ("tasks.a.result.missing", "skipped", "condition"),
        ("tasks.a.status == 'failed'", "skipped", "condition"),
        (False, "skipped", "condition"),
        (True, "completed", None),
    ],
)
def test_task_whose_condition_is_false_is_skipped(
    when: Any, status: str, reason: str | None
) -> None:
    run = run_to_end(
        tree_of(task("a"), task("b", "a", when=when)), {"a": {"active": True, "zero": 0}}
    )

    because = entry_of(run, "b")["because"]
    assert (statuses(run)["b"], because and because["reason"]) == (status, reason)
    assert run.status is Status.COMPLETED


def test_skip_by_a_condition_travels_on_and_is_no_failure() -> None:
    run = run_to_end(tree_of(task("a", when=False), task("b", "a"), task("c", "b?")))

    assert statuses(run) == {"a": "skipped", "b": "skipped", "c": "completed"}
    assert entry_of(run, "b")["because"] == {
        "reason": "dependency",
        "task_id": "a",
        "root": "a",
        "error": None,
        "error_type": None,
    }
    assert run.status is Status.COMPLETED


def test_condition_is_asked_once_every_edge_is_satisfied() -> None:
    tree = tree_of(task("a"), task("b", "a?", when="tasks.a.error_type == 'broken_pipe'"))

    assert statuses(run_to_end(tree, {"a": fails(error_type="broken_pipe")}))["b"] == "completed"
    assert statuses(run_to_end(tree))["b"] == "skipped"


@pytest.mark.parametrize(
    "fields",
    [
        {"when": "abs(tasks.a.result) > `0`"},
        {"inputs": {"x": "${{ abs(tasks.a.result) }}"}},
        {"inputs": {"x": "text ${{ tasks.a.result.missing }}"}},
    ],
)
def test_expression_that_fails_fails_its_task(fields: dict[str, Any]) -> None:
    run = run_to_end(tree_of(task("a"), task("b", "a", **fields), task("c", "b")))

    entry = entry_of(run, "b")
    assert (entry["status"], entry["error_type"]) == ("failed", "expression_error")
    assert (entry["attempts"], entry["started_at"]) == (0, None)
    assert (statuses(run)["c"], run.status) == ("skipped", Status.FAILED)


# --- order


def test_ready_tasks_start_by_priority_then_position_as_many_as_are_allowed() -> None:
    tree = tree_of(
        task("low", priority=3),
        task("normal"),
        task("urgent", priority=0),
        task("high", priority=1),
        max_in_flight=1,
    )

    starts = drive(begin(tree), {})

    assert [each.task_id for each in starts] == ["urgent", "high", "normal", "low"]


def test_priority_never_beats_a_dependency() -> None:
    starts = drive(begin(tree_of(task("urgent", "low", priority=0), task("low", priority=3))), {})

    assert [each.task_id for each in starts] == ["low", "urgent"]


def test_no_more_run_than_allowed_sleeps_not_counted() -> None:
    run = begin(tree_of(*[task(f"t{at}") for at in range(5)], sleep("s"), max_in_flight=2))

    assert [each.task_id for each in start_all(run)] == ["s", "t0", "t1"]
    assert run.in_flight == 2
    settle(run, "t1")
    assert [each.task_id for each in start_all(run)] == ["t2"]


def test_no_level_barrier_and_no_waiting_for_a_mere_parent() -> None:
    run = begin(tree_of(task("slow"), task("a"), task("b", "a"), task("c", parent_id="slow")))
    start_all(run)

    settle(run, "a")

    assert [each.task_id for each in start_all(run)] == ["b"]
    assert running(run) == ["slow", "b", "c"]


def test_end_state_is_the_same_in_every_order() -> None:
    tree = tree_of(
        *[task("a"), task("b"), task("c", "a?", "b"), task("d", "a", when="tasks.a.result")],
        task("e", "c", "d?", inputs={"x": "${{ tasks.b.status }}"}),
    )
    script = {"a": fails(), "b": {"status": "completed", "result": None}}

    ends = [statuses(run_to_end(tree, script, order)) for order in ("ab", "ba")]

    assert ends[0] == ends[1]


def test_reader_sees_the_same_whether_the_skip_or_the_result_comes_first() -> None:
    tree = tree_of(
        *[task("slow"), task("quick"), task("middle", "slow", "quick")],
        task("reader", "middle?", inputs={"x": "${{ tasks.slow.result }}"}),
    )

    for order in (["slow", "quick"], ["quick", "slow"]):
        starts = drive(begin(tree), {"quick": fails()}, order)
        assert starts[-1].inputs == {"x": "slow"}


# --- failures


@pytest.mark.parametrize(
    ("tasks", "status"),
    [
        ([task("a")], "failed"),
        ([task("a", allow_failure=True)], "completed"),
        ([task("a"), task("b", "a?")], "completed"),
        ([task("a"), task("b", "a?"), task("c", "a?")], "completed"),
        ([task("a"), task("b", "a?"), task("c", "a")], "failed"),
        ([task("a", allow_failure=True), task("c", "a")], "completed"),
        ([task("a"), task("b", parent_id="a")], "failed"),
    ],
)
def test_tree_fails_unless_the_failure_is_tolerated(tasks: list[Document], status: str) -> None:
    assert run_to_end(tree_of(*tasks), {"a": fails()}).status.value == status


def test_task_that_was_cancelled_without_the_tree_fails_it_like_a_failure() -> None:
    assert run_to_end(tree_of(task("a")), {"a": CANCELLED}).status is Status.FAILED


def test_skip_names_the_nearest_cause_and_where_the_chain_begins() -> None:
    tree = tree_of(task("a"), task("b", "a"), task("c", "b"), task("d", "c", "a"), task("e", "d"))
    long = fails("x" * 500, "broken_pipe")

    run = run_to_end(tree, {"a": long})

    chain = {each: entry_of(run, each)["because"] for each in "bcde"}
    assert {each: because["task_id"] for each, because in chain.items()} == {
        "b": "a",
        "c": "b",
        "d": "c",
        "e": "d",
    }
    assert {because["root"] for because in chain.values()} == {"a"}
    assert {because["error"] for because in chain.values()} == {"x" * 200}
    assert {because["error_type"] for because in chain.values()} == {"broken_pipe"}


def test_skip_names_the_first_declared_cause_of_several() -> None:
    tree = tree_of(task("a"), task("b"), task("ok"), task("c", "ok", "b?", "b2", "a"), task("b2"))

    for order in (["a", "b2"], ["b2", "a"]):
        run = run_to_end(tree, {"a": fails(), "b2": fails()}, order)
        assert entry_of(run, "c")["because"]["task_id"] == "b2"


def test_where_a_chain_begins_is_remembered_for_all_tasks_of_it() -> None:
    run = run_to_end(
        tree_of(task("a"), task("b", "a"), task("c", "b"), task("d", "c")), {"a": fails()}
    )
    roots: dict[str, str] = {}

    because = run.because("d", roots)

    assert because is not None
    assert because.root == "a"
    assert roots == {"c": "a", "b": "a"}
    assert run.because("d", roots) == because


def test_nothing_is_the_cause_of_what_has_run_or_waits() -> None:
    run = begin(tree_of(task("a"), task("b", "a")))
    start_all(run)
    assert run.because("b") is None

    settle(run, "a")

    assert run.because("a") is None


def test_failure_keeps_everything_that_was_said() -> None:
    answer = {"status": "failed", "error": "no url", "error_type": "validation_error", "field": "u"}

    entry = entry_of(run_to_end(tree_of(task("a")), {"a": answer}), "a")

    assert (entry["error"], entry["error_type"]) == ("no url", "validation_error")
    assert entry["metadata"] == {"field": "u"}


def test_activity_that_failed_for_good_is_recorded_as_it_is_told() -> None:
    told = Outcome(Status.FAILED, error="late", error_type="timeout_error", attempts=3)

    entry = entry_of(run_to_end(tree_of(task("a")), {"a": told}), "a")

    assert (entry["error"], entry["error_type"], entry["attempts"]) == ("late", "timeout_error", 3)


def test_task_that_cannot_be_started_is_refused_by_name() -> None:
    run = begin(tree_of(task("a"), task("b", "a")))
    assert run.next_start(NOW)

    run.refused("a", "too large", ErrorType.PAYLOAD_TOO_LARGE, NOW)
    assert start_all(run) == []

    assert statuses(run) == {"a": "failed", "b": "skipped"}
    assert run.records["a"].outcome == Outcome(
        Status.FAILED, error="too large", error_type="payload_too_large"
    )
    assert (run.in_flight, run.status) == (0, Status.FAILED)


# --- on_failure: cancel


def test_first_untolerated_failure_cancels_everything_unsettled() -> None:
    tree = tree_of(
        *[task("done"), task("bad"), task("busy"), sleep("nap"), task("next", "busy")],
        *[task("after", "bad"), task("later", "done", "nap"), task("may", "bad?")],
        on_failure="cancel",
    )
    run = begin(tree)
    start_all(run)
    settle(run, "done")

    settle(run, "bad", fails("x" * 500, "broken_pipe"))

    assert statuses(run) == {
        "done": "completed",
        "bad": "failed",
        "busy": "in_progress",
        "nap": "cancelled",
        "next": "cancelled",
        "after": "cancelled",
        "later": "cancelled",
        "may": "cancelled",
    }
    assert start_all(run) == []
    assert run.has_interrupts
    assert [run.next_interrupt() for _ in range(3)] == ["busy", "nap", None]
    assert not run.has_interrupts
    assert run.status is Status.IN_PROGRESS
    settle(run, "busy", CANCELLED)
    assert start_all(run) == []
    assert run.status is Status.FAILED
    because = {
        "reason": "on_failure",
        "task_id": "bad",
        "root": "bad",
        "error": "x" * 200,
        "error_type": "broken_pipe",
    }
    assert [entry_of(run, each)["because"] for each in ("busy", "nap", "later")] == [because] * 3


def test_work_that_completes_although_it_was_interrupted_is_kept() -> None:
    tree = tree_of(task("bad"), task("busy"), task("next", "busy"), on_failure="cancel")
    run = begin(tree)
    start_all(run)
    settle(run, "bad", fails())

    settle(run, "busy", 1)

    assert statuses(run) == {"bad": "failed", "busy": "completed", "next": "cancelled"}


def test_only_the_first_failure_closes_the_tree() -> None:
    run = run_to_end(
        tree_of(task("bad"), task("worse"), on_failure="cancel"),
        {"bad": fails(), "worse": fails()},
    )

    assert run.closed is not None
    assert run.closed.root == "bad"


@pytest.mark.parametrize(
    "tasks",
    [
        [task("a", allow_failure=True), task("b"), task("c", "b")],
        [task("a"), task("b", "a?"), task("c", "b")],
    ],
)
def test_tolerated_failure_cancels_nothing(tasks: list[Document]) -> None:
    run = run_to_end(tree_of(*tasks, on_failure="cancel"), {"a": fails()})

    assert statuses(run) == {"a": "failed", "b": "completed", "c": "completed"}
    assert run.status is Status.COMPLETED


@pytest.mark.parametrize(
    "bad", [task("b", when="abs('x')"), task("b", inputs={"x": "${{ abs('x') }}"})]
)
def test_expression_that_fails_closes_the_tree_too(bad: Document) -> None:
    run = begin(tree_of(bad, task("c"), group("g", "c"), on_failure="cancel"))

    assert start_all(run) == []

    assert statuses(run) == {"b": "failed", "c": "cancelled", "g": "cancelled"}
    assert run.status is Status.FAILED


# --- cancel, give up


def test_cancelling_the_tree_interrupts_what_runs_and_cancels_the_rest() -> None:
    tree = tree_of(task("done"), task("busy"), task("next", "busy"), sleep("nap"))
    run = begin(tree)
    start_all(run)
    settle(run, "done")

    run.cancel("enough", clock(run))

    assert statuses(run) == {
        "done": "completed",
        "busy": "in_progress",
        "next": "cancelled",
        "nap": "cancelled",
    }
    drive(run, {})
    assert (statuses(run)["busy"], run.status) == ("cancelled", Status.CANCELLED)
    because = {
        "reason": "cancel",
        "task_id": None,
        "root": None,
        "error": "enough",
        "error_type": None,
    }
    assert [entry_of(run, each)["because"] for each in ("busy", "next", "nap")] == [because] * 3


def test_cancel_without_a_reason_says_none() -> None:
    run = begin(tree_of(task("a")))

    run.cancel("", NOW)

    assert entry_of(run, "a")["because"]["error"] is None


def test_cancel_before_anything_has_started_cancels_everything() -> None:
    run = begin(tree_of(task("a"), task("b", "a"), group("g"), task("m", parent_id="g")))

    run.cancel("", NOW)

    assert start_all(run) == []
    assert {*statuses(run).values()} == {"cancelled"}
    assert (run.is_finished, run.status) == (True, Status.CANCELLED)


def test_second_cancel_changes_nothing() -> None:
    run = begin(tree_of(task("a"), task("b", "a")))
    start_all(run)
    run.cancel("first", NOW)
    run.cancel("second", NOW)

    drive(run, {})

    assert {entry_of(run, each)["because"]["error"] for each in "ab"} == {"first"}


def test_failure_decided_before_a_cancel_stays_a_failure() -> None:
    run = begin(tree_of(task("bad"), task("busy")))
    start_all(run)
    settle(run, "bad", fails())

    run.cancel("", clock(run))
    drive(run, {})

    assert run.status is Status.FAILED


@pytest.mark.parametrize("on_failure", ["continue", "cancel"])
def test_sleep_that_ends_just_when_the_tree_is_closed_stays_cancelled(on_failure: str) -> None:
    run = begin(tree_of(sleep("nap"), task("bad"), on_failure=on_failure))
    start_all(run)
    if on_failure == "cancel":
        settle(run, "bad", fails())
    else:
        run.cancel("", NOW)

    run.woke("nap", NOW)

    assert statuses(run)["nap"] == "cancelled"


def test_giving_up_fails_the_tree_for_no_tasks_fault() -> None:
    run = begin(tree_of(task("a"), task("b", "a")))
    start_all(run)

    run.give_up("the history is full", ErrorType.HISTORY_FULL, NOW)
    drive(run, {})

    assert {*statuses(run).values()} == {"cancelled"}
    assert (run.status, run.error) == (Status.FAILED, "the history is full")
    assert entry_of(run, "b")["because"]["error_type"] == "history_full"


# --- sleep


def wake_time(**inputs: Any) -> Any:
    start = begin(tree_of(sleep("s", **inputs))).next_start(NOW)
    assert start is not None
    assert start.wait is not None
    return start.wait.until


@pytest.mark.parametrize(
    ("inputs", "seconds"),
    [
        ({"duration": "1m30s"}, 90),
        ({"duration": 0.5}, 0.5),
        ({"duration": 0}, 0),
        ({"duration": "${{ `5` }}"}, 5),
        ({"until": "2030-01-01T00:01:00Z"}, 60),
        ({"until": "2030-01-01T02:00:00+02:00"}, 0),
        ({"until": "2029-12-31T23:59:00+00:00"}, -60),
    ],
)
def test_sleep_lasts_for_a_duration_or_until_a_time(inputs: Any, seconds: float) -> None:
    assert wake_time(**inputs) == NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"duration": "soon"}, "sleep duration: write a duration like 30s"),
        ({"duration": -1}, "sleep duration: a duration lies between"),
        ({"duration": True}, "sleep duration: write a duration"),
        ({"duration": None}, "sleep duration: write a duration"),
        ({"until": "tomorrow"}, "sleep until: "),
        ({"until": "2030-01-01T00:00:00"}, "is no time with an offset"),
        ({"until": 5}, "sleep until: 5 is no time with an offset"),
        ({"duration": 1, "until": "x"}, "either 'duration' or 'until', not duration, until"),
        ({"seconds": 1}, "either 'duration' or 'until', not seconds"),
        ({"duration": "${{ abs('x') }}"}, "abs"),
    ],
)
def test_sleep_that_makes_no_sense_fails_as_an_expression(inputs: Any, message: str) -> None:
    run = run_to_end(tree_of(sleep("s", **inputs), task("b", "s")))

    entry = entry_of(run, "s")
    assert (entry["status"], entry["error_type"]) == ("failed", "expression_error")
    assert message in entry["error"]
    assert statuses(run)["b"] == "skipped"


def test_sleep_without_inputs_fails() -> None:
    run = run_to_end(tree_of(task("s", executor="sleep")))

    assert "not nothing" in entry_of(run, "s")["error"]


def test_sleep_completes_with_null_and_passes_it_on() -> None:
    tree = tree_of(sleep("s"), task("b", "s"))

    assert inputs_of(tree, "b") == {"s": None}


def test_sleep_has_its_condition_too() -> None:
    assert statuses(run_to_end(tree_of({**sleep("s"), "when": False}))) == {"s": "skipped"}


# --- groups


def grouped(*members: Document, script: Document | None = None, **fields: Any) -> Document:
    run = run_to_end(
        tree_of(group("g", **fields), *[each | {"parent_id": "g"} for each in members]),
        script,
    )
    return entry_of(run, "g")


def test_result_of_a_group_is_its_completed_members_by_id() -> None:
    members = [task("a"), task("b", "a"), task("c", when=False), task("d", allow_failure=True)]

    entry = grouped(*members, script={"d": fails()})

    assert (entry["status"], entry["result"]) == ("completed", {"a": "a", "b": "b"})
    assert (entry["attempts"], entry["started_at"]) == (0, None)


def test_empty_group_completes_with_nothing() -> None:
    assert grouped()["result"] == {}


@pytest.mark.parametrize(
    ("members", "script", "error"),
    [
        ([task("a")], {"a": fails()}, "'a' inside the group failed"),
        ([task("a"), task("b")], {"a": fails(), "b": fails()}, "'a' and 1 more inside the group"),
        ([task("a")], {"a": CANCELLED}, "'a' inside the group failed"),
    ],
)
def test_group_fails_with_an_untolerated_member(
    members: list[Document], script: Document, error: str
) -> None:
    entry = grouped(*members, script=script)

    assert (entry["status"], entry["error_type"]) == ("failed", "group_failed")
    assert entry["error"].startswith(error)


@pytest.mark.parametrize("member", [task("a", allow_failure=True), task("a")])
def test_group_outlives_a_tolerated_member(member: Document) -> None:
    entry = grouped(member, task("b", "a?"), script={"a": fails()})

    assert (entry["status"], entry["result"]) == ("completed", {"b": "b"})


def test_groups_nest_and_the_outer_one_has_the_tasks_of_all() -> None:
    tree = tree_of(
        group("outer", children=[group("inner", children=[task("a")]), task("b")]),
        task("after", "outer", inputs={"x": "${{ tasks.a.result }}"}),
    )

    run = run_to_end(tree)

    assert entry_of(run, "outer")["result"] == {"a": "a", "b": "b"}
    assert inputs_of(tree, "after") == {"x": "a", "outer": {"a": "a", "b": "b"}}
    assert [*run.members("outer")] == ["inner", "a", "b"]


def test_failure_inside_nested_groups_is_counted_once() -> None:
    tree = tree_of(group("outer", children=[group("inner", children=[task("a")])]))

    run = run_to_end(tree, {"a": fails()})

    assert entry_of(run, "outer")["error"] == "'a' inside the group failed"


def test_group_holds_members_below_a_mere_parent() -> None:
    tree = tree_of(group("g", children=[task("p", children=[task("a")])]))

    assert entry_of(run_to_end(tree), "g")["result"] == {"p": "p", "a": "a"}


def test_children_never_wait_for_the_edges_or_the_condition_of_their_group() -> None:
    tree = tree_of(task("a"), group("g", "a", when=False, children=[task("m")]), task("z", "g"))

    run = run_to_end(tree)

    assert statuses(run) == {"a": "completed", "g": "skipped", "m": "completed", "z": "skipped"}


def test_group_behind_a_failure_is_skipped_once_its_members_have_settled() -> None:
    run = begin(tree_of(task("a"), group("g", "a", children=[task("m")]), task("z", "g?")))
    start_all(run)
    settle(run, "a", fails())
    assert statuses(run)["g"] == "pending"

    drive(run, {})

    assert statuses(run) == {"a": "failed", "g": "skipped", "m": "completed", "z": "completed"}
    assert entry_of(run, "g")["because"]["task_id"] == "a"


def test_the_child_link_is_no_edge_for_tolerance() -> None:
    tree = tree_of(group("g", allow_failure=True, children=[task("m")]))

    assert run_to_end(tree, {"m": fails()}).status is Status.FAILED


def test_failed_group_skips_what_requires_it() -> None:
    tree = tree_of(group("g", children=[task("m")]), task("must", "g"), task("may", "g?"))

    run = run_to_end(tree, {"m": fails()})

    assert statuses(run) == {
        "g": "failed",
        "m": "failed",
        "must": "skipped",
        "may": "completed",
    }


# --- aggregate_results


def test_aggregate_gathers_results_by_id_and_lists_what_is_absent() -> None:
    tree = tree_of(
        *[task("a"), task("b"), task("c", when=False)],
        task("all", "b", "a?", "c?", executor="aggregate_results"),
    )

    entry = entry_of(run_to_end(tree, {"a": fails(), "b": None}), "all")

    assert entry["result"] == {"results": {"b": None}, "count": 1, "absent": ["a", "c"]}
    assert entry["attempts"] == 1


def test_aggregate_of_nothing_is_empty() -> None:
    run = run_to_end(tree_of(task("all", executor="aggregate_results")))

    assert entry_of(run, "all")["result"] == {"results": {}, "count": 0, "absent": []}


# --- what is told


def test_every_change_of_status_is_told_in_order() -> None:
    told: list[tuple[str, str]] = []
    tree = tree_of(task("a"), task("b", "a"), task("c", "a?"), sleep("s"), group("g"))
    run = begin(tree, lambda each: told.append((each, run.records[each].status.value)))

    drive(run, {"a": fails()})

    assert told == [
        ("g", "completed"),
        ("s", "in_progress"),
        ("a", "in_progress"),
        ("a", "failed"),
        ("b", "skipped"),
        ("c", "in_progress"),
        ("c", "completed"),
        ("s", "completed"),
    ]


def test_counts_follow_the_statuses() -> None:
    run = begin(tree_of(task("a"), task("b", "a"), task("c", "b"), task("d")))
    assert run.counts[Status.PENDING] == 4
    start_all(run)
    settle(run, "a", fails())

    assert {status.value: count for status, count in run.counts.items() if count} == {
        "in_progress": 1,
        "failed": 1,
        "skipped": 2,
    }


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("tasks.a.status", "failed"),
        ("tasks.a.error", "broken"),
        ("tasks.a.error_type", "broken_pipe"),
        ("tasks.a.result", None),
        ("tasks.s.status", "skipped"),
        ("tasks.s.result", None),
        ("tree.id", "run"),
        ("tree.name", "tree"),
        ("tree.user_id", "acme"),
        ("inputs.n", 5),
        ("inputs", {"n": 5}),
    ],
)
def test_expressions_see_the_inputs_the_tree_and_how_tasks_ended(
    expression: str, value: Any
) -> None:
    tree = tree_of(
        *[task("a"), task("s", when=False)],
        task("last", "a?", "s?", inputs={"x": f"${{{{ {expression} }}}}"}),
        user_id="acme",
        inputs={"n": 5},
    )

    assert inputs_of(tree, "last", {"a": fails(error_type="broken_pipe")}) == {"x": value}


# --- aggregates of aggregates


def test_aggregates_of_aggregates_end_where_they_would_explode() -> None:
    chain = [
        task(
            f"a{at}",
            *[f"a{before}?" for before in range(max(at - 2, 0), at)],
            executor="aggregate_results",
        )
        for at in range(60)
    ]

    run = run_to_end(tree_of(*chain))

    failures = [record.outcome for record in run.records.values() if record.status == "failed"]
    assert failures
    assert {end.error_type for end in failures if end} == {"payload_too_large"}
