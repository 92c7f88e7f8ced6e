"""`regrow schema`: the published file, and the schemas of projects."""

import json
from pathlib import Path
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator
from tests.e2e.command import Shell

from regrow.client.files import read_file

ROOT: Final = Path(__file__).parents[2]
PUBLISHED: Final = "src/regrow/tree.schema.json"
REFRESH: Final = f"it is out of date; run: regrow schema -O {PUBLISHED}"
TREES: Final = sorted((ROOT / "examples").glob("*/*.yaml"))


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def validator_with(executors: Path, shell: Shell) -> Any:
    done = shell.run("schema", "--executors", executors)
    assert done.returncode == 0, done.stderr
    return Draft202012Validator(json.loads(done.stdout))


def validator_of(file: Path) -> Any:
    return Draft202012Validator(json.loads(file.read_text(encoding="utf-8")))


def test_the_published_schema_is_what_the_command_prints(shell: Shell) -> None:
    assert shell.run("schema").stdout == (ROOT / PUBLISHED).read_text(encoding="utf-8"), REFRESH


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: f"{tree.parent.name}/{tree.name}")
def test_an_example_names_the_schema_and_fits_it_with_its_executors(
    tree: Path, shell: Shell
) -> None:
    written = read_file(str(tree)).value
    first = tree.read_text(encoding="utf-8").partition("\n")[0]

    assert first == f"# yaml-language-server: $schema=../../{PUBLISHED}"
    validator_of(ROOT / PUBLISHED).validate(written)
    if (own := tree.parent / "executors.py").exists():  # else they are built in, or elsewhere
        validator_with(own, shell).validate(written)


def test_the_inputs_of_executors_are_checked_built_in_ones_too(shell: Shell) -> None:
    executors = shell.directory / "typed.py"
    executors.write_text(
        "from collections.abc import Callable\n"
        "from pydantic import BaseModel\n"
        "from regrow import executor_register\n"
        "class Order(BaseModel):\n"
        "    item: str\n"
        "    quantity: int = 1\n"
        "class Odd(BaseModel):\n"
        "    call: Callable[[], int]\n"
        "@executor_register()\n"
        "async def order(inputs: Order): return None\n"
        "@executor_register()\n"
        "async def odd(inputs: Odd): return None\n"
    )

    file = shell.directory / "tree.schema.json"
    done = shell.run("schema", "--executors", executors, "-O", file)

    validator = validator_of(file)

    def fits(executor: str, inputs: Any) -> bool:
        return validator.is_valid([{"id": "x", "executor": executor, "inputs": inputs}])

    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"wrote {file}\n"
    assert fits("order", {"item": "tea", "quantity": "${{ inputs.n }}"})
    assert not fits("order", {"item": "tea", "quantity": "many"})
    assert not fits("order", {"quantity": 1})
    assert fits("odd", {"call": 1})
    assert fits("http_request", {"url": "https://example.test"})
    assert not fits("http_request", {"url": 5})


def test_executors_that_cannot_be_read_are_named(shell: Shell) -> None:
    done = shell.run("schema", "--executors", "nothing_like_this")

    assert (done.returncode, done.stdout) == (1, "")
    assert "nothing_like_this" in done.stderr


def test_a_new_project_has_the_schema_that_its_tree_names_and_fits(shell: Shell) -> None:
    shell.run("init", "mine")
    project = shell.directory / "mine"

    named = (project / "tree.yaml").read_text().partition("\n")[0].rpartition("=")[2]
    written = read_file(str(project / "tree.yaml")).value

    assert (project / named).read_bytes() == (ROOT / PUBLISHED).read_bytes()
    validator_of(project / named).validate(written)
    validator_with(project / "executors.py", shell).validate(written)
