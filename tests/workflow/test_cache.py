"""Results that are kept: for executors that ask for it, until their time is up."""

from pathlib import Path
from typing import Any

import pytest
from tests.executors.running import run_one

from regrow import TaskContext, TreeClient, executor_register
from regrow.activities.cache import MemoryCache, cache_key
from regrow.embedded import EmbeddedServer
from regrow.testing import worker_env

calls: list[Any] = []


@executor_register(cache="1h")
async def compute(inputs: dict[str, Any]) -> Any:
    calls.append(inputs)
    if inputs.get("fails"):
        return {"status": "failed", "error": "no", "error_type": "no"}
    return {"status": "completed", "result": {"sum": sum(inputs["n"])}, "rows": 2}


@executor_register(cache="0.2s")
def for_a_moment(inputs: dict[str, Any]) -> int:
    calls.append(inputs)
    return len(calls)


@executor_register(cache="1h")
async def whose(inputs: dict[str, Any], context: TaskContext) -> Any:
    calls.append(context.user_id)
    return context.user_id


@pytest.fixture(autouse=True)
def forget() -> None:
    calls.clear()


async def test_the_second_equal_call_is_answered_without_the_executor(
    server: EmbeddedServer,
) -> None:
    async with worker_env(server.client, compute) as client:
        first = await run_one(client, "compute", {"n": [1, 2], "of": "a"})
        second = await run_one(client, "compute", {"of": "a", "n": [1, 2]})
        other = await run_one(client, "compute", {"n": [2, 2], "of": "a"})

    assert calls == [{"n": [1, 2], "of": "a"}, {"n": [2, 2], "of": "a"}]
    assert first.result == second.result == {"sum": 3}
    assert other.result == {"sum": 4}
    assert [each.task.metadata["cached"] for each in (first, second, other)] == [False, True, False]
    assert second.task.metadata["rows"] == 2


async def test_a_failure_is_not_kept(server: EmbeddedServer) -> None:
    async with worker_env(server.client, compute) as client:
        for _ in range(2):
            assert (await run_one(client, "compute", {"fails": True})).failure == ("no", 1)

    assert len(calls) == 2


async def test_what_fails_the_task_is_not_kept(server: EmbeddedServer) -> None:
    @executor_register(cache="1h")
    async def odd(inputs: dict[str, Any]) -> Any:
        calls.append(inputs)
        return float("nan") if len(calls) == 1 else 1

    async with worker_env(server.client, odd) as client:
        assert (await run_one(client, "odd", {})).failure == ("contract_error", 1)
        assert (await run_one(client, "odd", {})).result == 1


async def test_it_ends_with_its_time(server: EmbeddedServer) -> None:
    async with worker_env(server.client, for_a_moment) as client:
        await run_one(client, "for_a_moment", {})
        tree = {"tasks": [{"id": "rest", "executor": "sleep", "inputs": {"duration": "0.3s"}}]}
        await (await client.start(tree)).result()
        await run_one(client, "for_a_moment", {})

    assert len(calls) == 2


async def test_one_user_never_gets_anothers(server: EmbeddedServer) -> None:
    async with worker_env(server.client, whose) as client:
        found = [await _of(client, user) for user in ("ann", "bob", "ann", None)]

    assert found == ["ann", "bob", "ann", None]
    assert calls == ["ann", "bob", None]


async def _of(client: TreeClient, user: str | None) -> Any:
    tree: dict[str, Any] = {"user_id": user, "tasks": [{"id": "whose"}]}
    return (await (await client.start(tree)).result()).outputs["whose"]


async def test_workers_share_a_store(server: EmbeddedServer, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    store = (tmp_path / "kept").as_uri()
    for expected in (False, True):
        async with worker_env(server.client, compute, cache=store) as client:
            ended = await run_one(client, "compute", {"n": [1]})
        assert ended.task.metadata["cached"] is expected

    assert len(calls) == 1


async def test_a_store_that_holds_nonsense_knows_nothing(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    key = cache_key("compute", {"n": [1]}, None)
    (tmp_path / key).write_text("nonsense")
    async with worker_env(server.client, compute, cache=tmp_path.as_uri()) as client:
        ended = await run_one(client, "compute", {"n": [1]})

    assert ended.result == {"sum": 1}
    assert "cache.unreadable" in ended.traces


async def test_memory_lets_go_of_the_least_used() -> None:
    cache = MemoryCache(most_bytes=10)
    for key in ("a", "b"):
        await cache.put(key, "12345", 2e9)
    assert await cache.get("a") == "12345"
    await cache.put("c", "12345", 2e9)

    assert [await cache.get(key) for key in ("a", "b", "c")] == ["12345", None, "12345"]
