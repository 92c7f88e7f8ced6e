"""`python`: functions of modules that the operator allows, and no others."""

import sys
from pathlib import Path
from typing import Any

import pytest
from tests.executors.running import cancel_one, run_one, until

from regrow import Status, TreeClient

SOURCE = """
import asyncio, os, time
from os import getcwd

ENDED = []
STARTED = []

def add(a, b=1):
    return a + b

async def greet(name):
    await asyncio.sleep(0)
    return f"hello {name}"

def fail(text):
    raise RuntimeError(f"it broke: {text}")

async def wait():
    STARTED.append(1)
    try:
        await asyncio.sleep(60)
    finally:
        ENDED.append(1)

def block():
    STARTED.append(1)
    try:
        while True:
            time.sleep(0.05)
    finally:
        ENDED.append(1)

def _private():
    return 1

class Made:
    pass
"""


@pytest.fixture(autouse=True)
def allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "acme_tools.py").write_text(SOURCE)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("REGROW_PYTHON_MODULES", "acme_tools,acme_missing")
    yield
    sys.modules.pop("acme_tools", None)


def call(name: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
    return {"function": f"acme_tools:{name}", "args": list(args), "kwargs": kwargs}


async def test_a_function_is_called_with_its_arguments(client: TreeClient) -> None:
    assert (await run_one(client, "python", call("add", 2, b=3))).result == 5
    assert (await run_one(client, "python", call("greet", "Ann"))).result == "hello Ann"


async def test_functions_in_c_are_functions_too(
    client: TreeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_PYTHON_MODULES", "math")
    ended = await run_one(client, "python", {"function": "math:hypot", "args": [3, 4]})

    assert ended.result == 5


@pytest.mark.parametrize(
    ("inputs", "failure", "text"),
    [
        ({"function": "os:getcwd"}, "not_allowed", "REGROW_PYTHON_MODULES"),
        ({"function": "acme_tools.os:getcwd"}, "not_allowed", "REGROW_PYTHON_MODULES"),
        (call("getcwd"), "not_found", "defines no function 'getcwd'"),
        (call("Made"), "not_found", "defines no function 'Made'"),
        (call("ad"), "not_found", "did you mean 'add'?"),
        (call("_private"), "validation_error", "function"),
        ({"function": "acme_missing:f"}, "not_found", "no module 'acme_missing'"),
        (call("add"), "validation_error", "missing a required argument: 'a'"),
        (call("add", 1, c=2), "validation_error", "unexpected keyword argument 'c'"),
    ],
)
async def test_what_may_not_or_cannot_be_called_fails_once(
    client: TreeClient, inputs: Any, failure: str, text: str
) -> None:
    ended = await run_one(client, "python", inputs)

    assert ended.failure == (failure, 1)
    assert text in (ended.task.error or "")


async def test_what_it_raises_is_tried_again(
    client: TreeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_SECRET_KEY", "s3cr3t-of-the-test")
    ended = await run_one(client, "python", call("fail", "${{ secrets.KEY }}"))

    assert ended.failure == ("RuntimeError", 3)
    assert ended.task.error == "it broke: ***"
    assert "s3cr3t-of-the-test" not in ended.traces


@pytest.mark.parametrize("name", ["wait", "block"])
async def test_a_cancel_interrupts_it(client: TreeClient, name: str) -> None:
    ended = await cancel_one(client, "python", call(name), _started)

    assert ended.task.status is Status.CANCELLED
    assert await _ended() == [1]


async def test_a_timeout_leaves_nothing_running(client: TreeClient) -> None:
    ended = await run_one(
        client,
        "python",
        call("wait"),
        start_to_close_timeout="0.5s",
        retry={"maximum_attempts": 1},
    )

    assert ended.failure[0] == "timeout_error"
    assert await _ended() == [1]


async def _started() -> None:
    await until(lambda: getattr(sys.modules.get("acme_tools"), "STARTED", None))


async def _ended() -> list[int]:
    await until(lambda: sys.modules["acme_tools"].ENDED)
    return sys.modules["acme_tools"].ENDED
