"""`mcp_call` against real MCP servers: a program on its pipes, and HTTP on loopback."""

import asyncio
import base64
import os
import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import trustme
from aiohttp import web
from tests.executors.names import know
from tests.executors.peers import mcp_tools
from tests.executors.peers.mcp_tools import (
    PIXEL,
    serving,
    serving_as_of_2025,
    serving_http,
)
from tests.executors.running import as_text, cancel_one, run_one

from regrow import Status, TreeClient
from regrow.activities.catalogue.mcp import McpResult, mcp_call
from regrow.core.limits import MIB
from regrow.executors import Registry, TaskContext, TaskError

MCP_CALL = Registry(mcp_call)["mcp_call"]
PYTHON = sys.executable
TALKS_NONSENSE = "print('ready!', flush=True); import sys; sys.stdin.read()"
DIES = "import sys; print('no such database', file=sys.stderr); sys.exit(3)"
STUBBORN = """
import os, pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "60"])
folder = pathlib.Path(sys.argv[1])
(folder / "server").write_text(f"{os.getpid()}")
(folder / "child").write_text(f"{child.pid}")
time.sleep(60)
"""
FLOODS = "import sys; sys.stdout.write('x' * 10_000_000); sys.stdout.flush(); sys.stdin.read()"

pytestmark = pytest.mark.usefixtures("loopback")


@pytest.fixture(autouse=True)
def python_may_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGROW_COMMAND_ALLOW", PYTHON)


def program(folder: Path, *child: str) -> list[str]:
    return [PYTHON, str(mcp_tools.__file__), str(folder), *child]


async def ask(**inputs: Any) -> McpResult:
    """Call as the host does: with JSON."""
    return await MCP_CALL.call(inputs, TaskContext())


async def failure(**inputs: Any) -> TaskError:
    with pytest.raises(TaskError) as raised:
        await ask(**inputs)
    return raised.value


async def gone(folder: Path, *names: str) -> bool:
    """Wait until the processes that left their ids are gone."""
    pids = [int((folder / name).read_text()) for name in names]
    return await _until(lambda: not any(map(_lives, pids)))


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def _until(is_so: Callable[[], bool]) -> bool:
    for _ in range(600):
        if is_so():
            return True
        await asyncio.sleep(0.05)
    return False


# What comes back


async def test_a_tool_of_a_program_gives_its_structured_content(tmp_path: Path) -> None:
    result = await ask(command=program(tmp_path), tool="add", arguments={"a": 1, "b": 2})

    assert result == McpResult(structured={"result": 3})
    assert await gone(tmp_path, "server")


async def test_a_tool_over_http_gives_its_blocks() -> None:
    async with serving() as site:
        result = await ask(url=site.url, tool="greet", arguments={"name": "Ann"})

    assert result.structured is None
    pixel = {"type": "image", "data": base64.b64encode(PIXEL).decode(), "mime_type": "image/gif"}
    assert result.content == [{"type": "text", "text": "hello Ann"}, pixel]


async def test_tools_are_listed_with_their_schemas() -> None:
    async with serving() as site:
        result = await ask(url=site.url, operation="list_tools")

    named = {str(tool["name"]): tool for tool in result.items}
    assert list(named) == ["add", "greet", "fail", "big", "environment", "hang"]
    assert isinstance(named["add"]["inputSchema"], dict)
    assert not result.truncated


async def test_resources_are_listed_and_read() -> None:
    async with serving() as site:
        listed = await ask(url=site.url, operation="list_resources")
        text = await ask(url=site.url, operation="read_resource", uri="demo://text")
        pixel = await ask(url=site.url, operation="read_resource", uri="demo://pixel")

    assert [each["uri"] for each in listed.items] == ["demo://text", "demo://pixel"]
    assert [each["text"] for each in text.content] == ["some text"]
    assert pixel.content == [
        {
            "type": "blob",
            "data": base64.b64encode(PIXEL).decode(),
            "uri": "demo://pixel",
            "mime_type": "image/gif",
        }
    ]


async def test_a_prompt_is_filled_in() -> None:
    async with serving() as site:
        result = await ask(
            url=site.url, operation="get_prompt", prompt="review", arguments={"code": "x = 1"}
        )

    assert result.content == [{"role": "user", "type": "text", "text": "Please review x = 1"}]


async def test_a_program_gets_the_variables_it_is_given_and_few_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THE_WORKER", "1")

    result = await ask(command=program(tmp_path), env={"MINE": "yes"}, tool="environment")
    assert isinstance(result.structured, dict)
    assert result.structured["MINE"] == "yes"
    assert "OF_THE_WORKER" not in result.structured


async def test_headers_come_along_with_the_name_of_the_host() -> None:
    async with serving() as site:
        url = site.url.replace("127.0.0.1", "localhost")
        await ask(url=url, headers={"X-Api-Key": "k"}, tool="add", arguments={"a": 1, "b": 1})

    assert {headers["x-api-key"] for headers in site.headers} == {"k"}
    assert all(headers["host"].startswith("localhost:") for headers in site.headers)


async def test_a_server_of_before_2026_has_its_session_ended() -> None:
    async with serving_as_of_2025() as site:
        result = await ask(url=site.url, tool="pid")

    assert [each["type"] for each in result.content] == ["text"]
    assert site.sessions_ended == ["session-of-the-test"]


# What is refused


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        ({"tool": "x"}, "give either command or url"),
        ({"tool": "x", "url": "http://a/", "command": ["b"]}, "give either command or url"),
        ({"url": "http://a/"}, "call_tool needs tool"),
        ({"url": "http://a/", "operation": "read_resource"}, "read_resource needs uri"),
        ({"url": "http://a/", "operation": "get_prompt"}, "get_prompt needs prompt"),
        ({"url": "ftp://a/", "tool": "x"}, "url: write a URL like"),
        ({"command": ["a"], "tool": "x", "env": {"LD_PRELOAD": "b"}}, "LD_PRELOAD would put"),
        ({"command": [], "tool": "x"}, "command: "),
        (
            {"url": "http://a/", "operation": "get_prompt", "prompt": "x", "arguments": {"n": 1}},
            "arguments of a prompt are texts",
        ),
    ],
)
async def test_unusable_inputs_are_refused(inputs: dict[str, Any], problem: str) -> None:
    refused = await failure(**inputs)

    assert refused.error_type == "validation_error"
    assert problem in refused.error


async def test_a_program_must_be_allowed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("REGROW_COMMAND_ALLOW")

    refused = await failure(command=program(tmp_path), tool="add")

    assert (refused.error_type, refused.retryable) == ("not_allowed", False)
    assert os.listdir(tmp_path) == []  # noqa: PTH208


async def test_a_place_that_is_not_public_needs_the_operators_leave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("REGROW_HTTP_ALLOW")

    async with serving() as site:
        refused = await failure(url=site.url, tool="add")

    assert (refused.error_type, refused.retryable) == ("not_allowed", False)
    assert site.headers == []


async def test_a_redirect_to_another_place_is_not_followed() -> None:
    asked: list[str] = []

    async def other(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response()

    async with serving_http(other) as elsewhere:

        async def redirect(_: web.Request) -> web.Response:
            return web.Response(status=307, headers={"Location": f"{elsewhere}/secret"})

        async with serving_http(redirect) as url:
            refused = await failure(url=f"{url}/mcp", tool="add")

    assert (refused.error_type, refused.retryable) == ("mcp_error", False)
    assert "not followed" in refused.error
    assert asked == []


# What a server says


async def test_an_error_of_a_tool_is_final() -> None:
    async with serving() as site:
        failed = await failure(url=site.url, tool="fail", arguments={"why": "no such city"})

        assert failed.error.startswith(f"tool 'fail' of {site.url}: ")
        assert failed.error.endswith(": no such city")
    assert (failed.error_type, failed.retryable) == ("tool_error", False)


async def test_the_text_of_an_error_is_bounded() -> None:
    async with serving() as site:
        failed = await failure(url=site.url, tool="fail", arguments={"why": "x" * 100_000})

    assert len(failed.error) < 1_200


async def test_a_tool_that_is_not_there_is_told_with_those_that_are() -> None:
    async with serving() as site:
        failed = await failure(url=site.url, tool="ad")

    assert (failed.error_type, failed.retryable) == ("not_found", False)
    assert failed.error.endswith(
        "there is no such tool; it has: add, greet, fail, big, environment, hang"
    )


async def test_a_resource_that_is_not_there_is_told() -> None:
    async with serving() as site:
        failed = await failure(url=site.url, operation="read_resource", uri="demo://none")

    assert (failed.error_type, failed.retryable) == ("not_found", False)


@pytest.mark.parametrize("size", [MIB + 1, 5 * MIB])
async def test_a_result_that_is_too_large_fails_for_good(size: int) -> None:
    async with serving() as site:
        failed = await failure(url=site.url, tool="big", arguments={"size": size})

    assert (failed.error_type, failed.retryable) == ("payload_too_large", False)


@pytest.mark.parametrize(
    ("status", "error_type", "retryable"),
    [
        (401, "authentication_error", False),
        (403, "mcp_error", False),
        (429, "mcp_error", True),
        (503, "mcp_error", True),
    ],
)
async def test_the_status_of_http_decides_whether_another_attempt_could_help(
    status: int, error_type: str, *, retryable: bool
) -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=status)

    async with serving_http(refuse) as url:
        failed = await failure(url=f"{url}/mcp?key=hunter2", tool="add")

    assert (failed.error_type, failed.retryable) == (error_type, retryable)
    assert str(status) in failed.error
    assert "hunter2" not in failed.error


async def test_a_port_that_nobody_listens_on_is_worth_another_attempt() -> None:
    async with serving() as site:
        pass
    failed = await failure(url=site.url, tool="add")

    assert (failed.error_type, failed.retryable) == ("connection_error", True)


async def test_a_program_that_dies_is_worth_another_attempt_and_shows_its_last_words() -> None:
    failed = await failure(command=[PYTHON, "-c", DIES], tool="add")

    assert (failed.error_type, failed.retryable) == ("connection_error", True)
    assert failed.error.endswith("; it wrote last: no such database")


async def test_a_program_that_is_no_server_is_a_timeout() -> None:
    failed = await failure(command=[PYTHON, "-c", TALKS_NONSENSE], tool="add", timeout="1s")

    assert (failed.error_type, failed.retryable) == ("timeout_error", True)


async def test_a_program_that_writes_without_end_is_stopped() -> None:
    failed = await failure(command=[PYTHON, "-c", FLOODS], tool="add")

    assert (failed.error_type, failed.retryable) == ("payload_too_large", False)


async def test_a_host_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = know(monkeypatch, {"tools.example": ["127.0.0.1", "192.0.2.1"]})

    async with serving_as_of_2025() as site:
        result = await ask(url=site.url.replace("127.0.0.1", "tools.example"), tool="pid")

    assert len(result.content) == 1
    assert asked == {"tools.example": 1}


async def test_a_certificate_is_checked_against_the_name_that_the_author_wrote(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    know(monkeypatch, {"tools.example": ["127.0.0.1"], "other.example": ["127.0.0.1"]})
    authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued = authority.issue_cert("tools.example")
    issued.configure_cert(tls)  # pyright: ignore[reportUnknownMemberType] - pyOpenSSL, absent
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))

    async with serving_as_of_2025(tls) as site:
        url = site.url.replace("127.0.0.1", "tools.example")
        unknown = await failure(url=url, tool="pid")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        result = await ask(url=url, tool="pid")
        other = await failure(url=url.replace("tools.", "other."), tool="pid")

    assert len(result.content) == 1
    for failed in (unknown, other):
        assert (failed.error_type, failed.retryable) == ("tls_error", False)


# As tasks


async def test_a_task_gets_the_result(client: TreeClient) -> None:
    async with serving() as site:
        inputs = {"url": site.url, "tool": "add", "arguments": {"a": 1, "b": 2}}
        ended = await run_one(client, "mcp_call", inputs)

    assert ended.result["structured"] == {"result": 3}


async def test_a_broken_connection_is_tried_again_and_an_error_of_a_tool_is_not(
    client: TreeClient,
) -> None:
    async with serving() as site:
        inputs = {"url": site.url, "tool": "fail", "arguments": {"why": "no"}}
        refused = await run_one(client, "mcp_call", inputs)
    broken = await run_one(client, "mcp_call", inputs)

    assert refused.failure == ("tool_error", 1)
    assert broken.failure == ("connection_error", 3)


async def test_a_timeout_ends_the_program_and_what_it_started(
    client: TreeClient, tmp_path: Path
) -> None:
    inputs = {"command": [PYTHON, "-c", STUBBORN, str(tmp_path)], "tool": "x", "timeout": "3s"}
    ended = await run_one(client, "mcp_call", inputs, retry={"maximum_attempts": 1})

    assert ended.failure == ("timeout_error", 1)
    assert await gone(tmp_path, "server", "child")


async def test_a_cancel_reaches_the_tool_and_ends_the_program(
    client: TreeClient, tmp_path: Path
) -> None:
    inputs = {"command": program(tmp_path, "sleep", "60"), "tool": "hang"}
    begun = (tmp_path / "begun").exists
    ended = await cancel_one(client, "mcp_call", inputs, when=lambda: _until(begun))

    assert ended.task.status is Status.CANCELLED
    assert (tmp_path / "ended").exists()
    assert await gone(tmp_path, "server", "child")


async def test_a_cancel_and_a_timeout_reach_a_tool_over_http(client: TreeClient) -> None:
    async with serving() as site:
        inputs = {"url": site.url, "tool": "hang"}
        cancelled = await cancel_one(client, "mcp_call", inputs, when=site.begun.wait)
        async with asyncio.timeout(10):
            await site.ended.wait()
        site.ended.clear()
        late = await run_one(
            client, "mcp_call", {**inputs, "timeout": "1s"}, retry={"maximum_attempts": 1}
        )
        async with asyncio.timeout(10):
            await site.ended.wait()

    assert cancelled.task.status is Status.CANCELLED
    assert late.failure == ("timeout_error", 1)


async def test_a_cancel_ends_the_session_of_a_server_of_before_2026(client: TreeClient) -> None:
    async with serving_as_of_2025() as site:
        inputs = {"url": site.url, "tool": "hang"}
        ended = await cancel_one(client, "mcp_call", inputs, when=site.begun.wait)

    assert ended.task.status is Status.CANCELLED
    assert site.sessions_ended == ["session-of-the-test"]


async def test_several_cancels_do_not_disturb_the_end_of_the_program(tmp_path: Path) -> None:
    running = asyncio.create_task(ask(command=program(tmp_path, "sleep", "60"), tool="hang"))
    assert await _until((tmp_path / "begun").exists)
    for _ in range(5):
        running.cancel()
        await asyncio.sleep(0.1)
    with pytest.raises(asyncio.CancelledError):
        await running

    assert await gone(tmp_path, "server", "child")


async def test_a_secret_is_sent_and_appears_nowhere(
    client: TreeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_SECRET_TOKEN", "s3cr3t-value-of-the-test")

    async with serving() as site:
        token = "${{ secrets.TOKEN }}"
        inputs = {
            "url": f"{site.url}?key={token}",
            "headers": {"Authorization": f"Bearer {token}"},
            "tool": "fail",
            "arguments": {"why": f"what is {token}?"},
        }
        ended = await run_one(client, "mcp_call", inputs)

    assert site.headers[0]["authorization"] == "Bearer s3cr3t-value-of-the-test"
    assert "what is ***?" in as_text(ended)
    assert "s3cr3t" not in ended.traces
