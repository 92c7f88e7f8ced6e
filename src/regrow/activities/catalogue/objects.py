"""`object_get` and `object_put`: objects of stores that the operator names.

A document says which store by its name, never where it is, and keys stay below the URL's prefix.
Credentials are found by obstore itself in the worker's environment, where each cloud's own tools
look for them. What obstore says of a failure holds addresses and whatever the peer wrote, so errors
are told in our own words.
"""

import asyncio
import os
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from regrow.activities.catalogue.content import (
    CONTENT_ERRORS,
    MAX_CONTENT,
    AnyEncoding,
    Encoding,
    decode,
    encode,
    sha256,
    too_large,
)
from regrow.activities.catalogue.failures import (
    AUTHENTICATION_ERROR,
    CONNECTION_ERROR,
    NOT_FOUND,
    TLS_ERROR,
)
from regrow.activities.catalogue.files import ALREADY_EXISTS, PERMANENT
from regrow.core.durations import Duration
from regrow.core.models import Json
from regrow.core.wire import ErrorType
from regrow.executors import TaskError, executor_register
from regrow.settings import load_settings

if TYPE_CHECKING:
    from obstore.store import ObjectStore

OBJECT_ERROR: Final = "object_error"
ERRORS: Final = {
    **CONTENT_ERRORS,
    ALREADY_EXISTS: "There is a file or an object of that name, with other content. Not retried.",
    OBJECT_ERROR: "The store refused, or cannot be used; `status_code` is metadata if there was"
    " one. Retried for 408, 429 and 5xx, and where a full disk may have room later.",
}

_TRY_AGAIN: Final = (408, 429, *range(500, 600))
_CONTENT_TYPES: Final[dict[Encoding, str]] = {
    "json": "application/json",
    "text": "text/plain; charset=utf-8",
    "lines": "text/plain; charset=utf-8",
}
_METADATA_SERVICE: Final = ("//169.254.169.254", "//169.254.170.2", "//metadata")
"""Where clouds' credentials are looked for when the environment has none."""


def _key(key: str) -> str:
    if "\0" in key or any(part in ("", ".", "..") for part in key.split("/")):
        message = "write a key like reports/may.json: no slash at its ends, no '.' or '..'"
        raise PydanticCustomError("key", message)
    return key


Key = Annotated[str, AfterValidator(_key), Field(max_length=1024)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class ObjectPlace(_Model):
    """Where an object is."""

    store: str
    """A name of the operator's: `main` is what `REGROW_OBJECT_STORES__MAIN` says."""
    key: Key
    """Below the store's own prefix."""

    @property
    def place(self) -> str:
        """How errors name it."""
        return f"'{self.key}' in the store '{self.store}'"


class _Inputs(ObjectPlace):
    timeout: Duration = timedelta(seconds=30)
    """For everything. obstore itself gives up a request after 30 seconds; the operator sets another
    limit in the worker's environment, for S3 by `AWS_TIMEOUT=2m`."""


class SavedBody(ObjectPlace):
    """What was put into a store instead of history."""

    size: int
    """In bytes."""
    sha256: str


class ObjectGet(_Inputs):
    """Which object, and how to read it."""

    encoding: AnyEncoding = "auto"
    """`auto` is JSON where the object's content type or the end of the key says so, else text, else
    base64; `lines` is a list of the lines. Text is UTF-8."""


class ObjectContent(_Model):
    """What the object holds."""

    store: str
    key: str
    content: Json
    encoding: Encoding
    """How to read `content`."""
    size: int
    """In bytes."""
    sha256: str
    content_type: str | None
    etag: str | None
    last_modified: datetime


class ObjectPut(_Inputs):
    """What to store, and where."""

    content: Json
    encoding: AnyEncoding = "auto"
    """`auto` stores a text as it is and anything else as JSON; `lines` takes a list of texts,
    `base64` bytes."""
    content_type: Annotated[str, Field(pattern=r"^[\x20-\x7e]{1,200}$")] | None = None
    """Default: what fits the encoding. A `file://` store keeps none."""
    if_absent: bool = False
    """Leave an object that is there as it is, and fail unless its content is the same."""


class ObjectStored(_Model):
    """What is there now."""

    store: str
    key: str
    size: int
    """In bytes."""
    sha256: str
    etag: str | None


def _demo_get(inputs: Mapping[str, Any]) -> dict[str, Any]:
    raw = b'{"orders": 7}'
    return {
        "store": inputs.get("store", "main"),
        "key": inputs.get("key", "reports/may.json"),
        "content": {"orders": 7},
        "encoding": "json",
        "size": len(raw),
        "sha256": sha256(raw),
        "content_type": "application/json",
        "etag": '"5d41402abc4b2a76"',
        "last_modified": "2026-05-31T12:00:00Z",
    }


def _demo_put(inputs: Mapping[str, Any]) -> dict[str, Any]:
    raw, _ = encode(inputs.get("content"), "auto")
    return {
        "store": inputs.get("store", "main"),
        "key": inputs.get("key", "reports/may.json"),
        "size": len(raw),
        "sha256": sha256(raw),
        "etag": '"5d41402abc4b2a76"',
    }


@executor_register(
    "object_get",
    heartbeat_timeout="30s",
    tags=("objects",),
    requires={"obstore": "regrow[objects]"},
    examples=({"store": "main", "key": "reports/may.json"},),
    demo=_demo_get,
)
async def object_get(inputs: ObjectGet) -> ObjectContent:
    """Get an object of at most 1 MiB from S3, Google Cloud Storage, Azure or a folder.

    The operator names the stores, `REGROW_OBJECT_STORES__MAIN=s3://bucket/prefix` for one that is
    called `main`, and gives their credentials in the environment as for the cloud's own tools
    (`AWS_ACCESS_KEY_ID` and so on; `AWS_ENDPOINT_URL` for another S3). Safe to repeat. Timeouts,
    broken connections and the statuses 408, 429 and 5xx are retried. A cancel closes the
    connection. A `file://` store follows symbolic links; `file_read` doesn't.
    """
    import obstore  # noqa: PLC0415 - an extra, for those who have a store

    with _told(inputs):
        async with asyncio.timeout(inputs.timeout.total_seconds()):
            found = await obstore.get_async(_store(inputs.store), inputs.key)
            if found.meta["size"] > MAX_CONTENT:
                advice = "Hand on its key instead"
                raise too_large(inputs.place, found.meta["size"], advice)
            raw = bytes(await found.bytes_async())
    content_type = found.attributes.get("Content-Type")
    content, encoding = decode(
        raw, inputs.encoding, name=inputs.place, is_json=_is_json(inputs.key, content_type)
    )
    return ObjectContent(
        store=inputs.store,
        key=inputs.key,
        content=content,
        encoding=encoding,
        size=len(raw),
        sha256=sha256(raw),
        content_type=content_type,
        etag=found.meta["e_tag"],
        last_modified=found.meta["last_modified"],
    )


@executor_register(
    "object_put",
    heartbeat_timeout="30s",
    tags=("objects",),
    requires={"obstore": "regrow[objects]"},
    examples=(
        {"store": "main", "key": "reports/may.json", "content": {"orders": 7}},
        {"store": "main", "key": "names.txt", "content": ["Ann"], "encoding": "lines"},
    ),
    demo=_demo_put,
)
async def object_put(inputs: ObjectPut) -> ObjectStored:
    """Put an object into S3, Google Cloud Storage, Azure or a folder, in one request.

    Stores and credentials are the operator's, as for `object_get`. Safe to repeat: the same content
    is stored again, and `if_absent` is content with an object that holds it already
    (`already_exists` if it holds another). Timeouts, broken connections and the statuses 408, 429
    and 5xx are retried. A cancel closes the connection; an object that the store had received by
    then may be there.
    """
    raw, encoding = encode(inputs.content, inputs.encoding)
    with _told(inputs):
        async with asyncio.timeout(inputs.timeout.total_seconds()):
            etag = await _put(inputs, raw, inputs.content_type or _CONTENT_TYPES.get(encoding))
    return ObjectStored(
        store=inputs.store, key=inputs.key, size=len(raw), sha256=sha256(raw), etag=etag
    )


async def _put(inputs: ObjectPut, raw: bytes, content_type: str | None) -> str | None:
    """Store it unless it is there; gives its ETag."""
    import obstore  # noqa: PLC0415
    from obstore.exceptions import AlreadyExistsError  # noqa: PLC0415
    from obstore.store import LocalStore  # noqa: PLC0415

    store = _store(inputs.store)
    if isinstance(store, LocalStore):
        content_type = None
    try:
        done = await obstore.put_async(
            store,
            inputs.key,
            raw,
            attributes={"Content-Type": content_type} if content_type else None,
            mode="create" if inputs.if_absent else "overwrite",
            use_multipart=False,
        )
    except AlreadyExistsError:
        return await _same(store, inputs, raw)
    return done["e_tag"]


async def _same(store: "ObjectStore", inputs: ObjectPut, raw: bytes) -> str | None:
    """Give the ETag of the object that is there if an earlier attempt may have put it."""
    import obstore  # noqa: PLC0415

    found = await obstore.get_async(store, inputs.key)
    if found.meta["size"] == len(raw) and bytes(await found.bytes_async()) == raw:
        return found.meta["e_tag"]
    message = f"{inputs.place} is there with other content; without if_absent it would be replaced"
    raise TaskError(message, error_type=ALREADY_EXISTS)


async def save(place: ObjectPlace, file: BinaryIO) -> None:
    """Put a file of any size into a store, in parts if it is large; the caller limits the time."""
    import obstore  # noqa: PLC0415

    with _told(place):
        await obstore.put_async(_store(place.store), place.key, file)


def _store(name: str) -> "ObjectStore":
    """Open a store by the operator's name for it; this connects to nothing."""
    from obstore.store import from_url  # noqa: PLC0415

    stores = load_settings().object_stores
    if name not in stores:
        known = f"it knows {', '.join(sorted(stores))}" if stores else "it knows none"
        message = (
            f"this worker knows no object store '{name}'; {known}. Its operator names one by"
            " REGROW_OBJECT_STORES__NAME"
        )
        raise TaskError(message, error_type=NOT_FOUND)
    try:
        return from_url(stores[name].get_secret_value(), retry_config={"max_retries": 0})
    except Exception as error:  # noqa: BLE001 - of several kinds, and they show the URL
        reason = _system_reason(str(error))[0] or "the URL isn't that of a store"
        message = f"the object store '{name}' of this worker cannot be used: {reason}"
        raise TaskError(message, error_type=OBJECT_ERROR) from None


def _is_json(key: str, content_type: str | None) -> bool:
    kind = (content_type or "").partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json") or key.lower().endswith(".json")


@contextmanager
def _told(place: ObjectPlace) -> Generator[None]:
    """Say every failure in words that hold no address and nothing that a peer wrote."""
    from obstore.exceptions import BaseError  # noqa: PLC0415

    try:
        yield
    except TimeoutError:
        limit = f" of {place.timeout.total_seconds():g}s" if isinstance(place, _Inputs) else ""
        message = f"{place.place}: not done within the timeout{limit}"
        raise TaskError(message, error_type=ErrorType.TIMEOUT, retryable=True) from None
    except FileNotFoundError as error:
        what = "no such bucket" if "NoSuchBucket" in str(error) else "there is no such object"
        raise TaskError(f"{place.place}: {what}", error_type=NOT_FOUND) from None
    except (BaseError, OSError, ValueError, RuntimeError) as error:
        raise _failure(error, place.place) from None


def _failure(error: Exception, place: str) -> TaskError:
    """Tell what happened by the few words of obstore's text that are its own."""
    text = str(error)
    if any(service in text for service in _METADATA_SERVICE):
        message = f"{place}: the worker's environment has no credentials for this store"
        return TaskError(message, error_type=AUTHENTICATION_ERROR)
    if found := re.search(r"non-2xx status code: (\d{3})", text):
        return _refusal(int(found[1]), text, place)
    reason, number = _system_reason(text)
    if reason and "HTTP error" not in text:
        retryable = number not in PERMANENT
        return TaskError(f"{place}: {reason}", error_type=OBJECT_ERROR, retryable=retryable)
    if isinstance(error, ValueError) or "InvalidPath" in text:
        message = f"{place}: the store cannot have such a key"
        return TaskError(message, error_type=ErrorType.VALIDATION)
    return _unanswered(text, place)


def _unanswered(text: str, place: str) -> TaskError:
    if "InvalidCertificate" in text:
        message = f"{place}: the store's certificate isn't valid"
        return TaskError(message, error_type=TLS_ERROR)
    if "kind: Timeout" in text:
        message = f"{place}: no response within obstore's own limit (30s, or such as AWS_TIMEOUT)"
        return TaskError(message, error_type=ErrorType.TIMEOUT, retryable=True)
    message = f"{place}: no connection to the store, or it broke"
    return TaskError(message, error_type=CONNECTION_ERROR, retryable=True)


def _refusal(status: int, text: str, place: str) -> TaskError:
    """Tell of a response that is no success; the code is S3's own word for the reason."""
    code = re.search(r"<Code>([A-Za-z]{1,60})</Code>", text)
    said = f"{status} {code[1]}" if code else str(status)
    denied = status in (401, 403)
    return TaskError(
        f"{place}: the store answered {said}",
        error_type=AUTHENTICATION_ERROR if denied else OBJECT_ERROR,
        retryable=status in _TRY_AGAIN,
        status_code=status,
    )


def _system_reason(text: str) -> tuple[str | None, int | None]:
    """Find the error of this system that a `file://` store met."""
    found = re.search(r"os error (\d+)|code: (\d+)", text)
    if found is None:
        return None, None
    number = int(found[1] or found[2])
    return os.strerror(number), number
