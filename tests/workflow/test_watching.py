"""What is seen of a tree by whoever follows it, or has only its histories."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory
from tests.workflow.test_fold_agrees import reset

from regrow import Status, TaskContext, executor_register
from regrow.client import Attempt, Change, TreeClient, TreeHandle, fold, watching
from regrow.client.watching import Seen, first_event
from regrow.core import limits
from regrow.core.problems import InvalidTree
from regrow.embedded import EmbeddedServer
from regrow.testing import worker_env

Document = dict[str, Any]
BROKEN: dict[str, bool] = {}
"""What fails just now."""
HISTORIES = Path(__file__).parents[1] / "replay" / "histories"


@pytest.fixture
async def trees(server: EmbeddedServer) -> AsyncGenerator[TreeClient]:
    async with worker_env(server.client, flaky, slow, act) as client:
        yield client


def task(id: str, *after: str, **fields: Any) -> Document:
    return {"id": id, "executor": id, "dependencies": list(after), **fields}


def approval(id: str, *after: str) -> Document:
    return {"id": id, "executor": "approval", "dependencies": list(after)}


def tree(*tasks: Document, **head: Any) -> Document:
    return {"name": "watched", "tasks": list(tasks), **head}


# --- downloaded histories


def downloaded(name: str) -> list[HistoryEvent]:
    text = (HISTORIES / f"{name}.json").read_text()
    return list(WorkflowHistory.from_json(name, text).events)


def test_downloaded_history_tells_how_a_tree_ended_without_a_server() -> None:
    result = fold("fails", downloaded("a_required_failure_skips_dependents"))

    assert (result.tree_id, result.status) == ("fails", Status.FAILED)
    assert [task.status for task in result.tasks.values()] == [
        "failed",
        "skipped",
        "skipped",
        "completed",
    ]


def test_histories_of_continued_runs_are_read_one_after_the_other() -> None:
    name = "waits_and_maps_are_carried_on"
    runs = [downloaded(f"{name}.run{at}") for at in range(1, 5)]
    half, whole = (
        fold(name, [event for run in part for event in run]) for part in (runs[:2], runs)
    )

    assert (half.status, whole.status) == (Status.IN_PROGRESS, Status.FAILED)
    assert whole.counts == {**dict.fromkeys(whole.counts, 0), "completed": 4, "failed": 1}


def test_downloaded_history_of_a_bad_document_is_refused() -> None:
    with pytest.raises(InvalidTree, match="no task 'nowhere'"):
        fold("bad", downloaded("a_bad_document_fails_at_once"))


# --- attempts and progress


@executor_register(retry={"maximum_attempts": 3, "initial_interval": "3s"})
async def flaky(inputs: Document, context: TaskContext) -> int:
    if context.attempt < 3:
        raise OSError("no disk")
    return context.attempt


@executor_register(heartbeat_timeout="3s")
async def slow(inputs: Document, context: TaskContext) -> None:
    for at in range(inputs.get("rows", 6)):
        context.progress(at, 60, "rows")
        await asyncio.sleep(1)


@executor_register()
async def act(inputs: Document, context: TaskContext) -> Any:
    await asyncio.sleep(inputs.get("seconds", 0))
    if inputs.get("fail") or BROKEN.get(f"{context.tree_id}/{context.task_id}"):
        return {"status": "failed", "error": "it broke", "error_type": "broken"}
    return inputs.get("value")


def attempts_of(changes: list[Change], unit: str) -> list[Attempt]:
    return [each.attempt for each in changes if each.attempt and each.attempt.unit == unit]


def statuses_of(changes: list[Change]) -> list[tuple[str | None, str]]:
    return [_entry(each) for each in changes if each.attempt is None]


def _entry(change: Change) -> tuple[str | None, str]:
    return change.task_id, change.status


def of(changes: list[Change], task_id: str) -> list[str]:
    return [status for each, status in statuses_of(changes) if each == task_id]


async def test_each_further_attempt_is_seen_once_with_the_error_before(trees: TreeClient) -> None:
    each = task("each", executor="flaky", for_each=[1, 2])
    handle = await trees.start(tree(task("flaky"), each))
    changes = [change async for change in handle.watch()]

    for unit in ("flaky", "each[0]", "each[1]"):
        seen = attempts_of(changes, unit)
        assert [attempt.attempt for attempt in seen] == [2, 3]
        assert {attempt.error for attempt in seen} == {"no disk (OSError)"}
        assert {attempt.maximum_attempts for attempt in seen} == {3}
    assert all(change.is_retry for change in changes if change.attempt)
    assert {change.status for change in changes if change.attempt} == {Status.IN_PROGRESS}
    assert statuses_of(changes)[-1] == (None, Status.COMPLETED)


async def test_progress_is_seen_as_it_changes(trees: TreeClient) -> None:
    handle = await trees.start(tree(task("slow")))
    changes = [change async for change in handle.watch()]

    said = [attempt.progress for attempt in attempts_of(changes, "slow")]
    done = [progress["done"] for progress in said]
    assert done
    assert done == sorted(set(done))
    assert (said[0]["total"], said[0]["note"]) == (60, "rows")
    assert not any(change.is_retry for change in changes)


async def test_server_that_tells_nothing_of_attempts_does_not_end_the_watch(
    trees: TreeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise RuntimeError("no codec")

    monkeypatch.setattr(watching, "attempts", refuse)
    handle = await trees.start(tree(task("slow", inputs={"rows": 4})))

    assert statuses_of([change async for change in handle.watch()])[-1] == (None, Status.COMPLETED)


async def test_watching_adds_no_events(trees: TreeClient) -> None:
    chain = [task(f"t{at}", *([f"t{at - 1}"] if at else []), executor="act") for at in range(13)]
    chain += [task("slow", "t12", inputs={"rows": 4})]
    alone = await trees.start(tree(*chain))
    await alone.result()
    watched = await trees.start(tree(*chain))

    async def watch() -> list[Change]:
        return [change async for change in watched.watch(inside=True)]

    seen = await asyncio.gather(*(watch() for _ in range(3)))

    assert all(attempts_of(changes, "slow") for changes in seen)
    assert await kinds_of_events(watched) == await kinds_of_events(alone)


async def kinds_of_events(handle: TreeHandle) -> list[int]:
    return [event.event_type for event in (await handle.workflow_handle.fetch_history()).events]


# --- what is inside


async def watched(handle: TreeHandle, *, inside: bool = True) -> list[Change]:
    return [change async for change in handle.watch(inside=inside)]


def below(changes: list[Change], path: str) -> list[tuple[str | None, str]]:
    found = statuses_of(changes)
    return [each for each in found if each[0] and each[0].startswith(path)]


async def live_and_late(handle: TreeHandle) -> list[Change]:
    """Watch to the end, and once more: whoever comes late must see the same of every tree."""
    live = await watched(handle)
    late = await watched(handle)
    paths = {str(each.task_id).rpartition("/")[0] for each in live}
    for path in paths:
        ours, theirs = ([e for e in statuses_of(c) if _path(e) == path] for c in (live, late))
        assert ours == theirs
    assert len(statuses_of(live)) == len(statuses_of(late))
    return live


def _path(entry: tuple[str | None, str]) -> str:
    return str(entry[0]).rpartition("/")[0]


async def test_changes_inside_sub_trees_come_between_the_start_and_end_of_their_task(
    trees: TreeClient,
) -> None:
    inmost = {"id": "deep", "tree": tree(task("x", executor="act"))}
    features = {"id": "features", "tree": tree(task("clean", executor="act"), inmost)}
    handle = await trees.start(tree(features, task("after", "features", executor="act")))
    changes = statuses_of(await live_and_late(handle))

    begin, end = (
        changes.index(("features", "in_progress")),
        changes.index(("features", "completed")),
    )
    assert changes[0] == (None, "in_progress")
    assert changes[-3:] == [("after", "in_progress"), ("after", "completed"), (None, "completed")]
    assert sorted(changes[begin + 1 : end]) == [
        ("features/clean", "completed"),
        ("features/clean", "in_progress"),
        ("features/deep", "completed"),
        ("features/deep", "in_progress"),
        ("features/deep/x", "completed"),
        ("features/deep/x", "in_progress"),
    ]
    assert changes.index(("features/deep/x", "completed")) < changes.index(
        ("features/deep", "completed")
    )
    assert below(await watched(handle, inside=False), "features/") == []


async def test_items_have_their_own_paths_and_attempts(trees: TreeClient) -> None:
    each = {"id": "each", "for_each": [1, 2], "tree": tree(task("flaky"))}
    handle = await trees.start(tree(each))
    changes = await live_and_late(handle)

    for at in range(2):
        path = f"each[{at}]/flaky"
        assert below(changes, path) == [(path, "in_progress"), (path, "completed")]
        assert [attempt.attempt for attempt in attempts_of(changes, path)] == [2, 3]


async def test_trees_that_continue_as_new_inside_each_other_are_followed(
    trees: TreeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ROLLOVER_EVENTS", 60)
    chain = [task(f"t{at}", *([f"t{at - 1}"] if at else []), executor="act") for at in range(20)]
    sub = {"id": "sub", "dependencies": ["t19"], "tree": tree(*chain)}
    more = [task(f"m{at}", f"m{at - 1}" if at else "sub", executor="act") for at in range(20)]
    handle = await trees.start(tree(*chain, sub, *more))
    changes = await live_and_late(handle)

    tasks = [f"t{at}" for at in range(20)]
    parts = [*tasks, "sub", *(f"sub/{each}" for each in tasks), *(f"m{at}" for at in range(20))]
    for each in parts:
        assert of(changes, each) == ["in_progress", "completed"]
    assert len(statuses_of(changes)) == 2 * len(parts) + 2
    for tree_id in (handle.id, f"{handle.id}/sub"):
        first = await first_event(trees.client, tree_id)
        assert first.workflow_execution_started_event_attributes.continued_execution_run_id


async def test_only_so_many_sub_trees_are_followed_at_once(
    trees: TreeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_MOST_FOLLOWED", 2)
    each = {"id": "each", "for_each": [1, 2, 3, 4], "tree": tree(task("x", executor="act"))}
    again = {"id": "again", "dependencies": ["each"], "tree": tree(task("y", executor="act"))}
    handle = await trees.start(tree(each, again))
    changes = await watched(handle)

    followed = {each for each, _ in below(changes, "each[")}
    assert 2 <= len(followed) < 4
    assert below(changes, "again/") == [("again/y", "in_progress"), ("again/y", "completed")]
    assert statuses_of(changes)[-1] == (None, Status.COMPLETED)


async def test_sub_tree_that_is_run_again_is_seen_both_times(trees: TreeClient) -> None:
    sub = {"id": "sub", "tree": tree(task("x", executor="act"))}
    handle = await trees.start(tree(sub, on_failure="wait"))
    BROKEN[f"{handle.id}/sub/x"] = True
    seen: list[Change] = []
    async for change in handle.watch(inside=True):
        seen.append(change)
        if (change.task_id, change.status) == ("sub", Status.FAILED):
            BROKEN.clear()
            await handle.retry_task("sub")
    late = await watched(handle)

    began, twice = ("sub/x", "in_progress"), [("sub/x", "failed"), ("sub/x", "completed")]
    assert below(seen, "sub/") == below(late, "sub/") == [began, twice[0], began, twice[1]]


async def test_watch_of_a_terminated_tree_ends_with_the_tree(trees: TreeClient) -> None:
    sub = {"id": "sub", "tree": tree(task("x", executor="act", inputs={"seconds": 60}))}
    handle = await trees.start(tree(sub))
    changes: list[Change] = []
    async for change in handle.watch(inside=True):
        changes.append(change)
        if change.task_id == "sub/x":
            await handle.workflow_handle.terminate()

    assert statuses_of(changes)[-1] == (None, Status.CANCELLED)


async def test_whoever_follows_sees_what_runs_and_what_failed_inside(trees: TreeClient) -> None:
    def sub(id: str, *after: str, **inputs: Any) -> Document:
        inner = task("x", executor="act", inputs=inputs)
        return {"id": id, "dependencies": list(after), "tree": tree(inner)}

    document = tree(sub("good"), sub("bad", fail=True), task("slow", "good", inputs={"rows": 4}))
    handle = await trees.start(document)
    seen = Seen(handle.new_fold())
    running = {"good": False, "bad": False}
    async for change in handle.follow(seen, inside=True):
        if change.task_id in ("good/x", "bad/x"):
            holder = seen.holder_of(change.task_id)
            running[change.task_id[:-2]] |= holder is not None and holder.fold.tree is not None
        if change.attempt:
            assert seen.attempts["slow"].attempt == 1

    assert running["bad"]
    assert list(seen.inside) == ["bad"]
    assert seen.inside["bad"].fold.result().tasks["x"].error == "it broke"


# --- reset


async def test_watch_goes_on_with_the_run_that_takes_the_place_of_the_one_reset(
    trees: TreeClient,
) -> None:
    handle = await trees.start(
        tree(task("a", executor="act"), task("b", "a", executor="act"), approval("ask"))
    )
    changes: list[Change] = []
    async for change in handle.watch(inside=True):
        changes.append(change)
        if len(changes) == 6:  # everything has been seen but the end
            await reset(handle, 2)
        elif _entry(change) == ("b", "completed") and len(changes) > 6:
            await handle.approve("ask")

    assert (await handle.result()).status is Status.COMPLETED
    seen = statuses_of(changes)
    assert seen[0] == (None, "in_progress")
    assert seen[-1] == (None, "completed")
    assert of(changes, "a") == ["in_progress", "completed"]
    assert of(changes, "b") == [
        "in_progress", "completed", "in_progress", "completed",
    ]  # fmt: skip
    assert of(changes, "ask") == ["in_progress", "completed"]


async def test_tree_that_is_reset_to_its_beginning_is_watched_from_there(trees: TreeClient) -> None:
    handle = await trees.start(tree(task("a", executor="act"), approval("ask", "a")))
    changes: list[Change] = []
    async for change in handle.watch():
        changes.append(change)
        asked = statuses_of(changes).count(("ask", Status.IN_PROGRESS))
        if change.task_id == "ask" and change.status is Status.IN_PROGRESS and asked < 3:
            await reset(handle)
        elif change.task_id == "ask" and change.status is Status.IN_PROGRESS:
            await handle.approve("ask")

    once = ["in_progress", "completed"]
    assert of(changes, "a") == 3 * once
    assert of(changes, "ask") == [*2 * ["in_progress", "pending"], *once]
    assert statuses_of(changes)[-1] == (None, "completed")


async def test_sub_tree_that_is_reset_is_followed_on(trees: TreeClient) -> None:
    sub = {"id": "sub", "tree": tree(task("a", executor="act"), approval("ask", "a"))}
    handle = await trees.start(tree(sub))
    child = TreeHandle(trees.client, f"{handle.id}/sub")
    changes: list[Change] = []
    async for change in handle.watch(inside=True):
        changes.append(change)
        asked = statuses_of(changes).count(("sub/ask", Status.IN_PROGRESS))
        if change.task_id == "sub/ask" and change.status is Status.IN_PROGRESS:
            await (reset(child) if asked == 1 else child.approve("ask"))

    assert of(changes, "sub/a") == [
        "in_progress", "completed", "in_progress", "completed",
    ]  # fmt: skip
    assert statuses_of(changes)[-1] == (None, "completed")
