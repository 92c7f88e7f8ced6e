"""DBOS: one workflow with one step for each task, its state in SQLite.

As it comes, SQLite syncs each commit to the disk; with `wal` it has the level of the other peers.
"""

# pyright: basic, reportMissingImports=false
# What it imports is not installed where types are checked.

import asyncio
import sqlite3
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from contract import Dependencies, Run, answer, levels, work
from dbos import DBOS, DBOSConfig
from sqlalchemy import Engine, create_engine, event


@DBOS.step()
async def noop(at: int) -> dict[str, int]:
    """Do nothing."""
    return work(at)


@DBOS.workflow()
async def all_of(groups: list[list[int]]) -> list[dict[str, int]]:
    """Run the groups one after another, and each group's steps at the same time."""
    results: list[dict[str, int]] = []
    for group in groups:
        results += await asyncio.gather(*(noop(at) for at in group))
    return results


@asynccontextmanager
async def engine(folder: Path) -> AsyncGenerator[Run]:
    """Launch DBOS in this process."""
    url = f"sqlite:///{folder / 'dbos.sqlite'}"
    config = DBOSConfig(name="peers", system_database_url=url, log_level="ERROR")
    if "wal" in sys.argv:
        config["system_database_engine"] = _wal_engine(url)
    DBOS(config=config)
    DBOS.launch()

    async def run(dependencies: Dependencies) -> Sequence[Any]:
        handle = await DBOS.start_workflow_async(all_of, levels(dependencies))
        return sorted(await handle.get_result(), key=lambda result: result["task"])

    yield run
    DBOS.destroy()


def _wal_engine(url: str) -> Engine:
    """Make the engine that DBOS makes, and have it write ahead."""
    made = create_engine(url)

    @event.listens_for(made, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = "IMMEDIATE"
        for pragma in (
            "busy_timeout=30000",
            "foreign_keys=ON",
            "journal_mode=WAL",
            "synchronous=NORMAL",
        ):
            connection.execute(f"PRAGMA {pragma}")

    return made


if __name__ == "__main__":
    answer(engine)
