"""What tests share: one real Temporal server for the whole session, a worker for each test."""

import os
from collections.abc import AsyncIterator

import pytest
from hypothesis import settings

from regrow.embedded import EmbeddedServer, embedded_server

# The same examples in every build, so that one that fails says something about the change that it
# builds; `make long` looks for new ones.
LONG = bool(os.environ.get("REGROW_LONG"))
settings.register_profile("regrow", deadline=None, print_blob=True, derandomize=not LONG)
settings.load_profile("regrow")


@pytest.fixture(scope="session")
async def server() -> AsyncIterator[EmbeddedServer]:
    """A real server; trees are kept apart by their task queues."""
    async with embedded_server() as started:
        yield started
