"""Schedules of trees, on a real server: when they start trees, which ones, and when none."""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Final
from uuid import uuid4

import pytest
from temporalio.client import (
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleOverlapPolicy,
    ScheduleSpec,
)

from regrow import InvalidTree, Status, TaskContext, TreeClient, executor_register
from regrow.cli.schedule_times import times_of
from regrow.client import ScheduleExists, ScheduleNotFound, ScheduleRefused, TreeSchedule
from regrow.embedded import EmbeddedServer
from regrow.testing import assert_replays, worker_env

TREE: Final = {
    "name": "report",
    "description": "what the Web UI shows",
    "inputs": {"region": "north"},
    "tasks": [
        {"id": "a", "executor": "where_am_i", "inputs": {"region": "${{ inputs.region }}"}},
        {"id": "sub", "tree": [{"id": "b", "executor": "where_am_i"}], "dependencies": ["a"]},
    ],
}
WAITING: Final = {
    "name": "slow",
    "tasks": [{"id": "wait", "executor": "sleep", "inputs": {"duration": "1h"}}],
}
NEVER: Final = "0 0 29 2 *"  # not while a test runs
DAILY: Final = "0 8 * * *"
FIRST: Final = datetime(2026, 1, 1, 8, tzinfo=UTC)
DAY: Final = timedelta(days=1)


@executor_register()
async def where_am_i(inputs: dict[str, Any], context: TaskContext) -> dict[str, Any]:
    return {"key": context.idempotency_key, "region": inputs.get("region")}


@asynccontextmanager
async def scheduled(
    client: TreeClient, tree: Any = TREE, **options: Any
) -> AsyncGenerator[TreeSchedule]:
    """A schedule, and at the end neither it nor a tree of it."""
    schedule = await client.schedules.create(tree, id=f"s{uuid4().hex[:8]}", **options)
    try:
        yield schedule
    finally:
        await schedule.delete()
        async for started in schedule.trees():
            if started.status is Status.IN_PROGRESS:
                await client.get(started.tree_id).workflow_handle.terminate()


async def until(condition: Callable[[], Awaitable[Any]], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.05)


async def statuses(schedule: TreeSchedule) -> dict[str, Status]:
    """The trees that a schedule has started, by when they were due."""
    return {
        tree.tree_id.removeprefix(f"{schedule.id}-"): tree.status async for tree in schedule.trees()
    }


def ended(schedule: TreeSchedule, count: int) -> Callable[[], Awaitable[bool]]:
    async def enough() -> bool:
        return list((await statuses(schedule)).values()).count(Status.COMPLETED) >= count

    return enough


def stand(schedule: TreeSchedule, **expected: Status) -> Callable[[], Awaitable[bool]]:
    """Tell whether the trees of these days of January 2026 stand so, and there are no others."""

    async def so() -> bool:
        due = {f"2026-01-{day[1:]}T08:00:00Z": status for day, status in expected.items()}
        return await statuses(schedule) == due

    return so


async def test_trees_start_by_themselves_with_ids_that_say_the_time(server: EmbeddedServer) -> None:
    begin = datetime.now(UTC) - timedelta(seconds=1)
    async with (
        worker_env(server.client, where_am_i) as client,
        scheduled(client, every="1s", inputs={"region": "south"}) as schedule,
    ):
        await until(ended(schedule, 2))
        trees = [tree async for tree in schedule.trees()]

        for tree in trees:
            due = tree.tree_id.removeprefix(f"{schedule.id}-")
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", due)
            assert begin <= datetime.fromisoformat(due) <= tree.started_at
        last = next(tree for tree in trees if tree.status is Status.COMPLETED)
        result = await client.get(last.tree_id).result()
        assert result.tasks["a"].result == {"key": f"{last.tree_id}/a", "region": "south"}
        assert result.outputs["sub"] == {"b": {"key": f"{last.tree_id}/sub/b", "region": None}}


async def test_a_scheduled_tree_is_as_if_it_was_started_by_hand(server: EmbeddedServer) -> None:
    async with (
        worker_env(server.client, where_am_i) as client,
        scheduled(client, cron=NEVER) as schedule,
    ):
        await schedule.trigger()
        await until(ended(schedule, 1))
        [tree] = [tree async for tree in schedule.trees()]
        by_hand = await client.start(TREE, id=f"by-hand-{schedule.id}")
        await by_hand.result()
        attached = await client.start(TREE, id=tree.tree_id)

        assert attached.attached
        assert tree.name == "report"
        [listed] = [each async for each in client.list(f"WorkflowId = '{tree.tree_id}'")]
        assert listed == tree
        assert (await attached.status()).outputs == (await attached.result()).outputs
        assert [change async for change in attached.watch()][-1].status is Status.COMPLETED
        theirs = await attached.workflow_handle.describe()
        ours = await by_hand.workflow_handle.describe()
        assert await theirs.memo() == await ours.memo()
        assert theirs.task_queue == ours.task_queue
        assert await theirs.static_summary() == await ours.static_summary()
        await assert_replays(await attached.workflow_handle.fetch_history())


async def test_a_paused_schedule_starts_nothing_until_it_is_resumed(server: EmbeddedServer) -> None:
    async with (
        worker_env(server.client, where_am_i) as client,
        scheduled(client, every=timedelta(seconds=1), paused=True, note="not yet") as schedule,
    ):
        await asyncio.sleep(1.5)
        before = await schedule.describe()
        resumed_at = datetime.now(UTC)
        await schedule.resume()
        await until(ended(schedule, 1))
        await schedule.pause("enough")
        paused_at = datetime.now(UTC)
        await asyncio.sleep(1.5)
        after = await schedule.describe()

        assert (before.info.num_actions, before.schedule.state.note) == (0, "not yet")
        assert after.schedule.state.paused
        assert after.schedule.state.note == "enough"
        due = [action.scheduled_at for action in after.info.recent_actions]
        assert due
        assert resumed_at - timedelta(seconds=1) <= due[0] <= due[-1] <= paused_at


async def test_a_backfill_runs_past_times_one_after_another(server: EmbeddedServer) -> None:
    async with (
        worker_env(server.client, where_am_i) as client,
        scheduled(client, cron=DAILY, paused=True) as schedule,
    ):
        await schedule.backfill(FIRST, FIRST + 2 * DAY)
        await until(ended(schedule, 3))
        trees = [tree async for tree in schedule.trees()][::-1]

        assert [tree.tree_id for tree in trees] == [
            f"{schedule.id}-2026-01-0{day}T08:00:00Z" for day in (1, 2, 3)
        ]
        assert all(
            before.finished_at and before.finished_at <= tree.started_at
            for before, tree in pairwise(trees)
        )


async def test_cron_follows_its_time_zone(server: EmbeddedServer) -> None:
    async with scheduled(
        TreeClient(server.client), cron=DAILY, time_zone="Europe/Berlin", paused=True
    ) as schedule:
        spec = (await schedule.describe()).schedule.spec
        await schedule.backfill(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))
        await until(lambda: statuses(schedule))

        assert spec.time_zone_name == "Europe/Berlin"
        assert [*await statuses(schedule)] == ["2026-01-01T07:00:00Z"]


@pytest.mark.parametrize(
    ("cron", "shown"),
    [
        ("0 8 * * 1-5", "0 8 * * 1-5"),
        ("*/15 9-17/2 1,15 * mon", "*/15 9-17/2 1,15 * 1"),
        ("@hourly", "0 * * * *"),
        ("30 0 8 * * * *", "30 0 8 * * * *"),
        ("0 8 * * * 2030", "0 8 * * * 2030"),
        ("@every 90s", "every 1m30s"),
        ("@every 1d/5m", "every 1d/5m"),
    ],
)
async def test_cron_is_written_as_the_server_understood_it(
    server: EmbeddedServer, cron: str, shown: str
) -> None:
    async with scheduled(TreeClient(server.client), cron=cron, paused=True) as schedule:
        assert times_of((await schedule.describe()).schedule.spec) == [shown]


@pytest.mark.parametrize("policy", ScheduleOverlapPolicy)
async def test_the_overlap_policy_is_the_one_given(
    server: EmbeddedServer, policy: ScheduleOverlapPolicy
) -> None:
    client = TreeClient(server.client)
    async with scheduled(client, cron=NEVER, overlap=policy) as schedule:
        assert (await schedule.describe()).schedule.policy.overlap is policy


async def test_a_time_is_skipped_while_the_tree_before_runs(server: EmbeddedServer) -> None:
    async with (
        worker_env(server.client) as client,
        scheduled(client, WAITING, cron=DAILY, paused=True) as schedule,
    ):
        await schedule.backfill(FIRST, FIRST + DAY, overlap=ScheduleOverlapPolicy.SKIP)
        await until(stand(schedule, d01=Status.IN_PROGRESS))

        async def one_is_skipped() -> bool:
            return (await schedule.describe()).info.num_actions_skipped_overlap == 1

        await until(one_is_skipped)
        assert (await schedule.describe()).info.num_actions == 1


async def test_trees_run_side_by_side_or_cancel_each_other(server: EmbeddedServer) -> None:
    async with (
        worker_env(server.client) as client,
        scheduled(client, WAITING, cron=DAILY, paused=True) as schedule,
    ):
        await schedule.backfill(FIRST, FIRST + DAY, overlap=ScheduleOverlapPolicy.ALLOW_ALL)
        await until(stand(schedule, d01=Status.IN_PROGRESS, d02=Status.IN_PROGRESS))
        for day in ("01", "02"):
            await client.get(f"{schedule.id}-2026-01-{day}T08:00:00Z").cancel()
        cancelled = {"d01": Status.CANCELLED, "d02": Status.CANCELLED}
        await until(stand(schedule, **cancelled))

        third, fourth = FIRST + 2 * DAY, FIRST + 3 * DAY
        await schedule.backfill(third, third)
        await until(stand(schedule, **cancelled, d03=Status.IN_PROGRESS))
        await schedule.backfill(fourth, fourth, overlap=ScheduleOverlapPolicy.CANCEL_OTHER)
        await until(stand(schedule, **cancelled, d03=Status.CANCELLED, d04=Status.IN_PROGRESS))


async def test_a_deleted_schedule_is_gone_and_its_id_free_but_its_trees_stay(
    server: EmbeddedServer,
) -> None:
    async with worker_env(server.client, where_am_i) as client:
        async with scheduled(client, cron=NEVER) as schedule:
            await schedule.trigger()
            await until(ended(schedule, 1))
        with pytest.raises(ScheduleNotFound):
            await schedule.describe()
        assert [*(await statuses(schedule)).values()] == [Status.COMPLETED]

        await client.schedules.create(TREE, id=schedule.id, cron=NEVER)
        await schedule.delete()


async def test_a_schedule_that_does_not_exist_is_named_with_its_namespace(
    server: EmbeddedServer,
) -> None:
    schedule = TreeClient(server.client).schedules.get("nope")
    for call in (
        schedule.describe, schedule.pause, schedule.resume, schedule.trigger, schedule.delete,
        lambda: schedule.backfill(FIRST, FIRST),
    ):  # fmt: skip
        with pytest.raises(ScheduleNotFound, match="no schedule 'nope' in the namespace 'default'"):
            await call()


async def test_a_taken_id_is_refused(server: EmbeddedServer) -> None:
    client = TreeClient(server.client)
    async with scheduled(client, cron=NEVER) as schedule:
        with pytest.raises(ScheduleExists, match=f"there is a schedule '{schedule.id}' already"):
            await client.schedules.create(TREE, id=schedule.id, cron=NEVER)


@pytest.mark.parametrize(
    ("when", "reason"),
    [
        ({}, "say when: cron or every"),
        ({"cron": DAILY, "every": "1s"}, "say when: cron or every"),
        ({"cron": "61 * * * *"}, r"Minute is not in range \[0-59\]"),
        ({"cron": "daily"}, "does not have 5-7 fields"),
        ({"cron": DAILY, "time_zone": "Mars/Base"}, "unknown time zone Mars/Base"),
        ({"every": "1s", "time_zone": "UTC"}, "a time zone goes with cron"),
        ({"every": "often"}, "write a duration like 30s"),
        ({"every": "1.5s"}, "whole seconds"),
        ({"every": timedelta(0)}, "interval is too small"),
    ],
)
async def test_what_is_no_time_is_refused_with_the_reason(
    server: EmbeddedServer, when: dict[str, Any], reason: str
) -> None:
    schedules = TreeClient(server.client).schedules
    with pytest.raises(ScheduleRefused, match=reason) as refusal:
        await schedules.create(TREE, id="refused", **when)

    assert "\n" not in str(refusal.value)
    with pytest.raises(ScheduleNotFound):
        await schedules.get("refused").describe()


async def test_the_document_is_checked_before_anything_is_created(server: EmbeddedServer) -> None:
    schedules = TreeClient(server.client).schedules
    for tree, inputs in (
        ({"name": "bad", "tasks": [{"id": "a", "dependencies": ["b"]}]}, {}),
        (TREE, {"regoin": "south"}),
    ):
        with pytest.raises(InvalidTree):
            await schedules.create(tree, id="unchecked", every="1s", inputs=inputs)
    with pytest.raises(ScheduleNotFound):
        await schedules.get("unchecked").describe()


async def test_only_schedules_of_trees_are_listed(server: EmbeddedServer) -> None:
    client = TreeClient(server.client)
    other = await server.client.create_schedule(
        f"other-{uuid4().hex[:8]}",
        Schedule(
            ScheduleActionStartWorkflow("Other", id="other", task_queue="none"),
            ScheduleSpec(cron_expressions=[NEVER]),
        ),
    )
    async with scheduled(client, cron=NEVER) as schedule:

        async def both_are_known() -> bool:
            listed = [each.id async for each in await server.client.list_schedules()]
            return {other.id, schedule.id} <= set(listed)

        await until(both_are_known)
        listed = {each.id: await each.memo() async for each in client.schedules.list()}

    await other.delete()
    assert listed[schedule.id]["tree_name"] == "report"
    assert other.id not in listed
