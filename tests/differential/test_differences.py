"""What the page about coming from apflow says differs, differs: each row of its table is a test."""

from pathlib import Path
from typing import Any

import pytest
from tests.differential.sides import Apflow, Array, order, run_here, seen
from tests.differential.trees import task

from regrow import Status, TreeClient
from regrow.core.problems import InvalidTree

pytestmark = pytest.mark.timeout(600)

SLOW = 0.4


def tree(name: str, /, **tasks: dict[str, Any]) -> Array:
    """Write a tree below `root`, from what `does` says of each task."""
    return [
        task(name, task_id, *said["edges"], do=said["do"], **_parent(task_id), **said["fields"])
        for task_id, said in tasks.items()
    ]


def does(*edges: str, fields: dict[str, Any] | None = None, **do: Any) -> dict[str, Any]:
    """Say what a task needs and does, and what else is written of it."""
    return {"edges": edges, "fields": fields or {}, "do": do}


def _parent(task_id: str) -> dict[str, str]:
    return {} if task_id in ("root", "other") else {"parent_id": "root"}


def at(priority: int, **do: Any) -> dict[str, Any]:
    return does(fields={"priority": priority}, **do)


# --- edges


async def test_an_optional_dependency_that_still_runs_is_awaited_only_here(
    apflow: Apflow, client: TreeClient
) -> None:
    array = tree("optional", root=does(), slow=does(answers=7, seconds=SLOW), quick=does("slow?"))

    there, here = apflow.run_one(array), await run_here(client, array)

    assert order(there.events).index("starts quick") < order(there.events).index("ends slow")
    assert seen(there.events)["quick"] == {}
    assert order(here.events)[-2:] == ["starts quick", "ends quick"]
    assert seen(here.events)["quick"] == {"slow": 7}


@pytest.mark.parametrize(
    ("how", "told"),
    [({"fails": "no"}, "reconciliation_required"), ({"raises": "no"}, "failed")],
    ids=["returned", "raised"],
)
async def test_what_needs_a_failed_task_waits_for_ever_there_and_is_skipped_here(
    how: dict[str, Any], told: str, apflow: Apflow, client: TreeClient
) -> None:
    array = tree(f"needs-{told}", root=does(**how), a=does("root!"), b=does("a!"))

    there, here = apflow.run_one(array), await run_here(client, array)

    assert there.statuses() == {"root": "failed", "a": "pending", "b": "pending"}
    assert there.told == [told]
    assert here.statuses() == {"root": "failed", "a": "skipped", "b": "skipped"}
    assert here.result.status is Status.FAILED
    because = here.result.tasks["b"].because
    assert because is not None
    assert (because.task_id, because.root, because.error) == ("a", "root", "no")


async def test_an_optional_dependency_that_failed_is_tolerated_only_here(
    apflow: Apflow, client: TreeClient
) -> None:
    array = tree("tolerated", root=does(), a=does(raises="no"), b=does("a?"))

    there, here = apflow.run_one(array), await run_here(client, array)

    assert there.statuses() == here.statuses()
    assert (there.told, here.result.status) == (["failed"], Status.COMPLETED)


# --- what executors answer


async def test_a_returned_failure_is_one_on_both_sides_and_here_all_its_keys_stay(
    apflow: Apflow, client: TreeClient
) -> None:
    array = tree("returned", root=does(fails="no route"))

    there, here = apflow.run_one(array), await run_here(client, array)

    assert there.tasks["root"]["status"] == here.statuses()["root"] == "failed"
    assert there.tasks["root"]["error"] == here.result.tasks["root"].error == "no route"
    assert here.result.tasks["root"].error_type == "broken"
    assert here.result.tasks["root"].metadata["field"] == "x"


async def test_what_is_raised_is_tried_once_there_and_three_times_here(
    apflow: Apflow, client: TreeClient
) -> None:
    array = tree("raised", root=does(raises="no"))
    quick = {"defaults": {"retry": {"initial_interval": "10ms"}}}

    there, here = apflow.run_one(array), await run_here(client, array, **quick)

    assert order(there.events) == ["starts root", "ends root"]
    assert order(here.events) == ["starts root", "ends root"] * 3
    assert here.result.tasks["root"].error_type == "ValueError"


async def test_a_result_of_none_is_a_result_on_both_sides(
    apflow: Apflow, client: TreeClient
) -> None:
    array = tree("none", root=does(returns=None), a=does("root!"))

    there, here = apflow.run_one(array), await run_here(client, array)

    assert seen(there.events)["a"] == seen(here.events)["a"] == {"root": None}


async def test_a_result_arrives_with_the_whole_answer_there_and_bare_here(
    apflow: Apflow, client: TreeClient
) -> None:
    array = tree("bare", root=does(answers=7), a=does("root!"))

    there, here = apflow.run_one(array), await run_here(client, array)

    assert seen(there.events)["a"] == {"root": {"status": "completed", "result": 7}}
    assert seen(here.events)["a"] == {"root": 7}


async def test_an_input_with_the_name_of_a_dependency_is_overwritten_there_and_kept_here(
    apflow: Apflow, client: TreeClient
) -> None:
    array = tree("inputs", root=does(returns=7), a=does("root!"))
    array[1]["inputs"]["root"] = "mine"

    there, here = apflow.run_one(array), await run_here(client, array)

    assert (seen(there.events)["a"], seen(here.events)["a"]) == ({"root": 7}, {"root": "mine"})


async def test_an_unknown_executor_is_a_failed_task_there_and_refused_here(
    apflow: Apflow, client: TreeClient
) -> None:
    array = tree("unknown", root=does(), a=does(), b=does())
    array[1]["schemas"] = {"method": "prober"}

    there = apflow.run_one(array)
    with pytest.raises(InvalidTree, match="did you mean 'probe'") as refused:
        await run_here(client, array)

    assert there.statuses() == {"root": "completed", "a": "failed", "b": "completed"}
    assert [problem.code for problem in refused.value.problems] == ["unknown_executor"]


# --- what starts when


async def test_priority_0_starts_after_1_there_and_first_here(
    apflow: Apflow, client: TreeClient
) -> None:
    array = tree("zero", root=does(), high=at(1), urgent=at(0), low=at(3))

    there, here = apflow.run_one(array), await run_here(client, array, max_in_flight=1)

    assert started(there.events, "root") == ["high", "urgent", "low"]
    assert started(here.events, "root") == ["urgent", "high", "low"]


async def test_priorities_1_to_3_order_what_is_ready_on_both_sides(
    apflow: Apflow, client: TreeClient
) -> None:
    array = tree("ready", root=does(), last=at(3), first=at(1), middle=at(2))

    there, here = apflow.run_one(array), await run_here(client, array, max_in_flight=1)

    in_order = ["first", "middle", "last"]
    assert started(there.events, "root") == started(here.events, "root") == in_order


async def test_what_is_less_urgent_waits_until_something_more_urgent_ends_only_there(
    apflow: Apflow, client: TreeClient
) -> None:
    array = tree("groups", root=does(), high=at(1, seconds=SLOW), normal=at(2))

    there, here = apflow.run_one(array), await run_here(client, array)

    assert order(there.events).index("ends high") < order(there.events).index("starts normal")
    assert order(here.events).index("starts normal") < order(here.events).index("ends high")


async def test_a_parent_runs_after_its_children_there_and_starts_with_them_here(
    apflow: Apflow, client: TreeClient
) -> None:
    array = tree("parent", root=does(), a=does(seconds=SLOW))

    there, here = apflow.run_one(array), await run_here(client, array)

    assert order(there.events).index("ends a") < order(there.events).index("starts root")
    assert order(here.events).index("starts root") < order(here.events).index("ends a")


async def test_a_second_root_never_runs_there_and_runs_here(
    apflow: Apflow, client: TreeClient
) -> None:
    array = tree("roots", root=does(), other=does())

    there, here = apflow.run_one(array), await run_here(client, array)

    assert (there.told, there.statuses()) == (
        ["completed"],
        {"root": "completed", "other": "pending"},
    )
    assert here.statuses() == {"root": "completed", "other": "completed"}


def started(events: list[Any], *without: str) -> list[str]:
    return [each for kind, each, *_ in events if kind == "starts" and each not in without]


# --- starts and ends


async def test_a_second_start_is_an_error_there_and_attaches_here(
    apflow: Apflow, client: TreeClient
) -> None:
    array = tree("twice", root=does(returns=7))

    there, here = apflow.run_one(array, starts=2), await run_here(client, array)
    again = await run_here(client, array)

    assert there.told[0] == "completed"
    assert "already exists" in there.told[1]
    assert again.result == here.result
    assert order(again.events) == ["starts root", "ends root"]


async def test_a_killed_process_leaves_its_task_in_progress_there(
    apflow: Apflow, tmp_path: Path
) -> None:
    database = tmp_path / "there.db"
    array = tree("killed", root=does(), a=does(kills=True))

    assert apflow.run([array], database) == []
    (after,) = apflow.run([tree("another", other=does())], database)

    assert after.statuses() == {"root": "pending", "a": "in_progress", "other": "completed"}
