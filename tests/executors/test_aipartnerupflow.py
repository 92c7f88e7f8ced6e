"""Documents of aipartnerupflow, with its executor ids and input names, run as they are."""

import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.executors import (
    test_docker_run,
    test_http_request,
    test_llm_chat,
    test_send_email,
    test_ssh_command,
    test_websocket_send,
)
from tests.executors.peers import grpc_shop, mcp_tools
from tests.executors.running import run_one

from regrow import TaskContext, TreeClient
from regrow.activities.catalogue.aipartnerupflow import command_executor
from regrow.executors import Registry

pytestmark = pytest.mark.usefixtures("loopback")

double = test_docker_run.double
host = test_ssh_command.host
mx = test_send_email.mx
stranger = test_ssh_command.stranger


async def answer(request: web.Request) -> web.Response:
    if request.path == "/broken":
        return web.json_response({"error": "no"}, status=404)
    said = {
        "query": dict(request.query),
        "key": request.headers.get("X-Key") or request.headers.get("Authorization"),
        "form": dict(await request.post()) if request.method == "PUT" else None,
        "json": await request.json() if request.method == "POST" else None,
    }
    return web.json_response(said)


@pytest.fixture
async def peers(
    mx: test_send_email.Server, host: test_ssh_command.Host, double: Any
) -> AsyncIterator[dict[str, Any]]:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        yield {
            "http": await enter(test_http_request.serving(answer)),
            "ws": await enter(test_websocket_send.serving(test_websocket_send.echo)),
            "grpc": await enter(grpc_shop.serving()),
            "llm": await enter(test_llm_chat.serving()),
            "ssh": host,
        }


def array_of(peers: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Write a tree as that system's clients do."""
    inputs: dict[str, dict[str, Any]] = {
        "rest_executor": {
            "url": f"{peers['http']}/users",
            "method": "POST",
            "params": {"page": 2},
            "json": {"name": "Ann"},
            "auth": {"type": "bearer", "token": "t-1"},
            "timeout": 10,
        },
        "command_executor": {"command": "echo 'two words' three", "timeout": 10},
        "system_info_executor": {"resource": "all"},
        "websocket_executor": {"url": peers["ws"], "message": {"n": 1}, "timeout": 10.0},
        "grpc_executor": {
            "server": peers["grpc"].target,
            "service": grpc_shop.SERVICE,
            "method": "Get",
            "request": {"orderId": "7"},
        },
        "mcp_executor": {
            "transport": "stdio",
            "operation": "call_tool",
            "command": [sys.executable, str(mcp_tools.__file__), str(folder)],
            "tool_name": "add",
            "arguments": {"a": 1, "b": 2},
        },
        "llm_executor": {
            "model": "gpt-4",
            "messages": [{"role": "user", "content": "hi"}],
            "api_base": peers["llm"].url,
            "api_key": "k",
            "stream": False,
        },
        "ssh_executor": {
            **peers["ssh"].inputs,
            "password": test_ssh_command.PASSWORD,
            "command": "echo far",
        },
        "docker_executor": {
            "image": test_docker_run.IMAGE,
            "command": "echo boxed",
            "resources": {"cpu": "0.5", "memory": "256m"},
            "remove": True,
        },
        "send_email_executor": {
            "to": "bob@shop.test",
            "from_email": "ann@shop.test",
            "subject": "done",
            "body": "it is done",
        },
    }
    tasks: list[dict[str, Any]] = [
        {
            "id": name.partition("_")[0],
            "name": f"step {at}",
            "user_id": "acme",
            "priority": at % 4,
            "schemas": {"method": name, "type": "test"},
            "inputs": given,
        }
        for at, (name, given) in enumerate(inputs.items())
    ]
    ids = [task["id"] for task in tasks]
    return [
        *tasks,
        {
            "id": "all",
            "name": "all together",
            "user_id": "acme",
            "params": {"executor_id": "aggregate_results_executor"},
            "dependencies": [{"id": each, "required": True} for each in ids],
            "inputs": {},
        },
    ]


async def test_an_array_with_all_its_executors_runs_unchanged(
    client: TreeClient,
    peers: dict[str, Any],
    mx: test_send_email.Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REGROW_COMMAND_ALLOW", f"echo,{sys.executable}")
    monkeypatch.setenv("REGROW_DOCKER_IMAGES", test_docker_run.IMAGE)
    handle = await client.start(array_of(peers, tmp_path))
    result = await handle.result()

    [gathered] = result.outputs.values()
    assert isinstance(gathered, dict)
    assert gathered["result_count"] == 10
    told: Any = gathered["results"]
    assert all(each["success"] for name, each in told.items() if name != "system")
    assert told["rest"]["json"] == {
        "query": {"page": "2"},
        "key": "Bearer t-1",
        "form": None,
        "json": {"name": "Ann"},
    }
    assert (told["rest"]["status_code"], told["rest"]["method"]) == (200, "POST")
    assert json.loads(told["rest"]["body"]) == told["rest"]["json"]
    assert (told["command"]["stdout"], told["command"]["return_code"]) == ("two words three", 0)
    assert set(told["system"]) == {"cpu", "memory", "disk"}
    assert told["system"]["cpu"]["cores"] > 0
    assert told["system"]["memory"]["total_gb"] > 0
    assert told["websocket"]["response"] == {"n": 1}
    assert told["grpc"]["response"]["orderId"] == "7"
    assert told["mcp"]["result"]["structuredContent"] == {"result": 3}
    assert told["llm"]["content"] == "Hello"
    assert told["llm"]["data"]["usage"]["total_tokens"] == 9
    assert (told["ssh"]["stdout"], told["ssh"]["return_code"]) == ("far\n", 0)
    assert (told["docker"]["logs"], told["docker"]["exit_code"]) == ("boxed\n", 0)
    assert [message["Subject"] for _, message in mx.mails] == ["done"]


@pytest.mark.parametrize(
    ("auth", "seen"),
    [
        ({"type": "basic", "username": "a", "password": "b"}, "Basic YTpi"),
        ({"type": "apikey", "key": "X-Key", "value": "v"}, "v"),
    ],
)
async def test_rest_knows_the_other_kinds_of_auth(
    client: TreeClient, auth: dict[str, Any], seen: str
) -> None:
    async with test_http_request.serving(answer) as url:
        ended = await run_one(client, "rest_executor", {"url": url, "auth": auth})

    assert ended.result["json"]["key"] == seen


async def test_rest_sends_forms_and_keys_in_the_query(client: TreeClient) -> None:
    auth = {"type": "apikey", "key": "k", "value": "v", "location": "query"}
    inputs = {"method": "PUT", "data": {"a": "1 2", "b": ["x"]}, "auth": auth}
    async with test_http_request.serving(answer) as url:
        ended = await run_one(client, "rest_executor", {"url": url, **inputs})

    assert ended.result["json"]["form"] == {"a": "1 2", "b": "x"}
    assert ended.result["json"]["query"] == {"k": "v"}


async def test_what_fails_fails_its_task(
    client: TreeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_COMMAND_ALLOW", "false")
    async with test_http_request.serving(answer) as url:
        ended = await run_one(client, "rest_executor", {"url": f"{url}/broken"})
    assert ended.failure == ("http_error", 1)
    ended = await run_one(client, "command_executor", {"command": "false"})
    assert ended.failure == ("command_failed", 1)


@pytest.mark.parametrize(
    ("executor", "inputs", "failure", "said"),
    [
        ("command_executor", {"command": "ls | wc"}, "validation_error", "no shell reads"),
        ("command_executor", {"command": "ls; id"}, "validation_error", "no shell reads"),
        ("command_executor", {"command": "ls 'a"}, "validation_error", "cannot be read"),
        ("command_executor", {"command": "ls"}, "not_allowed", "REGROW_COMMAND_ALLOW"),
        ("command_executor", {}, "validation_error", "argv"),
        ("ssh_executor", {"key_file": "~/.ssh/id"}, "not_allowed", "REGROW_SSH_KEYS"),
        ("docker_executor", {"volumes": {"/": "/x"}}, "not_allowed", "no mounts"),
        ("mcp_executor", {"cwd": "/"}, "not_allowed", "worker's directory"),
        ("send_email_executor", {"provider": "resend"}, "validation_error", "REGROW_SMTP_URL"),
        ("send_email_executor", {"smtp_host": "mx"}, "not_allowed", "REGROW_SMTP_URL"),
        ("rest_executor", {}, "validation_error", "url"),
    ],
)
async def test_what_a_tree_may_not_say_is_refused_by_name(
    client: TreeClient, executor: str, inputs: dict[str, Any], failure: str, said: str
) -> None:
    ended = await run_one(client, executor, inputs)

    assert ended.failure == (failure, 1)
    assert said in (ended.task.error or "")


async def test_quoted_signs_of_a_shell_are_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGROW_COMMAND_ALLOW", "echo")
    echo = Registry(command_executor)["command_executor"]
    result = await echo.call({"command": "echo 'a | b' \"c;d\""}, TaskContext())

    assert result["stdout"] == "a | b c;d"
