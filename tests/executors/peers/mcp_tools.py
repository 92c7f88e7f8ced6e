"""An MCP server of the SDK: on its pipes when run as a program, over HTTP inside a test.

As a program it takes a folder, where it leaves its process's id, and the command of a child.
"""

import asyncio
import base64
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import uvicorn
from aiohttp import web
from mcp.server.mcpserver import Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import TextContent

PIXEL: Final = base64.b64decode(b"R0lGODlhAQABAAAAACwAAAAAAQABAAA=")


@dataclass
class Seen:
    """What became of calls."""

    begun: Callable[[], None]
    ended: Callable[[], None]


def make_server(seen: Seen) -> MCPServer[Any]:
    """Give a server with a few tools, two resources and a prompt."""
    server = MCPServer("tools")

    @server.tool()
    def add(a: int, b: int) -> int:
        return a + b

    @server.tool(structured_output=False)
    def greet(name: str) -> list[Any]:
        return [f"hello {name}", Image(data=PIXEL, format="gif")]

    @server.tool()
    def fail(why: str) -> str:
        raise ToolError(why)

    @server.tool(structured_output=False)
    def big(size: int) -> TextContent:
        return TextContent(text="x" * size)

    @server.tool()
    def environment() -> dict[str, str]:
        return dict(os.environ)

    @server.tool()
    async def hang() -> str:
        seen.begun()
        try:
            await asyncio.sleep(60)
        finally:
            seen.ended()
        return "late"

    @server.resource("demo://text")
    def text() -> str:
        return "some text"

    @server.resource("demo://pixel", mime_type="image/gif")
    def pixel() -> bytes:
        return PIXEL

    @server.prompt()
    def review(code: str) -> str:
        return f"Please review {code}"

    del add, greet, fail, big, environment, hang, text, pixel, review
    return server


@dataclass
class Site:
    """A server over HTTP."""

    url: str
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    headers: list[dict[str, str]] = field(default_factory=list[dict[str, str]])


@asynccontextmanager
async def serving() -> AsyncGenerator[Site]:
    """Serve the tools over streamable HTTP on a free port."""
    site = Site("")
    app = make_server(Seen(site.begun.set, site.ended.set)).streamable_http_app()

    async def noting(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            site.headers.append({name.decode(): each.decode() for name, each in scope["headers"]})
        await app(scope, receive, send)

    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(noting, log_config=None, lifespan="on", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve([listening]))
    site.url = f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"
    try:
        yield site
    finally:
        server.should_exit = True
        await running


@dataclass
class OldSite(Site):
    """A server as they were before 2026: a session begins with `initialize`, ends by DELETE."""

    sessions_ended: list[str] = field(default_factory=list[str])


@asynccontextmanager
async def serving_as_of_2025(tls: ssl.SSLContext | None = None) -> AsyncGenerator[OldSite]:
    """Serve two tools: `pid`, which answers at once, and `hang`."""
    site = OldSite("")

    async def handle(request: web.Request) -> web.StreamResponse:
        if request.method == "DELETE":
            site.sessions_ended.append(request.headers["Mcp-Session-Id"])
            return web.Response()
        if request.method != "POST":
            return web.Response(status=405)
        return await _answer(site, await request.json())

    async with serving_http(handle, tls) as url:
        site.url = f"{url}/mcp"
        yield site


async def _answer(site: OldSite, sent: dict[str, Any]) -> web.StreamResponse:
    def reply(**answer: Any) -> web.Response:
        body = {"jsonrpc": "2.0", "id": sent["id"], **answer}
        return web.json_response(body, headers={"Mcp-Session-Id": "session-of-the-test"})

    match sent["method"]:
        case "initialize":
            about = {"name": "old", "version": "1"}
            version = sent["params"]["protocolVersion"]
            capabilities: dict[str, Any] = {"tools": {}}
            return reply(
                result={
                    "protocolVersion": version,
                    "capabilities": capabilities,
                    "serverInfo": about,
                }
            )
        case "tools/list":
            schema = {"type": "object"}
            names = ("pid", "hang")
            return reply(result={"tools": [{"name": n, "inputSchema": schema} for n in names]})
        case "tools/call" if sent["params"]["name"] == "hang":
            site.begun.set()
            await asyncio.sleep(60)
            return reply(result={"content": []})
        case "tools/call":
            return reply(result={"content": [{"type": "text", "text": str(os.getpid())}]})
        case "server/discover":
            return reply(error={"code": -32601, "message": "Method not found"})
        case _:
            return web.Response(status=202)


@asynccontextmanager
async def serving_http(
    handle: Callable[[web.Request], Awaitable[web.StreamResponse]],
    tls: ssl.SSLContext | None = None,
) -> AsyncGenerator[str]:
    """Serve a handler for everything; gives the address without a path."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(application, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _main(folder: Path, *child: str) -> None:
    (folder / "server").write_text(f"{os.getpid()}")
    if child:
        (folder / "child").write_text(f"{subprocess.Popen(child).pid}")
    seen = Seen((folder / "begun").touch, (folder / "ended").touch)
    make_server(seen).run("stdio")


if __name__ == "__main__":
    _main(Path(sys.argv[1]), *sys.argv[2:])
