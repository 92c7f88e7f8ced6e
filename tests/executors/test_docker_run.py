"""`docker_run` against a double of the engine, and against a real one where one answers.

The double is a real HTTP server on a socket that speaks those parts of the Docker Engine API that
are used, by its documentation. It isolates nothing: its containers are plain processes. So it can
tell what is asked of an engine and in which order, not whether an engine keeps its promises; that
is for the tests that use `real`, which are skipped where no engine answers. When they were written
they passed with Docker Engine 20.10.24 and a busybox 1.35.
"""

import asyncio
import json
import os
import struct
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL
from typing import Any

import aiodocker
import psutil
import pytest
from aiohttp import web
from tests.executors.running import cancel_one, run_one

from regrow import Status, TreeClient
from regrow.activities.catalogue.docker import KEY_LABEL, DockerResult, docker_run
from regrow.core.limits import MIB
from regrow.executors import Registry, TaskContext, TaskError

DOCKER_RUN = Registry(docker_run)["docker_run"]
IMAGE = "busybox:1.36"
DENIED = "pull access denied for {name}, repository does not exist or may require 'docker login'"
KEY = "orders-7/bake"
SLEEP = ["sh", "-c", "echo begun; sleep 60"]


@dataclass
class Container:
    """What the double knows of one container."""

    id: str
    name: str
    config: Mapping[str, Any]
    process: asyncio.subprocess.Process | None = None
    sinks: list[tuple[web.Request, set[int]]] = field(
        default_factory=list[tuple[web.Request, set[int]]]
    )
    exited: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def running(self) -> bool:
        return self.process is not None and not self.exited.is_set()

    @property
    def exit_code(self) -> int:
        code = (self.process.returncode if self.process else None) or 0
        return 128 - code if code < 0 else code

    def hang_up(self) -> None:
        for request, _ in self.sinks:
            if request.transport:
                request.transport.abort()

    def kill(self) -> None:
        if self.process:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, SIGKILL)


class Hijacked:
    """What a client writes to an attached container."""

    def __init__(self) -> None:
        self.chunks: asyncio.Queue[bytes] = asyncio.Queue()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.chunks.put_nowait(bytes(data))
        return False, b""

    def feed_eof(self) -> None:
        self.chunks.put_nowait(b"")

    def set_exception(self, *_: object) -> None:
        self.chunks.put_nowait(b"")


def answer(value: Any, status: int = 200) -> web.Response:
    """Answer as an engine does: without a charset."""
    headers = {"Content-Type": "application/json"}
    return web.Response(body=json.dumps(value).encode(), status=status, headers=headers)


@dataclass
class Engine:
    """The double."""

    images: set[str] = field(default_factory=lambda: {IMAGE})
    registry: dict[str, tuple[int, str]] = field(default_factory=dict[str, tuple[int, str]])
    """What fetching an image gives: a status, and the text of an error if there is one."""
    containers: dict[str, Container] = field(default_factory=dict[str, Container])
    created: list[Container] = field(default_factory=list[Container])
    requests: list[str] = field(default_factory=list[str])
    broken: dict[str, tuple[int, str]] = field(default_factory=dict[str, tuple[int, str]])
    """Answers to the requests that begin so."""
    hold_create: asyncio.Event | None = None
    down: bool = False
    ends_for_memory: bool = False

    @property
    def routes(self) -> list[web.RouteDef]:
        of = "/{version}/containers/{id}"
        return [
            web.get("/version", self.version),
            web.get("/{version}/containers/json", self.list),
            web.post("/{version}/containers/create", self.create),
            web.get(f"{of}/json", self.inspect),
            web.post(f"{of}/attach", self.attach),
            web.post(f"{of}/start", self.start),
            web.post(f"{of}/wait", self.wait),
            web.delete(of, self.delete),
            web.post("/{version}/images/create", self.pull),
        ]

    @web.middleware
    async def watch(self, request: web.Request, handler: Any) -> web.StreamResponse:
        line = f"{request.method} {request.path.removeprefix('/v1.41')}"
        self.requests.append(line)
        if self.down and request.transport:
            request.transport.abort()
        for beginning, (status, text) in self.broken.items():
            if line.startswith(beginning):
                return answer({"message": text}, status=status)
        return await handler(request)

    async def version(self, _: web.Request) -> web.Response:
        return answer({"Version": "20.10.24", "ApiVersion": "1.41"})

    async def list(self, request: web.Request) -> web.Response:
        assert request.query["all"] == "1"
        [label] = json.loads(request.query["filters"])["label"]
        name, _, value = label.partition("=")
        found = [
            {"Id": each.id, "Names": [f"/{each.name}"]}
            for each in self.containers.values()
            if each.config["Labels"].get(name) == value
        ]
        return answer(found)

    async def create(self, request: web.Request) -> web.Response:
        config = await request.json()
        if config["Image"] not in self.images:
            return answer({"message": f"No such image: {config['Image']}"}, status=404)
        name = request.query["name"]
        if any(each.name == name for each in self.containers.values()):
            return answer({"message": f'Conflict. "/{name}" is in use'}, status=409)
        if self.hold_create:
            await self.hold_create.wait()
        container = Container(os.urandom(32).hex(), name, config)
        self.containers[container.id] = container
        self.created.append(container)
        return answer({"Id": container.id, "Warnings": []}, status=201)

    def _of(self, request: web.Request) -> Container:
        wanted = request.match_info["id"]
        for each in self.containers.values():
            if wanted in (each.id, each.name):
                return each
        text = json.dumps({"message": f"No such container: {wanted}"})
        raise web.HTTPNotFound(text=text, content_type="application/json")

    async def inspect(self, request: web.Request) -> web.Response:
        container = self._of(request)
        state = {
            "Running": container.running,
            "ExitCode": container.exit_code,
            "OOMKilled": self.ends_for_memory,
        }
        return answer({"Id": container.id, "Config": dict(container.config), "State": state})

    async def attach(self, request: web.Request) -> web.StreamResponse:
        container = self._of(request)
        response = web.StreamResponse(
            status=101, headers={"Connection": "Upgrade", "Upgrade": "tcp"}
        )
        hijacked: Any = Hijacked()
        await response.prepare(request)
        request.protocol.set_parser(hijacked)  # as aiohttp's own web sockets do
        if request.query["stdin"] == "1":
            await self._feed(container, hijacked)
            return response
        kinds = {
            kind for kind, name in ((1, "stdout"), (2, "stderr")) if request.query[name] == "1"
        }
        container.sinks.append((request, kinds))
        await container.exited.wait()
        assert request.transport
        request.transport.close()
        return response

    async def _feed(self, container: Container, hijacked: Hijacked) -> None:
        stdin: Any = container.process.stdin if container.process else None
        with suppress(OSError):
            while chunk := await hijacked.chunks.get():
                stdin.write(chunk)
                await stdin.drain()
            if container.config["StdinOnce"]:
                stdin.close()

    async def start(self, request: web.Request) -> web.Response:
        container, pipe = self._of(request), asyncio.subprocess.PIPE
        config = container.config
        try:
            container.process = await asyncio.create_subprocess_exec(
                *config["Cmd"],
                stdin=pipe if config["OpenStdin"] else asyncio.subprocess.DEVNULL,
                stdout=pipe,
                stderr=pipe,
                env={"PATH": os.environ["PATH"], **dict(e.split("=", 1) for e in config["Env"])},
                start_new_session=True,
            )
        except FileNotFoundError:
            text = f'exec: "{config["Cmd"][0]}": executable file not found in $PATH: unknown'
            return answer({"message": text}, status=400)
        self._running = asyncio.create_task(self._run(container, container.process))
        return web.Response(status=204)

    async def _run(self, container: Container, process: asyncio.subprocess.Process) -> None:
        await asyncio.gather(
            self._copy(container, 1, process.stdout), self._copy(container, 2, process.stderr)
        )
        await process.wait()
        container.exited.set()

    async def _copy(self, container: Container, kind: int, source: Any) -> None:
        while data := await source.read(32 * 1024):
            for request, kinds in container.sinks:
                if kind in kinds and request.transport:
                    request.transport.write(struct.pack(">BxxxL", kind, len(data)) + data)

    async def wait(self, request: web.Request) -> web.Response:
        container = self._of(request)
        await container.exited.wait()
        return answer({"StatusCode": container.exit_code})

    async def delete(self, request: web.Request) -> web.Response:
        container = self._of(request)
        assert (request.query.get("force"), request.query.get("v")) == ("1", "1")
        container.kill()
        del self.containers[container.id]
        return web.Response(status=204)

    async def pull(self, request: web.Request) -> web.StreamResponse:
        tag = request.query.get("tag")
        image = request.query["fromImage"] + (f":{tag}" if tag else "")
        status, text = self.registry.get(image, (404, DENIED.format(name=image)))
        if status != 200:
            return answer({"message": text}, status=status)
        lines: list[dict[str, Any]] = [{"status": "Pulling"}]
        lines += [{"error": text, "errorDetail": {"message": text}}] if text else []
        self.images |= set() if text else {image}
        return web.Response(
            text="".join(f"{json.dumps(line)}\r\n" for line in lines),
            content_type="application/json",
        )


@asynccontextmanager
async def serving(engine: Engine, socket: Path) -> AsyncGenerator[str]:
    application = web.Application(middlewares=[engine.watch])
    application.add_routes(engine.routes)
    runner = web.AppRunner(application, shutdown_timeout=1)
    await runner.setup()
    await web.UnixSite(runner, str(socket)).start()
    try:
        yield f"unix://{socket}"
    finally:
        for container in engine.created:
            container.kill()
        await runner.cleanup()


@pytest.fixture(autouse=True)
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGROW_DOCKER_IMAGES", "busybox:*, registry.test/tools/*")


@pytest.fixture
async def double(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Engine]:
    engine = Engine()
    async with serving(engine, tmp_path_factory.mktemp("d") / "s") as url:
        monkeypatch.setenv("DOCKER_HOST", url)
        yield engine


@pytest.fixture
async def real() -> None:
    """Skip where no engine answers, or where it has no image to run and can fetch none."""
    try:
        async with aiodocker.Docker(url=os.environ.get("DOCKER_HOST")) as docker:
            images: Any = docker.images
            if not await images.list(filters={"reference": [IMAGE]}):
                await docker.images.pull(IMAGE)
    except (AssertionError, ValueError, aiodocker.DockerError) as error:
        pytest.skip(f"no Docker engine: {error}")


@pytest.fixture(params=["double", "real"])
def engine(request: pytest.FixtureRequest) -> None:
    """Each of both."""
    request.getfixturevalue(request.param)


async def run(*command: str, context: TaskContext | None = None, **inputs: Any) -> DockerResult:
    """Call as the host does: with JSON."""
    context = context or TaskContext(tree_id="orders-7", task_id="bake")
    return await DOCKER_RUN.call({"image": IMAGE, "command": list(command), **inputs}, context)


async def failure(running: Coroutine[Any, Any, DockerResult]) -> TaskError:
    with pytest.raises(TaskError) as raised:
        await running
    return raised.value


async def left(key: str = KEY) -> list[str]:
    """Ask the engine for the containers of a task, whatever their state."""
    async with aiodocker.Docker(url=os.environ.get("DOCKER_HOST")) as docker:
        return [each.id for each in await docker.containers.list(all=True, filters=_of(key))]  # pyright: ignore[reportUnknownMemberType]


async def begun(key: str = KEY) -> None:
    """Wait for a container of a task to run."""
    async with aiodocker.Docker(url=os.environ.get("DOCKER_HOST")) as docker, asyncio.timeout(30):
        while True:
            for each in await docker.containers.list(all=True, filters=_of(key)):  # pyright: ignore[reportUnknownMemberType]
                shown: Any = await each.show()  # pyright: ignore[reportUnknownMemberType]
                if shown["State"]["Running"]:
                    return
            await asyncio.sleep(0.05)


def _of(key: str) -> dict[str, list[str]]:
    return {"label": [f"{KEY_LABEL}={key}"]}


async def is_gone(container: Container) -> bool:
    """Wait until the process of a container has ended."""
    assert container.process
    pid = container.process.pid
    return await asyncio.to_thread(_until, lambda: not _lives(pid), 10)


def _lives(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def _until(is_so: Callable[[], bool], patience: float) -> bool:
    until = time.monotonic() + patience
    while not is_so():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


# In a tree


@pytest.mark.usefixtures("engine")
async def test_a_container_gives_its_exit_code_and_both_outputs(
    client: TreeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_SECRET_TOKEN", "s3cr3t-value-of-the-test")

    ended = await run_one(
        client,
        "docker_run",
        {
            "image": IMAGE,
            "command": ["sh", "-c", "echo ${#TOKEN}; echo err >&2"],
            "env": {"TOKEN": "${{ secrets.TOKEN }}"},
        },
    )

    assert ended.result == {
        "exit_code": 0,
        "stdout": "24\n",
        "stderr": "err\n",
        "truncated": False,
        "oom_killed": False,
    }
    assert "s3cr3t" not in ended.traces


async def test_an_engine_that_is_not_there_is_tried_again(
    client: TreeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///no/such/socket")

    ended = await run_one(client, "docker_run", {"image": IMAGE})

    assert ended.failure == ("connection_error", 3)
    assert "Cannot connect to Docker Engine via unix:///no/such/socket" in (ended.task.error or "")


@pytest.mark.usefixtures("engine")
async def test_a_non_zero_exit_is_not_tried_again(client: TreeClient) -> None:
    inputs = {"image": IMAGE, "command": ["sh", "-c", "echo why >&2; exit 3"]}

    ended = await run_one(client, "docker_run", inputs)

    assert ended.failure == ("command_failed", 1)
    assert ended.task.error == f"the container of {IMAGE} exited with code 3: why"


async def test_an_exit_code_may_be_worth_another_attempt(
    client: TreeClient, double: Engine
) -> None:
    inputs = {"image": IMAGE, "command": ["sh", "-c", "exit 75"], "retryable_exit_codes": [75]}

    ended = await run_one(client, "docker_run", inputs)

    assert ended.failure == ("command_failed", 3)
    assert [each.name[-2:] for each in double.created] == ["-1", "-2", "-3"]
    assert double.containers == {}


async def test_a_cancel_removes_the_container(client: TreeClient, double: Engine) -> None:
    inputs = {"image": IMAGE, "command": SLEEP}

    async def runs() -> None:
        assert await asyncio.to_thread(_until, lambda: any(map(_runs, double.created)), 30)

    ended = await cancel_one(client, "docker_run", inputs, runs)

    assert ended.task.status is Status.CANCELLED
    assert double.containers == {}
    assert await is_gone(double.created[0])


def _runs(container: Container) -> bool:
    return container.running


# What runs


@pytest.mark.usefixtures("engine")
async def test_arguments_arrive_as_they_are_written() -> None:
    odd = ["$HOME; rm -rf *", "a b", "", "'\"", "ü", "two\nlines"]

    result = await run("printf", "%s|", *odd)

    assert result.stdout == "|".join([*odd, ""])


@pytest.mark.usefixtures("engine")
async def test_standard_input_is_the_text_or_nothing() -> None:
    assert (await run("wc", "-c", stdin="x" * MIB)).stdout.strip() == str(MIB)
    assert (await run("cat", stdin="")).stdout == ""
    assert (await run("cat")).stdout == ""


@pytest.mark.usefixtures("engine")
async def test_a_container_need_not_read_its_standard_input() -> None:
    result = await run("sh", "-c", "sleep 1; echo done", stdin="x" * MIB)

    assert result.stdout == "done\n"


@pytest.mark.usefixtures("engine")
async def test_output_beyond_the_limit_is_cut_and_the_container_goes_on() -> None:
    code = "yes ab | head -c 4000000; echo end >&2"

    result = await run("sh", "-c", code, max_output=1_000)

    assert result.stdout == ("ab\n" * 334)[:1_000]
    assert (result.stderr, result.truncated) == ("end\n", True)


@pytest.mark.usefixtures("engine")
async def test_an_exit_code_is_a_result_when_it_is_not_checked() -> None:
    result = await run("sh", "-c", "echo differs; exit 1", check=False)

    assert (result.exit_code, result.stdout) == (1, "differs\n")


@pytest.mark.usefixtures("engine")
async def test_a_program_that_is_not_in_the_image_fails_for_good() -> None:
    failed = await failure(run("no-such-program"))

    assert (failed.error_type, failed.retryable) == ("command_failed", False)
    assert failed.error.startswith(f"the container of {IMAGE} cannot be started: ")
    assert '"no-such-program": executable file not found' in failed.error
    assert await left() == []


async def test_all_that_confines_it_is_asked_of_the_engine(double: Engine) -> None:
    context = TaskContext(tree_id="orders-7", task_id="bake", index=2, attempt=4)

    await run("true", context=context, env={"N": 7}, workdir="/srv", cpus=0.5, memory="64m")

    [container] = double.created
    assert container.name == "regrow-dcf99dcdb6544e64-4"
    assert container.config == {
        "Image": IMAGE,
        "Cmd": ["true"],
        "Env": ["HOME=/tmp", "N=7"],
        "User": "65534:65534",
        "WorkingDir": "/srv",
        "Labels": {
            "regrow.key": "orders-7/bake[2]",
            "regrow.tree": "orders-7",
            "regrow.task": "bake",
            "regrow.attempt": "4",
        },
        "OpenStdin": False,
        "StdinOnce": False,
        "AttachStdin": False,
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": False,
        "HostConfig": {
            "NetworkMode": "none",
            "Memory": 64 * MIB,
            "MemorySwap": 64 * MIB,
            "NanoCpus": 500_000_000,
            "PidsLimit": 256,
            "ReadonlyRootfs": True,
            "Tmpfs": {"/tmp": f"rw,nosuid,nodev,mode=1777,uid=65534,size={64 * MIB}"},
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "Privileged": False,
            "LogConfig": {"Type": "none"},
            "RestartPolicy": {"Name": "no"},
            "AutoRemove": False,
        },
    }


async def test_outputs_are_listened_to_before_it_starts_and_it_is_removed_at_the_end(
    double: Engine,
) -> None:
    await run("true")

    [container] = double.created
    of = f"/containers/{container.id}"
    assert [line for line in double.requests if not line.startswith("GET")] == [
        "POST /containers/create",
        f"POST {of}/attach",
        f"POST {of}/start",
        f"POST {of}/wait",
        f"DELETE /containers/{container.name}",
    ]


@pytest.mark.usefixtures("real")
async def test_a_real_engine_confines_it() -> None:
    code = """
    id -u; ls /sys/class/net; grep -E 'CapBnd|NoNewPrivs' /proc/self/status
    touch /x; touch /tmp/x && echo written; echo $HOME
    """

    result = await run("sh", "-c", code)

    bounds = ["CapBnd:", "0" * 16, "NoNewPrivs:", "1"]
    assert result.stdout.split() == ["65534", "lo", *bounds, "written", "/tmp"]
    assert result.stderr == "touch: /x: Read-only file system\n"


@pytest.mark.usefixtures("real")
async def test_a_real_engine_ends_what_wants_too_much_memory() -> None:
    failed = await failure(run("tail", "/dev/zero", memory="16m"))

    assert (failed.error_type, failed.details["exit_code"]) == ("command_failed", 137)


async def test_an_end_for_want_of_memory_is_told(double: Engine) -> None:
    double.ends_for_memory = True

    failed = await failure(run("sh", "-c", "echo Killed >&2; kill -9 $$", memory="16m"))

    assert failed.error == (
        f"the container of {IMAGE} exited with code 137, killed for wanting more memory than"
        " 16,777,216 bytes: Killed"
    )
    assert failed.details == {
        "exit_code": 137,
        "oom_killed": True,
        "stdout_tail": "",
        "stderr_tail": "Killed\n",
    }


# Time, cancels, and what is left


@pytest.mark.usefixtures("engine")
async def test_a_timeout_removes_the_container() -> None:
    failed = await failure(run(*SLEEP, timeout="3s"))

    assert (failed.error_type, failed.retryable) == ("timeout_error", True)
    assert failed.error == (
        f"the container of {IMAGE} was removed: it took longer than its timeout of 3s"
    )
    assert failed.details["stdout_tail"] == "begun\n"
    assert await left() == []


@pytest.mark.usefixtures("engine")
async def test_a_cancel_ends_what_runs_however_often_it_comes() -> None:
    running = asyncio.create_task(run(*SLEEP))
    await begun()
    while not running.done():
        running.cancel()
        await asyncio.sleep(0.01)

    assert running.cancelled()
    assert await left() == []


async def test_a_cancel_while_the_engine_creates_it_leaves_none(double: Engine) -> None:
    double.hold_create = asyncio.Event()
    running = asyncio.create_task(run(*SLEEP))
    created = "POST /containers/create"
    assert await asyncio.to_thread(_until, lambda: created in double.requests, 10)
    running.cancel()
    await asyncio.sleep(0.1)
    double.hold_create.set()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert len(double.created) == 1
    assert double.containers == {}


@pytest.mark.usefixtures("engine")
async def test_an_attempt_removes_what_one_before_left_running() -> None:
    worker = asyncio.create_task(run(*SLEEP, stdin="for ever"))
    await begun()
    [old] = await left()

    later = TaskContext(tree_id="orders-7", task_id="bake", attempt=2)
    result = await run("echo", "again", context=later)

    assert result.stdout == "again\n"
    assert old not in await left()
    with pytest.raises(TaskError):  # what the worker that was given up learns
        await worker


async def test_only_containers_of_the_same_task_are_removed(double: Engine) -> None:
    other = asyncio.create_task(run(*SLEEP, context=TaskContext(tree_id="orders-8")))
    await begun("orders-8/task")

    await run("true")

    assert len(await left("orders-8/task")) == 1
    other.cancel()
    with pytest.raises(asyncio.CancelledError):
        await other
    assert double.containers == {}


async def test_an_end_that_cannot_be_cleaned_up_is_still_an_end(double: Engine) -> None:
    double.broken["DELETE"] = (500, "the disk is full")

    assert (await run("true")).exit_code == 0


# Images


async def test_an_image_that_is_missing_is_fetched(double: Engine) -> None:
    double.registry["busybox:1"] = (200, "")

    result = await run("true", image="busybox:1")

    assert result.exit_code == 0
    assert double.requests.count("POST /images/create") == 1


async def test_an_image_that_must_be_there_is_not_fetched(double: Engine) -> None:
    failed = await failure(run("true", image="busybox:2", pull="never"))

    assert (failed.error_type, failed.retryable) == ("not_found", False)
    assert failed.error == ("the Docker engine has no image 'busybox:2', and `pull` is `never`")
    assert "POST /images/create" not in double.requests


@pytest.mark.parametrize(
    ("answer", "error_type", "retryable"),
    [
        ((404, "manifest for busybox:2 not found: manifest unknown"), "not_found", False),
        ((404, DENIED.format(name="busybox")), "authentication_error", False),
        ((500, "Get https://registry/v2/: unauthorized"), "authentication_error", False),
        ((500, "dial tcp: lookup registry: no such host"), "connection_error", True),
        ((200, "toomanyrequests: slow down"), "connection_error", True),
        ((200, "no matching manifest for linux/arm64"), "not_found", False),
    ],
)
async def test_why_an_image_cannot_be_fetched_is_told(
    double: Engine, answer: tuple[int, str], error_type: str, *, retryable: bool
) -> None:
    double.registry["busybox:2"] = answer

    failed = await failure(run("true", image="busybox:2"))

    assert (failed.error_type, failed.retryable) == (error_type, retryable)
    assert failed.error.startswith(
        f"the Docker engine cannot fetch the image 'busybox:2': {answer[1]}"
    )


@pytest.mark.parametrize(
    ("patterns", "image"),
    [
        ("", "busybox"),
        ("busybox", "busybox:1.36"),
        ("python:3.*", "python:2.7"),
        ("python:3*", "python:3000/any/image"),
        ("tools/*", "tools/deep/image"),
        ("*", "other/image"),
        ("registry.test/*", "registry.test.evil.example/image"),
    ],
)
async def test_an_image_that_no_pattern_allows_is_refused(
    patterns: str, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_DOCKER_IMAGES", patterns)

    refused = await failure(run(image=image))

    assert (refused.error_type, refused.retryable) == ("not_allowed", False)
    assert refused.error == (
        f"this worker may not run the image '{image}'; its operator allows it by a pattern in"
        " REGROW_DOCKER_IMAGES"
    )


# Networks


async def test_a_network_is_the_operators_to_allow(
    double: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = await failure(run("true", network="bridge"))
    monkeypatch.setenv("REGROW_DOCKER_NETWORKS", "outside, bridge")
    await run("true", network="bridge")

    assert (refused.error_type, refused.retryable) == ("not_allowed", False)
    assert refused.error == (
        "this worker may not put a container on the network 'bridge'; its operator allows it by"
        " listing it in REGROW_DOCKER_NETWORKS"
    )
    assert double.created[0].config["HostConfig"]["NetworkMode"] == "bridge"


# The engine


@pytest.mark.parametrize(
    ("request_line", "status", "retryable"),
    [
        ("POST /containers/create", 500, True),
        ("POST /containers/create", 409, True),
        ("POST /containers/create", 400, False),
        ("GET /containers/json", 503, True),
    ],
)
async def test_an_engine_that_fails_is_worth_another_attempt_unless_it_refuses(
    double: Engine, request_line: str, status: int, *, retryable: bool
) -> None:
    double.broken[request_line] = (status, "something of its own")

    failed = await failure(run("true"))

    assert (failed.error_type, failed.retryable) == ("docker_error", retryable)
    assert failed.error == "the Docker engine refused: something of its own"
    assert failed.details == {"status": status}


async def test_an_engine_that_breaks_off_is_worth_another_attempt(double: Engine) -> None:
    running = asyncio.create_task(run(*SLEEP))
    await begun()
    double.down = True
    double.created[0].hang_up()
    with pytest.raises(TaskError) as raised:
        await running

    assert (raised.value.error_type, raised.value.retryable) == ("connection_error", True)


async def test_a_worker_without_an_engine_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr("aiodocker.docker._sock_search_paths", [])

    failed = await failure(run("true"))

    assert (failed.error_type, failed.retryable) == ("connection_error", True)
    assert failed.error == (
        "this worker has no Docker engine; its operator names one by DOCKER_HOST, or starts one on"
        " this machine"
    )


async def test_the_engine_is_that_of_docker_host_as_for_docker_itself(
    double: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONTEXT", "elsewhere")

    assert (await run("true")).exit_code == 0
    assert len(double.created) == 1


# What is refused


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        ({"image": ""}, "image: "),
        ({"image": "../../containers"}, "image: "),
        ({"image": "a/../b"}, "write an image like python:3.12-slim"),
        ({"image": "a?b=c"}, "image: "),
        ({"user": "0"}, "user: "),
        ({"user": "root"}, "user: "),
        ({"user": "00"}, "user: "),
        ({"network": "container:other"}, "network: "),
        ({"memory": "1m"}, "memory: "),
        ({"memory": "lots"}, "write a size like 512m, 2g or a number of bytes"),
        ({"cpus": 0}, "cpus: "),
        ({"pids_limit": 0}, "pids_limit: "),
        ({"workdir": "relative"}, "workdir: "),
        ({"env": {"A=B": "c"}}, "env.A=B.[key]: "),
        ({"command": "ls -l"}, "command: "),
        ({"pull": "always"}, "pull: "),
        ({"timeout": 0}, "timeout: "),
        ({"max_output": MIB + 1}, "max_output: "),
    ],
)
async def test_unusable_inputs_are_refused(inputs: dict[str, Any], problem: str) -> None:
    with pytest.raises(TaskError) as refused:
        await DOCKER_RUN.call({"image": IMAGE, **inputs}, TaskContext())

    assert refused.value.error_type == "validation_error"
    assert problem in refused.value.error


@pytest.mark.parametrize(
    ("memory", "size"),
    [("512m", 512 * MIB), ("2G", 2048 * MIB), ("65536kb", 64 * MIB), (8_000_000, 8_000_000)],
)
async def test_sizes_are_read_as_docker_reads_them(
    double: Engine, memory: str | int, size: int
) -> None:
    await run("true", memory=memory)

    assert double.created[0].config["HostConfig"]["Memory"] == size


async def test_the_executor_is_there_without_importing_aiodocker() -> None:
    code = "import regrow.activities.catalogue.docker, sys; sys.exit('aiodocker' in sys.modules)"
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", code)

    assert await child.wait() == 0
