"""`send_email`: one mail as a task.

The operator names the server and its password; a document says who gets what. Nothing that a
document says becomes a header by itself: addresses are read strictly, and the standard library
writes the message. A mail can't be taken back, and SMTP can't promise that it goes out once, so
each carries an id that is the same on every attempt.
"""

import asyncio
import base64
import binascii
import ipaddress
import re
import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from email import policy, utils
from email.headerregistry import Address
from email.message import EmailMessage
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Final, cast
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError

from regrow.activities.catalogue.failures import (
    AUTHENTICATION_ERROR,
    CONNECTION_ERROR,
    TLS_ERROR,
    causes_of,
    system_reason,
)
from regrow.core.durations import Duration
from regrow.core.limits import MIB
from regrow.core.wire import ErrorType
from regrow.executors import TaskContext, TaskError, executor_register
from regrow.settings import load_settings

if TYPE_CHECKING:
    import aiosmtplib

NOT_CONFIGURED: Final = "not_configured"
SMTP_ERROR: Final = "smtp_error"
RECIPIENT_REFUSED: Final = "recipient_refused"
ERRORS: Final = {
    NOT_CONFIGURED: "The operator hasn't set, or not set right, what the executor needs; the text"
    " names the variable. Not retried.",
    SMTP_ERROR: "The mail server refused; `code` is metadata. Retried for codes 4xx.",
    RECIPIENT_REFUSED: "The mail server refused every recipient; `refused` is metadata. Retried"
    " only if it did so for now (4xx), for at least one.",
}

MAX_ATTACHMENTS: Final = 10 * MIB
"""Bytes of all attachments of a mail, unpacked."""

_MOST_RECIPIENTS, _MOST_FILES = 100, 20
_EXCERPT = 300
_GOODBYE = 2.0
"""Seconds for the last word of a server that has taken the mail already."""
_SMTPS, _SUBMISSION = 465, 587
_CODES, _PASSING, _AUTHENTICATION = range(400, 600), range(400, 500), (530, 534, 535, 538)

_SPEC: Final = (
    r"[!#$%&'*+/=?^_`{|}~0-9A-Za-z.-]{1,64}@[0-9A-Za-z](?:[0-9A-Za-z.-]{0,252}[0-9A-Za-z])?"
)
_ADDRESS: Final = re.compile(
    rf"(?P<bare>{_SPEC})|(?P<name>[^<>\x00-\x1f\x7f]*?) *<(?P<inner>{_SPEC})>"
)


def _address(text: str) -> Address:
    """Read `ann@example.com` or `Ann Lee <ann@example.com>`; raises `ValueError` for all else."""
    found = _ADDRESS.fullmatch(text.strip(" "))
    if found is None:
        raise ValueError("write an address like ann@example.com or Ann Lee <ann@example.com>")
    name = (found["name"] or "").strip(' "')
    try:
        return Address(name, addr_spec=found["bare"] or found["inner"])
    except Exception as error:  # the standard library's parser has errors of several kinds
        raise ValueError("this is no address that mail can be sent to") from error


def _readable(text: str) -> str:
    try:
        _address(text)
    except ValueError as error:
        raise PydanticCustomError("address", "{why}", {"why": str(error)}) from None
    return text


def _base64(text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except binascii.Error:
        raise PydanticCustomError("base64", "content is written in base64") from None
    return text


def _file_type(text: str) -> str:
    if not re.fullmatch(
        r"(application|audio|font|image|model|text|video)/[\w.+-]+", text, re.ASCII
    ):
        message = "write the type of a file, like text/csv or application/pdf"
        raise PydanticCustomError("content_type", message)
    return text


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


AddressText = Annotated[str, StringConstraints(max_length=400), AfterValidator(_readable)]
Addresses = Annotated[list[AddressText], BeforeValidator(_as_list)]
Body = Annotated[str, StringConstraints(max_length=MIB)]
OneLine = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f\u0085\u2028\u2029]*$")]


class _Inputs(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Attachment(_Inputs, extra="forbid"):
    """A file that goes along."""

    name: Annotated[OneLine, StringConstraints(min_length=1, max_length=200)]
    content: Annotated[str, AfterValidator(_base64)]
    """In base64."""
    content_type: Annotated[str, AfterValidator(_file_type)] = "application/octet-stream"

    @property
    def data(self) -> bytes:
        """Give the content, unpacked."""
        return base64.b64decode(self.content)


class SendEmail(_Inputs, extra="ignore"):
    """Who gets what."""

    to: Addresses = Field(default_factory=list[str])
    """One address or a list: `ann@example.com` or `Ann Lee <ann@example.com>`."""
    cc: Addresses = Field(default_factory=list[str])
    bcc: Addresses = Field(default_factory=list[str])
    """They get the mail, and nobody sees that they do."""
    from_: Annotated[AddressText | None, Field(alias="from")] = None
    """Default: the operator's `REGROW_SMTP_FROM`."""
    reply_to: Addresses = Field(default_factory=list[str])
    subject: Annotated[OneLine, StringConstraints(max_length=900)]
    text: Body | None = None
    """The plain text; give it, `html` or both."""
    html: Body | None = None
    attachments: Annotated[list[Attachment], Field(max_length=_MOST_FILES)] = Field(
        default_factory=list[Attachment]
    )
    """At most 10 MiB in all; the server may take less."""
    timeout: Duration = timedelta(seconds=30)
    """For everything, from the connection to the server's receipt."""

    @model_validator(mode="after")
    def _can_be_sent(self) -> "SendEmail":
        if self.text is None and self.html is None:
            raise PydanticCustomError("text", "give text or html")
        count = len(self.recipients)
        if not 1 <= count <= _MOST_RECIPIENTS:
            message = "a mail has 1 to {most} recipients, this has {count}"
            values = {"most": _MOST_RECIPIENTS, "count": count}
            raise PydanticCustomError("to", message, values)
        if sum(len(each.data) for each in self.attachments) > MAX_ATTACHMENTS:
            message = "the attachments take more than {most} bytes in all"
            raise PydanticCustomError("attachments", message, {"most": MAX_ATTACHMENTS})
        return self

    @property
    def recipients(self) -> list[str]:
        """Give the addresses of all who get it, once each."""
        everybody = (*self.to, *self.cc, *self.bcc)
        return list(dict.fromkeys(_address(text).addr_spec for text in everybody))


class Refused(BaseModel):
    """Somebody whom the server didn't accept."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    address: str
    code: int
    """The server's: 4xx means for now, 5xx for good."""
    reason: str


class SentEmail(BaseModel):
    """What the server took."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    message_id: str
    """The same on every attempt of this task."""
    accepted: list[str]
    refused: list[Refused]
    receipt: str
    """What the server said, often with its own number for the mail."""


@executor_register(
    "send_email",
    heartbeat_timeout="30s",
    tags=("email",),
    requires={"aiosmtplib": "regrow[email]"},
    examples=(
        {
            "to": "Ann Lee <ann@example.com>",
            "subject": "Your report is ready",
            "text": "It is attached.",
            "attachments": [
                {"name": "report.csv", "content_type": "text/csv", "content": "YSxiCjEsMgo="}
            ],
        },
    ),
    demo={
        "message_id": "<0f3c2a6de1b94c7788d1a25be6c0f913@example.com>",
        "accepted": ["ann@example.com"],
        "refused": [],
        "receipt": "queued",
    },
)
async def send_email(inputs: SendEmail, context: TaskContext) -> SentEmail:
    """Hand one mail to the operator's mail server and return what it took.

    The server is `REGROW_SMTP_URL` of the worker: `smtps://name:password@host` (port 465), or
    `smtp://…` (port 587), which must offer STARTTLS unless it is this machine or the URL ends in
    `?starttls=no`. A private certificate authority is trusted by way of `SSL_CERT_FILE`.

    SMTP can't promise that a mail goes out once: where the connection, the worker or the time ends
    between the mail and the server's receipt, the next attempt sends it again. Its `Message-ID`
    follows from the task, so that such a pair can be recognised; some servers drop the second. Set
    `retry: {maximum_attempts: 1}` where none is better than two.

    Broken connections, timeouts and codes 4xx are worth another attempt, 5xx and a refused password
    are not. If only some recipients are refused, the others get the mail and the result lists
    those. A cancel or a timeout drops the connection; a mail that isn't complete is then discarded.
    """
    server, sender = _server(), _sender(inputs)
    message_id = _message_id(context.idempotency_key, sender)
    try:
        async with asyncio.timeout(inputs.timeout.total_seconds()):
            mail = await asyncio.to_thread(_written, inputs, sender, message_id)
            refused, receipt = await _send(server, sender, inputs, mail)
    except TimeoutError:
        text = (
            f"{server.place} didn't take the mail within the timeout of"
            f" {inputs.timeout.total_seconds():g}s"
        )
        raise TaskError(text, error_type=ErrorType.TIMEOUT, retryable=True) from None
    turned_away = {each.address for each in refused}
    return SentEmail(
        message_id=message_id,
        accepted=[address for address in inputs.recipients if address not in turned_away],
        refused=refused,
        receipt=receipt,
    )


@dataclass(frozen=True, kw_only=True)
class _Server:
    """The operator's mail server."""

    host: str
    port: int
    tls: bool
    starttls: bool
    name: str | None
    password: str | None = field(repr=False)

    @property
    def place(self) -> str:
        return f"the mail server {self.host}:{self.port}"


def _server() -> _Server:
    secret = load_settings().smtp_url
    if secret is None:
        message = "this worker has no mail server; its operator names one in REGROW_SMTP_URL"
        raise TaskError(message, error_type=NOT_CONFIGURED)
    try:
        return _read_server(urlsplit(secret.get_secret_value()))
    except ValueError:
        message = (
            "REGROW_SMTP_URL can't be read; write smtps://name:password@host or"
            " smtp://name:password@host:587, special characters as %40"
        )
        raise TaskError(message, error_type=NOT_CONFIGURED) from None


def _read_server(url: SplitResult) -> _Server:
    options = dict(parse_qsl(url.query, strict_parsing=True)) if url.query else {}
    wanted = options.pop("starttls", "no" if _is_loopback(url.hostname or "") else "yes")
    unknown = options or url.path.strip("/") or url.fragment or wanted not in ("yes", "no")
    half = (url.username is None) != (url.password is None)
    if url.scheme not in ("smtp", "smtps") or not url.hostname or unknown or half:
        raise ValueError(url.scheme)
    tls = url.scheme == "smtps"
    return _Server(
        host=url.hostname,
        port=url.port or (_SMTPS if tls else _SUBMISSION),
        tls=tls,
        starttls=not tls and wanted == "yes",
        name=None if url.username is None else unquote(url.username),
        password=None if url.password is None else unquote(url.password),
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _sender(inputs: SendEmail) -> Address:
    text = inputs.from_ or load_settings().smtp_from
    if text is None:
        message = "the mail has no sender: give `from`, or let the operator set REGROW_SMTP_FROM"
        raise TaskError(message, error_type=NOT_CONFIGURED)
    try:
        return _address(text)
    except ValueError as error:
        message = f"REGROW_SMTP_FROM can't be used: {error}"
        raise TaskError(message, error_type=NOT_CONFIGURED) from None


def _message_id(idempotency_key: str, sender: Address) -> str:
    return f"<{sha256(idempotency_key.encode()).hexdigest()[:32]}@{sender.domain}>"


def _written(inputs: SendEmail, sender: Address, message_id: str) -> bytes:
    """Write the mail as it goes over the wire, in ASCII; slow for large ones."""
    message = EmailMessage(policy=policy.SMTP.clone(cte_type="7bit"))
    message["From"] = sender
    for name, texts in (("To", inputs.to), ("Cc", inputs.cc), ("Reply-To", inputs.reply_to)):
        if texts:
            message[name] = [_address(text) for text in texts]
    message["Subject"] = inputs.subject
    message["Date"] = utils.localtime()
    message["Message-ID"] = message_id
    _fill(message, inputs)
    return message.as_bytes()


def _fill(message: EmailMessage, inputs: SendEmail) -> None:
    if inputs.text is not None:
        message.set_content(inputs.text)
    if inputs.html is not None and inputs.text is not None:
        message.add_alternative(inputs.html, subtype="html")
    elif inputs.html is not None:
        message.set_content(inputs.html, subtype="html")
    for each in inputs.attachments:
        kind, _, subtype = each.content_type.partition("/")
        message.add_attachment(each.data, maintype=kind, subtype=subtype, filename=each.name)


async def _send(
    server: _Server, sender: Address, inputs: SendEmail, mail: bytes
) -> tuple[list[Refused], str]:
    import aiosmtplib  # noqa: PLC0415 - an extra, for those who send mails

    try:
        async with _connected(server, inputs.timeout.total_seconds()) as client:
            refused, receipt = await client.sendmail(sender.addr_spec, inputs.recipients, mail)
    except (aiosmtplib.SMTPException, OSError) as error:
        raise _failure(error, server) from None
    return [
        Refused(address=address, code=said.code, reason=_said(said.message, server))
        for address, said in refused.items()
    ], _said(receipt, server)


@asynccontextmanager
async def _connected(server: _Server, limit: float) -> "AsyncGenerator[aiosmtplib.SMTP]":
    """Connect; whatever breaks off in between drops the connection with all that waits in it."""
    import aiosmtplib  # noqa: PLC0415

    client = aiosmtplib.SMTP(
        hostname=server.host,
        port=server.port,
        username=server.name,
        password=server.password,
        use_tls=server.tls,
        start_tls=server.starttls,
        timeout=limit,
    )
    try:
        await client.connect()
        yield client
        with suppress(aiosmtplib.SMTPException, OSError):
            await client.quit(timeout=_GOODBYE)
    finally:
        if client.transport is not None:
            cast("asyncio.Transport", client.transport).abort()  # close would send on what waits
        client.close()


def _failure(error: Exception, server: _Server) -> TaskError:
    import aiosmtplib  # noqa: PLC0415

    match error:
        case aiosmtplib.SMTPRecipientsRefused():
            return _nobody_accepted(error, server)
        case aiosmtplib.SMTPResponseException():
            return _refusal(error, server)
        case _ if any(isinstance(each, ssl.SSLError) for each in causes_of(error)):
            reason = _tls_reason(list(causes_of(error)))
            return TaskError(f"{server.place}: {reason}", error_type=TLS_ERROR)
        case OSError():  # also the library's own for connections
            reason = system_reason(list(causes_of(error))) or str(error)[:_EXCERPT]
            message = f"no connection to {server.place}, or it broke: {reason}"
            return TaskError(message, error_type=CONNECTION_ERROR, retryable=True)
        case _ if "STARTTLS" in str(error):
            message = (
                f"{server.place} offers no STARTTLS, so nothing was sent; its operator may allow"
                " that by ?starttls=no at the end of REGROW_SMTP_URL"
            )
            return TaskError(message, error_type=TLS_ERROR)
        case _:
            message = f"{server.place} can't be used: {_said(str(error), server)}"
            return TaskError(message, error_type=SMTP_ERROR)


def _nobody_accepted(error: "aiosmtplib.SMTPRecipientsRefused", server: _Server) -> TaskError:
    refused = [
        Refused(address=each.recipient, code=each.code, reason=_said(each.message, server))
        for each in error.recipients
    ]
    first = refused[0]
    return TaskError(
        f"{server.place} refused every recipient; {first.address}: {first.code} {first.reason}",
        error_type=RECIPIENT_REFUSED,
        retryable=any(each.code in _PASSING for each in refused),
        refused=[each.model_dump(mode="json") for each in refused],
    )


def _refusal(error: "aiosmtplib.SMTPResponseException", server: _Server) -> TaskError:
    said = _said(error.message, server)
    if error.code not in _CODES:
        message = f"{server.place} doesn't speak SMTP: {said}"
        return TaskError(message, error_type=CONNECTION_ERROR, retryable=True)
    return TaskError(
        f"{server.place}: {error.code} {said}",
        error_type=AUTHENTICATION_ERROR if error.code in _AUTHENTICATION else SMTP_ERROR,
        retryable=error.code in _PASSING,
        code=error.code,
    )


def _tls_reason(causes: Sequence[BaseException]) -> str:
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the certificate isn't valid: {cause.verify_message}"
    return "the TLS handshake failed"


def _said(text: str, server: _Server) -> str:
    plain = " ".join(text.split())
    if server.password:
        plain = plain.replace(server.password, "***")
    return plain[:_EXCERPT]
