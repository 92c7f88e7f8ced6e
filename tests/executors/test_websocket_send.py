"""`websocket_send` against real servers on loopback, by itself and in trees."""

import asyncio
import json
import logging
import ssl
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import trustme
from tests.executors.names import know
from tests.executors.running import cancel_one, run_one
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from regrow import Status, TreeClient
from regrow.activities.catalogue.websocket import MAX_ANSWERS, WebSocketAnswers, websocket_send
from regrow.executors import Registry, TaskContext, TaskError

UMLAUT = "\u00e4"

Handler = Callable[[ServerConnection], Awaitable[None]]

pytestmark = pytest.mark.usefixtures("loopback")

WEBSOCKET_SEND = Registry(websocket_send)["websocket_send"]


async def send(url: str, **inputs: Any) -> WebSocketAnswers:
    """Call as the host does: with JSON."""
    return await WEBSOCKET_SEND.call({"url": url, **inputs}, TaskContext())


async def failure(url: str, **inputs: Any) -> TaskError:
    with pytest.raises(TaskError) as raised:
        await send(url, **inputs)
    return raised.value


@asynccontextmanager
async def serving(handler: Handler, **options: Any) -> AsyncGenerator[str]:
    """Serve on a free port; gives the address without a path."""
    async with serve(handler, "127.0.0.1", 0, **options) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"{'wss' if 'ssl' in options else 'ws'}://127.0.0.1:{port}"


@asynccontextmanager
async def refusing(status: int, **headers: str) -> AsyncGenerator[tuple[str, list[Request]]]:
    """Answer every opening with a status; keeps what was asked."""
    asked: list[Request] = []

    def refuse(_: ServerConnection, request: Request) -> Response:
        asked.append(request)
        said = f"you sent {request.headers.get('Authorization')}".encode()
        named = Headers({"Content-Length": str(len(said)), **headers})
        return Response(status, HTTPStatus(status).phrase, named, said)

    async with serving(echo, process_request=refuse) as url:
        yield url, asked


@asynccontextmanager
async def answering(raw: bytes | None) -> AsyncGenerator[tuple[str, list[bytes]]]:
    """Answer every connection with the same bytes and close it, or with nothing and hold it."""
    received: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.read(64 * 1024))
        if raw is None:
            await reader.read()
        else:
            writer.write(raw)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}", received


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


def closing(code: int, reason: str = "") -> Handler:
    async def close(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.close(code, reason)

    return close


class Silent:
    """A server that takes everything in, says nothing, and sees how the other end closes."""

    def __init__(self) -> None:
        self.received: list[str | bytes] = []
        self.arrived, self.left = asyncio.Event(), asyncio.Event()
        self.code: int | None = None

    async def take(self, connection: ServerConnection) -> None:
        try:
            while True:
                self.received.append(await connection.recv())
                self.arrived.set()
        except ConnectionClosed:
            self.code = connection.close_code
            self.left.set()


# What is sent, and what comes back


async def test_a_text_is_sent_and_one_answer_awaited() -> None:
    async with serving(echo) as url:
        result = await send(url, text="Gr\u00fc\u00dfe")

    assert result.model_dump() == {
        "answers": [{"body": "Gr\u00fc\u00dfe", "encoding": "text"}],
        "subprotocol": None,
    }


@pytest.mark.parametrize("value", [{"name": "J\u00f6rg", "n": [1, None]}, None, 7, "text"])
async def test_json_is_sent_and_read_as_json(value: Any) -> None:
    async with serving(echo) as url:
        result = await send(url, json=value, json_answers=True)

    assert [(each.body, each.encoding) for each in result.answers] == [(value, "json")]


@pytest.mark.parametrize("text", ["no json", "", "NaN", "{broken"])
async def test_an_answer_that_is_no_json_stays_text(text: str) -> None:
    async with serving(echo) as url:
        result = await send(url, text=text, json_answers=True)

    assert [(each.body, each.encoding) for each in result.answers] == [(text, "text")]


async def test_bytes_come_and_go_as_base64() -> None:
    async with serving(echo) as url:
        result = await send(url, base64="AP8=", json_answers=True)

    assert [(each.body, each.encoding) for each in result.answers] == [("AP8=", "base64")]


async def test_several_messages_are_sent_in_order() -> None:
    messages = [{"text": "a"}, {"json": {"b": 1}}, {"base64": "Yw=="}]

    async with serving(echo) as url:
        result = await send(url, messages=messages, expect=3)

    assert [each.body for each in result.answers] == ["a", '{"b": 1}', "Yw=="]


async def test_without_a_message_it_listens() -> None:
    async def greet(connection: ServerConnection) -> None:
        await connection.send("hello")
        await connection.send("and more")
        await connection.wait_closed()

    async with serving(greet) as url:
        result = await send(url, messages=[])

    assert [each.body for each in result.answers] == ["hello"]


async def test_with_no_answer_expected_everything_has_arrived_in_the_end() -> None:
    silent = Silent()

    async with serving(silent.take) as url:
        result = await send(url, messages=[{"text": str(n)} for n in range(50)], expect=0)

    assert result.answers == []
    assert silent.received == [str(n) for n in range(50)]
    assert silent.code == 1000


async def test_a_server_that_goes_on_talking_is_left() -> None:
    left = asyncio.Event()

    async def talk(connection: ServerConnection) -> None:
        try:
            while True:
                await connection.send("x" * 10_000)
        except ConnectionClosed:
            left.set()

    async with serving(talk) as url:
        result = await send(url, text="go", expect=2)
        await asyncio.wait_for(left.wait(), 20)

    assert len(result.answers) == 2


async def test_a_server_that_stops_reading_until_its_answers_are_taken_gets_everything() -> None:
    received: list[int] = []

    async def echo_much(connection: ServerConnection) -> None:
        async for message in connection:
            received.append(len(message))
            with suppress(ConnectionClosed):
                for _ in range(2):
                    await connection.send(message)

    many = [{"text": "x" * 500_000}] * 60

    async with serving(echo_much) as url:
        result = await send(url, messages=many, expect=1)

    assert len(result.answers) == 1
    assert received == [500_000] * 60


async def test_headers_path_query_and_subprotocols_reach_the_server() -> None:
    async def tell(connection: ServerConnection) -> None:
        request = connection.request
        assert request
        await connection.send(json.dumps([request.path, *request.headers.raw_items()]))
        await connection.wait_closed()

    headers = {"X-Api-Key": "k\u00e9y", "Origin": "https://shop.example", "User-Agent": "me"}
    offered = [Subprotocol("v1"), Subprotocol("v2")]

    async with serving(tell, subprotocols=offered) as url:
        address = url.replace("://", "://ann:pa%3Ass@")
        result = await send(
            f"{address}/a?b=c",
            messages=[],
            headers=headers,
            subprotocols=["v2", "v9"],
            json_answers=True,
        )

    path, *received = map(tuple, json.loads(json.dumps(result.answers[0].body)))
    assert "".join(path) == "/a?b=c"
    assert (
        dict(received).items()
        >= {
            "Host": url.removeprefix("ws://"),
            "Authorization": "Basic YW5uOnBhOnNz",
            "Origin": "https://shop.example",
            "User-Agent": "me",
        }.items()
    )
    assert result.subprotocol == "v2"


async def test_results_of_dependencies_among_the_inputs_do_no_harm() -> None:
    async with serving(echo) as url:
        result = await send(url, text="hi", fetch_user={"id": 1})

    assert len(result.answers) == 1


# What is refused before anything is sent


UNUSABLE: list[tuple[dict[str, Any], str]] = [
    ({"url": "http://example.com"}, "url: scheme isn't ws or wss"),
    ({"url": "ws://"}, "url: hostname isn't provided"),
    ({"url": "ws://example.com/#x"}, "url: fragment identifier is meaningless"),
    ({"url": "ws://ann@example.com"}, "url: username provided without password"),
    ({"url": "ws://[::1"}, "url: write a URL like"),
    ({"url": "ws://example.com:99999"}, "url: write a URL like"),
    ({"url": f"ws://{70 * UMLAUT}.example"}, "url: write a URL like"),
    ({"url": "ws://example.com/\r\nX: y"}, "url: a URL has no spaces"),
    ({"text": "a", "json": 1}, "give one of text, json, base64 (or messages)"),
    ({"text": "a", "messages": []}, "give one of text, json, base64 (or messages)"),
    ({}, "give one of text, json, base64 (or messages)"),
    ({"messages": [{}]}, "messages.0: give one of text, json, base64"),
    ({"messages": [{"type": "x"}]}, "messages.0.type: Extra inputs are not permitted"),
    ({"base64": "AP8"}, "base64: this is no base64"),
    ({"base64": "A!P8="}, "base64: this is no base64"),
    ({"text": "a", "expect": -1}, "expect: "),
    ({"text": "a", "expect": 1001}, "expect: "),
    ({"text": "a", "headers": {"X": "a\r\nY: b"}}, "headers.X: "),
    ({"text": "a", "headers": {"Host": "x"}}, "Host belongs to the handshake"),
    ({"text": "a", "headers": {"Sec-WebSocket-Key": "x"}}, "belongs to the handshake"),
    ({"text": "a", "subprotocols": ["a b"]}, "subprotocols.0: "),
    (
        {"text": "a", "url": "ws://u:p@example.com", "headers": {"authorization": "x"}},
        "give credentials once",
    ),
]


@pytest.mark.parametrize(("inputs", "problem"), UNUSABLE)
async def test_unusable_inputs_are_refused(inputs: dict[str, Any], problem: str) -> None:
    refused = await failure(**{"url": "ws://example.com", **inputs})

    assert (refused.error_type, refused.retryable) == ("validation_error", False)
    assert problem in refused.error


async def test_without_the_extra_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "websockets", None)  # as if it weren't there

    failed = await failure("ws://example.com", text="a")

    assert (failed.error_type, failed.retryable) == ("missing_extra", False)
    assert failed.error.endswith("lacks: pip install 'regrow[websocket]'")


# Openings that fail


@pytest.mark.parametrize(
    ("status", "retryable"), [(200, False), (401, False), (404, False), (429, True), (503, True)]
)
async def test_an_opening_that_is_refused_says_how(status: int, retryable: bool) -> None:  # noqa: FBT001
    async with refusing(status, **{"Retry-After": "7"}) as (url, asked):
        failed = await failure(
            f"{url}/feed?key=hunter2", text="a", headers={"Authorization": "Bearer hunter2"}
        )

    assert (failed.error_type, failed.retryable) == ("http_error", retryable)
    phrase = HTTPStatus(status).phrase
    assert failed.error == f"{url}/feed: {status} {phrase} instead of a WebSocket"
    assert failed.details == {"status_code": status, "body": "you sent ***"}
    assert failed.retry_after == (7 if retryable else None)
    assert len(asked) == 1


@pytest.mark.parametrize(
    "target", ["/b", "ws://127.0.0.1:1/b", "ws://10.0.0.1/b", "https://shop.example/b", "ws://["]
)
async def test_a_redirect_is_not_followed(target: str) -> None:
    async with refusing(302, Location=target) as (url, asked):
        failed = await failure(f"{url}/a", text="a")

    assert (failed.error_type, failed.retryable) == ("redirect_error", False)
    assert failed.error == f"{url}/a: redirected, which is not followed; name where it leads to"
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "the server doesn't answer as a WebSocket does (InvalidMessage)"),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "the server doesn't answer as a WebSocket does"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "the server doesn't answer as a WebSocket"),
    ],
)
async def test_what_is_no_websocket_is_a_connection_error(raw: bytes, reason: str) -> None:
    async with answering(raw) as (url, received):
        failed = await failure(url, text="a")

    assert (failed.error_type, failed.retryable) == ("connection_error", True)
    assert failed.error.startswith(f"{url}: {reason}")
    assert len(received) == 1


async def test_a_refused_connection_is_worth_another_attempt() -> None:
    async with answering(b"") as (url, _):
        pass

    failed = await failure(url.replace("://", "://ann:hunter2@"), text="a")

    assert (failed.error_type, failed.retryable) == ("connection_error", True)
    port = url.rpartition(":")[2]
    assert failed.error == f"{url}: cannot connect to '127.0.0.1', port {port}: Connection refused"


# Ends before the answers are there


@pytest.mark.parametrize("code", [1001, 1011, 1012, 1013, 1014])
async def test_a_server_that_goes_away_or_has_trouble_is_worth_another_attempt(code: int) -> None:
    async with serving(closing(code, "later")) as url:
        failed = await failure(url, text="a")

    assert (failed.error_type, failed.retryable) == ("websocket_closed", True)
    assert failed.error == f"{url}: the server closed with {code} later; 0 of 1 answers had come"
    assert failed.details == {"close_code": code, "close_reason": "later"}


@pytest.mark.parametrize("code", [1000, 1003, 1007, 1008, 3000, 4001])
async def test_another_close_fails_for_good(code: int) -> None:
    async with serving(closing(code)) as url:
        failed = await failure(url, text="a")

    assert (failed.error_type, failed.retryable) == ("websocket_closed", False)
    assert failed.error == f"{url}: the server closed with {code}; 0 of 1 answers had come"


@pytest.mark.parametrize("expect", [0, 1])
async def test_a_server_that_closes_for_a_message_fails_the_task(expect: int) -> None:
    async def refuse(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.close(1008, "no hunter2-key")

    async with serving(refuse, close_timeout=1) as url:
        many = [{"text": "x" * 100_000}] * 100
        failed = await failure(
            f"{url}/?key=hunter2-key", messages=many, expect=expect, headers={"X-Key": "hunter2-k"}
        )

    assert (failed.error_type, failed.retryable) == ("websocket_closed", False)
    assert "closed with 1008 no ***; " in failed.error


@pytest.mark.parametrize("expect", [0, 1])
async def test_a_connection_that_breaks_is_worth_another_attempt(expect: int) -> None:
    async def drop(connection: ServerConnection) -> None:
        await connection.recv()
        connection.transport.abort()

    async with serving(drop) as url:
        failed = await failure(url, text="a", expect=expect)

    assert (failed.error_type, failed.retryable) == ("connection_error", True)
    doubt = "0 of 1 answers had come" if expect else "whether all was taken in isn't known"
    assert failed.error == f"{url}: the connection broke; {doubt}"


@pytest.mark.parametrize("sizes", [[MAX_ANSWERS + 1], [MAX_ANSWERS // 2 + 1] * 2])
async def test_answers_that_are_too_large_fail_for_good(sizes: list[int]) -> None:
    async def flood(connection: ServerConnection) -> None:
        for size in sizes:
            await connection.send("x" * size)
        await connection.wait_closed()

    async with serving(flood) as url:
        failed = await failure(url, messages=[], expect=2)

    assert (failed.error_type, failed.retryable) == ("payload_too_large", False)
    assert failed.error == f"{url}: the answers take more than the 1,048,576 bytes that fit"


async def test_answers_at_the_limit_are_taken_in() -> None:
    async with serving(echo, max_size=None) as url:
        result = await send(url, text="x" * MAX_ANSWERS)

    assert len(str(result.answers[0].body)) == MAX_ANSWERS


async def test_a_text_that_is_none_is_a_broken_connection() -> None:
    async def garble(connection: ServerConnection) -> None:
        await connection.send(b"\xff", text=True)
        await connection.wait_closed()

    async with serving(garble) as url:
        failed = await failure(url, messages=[])

    assert failed.error_type == "connection_error"
    assert failed.error.startswith(f"{url}: the connection broke (")


async def test_the_timeout_says_how_far_it_came() -> None:
    async with serving(echo) as url:
        failed = await failure(f"{url}/a?key=hunter2", text="a", expect=2, timeout="300ms")

    assert (failed.error_type, failed.retryable) == ("timeout_error", True)
    assert failed.error == (
        f"{url}/a: not done within the timeout of 0.3s; 1 of 2 answers had come"
    )


async def test_the_timeout_covers_an_opening_that_is_never_answered() -> None:
    async with answering(None) as (url, received):
        failed = await failure(url, text="a", timeout="300ms")

    assert failed.error_type == "timeout_error"
    assert len(received) == 1


# Where it may connect


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"])
async def test_this_machine_is_out_of_reach_unless_it_is_allowed(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.delenv("REGROW_HTTP_ALLOW")

    async with answering(b"") as (url, received):
        place = url.replace("127.0.0.1", host)
        failed = await failure(f"{place.replace('://', '://u:hunter2@')}/x", text="a")

    assert (failed.error_type, failed.retryable) == ("not_allowed", False)
    assert failed.error.startswith(f"{place}/x: this worker may not connect to {host.strip('[]')}")
    assert received == []


async def test_a_name_is_asked_once_and_sent_as_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = know(monkeypatch, {"turns.example": ["127.0.0.1", "192.0.2.1"]})
    hosts: list[str] = []

    async def note(connection: ServerConnection) -> None:
        assert connection.request
        hosts.append(connection.request.headers["Host"])
        await echo(connection)

    async with serving(note) as url:
        named = url.replace("127.0.0.1", "turns.example")
        await send(named, text="a")

    assert asked == {"turns.example": 1}
    assert hosts == [named.removeprefix("ws://")]


async def test_a_proxy_of_the_environment_is_no_way_round(monkeypatch: pytest.MonkeyPatch) -> None:
    async with answering(b"") as (proxy, received), serving(echo) as url:
        for name in ("ws_proxy", "http_proxy", "all_proxy", "WS_PROXY", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.replace("ws:", "http:"))
        result = await send(url, text="a")

    assert len(result.answers) == 1
    assert received == []


@pytest.mark.parametrize(
    ("issued_to", "trusted", "error"),
    [
        ("shop.example", True, None),
        ("127.0.0.1", True, "Hostname mismatch"),
        ("shop.example", False, "unable to get local issuer certificate"),
    ],
)
async def test_the_certificate_must_be_the_hosts(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    issued_to: str,
    trusted: bool,  # noqa: FBT001
    error: str | None,
) -> None:
    authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(issued_to).configure_cert(tls)  # pyright: ignore[reportUnknownMemberType] - pyOpenSSL, absent
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    names = list[str | None]()
    tls.sni_callback = lambda _, name, __: names.append(name)
    know(monkeypatch, {"shop.example": ["127.0.0.1"]})
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))

    async with serving(echo, ssl=tls) as url:
        named = url.replace("127.0.0.1", "shop.example")
        if error is None:
            assert len((await send(named, text="a")).answers) == 1
        else:
            failed = await failure(named, text="a")
            assert (failed.error_type, failed.retryable) == ("tls_error", False)
            assert failed.error.startswith(f"{named}: the certificate isn't valid: {error}")

    assert names == ["shop.example"]


async def test_a_port_that_speaks_no_tls_is_a_tls_error() -> None:
    async with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as (url, _):
        failed = await failure(url.replace("ws:", "wss:"), text="a")

    assert (failed.error_type, failed.retryable) == ("tls_error", False)


async def test_not_even_debugging_logs_what_is_sent(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    seen: list[str] = []

    async def note(connection: ServerConnection) -> None:
        assert connection.request
        seen.append(connection.request.headers["X-Key"])
        await echo(connection)

    quiet = logging.getLogger("tests.peer")
    quiet.setLevel(logging.WARNING)

    async with serving(note, logger=quiet) as url:
        await send(url, text="hunter2-in-text", headers={"X-Key": "hunter2-in-header"})

    assert seen == ["hunter2-in-header"]
    assert "hunter2" not in caplog.text


# In a tree


async def test_a_task_gets_the_answers(client: TreeClient) -> None:
    async with serving(echo) as url:
        inputs = {"url": url, "json": {"order": 7}, "json_answers": True}
        ended = await run_one(client, "websocket_send", inputs)

    assert ended.task.attempts == 1
    assert ended.result == {
        "answers": [{"body": {"order": 7}, "encoding": "json"}],
        "subprotocol": None,
    }


async def test_passing_trouble_is_tried_again(client: TreeClient) -> None:
    tried: list[str | bytes] = []

    async def busy(connection: ServerConnection) -> None:
        tried.append(await connection.recv())
        if len(tried) < 3:
            await connection.close(1013)
        else:
            await connection.send("done")
            await connection.wait_closed()

    async with serving(busy) as url:
        ended = await run_one(client, "websocket_send", {"url": url, "text": "a"})

    assert (ended.task.status, ended.task.attempts) == (Status.COMPLETED, 3)
    assert tried == ["a", "a", "a"]


async def test_what_fails_for_good_is_not_tried_again(client: TreeClient) -> None:
    async with serving(closing(4003, "not for you")) as url:
        ended = await run_one(client, "websocket_send", {"url": url, "text": "a"})

    assert ended.failure == ("websocket_closed", 1)
    assert ended.task.metadata["close_code"] == 4003


@pytest.mark.parametrize(
    ("inputs", "task"),
    [({"timeout": "300ms"}, {}), ({}, {"start_to_close_timeout": "1s"})],
    ids=["its own", "the task's"],
)
async def test_a_timeout_closes_the_connection(
    client: TreeClient, inputs: dict[str, Any], task: dict[str, Any]
) -> None:
    silent = Silent()
    once = {"retry": {"maximum_attempts": 1}, **task}

    async with serving(silent.take) as url:
        ended = await run_one(client, "websocket_send", {"url": url, "text": "a", **inputs}, **once)
        await asyncio.wait_for(silent.left.wait(), 20)

    assert ended.failure == ("timeout_error", 1)
    assert silent.code == 1001


async def test_a_cancelled_task_closes_the_connection(client: TreeClient) -> None:
    silent = Silent()

    async with serving(silent.take) as url:
        inputs = {"url": url, "text": "a"}
        ended = await cancel_one(client, "websocket_send", inputs, silent.arrived.wait)
        await asyncio.wait_for(silent.left.wait(), 20)

    assert ended.task.status is Status.CANCELLED
    assert silent.code == 1001


@pytest.mark.parametrize("refused", [False, True])
async def test_a_secret_reaches_the_server_and_nobody_else(
    client: TreeClient,
    monkeypatch: pytest.MonkeyPatch,
    refused: bool,  # noqa: FBT001
) -> None:
    secret = "s3cr3t-value-of-the-test"
    monkeypatch.setenv("REGROW_SECRET_TOKEN", secret)
    seen: list[Any] = []

    async def take(connection: ServerConnection) -> None:
        assert connection.request
        seen.extend([connection.request.headers["Authorization"], await connection.recv()])
        if refused:
            await connection.close(1008, f"not {secret}")
        await connection.send(f"hello {secret}")

    async with serving(take) as url:
        inputs = {
            "url": url,
            "headers": {"Authorization": "Bearer ${{ secrets.TOKEN }}"},
            "text": "my ${{ secrets.TOKEN }}",
        }
        ended = await run_one(client, "websocket_send", inputs)

    assert ended.task.status is (Status.FAILED if refused else Status.COMPLETED)
    assert seen == [f"Bearer {secret}", f"my {secret}"]
    assert secret not in ended.traces
