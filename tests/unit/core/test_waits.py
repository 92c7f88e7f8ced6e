from datetime import timedelta
from typing import Any

import pytest
from tests.unit.core.builders import (
    NOW,
    Document,
    Script,
    approval,
    begin,
    begun,
    clock,
    continued,
    end,
    entry_of,
    event,
    fails,
    play,
    sleep,
    start_all,
    statuses,
    task,
    tree_of,
)

from regrow.core.result import moment
from regrow.core.run import TreeRun
from regrow.core.waits import Verdict
from regrow.core.wire import Status

LATER = NOW + timedelta(hours=1)


def answer(run: TreeRun, task_id: str, *, approved: bool = True, **said: Any) -> None:
    run.answered(task_id, Verdict(approved, at=moment(NOW), **said), clock(run))


def interrupts(run: TreeRun) -> list[str]:
    found: list[str] = []
    while (unit := run.next_interrupt()) is not None:
        found.append(unit)
    return found


# --- approvals


def test_approval_waits_for_a_person_without_an_end_and_without_a_slot() -> None:
    run = begun(approval("ok"), task("a"), task("b", "ok"), max_in_flight=1)

    assert statuses(run) == {"ok": "in_progress", "a": "in_progress", "b": "pending"}
    assert run.waits["ok"].until is None
    assert run.in_flight == 1
    assert run.records["ok"].started_at == NOW


@pytest.mark.parametrize(
    ("said", "result"),
    [
        ({}, {"by": None, "note": None}),
        ({"by": "ann", "note": "fine"}, {"by": "ann", "note": "fine"}),
        ({"result": {"limit": 5}}, {"by": None, "note": None, "result": {"limit": 5}}),
        ({"result": 0}, {"by": None, "note": None, "result": 0}),
    ],
)
def test_result_of_an_approved_one_says_who_when_and_what(said: Any, result: Any) -> None:
    run = begun(approval("ok", prompt="Ship it?"), task("b", "ok"))

    answer(run, "ok", **said)

    entry = entry_of(run, "ok")
    assert (entry["status"], entry["attempts"], entry["error"]) == ("completed", 0, None)
    assert entry["result"] == {"approved": True, "at": "2030-01-01T00:00:00.000+00:00", **result}
    assert [start.inputs for start in start_all(run)] == [{"ok": entry["result"]}]


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({}, "rejected"),
        ({"by": "ann"}, "rejected by ann"),
        ({"note": "too dear"}, "rejected: too dear"),
        ({"by": "ann", "note": "too dear"}, "rejected by ann: too dear"),
        ({"by": "ann", "result": 5}, "rejected by ann"),
    ],
)
def test_rejected_approval_fails_and_says_by_whom_and_why(said: Any, error: str) -> None:
    run = begun(approval("ok"), task("b", "ok"))

    answer(run, "ok", approved=False, **said)
    assert start_all(run) == []

    entry = entry_of(run, "ok")
    assert (entry["status"], entry["error"], entry["error_type"]) == ("failed", error, "rejected")
    assert entry["result"] is None
    assert entry["metadata"] == {
        "by": said.get("by"),
        "note": said.get("note"),
        "at": "2030-01-01T00:00:00.000+00:00",
    }
    assert (statuses(run)["b"], run.status) == ("skipped", Status.FAILED)


@pytest.mark.parametrize("on_timeout", [{}, {"on_timeout": "fail"}, {"on_timeout": None}])
def test_approval_that_nobody_answers_in_time_fails(on_timeout: Document) -> None:
    run = begun(approval("ok", timeout="1h", **on_timeout))
    assert run.waits["ok"].until == LATER

    run.woke("ok", LATER)

    entry = entry_of(run, "ok")
    assert (entry["status"], entry["error_type"]) == ("failed", "timeout_error")
    assert entry["error"] == "nobody answered within 1h"
    assert interrupts(run) == []


def test_approval_that_nobody_answers_in_time_may_count_as_approved() -> None:
    run = begun(approval("ok", timeout="1h", on_timeout="approve"))

    run.woke("ok", LATER)

    entry = entry_of(run, "ok")
    assert entry["status"] == "completed"
    assert entry["result"] | {"at": ""} == {
        "approved": True,
        "by": None,
        "note": None,
        "at": "",
        "timed_out": True,
    }


@pytest.mark.parametrize("on_timeout", ["approve", "reject"])
def test_answer_that_time_has_given_names_nobody_and_no_hour(on_timeout: str) -> None:
    """The hour is `finished_at`: server and workflow read it off clocks of their own."""
    run = begun(approval("ok", timeout="1h", on_timeout=on_timeout))

    run.woke("ok", LATER)

    entry = entry_of(run, "ok")
    said = entry["result"] or entry["metadata"]
    assert (said["by"], said["at"], said["timed_out"]) == (None, None, True)
    assert entry["finished_at"] == moment(LATER)


@pytest.mark.parametrize(("timeout", "shown"), [(5, "5s"), (0.5, "0.5s"), ("1m30s", "1m30s")])
def test_approval_that_nobody_answers_in_time_may_count_as_rejected(
    timeout: Any, shown: str
) -> None:
    run = begun(approval("ok", timeout=timeout, on_timeout="reject"))

    run.woke("ok", LATER)

    entry = entry_of(run, "ok")
    assert (entry["status"], entry["error_type"]) == ("failed", "rejected")
    assert entry["error"] == f"rejected: nobody answered within {shown}"
    assert entry["metadata"]["timed_out"] is True


def test_timer_of_an_answered_approval_is_no_longer_needed() -> None:
    run = begun(approval("ok", timeout="1h"))

    answer(run, "ok")
    assert interrupts(run) == ["ok"]
    run.woke("ok", LATER)  # it had fired a moment before

    assert statuses(run) == {"ok": "completed"}


def test_rejection_can_be_tolerated_and_asked_about() -> None:
    run = begun(approval("ok"), task("b", "ok?", when="tasks.ok.error_type == 'rejected'"))

    answer(run, "ok", approved=False)

    assert play(run) == ["b"]
    assert run.status is Status.COMPLETED


def test_approval_has_its_condition_and_its_edges() -> None:
    run = begun(
        approval("no") | {"when": False}, task("a"), approval("ok", "a"), approval("never", "no")
    )
    assert statuses(run) == {
        "no": "skipped",
        "a": "in_progress",
        "ok": "pending",
        "never": "skipped",
    }
    end(run, "a")
    start_all(run)

    assert [*run.waits] == ["ok"]


def test_what_an_approval_asks_may_come_from_other_tasks() -> None:
    run = begun(task("a"), approval("ok", "a", prompt="Pay ${{ tasks.a.result }}?", timeout=5))
    end(run, "a", 7)
    start_all(run)

    assert run.waits["ok"].prompt == "Pay 7?"


def test_natives_take_no_results_by_themselves() -> None:
    run = begun(task("a"), approval("ok", "a"), event("e", "a"), sleep("s", "a"))
    end(run, "a", {"timeout": "x"})
    start_all(run)

    assert [*run.waits] == ["ok", "e", "s"]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (approval("w", promt="?"), "approval takes prompt, timeout, on_timeout, not 'promt'"),
        (approval("w", prompt=5), "approval prompt must be text, not 5"),
        (approval("w", timeout="soon"), "approval timeout: write a duration"),
        (approval("w", timeout=-1), "approval timeout: a duration lies between"),
        (approval("w", timeout=True), "approval timeout: write a duration"),
        (approval("w", on_timeout="give up"), "'give up' is not one of fail, approve, reject"),
        (approval("w", prompt="${{ abs('x') }}"), "abs"),
        (approval("w", prompt="Pay ${{ inputs.none }}?"), "is null"),
        (event("w", event=None), "wait_for_event event must be text, not None"),
        (event("w", event=""), "wait_for_event event must be text, not ''"),
        (event("w", event=5), "wait_for_event event must be text, not 5"),
        (event("w", timeout="soon"), "wait_for_event timeout: write a duration"),
        (event("w", name="x"), "wait_for_event takes event, timeout, not 'name'"),
        (task("w", executor="wait_for_event"), "wait_for_event event must be text, not None"),
    ],
)
def test_wait_that_makes_no_sense_fails_as_an_expression(written: Document, message: str) -> None:
    run = begun(written, task("b", "w"), inputs={"none": None})

    entry = entry_of(run, "w")
    assert (entry["status"], entry["error_type"]) == ("failed", "expression_error")
    assert message in entry["error"]
    assert (entry["started_at"], statuses(run)["b"]) == (None, "skipped")


@pytest.mark.parametrize("on_timeout", [False, 0, "", []])
def test_nothing_but_the_three_words_says_what_time_answers(on_timeout: Any) -> None:
    run = begun(approval("ok", timeout="1h", on_timeout=on_timeout))

    assert entry_of(run, "ok")["error_type"] == "expression_error"


@pytest.mark.parametrize("bad", [approval("w", timeout="soon"), event("w", event=5)])
def test_wait_that_makes_no_sense_closes_the_tree_too(bad: Document) -> None:
    run = begun(approval("before"), bad, approval("after"), task("a"), on_failure="cancel")

    assert statuses(run) == {
        "before": "cancelled",
        "w": "failed",
        "after": "cancelled",
        "a": "cancelled",
    }
    assert (run.waits, interrupts(run)) == ({}, [])
    assert run.status is Status.FAILED


# --- events


def test_event_ends_the_wait_for_it_and_is_its_result() -> None:
    run = begun(event("paid", timeout="1h"), event("sent"), task("b", "paid"))

    assert run.event("paid", {"sum": 5}, clock(run)) is True

    entry = entry_of(run, "paid")
    assert (entry["status"], entry["result"]) == ("completed", {"sum": 5})
    assert entry["metadata"] == {"event": "paid"}
    assert (interrupts(run), statuses(run)["sent"]) == (["paid"], "in_progress")
    assert [start.inputs for start in start_all(run)] == [{"paid": {"sum": 5}}]


def test_event_that_comes_before_its_task_is_reached_is_kept() -> None:
    run = begun(task("a"), event("e", "a", event="paid"), task("b", "e"))
    assert run.event("paid", 5, clock(run)) is True

    end(run, "a")

    assert [start.unit for start in start_all(run)] == ["b"]
    entry = entry_of(run, "e")
    assert (entry["status"], entry["result"], entry["started_at"]) == ("completed", 5, None)
    assert interrupts(run) == []


def test_first_event_of_a_name_counts_for_all_waits_now_and_later() -> None:
    run = begun(
        *[event("one", event="paid"), event("two", event="paid"), task("a")],
        event("three", "a", event="paid"),
    )

    assert run.event("paid", "first", clock(run)) is True
    assert run.event("paid", "second", clock(run)) is False
    end(run, "a")
    start_all(run)

    results = [entry_of(run, each)["result"] for each in ("one", "two", "three")]
    assert results == ["first", "first", "first"]
    assert interrupts(run) == ["one", "two"]


def test_null_is_an_event_too() -> None:
    run = begun(event("e"))

    run.event("e", None, clock(run))

    assert (statuses(run), run.event("e", 1, clock(run))) == ({"e": "completed"}, False)


def test_event_that_nothing_waits_for_changes_nothing() -> None:
    run = begun(event("e"), approval("ok"), sleep("s"))

    run.event("other", 1, clock(run))

    assert {*statuses(run).values()} == {"in_progress"}


def test_event_that_does_not_come_in_time_fails_the_wait() -> None:
    run = begun(event("e", event="paid", timeout=60))
    assert run.waits["e"].until == NOW + timedelta(seconds=60)

    run.woke("e", LATER)

    entry = entry_of(run, "e")
    assert (entry["status"], entry["error_type"]) == ("failed", "timeout_error")
    assert entry["error"] == "no event 'paid' came within 60s"


def test_event_after_the_timeout_changes_nothing_but_is_kept() -> None:
    run = begun(event("e", event="paid", timeout=60), task("a"), event("f", "a", event="paid"))
    run.woke("e", LATER)

    assert run.event("paid", 1, clock(run)) is True
    end(run, "a")
    start_all(run)

    assert statuses(run) == {"e": "failed", "a": "completed", "f": "completed"}


def test_name_of_an_event_may_come_from_other_tasks() -> None:
    run = begun(task("a"), event("e", "a", event="paid-${{ tasks.a.result }}"))
    end(run, "a", 7)
    start_all(run)

    assert run.event("paid-7", 1, clock(run)) is True
    assert statuses(run)["e"] == "completed"


# --- the tree is closed


def test_cancel_ends_every_wait_and_its_timer() -> None:
    run = begun(sleep("s"), approval("ok", timeout="1h"), event("e"), task("b", "ok"))

    run.cancel("enough", clock(run))

    assert {*statuses(run).values()} == {"cancelled"}
    assert interrupts(run) == ["s", "ok", "e"]
    assert entry_of(run, "ok")["because"]["error"] == "enough"
    run.event("e", 1, clock(run))
    run.woke("ok", LATER)
    assert start_all(run) == []
    assert (run.waits, run.status) == ({}, Status.CANCELLED)
    assert {*statuses(run).values()} == {"cancelled"}


def test_rejection_makes_a_tree_give_up() -> None:
    run = begun(approval("ok"), sleep("s"), task("a"), event("e"), on_failure="cancel")

    answer(run, "ok", approved=False, by="ann")

    assert statuses(run) == {"ok": "failed", "s": "cancelled", "a": "in_progress", "e": "cancelled"}
    assert interrupts(run) == ["ok", "s", "a", "e"]
    assert entry_of(run, "e")["because"] == {
        "reason": "on_failure",
        "task_id": "ok",
        "root": "ok",
        "error": "rejected by ann",
        "error_type": "rejected",
    }


# --- on_failure: wait


@pytest.mark.parametrize("failure", ["task", "approval"])
def test_tree_that_waits_is_held_open_by_an_untolerated_failure(failure: str) -> None:
    run = begun(approval("ok"), task("a"), task("b", "a"), on_failure="wait")
    answer(run, "ok", approved=failure == "task")
    end(run, "a", fails() if failure == "task" else 1)
    play(run)

    assert (run.is_drained, run.is_held, run.is_finished) == (True, True, False)
    assert (run.status, run.outputs) == (Status.IN_PROGRESS, None)
    assert start_all(run) == []


def test_everything_possible_runs_before_a_tree_is_held() -> None:
    run = begun(task("bad"), task("a"), task("b", "a"), sleep("s"), on_failure="wait")
    end(run, "bad", fails())
    assert run.is_held is False
    end(run, "a")
    assert play(run) == ["b"]
    assert run.is_held is False

    run.woke("s", LATER)

    assert start_all(run) == []
    assert run.is_held is True


@pytest.mark.parametrize(
    ("tasks", "script"),
    [
        ([task("a"), task("b", "a")], {}),
        ([task("a", allow_failure=True)], {"a": fails()}),
        ([task("a"), task("b", "a?")], {"a": fails()}),
        ([task("a", when=False)], {}),
    ],
)
def test_tree_without_untolerated_failures_is_not_held(
    tasks: list[Document], script: Script
) -> None:
    run = begin(tree_of(*tasks, on_failure="wait"))

    play(run, script)

    assert (run.is_held, run.is_finished, run.status) == (False, True, Status.COMPLETED)


def test_held_tree_that_is_cancelled_stays_failed_and_keeps_what_it_has() -> None:
    run = begun(task("bad"), task("a"), on_failure="wait")
    end(run, "bad", fails())
    end(run, "a", 1)
    assert start_all(run) == []

    run.cancel("give it up", clock(run))

    assert start_all(run) == []
    assert (run.is_held, run.is_finished, run.status) == (False, True, Status.FAILED)
    assert run.outputs == {"a": 1}
    assert statuses(run) == {"bad": "failed", "a": "completed"}


def test_tree_that_waits_and_is_cancelled_before_a_failure_is_cancelled() -> None:
    run = begun(approval("ok"), on_failure="wait")

    run.cancel("", clock(run))

    assert start_all(run) == []
    assert run.status is Status.CANCELLED


def test_tree_that_waits_is_not_held_by_an_output_that_fails() -> None:
    run = begin(tree_of(task("a"), on_failure="wait", outputs={"x": "${{ abs('x') }}"}))
    play(run)

    assert (run.is_held, run.is_finished, run.status) == (False, True, Status.FAILED)


# --- continuation


def test_waits_are_carried_over_with_what_they_wait_for_and_keep_their_hour() -> None:
    run = begun(
        task("a"),
        sleep("s", "a", duration="${{ tasks.a.result.seconds }}"),
        approval("ok", "a", prompt="Pay ${{ tasks.a.result.sum }}?", timeout="1h"),
        event("e", "a", event="paid-${{ tasks.a.result.id }}"),
        task("b", "s", "ok", "e"),
    )
    end(run, "a", {"seconds": 90, "sum": 5, "id": 7})
    start_all(run)

    fresh = continued(run)

    assert fresh.waits == run.waits
    assert (statuses(fresh), fresh.counts) == (statuses(run), run.counts)
    assert start_all(fresh) == []
    fresh.woke("s", LATER)
    fresh.event("paid-7", 1, LATER)
    fresh.answered("ok", Verdict(by="ann"), LATER)
    assert [start.unit for start in start_all(fresh)] == ["b"]
    assert interrupts(fresh) == ["e", "ok"]


def test_events_are_carried_over_for_waits_to_come() -> None:
    run = begun(task("a"), task("b", "a"), event("e", "b", event="paid"))
    run.event("paid", {"sum": 5}, clock(run))
    end(run, "a")

    fresh = continued(run)
    play(fresh)

    assert entry_of(fresh, "e")["result"] == {"sum": 5}
    assert fresh.event("paid", 6, clock(fresh)) is False


def test_answer_to_an_approval_is_carried_over_for_whoever_reads_it() -> None:
    run = begun(approval("ok"), approval("no"), task("b", "ok", "no?"))
    answer(run, "ok", by="ann", result=5)
    answer(run, "no", approved=False, by="bob", note="dear")

    fresh = continued(run)

    for task_id in ("ok", "no"):
        assert fresh.records[task_id].outcome == run.records[task_id].outcome
    assert [start.inputs for start in start_all(fresh)] == [{"ok": entry_of(run, "ok")["result"]}]


def test_held_tree_is_still_held_after_a_continuation() -> None:
    run = begun(task("bad"), task("a"), task("b", "a"), on_failure="wait")
    end(run, "bad", fails())
    end(run, "a")

    fresh = continued(run)
    play(fresh)

    assert (fresh.is_held, fresh.status) == (True, Status.IN_PROGRESS)


def test_sleep_until_after_the_end_of_the_calendar_fails() -> None:
    run = begun(sleep("s", until="9999-12-31T23:59:59-12:00"))

    assert entry_of(run, "s")["error_type"] == "expression_error"
