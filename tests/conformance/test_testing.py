"""The guide's section "Testing Strategies": rows TS-1, TS-2 and TS-3."""

import base64
import json
from typing import Any
from unittest.mock import AsyncMock, patch

import aiohttp
import pytest
from aiohttp import web
from pydantic import BaseModel
from temporalio.client import WorkflowHistory
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment
from temporalio.workflow import NondeterminismError
from tests.conformance.running import finished, histories, run_tree, started, task, tree

from regrow import BaseTask, Status, TaskContext, executor_register
from regrow.activities.host import ExecutorHost
from regrow.embedded import EmbeddedServer
from regrow.executors import Registry
from regrow.testing import assert_replays, tree_env, worker_env

Guide = dict[str, Any]


@executor_register()
class UserDataFetcher(BaseTask):
    """The real one: in tests of trees it is replaced."""

    id = "user_data_fetcher"

    async def execute(self, inputs: Guide) -> Guide:
        if "user_id" not in inputs:
            return {"status": "failed", "error": "user_id is required"}
        return {"status": "completed", "result": {"user_id": inputs["user_id"]}}


class Greeting(BaseModel):
    name: str


@executor_register("greet")
def greet(inputs: Greeting, context: TaskContext) -> str:
    return f"{context.task_id}: hello {inputs.name}"


async def test_ts1_an_executor_is_callable_without_temporal() -> None:
    executor = UserDataFetcher()

    result = await executor.execute({"user_id": "123"})
    assert result["status"] == "completed"
    assert "user_id" in result["result"]

    result = await executor.execute({})
    assert result["status"] == "failed"
    assert "error" in result

    assert greet(Greeting(name="ann"), TaskContext(task_id="t")) == "t: hello ann"


async def test_ts1_an_executor_runs_in_temporals_activity_environment() -> None:
    async with ExecutorHost(Registry(UserDataFetcher, greet)) as host:
        fetch, hello, *_ = host.activities()
        answers = [
            json.loads((await ActivityEnvironment().run(activity, inputs)).payload.data)
            for activity, inputs in ((fetch, {"user_id": "123"}), (hello, {"name": "ann"}))
        ]
        with pytest.raises(ApplicationError) as failure:
            await ActivityEnvironment().run(hello, {})

    assert [answer["result"] for answer in answers] == [{"user_id": "123"}, "test: hello ann"]
    assert failure.value.type == "validation_error"
    assert failure.value.non_retryable


@executor_register()
class UserDataProcessor(BaseTask):
    """Needs what the fetcher found."""

    async def execute(self, inputs: Guide) -> Guide:
        return {"status": "completed", "result": {"processed": inputs["fetch"]["user_id"]}}


PIPELINE = tree(
    task("fetch", executor="user_data_fetcher", inputs={"user_id": "123"}),
    task("process", "fetch!", executor="user_data_processor"),
    user_id="test_user",
)


async def test_ts2_a_pipeline_completes_on_a_real_server(server: EmbeddedServer) -> None:
    async with worker_env(server.client, UserDataFetcher, UserDataProcessor) as client:
        result = await run_tree(client, PIPELINE)

    fetch, process = result.tasks.values()
    assert (fetch.status, process.status) == (Status.COMPLETED, Status.COMPLETED)
    assert process.result == {"processed": "123"}
    assert started(process) >= finished(fetch)


async def test_ts2_a_pipeline_completes_on_the_time_skipping_server() -> None:
    executors = (UserDataFetcher, UserDataProcessor)
    async with tree_env(*executors, time_skipping=True) as client:
        handle = await client.start(PIPELINE)
        result = await handle.result()
        await assert_replays(*await histories(client, handle))

    assert result.outputs == {"process": {"processed": "123"}}


async def test_ts2_a_break_of_determinism_is_detected(server: EmbeddedServer) -> None:
    async with worker_env(server.client, UserDataFetcher, UserDataProcessor) as client:
        handle = await client.start(PIPELINE)
        await handle.result()
        [history] = await histories(client, handle)

    await assert_replays(history)
    text = json.dumps(PIPELINE)
    for changed in (
        text.replace('"fetch"', '"other"'),
        text.replace("user_data_processor", "user_data_fetcher"),
    ):
        with pytest.raises(NondeterminismError):
            await assert_replays(_with_document(history, changed))


def _with_document(history: WorkflowHistory, document: str) -> WorkflowHistory:
    """Pretend that the tree was started with another document."""
    shape = history.to_json_dict()
    payload = shape["events"][0]["workflowExecutionStartedEventAttributes"]["input"]["payloads"][0]
    payload["data"] = base64.b64encode(document.encode()).decode()
    return WorkflowHistory.from_json(history.workflow_id, shape)


async def test_ts3_a_stand_in_replaces_an_executor_by_its_id(server: EmbeddedServer) -> None:
    @executor_register("user_data_fetcher")
    async def stand_in(inputs: Guide) -> Guide:
        return {"user_id": f"fake {inputs['user_id']}"}

    async with worker_env(server.client, stand_in, UserDataProcessor) as client:
        result = await run_tree(client, PIPELINE)

    assert result.outputs == {"process": {"processed": "fake 123"}}


async def test_ts3_http_request_talks_to_a_local_server(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_HTTP_ALLOW", "127.0.0.1")

    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"data": "test", "path": request.path})

    app = web.Application()
    app.router.add_get("/users/{id}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        host, port = runner.addresses[0]
        url = f"http://{host}:{port}/users/123"
        async with worker_env(server.client) as client:
            result = await run_tree(
                client, tree(task("call", executor="http_request", inputs={"url": url}))
            )
    finally:
        await runner.cleanup()

    call = result.tasks["call"]
    assert call.status is Status.COMPLETED
    assert isinstance(call.result, dict)
    assert call.result["body"] == {"data": "test", "path": "/users/123"}


@executor_register()
class APICallExecutor(BaseTask):
    """An executor of the guide's kind."""

    async def execute(self, inputs: Guide) -> Guide:
        async with (
            aiohttp.ClientSession() as session,
            # The guide's mock of `request` is to be awaited; so may the real one be.
            await session.request("GET", inputs["url"]) as response,
        ):
            return {"status": "completed", "data": await response.json()}


async def test_ts3_a_patched_client_serves_an_executor_of_the_guides_kind(
    server: EmbeddedServer,
) -> None:
    inputs = {"url": "https://api.example.com"}
    with patch("aiohttp.ClientSession") as mock_session:
        mock_response = AsyncMock()
        mock_response.json = AsyncMock(return_value={"data": "test"})
        mock_response.status = 200
        session = mock_session.return_value.__aenter__.return_value
        session.request.return_value.__aenter__.return_value = mock_response

        direct = await APICallExecutor().execute(inputs)
        async with worker_env(server.client, APICallExecutor) as client:
            result = await run_tree(
                client, tree(task("call", executor="api_call_executor", inputs=inputs))
            )

    assert direct == {"status": "completed", "data": {"data": "test"}}
    assert result.tasks["call"].result == {"data": {"data": "test"}}
