"""What people do to single tasks, and what follows for the others."""

from typing import Any

import pytest
from tests.unit.core.builders import (
    CANCELLED,
    NOW,
    Document,
    approval,
    begin,
    continued,
    end,
    entry_of,
    fails,
    group,
    start_all,
    statuses,
    subtree,
    task,
    tree_of,
    undone,
)

from regrow.core import by_hand, limits
from regrow.core.by_hand import RequestRefused
from regrow.core.outcome import Because, Outcome, completed
from regrow.core.result import tree_result
from regrow.core.run import TreeRun
from regrow.core.wire import Status

ANN: dict[str, Any] = {"by": "ann", "reason": "the disk is full"}


def started(*tasks: Document, **head: Any) -> TreeRun:
    run = begin(tree_of(*tasks, **head))
    start_all(run)
    return run


def units(run: TreeRun) -> list[str]:
    return [start.unit for start in start_all(run)]


def cancel(run: TreeRun, task_id: str) -> list[str]:
    """Cancel a task; gives what is interrupted."""
    assert by_hand.check_cancel(run, task_id)
    by_hand.cancel(run, task_id, ANN, NOW)
    found: list[str] = []
    while (unit := run.next_interrupt()) is not None:
        found.append(unit)
    return found


def retry(run: TreeRun, task_id: str | None = None) -> list[str]:
    assert by_hand.check_retry(run, task_id)
    return by_hand.retry(run, task_id, ANN, NOW)


def skip(run: TreeRun, task_id: str, *result: Any) -> None:
    assert by_hand.check_skip(run, task_id, with_result=bool(result))
    outcome = completed(result[0]) if result else Outcome(Status.SKIPPED, because=_BY_HAND)
    by_hand.skip(run, task_id, outcome, ANN, NOW)


_BY_HAND = Because("by_hand")


def refused(check: Any, run: TreeRun, *said: Any, **more: Any) -> str:
    with pytest.raises(RequestRefused) as refusal:
        check(run, *said, **more)
    return str(refusal.value)


# --- cancel


def test_task_that_has_not_begun_is_cancelled_at_once() -> None:
    run = started(task("a"), task("b", "a"), task("c", "b"), task("d", "b?"))

    assert cancel(run, "b") == []

    assert statuses(run) == {
        "a": "in_progress",
        "b": "cancelled",
        "c": "skipped",
        "d": "pending",
    }
    assert entry_of(run, "b")["because"]["reason"] == "by_hand"
    assert entry_of(run, "b")["because"]["error"] == "the disk is full"
    assert run.records["b"].by_hand[0]["by"] == "ann"
    end(run, "a")
    assert units(run) == ["d"]
    end(run, "d")
    assert start_all(run) == []
    assert run.status is Status.FAILED


def test_task_that_runs_is_interrupted_and_cancelled_once_that_has_arrived() -> None:
    run = started(task("a"), task("b", "a"), task("c"))

    assert cancel(run, "a") == ["a"]
    assert statuses(run)["a"] == "in_progress"
    assert not by_hand.check_cancel(run, "a")
    end(run, "a", CANCELLED)

    assert statuses(run) == {"a": "cancelled", "b": "skipped", "c": "in_progress"}
    assert entry_of(run, "a")["because"]["reason"] == "by_hand"
    assert not by_hand.check_cancel(run, "a")
    end(run, "c")
    start_all(run)
    assert run.status is Status.FAILED


def test_task_that_completes_in_spite_of_the_cancel_is_completed() -> None:
    run = started(task("a"), task("b", "a"))

    cancel(run, "a")
    end(run, "a", 7)

    assert units(run) == ["b"]


def test_wait_is_cancelled_at_once_and_its_timer_with_it() -> None:
    run = started(approval("ok", timeout="1h"))

    assert cancel(run, "ok") == ["ok"]

    assert statuses(run) == {"ok": "cancelled"}


def test_map_starts_no_further_item_and_what_runs_is_interrupted() -> None:
    run = started(task("each", for_each=[1, 2, 3], max_in_flight=2), task("after", "each?"))
    end(run, "each[0]", "one")
    start_all(run)

    assert cancel(run, "each") == ["each[1]", "each[2]"]
    for unit in ("each[1]", "each[2]"):
        end(run, unit, CANCELLED)

    assert entry_of(run, "each")["metadata"]["completed"] == 1
    assert entry_of(run, "each")["because"]["reason"] == "by_hand"
    assert units(run) == ["after"]


def test_group_passes_it_down() -> None:
    run = started(
        group("g"),
        task("a", parent_id="g"),
        task("b", "a", parent_id="g"),
        task("c", parent_id="g"),
        task("after", "g"),
    )
    end(run, "c")

    assert cancel(run, "g") == ["a"]
    assert statuses(run)["b"] == "cancelled"
    end(run, "a", CANCELLED)
    start_all(run)

    assert statuses(run) == {
        "g": "cancelled",
        "a": "cancelled",
        "b": "cancelled",
        "c": "completed",
        "after": "skipped",
    }


def test_cancel_by_hand_under_on_failure_cancel_ends_the_tree() -> None:
    run = started(task("a"), task("b"), on_failure="cancel")

    assert cancel(run, "a") == ["a"]
    end(run, "a", CANCELLED)

    assert run.next_interrupt() == "b"
    assert entry_of(run, "a")["because"]["reason"] == "by_hand"


def test_what_has_ended_or_is_not_there_cannot_be_cancelled() -> None:
    run = started(task("alpha"), task("b"))
    end(run, "alpha")

    assert (
        refused(by_hand.check_cancel, run, "alpha") == "'alpha' has ended already: it is completed"
    )
    assert "did you mean 'alpha'" in refused(by_hand.check_cancel, run, "alpah")


# --- retry


def test_failed_task_runs_again_and_what_was_skipped_because_of_it_comes_back() -> None:
    run = started(task("a"), task("b", "a"), task("c", "b"), task("other"))
    end(run, "a", Outcome(Status.FAILED, error="broken", error_type="x", attempts=3))
    assert statuses(run) == {"a": "failed", "b": "skipped", "c": "skipped", "other": "in_progress"}

    assert retry(run, "a") == ["a"]

    assert statuses(run) == {
        "a": "pending",
        "b": "pending",
        "c": "pending",
        "other": "in_progress",
    }
    assert units(run) == ["a"]
    end(run, "a", Outcome(Status.COMPLETED, 1, attempts=2))
    assert entry_of(run, "a")["attempts"] == 5
    for unit in ("b", "c"):
        assert units(run) == [unit]
        end(run, unit)
    end(run, "other")
    start_all(run)
    assert run.status is Status.COMPLETED


def test_tree_that_is_held_goes_on_once_all_that_failed_is_retried() -> None:
    run = started(task("a"), task("b"), task("c", "a", "b"), task("d", "c?"), on_failure="wait")
    end(run, "a", fails())
    end(run, "b", fails())
    assert units(run) == ["d"]
    end(run, "d")
    start_all(run)
    assert run.is_held

    assert retry(run) == ["a", "b"]
    assert not run.is_held
    assert units(run) == ["a", "b"]
    end(run, "a")
    end(run, "b")
    assert units(run) == ["c"]  # and d, which ran, doesn't run again
    end(run, "c")
    start_all(run)
    assert run.is_finished
    assert run.status is Status.COMPLETED


def test_retried_task_can_fail_again() -> None:
    run = started(task("a"), task("b", "a"), on_failure="wait")
    end(run, "a", fails())
    retry(run)
    assert units(run) == ["a"]
    end(run, "a", fails("again"))
    start_all(run)

    assert run.is_held
    assert statuses(run) == {"a": "failed", "b": "skipped"}
    assert [note["action"] for note in run.records["a"].by_hand] == ["retry"]


def test_items_that_failed_run_again_and_the_others_keep_their_results() -> None:
    run = started(task("each", for_each=[1, 2, 3, 4], max_in_flight=3), on_failure="wait")
    end(run, "each[1]", fails())
    end(run, "each[0]", "zero")
    end(run, "each[2]", CANCELLED)
    start_all(run)
    assert statuses(run) == {"each": "failed"}

    for again in (run, continued(run)):
        retry(again)
        assert units(again) == ["each[1]", "each[2]", "each[3]"]
        for at in (1, 2, 3):
            end(again, f"each[{at}]", at)
        start_all(again)
        assert again.task_view("each")["result"] == ["zero", 1, 2, 3]
        assert again.status is Status.COMPLETED


def test_map_that_waits_for_a_slot_while_another_task_is_retried_goes_on() -> None:
    run = started(task("bad"), task("each", for_each=[1, 2, 3]), max_in_flight=2, on_failure="wait")
    end(run, "bad", fails())
    start_all(run)
    retry(run, "bad")

    end(run, "each[0]")
    assert units(run) == ["bad"]
    end(run, "each[1]")
    assert units(run) == ["each[2]"]


def test_group_that_failed_for_a_member_is_open_again() -> None:
    run = started(
        group("outer"),
        group("g", parent_id="outer"),
        task("a", parent_id="g"),
        task("after", "outer"),
        on_failure="wait",
    )
    end(run, "a", fails())
    start_all(run)
    assert statuses(run)["outer"] == "failed"

    assert retry(run, "g") == ["a"]
    assert set(statuses(run).values()) == {"pending"}
    assert units(run) == ["a"]
    end(run, "a")
    assert units(run) == ["after"]


def test_group_that_was_cancelled_is_open_again_with_what_is_in_it() -> None:
    run = started(group("g"), task("a", parent_id="g"), task("b"), on_failure="wait")
    cancel(run, "g")
    end(run, "a", CANCELLED)
    start_all(run)

    assert retry(run, "g") == ["a"]
    assert statuses(run) == {"g": "pending", "a": "pending", "b": "in_progress"}


def test_only_the_bad_members_of_a_group_are_retried() -> None:
    run = started(
        group("g"),
        group("inner", parent_id="g"),
        task("a", parent_id="inner"),
        task("b", parent_id="g"),
        on_failure="wait",
    )
    end(run, "a", fails())
    end(run, "b")
    start_all(run)

    assert retry(run, "g") == ["a"]
    assert statuses(run) == {"g": "pending", "inner": "pending", "a": "pending", "b": "completed"}


def test_failed_member_of_a_group_that_did_not_fail_for_it_leaves_the_group_alone() -> None:
    run = started(
        group("g"), task("a", parent_id="g", allow_failure=True), task("b"), on_failure="wait"
    )
    end(run, "a", fails())
    start_all(run)
    assert statuses(run)["g"] == "completed"

    retry(run, "a")

    assert statuses(run)["g"] == "completed"


def test_rejected_approval_waits_again() -> None:
    run = started(approval("ok", timeout="1h"), on_failure="wait")
    run.woke("ok", NOW)
    assert run.is_held

    retry(run, "ok")

    assert units(run) == ["ok"]
    assert "ok" in run.waits


def test_condition_is_asked_again_of_what_has_not_run() -> None:
    run = started(task("a"), task("b", "a?", when="tasks.a.status == 'completed'"), task("c"))
    end(run, "a", fails())
    start_all(run)
    assert statuses(run)["b"] == "skipped"
    retry(run, "a")

    assert statuses(run)["b"] == "skipped"  # it was decided


def test_what_runs_already_is_not_retried_twice() -> None:
    run = started(task("a"), on_failure="wait")
    end(run, "a", fails())
    retry(run, "a")

    assert not by_hand.check_retry(run, "a")


@pytest.mark.parametrize(
    ("task_id", "reason"),
    [
        ("good", "'good' is completed; a rerun can run it again"),
        ("after", "'after' did not fail: it was skipped because of 'bad'; retry that"),
        ("never", "'never' did not fail: its `when` was false"),
    ],
)
def test_what_did_not_fail_is_not_retried(task_id: str, reason: str) -> None:
    run = started(
        task("good"),
        task("bad"),
        task("after", "bad"),
        task("never", when="`false`"),
        task("long"),
    )
    end(run, "good")
    end(run, "bad", fails())

    assert refused(by_hand.check_retry, run, task_id) == reason


@pytest.mark.parametrize("retried", ["a", "g"])
def test_what_may_still_run_is_not_retried(retried: str) -> None:
    foreign = task("a", parent_id="g", task_queue="foreign")
    run = started(group("g"), foreign, task("other"), on_failure="wait")
    cancel(run, "a")
    end(run, "a", CANCELLED)
    start_all(run)

    assert "'a' has no heartbeat" in refused(by_hand.check_retry, run, retried)


def test_nothing_is_retried_where_nothing_failed() -> None:
    run = started(task("a"))

    assert refused(by_hand.check_retry, run, None) == "no task has failed"


def test_map_whose_results_are_too_large_to_carry_is_not_retried() -> None:
    run = started(task("each", for_each=[1, 2]), on_failure="wait")
    end(run, "each[0]", "x" * limits.MAX_RESULTS_BYTES)
    end(run, "each[1]", fails())
    start_all(run)

    fresh = continued(run)

    assert "rerun it instead" in refused(by_hand.check_retry, fresh, "each")


# --- skip


def test_failure_that_is_skipped_fails_the_tree_no_more() -> None:
    run = started(task("a"), task("b", "a"), task("c", "a?"), on_failure="wait")
    end(run, "a", fails())
    assert units(run) == ["c"]
    end(run, "c")
    start_all(run)

    skip(run, "a")
    start_all(run)

    assert statuses(run) == {"a": "skipped", "b": "skipped", "c": "completed"}
    assert entry_of(run, "b")["because"]["task_id"] == "a"
    assert run.status is Status.COMPLETED


def test_failure_that_is_given_a_result_lets_its_dependents_run() -> None:
    run = started(task("a"), task("b", "a"), on_failure="wait")
    end(run, "a", fails())

    skip(run, "a", {"n": 7})

    [start] = start_all(run)
    assert start.inputs == {"a": {"n": 7}}
    assert statuses(run) == {"a": "completed", "b": "in_progress"}
    assert not by_hand.check_skip(run, "a", with_result=True)


def test_null_is_a_result_too() -> None:
    run = started(task("a"), task("b", "a"), on_failure="wait")
    end(run, "a", fails())

    skip(run, "a", None)

    assert units(run) == ["b"]


def test_task_that_has_not_begun_can_be_skipped() -> None:
    run = started(task("a"), task("b", "a"), task("c", "b"), task("d", "b?"))

    skip(run, "b")
    end(run, "a")

    assert units(run) == ["d"]
    assert statuses(run)["c"] == "skipped"


def test_skipped_task_can_be_given_a_result_while_what_it_needed_has_failed() -> None:
    run = started(task("a"), task("b", "a"), task("c", "b"), on_failure="wait")
    end(run, "a", fails())

    skip(run, "b", 1)

    for each in (run, continued(run)):
        assert units(each) == ["c"]
        end(each, "c")
        start_all(each)
        assert each.is_held


def test_wait_can_be_skipped() -> None:
    run = started(approval("ok"), task("b", "ok"))

    skip(run, "ok", {"approved": True})

    assert run.next_interrupt() == "ok"
    assert units(run) == ["b"]


def test_what_somebody_completed_is_not_undone() -> None:
    run = started(undone("a"), undone("b", "a"), task("c", "b"), on_failure="wait")
    end(run, "a", fails())
    skip(run, "a", 1)
    assert units(run) == ["b"]
    end(run, "b")
    assert units(run) == ["c"]
    end(run, "c", fails())
    run.cancel("", NOW)

    assert units(run) == ["b~compensate"]
    end(run, "b~compensate")
    assert units(run) == []


def test_skipping_can_be_taken_back() -> None:
    run = started(task("a"), task("b", "a"), on_failure="wait")
    end(run, "a", fails())
    skip(run, "a")
    assert retry(run, "a") == ["a"]
    assert statuses(run) == {"a": "pending", "b": "pending"}


@pytest.mark.parametrize(
    ("task_id", "reason"),
    [
        ("g", "'g' is a group; skip the tasks in it"),
        ("runs", "'runs' is running; cancel it first"),
        ("done", "'done' is completed"),
    ],
)
def test_what_cannot_be_skipped(task_id: str, reason: str) -> None:
    run = started(group("g"), task("runs", parent_id="g"), task("done"))
    end(run, "done")

    assert refused(by_hand.check_skip, run, task_id, with_result=False) == reason


# --- when it is too late


def test_nothing_is_done_by_hand_to_a_tree_that_is_ending() -> None:
    run = started(undone("a"), task("b", "a"))
    end(run, "a")
    start_all(run)
    end(run, "b", fails())
    start_all(run)
    gave_up = started(task("a"), task("b"), on_failure="cancel")
    end(gave_up, "a", fails())
    cancelled = started(task("a"))
    cancelled.cancel("", NOW)

    assert "is being undone" in refused(by_hand.check_retry, run, "b")
    assert "gave up at a failure" in refused(by_hand.check_retry, gave_up, None)
    assert "was cancelled" in refused(by_hand.check_cancel, cancelled, "a")


# --- over a continuation


def test_what_was_done_by_hand_survives_a_continuation() -> None:
    run = started(
        group("g", "late"),
        task("late"),
        task("a", parent_id="g"),
        task("bad"),
        task("sub", "bad"),
        on_failure="wait",
    )
    end(run, "bad", Outcome(Status.FAILED, error="broken", error_type="x", attempts=3))
    retry(run, "bad")
    cancel(run, "g")
    end(run, "a", CANCELLED)
    end(run, "late")
    run.paused = {"by": "ann", "reason": None, "at": "now"}

    fresh = continued(run)

    assert start_all(fresh) == []
    assert fresh.paused == run.paused
    fresh.paused = None
    assert units(fresh) == ["bad"]
    assert statuses(fresh)["g"] == "cancelled"
    end(fresh, "bad", Outcome(Status.COMPLETED, 1, attempts=1))
    assert entry_of(fresh, "bad")["attempts"] == 4
    assert fresh.records["a"].by_hand == run.records["a"].by_hand


def test_only_the_last_notes_are_kept() -> None:
    run = started(task("a"), on_failure="wait")
    for _ in range(12):
        start_all(run)
        end(run, "a", fails())
        retry(run, "a")

    assert len(run.records["a"].by_hand) == 10


def test_sub_tree_is_interrupted_as_one() -> None:
    run = started(subtree("s", task("x")))

    assert cancel(run, "s") == ["s"]
    end(run, "s", CANCELLED)
    start_all(run)
    assert tree_result(run)["status"] == "failed"
