"""The shapes as a good engineer writes them for Temporal by hand: one workflow for each.

No document and no interpreter: positions, and what depends on what. The activities are the ones of
Regrow's worker and carry what Regrow gives its tasks: retries, timeouts, priority and summary. All
results are returned. A run that would grow too long continues as new, with the results so far.

Nothing of Regrow is imported, so that a stock worker takes these workflows as they are.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from temporalio import workflow
from temporalio.common import Priority, RetryPolicy

_IN_FLIGHT: Final = 500
_TASKS_PER_RUN: Final = 1_000
"""About 3,100 events; the server suggests a new run at 4,096."""
_STEPS_PER_RUN: Final = 600
"""The same for a chain, whose tasks take six events each."""
_MINUTES: Final = timedelta(minutes=5)
_HEARTBEAT: Final = timedelta(seconds=30)
_PRIORITY: Final = Priority(priority_key=3)
_RETRY: Final = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(minutes=1),
    maximum_attempts=3,
    non_retryable_error_types=[
        "validation_error",
        "type_error",
        "contract_error",
        "PayloadsTooLarge",
        "PayloadSizeError",
    ],
)


async def _noop(at: int) -> Any:
    answer: dict[str, Any] = await workflow.execute_activity(
        "noop",
        {"value": at},
        result_type=dict[str, Any],
        start_to_close_timeout=_MINUTES,
        heartbeat_timeout=_HEARTBEAT,
        retry_policy=_RETRY,
        priority=_PRIORITY,
        summary=f"t{at}",
    )
    return answer["result"]


@workflow.defn(name="HandWrittenFan")
class HandWrittenFan:
    """All at once, so many at a time."""

    @workflow.run
    async def run(self, tasks: int, done: list[Any]) -> list[Any]:
        """Run the tasks that are not done."""
        room = asyncio.Semaphore(_IN_FLIGHT)

        async def one(at: int) -> Any:
            async with room:
                return await _noop(at)

        until = min(len(done) + _TASKS_PER_RUN, tasks)
        done += await asyncio.gather(*[one(at) for at in range(len(done), until)])
        if until < tasks:
            workflow.continue_as_new(args=[tasks, done])
        return done


@workflow.defn(name="HandWrittenChain")
class HandWrittenChain:
    """One after the other."""

    @workflow.run
    async def run(self, tasks: int, done: list[Any]) -> list[Any]:
        """Run the tasks that are not done."""
        until = min(len(done) + _STEPS_PER_RUN, tasks)
        while len(done) < until:
            done.append(await _noop(len(done)))
        if until < tasks:
            workflow.continue_as_new(args=[tasks, done])
        return done


@workflow.defn(name="HandWrittenGraph")
class HandWrittenGraph:
    """Each as soon as what it depends on is done, so many at a time."""

    @workflow.run
    async def run(self, dependencies: list[list[int]], done: list[Any]) -> list[Any]:
        """Run the tasks that are not done; all that a task depends on stands before it."""
        first, room = len(done), asyncio.Semaphore(_IN_FLIGHT)
        running: list[asyncio.Task[Any]] = []

        async def one(at: int, others: Sequence[int]) -> Any:
            await asyncio.gather(*[running[other - first] for other in others if other >= first])
            async with room:
                return await _noop(at)

        until = min(first + _TASKS_PER_RUN, len(dependencies))
        for at in range(first, until):  # one() looks at those before it
            running += [asyncio.create_task(one(at, dependencies[at]))]
        done += await asyncio.gather(*running)
        if until < len(dependencies):
            workflow.continue_as_new(args=[dependencies, done])
        return done


WORKFLOWS: Final = (HandWrittenFan, HandWrittenChain, HandWrittenGraph)
