"""`regrow simulate`, and trees that include others from files: no server, no executors."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.command import COMMAND, Shell

TREE = """
name: whole
inputs: {n: 1}
tasks:
  - {id: list, executor: give}
  - {id: each, executor: give, for_each: [1, 2], dependencies: [list], inputs: {n: "${{ item }}"}}
  - {id: features, tree: parts/features.yaml, dependencies: [each], inputs: {n: "${{ inputs.n }}"}}
  - {id: ask, executor: approval, dependencies: [features], inputs: {prompt: ship?}}
"""
FEATURES = """
inputs: {n: 0}
tasks:
  - {id: clean, executor: give, inputs: {n: "${{ inputs.n }}"}}
  - {id: deep, tree: deeper.json, dependencies: [clean]}
"""
DEEPER: dict[str, Any] = {"name": "deeper", "tasks": [{"id": "leaf", "executor": "give"}]}


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    made = Shell(tmp_path)
    (tmp_path / "parts").mkdir()
    made.write("tree.yaml", TREE)
    made.write("parts/features.yaml", FEATURES)
    made.write("parts/deeper.json", DEEPER)
    return made


def test_simulated_tree_is_shown_to_its_end(shell: Shell) -> None:
    done = shell.run("simulate", "tree.yaml", "--result", "features/deep/leaf=[7]")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ask"]["approved"] is True
    for line in ("✔ whole completed: 4 completed", "✔ each [give]  0ms · 2 of 2 items"):
        assert line in done.stderr


def test_simulated_result_as_json_is_alone_on_stdout(shell: Shell) -> None:
    done = shell.run("simulate", "tree.yaml", "--result", "features/deep/leaf=[7]", "-o", "json")

    result = json.loads(done.stdout)
    assert result["tasks"]["features"]["result"] == {"deep": {"leaf": [7]}}
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("failing", "shown"),
    [
        ("features/deep/leaf", "features/deep/leaf: simulated failure"),
        ("each[1]", "1 of 2 items failed: item 1: simulated failure"),
        ("ask", "rejected: simulated"),
        ("give", "list [give]  0ms · simulated failure"),
    ],
)
def test_what_is_to_fail_fails_and_says_so(shell: Shell, failing: str, shown: str) -> None:
    done = shell.run("simulate", "tree.yaml", "--fail", failing)

    assert done.returncode == 3
    assert shown in done.stderr


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (["--fail", "asc"], "error: nothing in the tree is scripted by 'asc'; did you mean 'ask'?"),
        (["--fail", "features"], "scripted by 'features'; did you mean 'features/clean'?"),
        (["--fail", "features/nothing"], "scripted by 'features/nothing'"),
        (["--fail", "list[0]", "--result", "giv=1"], "error: nothing in the tree is scripted by"),
        (["--result", "list"], "--result list: write TASK=JSON"),
        (["--set", "m=1"], "the tree declares no input 'm'"),
    ],
)
def test_what_means_nothing_is_refused(shell: Shell, options: list[str], shown: str) -> None:
    done = shell.run("simulate", "tree.yaml", *options)

    assert done.returncode == 2
    assert shown in done.stderr


def test_problems_name_the_file_they_are_in(shell: Shell) -> None:
    shell.write("parts/features.yaml", FEATURES.replace("deeper.json", "deepr.json"))
    shell.write("tree.yaml", TREE.replace('inputs: {n: "${{ inputs.n }}"}', "inputs: {m: 1}"))
    missing = shell.run("validate", "tree.yaml")
    shell.write("parts/features.yaml", FEATURES.replace("[clean]", "[clear]"))
    wrong = shell.run("validate", "tree.yaml")

    assert missing.returncode == wrong.returncode == 2
    assert missing.stderr.startswith("parts/features.yaml:5:16: tasks[2].tree.tasks[1].tree: can")
    assert "No such file" in missing.stderr
    assert wrong.stderr.splitlines() == [
        "tree.yaml:7:78: tasks[2].inputs.m: the sub-tree declares no input 'm'",
        (
            "parts/features.yaml:5:50: tasks[2].tree.tasks[1].dependencies[0]: there is no task"
            " 'clear'; did you mean 'clean'?"
        ),
    ]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../outside.yaml", "it is outside the directory of tree.yaml"),
        ("/etc/passwd", "it is outside the directory of tree.yaml"),
        ("link.yaml", "it is outside the directory of tree.yaml"),
        ("tree.yaml", "a tree cannot be inside itself"),
        ("loop.yaml", "a tree cannot be inside itself"),
        ("parts", "it is no file"),
        ("'-'", "it is no file"),
        ("ring.yaml", "it cannot be found"),
        ("empty.yaml", "it holds no tree"),
        ('"a\\0b"', "it cannot be found"),
    ],
)
def test_files_that_must_not_be_included_are_refused(
    shell: Shell, tmp_path: Path, name: str, reason: str
) -> None:
    (tmp_path.parent / "outside.yaml").write_text("tasks: [{id: secret}]")
    (tmp_path / "link.yaml").symlink_to(tmp_path.parent / "outside.yaml")
    (tmp_path / "ring.yaml").symlink_to(tmp_path / "ring.yaml")
    shell.write("empty.yaml", "")
    shell.write("loop.yaml", "tasks: [{id: a, tree: tree.yaml}]")
    shell.write("tree.yaml", TREE.replace("parts/features.yaml", name))

    done = shell.run("validate", "tree.yaml")

    assert done.returncode == 2
    assert reason in done.stderr
    assert "secret" not in done.stderr


def test_file_whose_name_makes_no_name_is_called_after_its_task(shell: Shell) -> None:
    shell.write("parts/---.yaml", FEATURES)
    shell.write("tree.yaml", TREE.replace("features.yaml", "---.yaml"))

    done = shell.run("validate", "tree.yaml")
    alone = shell.run("simulate", "parts/---.yaml", "-o", "json")

    assert done.returncode == 0, done.stderr
    assert json.loads(alone.stdout)["name"] == "clean"


def test_tree_from_standard_input_includes_nothing(shell: Shell) -> None:
    done = subprocess.run(
        [*COMMAND, "validate", "-"],
        cwd=shell.directory,
        env=shell.env,
        input=TREE,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert "a tree from standard input names no files" in done.stderr


def test_files_that_include_each_other_without_end_stop_at_a_limit(shell: Shell) -> None:
    for level in range(12):
        names = [{"id": f"t{at}", "tree": f"level{level + 1}.json"} for at in range(6)]
        shell.write(f"level{level}.json", {"name": "level", "tasks": names})
    shell.write("level12.json", {"name": "level", "tasks": [{"id": "leaf" + "x" * 60}]})

    done = shell.run("validate", "level0.json")

    assert done.returncode == 2
    assert "the tree includes more than 1,000 files" in done.stderr
