"""Dagster: one job with one op for each task, run in this process, its results in files."""

# pyright: basic, reportMissingImports=false
# What it imports is not installed where types are checked.

import asyncio
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from contract import Dependencies, Run, answer, work
from dagster import (
    DagsterInstance,
    DependencyDefinition,
    GraphDefinition,
    In,
    Nothing,
    OpDefinition,
    OpExecutionContext,
    fs_io_manager,
    op,
)


@asynccontextmanager
async def engine(folder: Path) -> AsyncGenerator[Run]:
    """Open an instance with its SQLite files."""
    os.environ["DAGSTER_HOME"] = str(folder)
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with DagsterInstance.get() as instance:

        async def run(dependencies: Dependencies) -> Sequence[Any]:
            return await asyncio.to_thread(_run, dependencies, instance)

        yield run


def _run(dependencies: Dependencies, instance: DagsterInstance) -> Sequence[Any]:
    graph = GraphDefinition(
        name="all_of",
        node_defs=[_noop(at, others) for at, others in enumerate(dependencies)],
        dependencies={
            f"t{at}": {f"t{other}": DependencyDefinition(f"t{other}") for other in others}
            for at, others in enumerate(dependencies)
        },
    )
    job = graph.to_job(resource_defs={"io_manager": fs_io_manager})
    done = job.execute_in_process(instance=instance)
    return [done.output_for_node(f"t{at}") for at in range(len(dependencies))]


def _noop(at: int, others: Sequence[int]) -> OpDefinition:
    @op(name=f"t{at}", ins={f"t{other}": In(Nothing) for other in others})
    def noop(_context: OpExecutionContext) -> dict[str, int]:
        return work(at)

    return noop


if __name__ == "__main__":
    answer(engine)
