"""docs/operate.md tells the truth: what it types is typed here, in its order, and answers as shown.

Everything runs in one shell, as in the page: a server, a broken worker, then a mended one.
"""

import asyncio
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from tests.docs.pages import Step, blocks_of, steps_of
from tests.docs.terminal import Terminal, agrees, done, without_server
from tests.e2e.command import Shell, answers, free_port, interrupt, wait_until

from regrow import TreeClient
from regrow.core.requests import REQUESTS

ROOT: Final = Path(__file__).parents[2]
PATH: Final = ROOT / "docs" / "operate.md"
PAGE: Final = PATH.read_text()
PATIENCE: Final = 30.0


def exit_code(step: Step) -> int:
    """Give the exit code that goes with what is shown."""
    if step.shown.lower().startswith("error:"):
        return 1
    return 3 if "tree failed" in step.shown else 0


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    directory, port = tmp_path_factory.mktemp("operate") / "nightly", free_port()
    shutil.copytree(ROOT / "examples" / "nightly", directory)
    env = {**without_server(directory), "TEMPORAL_ADDRESS": f"127.0.0.1:{port}"}
    made = Terminal(directory, port, env)
    yield made
    made.close()


@pytest.mark.timeout(300)
def test_the_walk_through_of_the_page_works(terminal: Terminal) -> None:
    consoles = [block for block in blocks_of(PATH) if block.language == "console"]
    for step in (step for block in consoles for step in steps_of(block)):
        code, output = done(terminal, step)
        said = f"{step.place}: $ {step.typed}\n{output}"
        assert agrees(step, output), f"{said}\nthe page shows\n{step.shown}"
        assert code == exit_code(step), said
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
