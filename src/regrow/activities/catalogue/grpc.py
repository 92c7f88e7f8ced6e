"""`grpc_call`: one method of a gRPC service as a task, with JSON in and out.

The types of its messages come from the server itself (reflection) or from the author (a descriptor
set), so nothing is generated and no worker is built for one service. On the wire a single message
is a stream of one, so one exchange serves all four kinds of methods; the descriptor says how many
messages there may be. The connection goes to the addresses that were checked, under the name that
the author wrote.
"""

import asyncio
import graphlib
import re
import ssl
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

from pydantic import (
    AfterValidator,
    Base64Bytes,
    BaseModel,
    BeforeValidator,
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
)
from regrow.activities.catalogue.http import public_text
from regrow.activities.network import checked_addresses
from regrow.core.durations import Duration
from regrow.core.limits import MIB
from regrow.core.models import Json
from regrow.core.wire import ErrorType
from regrow.executors import TaskContext, TaskError, executor_register

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor
    from google.protobuf.descriptor_pb2 import FileDescriptorProto
    from google.protobuf.descriptor_pool import DescriptorPool
    from grpc import aio
    from grpc_reflection.v1alpha.reflection_pb2 import ErrorResponse, ServerReflectionRequest

GRPC_ERROR: Final = "grpc_error"
ERRORS: Final = {
    GRPC_ERROR: "A status other than OK; its name is `code` in the metadata. Retried for"
    " UNAVAILABLE, RESOURCE_EXHAUSTED and ABORTED.",
}

MAX_ANSWER: Final = MIB
"""Bytes of all answers together, as they are on the wire."""

_KEY: Final = "idempotency-key"
_MAX_TYPES: Final = 16 * MIB
_EXCERPT: Final = 1_000
_TRY_AGAIN: Final = ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "ABORTED", "DEADLINE_EXCEEDED")
_TYPES: Final = {
    "DEADLINE_EXCEEDED": ErrorType.TIMEOUT,
    "UNAUTHENTICATED": AUTHENTICATION_ERROR,
    "UNIMPLEMENTED": NOT_FOUND,
}
_NO_SUCH_SYMBOL: Final = 5
_REFLECTION: Final = ("v1", "v1alpha")
"""The newer one first; their messages are the same."""

_NO_CONNECTION: Final = "failed to connect to all addresses"
_NO_TLS_THERE: Final = "WRONG_VERSION_NUMBER"
_OTHER_NAME: Final = "Hostname Verification Check failed"
_BAD_CERTIFICATE: Final = "CERTIFICATE_VERIFY_FAILED: "
_BAD_HANDSHAKE: Final = ("Tls handshake failed", _OTHER_NAME, "security handshaker")
_TOO_LARGE: Final = "larger than max"
"""Words of the library, which has one status for all that happens before an answer."""


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _metadata_name(name: str) -> str:
    if name.startswith("grpc-") or name.endswith("-bin"):
        raise PydanticCustomError("metadata", "names with grpc- or -bin aren't for text")
    return name


def _metadata_value(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[\x20-\x7e]*", value.get_secret_value()):
        raise PydanticCustomError("metadata", "a value has printable ASCII characters only")
    return value


def _certificates(pem: str) -> str:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem)
    except (ssl.SSLError, ValueError):
        raise PydanticCustomError("pem", "write certificates as PEM text") from None
    return pem


def _target(text: str) -> str:
    host = r"[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]"
    if not re.fullmatch(rf"({host}):[0-9]{{1,5}}", text):
        raise PydanticCustomError("target", "write host:port, such as orders.example.com:443")
    if not 0 < int(text.rpartition(":")[2]) <= 0xFFFF:  # noqa: PLR2004 - the last port
        raise PydanticCustomError("target", "a port lies between 1 and 65535")
    return text


def _method_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][\w.]*/[A-Za-z_]\w*", text, re.ASCII):
        raise PydanticCustomError("method", "write package.Service/Method")
    return text


Target = Annotated[str, AfterValidator(_target)]
MethodName = Annotated[str, AfterValidator(_method_name)]
MetadataName = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9a-z_.-]+$"),
    BeforeValidator(_lower),
    AfterValidator(_metadata_name),
]
MetadataValue = Annotated[SecretStr, AfterValidator(_metadata_value)]


class GrpcCall(BaseModel):
    """What to call, with what, and for how long to wait."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    target: Target
    """`host:port`."""
    method: MethodName
    """`package.Service/Method`."""
    request: Json = Field(default_factory=dict[str, Json])
    """The message, in protobuf's JSON form."""
    requests: list[Json] | None = None
    """The messages of a method that takes a stream of them; not together with `request`."""
    metadata: dict[MetadataName, MetadataValue] = Field(default_factory=dict)
    """Sent with the call and when asking for the types; never shown."""
    plaintext: bool = False
    """Whether to do without TLS."""
    root_certificates: Annotated[str, AfterValidator(_certificates)] | None = None
    """Authorities to trust, as PEM text, instead of the usual ones."""
    descriptor_set: Base64Bytes | None = None
    """The types: a `FileDescriptorSet` as base64 (`protoc --include_imports
    --descriptor_set_out=…`). By default the server is asked for them by reflection."""
    max_responses: Annotated[int, Field(ge=1, le=10_000)] = 1_000
    """Answers that are taken from a stream; then it is cancelled."""
    timeout: Duration = timedelta(seconds=30)
    """For everything: the name lookup, the types, and all answers. The server is told."""

    @model_validator(mode="after")
    def _says_one_thing(self) -> "GrpcCall":
        if self.requests is not None and "request" in self.model_fields_set:
            raise PydanticCustomError("requests", "give either request or requests")
        if self.plaintext and self.root_certificates is not None:
            raise PydanticCustomError("plaintext", "give either plaintext or root_certificates")
        return self

    @property
    def service(self) -> str:
        """The full name of the service."""
        return self.method.partition("/")[0]

    @property
    def place(self) -> str:
        """What is called, for people."""
        return f"{self.method} at {self.target}"


class GrpcResponse(BaseModel):
    """What came back."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    response: Json
    """The answer in protobuf's JSON form, with empty fields; a list of them where the method
    streams. 64-bit integers are text, names are in lowerCamelCase."""
    truncated: bool = False
    """Whether it was left at `max_responses`; there may have been more."""


@executor_register(
    "grpc_call",
    heartbeat_timeout="30s",
    tags=("grpc",),
    requires={"grpc": "regrow[grpc]", "grpc_reflection": "regrow[grpc]"},
    examples=(
        {
            "target": "orders.example.com:443",
            "method": "shop.v1.Orders/Get",
            "request": {"orderId": "4711"},
            "metadata": {"authorization": "Bearer ${{ secrets.ORDERS_TOKEN }}"},
        },
    ),
    demo={"response": {"orderId": "4711", "state": "SHIPPED"}, "truncated": False},
)
async def grpc_call(inputs: GrpcCall, context: TaskContext) -> GrpcResponse:
    """Call one method of a gRPC service and return its answer, or the list of its answers.

    The server must be at a public address, or at one that the operator allows in
    `REGROW_HTTP_ALLOW`. Safe to repeat if the method is: it is given the metadata
    `idempotency-key`, which is the same for every attempt. UNAVAILABLE, DEADLINE_EXCEEDED,
    RESOURCE_EXHAUSTED and ABORTED, timeouts and broken connections are worth another attempt;
    every other status fails for good. A cancel or a timeout cancels the call at the server.
    """
    from grpc import aio  # noqa: PLC0415 - an extra, for those who call services

    try:
        async with asyncio.timeout(inputs.timeout.total_seconds()):
            return await _call(inputs, context)
    except TimeoutError:
        message = (
            f"{inputs.place}: no complete answer within the timeout of"
            f" {inputs.timeout.total_seconds():g}s"
        )
        raise TaskError(message, error_type=ErrorType.TIMEOUT, retryable=True) from None
    except aio.AioRpcError as error:
        raise _failure(error, inputs) from None


async def _call(inputs: GrpcCall, context: TaskContext) -> GrpcResponse:
    async with _channel(inputs) as channel:
        files = _given_files(inputs) or await _reflected_files(channel, inputs)
        typed = await asyncio.to_thread(_typed, files, inputs)
        answers = await _exchange(
            channel,
            f"/{inputs.method}",
            await asyncio.to_thread(typed.requests),
            inputs,
            most=inputs.max_responses if typed.method.server_streaming else 2,
            key=context.idempotency_key,
        )
        return await asyncio.to_thread(typed.response, answers)


# The connection


@asynccontextmanager
async def _channel(inputs: GrpcCall) -> AsyncGenerator["aio.Channel"]:
    import grpc  # noqa: PLC0415
    from grpc import aio  # noqa: PLC0415

    host, _, port = inputs.target.rpartition(":")
    host = host.strip("[]")
    target = _pinned(await checked_addresses(host, int(port)), port)
    options = _options(inputs.target, host)
    if inputs.plaintext:
        opened = aio.insecure_channel(target, options=options)
    else:
        roots = inputs.root_certificates.encode() if inputs.root_certificates else None
        credentials = grpc.ssl_channel_credentials(roots)
        opened = aio.secure_channel(target, credentials, options=options)
    async with opened as channel:
        yield channel


def _pinned(addresses: Sequence[str], port: str) -> str:
    """Name addresses, not a host. A list is of one family, but IPv6 has room for IPv4."""
    if not any(":" in address for address in addresses):
        return "ipv4:" + ",".join(f"{address}:{port}" for address in addresses)
    mapped = [each if ":" in each else f"::ffff:{each}" for each in addresses]
    return "ipv6:" + ",".join(f"[{address}]:{port}" for address in mapped)


def _options(target: str, host: str) -> list[tuple[str, Any]]:
    return [
        ("grpc.default_authority", target),
        ("grpc.ssl_target_name_override", host),
        ("grpc.enable_http_proxy", 0),
        ("grpc.enable_retries", 0),
        ("grpc.use_local_subchannel_pool", 1),  # each attempt connects, whatever others met
    ]


# The exchange


@dataclass(frozen=True)
class _Answers:
    messages: Sequence[bytes]
    truncated: bool


async def _exchange(  # noqa: PLR0913 - what a call is made of
    channel: "aio.Channel",
    path: str,
    requests: Sequence[bytes],
    inputs: GrpcCall,
    *,
    most: int,
    key: str | None = None,
) -> _Answers:
    """Send the messages and take in at most so many answers; it never goes on after that."""
    from grpc import aio  # noqa: PLC0415

    messages: list[bytes] = []
    async with _begun(channel, path, requests, inputs, key) as call:
        while len(messages) < most:
            message = await call.read()
            if message is aio.EOF:
                return _Answers(messages, truncated=False)
            messages.append(cast("bytes", message))
            _check_size(messages, inputs)
    return _Answers(messages, truncated=True)


@asynccontextmanager
async def _begun(
    channel: "aio.Channel", path: str, requests: Sequence[bytes], inputs: GrpcCall, key: str | None
) -> AsyncGenerator["aio.UnaryStreamCall[bytes, bytes] | aio.StreamStreamCall[bytes, bytes]"]:
    metadata, limit = tuple(_metadata(inputs, key)), inputs.timeout.total_seconds()
    if len(requests) == 1:
        one: aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(path)
        call, feeding = one(requests[0], timeout=limit, metadata=metadata), None
    else:
        many: aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(path)
        call = many(timeout=limit, metadata=metadata)
        feeding = asyncio.create_task(_feed(call, requests))
    try:
        yield call
    finally:
        call.cancel()
        if feeding:
            feeding.cancel()


async def _feed(call: "aio.StreamStreamCall[bytes, bytes]", requests: Sequence[bytes]) -> None:
    """Write until the server has heard enough.

    The call's own `write` would put "internal error" in place of a status that comes meanwhile.
    """
    from grpc import aio  # noqa: PLC0415

    core = cast("Any", call)._cython_call  # noqa: SLF001 - there is no other way to write
    with suppress(aio.AioRpcError, aio.BaseError):  # reading tells what it was
        await call.wait_for_connection()
        for request in requests:
            await core.send_serialized_message(request)
        await call.done_writing()


def _metadata(inputs: GrpcCall, key: str | None) -> Iterator[tuple[str, str]]:
    if key is not None and _KEY not in inputs.metadata:
        yield _KEY, key
    for name, value in inputs.metadata.items():
        yield name, value.get_secret_value()


def _check_size(messages: Sequence[bytes], inputs: GrpcCall) -> None:
    if (size := sum(map(len, messages))) > MAX_ANSWER:
        what = f"the answers take {size:,} bytes or more; at most {MAX_ANSWER:,} are taken in"
        raise _too_large(inputs, what)


# The types of messages


def _given_files(inputs: GrpcCall) -> "Sequence[FileDescriptorProto]":
    from google.protobuf.descriptor_pb2 import FileDescriptorSet  # noqa: PLC0415
    from google.protobuf.message import DecodeError  # noqa: PLC0415

    if inputs.descriptor_set is None:
        return ()
    try:
        files = FileDescriptorSet.FromString(inputs.descriptor_set).file
    except DecodeError:
        raise _unusable_types(inputs, "it is no FileDescriptorSet") from None
    if not files:
        raise _unusable_types(inputs, "it is empty")
    return files


async def _reflected_files(
    channel: "aio.Channel", inputs: GrpcCall
) -> "Sequence[FileDescriptorProto]":
    import grpc  # noqa: PLC0415
    from grpc import aio  # noqa: PLC0415

    for version in _REFLECTION:
        try:
            return await _reflected_by(channel, version, inputs)
        except aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                raise
    message = (
        f"{inputs.place}: the server has no reflection, so the types of its messages aren't known;"
        " give them as descriptor_set"
    )
    raise TaskError(message, error_type=GRPC_ERROR, code="UNIMPLEMENTED")


async def _reflected_by(
    channel: "aio.Channel", version: str, inputs: GrpcCall
) -> "Sequence[FileDescriptorProto]":
    """Ask for the file of the service, and for those it imports that didn't come along."""
    from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest  # noqa: PLC0415

    question = ServerReflectionRequest(file_containing_symbol=inputs.service)
    files = {file.name: file for file in await _ask(channel, version, question, inputs)}
    asked: list[str] = []
    while missing := _missing(files, asked):
        asked.append(missing)
        question = ServerReflectionRequest(file_by_filename=missing)
        files |= {file.name: file for file in await _ask(channel, version, question, inputs)}
        if sum(file.ByteSize() for file in files.values()) > _MAX_TYPES:
            raise _too_large(inputs, f"reflection gives more than {_MAX_TYPES:,} bytes of types")
    return list(files.values())


def _missing(files: "Mapping[str, FileDescriptorProto]", asked: Sequence[str]) -> str | None:
    wanted = (name for file in files.values() for name in file.dependency)
    return next((name for name in wanted if name not in files and name not in asked), None)


async def _ask(
    channel: "aio.Channel", version: str, question: "ServerReflectionRequest", inputs: GrpcCall
) -> "Sequence[FileDescriptorProto]":
    from google.protobuf.descriptor_pb2 import FileDescriptorProto  # noqa: PLC0415
    from google.protobuf.message import DecodeError  # noqa: PLC0415
    from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionResponse  # noqa: PLC0415

    path = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
    raw = await _exchange(channel, path, [question.SerializeToString()], inputs, most=1)
    try:
        answer = ServerReflectionResponse.FromString(b"".join(raw.messages))
        if answer.HasField("error_response"):
            raise _not_described(answer.error_response, inputs)
        found = answer.file_descriptor_response.file_descriptor_proto
        return [FileDescriptorProto.FromString(each) for each in found]
    except DecodeError:
        raise _unusable_types(inputs, "the answer is none of reflection's") from None


def _not_described(error: "ErrorResponse", inputs: GrpcCall) -> TaskError:
    if error.error_code == _NO_SUCH_SYMBOL:
        message = f"{inputs.place}: the server doesn't know '{inputs.service}'"
        return TaskError(message, error_type=NOT_FOUND)
    said = _said(error.error_message, inputs)
    return TaskError(f"{inputs.place}: reflection failed: {said}", error_type=GRPC_ERROR)


def _unusable_types(inputs: GrpcCall, why: str) -> TaskError:
    given = inputs.descriptor_set is not None
    source = "descriptor_set" if given else "the server's reflection"
    return TaskError(
        f"{inputs.place}: {source} cannot be used: {why[:_EXCERPT]}",
        error_type=ErrorType.VALIDATION if given else GRPC_ERROR,
    )


def _typed(files: "Sequence[FileDescriptorProto]", inputs: GrpcCall) -> "_Typed":
    pool = _pool(files, inputs)
    name = inputs.method.partition("/")[2]
    try:
        methods = pool.FindServiceByName(inputs.service).methods_by_name
    except KeyError:
        message = f"{inputs.place}: the types have no service '{inputs.service}'"
        raise TaskError(message, error_type=NOT_FOUND) from None
    if name not in methods:
        known = ", ".join(methods)[:_EXCERPT]
        message = f"{inputs.place}: the service has no method '{name}'; it has: {known}"
        raise TaskError(message, error_type=NOT_FOUND)
    return _Typed(inputs, pool, methods[name])


def _pool(files: "Sequence[FileDescriptorProto]", inputs: GrpcCall) -> "DescriptorPool":
    """Add the files in the order of their imports."""
    from google.protobuf.descriptor_pool import DescriptorPool  # noqa: PLC0415

    pool = DescriptorPool()
    by_name = {file.name: file for file in files}
    imports = {file.name: file.dependency for file in files}
    try:
        for name in graphlib.TopologicalSorter(imports).static_order():
            pool.Add(by_name[name])
    except KeyError as missing:
        raise _unusable_types(inputs, f"it lacks {missing}, which is imported") from None
    except (graphlib.CycleError, TypeError) as error:
        raise _unusable_types(inputs, str(error)) from None
    return pool


@dataclass(frozen=True)
class _Typed:
    """A call whose messages are known: JSON to bytes, and back."""

    inputs: GrpcCall
    pool: "DescriptorPool"
    method: "MethodDescriptor"

    def requests(self) -> tuple[bytes, ...]:
        """Give the messages to send."""
        if self.inputs.requests is None:
            if self.method.client_streaming:
                raise self._invalid("the method takes a stream of messages; give a list: requests")
            return (self._request("request", self.inputs.request),)
        if not self.method.client_streaming:
            raise self._invalid("the method takes one message; give it as request")
        named = enumerate(self.inputs.requests)
        return tuple(self._request(f"requests[{at}]", each) for at, each in named)

    def _request(self, name: str, value: Json) -> bytes:
        from google.protobuf import json_format, message_factory  # noqa: PLC0415

        kind = self.method.input_type
        made = message_factory.GetMessageClass(kind)()
        try:
            parsed = json_format.ParseDict(cast("Any", value), made, descriptor_pool=self.pool)
            return parsed.SerializeToString()
        except (json_format.ParseError, AttributeError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise self._invalid(f"{name} is no {kind.full_name}: {reason}") from None

    def _invalid(self, why: str) -> TaskError:
        message = f"{self.inputs.place}: {why[:_EXCERPT]}"
        return TaskError(message, error_type=ErrorType.VALIDATION)

    def response(self, answers: _Answers) -> GrpcResponse:
        """Give the result."""
        found = [self._answer(raw) for raw in answers.messages]
        if self.method.server_streaming:
            return GrpcResponse(response=found, truncated=answers.truncated)
        if len(found) != 1:
            raise self._odd(f"the server gave {len(found) or 'no'} answers; one was due")
        return GrpcResponse(response=found[0])

    def _answer(self, raw: bytes) -> Json:
        from google.protobuf import json_format, message, message_factory  # noqa: PLC0415

        kind = self.method.output_type
        try:
            return json_format.MessageToDict(
                message_factory.GetMessageClass(kind).FromString(raw),
                always_print_fields_with_no_presence=True,
                descriptor_pool=self.pool,
            )
        except message.DecodeError:
            raise self._odd(f"the answer is no {kind.full_name}") from None
        except (json_format.Error, TypeError, ValueError) as error:
            raise self._odd(f"the answer cannot be written as JSON: {error}") from None

    def _odd(self, why: str) -> TaskError:
        return TaskError(f"{self.inputs.place}: {why[:_EXCERPT]}", error_type=GRPC_ERROR)


# Failures


def _failure(error: "aio.AioRpcError", inputs: GrpcCall) -> TaskError:
    code, details = error.code().name, error.details() or ""
    if code == "UNAVAILABLE" and details.startswith(_NO_CONNECTION):
        return _no_connection(details, inputs)
    if code == "RESOURCE_EXHAUSTED" and _TOO_LARGE in details:  # never smaller the next time
        return _too_large(inputs, f"a message is too large: {_said(details, inputs)}")
    return TaskError(
        f"{inputs.place}: {code}: {_said(details, inputs)}".removesuffix(": "),
        error_type=_TYPES.get(code, GRPC_ERROR),
        retryable=code in _TRY_AGAIN,
        code=code,
    )


def _no_connection(details: str, inputs: GrpcCall) -> TaskError:
    reason = re.sub(r"^.*last error: \w+: (ipv[46]:\S+: )?", "", details)[:_EXCERPT]
    if any(words in reason for words in _BAD_HANDSHAKE):
        return TaskError(f"{inputs.place}: {_tls_trouble(reason)}", error_type=TLS_ERROR)
    message = f"{inputs.place}: no connection: {reason}"
    return TaskError(message, error_type=CONNECTION_ERROR, retryable=True)


def _tls_trouble(reason: str) -> str:
    if _NO_TLS_THERE in reason:
        return "it speaks no TLS; where that is right, set plaintext: true"
    if _OTHER_NAME in reason:
        return "the certificate isn't for this host"
    if _BAD_CERTIFICATE in reason:
        why = reason.partition(_BAD_CERTIFICATE)[2].removesuffix(": OK")
        return f"the certificate isn't valid: {why}; root_certificates names who is trusted"
    return reason


def _too_large(inputs: GrpcCall, what: str) -> TaskError:
    return TaskError(f"{inputs.place}: {what}", error_type=ErrorType.PAYLOAD_TOO_LARGE)


def _said(details: str, inputs: GrpcCall) -> str:
    """Give what a server wrote, without the metadata: some send back all they got."""
    values = [value.get_secret_value() for value in inputs.metadata.values()]
    return public_text(details, [*values, *(value.rpartition(" ")[2] for value in values)])
