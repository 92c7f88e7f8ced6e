"""What tests share: one real Temporal server for the whole session, a worker for each test."""

import io
import json
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import structlog
from hypothesis import settings

from regrow.embedded import EmbeddedServer, embedded_server
from regrow.logs import configure_logs

# The same examples in every build, so that one that fails says something about the change that it
# builds; `make long` looks for new ones.
LONG = bool(os.environ.get("REGROW_LONG"))
settings.register_profile("regrow", deadline=None, print_blob=True, derandomize=not LONG)
settings.load_profile("regrow")


Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture(scope="session")
async def server() -> AsyncIterator[EmbeddedServer]:
    """A real server; trees are kept apart by their task queues."""
    async with embedded_server() as started:
        yield started


@pytest.fixture
def json_lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    """What a worker writes to stderr off a terminal since it was last asked."""
    root, sdk = logging.getLogger(), logging.getLogger("temporalio.activity")
    handlers, level, filters = root.handlers, root.level, sdk.filters
    config, written = structlog.get_config(), io.StringIO()
    sdk.filters = []
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", written)
        configure_logs(level="INFO", style="json")

    def lines() -> list[dict[str, Any]]:
        text = written.getvalue()
        written.seek(0)
        written.truncate()
        return [json.loads(line) for line in text.splitlines()]

    yield lines
    root.handlers, sdk.filters = handlers, filters
    root.setLevel(level)
    structlog.configure(**config)
