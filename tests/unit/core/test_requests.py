from datetime import timedelta
from typing import Any

import pytest
from tests.unit.core.builders import (
    CANCELLED,
    NOW,
    Document,
    approval,
    begin,
    begun,
    clock,
    continued,
    end,
    entry_of,
    event,
    fails,
    start_all,
    statuses,
    task,
    tree_of,
    undone,
)

from regrow.core import limits
from regrow.core.outcome import completed
from regrow.core.record import Record
from regrow.core.requests import (
    REQUESTS,
    Approve,
    RequestRefused,
    SendEvent,
    read_request,
)
from regrow.core.result import moment, status_summary, tree_result
from regrow.core.run import TreeRun
from regrow.core.wire import Status

HOUR = moment(NOW)


def refused_approval(run: TreeRun, task_id: str = "ok", **said: Any) -> str:
    with pytest.raises(RequestRefused) as refused:
        read_request(Approve, {"task_id": task_id, **said}).check(run)
    return str(refused.value)


def approve(run: TreeRun, task_id: str = "ok", **said: Any) -> bool:
    """Ask as the workflow does; tells whether it was new."""
    request = read_request(Approve, {"task_id": task_id, **said})
    is_new = task_id in run.waits
    request.do(run, clock(run))
    return is_new


def send(run: TreeRun, name: str, payload: Any = None) -> bool:
    request = read_request(SendEvent, {"event": name, "payload": payload})
    return request.do(run, clock(run))["first"] is True


# --- reading


def test_request_needs_little() -> None:
    assert read_request(Approve, {"task_id": "ok"}) == Approve(task_id="ok")
    assert read_request(SendEvent, {"event": "paid"}) == SendEvent(event="paid")


@pytest.mark.parametrize(
    ("model", "value", "message"),
    [
        (Approve, None, "task_id: Field required"),
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
        (Approve, {"task_id": "ok", "who": "ann"}, "there is no field 'who'; it takes task_id"),
        (SendEvent, {}, "event: Field required"),
        (SendEvent, {"event": ""}, "event: String should have at least 1 character"),
        (SendEvent, {"event": "x" * 201}, "event: String should have at most 200 characters"),
        (SendEvent, {"event": None}, "event: Input should be a valid string"),
        (SendEvent, {"event": "paid", "data": 1}, "there is no field 'data'"),
    ],
)
def test_request_that_cannot_be_read_is_refused_in_one_line(
    model: type[Approve | SendEvent], value: Any, message: str
) -> None:
    with pytest.raises(RequestRefused) as refused:
        read_request(model, value)

    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "value", [float("nan"), [1, float("inf")], {"a": [{"b": float("-inf")}], "c": 1}]
)
def test_number_that_json_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(RequestRefused) as event_refused:
        read_request(SendEvent, {"event": "paid", "payload": value})
    with pytest.raises(RequestRefused) as answer_refused:
        read_request(Approve, {"task_id": "ok", "result": value})

    assert str(event_refused.value) == "payload: a number that JSON cannot hold"
    assert str(answer_refused.value) == "result: a number that JSON cannot hold"


def lists(depth: int, inside: Any = 1) -> Any:
    return inside if depth == 0 else [lists(depth - 1, inside)]


def test_payload_may_be_nested_and_the_refusal_of_one_too_deep_is_short() -> None:
    most = limits.MAX_NESTING
    read_request(SendEvent, {"event": "paid", "payload": lists(most)})

    for depth in (most + 1, 300):
        with pytest.raises(RequestRefused) as refused:
            read_request(SendEvent, {"event": "paid", "payload": lists(depth)})
        assert str(refused.value) == "payload: nested more than 100 deep"


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


def answered(*, approved: bool) -> TreeRun:
    """An approval, answered, whose result nothing will read."""
    optional = {"id": "ok", "required": False, "into": None}
    run = begun(approval("ok"), task("a", optional), task("b", "a"))
    Approve(task_id="ok", approved=approved, by="ann").do(run, NOW)
    return run


def test_result_that_is_no_answer_was_said_by_nobody() -> None:
    run = begin(tree_of(approval("ok")))
    run.restore("ok", Record(Status.COMPLETED, completed({"n": 1}), NOW, NOW))
    run.begin_anew(NOW)

    assert refused_approval(run) == "'ok' no longer waits: it is completed"


@pytest.mark.parametrize("approved", [True, False])
def test_same_answer_again_changes_nothing_also_after_a_continuation(approved: bool) -> None:  # noqa: FBT001
    fresh = continued(answered(approved=approved))

    assert fresh.records["ok"].result_omitted is approved
    assert approve(fresh, approved=approved, by="bob") is False
    assert "no longer waits" in refused_approval(fresh, approved=not approved)


@pytest.mark.parametrize("approved", [True, False])
def test_answer_that_is_told_is_the_recorded_one_not_the_one_given_again(approved: bool) -> None:  # noqa: FBT001
    run = answered(approved=approved)
    again = Approve(task_id="ok", approved=approved, by="bob", note="too late", result=5)

    assert again.do(run, clock(run)) == {
        "task_id": "ok",
        "approved": approved,
        "by": "ann",
        "at": HOUR,
    }


def test_answer_that_a_continuation_left_behind_is_told_without_its_name_and_hour() -> None:
    asked = Approve(task_id="ok", by="bob")
    fresh = continued(answered(approved=True))
    rejected = continued(answered(approved=False))
    no = Approve(task_id="ok", approved=False)

    told = {"task_id": "ok", "approved": True, "by": None, "at": None}
    assert asked.do(fresh, clock(fresh)) == told
    told = {"task_id": "ok", "approved": False, "by": "ann", "at": HOUR}
    assert no.do(rejected, clock(rejected)) == told


def test_unknown_task_is_refused() -> None:
    told = "the tree has no task 'okay'; did you mean 'ok'?"

    assert refused_approval(begun(approval("ok")), "okay") == told


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

    assert refused_approval(run, result="x" * (most - 1)) == (
        "a result has at most 65,536 bytes, not 65,537"
    )
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


# --- what is done to the tree and its tasks


def ask(run: TreeRun, name: str, **said: Any) -> dict[str, Any]:
    answer: dict[str, Any] = read_request(REQUESTS[name], said).do(run, NOW)
    return answer


def test_nothing_starts_in_a_paused_tree_until_it_is_resumed() -> None:
    run = begun(task("a"), task("b", "a"), approval("ok", timeout="1h"))

    paused = ask(run, "pause", by="ann", reason="the disk is full")
    assert paused == {"paused": True, "by": "ann", "reason": "the disk is full", "at": HOUR}
    end(run, "a")
    run.woke("ok", NOW)
    assert start_all(run) == []
    assert statuses(run) == {"a": "completed", "b": "pending", "ok": "failed"}
    assert ask(run, "pause", by="bob") == paused

    assert ask(run, "resume") == {"paused": False}
    assert ask(run, "resume") == {"paused": False}
    assert [start.unit for start in start_all(run)] == ["b"]


def test_pause_is_in_what_the_tree_answers() -> None:
    run = begun(task("a"))
    ask(run, "pause", by="ann")
    assert tree_result(run)["paused"] == {"by": "ann", "reason": None, "at": HOUR}
    assert status_summary(run)["paused"] is True
    run.rerun_of = "old"
    run.records["a"].reused = True
    assert tree_result(run)["rerun_of"] == "old"
    assert entry_of(run, "a")["reused"] is True


def test_paused_tree_does_not_end() -> None:
    run = begun(task("a"))
    ask(run, "pause")
    end(run, "a")
    start_all(run)
    assert run.status is Status.IN_PROGRESS

    ask(run, "resume")
    start_all(run)
    assert run.status is Status.COMPLETED


def test_cancel_ends_a_pause() -> None:
    run = begun(undone("a"), task("b", "a"))
    ask(run, "pause")
    end(run, "a")
    run.cancel("", NOW)

    assert [start.unit for start in start_all(run)] == ["a~compensate"]
    with pytest.raises(RequestRefused, match="was cancelled and is ending"):
        ask(run, "pause")


def test_task_is_cancelled_retried_and_skipped_by_request() -> None:
    run = begun(task("a"), task("b"), task("c", "a", "b"), on_failure="wait")

    assert ask(run, "cancel_task", task_id="a") == {"task_id": "a", "status": "in_progress"}
    assert ask(run, "cancel_task", task_id="a") == {"task_id": "a", "status": "in_progress"}
    end(run, "a", CANCELLED)
    end(run, "b", fails())
    assert ask(run, "retry_task") == {"retried": ["b"], "count": 1}
    assert ask(run, "retry_task", task_id="b") == {"retried": [], "count": 0}
    told = {"task_id": "a", "status": "completed"}
    assert ask(run, "skip_task", task_id="a", result=None, by="ann") == told
    assert ask(run, "skip_task", task_id="a", result=None) == told
    assert entry_of(run, "a")["metadata"] == {"by": "ann", "reason": None}
    assert ask(run, "skip_task", task_id="b") == {"task_id": "b", "status": "skipped"}
    assert entry_of(run, "b")["because"]["reason"] == "by_hand"


@pytest.mark.parametrize(
    ("name", "said", "reason"),
    [
        ("pause", {"why": "x"}, "there is no field 'why'; it takes by, reason"),
        ("cancel_task", {}, "task_id: Field required"),
        ("cancel_task", {"task_id": "x"}, "the tree has no task 'x'"),
        ("skip_task", {"task_id": "a", "result": "x" * 70_000}, "a result has at most"),
        ("retry_task", {}, "no task has failed"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(
    name: str, said: dict[str, Any], reason: str
) -> None:
    run = begun(task("a"))

    with pytest.raises(RequestRefused) as refused:
        read_request(REQUESTS[name], said).check(run)

    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)
