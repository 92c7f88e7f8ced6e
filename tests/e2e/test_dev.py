"""A server of its own (`regrow dev`), workers beside it, and the commands that look at trees."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.command import Shell, answers, free_port, interrupt, until_serving, wait_until

from regrow.embedded import temporal_binary


class Dev(Shell):
    """A shell whose commands find the server of `regrow dev`."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.port = free_port()
        self.env["TEMPORAL_ADDRESS"] = f"127.0.0.1:{self.port}"

    def json(self, *args: str) -> Any:
        done = self.run(*args, "-o", "json")
        return json.loads(done.stdout)


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    shell = Dev(tmp_path)
    port, ui_port = str(shell.port), str(free_port())
    with shell.running("dev", "--db", "state.db", "--port", port, "--ui-port", ui_port) as process:
        until_serving(process, shell.port)
        yield shell
        interrupt(process)
        assert process.returncode == 0


def start_worker(dev: Dev) -> Any:
    return dev.running("worker", "--executors", dev.executors)


def test_a_killed_worker_loses_nothing_and_repeats_only_what_was_in_flight(dev: Dev) -> None:
    tasks = [
        {"id": f"t{at}", "executor": "write_line", "inputs": {"seconds": 0.3},
         "dependencies": [f"t{at - 10}"] if at >= 10 else []}
        for at in range(50)
    ]  # fmt: skip
    tree = dev.write("tree.json", {"name": "killed", "max_in_flight": 5, "tasks": tasks})
    with start_worker(dev) as first:
        assert dev.run("start", tree, "-w", "killed").returncode == 0
        wait_until(lambda: sum(line.startswith("done") for line in dev.log()) >= 12)
        first.kill()
        first.wait()
    before = dev.log()
    done_before = {line.split()[1] for line in before if line.startswith("done")}
    kept = {
        task_id
        for task_id, task in dev.json("show", "-w", "killed")["tasks"].items()
        if task["status"] == "completed"
    }

    with start_worker(dev):
        result = dev.json("result", "-w", "killed")

    after = dev.log()[len(before) :]
    again = {line.split()[1] for line in after if line.startswith("start")}
    assert result["counts"]["completed"] == 50
    assert len(kept) >= 10
    assert not kept & again
    # Only what was in flight when the worker died may have run twice.
    assert len(done_before & again) <= 5
    keys = {line.split()[1]: line.split()[2] for line in before if line.startswith("start")}
    assert all(
        keys[line.split()[1]] == line.split()[2]
        for line in after
        if line.startswith("start") and line.split()[1] in keys
    )


def test_a_killed_worker_repeats_local_tasks_only_since_the_last_workflow_task(dev: Dev) -> None:
    tasks = [
        {"id": f"t{at}", "executor": "write_line", "local": True, "inputs": {"seconds": 0.05},
         "dependencies": [f"t{at - 1}"] if at else []}
        for at in range(80)
    ]  # fmt: skip
    tree = dev.write("tree.json", {"name": "killed", "tasks": tasks})
    with start_worker(dev) as first:
        assert dev.run("start", tree, "-w", "killed").returncode == 0
        wait_until(lambda: sum(line.startswith("done") for line in dev.log()) >= 45)
        first.kill()
        first.wait()
    before = dev.log()
    shown = dev.json("show", "-w", "killed")["tasks"]
    kept = {task_id for task_id, task in shown.items() if task["status"] == "completed"}

    with start_worker(dev):
        result = dev.json("result", "-w", "killed")

    again = {line.split()[1] for line in dev.log()[len(before) :]}
    assert result["counts"]["completed"] == 80
    # A workflow task is left after a second, so that much is safe.
    assert kept
    assert not kept & again
    assert len(kept | again) == 80
    keys = {line.split()[1]: line.split()[2] for line in dev.log() if line.startswith("start")}
    assert keys == {f"t{at}": f"killed/t{at}" for at in range(80)}


def test_a_killed_server_loses_nothing(tmp_path: Path) -> None:
    shell = Dev(tmp_path)
    serve = (
        "dev", "--no-worker", "--db", "state.db",
        "--port", str(shell.port), "--ui-port", str(free_port()),
    )  # fmt: skip
    tasks = [
        {"id": f"t{at}", "executor": "write_line", "dependencies": [f"t{at - 1}"] if at else []}
        for at in range(20)
    ]
    tree = shell.write("tree.json", {"name": "killed", "tasks": tasks})
    with shell.running(*serve) as first:
        until_serving(first, shell.port)
        with start_worker(shell):
            wait_until(lambda: shell.run("start", tree, "-w", "killed").returncode == 0)
            wait_until(lambda: sum(line.startswith("done") for line in shell.log()) >= 5)
            first.kill()
            wait_until(lambda: not answers(shell.port))
            with shell.running(*serve) as second:
                until_serving(second, shell.port)
                result = shell.json("result", "-w", "killed")

    ends = [line for line in shell.log() if line.startswith("done")]
    assert result["counts"]["completed"] == 20
    # What was running when the server died may have run once more.
    assert len(ends) - len(set(ends)) <= 1


def test_a_worker_stops_on_sigterm_after_its_tasks_have_ended(dev: Dev) -> None:
    tree = dev.write(
        "tree.yaml", "name: g\ntasks: [{id: a, executor: write_line, inputs: {seconds: 2}}]\n"
    )
    with start_worker(dev) as worker:
        dev.run("start", tree, "-w", "graceful")
        wait_until(lambda: bool(dev.log()))

        interrupt(worker, signal.SIGTERM)

        assert worker.returncode == 0
        assert dev.log()[-1] == "done a"


def test_trees_are_started_watched_shown_listed_and_cancelled(dev: Dev) -> None:
    tree = dev.write(
        "tree.yaml",
        "name: operated\ntasks:\n"
        "  - {id: quick, name: A quick one, executor: noop}\n"
        "  - {id: slow, executor: nap, inputs: {seconds: 60}, dependencies: [quick]}\n"
        "  - {id: later, executor: noop, dependencies: [slow]}\n",
    )
    with start_worker(dev):
        started = dev.run("start", tree, "-w", "op")
        again = dev.run("start", tree, "-w", "op")
        other = dev.write("other.yaml", "name: other\ntasks: [{id: a, executor: noop}]\n")
        conflict = dev.run("start", other, "-w", "op")
        wait_until(lambda: dev.json("show", "-w", "op")["tasks"]["slow"]["status"] == "in_progress")
        shown = dev.run("show", "-w", "op").stdout
        listed = dev.json("list")
        waited = dev.run("watch", "-w", "op", "--timeout", "1s")
        assert dev.run("cancel", "-w", "op", "--reason", "enough").returncode == 0
        watched = dev.run("watch", "-w", "op", "-o", "jsonl")

    assert (started.stdout, again.stdout) == ("op\n", "op\n")
    assert conflict.returncode == 1
    assert "another document" in conflict.stderr
    assert "◐ slow" in shown
    assert "✔ quick · A quick one [noop]" in shown
    assert listed[0]["tree_id"] == "op"
    assert waited.returncode == 5
    assert watched.returncode == 4
    changes = [json.loads(line) for line in watched.stdout.splitlines()]
    assert [(c["task_id"], c["status"]) for c in changes] == [
        (None, "in_progress"),
        ("quick", "in_progress"), ("quick", "completed"),
        ("slow", "in_progress"), ("later", "cancelled"), ("slow", "cancelled"),
        (None, "cancelled"),
    ]  # fmt: skip


def test_an_unknown_tree_is_said_to_be_unknown(dev: Dev) -> None:
    for command in ("show", "watch", "result", "cancel"):
        done = dev.run(command, "-w", "nope")
        assert done.returncode == 1
        assert "there is no tree 'nope'" in done.stderr


def test_the_stock_command_line_starts_and_asks_a_tree(dev: Dev) -> None:
    def temporal(*args: str) -> str:
        command = [temporal_binary(), *args, "--address", dev.env["TEMPORAL_ADDRESS"], "-o", "json"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    document = json.dumps({"name": "stock", "tasks": [{"id": "a", "executor": "noop"}]})
    with start_worker(dev):
        temporal(
            "workflow", "start", "--type", "TaskTree", "--task-queue", "task-trees",
            "--workflow-id", "stock", "--input", document,
        )  # fmt: skip
        result = json.loads(temporal("workflow", "result", "--workflow-id", "stock"))
        status = json.loads(temporal("workflow", "query", "-w", "stock", "--type", "status"))
        alone = json.loads(
            temporal(
                "activity", "execute", "--type", "noop", "--task-queue", "task-trees",
                "--activity-id", "alone", "--start-to-close-timeout", "10s",
                "--input", '{"value": 5}',
            )
        )  # fmt: skip

    assert result["result"]["status"] == "completed"
    assert status["queryResult"][0]["tasks"] == {"a": "completed"}
    assert alone["result"]["result"] == 5
