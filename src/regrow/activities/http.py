"""`http_request`: one HTTP request as a task.

It decides what a response means for the task: done, failed for good, or worth another attempt.
When that attempt comes is Temporal's business, so nothing is sent twice here, not even by aiohttp,
which would repeat an idempotent request on its own. Errors name the address without credentials
and query, because that is where people put secrets.
"""

import base64
import email.utils
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

import pydantic_core
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError

from regrow.core.durations import Duration
from regrow.core.limits import MIB
from regrow.core.models import Json
from regrow.core.wire import ErrorType
from regrow.executors import TaskContext, TaskError, executor_register

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import aiohttp

HTTP_ERROR: Final = "http_error"
CONNECTION_ERROR: Final = "connection_error"
TLS_ERROR: Final = "tls_error"
REDIRECT_ERROR: Final = "redirect_error"
MISSING_EXTRA: Final = "missing_extra"

MAX_BODY: Final = MIB
"""Bytes of a response, unpacked; what is larger belongs into a store, not into history."""

_CHUNK = 64 * 1024
_EXCERPT_BYTES, _EXCERPT_PATIENCE = 1_000, 2.0
_LONGEST_WAIT = 24 * 3600.0
_TRY_AGAIN: Final = (408, 425, 429)
_NOT_IDEMPOTENT: Final = ("POST", "PATCH")

_OURS: Final = ("content-length", "transfer-encoding")
_HARMLESS: Final = (
    "accept",
    "accept-language",
    "cache-control",
    "content-type",
    "idempotency-key",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-unmodified-since",
    "prefer",
    "range",
    "user-agent",
)
"""Headers that another origin may see; any other may be a key of some kind."""

_MEDIA: Final = ("image/", "audio/", "video/", "font/", "application/octet-stream")


def _http_url(text: str) -> str:
    if re.search(r"[\x00-\x20\x7f\\]", text):
        raise PydanticCustomError("url", "a URL has no spaces, backslashes or control characters")
    try:
        parts = urlsplit(text)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise PydanticCustomError("url", "write a URL like https://example.com/path")
    return text


def _header_name(name: str) -> str:
    if name.lower() in _OURS:
        raise PydanticCustomError("header", "{name} follows from the body", {"name": name})
    return name


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


Method = Annotated[
    Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"], BeforeValidator(_upper)
]
Url = Annotated[str, AfterValidator(_http_url)]
HeaderName = Annotated[
    str,
    StringConstraints(pattern=r"^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$"),
    AfterValidator(_header_name),
]
HeaderValue = Annotated[str, Field(coerce_numbers_to_str=True, pattern=r"^[^\x00\r\n]*$")]
Param = str | bool | int | float | None


class _Inputs(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class BasicAuth(_Inputs, extra="forbid"):
    """A name and a password."""

    username: Annotated[str, Field(pattern="^[^:]*$")]
    password: SecretStr = SecretStr("")

    def header(self) -> str:
        """Give the value of `Authorization`."""
        pair = f"{self.username}:{self.password.get_secret_value()}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}"

    def secrets(self) -> tuple[str, ...]:
        """Give what no error may show; some services take their key as the name."""
        return (self.password.get_secret_value() or self.username, self.header())


class BearerAuth(_Inputs, extra="forbid"):
    """A token."""

    bearer: Annotated[SecretStr, Field(min_length=1)]

    @model_validator(mode="after")
    def _fits_a_header(self) -> "BearerAuth":
        if not re.fullmatch(r"[\x21-\x7e]+", self.bearer.get_secret_value()):
            raise PydanticCustomError("bearer", "a token has visible ASCII characters only")
        return self

    def header(self) -> str:
        """Give the value of `Authorization`."""
        return f"Bearer {self.bearer.get_secret_value()}"

    def secrets(self) -> tuple[str, ...]:
        """Give what no error may show."""
        return (self.bearer.get_secret_value(),)


class HttpRequest(_Inputs, extra="ignore", populate_by_name=True):
    """What to send, and for how long to wait."""

    url: Url
    """`http` or `https`."""
    method: Method = "GET"
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict)
    """They go to the origin of `url` only; across a redirect to another, harmless ones do."""
    params: dict[str, Param | list[Param]] = Field(default_factory=dict)
    """Added to the query; a list repeats its name, null leaves it out."""
    json_body: Annotated[Json, Field(alias="json")] = None
    """Sent as JSON, also null, if it is given at all."""
    body: str | None = None
    """Sent as text; not together with `json`."""
    auth: BasicAuth | BearerAuth | None = None
    verify: bool = True
    """Whether the server's certificate must be valid."""
    timeout: Duration = timedelta(seconds=30)
    """For everything: the name lookup, redirects, and the whole of the response."""
    follow_redirects: bool = True
    """If not, a redirect is a result like any other."""
    max_redirects: Annotated[int, Field(ge=0, le=100)] = 10

    @model_validator(mode="after")
    def _says_one_thing(self) -> "HttpRequest":
        if self.has_json and self.body is not None:
            raise PydanticCustomError("body", "give either json or body")
        authored = any(name.lower() == "authorization" for name in self.headers)
        if sum((self.auth is not None, authored, "@" in urlsplit(self.url).netloc)) > 1:
            raise PydanticCustomError("auth", "give credentials once: auth, a header or the URL")
        return self

    @property
    def has_json(self) -> bool:
        """Whether the author gave `json`, if only as null."""
        return "json_body" in self.model_fields_set

    @property
    def is_open(self) -> bool:
        """Whether a redirect is an answer."""
        return not self.follow_redirects


class HttpResponse(BaseModel):
    """What came back."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    status_code: int
    headers: dict[str, str]
    """Names in lower case; one that was repeated is joined by commas."""
    body: Json
    encoding: Literal["json", "text", "base64"]
    """How to read `body`. An empty response is an empty text."""
    url: str
    """Where it came from, after redirects."""


@executor_register("http_request", heartbeat_timeout="30s", tags=("http",))
async def http_request(inputs: HttpRequest, context: TaskContext) -> HttpResponse:
    """Send one HTTP request and return the response if it is a success (2xx).

    Safe to repeat for GET, HEAD, OPTIONS, PUT and DELETE. POST and PATCH carry an
    `Idempotency-Key` that is the same for every attempt; where the server doesn't know such keys,
    set `retry: {maximum_attempts: 1}`. Statuses 408, 425, 429 and 5xx, timeouts and broken
    connections are worth another attempt, after `Retry-After` if the server says so; everything
    else fails for good. A private certificate authority is trusted by way of `SSL_CERT_FILE`.
    """
    aiohttp = _aiohttp()
    try:
        return await _exchange(inputs, context)
    except TimeoutError:
        message = (
            f"{inputs.method} {_public(inputs.url)}: no full response within the timeout of"
            f" {inputs.timeout.total_seconds():g}s"
        )
        raise TaskError(message, error_type=ErrorType.TIMEOUT, retryable=True) from None
    except aiohttp.ClientError as error:
        raise _broken(error, inputs.method, inputs.url) from None


def _aiohttp() -> "type[_Aiohttp]":
    """Import late: it takes its time, and only those who send requests need it."""
