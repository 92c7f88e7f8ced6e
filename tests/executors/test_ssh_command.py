"""`ssh_command` against a real SSH server on loopback that runs real programs."""

import asyncio
import base64
import hmac
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh
import psutil
import pytest
from tests.executors.running import as_text, cancel_one, run_one

from regrow import Status, TreeClient
from regrow.activities.catalogue.ssh import SshResult, ssh_command
from regrow.core.limits import MIB
from regrow.executors import Registry, TaskContext, TaskError

SSH_COMMAND = Registry(ssh_command)["ssh_command"]
PASSWORD = "correct-horse-of-the-test"
SLEEPS = "sleep 60 & echo $! > {file}.part; mv {file}.part {file}; wait"
STUBBORN = f"trap '' TERM; {SLEEPS}"


@dataclass
class Host:
    """A host that lets `ann` in and runs what she says, each command in a group of its own."""

    folder: Path
    key: asyncssh.SSHKey
    passes_signals: bool = True
    """If not, it ends the command when the session is closed."""
    port: int = 0
    authorized: list[asyncssh.SSHKey] = field(default_factory=list[asyncssh.SSHKey])
    signals: list[str] = field(default_factory=list[str])
    logins: list[str] = field(default_factory=list[str])
    connections: list[asyncssh.SSHServerConnection] = field(
        default_factory=list[asyncssh.SSHServerConnection]
    )
    shell: "type[Shell] | None" = None

    @property
    def inputs(self) -> dict[str, Any]:
        return {"host": "127.0.0.1", "port": self.port, "username": "ann"}

    def known_as(self, line: str) -> None:
        (self.folder / "known_hosts").write_text(line)

    @property
    def public_key(self) -> str:
        return self.key.export_public_key().decode().strip()

    async def sleeper(self) -> psutil.Process:
        """Wait for a command of `SLEEPS` to begin, and give what it waits for."""
        assert await asyncio.to_thread(_until, self.file.exists, 30)
        return psutil.Process(int(self.file.read_text()))

    @property
    def file(self) -> Path:
        return self.folder / "sleeper"


class Door(asyncssh.SSHServer):
    def __init__(self, host: Host) -> None:
        self._host = host

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._host.connections.append(conn)

    def begin_auth(self, username: str) -> bool:
        del username
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        self._host.logins.append("password")
        return (username, password) == ("ann", PASSWORD)

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        self._host.logins.append("public_key")
        return username == "ann" and key in self._host.authorized

    def session_requested(self) -> "Shell":
        return (self._host.shell or Shell)(self._host)


class Shell(asyncssh.SSHServerSession[bytes]):
    def __init__(self, host: Host) -> None:
        self._host = host
        self._stdin: asyncio.Queue[bytes] = asyncio.Queue()
        self._process: asyncio.subprocess.Process | None = None

    def connection_made(self, chan: Any) -> None:
        self._chan = chan

    def exec_requested(self, command: str) -> bool:
        self._command = command
        return not command.startswith("refuse")

    def session_started(self) -> None:
        self._running = asyncio.create_task(self._run())

    def data_received(self, data: bytes, datatype: int | None) -> None:
        del datatype
        self._stdin.put_nowait(data)

    def eof_received(self) -> bool:
        self._stdin.put_nowait(b"")
        return True

    def signal_received(self, signal: str) -> None:
        self._host.signals.append(signal)
        if self._host.passes_signals:
            self._kill(signal)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if not self._host.passes_signals:
            self._kill("KILL")

    async def _run(self) -> None:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            "sh", "-c", self._command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
        )
        feeding = asyncio.create_task(self._feed(self._process.stdin))
        await asyncio.gather(self._copy(self._process.stdout), self._copy(self._process.stderr, 1))
        code = await self._process.wait()
        feeding.cancel()
        with suppress(OSError):
            if code < 0:
                self._chan.exit_with_signal(signal.Signals(-code).name.removeprefix("SIG"))
            else:
                self._chan.exit(code)

    async def _feed(self, stdin: Any) -> None:
        with suppress(OSError):
            while data := await self._stdin.get():
                stdin.write(data)
                await stdin.drain()
            stdin.close()

    async def _copy(self, source: Any, kind: int | None = None) -> None:
        while data := await source.read(65536):
            with suppress(OSError):
                self._chan.write(data, kind)

    def _kill(self, name: str) -> None:
        if self._process:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.Signals[f"SIG{name}"])


@asynccontextmanager
async def serving(host: Host, certificate: Any = None) -> AsyncGenerator[Host]:
    server = await asyncssh.listen(
        "127.0.0.1",
        host.port,
        server_factory=lambda: Door(host),
        server_host_keys=[(host.key, certificate) if certificate else host.key],
        encoding=None,
    )
    host.port = server.get_port()
    async with server:
        yield host
    for connection in host.connections:
        connection.abort()


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host that isn't known."""
    monkeypatch.setenv("REGROW_SSH_KNOWN_HOSTS", str(tmp_path / "known_hosts"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return Host(tmp_path, new_key())


@pytest.fixture
async def host(stranger: Host) -> AsyncIterator[Host]:
    async with serving(stranger):
        stranger.known_as(f"[127.0.0.1]:{stranger.port} {stranger.public_key}\n")
        yield stranger


async def run(host: Host, command: str | None = None, **inputs: Any) -> SshResult:
    """Call as the host does: with JSON."""
    login = {} if {"private_key", "password"} & inputs.keys() else {"password": PASSWORD}
    what = {} if command is None else {"command": command}
    return await SSH_COMMAND.call({**host.inputs, **login, **what, **inputs}, TaskContext())


async def failure(running: Coroutine[Any, Any, SshResult]) -> TaskError:
    with pytest.raises(TaskError) as raised:
        await running
    return raised.value


async def is_gone(process: psutil.Process) -> bool:
    """Wait until a process has ended; one that nobody collects has, too."""
    return await asyncio.to_thread(_until, lambda: not _lives(process), 10)


def _lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def _until(is_so: Callable[[], bool], patience: float) -> bool:
    until = time.monotonic() + patience
    while not is_so():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def new_key(kind: str = "ssh-ed25519") -> asyncssh.SSHKey:
    return asyncssh.generate_private_key(kind)  # pyright: ignore[reportUnknownMemberType] - its options


def save_key(key: asyncssh.SSHKey, file: Path) -> None:
    file.write_bytes(key.export_private_key())
    file.chmod(0o600)


# In a tree


async def test_a_command_gives_its_exit_code_and_both_outputs(
    client: TreeClient, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_SECRET_LOGIN", PASSWORD)

    ended = await run_one(
        client,
        "ssh_command",
        {
            **host.inputs,
            "argv": ["sh", "-c", "echo out; echo err >&2"],
            "password": "${{ secrets.LOGIN }}",
        },
    )

    assert ended.result == {
        "exit_code": 0,
        "signal": None,
        "stdout": "out\n",
        "stderr": "err\n",
        "truncated": False,
    }
    assert PASSWORD not in ended.traces


async def test_a_refused_connection_is_tried_again(client: TreeClient, host: Host) -> None:
    host.known_as(f"[127.0.0.1]:1 {host.public_key}\n")

    ended = await run_one(
        client,
        "ssh_command",
        {**host.inputs, "port": 1, "command": "true", "password": PASSWORD},
    )

    assert ended.failure == ("connection_error", 3)
    assert ended.task.error == "the connection to 127.0.0.1 (port 1) failed: Connection refused"


async def test_a_refused_login_is_not_tried_again_and_shows_no_password(
    client: TreeClient, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_SECRET_LOGIN", "wrong-horse-of-the-test")

    ended = await run_one(
        client,
        "ssh_command",
        {**host.inputs, "command": "true", "password": "${{ secrets.LOGIN }}"},
    )

    assert ended.failure == ("authentication_error", 1)
    assert "127.0.0.1" in (ended.task.error or "")
    assert host.logins
    assert "wrong-horse" not in ended.traces + as_text(ended)


async def test_an_exit_code_may_be_worth_another_attempt(client: TreeClient, host: Host) -> None:
    count = host.folder / "count"
    inputs = {
        **host.inputs,
        "command": f"echo x >> {count}; exit 75",
        "password": PASSWORD,
        "retryable_exit_codes": [75],
    }

    ended = await run_one(client, "ssh_command", inputs)

    assert ended.failure == ("command_failed", 3)
    assert count.read_text() == "x\n" * 3


@pytest.mark.parametrize("passes_signals", [True, False], ids=["signals", "no_signals"])
async def test_a_cancel_ends_the_remote_command(
    client: TreeClient, host: Host, *, passes_signals: bool
) -> None:
    host.passes_signals = passes_signals
    inputs = {**host.inputs, "command": SLEEPS.format(file=host.file), "password": PASSWORD}

    ended = await cancel_one(client, "ssh_command", inputs, host.sleeper)

    assert ended.task.status is Status.CANCELLED
    assert await is_gone(await host.sleeper())
    assert host.signals == (["TERM"] if passes_signals else ["TERM", "KILL"])
    assert ("ssh_command.stray" in ended.traces) is not passes_signals


# What runs


async def test_arguments_arrive_as_they_are_written(host: Host) -> None:
    odd = ["$HOME; rm -rf *", "a b", "", "'\"", "ü", "two\nlines", "`id`", "~", "-n"]

    result = await run(host, argv=[sys.executable, "-c", "import sys; print(sys.argv[1:])", *odd])

    assert result.stdout == f"{odd}\n"


async def test_a_command_is_read_by_the_shell_there(host: Host) -> None:
    result = await run(host, "for n in 1 2; do echo $n; done | tr 12 ab")

    assert result.stdout == "a\nb\n"


async def test_variables_are_set_for_all_of_the_command(host: Host) -> None:
    env = {"A": "it's; $HOME", "B": 7}

    result = await run(host, 'echo "$A"; echo $B', env=env)
    told = await run(host, argv=["printenv", "A"], env=env)

    assert result.stdout == "it's; $HOME\n7\n"
    assert told.stdout == "it's; $HOME\n"


async def test_standard_input_is_the_text_or_nothing(host: Host) -> None:
    assert (await run(host, "cat", stdin="Grüße\n" * 100_000)).stdout.startswith("Grüße\nGrüße\n")
    assert (await run(host, "cat")).stdout == ""


async def test_a_command_need_not_read_its_standard_input(host: Host) -> None:
    result = await run(host, "exec <&-; echo done", stdin="x" * MIB)

    assert result.stdout == "done\n"


async def test_output_beyond_the_limit_is_cut_and_the_command_goes_on(host: Host) -> None:
    result = await run(host, "yes ab | head -c 8000000; echo end >&2", max_output=1_000)

    assert result.stdout == ("ab\n" * 334)[:1_000]
    assert (result.stderr, result.truncated) == ("end\n", True)


async def test_nothing_of_the_workers_environment_goes_along(host: Host) -> None:
    seen: list[Any] = []

    class Attentive(Shell):
        def session_started(self) -> None:
            seen.extend((self._chan.get_environment(), self._chan.get_agent_path()))
            super().session_started()

    host.shell = Attentive

    await run(host, "true")

    assert seen == [{}, None]


# Failures of the command


async def test_a_non_zero_exit_fails_for_good_and_shows_the_last_words(host: Host) -> None:
    failed = await failure(run(host, "echo out; echo first >&2; echo why >&2; exit 3"))

    assert (failed.error_type, failed.retryable) == ("command_failed", False)
    assert failed.error == (f"the command on 127.0.0.1 (port {host.port}) exited with code 3: why")
    assert failed.details == {
        "exit_code": 3,
        "signal": None,
        "stdout_tail": "out\n",
        "stderr_tail": "first\nwhy\n",
    }


async def test_an_exit_code_is_a_result_when_it_is_not_checked(host: Host) -> None:
    result = await run(host, "echo differs; exit 1", check=False)

    assert (result.exit_code, result.stdout) == (1, "differs\n")


async def test_a_signal_is_named(host: Host) -> None:
    failed = await failure(run(host, "kill -KILL $$"))
    result = await run(host, "kill -KILL $$", check=False)

    assert failed.error.endswith("was ended by signal KILL")
    assert (failed.details["exit_code"], failed.details["signal"]) == (None, "KILL")
    assert (result.exit_code, result.signal) == (None, "KILL")


async def test_a_host_that_runs_no_commands_fails_for_good(host: Host) -> None:
    failed = await failure(run(host, "refuse"))

    assert (failed.error_type, failed.retryable) == ("command_failed", False)
    assert "doesn't run commands for 'ann'" in failed.error


async def test_a_lost_connection_is_worth_another_attempt(host: Host) -> None:
    running = asyncio.create_task(run(host, SLEEPS.format(file=host.file)))
    sleeper = await host.sleeper()
    for connection in host.connections:
        connection.abort()
    with pytest.raises(TaskError) as raised:
        await running
    failed = raised.value
    sleeper.kill()

    assert (failed.error_type, failed.retryable) == ("connection_error", True)


# Time, and cancels


@pytest.mark.parametrize("passes_signals", [True, False], ids=["signals", "no_signals"])
async def test_a_timeout_ends_the_remote_command(host: Host, *, passes_signals: bool) -> None:
    host.passes_signals = passes_signals
    command = f"echo begun; {SLEEPS.format(file=host.file)}"

    failed = await failure(run(host, command, timeout="3s"))

    assert (failed.error_type, failed.retryable) == ("timeout_error", True)
    said = f"no end of the command on 127.0.0.1 (port {host.port}) within its timeout of 3s"
    doubt = "; it may still run there, for the server didn't tell that a signal ended it"
    assert failed.error == said + ("" if passes_signals else doubt)
    assert failed.details["stdout_tail"] == "begun\n"
    assert await is_gone(await host.sleeper())


async def test_a_stubborn_command_is_killed(host: Host) -> None:
    running = asyncio.create_task(run(host, STUBBORN.format(file=host.file)))
    sleeper = await host.sleeper()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert await is_gone(sleeper)
    assert host.signals == ["TERM", "KILL"]


async def test_a_second_cancel_does_not_leave_the_command_running(host: Host) -> None:
    running = asyncio.create_task(run(host, STUBBORN.format(file=host.file)))
    sleeper = await host.sleeper()
    while not running.done():
        running.cancel()
        await asyncio.sleep(0.05)

    assert running.cancelled()
    assert await is_gone(sleeper)


async def test_a_cancel_leaves_no_connection_open(host: Host) -> None:
    running = asyncio.create_task(run(host, SLEEPS.format(file=host.file)))
    await host.sleeper()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    async with asyncio.timeout(10):
        for connection in host.connections:
            await connection.wait_closed()


async def test_a_process_that_keeps_the_outputs_open_does_not_hold_up_the_task(
    host: Host,
) -> None:
    class Early(Shell):
        """Tells the end as OpenSSH does: at once, with the outputs still open."""

        async def _run(self) -> None:
            self._chan.write(b"done\n")
            self._chan._send_request(b"exit-status", (0).to_bytes(4, "big"))

    host.shell = Early

    result = await run(host, "true")

    assert (result.exit_code, result.stdout) == (0, "done\n")


async def test_a_server_that_says_nothing_is_left_at_the_timeout(stranger: Host) -> None:
    closed = asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        closed.set()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    async with server:
        stranger.port = server.sockets[0].getsockname()[1]
        stranger.known_as(f"[127.0.0.1]:{stranger.port} {stranger.public_key}\n")
        failed = await failure(run(stranger, "true", timeout="1s"))
        await asyncio.wait_for(closed.wait(), 10)

    assert (failed.error_type, failed.retryable) == ("timeout_error", True)


async def test_a_server_that_speaks_something_else_is_no_connection(stranger: Host) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        stranger.port = server.sockets[0].getsockname()[1]
        stranger.known_as(f"[127.0.0.1]:{stranger.port} {stranger.public_key}\n")
        failed = await failure(run(stranger, "true"))

    assert failed.error_type == "connection_error"


# Which hosts


async def test_no_host_is_known_without_a_file(stranger: Host) -> None:
    async with serving(stranger):
        failed = await failure(run(stranger, "true"))

    assert (failed.error_type, failed.retryable) == ("not_allowed", False)
    assert failed.error == (
        "this worker may connect to no host: its file of known hosts,"
        f" {stranger.folder}/known_hosts (REGROW_SSH_KNOWN_HOSTS), cannot be read:"
        " No such file or directory"
    )
    assert stranger.connections == []


@pytest.mark.parametrize(
    "line",
    [
        "",
        "# {key}",
        "localhost {key}",
        "[127.0.0.1]:22 {key}",
        "127.0.0.2 {key}",
        "*.example.com {key}",
        "@revoked * {key}",
    ],
)
async def test_a_host_that_is_not_known_is_not_connected_to(host: Host, line: str) -> None:
    host.known_as(line.format(key=host.public_key))

    failed = await failure(run(host, "true"))

    assert (failed.error_type, failed.retryable) == ("not_allowed", False)
    assert failed.error == (
        f"this worker may not connect to 127.0.0.1 (port {host.port}); its operator allows a host"
        f" by adding its key to {host.folder}/known_hosts (REGROW_SSH_KNOWN_HOSTS):"
        f" `ssh-keyscan -p {host.port} 127.0.0.1` shows it, and whoever runs the host can say"
        " whether it is the right one"
    )
    assert host.connections == []


@pytest.mark.parametrize(
    "line",
    ["127.0.0.1 {key}", "[127.0.0.1]:{port} {key}", "other,127.0.0.* {key}", "* {key}"],
)
async def test_a_host_is_known_by_name_address_and_pattern(host: Host, line: str) -> None:
    host.known_as(line.format(key=host.public_key, port=host.port))

    assert (await run(host, "true")).exit_code == 0


async def test_names_are_compared_without_regard_to_case(host: Host) -> None:
    host.known_as(f"localhost {host.public_key}")

    inputs = {**host.inputs, "host": "LocalHost", "command": "true", "password": PASSWORD}
    result: SshResult = await SSH_COMMAND.call(inputs, TaskContext())

    assert result.exit_code == 0


async def test_a_name_may_be_hashed(host: Host) -> None:
    name, salt = f"[127.0.0.1]:{host.port}".encode(), os.urandom(20)
    parts = [base64.b64encode(part).decode() for part in (salt, hmac.digest(salt, name, "sha1"))]

    host.known_as(f"|1|{'|'.join(parts)} {host.public_key}\n")

    assert (await run(host, "true")).exit_code == 0


@pytest.mark.parametrize(
    ("kind", "revoked"), [("ssh-ed25519", False), ("ssh-rsa", False), ("ssh-ed25519", True)]
)
async def test_another_key_is_never_trusted(host: Host, kind: str, *, revoked: bool) -> None:
    other = new_key(kind).export_public_key().decode()
    denied = f"@revoked * {host.public_key}" if revoked else ""
    host.known_as(f"* {other}\n{denied}\n")

    failed = await failure(run(host, "true"))

    assert (failed.error_type, failed.retryable) == ("host_key_error", False)
    assert "REGROW_SSH_KNOWN_HOSTS" in failed.error
    assert f"`ssh-keyscan -p {host.port} 127.0.0.1`" in failed.error
    assert host.logins == []


async def test_an_authority_may_vouch_for_hosts(stranger: Host) -> None:
    authority = new_key()
    vouched = authority.generate_host_certificate(stranger.key, "host", principals=["127.0.0.1"])
    stranger.known_as(f"@cert-authority 127.0.0.* {authority.export_public_key().decode()}")

    async with serving(stranger, certificate=vouched):
        assert (await run(stranger, "true")).exit_code == 0


async def test_a_broken_list_of_hosts_allows_none(host: Host) -> None:
    host.known_as("@nonsense\n")

    failed = await failure(run(host, "true"))

    assert failed.error_type == "not_allowed"
    assert "cannot be read: Invalid known hosts entry: @nonsense" in failed.error


# Who logs in


@pytest.fixture
def key(host: Host) -> asyncssh.SSHKey:
    """A key that the host lets in."""
    made = new_key()
    host.authorized.append(made.convert_to_public())
    return made


@pytest.mark.parametrize("passphrase", [None, "open-sesame"])
async def test_a_private_key_lets_in(
    host: Host, key: asyncssh.SSHKey, passphrase: str | None
) -> None:
    text = key.export_private_key("pkcs8-pem", passphrase).decode()
    phrase = {} if passphrase is None else {"passphrase": passphrase}

    result = await run(host, "true", private_key=text, **phrase)

    assert result.exit_code == 0
    assert set(host.logins) == {"public_key"}


@pytest.mark.parametrize(
    ("protected", "passphrase", "reason"),
    [
        (None, None, "Invalid private key"),
        ("open-sesame", None, "Passphrase must be specified"),
        ("open-sesame", "shazam", "Unable to decrypt"),
    ],
)
async def test_a_key_that_cannot_be_read_fails_for_good_and_is_not_shown(
    host: Host, protected: str | None, passphrase: str | None, reason: str
) -> None:
    made = new_key().export_private_key("pkcs8-pem", protected)
    text = made.decode() if protected else "no-key-at-all"
    phrase = {} if passphrase is None else {"passphrase": passphrase}

    failed = await failure(run(host, "true", private_key=text, **phrase))

    assert (failed.error_type, failed.retryable) == ("authentication_error", False)
    assert failed.error.startswith(f"the private_key cannot be used: {reason}")
    assert all(secret not in failed.error for secret in (text, "open-sesame", "shazam"))
    assert host.connections == []


async def test_no_key_of_the_worker_is_used_unless_the_operator_names_it(
    host: Host,
    key: asyncssh.SSHKey,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    home = host.folder / "home"
    (home / ".ssh").mkdir(parents=True)
    save_key(key, home / ".ssh" / "id_ed25519")
    (home / ".ssh" / "config").write_text("Host *\n  IdentityFile ~/.ssh/id_ed25519\n")
    monkeypatch.setenv("HOME", str(home))
    asked: list[object] = []

    def answer(*streams: object) -> None:
        asked.extend(streams)

    socket = tmp_path_factory.mktemp("a") / "s"  # whose path may not be long
    agent = await asyncio.start_unix_server(answer, socket)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))

    async with agent:
        nothing = await failure(SSH_COMMAND.call({**host.inputs, "command": "id"}, TaskContext()))
        wrong = await failure(run(host, "id", password="wrong"))

    assert (nothing.error_type, nothing.retryable) == ("authentication_error", False)
    assert nothing.error.endswith(
        "with: give a password or a private_key, or have the operator name key files in"
        " REGROW_SSH_KEYS"
    )
    assert wrong.error_type == "authentication_error"
    assert (asked, set(host.logins)) == ([], {"password"})


async def test_keys_that_the_operator_names_are_used_where_the_document_brings_nothing(
    host: Host, key: asyncssh.SSHKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = host.folder / "key"
    save_key(key, file)
    monkeypatch.setenv("REGROW_SSH_KEYS", str(file))

    result: SshResult = await SSH_COMMAND.call({**host.inputs, "command": "true"}, TaskContext())
    own = await failure(run(host, "true", password="wrong"))

    assert result.exit_code == 0
    assert own.error_type == "authentication_error"


async def test_a_key_file_that_cannot_be_read_is_named(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_SSH_KEYS", "/no/such/key")

    failed = await failure(SSH_COMMAND.call({**host.inputs, "command": "id"}, TaskContext()))

    assert (failed.error_type, failed.retryable) == ("authentication_error", False)
    assert failed.error == (
        "the operator's key file /no/such/key (REGROW_SSH_KEYS) cannot be used:"
        " No such file or directory"
    )


async def test_the_librarys_log_does_not_show_the_command(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    await run(host, "echo hunter2 >/dev/null", env={"TOKEN": "hunter3"})

    assert "hunter" not in caplog.text


# What is refused


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        ({}, "give either argv or command"),
        ({"argv": ["ls"], "command": "ls"}, "give either argv or command"),
        ({"argv": []}, "argv: "),
        ({"argv": ["a\0b"]}, "argv.0: "),
        ({"command": ""}, "command: "),
        ({"command": "ls", "env": {"A B": "c"}}, "env.A B.[key]: "),
        ({"command": "ls", "host": "-oProxyCommand=x"}, "host: "),
        ({"command": "ls", "host": "a b"}, "host: "),
        ({"command": "ls", "port": 0}, "port: "),
        ({"command": "ls", "username": ""}, "username: "),
        ({"command": "ls", "timeout": 0}, "timeout: "),
        ({"command": "ls", "max_output": MIB + 1}, "max_output: "),
    ],
)
async def test_unusable_inputs_are_refused(inputs: dict[str, Any], problem: str) -> None:
    with pytest.raises(TaskError) as refused:
        await SSH_COMMAND.call({"host": "h", "username": "u", **inputs}, TaskContext())

    assert refused.value.error_type == "validation_error"
    assert problem in refused.value.error


async def test_the_executor_is_there_without_importing_asyncssh() -> None:
    code = "import regrow.activities.catalogue.ssh, sys; sys.exit('asyncssh' in sys.modules)"
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", code)

    assert await child.wait() == 0
