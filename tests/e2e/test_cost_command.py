"""`regrow cost`: what a tree will use, with no server and no executors."""

import json
from pathlib import Path

import pytest
from tests.e2e.command import Shell

TREE = """
name: sales
inputs: {region: north, shops: [1, 2]}
tasks:
  - {id: list, executor: list_shops, inputs: {region: "${{ inputs.region }}"}}
  - {id: each, executor: read_sales, for_each: tasks.list.result.shops, dependencies: [list]}
  - {id: known, executor: read_sales, for_each: inputs.shops}
"""
EXECUTORS = """
from regrow import executor_register


@executor_register(demo={"shops": [1, 2, 3]})
async def list_shops(inputs):
    raise AssertionError("nothing is called")


@executor_register(demo=lambda inputs: "x" * 5000, retry={"maximum_attempts": 7})
async def read_sales(inputs):
    raise AssertionError("nothing is called")
"""


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    made = Shell(tmp_path)
    made.write("tree.yaml", TREE)
    made.write("executors.py", EXECUTORS)
    return made


def test_figures_are_shown_with_what_was_assumed(shell: Shell) -> None:
    done = shell.run("cost", "tree.yaml")

    assert done.returncode == 0, done.stderr
    for line in ("activities      13", "'each' has 10 items (--items)", "  each   [read_sales]"):
        assert line in done.stdout


def test_json_is_alone_on_stdout(shell: Shell) -> None:
    done = shell.run("cost", "tree.yaml", "--items", "5", "--set", "shops=[1]", "-o", "json")

    found = json.loads(done.stdout)
    assert (found["name"], found["activities"]["total"]) == ("sales", 7)
    assert done.stderr == ""


def test_executors_give_their_policies_and_demo_results(shell: Shell) -> None:
    shell_args = ("cost", "tree.yaml", "--executors", "executors.py", "-o", "json")

    found = json.loads(shell.run(*shell_args).stdout)
    failing = json.loads(shell.run(*shell_args, "--fail", "known[0]").stdout)

    assert found["activities"]["total"] == 1 + 3 + 2
    assert found["bytes"] > 5 * 5000
    assert failing["actions"]["by_kind"]["activity_attempts"] == 6 + 6
    assert failing["status"] == "failed"


def test_times_and_results_may_be_said(shell: Shell) -> None:
    said = ("--result", 'list={"shops": []}', "--task-seconds", "4-8", "--result-bytes", "9")

    found = json.loads(shell.run("cost", "tree.yaml", *said, "-o", "json").stdout)

    assert found["activities"]["total"] == 3
    assert found["actions"]["by_kind"]["heartbeats"] > 0
    assert "a result has 9 bytes, unless it is given" in found["assumptions"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("--task-seconds", "8-4"), "write seconds"),
        (("--result", "lst=1"), "nothing in the tree is scripted by 'lst'"),
        (("--set", "regio=south"), "regio"),
        (("--executors", "other.py"), "no worker has the executor 'read_sales'"),
    ],
)
def test_what_is_wrong_is_said(shell: Shell, wrong: tuple[str, ...], said: str) -> None:
    shell.write("other.py", EXECUTORS.replace("read_sales", "write_sales"))

    done = shell.run("cost", "tree.yaml", *wrong)

    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""
