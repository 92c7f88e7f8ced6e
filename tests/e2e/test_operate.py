"""docs/operate.md tells the truth: what it types is typed here, in its order, and answers as shown.

Everything runs in one shell, as in the page: a server, a broken worker, then a mended one.
"""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from tests.e2e.command import Shell, answers, free_port, interrupt, wait_until

from regrow import TreeClient
from regrow.core.requests import REQUESTS

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "operate.md").read_text()
ELIDED: Final = "…"
LOOKS: Final = ("show", "list", "explain", "describe", "query")
"""Commands that are typed again until they show what they should, as one does while it happens."""
PATIENCE: Final = 30.0
VARYING: Final = (
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)?", "<time>"),
    (r"(?m)^\d\d:\d\d:\d\d\.\d{3}", "<clock>"),
    (r"\b\d+(\.\d+)?(ms|s)\b", "<span>"),
    (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "<id>"),
    (r"(?m)^<clock> ↻ .*\n", ""),  # whether a second attempt is seen coming is a matter of luck
    (r" --address \S+", ""),
    (r"(?m)^no worker has .*\n", ""),  # on a machine that is busy
    (r" +\n", "\n"),
)


@dataclass(frozen=True)
class Step:
    """A command of the page, and what it shows there."""

    typed: str
    shown: str

    @property
    def goes_on(self) -> bool:
        return self.typed.endswith(" &")

    @property
    def looks(self) -> bool:
        return any(f" {word}" in self.typed for word in LOOKS)

    @property
    def code(self) -> int:
        """The exit code that goes with what is shown."""
        if self.shown.lower().startswith("error:"):
            return 1
        return 3 if "tree failed" in self.shown else 0

    def agrees(self, output: str) -> bool:
        """Tell whether the page shows this, but for times, and for what it leaves out."""
        parts = [re.escape(part) for part in steady(self.shown, self.typed).split(ELIDED)]
        return re.fullmatch(".*".join(parts), steady(output, self.typed), re.DOTALL) is not None


class Terminal:
    """A shell of its own, in a copy of the example."""

    def __init__(self, directory: Path, port: int, env: dict[str, str]) -> None:
        self.port, self.directory = port, directory
        self.output = directory / "output.txt"
        self.shell = subprocess.Popen(
            ["bash"], cwd=directory, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def type(self, step: Step) -> tuple[int, str]:
        """Type a command; gives its exit code and all that it prints."""
        if step.goes_on:
            ports = f" --port {self.port} --ui-port {free_port()}"
            typed = step.typed.removesuffix(" &").replace("regrow dev", f"regrow dev{ports}")
            self._run(f"{typed} >> background.txt 2>&1 &")
            wait_until(lambda: answers(self.port))
            return 0, ""
        code = self._run(f"{{ {step.typed}\n}} > output.txt 2>&1")
        return code, self.output.read_text()

    def close(self) -> None:
        self._run("kill $(jobs -p)")
        self.shell.communicate("wait\n", timeout=PATIENCE)

    def _run(self, line: str) -> int:
        assert self.shell.stdin
        assert self.shell.stdout
        self.shell.stdin.write(f"{line}\necho :$?\n")
        self.shell.stdin.flush()
        while not (said := self.shell.stdout.readline()).startswith(":"):
            assert said, (self.directory / "background.txt").read_text()
        return int(said[1:])


def steps() -> list[Step]:
    """Read every command of the page, in its order."""
    blocks: list[str] = re.findall(r"```console\n(.*?)```", PAGE, flags=re.DOTALL)
    typed = [part for block in blocks for part in re.split(r"(?m)^\$ ", block) if part]
    return [Step(*part.split("\n", 1)) for part in typed]


def steady(output: str, typed: str) -> str:
    """Leave out what differs each time; a watch tells of what runs side by side in any order."""
    for pattern, word in VARYING:
        output = re.sub(pattern, word, output)
    if " watch " in typed:
        output = "\n".join(sorted(output.splitlines()))
    return output.strip()


def done(terminal: Terminal, step: Step) -> tuple[int, str]:
    """Type it, and type it again if one only looks and it isn't so yet."""
    deadline = time.monotonic() + PATIENCE
    code, output = terminal.type(step)
    while step.looks and not step.agrees(output) and time.monotonic() < deadline:
        time.sleep(0.2)
        code, output = terminal.type(step)
    return code, output


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    directory, port = tmp_path_factory.mktemp("operate") / "nightly", free_port()
    shutil.copytree(ROOT / "examples" / "nightly", directory)
    clean = {key: value for key, value in os.environ.items() if not key.startswith("TEMPORAL_")}
    env = {
        **clean,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{clean['PATH']}",
        "TEMPORAL_ADDRESS": f"127.0.0.1:{port}",
    }
    made = Terminal(directory, port, env)
    yield made
    made.close()


@pytest.mark.timeout(300)
def test_the_walk_through_of_the_page_works(terminal: Terminal) -> None:
    for step in steps():
        code, output = done(terminal, step)
        assert step.agrees(output), f"$ {step.typed}\n{output}\nthe page shows\n{step.shown}"
        assert code == step.code, f"$ {step.typed}\n{output}"
    _the_python_of_the_page_works(terminal)


def _the_python_of_the_page_works(terminal: Terminal) -> None:
    [python] = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    code = "\n".join(f"    {line}" for line in python.splitlines())
    (terminal.directory / "script.py").write_text(
        "import asyncio\nfrom regrow import TreeClient\n"
        f"async def main():\n{code}\nasyncio.run(main())\n"
    )

    code, output = terminal.type(Step("python script.py", ""))

    assert code == 0, output
    planned, ended = output.splitlines()
    assert planned.startswith("('shops', 'sales', 'total') {'weather': 'it failed', 'save': ")
    assert ended == "completed ['nightly-7', 'nightly-7.r1', 'nightly-7.r2']"


def test_every_update_and_every_field_is_in_the_table() -> None:
    rows = re.findall(r"(?m)^\| `regrow [^|]*\| `(\w+)` \| `(\{.*\})` \|", PAGE)

    assert [name for name, _ in rows] == [
        "pause", "resume", "cancel_task", "retry_task", "skip_task", "approve", "send_event",
    ]  # fmt: skip
    for name, example in rows:
        given = json.loads(example)
        assert given.keys() == REQUESTS[name].model_fields.keys()
        REQUESTS[name].model_validate(given)
    used = set(re.findall(r"update execute .*--name (\w+)", PAGE))
    assert used == {name for name, _ in rows} - {"send_event"}


# --- besides what the page types

CHAIN: Final[list[dict[str, Any]]] = [
    {"id": f"t{n}", "executor": "noop", "dependencies": [f"t{n - 1}"] if n else []}
    for n in range(14)
]
HELD: Final = {
    "name": "held",
    "on_failure": "wait",
    "tasks": [{"id": "a", "executor": "fail"}, {"id": "b", "executor": "fail"}],
}


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    port = free_port()
    made = Shell(tmp_path_factory.mktemp("watching"), TEMPORAL_ADDRESS=f"127.0.0.1:{port}")
    made.write("chain.json", {"name": "chain", "tasks": CHAIN})
    made.write("held.json", HELD)
    serve = ("--port", str(port), "--ui-port", str(free_port()), "--executors", made.executors)
    with made.running("dev", *serve) as server:
        wait_until(lambda: answers(port))
        assert made.run("run", "chain.json").returncode == 0
        yield made
        interrupt(server)


def test_watching_a_tree_of_14_tasks_adds_no_events_to_its_history(shell: Shell) -> None:
    shell.run("start", "chain.json", "-w", "unwatched")
    wait_until(lambda: asyncio.run(has_ended(shell, "unwatched")))
    shell.run("start", "chain.json", "-w", "watched")
    watch = ("watch", "-w", "watched")
    with shell.running(*watch) as first, shell.running(*watch) as second:
        for _ in range(3):
            shell.run("show", "-w", "watched")
        seen = [watcher.communicate(timeout=PATIENCE)[1] for watcher in (first, second)]

    counts = [asyncio.run(events(shell, tree_id)) for tree_id in ("unwatched", "watched")]
    assert all("t13 completed" in text for text in seen)
    assert counts[0] == counts[1]
    assert f"has {counts[0]} events in its history" in PAGE


def test_a_watch_says_once_how_a_held_tree_goes_on(shell: Shell) -> None:
    shell.run("start", "held.json", "-w", "held")

    seen = shell.run("watch", "-w", "held", "--timeout", "5s")

    assert seen.returncode == 5
    assert seen.stderr.count("it is held; go on: regrow retry -w held") == 1
    assert "held until what failed is retried or skipped" in shell.run("show", "-w", "held").stdout


def test_a_request_that_no_worker_answers_says_so_and_ends_with_ctrl_c(shell: Shell) -> None:
    shell.run("start", "chain.json", "-w", "alone", "-t", "nobody")

    with shell.running("pause", "-w", "alone") as pause:
        assert pause.stderr
        hint = pause.stderr.readline()
        _, rest = interrupt(pause)

    assert hint.startswith("no worker has answered yet; is one running")
    assert (pause.returncode, rest) == (130, "interrupted\n")


def test_a_program_reads_the_plan_and_the_new_id_on_one_line(shell: Shell) -> None:
    assert shell.run("run", "chain.json", "-w", "chain").returncode == 0

    planned = shell.run("rerun", "-w", "chain", "--from", "t13", "--plan", "-o", "jsonl")
    started = shell.run("rerun", "-w", "chain", "--from", "t13", "-o", "jsonl")

    [line] = planned.stdout.splitlines()
    kept = [f"t{n}" for n in range(13)]
    assert json.loads(line) == {"rerun_of": "chain", "kept": kept, "runs": {"t13": "selected"}}
    [line] = started.stdout.splitlines()
    assert json.loads(line) == {"tree_id": "chain.r1", "rerun_of": "chain"}


async def has_ended(shell: Shell, tree_id: str) -> bool:
    client = await TreeClient.connect(address=shell.env["TEMPORAL_ADDRESS"])
    about = await client.get(tree_id).workflow_handle.describe()
    return about.close_time is not None


async def events(shell: Shell, tree_id: str) -> int:
    """Give how many events a tree has in its history, as the server counts."""
    client = await TreeClient.connect(address=shell.env["TEMPORAL_ADDRESS"])
    return (await client.get(tree_id).workflow_handle.describe()).history_length
