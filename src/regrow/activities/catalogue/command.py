"""`command`: one program as a task, without a shell.

The operator of a worker lists the programs that may run; a document cannot add to them. Each runs
in a process group of its own, and nothing of that group outlives the task: not after a cancel, not
after a timeout, and not after the program's own end. Only a worker that is killed outright cannot
keep this promise.
"""

import asyncio
import errno
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Final, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from regrow.activities.catalogue.failures import NOT_FOUND
from regrow.activities.catalogue.group import end_group
from regrow.activities.catalogue.output import outputs
from regrow.core.durations import Duration
from regrow.core.limits import KIB, MIB
from regrow.core.wire import ErrorType
from regrow.executors import TaskContext, TaskError, executor_register
from regrow.settings import load_settings

COMMAND_FAILED: Final = "command_failed"
ERRORS: Final = {
    COMMAND_FAILED: "An exit code other than 0, or it cannot be started; `exit_code`, `stdout_tail`"
    " and `stderr_tail` are metadata. Retried for `retryable_exit_codes`.",
}

_INHERITED: Final = ("PATH", "HOME", "LANG", "TZ")
_LOADER: Final = ("LD_", "DYLD_")

_LAST_WORDS = 1.0
"""For output that is still in a pipe; one that a stray process holds open never ends."""


_MISSING: Final = (errno.ENOENT, errno.ENOTDIR)
_UNSTARTABLE: Final = (errno.EACCES, errno.EPERM, errno.ENOEXEC, errno.E2BIG, errno.ELOOP)


def _not_for_the_loader(name: str) -> str:
    if name.startswith(_LOADER):
        message = "{name} would put other code into an allowed program; allow a script that sets it"
        raise PydanticCustomError("env", message, {"name": name})
    return name


Text = Annotated[str, Field(coerce_numbers_to_str=True, pattern=r"^[^\x00]*$")]
Variable = Annotated[str, Field(pattern=r"^[^=\x00]+$"), AfterValidator(_not_for_the_loader)]


class Command(BaseModel):
    """What to run, and how."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    argv: Annotated[list[Text], Field(min_length=1)]
    """The program, by name or absolute path, and its arguments. No shell reads them."""
    env: dict[Variable, Text] = Field(default_factory=dict)
    """Added to `PATH`, `HOME`, `LANG` and `TZ` of the worker; it gets no other variable."""
    cwd: Text | None = None
    """The working directory; default: the worker's."""
    stdin: str | None = None
    """Text for its standard input; default: an empty one."""
    timeout: Duration | None = None
    """How long it may run; the task's own timeouts hold as well."""
    max_output: Annotated[int, Field(ge=0, le=MIB)] = 256 * KIB
    """Bytes of each output that are kept; it may write more."""
    check: bool = True
    """Whether an exit code other than 0 fails the task."""
    retryable_exit_codes: list[int] = Field(default_factory=list[int])
    """Exit codes that are worth another attempt; -9 means killed by signal 9."""


class CommandResult(BaseModel):
    """How it ended, and what it wrote."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    exit_code: int
    """Negative: the signal that ended it."""
    stdout: str
    stderr: str
    truncated: bool
    """Whether either output lost its end."""


@executor_register(
    "command",
    heartbeat_timeout="30s",
    tags=("process",),
    examples=({"argv": ["pg_dump", "--file", "shop.sql", "shop"], "timeout": "10m"},),
    demo={"exit_code": 0, "stdout": "", "stderr": "", "truncated": False},
)
async def command(inputs: Command, context: TaskContext) -> CommandResult:
    """Run one program and return its exit code and output.

    It must be listed in `REGROW_COMMAND_ALLOW`, which is read at each call: a bare name allows
    that name, looked up on the worker's PATH; an absolute path allows that path. To allow a program
    is to allow whatever it can be told to do. Safe to repeat if the program is: a worker that
    dies runs it again, and may leave the first one running. A cancel or a timeout sends SIGTERM to
    its whole process group, and SIGKILL two seconds later; so does its own end, to what it left.
    """
    program = allowed_program(inputs.argv[0], load_settings().command_allow)
    process = await _run(program, inputs, context)
    name = Path(program).name
    if not process.in_time:
        raise _timed_out(name, inputs, process)
    exit_code = cast("int", process.transport.get_returncode())
    if inputs.check and exit_code != 0:
        raise _failed(name, exit_code, inputs, process)
    return _result(exit_code, process)


def allowed_program(name: str, allowed: Sequence[str]) -> str:
    """Give the absolute path of a program that may run, or raise `TaskError`."""
    if "/" not in name and name in allowed:
        found = shutil.which(name)
        if found is None:
            raise TaskError(f"there is no program '{name}' on PATH", error_type=NOT_FOUND)
        return str(Path(found).absolute())  # PATH may hold relative folders, and `cwd` may differ
    if name.startswith("/"):
        place = _place(name)
        if any(entry.startswith("/") and _place(entry) == place for entry in allowed):
            return str(place)
    hint = "" if name.startswith("/") or "/" not in name else " (by its name or absolute path)"
    message = (
        f"this worker may not run '{name}'; its operator allows it by listing it in"
        f" REGROW_COMMAND_ALLOW{hint}"
    )
    raise TaskError(message, error_type=ErrorType.NOT_ALLOWED)


def _place(path: str) -> Path:
    """Resolve the folder but not the last name, which may be a link to a program of many names.

    `/bin/ls` and `/bin/sh` can both be links to busybox; to allow one is not to allow the other.
    """
    return Path(path).parent.resolve() / Path(path).name


class _Process(asyncio.SubprocessProtocol):
    """A running program and its group.

    asyncio's own `Process.wait` waits for the pipes too, and so for whoever inherited them; this
    keeps the end of the program and the end of its output apart.
    """

    transport: asyncio.SubprocessTransport

    def __init__(self, most: int) -> None:
        loop = asyncio.get_running_loop()
        self.outputs = outputs(most)
        self.exited: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self.in_time = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        (self.outputs.stdout if fd == 1 else self.outputs.stderr).take(data)

    def process_exited(self) -> None:
        self.exited.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.closed.set_result(None)

    async def watch(self, stop: asyncio.Future[None], limit: float | None) -> None:
        """Wait for the end of the program, its time, or a wish to stop."""
        first = asyncio.FIRST_COMPLETED
        await asyncio.wait([self.exited, stop], timeout=limit, return_when=first)
        self.in_time = self.exited.done() or stop.done()
        if self.exited.done():
            await asyncio.wait([self.closed], timeout=_LAST_WORDS)

    async def end(self) -> None:
        """End whatever is left of the group, and let go of the pipes."""
        await end_group(self.transport.get_pid(), lambda: asyncio.wait([self.exited]))
        await asyncio.wait([self.closed], timeout=_LAST_WORDS)
        self.transport.close()


async def _run(program: str, inputs: Command, context: TaskContext) -> _Process:
    """Run to the end; a cancel, however often it comes, waits until the group is ended."""
    stop: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    running = asyncio.create_task(_supervise(program, inputs, context, stop))
    cancel: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as error:
            cancel = error
            if not stop.done():
                stop.set_result(None)
    if cancel is None:
        return running.result()
    if not running.cancelled():
        running.exception()  # seen; the cancel is what counts
    raise cancel


async def _supervise(
    program: str, inputs: Command, context: TaskContext, stop: asyncio.Future[None]
) -> _Process:
    limit = inputs.timeout.total_seconds() if inputs.timeout else None
    async with _stdin(inputs.stdin) as stdin:
        process = await _start(program, inputs, stdin)
        try:
            await process.watch(stop, limit)
        finally:
            await process.end()
            if not process.exited.done():  # stuck in the kernel, or another user's by now
                pid = process.transport.get_pid()
                context.log.warning("command.stray", program=program, pid=pid)
    return process


async def _start(program: str, inputs: Command, stdin: int) -> _Process:
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    try:
        _, process = await asyncio.get_running_loop().subprocess_exec(
            lambda: _Process(inputs.max_output),
            program,
            *inputs.argv[1:],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=inputs.cwd,
            env={**inherited, **inputs.env},
            start_new_session=True,
        )
    except OSError as error:
        if error.errno not in (*_MISSING, *_UNSTARTABLE):
            raise  # the machine is short of something; retried by policy
        folder = inputs.cwd is not None and error.filename == inputs.cwd
        what = f"work in '{inputs.cwd}'" if folder else f"run '{program}'"
        message = f"cannot {what}: {os.strerror(error.errno)}"
        error_type = NOT_FOUND if error.errno in _MISSING else COMMAND_FAILED
        raise TaskError(message, error_type=error_type) from None
    return process


@asynccontextmanager
async def _stdin(text: str | None) -> AsyncGenerator[int]:
    """Give something to read the text from.

    A pipe of our own: asyncio's is a socket on Python 3.11, which `/dev/stdin` cannot open.
    """
    if text is None:
        yield subprocess.DEVNULL
        return
    read_end, write_end = os.pipe()
    try:
        pipe = os.fdopen(write_end, "wb", buffering=0)
        feed, _ = await asyncio.get_running_loop().connect_write_pipe(asyncio.BaseProtocol, pipe)
        feed.write(text.encode(errors="replace"))
        feed.write_eof()
        try:
            yield read_end
        finally:
            if feed.get_write_buffer_size():  # nobody wanted all of it
                feed.abort()
    finally:
        os.close(read_end)


def _timed_out(name: str, inputs: Command, process: _Process) -> TaskError:
    limit = inputs.timeout.total_seconds() if inputs.timeout else 0
    return TaskError(
        f"{name} was stopped: it ran longer than its timeout of {limit:g}s",
        error_type=ErrorType.TIMEOUT,
        retryable=True,
        stdout_tail=process.outputs.stdout.tail,
        stderr_tail=process.outputs.stderr.tail,
    )


def _failed(name: str, exit_code: int, inputs: Command, process: _Process) -> TaskError:
    how = f"exited with code {exit_code}"
    if exit_code < 0:
        how = f"was ended by signal {-exit_code} ({signal.strsignal(-exit_code) or 'unknown'})"
    last_line = process.outputs.last_line
    return TaskError(
        f"{name} {how}: {last_line}" if last_line else f"{name} {how}",
        error_type=COMMAND_FAILED,
        retryable=exit_code in inputs.retryable_exit_codes,
        exit_code=exit_code,
        stdout_tail=process.outputs.stdout.tail,
        stderr_tail=process.outputs.stderr.tail,
    )


def _result(exit_code: int, process: _Process) -> CommandResult:
    """Cut what history cannot hold rather than fail: the program has run."""
    stdout, stderr, truncated = process.outputs.fitting()
    return CommandResult(exit_code=exit_code, stdout=stdout, stderr=stderr, truncated=truncated)
