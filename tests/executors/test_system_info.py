"""`system_info` on the machine that runs the tests."""

import getpass
import json
import os
import platform
import socket
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.executors.running import as_text, run_one

from regrow import Status, TreeClient
from regrow.activities.catalogue.system import SystemInfoResult, system_info
from regrow.executors import Registry, TaskContext, TaskError

SYSTEM_INFO = Registry(system_info)["system_info"]
SECRET = "s3cr3t-value-of-the-test"


def ask(**inputs: Any) -> SystemInfoResult:
    """Call as the host does: with JSON."""
    return SYSTEM_INFO.call(inputs, TaskContext())


def test_everything_is_told_by_default() -> None:
    told = ask()

    assert told.cpu
    assert told.cpu.logical == psutil.cpu_count()
    assert 1 <= told.cpu.usable <= told.cpu.logical
    assert 0 <= told.cpu.percent <= 100
    assert told.memory
    assert told.memory.total == psutil.virtual_memory().total
    assert 0 < told.memory.available <= told.memory.total
    assert told.disk
    assert told.disk.total == psutil.disk_usage(os.curdir).total
    assert told.platform
    assert told.platform.python == platform.python_version()
    assert told.platform.booted_at.timestamp() == psutil.boot_time()
    assert told.load
    assert told.load.one_minute >= 0


def test_only_what_is_asked_for_is_told() -> None:
    told = ask(kinds=["memory", "load"])

    assert [kind for kind, value in told if value is not None] == ["memory", "load"]


@pytest.mark.parametrize("kinds", [[], ["cpu", "users"], ["env"], "cpu"])
def test_nothing_else_can_be_asked_for(kinds: Any) -> None:
    with pytest.raises(TaskError) as refused:
        ask(kinds=kinds)

    assert refused.value.error_type == "validation_error"
    assert refused.value.error.startswith("system_info was given invalid inputs: kinds")


def test_the_demo_has_the_form_of_the_result() -> None:
    demo = SYSTEM_INFO.demo

    assert SystemInfoResult.model_validate(demo({})).cpu
    assert SystemInfoResult.model_validate(demo({"kinds": ["disk"]})).cpu is None


async def test_a_tree_is_told_what_the_machine_is_and_not_who(
    client: TreeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_NOT_TOLD", SECRET)

    ended = await run_one(client, "system_info", {})

    assert ended.task.status is Status.COMPLETED
    assert set(ended.result) == {"cpu", "memory", "disk", "platform", "load"}
    texts = set(_texts(json.loads(as_text(ended))["result"]))
    whose = {socket.gethostname(), getpass.getuser(), str(Path.home()), str(Path.cwd()), SECRET}
    assert texts & whose == set()
    assert SECRET not in ended.traces


async def test_what_cannot_be_asked_is_tried_once(client: TreeClient) -> None:
    ended = await run_one(client, "system_info", {"kinds": ["users"]})

    assert ended.failure == ("validation_error", 1)


@pytest.mark.skipif(not psutil.LINUX, reason="elsewhere the system is asked in another way")
async def test_a_system_that_does_not_tell_is_asked_again(
    client: TreeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))  # as in a container without /proc

    ended = await run_one(client, "system_info", {"kinds": ["memory"]})

    assert ended.failure == ("system_error", 3)
    assert ended.task.error == "the system didn't tell what was asked for: FileNotFoundError"
    assert str(tmp_path) not in ended.traces


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for each in value.values() for text in _texts(each)]  # pyright: ignore[reportUnknownVariableType]
    return [value] if isinstance(value, str) else []
