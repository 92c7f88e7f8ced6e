"""`ssh_command`: one command on another host as a task.

The operator's `known_hosts` says which hosts those are and by which key each is known: nobody else
is connected to, and no key is trusted because it was seen first. Nothing of the worker's own goes
along: no agent, no key that the operator hasn't named, none of its user's SSH configuration. What
was started is asked to end, then ended, before the connection is closed.
"""

import asyncio
import logging
import os
import shlex
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from regrow.activities.catalogue.command import COMMAND_FAILED
from regrow.activities.catalogue.failures import AUTHENTICATION_ERROR, CONNECTION_ERROR
from regrow.activities.catalogue.output import Outputs, outputs
from regrow.core.durations import Duration
from regrow.core.limits import KIB, MIB
from regrow.core.wire import ErrorType
from regrow.executors import TaskContext, TaskError, executor_register
from regrow.settings import load_settings

if TYPE_CHECKING:
    import asyncssh

HOST_KEY_ERROR: Final = "host_key_error"
ERRORS: Final = {
    HOST_KEY_ERROR: "The host has another key than the one that the operator knows it by, or it"
    " offers no key or cipher that the worker can use. Not retried.",
}

_DEFAULT_PORT = 22
_PATIENCE = 30.0
"""For a connection: the name, the keys, and the login."""
_KEEPALIVE = 15.0
"""Between questions whether the host is there; three without an answer end the connection."""
_GRACE = 2.0
"""Between asking a command to end and ending it."""
_REAP = 1.0
"""For the host to tell that it has ended."""
_LAST_WORDS = 1.0
"""For output that is still on its way; one that a stray process holds open never ends."""
_MOST_WORDS = 30
_GOODBYE = 2.0
_MOST_REASON = 500

Text = Annotated[str, Field(coerce_numbers_to_str=True, pattern=r"^[^\x00]*$")]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Host = Annotated[
    str,
    StringConstraints(to_lower=True, max_length=253, pattern=r"^[A-Za-z0-9:][A-Za-z0-9_.:%\-]*$"),
]


class SshCommand(BaseModel):
    """What to run, where, and as whom."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    host: Host
    """A name or an address, written as it is in the operator's `known_hosts`."""
    port: Annotated[int, Field(ge=1, le=65535)] = _DEFAULT_PORT
    username: Annotated[str, Field(min_length=1, max_length=256)]
    argv: Annotated[list[Text], Field(min_length=1)] | None = None
    """A program and its arguments, quoted for the shell there, which must be a POSIX one."""
    command: Annotated[Text, Field(min_length=1)] | None = None
    """Text for the shell there; either this or `argv`. A reference inside it isn't quoted."""
    env: dict[Variable, Text] = Field(default_factory=dict)
    """Set by the shell there. Others on that host may see them in its list of processes."""
    stdin: str | None = None
    """Text for its standard input; default: an empty one. The place for a secret."""
    password: SecretStr | None = None
    private_key: SecretStr | None = None
    """The text of a private key, as OpenSSH or PEM write it."""
    passphrase: SecretStr | None = None
    """Opens `private_key`."""
    timeout: Duration | None = None
    """For everything, with the connection; the task's own timeouts hold as well."""
    max_output: Annotated[int, Field(ge=0, le=MIB)] = 256 * KIB
    """Bytes of each output that are kept; it may write more."""
    check: bool = True
    """Whether an exit code other than 0, or a signal, fails the task."""
    retryable_exit_codes: list[int] = Field(default_factory=list[int])
    """Exit codes that are worth another attempt."""

    @model_validator(mode="after")
    def _says_one_thing(self) -> "SshCommand":
        if (self.argv is None) == (self.command is None):
            raise PydanticCustomError("command", "give either argv or command")
        return self

    @property
    def place(self) -> str:
        """Where it goes, for people."""
        return self.host if self.port == _DEFAULT_PORT else f"{self.host} (port {self.port})"

    @property
    def line(self) -> str:
        """What the shell there reads.

        Variables are part of it, since most servers ignore those that the protocol could carry.
        """
        line = self.command if self.argv is None else shlex.join(self.argv)
        assert line is not None  # noqa: S101 - the validator has seen to it
        pairs = [f"{name}={shlex.quote(value)}" for name, value in self.env.items()]
        return f"export {' '.join(pairs)}; {line}" if pairs else line


class SshResult(BaseModel):
    """How it ended, and what it wrote."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    exit_code: int | None
    """Null if a signal ended it."""
    signal: str | None
    """The signal that ended it, such as `TERM`, if the host says so; many shells give an exit code
    of 128 and the signal's number instead."""
    stdout: str
    stderr: str
    truncated: bool
    """Whether either output lost its end."""


@executor_register(
    "ssh_command",
    heartbeat_timeout="30s",
    tags=("process", "ssh"),
    requires={"asyncssh": "regrow[ssh]"},
    examples=(
        {
            "host": "web-1.example.com",
            "username": "deploy",
            "argv": ["systemctl", "is-active", "shop"],
            "private_key": "${{ secrets.DEPLOY_KEY }}",
        },
    ),
    demo={"exit_code": 0, "signal": None, "stdout": "active\n", "stderr": "", "truncated": False},
)
async def ssh_command(inputs: SshCommand, context: TaskContext) -> SshResult:
    """Run one command on a host over SSH and return its exit code and output.

    Only hosts that the operator lists with their keys in `REGROW_SSH_KNOWN_HOSTS` are connected
    to. Who logs in is the document's say: a password or a private key, best by way of
    `${{ secrets.NAME }}`; where it gives neither, the key files of `REGROW_SSH_KEYS` are used, if
    the operator named any. Safe to repeat if the command is: a lost connection runs it again, and
    may leave the first one running. Refused or lost connections are retried, and the exit codes
    that the task names; a refused login, an unknown host or another key isn't. A cancel or a
    timeout sends SIGTERM, SIGKILL two seconds later, and closes the session. OpenSSH gives them to
    all of what the command started, but to nothing that root or a forced command runs: there, put
    `timeout 60` or the like before the command.
    """
    # From INFO on asyncssh logs the command, which may hold a secret.
    logging.getLogger("asyncssh").setLevel(logging.WARNING)
    session = _Session(inputs.max_output)
    limit = inputs.timeout.total_seconds() if inputs.timeout else None
    try:
        async with asyncio.timeout(limit):
            await _run(inputs, session)
    except TimeoutError:
        raise _timed_out(inputs, session) from None
    except asyncio.CancelledError:
        if session.may_run_on:
            context.log.warning("ssh_command.stray", host=inputs.place)
        raise
    if inputs.check and session.exit_code != 0:
        raise _failed(inputs, session)
    stdout, stderr, truncated = session.written.fitting()
    return SshResult(
        exit_code=session.exit_code,
        signal=session.signal,
        stdout=stdout,
        stderr=stderr,
        truncated=truncated,
    )


class _Session:
    """One command on the host, as asyncssh tells of it.

    Not a subclass of asyncssh's, which is imported only by a worker that has it.
    """

    channel: "asyncssh.SSHClientChannel[bytes] | None" = None
    exit_code: int | None = None
    signal: str | None = None

    def __init__(self, most: int) -> None:
        loop = asyncio.get_running_loop()
        self.written: Outputs = outputs(most)
        self.exited: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[Exception | None] = loop.create_future()

    def connection_made(self, chan: "asyncssh.SSHClientChannel[bytes]") -> None:
        self.channel = chan

    def session_started(self) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...

    def xon_xoff_requested(self, client_can_do: bool) -> None: ...  # noqa: FBT001 - its signature

    def data_received(self, data: bytes, datatype: int | None) -> None:
        (self.written.stdout if datatype is None else self.written.stderr).take(data)

    def eof_received(self) -> bool:
        return True

    def exit_status_received(self, status: int) -> None:
        self.exit_code = status
        self.exited.set_result(None)

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:  # noqa: FBT001 - its signature
        del core_dumped, msg, lang
        self.signal = signal
        self.exited.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set_result(exc)

    async def ended(self) -> bool:
        """Wait for the end of the command and of its output; False if nobody told how it ended."""
        first = asyncio.FIRST_COMPLETED
        await asyncio.wait([self.exited, self.closed], return_when=first)
        for _ in range(_MOST_WORDS):
            size = self.written.size
            await asyncio.wait([self.closed], timeout=_LAST_WORDS)
            if self.closed.done() or self.written.size == size:
                break
        return self.exited.done()

    async def end(self) -> None:
        """End the command if it runs; another cancel only takes its time to end by itself away."""
        first = asyncio.FIRST_COMPLETED
        try:
            for signal, patience in (("TERM", _GRACE), ("KILL", _REAP)):
                if self._send(signal):
                    ends = [self.exited, self.closed]
                    await asyncio.wait(ends, timeout=patience, return_when=first)
        except asyncio.CancelledError:
            self._send("KILL")
            raise
        finally:
            if self.channel:
                self.channel.close()

    @property
    def may_run_on(self) -> bool:
        """Whether nobody told that the command has ended."""
        return self.channel is not None and not self.exited.done()

    def _send(self, signal: str) -> bool:
        if self.channel is None or self.exited.done() or self.closed.done():
            return False
        with suppress(OSError):  # it is closing
            self.channel.send_signal(signal)
        return True


async def _run(inputs: SshCommand, session: _Session) -> None:
    import asyncssh  # noqa: PLC0415 - an extra, for those who run commands elsewhere

    try:
        async with _connected(inputs) as connection:
            try:
                await _start(connection, inputs, session)
                told = await session.ended()
            finally:
                await session.end()
    except asyncssh.ChannelOpenError as error:
        message = f"{inputs.place} doesn't run commands for '{inputs.username}': {_reason(error)}"
        raise TaskError(message, error_type=COMMAND_FAILED) from None
    except asyncssh.Error as error:
        raise _lost(inputs, _reason(error)) from None
    if not told:
        lost = session.closed.result()
        raise _lost(inputs, _reason(lost) if lost else "the server closed the session")


async def _start(
    connection: "asyncssh.SSHClientConnection", inputs: SshCommand, session: _Session
) -> None:
    create: Any = cast("Any", connection).create_session  # is typed for subclasses only
    channel, _ = await create(lambda: session, inputs.line, encoding=None)
    with suppress(OSError):  # nobody wants it: the command has ended already
        if inputs.stdin:
            channel.write(inputs.stdin.encode(errors="replace"))
        channel.write_eof()


@asynccontextmanager
async def _connected(inputs: SshCommand) -> AsyncGenerator["asyncssh.SSHClientConnection"]:
    connection = await _connect(inputs)
    try:
        yield connection
    finally:
        connection.close()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(_GOODBYE):
                    await connection.wait_closed()
        finally:
            connection.abort()


async def _connect(inputs: SshCommand) -> "asyncssh.SSHClientConnection":
    """Connect and log in.

    The operator's list of hosts stands for the check of addresses that other executors make: it
    says by name who may be reached, and who it is.
    """
    import asyncssh  # noqa: PLC0415

    known = await asyncio.to_thread(_known_host, inputs)
    keys = await asyncio.to_thread(_client_keys, inputs)
    password = inputs.password.get_secret_value() if inputs.password else None
    try:
        async with asyncio.timeout(_PATIENCE):
            return await asyncssh.connect(
                inputs.host,
                inputs.port,
                username=inputs.username,
                password=password,
                password_auth=password is not None,
                kbdint_auth=password is not None,
                client_keys=keys or None,
                public_key_auth=bool(keys),
                known_hosts=known,
                keepalive_interval=_KEEPALIVE,
                **_NOTHING_OF_THE_WORKERS,
            )
    except TimeoutError:
        raise _lost(inputs, f"no connection within {_PATIENCE:g}s") from None
    except asyncssh.DisconnectError as error:
        raise _refused(inputs, error) from None
    except OSError as error:
        raise _lost(inputs, _os_reason(error)) from None
    except ValueError as error:
        message = f"cannot log in to {inputs.place} with these inputs: {error}"
        raise TaskError(message, error_type=ErrorType.VALIDATION) from None


_NOTHING_OF_THE_WORKERS: Final[dict[str, Any]] = {
    "config": None,
    "agent_path": None,
    "agent_forwarding": False,
    "pkcs11_provider": None,
    "host_based_auth": False,
    "gss_auth": False,
    "gss_kex": False,
    "x11_forwarding": False,
    "x509_trusted_certs": None,
    "x509_trusted_cert_paths": [],
}
"""What asyncssh would else take from the user that the worker runs as."""


def _known_host(inputs: SshCommand) -> Sequence[Any]:
    """Give the keys, authorities and revoked keys by which the operator knows the host."""
    import asyncssh  # noqa: PLC0415

    file = load_settings().ssh_known_hosts
    port = None if inputs.port == _DEFAULT_PORT else inputs.port
    try:
        hosts = asyncssh.read_known_hosts(str(file.expanduser()))
        keys, authorities, revoked, *_ = hosts.match(inputs.host, "", port)
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        message = (
            f"this worker may connect to no host: its file of known hosts, {file}"
            f" (REGROW_SSH_KNOWN_HOSTS), cannot be read: {reason}"
        )
        raise TaskError(message, error_type=ErrorType.NOT_ALLOWED) from None
    if not keys and not authorities:
        message = (
            f"this worker may not connect to {inputs.place}; its operator allows a host by adding"
            f" its key to {file} (REGROW_SSH_KNOWN_HOSTS): {_SCAN.format(inputs=inputs)}"
        )
        raise TaskError(message, error_type=ErrorType.NOT_ALLOWED)
    return keys, authorities, revoked


_SCAN: Final = (
    "`ssh-keyscan -p {inputs.port} {inputs.host}` shows it, and whoever runs the host can say"
    " whether it is the right one"
)


def _client_keys(inputs: SshCommand) -> list[Any]:
    """Give the document's key; where it brings nothing to log in with, those of the operator."""
    import asyncssh  # noqa: PLC0415

    if inputs.private_key:
        phrase = inputs.passphrase.get_secret_value() if inputs.passphrase else None
        try:
            return [asyncssh.import_private_key(inputs.private_key.get_secret_value(), phrase)]
        except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
            message = f"the private_key cannot be used: {_reason(error)}"
            raise TaskError(message, error_type=AUTHENTICATION_ERROR) from None
    if inputs.password:
        return []
    files = load_settings().ssh_keys
    if not files:
        message = (
            f"there is nothing to log in to {inputs.place} with: give a password or a private_key,"
            " or have the operator name key files in REGROW_SSH_KEYS"
        )
        raise TaskError(message, error_type=AUTHENTICATION_ERROR)
    return [key for file in files for key in _keys_in(file)]


def _keys_in(file: str) -> Sequence[Any]:
    import asyncssh  # noqa: PLC0415

    try:
        return asyncssh.load_keypairs(str(Path(file).expanduser()))
    except (OSError, RuntimeError, asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        reason = getattr(error, "strerror", None) or _reason(error)
        message = f"the operator's key file {file} (REGROW_SSH_KEYS) cannot be used: {reason}"
        raise TaskError(message, error_type=AUTHENTICATION_ERROR) from None


def _refused(inputs: SshCommand, error: "asyncssh.DisconnectError") -> TaskError:
    """Tell what no other attempt would change from a connection that broke."""
    import asyncssh  # noqa: PLC0415

    reason = _reason(error)
    if isinstance(error, (asyncssh.PermissionDenied, asyncssh.IllegalUserName)):
        message = f"{inputs.place} doesn't let '{inputs.username}' in: {reason}"
        return TaskError(message, error_type=AUTHENTICATION_ERROR)
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        message = (
            f"{inputs.place} isn't the host that this worker's operator knows: {reason}. It may be"
            " somebody else, or have a new key. If that is so, put it in the place of the old one"
            f" in REGROW_SSH_KNOWN_HOSTS: {_SCAN.format(inputs=inputs)}"
        )
        return TaskError(message, error_type=HOST_KEY_ERROR)
    if isinstance(error, (asyncssh.KeyExchangeFailed, asyncssh.ProtocolNotSupported)):
        message = (
            f"{inputs.place} and this worker don't come together: {reason}. If it is about host"
            " keys, the host has none of the kinds that REGROW_SSH_KNOWN_HOSTS lists for it:"
            f" {_SCAN.format(inputs=inputs)}"
        )
        return TaskError(message, error_type=HOST_KEY_ERROR)
    return _lost(inputs, reason)


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error)[:_MOST_REASON]


def _os_reason(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return f"the name cannot be looked up: {error.strerror}"
    return os.strerror(error.errno) if error.errno else _reason(error)


def _lost(inputs: SshCommand, reason: str) -> TaskError:
    message = f"the connection to {inputs.place} failed: {reason}"
    return TaskError(message, error_type=CONNECTION_ERROR, retryable=True)


def _timed_out(inputs: SshCommand, session: _Session) -> TaskError:
    limit = inputs.timeout.total_seconds() if inputs.timeout else 0
    message = f"no end of the command on {inputs.place} within its timeout of {limit:g}s"
    if session.may_run_on:
        message += "; it may still run there, for the server didn't tell that a signal ended it"
    return TaskError(
        message,
        error_type=ErrorType.TIMEOUT,
        retryable=True,
        stdout_tail=session.written.stdout.tail,
        stderr_tail=session.written.stderr.tail,
    )


def _failed(inputs: SshCommand, session: _Session) -> TaskError:
    how = f"exited with code {session.exit_code}"
    if session.exit_code is None:
        how = f"was ended by signal {session.signal}"
    last_line = session.written.last_line
    return TaskError(
        f"the command on {inputs.place} {how}{f': {last_line}' if last_line else ''}",
        error_type=COMMAND_FAILED,
        retryable=session.exit_code in inputs.retryable_exit_codes,
        exit_code=session.exit_code,
        signal=session.signal,
        stdout_tail=session.written.stdout.tail,
        stderr_tail=session.written.stderr.tail,
    )
