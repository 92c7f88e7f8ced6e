"""`docker_run`: one container as a task, from its start to its end.

The operator says which images may run and on which networks; the engine is the one of the worker's
environment. A container gets nothing else: no mounts, no capabilities, no root, no network, a root
filesystem that it can only read, and bounds for memory, processors and processes. It is removed
whatever happens; what a worker that died has left behind is found by its labels and removed by the
attempt that follows.
"""

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager, suppress
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from regrow.activities.catalogue.command import COMMAND_FAILED
from regrow.activities.catalogue.failures import (
    AUTHENTICATION_ERROR,
    CONNECTION_ERROR,
    NOT_FOUND,
)
from regrow.activities.catalogue.output import Outputs, outputs
from regrow.core.durations import Duration
from regrow.core.limits import KIB, MIB
from regrow.core.wire import ErrorType
from regrow.executors import TaskContext, TaskError, executor_register
from regrow.settings import load_settings

if TYPE_CHECKING:
    import aiodocker

DOCKER_ERROR: Final = "docker_error"
ERRORS: Final = {
    DOCKER_ERROR: "The engine refused the container, or failed; `status` is metadata. Retried for"
    " 409 and 5xx.",
}

KEY_LABEL: Final = "regrow.key"
"""The label by which a later attempt finds what an earlier one left."""

_NO_NETWORK: Final = "none"
_ANSWER = 60.0
"""For an answer of the engine to a request that it can answer at once."""
_CONNECT = 10.0
_CLEAN_UP = 20.0
_NO_CONNECTION = 900
"""What aiodocker says in the place of an HTTP status."""
_BAD_REQUEST, _NOT_FOUND, _CONFLICT, _SERVER_ERROR = 400, 404, 409, range(500, 600)
_NO_ENTRY: Final = ("denied", "unauthorized", "authentication required")
_NO_IMAGE: Final = ("not found", "manifest unknown", "no matching manifest", "no such image")
_STDOUT = 1
_LEAST_MEMORY = 6 * MIB
"""The engine refuses less."""
_UNITS: Final = {"": 1, "b": 1, "k": KIB, "m": MIB, "g": 1024 * MIB}
_MOST_REASON = 500


def _bytes(value: object) -> object:
    """Read a size as `docker run` does: `512m` are 512 MiB."""
    found = re.fullmatch(r"(\d{1,12})([kmg]?)b?", value.lower()) if isinstance(value, str) else None
    if found:
        return int(found[1]) * _UNITS[found[2]]
    if isinstance(value, str):
        raise PydanticCustomError("size", "write a size like 512m, 2g or a number of bytes")
    return value


def _ordinary_path(value: object) -> object:
    """An image's name becomes part of requests; one that climbs up is no name."""
    if isinstance(value, str) and (".." in value or "//" in value):
        raise PydanticCustomError("image", "write an image like python:3.12-slim")
    return value


Docker = Any
"""aiodocker's client, whose methods are typed in part only."""
Container = Any
"""aiodocker's container, likewise."""
Result = TypeVar("Result")
Text = Annotated[str, Field(coerce_numbers_to_str=True, pattern=r"^[^\x00]*$")]
Variable = Annotated[str, Field(pattern=r"^[^=\x00]+$")]
User = Annotated[str, Field(coerce_numbers_to_str=True, pattern=r"^[1-9]\d{0,8}(:\d{1,9})?$")]
Image = Annotated[
    str,
    Field(max_length=512, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:/@-]*$"),
    BeforeValidator(_ordinary_path),
]
Size = Annotated[
    int,
    Field(ge=_LEAST_MEMORY),
    BeforeValidator(_bytes),
    WithJsonSchema({"type": ["string", "integer"], "examples": ["512m", "2g"]}),
]


class DockerRun(BaseModel):
    """What to run, and within which bounds."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    image: Image
    """A name with tag or digest; without either it means `latest`."""
    command: list[Text] = Field(default_factory=list[str])
    """Arguments for the image's entry point, no shell reads them; default: the image's own."""
    env: dict[Variable, Text] = Field(default_factory=dict)
    """Added to the image's; `HOME` is `/tmp` unless it is set here."""
    stdin: str | None = None
    """Text for its standard input; default: an empty one."""
    workdir: Annotated[Text, Field(pattern="^/")] | None = None
    """The working directory; default: the image's."""
    user: Annotated[
        str, Field(coerce_numbers_to_str=True, pattern=r"^[1-9]\d{0,8}(:\d{1,9})?$")
    ] = "65534:65534"
    """Ids of user and group, `1000` or `1000:1000`; never root. Default: nobody."""
    network: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")] = _NO_NETWORK
    """Any but `none` must be one that the operator lists in `REGROW_DOCKER_NETWORKS`."""
    memory: Size = 512 * MIB
    """At most; what is in `/tmp` counts. There is no swap."""
    cpus: Annotated[float, Field(gt=0, le=1024)] = 1.0
    pids_limit: Annotated[int, Field(ge=1, le=1_000_000)] = 256
    """Processes and threads at once."""
    read_only: bool = True
    """Whether only `/tmp` can be written to, and volumes that the image declares."""
    pull: Literal["missing", "never"] = "missing"
    """Whether the engine may fetch an image that it doesn't have. It logs in nowhere."""
    timeout: Duration | None = None
    """For everything, with fetching the image; the task's own timeouts hold as well."""
    max_output: Annotated[int, Field(ge=0, le=MIB)] = 256 * KIB
    """Bytes of each output that are kept; it may write more."""
    check: bool = True
    """Whether an exit code other than 0 fails the task."""
    retryable_exit_codes: list[int] = Field(default_factory=list[int])
    """Exit codes that are worth another attempt; 137 means killed."""

    def config(self, context: TaskContext) -> dict[str, Any]:
        """Give the container as the engine's API describes it."""
        has_stdin = self.stdin is not None
        optional = {"Cmd": self.command or None, "WorkingDir": self.workdir}
        return {
            "Image": self.image,
            "User": self.user,
            "Env": [f"{name}={value}" for name, value in {"HOME": "/tmp", **self.env}.items()],  # noqa: S108 - its own
            "Labels": {
                KEY_LABEL: context.idempotency_key,
                "regrow.tree": context.tree_id,
                "regrow.task": context.task_id,
                "regrow.attempt": str(context.attempt),
            },
            "OpenStdin": has_stdin,
            "StdinOnce": has_stdin,
            "AttachStdin": has_stdin,
            "AttachStdout": True,
            "AttachStderr": True,
            "Tty": False,
            "HostConfig": self._host_config(),
            **{key: value for key, value in optional.items() if value is not None},
        }

    def _host_config(self) -> dict[str, Any]:
        return {
            "NetworkMode": self.network,
            "Memory": self.memory,
            "MemorySwap": self.memory,  # of both together, so none is left for swap
            "NanoCpus": round(self.cpus * 1e9),
            "PidsLimit": self.pids_limit,
            "ReadonlyRootfs": self.read_only,
            "Tmpfs": {"/tmp": self._tmpfs()},  # noqa: S108 - the container's
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "Privileged": False,
            "LogConfig": {"Type": "none"},  # read as it is written; nothing is kept on the disk
            "RestartPolicy": {"Name": "no"},
            "AutoRemove": False,  # its end is looked at first
        }

    def _tmpfs(self) -> str:
        """It is the user's own: some engines give it the mode that the folder has in the image."""
        uid = self.user.partition(":")[0]
        return f"rw,nosuid,nodev,mode=1777,uid={uid},size={self.memory}"


class DockerResult(BaseModel):
    """How it ended, and what it wrote."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    exit_code: int
    """128 and more: the signal that ended it, such as 137 for SIGKILL."""
    stdout: str
    stderr: str
    truncated: bool
    """Whether either output lost its end."""
    oom_killed: bool
    """Whether the engine noticed that something in it was ended for wanting more than `memory`."""


@executor_register(
    "docker_run",
    heartbeat_timeout="30s",
    tags=("process", "docker"),
    requires={"aiodocker": "regrow[docker]"},
    examples=(
        {
            "image": "python:3.12-slim",
            "command": ["python", "-c", "print(sum(range(10)))"],
            "timeout": "2m",
        },
    ),
    demo={"exit_code": 0, "stdout": "45\n", "stderr": "", "truncated": False, "oom_killed": False},
)
async def docker_run(inputs: DockerRun, context: TaskContext) -> DockerResult:
    """Run one container to its end and return its exit code and output.

    Its image must match a pattern of `REGROW_DOCKER_IMAGES`, in which `*` stands for anything but
    `/`; its network, if it wants one, must be listed in `REGROW_DOCKER_NETWORKS`. The engine is
    that of the worker's `DOCKER_HOST`, Docker context or local socket. The container runs as nobody
    or another user but root, without capabilities, new privileges or mounts, and can write to
    `/tmp` only. Safe to repeat if what it does is: the next attempt first removes what a worker
    that died left running. An engine that can't be reached or fails, and an image that can't be
    fetched for a passing reason, are retried, and the exit codes that the task names; nothing else
    is. A cancel or a timeout kills the container and removes it.
    """
    _check_allowed(inputs)
    written = outputs(inputs.max_output)
    clock = asyncio.timeout(inputs.timeout.total_seconds() if inputs.timeout else None)
    try:
        async with clock:
            state = await _run(inputs, context, written)
    except TimeoutError:
        raise _late(inputs, written, ours=clock.expired()) from None
    exit_code, oom_killed = int(state["ExitCode"]), bool(state.get("OOMKilled"))
    if inputs.check and exit_code != 0:
        raise _failed(inputs, exit_code, written, oom_killed=oom_killed)
    stdout, stderr, truncated = written.fitting()
    return DockerResult(
        exit_code=exit_code,
        stdout=stdout,
        stderr=stderr,
        truncated=truncated,
        oom_killed=oom_killed,
    )


def _check_allowed(inputs: DockerRun) -> None:
    settings = load_settings()
    if not any(_matches(inputs.image, pattern) for pattern in settings.docker_images):
        message = (
            f"this worker may not run the image '{inputs.image}'; its operator allows it by a"
            " pattern in REGROW_DOCKER_IMAGES"
        )
        raise TaskError(message, error_type=ErrorType.NOT_ALLOWED)
    if inputs.network not in (_NO_NETWORK, *settings.docker_networks):
        message = (
            f"this worker may not put a container on the network '{inputs.network}'; its operator"
            " allows it by listing it in REGROW_DOCKER_NETWORKS"
        )
        raise TaskError(message, error_type=ErrorType.NOT_ALLOWED)


def _matches(image: str, pattern: str) -> bool:
    """Compare part by part: `python:3*` isn't to allow `python:3000/any`, another registry's."""
    parts, wanted = image.split("/"), pattern.split("/")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


async def _run(inputs: DockerRun, context: TaskContext, written: Outputs) -> dict[str, Any]:
    """Run it and give the engine's account of its end."""
    import aiodocker  # noqa: PLC0415 - an extra, for those who run containers
    import aiohttp  # noqa: PLC0415 - aiodocker's own

    try:
        async with _engine() as docker:
            await _remove_left(docker, context)
            async with _container(docker, inputs, context) as container:
                await _live(container, inputs, written)
                shown = await container.show()
                return shown["State"]
    except aiodocker.DockerError as error:
        raise _docker_error(error) from None
    except aiohttp.ClientError as error:
        message = f"the connection to the Docker engine broke: {_reason(error)}"
        raise TaskError(message, error_type=CONNECTION_ERROR, retryable=True) from None


@asynccontextmanager
async def _engine() -> AsyncGenerator[Docker]:
    import aiodocker  # noqa: PLC0415
    import aiohttp  # noqa: PLC0415

    timeout = aiohttp.ClientTimeout(total=_ANSWER, sock_connect=_CONNECT)
    try:  # DOCKER_HOST by hand, since aiodocker prefers a context and `docker` doesn't
        docker = aiodocker.Docker(url=os.environ.get("DOCKER_HOST"), timeout=timeout)
    except (AssertionError, ValueError) as error:
        reason = f": {error}" if str(error) else ""
        message = (
            f"this worker has no Docker engine{reason}; its operator names one by DOCKER_HOST, or"
            " starts one on this machine"
        )
        raise TaskError(message, error_type=CONNECTION_ERROR, retryable=True) from None
    async with docker:
        yield docker


@asynccontextmanager
async def _container(
    docker: Docker, inputs: DockerRun, context: TaskContext
) -> AsyncGenerator[Container]:
    """Create a container and remove it, both to the end even if a cancel comes meanwhile."""
    name = _name(context)
    try:
        yield await _create(docker, inputs, inputs.config(context), name)
    finally:
        await _regardless(_remove(docker.containers.container(name), context))


def _name(context: TaskContext) -> str:
    key = hashlib.sha256(context.idempotency_key.encode()).hexdigest()[:16]
    return f"regrow-{key}-{context.attempt}"


async def _create(
    docker: Docker, inputs: DockerRun, config: dict[str, Any], name: str
) -> Container:
    import aiodocker  # noqa: PLC0415

    try:
        return await _regardless(docker.containers.create(config, name=name))
    except aiodocker.DockerError as error:
        if error.status != _NOT_FOUND:
            raise
    await _pull(docker, inputs)
    return await _regardless(docker.containers.create(config, name=name))


async def _pull(docker: Docker, inputs: DockerRun) -> None:
    import aiodocker  # noqa: PLC0415

    if inputs.pull == "never":
        message = f"the Docker engine has no image '{inputs.image}', and `pull` is `never`"
        raise TaskError(message, error_type=NOT_FOUND)
    try:
        async for _ in docker.images.pull(inputs.image, stream=True):
            pass
    except aiodocker.DockerError as error:
        raise _pull_error(inputs, error) from None


async def _live(container: Container, inputs: DockerRun, written: Outputs) -> None:
    """Start it and see it to its end; its outputs are listened to before there are any."""
    async with container.attach(stdout=True, stderr=True) as stream:
        await _start(container, inputs)
        feeding = asyncio.create_task(_feed(container, inputs.stdin))
        try:
            while message := await stream.read_out():
                output = written.stdout if message.stream == _STDOUT else written.stderr
                output.take(message.data)
            await container.wait()
        finally:
            feeding.cancel()
            await asyncio.wait([feeding])


async def _start(container: Container, inputs: DockerRun) -> None:
    import aiodocker  # noqa: PLC0415

    try:
        await container.start()
    except aiodocker.DockerError as error:
        if error.status not in (_BAD_REQUEST, _NOT_FOUND):
            raise
        message = f"the container of {inputs.image} cannot be started: {_reason(error)}"
        raise TaskError(message, error_type=COMMAND_FAILED) from None


async def _feed(container: Container, text: str | None) -> None:
    """Write to its standard input and close that, until this is cancelled at the container's end.

    A connection of its own can be closed alone. What the container doesn't want, because it has
    ended or reads nothing, is no failure, but would keep that connection open for ever.
    """
    import aiodocker  # noqa: PLC0415
    import aiohttp  # noqa: PLC0415

    transport: asyncio.Transport | None = None
    if text is None:
        return
    try:
        with suppress(aiodocker.DockerError, aiohttp.ClientError, OSError):
            async with container.attach(stdin=True) as stream:
                transport = stream._resp.connection.transport  # noqa: SLF001 - nothing else aborts
                await stream.write_in(text.encode(errors="replace"))
        await asyncio.Event().wait()
    finally:
        if transport:
            transport.abort()


async def _remove_left(docker: Docker, context: TaskContext) -> None:
    """Remove what an earlier attempt left behind, running or not."""
    wanted = {"label": [f"{KEY_LABEL}={context.idempotency_key}"]}
    for container in await docker.containers.list(all=True, filters=wanted):
        context.log.warning("docker_run.left", container=container.id)
        await _remove(container, context)


async def _remove(container: Container, context: TaskContext) -> None:
    """Kill and remove a container, with the volumes that its image made; it may be gone."""
    import aiodocker  # noqa: PLC0415
    import aiohttp  # noqa: PLC0415

    try:
        async with asyncio.timeout(_CLEAN_UP):
            await container.delete(force=True, v=True)
    except (aiodocker.DockerError, aiohttp.ClientError, TimeoutError) as error:
        if getattr(error, "status", None) not in (_NOT_FOUND, _CONFLICT):  # gone, or going
            reason = _reason(error)
            context.log.warning("docker_run.stray", container=container.id, error=reason)


async def _regardless(work: Coroutine[Any, Any, Result]) -> Result:
    """Finish some work even if a cancel comes meanwhile, and pass the cancel on then."""
    running = asyncio.create_task(work)
    cancel: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as error:
            cancel = error
    if cancel is None:
        return running.result()
    if not running.cancelled():
        running.exception()  # seen; the cancel is what counts
    raise cancel


def _docker_error(error: "aiodocker.DockerError") -> TaskError:
    if error.status == _NO_CONNECTION:
        return TaskError(_reason(error), error_type=CONNECTION_ERROR, retryable=True)
    return TaskError(
        f"the Docker engine refused: {_reason(error)}",
        error_type=DOCKER_ERROR,
        retryable=error.status == _CONFLICT or error.status in _SERVER_ERROR,
        status=error.status,
    )


def _pull_error(inputs: DockerRun, error: "aiodocker.DockerError") -> TaskError:
    """Tell an image that isn't there, or not for us, from a registry that has a bad day."""
    reason = _reason(error)
    message = f"the Docker engine cannot fetch the image '{inputs.image}': {reason}"
    if error.status == _NO_CONNECTION:
        return _docker_error(error)
    if any(word in reason.lower() for word in _NO_ENTRY):
        message += ". It logs in nowhere: have the operator fetch the image, or check its name"
        return TaskError(message, error_type=AUTHENTICATION_ERROR)
    if error.status == _NOT_FOUND or any(word in reason.lower() for word in _NO_IMAGE):
        return TaskError(message, error_type=NOT_FOUND)
    return TaskError(message, error_type=CONNECTION_ERROR, retryable=True)


def _late(inputs: DockerRun, written: Outputs, *, ours: bool) -> TaskError:
    limit = inputs.timeout.total_seconds() if inputs.timeout else 0
    if not ours:
        message = f"the Docker engine gave no answer within {_ANSWER:g}s"
        return TaskError(message, error_type=CONNECTION_ERROR, retryable=True)
    return TaskError(
        f"the container of {inputs.image} was removed: it took longer than its timeout of"
        f" {limit:g}s",
        error_type=ErrorType.TIMEOUT,
        retryable=True,
        stdout_tail=written.stdout.tail,
        stderr_tail=written.stderr.tail,
    )


def _failed(inputs: DockerRun, exit_code: int, written: Outputs, *, oom_killed: bool) -> TaskError:
    last_line = written.last_line
    message = f"the container of {inputs.image} exited with code {exit_code}"
    if oom_killed:
        message += f", killed for wanting more memory than {inputs.memory:,} bytes"
    return TaskError(
        f"{message}: {last_line}" if last_line else message,
        error_type=COMMAND_FAILED,
        retryable=exit_code in inputs.retryable_exit_codes,
        exit_code=exit_code,
        oom_killed=oom_killed,
        stdout_tail=written.stdout.tail,
        stderr_tail=written.stderr.tail,
    )


def _reason(error: Exception) -> str:
    text = str(getattr(error, "message", None) or error) or type(error).__name__
    return text.strip()[:_MOST_REASON]
