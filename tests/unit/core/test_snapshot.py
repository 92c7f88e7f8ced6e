import json
from datetime import timedelta
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
    drive,
    fails,
    group,
    settle,
    sleep,
    start_all,
    statuses,
    task,
    tree_of,
)

from regrow.core import by_hand, limits
from regrow.core.models import TaskTree
from regrow.core.outcome import Outcome, outcome_of
from regrow.core.result import tree_result
from regrow.core.run import TreeRun
from regrow.core.snapshot import restore_snapshot, take_snapshot
from regrow.core.wire import Status

BIG = "x" * (100 * limits.KIB)


def halfway(tree: TaskTree, script: Script, ends: int) -> TreeRun:
    """A run in which so many tasks have run and none is running."""
    run = begin(tree)
    for _ in range(ends):
        start = run.next_start(clock(run))
        if start is None:
            break
        if start.wait is not None:
            run.waiting(start, clock(run))
            continue
        run.began(start.task_id, clock(run))
        settle(run, start.task_id, script.get(start.task_id, start.task_id))
    return run


def comparable(run: TreeRun) -> dict[str, Any]:
    """A result without what a continuation may leave to history, and without the engine's hours."""
    result = tree_result(run)
    for entry in result["tasks"].values():
        if entry.pop("result_omitted", False):
            entry["result"], entry["metadata"] = "omitted", {}
        del entry["started_at"], entry["finished_at"]
    return result


FAMILY = tree_of(
    task("fetch", user_id="acme"),
    task("bad"),
    task("skipped", "bad"),
    task("deep", "skipped"),
    task("never", when=False),
    task("enrich", "fetch?", "bad?", inputs={"x": "${{ tasks.fetch.result.name }}"}),
    task("picks", "enrich", inputs={"x": "text ${{ tasks.fetch.result.name }}"}),
    task("late", "picks", {"id": "fetch", "into": None}, when="tasks.fetch.result.active"),
    sleep("nap", "fetch"),
    task("all", "fetch", "bad?", "nap", executor="aggregate_results"),
    group("g", "late", children=[task("m1"), task("m2", "m1", "late")]),
    task("end", "g?", "all?", allow_failure=True, inputs={"y": "${{ tasks.m1.result }}"}),
    outputs={"who": "${{ tasks.fetch.result.name }}", "end": "${{ tasks.end.result }}"},
)
FAMILY_SCRIPT: Document = {
    "fetch": {"status": "completed", "result": {"name": "ann", "active": True}, "attempt": 2},
    "bad": {"status": "failed", "error": "no", "error_type": "t", "field": "x"},
}


@pytest.mark.parametrize("ends", range(12))
def test_continuation_comes_to_the_same_end_from_anywhere(ends: int) -> None:
    straight = begin(FAMILY)
    drive(straight, FAMILY_SCRIPT)
    run = halfway(FAMILY, FAMILY_SCRIPT, ends)

    fresh = continued(run)
    assert statuses(fresh) == statuses(run)
    assert fresh.counts == run.counts
    drive(fresh, FAMILY_SCRIPT)

    assert statuses(fresh) == statuses(straight)
    assert fresh.status is straight.status is Status.FAILED
    wanted, found = comparable(straight), comparable(fresh)
    assert found["outputs"] == wanted["outputs"]
    for task_id, entry in found["tasks"].items():
        if entry["result"] == "omitted":
            wanted["tasks"][task_id] |= {"result": "omitted", "metadata": {}}
        assert entry == wanted["tasks"][task_id]


def test_continuation_of_a_continuation_is_the_same_again() -> None:
    run = halfway(FAMILY, FAMILY_SCRIPT, 4)

    assert take_snapshot(continued(run)) == take_snapshot(run)


def test_why_a_task_did_not_run_survives() -> None:
    tree = tree_of(task("a"), task("b", "a"), task("c", "b"), task("no", when=False), task("z"))
    run = halfway(tree, {"a": fails("e", "t")}, 1)

    fresh = continued(run)

    for task_id in ("b", "c", "no"):
        assert fresh.because(task_id) == run.because(task_id)
        assert fresh.because(task_id) is not None


def test_whoever_listens_is_told_of_every_end_that_was_taken_over() -> None:
    tree = tree_of(task("a"), task("b", "a"), task("c", "b?"), sleep("nap"))
    run = begin(tree)
    start_all(run)
    settle(run, "a", fails())
    told: list[str] = []
    fresh = begin(tree, told.append)

    restore_snapshot(fresh, take_snapshot(run))

    assert told == ["a", "b", "nap"]


def test_attempts_and_times_survive() -> None:
    tree = tree_of(task("a"), task("b", "a"))
    run = halfway(tree, {"a": Outcome(Status.FAILED, error="e", error_type="t", attempts=3)}, 1)

    fresh = continued(run)

    assert fresh.records["a"] == run.records["a"]


def test_times_are_the_same_in_the_result_of_a_continuation() -> None:
    run = begin(tree_of(task("a"), task("b", "a")))
    run.began("a", NOW + timedelta(microseconds=1600))
    run.ended("a", outcome_of(1), NOW + timedelta(microseconds=2600))

    entries = [tree_result(each)["tasks"]["a"] for each in (run, continued(run))]

    assert entries[0]["finished_at"] == entries[1]["finished_at"]


# --- which results are handed over


def kept_after(
    first: int, *tasks: Document, script: Document | None = None, **head: Any
) -> set[str]:
    """The completed tasks whose results a continuation still has."""
    fresh = continued(halfway(tree_of(*tasks, **head), script or {}, first))
    return {
        task_id
        for task_id, record in fresh.records.items()
        if record.status is Status.COMPLETED and not record.result_omitted
    }


def named(expression: str) -> Document:
    return {"x": f"${{{{ {expression} }}}}"}


@pytest.mark.parametrize(
    ("reader", "kept"),
    [
        (task("r", "b", "a"), {"a", "b"}),
        (task("r", "b"), {"b"}),
        (task("r", {"id": "b", "into": None}), set[str]()),
        (task("r", "b", inputs=named("tasks.a.result")), {"a", "b"}),
        (task("r", "b", inputs=named("tasks.b.result")), {"b"}),
        (task("r", "b", inputs=named("tasks.a.status")), {"b"}),
        (task("r", "b", when="tasks.a.result"), {"a", "b"}),
        (task("r", "b", executor="aggregate_results"), {"b"}),
        (sleep("r", "b", duration="${{ tasks.a.result }}"), {"a"}),
        (sleep("r", "b"), set[str]()),
        (group("r", "b", children=[task("m", "b")]), {"b"}),
    ],
)
def test_results_that_something_pending_will_read_are_kept(
    reader: Document, kept: set[str]
) -> None:
    assert kept_after(2, task("a"), task("b", "a"), reader, task("tail", "r")) == kept


@pytest.mark.parametrize(
    "expression",
    ["tasks.a.result[0]", "tasks.a | result", "tasks.a.{r: result}", "tasks.a", "tasks.a.*"],
)
def test_result_is_kept_however_it_is_named(expression: str) -> None:
    tasks = [task("a"), task("b", "a"), task("r", "b", inputs=named(expression))]

    assert kept_after(2, *tasks) == {"a", "b"}


def test_results_of_a_groups_members_are_kept_while_it_is_open() -> None:
    tasks = [group("g", children=[task("m1"), task("m2", "m1"), task("m3", "m2")])]

    assert kept_after(2, *tasks) == {"m1", "m2"}


def test_declared_outputs_are_kept() -> None:
    tasks = [task("a"), task("b", "a"), task("c", "b")]

    assert kept_after(3, *tasks, outputs={"x": ["${{ tasks.a.result }}"]}) == {"a"}


def test_default_outputs_are_kept_as_far_as_results_go() -> None:
    tasks = [task(f"t{at}") for at in range(5)]
    big = {f"t{at}": BIG for at in range(4)}

    assert kept_after(2, *tasks) == {"t0", "t1"}
    assert kept_after(4, *tasks, script=big) == {"t0", "t1"}


def test_output_that_was_left_behind_is_marked() -> None:
    tree = tree_of(*[task(f"t{at}") for at in range(4)])
    fresh = continued(halfway(tree, {f"t{at}": BIG for at in range(3)}, 3))
    drive(fresh, {})

    result = tree_result(fresh)

    assert result["outputs_omitted"] == ("t2",)
    assert result["outputs"]["t2"] is None
    assert result["tasks"]["t2"]["result_omitted"] is True
    assert result["outputs"]["t3"] == "t3"


def test_output_that_was_left_behind_stays_marked() -> None:
    tree = tree_of(*[task(f"t{at}") for at in range(4)])
    once = continued(halfway(tree, {f"t{at}": BIG for at in range(3)}, 3))

    assert [each.result_omitted for each in continued(once).records.values()] == [
        *(False, False),
        *(True, False),
    ]


def test_only_default_outputs_use_up_their_room() -> None:
    big = dict.fromkeys(["unread", "read"], BIG * 2)
    tasks = [
        task("unread"),
        task("read"),
        task("mid", "unread"),
        task("leaf"),
        task("end", "read", "mid"),
    ]

    assert kept_after(4, *tasks, script=big) == {"read", "mid", "leaf"}


def test_result_that_nothing_reads_is_marked_and_stays_marked() -> None:
    tree = tree_of(task("a"), task("b", "a"), task("c", "b"), task("d", "c"))
    once = continued(halfway(tree, {}, 2))
    start_all(once)
    settle(once, "c", 3)
    twice = continued(once)

    marks = {task_id: record.result_omitted for task_id, record in twice.records.items()}

    assert marks == {"a": True, "b": True, "c": False, "d": False}
    drive(twice, {})
    assert tree_result(twice)["tasks"]["a"]["result_omitted"] is True


def test_results_are_handed_over_with_their_metadata() -> None:
    answer = {"status": "completed", "result": 1, "attempt": 2, "took": 5}
    run = halfway(tree_of(task("a"), task("b", "a")), {"a": answer}, 1)

    assert continued(run).records["a"] == run.records["a"]


# --- sleeps


def test_sleep_keeps_its_hour_and_is_not_begun_again() -> None:
    tree = tree_of({**sleep("nap"), "when": True}, task("b", "nap"))
    run = begin(tree)
    start_all(run)

    fresh = continued(run)

    assert fresh.waits == run.waits
    assert fresh.records["nap"].started_at == NOW
    assert start_all(fresh) == []
    settle(fresh, "nap")
    assert [each.task_id for each in start_all(fresh)] == ["b"]


def test_sleep_that_wakes_before_anything_else_happens_is_over() -> None:
    run = begin(tree_of(sleep("nap"), task("b", "nap")))
    start_all(run)
    fresh = continued(run)

    settle(fresh, "nap")

    assert [each.task_id for each in start_all(fresh)] == ["b"]


def test_sleep_carried_over_is_cancelled_with_the_tree() -> None:
    run = begin(tree_of(sleep("nap")))
    start_all(run)
    fresh = continued(run)

    fresh.cancel("", NOW)

    assert (statuses(fresh), fresh.next_interrupt()) == ({"nap": "cancelled"}, "nap")


def test_snapshot_takes_few_bytes_per_task() -> None:
    tree = tree_of(*[task(f"t{at}", *[f"t{at - 1}"] * (at > 0)) for at in range(1001)])

    snapshot = take_snapshot(halfway(tree, {}, 1000))

    assert len(json.dumps(snapshot)) < 60 * 1000


def test_map_in_the_snapshot_of_an_old_engine_finds_what_failed_by_itself() -> None:
    run = begin(tree_of(task("m", for_each=[1, 2, 3], tolerate=1, max_in_flight=1)))
    for unit, answer in (("m[0]", "zero"), ("m[1]", fails())):
        [start] = start_all(run)
        run.ended(start.unit, outcome_of(answer), clock(run))
        assert start.unit == unit
    snapshot = take_snapshot(run)
    snapshot["maps"] = {"m": snapshot["maps"]["m"][:7]}
    fresh = begin(run.plan.tree)

    restore_snapshot(fresh, snapshot)
    start_all(fresh)

    assert fresh.maps["m"].undone == [1]
    unharmed = begin(run.plan.tree)
    snapshot["maps"] = {"m": [0, 1, 1, 0, 1, [], ["zero"]]}
    restore_snapshot(unharmed, snapshot)
    start_all(unharmed)
    assert unharmed.maps["m"].undone == []


def test_group_that_is_to_be_cancelled_is_so_after_a_continuation_too() -> None:
    run = begin(tree_of(group("g", "late"), task("late"), task("a", parent_id="g")))
    start_all(run)
    by_hand.cancel(run, "g", {}, NOW)
    settle(run, "a", CANCELLED)
    fresh = begin(run.plan.tree)
    snapshot = take_snapshot(run)

    restore_snapshot(fresh, snapshot)

    assert [*fresh.to_cancel] == ["g"]
    start_all(fresh)
    settle(fresh, "late")
    start_all(fresh)
    assert statuses(fresh)["g"] == "cancelled"


def test_wait_in_the_snapshot_of_an_old_engine_is_read_again() -> None:
    run = begin(tree_of(task("ok", executor="approval", inputs={"prompt": "go?", "timeout": 60})))
    start_all(run)
    snapshot = take_snapshot(run)
    snapshot["sleeping"] = {"ok": snapshot["sleeping"]["ok"][:2]}
    fresh = begin(run.plan.tree)

    restore_snapshot(fresh, snapshot)

    assert fresh.waits == run.waits
