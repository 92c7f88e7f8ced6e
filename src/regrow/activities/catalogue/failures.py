"""Error types that several executors give, and what they mean."""

import os
import socket
from collections.abc import Iterator, Sequence
from typing import Final

from regrow.executors import MISSING_EXTRA

AUTHENTICATION_ERROR: Final = "authentication_error"
CONNECTION_ERROR: Final = "connection_error"
NOT_FOUND: Final = "not_found"
TLS_ERROR: Final = "tls_error"
UNKNOWN_SECRET: Final = "unknown_secret"  # noqa: S105 - the name of an error

SHARED_ERRORS: Final = {
    AUTHENTICATION_ERROR: "The peer refused the credentials. Not retried.",
    CONNECTION_ERROR: "No connection, or it broke. Retried.",
    MISSING_EXTRA: "A library of the executor isn't installed in the worker; the text has the"
    " command that installs it.",
    NOT_FOUND: "There is no such program, file, object, host, method or tool. Not retried.",
    TLS_ERROR: "The certificate, or the handshake. Not retried.",
    UNKNOWN_SECRET: "The worker has no secret of the name that the tree gives. Not retried.",
}


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """Give an error and what led to it, the outermost first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def system_reason(causes: Sequence[BaseException]) -> str | None:
    """Give the operating system's words for the innermost cause that is its own."""
    for cause in reversed(causes):
        if isinstance(cause, socket.gaierror):
            return cause.strerror or "the name cannot be looked up"
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno)
    return None
