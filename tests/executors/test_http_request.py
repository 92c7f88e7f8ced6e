"""`http_request` against real servers on loopback, by itself and in trees."""

import asyncio
import gzip
import hashlib
import json
import os
import socket
import ssl
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp import web
from tests.executors.names import know
from tests.executors.running import cancel_one, run_one

from regrow import Status, TreeClient
from regrow.activities.catalogue.http import MAX_BODY, HttpResponse, http_request
from regrow.executors import Registry, TaskContext, TaskError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

pytestmark = pytest.mark.usefixtures("loopback")

HTTP_REQUEST = Registry(http_request)["http_request"]
KEY = "orders-7/charge"


async def send(url: str, **inputs: Any) -> HttpResponse:
    """Call as the host does: with JSON."""
    context = TaskContext(tree_id="orders-7", task_id="charge")
    return await HTTP_REQUEST.call({"url": url, **inputs}, context)


async def failure(url: str, **inputs: Any) -> TaskError:
    with pytest.raises(TaskError) as raised:
        await send(url, **inputs)
    return raised.value


@asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncGenerator[str]:
    """Serve on a free port; gives the address without a path."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(application, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def answering(raw: bytes) -> AsyncGenerator[tuple[str, list[bytes]]]:
    """Answer every connection with the same bytes and close it; keeps what was received."""
    received: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.read(64 * 1024))
        writer.write(raw)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", received


@contextmanager
def free_port() -> Generator[int]:
    """Hold a port that nobody listens on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


async def echo(request: web.Request) -> web.Response:
    return web.json_response(
        {
            "method": request.method,
            "path": request.path_qs,
            "headers": {name.lower(): value for name, value in request.headers.items()},
            "body": await request.text(),
        }
    )


def replying(*arguments: Any, **options: Any) -> Handler:
    async def reply(_: web.Request) -> web.Response:
        return web.Response(*arguments, **options)

    return reply


def redirecting(target: str, status: int = 302) -> Handler:
    async def redirect(_: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Location": target})

    return redirect


# What is sent


async def test_a_get_without_anything_else_is_the_default() -> None:
    async with serving(echo) as url:
        response = await send(f"{url}/orders?open=1")

    assert response.status_code == 200
    assert response.url == f"{url}/orders?open=1"
    assert response.encoding == "json"
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    body: Any = response.body
    assert (body["method"], body["path"], body["body"]) == ("GET", "/orders?open=1", "")


@pytest.mark.parametrize("method", ["get", "POST", "put", "PATCH", "delete", "OPTIONS"])
async def test_every_method_may_be_written_in_any_case(method: str) -> None:
    async with serving(echo) as url:
        response = await send(url, method=method)

    body: Any = response.body
    assert body["method"] == method.upper()


async def test_head_gives_the_headers_and_an_empty_body() -> None:
    async with serving(replying(text="not sent", headers={"X-Total": "7"})) as url:
        response = await send(url, method="HEAD")

    assert (response.status_code, response.body) == (200, "")
    assert response.headers["x-total"] == "7"


async def test_params_are_added_to_the_query() -> None:
    params = {"all": True, "page": 2, "tag": ["a b", "c&d"], "none": None}

    async with serving(echo) as url:
        response = await send(f"{url}/find?q=x", params=params)

    body: Any = response.body
    assert body["path"] == "/find?q=x&all=true&page=2&tag=a+b&tag=c%26d"


async def test_json_is_sent_as_json() -> None:
    async with serving(echo) as url:
        response = await send(url, method="POST", json={"name": "Jörg", "n": [1, None]})

    body: Any = response.body
    assert json.loads(body["body"]) == {"name": "Jörg", "n": [1, None]}
    assert body["headers"]["content-type"] == "application/json"


async def test_json_null_is_sent_too() -> None:
    async with serving(echo) as url:
        response = await send(url, method="PUT", json=None)

    body: Any = response.body
    assert body["body"] == "null"


async def test_body_is_sent_as_text() -> None:
    async with serving(echo) as url:
        response = await send(url, method="POST", body="Grüße")

    body: Any = response.body
    assert body["body"] == "Grüße"
    assert body["headers"]["content-type"] == "text/plain; charset=utf-8"


async def test_a_content_type_of_the_author_holds() -> None:
    headers = {"content-type": "application/vnd.api+json"}

    async with serving(echo) as url:
        response = await send(url, method="POST", json={}, headers=headers)

    body: Any = response.body
    assert body["headers"]["content-type"] == "application/vnd.api+json"


async def test_numbers_are_fine_as_headers() -> None:
    async with serving(echo) as url:
        response = await send(url, headers={"X-Version": 3})

    body: Any = response.body
    assert body["headers"]["x-version"] == "3"


@pytest.mark.parametrize(
    ("auth", "header"),
    [
        ({"username": "ann", "password": "pä:ss"}, "Basic YW5uOnDDpDpzcw=="),
        ({"username": "key_1"}, "Basic a2V5XzE6"),
        ({"bearer": "abc.def"}, "Bearer abc.def"),
    ],
)
async def test_auth_becomes_a_header(auth: dict[str, str], header: str) -> None:
    async with serving(echo) as url:
        response = await send(url, auth=auth)

    body: Any = response.body
    assert body["headers"]["authorization"] == header


async def test_credentials_in_the_url_are_sent_and_left_out_of_the_result() -> None:
    async with serving(echo) as url:
        response = await send(url.replace("://", "://ann:secret@"))

    body: Any = response.body
    assert body["headers"]["authorization"] == "Basic YW5uOnNlY3JldA=="
    assert response.url == url


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_methods_that_repeat_badly_carry_the_tasks_idempotency_key(method: str) -> None:
    async with serving(echo) as url:
        response = await send(url, method=method)

    body: Any = response.body
    assert body["headers"]["idempotency-key"] == KEY


async def test_an_idempotency_key_of_the_author_holds() -> None:
    async with serving(echo) as url:
        response = await send(url, method="POST", headers={"idempotency-key": "mine"})

    body: Any = response.body
    assert body["headers"]["idempotency-key"] == "mine"


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_methods_that_repeat_well_carry_no_key(method: str) -> None:
    async with serving(echo) as url:
        response = await send(url, method=method)

    body: Any = response.body
    assert "idempotency-key" not in body["headers"]


async def test_results_of_dependencies_among_the_inputs_do_no_harm() -> None:
    async with serving(echo) as url:
        response = await send(url, fetch_user={"id": 1})

    assert response.status_code == 200


# What is refused before anything is sent


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        ({"url": "ftp://example.com"}, "url: write a URL like"),
        ({"url": "example.com/path"}, "url: write a URL like"),
        ({"url": "http://"}, "url: write a URL like"),
        ({"url": "http://[::1"}, "url: write a URL like"),
        ({"url": "http://example.com:99999"}, "url: write a URL like"),
        ({"url": "http://example.com/\r\nX: y"}, "url: a URL has no spaces"),
        ({"method": "TRACE"}, "method: "),
        ({"json": 1, "body": "x"}, "give either json or body"),
        ({"headers": {"X": "a\r\nY: b"}}, "headers.X: "),
        ({"headers": {"X Y": "a"}}, "headers.X Y.[key]: "),
        ({"headers": {"Content-Length": "3"}}, "Content-Length follows from the body"),
        ({"auth": {"bearer": "a", "password": "b"}}, "auth.BearerAuth.password: "),
        ({"auth": {"bearer": "a\nb"}}, "auth.BearerAuth.bearer: a token has"),
        ({"auth": {"bearer": "a"}, "headers": {"authorization": "b"}}, "give credentials once"),
        ({"auth": {"bearer": "a"}, "url": "http://u:p@example.com"}, "give credentials once"),
        ({"timeout": 0}, "timeout: "),
        ({"max_redirects": -1}, "max_redirects: "),
    ],
)
async def test_unusable_inputs_are_refused(inputs: dict[str, Any], problem: str) -> None:
    refused = await failure(**{"url": "http://example.com", **inputs})

    assert refused.error_type == "validation_error"
    assert problem in refused.error
    assert not refused.retryable


async def test_a_refusal_does_not_show_secrets() -> None:
    refused = await failure(
        "http://u:hunter2@[", auth={"bearer": "s3cr3t\t"}, headers={"K": "s\n1"}
    )

    assert not any(secret in refused.error for secret in ("hunter2", "s3cr3t", "s\n1"))


# What comes back


async def test_text_is_decoded_by_its_charset() -> None:
    reply = replying(
        body="Grüße".encode("latin-1"), headers={"Content-Type": "text/plain; charset=latin-1"}
    )

    async with serving(reply) as url:
        response = await send(url)

    assert (response.body, response.encoding) == ("Grüße", "text")


@pytest.mark.parametrize(
    ("content_type", "raw", "body", "encoding"),
    [
        ("application/problem+json", b'{"a": 1}', {"a": 1}, "json"),
        ("application/json", b"\xef\xbb\xbf[1]", [1], "json"),
        ("application/json", b"{broken", "{broken", "text"),
        ("application/json", b"NaN", "NaN", "text"),
        ("application/json", b"[" * 100_000, "[" * 100_000, "text"),
        ("application/json", b"", "", "text"),
        ("application/yaml", b"a: 1", "a: 1", "text"),
        ("image/svg+xml", b"<svg/>", "<svg/>", "text"),
        ("text/html", b"caf\xe9", "caf\ufffd", "text"),
        ("text/plain; charset=nonsense", b"ok", "ok", "text"),
        ("application/octet-stream", b"ascii", "YXNjaWk=", "base64"),
        ("image/png", b"\x89PNG\x00", "iVBORwA=", "base64"),
        ("application/zip", b"PK\xff", "UEv/", "base64"),
    ],
)
async def test_the_body_is_read_by_its_content_type(
    content_type: str, raw: bytes, body: Any, encoding: str
) -> None:
    async with serving(replying(body=raw, headers={"Content-Type": content_type})) as url:
        response = await send(url)

    assert (response.body, response.encoding) == (body, encoding)


async def test_a_body_without_a_content_type_is_text_if_it_can_be() -> None:
    async with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi") as (url, _):
        response = await send(url)

    assert (response.body, response.encoding) == ("hi", "text")


async def test_repeated_headers_are_joined() -> None:
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nVia: a\r\nVIA: b\r\nX-Odd: \xff\r\n\r\n"

    async with answering(raw) as (url, _):
        response = await send(url)

    assert response.headers == {"content-length": "0", "via": "a, b", "x-odd": "\ufffd"}


async def test_a_response_at_the_limit_is_taken_in() -> None:
    async with serving(replying(body=b"x" * MAX_BODY, content_type="text/plain")) as url:
        response = await send(url)

    assert len(str(response.body)) == MAX_BODY


async def test_a_larger_response_fails_once_and_names_size_and_limit() -> None:
    async with serving(replying(body=b"x" * 3_000_000)) as url:
        failed = await failure(f"{url}/dump?key=hunter2")

    assert (failed.error_type, failed.retryable) == ("payload_too_large", False)
    assert failed.error == (
        f"GET {url}/dump: the response takes 3,000,000 bytes or more;"
        " at most 1,048,576 are taken in; save_to puts more into a store"
    )


async def test_a_small_response_that_unpacks_to_more_than_the_limit_fails() -> None:
    packed = gzip.compress(b"\0" * 50_000_000)

    async with serving(replying(body=packed, headers={"Content-Encoding": "gzip"})) as url:
        failed = await failure(url)

    assert failed.error_type == "payload_too_large"
    assert "at most 1,048,576 are taken in" in failed.error


async def test_an_endless_response_ends_at_the_limit() -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 64_000)

    async with serving(endless) as url:
        failed = await failure(url)

    assert failed.error_type == "payload_too_large"


# Failures that the server tells


async def test_a_failed_status_says_what_was_asked_and_answered() -> None:
    async with serving(replying(status=404, text="no such order")) as url:
        failed = await failure(f"{url}/orders/7?token=hunter2#x")

    assert failed.error == f"GET {url}/orders/7: 404 Not Found"
    assert (failed.error_type, failed.retryable) == ("http_error", False)
    assert failed.details == {"status_code": 404, "body": "no such order"}


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
async def test_passing_trouble_is_worth_another_attempt(status: int) -> None:
    async with serving(replying(status=status)) as url:
        failed = await failure(url)

    assert failed.retryable
    assert failed.retry_after is None


@pytest.mark.parametrize("status", [304, 400, 401, 403, 404, 409, 422])
async def test_other_statuses_fail_for_good(status: int) -> None:
    async with serving(replying(status=status, headers={"Retry-After": "3"})) as url:
        failed = await failure(url)

    assert not failed.retryable
    assert failed.retry_after is None


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("999999999", 86_400.0),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
    ],
)
async def test_retry_after_in_seconds_is_honoured(header: str, wait: float | None) -> None:
    async with serving(replying(status=503, headers={"Retry-After": header})) as url:
        failed = await failure(url)

    assert failed.retry_after == wait


@pytest.mark.parametrize(
    ("ahead", "least", "most"), [(90, 80, 90), (-90, 0, 0), (10**7, 86_400, 86_400)]
)
async def test_retry_after_as_a_date_is_honoured(ahead: int, least: float, most: float) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=ahead), usegmt=True)

    async with serving(replying(status=429, headers={"Retry-After": date})) as url:
        failed = await failure(url)

    assert failed.retry_after is not None
    assert least <= failed.retry_after <= most


async def test_only_a_short_piece_of_a_failures_body_is_kept() -> None:
    async with serving(replying(status=500, body=b"\xff" + b"x" * 5_000_000)) as url:
        failed = await failure(url)

    assert failed.details["body"] == "\ufffd" + "x" * 999


async def test_a_failures_body_that_never_ends_does_not_hide_the_status() -> None:
    async def stuck(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=400)
        await response.prepare(request)
        await response.write(b"because")
        await asyncio.sleep(30)
        return response

    async with serving(stuck) as url:
        failed = await failure(url)

    assert failed.details == {"status_code": 400, "body": "because"}


async def test_a_server_that_sends_back_everything_does_not_bring_secrets_into_the_error() -> None:
    async def reflect(request: web.Request) -> web.Response:
        said = f"{request.path_qs} {dict(request.headers)} {await request.text()}"
        return web.Response(status=403, text=said, reason=request.query["sig"])

    async with serving(reflect) as url:
        failed = await failure(
            f"{url}/x?sig=s3cr3t-in-url",
            params={"key": "s3cr3t-in-params"},
            headers={"X-Api-Key": "s3cr3t-in-header", "Accept": "text/plain"},
            auth={"bearer": "s3cr3t-in-auth"},
        )

    assert "s3cr3t" not in f"{failed.error} {failed.details}"
    assert "text/plain" in str(failed.details["body"])


async def test_basic_credentials_do_not_come_back_in_an_error_either() -> None:
    async def reflect(request: web.Request) -> web.Response:
        return web.Response(status=401, text=f"{request.headers['Authorization']} hunter2")

    async with serving(reflect) as url:
        failed = await failure(url, auth={"username": "ann", "password": "hunter2"})

    assert failed.details["body"] == "*** ***"


# Failures on the way


async def test_a_refused_connection_is_worth_another_attempt() -> None:
    with free_port() as port:
        failed = await failure(f"http://ann:hunter2@127.0.0.1:{port}/x?key=hunter2")

    assert (failed.error_type, failed.retryable) == ("connection_error", True)
    assert failed.error.startswith(f"GET http://127.0.0.1:{port}/x: Connect call failed")
    assert "hunter2" not in failed.error


async def test_a_name_that_does_not_exist_is_worth_another_attempt() -> None:
    failed = await failure("http://nobody.invalid/x")

    assert (failed.error_type, failed.retryable) == ("connection_error", True)
    assert failed.error.startswith(
        "GET http://nobody.invalid/x: cannot find the host 'nobody.invalid': "
    )


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
async def test_a_dropped_connection_is_never_tried_again_here(method: str) -> None:
    async with answering(b"") as (url, received):
        failed = await failure(url, method=method)

    assert (failed.error_type, failed.retryable) == ("connection_error", True)
    assert failed.error.endswith("the server closed the connection without a response")
    assert len(received) == 1


async def test_a_response_that_breaks_off_is_worth_another_attempt() -> None:
    async with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf") as (url, _):
        failed = await failure(url)

    assert (failed.error_type, failed.retryable) == ("connection_error", True)
    assert failed.error == f"GET {url}: the response broke off"


async def test_what_is_no_http_is_a_connection_error() -> None:
    async with answering(b"SSH-2.0-OpenSSH_9.6\r\n\r\n") as (url, _):
        failed = await failure(f"{url}/?key=hunter2")

    assert failed.error_type == "connection_error"
    assert failed.error.startswith(f"GET {url}/: the response isn't HTTP")


async def test_a_server_that_does_not_answer_in_time_is_a_timeout() -> None:
    async def silent(_: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    async with serving(silent) as url:
        private = url.replace("://", "://ann:hunter2@")
        failed = await failure(f"{private}/slow?key=hunter2", timeout="200ms")

    assert (failed.error_type, failed.retryable) == ("timeout_error", True)
    assert failed.error == f"GET {url}/slow: no complete response within the timeout of 0.2s"


async def test_the_timeout_covers_a_body_that_trickles() -> None:
    async def trickle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x")
            await asyncio.sleep(0.02)

    async with serving(trickle) as url:
        failed = await failure(url, timeout=0.3)

    assert failed.error_type == "timeout_error"


async def test_a_cancel_ends_the_request() -> None:
    arrived, left = asyncio.Event(), asyncio.Event()

    async def wait(_: web.Request) -> web.Response:
        arrived.set()
        try:
            await asyncio.sleep(30)
        finally:
            left.set()
        return web.Response()

    async with serving(wait) as url:
        sending = asyncio.create_task(send(url))
        await arrived.wait()
        sending.cancel()
        await asyncio.wait_for(left.wait(), 2)

    assert sending.cancelled()


async def test_without_the_extra_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)  # as if it weren't there

    failed = await failure("http://example.com")

    assert (failed.error_type, failed.retryable) == ("missing_extra", False)
    assert failed.error.endswith("lacks: pip install 'regrow[http]'")


async def test_the_executor_is_there_without_importing_aiohttp() -> None:
    code = "import regrow.activities.catalogue.http, sys; sys.exit('aiohttp' in sys.modules)"
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", code, env=_with_source())

    assert await child.wait() == 0


# Bodies that go into a store


def everything_in(folder: Path) -> list[Path]:
    return [*folder.rglob("*")]


async def test_a_large_body_goes_into_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_OBJECT_STORES__MAIN", tmp_path.as_uri())
    raw = os.urandom(3 * MAX_BODY)

    async def large(request: web.Request) -> web.Response:
        return web.Response(body=raw)

    async with serving(large) as url:
        response = await send(url, save_to={"store": "main", "key": "a/b.bin"})

    digest = hashlib.sha256(raw).hexdigest()
    saved = {"store": "main", "key": "a/b.bin", "size": len(raw), "sha256": digest}
    assert (response.body, response.encoding) == (saved, "stored")
    assert (tmp_path / "a" / "b.bin").read_bytes() == raw


async def test_half_a_body_is_never_in_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_OBJECT_STORES__MAIN", tmp_path.as_uri())
    async with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf") as (url, _):
        failed = await failure(url, save_to={"store": "main", "key": "a"})

    assert (failed.error_type, failed.retryable) == ("connection_error", True)
    assert everything_in(tmp_path) == []


async def test_a_store_that_nobody_named_is_not_found() -> None:
    async with serving(echo) as url:
        failed = await failure(url, save_to={"store": "mine", "key": "a"})

    assert (failed.error_type, failed.retryable) == ("not_found", False)
    assert "REGROW_OBJECT_STORES__NAME" in failed.error


# Redirects


async def test_redirects_are_followed_and_the_last_url_is_told() -> None:
    async def twice(request: web.Request) -> web.Response:
        if request.path == "/b":
            return web.Response(text="arrived")
        return web.Response(status=302, headers={"Location": "/b?x=1"})

    async with serving(twice) as url:
        response = await send(f"{url}/a")

    assert (response.body, response.url) == ("arrived", f"{url}/b?x=1")


async def test_a_redirect_is_a_result_when_it_is_not_to_be_followed() -> None:
    async with serving(redirecting("/b")) as url:
        response = await send(f"{url}/a", follow_redirects=False)

    assert (response.status_code, response.headers["location"]) == (302, "/b")


@pytest.mark.parametrize("limit", [0, 1, 3])
async def test_no_more_redirects_are_followed_than_allowed(limit: int) -> None:
    async def count(request: web.Request) -> web.Response:
        left = int(request.path[1:])
        if left == 0:
            return web.Response(text="arrived")
        return web.Response(status=307, headers={"Location": f"/{left - 1}"})

    async with serving(count) as url:
        response = await send(f"{url}/{limit}", max_redirects=limit)
        failed = await failure(f"{url}/{limit + 1}?key=hunter2", max_redirects=limit)

    assert response.body == "arrived"
    assert (failed.error_type, failed.retryable) == ("redirect_error", False)
    assert failed.error == f"GET {url}/{limit + 1}: more than {limit} redirects"


@pytest.mark.parametrize("target", ["ftp://example.com/x", "file:///etc/passwd", "http://[::1"])
async def test_a_redirect_to_anything_but_http_fails_for_good(target: str) -> None:
    async with serving(redirecting(target)) as url:
        failed = await failure(f"{url}/a")

    assert (failed.error_type, failed.retryable) == ("redirect_error", False)


@pytest.mark.parametrize(
    "credentials",
    [
        {"auth": {"username": "ann", "password": "hunter2"}},
        {"auth": {"bearer": "hunter2"}},
        {"headers": {"authorization": "Bearer hunter2"}},
        {"headers": {"Cookie": "session=hunter2"}},
        {"headers": {"X-Api-Key": "hunter2", "Host": "hunter2.example"}},
    ],
)
@pytest.mark.parametrize("status", [302, 307])
async def test_credentials_stay_with_the_host_they_were_written_for(
    credentials: dict[str, Any], status: int
) -> None:
    async with serving(echo) as other, serving(redirecting(f"{other}/b", status)) as url:
        response = await send(f"{url}/a", **credentials)

    assert response.url == f"{other}/b"
    body: Any = response.body
    assert "hunter2" not in str(body)
    assert body["headers"]["host"] == other.removeprefix("http://")


async def test_credentials_in_the_url_stay_with_their_host_too() -> None:
    async with serving(echo) as other, serving(redirecting(f"{other}/b")) as url:
        response = await send(url.replace("://", "://ann:hunter2@"))

    body: Any = response.body
    assert "authorization" not in body["headers"]


async def test_harmless_headers_and_the_idempotency_key_go_along_to_another_host() -> None:
    async with serving(echo) as other, serving(redirecting(f"{other}/b", 307)) as url:
        headers = {"Accept": "application/json", "User-Agent": "me"}
        response = await send(url, method="POST", json={"a": 1}, headers=headers)

    body: Any = response.body
    assert body["headers"]["accept"] == "application/json"
    assert body["headers"]["user-agent"] == "me"
    assert body["headers"]["idempotency-key"] == KEY
    assert (body["method"], body["body"]) == ("POST", '{"a": 1}')


async def test_credentials_follow_a_redirect_on_the_same_host() -> None:
    async def bounce(request: web.Request) -> web.StreamResponse:
        if request.path == "/a":
            return web.Response(status=302, headers={"Location": "/b"})
        return await echo(request)

    async with serving(bounce) as url:
        response = await send(f"{url}/a", auth={"bearer": "tok"}, headers={"X-Api-Key": "key"})

    body: Any = response.body
    assert body["headers"]["authorization"] == "Bearer tok"
    assert body["headers"]["x-api-key"] == "key"


async def test_a_connection_that_breaks_after_a_redirect_names_where_it_broke() -> None:
    with free_port() as port:
        async with serving(redirecting(f"http://127.0.0.1:{port}/b?key=hunter2")) as url:
            failed = await failure(f"{url}/a")

    assert failed.error.startswith(f"GET http://127.0.0.1:{port}/b: Connect call failed")


# Where it may connect


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1", "127.1", "[::ffff:7f00:1]"],
)
async def test_this_machine_is_out_of_reach_unless_it_is_allowed(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.delenv("REGROW_HTTP_ALLOW")

    async with answering(b"") as (url, received):
        port = url.rpartition(":")[2]
        failed = await failure(f"http://ann:hunter2@{host}:{port}/x?key=hunter2")

    assert (failed.error_type, failed.retryable) == ("not_allowed", False)
    assert failed.error.startswith(f"GET http://{host}:{port}/x: this worker may not connect to ")
    assert failed.error.endswith("by listing it in REGROW_HTTP_ALLOW")
    assert "hunter2" not in failed.error
    assert received == []


async def test_a_host_is_allowed_on_every_port(monkeypatch: pytest.MonkeyPatch) -> None:
    know(monkeypatch, {"shop.example": ["127.0.0.1"]})
    monkeypatch.setenv("REGROW_HTTP_ALLOW", "shop.example")

    async with serving(echo) as other:
        target = other.replace("127.0.0.1", "shop.example")
        async with serving(redirecting(f"{target}/b")) as url:
            response = await send(url.replace("127.0.0.1", "shop.example"))

    assert response.url == f"{target}/b"
    body: Any = response.body
    assert body["headers"]["host"] == target.removeprefix("http://")


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:{port}/b",
        "//127.0.0.1:{port}/b",
        "http://localhost:{port}/b",
        "http://2130706433:{port}/b",
        "http://[::1]:{port}/b",
        "http://[::ffff:7f00:1]:{port}/b",
        "http://inside.example:{port}/b",
        "http://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/b",
        "http://0.0.0.0/b",
    ],
)
async def test_a_redirect_does_not_lead_to_where_the_task_may_not_go(
    monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    know(monkeypatch, {"shop.example": ["127.0.0.1"], "inside.example": ["127.0.0.1"]})
    monkeypatch.setenv("REGROW_HTTP_ALLOW", "shop.example")
    asked: list[str] = []

    async def redirect(request: web.Request) -> web.Response:
        asked.append(request.path)
        location = target.format(port=request.url.port)
        return web.Response(status=307, headers={"Location": location})

    async with serving(redirect) as url:
        failed = await failure(f"{url.replace('127.0.0.1', 'shop.example')}/a")

    assert (failed.error_type, failed.retryable) == ("not_allowed", False)
    assert "this worker may not connect to " in failed.error
    assert asked == ["/a"]


async def test_every_hop_of_a_chain_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    know(monkeypatch, {"shop.example": ["127.0.0.1"], "pay.example": ["127.0.0.1"]})
    monkeypatch.setenv("REGROW_HTTP_ALLOW", "*.example")
    asked: list[str] = []

    async def next_host(request: web.Request) -> web.Response:
        asked.append(f"{request.url.host}{request.path}")
        hops = {"/a": "shop.example", "/b": "pay.example", "/c": "127.0.0.1"}
        to = f"http://{hops[request.path]}:{request.url.port}/{'bcd'['abc'.index(request.path[1])]}"
        return web.Response(status=302, headers={"Location": to})

    async with serving(next_host) as url:
        failed = await failure(f"{url.replace('127.0.0.1', 'shop.example')}/a")

    assert failed.error_type == "not_allowed"
    assert asked == ["shop.example/a", "shop.example/b", "pay.example/c"]


async def test_a_name_is_asked_once_and_what_it_meant_then_is_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = know(monkeypatch, {"turns.example": ["127.0.0.1", "192.0.2.1"]})

    async with serving(echo) as url:
        response = await send(url.replace("127.0.0.1", "turns.example"))

    assert response.status_code == 200
    assert asked == {"turns.example": 1}


async def test_a_name_that_means_another_address_at_the_next_hop_is_checked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = know(monkeypatch, {"turns.example": ["127.0.0.1", "192.0.2.1"]})

    async with serving(redirecting("/b")) as url:
        failed = await failure(f"{url.replace('127.0.0.1', 'turns.example')}/a")

    assert failed.error_type == "not_allowed"
    assert "/b: this worker may not connect to turns.example (192.0.2.1)" in failed.error
    assert asked == {"turns.example": 2}


async def test_a_proxy_of_the_environment_is_no_way_round(monkeypatch: pytest.MonkeyPatch) -> None:
    async with answering(b"HTTP/1.1 200 OK\r\n\r\n") as (proxy, received), serving(echo) as url:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy)
        response = await send(url)
        monkeypatch.setenv("REGROW_HTTP_ALLOW", "")
        failed = await failure(url)

    assert response.status_code == 200
    assert failed.error_type == "not_allowed"
    assert received == []


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def certificate(authority: trustme.CA, host: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued = authority.issue_cert(host)
    issued.configure_cert(context)  # pyright: ignore[reportUnknownMemberType] - pyOpenSSL, absent
    return context


async def test_a_certificate_that_nobody_vouches_for_fails_for_good(
    authority: trustme.CA,
) -> None:
    async with serving(echo, certificate(authority)) as url:
        failed = await failure(f"{url}/x?key=hunter2")

    assert (failed.error_type, failed.retryable) == ("tls_error", False)
    assert failed.error.startswith(f"GET {url}/x: the certificate isn't valid: ")
    assert "hunter2" not in failed.error


async def test_verification_can_be_switched_off(authority: trustme.CA) -> None:
    async with serving(echo, certificate(authority, "elsewhere.example")) as url:
        response = await send(url, verify=False)

    assert response.status_code == 200


async def test_a_port_that_speaks_no_tls_is_a_tls_error() -> None:
    async with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as (url, _):
        failed = await failure(url.replace("http:", "https:"))

    assert (failed.error_type, failed.retryable) == ("tls_error", False)


@pytest.mark.parametrize(
    ("issued_to", "host", "output"),
    [
        ("127.0.0.1", "127.0.0.1", "200"),
        ("shop.example", "shop.example", "200"),
        ("127.0.0.1", "shop.example", "tls_error"),
    ],
)
async def test_the_certificate_must_be_the_hosts_by_an_authority_of_the_usual_variable(
    authority: trustme.CA, tmp_path: Path, issued_to: str, host: str, output: str
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    variables = {"SSL_CERT_FILE": str(tmp_path / "ca.pem"), "REGROW_HTTP_ALLOW": "127.0.0.1"}

    async with serving(echo, certificate(authority, issued_to)) as url:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            ALONE,
            url.replace("127.0.0.1", host),
            env=_with_source() | variables,
            stdout=asyncio.subprocess.PIPE,
        )
        printed, _ = await child.communicate()

    assert printed.decode().strip() == output


ALONE = """
import asyncio, socket, sys
from regrow.activities.catalogue.http import *
from regrow.executors import *

real = socket.getaddrinfo

def look_up(host, *rest, **options):
    return real("127.0.0.1" if host == "shop.example" else host, *rest, **options)

socket.getaddrinfo = look_up
try:
    print(asyncio.run(http_request(HttpRequest(url=sys.argv[1]), TaskContext())).status_code)
except TaskError as error:
    print(error.error_type)
"""


async def test_the_name_is_sent_so_that_the_server_can_choose_its_certificate(
    monkeypatch: pytest.MonkeyPatch, authority: trustme.CA
) -> None:
    know(monkeypatch, {"shop.example": ["127.0.0.1"]})
    tls, names = certificate(authority), list[str | None]()
    tls.sni_callback = lambda _, name, __: names.append(name)

    async with serving(echo, tls) as url:
        response = await send(url.replace("127.0.0.1", "shop.example"), verify=False)

    body: Any = response.body
    assert body["headers"]["host"].startswith("shop.example:")
    assert names == ["shop.example"]


def _with_source() -> dict[str, str]:
    """Let a child find what this process found."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


# In a tree


async def test_a_task_gets_the_response(client: TreeClient) -> None:
    async with serving(echo) as url:
        ended = await run_one(client, "http_request", {"url": f"{url}/orders/7"})

    assert ended.task.attempts == 1
    assert ended.result["status_code"] == 200
    assert ended.result["body"]["path"] == "/orders/7"


async def test_passing_trouble_is_tried_again_with_the_same_key(client: TreeClient) -> None:
    keys: list[str | None] = []

    async def busy(request: web.Request) -> web.Response:
        keys.append(request.headers.get("Idempotency-Key"))
        return web.Response(status=503 if len(keys) < 3 else 200)

    async with serving(busy) as url:
        ended = await run_one(client, "http_request", {"url": url, "method": "POST"})

    assert (ended.task.status, ended.task.attempts) == (Status.COMPLETED, 3)
    assert len(set(keys)) == 1
    assert keys[0]


async def test_trouble_that_does_not_pass_ends_with_the_last_attempt(client: TreeClient) -> None:
    async with answering(b"") as (url, received):
        ended = await run_one(client, "http_request", {"url": url})

    assert ended.failure == ("connection_error", 3)
    assert len(received) == 3


async def test_what_fails_for_good_is_not_tried_again(client: TreeClient) -> None:
    asked: list[str] = []

    async def refuse(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=404, text="no such order")

    async with serving(refuse) as url:
        ended = await run_one(client, "http_request", {"url": f"{url}/orders/7"})

    assert ended.failure == ("http_error", 1)
    assert ended.task.error == f"GET {url}/orders/7: 404 Not Found"
    assert ended.task.metadata["body"] == "no such order"
    assert asked == ["/orders/7"]


async def test_a_task_may_not_reach_what_the_operator_does_not_allow(
    client: TreeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REGROW_HTTP_ALLOW")

    async with answering(b"") as (url, received):
        ended = await run_one(client, "http_request", {"url": url})

    assert ended.failure == ("not_allowed", 1)
    assert received == []


class Silent:
    """A server that never answers, and sees who comes and who leaves."""

    def __init__(self) -> None:
        self.arrived, self.left = asyncio.Event(), asyncio.Event()

    async def answer(self, _: web.Request) -> web.Response:
        self.arrived.set()
        try:
            await asyncio.sleep(60)
        finally:
            self.left.set()
        return web.Response()


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

    async with serving(silent.answer) as url:
        ended = await run_one(client, "http_request", {"url": url, **inputs}, **once)
        await asyncio.wait_for(silent.left.wait(), 20)

    assert ended.failure == ("timeout_error", 1)


async def test_a_cancelled_task_closes_the_connection(client: TreeClient) -> None:
    silent = Silent()

    async with serving(silent.answer) as url:
        ended = await cancel_one(client, "http_request", {"url": url}, silent.arrived.wait)
        await asyncio.wait_for(silent.left.wait(), 20)

    assert ended.task.status is Status.CANCELLED


@pytest.mark.parametrize("status", [200, 403])
async def test_a_secret_reaches_the_server_and_nobody_else(
    client: TreeClient, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    secret = "s3cr3t-value-of-the-test"
    monkeypatch.setenv("REGROW_SECRET_TOKEN", secret)
    seen: list[str] = []

    async def take(request: web.Request) -> web.Response:
        seen.append(request.headers["Authorization"])
        return web.Response(status=status, text=f"hello {seen[-1]}")

    async with serving(take) as url:
        headers = {"Authorization": "Bearer ${{ secrets.TOKEN }}"}
        ended = await run_one(client, "http_request", {"url": url, "headers": headers})

    assert ended.task.status is (Status.COMPLETED if status == 200 else Status.FAILED)
    assert seen == [f"Bearer {secret}"]
    assert secret not in ended.traces
