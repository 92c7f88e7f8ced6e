"""The guide's chapter 4, Performance Optimization, with its examples as it writes them."""

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest
from sqlalchemy import bindparam, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool
from tests.guide.conftest import Worker
from tests.guide.helping import Guide, Napping, ended, grouped, overlap, started

from regrow.compat import (
    BaseTask,
    TaskManager,
    TaskTreeNode,
    create_session,
    create_task,
    executor_register,
)


@executor_register("step")
class Step(Napping): ...


NAP = {"seconds": 0.4}


async def test_4_1_good_the_whole_takes_as_long_as_its_longest_part(worker: Worker) -> None:
    async with worker(Step):
        task_manager = TaskManager(create_session())

        # One after another is slow
        task1 = create_task(name="step", inputs={"seconds": 0.1})
        task2 = create_task(name="step", dependencies=[{"id": task1.id}])  # Waits for task1
        task3 = create_task(name="step", dependencies=[{"id": task2.id}])  # Waits for task2
        await task_manager.distribute_task_tree(grouped(task1, task2, task3))
        # Total time: that of each, added up
        sequential = [task1, task2, task3]

        # Side by side is fast
        task1 = create_task(name="step", inputs=NAP)  # No dependencies
        task2 = create_task(name="step", inputs=NAP)  # No dependencies
        task3 = create_task(name="step", inputs=NAP)  # No dependencies
        await task_manager.distribute_task_tree(grouped(task1, task2, task3))
        # Total time: that of the longest

    assert all(started(later) >= ended(earlier) for earlier, later in pairwise(sequential))
    assert overlap(task1, task2, task3)


AT_ONCE: list[int] = []
"""How many items were under way, as each of them began."""
_under_way = 0


async def process_item(item: int) -> int:
    global _under_way  # noqa: PLW0603 - counted over all
    _under_way += 1
    AT_ONCE.append(_under_way)
    await asyncio.sleep(0.05)
    _under_way -= 1
    return item * item


@executor_register()
class BatchProcessor(BaseTask):
    async def execute(self, inputs: Guide) -> Guide:
        items = inputs.get("items", [])

        # Process all items in parallel
        results = await asyncio.gather(*[self._process_item(item) for item in items])

        return {"status": "completed", "results": results}

    async def _process_item(self, item: int) -> int:
        return await process_item(item)


@executor_register()
class OneByOne(BaseTask):
    async def execute(self, inputs: Guide) -> Guide:
        results: list[int] = []
        # Processing items one by one
        for item in inputs["items"]:
            result = await process_item(item)  # Sequential, slow!
            results.append(result)
        return {"status": "completed", "results": results}


async def test_4_2_good_a_batch_is_gathered(worker: Worker) -> None:
    AT_ONCE.clear()
    batch = create_task(name="batch_processor", inputs={"items": [1, 2, 3, 4]})
    async with worker(BatchProcessor):
        await TaskManager(create_session()).distribute_task_tree(TaskTreeNode(batch))

    assert batch.result == {"results": [1, 4, 9, 16]}
    assert AT_ONCE == [1, 2, 3, 4]


async def test_4_2_bad_a_loop_gives_the_same_one_by_one(worker: Worker) -> None:
    AT_ONCE.clear()
    batch = create_task(name="one_by_one", inputs={"items": [1, 2, 3, 4]})
    async with worker(OneByOne):
        await TaskManager(create_session()).distribute_task_tree(TaskTreeNode(batch))

    assert batch.result == {"results": [1, 4, 9, 16]}
    assert AT_ONCE == [1, 1, 1, 1]


@executor_register()
class CachedExecutor(BaseTask):
    _cache: ClassVar[dict[str, Any]] = {}
    computed: ClassVar[list[int]] = []

    async def execute(self, inputs: Guide) -> Guide:
        cache_key = self._get_cache_key(inputs)

        # Check cache
        if cache_key in self._cache:
            return {
                "status": "completed",
                "result": self._cache[cache_key],
                "cached": True,
            }

        # Compute
        result = await self._expensive_operation(inputs)

        # Cache
        self._cache[cache_key] = result

        return {"status": "completed", "result": result, "cached": False}

    def _get_cache_key(self, inputs: Guide) -> str:
        return str(inputs["number"])

    async def _expensive_operation(self, inputs: Guide) -> int:
        self.computed.append(inputs["number"])
        return inputs["number"] ** 2


async def test_4_3_good_a_worker_keeps_what_a_class_caches(worker: Worker) -> None:
    tasks = [create_task(name="cached_executor", inputs={"number": n}) for n in (7, 7, 8)]
    async with worker(CachedExecutor):
        task_manager = TaskManager(create_session())
        for task in tasks:
            await task_manager.distribute_task_tree(TaskTreeNode(task))

    assert [(task.result, task.metadata["cached"]) for task in tasks] == [
        (49, False),
        (49, True),
        (64, False),
    ]
    assert CachedExecutor.computed == [7, 8]


class Database:
    """A database that counts its queries."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self.queries = 0

    async def fetch(self, query: str, **given: Any) -> list[Guide]:
        self.queries += 1
        statement = text(query)
        for key in (key for key, value in given.items() if isinstance(value, list)):
            statement = statement.bindparams(bindparam(key, expanding=True))
        async with self._engine.connect() as connection:
            rows = await connection.execute(statement, given)
            return [dict(row) for row in rows.mappings()]

    async def fetch_one(self, query: str, **given: Any) -> Guide:
        [row] = await self.fetch(query, **given)
        return row


@pytest.mark.parametrize(("name", "queries"), [("where_in", 1), ("in_a_loop", 3)])
async def test_4_4_good_one_query_does_for_many_users(
    worker: Worker, tmp_path: Path, name: str, queries: int
) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/users.sqlite3"
    engine = create_async_engine(url, poolclass=NullPool)
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE users (id INTEGER, name TEXT)"))
        await connection.execute(text("INSERT INTO users VALUES (1, 'ann'), (2, 'bob'), (3, 'c')"))
    db = Database(engine)

    # Good: Single query with filtering
    @executor_register()
    class WhereIn(BaseTask):
        async def execute(self, inputs: Guide) -> Guide:
            user_ids = inputs.get("user_ids", [])

            # Single query with WHERE IN
            query = "SELECT * FROM users WHERE id IN :user_ids"
            results = await db.fetch(query, user_ids=user_ids)

            return {"status": "completed", "users": results}

    # Bad: Multiple queries in loop
    @executor_register()
    class InALoop(BaseTask):
        async def execute(self, inputs: Guide) -> Guide:
            user_ids = inputs.get("user_ids", [])
            results: list[Guide] = []

            # Multiple queries (slow!)
            for user_id in user_ids:
                user = await db.fetch_one("SELECT * FROM users WHERE id = :id", id=user_id)
                results.append(user)

            return {"status": "completed", "users": results}

    task = create_task(name=name, inputs={"user_ids": [1, 2, 3]})
    async with worker(WhereIn, InALoop):
        await TaskManager(create_session()).distribute_task_tree(TaskTreeNode(task))

    assert [user["name"] for user in task.result["users"]] == ["ann", "bob", "c"]
    assert db.queries == queries
