"""`regrow watch` and `regrow show`, from outside: attempts, progress, sub-trees, downloads."""

import codecs
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import pytest
from rich.cells import cell_len
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
        r"◐ fetch .* · ↻ attempt 2 of 3, next at \d\d:\d\d:\d\d · last error: no disk \(OSError\)",
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
    with Screen(shell, "run", shell.tree, "--executors", shell.executors, width=140) as screen:
        picture = screen.rest()

    assert screen.code == 3
    assert re.search(r"\n  ◐ fetch \[flaky\] .*  ↻ attempt 2 of 3, next in ", picture)
    assert re.search(r"\n    ◐ raw \[load\] .*  ░{12} [1-4] of 60 · rows", picture)
    last = picture[picture.rindex("✘ nightly failed") :]
    assert re.search(r"\n  ✘ features \[tree\].*\n    ✔ raw .*\n    ✘ clean .*  it broke\n", last)
    assert last.endswith(f"\n  features: features/clean: it broke (tree_failed)\n{MORE}\n")


def test_picture_is_colourful_unless_told_otherwise(shell: Trees) -> None:
    colourful, plain = (in_short(shell, **env) for env in ({}, {"NO_COLOR": "1"}))

    assert COLOURS.search(colourful)
    assert not COLOURS.search(plain)
    for printed in (colourful, plain):
        assert "\n  ✘ b [fail]" in CODES.sub("", printed)
        assert CODES.sub("", printed).endswith(f"\n  b: it broke (execution_error)\n{MORE}\n")


def test_terminal_that_cannot_be_drawn_on_gets_lines(shell: Trees) -> None:
    printed = in_short(shell, TERM="dumb")

    assert "\x1b" not in printed
    assert re.search(r"\n\d\d:\d\d:\d\d\.\d{3} ✘ b failed  \d+ms · it broke\n", printed)


def in_short(shell: Trees, **env: str) -> str:
    """Run two tasks, one of which fails; gives all that is printed, codes and all."""
    tree = shell.write(
        "short.yaml",
        "name: short\ntasks: [{id: a, executor: load, inputs: {rows: 1}}, {id: b, executor: fail}]",
    )
    with Screen(shell, "run", tree, "--executors", shell.executors, env=env) as screen:
        screen.rest()
    assert screen.code == 3
    return screen.printed


def test_picture_follows_a_screen_that_becomes_narrower(shell: Trees) -> None:
    with Screen(shell, "run", shell.tree, "--executors", shell.executors, width=100) as screen:
        screen.until("◐ raw [load]")
        screen.resize(45)
        picture = screen.rest()

    drawn = picture[picture.rindex("✘ nightly failed") :]
    assert max(map(cell_len, drawn.splitlines())) <= 45
    assert "\n  ✘ features  " in drawn


def test_estimate_is_that_of_earlier_runs(served: Trees) -> None:
    tree = served.write(
        "steady.yaml", "name: steady\ntasks: [{id: a, executor: load, inputs: {rows: 3}}]"
    )
    assert served.run("run", tree, "-w", "first").returncode == 0
    wait_until(lambda: "completed" in served.run("list", "--name", "steady").stdout)

    with Screen(served, "run", tree, "-w", "second") as screen:
        picture = screen.rest()

    assert screen.code == 0
    assert re.search(r"· about [1-4]s left \(as the run before\)", picture)
    assert "left" not in picture[picture.rindex("✔ steady completed") :]


MORE = "to ask more, run it with --keep or --db FILE"
COLOURS = re.compile(r"\x1b\[[0-9;]*[349][0-7][0-9;]*m")
CODES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Screen:
    """A command in a terminal of its own, and all the text that it prints there."""

    def __init__(
        self, shell: Shell, *args: str | Path, width: int = 80, env: Mapping[str, str] | None = None
    ) -> None:
        self._ours, theirs = pty.openpty()
        self.resize(width)
        self.printed = ""
        known = {key: value for key, value in shell.env.items() if key not in _ABOUT_SCREENS}
        self._process = subprocess.Popen(
            [*COMMAND, *map(str, args)],
            cwd=shell.directory,
            env={**known, "TERM": "xterm", **(env or {})},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self.code = self._process.wait()
        os.close(self._ours)

    def resize(self, width: int, height: int = 40) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def until(self, text: str) -> None:
        """Read on until something is printed."""
        while text not in self._text:
            assert self._read(), self._text

    def rest(self) -> str:
        """Read to the end; gives all the text that there was, without codes."""
        while self._read():
            pass
        self._process.wait()
        return self._text

    @property
    def _text(self) -> str:
        return CODES.sub("", self.printed)

    def _read(self) -> bool:
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # as Linux says that the other end is closed
            return False
        self.printed += self._decoder.decode(data).replace("\r", "")
        return bool(data)


_ABOUT_SCREENS = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLORTERM")
