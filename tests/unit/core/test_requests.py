from datetime import timedelta
from typing import Any

import pytest
from tests.unit.core.builders import (
    NOW,
    Document,
    approval,
    begin,
    clock,
    end,
    event,
    fails,
    start_all,
    statuses,
    task,
    tree_of,
)

from regrow.core import limits
from regrow.core.requests import (
    Approve,
    RequestRefused,
    SendEvent,
    check_approve,
    check_event,
    read_request,
)
from regrow.core.run import TreeRun
from regrow.core.snapshot import restore_snapshot, take_snapshot
from regrow.core.waits import Verdict


def begun(*tasks: Document, **head: Any) -> TreeRun:
    run = begin(tree_of(*tasks, **head))
    start_all(run)
    return run


def refused_approval(run: TreeRun, task_id: str = "ok", **said: Any) -> str:
    with pytest.raises(RequestRefused) as refused:
        check_approve(run, read_request(Approve, {"task_id": task_id, **said}))
    return str(refused.value)


def approve(run: TreeRun, task_id: str = "ok", **said: Any) -> bool:
    """Ask as the workflow does; tells whether it was new."""
    request = read_request(Approve, {"task_id": task_id, **said})
    is_new = check_approve(run, request)
    if is_new:
        run.answered(task_id, request.verdict("now"), clock(run))
    return is_new


def send(run: TreeRun, name: str, payload: Any = None) -> bool:
    request = read_request(SendEvent, {"event": name, "payload": payload})
    is_first = check_event(run, request)
    if is_first:
        run.event(request.event, request.payload, clock(run))
    return is_first


# --- reading


def test_request_needs_little() -> None:
    assert read_request(Approve, {"task_id": "ok"}) == Approve(task_id="ok")
    assert read_request(SendEvent, {"event": "paid"}) == SendEvent(event="paid")


def test_approval_is_a_verdict_with_its_hour() -> None:
    request = read_request(
        Approve, {"task_id": "ok", "approved": False, "by": "ann", "note": "dear", "result": [1]}
    )

    assert request.verdict("now") == Verdict(
        approved=False, by="ann", note="dear", result=[1], at="now"
    )


@pytest.mark.parametrize(
    ("model", "value", "message"),
    [
        (Approve, None, "the request: Input should be a valid dictionary or instance of Approve"),
        (Approve, "ok", "the request: Input should be a valid dictionary or instance of Approve"),
        (Approve, {}, "task_id: Field required"),
        (Approve, {"task_id": 5}, "task_id: Input should be a valid string"),
        (
            Approve,
            {"task_id": "ok", "approved": "yes"},
            "approved: Input should be a valid boolean",
        ),
        (Approve, {"task_id": "ok", "by": ""}, "by: String should have at least 1 character"),
        (Approve, {"task_id": "ok", "note": "x" * 1001}, "note: String should have at most 1000"),
        (Approve, {"task_id": "ok", "who": "ann"}, "who: Extra inputs are not permitted"),
        (SendEvent, {}, "event: Field required"),
        (SendEvent, {"event": ""}, "event: String should have at least 1 character"),
        (SendEvent, {"event": "x" * 201}, "event: String should have at most 200 characters"),
        (SendEvent, {"event": None}, "event: Input should be a valid string"),
        (SendEvent, {"event": "paid", "data": 1}, "data: Extra inputs are not permitted"),
    ],
)
def test_request_that_cannot_be_read_is_refused_in_one_line(
    model: type[Approve | SendEvent], value: Any, message: str
) -> None:
    with pytest.raises(RequestRefused) as refused:
        read_request(model, value)

    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


@pytest.mark.xfail(strict=True, reason="pydantic's JsonValue takes what JSON cannot hold")
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_number_that_json_cannot_hold_is_refused(number: float) -> None:
    with pytest.raises(RequestRefused):
        read_request(SendEvent, {"event": "paid", "payload": [number]})
    with pytest.raises(RequestRefused):
        read_request(Approve, {"task_id": "ok", "result": {"limit": number}})


@pytest.mark.xfail(strict=True, reason="the message names every level of the nesting")
def test_refusal_of_a_payload_that_is_nested_too_deep_is_short() -> None:
    deep: list[Any] = []
    for _ in range(300):
        deep = [deep]

    with pytest.raises(RequestRefused) as refused:
        read_request(SendEvent, {"event": "paid", "payload": deep})

    assert len(str(refused.value)) < 500


# --- approve


def test_approval_that_waits_can_be_answered() -> None:
    run = begun(approval("ok"), approval("no"))

    assert approve(run, "ok") is True
    assert approve(run, "no", approved=False, by="ann") is True
    assert statuses(run) == {"ok": "completed", "no": "failed"}


@pytest.mark.parametrize("approved", [True, False])
def test_same_answer_again_changes_nothing_the_other_one_is_refused(approved: bool) -> None:  # noqa: FBT001
    run = begun(approval("ok"))
    approve(run, approved=approved, by="ann")
    before = run.records["ok"].outcome

    assert approve(run, approved=approved, by="bob") is False
    assert run.records["ok"].outcome == before
    status = "completed" if approved else "failed"
    assert refused_approval(run, approved=not approved) == f"'ok' no longer waits: it is {status}"


def test_answer_that_time_has_given_is_not_a_persons() -> None:
    run = begun(approval("ok", timeout=5, on_timeout="approve"))
    run.woke("ok", NOW + timedelta(seconds=5))

    assert refused_approval(run) == "'ok' no longer waits: it is completed"


@pytest.mark.xfail(strict=True, reason="_said_before reads a result that may be left behind")
def test_same_answer_again_changes_nothing_also_after_a_continuation() -> None:
    run = begun(approval("ok"), task("a", {"id": "ok", "into": None}), task("b", "a"))
    approve(run, by="ann")
    fresh = begin(run.plan.tree)
    restore_snapshot(fresh, take_snapshot(run))

    assert approve(fresh, by="ann") is False


def test_unknown_task_is_refused() -> None:
    assert refused_approval(begun(approval("ok")), "okay") == "the tree has no task 'okay'"


@pytest.mark.parametrize(
    ("written", "executor"),
    [
        (task("a"), "work"),
        (event("a"), "wait_for_event"),
        ({"id": "a"}, "a"),
        (task("a", executor="approval", task_queue="go"), "approval"),
    ],
)
def test_what_is_no_approval_is_refused(written: Document, executor: str) -> None:
    run = begun(written)

    assert refused_approval(run, "a") == f"'a' is no approval but runs {executor}"


def test_approval_that_has_not_been_reached_is_refused() -> None:
    run = begun(task("a"), approval("ok", "a"))

    text = "'ok' does not wait yet; what it depends on still runs"
    assert refused_approval(run) == text
    end(run, "a")
    start_all(run)
    assert approve(run) is True


@pytest.mark.parametrize("approved", [True, False])
def test_approval_that_never_waits_is_refused_by_how_it_ended(approved: bool) -> None:  # noqa: FBT001
    run = begun(task("a"), approval("ok", "a"), approval("stopped"))
    end(run, "a", fails())
    start_all(run)
    run.cancel("", clock(run))

    assert "skipped" in refused_approval(run, "ok", approved=approved)
    assert "cancelled" in refused_approval(run, "stopped", approved=approved)


def test_approval_that_was_skipped_or_cancelled_was_not_answered() -> None:
    run = begun(task("a"), approval("ok", "a"), approval("stopped"))
    end(run, "a", fails())
    start_all(run)
    run.cancel("", clock(run))

    assert "answered" not in refused_approval(run, "ok")
    assert "answered" not in refused_approval(run, "stopped")


@pytest.mark.parametrize("inputs", [{"timeout": 5}, {"timeout": "soon"}])
def test_rejection_that_comes_too_late_is_refused(inputs: Document) -> None:
    run = begun(approval("ok", **inputs))
    run.woke("ok", NOW + timedelta(seconds=5))
    assert statuses(run) == {"ok": "failed"}

    refused_approval(run, approved=False)


def test_result_of_an_approval_has_a_limit() -> None:
    run = begun(approval("ok"))
    most = limits.MAX_EVENT_BYTES

    assert refused_approval(run, result="x" * (most - 1)) == "a result has at most 65,536 bytes"
    assert approve(run, result="x" * (most - 2)) is True


# --- send_event


def test_first_event_of_a_name_counts_and_the_same_again_changes_nothing() -> None:
    run = begun(event("paid"))

    assert send(run, "paid", 1) is True
    assert send(run, "paid", 2) is False
    assert run.events == {"paid": 1}
    assert statuses(run) == {"paid": "completed"}


def test_second_event_is_no_problem_however_large_it_is() -> None:
    run = begun(event("paid"))
    send(run, "paid", 1)

    assert send(run, "paid", "x" * limits.MAX_EVENT_BYTES) is False


def refused_event(run: TreeRun, name: str, payload: Any = None) -> str:
    with pytest.raises(RequestRefused) as refused:
        send(run, name, payload)
    return str(refused.value)


def test_payload_of_an_event_has_a_limit() -> None:
    run = begun(event("paid"))
    most = limits.MAX_EVENT_BYTES

    text = "a payload has at most 65,536 bytes, not 65,537"
    assert refused_event(run, "paid", "x" * (most - 1)) == text
    assert refused_event(run, "paid", "ä" * (most // 2)) == text.replace("537", "538")
    assert send(run, "paid", "x" * (most - 2)) is True


def test_tree_keeps_so_many_events_and_no_more() -> None:
    run = begun(event("paid"))
    for at in range(limits.MAX_EVENTS):
        assert send(run, f"e{at}") is True

    assert refused_event(run, "paid") == "the tree keeps at most 1,000 events"
    assert send(run, "e0") is False


def test_all_events_of_a_tree_have_a_limit() -> None:
    run = begun(event("paid"))
    for at in range(3):
        send(run, f"e{at}", "x" * (limits.MAX_EVENT_BYTES - 2))

    text = "the events of a tree have at most 262,144 bytes in all"
    assert refused_event(run, "paid", "x" * (limits.MAX_EVENT_BYTES - 2)) == text
    assert send(run, "paid", "x" * 1_000) is True


def test_wait_for_an_event_that_cannot_be_sent_fails() -> None:
    run = begun(event("e", event="x" * 201))

    assert statuses(run) == {"e": "failed"}
