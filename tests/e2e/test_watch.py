"""`regrow watch` and `regrow show`, from outside: attempts, progress, sub-trees, downloads."""

import json
import os
import pty
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.command import COMMAND, Shell, answers, free_port, interrupt, wait_until

from regrow.embedded import temporal_binary

EXECUTORS = """
import asyncio
from regrow import TaskContext, executor_register


@executor_register(retry={"maximum_attempts": 3, "initial_interval": "6s"})
async def flaky(inputs, context: TaskContext):
    if context.attempt == 1:
        raise OSError("no disk")


@executor_register(heartbeat_timeout="3s")
async def load(inputs, context: TaskContext):
    for at in range(inputs.get("rows", 5)):
        context.progress(at, 60, "rows")
        await asyncio.sleep(1)


@executor_register()
async def fail(inputs):
    return {"status": "failed", "error": "it broke"}
"""
TREE = """
name: nightly
tasks:
  - {id: fetch, executor: flaky}
  - {id: load, executor: load}
  - id: features
    tree:
      tasks:
        - {id: raw, executor: load}
        - {id: clean, executor: fail, dependencies: [raw]}
"""
HISTORIES = Path(__file__).parents[1] / "replay" / "histories"


class Trees(Shell):
    """A shell with a tree that takes a few seconds."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.executors.write_text(EXECUTORS)
        self.tree = self.write("tree.yaml", TREE)
        self.port = free_port()

    def run_tree(self, *options: str) -> subprocess.CompletedProcess[str]:
        return self.run("run", self.tree, "--executors", self.executors, *options)


@pytest.fixture
def shell(tmp_path: Path) -> Trees:
    return Trees(tmp_path)


@pytest.fixture
def served(shell: Trees) -> Iterator[Trees]:
    shell.env["TEMPORAL_ADDRESS"] = f"127.0.0.1:{shell.port}"
    options = ("--port", str(shell.port), "--ui-port", str(free_port()))
    with shell.running("dev", "--executors", str(shell.executors), *options) as process:
        wait_until(lambda: answers(shell.port))
        yield shell
        interrupt(process)


def test_lines_tell_of_further_attempts_and_of_sub_trees(shell: Trees) -> None:
    done = shell.run_tree()

    lines = [line.partition(" ")[2] for line in done.stderr.splitlines()]
    assert done.returncode == 3
    [retry] = [line for line in lines if line.startswith("↻")]
    assert re.fullmatch(r"↻ fetch attempt 2 of 3 in [0-6]s: no disk \(OSError\)", retry)
    inside = [line for line in lines if "features" in line]
    assert inside[:4] == [
        "◐ features started",
        "◐ features/raw started",
        *[line for line in lines if line.startswith("✔ features/raw completed")],
        "◐ features/clean started",
    ]
    assert inside[4].startswith("✘ features/clean failed")
    assert inside[5].startswith("✘ features failed")
    assert not any("rows" in line for line in lines)


def test_jsonl_tells_everything_and_late_comers_the_same_statuses(served: Trees) -> None:
    live = changes(served.run("run", served.tree, "-w", "n", "-o", "jsonl"))
    late = changes(served.run("watch", "-w", "n", "-o", "jsonl"))
    outside = changes(served.run("watch", "-w", "n", "-o", "jsonl", "--no-inside"))

    [retry] = [change for change in live if change.get("is_retry")]
    assert retry["task_id"] == retry["attempt"]["unit"] == "fetch"
    assert (retry["status"], retry["attempt"]["error"]) == ("in_progress", "no disk (OSError)")
    said = [change["attempt"]["progress"] for change in live if "attempt" in change]
    assert {"total": 60, "note": "rows"}.items() <= next(each for each in said if each).items()
    assert {each["task_id"] for each in live if "attempt" in each} == {
        "fetch",
        "load",
        "features/raw",
    }
    assert statuses(late) == statuses(live)
    assert live[-1]["task_id"] is None
    expected = [each for each in statuses(live) if "/" not in each[0]]
    assert statuses(outside) == expected


def changes(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert done.returncode == 3
    return [json.loads(line) for line in done.stdout.splitlines()]


def statuses(found: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return sorted((str(each["task_id"]), each["status"]) for each in found if "attempt" not in each)


def test_show_tells_attempts_and_progress(served: Trees) -> None:
    tree = served.write(
        "long.yaml",
        "name: long\ntasks:\n"
        "  - {id: fetch, executor: flaky, retry: {initial_interval: 2m}}\n"
        "  - {id: load, executor: load, inputs: {rows: 60}}\n",
    )
    served.run("start", tree, "-w", "n")
    seen: list[str] = []

    def shown() -> bool:
        seen.append(served.run("show", "-w", "n").stdout)
        return " of 60 rows" in seen[-1]

    wait_until(shown)
    served.run("cancel", "-w", "n")
    assert re.search(
        r"◐ fetch .* · attempt 2 of 3, next at \d\d:\d\d:\d\d, last error: no disk \(OSError\)",
        seen[-1],
    )
    assert re.search(r"◐ load .* · \d+ of 60 rows", seen[-1])


def test_downloaded_history_is_shown_without_a_server(served: Trees) -> None:
    served.run("start", served.tree, "-w", "n")
    assert served.run("result", "-w", "n").returncode == 3
    at_server = served.run("show", "-w", "n").stdout
    address = served.env.pop("TEMPORAL_ADDRESS")
    download = [temporal_binary(), "workflow", "show", "-w", "n", "-o", "json"]
    text = subprocess.run(
        [*download, "--address", address], capture_output=True, text=True, check=True
    ).stdout
    file = served.write("history.json", text)

    assert served.run("show", "--history", file).stdout == at_server
    piped = subprocess.run(
        [*COMMAND, "show", "--history", "-", "--task", "fetch"],
        input=text, env=served.env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(piped.stdout)["attempts"] == 2


def test_histories_of_one_tree_are_shown_as_one(shell: Trees) -> None:
    runs = [HISTORIES / f"waits_and_maps_are_carried_on.run{at}.json" for at in range(1, 5)]
    options = [option for run in runs for option in ("--history", run)]

    done = shell.run("show", *options)

    assert done.returncode == 0
    assert "4 completed, 1 failed" in done.stdout


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{}", "this is no history as JSON"),
        ("no", "this is no history as JSON"),
        ('{"events": [{"eventId": "one"}]}', "this is no history as JSON"),
        ('{"events": []}', "this is no history of a tree"),
        ('{"events": [{"eventType": "TimerFired"}]}', "this is no history of a tree"),
    ],
)
def test_what_is_no_history_is_said_to_be_none(shell: Trees, text: str, says: str) -> None:
    done = shell.run("show", "--history", shell.write("bad.json", text))

    assert done.returncode == 2
    assert f"bad.json: {says}" in done.stderr


def test_show_needs_a_tree(shell: Trees) -> None:
    done = shell.run("show")

    assert done.returncode == 2
    assert "say which tree" in done.stderr


def test_picture_has_attempts_progress_and_the_tasks_of_sub_trees(shell: Trees) -> None:
    picture = in_a_terminal(shell, "run", str(shell.tree), "--executors", str(shell.executors))

    assert re.search(r"\n  ◐ fetch \[flaky\] .* · attempt 2 of 3, next at ", picture)
    assert re.search(r"\n  ◐ features \[tree\] .*\n    ◐ raw \[load\] .* · \d of 60 rows", picture)
    last = picture[picture.rindex("✘ nightly failed") :]
    assert re.search(r"\n  ✘ features \[tree\].*\n    ✔ raw .*\n    ✘ clean .* · it broke", last)


def in_a_terminal(shell: Trees, *args: str) -> str:
    """Run a command in a terminal of its own; gives all the text it printed there."""
    ours, theirs = pty.openpty()
    env = {**shell.env, "TERM": "xterm", "COLUMNS": "140", "LINES": "40"}
    with subprocess.Popen(
        [*COMMAND, *args], cwd=shell.directory, env=env, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        printed = b"".join(iter(lambda: _read(ours), b""))
        os.close(ours)
    assert process.returncode == 3
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", printed.decode())


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # as Linux says that the other end is closed
        return b""
