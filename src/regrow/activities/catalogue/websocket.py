"""`websocket_send`: one short conversation over a WebSocket as a task.

It connects, sends, waits for a number of answers and closes. No connection outlives the task, and a
broken one is not opened again here: that is another attempt, which is Temporal's business. The
connection goes to an address that was checked, under the name that the author wrote; redirects and
proxies, which would lead elsewhere, are not followed.
"""

import asyncio
import base64
import binascii
import json
import logging
import ssl
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import urlsplit

import pydantic_core
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError

from regrow.activities.catalogue.failures import CONNECTION_ERROR, TLS_ERROR
from regrow.activities.catalogue.http import (
    HTTP_ERROR,
    REDIRECT_ERROR,
    TRY_AGAIN,
    Encoding,
    HeaderName,
    HeaderValue,
    likely_secrets,
    public_text,
    public_url,
    seconds_of,
    without_gaps,
)
from regrow.activities.network import checked_connection
from regrow.core.durations import Duration
from regrow.core.limits import MIB
from regrow.core.models import Json
from regrow.core.wire import ErrorType
from regrow.executors import TaskContext, TaskError, executor_register

if TYPE_CHECKING:
    import socket

    from websockets.asyncio.client import ClientConnection
    from websockets.exceptions import ConnectionClosed, InvalidStatus

WEBSOCKET_CLOSED: Final = "websocket_closed"
ERRORS: Final = {
    WEBSOCKET_CLOSED: "The server closed before all answers had come; `close_code` and"
    " `close_reason` are metadata. Retried for 1001, 1011, 1012, 1013 and 1014.",
}

MAX_ANSWERS: Final = MIB
"""Bytes of all answers together."""

_CLOSING: Final = 2.0
"""Seconds that the server has for its part of the closing handshake."""
_QUEUE: Final = 4
_REDIRECT: Final = range(300, 400)
_WITHOUT_FAULT: Final = (1000, 1001, 1005)
_TOO_LARGE: Final = 1009
_MAY_PASS: Final = (1001, 1011, 1012, 1013, 1014)
"""Codes with which a server says that it goes away, has trouble, or has too much to do."""

_HANDSHAKE: Final = ("host", "connection", "upgrade")

_log = logging.getLogger("regrow.websocket")
_log.setLevel(logging.WARNING)  # below that, the library logs all that is sent


def _ws_url(text: str) -> str:
    from websockets.exceptions import InvalidURI  # noqa: PLC0415 - an extra, for those who need it
    from websockets.uri import parse_uri  # noqa: PLC0415

    try:
        parse_uri(text)
    except InvalidURI as error:
        raise PydanticCustomError("url", "{reason}", {"reason": error.msg}) from None
    except ValueError:
        raise PydanticCustomError("url", "write a URL like wss://example.com/path") from None
    return text


def _not_of_the_handshake(name: str) -> str:
    if name.lower() in _HANDSHAKE or name.lower().startswith("sec-websocket-"):
        raise PydanticCustomError("header", "{name} belongs to the handshake", {"name": name})
    return name


def _decoded(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error:
        raise PydanticCustomError("base64", "this is no base64") from None


class _Inputs(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Message(_Inputs):
    """One message, given as one of these."""

    text: str = ""
    json_body: Annotated[Json, Field(alias="json")] = None
    """Sent as text, also null, if it is given at all."""
    base64: Annotated[bytes, BeforeValidator(_decoded)] = b""
    """Bytes, sent as a binary message."""

    @model_validator(mode="after")
    def _says_one_thing(self) -> "Message":
        given = self.model_fields_set & {"text", "json_body", "base64", "messages"}
        if len(given) != 1:
            raise PydanticCustomError("message", "give one of text, json, base64 (or messages)")
        return self

    @property
    def data(self) -> str | bytes:
        """What goes over the wire."""
        if "json_body" in self.model_fields_set:
            return json.dumps(self.json_body, allow_nan=False)
        return self.base64 if "base64" in self.model_fields_set else self.text


class WebSocketSend(Message, extra="ignore"):
    """Where to connect to, what to send, and what to wait for.

    One message is given as `text`, `json` or `base64`, several as `messages`.
    """

    url: Annotated[str, AfterValidator(without_gaps), AfterValidator(_ws_url)]
    """`ws` or `wss`."""
    messages: list[Message] = Field(default_factory=list[Message])
    """Sent in this order, without waiting for answers in between. With none it only listens."""
    expect: Annotated[int, Field(ge=0, le=1000)] = 1
    """Messages of the server to wait for; with 0 it closes once all is sent."""
    json_answers: bool = False
    """Whether to read text answers as JSON; one that isn't stays text."""
    headers: dict[Annotated[HeaderName, AfterValidator(_not_of_the_handshake)], HeaderValue] = (
        Field(default_factory=dict)
    )
    """Sent with the request that opens the connection."""
    subprotocols: list[
        Annotated[str, StringConstraints(pattern=r"^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$")]
    ] = Field(default_factory=list[str])
    """Offered to the server, the preferred one first."""
    timeout: Duration = timedelta(seconds=30)
    """For everything, from the name lookup to the last answer."""

    @model_validator(mode="after")
    def _has_one_login(self) -> "WebSocketSend":
        authored = any(name.lower() == "authorization" for name in self.headers)
        if authored and urlsplit(self.url).username is not None:
            raise PydanticCustomError("headers", "give credentials once: a header or the URL")
        return self

    @property
    def all_data(self) -> Iterator[str | bytes]:
        """What goes over the wire, message by message."""
        if "messages" in self.model_fields_set:
            return (message.data for message in self.messages)
        return iter((self.data,))

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no error may show."""
        return tuple(likely_secrets(self.url, self.headers))


class Answer(BaseModel):
    """One message of the server."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    body: Json
    encoding: Encoding
    """How to read `body`."""


class WebSocketAnswers(BaseModel):
    """What came back."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    answers: list[Answer]
    """In the order in which they came; as many as were expected."""
    subprotocol: str | None
    """The one that the server chose."""


def _demo(inputs: Mapping[str, Any]) -> dict[str, Any]:
    answer = {"body": {"type": "confirmed", "order": 7}, "encoding": "json"}
    return {"answers": [answer] * int(inputs.get("expect", 1)), "subprotocol": None}


@executor_register(
    "websocket_send",
    heartbeat_timeout="30s",
    tags=("websocket",),
    requires={"websockets": "regrow[websocket]"},
    examples=(
        {
            "url": "wss://shop.example/events",
            "headers": {"Authorization": "Bearer ${{ secrets.SHOP_TOKEN }}"},
            "json": {"type": "confirm", "order": 7},
            "json_answers": True,
        },
        {
            "url": "wss://shop.example/feed",
            "messages": [{"text": "hello"}, {"base64": "AAEC"}],
            "expect": 0,
        },
    ),
    demo=_demo,
)
async def websocket_send(inputs: WebSocketSend, context: TaskContext) -> WebSocketAnswers:
    """Connect to a WebSocket, send one or several messages and return the answers.

    Hosts whose addresses aren't public, such as `localhost`, are refused (`not_allowed`) unless the
    operator lists them in `REGROW_HTTP_ALLOW`, which is read at each call. The task completes with
    exactly as many answers as it expects, of at most 1 MiB together; with `expect: 0` once the
    server has confirmed the close, and so has taken in all that was sent before it.

    An attempt that fails may have sent everything: where the server can't tell a repeated message,
    set `retry: {maximum_attempts: 1}`. Timeouts, broken connections, an opening refused with 408,
    425, 429 or 5xx, and a close by which the server says that it goes away or has trouble are worth
    another attempt; everything else fails for good. A cancel closes the connection with code 1001.
    A private certificate authority is trusted by way of `SSL_CERT_FILE`; redirects are not followed
    and proxies of the environment not used.
    """
    from websockets.exceptions import ConnectionClosed  # noqa: PLC0415

    del context
    answers: list[Answer] = []
    try:
        async with asyncio.timeout(inputs.timeout.total_seconds()):
            subprotocol = await _converse(inputs, answers)
    except TimeoutError:
        limit = f"the timeout of {inputs.timeout.total_seconds():g}s"
        message = f"{_place(inputs)}: not done within {limit}; {_progress(inputs, answers)}"
        raise TaskError(message, error_type=ErrorType.TIMEOUT, retryable=True) from None
    except ConnectionClosed as error:
        raise _closed(error, inputs, answers) from None
    return WebSocketAnswers(answers=answers, subprotocol=subprotocol)


async def _converse(inputs: WebSocketSend, answers: list[Answer]) -> str | None:
    async with _connection(inputs) as connection:
        try:
            await _exchange(connection, inputs, answers)
        except ExceptionGroup as several:
            raise several.exceptions[0] from None
    if inputs.expect == 0 and connection.close_code not in _WITHOUT_FAULT:
        raise connection.close_exc
    return connection.subprotocol


async def _exchange(
    connection: "ClientConnection", inputs: WebSocketSend, answers: list[Answer]
) -> None:
    """Send and read at once: a server whose answers nobody takes may stop reading itself."""
    async with asyncio.TaskGroup() as group:
        sending = group.create_task(_send(connection, inputs))
        await _receive(connection, inputs, answers)
        rest = group.create_task(_discard(connection))
        await sending
        rest.cancel()


async def _send(connection: "ClientConnection", inputs: WebSocketSend) -> None:
    for data in inputs.all_data:
        await connection.send(data)


async def _receive(
    connection: "ClientConnection", inputs: WebSocketSend, answers: list[Answer]
) -> None:
    size = 0
    while len(answers) < inputs.expect:
        message = await connection.recv()
        size += len(message.encode() if isinstance(message, str) else message)
        if size > MAX_ANSWERS:
            raise _too_large(inputs)
        answers.append(_answer(message, as_json=inputs.json_answers))


async def _discard(connection: "ClientConnection") -> None:
    from websockets.exceptions import ConnectionClosed  # noqa: PLC0415

    with suppress(ConnectionClosed):
        while True:
            await connection.recv()


def _answer(message: str | bytes, *, as_json: bool) -> Answer:
    if isinstance(message, bytes):
        return Answer(body=base64.b64encode(message).decode(), encoding="base64")
    if as_json:
        with suppress(ValueError):
            parsed: Json = pydantic_core.from_json(message, allow_inf_nan=False)
            return Answer(body=parsed, encoding="json")
    return Answer(body=message, encoding="text")


@asynccontextmanager
async def _connection(inputs: WebSocketSend) -> "AsyncGenerator[ClientConnection]":
    """Hold a connection, and close it however the conversation ends."""
    from websockets.frames import CloseCode  # noqa: PLC0415

    connection = await _open(inputs)
    code = CloseCode.GOING_AWAY
    try:
        yield connection
        code = CloseCode.NORMAL_CLOSURE
    finally:
        try:
            # Behind what else the server sends is its part of the handshake.
            await asyncio.gather(connection.close(code), _discard(connection))
        finally:
            connection.transport.abort()  # after another cancel


async def _open(inputs: WebSocketSend) -> "ClientConnection":
    from websockets.asyncio.client import connect  # noqa: PLC0415
    from websockets.exceptions import WebSocketException  # noqa: PLC0415
    from websockets.typing import Subprotocol  # noqa: PLC0415

    try:
        return await connect(
            inputs.url,
            sock=await _peer(inputs),
            proxy=None,
            additional_headers=inputs.headers,
            subprotocols=[Subprotocol(name) for name in inputs.subprotocols] or None,
            compression=None,  # so that a message's size is what comes over the wire
            open_timeout=None,  # ours covers everything
            close_timeout=_CLOSING,
            max_size=MAX_ANSWERS,
            max_queue=_QUEUE,
            logger=_log,
        )
    except (WebSocketException, OSError, ValueError) as error:
        raise _not_opened(error, inputs) from None


async def _peer(inputs: WebSocketSend) -> "socket.socket":
    from websockets.uri import parse_uri  # noqa: PLC0415 - the same reading as the library's

    uri = parse_uri(inputs.url)
    try:
        return await checked_connection(uri.host, uri.port)
    except TaskError as refused:
        raise TaskError(
            f"{_place(inputs)}: {refused.error}",
            error_type=refused.error_type,
            retryable=refused.retryable,
        ) from None


def _not_opened(error: Exception, inputs: WebSocketSend) -> TaskError:
    """Say what kept the connection from being opened.

    A redirect that the library won't follow comes as an error raised from the response's.
    """
    from websockets.exceptions import InvalidStatus  # noqa: PLC0415

    response = error if isinstance(error, InvalidStatus) else error.__context__
    if isinstance(response, InvalidStatus):
        return _refused(response, inputs)
    if isinstance(error, ssl.SSLCertVerificationError):
        message = f"{_place(inputs)}: the certificate isn't valid: {error.verify_message}"
        return TaskError(message, error_type=TLS_ERROR)
    if isinstance(error, ssl.SSLError):
        message = f"{_place(inputs)}: {error.strerror or type(error).__name__}"
        return TaskError(message, error_type=TLS_ERROR)
    known = isinstance(error, OSError) and error.strerror
    reason = known or f"the server doesn't answer as a WebSocket does ({type(error).__name__})"
    message = f"{_place(inputs)}: {reason}"
    return TaskError(message, error_type=CONNECTION_ERROR, retryable=True)


def _refused(error: "InvalidStatus", inputs: WebSocketSend) -> TaskError:
    response, secrets = error.response, inputs.secrets
    status, reason = response.status_code, public_text(response.reason_phrase, secrets)
    if status in _REDIRECT:
        message = f"{_place(inputs)}: redirected, which is not followed; name where it leads to"
        return TaskError(message, error_type=REDIRECT_ERROR)
    retryable = status in TRY_AGAIN
    return TaskError(
        f"{_place(inputs)}: {status} {reason} instead of a WebSocket",
        error_type=HTTP_ERROR,
        retryable=retryable,
        retry_after=seconds_of(response.headers.get("Retry-After")) if retryable else None,
        status_code=status,
        body=public_text(response.body.decode(errors="replace"), secrets),
    )


def _closed(error: "ConnectionClosed", inputs: WebSocketSend, answers: list[Answer]) -> TaskError:
    """Say who closed: the server by its own wish, this side, or nobody."""
    came = _progress(inputs, answers)
    if error.rcvd is not None and error.rcvd_then_sent is not False:
        code, reason = error.rcvd.code, public_text(error.rcvd.reason, inputs.secrets)
        message = f"{_place(inputs)}: the server closed with {code} {reason}".rstrip()
        return TaskError(
            f"{message}; {came}",
            error_type=WEBSOCKET_CLOSED,
            retryable=code in _MAY_PASS,
            close_code=code,
            close_reason=reason,
        )
    if error.sent is not None and error.sent.code == _TOO_LARGE:
        return _too_large(inputs)
    why = f" ({error.sent.reason})" if error.sent is not None and error.sent.reason else ""
    message = f"{_place(inputs)}: the connection broke{why}; {came}"
    return TaskError(message, error_type=CONNECTION_ERROR, retryable=True)


def _too_large(inputs: WebSocketSend) -> TaskError:
    message = f"{_place(inputs)}: the answers take more than the {MAX_ANSWERS:,} bytes that fit"
    return TaskError(message, error_type=ErrorType.PAYLOAD_TOO_LARGE)


def _progress(inputs: WebSocketSend, answers: list[Answer]) -> str:
    if inputs.expect == 0:
        return "whether all was taken in isn't known"
    return f"{len(answers)} of {inputs.expect} answers had come"


def _place(inputs: WebSocketSend) -> str:
    return public_url(inputs.url)
