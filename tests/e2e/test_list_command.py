"""`regrow list` and `regrow setup`, from outside: with a server's search attributes and without."""

import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.command import Shell, answers, free_port, interrupt, wait_until

from regrow.core.attributes import SEARCH_ATTRIBUTES
from regrow.embedded import embedded_server

LONG_ID = "a-long-id-with-the-time-in-it-" + "2026-11-24T14.30.00Z-" * 3
FAILS = {"name": "fails", "tasks": [{"id": "bad", "executor": "fail"}]}
ASKS = {"name": "asks", "tasks": [{"id": "review", "executor": "approval"}]}
WORKS = {"name": "works", "tasks": [{"id": "a", "executor": "noop"}]}


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """Beside a server and a worker of `regrow dev` that has run a few trees."""
    port = free_port()
    made = Shell(tmp_path_factory.mktemp("lists"), TEMPORAL_ADDRESS=f"127.0.0.1:{port}")
    serve = ("--port", str(port), "--ui-port", str(free_port()), "--executors", made.executors)
    with made.running("dev", *serve) as process:
        wait_until(lambda: answers(port))
        wait_until(lambda: made.run("list").returncode == 0)
        for tree_id, tree in {"bad": FAILS, "open": ASKS, LONG_ID: WORKS}.items():
            assert made.run("start", made.write("tree.json", tree), "-w", tree_id).returncode == 0
        wait_until(lambda: {tree["state"] for tree in json_list(made)} == STATES)
        yield made
        interrupt(process)


STATES = {"failed", "waiting", "completed"}


def json_list(shell: Shell, *args: str) -> Any:
    return json.loads(shell.run("list", *args, "-o", "json").stdout)


def ids(shell: Shell, *args: str) -> list[str]:
    return [tree["tree_id"] for tree in json_list(shell, *args)]


def only_line(done: subprocess.CompletedProcess[str]) -> str:
    """What a command that came to nothing says, in one line and nothing else."""
    assert done.returncode != 0
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    return line


def test_lists_are_narrowed(shell: Shell) -> None:
    assert ids(shell, "--failed") == ["bad"]
    assert ids(shell, "--waiting") == ["open"]
    assert ids(shell, "--running") == ["open"]
    assert ids(shell, "--failed", "--waiting") == ["open", "bad"]
    assert ids(shell, "--name", "works") == [LONG_ID]
    assert ids(shell, "--query", "WorkflowId = 'bad'") == ["bad"]
    assert ids(shell, "--limit", "1") == ["open"]
    assert shell.run("list", "--name", "nothing").stderr == "no trees\n"


def test_list_for_people_shows_whole_ids_and_the_tasks_that_matter(shell: Shell) -> None:
    shell.env["COLUMNS"] = "80"

    lines = shell.run("list").stdout.splitlines()

    header, *rows = [line.split() for line in lines]
    assert header == ["ID", "NAME", "STATUS", "STARTED", "ENDED", "TASKS"]
    assert [row[:3] for row in rows] == [
        ["open", "asks", "waiting"],
        [LONG_ID, "works", "completed"],
        ["bad", "fails", "failed"],
    ]
    assert (rows[0][-2:], rows[2][-2:]) == (["waiting:", "review"], ["failed:", "bad"])


def test_list_for_programs_is_an_array_or_a_tree_a_line(shell: Shell) -> None:
    lines = shell.run("list", "-o", "jsonl").stdout.splitlines()

    assert [json.loads(line) for line in lines] == json_list(shell)
    failed = json_list(shell, "--failed")[0]
    assert failed.pop("started_at") < failed.pop("finished_at")
    assert failed == {
        "tree_id": "bad",
        "name": "fails",
        "status": "failed",
        "state": "failed",
        "failed_tasks": ["bad"],
        "waiting_on": [],
    }


def test_server_of_dev_is_set_up(shell: Shell) -> None:
    done = shell.run("setup")

    assert done.stdout.splitlines() == [
        "TreeName         Keyword      was there",
        "TreeStatus       Keyword      was there",
        "TreeFailedTasks  KeywordList  was there",
        "TreeWaitingOn    KeywordList  was there",
    ]


@pytest.mark.parametrize(
    "command",
    [("list",), ("setup",), ("start", "tree.json"), ("schedule", "list"), ("worker",)],
    ids=" ".join,
)
def test_unknown_namespace_is_an_error_in_one_line(shell: Shell, command: tuple[str, ...]) -> None:
    shell.env["REGROW_LOG_LEVEL"] = "ERROR"
    line = only_line(shell.run(*command, "-n", "nowhere"))

    assert "Namespace nowhere is not found" in line


def test_list_filter_that_is_none_is_an_error_in_one_line(shell: Shell) -> None:
    done = shell.run("list", "--query", "Nonsense = 1")

    assert "invalid search attribute: Nonsense" in only_line(done)
    assert done.returncode == 2


@pytest.mark.parametrize(
    "command", [("run", "tree.json"), ("watch", "-w", "open"), ("result", "-w", "open")]
)
def test_timeout_that_is_none_is_an_error_in_one_line(
    shell: Shell, command: tuple[str, ...]
) -> None:
    done = shell.run(*command, "--timeout", "foo")

    assert only_line(done).startswith("error: --timeout: write a duration like 30s")
    assert done.returncode == 2


@pytest.fixture
async def bare(tmp_path: Path) -> AsyncIterator[Shell]:
    async with embedded_server(is_set_up=False) as server:
        yield Shell(tmp_path, TEMPORAL_ADDRESS=server.address)


def test_server_that_is_not_set_up_says_so_and_can_be(bare: Shell) -> None:
    line = only_line(bare.run("list", "--waiting"))
    assert "TreeStatus and TreeWaitingOn; `regrow setup` registers them" in line

    setup = bare.run("setup", "-o", "json")

    done = json.loads(setup.stdout)
    assert done == {"namespace": "default", "there": [], "added": list(SEARCH_ATTRIBUTES)}
    assert ids(bare, "--waiting") == []
    assert json.loads(bare.run("setup", "-o", "jsonl").stdout)["added"] == []
