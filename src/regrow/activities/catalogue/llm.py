"""`llm_chat`: one answer of a language model as a task.

Pydantic AI knows the providers; it is used for single requests only, with its retries off, since
Temporal retries. Two things are decided here: which failures are worth paying for once more, and
whose key goes where. A worker's own key is for its provider alone: a document that names a server
brings the key for it, and what else the library would take from the worker's environment isn't sent
there. No error and no log shows what was asked or answered.
"""

import asyncio
import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, cast
from urllib.parse import urlsplit

import pydantic_core
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError

from regrow.activities.catalogue.failures import (
    AUTHENTICATION_ERROR,
    CONNECTION_ERROR,
    NOT_FOUND,
    TLS_ERROR,
    causes_of,
    system_reason,
)
from regrow.activities.network import checked_addresses
from regrow.core.durations import Duration
from regrow.core.limits import MIB
from regrow.core.models import Json
from regrow.core.wire import ErrorType
from regrow.executors import MISSING_EXTRA, TaskContext, TaskError, executor_register

if TYPE_CHECKING:
    import httpx2
    from pydantic_ai.exceptions import ModelAPIError
    from pydantic_ai.messages import ModelMessage, ModelResponseStreamEvent
    from pydantic_ai.models import Model, StreamedResponse
    from pydantic_ai.providers import Provider

LLM_ERROR: Final = "llm_error"
CONTENT_FILTERED: Final = "content_filtered"
ANSWER_ERROR: Final = "answer_error"
ERRORS: Final = {
    LLM_ERROR: "The provider failed or refused; `status_code` and its own `code` are metadata."
    " Retried for 408, 409, 425, 429 and 5xx, but not for a quota that is used up.",
    CONTENT_FILTERED: "The model refused, or the provider's filter took question or answer."
    " Not retried.",
    ANSWER_ERROR: "The answer isn't the JSON that was asked for. Retried, unless it was cut at"
    " `max_tokens`.",
}

MAX_TEXT: Final = MIB
"""Characters of an answer, thoughts included."""

_MAX_WIRE = 64 * MIB
"""Bytes of a response: in a stream, each word comes in a frame many times its size."""
_EXCERPT = 300
_SHORTEST_SECRET = 6
_LONGEST_WAIT = 24 * 3600.0
_TRY_AGAIN: Final = (408, 409, 425, 429, *range(500, 600))

_TYPES: Final = {401: AUTHENTICATION_ERROR, 403: AUTHENTICATION_ERROR, 404: NOT_FOUND}

_CHAT: Final = {"openai": "openai-chat"}
"""The library's short name means OpenAI's other protocol, which keeps conversations."""

_SENT: Final = (
    "accept",
    "content-length",
    "content-type",
    "host",
    "user-agent",
)
"""What a server that a document names is told, besides its key."""


def _server(text: str) -> str:
    try:
        parts = urlsplit(text)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        plain = not (parts.username or parts.query or parts.fragment)
    except ValueError:
        known = plain = False
    if not (known and plain) or re.search(r"[\x00-\x20\x7f\\]", text):
        message = "write a URL like https://example.com/v1, without credentials and query"
        raise PydanticCustomError("url", message)
    return text


def _key(secret: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[\x21-\x7e]+", secret.get_secret_value()):
        raise PydanticCustomError("api_key", "a key has visible ASCII characters only")
    return secret


def _model_name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9-]+:[\x21-\x7e]+", text):
        message = "write provider and model, like openai:gpt-5-mini or anthropic:claude-haiku-4-5"
        raise PydanticCustomError("model", message)
    return text


class Message(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    role: Literal["system", "user", "assistant"]
    content: str


class LlmChat(BaseModel):
    """Whom to ask, and what."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    model: Annotated[str, AfterValidator(_model_name)]
    """Provider and model, like `openai:gpt-5-mini`; the provider's library must be installed."""
    prompt: str | None = None
    """What to ask; or give `messages`."""
    messages: Annotated[list[Message], Field(min_length=1)] | None = None
    """A conversation so far; or give `prompt`."""
    system: str | None = None
    """Instructions, put before everything else."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    """The provider's own default, if not given; some models take none."""
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    """At most so many tokens of answer; a bound of what it may cost."""
    stop: list[Annotated[str, StringConstraints(min_length=1)]] = Field(default_factory=list[str])
    """Texts at which the answer ends."""
    response_schema: dict[str, Json] | None = None
    """A JSON Schema of an object: the answer is JSON, and is read as such."""
    base_url: Annotated[str, AfterValidator(_server)] | None = None
    """A server that speaks OpenAI's chat completions, for `openai:` models; needs `api_key`."""
    api_key: Annotated[SecretStr, AfterValidator(_key)] | None = None
    """Default: the provider's own variable on the worker, such as `OPENAI_API_KEY`."""
    timeout: Duration = timedelta(minutes=2)
    """For everything, from the connection to the last word."""

    @model_validator(mode="after")
    def _fits_together(self) -> "LlmChat":
        if (self.prompt is None) == (self.messages is None):
            raise PydanticCustomError("prompt", "give either prompt or messages")
        if self.base_url and self.api_key is None:
            message = "base_url needs api_key: the worker's own key isn't sent there"
            raise PydanticCustomError("api_key", message)
        if self.base_url and self.provider != "openai":
            message = "base_url goes with openai: models, like openai:llama3"
            raise PydanticCustomError("model", message)
        return self

    @property
    def provider(self) -> str:
        """The part of `model` before the colon."""
        return self.model.partition(":")[0]

    @property
    def name(self) -> str:
        """The part of `model` after the colon."""
        return self.model.partition(":")[2]


class LlmAnswer(BaseModel):
    """What the model said."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    text: str
    parsed: Json = None
    """`text` read as JSON, where a `response_schema` was given."""
    model: str
    """The model that answered, as the provider names it."""
    finish_reason: str
    """`stop`, or `length` if it was cut at `max_tokens`."""


class LlmUsage(BaseModel):
    """What it took, in tokens."""

    model_config = ConfigDict(frozen=True)

    input_tokens: int
    output_tokens: int
    total_tokens: int


class LlmCompleted(BaseModel):
    """The answer, and as metadata what it took; null if the provider doesn't say."""

    model_config = ConfigDict(frozen=True)

    status: Literal["completed"] = "completed"
    result: LlmAnswer
    usage: LlmUsage | None


@executor_register(
    "llm_chat",
    heartbeat_timeout="30s",
    tags=("llm", "ai"),
    requires={"pydantic_ai": "regrow[llm]", "openai": "regrow[llm]"},
    examples=(
        {
            "model": "openai:gpt-5-mini",
            "system": "Answer in one sentence.",
            "prompt": "What is a task tree?",
            "max_tokens": 200,
        },
        {
            "model": "openai:llama3.2",
            "base_url": "https://models.example.com/v1",
            "api_key": "${{ secrets.MODELS_KEY }}",
            "prompt": "Which of these are complaints?",
        },
    ),
    demo={
        "text": "A task tree is a set of tasks that run in the order of their dependencies.",
        "parsed": None,
        "model": "gpt-5-mini",
        "finish_reason": "stop",
    },
)
async def llm_chat(inputs: LlmChat, context: TaskContext) -> LlmCompleted:
    """Ask a language model once and return its answer; the tokens it took are metadata.

    Every attempt is paid for, and may answer differently: set `retry: {maximum_attempts: …}` to
    what an answer is worth, and `max_tokens`. Rate limits (after `Retry-After` if the provider says
    so), its failures, timeouts and broken connections are worth another attempt; a refused key, an
    unknown model, a request it can't use, a used-up quota and filtered content are not.

    The key is `api_key`, else the provider's own variable on the worker. With `base_url` it is
    always `api_key`, and the server must be public or listed in `REGROW_HTTP_ALLOW`. Progress shows
    the characters that have come. A cancel or a timeout closes the connection; most providers then
    stop, and count what was answered so far.
    """
    try:
        async with asyncio.timeout(inputs.timeout.total_seconds()), _model(inputs) as model:
            return await _ask(model, inputs, context)
    except TimeoutError:
        message = f"{_place(inputs)}: no complete answer within the timeout of "
        message += f"{inputs.timeout.total_seconds():g}s"
        raise TaskError(message, error_type=ErrorType.TIMEOUT, retryable=True) from None


@asynccontextmanager
async def _model(inputs: LlmChat) -> AsyncGenerator["Model"]:
    # Large: the first time it takes longer than the loop, which others share, may be held up.
    await asyncio.to_thread(import_module, "pydantic_ai.models.openai")
    if inputs.base_url is None:
        async with _own_provider(inputs) as provider:
            yield _known_model(inputs, provider)
    else:
        async with await _pinned_client(inputs) as client:
            yield _named_model(inputs, client)


def _own_provider(inputs: LlmChat) -> "Provider[Any]":
    """Make the provider with the worker's settings; its client and connections end with it."""
    from pydantic_ai.exceptions import UserError  # noqa: PLC0415 - an extra
    from pydantic_ai.providers import infer_provider_class  # noqa: PLC0415

    with _problems_named(inputs):
        make: Any = infer_provider_class(_CHAT.get(inputs.provider, inputs.provider))
        if inputs.api_key:
            return make(api_key=_given_key(inputs))
        try:
            return make()
        except UserError as error:
            raise _unconfigured(inputs, error) from None


def _known_model(inputs: LlmChat, provider: "Provider[Any]") -> "Model":
    from pydantic_ai.models import infer_model  # noqa: PLC0415

    with _problems_named(inputs):
        kind = _CHAT.get(inputs.provider, inputs.provider)
        model = infer_model(f"{kind}:{inputs.name}", lambda _: provider)
    if "max_retries" in model.unsupported_settings:
        message = (
            f"{inputs.provider}'s client retries on its own, where nobody sees it; use a provider"
            " whose retries can be switched off, or base_url"
        )
        raise TaskError(message, error_type=ErrorType.VALIDATION)
    return model


@contextmanager
def _problems_named(inputs: LlmChat) -> Generator[None]:
    try:
        yield
    except TaskError:
        raise
    except ImportError as error:
        raise _missing_library(inputs, error) from None
    except Exception as error:  # noqa: BLE001 - each provider has its own
        message = f"{inputs.model} can't be used: {error}"
        if str(error).startswith("Unknown provider"):
            message = (
                f"there is no provider '{inputs.provider}'; write a model like openai:gpt-5-mini"
            )
        raise TaskError(message, error_type=ErrorType.VALIDATION) from None


def _named_model(inputs: LlmChat, client: "httpx2.AsyncClient") -> "Model":
    from pydantic_ai.models.openai import OpenAIChatModel  # noqa: PLC0415
    from pydantic_ai.profiles.openai import OpenAIModelProfile  # noqa: PLC0415
    from pydantic_ai.providers.openai import OpenAIProvider  # noqa: PLC0415

    provider = OpenAIProvider(
        base_url=inputs.base_url, api_key=_given_key(inputs), http_client=client
    )
    return OpenAIChatModel(
        inputs.name,
        provider=provider,
        # The older field, which every such server knows; an unknown one would be passed over.
        profile=OpenAIModelProfile(openai_chat_supports_max_completion_tokens=False),
    )


async def _pinned_client(inputs: LlmChat) -> "httpx2.AsyncClient":
    """Give an HTTP client for the document's server: the addresses that were checked, no other.

    It follows no redirects and uses no proxy. A private certificate authority is trusted by way of
    `SSL_CERT_FILE`.
    """
    import httpx2  # noqa: PLC0415

    parts = urlsplit(inputs.base_url or "")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    addresses = await checked_addresses(parts.hostname or "", port)
    return httpx2.AsyncClient(
        transport=_pinned(addresses, _given_key(inputs)),
        timeout=inputs.timeout.total_seconds(),
        trust_env=False,
    )


def _pinned(addresses: Sequence[str], key: str) -> "httpx2.AsyncBaseTransport":
    import httpx2  # noqa: PLC0415

    class Bounded(httpx2.AsyncByteStream):
        def __init__(self, stream: httpx2.AsyncByteStream) -> None:
            self._stream = stream

        async def __aiter__(self) -> AsyncIterator[bytes]:
            size = 0
            async for chunk in self._stream:
                size += len(chunk)
                if size > _MAX_WIRE:
                    raise _too_large()
                yield chunk

        async def aclose(self) -> None:
            await self._stream.aclose()

    class Pinned(httpx2.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            failure: Exception | None = None
            for address in addresses:
                try:
                    response = await super().handle_async_request(sent(request, address))
                except httpx2.ConnectError as error:
                    failure = error
                    continue
                response.headers.pop(
                    "content-encoding", None
                )  # not asked for; it unpacks to anything
                response.stream = Bounded(cast("httpx2.AsyncByteStream", response.stream))
                return response
            raise failure or httpx2.ConnectError("there is no address")

    def sent(request: httpx2.Request, address: str) -> httpx2.Request:
        """Make the request that goes out; its certificate is still looked at by the name."""
        kept = {name: request.headers[name] for name in _SENT if name in request.headers}
        return httpx2.Request(
            request.method,
            request.url.copy_with(host=address),
            headers={**kept, "authorization": f"Bearer {key}", "accept-encoding": "identity"},
            stream=request.stream,
            extensions={**request.extensions, "sni_hostname": request.url.host},
        )

    return Pinned(verify=ssl.create_default_context(), trust_env=False)


async def _ask(model: "Model", inputs: LlmChat, context: TaskContext) -> LlmCompleted:
    from pydantic_ai.direct import model_request_stream  # noqa: PLC0415

    try:
        async with model_request_stream(
            model, list(_messages(inputs)), **_options(inputs), instrument=False
        ) as stream:
            await _receive(stream, context)
            return _completed(stream, inputs)
    except TaskError:
        raise
    except Exception as error:  # noqa: BLE001 - the library trips over what is no such protocol
        raise _failure(error, inputs, model) from None


def _messages(inputs: LlmChat) -> Iterator["ModelMessage"]:
    from pydantic_ai import messages as ai  # noqa: PLC0415

    if inputs.system is not None:
        yield ai.ModelRequest([ai.SystemPromptPart(inputs.system)])
    for message in inputs.messages or [Message(role="user", content=inputs.prompt or "")]:
        match message.role:
            case "system":
                yield ai.ModelRequest([ai.SystemPromptPart(message.content)])
            case "user":
                yield ai.ModelRequest([ai.UserPromptPart(message.content)])
            case "assistant":
                yield ai.ModelResponse([ai.TextPart(message.content)])


def _options(inputs: LlmChat) -> dict[str, Any]:
    from pydantic_ai.models import ModelRequestParameters  # noqa: PLC0415
    from pydantic_ai.output import OutputObjectDefinition  # noqa: PLC0415

    settings = {
        "max_retries": 0,
        "timeout": inputs.timeout.total_seconds(),
        "temperature": inputs.temperature,
        "max_tokens": inputs.max_tokens,
        "stop_sequences": inputs.stop or None,
    }
    shape: dict[str, Any] = {}
    if inputs.response_schema is not None:
        wanted = OutputObjectDefinition(json_schema=inputs.response_schema, name="answer")
        shape = {"output_mode": "native", "output_object": wanted}
    return {
        "model_settings": {name: value for name, value in settings.items() if value is not None},
        "model_request_parameters": ModelRequestParameters(**shape),
    }


async def _receive(stream: "StreamedResponse", context: TaskContext) -> None:
    """Take the answer in, and show people once a second how far it is."""
    clock = asyncio.get_running_loop().time
    characters, next_word = 0, 0.0
    async for event in stream:
        characters += _length(event)
        if characters > MAX_TEXT:
            raise _too_large()
        if clock() >= next_word:
            context.progress(characters, note="characters")
            next_word = clock() + 1


def _length(event: "ModelResponseStreamEvent") -> int:
    from pydantic_ai import messages as ai  # noqa: PLC0415

    match event:
        case ai.PartStartEvent(part=ai.TextPart(content=text) | ai.ThinkingPart(content=text)):
            return len(text)
        case ai.PartDeltaEvent(
            delta=ai.TextPartDelta(content_delta=text) | ai.ThinkingPartDelta(content_delta=text)
        ):
            return len(text or "")
        case _:
            return 0


def _completed(stream: "StreamedResponse", inputs: LlmChat) -> LlmCompleted:
    answer, usage = stream.get(), stream.usage
    reason = answer.finish_reason or "stop"
    if reason == "content_filter":
        raise _filtered(inputs)
    if reason == "error":
        message = f"{_place(inputs)}: the provider broke off the answer with an error"
        raise TaskError(message, error_type=LLM_ERROR, retryable=True)
    text = answer.text or ""
    return LlmCompleted(
        result=LlmAnswer(
            text=text,
            parsed=_parsed(text, reason, inputs),
            model=answer.model_name or inputs.name,
            finish_reason=reason,
        ),
        usage=LlmUsage(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            total_tokens=usage.total_tokens,
        )
        if usage.total_tokens
        else None,
    )


def _parsed(text: str, reason: str, inputs: LlmChat) -> Json:
    if inputs.response_schema is None:
        return None
    try:
        return pydantic_core.from_json(text, allow_inf_nan=False)
    except ValueError:
        cut = reason == "length"
        why = ", since it was cut at max_tokens" if cut else ""
        message = f"{_place(inputs)}: the answer isn't the JSON that was asked for{why}"
        raise TaskError(message, error_type=ANSWER_ERROR, retryable=not cut) from None


def _failure(error: Exception, inputs: LlmChat, model: "Model") -> TaskError:
    """Say what kept the answer from coming; never `str(error)`, which may hold the text of it."""
    import httpx2  # noqa: PLC0415
    from openai import OpenAIError  # noqa: PLC0415
    from pydantic_ai import exceptions as ai  # noqa: PLC0415

    match error:
        case ai.ModelConnectionError() | httpx2.HTTPError() | OpenAIError():
            return _broken(list(causes_of(error)), inputs)
        case ai.ModelAPIError():
            return _api_failure(error, inputs, model)
        case ai.UserError():
            message = f"{_place(inputs)}: {error.message}"
            return TaskError(message, error_type=ErrorType.VALIDATION)
        case ai.ContentFilterError():
            return _filtered(inputs)
        case _:
            kind = type(error).__name__
            message = f"{_place(inputs)}: the answer isn't in the form of its protocol ({kind})"
            return TaskError(message, error_type=LLM_ERROR, retryable=True)


def _broken(causes: Sequence[BaseException], inputs: LlmChat) -> TaskError:
    """Look for what the library wrapped: an end that we made ourselves, or the system's reason."""
    for cause in causes:
        if isinstance(cause, TaskError):
            return cause
        if isinstance(cause, ssl.SSLCertVerificationError):
            message = f"{_place(inputs)}: the certificate isn't valid: {cause.verify_message}"
            return TaskError(message, error_type=TLS_ERROR)
        if isinstance(cause, ssl.SSLError):
            message = f"{_place(inputs)}: the TLS handshake failed"
            return TaskError(message, error_type=TLS_ERROR)
    reason = system_reason(causes) or type(causes[-1]).__name__
    message = f"{_place(inputs)}: no connection, or it broke ({reason})"
    return TaskError(message, error_type=CONNECTION_ERROR, retryable=True)


def _api_failure(error: "ModelAPIError", inputs: LlmChat, model: "Model") -> TaskError:
    from pydantic_ai.exceptions import ModelQuotaExceededError  # noqa: PLC0415

    status = getattr(error, "status_code", None) or getattr(error.__cause__, "status_code", None)
    retryable = status is None or status in _TRY_AGAIN
    if isinstance(error, ModelQuotaExceededError):  # a 429 as well, but waiting doesn't help
        retryable = False
    after = error.retry_after if retryable else None
    said = _said(error, inputs, model)
    return TaskError(
        f"{_place(inputs)}: {said}" if status is None else f"{_place(inputs)}: {status} {said}",
        error_type=_TYPES.get(status or 0, LLM_ERROR),
        retryable=retryable,
        retry_after=None if after is None else min(max(after, 0.0), _LONGEST_WAIT),
        status_code=status,
        code=error.provider_error_code,
    )


def _said(error: "ModelAPIError", inputs: LlmChat, model: "Model") -> str:
    """Give the beginning of the provider's own words, without the keys that some show."""
    text = _message_of(error.body)
    own = getattr(getattr(model, "client", None), "api_key", "")
    for key in (_given_key(inputs), own):
        if isinstance(key, str) and len(key) >= _SHORTEST_SECRET:
            text = text.replace(key, "***")
    return text[:_EXCERPT] or "the provider gives no reason"


def _message_of(body: object) -> str:
    """Find the sentence in what OpenAI's library unwraps and others leave under `error`."""
    if not isinstance(body, dict):
        return ""
    words = cast("dict[str, object]", body)
    return str(words.get("message") or "") or _message_of(words.get("error"))


def _filtered(inputs: LlmChat) -> TaskError:
    message = f"{_place(inputs)}: the model refused, or the provider's filter took the text"
    return TaskError(message, error_type=CONTENT_FILTERED)


def _missing_library(inputs: LlmChat, error: ImportError) -> TaskError:
    said = re.search(r'pip install "([^"]+)"', str(error))
    need = said[1] if said else f"pydantic-ai-slim[{inputs.provider}]"
    message = f"{inputs.provider} needs a library that this worker lacks: pip install '{need}'"
    return TaskError(message, error_type=MISSING_EXTRA)


def _unconfigured(inputs: LlmChat, error: Exception) -> TaskError:
    reason = str(error).partition(" To try Pydantic AI")[0]
    message = (
        f"this worker has no key for {inputs.provider}, or lacks a setting: give api_key, or set"
        f" its variable where the worker runs. The library says: {reason}"
    )
    return TaskError(message, error_type=AUTHENTICATION_ERROR)


def _too_large() -> TaskError:
    message = f"the answer is too large: at most {MAX_TEXT:,} characters are taken in"
    return TaskError(message, error_type=ErrorType.PAYLOAD_TOO_LARGE)


def _given_key(inputs: LlmChat) -> str:
    return inputs.api_key.get_secret_value() if inputs.api_key else ""


def _place(inputs: LlmChat) -> str:
    return f"{inputs.model} at {inputs.base_url}" if inputs.base_url else inputs.model
