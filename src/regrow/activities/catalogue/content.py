"""What a file or an object holds, as a value of JSON, and back to bytes.

What is read can be written again as it was: `content` and `encoding` of a result are inputs of the
executor that writes.
"""

import base64
import binascii
import hashlib
import json
from typing import Final, Literal, cast

import pydantic_core

from regrow.core.limits import MIB
from regrow.core.models import Json
from regrow.core.wire import ErrorType
from regrow.executors import TaskError

CONTENT_ERROR: Final = "content_error"
CONTENT_ERRORS: Final = {
    CONTENT_ERROR: "The content isn't what `encoding` says: no JSON, no UTF-8 text, no base64. Not"
    " retried.",
}

MAX_CONTENT: Final = MIB
"""Bytes that are read at once; what is larger belongs into a store, not into history."""

Encoding = Literal["json", "text", "lines", "base64"]
AnyEncoding = Literal["auto", "json", "text", "lines", "base64"]


def decode(raw: bytes, encoding: AnyEncoding, *, name: str, is_json: bool) -> tuple[Json, Encoding]:
    """Give the content and how it is to be read; `auto` never fails.

    `auto` is JSON where the name or type says so, else text, else base64.
    """
    if encoding != "auto":
        return _decoded(raw, encoding, name), encoding
    if is_json and (value := _json(raw)) is not None:
        return value[0], "json"
    if b"\0" not in raw and (text := _text(raw)) is not None:
        return text, "text"
    return base64.b64encode(raw).decode(), "base64"


def encode(content: Json, encoding: AnyEncoding) -> tuple[bytes, Encoding]:
    """Give the bytes; `auto` writes a text as it is and anything else as JSON."""
    if encoding == "auto":
        encoding = "text" if isinstance(content, str) else "json"
    try:
        return _encoded(content, encoding), encoding
    except (TypeError, ValueError):
        message = f"the content cannot be written as {encoding}: {_NEEDS[encoding]}"
        raise TaskError(message, error_type=CONTENT_ERROR) from None


def sha256(raw: bytes) -> str:
    """Give the checksum, in hexadecimal."""
    return hashlib.sha256(raw).hexdigest()


def too_large(name: str, size: int, advice: str) -> TaskError:
    """Say that something is more than a result may hold."""
    message = f"{name} takes {size:,} bytes; at most {MAX_CONTENT:,} are read at once. {advice}"
    return TaskError(message, error_type=ErrorType.PAYLOAD_TOO_LARGE)


_NEEDS: Final[dict[Encoding, str]] = {
    "json": "it isn't JSON",
    "text": "it must be a text",
    "lines": "it must be a list of texts without line breaks",
    "base64": "it must be base64",
}


def _decoded(raw: bytes, encoding: Encoding, name: str) -> Json:
    if encoding == "base64":
        return base64.b64encode(raw).decode()
    if encoding == "json":
        if (value := _json(raw)) is None:
            raise TaskError(f"{name} isn't JSON", error_type=CONTENT_ERROR)
        return value[0]
    if (text := _text(raw)) is None:
        message = f"{name} isn't text in UTF-8; encoding: base64 reads any bytes"
        raise TaskError(message, error_type=CONTENT_ERROR)
    return text if encoding == "text" else _lines(text)


def _json(raw: bytes) -> tuple[Json] | None:
    """Give the value in a tuple, since it may be null."""
    try:
        return (pydantic_core.from_json(raw.removeprefix(b"\xef\xbb\xbf"), allow_inf_nan=False),)
    except ValueError:
        return None


def _text(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None


def _lines(text: str) -> Json:
    lines = text.replace("\r\n", "\n").split("\n")
    return cast("Json", lines[:-1] if lines[-1] == "" else lines)


def _encoded(content: Json, encoding: Encoding) -> bytes:
    if encoding == "json":
        return f"{json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)}\n".encode()
    if encoding == "lines":
        return "".join(f"{_line(line)}\n" for line in _items(content)).encode()
    if not isinstance(content, str):
        raise TypeError(encoding)
    if encoding == "text":
        return content.encode()
    try:
        return base64.b64decode(content, validate=True)
    except binascii.Error as error:
        raise ValueError(encoding) from error


def _items(content: Json) -> list[Json]:
    if not isinstance(content, list):
        raise TypeError(content)
    return content


def _line(line: Json) -> str:
    if not isinstance(line, str) or "\n" in line:
        raise ValueError(line)
    return line
