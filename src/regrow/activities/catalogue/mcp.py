"""`mcp_call`: one operation of an MCP server as a task, over a program's pipes or over HTTP.

The SDK speaks the protocol; this decides whom it speaks to and what is left behind. A program must
be allowed like one of `command`, and its whole process group ends with the task. An HTTP server is
reached at the addresses that were checked, under its own name, and no redirect leads elsewhere. The
session runs in a task of its own, which is cancelled at most once, so that nothing disturbs its
clean-up.
"""

import asyncio
import logging
import subprocess
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, cast
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from regrow.activities.catalogue.command import Text, Variable, allowed_program
from regrow.activities.catalogue.failures import (
    AUTHENTICATION_ERROR,
    CONNECTION_ERROR,
    NOT_FOUND,
    TLS_ERROR,
)
from regrow.activities.catalogue.group import end_group
from regrow.activities.catalogue.http import (
    TRY_AGAIN,
    HeaderName,
    HeaderValue,
    Url,
    likely_secrets,
    public_text,
    public_url,
)
from regrow.activities.network import checked_addresses
from regrow.core.durations import Duration
from regrow.core.limits import MIB
from regrow.core.models import Json
from regrow.core.result import json_size
from regrow.core.wire import ErrorType
from regrow.executors import TaskError, executor_register
from regrow.settings import load_settings

if TYPE_CHECKING:
    import httpx2
    import mcp
    import mcp_types
    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
    from mcp.shared.message import SessionMessage

    FromServer = MemoryObjectReceiveStream[SessionMessage | Exception]
    ToServer = MemoryObjectSendStream[SessionMessage]
    Transport = AbstractAsyncContextManager[tuple[FromServer, ToServer]]

MCP_ERROR: Final = "mcp_error"
TOOL_ERROR: Final = "tool_error"
ERRORS: Final = {
    MCP_ERROR: "The server answered with an error of the protocol or of HTTP; `code` and"
    " `status_code` are metadata. Retried for HTTP's 408, 425, 429 and 5xx.",
    TOOL_ERROR: "The tool ran and said that it failed. Not retried.",
}

MAX_RESULT: Final = MIB
"""Bytes of a result, as JSON."""
_MAX_MESSAGE: Final = 2 * MIB

_MOST_PAGES, _MOST_ITEMS = 100, 1_000
_NAMES: Final = 1_000
_PATIENCE: Final = 2.0
"""Seconds that a program has for ending by itself, once nothing more is said to it."""
_FAREWELL: Final = 3.0
"""Seconds for telling a server that the session is over."""

_UNAUTHORIZED: Final = 401
_NO_RESOURCE: Final = -32002
"""What servers answered before 2026; then it became the one for invalid parameters."""
_CHATTY: Final = ("httpx2", "mcp")
"""They log addresses with their queries, and ids of sessions, which let others into them."""

Operation = Literal["call_tool", "list_tools", "read_resource", "list_resources", "get_prompt"]
_NEEDS: Final[dict[Operation, str]] = {
    "call_tool": "tool",
    "read_resource": "uri",
    "get_prompt": "prompt",
}


class McpCall(BaseModel):
    """Which server, and what to ask of it."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    command: Annotated[list[Text], Field(min_length=1)] | None = None
    """A program that is a server on its pipes: its name or absolute path, and its arguments."""
    env: dict[Variable, Text] = Field(default_factory=dict)
    """Added to the few variables that the program gets from the worker, such as `PATH`."""
    url: Url | None = None
    """A server that speaks streamable HTTP; not together with `command`."""
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict)
    """Sent with every request to `url`."""
    operation: Operation = "call_tool"
    tool: str | None = None
    """For `call_tool`."""
    uri: str | None = None
    """For `read_resource`."""
    prompt: str | None = None
    """For `get_prompt`, whose arguments are texts."""
    arguments: dict[str, Json] = Field(default_factory=dict)
    """For `call_tool` and `get_prompt`."""
    timeout: Duration = timedelta(seconds=60)
    """For everything: the start of the program, the connection, and the whole of the answer."""

    @model_validator(mode="after")
    def _says_one_thing(self) -> "McpCall":
        if (self.command is None) == (self.url is None):
            raise PydanticCustomError("server", "give either command or url")
        need = _NEEDS.get(self.operation)
        if need and getattr(self, need) is None:
            asked = {"operation": self.operation, "need": need}
            raise PydanticCustomError("operation", "{operation} needs {need}", asked)
        if self.operation == "get_prompt" and not all(
            isinstance(value, str) for value in self.arguments.values()
        ):
            raise PydanticCustomError("arguments", "arguments of a prompt are texts")
        return self

    @property
    def place(self) -> str:
        """What is asked, and of whom, for people; no arguments, no secrets."""
        what = {"call_tool": f"tool '{self.tool}'", "read_resource": f"resource '{self.uri}'"}
        what["get_prompt"] = f"prompt '{self.prompt}'"
        where = public_url(self.url) if self.url else Path((self.command or [""])[0]).name
        return f"{what.get(self.operation, self.operation)} of {where}"

    def secrets(self) -> Iterator[str]:
        """Give what is likely to be secret and what no error may show."""
        yield from likely_secrets(self.url or "", self.headers)
        yield from self.env.values()


class McpResult(BaseModel):
    """What the server gave."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    structured: Json = None
    """The structured content of a tool's answer, if it has one."""
    content: list[dict[str, Json]] = Field(default_factory=list[dict[str, Json]])
    """Blocks, each with a `type`: `text`; `image`, `audio` and `blob`, whose `data` is base64; and
    `link`. Beside structured content those that aren't text, since the text repeats it."""
    items: list[dict[str, Json]] = Field(default_factory=list[dict[str, Json]])
    """Tools or resources, of the operations that list them."""
    truncated: bool = False
    """Whether there are more items."""


@executor_register(
    "mcp_call",
    heartbeat_timeout="30s",
    tags=("mcp",),
    requires={"mcp": "regrow[mcp]"},
    examples=(
        {
            "url": "https://tools.example.com/mcp",
            "headers": {"Authorization": "Bearer ${{ secrets.TOOLS_TOKEN }}"},
            "tool": "search",
            "arguments": {"query": "open invoices"},
        },
        {"command": ["weather-server"], "tool": "forecast", "arguments": {"city": "Oslo"}},
    ),
    demo={"structured": {"found": 2}, "content": [], "items": [], "truncated": False},
)
async def mcp_call(inputs: McpCall) -> McpResult:
    """Ask one thing of an MCP server: call a tool, read a resource, get a prompt, or list them.

    A program must be listed in `REGROW_COMMAND_ALLOW`; a host must be public or listed in
    `REGROW_HTTP_ALLOW`; redirects to other hosts aren't followed. Safe to repeat if the tool is.
    What a tool reports as its error fails the task for good, and so does what the server refuses;
    broken connections, timeouts and a server that is overloaded are worth another attempt. Each
    call is a session of its own. A cancel or a timeout tells the server, ends the session, and
    ends the program with all that it started.
    """
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    limit = inputs.timeout.total_seconds()
    peer = _Peer(inputs)
    done, result = await _undisturbed(_session(peer), limit)
    if not done or result is None:
        message = f"{inputs.place}: no complete answer within the timeout of {limit:g}s"
        raise TaskError(
            f"{message}{peer.last_words()}", error_type=ErrorType.TIMEOUT, retryable=True
        )
    return result


async def _undisturbed(
    call: Coroutine[Any, Any, McpResult], limit: float
) -> tuple[bool, McpResult | None]:
    """Run to the end or the limit; whatever comes then waits for the clean-up."""
    running = asyncio.create_task(call)
    cancel: asyncio.CancelledError | None = None
    try:
        await asyncio.wait([running], timeout=limit)
    except asyncio.CancelledError as error:
        cancel = error
    in_time = running.done()
    if not in_time:
        running.cancel()
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as error:
            cancel = error
    failure = None if running.cancelled() else running.exception()
    if cancel is not None:
        raise cancel
    if in_time and failure is not None:
        raise failure
    return in_time, None if running.cancelled() or failure else running.result()


# The session


@dataclass
class _Peer:
    """The server, and what was seen of it beside the protocol."""

    inputs: McpCall
    status: int | None = None
    """The status of HTTP of the last answer, if that was no success."""
    errors: bytearray = field(default_factory=bytearray)
    """The end of what a program wrote to its standard error."""

    def last_words(self) -> str:
        """Give the last line of a program's standard error, for the end of a message."""
        lines = self.errors.decode(errors="replace").strip().splitlines()
        last = public_text(lines[-1] if lines else "", self.inputs.secrets())
        return f"; it wrote last: {last}" if last else ""


async def _session(peer: _Peer) -> McpResult:
    import mcp  # noqa: PLC0415 - an extra, for those who have such servers
    from mcp.client.streamable_http import streamable_http_client  # noqa: PLC0415

    try:
        if peer.inputs.url is None:
            return await _ask(mcp.Client(cast("Any", _program(peer)), cache=None), peer)
        async with _http_client(peer.inputs.url, peer) as client:
            transport = streamable_http_client(
                peer.inputs.url, http_client=client, max_sse_event_size=_MAX_MESSAGE
            )
            return await _ask(mcp.Client(cast("Any", transport), cache=None), peer)
    except Exception as error:  # noqa: BLE001 - the SDK's tasks put errors into groups
        raise _failure(_innermost(error), peer) from None


async def _ask(server: "mcp.Client", peer: _Peer) -> McpResult:
    inputs = peer.inputs
    async with server as client:
        match inputs.operation:
            case "call_tool":
                result = await _call_tool(client, peer)
            case "list_tools":
                result = await _listed(client.list_tools, "tools")
            case "list_resources":
                result = await _listed(client.list_resources, "resources")
            case "read_resource":
                contents = (await client.read_resource(inputs.uri or "")).contents
                result = McpResult(content=[_resource(each) for each in contents])
            case "get_prompt":
                texts = cast("dict[str, str]", inputs.arguments)
                found = await client.get_prompt(inputs.prompt or "", texts)
                said = [{"role": each.role, **_block(each.content)} for each in found.messages]
                result = McpResult(content=said)
    if (size := json_size(result.model_dump())) > MAX_RESULT:
        message = f"the result takes {size:,} bytes; at most {MAX_RESULT:,} are taken in"
        raise _too_large(inputs, message)
    return result


async def _call_tool(client: "mcp.Client", peer: _Peer) -> McpResult:
    inputs = peer.inputs
    answer = await client.call_tool(inputs.tool or "", dict(inputs.arguments))
    blocks = [_block(each) for each in answer.content]
    if answer.is_error:
        await _check_tool(client, inputs)
        texts = "\n".join(str(each["text"]) for each in blocks if each["type"] == "text")
        said = public_text(texts, inputs.secrets()) or "it says no more than that it failed"
        raise TaskError(f"{inputs.place}: {said}", error_type=TOOL_ERROR)
    if answer.structured_content is None:
        return McpResult(content=blocks)
    others = [each for each in blocks if each["type"] != "text"]
    return McpResult(structured=answer.structured_content, content=others)


async def _check_tool(client: "mcp.Client", inputs: McpCall) -> None:
    """Say whether the tool is there at all: many servers answer like a tool that failed."""
    import mcp  # noqa: PLC0415

    try:
        known = await _listed(client.list_tools, "tools")
    except mcp.MCPError:
        return
    names = [str(tool["name"]) for tool in known.items]
    if inputs.tool not in names and not known.truncated:
        message = f"{inputs.place}: there is no such tool; it has: {', '.join(names)[:_NAMES]}"
        raise TaskError(message, error_type=NOT_FOUND)


async def _listed(fetch: Any, key: str) -> McpResult:
    """Go through the pages, up to a limit: a server may have no last one."""
    items: list[dict[str, Json]] = []
    cursor: str | None = None
    for _ in range(_MOST_PAGES):
        page: Any = await fetch(cursor=cursor)
        items += [
            each.model_dump(mode="json", by_alias=True, exclude_none=True)
            for each in getattr(page, key)
        ]
        cursor = page.next_cursor
        if cursor is None or len(items) >= _MOST_ITEMS:
            break
    return McpResult(items=items, truncated=cursor is not None)


def _block(block: "mcp_types.ContentBlock") -> dict[str, Json]:
    match block.type:
        case "text":
            return {"type": "text", "text": block.text}
        case "image" | "audio":
            return {"type": block.type, "data": block.data, "mime_type": block.mime_type}
        case "resource_link":
            link = {"type": "link", "uri": block.uri, "name": block.name}
            return {**link, "mime_type": block.mime_type}
        case "resource":
            return _resource(block.resource)


def _resource(
    contents: "mcp_types.TextResourceContents | mcp_types.BlobResourceContents",
) -> dict[str, Json]:
    about: dict[str, Json] = {"uri": contents.uri, "mime_type": contents.mime_type}
    text = getattr(contents, "text", None)
    if text is not None:
        return {"type": "text", "text": text, **about}
    return {"type": "blob", "data": getattr(contents, "blob", ""), **about}


# A server that is a program


@asynccontextmanager
async def _program(peer: _Peer) -> "AsyncGenerator[tuple[FromServer, ToServer]]":
    """Start the program and pass its messages on; its group ends with this."""
    import anyio  # noqa: PLC0415
    from mcp.shared.message import SessionMessage  # noqa: PLC0415

    program = await _started(peer)
    to_session, from_server = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    to_server, from_session = anyio.create_memory_object_stream[SessionMessage](0)
    try:
        async with anyio.create_task_group() as tasks, from_server, to_server:
            tasks.start_soon(_pass_on, program, to_session, peer.inputs)
            tasks.start_soon(_write, program, from_session)
            yield from_server, to_server
            tasks.cancel_scope.cancel()
    finally:
        await program.end()


async def _pass_on(
    program: "_Program",
    to_session: "MemoryObjectSendStream[SessionMessage | Exception]",
    inputs: McpCall,
) -> None:
    """Pass on what the program writes, one message a line; other lines are nobody's."""
    import anyio  # noqa: PLC0415
    from mcp.shared.message import SessionMessage  # noqa: PLC0415
    from mcp_types import jsonrpc_message_adapter  # noqa: PLC0415

    async with to_session:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            async for line in _lines(program, inputs):
                with suppress(ValueError):
                    message = jsonrpc_message_adapter.validate_json(line, by_name=False)
                    await to_session.send(SessionMessage(message))


async def _lines(program: "_Program", inputs: McpCall) -> AsyncIterator[bytes]:
    while True:
        try:
            line = await program.output.readline()
        except ValueError:  # asyncio's word for a line beyond its limit
            raise _endless(inputs) from None
        if not line:
            return
        yield line


async def _write(
    program: "_Program", from_session: "MemoryObjectReceiveStream[SessionMessage]"
) -> None:
    async with from_session:
        async for sent in from_session:
            text = sent.message.model_dump_json(by_alias=True, exclude_unset=True)
            program.write(f"{text}\n".encode())


async def _started(peer: _Peer) -> "_Program":
    from mcp.client.stdio import get_default_environment  # noqa: PLC0415

    first, *arguments = peer.inputs.command or [""]
    path = allowed_program(first, load_settings().command_allow)
    try:
        _, program = await asyncio.get_running_loop().subprocess_exec(
            lambda: _Program(peer.errors),
            path,
            *arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**get_default_environment(), **peer.inputs.env},
            start_new_session=True,
        )
    except OSError as error:
        message = f"cannot run '{path}': {error.strerror}"
        raise TaskError(message, error_type=NOT_FOUND) from None
    return program


class _Program(asyncio.SubprocessProtocol):
    """A running program and its process group."""

    transport: asyncio.SubprocessTransport

    def __init__(self, errors: bytearray) -> None:
        self.output = asyncio.StreamReader(limit=_MAX_MESSAGE)
        self._errors = errors
        self._exited = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.SubprocessTransport", transport)
        pipe = cast("asyncio.ReadTransport", self.transport.get_pipe_transport(1))
        self.output.set_transport(pipe)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 1:
            self.output.feed_data(data)
        else:
            self._errors[:] = (self._errors + data)[-2_000:]

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        del exc
        if fd == 1:
            self.output.feed_eof()

    def process_exited(self) -> None:
        self._exited.set()

    def write(self, data: bytes) -> None:
        pipe = cast("asyncio.WriteTransport", self.transport.get_pipe_transport(0))
        pipe.write(data)

    async def end(self) -> None:
        """Let it end by itself, as the protocol asks; then end what is left of the group."""
        stdin = self.transport.get_pipe_transport(0)
        if stdin is not None:
            stdin.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                await self._exited.wait()
        await end_group(self.transport.get_pid(), self._exited.wait)
        self.transport.close()


# A server that speaks HTTP


@asynccontextmanager
async def _http_client(url: str, peer: _Peer) -> "AsyncGenerator[httpx2.AsyncClient]":
    import httpx2  # noqa: PLC0415

    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    addresses = await checked_addresses(parts.hostname or "", port)
    async with httpx2.AsyncClient(
        transport=_pinned(addresses, peer),
        headers=dict(peer.inputs.headers),
        timeout=None,  # ours covers everything
        trust_env=False,  # no proxy, which would connect by name
    ) as client:
        yield client


def _pinned(addresses: Sequence[str], peer: _Peer) -> "httpx2.AsyncBaseTransport":
    """Connect to these addresses, whatever host a request names, and take in no more than fits."""
    import httpx2  # noqa: PLC0415

    class Pinned(httpx2.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            async with asyncio.timeout(_FAREWELL if request.method == "DELETE" else None):
                response = await self._first_that_answers(request)
            if request.method == "POST":
                peer.status = response.status_code if response.is_error else None
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                response.stream = _bounded(response.stream, peer.inputs)
            return response

        async def _first_that_answers(self, request: httpx2.Request) -> httpx2.Response:
            for address in addresses[:-1]:
                with suppress(httpx2.ConnectError):
                    return await super().handle_async_request(_readdressed(request, address))
            return await super().handle_async_request(_readdressed(request, addresses[-1]))

    return Pinned()


def _bounded(stream: Any, inputs: McpCall) -> "httpx2.AsyncByteStream":
    import httpx2  # noqa: PLC0415

    class Bounded(httpx2.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            size = 0
            async for chunk in stream:
                size += len(chunk)
                if size > _MAX_MESSAGE:
                    raise _endless(inputs)
                yield chunk

        async def aclose(self) -> None:
            await stream.aclose()

    return Bounded()


def _readdressed(request: "httpx2.Request", address: str) -> "httpx2.Request":
    """Name the address; the host stays in the header `Host` and in the check of a certificate."""
    import httpx2  # noqa: PLC0415

    return httpx2.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": request.url.raw_host.decode()},
    )


# Failures


def _innermost(error: BaseException) -> BaseException:
    """Give what went wrong in a group of tasks; our own word counts before all others."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    leaves = [_innermost(each) for each in group.exceptions]
    return next((leaf for leaf in leaves if isinstance(leaf, TaskError)), leaves[0])


def _failure(error: BaseException, peer: _Peer) -> TaskError:
    import httpx2  # noqa: PLC0415
    import mcp  # noqa: PLC0415

    place = peer.inputs.place
    if isinstance(error, TaskError):
        return error
    if isinstance(error, mcp.MCPError):
        return _refusal(error, peer)
    if isinstance(error, httpx2.HTTPError):
        reason = public_text(str(error), peer.inputs.secrets()) or type(error).__name__
        if "CERTIFICATE_VERIFY_FAILED" in reason or "[SSL" in reason:
            return TaskError(f"{place}: {reason}", error_type=TLS_ERROR)
        message = f"{place}: no connection, or it broke: {reason}"
        return TaskError(message, error_type=CONNECTION_ERROR, retryable=True)
    reason = public_text(str(error) or repr(error), peer.inputs.secrets())
    message = f"{place}: the answer cannot be used: {reason}"
    return TaskError(message, error_type=MCP_ERROR)


def _refusal(error: "mcp.MCPError", peer: _Peer) -> TaskError:
    from mcp_types import CONNECTION_CLOSED, INVALID_PARAMS, METHOD_NOT_FOUND  # noqa: PLC0415

    place, code = peer.inputs.place, error.code
    said = public_text(error.message, peer.inputs.secrets())
    if peer.status == _UNAUTHORIZED:
        message = f"{place}: the server refused the credentials (HTTP 401)"
        return TaskError(message, error_type=AUTHENTICATION_ERROR)
    if code == CONNECTION_CLOSED:
        message = f"{place}: the server closed the connection: {said}{peer.last_words()}"
        return TaskError(message, error_type=CONNECTION_ERROR, retryable=True)
    if code in (METHOD_NOT_FOUND, _NO_RESOURCE) or (
        code == INVALID_PARAMS and peer.inputs.operation == "read_resource"
    ):
        return TaskError(f"{place}: {said}", error_type=NOT_FOUND)
    if peer.status is not None:
        return TaskError(
            f"{place}: {said} (HTTP {peer.status})",
            error_type=MCP_ERROR,
            retryable=peer.status in TRY_AGAIN,
            code=code,
            status_code=peer.status,
        )
    return TaskError(f"{place}: {said} (code {code})", error_type=MCP_ERROR, code=code)


def _endless(inputs: McpCall) -> TaskError:
    return _too_large(inputs, f"one message takes more than {_MAX_MESSAGE:,} bytes")


def _too_large(inputs: McpCall, what: str) -> TaskError:
    return TaskError(f"{inputs.place}: {what}", error_type=ErrorType.PAYLOAD_TOO_LARGE)
