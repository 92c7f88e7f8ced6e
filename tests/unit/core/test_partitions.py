"""Which tasks of a large tree are handed over together; here five tasks make a tree large."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.core.builders import (
    CANCELLED,
    NOW,
    Document,
    approval,
    fails,
    group,
    plan_of,
    sleep,
    start_all,
    statuses,
    subtree,
    task,
    tree_of,
)
from tests.unit.core.partitioning import LOST

from regrow.core import by_hand, limits
from regrow.core.outcome import Because, Outcome, completed, outcome_of
from regrow.core.record import Kind, Record, Start
from regrow.core.run import TreeRun
from regrow.core.snapshot import restore_snapshot, take_snapshot
from regrow.core.wire import Status


@pytest.fixture(autouse=True)
def small_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PARTITION_ABOVE", 4)
    monkeypatch.setattr(limits, "PARTITION_TASKS", 6)
    monkeypatch.setattr(limits, "PARTITION_LEAST", 2)


def large(*tasks: Document, **head: Any) -> TreeRun:
    """A run of a tree with a few tasks more than are of interest, which wait for an approval."""
    rest = [approval("last"), *(task(f"rest{at}", "last") for at in range(5))]
    tree = tree_of(*tasks, *rest, **head)
    return TreeRun(plan_of(tree), tree_id="tree", may_partition=True)


def ends(**said: Any) -> dict[str, Record]:
    """What a partition says of its tasks."""
    known = {each: of if isinstance(of, Outcome) else outcome_of(of) for each, of in said.items()}
    return {each: Record(of.status, of, NOW, NOW) for each, of in known.items()}


def handed_over(run: TreeRun) -> dict[str, tuple[str, ...]]:
    return {start.unit: start.tasks for start in start_all(run) if start.kind is Kind.PARTITION}


def tasks(count: int, **fields: Any) -> list[Document]:
    return [task(f"t{at}", **fields) for at in range(count)]


# --- what is handed over


def test_tasks_of_a_large_tree_are_handed_over_together() -> None:
    run = large(*tasks(8))

    assert handed_over(run) == {
        "~1": ("t0", "t1", "t2", "t3", "t4", "t5"),
        "~2": ("t6", "t7"),
    }


@pytest.mark.parametrize(("count", "may_partition"), [(4, True), (5, False)])
def test_small_tree_and_one_that_may_not_run_their_tasks_themselves(
    count: int,
    may_partition: bool,  # noqa: FBT001 - from the table
) -> None:
    plan = plan_of(tree_of(*tasks(count)))

    run = TreeRun(plan, tree_id="tree", may_partition=may_partition)

    assert [start.kind for start in start_all(run)] == [Kind.ACTIVITY] * count


def test_few_tasks_are_not_worth_it() -> None:
    run = large(task("a"), task("map", for_each=[1]), task("b", "map"))

    assert [start.unit for start in start_all(run)][1:] == ["a", "map[0]"]


def test_what_waits_for_nothing_else_comes_along() -> None:
    nap = sleep("nap")
    run = large(task("a"), task("b", "a"), task("c", "b", "a?"), nap, task("d", "nap", "a"))

    assert handed_over(run) == {"~1": ("a", "b", "c")}


def test_only_plain_activities_are_handed_over() -> None:
    run = large(
        task("a"),
        task("b", "a"),
        task("map", "a", for_each=[1]),
        subtree("tree", task("inside")),
        task("all", "a", executor="aggregate_results"),
        group("g", "a", children=[task("m", "a")]),
        task("after", "map"),
    )

    assert handed_over(run) == {"~1": ("a", "b", "m")}


def test_task_that_stands_in_line_is_not_lost_when_others_are_handed_over() -> None:
    run = large(*tasks(6), task("map", for_each=[1, 2]), task("one"))

    begun = [start.unit for start in start_all(run)]

    assert sorted(begun) == ["last", "map[0]", "map[1]", "one", "~1"]


def test_urgent_task_is_handed_over_first() -> None:
    run = large(*tasks(6), task("urgent", priority=0))

    assert handed_over(run)["~1"] == ("t0", "t1", "t2", "t3", "t4", "urgent")


# --- how much may be in flight


def test_partitions_share_what_may_be_in_flight() -> None:
    run = large(*tasks(40), max_in_flight=20)

    begun = [start for start in start_all(run) if start.kind is Kind.PARTITION]

    assert [start.share for start in begun] == [5, 5, 5, 5]
    assert run.partitions.load == 20


def test_one_partition_has_all_that_it_can_use_to_itself() -> None:
    (_, start) = start_all(large(*tasks(4), max_in_flight=20))

    assert start.share == 4


def test_partition_waits_until_there_is_room_for_it() -> None:
    run = large(task("map", for_each=[1, 2, 3], priority=0), *tasks(5), max_in_flight=4)
    assert [start.unit for start in start_all(run, 4)] == ["last", "map[0]", "map[1]", "map[2]"]
    (start,) = start_all(run)
    assert (start.unit, start.share) == ("~1", 1)


def test_what_has_no_room_yet_stays_in_line() -> None:
    run = large(*tasks(30), max_in_flight=8)
    assert list(handed_over(run)) == ["~1", "~2", "~3", "~4"]
    run.reported("~1", ends(t0=1, t1=1, t2=1, t3=1, t4=1), NOW)
    assert (run.partitions.load, handed_over(run)) == (7, {})

    run.reported("~1", ends(t5=1), NOW)

    assert list(handed_over(run)) == ["~5"]


def test_at_least_one_task_of_a_partition_may_be_in_flight() -> None:
    (_, start) = start_all(large(*tasks(5), max_in_flight=1))

    assert (start.unit, start.share) == ("~1", 1)


def test_ends_make_room_for_the_next_partition() -> None:
    run = large(*tasks(12), max_in_flight=1)
    assert list(handed_over(run)) == ["~1"]
    run.reported("~1", ends(t0=1, t1=1, t2=1, t3=1, t4=1), NOW)
    assert (run.partitions.load, handed_over(run)) == (1, {})

    run.reported("~1", ends(t5=1), NOW)

    assert (run.partitions.load, list(handed_over(run))) == (0, ["~2"])


# --- what comes back


def test_tasks_outside_go_on_as_soon_as_they_may() -> None:
    run = large(task("a"), task("b", "a"), task("map", "a", for_each=[1]))
    start_all(run)

    run.reported("~1", ends(a=7), NOW + timedelta(seconds=1))

    (start,) = start_all(run)
    assert (start.unit, start.inputs) == ("map[0]", {"a": 7})
    assert statuses(run)["a"] == "completed"
    assert (run.records["a"].started_at, run.records["a"].finished_at) == (NOW, NOW)


def test_failure_skips_what_requires_it_inside_and_outside() -> None:
    run = large(task("a"), task("b", "a"), task("map", "b", for_each=[1]))
    start_all(run)

    run.reported("~1", ends(a=fails(), b=Outcome(Status.SKIPPED)), NOW)

    assert [statuses(run)[each] for each in ("a", "b", "map")] == ["failed", "skipped", "skipped"]
    assert run.because("map") == Because("dependency", "b", "a", "broken", "execution_error")
    assert not run.partitions.holders


def test_task_that_was_skipped_meanwhile_is_not_taken_over_again() -> None:
    run = large(task("a"), task("b", "a"), task("c", "b?"))
    start_all(run)
    run.reported("~1", ends(a=fails()), NOW)

    run.reported("~1", ends(b=1, strange=2), NOW)

    assert statuses(run)["b"] == "skipped"


def test_tasks_that_a_partition_did_not_report_are_lost() -> None:
    run = large(task("a"), task("b", "a"), task("c"), task("d", "c?"))
    start_all(run)
    run.reported("~1", ends(c=1), NOW)

    run.partition_ended("~1", LOST, NOW)

    assert [statuses(run)[each] for each in "abcd"] == ["failed", "skipped", "completed", "failed"]
    assert run.records["a"].outcome == LOST
    assert (run.in_flight, run.partitions.open) == (0, {})


def test_partition_that_is_too_large_is_taken_apart() -> None:
    run = large(task("a"), task("b", "a"), *tasks(2))
    (unit,) = [start.unit for start in _starts(run) if start.kind is Kind.PARTITION]

    run.partition_refused(unit, NOW)

    assert [start.unit for start in start_all(run)] == ["a", "t0", "t1"]
    run.ended("a", completed(1), NOW)
    assert [start.unit for start in start_all(run)] == ["b"]


def _starts(run: TreeRun) -> Iterator[Start]:
    """Waits begin; whatever else starts is left to the test."""
    while (start := run.next_start(NOW)) is not None:
        if start.wait is not None:
            run.waiting(start, NOW)
        yield start
        if start.wait is None:
            return


def test_task_in_a_partition_is_not_begun_again_when_the_tree_looks_anew() -> None:
    run = large(*tasks(3), task("bad", for_each=[1]))
    start_all(run)
    run.ended("bad[0]", outcome_of(fails()), NOW)

    by_hand.retry(run, "bad", {}, NOW)

    assert [start.unit for start in start_all(run)] == ["bad[0]"]


def test_task_that_runs_by_itself_is_not_begun_in_a_partition_as_well() -> None:
    """What it waited for has failed, and is tried again while it runs."""
    run = large(task("bad", allow_failure=True), sleep("nap"), task("on", "bad?", "nap"))
    start_all(run)
    run.ended("bad", outcome_of(fails()), NOW)
    run.woke("nap", NOW)
    assert [start.unit for start in start_all(run)] == ["on"]

    by_hand.retry(run, "bad", {}, NOW)

    assert [start.unit for start in start_all(run)] == ["bad"]


# --- a tree that is closed


def test_closing_the_tree_cancels_its_partitions() -> None:
    run = large(task("a"), task("b", "a"), sleep("nap"), task("c", "nap"))
    start_all(run)

    run.cancel("enough", NOW)

    assert list(iter(run.next_interrupt, None)) == ["~1", "nap", "last"]
    assert [statuses(run)[each] for each in "abc"] == ["pending", "pending", "cancelled"]
    run.reported("~1", ends(a=1, b=CANCELLED), NOW)
    run.partition_ended("~1", LOST, NOW)
    assert [statuses(run)[each] for each in "ab"] == ["completed", "cancelled"]
    assert run.because("b") == Because("cancel", error="enough")


def test_tree_that_gives_up_skips_nothing_in_its_partitions() -> None:
    run = large(task("a"), task("b", "a"), task("c", "b"), on_failure="cancel")
    start_all(run)

    run.reported("~1", ends(a=fails()), NOW)

    assert [statuses(run)[each] for each in "abc"] == ["failed", "cancelled", "cancelled"]
    assert run.because("c") == Because("on_failure", "a", "a", "broken", "execution_error")


def test_task_in_a_partition_is_cancelled_there() -> None:
    run = large(*tasks(3))
    start_all(run)

    by_hand.cancel(run, "t1", {"reason": "stop"}, NOW)

    assert (run.next_interrupt(), run.next_interrupt()) == ("t1", None)
    assert statuses(run)["t1"] == "pending"
    run.reported("~1", ends(t1=CANCELLED), NOW)
    assert run.because("t1") == Because("by_hand", error="stop")


# --- looking inside


def test_glimpse_shows_how_a_task_stands_and_decides_nothing() -> None:
    run = large(task("a"), task("b", "a"), task("map", "a", for_each=[1]))
    start_all(run)
    assert run.partitions.running(run.records) == []

    run.glimpse("~1", "a", Record(Status.IN_PROGRESS, started_at=NOW))
    assert (statuses(run)["a"], run.records["a"].started_at) == ("in_progress", NOW)
    assert run.partitions.running(run.records) == ["a"]
    run.glimpse("~1", "a", ends(a=7)["a"])
    run.begin_anew(NOW)

    assert (statuses(run)["a"], run.task_view("a")["result"]) == ("completed", 7)
    assert start_all(run) == []


def test_glimpse_from_another_partition_shows_nothing() -> None:
    run = large(*tasks(2))
    start_all(run)

    run.glimpse("~2", "t0", Record(Status.IN_PROGRESS))

    assert statuses(run)["t0"] == "pending"


def test_result_that_a_report_leaves_out_is_known_from_a_glimpse() -> None:
    run = large(*tasks(3))
    start_all(run)
    left_out = Record(Status.COMPLETED, completed(), NOW, NOW, result_omitted=True)
    run.glimpse("~1", "t0", ends(t0=7)["t0"])
    run.glimpse("~1", "t2", left_out)

    run.reported("~1", {"t0": left_out, "t1": left_out, "t2": left_out}, NOW)
    assert [run.task_view(each)["result"] for each in ("t0", "t1", "t2")] == [7, None, None]
    assert [run.records[each].result_omitted for each in ("t0", "t1", "t2")] == [False, True, True]

    run.reported("~1", {"t1": left_out}, NOW)
    assert run.records["t1"].result_omitted
    run.reported("~1", ends(t1=8), NOW)
    assert (run.task_view("t1")["result"], run.records["t1"].result_omitted) == (8, False)


# --- a continuation


def test_fresh_run_goes_on_counting() -> None:
    run = large(*tasks(8))
    start_all(run)
    for unit in list(run.partitions.open):
        run.partition_ended(unit, LOST, NOW)
    fresh = TreeRun(run.plan, tree_id="tree", may_partition=True)

    restore_snapshot(fresh, take_snapshot(run))

    assert (fresh.partitions.begun, statuses(fresh)) == (2, statuses(run))
    assert "partitions" not in take_snapshot(large(*tasks(2)))


# --- what is left behind


def omitted(**said: Any) -> dict[str, Record]:
    """Ends of which a partition keeps the results to itself."""
    found = ends(**said)
    for record in found.values():
        record.result_omitted = True
    return found


def test_a_continuation_has_but_a_mark_for_ends_that_it_does_not_need() -> None:
    chained = [task(f"c{at}", *([f"c{at - 1}"] if at else [])) for at in range(4)]
    run = large(*chained, task("x", "c3"), task("y", "x", "last"))
    handed_over(run)
    run.reported("~1", omitted(c0=1, c1=1, c3=1), NOW)
    run.reported("~1", ends(c2=2, x=3), NOW)

    snapshot = take_snapshot(run)

    assert snapshot["behind"] == [[0, 4]]
    assert list(snapshot["ended"]) == ["x"]
    fresh = TreeRun(run.plan, tree_id="tree", may_partition=True)
    restore_snapshot(fresh, snapshot)
    assert statuses(fresh) == statuses(run)
    assert fresh.records["c1"].result_omitted


@pytest.mark.parametrize("asked_for", ["b", None])
def test_what_needs_a_result_that_was_left_behind_is_not_retried(asked_for: str | None) -> None:
    run = large(task("a"), task("b", "a"))
    handed_over(run)
    run.reported("~1", {**omitted(a=1), **ends(b=fails())}, NOW)

    with pytest.raises(by_hand.RequestRefused, match="the result of 'a', which 'b' needs"):
        by_hand.check_retry(run, asked_for)


def test_a_failure_that_needs_nothing_is_retried() -> None:
    run = large(task("a"), task("b", "a?"), task("c"))
    handed_over(run)
    run.reported("~1", ends(a=fails(), c=fails()), NOW)

    assert by_hand.check_retry(run, None)
    assert by_hand.check_retry(run, "c")


def test_a_task_in_the_hands_of_a_partition_is_not_skipped() -> None:
    run = large(task("a"), task("b", "a"))
    handed_over(run)

    with pytest.raises(by_hand.RequestRefused, match="in the hands of the child workflow"):
        by_hand.check_skip(run, "b", with_result=False)
