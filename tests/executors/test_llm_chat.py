"""`llm_chat` against a server on loopback that speaks OpenAI's chat completions."""

import asyncio
import json
import logging
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import trustme
from aiohttp import web
from tests.executors.running import as_text, cancel_one, run_one

from regrow import Status, TreeClient
from regrow.activities.catalogue import llm
from regrow.activities.catalogue.llm import LlmCompleted, llm_chat
from regrow.executors import Registry, TaskContext, TaskError

LLM_CHAT: Final = Registry(llm_chat)["llm_chat"]
KEY: Final = "k-of-the-test-7431"
QUESTION: Final = "which-question-nobody-may-log"
ANSWER: Final = "which-answer-nobody-may-log"


@dataclass
class Peer:
    """The server: what it answers next, and what it saw."""

    url: str = ""
    words: list[str] = field(default_factory=lambda: ["Hel", "lo"])
    finish: str | None = "stop"
    usage: dict[str, int] | None = field(
        default_factory=lambda: {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    )
    status: int = 200
    error: dict[str, Any] = field(default_factory=dict[str, Any])
    headers: dict[str, str] = field(default_factory=dict[str, str])
    failures: int = 10**6
    """How many requests are answered with `status`."""
    hangs: bool = False
    breaks: bool = False
    refusal: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    seen: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    talking: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def chat(self, request: web.Request) -> web.StreamResponse:
        self.seen.append({name.lower(): value for name, value in request.headers.items()})
        self.requests.append(await request.json())
        if self.status != 200 and len(self.requests) <= self.failures:
            return web.json_response(
                {"error": self.error}, status=self.status, headers=self.headers
            )
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            async for frame in self.frames():
                await response.write(f"data: {json.dumps(frame)}\n\n".encode())
            if self.breaks:
                assert request.transport
                request.transport.abort()
            await response.write(b"data: [DONE]\n\n")
        except (ConnectionError, asyncio.CancelledError):
            self.left.set()
            raise
        return response

    async def frames(self) -> AsyncIterator[dict[str, Any]]:
        for word in self.words:
            yield self.frame({"content": word})
            self.talking.set()
        if self.refusal:
            yield self.frame({"refusal": self.refusal})
        while self.hangs:
            await asyncio.sleep(0.05)
            yield self.frame({"content": "."})
        if not self.breaks:
            yield self.frame({}, self.finish)
            yield {**self.frame({}), "choices": [], "usage": self.usage}

    def frame(self, delta: dict[str, str], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": {"role": "assistant", **delta}, "finish_reason": finish}
        about = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "small-1"}
        return {**about, "choices": [choice]}


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None) -> AsyncGenerator[Peer]:
    peer = Peer()
    application = web.Application()
    application.router.add_post("/v1/chat/completions", peer.chat)
    runner = web.AppRunner(application, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    port = runner.addresses[0][1]
    peer.url = f"https://localhost:{port}/v1" if tls else f"http://127.0.0.1:{port}/v1"
    try:
        yield peer
    finally:
        await runner.cleanup()


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with serving() as running:
        yield running


pytestmark = pytest.mark.usefixtures("loopback")


def inputs_for(peer: Peer, /, **inputs: Any) -> dict[str, Any]:
    asked = {} if "messages" in inputs else {"prompt": QUESTION}
    return {"model": "openai:small", "base_url": peer.url, "api_key": KEY, **asked, **inputs}


async def ask(peer: Peer, context: TaskContext | None = None, /, **inputs: Any) -> LlmCompleted:
    """Call as the host does: with JSON."""
    return await LLM_CHAT.call(inputs_for(peer, **inputs), context or TaskContext())


async def failure(peer: Peer, /, **inputs: Any) -> TaskError:
    with pytest.raises(TaskError) as raised:
        await ask(peer, **inputs)
    return raised.value


# In a tree


async def test_an_answer_is_the_result_and_its_tokens_are_metadata(
    client: TreeClient, peer: Peer
) -> None:
    ended = await run_one(client, "llm_chat", inputs_for(peer))

    assert ended.result == {
        "text": "Hello",
        "parsed": None,
        "model": "small-1",
        "finish_reason": "stop",
    }
    assert ended.task.metadata["usage"] == {
        "input_tokens": 7,
        "output_tokens": 2,
        "total_tokens": 9,
    }


async def test_a_busy_provider_is_asked_again_when_it_says(client: TreeClient, peer: Peer) -> None:
    peer.status, peer.failures = 429, 1
    peer.headers = {"Retry-After": "1"}

    ended = await run_one(client, "llm_chat", inputs_for(peer))

    assert (ended.task.attempts, ended.result["text"]) == (2, "Hello")


async def test_attempts_are_those_of_the_task_alone(client: TreeClient, peer: Peer) -> None:
    peer.status = 503

    ended = await run_one(
        client,
        "llm_chat",
        inputs_for(peer),
        retry={"maximum_attempts": 2, "initial_interval": "50ms"},
    )

    assert ended.failure == ("llm_error", 2)
    assert len(peer.requests) == 2


async def test_a_refused_key_fails_once(client: TreeClient, peer: Peer) -> None:
    peer.status, peer.error = 401, {"message": f"Incorrect API key provided: {KEY}."}

    ended = await run_one(client, "llm_chat", inputs_for(peer))

    assert ended.failure == ("authentication_error", 1)
    assert ended.task.error == (f"openai:small at {peer.url}: 401 Incorrect API key provided: ***.")


async def test_a_timeout_closes_the_connection(client: TreeClient, peer: Peer) -> None:
    peer.hangs = True

    ended = await run_one(
        client, "llm_chat", inputs_for(peer, timeout="1s"), retry={"maximum_attempts": 1}
    )

    assert ended.failure == ("timeout_error", 1)
    assert ended.task.error == (
        f"openai:small at {peer.url}: no complete answer within the timeout of 1s"
    )
    await asyncio.wait_for(peer.left.wait(), 20)


async def test_a_cancel_closes_the_connection(client: TreeClient, peer: Peer) -> None:
    peer.hangs = True

    ended = await cancel_one(client, "llm_chat", inputs_for(peer), peer.talking.wait)

    assert ended.task.status is Status.CANCELLED
    await asyncio.wait_for(peer.left.wait(), 20)


async def test_the_key_is_in_no_history_and_no_log(
    client: TreeClient, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_SECRET_MODELS_KEY", KEY)
    peer.status, peer.error = 400, {"message": f"what is {KEY}?", "code": "odd"}

    ended = await run_one(client, "llm_chat", inputs_for(peer, api_key="${{ secrets.MODELS_KEY }}"))

    assert ended.failure == ("llm_error", 1)
    assert ended.task.error == f"openai:small at {peer.url}: 400 what is ***?"
    assert (ended.task.metadata["status_code"], ended.task.metadata["code"]) == (400, "odd")
    assert peer.seen[0]["authorization"] == f"Bearer {KEY}"
    assert KEY not in ended.traces
    assert KEY not in as_text(ended)


# What is asked


async def test_only_what_was_given_is_sent(peer: Peer) -> None:
    await ask(peer)

    assert peer.requests == [
        {
            "model": "small",
            "messages": [{"role": "user", "content": QUESTION}],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ]


async def test_a_conversation_goes_out_in_its_order(peer: Peer) -> None:
    turns = [
        {"role": "user", "content": "1 + 1?"},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "and 1 more?"},
    ]

    await ask(
        peer,
        system="Be brief.",
        messages=turns,
        temperature=0.5,
        max_tokens=30,
        stop=["\n"],
    )

    [sent] = peer.requests
    assert sent["messages"] == [{"role": "system", "content": "Be brief."}, *turns]
    assert (sent["temperature"], sent["max_tokens"], sent["stop"]) == (0.5, 30, ["\n"])


async def test_a_schema_makes_the_answer_json(peer: Peer) -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    }
    peer.words = ['{"n"', ": 3}"]

    answered = await ask(peer, response_schema=schema)

    assert answered.result.parsed == {"n": 3}
    sent = peer.requests[0]["response_format"]
    assert (sent["type"], sent["json_schema"]["schema"]["required"]) == ("json_schema", ["n"])


@pytest.mark.parametrize(("finish", "retryable"), [("stop", True), ("length", False)])
async def test_an_answer_that_is_not_the_json_asked_for_fails(
    peer: Peer, finish: str, *, retryable: bool
) -> None:
    peer.words, peer.finish = ['{"n": '], finish

    failed = await failure(peer, response_schema={"type": "object", "properties": {}})

    assert (failed.error_type, failed.retryable) == ("answer_error", retryable)


async def test_an_answer_that_was_cut_is_a_result_that_says_so(peer: Peer) -> None:
    peer.finish, peer.usage = "length", None

    answered = await ask(peer, max_tokens=2)

    assert (answered.result.text, answered.result.finish_reason) == ("Hello", "length")
    assert answered.usage is None


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        ({"model": "gpt-5"}, "model: write provider and model"),
        ({"model": "anthropic:claude-haiku-4-5"}, "base_url goes with openai: models"),
        ({"prompt": None}, "give either prompt or messages"),
        ({"messages": [{"role": "user", "content": "x"}], "prompt": "y"}, "give either prompt"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"api_key": None}, "base_url needs api_key: the worker's own key isn't sent there"),
        ({"api_key": "a\nb"}, "a key has visible ASCII characters only"),
        ({"base_url": "http://ann:pw@example.com"}, "base_url: write a URL"),
        ({"base_url": "http://example.com?key=1"}, "base_url: write a URL"),
        ({"base_url": "file:///etc"}, "base_url: write a URL"),
        ({"max_tokens": 0}, "max_tokens"),
    ],
)
async def test_unusable_inputs_are_refused(
    peer: Peer, inputs: dict[str, Any], problem: str
) -> None:
    refused = await failure(peer, **inputs)

    assert (refused.error_type, refused.retryable) == ("validation_error", False)
    assert problem in refused.error
    assert KEY not in refused.error


# Whose key goes where


async def test_a_server_that_a_document_names_learns_nothing_of_the_worker(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "the-workers-own-key")
    monkeypatch.setenv("OPENAI_ORG_ID", "the-workers-org")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "the-workers-project")
    monkeypatch.setenv(
        "OPENAI_CUSTOM_HEADERS", "X-Gateway: the-workers-pass\nAuthorization: Bearer the-workers"
    )

    await ask(peer)

    assert peer.seen[0]["authorization"] == f"Bearer {KEY}"
    assert "the-workers" not in str(peer.seen)


async def test_the_workers_own_settings_are_used_where_a_document_names_no_server(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", peer.url)
    monkeypatch.setenv("OPENAI_API_KEY", "the-workers-own-key")
    own: dict[str, Any] = {"model": "openai:small", "prompt": "?"}

    answered = await LLM_CHAT.call(own, TaskContext())
    await LLM_CHAT.call({**own, "api_key": KEY}, TaskContext())

    assert answered.result.text == "Hello"
    keys = [seen["authorization"] for seen in peer.seen]
    assert keys == ["Bearer the-workers-own-key", f"Bearer {KEY}"]


async def test_the_workers_own_key_is_not_shown_either(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", peer.url)
    monkeypatch.setenv("OPENAI_API_KEY", "the-workers-own-key")
    peer.status, peer.error = 401, {"message": "no such key: the-workers-own-key"}

    with pytest.raises(TaskError) as raised:
        await LLM_CHAT.call({"model": "openai:small", "prompt": "?"}, TaskContext())

    assert raised.value.error == "openai:small: 401 no such key: ***"


async def test_a_worker_without_a_key_says_which_variable(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)

    failed = await failure(peer, base_url=None, api_key=None)

    assert (failed.error_type, failed.retryable) == ("authentication_error", False)
    assert failed.error.startswith("this worker has no key for openai")
    assert "OPENAI_API_KEY" in failed.error


async def test_only_addresses_that_were_allowed_are_reached(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REGROW_HTTP_ALLOW")

    failed = await failure(peer)

    assert (failed.error_type, failed.retryable) == ("not_allowed", False)
    assert not peer.requests


async def test_a_name_is_looked_up_once(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def checked(host: str, port: int) -> tuple[str, ...]:
        asked.append(host)
        return ("::1", "127.0.0.1")  # nobody listens on the first

    monkeypatch.setattr(llm, "checked_addresses", checked)

    named = peer.url.replace("127.0.0.1", "models.test")
    answered = await ask(peer, base_url=named)

    assert (answered.result.text, asked) == ("Hello", ["models.test"])
    assert peer.seen[0]["host"] == named.removeprefix("http://").removesuffix("/v1")


async def test_a_redirect_is_not_followed(peer: Peer) -> None:
    peer.status, peer.headers = 307, {"Location": "http://127.0.0.1:9/v1"}

    failed = await failure(peer)

    assert (failed.error_type, failed.retryable) == ("llm_error", False)
    assert failed.details["status_code"] == 307


async def test_a_certificate_is_looked_at_by_the_servers_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(tls)  # pyright: ignore[reportUnknownMemberType] - pyOpenSSL isn't installed

    async with serving(tls) as peer:
        refused = await failure(peer)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        answered = await ask(peer)
        other = await failure(peer, base_url=peer.url.replace("localhost", "127.0.0.1"))

    assert (refused.error_type, refused.retryable) == ("tls_error", False)
    assert "the certificate isn't valid" in refused.error
    assert answered.result.text == "Hello"
    assert other.error_type == "tls_error"


# Providers


async def test_a_provider_whose_library_is_missing_says_what_to_install(peer: Peer) -> None:
    failed = await failure(peer, base_url=None, model="cohere:command-a")

    assert (failed.error_type, failed.retryable) == ("missing_extra", False)
    assert failed.error == (
        "cohere needs a library that this worker lacks: pip install 'pydantic-ai-slim[cohere]'"
    )


async def test_a_provider_that_nobody_knows_is_named(peer: Peer) -> None:
    failed = await failure(peer, base_url=None, model="opneai:gpt-5")

    assert (failed.error_type, failed.retryable) == ("validation_error", False)
    assert failed.error == ("there is no provider 'opneai'; write a model like openai:gpt-5-mini")


# Failures


@pytest.mark.parametrize(
    ("status", "error", "error_type", "retryable"),
    [
        (400, {"message": "too long", "code": "context_length_exceeded"}, "llm_error", False),
        (403, {"message": "no access"}, "authentication_error", False),
        (404, {"message": "no such model", "code": "model_not_found"}, "not_found", False),
        (408, {}, "llm_error", True),
        (422, {}, "llm_error", False),
        (429, {"message": "slow down"}, "llm_error", True),
        (429, {"message": "pay first", "code": "insufficient_quota"}, "llm_error", False),
        (500, {}, "llm_error", True),
        (529, {}, "llm_error", True),
    ],
)
async def test_which_failures_are_worth_another_attempt(
    peer: Peer, status: int, error: dict[str, Any], error_type: str, *, retryable: bool
) -> None:
    peer.status, peer.error, peer.headers = status, error, {"Retry-After": "7"}

    failed = await failure(peer)

    assert (failed.error_type, failed.retryable) == (error_type, retryable)
    assert failed.retry_after == (7 if retryable else None)
    said = error.get("message", "the provider gives no reason")
    assert failed.error == f"openai:small at {peer.url}: {status} {said}"
    assert len(peer.requests) == 1


async def test_what_a_provider_says_is_shown_in_part(peer: Peer) -> None:
    peer.status, peer.error = 400, {"message": "x" * 5000}

    failed = await failure(peer)

    assert len(failed.error) < 400


@pytest.mark.parametrize("case", ["filter", "refusal"])
async def test_filtered_content_fails_for_good(peer: Peer, case: str) -> None:
    if case == "filter":
        peer.finish = "content_filter"
    else:
        peer.words, peer.refusal = [], ANSWER

    failed = await failure(peer)

    assert (failed.error_type, failed.retryable) == ("content_filtered", False)
    assert ANSWER not in failed.error


async def test_a_stream_that_breaks_off_is_worth_another_attempt(peer: Peer) -> None:
    peer.breaks = True

    failed = await failure(peer)

    assert (failed.error_type, failed.retryable) == ("connection_error", True)
    assert failed.error.startswith(f"openai:small at {peer.url}: no connection, or it broke (")


async def test_an_error_inside_the_stream_is_the_providers(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def frames() -> AsyncIterator[Any]:
        yield peer.frame({"content": ANSWER})
        yield {"error": {"message": "overloaded", "code": "overloaded"}}

    monkeypatch.setattr(peer, "frames", frames)

    failed = await failure(peer)

    assert (failed.error_type, failed.retryable) == ("llm_error", True)
    assert "overloaded" in failed.error


async def test_nobody_at_home_is_worth_another_attempt(peer: Peer) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}/v1"
        failed = await failure(peer, base_url=url)

    assert (failed.error_type, failed.retryable) == ("connection_error", True)
    assert failed.error.endswith("no connection, or it broke (Connection refused)")


async def test_what_is_no_such_protocol_fails_by_name(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def frames() -> AsyncIterator[Any]:
        yield [ANSWER]

    monkeypatch.setattr(peer, "frames", frames)

    failed = await failure(peer)

    assert (failed.error_type, failed.retryable) == ("llm_error", True)
    assert "the answer isn't in the form of its protocol" in failed.error
    assert ANSWER not in failed.error


async def test_an_endless_answer_is_cut_off(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llm, "MAX_TEXT", 1000)
    peer.words = ["x" * 400] * 10

    failed = await failure(peer)

    assert (failed.error_type, failed.retryable) == ("payload_too_large", False)


async def test_an_endless_response_is_cut_off(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llm, "_MAX_WIRE", 500)
    peer.words = [""] * 10

    assert (await failure(peer)).error_type == "payload_too_large"
    peer.status, peer.error = 500, {"message": "x" * 1000}
    assert (await failure(peer)).error_type == "payload_too_large"


# What people see


async def test_progress_counts_the_characters_that_have_come(peer: Peer) -> None:
    said: list[Any] = []

    await ask(peer, TaskContext(beat=lambda *details: said.extend(details)))

    assert said[0] == {"done": 3, "total": None, "note": "characters"}
    assert len(said) < 3


async def test_no_log_shows_question_or_answer(
    peer: Peer, caplog: pytest.LogCaptureFixture
) -> None:
    peer.words = [ANSWER]

    with caplog.at_level(logging.DEBUG):
        await ask(peer)

    assert QUESTION not in caplog.text
    assert ANSWER not in caplog.text
    assert KEY not in caplog.text
