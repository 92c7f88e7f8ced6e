"""Restate: one handler with one durable step for each task, against a server of its own."""

# pyright: basic, reportMissingImports=false
# What it imports is not installed where types are checked.

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import restate
from contract import Dependencies, Run, answer, levels, work
from hypercorn.asyncio import serve
from hypercorn.config import Config

_HOST: Final = "127.0.0.1"
_STARTUP_SECONDS: Final = 120

peers = restate.Service("Peers")


async def noop(at: int) -> dict[str, int]:
    """Do nothing."""
    return work(at)


@peers.handler()
async def all_of(ctx: restate.Context, groups: list[list[int]]) -> list[dict[str, int]]:
    """Run the groups one after another, and each group's steps at the same time."""
    results: list[dict[str, int]] = []
    for group in groups:
        steps = [ctx.run_typed(f"task {at}", noop, at=at) for at in group]
        await restate.gather(*steps)
        results += [await step for step in steps]
    return results


@asynccontextmanager
async def engine(folder: Path) -> AsyncGenerator[Run]:
    """Run the server, and serve the handler in this process."""
    node, admin, ingress, service = (f"{_HOST}:{port}" for port in _free_ports(4))
    stop = asyncio.Event()
    config = Config.from_mapping(bind=[service])
    served = asyncio.create_task(serve(restate.app([peers]), config, shutdown_trigger=stop.wait))
    async with (
        _server(folder, node=node, admin=admin, ingress=ingress),
        restate.create_client(f"http://{ingress}") as client,
    ):
        await _register(f"http://{admin}", f"http://{service}")

        async def run(dependencies: Dependencies) -> Sequence[Any]:
            results = await client.service_call(all_of, arg=levels(dependencies))
            return sorted(results, key=lambda result: result["task"])

        yield run
    stop.set()
    await served


@asynccontextmanager
async def _server(folder: Path, *, node: str, admin: str, ingress: str) -> AsyncGenerator[None]:
    settings = {
        "RESTATE_BASE_DIR": str(folder / "restate"),
        "RESTATE_LISTEN_MODE": "tcp",
        "RESTATE_BIND_ADDRESS": node,
        "RESTATE_ADVERTISED_ADDRESS": f"http://{node}",
        "RESTATE_ADMIN__BIND_ADDRESS": admin,
        "RESTATE_INGRESS__BIND_ADDRESS": ingress,
        "RESTATE_DISABLE_TELEMETRY": "true",
        "RESTATE_LOG_FILTER": "warn",
        "DO_NOT_TRACK": "1",
    }
    process = await asyncio.create_subprocess_exec("restate-server", env=os.environ | settings)
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


async def _register(admin: str, service: str) -> None:
    """Tell the server where the handler is, once it answers."""
    async with httpx.AsyncClient(timeout=30) as http, asyncio.timeout(_STARTUP_SECONDS):
        while True:
            try:
                said = await http.post(f"{admin}/deployments", json={"uri": service})
            except httpx.TransportError:
                pass
            else:
                if said.is_success:
                    return
            await asyncio.sleep(0.2)


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind((_HOST, 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


if __name__ == "__main__":
    answer(engine)
