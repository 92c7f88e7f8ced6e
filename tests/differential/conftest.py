"""apflow in an environment of its own, made once and kept, and a worker with the same executor."""

import fcntl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
from tests.differential.probe import Probe
from tests.differential.sides import Apflow

from regrow import TreeClient
from regrow.embedded import EmbeddedServer
from regrow.testing import worker_env

VERSION: Final = "0.24.0"
_INSTALL: Final = ("pip", "install", "--quiet", "--retries", "1", f"apflow=={VERSION}", "greenlet")


@pytest.fixture(scope="session")
def apflow(request: pytest.FixtureRequest) -> Apflow:
    """The other side; skipped where it cannot be installed."""
    cache = request.config.cache
    assert cache is not None
    place = cache.mkdir(f"apflow-{VERSION}-{sys.version_info.major}.{sys.version_info.minor}")
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other processes of the same test run want it, too
        return Apflow(_environment(place))


def _environment(place: Path) -> Path:
    python, ready = place / "bin" / "python", place / "ready"
    if not ready.exists():
        _call(sys.executable, "-m", "venv", str(place))
        _call(str(python), "-m", *_INSTALL)
        _call(str(python), "-c", "import apflow.core.execution.task_executor")
        ready.touch()
    return python


def _call(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().rpartition("\n")[2]
        pytest.skip(f"apflow {VERSION} cannot be installed: {last}")


@pytest.fixture(scope="session")
async def client(server: EmbeddedServer) -> AsyncIterator[TreeClient]:
    async with worker_env(server.client, Probe) as connected:
        yield connected
