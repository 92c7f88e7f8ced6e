"""One worker for all that the tests of executors run; settings are read at each call."""

from collections.abc import AsyncIterator

import pytest

from regrow import TreeClient
from regrow.embedded import EmbeddedServer
from regrow.testing import worker_env


@pytest.fixture(scope="session")
async def client(server: EmbeddedServer) -> AsyncIterator[TreeClient]:
    """A client whose worker has the built-in executors."""
    async with worker_env(server.client) as connected:
        yield connected


@pytest.fixture
def loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow executors to connect to peers of the test."""
    monkeypatch.setenv("REGROW_HTTP_ALLOW", "127.0.0.0/8,::1")
