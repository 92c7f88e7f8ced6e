"""What the guide's examples need: a server that is found by its address, and a worker."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from regrow import TreeClient
from regrow.core.wire import TASK_QUEUE
from regrow.embedded import EmbeddedServer
from regrow.testing import worker_env

Worker = Callable[..., AbstractAsyncContextManager[TreeClient]]


@pytest.fixture
def worker(server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> Worker:
    """A worker with some executors, where `create_session()` finds it: nothing is said by hand."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", server.address)

    def run(*executors: Callable[..., Any]) -> AbstractAsyncContextManager[TreeClient]:
        return worker_env(server.client, *executors, task_queue=TASK_QUEUE)

    return run
