"""`file_read` and `file_write`: files in one folder of the worker, and nowhere else.

The operator names the folder. A path is walked name by name, each opened in the folder before it
and never through a symbolic link, so that a link which is made in between leads nowhere either.
Hard links and mounts inside the folder are the operator's own doing.
"""

import errno
import os
import secrets
import stat
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Annotated, Any, Final, Literal

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
from regrow.activities.catalogue.failures import NOT_FOUND
from regrow.core.models import Json
from regrow.core.wire import ErrorType
from regrow.executors import TaskError, executor_register
from regrow.settings import load_settings

ALREADY_EXISTS: Final = "already_exists"
FILE_ERROR: Final = "file_error"
ERRORS: Final = {
    **CONTENT_ERRORS,
    ALREADY_EXISTS: "There is a file or an object of that name, with other content. Not retried.",
    FILE_ERROR: "The system didn't let it. Retried unless it is a matter of permissions or names:"
    " a full disk may have room later.",
}

PERMANENT: Final = (
    errno.EACCES,
    errno.EFBIG,
    errno.EINVAL,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EOPNOTSUPP,
    errno.EPERM,
    errno.EROFS,
)
"""What another attempt would meet again."""

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_LINKED: Final = (errno.ENOTDIR, errno.ELOOP)
_NAME_PART: Final = 32
"""Characters of a name that a temporary file has in its own; file systems allow 255 bytes."""


def _below(path: str) -> str:
    if "\0" in path or any(name in ("", ".", "..") for name in path.split("/")):
        message = "write a path like reports/may.json: no slash at its ends, no '.' or '..'"
        raise PydanticCustomError("path", message)
    return path


FilePath = Annotated[str, AfterValidator(_below)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class FileRead(_Model):
    """Which file, and how to read it."""

    path: FilePath
    """Relative to the worker's folder for files."""
    encoding: AnyEncoding = "auto"
    """`auto` is JSON for a name that ends with `.json`, else text, else base64; `lines` is a list
    of the lines. Text is UTF-8."""
    offset: Annotated[int, Field(ge=0)] = 0
    """Bytes to leave out at the beginning."""
    length: Annotated[int, Field(ge=1, le=MAX_CONTENT)] | None = None
    """Bytes to read at most; default: all that is left, which must be at most 1 MiB."""


class FileContent(_Model):
    """What the file holds."""

    path: str
    content: Json
    encoding: Encoding
    """How to read `content`."""
    size: int
    """Bytes of the whole file."""
    sha256: str
    """Of the bytes that were read."""


class FileWrite(_Model):
    """What to write, and where."""

    path: FilePath
    """Relative to the worker's folder for files; folders on the way are made."""
    content: Json
    encoding: AnyEncoding = "auto"
    """`auto` writes a text as it is and anything else as JSON; `lines` takes a list of texts,
    `base64` bytes."""
    mode: Literal["replace", "create"] = "replace"
    """`create` leaves a file that is there as it is, and fails unless its content is the same."""


class FileWritten(_Model):
    """What is there now."""

    path: str
    size: int
    """In bytes."""
    sha256: str


def _demo_read(inputs: Mapping[str, Any]) -> dict[str, Any]:
    raw = b"Ann\nBob\n"
    return {
        "path": inputs.get("path", "names.txt"),
        "content": raw.decode(),
        "encoding": "text",
        "size": len(raw),
        "sha256": sha256(raw),
    }


def _demo_written(inputs: Mapping[str, Any]) -> dict[str, Any]:
    raw, _ = encode(inputs.get("content"), "auto")
    path = inputs.get("path", "reports/may.json")
    return {"path": path, "size": len(raw), "sha256": sha256(raw)}


@executor_register(
    "file_read",
    heartbeat_timeout="30s",
    tags=("files",),
    examples=({"path": "reports/may.json"}, {"path": "names.txt", "encoding": "lines"}),
    demo=_demo_read,
)
def file_read(inputs: FileRead) -> FileContent:
    """Read a file of at most 1 MiB, or a part of a larger one.

    It lies below the folder that the operator names by `REGROW_FILE_ROOT`; each worker has its
    own, unless they share one. Symbolic links, devices and pipes are refused (`not_allowed`). Safe
    to repeat. A file that isn't there and a missing permission fail for good; other failures of
    the system are retried. A cancel ends it at once; it leaves nothing open.
    """
    *parents, name = inputs.path.split("/")
    with _told(inputs.path), _folder(parents, make=False) as folder:
        raw, size = _read(name, folder, inputs)
    is_json = name.lower().endswith(".json")
    content, encoding = decode(raw, inputs.encoding, name=f"'{inputs.path}'", is_json=is_json)
    return FileContent(
        path=inputs.path, content=content, encoding=encoding, size=size, sha256=sha256(raw)
    )


@executor_register(
    "file_write",
    heartbeat_timeout="30s",
    tags=("files",),
    examples=(
        {"path": "reports/may.json", "content": {"orders": 7}},
        {"path": "names.txt", "content": ["Ann", "Bob"], "encoding": "lines", "mode": "create"},
    ),
    demo=_demo_written,
)
def file_write(inputs: FileWrite) -> FileWritten:
    """Write a whole file, or nothing: who reads it meanwhile sees the old one or the new one.

    It lies below the folder that the operator names by `REGROW_FILE_ROOT`. Symbolic links, devices
    and pipes are refused (`not_allowed`). Safe to repeat: the same content is written again, and
    `mode: create` is content with a file that holds it already (`already_exists` if it holds
    another). Missing permissions fail for good; other failures of the system, such as a full disk,
    are retried. A cancel leaves the old file or the new one, and nothing else; a worker that is
    killed may leave a hidden file that ends with `.tmp`.
    """
    raw, _ = encode(inputs.content, inputs.encoding)
    *parents, name = inputs.path.split("/")
    with _told(inputs.path), _folder(parents, make=True) as folder:
        _check_kind(name, folder)
        with _temporary(name, folder, raw) as temporary:
            if inputs.mode == "replace":
                os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            else:
                _create(temporary, name, folder, raw)
        os.fsync(folder)
    return FileWritten(path=inputs.path, size=len(raw), sha256=sha256(raw))


@contextmanager
def _told(path: str) -> Generator[None]:
    """Say a failure of the system in terms of the task; its own names no path but a part."""
    try:
        yield
    except OSError as error:
        raise _failure(error, path) from None


@contextmanager
def _folder(parents: Sequence[str], *, make: bool) -> Generator[int]:
    """Open the folder at the end of a path."""
    folder = _open_root()
    try:
        for name in parents:
            inner = _open_inner(name, folder, make=make)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def _open_root() -> int:
    root = load_settings().file_root
    if root is None:
        message = (
            "this worker reads and writes no files; its operator names a folder for them by"
            " REGROW_FILE_ROOT"
        )
        raise TaskError(message, error_type=ErrorType.NOT_ALLOWED)
    try:
        return os.open(root.expanduser(), os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        message = f"this worker cannot use the folder of REGROW_FILE_ROOT: {error.strerror}"
        retryable = error.errno not in PERMANENT
        raise TaskError(message, error_type=FILE_ERROR, retryable=retryable) from None


def _open_inner(name: str, folder: int, *, make: bool) -> int:
    if make:
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=folder)
            os.fsync(folder)
    try:
        return os.open(name, _FOLDER, dir_fd=folder)
    except OSError as error:
        if error.errno in _LINKED:  # systems differ in what they say of a link
            _check_link(name, os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
        raise


def _check_link(name: str, mode: int) -> None:
    if stat.S_ISLNK(mode):
        message = f"'{name}' is a symbolic link, which is not followed here; name what it leads to"
        raise TaskError(message, error_type=ErrorType.NOT_ALLOWED)


def _check_regular(name: str, mode: int) -> None:
    _check_link(name, mode)
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a device, a pipe or a socket"
        message = f"'{name}' is {what}; only plain files are read and written here"
        raise TaskError(message, error_type=ErrorType.NOT_ALLOWED)


def _check_kind(name: str, folder: int) -> None:
    """Refuse what is there already if it is no plain file."""
    with suppress(FileNotFoundError):
        _check_regular(name, os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)


def _open_file(name: str, folder: int) -> int:
    """Open for reading, without waiting for whoever is at the other end of a pipe."""
    _check_kind(name, folder)
    return os.open(name, _FILE, dir_fd=folder)


def _read(name: str, folder: int, inputs: FileRead) -> tuple[bytes, int]:
    """Give the bytes and the size of the whole."""
    with os.fdopen(_open_file(name, folder), "rb") as file:
        status = os.fstat(file.fileno())
        _check_regular(name, status.st_mode)  # it may have become something else
        file.seek(inputs.offset)
        raw = file.read(inputs.length or MAX_CONTENT + 1)
    if len(raw) > MAX_CONTENT:
        left = status.st_size - inputs.offset
        raise too_large(f"'{inputs.path}'", left, "Read it in parts, by offset and length")
    return raw, status.st_size


@contextmanager
def _temporary(name: str, folder: int, raw: bytes) -> Generator[str]:
    """Give a finished file beside the one that is wanted; it is gone afterwards."""
    temporary = f".{name[:_NAME_PART]}.{secrets.token_hex(8)}.tmp"
    try:
        with os.fdopen(os.open(temporary, _NEW, 0o666, dir_fd=folder), "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=folder)


def _create(temporary: str, name: str, folder: int, raw: bytes) -> None:
    """Give the file its name unless somebody has it."""
    try:
        os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        if not _holds(name, folder, raw):
            message = f"there is a file '{name}' with other content; mode: replace would replace it"
            raise TaskError(message, error_type=ALREADY_EXISTS) from None


def _holds(name: str, folder: int, raw: bytes) -> bool:
    with os.fdopen(_open_file(name, folder), "rb") as file:
        _check_regular(name, os.fstat(file.fileno()).st_mode)
        return file.read(len(raw) + 1) == raw


def _failure(error: OSError, path: str) -> TaskError:
    if error.errno == errno.ENOENT:
        return TaskError(f"there is no file '{path}'", error_type=NOT_FOUND)
    return TaskError(
        f"cannot use the file '{path}': {error.strerror}",
        error_type=FILE_ERROR,
        retryable=error.errno not in PERMANENT,
    )
