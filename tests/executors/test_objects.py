"""`object_get` and `object_put` against an S3 server on loopback, and a folder."""

import asyncio
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme
from tests.executors.running import as_text, cancel_one, run_one

from regrow import Status, TreeClient
from regrow.activities.catalogue.content import MAX_CONTENT
from regrow.activities.catalogue.objects import (
    ObjectContent,
    ObjectStored,
    object_get,
    object_put,
)
from regrow.executors import Registry, TaskContext, TaskError

OBJECTS = Registry(object_get, object_put)
SECRET = "s3cr3t-value-of-the-test"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """An S3 server with one bucket; gives its address."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    argv = [sys.executable, "-m", "moto.server", "-p", str(port)]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _make_bucket(f"http://127.0.0.1:{port}/bucket", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def _make_bucket(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="PUT")).close()
        except OSError:
            assert process.poll() is None, "the S3 server of these tests is moto[s3] with flask"
            assert time.monotonic() < until
            time.sleep(0.05)
        else:
            return


@pytest.fixture(autouse=True)
def stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stores that the operator named; `main` needs an address, see `served_by`."""
    monkeypatch.setenv("REGROW_OBJECT_STORES__MAIN", "s3://bucket/below")
    monkeypatch.setenv("REGROW_OBJECT_STORES__FOLDER", tmp_path.as_uri())
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")


@pytest.fixture
def main(s3: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The store `main`, on the S3 server."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    return "main"


@pytest.fixture(params=["main", "folder"])
def store(request: pytest.FixtureRequest, main: str) -> str:
    """One store after the other."""
    return request.param or main


async def get(store: str, key: str, **inputs: Any) -> ObjectContent:
    """Call as the host does: with JSON."""
    given = {"store": store, "key": key, **inputs}
    return await OBJECTS["object_get"].call(given, TaskContext())


async def put(store: str, key: str, content: Any, **inputs: Any) -> ObjectStored:
    given = {"store": store, "key": key, "content": content, **inputs}
    return await OBJECTS["object_put"].call(given, TaskContext())


async def refusal(executor: str, **inputs: Any) -> TaskError:
    given = {"store": "main", "key": "k", "content": "", **inputs}
    with pytest.raises(TaskError) as raised:
        await OBJECTS[executor].call(given, TaskContext())
    return raised.value


@dataclass
class Peer:
    """A store that answers each request with the same bytes, or not at all."""

    answer: bytes | None
    requests: list[bytes] = field(default_factory=list[bytes])
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests.append(await reader.readuntil(b"\r\n\r\n"))
        self.begun.set()
        if self.answer is None:
            while await reader.read(64 * 1024):
                pass
            self.left.set()
        else:
            writer.write(self.answer)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def answering(
    answer: bytes | None, monkeypatch: pytest.MonkeyPatch, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[Peer]:
    """Make `main` a peer that answers so; None for one that never does."""
    peer = Peer(answer)
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http{'s' if tls else ''}://127.0.0.1:{port}")
        yield peer


def http(status: str, body: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


# What is stored and got


@pytest.mark.parametrize(
    ("key", "content", "encoding", "read_as"),
    [
        ("a.json", {"ü": [1, None]}, "auto", "json"),
        ("a/b/c.txt", "Grüße\r\n", "auto", "text"),
        ("empty", "", "auto", "text"),
        ("bytes", "AP8=", "base64", "base64"),
    ],
)
async def test_what_is_put_is_got(
    store: str, key: str, content: Any, encoding: str, read_as: str
) -> None:
    stored = await put(store, key, content, encoding=encoding)
    found = await get(store, key)

    assert (found.content, found.encoding) == (content, read_as)
    assert (found.size, found.sha256) == (stored.size, stored.sha256)
    assert found.etag == stored.etag
    assert found.last_modified.tzinfo


async def test_a_store_that_keeps_types_is_told_what_it_gets(main: str) -> None:
    await put(main, "report", {"n": 1})
    await put(main, "list", ["a", "b"], encoding="lines")
    await put(main, "other", "<a/>", content_type="application/xml")

    assert (await get(main, "report")).content_type == "application/json"
    assert (await get(main, "report")).content == {"n": 1}
    assert (await get(main, "list")).content_type == "text/plain; charset=utf-8"
    assert (await get(main, "list", encoding="lines")).content == ["a", "b"]
    assert (await get(main, "other")).content_type == "application/xml"


async def test_keys_lie_below_the_prefix_of_the_store(
    main: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_OBJECT_STORES__WHOLE", "s3://bucket")

    await put(main, "where", "here")

    assert (await get("whole", "below/where")).content == "here"


async def test_a_put_takes_the_place_of_an_object_and_may_be_repeated(store: str) -> None:
    for text in ("old", "new", "new"):
        await put(store, "again", text)

    assert (await get(store, "again")).content == "new"


async def test_if_absent_leaves_other_content_and_is_content_with_the_same(store: str) -> None:
    first = await put(store, "once", "mine", if_absent=True)
    again = await put(store, "once", "mine", if_absent=True)
    refused = await refusal("object_put", store=store, key="once", content="other", if_absent=True)

    assert first == again
    assert (refused.error_type, refused.retryable) == ("already_exists", False)
    assert refused.error == (
        f"'once' in the store '{store}' is there with other content; without if_absent it would be"
        " replaced"
    )
    assert (await get(store, "once")).content == "mine"


async def test_a_large_object_is_refused_before_it_is_got(store: str) -> None:
    await put(store, "large", "x" * (MAX_CONTENT + 1))
    await put(store, "fits", "x" * MAX_CONTENT)

    refused = await refusal("object_get", store=store, key="large")

    assert (refused.error_type, refused.retryable) == ("payload_too_large", False)
    assert refused.error == (
        f"'large' in the store '{store}' takes 1,048,577 bytes; at most 1,048,576 are read at once."
        " Hand on its key instead"
    )
    assert (await get(store, "fits")).size == MAX_CONTENT


# What is refused


@pytest.mark.parametrize("key", ["", "/a", "a/", "../a", "a/../../b", "a//b", ".", "a\0b"])
async def test_a_key_that_leads_elsewhere_is_refused(key: str) -> None:
    refused = await refusal("object_put", key=key)

    assert refused.error_type == "validation_error"
    assert refused.error.startswith("object_put was given invalid inputs: key: write a key like")


async def test_a_key_that_a_folder_cannot_have_fails_for_good() -> None:
    refused = await refusal("object_put", store="folder", key="a#1")

    assert not refused.retryable
    assert refused.error_type == "validation_error"
    assert refused.error == "'a#1' in the store 'folder': the store cannot have such a key"


async def test_an_unknown_store_is_named_with_those_that_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused = await refusal("object_get", store="man")

    assert (refused.error_type, refused.retryable) == ("not_found", False)
    assert refused.error == (
        "this worker knows no object store 'man'; it knows folder, main. Its operator names one by"
        " REGROW_OBJECT_STORES__NAME"
    )
    for name in ("MAIN", "FOLDER"):
        monkeypatch.delenv(f"REGROW_OBJECT_STORES__{name}")
    assert "; it knows none. " in (await refusal("object_get")).error


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (f"ftp://ann:{SECRET}@host/x", "the URL isn't that of a store"),
        (SECRET, "the URL isn't that of a store"),
        (f"file:///no/such/{SECRET}", "No such file or directory"),
    ],
)
async def test_a_store_that_cannot_be_opened_is_said_without_its_url(
    url: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_OBJECT_STORES__BROKEN", url)

    refused = await refusal("object_get", store="broken")

    assert (refused.error_type, refused.retryable) == ("object_error", False)
    assert refused.error == f"the object store 'broken' of this worker cannot be used: {reason}"


# Failures


async def test_an_object_or_a_bucket_that_is_not_there_fails_for_good(
    store: str, main: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_OBJECT_STORES__GONE", "s3://no-such-bucket")

    object_, bucket = [
        await refusal("object_get", store=name, key="nothing") for name in (store, "gone")
    ]

    assert (object_.error_type, object_.retryable) == ("not_found", False)
    assert object_.error == f"'nothing' in the store '{store}': there is no such object"
    assert (bucket.error_type, bucket.retryable) == ("not_found", False)
    assert bucket.error == "'nothing' in the store 'gone': no such bucket"


@pytest.mark.parametrize(
    ("status", "error_type", "retryable"),
    [
        ("401 Unauthorized", "authentication_error", False),
        ("403 Forbidden", "authentication_error", False),
        ("400 Bad Request", "object_error", False),
        ("429 Too Many Requests", "object_error", True),
        ("500 Internal Server Error", "object_error", True),
        ("503 Slow Down", "object_error", True),
    ],
)
@pytest.mark.parametrize("executor", ["object_get", "object_put"])
async def test_what_a_status_means(
    executor: str, status: str, error_type: str, *, retryable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = f"<Error><Code>Reason</Code><Message>{SECRET}</Message></Error>"

    async with answering(http(status, body), monkeypatch) as peer:
        refused = await refusal(executor)

    assert (refused.error_type, refused.retryable) == (error_type, retryable)
    assert refused.error == f"'k' in the store 'main': the store answered {status[:3]} Reason"
    assert refused.details == {"status_code": int(status[:3])}
    assert len(peer.requests) == 1


@pytest.mark.parametrize("executor", ["object_get", "object_put"])
@pytest.mark.parametrize("answer", [b"", b"no HTTP\r\n\r\n", http("200 OK", "x" * 9)[:-5]])
async def test_a_broken_connection_is_worth_another_attempt(
    executor: str, answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with answering(answer, monkeypatch):
        refused = await refusal(executor)

    assert (refused.error_type, refused.retryable) == ("connection_error", True)
    assert refused.error == "'k' in the store 'main': no connection to the store, or it broke"


async def test_a_certificate_that_nobody_vouches_for_fails_for_good(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued = trustme.CA().issue_cert("127.0.0.1")
    issued.configure_cert(tls)  # pyright: ignore[reportUnknownMemberType] - pyOpenSSL, absent

    async with answering(http("200 OK"), monkeypatch, tls) as peer:
        refused = await refusal("object_get")

    assert (refused.error_type, refused.retryable) == ("tls_error", False)
    assert refused.error == "'k' in the store 'main': the store's certificate isn't valid"
    assert not peer.requests


async def test_missing_permissions_of_a_folder_fail_for_good(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    refused = await refusal("object_put", store="folder", key="file/inner")

    assert (refused.error_type, refused.retryable) == ("object_error", False)
    assert refused.error == "'file/inner' in the store 'folder': Not a directory"


async def test_a_peer_that_says_nothing_is_left_after_the_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with answering(None, monkeypatch) as peer:
        refused = await refusal("object_put", timeout="500ms", content="x")
        await asyncio.wait_for(peer.left.wait(), 10)

    assert (refused.error_type, refused.retryable) == ("timeout_error", True)
    assert refused.error == "'k' in the store 'main': not done within the timeout of 0.5s"


async def test_a_shorter_limit_of_the_operator_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_TIMEOUT", "300ms")

    async with answering(None, monkeypatch) as peer:
        refused = await refusal("object_get")
        await asyncio.wait_for(peer.left.wait(), 10)

    assert (refused.error_type, refused.retryable) == ("timeout_error", True)
    assert "AWS_TIMEOUT" in refused.error


# Through a tree


async def test_a_tree_puts_and_gets(client: TreeClient, main: str) -> None:
    inputs = {"store": main, "key": "tree.json"}
    stored = await run_one(client, "object_put", {**inputs, "content": {"n": 1}})
    found = await run_one(client, "object_get", inputs)

    assert found.result["content"] == {"n": 1}
    assert found.result["sha256"] == stored.result["sha256"]
    assert SECRET not in stored.traces + found.traces


async def test_a_store_that_is_busy_is_tried_again(
    client: TreeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with answering(http("503 Slow Down", SECRET), monkeypatch) as peer:
        ended = await run_one(client, "object_put", {"store": "main", "key": "k", "content": "x"})

    assert ended.failure == ("object_error", 3)
    assert len(peer.requests) == 3
    assert SECRET not in ended.traces + as_text(ended)


async def test_a_store_that_refuses_the_credentials_is_asked_once(
    client: TreeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with answering(http("403 Forbidden", SECRET), monkeypatch) as peer:
        ended = await run_one(client, "object_get", {"store": "main", "key": "k"})

    assert ended.failure == ("authentication_error", 1)
    assert len(peer.requests) == 1
    assert SECRET not in ended.traces + as_text(ended)


@pytest.mark.parametrize("executor", ["object_get", "object_put"])
async def test_a_cancel_closes_the_connection(
    executor: str, client: TreeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = {"store": "main", "key": "k", "content": "x", "timeout": "1m"}

    async with answering(None, monkeypatch) as peer:
        ended = await cancel_one(client, executor, inputs, when=peer.begun.wait)
        await asyncio.wait_for(peer.left.wait(), 10)

    assert ended.task.status is Status.CANCELLED
    assert len(peer.requests) == 1


async def test_a_secret_is_stored_and_stays_out_of_history_and_logs(
    client: TreeClient, main: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_SECRET_TOKEN", SECRET)

    inputs = {"store": main, "key": "secret", "content": "${{ secrets.TOKEN }}"}
    ended = await run_one(client, "object_put", inputs)

    assert ended.task.status is Status.COMPLETED
    assert (await get(main, "secret")).content == SECRET
    assert SECRET not in ended.traces
