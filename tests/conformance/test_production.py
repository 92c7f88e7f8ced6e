"""The guide's section "Production Readiness": rows PR-1, PR-3 and PR-4."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from subprocess import run
from typing import Any

import pytest
from tests.conformance.executors import Nap, nap
from tests.conformance.running import Document, ended, run_tree, scheduled, spent, task, tree

from regrow import Status, TaskContext, TreeClient, executor_register
from regrow.activities.catalogue import make_registry
from regrow.client import ServerUnreachable
from regrow.embedded import EmbeddedServer
from regrow.executors import ExecutorErrors
from regrow.settings import InvalidSettings, load_settings
from regrow.testing import worker_env

Guide = dict[str, Any]
Lines = Callable[[], list[dict[str, Any]]]
SECRET = "hunter2-planted"


async def test_pr1_one_line_at_start_success_and_failure(
    server: EmbeddedServer, json_lines: Lines
) -> None:
    @executor_register("guarded")
    async def guarded(inputs: Guide, context: TaskContext) -> Guide:
        if inputs["fails"] and context.attempt == 1:
            raise ConnectionError("no answer")
        if inputs["fails"]:
            return {"status": "failed", "error": "gave up", "error_type": "execution_error"}
        return {"status": "completed", "result": inputs["password"]}

    document = tree(
        task("good", executor="guarded", inputs={"fails": False, "password": SECRET}),
        task("bad", executor="guarded", inputs={"fails": True, "password": SECRET}),
    )
    async with worker_env(server.client, guarded) as client:
        result = await run_tree(client, document)  # which replays it too

    lines = [line for line in json_lines() if line["event"].startswith("task.")]
    by_task = {name: [line for line in lines if line["task"] == name] for name in ("good", "bad")}
    assert {
        name: [(line["event"], line["attempt"], line["level"]) for line in of_task]
        for name, of_task in by_task.items()
    } == {
        "good": [("task.started", 1, "info"), ("task.completed", 1, "info")],
        "bad": [
            ("task.started", 1, "info"),
            ("task.failed", 1, "warning"),
            ("task.started", 2, "info"),
            ("task.failed", 2, "warning"),
        ],
    }
    assert {(line["tree"], line["executor"]) for line in lines} == {(result.tree_id, "guarded")}
    assert [line.get("error_type") for line in by_task["bad"]] == [
        None, "ConnectionError", None, "execution_error",
    ]  # fmt: skip


async def test_pr1_no_line_shows_inputs_or_results(
    server: EmbeddedServer, json_lines: Lines
) -> None:
    @executor_register("login")
    async def login(inputs: Guide, context: TaskContext) -> Guide:
        context.log.info("acme.login", user="ann")
        return {"status": "completed", "result": inputs["password"], "token": SECRET}

    document = tree(
        task("login", inputs={"password": SECRET, "more": [SECRET]}),
        task("again", "login!", executor="login", inputs={"password": SECRET}),
        task("wrong", executor="nap", inputs={"seconds": SECRET}),
    )
    async with worker_env(server.client, login, nap) as client:
        result = await run_tree(client, document)

    lines = json_lines()
    assert result.outputs == {"again": SECRET}
    assert SECRET not in json.dumps(lines)
    assert [line["error_type"] for line in lines if line["event"] == "task.failed"] == [
        "validation_error"
    ]
    assert [
        (line["tree"], line["task"], line["attempt"], line["user"])
        for line in lines
        if line["event"] == "acme.login"
    ] == [(result.tree_id, "login", 1, "ann"), (result.tree_id, "again", 1, "ann")]


async def test_pr1_replays_and_queries_write_no_line(
    server: EmbeddedServer, json_lines: Lines
) -> None:
    @executor_register("quiet")
    async def quiet(inputs: Guide) -> None: ...

    async with worker_env(server.client, quiet) as client:
        handle = await client.start(tree(task("quiet")))
        await handle.result()
        json_lines()
        await ended(client, handle)
        await handle.workflow_handle.query("status")
        assert json_lines() == []


async def test_pr3_an_executor_beyond_its_timeout_is_stopped_and_the_limit_named(
    server: EmbeddedServer,
) -> None:
    interrupted: asyncio.Queue[int] = asyncio.Queue()
    home = asyncio.get_running_loop()

    @executor_register("slow", heartbeat_timeout="1s")
    async def slow(inputs: Nap, context: TaskContext) -> None:
        try:
            await asyncio.sleep(inputs.seconds)
        except asyncio.CancelledError:
            home.call_soon_threadsafe(interrupted.put_nowait, context.attempt)
            raise

    limits: dict[str, Document] = {
        "each": {"start_to_close_timeout": 1, "retry": {"maximum_attempts": 2}},
        "all": {"schedule_to_close_timeout": 1, "retry": {"maximum_attempts": 9}},
    }
    document = tree(
        *(task(n, executor="slow", inputs={"seconds": 20}, **each) for n, each in limits.items())
    )
    async with worker_env(server.client, slow) as client:
        result = await run_tree(client, document)
        async with asyncio.timeout(10):  # word of a timeout comes with the next heartbeat
            attempts = [await interrupted.get() for _ in range(3)]

    each, total = result.tasks.values()
    assert (each.status, each.error_type, each.attempts) == (Status.FAILED, "timeout_error", 2)
    assert each.error == "start_to_close_timeout of 1s exceeded"
    assert total.error_type == "timeout_error"
    assert total.error == "schedule_to_close_timeout of 1s exceeded"
    assert spent(result) < 10
    assert sorted(attempts) == [1, 1, 2]


async def test_pr3_the_guides_own_timeout_is_an_answer_like_any_other(
    server: EmbeddedServer,
) -> None:
    @executor_register("bounded")
    async def bounded(inputs: Guide) -> Guide:
        timeout = inputs.get("timeout", 30)
        try:
            await asyncio.wait_for(asyncio.sleep(5), timeout=timeout)
        except TimeoutError:
            error = f"Operation timed out after {timeout}s"
            return {"status": "failed", "error": error, "error_type": "timeout"}
        return {"status": "completed"}

    document = tree(task("bounded", inputs={"timeout": 0.1}))
    async with worker_env(server.client, bounded) as client:
        end = (await run_tree(client, document)).tasks["bounded"]

    assert (end.error_type, end.error) == ("timeout", "Operation timed out after 0.1s")
    assert end.attempts == 1


async def test_pr3_every_activity_has_timeouts(server: EmbeddedServer) -> None:
    @executor_register("quick")
    async def quick(inputs: Guide) -> None: ...

    own = {"schedule_to_close_timeout": "2h", "heartbeat_timeout": "2m"}
    document = tree(task("default", executor="quick"), task("own", executor="quick", **own))
    async with worker_env(server.client, quick) as client:
        result = await run_tree(client, document)
        activities = await scheduled(client, result.tree_id)

    default, long = activities.values()
    assert default.start_to_close_timeout.ToTimedelta() == timedelta(minutes=5)
    assert default.heartbeat_timeout.ToTimedelta() == timedelta(seconds=30)
    assert long.start_to_close_timeout.ToTimedelta() == timedelta(minutes=5)
    assert long.schedule_to_close_timeout.ToTimedelta() == timedelta(hours=2)
    assert long.heartbeat_timeout.ToTimedelta() == timedelta(minutes=2)


async def test_pr3_a_worker_that_falls_silent_is_noticed(server: EmbeddedServer) -> None:
    @executor_register("hangs", heartbeat_timeout="1s", retry={"maximum_attempts": 1})
    async def hangs(inputs: Guide) -> None:
        time.sleep(3.0)  # noqa: ASYNC251 - it stops the loop it runs on

    async with worker_env(server.client, hangs) as client:
        end = (await run_tree(client, tree(task("hangs")))).tasks["hangs"]

    assert end.error_type == "timeout_error"
    assert (end.error or "").startswith("heartbeat_timeout of 1s exceeded")


def wait_for_end(pid_files: list[Path]) -> None:
    deadline = time.monotonic() + 10
    for pid in (int(file.read_text()) for file in pid_files):
        with suppress(ProcessLookupError):
            while time.monotonic() < deadline:
                os.kill(pid, 0)
                time.sleep(0.05)
            pytest.fail(f"{pid} is still alive")


async def test_pr3_a_program_is_killed_at_its_timeout(
    server: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_COMMAND_ALLOW", "/bin/sh")
    script = 'echo $$ > "$0"; exec sleep 60'
    files = [tmp_path / "activity", tmp_path / "program"]
    by_activity, by_program = ({"argv": ["/bin/sh", "-c", script, str(file)]} for file in files)
    limits = {"start_to_close_timeout": 1, "heartbeat_timeout": 1}
    document = tree(
        task("activity", executor="command", inputs=by_activity, **limits),
        task("program", executor="command", inputs={**by_program, "timeout": 1}),
        defaults={"retry": {"maximum_attempts": 1}},
    )
    async with worker_env(server.client) as client:
        result = await run_tree(client, document)
        await asyncio.to_thread(wait_for_end, files)

    assert [end.error_type for end in result.tasks.values()] == ["timeout_error"] * 2
    assert result.tasks["activity"].error == "start_to_close_timeout of 1s exceeded"
    assert "1s" in (result.tasks["program"].error or "")


BAD_SETTINGS = {
    "REGROW_MAX_CONCURRENT_TASKS": "0",
    "REGROW_GRACEFUL_SHUTDOWN_TIMEOUT": "soon",
    "REGROW_LOG_LEVEL": "LOUD",
    "REGROW_TASK_QUEUE": "",
}


def test_pr4_every_bad_setting_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in BAD_SETTINGS.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(InvalidSettings) as refusal:
        load_settings()
    code, said = regrow_worker()

    named = [problem.split("=")[0] for problem in refusal.value.problems]
    assert sorted(named) == sorted(BAD_SETTINGS)
    assert code == 1
    assert all(problem in said for problem in refusal.value.problems)


NEEDY = {
    "acme_api": """
from pydantic_settings import BaseSettings
class Api(BaseSettings):
    API_KEY: str
    API_URL: str
Api()
""",
    "acme_database": """
import os
def validate_config():
    required_vars = ["DATABASE_URL", "DATABASE_USER"]
    missing = [var for var in required_vars if not os.getenv(var)]
    if missing:
        raise ValueError(f"Missing required environment variables: {missing}")
validate_config()
""",
}


def test_pr4_every_missing_variable_is_named_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in NEEDY.items():
        (tmp_path / f"{name}.py").write_text(text)
    files = [str(tmp_path / f"{name}.py") for name in NEEDY]
    monkeypatch.setattr(sys, "path", [*sys.path])

    with pytest.raises(ExecutorErrors) as refusal:
        make_registry(tuple(files))
    code, said = regrow_worker("--executors", files[0], "--executors", files[1])

    assert len(refusal.value.problems) == 2
    assert code == 1
    for missing in ("API_KEY", "API_URL", "DATABASE_URL", "DATABASE_USER"):
        assert missing in str(refusal.value)
        assert missing in said
    assert "Traceback" not in said


async def test_pr4_a_server_that_does_not_answer_is_named() -> None:
    address = "127.0.0.1:1"

    with pytest.raises(ServerUnreachable, match=address):
        await TreeClient.connect(address=address)
    code, said = await asyncio.to_thread(regrow_worker, "--address", address)

    assert code == 1
    assert f"no Temporal server answers at {address}" in said
    assert "Traceback" not in said


def regrow_worker(*options: str) -> tuple[int, str]:
    """Start a worker as an operator does; gives its exit code and what it said."""
    command = [sys.executable, "-m", "regrow", "worker", *options]
    done = run(command, env=os.environ, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr
