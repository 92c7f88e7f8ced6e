"""Run the `regrow` command as its users do: in a process of its own."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

COMMAND: Final = (sys.executable, "-m", "regrow")
PATIENCE: Final = 90
PORTS: Final = (10_000, 20_000)

EXECUTORS: Final = '''
import asyncio
import os
import time
from pathlib import Path

from regrow import TaskContext, executor_register


@executor_register()
async def noop(inputs):
    return inputs.get("value")


@executor_register()
async def nap(inputs):
    await asyncio.sleep(inputs.get("seconds", 1))
    return {"slept": inputs.get("seconds", 1)}


@executor_register()
async def fail(inputs):
    return {"status": "failed", "error": "it broke", "error_type": "broken"}


@executor_register(heartbeat_timeout="2s", retry={"initial_interval": "0.1s"})
def write_line(inputs, context: TaskContext):
    """Say in a file that it ran, so that a test can count."""
    with Path(os.environ["LOG_FILE"]).open("a") as log:
        log.write(f"start {context.task_id} {context.idempotency_key}\\n")
    time.sleep(inputs.get("seconds", 0.1))
    with Path(os.environ["LOG_FILE"]).open("a") as log:
        log.write(f"done {context.task_id}\\n")
    return context.attempt
'''


class Shell:
    """A directory with executors in it, and an environment without a server."""

    def __init__(self, directory: Path, **env: str) -> None:
        self.directory = directory
        self.executors = directory / "probe.py"
        self.executors.write_text(EXECUTORS)
        clean = {key: value for key, value in os.environ.items() if not key.startswith("TEMPORAL_")}
        self.env = {**clean, "LOG_FILE": str(directory / "log.txt"), **env}

    def write(self, name: str, document: Any) -> Path:
        path = self.directory / name
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return path

    def run(self, *args: str | Path, timeout: float = PATIENCE) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *map(str, args)],
            cwd=self.directory,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    @contextmanager
    def running(self, *args: str | Path) -> Generator[subprocess.Popen[str]]:
        """A command that goes on beside the test; killed at the end if it still does."""
        with subprocess.Popen(
            [*COMMAND, *map(str, args)],
            cwd=self.directory,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def log(self) -> list[str]:
        path = Path(self.env["LOG_FILE"])
        return path.read_text().splitlines() if path.exists() else []


def wait_until(condition: Any, *, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def free_port() -> int:
    """Find a port below those that the system hands out, to servers' own parts for instance."""
    while True:
        port = random.randrange(*PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def until_serving(process: subprocess.Popen[str], port: int) -> None:
    """Wait for a server; one that could not start has said why."""
    wait_until(lambda: process.poll() is not None or answers(port), seconds=PATIENCE)
    assert process.poll() is None, process.communicate()[1]


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def interrupt(process: subprocess.Popen[str], number: int = signal.SIGINT) -> tuple[str, str]:
    process.send_signal(number)
    return process.communicate(timeout=PATIENCE)


def children_of(pid: int) -> list[int]:
    """The processes that a process has started, all the way down."""
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError):
            continue
        if parent == pid:
            found += [int(entry.name), *children_of(int(entry.name))]
    return found


def alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
