"""Why a task stands where it stands."""

from datetime import timedelta
from typing import Any

from tests.unit.core.builders import (
    CANCELLED,
    NOW,
    Document,
    approval,
    begin,
    continued,
    end,
    event,
    fails,
    group,
    sleep,
    start_all,
    task,
    tree_of,
)

from regrow.core import by_hand
from regrow.core.explain import explain
from regrow.core.outcome import Because, Outcome
from regrow.core.requests import Pause
from regrow.core.run import TreeRun
from regrow.core.wire import Status

ANN: dict[str, Any] = {"by": "ann", "reason": "enough"}


def started(*tasks: Document, **head: Any) -> TreeRun:
    run = begin(tree_of(*tasks, **head))
    start_all(run)
    return run


def test_pending_task_names_each_edge_that_is_open() -> None:
    run = started(task("a"), task("b"), task("d"), task("c", "a", "b?", "d"), task("e", "c"))
    end(run, "d")

    assert explain(run, "c") == [
        "it waits for 'a' (required), which is in progress",
        "it waits for 'b' (optional, but awaited), which is in progress",
    ]
    assert explain(run, "e") == ["it waits for 'c' (required), which is pending"]


def test_reader_of_a_task_further_up_says_so() -> None:
    run = started(
        task("slow"),
        task("quick"),
        task("middle", "slow", "quick"),
        task("reader", "middle?", inputs={"x": "${{ tasks.slow.result }}"}),
    )
    end(run, "quick", fails())

    assert explain(run, "reader") == ["it reads 'slow', further up, which must have ended"]


def test_group_names_what_is_open_in_it() -> None:
    members = [task(f"t{at}", parent_id="g") for at in range(7)]
    run = started(group("g"), *members)

    assert explain(run, "g") == [
        "it is a group, and 't0', 't1', 't2', 't3', 't4' and 2 more in it must have ended"
    ]


def test_ready_task_says_what_is_in_flight() -> None:
    run = started(task("a"), task("b"), max_in_flight=1)

    assert explain(run, "b") == ["it could start, but 1 are in flight, and max_in_flight is 1"]
    fresh = begin(run.plan.tree)
    assert explain(fresh, "b") == [
        "nothing keeps it from starting: the workflow has not come to it yet"
    ]


def test_paused_tree_says_who_paused_it_and_why() -> None:
    run = begin(tree_of(task("a")))
    Pause(by="ann", reason="enough").do(run, NOW)

    assert explain(run, "a") == ["the tree is paused by ann (enough): nothing starts"]


def test_waits_say_for_what_and_how_long() -> None:
    run = started(
        sleep("s"), approval("ok", prompt="go?", timeout="1h"), approval("any"), event("paid")
    )
    until = (NOW + timedelta(hours=1)).isoformat(timespec="seconds")

    assert explain(run, "s")[0].startswith("it sleeps until 2030")
    assert explain(run, "ok")[0].startswith("it waits until 2030")
    assert explain(run, "ok")[0].endswith('for a person\'s answer: "go?"')
    assert explain(run, "any") == ["it waits for a person's answer"]
    assert explain(run, "paid") == ["it waits for the event 'paid'"]
    assert until[:4] == "2030"


def test_map_counts_its_items() -> None:
    run = started(task("m", for_each=[1, 2, 3, 4], max_in_flight=2, tolerate=2))
    end(run, "m[0]")
    end(run, "m[1]", fails())
    start_all(run)

    assert explain(run, "m") == ["1 of 4 items completed, 1 failed, 2 run, 0 have not begun"]


def test_what_is_being_cancelled_says_so() -> None:
    run = started(task("a"))
    by_hand.cancel(run, "a", ANN, NOW)

    assert explain(run, "a") == [
        "it is being cancelled by hand: enough",
        "2030-01-01T00:00:00.000+00:00: cancel by ann (enough)",
    ]


def test_completed_task_says_how_often_it_tried() -> None:
    run = started(task("a"), task("b"), task("c"))
    end(run, "a", Outcome(Status.COMPLETED, attempts=3))
    end(run, "b", Outcome(Status.COMPLETED, attempts=1))
    end(run, "c")
    run.records["c"].reused, run.rerun_of = True, "old"

    assert explain(run, "a") == ["it completed at the attempt 3"]
    assert explain(run, "b") == ["it completed"]
    assert explain(run, "c") == ["it was kept from 'old'; nothing was executed for it"]


def test_failed_task_says_whether_that_matters() -> None:
    failure = Outcome(Status.FAILED, error="no disk", error_type="OSError", attempts=3)
    run = started(
        task("a", allow_failure=True),
        task("b"),
        task("c", "b?"),
        task("d"),
        on_failure="wait",
    )
    for task_id in ("a", "b", "d"):
        end(run, task_id, failure)
    start_all(run)
    end(run, "c")
    start_all(run)

    said = "it failed after 3 attempts: no disk (OSError)"
    assert explain(run, "a") == [said, "that is tolerated: allow_failure"]
    assert explain(run, "b") == [said, "that is tolerated: every edge to it is optional"]
    assert explain(run, "d") == [said, "the tree waits for somebody to retry or skip it"]


def test_skipped_task_follows_the_edges_to_where_it_began() -> None:
    run = started(task("a"), task("b", "a"), task("c", "b"), task("never", when="`false`"))
    end(run, "a", fails())

    assert explain(run, "c") == [
        "'c' requires 'b', which is skipped",
        "'b' requires 'a', which is failed",
        "'a': it failed: broken (execution_error)",
    ]
    assert explain(run, "never") == ["its condition was false: `false`"]


def test_long_chain_is_cut_short() -> None:
    chain = [task("t0"), *(task(f"t{at}", f"t{at - 1}") for at in range(1, 20))]
    run = started(*chain)
    end(run, "t0", fails())

    lines = explain(run, "t19")

    assert len(lines) == 7
    assert lines[5:] == ["… and so on up to 't0'", "'t0': it failed: broken (execution_error)"]


def test_skip_by_hand_says_who_and_why_also_after_a_continuation() -> None:
    run = started(task("a"), on_failure="wait")
    end(run, "a", fails())
    by_hand.skip(run, "a", Outcome(Status.SKIPPED, because=Because("by_hand")), ANN, NOW)

    for each in (run, continued(run)):
        assert explain(each, "a") == [
            "it was skipped by hand",
            "2030-01-01T00:00:00.000+00:00: skip by ann (enough)",
        ]


def test_result_that_a_person_gave_says_so() -> None:
    run = started(task("a"), on_failure="wait")
    end(run, "a", fails())
    by_hand.skip(run, "a", Outcome(Status.COMPLETED, 7), ANN, NOW)

    assert explain(run, "a")[0] == "a person gave it its result"


def test_cancelled_task_says_by_whom() -> None:
    by_person = started(task("a"), task("b"))
    by_hand.cancel(by_person, "a", ANN, NOW)
    end(by_person, "a", CANCELLED)
    end(by_person, "b", CANCELLED)
    whole = started(task("a"))
    whole.cancel("enough", NOW)
    end(whole, "a", CANCELLED)
    failure = started(task("a"), task("b"), on_failure="cancel")
    end(failure, "a", fails())
    end(failure, "b", CANCELLED)
    full = started(task("a"), task("b", "a"))
    full.give_up("the history is full", "history_full", NOW)  # type: ignore[arg-type]

    assert explain(by_person, "a")[0] == "it was cancelled by hand: enough"
    assert explain(by_person, "b") == ["it was cancelled from outside"]
    assert explain(whole, "a") == ["the tree was cancelled: enough"]
    assert explain(failure, "b") == ["'a' failed: broken, and on_failure is cancel"]
    assert explain(full, "b") == ["the tree gave up: the history is full"]
