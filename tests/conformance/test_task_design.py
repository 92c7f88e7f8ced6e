"""The guide's section "Task Design": rows TD-1, TD-3, TD-4 and TD-5."""

import asyncio
import threading
import time
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel
from structlog.testing import capture_logs
from tests.conformance.executors import Broken, Nap, nap
from tests.conformance.running import overlap, run_tree, scheduled, spent, task, tree

from regrow import BaseTask, Status, executor_register
from regrow.embedded import EmbeddedServer
from regrow.testing import worker_env

Guide = dict[str, Any]


@executor_register()
class FetchUserData(BaseTask):
    """Fetches user data from API"""

    async def execute(self, inputs: Guide) -> Guide:
        return {"status": "completed", "result": {"id": inputs["user_id"], "name": "ann"}}


@executor_register()
class ProcessUserData(BaseTask):
    """Processes user data"""

    async def execute(self, inputs: Guide) -> Guide:
        user = inputs["fetch"]
        return {"status": "completed", "result": {**user, "name": user["name"].title()}}


@executor_register()
class SaveUserData(BaseTask):
    """Saves user data to database"""

    async def execute(self, inputs: Guide) -> Guide:
        return {"status": "completed", "result": {"saved": inputs["process"]}}


async def test_td1_each_executor_is_its_own_activity(server: EmbeddedServer) -> None:
    document = tree(
        task("fetch", executor="fetch_user_data", inputs={"user_id": "123"}, name="Fetch"),
        task("process", "fetch!", executor="process_user_data"),
        task("save", "process!", executor="save_user_data"),
    )
    async with worker_env(server.client, FetchUserData, ProcessUserData, SaveUserData) as client:
        result = await run_tree(client, document)
        activities = await scheduled(client, result.tree_id)

    assert result.status is Status.COMPLETED
    assert result.outputs == {"save": {"saved": {"id": "123", "name": "Ann"}}}
    assert [(task_id, each.activity_type.name) for task_id, each in activities.items()] == [
        ("fetch", "fetch_user_data"),
        ("process", "process_user_data"),
        ("save", "save_user_data"),
    ]


@executor_register(retry={"maximum_attempts": 5})
class CheckedUrl(BaseTask):
    """Validates its inputs as the guide shows."""

    async def execute(self, inputs: Guide) -> Guide:
        url = inputs.get("url")
        if not url:
            return _failed("URL is required", "validation_error")
        if not isinstance(url, str):
            return _failed("URL must be a string", "type_error")
        if not url.startswith(("http://", "https://")):
            return _failed("URL must start with http:// or https://", "validation_error")
        return {"status": "completed", "result": url}


def _failed(error: str, error_type: str) -> Guide:
    return {"status": "failed", "error": error, "error_type": error_type}


async def test_td3_invalid_inputs_fail_the_task_in_one_attempt(server: EmbeddedServer) -> None:
    cases: dict[str, Guide] = {
        "missing": {},
        "number": {"url": 7},
        "ftp": {"url": "ftp://example.test"},
        "good": {"url": "https://example.test"},
    }
    tasks = [task(name, executor="checked_url", inputs=inputs) for name, inputs in cases.items()]
    async with worker_env(server.client, CheckedUrl) as client:
        result = await run_tree(client, tree(*tasks))

    assert {name: (end.error_type, end.error) for name, end in result.tasks.items()} == {
        "missing": ("validation_error", "URL is required"),
        "number": ("type_error", "URL must be a string"),
        "ftp": ("validation_error", "URL must start with http:// or https://"),
        "good": (None, None),
    }
    assert [end.attempts for end in result.tasks.values()] == [1, 1, 1, 1]


class FetchUrl(BaseModel):
    url: str
    depth: int = 1


async def test_td3_typed_inputs_are_refused_before_the_executor_runs(
    server: EmbeddedServer,
) -> None:
    seen: list[FetchUrl] = []

    @executor_register("fetch", retry={"maximum_attempts": 5})
    async def fetch(inputs: FetchUrl) -> str:
        seen.append(inputs)
        return inputs.url

    document = tree(
        task("bad", executor="fetch", inputs={"url": 7, "depth": "deep"}),
        task("good", executor="fetch", inputs={"url": "https://example.test"}),
    )
    async with worker_env(server.client, fetch) as client:
        result = await run_tree(client, document)

    bad = result.tasks["bad"]
    assert (bad.status, bad.error_type, bad.attempts) == (Status.FAILED, "validation_error", 1)
    assert "url: " in (bad.error or "")
    assert "depth: " in (bad.error or "")
    assert seen == [FetchUrl(url="https://example.test")]


async def test_td4_every_outcome_has_the_same_shape(server: EmbeddedServer) -> None:
    keys = "status result error error_type because attempts started_at finished_at metadata"
    document = tree(
        task("good", executor="nap", inputs={"seconds": 0}),
        task("bad", executor="broken"),
        task("blocked", "bad!", executor="nap"),
        task("idle", executor="nap", when="`false`"),
        task("all", "good!", "bad?", executor="aggregate_results"),
    )
    async with worker_env(server.client, nap, Broken) as client:
        result = await run_tree(client, document)
        answers = [
            await client.client.get_workflow_handle(result.tree_id).query("task", task_id)
            for task_id in result.tasks
        ]

    assert [sorted(answer) for answer in answers] == [sorted(keys.split())] * 5
    assert [answer["status"] for answer in answers] == [
        "completed", "failed", "skipped", "skipped", "completed",
    ]  # fmt: skip


async def test_td4_a_bare_value_is_wrapped_and_metadata_is_kept(server: EmbeddedServer) -> None:
    @executor_register("answer")
    async def answer(inputs: Guide) -> Any:
        answers: dict[str, Any] = {
            "guide": {
                "status": "completed",
                "result": {"rows": 3},
                "metadata": {"processed_at": "today", "input_count": 1},
            },
            "extra": {"status": "completed", "result": 1, "cached": True},
            "unnamed": {"status": "completed", "data": [1], "content": "x"},
            "plain": {"output": 1, "success": True},
            "number": 7,
            "nothing": None,
            "typed": datetime(2030, 1, 31, tzinfo=UTC),
        }
        return answers[inputs["kind"]]

    results = {
        "guide": {"rows": 3},
        "extra": 1,
        "unnamed": {"data": [1], "content": "x"},
        "plain": {"output": 1, "success": True},
        "number": 7,
        "nothing": None,
        "typed": "2030-01-31T00:00:00Z",
    }
    tasks = [task(kind, executor="answer", inputs={"kind": kind}) for kind in results]
    async with worker_env(server.client, answer) as client:
        result = await run_tree(client, tree(*tasks))

    assert result.outputs == results
    assert {end.status for end in result.tasks.values()} == {Status.COMPLETED}
    assert (
        result.tasks["guide"].metadata.items()
        >= {"processed_at": "today", "input_count": 1}.items()
    )
    assert result.tasks["extra"].metadata["cached"] is True


async def test_td4_a_result_that_is_not_json_fails_the_task_at_once(server: EmbeddedServer) -> None:
    circle: list[Any] = []
    circle.append(circle)
    values: dict[str, Any] = {
        "object": object(),
        "nan": float("nan"),
        "inside": {"status": "completed", "result": {"deep": [threading.Lock()]}},
        "metadata": {"status": "completed", "result": 1, "metadata": {"lock": threading.Lock()}},
        "bytes": b"\xff\xfe",
        "circle": circle,
        "surrogate": "\ud800",
    }

    @executor_register("answer")
    async def answer(inputs: Guide) -> Any:
        return values[inputs["kind"]]

    tasks = [task(kind, executor="answer", inputs={"kind": kind}) for kind in values]
    async with worker_env(server.client, answer) as client:
        result = await run_tree(client, tree(*tasks))

    assert result.status is Status.FAILED
    assert {
        kind: (end.error_type, end.attempts) for kind, end in result.tasks.items()
    } == dict.fromkeys(values, ("contract_error", 1))
    assert all(
        "answer returned what JSON cannot hold" in (end.error or "")
        for end in result.tasks.values()
    )


async def test_td5_async_executors_share_one_loop_and_run_at_once(server: EmbeddedServer) -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    @executor_register("wait")
    async def wait(inputs: Nap) -> None:
        loops.append(asyncio.get_running_loop())
        await asyncio.sleep(inputs.seconds)

    tasks = [task(f"t{n}", executor="wait", inputs={"seconds": 0.5}) for n in range(50)]
    async with worker_env(server.client, wait) as client:
        result = await run_tree(client, tree(*tasks))

    assert result.counts["completed"] == 50
    assert len({id(loop) for loop in loops}) == 1
    assert loops[0] is not asyncio.get_running_loop()
    assert spent(result) < 5  # one after another they would take 25 s


async def test_td5_sync_executors_run_in_threads_and_block_nobody(server: EmbeddedServer) -> None:
    threads: list[str] = []
    gaps: list[float] = []

    @executor_register("block")
    def block(inputs: Nap) -> None:
        threads.append(threading.current_thread().name)
        time.sleep(inputs.seconds)

    @executor_register("tick")
    async def tick(inputs: Guide) -> None:
        for _ in range(10):
            before = time.monotonic()
            await asyncio.sleep(0.05)
            gaps.append(time.monotonic() - before)

    blocks = [task(f"b{n}", executor="block", inputs={"seconds": 0.6}) for n in range(10)]
    async with worker_env(server.client, block, tick) as client:
        result = await run_tree(client, tree(*blocks, task("tick", executor="tick")))

    assert result.status is Status.COMPLETED
    assert len(set(threads)) == 10
    assert overlap(*(end for name, end in result.tasks.items() if name != "tick"))
    assert max(gaps) < 0.5


async def test_td5_an_async_executor_that_blocks_is_reported_and_harms_no_thread(
    server: EmbeddedServer,
) -> None:
    @executor_register("blocks")
    async def blocks(inputs: Guide) -> None:
        time.sleep(1.8)  # noqa: ASYNC251 - the very mistake

    @executor_register("neighbour", heartbeat_timeout="1s", retry={"maximum_attempts": 1})
    def neighbour(inputs: Guide) -> str:
        time.sleep(2.2)
        return "alive"

    document = tree(task("bad", executor="blocks"), task("good", executor="neighbour"))
    async with worker_env(server.client, blocks, neighbour) as client:
        with capture_logs() as lines:
            result = await run_tree(client, document)

    warnings = [line for line in lines if line["event"] == "executor.blocks_loop"]
    assert result.status is Status.COMPLETED
    assert result.tasks["good"].attempts == 1
    assert [line["log_level"] for line in warnings] == ["warning"]
    assert "blocks" in str(warnings[0]["task"])
    assert "bad" in str(warnings[0]["task"])
