"""`regrow run` and `regrow validate`, from outside."""

import json
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.command import Shell, alive, children_of, free_port, interrupt, wait_until


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    directory = tmp_path / "with a space"
    directory.mkdir()
    return Shell(directory)


def nothing(at: int) -> list[str]:
    return []


def the_first(at: int) -> list[str]:
    return ["t0"] if at else []


def the_one_before(at: int) -> list[str]:
    return [f"t{at - 1}"] if at else []


def three_of_the_layer_above(at: int) -> list[str]:
    first = at - 50 - at % 50
    return [f"t{first + (at + k) % 50}" for k in (0, 1, 7)] if at >= 50 else []


def tasks(count: int, after: Callable[[int], list[str]] = nothing) -> list[dict[str, Any]]:
    return [
        {"id": f"t{at}", "executor": "noop", "inputs": {"value": at}, "dependencies": after(at)}
        for at in range(count)
    ]


def test_a_completed_tree_exits_0_and_prints_the_result_alone(shell: Shell) -> None:
    tree = shell.write("tree.json", {"name": "two", "tasks": tasks(2, the_first)})

    done = shell.run("run", tree, "--executors", shell.executors, "-o", "json")

    result = json.loads(done.stdout)
    assert done.returncode == 0
    assert result["status"] == "completed"
    assert result["outputs"] == {"t1": 1}
    assert set(result) == {"tree_id", "name", "status", "outputs", "tasks", "counts"}
    assert set(result["tasks"]["t0"]) == {
        "status", "result", "error", "error_type", "because", "attempts",
        "started_at", "finished_at", "metadata",
    }  # fmt: skip
    assert "Temporal Web UI: http://127.0.0.1:" in done.stderr


def test_a_failed_tree_exits_3_with_its_result(shell: Shell) -> None:
    tree = shell.write(
        "tree.json",
        {
            "name": "f",
            "tasks": [
                {"id": "a", "executor": "fail"},
                {"id": "b", "executor": "noop", "dependencies": ["a"]},
            ],
        },
    )

    done = shell.run("run", tree, "--executors", shell.executors, "-o", "json")

    result = json.loads(done.stdout)
    assert done.returncode == 3
    assert result["tasks"]["a"]["error"] == "it broke"
    assert result["tasks"]["b"]["because"]["task_id"] == "a"


def test_a_bad_document_names_every_problem_with_its_line_and_starts_nothing(shell: Shell) -> None:
    tree = shell.write(
        "bad.yaml",
        "name: bad\n"
        "tasks:\n"
        "  - id: a\n"
        "    executr: noop\n"
        "    retry: {maximum_attempts: -1}\n"
        "  - id: b\n"
        "    dependencies: [a, nowhere, b]\n",
    )

    done = shell.run("run", tree, "--executors", shell.executors)

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f"{tree}:4:5: tasks[0].executr: unknown key 'executr'; did you mean 'executor'?",
        f"{tree}:5:13: tasks[0].retry.maximum_attempts: input should be greater than or equal to 0",
        f"{tree}:7:23: tasks[1].dependencies[1]: there is no task 'nowhere'",
        f"{tree}:7:32: tasks[1].dependencies[2]: 'b' depends on itself",
    ]


def test_an_unknown_executor_is_refused_with_its_line(shell: Shell) -> None:
    tree = shell.write("tree.yaml", "name: u\ntasks:\n  - id: a\n    executor: nop\n")

    done = shell.run("run", tree, "--executors", shell.executors)

    assert done.returncode == 2
    assert (
        f"{tree}:4:5: tasks[0].executor: no worker has the executor 'nop'; did you mean 'noop'?"
        in done.stderr
    )


def test_inputs_are_set_with_their_types(shell: Shell) -> None:
    tree = shell.write(
        "tree.yaml",
        "name: s\ninputs: {user: '7', limit: 5}\ntasks:\n"
        "  - id: a\n    executor: noop\n"
        "    inputs: {value: ['${{ inputs.user }}', '${{ inputs.limit }}']}\n",
    )

    done = shell.run(
        "run",
        tree,
        "--executors",
        shell.executors,
        "-o",
        "json",
        "--set",
        "user=12",
        "--set",
        "limit=3",
    )
    refused = shell.run("run", tree, "--set", "usr=1", "--set", "limit=many")

    assert json.loads(done.stdout)["outputs"] == {"a": ["12", 3]}
    assert refused.returncode == 2
    assert "must be JSON like the default 5" in refused.stderr


def test_validate_knows_the_executors(shell: Shell) -> None:
    good = shell.write("good.yaml", "name: g\ntasks: [{id: a, executor: noop}]\n")
    bad = shell.write("bad.yaml", "name: g\ntasks: [{id: a, executor: none}]\n")

    assert shell.run("validate", good, "--executors", shell.executors).returncode == 0
    assert shell.run("validate", bad).returncode == 0
    assert shell.run("validate", bad, "--executors", shell.executors).returncode == 2


def test_broken_executors_are_named_before_anything_starts(shell: Shell) -> None:
    tree = shell.write("tree.yaml", "name: g\ntasks: [{id: a, executor: noop}]\n")
    broken = shell.write("broken.py", "import nothing_like_this\n")

    done = shell.run("run", tree, "--executors", broken, "--executors", "no.such.module")

    assert done.returncode == 1
    assert "nothing_like_this" in done.stderr
    assert "no.such.module" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_configured_server_that_does_not_answer_is_an_error(shell: Shell) -> None:
    tree = shell.write("tree.yaml", "name: g\ntasks: [{id: a, executor: noop}]\n")

    done = shell.run("run", tree, "--address", f"127.0.0.1:{free_port()}")

    assert done.returncode == 1
    assert "no Temporal server answers at 127.0.0.1:" in done.stderr
    assert "regrow dev" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_everything(shell: Shell, number: int) -> None:
    tree = shell.write(
        "tree.yaml", "name: g\ntasks: [{id: a, executor: nap, inputs: {seconds: 60}}]\n"
    )
    with shell.running("run", tree, "--executors", shell.executors) as process:
        lines = iter(process.stderr or ())
        assert any("a started" in line for line in lines)
        server = children_of(process.pid)
        assert server

        interrupt(process, number)

        assert process.returncode == 130
        wait_until(lambda: not any(map(alive, server)))


def test_a_killed_command_leaves_no_server_behind(shell: Shell) -> None:
    tree = shell.write(
        "tree.yaml", "name: g\ntasks: [{id: a, executor: nap, inputs: {seconds: 60}}]\n"
    )
    with shell.running("run", tree, "--executors", shell.executors) as process:
        assert any("a started" in line for line in iter(process.stderr or ()))
        server = children_of(process.pid)

        process.kill()

        wait_until(lambda: not any(map(alive, server)))


def test_state_in_a_file_survives_the_command(shell: Shell) -> None:
    tree = shell.write("tree.yaml", "name: g\ntasks: [{id: a, executor: write_line}]\n")
    again = (
        "run",
        tree,
        "--executors",
        shell.executors,
        "--db",
        "state.db",
        "-w",
        "kept",
        "-o",
        "json",
    )

    first, second = shell.run(*again), shell.run(*again)

    assert (first.returncode, second.returncode) == (0, 0)
    assert json.loads(first.stdout) == json.loads(second.stdout)
    assert len(shell.log()) == 2  # one start, one end


def test_a_wait_limit_exits_5(shell: Shell) -> None:
    tree = shell.write(
        "tree.yaml", "name: g\ntasks: [{id: a, executor: nap, inputs: {seconds: 30}}]\n"
    )

    done = shell.run("run", tree, "--executors", shell.executors, "--timeout", "1s")

    assert done.returncode == 5
    assert "still runs after 1s" in done.stderr


@pytest.mark.parametrize(
    "document",
    [tasks(501, the_first), tasks(300, the_one_before), tasks(500, three_of_the_layer_above)],
    ids=["500 under one root", "a chain of 300", "10 layers of 50"],
)
def test_large_trees_complete(shell: Shell, document: list[dict[str, Any]]) -> None:
    tree = shell.write("tree.json", {"name": "large", "tasks": document})

    done = shell.run("run", tree, "--executors", shell.executors, "-o", "json")

    assert done.returncode == 0
    assert json.loads(done.stdout)["counts"]["completed"] == len(document)


def test_the_branches_of_a_diamond_overlap(shell: Shell) -> None:
    branches = [{"id": name, "executor": "nap", "dependencies": ["s"]} for name in "xyz"]
    tree = shell.write(
        "tree.json", {"name": "d", "tasks": [{"id": "s", "executor": "nap"}, *branches]}
    )

    done = shell.run("run", tree, "--executors", shell.executors, "-o", "json")

    entries = json.loads(done.stdout)["tasks"]
    latest_start = max(entries[name]["started_at"] for name in "xyz")
    earliest_end = min(entries[name]["finished_at"] for name in "xyz")
    assert latest_start < earliest_end
    assert entries["s"]["finished_at"] <= min(entries[name]["started_at"] for name in "xyz")


def test_the_exit_code_comes_out_right_every_time(shell: Shell) -> None:
    tree = shell.write(
        "tree.yaml", "name: f\ntasks: [{id: a, executor: fail}, {id: b, executor: noop}]\n"
    )

    def once(_: int) -> int:
        return shell.run("run", tree, "--executors", shell.executors, "-o", "json").returncode

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(once, range(30))) == [3] * 30
