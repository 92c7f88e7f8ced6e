"""Regrow: one tree, on the server that `regrow run --db` starts; with `local`, local tasks."""

import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from contract import Dependencies, Run, Unavailable, answer, work

from benchmarks.shapes import EXECUTOR, Shape
from regrow import InvalidTree, TreeClient, executor_register
from regrow.embedded import embedded_server
from regrow.testing import worker_env


@executor_register(EXECUTOR)
async def noop(inputs: dict[str, Any]) -> dict[str, int]:
    """Do nothing."""
    return work(inputs["value"])


@asynccontextmanager
async def engine(folder: Path) -> AsyncGenerator[Run]:
    """Run the embedded server on a file, and a worker in this process."""
    task = {"local": True} if "local" in sys.argv else {}

    async with (
        embedded_server(db=folder / "temporal.db") as server,
        worker_env(server.client, noop) as client,
    ):

        async def run(dependencies: Dependencies) -> Sequence[Any]:
            return await _results(client, Shape("work", dependencies).document(**task))

        yield run


async def _results(client: TreeClient, document: dict[str, Any]) -> Sequence[Any]:
    try:
        handle = await client.start(document, id=f"tree-{uuid4()}")
    except InvalidTree as error:
        raise Unavailable(f"this Regrow takes no such document: {error.problems[0]}") from None
    tasks = (await handle.result()).tasks
    return [tasks[f"t{at}"].result for at in range(len(document["tasks"]))]


if __name__ == "__main__":
    answer(engine)
