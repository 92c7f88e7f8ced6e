"""Run one built-in executor as people do: a tree of one task, on a real server and worker.

And look at what it left behind: `traces` is all that history, memo and logs hold, decoded, so that
a test can say that a secret is nowhere in it.
"""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from structlog.testing import capture_logs

from regrow import Status, TaskResult, TreeCancelled, TreeClient, TreeFailed, TreeHandle
from regrow.testing import assert_replays

_PATIENCE: Final = 40
_ONE: Final = "one"
_QUICK: Final = {"retry": {"initial_interval": "50ms"}, "heartbeat_timeout": "3s"}


@dataclass(frozen=True)
class Ended:
    """How the task ended, and everything that it left in history and logs, as text."""

    task: TaskResult
    traces: str

    @property
    def result(self) -> Any:
        return self.task.result

    @property
    def failure(self) -> tuple[str | None, int | None]:
        """Give the error type and the attempts."""
        assert self.task.status is Status.FAILED, self.task
        return self.task.error_type, self.task.attempts


async def run_one(client: TreeClient, executor: str, inputs: dict[str, Any], **task: Any) -> Ended:
    """Run a tree of one task to its end; other keywords are fields of the task."""
    with capture_logs() as logs:
        handle = await _start(client, executor, inputs, task)
        return await _ended(handle, logs)


async def cancel_one(
    client: TreeClient,
    executor: str,
    inputs: dict[str, Any],
    when: Callable[[], Awaitable[object]],
    **task: Any,
) -> Ended:
    """Start a tree of one task, cancel the task once `when()` returns, and give its end."""
    with capture_logs() as logs:
        handle = await _start(client, executor, inputs, task)
        async with asyncio.timeout(_PATIENCE):
            await when()
        await handle.cancel_task(_ONE, "no longer wanted")
        return await _ended(handle, logs)


async def until(is_so: Callable[[], object], patience: float = _PATIENCE) -> None:
    """Wait for a state of a peer, which tells nobody of it."""
    async with asyncio.timeout(patience):
        while not is_so():  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.02)


async def _start(
    client: TreeClient, executor: str, inputs: dict[str, Any], task: dict[str, Any]
) -> TreeHandle:
    one = {"id": _ONE, "executor": executor, "inputs": inputs, **_QUICK, **task}
    return await client.start({"name": executor, "tasks": [one]})


async def _ended(handle: TreeHandle, logs: list[Any]) -> Ended:
    async with asyncio.timeout(_PATIENCE):
        try:
            result = await handle.result()
        except (TreeFailed, TreeCancelled) as end:
            result = end.result
    history = await handle.workflow_handle.fetch_history()
    await assert_replays(history)
    texts = _texts(history.to_json_dict())
    return Ended(result.tasks[_ONE], "\n".join([*texts, *map(repr, logs)]))


def _texts(value: Any) -> Iterator[str]:
    """Give every text in a history, payloads decoded."""
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:  # pyright: ignore[reportUnknownVariableType]
            yield from _texts(each)
    elif isinstance(value, str):
        yield value
        try:
            yield base64.b64decode(value, validate=True).decode()
        except ValueError:
            return


def as_text(ended: Ended) -> str:
    """Give the task's end as JSON, for looking at errors and metadata in one piece."""
    return json.dumps(ended.task.model_dump(mode="json"))
