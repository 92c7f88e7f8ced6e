"""What tests share: one real Temporal server for the whole session, a worker for each test."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import settings

from regrow.embedded import EmbeddedServer, embedded_server

settings.register_profile("ci", deadline=None, print_blob=True, derandomize=False)
settings.load_profile("ci")


@pytest.fixture(scope="session")
async def server() -> AsyncIterator[EmbeddedServer]:
    """A real server; trees are kept apart by their task queues."""
    async with embedded_server() as started:
        yield started
