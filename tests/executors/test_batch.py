"""`batch`: many calls in one activity, and what a crash, a failure or a cancel leaves of them."""

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.executors.running import as_text, cancel_one, run_one, until

from regrow import Status, TaskContext, TaskError, TreeClient, executor_register
from regrow.embedded import EmbeddedServer
from regrow.testing import worker_env

calls: list[Any] = []
running = Counter[str]()
at_once: list[int] = []


@executor_register()
async def half(inputs: dict[str, Any], context: TaskContext) -> Any:
    calls.append((context.idempotency_key, context.attempt, inputs["n"]))
    if inputs["n"] % 2 and context.attempt < inputs.get("works_at", 9):
        lasting = inputs.get("lasting", False)
        raise TaskError(f"{inputs['n']} is odd", error_type="odd", retryable=not lasting)
    return inputs["n"] // 2


@executor_register()
def in_thread(inputs: dict[str, Any]) -> int:
    return inputs["n"] + 1


@executor_register()
async def wait(inputs: dict[str, Any]) -> None:
    running["now"] += 1
    at_once.append(running["now"])
    try:
        await asyncio.sleep(inputs.get("seconds", 60))
    finally:
        running["now"] -= 1
        running["ended"] += 1


@executor_register()
async def large(inputs: dict[str, Any]) -> str:
    return "x" * inputs["size"]


@executor_register()
async def stop(inputs: dict[str, Any]) -> int:
    if inputs["n"] == 0:
        if inputs["how"] == "exit":
            sys.exit(3)
        raise asyncio.CancelledError
    return inputs["n"]


@executor_register()
async def write_into(inputs: dict[str, Any]) -> dict[str, Any]:
    inputs["headers"]["n"] = inputs["n"]
    return inputs["headers"]


@pytest.fixture(autouse=True)
def forget() -> None:
    calls.clear()
    running.clear()
    at_once.clear()


@pytest.fixture(scope="module")
async def client(server: EmbeddedServer) -> AsyncIterator[TreeClient]:
    async with worker_env(
        server.client, half, in_thread, wait, large, stop, write_into
    ) as connected:
        yield connected


def numbers(*given: int, **more: Any) -> list[dict[str, Any]]:
    return [{"n": n, **more} for n in given]


async def test_every_item_has_its_result_in_order(client: TreeClient) -> None:
    ended = await run_one(client, "batch", {"executor": "half", "items": numbers(2, 8, 4)})

    assert ended.result == {"results": [1, 4, 2], "completed": 3, "failed": 0, "errors": []}
    keys = [key.partition("/")[2] for key, _, _ in calls]
    assert keys == ["one[0]", "one[1]", "one[2]"]


async def test_plain_functions_and_common_inputs(client: TreeClient) -> None:
    inputs = {"executor": "in_thread", "inputs": {"n": 1}, "items": [{}, {"n": 5}]}
    ended = await run_one(client, "batch", inputs)

    assert ended.result["results"] == [2, 6]


async def test_no_items_are_fine(client: TreeClient) -> None:
    ended = await run_one(client, "batch", {"executor": "half", "items": []})

    assert ended.result == {"results": [], "completed": 0, "failed": 0, "errors": []}


async def test_its_demo_is_that_of_its_executor(client: TreeClient) -> None:
    items: list[Any] = [{"url": "https://a.test"}]
    inputs = {"executor": "http_request", "items": items}
    task = {"id": "one", "executor": "batch", "inputs": inputs}
    result = await (await client.start([task], demo=True)).result()

    [shown] = result.outputs.values()
    assert isinstance(shown, dict)
    results: Any = shown["results"]
    assert [(each["status_code"], each["url"]) for each in results] == [(200, "https://a.test")]


async def test_so_many_run_at_a_time(client: TreeClient) -> None:
    items = [{"seconds": 0.02}] * 12
    await run_one(client, "batch", {"executor": "wait", "items": items, "max_in_flight": 3})

    assert max(at_once) == 3


async def test_too_many_failures_fail_it_and_name_the_first(client: TreeClient) -> None:
    inputs = {"executor": "half", "items": numbers(2, 3, 5)}
    ended = await run_one(client, "batch", inputs, retry={"maximum_attempts": 1})

    assert ended.failure == ("batch_failed", 1)
    assert ended.task.error == "2 of 3 items failed; the first is [1]: 3 is odd (odd)"
    errors = ended.task.metadata["errors"]
    assert errors == [
        {"index": index, "error": f"{n} is odd", "error_type": "odd"}
        for index, n in ((1, 3), (2, 5))
    ]


async def test_some_failures_may_be_tolerated(client: TreeClient) -> None:
    inputs = {"executor": "half", "items": numbers(2, 3), "tolerate": "50%"}
    ended = await run_one(client, "batch", inputs)

    assert ended.result["results"] == [1, None]
    assert ended.result["failed"] == 1


async def test_the_next_attempt_does_only_what_failed(client: TreeClient) -> None:
    inputs = {"executor": "half", "items": numbers(2, 3, 4, works_at=2)}
    ended = await run_one(client, "batch", inputs)

    assert ended.result["results"] == [1, 1, 2]
    assert ended.task.attempts == 2
    assert sorted((attempt, n) for _, attempt, n in calls) == [(1, 2), (1, 3), (1, 4), (2, 3)]


async def test_a_failure_for_good_is_not_tried_again(client: TreeClient) -> None:
    inputs = {"executor": "half", "items": numbers(2, 3, lasting=True)}
    ended = await run_one(client, "batch", inputs)

    assert ended.failure == ("batch_failed", 1)


@pytest.mark.parametrize(
    ("inputs", "failure"),
    [
        ({"executor": "halv", "items": []}, ("unknown_executor", "did you mean 'half'?")),
        ({"executor": "batch", "items": []}, ("validation_error", "a batch of batches")),
        ({"executor": "half", "items": [1]}, ("validation_error", "items.0")),
    ],
)
async def test_what_cannot_be_called_is_refused(
    client: TreeClient, inputs: Any, failure: tuple[str, str]
) -> None:
    ended = await run_one(client, "batch", inputs, retry={"maximum_attempts": 1})

    assert ended.failure == (failure[0], 1)
    assert failure[1] in (ended.task.error or "")


@pytest.mark.parametrize("how", ["exit", "cancel"])
async def test_an_item_that_ends_itself_ends_nothing_else(client: TreeClient, how: str) -> None:
    items = [{"n": n, "how": how} for n in range(4)]
    inputs = {"executor": "stop", "items": items, "max_in_flight": 1, "tolerate": 1}
    ended = await run_one(client, "batch", inputs)

    assert ended.result["results"] == [None, 1, 2, 3]
    assert ended.result["errors"][0]["error_type"] == "StoppedError"
    assert (await run_one(client, "half", {"n": 2})).result == 1  # the worker goes on


async def test_items_share_nothing_that_they_could_change(client: TreeClient) -> None:
    inputs = {
        "executor": "write_into",
        "items": numbers(1, 2, 3),
        "inputs": {"headers": {"a": 1}},
    }
    ended = await run_one(client, "batch", inputs)

    assert ended.result["results"] == [{"a": 1, "n": n} for n in (1, 2, 3)]


async def test_results_that_history_cannot_hold_fail_it(client: TreeClient) -> None:
    items = [{"size": 600_000}] * 3
    ended = await run_one(client, "batch", {"executor": "large", "items": items})

    assert ended.failure == ("payload_too_large", 1), as_text(ended)


async def test_a_cancel_interrupts_its_items(client: TreeClient) -> None:
    items: list[Any] = [{}] * 5
    inputs = {"executor": "wait", "items": items, "max_in_flight": 2}
    ended = await cancel_one(client, "batch", inputs, lambda: until(lambda: running["now"] == 2))

    assert ended.task.status is Status.CANCELLED
    assert (running["now"], running["ended"]) == (0, 2)


async def test_a_timeout_leaves_no_item_running(client: TreeClient) -> None:
    items: list[Any] = [{}] * 3
    ended = await run_one(
        client,
        "batch",
        {"executor": "wait", "items": items},
        start_to_close_timeout="0.5s",
        retry={"maximum_attempts": 1},
    )

    assert ended.failure[0] == "timeout_error"
    await until(lambda: not running["now"])


async def test_a_secret_in_its_items_is_in_no_history(
    client: TreeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_SECRET_KEY", "s3cr3t-of-the-test")
    items = [{"n": 3, "key": "${{ secrets.KEY }}"}]
    ended = await run_one(client, "batch", {"executor": "half", "items": items, "tolerate": 1})

    assert calls
    assert "s3cr3t-of-the-test" not in ended.traces


SLOW = """
import asyncio, os
from regrow import executor_register

@executor_register()
async def note(inputs):
    with open(inputs["log"], "a") as log:
        print(os.getpid(), inputs["n"], file=log, flush=True)
    await asyncio.sleep(0.25)
    return inputs["n"]
"""


async def test_after_a_crash_it_goes_on_where_it_was(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    log, queue = tmp_path / "log", f"batch-{uuid4().hex[:8]}"
    items = [{"n": n} for n in range(40)]
    inputs = {"executor": "note", "items": items, "max_in_flight": 2, "inputs": {"log": str(log)}}
    worker = _worker(server, queue, tmp_path)
    try:
        client = TreeClient(server.client, task_queue=queue)
        handle = await client.start(
            [{"id": "one", "executor": "batch", "inputs": inputs, "heartbeat_timeout": "2s"}]
        )
        await until(lambda: log.exists() and len(log.read_text().splitlines()) >= 26)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        worker = _worker(server, queue, tmp_path)
        result = await asyncio.wait_for(handle.result(), 60)
    finally:
        worker.kill()
        worker.wait()

    [result] = result.outputs.values()
    assert isinstance(result, dict)
    assert result["results"] == list(range(40))
    done = Counter(int(line.split()[1]) for line in log.read_text().splitlines())
    assert set(done) == set(range(40))
    assert done[0] == done[1] == 1  # kept by the heartbeat
    assert done[39] == 1


def _worker(server: EmbeddedServer, queue: str, folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "regrow", "worker", "--executors", str(folder / "slow.py"),
         "--address", server.address, "-t", queue],
        env=os.environ | {"REGROW_LOG_LEVEL": "ERROR"},
    )  # fmt: skip
