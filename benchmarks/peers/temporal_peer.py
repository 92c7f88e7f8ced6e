"""Temporal by hand: a workflow written for this work, with one activity a task.

The server is the same that Regrow starts, the worker is one as it comes.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    from contract import Dependencies, Run, answer, levels, work

    from regrow.embedded import embedded_server

_QUEUE: Final = "by-hand"
_MOST: Final = 500
"""Starts at once; a workflow that starts 1,000 in one step comes near Temporal's limits."""


@activity.defn
async def noop(at: int) -> dict[str, int]:
    """Do nothing."""
    return work(at)


@workflow.defn
class ByHand:
    """Runs the groups one after another, and each group's activities at the same time."""

    @workflow.run
    async def run(self, groups: list[list[int]]) -> list[dict[str, int]]:
        """Give the results in the order of the groups."""
        self._slots = asyncio.Semaphore(_MOST)
        results: list[dict[str, int]] = []
        for group in groups:
            results += await asyncio.gather(*(self._one(at) for at in group))
        return results

    async def _one(self, at: int) -> dict[str, int]:
        async with self._slots:
            return await workflow.execute_activity(
                noop, at, start_to_close_timeout=timedelta(minutes=1)
            )


@asynccontextmanager
async def engine(folder: Path) -> AsyncGenerator[Run]:
    """Run the server on a file, and a worker in this process."""
    async with embedded_server(db=folder / "temporal.db", is_set_up=False) as server:
        client = await Client.connect(server.address)

        async def run(dependencies: Dependencies) -> Sequence[Any]:
            groups = levels(dependencies)
            results = await client.execute_workflow(
                ByHand.run, groups, id=f"by-hand-{uuid4()}", task_queue=_QUEUE
            )
            return sorted(results, key=lambda result: result["task"])

        async with Worker(client, task_queue=_QUEUE, workflows=[ByHand], activities=[noop]):
            yield run


if __name__ == "__main__":
    answer(engine)
