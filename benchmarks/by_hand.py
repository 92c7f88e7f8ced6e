"""The same work as the trees of `benchmarks.shapes`, as workflows that somebody wrote by hand.

They do what a tree does for its user and no less: every activity has an id of its own, limits, a
summary and a priority, a failure stops only what depends on it, and the end is counted.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from temporalio import workflow
from temporalio.common import Priority, RetryPolicy
from temporalio.exceptions import ActivityError

_ACTIVITY: Final = "noop"
_RETRIES: Final = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2,
    maximum_interval=timedelta(minutes=1),
    maximum_attempts=3,
    non_retryable_error_types=["validation_error", "type_error"],
)
_START_TO_CLOSE: Final = timedelta(minutes=5)
_HEARTBEAT: Final = timedelta(seconds=30)
_PRIORITY: Final = Priority(priority_key=3)

Counts = dict[str, int]


def start(at: int) -> workflow.ActivityHandle[dict[str, Any]]:
    """Start the activity of one task."""
    return workflow.start_activity(
        _ACTIVITY,
        {"value": at},
        activity_id=f"t{at}",
        result_type=dict[str, Any],
        start_to_close_timeout=_START_TO_CLOSE,
        heartbeat_timeout=_HEARTBEAT,
        retry_policy=_RETRIES,
        cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=f"t{at}",
        priority=_PRIORITY,
    )


@workflow.defn
class Fan:
    """Everything at once."""

    @workflow.run
    async def run(self, tasks: int) -> Counts:
        """Run so many tasks."""
        ends = await asyncio.gather(*map(start, range(tasks)), return_exceptions=True)
        return Counter("failed" if isinstance(end, Exception) else "completed" for end in ends)


@workflow.defn
class Chain:
    """One after the other."""

    @workflow.run
    async def run(self, tasks: int) -> Counts:
        """Run so many tasks; after one that fails, the rest is skipped."""
        for at in range(tasks):
            try:
                await start(at)
            except ActivityError:
                return {"completed": at, "failed": 1, "skipped": tasks - at - 1}
        return {"completed": tasks}


@workflow.defn
class Graph:
    """Each as soon as all that it depends on has completed."""

    @workflow.run
    async def run(self, dependencies: Sequence[Sequence[int]]) -> Counts:
        """Run a task for each entry, which names by position those that it depends on."""
        nodes: list[asyncio.Task[str]] = []

        async def node(at: int) -> str:
            for other in dependencies[at]:
                if await nodes[other] != "completed":
                    return "skipped"
            try:
                await start(at)
            except ActivityError:
                return "failed"
            return "completed"

        nodes += [asyncio.create_task(node(at)) for at in range(len(dependencies))]
        return Counter(await asyncio.gather(*nodes))
