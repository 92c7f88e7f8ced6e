"""`send_email` against a mail server on loopback, in the open, with STARTTLS and with TLS."""

# ruff: noqa: ARG002 - aiosmtpd calls with more than is looked at

import asyncio
import base64
import email
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Final

import pytest
import trustme
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from tests.executors.running import as_text, cancel_one, run_one

from regrow import Status, TreeClient
from regrow.activities.catalogue import email as catalogue
from regrow.activities.catalogue.email import SentEmail, send_email
from regrow.executors import Registry, TaskContext, TaskError

SEND_EMAIL: Final = Registry(send_email)["send_email"]
PASSWORD: Final = "p@ss/word-of-the-test"
IN_URL: Final = "p%40ss%2Fword-of-the-test"
MAIL: Final = {
    "to": "ann@example.com",
    "from": "Shop <shop@example.com>",
    "subject": "Hello",
    "text": "Hi.\n.\nBye.",
}


@dataclass
class Server:
    """The mail server: how it answers, and what it took."""

    port: int = 0
    mails: list[tuple[Envelope, EmailMessage]] = field(
        default_factory=list[tuple[Envelope, EmailMessage]]
    )
    refuses: dict[str, str] = field(default_factory=dict[str, str])
    """Answers to recipients."""
    answer: str = "250 OK queued as 7"
    failures: int = 10**6
    """How many mails get `answer` before they are taken."""
    hangs: bool = False
    seen: int = 0
    talking: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle_RCPT(  # noqa: N802 - as aiosmtpd calls it
        self, server: Any, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address in self.refuses:
            return self.refuses[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802 - as aiosmtpd calls it
        self, server: Any, session: Session, envelope: Envelope
    ) -> str:
        self.seen += 1
        self.talking.set()
        if self.hangs:
            await asyncio.Event().wait()
        if not self.answer.startswith("2") and self.seen <= self.failures:
            return self.answer
        content = envelope.content
        assert isinstance(content, bytes)
        message = email.message_from_bytes(content.replace(b"\r\n", b"\n"), policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.mails.append((envelope, message))
        return self.answer if self.answer.startswith("2") else "250 OK"

    def authenticate(
        self, server: Any, session: Any, envelope: Any, mechanism: str, data: LoginPassword
    ) -> AuthResult:
        return AuthResult(
            success=(data.login, data.password) == (b"shop", PASSWORD.encode()), handled=False
        )


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None, **options: Any) -> AsyncGenerator[Server]:
    """Serve on a free port; `tls` is spoken from the first byte."""
    server = Server()
    loop = asyncio.get_running_loop()

    class Connection(SMTP):
        def connection_lost(self, error: Exception | None) -> None:
            server.left.set()
            super().connection_lost(error)

    def connect() -> SMTP:
        return Connection(
            server, loop=loop, hostname="mx.test", auth_require_tls=False,
            authenticator=server.authenticate, **options,
        )  # fmt: skip

    listening = await loop.create_server(connect, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()


@pytest.fixture
async def mx(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    async with serving() as running:
        monkeypatch.setenv("REGROW_SMTP_URL", f"smtp://127.0.0.1:{running.port}")
        yield running


async def send(context: TaskContext | None = None, **inputs: Any) -> SentEmail:
    """Call as the host does: with JSON."""
    return await SEND_EMAIL.call({**MAIL, **inputs}, context or TaskContext())


async def failure(**inputs: Any) -> TaskError:
    with pytest.raises(TaskError) as raised:
        await send(**inputs)
    return raised.value


# In a tree


async def test_a_mail_is_sent(client: TreeClient, mx: Server) -> None:
    ended = await run_one(client, "send_email", MAIL)

    [(envelope, message)] = mx.mails
    assert ended.result == {
        "message_id": message["Message-ID"],
        "accepted": ["ann@example.com"],
        "refused": [],
        "receipt": "OK queued as 7",
    }
    assert (envelope.mail_from, envelope.rcpt_tos) == ("shop@example.com", ["ann@example.com"])
    assert message.get_content() == "Hi.\n.\nBye.\n"


async def test_a_repeated_mail_has_the_same_id(client: TreeClient, mx: Server) -> None:
    mx.answer, mx.failures = "451 try again later", 1

    ended = await run_one(client, "send_email", MAIL)

    assert (ended.task.attempts, mx.seen) == (2, 2)
    [(_, message)] = mx.mails
    assert ended.result["message_id"] == message["Message-ID"]
    again = await send(TaskContext(tree_id="a", attempt=1))
    assert again.message_id == (await send(TaskContext(tree_id="a", attempt=2))).message_id
    assert again.message_id != (await send(TaskContext(tree_id="b"))).message_id


async def test_a_server_that_says_never_is_asked_once(client: TreeClient, mx: Server) -> None:
    mx.answer = "554 5.7.1 looks like spam"

    ended = await run_one(client, "send_email", MAIL)

    assert ended.failure == ("smtp_error", 1)
    assert ended.task.error == (f"the mail server 127.0.0.1:{mx.port}: 554 5.7.1 looks like spam")
    assert ended.task.metadata["code"] == 554


async def test_a_timeout_drops_the_connection(client: TreeClient, mx: Server) -> None:
    mx.hangs = True

    ended = await run_one(
        client, "send_email", {**MAIL, "timeout": "1s"}, retry={"maximum_attempts": 1}
    )

    assert ended.failure == ("timeout_error", 1)
    assert ended.task.error == (
        f"the mail server 127.0.0.1:{mx.port} didn't take the mail within the timeout of 1s"
    )
    await asyncio.wait_for(mx.left.wait(), 20)
    assert not mx.mails


async def test_a_cancel_drops_the_connection(client: TreeClient, mx: Server) -> None:
    mx.hangs = True

    ended = await cancel_one(client, "send_email", MAIL, mx.talking.wait)

    assert ended.task.status is Status.CANCELLED
    await asyncio.wait_for(mx.left.wait(), 20)
    assert not mx.mails


async def test_the_password_is_in_no_history_and_no_log(
    client: TreeClient, mx: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"smtp://shop:{IN_URL}@127.0.0.1:{mx.port}"
    monkeypatch.setenv("REGROW_SMTP_URL", url)
    mx.answer = f"554 no mails from {PASSWORD}"

    ended = await run_one(client, "send_email", MAIL)

    assert ended.failure == ("smtp_error", 1)
    assert ended.task.error == f"the mail server 127.0.0.1:{mx.port}: 554 no mails from ***"
    for secret in (PASSWORD, IN_URL):
        assert secret not in ended.traces
        assert secret not in as_text(ended)


# The mail


async def test_each_of_a_mails_parts_arrives(mx: Server) -> None:
    content = base64.b64encode(b"a,b\n1,2\n").decode()

    await send(
        to=["Ann Lee <ann@example.com>", "Jörg Ö <joerg@example.com>"],
        cc="bob@example.com",
        reply_to="help@example.com",
        subject="Grüße 🌳",
        text="plain",
        html="<p>rich</p>",
        attachments=[{"name": "Übersicht.csv", "content": content, "content_type": "text/csv"}],
    )

    [(envelope, message)] = mx.mails
    assert envelope.rcpt_tos == ["ann@example.com", "joerg@example.com", "bob@example.com"]
    assert message["From"] == "Shop <shop@example.com>"
    assert message["To"] == "Ann Lee <ann@example.com>, Jörg Ö <joerg@example.com>"
    assert (message["Cc"], message["Reply-To"]) == ("bob@example.com", "help@example.com")
    assert message["Subject"] == "Grüße 🌳"
    plain, rich = message.get_body(("plain",)), message.get_body(("html",))
    assert plain is not None
    assert rich is not None
    assert (plain.get_content(), rich.get_content()) == ("plain\n", "<p>rich</p>\n")
    [attached] = message.iter_attachments()
    assert (attached.get_filename(), attached.get_content_type()) == ("Übersicht.csv", "text/csv")
    assert attached.get_payload(decode=True) == b"a,b\n1,2\n"


async def test_nobody_sees_who_is_in_bcc(mx: Server) -> None:
    sent = await send(bcc=["eve@example.com", "ann@example.com"])

    [(envelope, message)] = mx.mails
    assert envelope.rcpt_tos == ["ann@example.com", "eve@example.com"]
    assert "eve@" not in message.as_string()
    assert sent.accepted == ["ann@example.com", "eve@example.com"]


async def test_a_mail_may_have_html_alone_and_bcc_alone(mx: Server) -> None:
    await send(to=[], bcc="ann@example.com", text=None, html="<b>x</b>")

    [(_, message)] = mx.mails
    assert (message.get_content_type(), message["To"]) == ("text/html", None)


async def test_the_operator_may_name_the_sender(
    mx: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_SMTP_FROM", "Trees <trees@example.org>")

    sent = await send(**{"from": None})

    assert mx.mails[0][1]["From"] == "Trees <trees@example.org>"
    assert sent.message_id.endswith("@example.org>")


@pytest.mark.parametrize("value", [None, "nobody\nBcc: eve@example.com"])
async def test_a_mail_without_a_usable_sender_says_what_to_set(
    mx: Server, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    if value:
        monkeypatch.setenv("REGROW_SMTP_FROM", value)

    failed = await failure(**{"from": None})

    assert (failed.error_type, failed.retryable) == ("not_configured", False)
    assert "REGROW_SMTP_FROM" in failed.error


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        ({"to": "ann@example.com\r\nBcc: eve@example.com"}, "to.0: write an address"),
        ({"to": "Ann\nBcc: eve@example.com <ann@example.com>"}, "to.0: write an address"),
        ({"to": "ann@example.com, eve@example.com"}, "to.0: write an address"),
        ({"to": "ann"}, "to.0: write an address"),
        ({"to": "a..b@example.com"}, "to.0: this is no address"),
        ({"to": "<ann@example.com> NOTIFY=SUCCESS"}, "to.0: write an address"),
        ({"cc": ["ok@example.com", "@example.com"]}, "cc.1: write an address"),
        ({"from": "a@b.c\nX: y"}, "from: write an address"),
        ({"reply_to": "x\x00@example.com"}, "reply_to.0: write an address"),
        ({"subject": "Hello\r\nBcc: eve@example.com"}, "subject: "),
        ({"subject": "Hello\u2028Bcc: eve@example.com"}, "subject: "),
        ({"text": None}, "give text or html"),
        ({"to": []}, "a mail has 1 to 100 recipients, this has 0"),
        ({"to": [f"u{n}@example.com" for n in range(101)]}, "this has 101"),
        ({"attachments": [{"name": "x", "content": "no base64!"}]}, "content is written in base64"),
        ({"attachments": [{"name": "x\ny", "content": ""}]}, "attachments.0.name"),
        (
            {"attachments": [{"name": "x", "content": "", "content_type": "message/rfc822"}]},
            "write the type of a file",
        ),
        (
            {"attachments": [{"name": "x", "content": "", "content_type": "text/x\r\nA: b"}]},
            "write the type of a file",
        ),
    ],
)
async def test_unusable_inputs_are_refused(
    mx: Server, inputs: dict[str, Any], problem: str
) -> None:
    refused = await failure(**inputs)

    assert (refused.error_type, refused.retryable) == ("validation_error", False)
    assert problem in refused.error
    assert mx.seen == 0


async def test_attachments_are_bounded_in_all(mx: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "MAX_ATTACHMENTS", 10)
    half = {"name": "x", "content": base64.b64encode(b"x" * 6).decode()}

    await send(attachments=[half])
    refused = await failure(attachments=[half, half])

    assert "the attachments take more than 10 bytes in all" in refused.error


# The operator's server


async def test_a_worker_without_a_mail_server_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("REGROW_SMTP_URL", raising=False)

    failed = await failure()

    assert (failed.error_type, failed.retryable) == ("not_configured", False)
    assert failed.error == (
        "this worker has no mail server; its operator names one in REGROW_SMTP_URL"
    )


@pytest.mark.parametrize(
    "url",
    [
        "mail.example.com",
        "http://mail.example.com",
        "smtp://",
        "smtp://shop@mail.example.com",
        "smtp://mail.example.com:port",
        "smtp://mail.example.com/inbox",
        "smtp://mail.example.com?starttls=maybe",
        "smtp://mail.example.com?start_tls=no",
        "smtp://shop:hunter2#@mail.example.com",
    ],
)
async def test_a_mail_server_that_cannot_be_read_is_not_guessed(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_SMTP_URL", url)

    failed = await failure()

    assert (failed.error_type, failed.retryable) == ("not_configured", False)
    assert failed.error.startswith("REGROW_SMTP_URL can't be read; write smtps://")
    assert "hunter2" not in failed.error


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
async def test_name_and_password_are_those_of_the_operator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(auth_required=True) as server:
        place = f"127.0.0.1:{server.port}"
        monkeypatch.setenv("REGROW_SMTP_URL", f"smtp://shop:{IN_URL}@{place}")
        await send()
        monkeypatch.setenv("REGROW_SMTP_URL", f"smtp://shop:wrong-one@{place}")
        wrong = await failure()
        monkeypatch.setenv("REGROW_SMTP_URL", f"smtp://{place}")
        missing = await failure()

    assert len(server.mails) == 1
    for failed in (wrong, missing):
        assert (failed.error_type, failed.retryable) == ("authentication_error", False)
    assert wrong.error.startswith(f"the mail server {place}: 535 ")
    assert "wrong-one" not in wrong.error


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return authority


def tls_of(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    issued = authority.issue_cert("localhost")
    issued.configure_cert(context)  # pyright: ignore[reportUnknownMemberType] - pyOpenSSL, absent
    return context


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
async def test_tls_is_spoken_with_a_server_that_is_who_it_says(
    scheme: str, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = tls_of(authority)
    serve = serving(tls_context=context, require_starttls=True)
    async with serve if scheme == "smtp" else serving(context) as server:
        query = "?starttls=yes" if scheme == "smtp" else ""
        monkeypatch.setenv("REGROW_SMTP_URL", f"{scheme}://localhost:{server.port}{query}")
        refused = await failure()
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        await send()

    assert (refused.error_type, refused.retryable) == ("tls_error", False)
    assert "the certificate isn't valid" in refused.error
    assert len(server.mails) == 1


async def test_without_starttls_nothing_is_sent_in_the_open(
    mx: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"smtp://shop:{IN_URL}@127.0.0.1:{mx.port}?starttls=yes"
    monkeypatch.setenv("REGROW_SMTP_URL", url)

    failed = await failure()

    assert (failed.error_type, failed.retryable) == ("tls_error", False)
    assert "offers no STARTTLS, so nothing was sent" in failed.error
    assert mx.seen == 0


@pytest.mark.parametrize(
    ("url", "starttls"),
    [
        ("smtp://mail.example.com", True),
        ("smtp://mail.example.com?starttls=no", False),
        ("smtp://localhost", False),
        ("smtp://[::1]", False),
        ("smtp://127.0.0.1?starttls=yes", True),
        ("smtps://mail.example.com", False),
    ],
)
def test_starttls_is_asked_for_unless_the_server_is_this_machine(
    url: str,
    starttls: bool,  # noqa: FBT001 - a case
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REGROW_SMTP_URL", url)

    server = catalogue._server()  # pyright: ignore[reportPrivateUsage] - none of these is here

    assert server.starttls is starttls
    assert server.tls is url.startswith("smtps")
    assert server.port == (465 if server.tls else 587)


# Failures


async def test_recipients_who_are_refused_are_listed(mx: Server) -> None:
    mx.refuses = {"bob@example.com": "550 no such user"}

    sent = await send(to=["ann@example.com", "bob@example.com"])

    assert sent.accepted == ["ann@example.com"]
    assert [each.model_dump() for each in sent.refused] == [
        {"address": "bob@example.com", "code": 550, "reason": "no such user"}
    ]


@pytest.mark.parametrize(
    ("second", "retryable"), [("550 no such user", False), ("450 greylisted", True)]
)
async def test_a_mail_that_nobody_may_get_fails(
    mx: Server,
    second: str,
    retryable: bool,  # noqa: FBT001 - a case
) -> None:
    mx.refuses = {"ann@example.com": "550 no such user", "bob@example.com": second}

    failed = await failure(to=["ann@example.com", "bob@example.com"])

    assert (failed.error_type, failed.retryable) == ("recipient_refused", retryable)
    assert failed.error == (
        f"the mail server 127.0.0.1:{mx.port} refused every recipient;"
        " ann@example.com: 550 no such user"
    )
    assert len(failed.details["refused"]) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("greeting", "error_type", "retryable"),
    [
        (b"421 too busy\r\n", "smtp_error", True),
        (b"554 go away\r\n", "smtp_error", False),
        (b"SSH-2.0-OpenSSH\r\n", "connection_error", True),
        (b"", "connection_error", True),
    ],
)
async def test_a_server_that_greets_otherwise(
    greeting: bytes,
    error_type: str,
    retryable: bool,  # noqa: FBT001 - a case
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        monkeypatch.setenv("REGROW_SMTP_URL", f"smtp://127.0.0.1:{port}")
        failed = await failure()

    assert (failed.error_type, failed.retryable) == (error_type, retryable), failed.error
    assert f"127.0.0.1:{port}" in failed.error


async def test_nobody_at_home_is_worth_another_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as server:
        pass
    monkeypatch.setenv("REGROW_SMTP_URL", f"smtp://127.0.0.1:{server.port}")

    failed = await failure()

    assert (failed.error_type, failed.retryable) == ("connection_error", True)
    assert failed.error == (
        f"no connection to the mail server 127.0.0.1:{server.port}, or it broke: Connection refused"
    )


async def test_what_was_not_sent_yet_is_not_sent_after_a_cancel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A mail that came whole would be delivered."""
    begun, received = asyncio.Event(), asyncio.get_running_loop().create_future()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mx.test\r\n")
        for answer in (b"250 mx.test", b"250 OK", b"250 OK", b"354 go on"):
            await reader.readline()
            writer.write(answer + b"\r\n")
        await reader.readexactly(1)
        begun.set()
        try:
            await running
        except asyncio.CancelledError:
            rest = b""
            try:
                while chunk := await reader.read(65536):
                    rest = (rest + chunk)[-9:]
            except ConnectionError:
                pass
            received.set_result(rest)
            writer.close()

    async with await asyncio.start_server(converse, "127.0.0.1", 0, limit=1024) as listening:
        port = listening.sockets[0].getsockname()[1]
        monkeypatch.setenv("REGROW_SMTP_URL", f"smtp://127.0.0.1:{port}")
        content = base64.b64encode(b"x" * 9_000_000).decode()
        running = asyncio.create_task(send(attachments=[{"name": "x", "content": content}]))
        await begun.wait()
        running.cancel()
        end = await received

    assert not end.endswith(b"\r\n.\r\n")
