"""`http_request`: one HTTP request as a task.

It decides what a response means for the task: done, failed for good, or worth another attempt.
When that attempt comes is Temporal's business, so nothing is sent twice here, not even by aiohttp,
which would repeat an idempotent request on its own. Each hop, also of a redirect, goes to addresses
that were checked (`regrow.activities.network`). Errors name the address without credentials and
query, because that is where people put secrets.
"""

import asyncio
import base64
import email.utils
import hashlib
import importlib.util
import json
import re
import socket
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

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

from regrow.activities.catalogue.failures import CONNECTION_ERROR, TLS_ERROR
from regrow.activities.catalogue.objects import ObjectPlace, SavedBody, save
from regrow.activities.network import checked_addresses
from regrow.core.durations import Duration
from regrow.core.limits import MIB
from regrow.core.models import Json
from regrow.core.wire import ErrorType
from regrow.executors import MISSING_EXTRA, TaskContext, TaskError, executor_register

if TYPE_CHECKING:
    import aiohttp
    from aiohttp.abc import AbstractResolver
    from yarl import URL

HTTP_ERROR: Final = "http_error"
REDIRECT_ERROR: Final = "redirect_error"
ERRORS: Final = {
    HTTP_ERROR: "A response that is no success; `status_code` and the beginning of `body` are"
    " metadata. Retried for 408, 425, 429 and 5xx.",
    REDIRECT_ERROR: "Too many redirects, or one to no http URL. Not retried.",
}

MAX_BODY: Final = MIB
"""Bytes of a response, unpacked; what is larger belongs into a store, not into history."""
MAX_SAVED: Final = 5 * 1024 * MIB
"""Bytes of a response that goes into a store."""

_CHUNK = 64 * 1024
_EXCERPT_BYTES, _EXCERPT_CHARS, _EXCERPT_PATIENCE = 4_000, 1_000, 2.0
_SHORTEST_SECRET = 6
_LONGEST_WAIT = 24 * 3600.0
_SUCCESS, _REDIRECT, _SERVER_ERROR = range(200, 300), range(300, 400), range(500, 600)
TRY_AGAIN: Final = (408, 425, 429, *_SERVER_ERROR)
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


def without_gaps(url: str) -> str:
    """Refuse characters that parsers of URLs read in different ways."""
    if re.search(r"[\x00-\x20\x7f\\]", url):
        raise PydanticCustomError("url", "a URL has no spaces, backslashes or control characters")
    return url


def _http_url(text: str) -> str:
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


def _token(secret: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[\x21-\x7e]+", secret.get_secret_value()):
        raise PydanticCustomError("token", "a token has visible ASCII characters only")
    return secret


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


Method = Annotated[
    Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"], BeforeValidator(_upper)
]
Url = Annotated[str, AfterValidator(without_gaps), AfterValidator(_http_url)]
HeaderName = Annotated[
    str,
    StringConstraints(pattern=r"^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$"),
    AfterValidator(_header_name),
]
HeaderValue = Annotated[str, Field(coerce_numbers_to_str=True, pattern=r"^[^\x00\r\n]*$")]
Param = str | bool | int | float | None
Encoding = Literal["json", "text", "base64"]


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

    bearer: Annotated[SecretStr, AfterValidator(_token)]

    def header(self) -> str:
        """Give the value of `Authorization`."""
        return f"Bearer {self.bearer.get_secret_value()}"

    def secrets(self) -> tuple[str, ...]:
        """Give what no error may show."""
        return (self.bearer.get_secret_value(),)


class HttpRequest(_Inputs, extra="ignore"):
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
    save_to: ObjectPlace | None = None
    """Put the body, of up to 5 GiB, into one of the operator's stores rather than into history;
    needs the extra `objects`."""

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

    def accepts(self, status: int) -> bool:
        """Whether a response of this status is a result."""
        return status in _SUCCESS or (status in _REDIRECT and not self.follow_redirects)


class HttpResponse(BaseModel):
    """What came back."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    status_code: int
    headers: dict[str, str]
    """Names in lower case; one that was repeated is joined by commas."""
    body: Json
    encoding: Encoding | Literal["stored"]
    """How to read `body`. An empty response is an empty text; of one that was saved `body` says
    where it is: `store`, `key`, `size` and `sha256`."""
    url: str
    """Where it came from, after redirects."""


def _demo(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "status_code": 200,
        "headers": {"content-type": "application/json"},
        "body": {"id": 7, "active": True},
        "encoding": "json",
        "url": inputs.get("url", ""),
    }


@executor_register(
    "http_request",
    heartbeat_timeout="30s",
    tags=("http",),
    requires={"aiohttp": "regrow[http]"},
    examples=(
        {"url": "https://shop.example/orders/7"},
        {
            "url": "https://shop.example/orders",
            "method": "POST",
            "headers": {"Authorization": "Bearer ${{ secrets.SHOP_TOKEN }}"},
            "json": {"article": 3},
        },
        {
            "url": "https://shop.example/export.csv",
            "save_to": {"store": "main", "key": "exports/today.csv"},
            "timeout": "10m",
        },
    ),
    demo=_demo,
)
async def http_request(inputs: HttpRequest, context: TaskContext) -> HttpResponse:
    """Send one HTTP request and return the response if it is a success (2xx).

    Hosts whose addresses aren't public, such as `localhost`, are refused (`not_allowed`) unless the
    operator lists them in `REGROW_HTTP_ALLOW`, which is read at each call; so is a redirect to one.
    Safe to repeat for GET, HEAD, OPTIONS, PUT and DELETE. POST and PATCH carry an
    `Idempotency-Key` that is the same for every attempt; where the server doesn't know such keys,
    set `retry: {maximum_attempts: 1}`. Statuses 408, 425, 429 and 5xx, timeouts and broken
    connections are worth another attempt, after `Retry-After` if the server says so; everything
    else fails for good. A cancel closes the connection. A private certificate authority is trusted
    by way of `SSL_CERT_FILE`; proxies of the environment are not used.
    """
    import aiohttp  # noqa: PLC0415 - an extra, for those who send requests

    try:
        async with asyncio.timeout(inputs.timeout.total_seconds()):
            return await _exchange(inputs, context)
    except TimeoutError:
        message = (
            f"{inputs.method} {public_url(inputs.url)}: no complete response within the timeout of"
            f" {inputs.timeout.total_seconds():g}s"
        )
        raise TaskError(message, error_type=ErrorType.TIMEOUT, retryable=True) from None
    except aiohttp.ClientError as error:
        raise _failure(error, inputs, inputs.url) from None


async def _exchange(inputs: HttpRequest, context: TaskContext) -> HttpResponse:
    import aiohttp  # noqa: PLC0415

    checked: list[str] = []
    async with (
        aiohttp.ClientSession(
            # One connection for each hop: a kept one may be closing at the other end.
            connector=aiohttp.TCPConnector(
                resolver=_resolver(checked), use_dns_cache=False, force_close=True
            ),
            timeout=aiohttp.ClientTimeout(total=None),  # ours covers everything
            middlewares=(_each_hop(inputs, checked),),
        ) as session,
        session.request(
            inputs.method,
            inputs.url,
            params=list(_pairs(inputs)),
            headers=_headers(inputs, context.idempotency_key),
            data=_payload(inputs),
            ssl=inputs.verify,
            allow_redirects=inputs.follow_redirects,
            max_redirects=inputs.max_redirects + 1,  # aiohttp's is the first it refuses
        ) as response,
    ):
        if not inputs.accepts(response.status):
            raise _http_error(response, await _excerpt(response), inputs)
        if inputs.save_to is not None:
            saved = await _saved(response, inputs.save_to)
            return _response(response, saved.model_dump(), "stored")
        return _response(response, *_body(response, await _read(response)))


def _resolver(checked: Sequence[str]) -> "AbstractResolver":
    """Give the addresses that were checked for the hop at hand, whatever the name means by now."""
    from aiohttp.abc import AbstractResolver, ResolveResult  # noqa: PLC0415

    class Checked(AbstractResolver):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
        ) -> list[ResolveResult]:
            del family  # of the address
            return [
                ResolveResult(
                    hostname=host,
                    host=address,
                    port=port,
                    family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                    proto=0,
                    flags=socket.AI_NUMERICHOST,
                )
                for address in checked
            ]

        async def close(self) -> None:
            """Nothing is held."""

    return Checked()


def _each_hop(inputs: HttpRequest, checked: list[str]) -> "aiohttp.ClientMiddlewareType":
    """Guard every request that goes out: the author's, and those that redirects ask for."""
    import aiohttp  # noqa: PLC0415

    home: URL | None = None

    async def send(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        nonlocal home
        home = home or request.url.origin()
        if request.url.origin() != home:
            _forget_headers(request, inputs)
        checked[:] = await _addresses(request)
        try:
            return await handler(request)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            # Seen by aiohttp, these would make it send an idempotent request once more.
            raise _failure(error, inputs, str(request.url)) from None

    return send


async def _addresses(request: "aiohttp.ClientRequest") -> tuple[str, ...]:
    """Check a hop's host, also one that is an address: aiohttp asks no resolver for those."""
    url = request.url
    try:
        return await checked_addresses(url.raw_host or "", url.port or 0)
    except TaskError as refused:
        raise TaskError(
            f"{request.method} {public_url(str(url))}: {refused.error}",
            error_type=refused.error_type,
            retryable=refused.retryable,
        ) from None


def _forget_headers(request: "aiohttp.ClientRequest", inputs: HttpRequest) -> None:
    """Keep what the author wrote for one origin from another; aiohttp drops only the usual ones."""
    for name in ("Authorization", "Cookie", "Proxy-Authorization", *inputs.headers):
        if name.lower() not in _HARMLESS:
            request.headers.popall(name, None)
    request.headers["Host"] = request.url.host_port_subcomponent or ""


def _pairs(inputs: HttpRequest) -> Iterator[tuple[str, str]]:
    for name, value in inputs.params.items():
        for one in value if isinstance(value, list) else [value]:
            if one is not None:
                yield name, str(one).lower() if isinstance(one, bool) else str(one)


def _payload(inputs: HttpRequest) -> bytes | str | None:
    if inputs.has_json:
        return json.dumps(inputs.json_body, allow_nan=False).encode()
    return inputs.body


def _headers(inputs: HttpRequest, idempotency_key: str) -> dict[str, str]:
    """Add what follows from the other inputs, unless the author wrote it."""
    ours: dict[str, str] = {}
    if inputs.auth:
        ours["Authorization"] = inputs.auth.header()
    if inputs.has_json:
        ours["Content-Type"] = "application/json"
    if inputs.method in _NOT_IDEMPOTENT:
        ours["Idempotency-Key"] = idempotency_key
    authored = {name.lower() for name in inputs.headers}
    added = {name: value for name, value in ours.items() if name.lower() not in authored}
    return {**added, **inputs.headers}


async def _read(response: "aiohttp.ClientResponse") -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK):
        body += chunk
        if len(body) > MAX_BODY:
            raise _too_large(response, len(body), MAX_BODY, "; save_to puts more into a store")
    return bytes(body)


async def _saved(response: "aiohttp.ClientResponse", place: ObjectPlace) -> SavedBody:
    """Put the body into a store, once all of it is here; a part of it is never there."""
    if importlib.util.find_spec("obstore") is None:
        message = "save_to needs a library that this worker lacks: pip install 'regrow[objects]'"
        raise TaskError(message, error_type=MISSING_EXTRA)
    digest, size = hashlib.sha256(), 0
    with tempfile.TemporaryFile() as file:
        async for chunk in response.content.iter_chunked(_CHUNK):
            size += len(chunk)
            if size > MAX_SAVED:
                raise _too_large(response, size, MAX_SAVED, "")
            digest.update(chunk)
            file.write(chunk)
        file.seek(0)
        await save(place, file)
    return SavedBody(store=place.store, key=place.key, size=size, sha256=digest.hexdigest())


def _too_large(response: "aiohttp.ClientResponse", taken: int, most: int, advice: str) -> TaskError:
    size = max(response.content_length or 0, taken)  # unpacked, it may grow
    place = f"{response.method} {public_url(str(response.url))}"
    message = (
        f"{place}: the response takes {size:,} bytes or more; at most {most:,} are taken in{advice}"
    )
    return TaskError(message, error_type=ErrorType.PAYLOAD_TOO_LARGE)


async def _excerpt(response: "aiohttp.ClientResponse") -> bytes:
    """Read the beginning of a failure's body; the status counts, whatever becomes of the rest."""
    import aiohttp  # noqa: PLC0415

    body = bytearray()
    with suppress(TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(_EXCERPT_PATIENCE):
            while len(body) < _EXCERPT_BYTES and (chunk := await response.content.read(_CHUNK)):
                body += chunk
    return bytes(body)


def _response(
    response: "aiohttp.ClientResponse", body: Json, encoding: Encoding | Literal["stored"]
) -> HttpResponse:
    names = dict.fromkeys(name.lower() for name in response.headers)
    return HttpResponse(
        status_code=response.status,
        headers={name: _plain(", ".join(response.headers.getall(name))) for name in names},
        body=body,
        encoding=encoding,
        url=str(response.url),
    )


def _body(response: "aiohttp.ClientResponse", raw: bytes) -> tuple[Json, Encoding]:
    kind = response.content_type if "Content-Type" in response.headers else ""
    text = _text(raw, kind, response.charset)
    if text is None:
        return base64.b64encode(raw).decode(), "base64"
    if kind in ("application/json", "text/json") or kind.endswith("+json"):
        with suppress(ValueError):  # it only says that it is JSON; empty is the usual case
            return pydantic_core.from_json(text, allow_inf_nan=False), "json"
    return text, "text"


def _text(raw: bytes, kind: str, charset: str | None) -> str | None:
    """Decode what isn't media; by its kind, not by luck, wherever the kind is known."""
    if kind.startswith(_MEDIA) and not kind.endswith("+xml"):
        return None
    with suppress(LookupError, UnicodeDecodeError):
        return raw.decode(charset or "utf-8").removeprefix("\ufeff")
    return raw.decode(errors="replace") if kind.startswith("text/") else None


def _http_error(
    response: "aiohttp.ClientResponse", excerpt: bytes, inputs: HttpRequest
) -> TaskError:
    url, status, secrets = public_url(str(response.url)), response.status, tuple(_secrets(inputs))
    message = f"{response.method} {url}: {status} {public_text(response.reason or '', secrets)}"
    retryable = status in TRY_AGAIN
    return TaskError(
        message.rstrip(),
        error_type=HTTP_ERROR,
        retryable=retryable,
        retry_after=seconds_of(response.headers.get("Retry-After")) if retryable else None,
        status_code=status,
        body=public_text(excerpt.decode(errors="replace"), secrets),
    )


def seconds_of(retry_after: str | None) -> float | None:
    """Read `Retry-After`, seconds or a date; what is neither is left to the task's policy."""
    if retry_after is None:
        return None
    if re.fullmatch(r"[0-9]{1,9}", retry_after.strip()):
        return min(float(retry_after), _LONGEST_WAIT)
    try:
        date = email.utils.parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    wait = (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(wait, 0.0), _LONGEST_WAIT)


def _failure(error: "aiohttp.ClientError", inputs: HttpRequest, url: str) -> TaskError:
    """Say what kept a response from coming, in words that hold no secret.

    Never `str(error)` of what knows the URL: aiohttp shows all of it.
    """
    import aiohttp  # noqa: PLC0415

    place = f"{inputs.method} {public_url(url)}"
    if isinstance(error, aiohttp.TooManyRedirects):
        message = f"{place}: more than {inputs.max_redirects} redirects"
        return TaskError(message, error_type=REDIRECT_ERROR)
    if isinstance(error, aiohttp.RedirectClientError):
        return TaskError(f"{place}: redirected to no http URL", error_type=REDIRECT_ERROR)
    if isinstance(error, aiohttp.InvalidURL):
        return TaskError(f"{place}: this URL cannot be used", error_type=ErrorType.VALIDATION)
    if isinstance(error, aiohttp.ClientSSLError):
        return TaskError(f"{place}: {_reason(error)}", error_type=TLS_ERROR)
    return TaskError(f"{place}: {_reason(error)}", error_type=CONNECTION_ERROR, retryable=True)


def _reason(error: "aiohttp.ClientError") -> str:
    import aiohttp  # noqa: PLC0415

    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"the certificate isn't valid: {error.certificate_error}"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the server closed the connection without a response"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the response broke off"
    return f"the response isn't HTTP ({type(error).__name__})"


def public_url(url: str) -> str:
    """Leave out of a URL where secrets are: name, password, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def public_text(text: str, secrets: Iterable[str]) -> str:
    """Hide a request's secrets in what a server wrote, and cut it: some send back all they got."""
    plain = _plain(text)
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            plain = plain.replace(secret, "***")
    return plain[:_EXCERPT_CHARS]


def _secrets(inputs: HttpRequest) -> Iterator[str]:
    yield from likely_secrets(inputs.url, inputs.headers)
    if inputs.auth:
        yield from inputs.auth.secrets()
    for _, value in _pairs(inputs):
        yield value


def likely_secrets(url: str, headers: Mapping[str, str]) -> Iterator[str]:
    """Give what is usually a secret in a request: credentials, the query, most headers."""
    parts = urlsplit(url)
    yield from map(unquote, filter(None, (parts.username, parts.password)))
    for name, value in headers.items():
        if name.lower() not in _HARMLESS:
            yield from (value, value.rpartition(" ")[2])
    for _, value in parse_qsl(parts.query):
        yield value


def _plain(text: str) -> str:
    """Turn bytes that were no UTF-8, which aiohttp keeps as lone surrogates, into U+FFFD."""
    return text.encode(errors="surrogateescape").decode(errors="replace")
