"""Prefect: one flow that submits one task for each, against a server of its own.

Results are kept in files, as its guide of transactions asks of tasks that are not to run again.
"""

# pyright: basic, reportMissingImports=false
# What it imports is not installed where types are checked.

import asyncio
import os
import socket
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError
from urllib.request import urlopen

from contract import Dependencies, Run, answer, work

_HOST: Final = "127.0.0.1"
_STARTUP_SECONDS: Final = 120


@asynccontextmanager
async def engine(folder: Path) -> AsyncGenerator[Run]:
    """Run the server with its SQLite file, and the flow in this process."""
    api = f"http://{_HOST}:{_free_port()}/api"
    os.environ |= {
        "PREFECT_HOME": str(folder),
        "PREFECT_API_URL": api,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "PREFECT_RESULTS_LOCAL_STORAGE_PATH": str(folder / "results"),
        "DO_NOT_TRACK": "1",
    }
    async with _server(api):
        yield _flow_of()


def _flow_of() -> Run:
    """Import Prefect only now: it reads its environment when it is imported."""
    from prefect import flow, task  # noqa: PLC0415

    @task(persist_result=True)
    def noop(at: int) -> dict[str, int]:
        return work(at)

    @flow
    def all_of(dependencies: Dependencies) -> list[dict[str, int]]:
        futures: list[Any] = []
        for at, others in enumerate(dependencies):
            futures.append(noop.submit(at, wait_for=[futures[other] for other in others]))
        return [future.result() for future in futures]

    async def run(dependencies: Dependencies) -> Sequence[Any]:
        return await asyncio.to_thread(all_of, dependencies)

    return run


@asynccontextmanager
async def _server(api: str) -> AsyncGenerator[None]:
    port = api.rsplit(":", 1)[1].removesuffix("/api")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "prefect", "server", "start", "--host", _HOST, "--port", port)
    )
    try:
        await asyncio.to_thread(_wait_for, api)
        yield
    finally:
        process.terminate()
        await process.wait()


def _wait_for(api: str) -> None:
    deadline = time.monotonic() + _STARTUP_SECONDS
    while True:
        try:
            urlopen(f"{api}/health", timeout=5).close()  # noqa: S310 - our own server
        except (URLError, TimeoutError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    answer(engine)
