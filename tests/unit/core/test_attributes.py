from typing import Any

import pytest
from tests.unit.core.builders import (
    CANCELLED,
    Document,
    approval,
    begin,
    begun,
    clock,
    end,
    event,
    fails,
    group,
    play,
    sleep,
    start_all,
    task,
    tree_of,
)

from regrow.core import by_hand
from regrow.core.attributes import MOST_TASKS, SEARCH_ATTRIBUTES, TreeAttributes
from regrow.core.run import TreeRun
from regrow.core.waits import Verdict


def values(run: TreeRun) -> dict[str, Any]:
    return TreeAttributes(run).values()


def status(run: TreeRun) -> str:
    return values(run)["TreeStatus"]


def failed(run: TreeRun) -> list[str]:
    return values(run)["TreeFailedTasks"]


def waiting_on(run: TreeRun) -> list[str]:
    return values(run)["TreeWaitingOn"]


def retry(run: TreeRun, task_id: str) -> None:
    by_hand.retry(run, task_id, {}, clock(run))
    start_all(run)


def test_every_attribute_has_a_value_and_a_type() -> None:
    assert values(begun(task("a"), name="nightly")) == {
        "TreeName": "nightly",
        "TreeStatus": "in_progress",
        "TreeFailedTasks": [],
        "TreeWaitingOn": [],
    }
    assert SEARCH_ATTRIBUTES == {
        "TreeName": "Keyword",
        "TreeStatus": "Keyword",
        "TreeFailedTasks": "KeywordList",
        "TreeWaitingOn": "KeywordList",
    }


@pytest.mark.parametrize(
    ("script", "ended"), [({}, "completed"), ({"a": fails()}, "failed")], ids=["well", "badly"]
)
def test_status_of_a_tree_that_has_ended_is_its_end(script: Any, ended: str) -> None:
    run = begin(tree_of(task("a")))
    play(run, script)

    assert status(run) == ended


def test_cancelled_tree_is_in_progress_until_what_ran_has_stopped() -> None:
    run = begun(task("a"), approval("ok"))

    run.cancel("enough", clock(run))

    assert (status(run), waiting_on(run)) == ("in_progress", [])
    end(run, "a", CANCELLED)
    start_all(run)
    assert status(run) == "cancelled"


@pytest.mark.parametrize("wait", [approval("w"), event("w")], ids=["approval", "event"])
def test_tree_waits_while_a_task_waits_for_people_though_others_run(wait: Document) -> None:
    run = begun(wait, task("a"))

    assert (status(run), waiting_on(run)) == ("waiting", ["w"])


def test_tree_goes_on_once_it_is_answered() -> None:
    run = begun(approval("ok"), task("a", "ok"))

    run.answered("ok", Verdict(), clock(run))

    assert (status(run), waiting_on(run)) == ("in_progress", [])


def test_sleep_is_no_wait_for_people() -> None:
    run = begun(sleep("nap"))

    assert (status(run), waiting_on(run)) == ("in_progress", [])


def test_tree_that_is_held_open_waits_for_whoever_mends_it() -> None:
    run = begun(task("a"), on_failure="wait")

    end(run, "a", fails())

    assert (status(run), failed(run), waiting_on(run)) == ("waiting", ["a"], [])


def test_paused_outweighs_waiting_whose_tasks_stay_named() -> None:
    run = begun(approval("ok"))

    run.paused = {"reason": "lunch"}

    assert (status(run), waiting_on(run)) == ("paused", ["ok"])


def test_failed_tasks_are_those_that_fail_the_tree_themselves() -> None:
    run = begun(
        group("g"), task("inside", parent_id="g"),
        task("allowed", allow_failure=True),
        task("primary"), task("fallback", "primary?"),
        task("next", "inside"),
    )  # fmt: skip

    for task_id in ("inside", "allowed", "primary"):
        end(run, task_id, fails())
    start_all(run)

    assert failed(run) == ["inside"]


def test_failed_tasks_follow_failures_and_retries() -> None:
    run = begun(task("a"), task("b"), task("c"))
    attributes = TreeAttributes(run)

    def now() -> Any:
        return attributes.values()["TreeFailedTasks"]

    end(run, "b", fails())
    assert now() == ["b"]
    end(run, "a", fails())
    assert now() == ["a", "b"]
    retry(run, "a")
    assert now() == ["b"]
    end(run, "c", fails())
    retry(run, "b")
    assert now() == ["c"]


def test_only_the_first_few_tasks_are_named() -> None:
    count = MOST_TASKS + 5
    run = begun(*(approval(f"w{at}") for at in range(count)), *(task(f"t{at}") for at in range(20)))
    assert waiting_on(run) == [f"w{at}" for at in range(MOST_TASKS)]

    many = begun(*(task(f"t{at}") for at in range(count)))
    attributes = TreeAttributes(many)
    for at in range(count):
        end(many, f"t{at}", fails())
        named = attributes.values()["TreeFailedTasks"]
        assert named == [f"t{each}" for each in range(min(at + 1, MOST_TASKS))]


def test_values_fit_into_what_a_server_takes() -> None:
    run = begun(*(approval(f"{at:02}".ljust(64, "x")) for at in range(99)))

    assert len(str(waiting_on(run))) < 2_000
